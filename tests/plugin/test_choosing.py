"""Does the command line choose the benchmarks that it should, and list what would run?"""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.plugin.conftest import Run

SUITE = """
version: 1
defaults: {models: [tiny], rounds: 1, warmup_rounds: 0, max_new_tokens: 4}
cases:
- {name: text, tags: [rag], prompt: Hello}
- {name: chat, messages: [{role: user, content: Hello}]}
- {name: grid, tags: [long], prompt_tokens: 8, sweep: {parameters: {depth: [0, 100, 9000]}}}
"""
TALK = """
import pytest
from pytest_llmbench.workloads.scenarios.conversation import Conversation, Made, Turn

def conversation(name, *tags):
    turns = (Turn(user=Made(100)), Turn(user=Made(50), add=("book",), max_new_tokens=7))
    return Conversation(name=name, tags=tags, turns=turns, documents={"book": Made(300)})

@pytest.mark.parametrize("one", [conversation("a", "rag"), conversation("b"), conversation("c")], ids="abc")
@pytest.mark.llm(models=["tiny", "synthetic/llama-82m"], max_new_tokens=5)
def test_talk(llm_chat, one): ...

@pytest.mark.quick
def test_plain(llm_model): ...

def test_other(): ...
"""
Listed = Callable[..., list[str]]


@pytest.fixture(autouse=True)
def files(bench: pytest.Pytester) -> None:
    bench.path.joinpath("s.llm.yaml").write_text(SUITE)
    bench.path.joinpath("test_talk.py").write_text(TALK)
    bench.makeini("[pytest]\nmarkers = quick\n")


@pytest.fixture
def chosen(run: Run) -> Listed:
    """The tests that are left, without their file, with these options."""

    def chosen(*options: str) -> list[str]:
        result = run("--collect-only", "-q", *options)
        assert result.ret in (0, pytest.ExitCode.NO_TESTS_COLLECTED), result.outlines
        return [line.partition("::")[2] for line in result.outlines if "::" in line]

    return chosen


def test_tags_are_those_of_suites_and_conversations_and_markers(chosen: Listed) -> None:
    assert chosen("--llm-tags=rag", "-k", "not 82m") == [
        "text[fake-tiny]",
        "test_talk[fake-tiny-a]",
        "test_other",
    ]
    assert chosen("--llm-tags=quick,long", "--llm-only") == [
        *(f"grid[fake-tiny-depth:{depth}]" for depth in (0, 100, 9000)),
        "test_plain[fake-tiny]",
    ]
    assert chosen("--llm-tags=quick", "--llm-tags=rag", "s.llm.yaml", "test_talk.py::test_plain") == [
        "text[fake-tiny]",
        "test_plain[fake-tiny]",
    ]


def test_excluded_tags_leave_the_others(chosen: Listed) -> None:
    assert chosen("--llm-exclude-tags=long,quick", "s.llm.yaml") == ["text[fake-tiny]", "chat[fake-tiny]"]
    assert chosen("--llm-exclude-tags=nothing", "s.llm.yaml", "-k", "text") == ["text[fake-tiny]"]


def test_a_context_leaves_out_what_needs_more(run: Run, chosen: Listed) -> None:
    # A depth of 100, 8 tokens of the prompt and 4 of the answer.
    assert chosen("--llm-context=112", "s.llm.yaml", "-k", "grid") == [
        "grid[fake-tiny-depth:0]",
        "grid[fake-tiny-depth:100]",
    ]
    result = run("--collect-only", "-q", "--llm-context=111", "s.llm.yaml", "test_talk.py")
    result.stdout.fnmatch_lines(
        [
            "llmbench: --llm-context=111 leaves out 8 benchmarks",
            "llmbench: 1 benchmark stays whose prompts are not known before they run",
        ]
    )
    # Whole conversations count, answers and all: the fake engine has a token for each character.
    assert len(chosen("--llm-context=100000", "test_talk.py", "-k", "test_talk and fake and not plain")) == 6


def test_an_estimate_that_does_not_tell_is_counted_by_the_tokenizer(chosen: Listed) -> None:
    # The chat is 23 tokens to the fake engine, and 4 more are the answer.
    assert chosen("--llm-context=27", "s.llm.yaml", "-k", "chat or text") == [
        "text[fake-tiny]",
        "chat[fake-tiny]",
    ]
    assert chosen("--llm-context=26", "s.llm.yaml", "-k", "chat or text") == ["text[fake-tiny]"]


def test_so_many_conversations_are_held_on_every_model(chosen: Listed) -> None:
    both = ("tiny", "synthetic/llama-82m")
    assert chosen("--llm-max-conversations=2", "--llm-only", "test_talk.py", "-k", "not plain") == [
        f"test_talk[fake-{model}-{name}]" for model in both for name in "ab"
    ]
    # What -k leaves out is none of them.
    assert chosen("--llm-max-conversations=1", "test_talk.py", "-k", "not 82m and (tiny-b or tiny-c)") == [
        "test_talk[fake-tiny-b]"
    ]
    assert "test_plain[fake-tiny]" in chosen("--llm-max-conversations=1", "test_talk.py")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            "--llm-tags=rga",
            "*--llm-tags=rga: no benchmark has the tag 'rga'; did you mean 'rag'*: long, quick, rag",
        ),
        ("--llm-tags=", "*--llm-tags is empty*"),
        ("--llm-context=0", "*--llm-context: '0' is not a whole number of at least 1, at most 10000000"),
        ("--llm-context=32k", "*--llm-context: '32k' is not a whole number*"),
        ("--llm-max-conversations=0", "*--llm-max-conversations: '0' is not a whole number of at least 1*"),
        ("--llm-list=xml", "*--llm-list: 'xml' is not text or json*"),
        ("--llm-list=", "*--llm-list is empty*"),
    ],
)
def test_a_value_that_cannot_be_is_refused_in_one_line(run: Run, option: str, message: str) -> None:
    result = run(option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    told = [line for line in result.errlines if line.strip()]
    assert len(told) == 1
    result.stderr.fnmatch_lines([message])


def test_options_that_contradict_each_other_are_refused(run: Run) -> None:
    result = run("--llm-tags=rag,long", "--llm-exclude-tags=long")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--llm-tags and --llm-exclude-tags both name long*"])
    # A path after the option is taken for its value.
    result = run("--llm-list", "s.llm.yaml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*'s.llm.yaml' is not text or json: write --llm-list=text before a path*"])


def test_a_list_says_what_each_test_would_ask_and_runs_none(bench: pytest.Pytester, run: Run) -> None:
    result = run("s.llm.yaml", "test_talk.py", "-k", "not 82m", "--llm-list")
    assert result.ret == 0
    result.assert_outcomes()
    result.stdout.fnmatch_lines(
        [
            "s.llm.yaml::text[[]fake-tiny]  prompt 6 + 4 new tokens, context 10, KV cache 60.0 KiB",
            "s.llm.yaml::chat[[]fake-tiny]  prompt 23 + 4 new tokens, context 27, KV cache 162 KiB",
            "s.llm.yaml::grid[[]fake-tiny-depth:0]  prompt 8 + 4 new tokens, context 12, KV cache *",
            "s.llm.yaml::grid[[]fake-tiny-depth:100]  prompt 108 + 4 new tokens, context 112, KV cache *",
            "s.llm.yaml::grid[[]fake-tiny-depth:9000]  skipped: tiny has a context of 8192 tokens *",
            "test_talk.py::test_talk[[]fake-tiny-a]  2 turns, prompts */* + 12 new tokens, context *",
            "test_talk.py::test_plain[[]fake-tiny]  prompt [?] + 64 new tokens (the test says it *",
        ]
    )
    result.stdout.no_fnmatch_line("*test_other*")
    assert not bench.path.joinpath("out.json").exists()


def test_a_list_in_json_is_nothing_but_lines_of_json(run: Run) -> None:
    result = run(
        "--llm-list=json", "s.llm.yaml", "test_talk.py::test_talk", "-k", "not 82m", "--llm-tags=rag"
    )
    assert result.ret == 0
    text, talk = (json.loads(line) for line in result.outlines if line)
    assert text == {
        "id": "s.llm.yaml::text[fake-tiny]",
        "fixture": "llm_model",
        "skip": None,
        "backend": "fake",
        "model": "tiny",
        "tags": ["rag"],
        "prompt_tokens": [6],
        "new_tokens": [4],
        "context": 10,
        "weights": text["weights"],
        "kv_cache": 10 * 6144,
        "unknown": None,
    }
    assert (talk["tags"], talk["new_tokens"]) == (["rag"], [5, 7])
    first, second = talk["prompt_tokens"]
    # A question of 100 tokens, then all of it, its answer, a document of 300 and another question.
    assert first > 100
    assert second > first + 5 + 300 + 50
    assert talk["context"] == second + 7


def test_what_a_running_servers_prompt_has_only_it_knows(run: Run) -> None:
    result = run(
        "s.llm.yaml", "--llm-list", "-k", "text", "--llm-base-url=http://127.0.0.1:9/v1", backend=None
    )
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        ["*::text[[]server-tiny]  prompt [?] + 4 new tokens (the server has the tokenizer)"]
    )


def test_a_file_that_cannot_be_collected_is_told_instead_of_listed(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(test_broken="import nothing_of_this_name")
    result = run("--llm-list=json")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*nothing_of_this_name*"])


def test_a_worker_of_xdist_refuses_a_tag_in_one_line_too(run: Run) -> None:
    result = run("--llm-tags=rga", "-n1", "s.llm.yaml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: --llm-tags=rga: no benchmark has the tag 'rga'; did you mean 'rag'*"]
    )
    run("--llm-tags=rag", "-n1", "s.llm.yaml").assert_outcomes(passed=1)


def test_workers_do_not_list(run: Run) -> None:
    result = run("--llm-list", "-n1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--llm-list lists what would run, and xdist's workers*leave out -n*"])
