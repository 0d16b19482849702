"""Are presets data that can be extended key by key, and is what they cannot say refused?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.backends.registry import Registry
from pytest_llmbench.errors import UsageError
from pytest_llmbench.settings.case import SETTINGS, CaseSettings
from pytest_llmbench.settings.presets import DEEPEST, Presets, ini_presets, read_lines, shipped
from pytest_llmbench.settings.sources import Precedence, Source
from pytest_llmbench.workloads.lengths import parse_length

SHIPPED = ["chatbot", "batch-processing", "edge-device", "rag", "long-context", "agent"]
OPTION = "ini option llm_presets"


def of_file(written: Any, weaker: Presets | None = None) -> Presets:
    return (weaker or shipped()).extended(
        written,
        lambda keys: f"suite.yaml: {'.'.join(keys)}",
        Registry(),
        folder=Path("/suite"),
        origin="suite.yaml",
    )


def held(presets: Presets, name: str, **explicit: Any) -> CaseSettings:
    """What holds for a test whose marker names the preset, and says what is *explicit*."""
    marker = presets.attached(Source.of({"preset": name, **explicit}), "test_x")
    return Precedence().settings(marker)


def test_those_that_come_with_the_package_are_there_and_say_what_they_are_for() -> None:
    presets = shipped().all()
    assert list(presets) == SHIPPED
    for preset in presets.values():
        assert preset.description
        assert preset.origin == "built in"
        assert preset.written.keys() <= SETTINGS.keys()


@pytest.mark.parametrize("name", SHIPPED)
def test_what_comes_with_the_package_can_be_run(name: str) -> None:
    values = held(shipped(), name)
    values.check()
    prompts = parse_length(values.prompt_length).sample(2000, seed=1)
    answers = parse_length(values.output_length or values.max_new_tokens).sample(2000, seed=2)
    assert max(prompts) > values.shared_prefix
    context = values.backend_options.of("server").get("context")
    if context is not None:
        # Made prompts come out a few percent longer than asked for.
        assert max(prompts) * 1.025 + max(answers) <= context


def test_the_shapes_are_those_that_others_publish() -> None:
    chatbot = held(shipped(), "chatbot")
    assert (chatbot.prompt_length, chatbot.output_length) == ("normal:512:128", "normal:256:64")
    assert (chatbot.concurrency, chatbot.duration) == ((1, 5, 10), 60)
    assert held(shipped(), "batch-processing").concurrency == (1, 8, 32)
    assert held(shipped(), "agent").shared_prefix == 8359


def test_an_earlier_preset_is_overridden_key_by_key_and_left_as_it_was() -> None:
    presets = of_file({"chatbot": {"max_new_tokens": 8, "duration": None}})
    mine, before = held(presets, "chatbot"), held(shipped(), "chatbot")
    assert (mine.max_new_tokens, mine.duration, mine.concurrency) == (8, None, before.concurrency)
    assert (before.max_new_tokens, before.duration) == (256, 60)
    found = presets.find("chatbot")
    assert (found.origin, found.description) == (
        "built in, suite.yaml",
        shipped().find("chatbot").description,
    )
    assert list(presets.all()) == SHIPPED


def test_a_new_preset_extends_another_wherever_that_stands() -> None:
    presets = of_file(
        {
            "night": {"extends": "evening", "rounds": 3},
            "evening": {"extends": "chatbot", "rounds": 2, "seed": 7},
            "chatbot": {"extends": "chatbot", "duration": 5},
        }
    )
    night = held(presets, "night")
    assert (night.rounds, night.seed, night.duration, night.prompt_length) == (3, 7, 5, "normal:512:128")
    assert list(presets.all()) == [*SHIPPED, "night", "evening"]
    assert held(of_file({"night": {"seed": 1}}, presets), "night").rounds == 3


def test_paths_in_a_preset_are_meant_from_its_file() -> None:
    values = held(
        of_file({"mine": {"dataset": "a.jsonl", "backend_options": ["server.ca_file=b.pem"]}}), "mine"
    )
    assert values.dataset == "/suite/a.jsonl"
    assert values.backend_options.of("server") == {"ca_file": "/suite/b.pem"}


def test_what_a_place_says_itself_holds_over_its_preset() -> None:
    values = held(shipped(), "chatbot", concurrency=(2,), max_new_tokens=4)
    assert (values.concurrency, values.max_new_tokens, values.output_length) == ((2,), 4, None)


def test_none_is_no_preset() -> None:
    assert held(shipped(), "none") == CaseSettings()
    ini = shipped().attached(Source.of({"preset": "chatbot"}), "")
    assert Precedence(Source.of({"preset": "none"}), ini).settings() == CaseSettings()


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ([], r"^suite\.yaml: : expected presets by name"),
        ({"mine": 3}, r"^suite\.yaml: mine: expected settings by their names, .* got 3$"),
        ({"my preset": {}}, r"^suite\.yaml: my preset: 'my preset' is not a valid name of a preset"),
        ({"none": {}}, r"not 'none', which stands for no preset$"),
        ({3: {}}, r"3 is not a valid name of a preset"),
        ({"mine": {"round": 3}}, r"^suite\.yaml: mine\.round: no setting 'round'; did you mean 'rounds'\?"),
        ({"mine": {"n-predict": 3}}, r"no setting 'n-predict'; did you mean 'max_new_tokens'\?"),
        ({"mine": {"extend": "rag"}}, r"did you mean 'extends'\?"),
        ({"mine": {"preset": "rag"}}, r"^suite\.yaml: mine\.preset: a preset names another with 'extends'$"),
        ({"mine": {"rounds": 0}}, r"^suite\.yaml: mine\.rounds: 0 is not a whole number of at least 1"),
        ({"mine": {"concurrency": []}}, None),
        ({"mine": {"dataset": ""}}, r"^suite\.yaml: mine\.dataset is empty"),
        ({"mine": {"description": 3}}, r"^suite\.yaml: mine\.description: expected a text, got 3$"),
        (
            {"mine": {"extends": "chatbto"}},
            r"^suite\.yaml: mine\.extends: there is no preset 'chatbto'; did you mean 'chatbot'\? There are ",
        ),
        ({"mine": {"extends": ["rag"]}}, r"there is no preset \['rag'\]"),
        ({"mine": {"extends": "mine"}}, r"there is no earlier preset 'mine' to go on from$"),
        (
            {"a": {"extends": "b"}, "b": {"extends": "c"}, "c": {"extends": "b"}},
            r"^suite\.yaml: a\.extends: presets extend one another in a circle: a -> b -> c -> b$",
        ),
        (
            {f"p{n}": {"extends": f"p{n + 1}"} for n in range(DEEPEST + 2)} | {f"p{DEEPEST + 2}": {}},
            rf"extend one another more than {DEEPEST} deep: p0 -> p1 -> ",
        ),
    ],
)
def test_what_a_preset_cannot_say_is_refused_with_where_and_the_nearest(
    written: Any, said: str | None
) -> None:
    if said is None:
        of_file(written)
        return
    with pytest.raises(UsageError, match=said):
        of_file(written)


def test_a_name_that_there_is_not_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        UsageError, match=r"^--llm-preset: there is no preset 'rags'; did you mean 'rag'\? There "
    ):
        shipped().attached(Source.of({"preset": "rags"}), "--llm-preset")


def test_lines_of_an_ini_file_are_presets() -> None:
    lines = [
        "chatbot.duration = 5",
        "mine.extends=chatbot",
        "mine.slo = ttft:500ms",
        "mine.slo=tpot:50ms",
        "mine.backend_options=llamacpp.n_threads=2",
        "mine.output_length =",
    ]
    presets = ini_presets(lines, Registry(), folder=None)
    mine = held(presets, "mine")
    assert (mine.duration, mine.output_length, mine.slo) == (5.0, None, {"ttft": 0.5, "tpot": 0.05})
    assert mine.backend_options.of("llamacpp") == {"n_threads": "2"}
    assert presets.find("mine").origin == f"built in, {OPTION}"
    assert ini_presets([], Registry(), folder=None) is shipped()


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["chatbot=3"], r"^ini option llm_presets: 'chatbot=3' is not NAME\.KEY=VALUE, such as "),
        (["chatbot.rounds"], r"is not NAME\.KEY=VALUE"),
        ([".rounds=3"], r"is not NAME\.KEY=VALUE"),
        (["a.rounds=3", "a.rounds=4"], r"^ini option llm_presets: a\.rounds is said twice$"),
        (["a.extends=rag", "a.extends=agent"], r"a\.extends is said twice$"),
        (["a.rounds=three"], r"^ini option llm_presets: a\.rounds: 'three' is not a whole number"),
    ],
)
def test_lines_that_are_none_are_refused(lines: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        ini_presets(lines, Registry(), folder=None)


def test_a_line_without_a_value_is_the_default() -> None:
    assert read_lines(["a.duration="], OPTION) == {"a": {"duration": None}}
