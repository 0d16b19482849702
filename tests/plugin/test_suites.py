"""Is a suite a test file like any other?"""

from __future__ import annotations

import gc
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

import pytest

from tests.fakes.openai_server import fake_server
from tests.plugin.conftest import Run

SUITE = """
version: 1
models: {small: {model: tiny, quantization: q8_0}}
defaults: {models: [tiny], rounds: 2, warmup_rounds: 0, max_new_tokens: 3}
cases:
  - name: short
    tags: [quick]
    prompt: Hello
  - name: grid
    tags: [latency]
    sweep:
      parameters: {prompt_tokens: [8, 16], quantizations: [f16, q8_0]}
  - name: chat
    models: small
    messages: [{role: user, content: Hello}]
"""

IDS = [
    "s.llm.yaml::short[fake-tiny]",
    "s.llm.yaml::grid[fake-tiny-f16-prompt_tokens:8]",
    "s.llm.yaml::grid[fake-tiny-f16-prompt_tokens:16]",
    "s.llm.yaml::grid[fake-tiny-q8_0-prompt_tokens:8]",
    "s.llm.yaml::grid[fake-tiny-q8_0-prompt_tokens:16]",
    "s.llm.yaml::chat[fake-small-q8_0]",
]

Document = Callable[[], dict[str, Any]]


@pytest.fixture
def suite(bench: pytest.Pytester) -> Callable[..., None]:
    """Writes a suite, ``s.llm.yaml`` if nothing else is said."""

    def write(text: str = SUITE, name: str = "s.llm.yaml") -> None:
        (bench.path / name).write_text(text)

    return write


def collected(result: pytest.RunResult) -> list[str]:
    return [line for line in result.outlines if "::" in line]


def test_a_suite_is_collected_wherever_pytest_looks(
    bench: pytest.Pytester, suite: Callable[..., None], run: Run
) -> None:
    suite()
    (bench.path / "sub").mkdir()
    suite("version: 1\ncases: [{name: a, prompt: Hello}]\n", "sub/t.llm.yml")
    suite("anything: [at, all\n", "other.yaml")
    bench.makepyfile(test_plain="def test_it(): pass\n")
    assert collected(run("--collect-only", "-q", "--strict-markers")) == [
        *IDS,
        "sub/t.llm.yml::a[fake-tiny]",
        "test_plain.py::test_it",
    ]


def test_any_file_of_yaml_is_a_suite_when_it_is_named(suite: Callable[..., None], run: Run) -> None:
    suite(name="mine.yaml")
    assert collected(run("--collect-only", "-q", "mine.yaml::short")) == ["mine.yaml::short[fake-tiny]"]
    assert len(collected(run("--collect-only", "-q", "mine.yaml"))) == 6
    assert collected(run("--collect-only", "-q")) == []


@pytest.mark.parametrize(
    ("options", "chosen"),
    [
        (["-m", "quick"], IDS[:1]),
        (["-m", "quick or latency"], IDS[:5]),
        (["-k", "q8_0"], IDS[3:]),
        (["-k", "prompt_tokens:16"], [IDS[2], IDS[4]]),
        (["s.llm.yaml::chat"], IDS[5:]),
        (["s.llm.yaml::grid[fake-tiny-f16-prompt_tokens:8]"], IDS[1:2]),
        (["--llm-quantization=q4_0", "-k", "short"], ["s.llm.yaml::short[fake-tiny-q4_0]"]),
    ],
)
def test_its_tests_are_chosen_like_any_others(
    suite: Callable[..., None], run: Run, options: list[str], chosen: list[str]
) -> None:
    suite()
    result = run("--collect-only", "-q", "--strict-markers", *options)
    assert collected(result) == chosen


ALIKE = """
version: 1
models: {modèl: tiny}
defaults: {models: [tiny], rounds: 2}
cases:
  - {name: a, prompt: Hello}
  - {name: b, tags: [quick], prompt: Hello, sweep: {parameters: {max_new_tokens: [1, 2]}}}
  - {name: c, prompt: Hello, quantizations: [f16, q8_0]}
  - {name: d, tags: [quick], prompt_tokens: 8}
  - {name: e, models: [modèl], prompt: Hello}
  - {name: f, concurrency: 1}
  - {name: g, tags: [quick, late], prompt: Hello}
  - {name: h, concurrency: [1, 2]}
"""
ABOUT_ITEMS = """
def pytest_collection_modifyitems(items):
    for item in items:
        spec = item.callspec
        params = [(key, getattr(one, "id", None) or one.asked) for key, one in spec.params.items() if one]
        print("about::", item.nodeid, item.name, item.originalname, item.location, spec.id, params)
        print("about::", item.fixturenames, sorted(item.keywords), item.own_markers, item.function.__name__)
"""
ASKED_FOR_EACH = """
asked = []

def pytest_generate_tests(metafunc):
    asked.append(metafunc.definition.name)

def pytest_terminal_summary(terminalreporter):
    terminalreporter.line("asked for: " + " ".join(asked))
"""


def test_cases_that_are_alike_are_as_if_each_was_alone(
    bench: pytest.Pytester, suite: Callable[..., None], run: Run
) -> None:
    suite(ALIKE)
    bench.makepyfile(about_items=ABOUT_ITEMS, asking=ABOUT_ITEMS + ASKED_FOR_EACH)
    bench.syspathinsert()
    alike = collected(run("--collect-only", "-q", "-p", "about_items"))
    # Somebody else who makes parameters is asked for each case.
    result = run("--collect-only", "-q", "-p", "asking")

    assert len(alike) == 3 * 10
    assert collected(result) == alike
    result.stdout.fnmatch_lines(["asked for: a b c d e f g h"])


def test_a_fixture_with_parameters_of_its_own_multiplies_every_case(
    bench: pytest.Pytester, suite: Callable[..., None], run: Run
) -> None:
    suite("version: 1\ncases: [{name: a, prompt: A}, {name: b, prompt: B}]\n")
    bench.makepyfile(
        multiplies="import pytest\n@pytest.fixture(params=['x', 'y'], autouse=True)\ndef each(request): pass"
    )
    bench.syspathinsert()

    assert collected(run("--collect-only", "-q", "--llm-model=tiny", "-p", "multiplies")) == [
        f"s.llm.yaml::{name}[{each}-fake-tiny]" for name in "ab" for each in "xy"
    ]


@pytest.mark.parametrize(("last", "kept"), [(9, False), (1009, True)])
def test_many_tests_are_kept_from_the_garbage_collector_which_goes_on(
    suite: Callable[..., None], run: Run, last: int, kept: bool
) -> None:
    suite(f"version: 1\ncases: [{{name: a, sweep: {{parameters: {{prompt_tokens: 8-{last}}}}}}}]\n")
    before = gc.get_freeze_count()
    try:
        run("--collect-only", "-q", "--llm-model=tiny").stdout.fnmatch_lines([f"{last - 7} tests collected*"])

        assert gc.isenabled()
        assert (gc.get_freeze_count() > before) is kept
    finally:
        gc.unfreeze()


def test_its_cases_are_measured_and_kept(suite: Callable[..., None], run: Run, document: Document) -> None:
    suite()
    result = run("--junitxml=junit.xml")
    result.assert_outcomes(passed=6)
    cases = document()["cases"]
    assert [case["nodeid"] for case in cases] == IDS
    assert [case["params"] for case in cases] == [
        {},
        {"prompt_tokens": "8", "quantizations": "f16"},
        {"prompt_tokens": "16", "quantizations": "f16"},
        {"prompt_tokens": "8", "quantizations": "q8_0"},
        {"prompt_tokens": "16", "quantizations": "q8_0"},
        {},
    ]
    for case, tokens in zip(cases, (None, 8, 16, 8, 16, None), strict=True):
        (process,) = case["processes"]
        assert len(process["rounds"]) == 2
        assert case["protocol"]["max_new_tokens"] == 3
        if tokens is not None:
            assert {one["prompt_tokens"] for one in process["rounds"]} == {tokens}
    names = [one.get("name") for one in ET.parse("junit.xml").iter("testcase")]
    assert names == [nodeid.partition("::")[2] for nodeid in IDS]


def test_the_command_line_beats_a_suite(suite: Callable[..., None], run: Run, document: Document) -> None:
    suite()
    run("--llm-rounds=1", "--llm-max-new-tokens=2", "-k", "short").assert_outcomes(passed=1)
    (case,) = document()["cases"]
    assert len(case["processes"][0]["rounds"]) == 1
    assert case["protocol"]["max_new_tokens"] == 2


def test_what_the_command_line_says_is_not_swept(
    suite: Callable[..., None], run: Run, document: Document
) -> None:
    suite(
        "version: 1\n"
        "sweep:\n"
        "  parameters: {seed: [1, 2], backend_options.fake.context: [64, 128], quantizations: [f16, q8_0]}\n"
        "cases: [{name: a, prompt: Hello, max_new_tokens: 1}]\n"
    )
    words = ("--llm-seed=3", "--llm-option=fake.context=99", "--llm-rounds=1")
    run(*words).assert_outcomes(passed=2)
    cases = document()["cases"]
    assert [case["nodeid"] for case in cases] == [
        "s.llm.yaml::a[fake-tiny-f16]",
        "s.llm.yaml::a[fake-tiny-q8_0]",
    ]
    assert [case["params"] for case in cases] == [{"quantizations": "f16"}, {"quantizations": "q8_0"}]
    assert {case["protocol"]["seed"] for case in cases} == {3}
    assert len(collected(run("--collect-only", "-q", *words[:1]))) == 4


def test_a_limit_of_a_suite_fails_its_test_where_the_case_stands(
    suite: Callable[..., None], run: Run, bench: pytest.Pytester
) -> None:
    suite(
        "version: 1\n"
        "defaults: {max_new_tokens: 2, rounds: 5}\n"
        "cases:\n"
        "- {name: held, prompt: Hello, thresholds: {ttft: <1s}}\n"
        "- {name: broken, prompt: Hello, thresholds: {ttft: <1ns}}\n"
    )
    result = run()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*ttft*", "FAILED s.llm.yaml::broken*ttft*"])
    assert "plugin/suites.py" not in result.stdout.str()


def test_an_engine_that_fails_is_the_failure_of_its_case(suite: Callable[..., None], run: Run) -> None:
    suite("version: 1\ncases:\n\n- {name: bad, prompt: '!raise'}\n- {name: good, prompt: Hello}\n")
    result = run()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["s.llm.yaml:4:*", "FAILED s.llm.yaml::bad*"])
    assert "plugin/suites.py" not in result.stdout.str()


def test_last_failed_runs_the_failed_case_alone(suite: Callable[..., None], bench: pytest.Pytester) -> None:
    suite("version: 1\ncases: [{name: bad, prompt: '!raise'}, {name: good, prompt: Hello}]\n")
    options = ["--llm-backend=fake", "--llm-monitor-rate=0", "-p", "no:hypothesispytest"]
    bench.runpytest_inprocess(*options).assert_outcomes(passed=1, failed=1)
    bench.runpytest_inprocess(*options, "--lf").assert_outcomes(failed=1)


def test_a_suite_is_compared_with_its_baseline(suite: Callable[..., None], run: Run) -> None:
    suite()
    run("--llm-save=first").assert_outcomes(passed=6)
    result = run("--llm-compare=first", "--llm-inconclusive=pass")
    result.stdout.fnmatch_lines(["*LLM comparison*"])
    assert "not in the baseline" not in result.stdout.str()


def test_one_worker_of_xdist_runs_a_suite(suite: Callable[..., None], run: Run, document: Document) -> None:
    suite()
    result = run("-n1", "--strict-markers")
    result.assert_outcomes(passed=6)
    assert [case["nodeid"] for case in document()["cases"]] == IDS


def test_a_conversation_of_a_suite_is_held_turn_by_turn(
    suite: Callable[..., None], run: Run, document: Document
) -> None:
    suite(
        """
version: 1
defaults: {models: [tiny], rounds: 1, warmup_rounds: 0, max_new_tokens: 3}
cases:
  - name: talk
    tags: [mine]
    sweep:
      parameters: {conversation: [talks.yaml, {turns: [{user: Hello}]}], cache: [cold, warm]}
"""
    )
    suite("name: a\ntags: [long]\nturns: [{user: Hello}, {user: And then?}]\n", "talks.yaml")
    result = run("--strict-markers")
    result.assert_outcomes(passed=4)
    cases = document()["cases"]
    assert [(one["nodeid"].partition("::")[2], one["measurement"]) for one in cases] == [
        (
            f"talk[fake-tiny-conversation:{name}-cache:{cache}]",
            f"{label} turn {turn}{cold if turn > 1 else ''}",
        )
        for name, label, turns in (("talks.yaml", "a", 2), ("2", "talk", 1))
        for cache, cold in (("cold", " cold"), ("warm", ""))
        for turn in range(1, turns + 1)
    ]
    assert collected(run("--co", "-q", "-m", "long")) == [
        f"s.llm.yaml::talk[fake-tiny-conversation:talks.yaml-cache:{cache}]" for cache in ("cold", "warm")
    ]
    assert len(collected(run("--co", "-q", "-m", "mine"))) == 4


def test_a_load_level_of_a_suite_is_measured(
    suite: Callable[..., None], run: Run, document: Document
) -> None:
    with fake_server("org/name") as server:
        suite(
            "version: 1\n"
            f"defaults: {{base_url: {server.url}, requests: 8, max_new_tokens: 4}}\n"
            "cases:\n"
            "- {name: closed, concurrency: [1, 3], prompt_length: 20}\n"
            "- {name: open, sweep: {parameters: {request_rate: [50, 80]}}, prompt: Hello there}\n"
        )
        run(backend=None).assert_outcomes(passed=4)
    cases = document()["cases"]
    assert [case["name"] for case in cases] == [
        "closed[server-c1]",
        "closed[server-c3]",
        "open[server-r50]",
        "open[server-r80]",
    ]
    for case in cases:
        (process,) = case["processes"]
        assert process["load"]["successful"] == len(process["rounds"]) == 8


BAD = [
    ("cases: [", "s.llm.yaml:2:1: this is not valid YAML"),
    (
        "version: 1\ncases: [{name: a, prompt: x, round: 1}]",
        "s.llm.yaml:2:30: a case has no key 'round'; did you",
    ),
    (
        "version: 1\ncases: [{name: a, prompt: x, models: nothing}]",
        "s.llm.yaml:2:38: there is no model 'nothing'",
    ),
    ("version: 1\ncases: [{name: a, prompt: x, backends: nil}]", "s.llm.yaml:2:40: *no backend*nil*"),
    (
        "version: 1\ncases: [{name: a, prompt: x, quantizations: q0}]",
        "s.llm.yaml:2:45: no backend has a quantization",
    ),
    (
        "version: 1\ncases: [{name: a, prompt: x, backend_options: {fake: {no: 1}}}]",
        "s.llm.yaml:2:47: *no option*no*",
    ),
    (
        "version: 1\nmodels: {a: nothing}\ncases: [{name: a, prompt: x, models: a}]",
        "s.llm.yaml:3:38: s.llm.yaml:2:10: alias 'a': there is no model 'nothing'",
    ),
    (
        "version: 1\ncases: [{name: a, prompt: x, sweep: {parameters: {models: [tiny, synthetic/tiny]}}}]",
        "s.llm.yaml:2:9: two tests of the case 'a' would be called [[]fake-tiny[]]",
    ),
]


@pytest.mark.parametrize(("text", "message"), BAD, ids=range(len(BAD)))
def test_a_suite_that_is_not_valid_ends_the_session_before_anything_is_measured(
    suite: Callable[..., None], run: Run, bench: pytest.Pytester, text: str, message: str
) -> None:
    suite(text + "\n")
    suite("version: 1\ncases: [{name: a, prompt: Hello}]\n", "a.llm.yaml")
    result = run("--continue-on-collection-errors")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {message}*"])
    assert len(result.errlines) <= 3
    assert not (bench.path / "out.json").exists()
    assert not list(bench.path.glob(".llmbench/results/*.json"))


def test_it_ends_the_session_too_where_a_case_is_named(suite: Callable[..., None], run: Run) -> None:
    suite("version: 1\ncases: [{name: a, prompt: x, round: 1}]\n")
    result = run("s.llm.yaml::a")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: s.llm.yaml:2:30: a case has no key 'round'*"])


def test_a_suite_that_is_not_valid_ends_the_session_of_xdist_too(
    suite: Callable[..., None], run: Run
) -> None:
    suite("version: 1\ncases: [{name: a, prompt: x, round: 1}]\n")
    for more in ([], ["s.llm.yaml::a"]):
        result = run("-n1", *more)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        (result.stderr if result.stderr.lines else result.stdout).fnmatch_lines(
            ["ERROR: s.llm.yaml:2:30: a case has no key 'round'*"]
        )


def test_a_session_without_a_suite_does_not_import_what_reads_one(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_it():
            assert "pytest_llmbench.plugin.suites" not in sys.modules
            assert "pytest_llmbench.settings.suite" not in sys.modules
        """
    )
    (pytester.path / "other.yaml").write_text("a: 1\n")
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)
