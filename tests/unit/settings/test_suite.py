"""Does a suite hold what it says, and does it say in one line what is not valid?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.backends.registry import Registry
from pytest_llmbench.errors import UsageError
from pytest_llmbench.settings.options import BackendOptions
from pytest_llmbench.settings.presets import shipped
from pytest_llmbench.settings.sources import Precedence
from pytest_llmbench.settings.suite import Suite, read_suite
from pytest_llmbench.settings.suite_rows import ASKED, ROWS

Read = Callable[..., Suite]
FOR_CHATS = ("cache", "history", "placement", "same_output")


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    """Reads a suite from its text, with other files beside it."""
    monkeypatch.chdir(tmp_path)

    def read(text: str, environment: Mapping[str, str] | None = None, **others: str) -> Suite:
        (tmp_path / "s.llm.yaml").write_text(text)
        for name, content in others.items():
            (tmp_path / f"{name}.yaml").write_text(content)
        return read_suite(Path("s.llm.yaml"), Registry(), shipped(), environment or {})

    return read


def test_a_case_has_the_defaults_and_its_own_settings(read: Read) -> None:
    suite = read(
        """
version: 1
defaults: {models: [tiny], rounds: 3, prompt: Hello, backend_options: {llamacpp: {n_threads: 1, n_batch: 8}}}
cases:
  - name: first
  - name: second
    tags: [rag, long]
    rounds: 4
    prompt_tokens: 16
    backend_options: {llamacpp: {n_threads: 2}}
  - name: third
    tags: rag
    messages: [{role: user, content: Hello}]
"""
    )
    first, second, third = (case.points[0] for case in suite.cases)
    assert first.asked.prompt == "Hello"
    assert first.values["rounds"] == 3
    assert second.values["rounds"] == 4
    assert (second.asked.prompt, second.asked.prompt_tokens) == (None, 16)
    options = second.values["backend_options"]
    assert isinstance(options, BackendOptions)
    assert options.of("llamacpp") == {"n_threads": 2, "n_batch": 8}
    assert third.asked.messages == ({"role": "user", "content": "Hello"},)
    assert [case.tags for case in suite.cases] == [(), ("rag", "long"), ("rag",)]
    assert suite.tags == ["rag", "long"]
    assert [case.fixture for case in suite.cases] == ["llm_model"] * 3


def test_a_case_takes_every_setting_under_the_same_name(read: Read) -> None:
    """One table: what a marker takes, a case takes."""
    settings = {
        "preset": "chatbot",
        "models": "tiny",
        "backends": "llamacpp",
        "quantizations": ["q8_0"],
        "backend_options": {"llamacpp": {"n_threads": 1}},
        "base_url": "http://localhost:1/v1",
        "serve": "vllm",
        "concurrency": 2,
        "request_rate": 1.5,
        "arrivals": "poisson",
        "slo": {"ttft": 0.5},
        "failures": "1%",
        "prompt_length": 16,
        "output_length": "uniform:2:4",
        "dataset": "data.jsonl",
        "time_unit": "ms",
        "block_size": 16,
        "thresholds": {"ttft": "<1s"},
        "clock": "wall",
        "isolation": "test",
        "ignore_eos": True,
        "prefix_cache": False,
        "top_p": 0.5,
        "cache": "paired",
        "needle": 0.5,
        "history": "live",
        "placement": "last",
        "same_output": False,
    }
    import json

    for key in ROWS:
        if key in ASKED:
            continue
        value = json.dumps(settings.get(key, 3))
        asked = "conversation: rag" if key in FOR_CHATS else "prompt: Hello"
        suite = read(f"version: 1\ncases:\n- {{name: a, {asked}, {key}: {value}}}\n")
        assert key in suite.cases[0].points[0].values


@pytest.mark.parametrize(
    ("said", "fixture"),
    [
        ("prompt: Hello", "llm_model"),
        ("prompt_tokens: 8", "llm_model"),
        ("concurrency: [1, 8]", "llm_load"),
        ("request_rate: 2", "llm_load"),
        ("dataset: prompts.jsonl", "llm_load"),
        ("prompt: Hello, concurrency: 2", "llm_load"),
        ("preset: chatbot", "llm_load"),
        ("preset: mine", "llm_load"),
        ("preset: chatbot, prompt: Hello", "llm_model"),
        ("sweep: {parameters: {concurrency: [1, 2]}}", "llm_load"),
        ("conversation: rag", "llm_chat"),
        ("conversation: rag, conversations: [2, 8]", "llm_load"),
        ("conversation: rag, concurrency: 2, history: live", "llm_load"),
        ("conversations: 8, turns: 3", "llm_load"),
        ("task: summarization", "llm_model"),
        ("task: summarization, prompt_tokens: 512", "llm_model"),
        ("preset: chatbot, conversation: rag, placement: last", "llm_chat"),
        ("conversation: {turns: [{user: Hello}]}", "llm_chat"),
        ("sweep: {parameters: {conversation: [rag, simple-qa], cache: [cold, warm]}}", "llm_chat"),
    ],
)
def test_a_case_with_a_load_level_is_one(read: Read, said: str, fixture: str) -> None:
    own = "presets: {mine: {extends: chatbot, concurrency: 3}}"
    (case,) = read(f"version: 1\n{own}\ncases: [{{name: a, {said}}}]").cases
    assert case.fixture == fixture


def test_a_task_stands_beside_a_length_and_nothing_else_that_is_asked(read: Read) -> None:
    suite = read(
        """
version: 1
defaults: {task: summarization}
cases:
  - {name: own}
  - {name: long, prompt_tokens: 512}
  - {name: swept, sweep: {parameters: {prompt_tokens: [64, 128]}}}
  - {name: prompt, prompt: Hello}
  - {name: messages, sweep: {parameters: {prompt: [Hello]}}}
"""
    )
    asked = [point.asked for case in suite.cases for point in case.points]
    assert [(one.task, one.prompt_tokens, one.prompt) for one in asked] == [
        ("summarization", None, None),
        ("summarization", 512, None),
        ("summarization", 64, None),
        ("summarization", 128, None),
        (None, None, "Hello"),
        (None, None, "Hello"),
    ]


def test_a_conversation_is_of_the_package_of_a_file_or_of_the_suite(read: Read, tmp_path: Path) -> None:
    chats = "- {name: one, turns: [{user: Hello}]}\n- {name: two, tags: [talk], turns: [{user: Hi}]}\n"
    suite = read(
        """
version: 1
defaults: {cache: paired}
cases:
  - {name: shipped, conversation: rag, tags: [mine]}
  - {name: file, conversation: chats.yaml#two}
  - {name: own, conversation: {turns: [{user: Hello}]}}
  - {name: named, conversation: {name: other, turns: [{user: Hello}]}}
  - {name: plain, prompt: Hello}
""",
        chats=chats,
    )
    asked = [case.points[0].asked.conversation for case in suite.cases]
    assert [None if one is None else one.name for one in asked] == ["rag", "two", "own", "other", None]
    assert [case.fixture for case in suite.cases] == [*["llm_chat"] * 4, "llm_model"]
    assert [case.points[0].tags for case in suite.cases] == [("rag", "short"), ("talk",), (), (), ()]
    assert sorted(suite.tags) == ["mine", "rag", "short", "talk"]


def test_a_conversation_is_meant_from_the_folder_of_the_suite_that_says_it(
    read: Read, tmp_path: Path
) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "base.yaml").write_text(
        "version: 1\ndefaults: {conversation: chats.yaml}\ncases: [{name: a}]\n"
    )
    (tmp_path / "deep" / "chats.yaml").write_text("name: deep\nturns: [{user: Hello}]\n")
    suite = read("version: 1\nextends: deep/base.yaml\n")
    conversation = suite.cases[0].points[0].asked.conversation
    assert conversation is not None
    assert conversation.name == "deep"


def test_a_sweep_of_the_suite_is_every_cases_that_has_no_own(read: Read) -> None:
    suite = read(
        """
version: 1
sweep: {parameters: {prompt_tokens: [8, 16]}}
cases:
  - name: both
  - name: own
    sweep: {parameters: {max_new_tokens: [1, 2, 3]}}
    prompt: Hello
  - name: none
    sweep:
    prompt: Hello
"""
    )
    assert [len(case.points) for case in suite.cases] == [2, 3, 1]
    assert [point.label for point in suite.cases[0].points] == ["prompt_tokens:8", "prompt_tokens:16"]
    assert suite.cases[0].points[1].combination.plain == {"prompt_tokens": 16}


def test_a_point_is_stronger_than_the_case_and_leaves_its_other_options(read: Read) -> None:
    suite = read(
        """
version: 1
defaults: {slo: {ttft: 0.5, tpot: 0.1}, concurrency: 1}
cases:
  - name: a
    backend_options: {server: {endpoint: chat, retries: 1}}
    sweep: {parameters: {backend_options.server.retries: [2, 3], slo.ttft: [200ms]}}
"""
    )
    values = [point.values for point in suite.cases[0].points]
    assert [one["backend_options"].of("server") for one in values] == [
        {"endpoint": "chat", "retries": 2},
        {"endpoint": "chat", "retries": 3},
    ]
    assert values[0]["slo"] == {"ttft": 0.2, "tpot": 0.1}
    assert [point.label for point in suite.cases[0].points] == [
        "retries:2-ttft:200ms",
        "retries:3-ttft:200ms",
    ]


def test_variables_come_from_the_file_then_the_environment_then_the_default(read: Read) -> None:
    suite = read(
        """
version: 1
variables: {N: 7, NAME: "x${WHO}", SET: "${OUTSIDE:1}"}
cases:
  - {name: a, prompt: "${NAME} ${GREETING:hello you} $${KEPT}", rounds: "${N}", max_new_tokens: "${SET}"}
""",
        {"N": "9", "WHO": "me", "OUTSIDE": "5"},
    )
    (point,) = suite.cases[0].points
    assert point.asked.prompt == "xme hello you ${KEPT}"
    assert (point.values["rounds"], point.values["max_new_tokens"]) == (7, 5)


def test_the_models_of_a_suite_are_names(read: Read) -> None:
    suite = read(
        """
version: 1
models: {small: tiny, chat: {model: org/name, quantization: q4_0, revision: 0123}}
cases: [{name: a, prompt: Hello, models: [small, chat]}]
"""
    )
    assert suite.aliases is not None
    assert suite.aliases.names == ["small", "chat"]
    assert suite.aliases.spec("chat").revision == "0123"
    assert suite.cases[0].points[0].source.aliases is suite.aliases


def test_a_suite_has_presets_of_its_own_over_the_others(read: Read) -> None:
    suite = read(
        """
version: 1
presets: {chatbot: {max_new_tokens: 9}, mine: {extends: chatbot, rounds: 2}}
cases: [{name: a, preset: mine, prompt: Hello}, {name: b, preset: chatbot, prompt: Hello}]
"""
    )
    for case, rounds in zip(suite.cases, (2, 5), strict=True):
        held = Precedence().settings(case.points[0].source)
        assert (held.max_new_tokens, held.rounds) == (9, rounds)


def test_what_a_suite_extends_holds_where_it_does_not_say_otherwise(read: Read) -> None:
    suite = read(
        """
version: 1
extends: base.yaml
variables: {N: 2}
defaults: {prompt: Hello}
""",
        base="""
version: 1
models: {small: tiny}
variables: {N: 1, M: 4}
defaults: {rounds: "${N}", max_new_tokens: "${M}", prompt_tokens: 8}
cases: [{name: a}]
""",
    )
    (point,) = suite.cases[0].points
    assert (point.values["rounds"], point.values["max_new_tokens"]) == (2, 4)
    assert (point.asked.prompt, point.asked.prompt_tokens) == ("Hello", None)
    assert suite.aliases is not None


def test_a_path_is_meant_from_the_folder_of_the_file_that_says_it(read: Read, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "base.yaml").write_text(
        "version: 1\ndefaults: {dataset: data.jsonl, models: [./m.gguf], concurrency: 1}\n"
    )
    suite = read("version: 1\nextends: shared/base.yaml\ncases: [{name: a}]\n")
    values = suite.cases[0].points[0].values
    assert values["dataset"] == str(tmp_path / "shared" / "data.jsonl")
    assert values["models"] == (str(tmp_path / "shared" / "m.gguf"),)


CASE = "version: 1\ncases:\n- name: a\n  prompt: Hello\n"

BAD: list[tuple[str, str]] = [
    ("", "s.llm.yaml:1:1: the suite is empty"),
    ("# nothing\n", "s.llm.yaml:1:1: the suite is empty"),
    ("- 1\n", "s.llm.yaml:1:1: a suite is a table"),
    ("models: {a: tiny}\n", "s.llm.yaml:1:1: the suite does not say its version, and has no cases"),
    ("defaults: {}\ncases: []\n", "s.llm.yaml:1:1: a suite that has 'defaults' says its version"),
    ("version: 2\ncases: []\n", "s.llm.yaml:1:10: version 2 is not known"),
    ("version: 1\n", "s.llm.yaml:1:1: the suite has no cases"),
    ("version: 1\ncases: []\n", "s.llm.yaml:2:8: cases is a list"),
    ("version: 1\ncases: {a: b}\n", "s.llm.yaml:2:8: cases is a list"),
    ("version: 1\ncases: [a]\n", "s.llm.yaml:2:9: a case is a table"),
    ("version: 1\ncase: []\n", "s.llm.yaml:2:1: a suite has no key 'case'; did you mean 'cases'?"),
    ("version: 1\nrounds: 3\n", "s.llm.yaml:2:1: 'rounds' is a setting of cases: write it under defaults"),
    (CASE + "  round: 3\n", "s.llm.yaml:5:3: a case has no key 'round'; did you mean 'rounds'?"),
    (
        CASE + "  max-tokens: 3\n",
        "s.llm.yaml:5:3: a case has no key 'max-tokens'; did you mean 'max_new_tokens'?",
    ),
    (CASE + "  zzz: 3\n", "s.llm.yaml:5:3: a case has no key 'zzz'; there are name, tags, sweep, prompt"),
    (CASE + "  rounds: many\n", "s.llm.yaml:5:11: rounds: 'many' is not a whole number of at least 1"),
    (CASE + "  rounds: 0\n", "s.llm.yaml:5:11: rounds: 0 is not a whole number of at least 1"),
    (CASE + "  rounds:\n", "s.llm.yaml:5:10: rounds: None is not a whole number"),
    (CASE + "  rounds: [1]\n", r"s.llm.yaml:5:11: rounds: [1] is not a whole number"),
    (CASE + "  models: {a: b}\n", "s.llm.yaml:5:11: models: {'a': 'b'} is not a name or a list of names"),
    (CASE + "  models: []\n", "s.llm.yaml:5:11: models is empty"),
    (CASE + "  slo: {itl: 1}\n", "s.llm.yaml:5:8: slo: 'itl' cannot be an objective"),
    (CASE + "  isolation: model\n  processes: 2\n", "s.llm.yaml:3:3: isolation='model' keeps one process"),
    (CASE + "  prompt_tokens: 3\n", "s.llm.yaml:5:3: give prompt or prompt_tokens, not both"),
    (CASE + "  prompt: Hello\n", "s.llm.yaml:5:3: the key 'prompt' was given in line 4 already"),
    (CASE + "- name: a\n  prompt: Hello\n", "s.llm.yaml:5:3: the name 'a' was given in line 3 already"),
    (CASE + "- prompt: Hello\n", "s.llm.yaml:5:3: the case has no name"),
    (CASE + "- {name: 'a b', prompt: Hello}\n", "s.llm.yaml:5:10: name: 'a b' is not a valid name"),
    (CASE + "- {name: __init__, prompt: Hello}\n", "s.llm.yaml:5:10: name: '__init__' is not a valid name"),
    (
        CASE + "- {name: setup_module, prompt: Hello}\n",
        "s.llm.yaml:5:10: name: 'setup_module' means something else",
    ),
    (
        CASE + "- {name: b}\n",
        "s.llm.yaml:5:3: the case asks nothing: give one of prompt, messages, prompt_tokens, task, ",
    ),
    (
        CASE + "- {name: b, prompt_tokens: 8, concurrency: 2}\n",
        "s.llm.yaml:5:3: prompt_tokens is for one request",
    ),
    (
        CASE + "  messages: [{role: user}]\n",
        "s.llm.yaml:5:13: messages: [{'role': 'user'}] is not a list of {role",
    ),
    (CASE + "  task: summarization\n", "s.llm.yaml:5:3: give prompt or task, not both"),
    (
        CASE + "- {name: b, task: sumarization}\n",
        "s.llm.yaml:5:19: task: 'sumarization' is not one of text-generation, summarization, question",
    ),
    (
        CASE + "- {name: b, task: summarization, concurrency: 2}\n",
        "s.llm.yaml:5:3: task is for one request at a time",
    ),
    (
        CASE + "  conversation: rag\n",
        "s.llm.yaml:5:3: give prompt or conversation, not both",
    ),
    (
        CASE + "- {name: b, conversation: rga}\n",
        "s.llm.yaml:5:27: there is no conversation 'rga'; did you mean 'rag'?",
    ),
    (
        CASE + "- {name: b, conversation: no.yaml#a}\n",
        "s.llm.yaml:5:27: no.yaml: the file cannot be read",
    ),
    (
        CASE + "- {name: b, conversation: [rag]}\n",
        "s.llm.yaml:5:27: conversation: ['rag'] is not the name of",
    ),
    (CASE + "- {name: b, conversation: 3}\n", "s.llm.yaml:5:27: conversation: 3 is not the name of"),
    (
        CASE + "- {name: b, conversation: {turns: [{usr: a}]}}\n",
        "s.llm.yaml:5:37: a turn has no key 'usr'; did you mean 'user'?",
    ),
    (
        CASE + "- {name: b, conversation: {turns: [{user: a, documents: {add: x}}]}}\n",
        "s.llm.yaml:5:36: turn 1 adds the document 'x', which is not defined",
    ),
    *(
        (
            CASE + f"  {key}: {value}\n",
            f"s.llm.yaml:3:3: {key} is for conversations: give a conversation, or leave {key} out",
        )
        for key, value in zip(FOR_CHATS, ("paired", "live", "last", "true"), strict=True)
    ),
    (
        CASE + "  sweep: {parameters: {placement: [system, last]}}\n",
        "s.llm.yaml:3:3: placement is for conversations",
    ),
    (
        CASE + "- {name: b, conversation: rag, request_rate: 2}\n",
        "s.llm.yaml:5:3: a conversation is held alone, or under load with conversations or concurrency, and "
        "not with request_rate only: leave one out",
    ),
    (CASE + "  tags: [a-b]\n", "s.llm.yaml:5:10: tags: 'a-b' is not a valid tag"),
    (CASE + "  tags: skip\n", "s.llm.yaml:5:9: tags: 'skip' is a marker that means something else"),
    (CASE + "  sweep: 3\n", "s.llm.yaml:5:10: a sweep is a table"),
    (CASE + "  sweep: {parameters: {zzz: [1]}}\n", "s.llm.yaml:5:30: a case has no key 'zzz'"),
    ("version: 1\ndefaults: {name: a}\n" + CASE[11:], "s.llm.yaml:2:12: defaults have no key 'name'"),
    ("version: 1\ndefaults: 3\n" + CASE[11:], "s.llm.yaml:2:11: defaults is a table, such as rounds: 3"),
    ("version: 1\nmodels: {a: {quantization: q4_0}}\n" + CASE[11:], "s.llm.yaml:2:10: 'a' needs a model"),
    (
        "version: 1\nmodels: {a: {model: tiny, size: 3}}\n" + CASE[11:],
        "s.llm.yaml:2:27: 'a', key 'size': unknown key",
    ),
    (CASE + "  preset: nothing\n", "s.llm.yaml:5:11: there is no preset 'nothing'"),
    ("version: 1\npresets: {a: {round: 1}}\n" + CASE[11:], "s.llm.yaml:2:15: "),
    ("version: 1\npresets: {a: {rounds: x}}\n" + CASE[11:], "s.llm.yaml:2:15: "),
    ("version: 1\npresets: 3\n" + CASE[11:], "s.llm.yaml:2:10: presets is a table, such as"),
    (
        CASE + "  sweep: {parameters: {prompt: [a], prompt_tokens: [3]}}\n",
        "s.llm.yaml:3:3: the sweep gives prompt and prompt_tokens together",
    ),
    ("version: 1\nmodels: {./a: tiny}\n" + CASE[11:], "s.llm.yaml:2:10: './a' is not a valid alias"),
    (
        CASE.replace("Hello", "${NO}"),
        "s.llm.yaml:4:11: the variable NO is not set: set it under variables or in the",
    ),
    (CASE + "  rounds: ${A\n", "s.llm.yaml:5:11: '${' has no '}' after it"),
    (CASE + "  rounds: ${a b}\n", "s.llm.yaml:5:11: '${a b}' is not a variable"),
    (
        "version: 1\nvariables: {A: '${B}', B: '${A}'}\n" + CASE[11:].replace("Hello", "${A}"),
        "s.llm.yaml:2:16: the variable A needs itself: A -> B -> A",
    ),
    (
        "version: 1\nvariables: {A: [1]}\n" + CASE[11:],
        "s.llm.yaml:2:16: the variable A is a text or a number",
    ),
    (
        "version: 1\nvariables: {'a b': 1}\n" + CASE[11:],
        "s.llm.yaml:2:13: 'a b' is not a valid name of a variable",
    ),
    (
        "version: 1\nextends: s.llm.yaml\n",
        "s.llm.yaml:2:1: the suite extends itself: s.llm.yaml -> s.llm.yaml",
    ),
    ("version: 1\nextends: no.yaml\n", "s.llm.yaml:2:1: extends: there is no file no.yaml"),
    (f"version: 1\nextends: {'x' * 300}\n", "s.llm.yaml:2:1: extends: there is no file xxx"),
    ("version: 1\nextends: .\n", "s.llm.yaml:2:1: extends: there is no file"),
    ("version: 1\nextends: [a]\n", "s.llm.yaml:2:10: extends is the path of one other suite"),
]
"""What is not valid, and how the message begins."""


@pytest.mark.parametrize(("text", "message"), BAD, ids=range(len(BAD)))
def test_what_is_not_valid_is_refused_in_one_line_with_its_place(read: Read, text: str, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        read(text)
    told = str(refused.value)
    assert told.startswith(message)
    assert "\n" not in told


def test_files_that_extend_each_other_are_refused_where_the_circle_closes(read: Read) -> None:
    with pytest.raises(UsageError) as refused:
        read(
            "version: 1\nextends: a.yaml\n",
            a="version: 1\nextends: b.yaml\n",
            b="version: 1\nextends: a.yaml\n",
        )
    assert (
        str(refused.value) == "b.yaml:2:1: the suite extends itself: s.llm.yaml -> a.yaml -> b.yaml -> a.yaml"
    )


def test_not_more_than_ten_files_extend_each_other(read: Read) -> None:
    others = {f"f{n}": f"version: 1\nextends: f{n + 1}.yaml\n" for n in range(12)}
    with pytest.raises(UsageError, match=r"f8\.yaml:2:1: more than 10 files extend each other"):
        read("version: 1\nextends: f0.yaml\n", **others)


def test_variables_that_double_each_other_end(read: Read) -> None:
    variables = "\n".join(
        f'  V{n}: "{"${V" + str(n - 1) + "}"} {"${V" + str(n - 1) + "}"}"' for n in range(1, 19)
    )
    with pytest.raises(UsageError, match="variables make more than 4 MiB of text"):
        read(
            f"version: 1\nvariables:\n  V0: {'x' * 100}\n{variables}\n" + CASE[11:].replace("Hello", "${V18}")
        )


def test_a_suite_has_no_more_cases_than_a_session_can_hold(read: Read) -> None:
    with pytest.raises(UsageError, match=r"s\.llm\.yaml:5:23: the sweep has 1,000,000 points"):
        read(CASE + "  sweep: {parameters: {rounds: 1-1000, seed: 1-1000}}\n")


def test_what_names_models_backends_or_options_is_noted_with_its_place(read: Read) -> None:
    suite = read(CASE + "  models: [tiny]\n  sweep: {parameters: {backends: [llamacpp, nothing]}}\n")
    said: list[tuple[str, Any]] = [(str(place), sorted(source.given)) for place, source in suite.said]
    assert said == [
        ("s.llm.yaml:5:11", ["models"]),
        ("s.llm.yaml:6:35", ["backends"]),
        ("s.llm.yaml:6:45", ["backends"]),
    ]
