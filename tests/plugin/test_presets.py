"""Does a preset hold where it is named, below what the same place says?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.fakes.openai_server import fake_server
from tests.plugin.conftest import Run
from tests.plugin.test_remarks import told

Document = Callable[[], dict[str, Any]]

MODEL = """
import pytest

@pytest.mark.llm({marker})
def test_speed(llm_model):
    llm_model.measure("hello")
"""

LOAD = """
import pytest

@pytest.mark.llm({marker})
def test_load(llm_load):
    llm_load.measure()
"""

INI = """
[pytest]
llm_presets =
    small.max_new_tokens = 3
    small.rounds = 2
    small.warmup_rounds = 0
    load.extends = small
    load.concurrency = 2,3
    load.requests = 4
    load.prompt_length = 20
"""


@pytest.fixture
def small(bench: pytest.Pytester) -> pytest.Pytester:
    bench.makeini(INI)
    return bench


def rounds(document: Document) -> list[int]:
    """The tokens of each round of the only case."""
    (case,) = document()["cases"]
    (process,) = case["processes"]
    return [one["output_tokens"] for one in process["rounds"]]


@pytest.mark.parametrize(
    ("marker", "arguments", "tokens"),
    [
        ("preset='small'", [], [3, 3]),
        ("preset='small', max_new_tokens=2", [], [2, 2]),
        ("max_new_tokens=2, rounds=1", ["--llm-preset=small"], [3, 3]),
        ("preset='small'", ["--llm-preset=small", "--llm-rounds=1"], [3]),
        # Another one is named, and a marker's is none any more.
        ("preset='small', max_new_tokens=2, rounds=1", ["--llm-preset=none"], [2]),
        ("rounds=1", ["-o", "llm_preset=small"], [3]),
    ],
)
def test_each_place_can_name_one(
    small: pytest.Pytester,
    run: Run,
    document: Document,
    marker: str,
    arguments: list[str],
    tokens: list[int],
) -> None:
    small.makepyfile(MODEL.format(marker=marker))
    run(*arguments).assert_outcomes(passed=1)
    assert rounds(document) == tokens


def test_one_preset_gives_a_load_its_levels_and_is_silent_where_it_does_nothing(
    small: pytest.Pytester, run: Run
) -> None:
    small.makepyfile(LOAD.format(marker=""), test_model=MODEL.format(marker=""))
    with fake_server() as server:
        arguments = (f"--llm-base-url={server.url}", "--llm-preset=load")
        result = run(*arguments, "-v", backend=None)
        rate = run(*arguments, "--llm-request-rate=50", "--collect-only", "-q", backend=None)
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["*::test_load[[]server-c2] PASSED*", "*::test_load[[]server-c3] PASSED*"])
    assert told(result) == []
    assert [line.partition("[")[2] for line in rate.outlines if "test_load[" in line] == ["server-r50]"]


def test_a_preset_that_does_nothing_for_what_ran_is_told(bench: pytest.Pytester, run: Run) -> None:
    bench.makeini("[pytest]\nllm_presets =\n    levels.concurrency = 2\n    levels.requests = 4\n")
    bench.makepyfile(MODEL.format(marker="rounds=1, warmup_rounds=0, max_new_tokens=2"))
    (note,) = told(run("--llm-preset=levels"))
    assert note.startswith("--llm-preset=levels does nothing for the chosen tests: it is for load levels")
    (note,) = told(run("--llm-preset=edge-device"))
    assert note.startswith(
        "what --llm-preset=edge-device says of concurrency, requests, prompt_length, output_length does n"
    )


def test_a_preset_may_say_what_a_test_runs_on(bench: pytest.Pytester, run: Run) -> None:
    bench.makeini("[pytest]\nllm_presets =\n    own.models = tiny\n    own.backends = transformers\n")
    bench.makepyfile(MODEL.format(marker="preset='own'"))
    result = run("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*this test supports the backends transformers, and fake was selected*"])


@pytest.mark.parametrize(
    ("ini", "arguments", "said"),
    [
        ("", ["--llm-preset=chatbt"], "--llm-preset: there is no preset 'chatbt'; did you mean 'chatbot'*"),
        ("llm_preset = chatbt", [], "ini option llm_preset: there is no preset 'chatbt'*"),
        (
            "llm_presets = mine.concurency=3",
            [],
            "ini option llm_presets: mine.concurency: no setting 'concurency'; did you mean 'concurrency'*",
        ),
        (
            "llm_presets = mine.backends=lamacpp",
            ["--llm-preset=mine"],
            "preset mine: *'lamacpp'*",
        ),
    ],
)
def test_what_there_is_not_is_refused_before_anything_runs(
    bench: pytest.Pytester, run: Run, ini: str, arguments: list[str], said: str
) -> None:
    bench.makeini(f"[pytest]\n{ini}\n")
    bench.makepyfile(MODEL.format(marker=""))
    result = run(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {said}"])


def test_a_marker_that_names_none_there_is_fails_its_test(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(MODEL.format(marker="preset='chatbt'"))
    result = run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*::test_speed: there is no preset 'chatbt'; did you mean 'chatbot'*"])


STARTED = """
import pytest

@pytest.mark.llm(requests=4, warmup_requests=0, prompt_length=20, max_new_tokens=2)
def test_load(llm_load):
    llm_load.measure()
"""

STARTS = """
[pytest]
llm_serve_presets =
    fake-server:slow.seconds = {seconds}
    fake-server:named.extends = slow
    fake-server:named.env.LLMBENCH_FAKE_SIDE = named
"""


def test_a_server_is_started_with_the_options_and_variables_of_its_preset(
    bench: pytest.Pytester,
    run: Run,
    document: Document,
    engine: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LLMBENCH_FAKE_LOG", str(bench.path / "starts"))
    bench.makeini(STARTS.format(seconds=0.001))
    bench.makepyfile(STARTED)
    result = run(f"--llm-serve={engine},{engine}:named", backend=None)
    result.assert_outcomes(passed=2)
    plain, named = document()["cases"]
    assert [case["name"] for case in (plain, named)] == [
        "test_load[fake-server-tiny-c1]",
        "test_load[fake-server+named-tiny-c1]",
    ]
    ours, theirs = plain["processes"][0]["engine"], named["processes"][0]["engine"]
    assert (ours["server"], theirs["server"]) == ("fake-server", "fake-server:named")
    assert "arguments" not in ours
    assert theirs["arguments"] == "LLMBENCH_FAKE_SIDE=named --seconds 0.001"
    assert theirs["command"][-2:] == ["--seconds", "0.001"]
    assert [line.split()[0] for line in (bench.path / "starts").read_text().splitlines()] == ["now", "named"]


def test_a_start_that_was_changed_under_its_name_is_not_compared(
    bench: pytest.Pytester, run: Run, engine: str
) -> None:
    bench.makepyfile(STARTED)
    arguments = (f"--llm-serve={engine}:slow", "--llm-missing=fail")
    bench.makeini(STARTS.format(seconds=0.001))
    run(*arguments, "--llm-save=main", backend=None).assert_outcomes(passed=1)
    run(*arguments, "--llm-compare=main", "--llm-inconclusive=pass", backend=None).assert_outcomes(passed=1)
    bench.makeini(STARTS.format(seconds=0.002))
    result = run(*arguments, "--llm-compare=main", "--llm-inconclusive=pass", backend=None)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*--seconds 0.00[12]*"])


@pytest.mark.parametrize(
    ("serve", "line", "said"),
    [
        ("vllm:single", "", "vllm has no preset 'single' to start it with; did you mean 'single-user'*"),
        ("vllm", "vllm:mine=3", "ini option llm_serve_presets: 'vllm:mine=3' is not ENGINE:PRESET.OPTION=*"),
        ("vllm", "vlm:mine.a=3", "ini option llm_serve_presets: there is no server 'vlm'; did you mean*"),
    ],
)
def test_a_start_that_there_is_not_is_refused(
    bench: pytest.Pytester, run: Run, serve: str, line: str, said: str
) -> None:
    bench.makeini(f"[pytest]\nllm_serve_presets = {line}\n")
    bench.makepyfile(STARTED)
    result = run(f"--llm-serve={serve}", backend=None)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {said}"])
