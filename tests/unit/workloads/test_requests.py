"""Do requests have their lengths, and in common what they should and nothing else?"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from statistics import fmean

import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.models.synthetic import tokenizer as embedded
from pytest_llmbench.workloads.lengths import parse_length
from pytest_llmbench.workloads.requests import (
    Blocks,
    Item,
    TokenEstimator,
    from_items,
    make_requests,
    words_text,
)

TEMPLATE = 36
"""Tokens that the server of these tests adds to every prompt."""


@cache
def encode() -> Callable[[str], list[int]]:
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer.from_str(embedded.train().definition)
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids


def counted(text: str | None) -> int:
    """What the server counts."""
    assert text is not None
    return TEMPLATE + len(encode()(text))


def common(one: str | None, other: str | None) -> int:
    """Tokens that two prompts have in common at their beginning, as the server counts them."""
    assert one is not None
    assert other is not None
    pairs = enumerate(zip(encode()(one), encode()(other), strict=False))
    return TEMPLATE + next(number for number, (a, b) in pairs if a != b)


@pytest.fixture(scope="module")
def estimator() -> TokenEstimator:
    sizes = (32, 256) * 4
    return TokenEstimator.fit([(size, counted(words_text(size, seed=i))) for i, size in enumerate(sizes)])


def words(tokens: int, seed: int) -> str:
    """A server for which a word is a token."""
    return words_text(tokens, seed=seed)


def made(count: int, prompt: str | int = 64, output: str | int = 16, seed: int = 0, shared: int = 0):
    return make_requests(
        count,
        prompt_length=parse_length(prompt),
        output_length=parse_length(output),
        seed=seed,
        text_seed=seed,
        text_of=words,
        shared_prefix=shared,
    )


# --- Texts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 17, 7000])
def test_a_text_has_exactly_its_words(count: int) -> None:
    assert len(words_text(count, seed=3).split(" ")) == count


def test_a_longer_text_of_a_seed_continues_the_shorter() -> None:
    assert words_text(200, seed=9).startswith(words_text(150, seed=9))


def test_a_text_is_plain_words() -> None:
    assert re.fullmatch(r"[\w ,.;:?!'’—–()\"-]+", words_text(7000))


# --- How many tokens words become -----------------------------------------------------------------


def test_two_points_give_the_line_through_them() -> None:
    found = TokenEstimator.fit([(10, 35), (110, 165)])

    assert (found.per_prompt, found.per_word) == pytest.approx((22, 1.3))
    assert found.words_for(165) == 110


def test_more_points_give_the_line_of_least_squares() -> None:
    found = TokenEstimator.fit([(0, 9), (0, 11), (100, 159), (100, 161)])

    assert (found.per_prompt, found.per_word) == pytest.approx((10, 1.5))


def test_a_prompt_has_at_least_a_word() -> None:
    assert TokenEstimator(40.0, 1.3).words_for(1) == 1


@pytest.mark.parametrize("tokens", [(0, 0), (50, 0), (100, 100), (200, 100), (100, 101)])
def test_counts_that_are_not_of_the_words_are_refused(tokens: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match=rf"{tokens[0]} tokens for 32 words, {tokens[1]} tokens for 256"):
        TokenEstimator.fit(list(zip((32, 256), tokens, strict=True)))


@pytest.mark.parametrize("pairs", [[], [(32, 50)], [(32, 50), (32, 51)]])
def test_one_length_is_not_enough(pairs: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match="two lengths at least"):
        TokenEstimator.fit(pairs)


@pytest.mark.parametrize("tokens", [64, 128, 512, 4096])
def test_calibrated_texts_have_their_tokens_on_average(estimator: TokenEstimator, tokens: int) -> None:
    found = [counted(estimator.text_of(tokens, seed)) for seed in range(30)]

    assert fmean(found) == pytest.approx(tokens, rel=0.04, abs=4)
    assert all(abs(number - tokens) < 0.07 * tokens + 15 for number in found)


# --- Made requests ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 2**40])
def test_no_two_of_ten_thousand_prompts_begin_alike(seed: int) -> None:
    prompts = [item.prompt or "" for item in made(10_000, 8, seed=seed)]

    assert len({prompt[:16] for prompt in prompts}) == 10_000


def test_neighboring_prompts_differ_from_their_first_word_on() -> None:
    prompts = [(item.prompt or "").split()[0] for item in made(1000)]

    assert len(set(prompts)) == 1000


def test_prompts_of_another_seed_are_others() -> None:
    openings = {" ".join((i.prompt or "").split()[:3]) for seed in range(5) for i in made(1000, 8, seed=seed)}

    assert len(openings) == 5000


def test_prompts_and_answers_have_their_lengths() -> None:
    items = made(500, "uniform:10:200", "uniform:1:50")
    prompts = [len((item.prompt or "").split()) for item in items]
    answers = [item.output_tokens or 0 for item in items]

    assert prompts == [item.prompt_tokens for item in items]
    assert (min(prompts) >= 10, max(prompts) <= 200) == (True, True)
    assert fmean(prompts) == pytest.approx(105, rel=0.1)
    assert fmean(answers) == pytest.approx(25.5, rel=0.1)
    assert all(item.at is None and item.messages is None and item.blocks is None for item in items)


def test_a_long_prompt_has_no_longer_answer_than_a_short_one() -> None:
    items = made(2000, "lognormal:100:0.5", "lognormal:100:0.5")
    ranked = sorted(items, key=lambda item: item.prompt_tokens or 0)
    short, long = (fmean(i.output_tokens or 0 for i in half) for half in (ranked[:1000], ranked[1000:]))

    assert long == pytest.approx(short, rel=0.1)


def test_the_same_arguments_make_the_same_requests() -> None:
    assert made(20, "uniform:5:50", seed=4) == made(20, "uniform:5:50", seed=4)
    assert made(20, "uniform:5:50", seed=4)[:7] == made(7, "uniform:5:50", seed=4)


def test_a_shared_prefix_is_shared_and_nothing_after_it() -> None:
    prompts = [(item.prompt or "").split() for item in made(300, 64, shared=40)]

    assert len({tuple(prompt[:40]) for prompt in prompts}) == 1
    assert len({prompt[40] for prompt in prompts}) == 300
    assert {len(prompt) for prompt in prompts} == {64}


def test_a_shared_prefix_counts_what_the_server_adds(estimator: TokenEstimator) -> None:
    items = make_requests(
        40,
        prompt_length=parse_length("uniform:300:600"),
        output_length=parse_length(8),
        seed=1,
        text_seed=1,
        text_of=estimator.text_of,
        shared_prefix=256,
    )
    first = items[0].prompt

    assert all(240 <= common(first, item.prompt) <= 270 for item in items[1:])
    assert fmean(counted(i.prompt) - (i.prompt_tokens or 0) for i in items) == pytest.approx(0, abs=12)


def test_lengths_stay_where_only_the_texts_are_to_be_others() -> None:
    one, other = (
        make_requests(
            30,
            prompt_length=parse_length("uniform:10:200"),
            output_length=parse_length("uniform:1:50"),
            seed=1,
            text_seed=text_seed,
            text_of=words,
        )
        for text_seed in (1, 2)
    )
    assert [(i.prompt_tokens, i.output_tokens) for i in one] == [
        (i.prompt_tokens, i.output_tokens) for i in other
    ]
    assert {i.prompt for i in one}.isdisjoint(i.prompt for i in other)


def test_a_shared_prefix_differs_from_seed_to_seed() -> None:
    one, other = ((made(1, 64, seed=seed, shared=40)[0].prompt or "") for seed in (1, 2))

    assert one.split()[0] != other.split()[0]


def test_prompts_no_longer_than_the_shared_prefix_end_with_words_of_their_own() -> None:
    items = made(200, "uniform:2:60", shared=40)
    prompts = [(item.prompt or "").split() for item in items]
    shared = next(prompt for prompt in prompts if len(prompt) > 43)[:40]

    assert [len(prompt) for prompt in prompts] == [item.prompt_tokens for item in items]
    assert len({tuple(prompt) for prompt in prompts}) == 200
    short = [prompt for prompt in prompts if 3 <= len(prompt) <= 43]
    assert all(prompt[:-3] == shared[: len(prompt) - 3] for prompt in short)


def test_a_shared_prefix_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="a shared prefix of 64 tokens leaves no room in prompts of 64;"):
        made(3, 64, shared=64)


def test_no_requests_are_no_error() -> None:
    assert made(0, shared=10) == []
    assert from_items([Item("a")], 0) == []


# --- Requests of a data set ---------------------------------------------------------------------


def test_items_come_in_order_and_again_from_the_start() -> None:
    items = [Item("a", output_tokens=1), Item("b"), Item("c", at=None)]

    assert from_items(items, 5, unique=False) == [*items, *items[:2]]
    assert from_items(items, 2, unique=False) == items[:2]


def test_each_prompt_gets_a_beginning_of_its_own() -> None:
    found = from_items([Item("Same text", output_tokens=5)], 2000, seed=3)
    prompts = [item.prompt or "" for item in found]

    assert len({prompt[:16] for prompt in prompts}) == 2000
    assert all(re.fullmatch(r"\w+ \w+ \w+\. Same text", prompt) for prompt in prompts)
    assert {item.output_tokens for item in found} == {5}


def test_another_seed_gives_a_data_sets_prompts_other_beginnings() -> None:
    one, other = (from_items([Item("a"), Item("b")], 500, seed=seed) for seed in (1, 2))

    assert not {item.prompt for item in one} & {item.prompt for item in other}


def test_the_first_message_gets_the_beginning() -> None:
    messages = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"})
    one, other = from_items([Item(messages=messages)], 2)

    assert one.messages is not None
    assert re.fullmatch(r"\w+ \w+ \w+\. Be brief\.", one.messages[0]["content"])
    assert (one.messages[0]["role"], one.messages[1]) == ("system", messages[1])
    assert one != other
    assert messages[0]["content"] == "Be brief."


def test_a_length_alone_gets_a_prompt() -> None:
    items = [Item(prompt_tokens=20, output_tokens=3, at=0.0), Item(prompt_tokens=30, output_tokens=4, at=2.0)]
    found = from_items(items, 2, text_of=words)

    assert [len((item.prompt or "").split()) for item in found] == [20, 30]
    assert [(item.output_tokens, item.at) for item in found] == [(3, 0.0), (4, 2.0)]


def test_made_prompts_are_new_in_each_pass_unless_told_otherwise() -> None:
    items = [Item(prompt_tokens=20), Item(prompt_tokens=20)]

    assert len({item.prompt for item in from_items(items, 6, text_of=words)}) == 6
    shared = [from_items(items, 4, seed=seed, unique=False, text_of=words) for seed in (1, 2)]
    assert len({item.prompt for found in shared for item in found}) == 2


@pytest.mark.parametrize("item", [Item(), Item(prompt_tokens=5)])
def test_an_item_of_which_no_prompt_can_be_made_is_a_mistake(item: Item) -> None:
    with pytest.raises(ValueError, match="needs its prompt_tokens, and text_of"):
        from_items([item], 1, text_of=None if item.prompt_tokens else words)


def test_times_go_on_after_the_mean_gap_when_the_data_set_begins_again() -> None:
    items = [Item("a", at=0.0), Item("b", at=1.0), Item("c", at=4.0)]

    assert [item.at for item in from_items(items, 7)] == [0, 1, 4, 6, 7, 10, 12]


def test_a_trace_of_one_moment_cannot_be_repeated() -> None:
    items = [Item("a", at=0.0), Item("b", at=0.0)]

    assert len(from_items(items, 2)) == 2
    with pytest.raises(UsageError, match="ask for 2 requests at most"):
        from_items(items, 3)


# --- Blocks of a trace --------------------------------------------------------------------------


def recorded(tokens: int, *blocks: int | str, size: int = 512, scope: str = "") -> Item:
    return Item(prompt_tokens=tokens, output_tokens=1, blocks=Blocks(blocks, size, scope))


@pytest.mark.parametrize("size", [16, 64, 512])
def test_prompts_share_the_blocks_that_were_shared(estimator: TokenEstimator, size: int) -> None:
    long, shared = 2300 // size, 1536 // size
    blocks = range(1, long + 2)
    items = [
        recorded(2300, *blocks, size=size),
        recorded(1536 + 100, *blocks[:shared], *range(5000, 5000 - (-100 // size)), size=size),
        recorded(1536 + 100, *range(9000, 9000 - (-1636 // size)), size=size),
        recorded(1536 + 100, *blocks[:shared], *range(5000, 5000 - (-100 // size)), size=size),
    ]
    first, second, third, fourth = (i.prompt for i in from_items(items, 4, text_of=estimator.text_of))

    assert common(first, second) == pytest.approx(1536, rel=0.04)
    assert common(first, third) <= TEMPLATE + 3
    assert second == fourth
    assert counted(first) == pytest.approx(2300, rel=0.04)
    assert counted(third) == pytest.approx(1636, rel=0.04)


def test_prompts_of_blocks_have_their_tokens_on_average(estimator: TokenEstimator) -> None:
    items = [recorded(tokens, *range(tokens // 16), size=16) for tokens in range(1000, 4000, 100)]
    found = from_items(items, len(items), text_of=estimator.text_of)

    assert fmean(counted(i.prompt) / (i.prompt_tokens or 0) for i in found) == pytest.approx(1, rel=0.04)


@pytest.mark.parametrize(("size", "words_of"), [(16, 16), (64, 64), (512, 512)])
def test_a_name_has_the_same_text_wherever_it_stands(size: int, words_of: int) -> None:
    items = [recorded(4 * size, 1, 2, 3, 4, size=size), recorded(3 * size, 3, 9, 1, size=size)]
    one, other = ((i.prompt or "").split() for i in from_items(items, 2, text_of=words))

    assert one[:words_of] == other[2 * words_of :]
    assert one[2 * words_of : 3 * words_of] == other[:words_of]


def test_a_name_has_the_same_text_where_words_are_not_tokens() -> None:
    def text_of(tokens: int, seed: int) -> str:
        return words_text(round(tokens / 1.37), seed=seed)

    items = [recorded(1600, *range(100), size=16), recorded(1600, *range(99, -1, -1), size=16)]
    one, other = ((i.prompt or "") for i in from_items(items, 2, text_of=text_of))

    assert sorted(one.split()) == sorted(other.split())
    assert len(one.split()) == pytest.approx(1600 / 1.37, rel=0.02)


def test_names_have_texts_of_their_own() -> None:
    items = [recorded(16, name, size=16) for name in range(20_000)]
    found = from_items(items, len(items), text_of=words)

    assert len({item.prompt for item in found}) == len(items)


def test_what_no_block_names_is_the_requests_own() -> None:
    items = [recorded(70, 1, size=64), recorded(70, 1, size=64)]
    one, other = ((i.prompt or "").split() for i in from_items(items, 2, text_of=words))

    assert (len(one), len(other)) == (70, 70)
    assert one[:64] == other[:64]
    assert one[64:] != other[64:]
    again = from_items(items, 4, text_of=words, unique=False)
    assert again[:2] == again[2:]


def test_names_of_one_conversation_are_not_those_of_another() -> None:
    items = [recorded(64, 1, size=64, scope=scope) for scope in ("a", "b", "a")]
    one, other, same = (i.prompt for i in from_items(items, 3, text_of=words))

    assert one == same
    assert one != other


def test_blocks_have_exactly_their_words_where_a_word_is_a_token() -> None:
    items = [recorded(1100, 1, 2, 3), recorded(1536, 1, 2, 4), recorded(28, 5)]
    one, other, short = ((i.prompt or "").split() for i in from_items(items, 3, text_of=words))

    assert (len(one), len(other), len(short)) == (1100, 1536, 28)
    assert one[:1024] == other[:1024]
    assert one[1024] != other[1024]


def test_each_pass_and_each_seed_has_blocks_of_its_own_unless_told_otherwise() -> None:
    items = [recorded(600, 1, 2), recorded(700, 1, 3)]
    found = [from_items(items, 4, seed=seed, text_of=words) for seed in (1, 2)]
    begun = [[(item.prompt or "")[:500] for item in one] for one in found]

    assert begun[0][0] == begun[0][1]
    assert begun[0][2] == begun[0][3]
    assert len({text for one in begun for text in one}) == 4
    same = [from_items(items, 4, seed=seed, unique=False, text_of=words) for seed in (1, 2)]
    assert len({item.prompt for found in same for item in found}) == 2
