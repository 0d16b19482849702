"""Is a file of requests read as what it is, and refused with the line where it is none?"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.workloads import datasets, json_values
from pytest_llmbench.workloads.datasets import Dataset, read_dataset
from pytest_llmbench.workloads.requests import Blocks, Item

Read = Callable[[str], Dataset]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def of(text: str) -> Dataset:
        (tmp_path / "data").write_bytes(text.encode(errors="surrogateescape"))
        return read_dataset("data", root=tmp_path)

    return of


def lines(*entries: Any) -> str:
    return "\n".join(json.dumps(entry) for entry in entries) + "\n"


def turns(*said: tuple[str, str]) -> dict[str, Any]:
    return {"id": "x", "conversations": [{"from": who, "value": what} for who, what in said]}


# --- Prompts ------------------------------------------------------------------------------------


def test_json_lines_of_prompts(read: Read) -> None:
    found = read(
        lines({"prompt": "One"}, {"prompt": "Zwei", "max_tokens": 7}, {"prompt": "3", "output_tokens": 9})
    )

    assert found.items == (Item("One"), Item("Zwei", output_tokens=7), Item("3", output_tokens=9))
    assert found.notes == ()
    assert not found.needs_prompts


def test_messages_keep_role_and_content(read: Read) -> None:
    said = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?", "name": "x"}]
    (item,) = read(lines({"messages": said, "max_tokens": 5})).items

    assert item == Item(messages=(said[0], {"role": "user", "content": "Why?"}), output_tokens=5)


def test_an_array_is_read_like_lines(read: Read) -> None:
    entries = [{"prompt": "One"}, {"messages": [{"role": "user", "content": "Two, [and] {three}"}]}]

    assert read(json.dumps(entries, indent=2)).items == read(lines(*entries)).items
    assert read(f"\n\n {json.dumps(entries)} \n").items == read(lines(*entries)).items


@pytest.mark.parametrize("chunk", [1, 2, 7, 100])
def test_an_array_is_read_in_pieces_wherever_they_end(
    read: Read, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(json_values, "CHUNK", chunk)
    entries = [{"prompt": f'"{number}" \\ é 漢 \n[]{{}}', "max_tokens": number} for number in range(1, 12)]

    assert read(json.dumps(entries)).items == read(lines(*entries)).items
    found = read('[{"prompt":\n"One"},\n\n{"prompt": 3}]')
    assert found.notes == ("1 of 2 entries were left out: not a text, but 3 (1, the first in line 4)",)


def test_blank_lines_a_byte_order_mark_and_windows_ends_do_no_harm(read: Read) -> None:
    expected = (Item("One"), Item("Two"))

    assert read('\ufeff\r\n{"prompt": "One"}\r\n\r\n{"prompt": "Two"}').items == expected
    assert read('\ufeff[{"prompt": "One"},\r\n{"prompt": "Two"}]').items == expected


def test_requests_with_times_are_a_trace_from_zero(read: Read) -> None:
    found = read(lines({"prompt": "b", "timestamp": 1700000002.5}, {"prompt": "a", "timestamp": 1700000001}))

    assert found.items == (Item("a", at=0.0), Item("b", at=1.5))


def test_times_that_only_some_have_are_not_used_and_that_is_told(read: Read) -> None:
    found = read(lines({"prompt": "a", "timestamp": 1}, {"prompt": "b"}))

    assert found.items == (Item("a"), Item("b"))
    assert found.notes == ("only 1 of 2 requests have a timestamp, so none is used",)


# --- ShareGPT -----------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [lambda *entries: json.dumps(entries), lines], ids=["array", "lines"])
def test_the_first_text_of_a_person_is_the_prompt(read: Read, write: Callable[..., str]) -> None:
    found = read(
        write(
            turns(("human", "Hello"), ("gpt", "Hi"), ("human", "More")),
            turns(("system", "Be kind."), ("user", "And you?"), ("gpt", "Fine")),
        )
    )

    assert found.items == (Item("Hello"), Item("And you?"))
    assert found.notes == ()


def test_conversations_without_an_answer_or_a_question_are_left_out_and_counted(read: Read) -> None:
    found = read(
        lines(
            turns(("human", "Alone")),
            turns(),
            turns(("gpt", "I"), ("gpt", "talk")),
            turns(("human", " "), ("gpt", "What?")),
            turns(("human", "Yes"), ("gpt", "No")),
        )
    )

    assert found.items == (Item("Yes"),)
    assert found.notes == (
        "4 of 5 entries were left out: only one turn, or no text from a person (3, the first in line 1), "
        "nothing in conversations (1, the first in line 2)",
    )


# --- Traces -------------------------------------------------------------------------------------


def test_a_mooncake_trace_has_lengths_times_and_blocks(read: Read) -> None:
    found = read(
        lines(
            {"timestamp": 30535, "input_length": 1100, "output_length": 26, "hash_ids": [46, 47, 2366]},
            {"timestamp": 27482, "input_length": 512, "output_length": 52, "hash_ids": ["a0"]},
            {"timestamp": 27482, "input_length": 9, "output_length": 1},
        )
    )

    assert found.items == (
        Item(output_tokens=52, prompt_tokens=512, at=0.0, blocks=Blocks(("a0",), 512)),
        Item(output_tokens=1, prompt_tokens=9, at=0.0),
        Item(
            output_tokens=26, prompt_tokens=1100, at=pytest.approx(3.053), blocks=Blocks((46, 47, 2366), 512)
        ),
    )
    assert found.needs_prompts


def test_an_azure_trace_has_lengths_and_times(read: Read) -> None:
    found = read(
        "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
        "2023-11-16 18:17:04.0319600,3180,8\r\n"
        "2023-11-16 18:17:03.9799600,4808,10\r\n"
    )

    assert found.items == (
        Item(output_tokens=10, prompt_tokens=4808, at=0.0),
        Item(output_tokens=8, prompt_tokens=3180, at=pytest.approx(0.052, abs=1e-6)),
    )


def test_an_azure_trace_may_have_a_time_zone_and_more_columns(read: Read) -> None:
    found = read(
        "TIMESTAMP,Images,ContextTokens,GeneratedTokens\n"
        "2024-05-10 00:00:00.009930+00:00,1,2162,5\n\n"
        "2024-05-10 02:00:01.009930+02:00,0,2399,6"
    )

    assert [(item.prompt_tokens, item.at) for item in found.items] == [(2162, 0.0), (2399, 1.0)]


@pytest.mark.parametrize(
    "text",
    [
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10,0,5\n2024-05-10,7,0\n2024-05-11,7,5\n",
        lines(
            {"timestamp": 0, "input_length": 0, "output_length": 5, "hash_ids": []},
            {"timestamp": 0, "input_length": 7, "output_length": 0},
            {"timestamp": 5, "input_length": 7, "output_length": 5},
        ),
    ],
    ids=["Azure", "Mooncake"],
)
def test_requests_without_tokens_are_left_out_and_counted(read: Read, text: str) -> None:
    found = read(text)

    assert found.items == (Item(output_tokens=5, prompt_tokens=7, at=0.0),)
    assert found.notes[0].startswith(
        "2 of 3 entries were left out: no token to read, or none to generate (2, "
    )


# --- What is none -------------------------------------------------------------------------------

MOON = {"timestamp": 1, "input_length": 600, "output_length": 5}
HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
GOOD = '{"prompt": "good"}\n'
GOOD_ROW = "2024-05-10,1,2\n"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("Once upon a time\n", 1, "expected JSON Lines or a JSON array of .* or CSV with the columns"),
        ('[{"prompt": "a"},\n {"prompt": "b"}', 2, "the JSON array is not closed"),
        ('[{"prompt": "a"},\n]', 2, "expected JSON: "),
        ('[\n{"prompt": "a"}\n{"prompt": "b"}]', 3, "expected ']' in the JSON array, got '{'"),
        ('[\n{"prompt": "a",\n"x": oops}]', 3, "expected JSON: "),
        ('[{"prompt": "a"}]\nand more', 2, "expected nothing after the JSON array, got 'a'"),
        ("[" * 100_000, 1, "nested too deeply"),
        ("TIMESTAMP,ContextTokens\n", 1, "got 'TIMESTAMP,ContextTokens'"),
        (HEADER + '2024-05-10,"' + "1" * 200_000 + '",2\n', 2, "expected CSV: "),
    ],
)
def test_a_file_that_is_none_is_refused_with_the_line(read: Read, text: str, line: int, said: str) -> None:
    with pytest.raises(UsageError, match=rf"/data:{line}: .*{said}"):
        read(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prompt: b", "not one JSON object per line"),
        ("{" * 100_000, "not one JSON object per line"),
        ('{"prompt": ' + "9" * 5000 + "}", "not one JSON object per line"),
        ("[1]", r"not an object, but \[1\]"),
        ('{"words": "a"}', "none of the known keys, but {'words': 'a'}"),
        ('{"prompt": ""}', "nothing in prompt"),
        ('{"prompt": "  "}', "no text in prompt"),
        ('{"prompt": 3}', "not a text, but 3"),
        ('{"prompt": "\\ud800"}', "text that is not Unicode"),
        ('{"prompt": "\udcff"}', "not UTF-8 text"),
        ('{"messages": []}', "nothing in messages"),
        ('{"messages": "a"}', "messages is not a list of turns, but 'a'"),
        ('{"messages": [{"role": "user"}]}', "no message with text"),
        ('{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}', "no message with text"),
        ('{"prompt": "a", "max_tokens": 0}', "no token to generate: max_tokens is 0"),
        ('{"prompt": "a", "output_tokens": 1.5}', "output_tokens is not a number of tokens, but 1.5"),
        ('{"prompt": "a", "output_tokens": true}', "output_tokens is not a number of tokens, but True"),
        ('{"prompt": "a", "timestamp": "noon"}', "timestamp is not a time, but 'noon'"),
        ('{"prompt": "a", "timestamp": NaN}', "timestamp is not a time, but nan"),
        (f'{{"prompt": "a", "timestamp": {"9" * 400}}}', "timestamp is not a time"),
        ('{"conversations": "hello"}', "conversations is not a list of turns"),
        ('{"conversations": [1]}', "conversations is not a list of turns"),
        ('{"input_length": 5}', "no timestamp and no output_length in a trace's entry"),
        (json.dumps({**MOON, "input_length": -1}), "tokens to read is not a number of tokens, but -1"),
        (json.dumps(MOON), "another form than the entries before"),
    ],
)
def test_an_odd_line_is_left_out_counted_and_told(read: Read, text: str, said: str) -> None:
    found = read(GOOD + text + "\n" + GOOD)

    assert [item.prompt for item in found.items] == ["good", "good"]
    (note,) = found.notes
    assert re.fullmatch(rf"1 of 3 entries were left out: .*{said}.* \(1, the first in line 2\)", note)


def test_lines_that_are_odd_alike_are_told_together_with_the_first(read: Read) -> None:
    found = read(GOOD + "".join(json.dumps({"prompt": number}) + "\n" for number in range(3, 9)))

    assert found.notes == ("6 of 7 entries were left out: not a text, but 3 (6, the first in line 2)",)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("yesterday,1,2", "timestamp is not a time, but 'yesterday'"),
        ("2024-05-10,1", "tokens to generate is not a number of tokens, but None"),
        ("2024-05-10,1.5,2", "tokens to read is not a number of tokens, but '1.5'"),
        ("2024-05-10,²,2", "tokens to read is not a number of tokens"),
        (f"2024-05-10,{'1' * 5000},2", "tokens to read is not a number of tokens"),
    ],
)
def test_an_odd_row_is_left_out_counted_and_told(read: Read, row: str, said: str) -> None:
    found = read(HEADER + GOOD_ROW + row + "\n")

    assert len(found.items) == 1
    assert said in found.notes[0]
    assert found.notes[0].endswith("(1, the first in line 3)")


def test_a_line_that_is_too_long_is_passed_over(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_values, "LONGEST", 50)
    found = read(GOOD + json.dumps({"prompt": "x" * 500}) + "\n" + GOOD)

    assert len(found.items) == 2
    assert "longer than" in found.notes[0]
    assert found.notes[0].endswith("(1, the first in line 2)")


def test_no_more_is_read_than_a_load_takes(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "_MOST_ENTRIES", 3)
    found = read(GOOD * 5)

    assert len(found.items) == 3
    assert found.notes == ("only its first 3 entries were read: a load uses no more",)
    monkeypatch.setattr(datasets, "_MOST_TEXT", 6)
    assert len(read(GOOD * 5).items) == 2
    assert read(GOOD * 2).notes == ()


@pytest.mark.parametrize(
    "entry",
    [
        {"text": "Why?"},
        {"question": "Why?", "answer": "So."},
        {"instruction": "Why?", "input": "", "output": "So."},
        {"prompt": [{"type": "text", "text": "Why?"}]},
        {"prompt": ["Why?"]},
        {"turns": ["Why?", "And then?"]},
        {"conversation": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]},
        {"conversations": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]},
        {"items": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]},
        {"messages": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]},
        {
            "conversations": [
                {"from": "human", "value": [{"type": "text", "text": "Why?"}]},
                {"from": "gpt", "value": ""},
            ]
        },
    ],
)
def test_one_form_may_have_other_keys(read: Read, entry: dict[str, Any]) -> None:
    found = read(lines(entry, {"prompt": "Because."}))

    assert found.items == (Item("Why?"), Item("Because."))
    assert found.notes == ()


def test_an_instruction_has_its_input_and_a_batch_its_body(read: Read) -> None:
    chat = [{"role": "user", "content": "Why?"}]

    assert read(lines({"instruction": "Add.", "input": "1 2"})).items == (Item("Add.\n\n1 2"),)
    assert read(lines({"custom_id": "a", "body": {"messages": chat, "max_tokens": 4}})).items == (
        Item(messages=(chat[0],), output_tokens=4),  # type: ignore[arg-type]
    )
    assert read(lines({"prompt": chat})).items == (Item(messages=(chat[0],)),)  # type: ignore[arg-type]


def test_parts_that_are_no_text_are_left_out_and_told(read: Read) -> None:
    parts = [{"type": "text", "text": "What is"}, {"type": "image_url", "image_url": {}}, "this?"]
    found = read(lines({"messages": [{"role": "user", "content": parts}]}))

    assert found.items == (Item(messages=({"role": "user", "content": "What is\nthis?"},)),)
    assert found.notes == ("not used: parts that are not text, such as pictures (1)",)


@pytest.mark.parametrize("role", ["user", "system"])
def test_turns_without_text_are_left_out_and_told(read: Read, role: str) -> None:
    messages = [{"role": role, "content": " "}, {"role": "user", "content": "Why?"}]

    assert read(lines({"messages": messages})).items == (Item(messages=(messages[1],)),)  # type: ignore[arg-type]
    found = read(lines(turns(("human", ""), ("gpt", "What?"), ("human", "Why?"), ("gpt", ""))))
    assert found.items == (Item("Why?"),)
    assert found.notes == ("not used: turns without text (1)",)


def test_an_answer_that_ends_messages_is_not_asked(read: Read) -> None:
    asked: list[Any] = [
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "So."},
        {"role": "user", "content": "And?"},
    ]
    found = read(lines({"messages": [*asked, {"role": "assistant", "content": "No."}]}, {"messages": asked}))

    assert found.items == (Item(messages=tuple(asked)),) * 2
    assert found.notes == ("not used: answers at the end of messages (1)",)


def test_a_conversation_of_wildchat_is_asked_at_its_time(read: Read) -> None:
    def entry(text: str, timestamp: str) -> dict[str, Any]:
        turn = {"language": "English", "toxic": False, "turn_identifier": 7}
        said = [
            {"role": "user", "content": text, "timestamp": None, **turn},
            {"role": "assistant", "content": "So.", "timestamp": timestamp, **turn},
        ]
        return {"conversation_hash": "c0", "model": "gpt-4", "timestamp": timestamp, "conversation": said}

    found = read(lines(entry("And?", "2023-04-09 00:03:00+00:00"), entry("Why?", "2023-04-09T00:02:00Z")))
    assert found.items == (Item("Why?", at=0.0), Item("And?", at=60.0))
    assert found.notes == ("1 of 2 requests stood after later ones: they are in the order of their times",)
    assert found.time_unit == "date"


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (gzip.compress(GOOD.encode(), mtime=0), "is compressed: unpack it first, with gunzip"),
        (b"\x28\xb5\x2f\xfd", "is compressed: unpack it first, with unzstd"),
        (b"PK\x03\x04", "is an archive: unpack it first"),
        (b"PAR1", "is a Parquet file: write its rows as JSON Lines first"),
        (GOOD.encode("utf-16"), "is UTF-16 text: save it as UTF-8"),
    ],
)
def test_a_file_of_another_kind_is_refused_with_what_to_do(tmp_path: Path, start: bytes, said: str) -> None:
    (tmp_path / "x").write_bytes(start)
    with pytest.raises(UsageError, match=said):
        read_dataset(tmp_path / "x")


# --- Blocks -------------------------------------------------------------------------------------


def weka(*requests: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "id": "a",
        "models": ["m"],
        "block_size": 64,
        "hash_id_scope": "local",
        **more,
        "requests": requests,
    }


def one(t: float, length: int, *names: int, out: int = 5, **more: Any) -> dict[str, Any]:
    return {"t": t, "type": "s", "model": "m", "in": length, "out": out, "hash_ids": names, **more}


def bailian(length: int, *names: int | str, **more: Any) -> dict[str, Any]:
    entry = {"chat_id": 159, "parent_chat_id": -1, "timestamp": 61.114, "type": "text", "turn": 1}
    return {**entry, "input_length": length, "output_length": 5, "hash_ids": names, **more}


def mooncake(length: int, *names: int | str, **more: Any) -> dict[str, Any]:
    return {"timestamp": 0, "input_length": length, "output_length": 5, "hash_ids": names, **more}


@pytest.mark.parametrize(
    ("entry", "size"),
    [
        (mooncake(1100, 1, 2, 3), 512),
        (mooncake(100, 1, 2, block_size=64), 64),
        (bailian(40, 1, 2, 3), 16),
        (bailian(40, 1, 2, 3, parent_chat_id=55, turn=2), 16),
        ({"id": "a", **one(0.0, 150, 1, 2, 3)}, 64),
        ({"id": "a", **one(0.0, 150, 1, 2)}, 64),
        ({"id": "a", "block_size": 32, **one(0.0, 70, 1, 2)}, 32),
    ],
)
def test_the_size_of_a_block_is_that_of_the_form_unless_the_file_says(
    read: Read, entry: dict[str, Any], size: int
) -> None:
    found = read(lines(entry))
    (item,) = found.items

    assert item.blocks is not None
    assert (item.blocks.size, item.blocks.names) == (size, tuple(entry["hash_ids"]))
    assert (found.block_size, found.notes) == (size, ())


def test_the_size_of_a_block_can_be_said(tmp_path: Path) -> None:
    (tmp_path / "trace").write_text(lines(mooncake(1100, *range(9)), mooncake(40, 1, block_size=7)))
    found = read_dataset(tmp_path / "trace", block_size=128)

    assert [item.blocks for item in found.items] == [Blocks(tuple(range(9)), 128), Blocks((1,), 128)]
    assert (found.block_size, found.notes) == (128, ())


def test_blocks_of_another_size_are_not_used_and_that_is_told_with_one_that_fits(read: Read) -> None:
    found = read(lines(mooncake(600, 1, 2), mooncake(600, *range(38)), mooncake(1000, *range(63))))

    assert [item.blocks is None for item in found.items] == [False, True, True]
    assert found.notes == (
        "not used: hash_ids of 2 of 3 prompts, which are not one for each 512 tokens: these prompts share "
        "nothing (no size fits them all)",
    )
    found = read(lines(mooncake(600, *range(38)), mooncake(1000, *range(63))))
    assert found.block_size is None
    assert found.notes[0].endswith("(--llm-block-size=16 fits them all)")


def test_a_size_that_was_said_and_fits_no_prompt_is_refused(tmp_path: Path) -> None:
    (tmp_path / "trace").write_text(lines(mooncake(600, *range(38))))
    with pytest.raises(UsageError, match=r"/trace: no prompt has .* block_size=64 .*; 16 fits them all"):
        read_dataset(tmp_path / "trace", block_size=64)


def test_a_size_of_blocks_that_no_prompt_has_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").write_text(GOOD)

    assert read_dataset(tmp_path / "data", block_size=64).notes == (
        "block_size=64 changes nothing: no request has hash_ids that name blocks",
    )


def test_blocks_that_are_no_names_or_of_another_size_than_those_before_are_told(read: Read) -> None:
    found = read(
        lines(
            mooncake(600, 1, 2),
            {**MOON, "hash_ids": "ab"},
            mooncake(64, 1, block_size=64),
            mooncake(5, block_size=0),
        )
    )

    assert [item.blocks is None for item in found.items] == [False, True]
    assert found.notes == (
        "2 of 4 entries were left out: hash_ids of other blocks than those before, which have 512 tokens (1, "
        "the first in line 3), block_size is 0 (1, the first in line 4)",
        "not used: hash_ids that are not a list of names: their prompts share nothing (1)",
    )


@pytest.mark.parametrize(
    "write",
    [lines, lambda *all: json.dumps(all), lambda *all: "".join(json.dumps(one, indent=2) for one in all)],
    ids=["lines", "array", "several lines each"],
)
def test_a_conversation_of_wekas_is_its_requests(read: Read, write: Callable[..., str]) -> None:
    agent = {
        "t": 1.0,
        "type": "subagent",
        "agent_id": "b",
        "requests": [one(1.5, 64, 9), {"type": "subagent", "t": 2, "requests": [one(2.5, 70, 9)]}],
    }
    found = read(
        write(weka(one(0.0, 130, 1, 2), agent, one(2.0, 200, 1, 2, 3)), weka(one(0.0, 64, 1), id="c"))
    )

    assert [(item.at, item.prompt_tokens) for item in found.items] == [
        (0.0, 130),
        (0.0, 64),
        (1.5, 64),
        (2.0, 200),
        (2.5, 70),
    ]
    scopes = [item.blocks.scope for item in found.items if item.blocks is not None]
    assert scopes == ["'a'", "'c'", "'a'", "'a'", "'a'"]
    assert (found.time_unit, found.block_size) == ("s", 64)
    assert found.notes == (
        "the times of its 2 conversations count from the beginning of each, so that all begin at once",
    )


def test_names_of_blocks_mean_the_same_in_all_conversations_where_the_file_says_so(read: Read) -> None:
    found = read(lines(weka(one(0.0, 64, 1), hash_id_scope="global"), weka(one(0.0, 64, 1), id="c")))

    assert [item.blocks for item in found.items] == [Blocks((1,), 64), Blocks((1,), 64, "'c'")]


def test_what_is_odd_in_a_conversation_does_not_take_the_rest_with_it(read: Read) -> None:
    found = read(lines(weka(one(0.0, 64, 1), one(1.0, 64, 1, out=0), one(2.0, 70, 1)), weka(id="b"), 1))

    assert [item.at for item in found.items] == [0.0, 2.0]
    assert found.notes[0].startswith(
        "3 of 5 entries were left out: no token to read, or none to generate (1, the first in line 1), "
    )


def test_names_of_blocks_count_as_what_is_read(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "_MOST_TEXT", 100)
    found = read(lines(*[mooncake(1000, 1, 2)] * 5))

    assert len(found.items) == 2
    assert found.notes == ("only its first 2 entries were read: a load uses no more",)


# --- Times --------------------------------------------------------------------------------------


def moon(*times: Any, **more: Any) -> str:
    return lines(*({**MOON, "timestamp": time, **more} for time in times))


BURST = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,GPT-4,9,0,9,Conversation log
65,GPT-4,9,1,10,API log
"""


@pytest.mark.parametrize(
    ("text", "unit", "times"),
    [
        (moon(1000, 61000), "ms", [0, 60]),
        (moon("61000", "1000", "1000"), "ms", [0, 0, 60]),
        (moon(-30000, 30000), "ms", [0, 60]),
        (moon(0, 60, chat_id=1, parent_chat_id=-1), "s", [0, 60]),
        (moon("2024-05-10T00:00:00", "2024-05-10T00:01:00Z"), "date", [0, 60]),
        (BURST, "s", [0, 60]),
        (lines({"id": "a", **one(1, 9)}, {"id": "a", **one(61, 9)}), "s", [0, 60]),
        (lines({"prompt": "a", "timestamp": 1.7e9}, {"prompt": "b", "timestamp": 1.7e9 + 60}), "s", [0, 60]),
        (moon(1.7e12, 1.7e12 + 60000), "ms", [0, 60]),
    ],
)
def test_the_unit_of_times_is_that_of_the_form(read: Read, text: str, unit: str, times: list[float]) -> None:
    found = read(text)

    assert [item.at for item in found.items] == times
    assert found.time_unit == unit
    assert found.doubt is None


NEW_BURST = """Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type
19440161.0,d598-bf9,2,ChatGPT,36,29,65,Conversation log
19440110.0,1722-c82,43,GPT-4,906,446,1352,Conversation log
19440192.0,,,ChatGPT,36,0,36,API log
"""


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_requests_that_failed_are_left_out_and_counted(read: Read, end: str, mark: str) -> None:
    found = read(mark + NEW_BURST.replace("\n", end))

    assert found.items == (
        Item(output_tokens=446, prompt_tokens=906, at=0.0),
        Item(output_tokens=29, prompt_tokens=36, at=51.0),
    )
    assert found.notes == (
        "1 of 3 entries were left out: a request that failed: it has no token of a response (1, the first in "
        "line 4)",
        "1 of 2 requests stood after later ones: they are in the order of their times",
    )


def test_requests_that_stand_after_later_ones_are_counted(read: Read) -> None:
    found = read(moon(5000, 1000, 60000, 2000, 60000))

    assert [item.at for item in found.items] == [0, 1, 4, 59, 59]
    assert found.notes == ("2 of 5 requests stood after later ones: they are in the order of their times",)


@pytest.mark.parametrize(("unit", "span"), [("s", 60.0), ("ms", 0.06), ("us", 6e-5), ("ns", 6e-8)])
def test_the_unit_of_times_can_be_said(tmp_path: Path, unit: str, span: float) -> None:
    (tmp_path / "trace").write_text(moon(0.0, 60.0))
    found = read_dataset(tmp_path / "trace", time_unit=unit)

    assert found.items[1].at == pytest.approx(span)
    assert (found.time_unit, found.doubt) == (unit, None)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (moon(0.0, 60.0), "2 requests came within 0.06 s, 16.7 a second.*--llm-time-unit=s for seconds"),
        (moon(*range(0, 86400, 5)), "17280 requests came within 86.4 s, 200 a second"),
        (moon(1.7e9, 1.7e9 + 86400), "look like seconds since 1970.*--llm-time-unit=s"),
        (moon(1.7e15, 1.7e15 + 6e7), "look like microseconds since 1970.*--llm-time-unit=us"),
        (moon(1.7e18, 1.7e18 + 6e10), "look like nanoseconds since 1970.*--llm-time-unit=ns"),
        (moon(0, 3.6e10), "read as milliseconds.*lasted 417 days"),
        (moon(0, 3.6e7, chat_id=1), "read as seconds.*lasted 417 days.*--llm-time-unit=ms"),
        (lines({"prompt": "a", "timestamp": 0}, {"prompt": "b", "timestamp": 0.5}), "read as seconds"),
    ],
)
def test_times_that_are_hardly_in_their_forms_unit_are_doubted(read: Read, text: str, told: str) -> None:
    doubt = read(text).doubt

    assert doubt is not None
    assert re.search(told, doubt)


def test_requests_all_at_once_are_no_doubt(read: Read) -> None:
    assert read(moon(5, 5, 5)).doubt is None


@pytest.mark.parametrize("text", ["", "\n \n", "[]", HEADER])
def test_an_empty_file_is_refused(read: Read, text: str) -> None:
    with pytest.raises(UsageError, match=r"data holds no request$"):
        read(text)


def test_a_file_of_which_everything_was_left_out_is_refused_with_the_reason(read: Read) -> None:
    with pytest.raises(UsageError, match="holds no request: 1 of 1 entries were left out: only one turn"):
        read(lines(turns(("human", "Alone"))))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b'{"prompt": "\xff\xfe"}')
    with pytest.raises(UsageError, match=r"binary holds no request: .*not UTF-8 text"):
        read_dataset(tmp_path / "binary")
    with pytest.raises(UsageError, match=r"missing\.jsonl cannot be read: No such file"):
        read_dataset("missing.jsonl", root=tmp_path)
    with pytest.raises(UsageError, match="Is a directory"):
        read_dataset(tmp_path)


def test_what_an_error_shows_of_a_file_is_short(read: Read) -> None:
    with pytest.raises(UsageError) as caught:
        read(lines({"words": "x" * 10_000}))

    assert len(str(caught.value)) < 600


# --- The file -----------------------------------------------------------------------------------


def test_a_relative_path_is_meant_from_the_root_and_others_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data").write_text('{"prompt": "a"}')
    elsewhere = tmp_path / "elsewhere"

    assert read_dataset("data", root=tmp_path).path == tmp_path / "data"
    assert read_dataset(tmp_path / "data", root=elsewhere).path == tmp_path / "data"
    assert read_dataset("~/data", root=elsewhere).path == tmp_path / "data"


def test_the_digest_is_the_files(read: Read) -> None:
    text = lines({"prompt": "a"})

    assert read(text).digest == "sha256:" + hashlib.sha256(text.encode()).hexdigest()


# --- Conversations ------------------------------------------------------------------------------


def test_whole_conversations_have_every_turn_with_the_answers_that_were_given(tmp_path: Path) -> None:
    (tmp_path / "data").write_text(
        lines(
            turns(("human", "One?"), ("gpt", "1."), ("human", "Two?"), ("gpt", "2.")),
            {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]},
            {"turns": ["First?", "Second?"]},
            {"prompt": "Alone?", "max_tokens": 7},
            turns(("gpt", "hello"), ("gpt", "there")),
        )
    )
    found = read_dataset("data", root=tmp_path, conversations=True)
    told = [one.conversation for one in found.items if one.conversation is not None]
    assert [[(t.user, t.answer) for t in one.turns] for one in told] == [
        [("One?", "1."), ("Two?", "2.")],
        [("Why?", None)],
        [("First?", None), ("Second?", None)],
        [("Alone?", None)],
    ]
    assert [one.system for one in told] == [None, "Be brief.", None, None]
    assert [one.output_tokens for one in found.items] == [None, None, None, 7]
    assert found.notes == ("1 of 5 entries were left out: no text from a person (1, the first in line 5)",)
    # Without being asked for, nobody pays for them.
    assert all(one.conversation is None for one in read_dataset("data", root=tmp_path).items)


def test_conversations_count_as_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "_MOST_TEXT", 300)
    (tmp_path / "data").write_text(lines(*[turns(("human", "One?"), ("gpt", "1" * 100))] * 9))
    found = read_dataset("data", root=tmp_path, conversations=True)
    assert len(found.items) == 3
    assert "only its first 3 entries were read" in found.notes[0]
