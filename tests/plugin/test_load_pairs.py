"""Are load levels judged in pairs, on servers that run and on servers that are started for each level?"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

from pytest_llmbench.hardware.monitor import HardwareMonitor
from pytest_llmbench.measure import load as load_bench
from pytest_llmbench.measure.level import summarize_level
from tests.fakes.openai_server import fake_server
from tests.plugin.conftest import Run

Document = Callable[[], dict[str, Any]]

LEVEL = """
import pytest

@pytest.mark.llm(concurrency=[2], requests=8, prompt_length=20, max_new_tokens=4, slo={"ttft": 10})
def test_load(llm_load):
    llm_load.measure()
"""
# Seconds a token. The slow one is several times slower whatever else this machine does.
FAST, SLOW = 0.004, 0.03
# As few pairs as can fail a case: half to the power of 7 is below 1%.
FEWEST = "--llm-budget=7"


def sides(document: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The case of the only test, and that of its base side."""
    now, base = document["cases"]
    assert base["measurement"] == f"{now['measurement']}@base"
    return now, base


# -- servers that run ---------------------------------------------------------------------------


def test_a_slower_server_fails_its_test_in_the_terminal_in_junit_and_in_the_exit_status(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(LEVEL + "\ndef test_other(): pass\n")
    with fake_server(seconds_per_token=FAST) as base, fake_server(seconds_per_token=SLOW) as slow:
        ab = (f"--llm-base-url={slow.url}", f"--llm-ab=base_url={base.url}")
        result = run(*ab, "--llm-gate=tpot", FEWEST, "--junitxml=junit.xml", backend=None)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(
        ["*tpot: fail*", "*base*", "*now*", "*change*worse*", "*signed-rank, 7 pairs; one level after the*"]
    )
    result.stdout.fnmatch_lines(["*c2 default *", "*c2 default@base *", "*LLM comparison*", "*tpot*fail*"])
    suite = ElementTree.parse(bench.path / "junit.xml").getroot()[0]
    assert suite.get("failures") == "1"
    (failure,) = suite.iter("failure")
    assert "tpot: fail" in (failure.text or "") + failure.get("message", "")
    now, before = sides(document())
    assert now["verdict"] == "fail"
    (judged,) = now["judgments"]
    assert (judged["metric"], judged["n"], judged["method"]) == ("tpot", 7, "signed-rank")
    assert judged["details"]["order"] == "one level after the other in drawn order"
    assert [len(case["processes"]) for case in (now, before)] == [7, 7]
    assert all(p["load"]["successful"] == 8 for case in (now, before) for p in case["processes"])
    assert before["protocol"]["ab"] == {"base_url": base.url}
    assert {**before["protocol"], "ab": None} == {**now["protocol"], "ab": None}
    assert before["verdict"] is None


def test_what_a_whole_level_has_one_value_of_is_judged_as_well(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(LEVEL)
    gate = "--llm-gate=request_throughput,system_throughput,goodput,e2e_latency,itl"
    with fake_server(seconds_per_token=FAST) as base, fake_server(seconds_per_token=SLOW) as slow:
        ab = (f"--llm-base-url={slow.url}", f"--llm-ab=base_url={base.url}")
        run(*ab, gate, FEWEST, backend=None).assert_outcomes(failed=1)
    now, _ = sides(document())
    assert {one["metric"]: one["verdict"] for one in now["judgments"]} == dict.fromkeys(
        ["request_throughput", "system_throughput", "goodput", "e2e_latency", "itl"], "fail"
    )


def test_a_faster_server_has_improved(bench: pytest.Pytester, run: Run, document: Document) -> None:
    bench.makepyfile(LEVEL)
    with fake_server(seconds_per_token=FAST) as fast, fake_server(seconds_per_token=SLOW) as base:
        ab = (f"--llm-base-url={fast.url}", f"--llm-ab=base_url={base.url}")
        run(*ab, "--llm-gate=tpot", "--llm-budget=8", backend=None).assert_outcomes(passed=1)
    now, _ = sides(document())
    assert now["judgments"][0]["improved"]


def test_equal_servers_do_not_fail(bench: pytest.Pytester, run: Run, document: Document) -> None:
    bench.makepyfile(LEVEL)
    with fake_server(seconds_per_token=FAST) as one, fake_server(seconds_per_token=FAST) as other:
        result = run(
            f"--llm-base-url={one.url}",
            f"--llm-ab=base_url={other.url}",
            "--llm-gate=tpot",
            "--llm-threshold=tpot:90%",
            FEWEST,
            backend=None,
        )
    assert result.ret == pytest.ExitCode.OK
    now, _ = sides(document())
    assert now["verdict"] in ("pass", "inconclusive")


def test_the_levels_of_pairs_have_other_words_and_the_same_lengths(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(LEVEL.replace("prompt_length=20", "prompt_length='uniform:10:40'"))
    with fake_server() as server:
        ab = (f"--llm-base-url={server.url}", f"--llm-ab=base_url={server.url}")
        run(*ab, "--llm-budget=3", "--llm-inconclusive=pass", backend=None).assert_outcomes(passed=1)
        prompts = [body["prompt"] for body in server.bodies if body["max_tokens"] == 4]
    # Three pairs of levels, of two warm-up requests and eight measured ones each.
    assert len(prompts) == 6 * 10
    assert len({prompt[:16] for prompt in prompts}) == len(prompts)
    lengths = [
        [r["prompt_tokens"] for r in sorted(p["rounds"], key=lambda r: r["request"]["number"])]
        for case in sides(document())
        for p in case["processes"]
    ]
    assert all(one == lengths[0] for one in lengths)
    assert len(set(lengths[0])) > 1


def test_the_arrivals_of_a_pair_are_the_same_and_drawn_anew_for_the_next(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(LEVEL.replace("concurrency=[2]", "request_rate=[200], warmup_requests=0"))
    with fake_server() as server:
        ab = (f"--llm-base-url={server.url}", f"--llm-ab=base_url={server.url}")
        run(*ab, "--llm-budget=2", "--llm-gate=tpot", "--llm-inconclusive=pass", backend=None)
    due = [
        [round(r["request"]["at"] - r["request"]["send_lag"], 6) for r in p["rounds"]]
        for case in sides(document())
        for p in case["processes"]
    ]
    assert due[0] == due[2]
    assert due[1] == due[3]
    assert due[0] != due[1]


@pytest.mark.parametrize(("budget", "pairs"), [("2", 2), ("1", 1), ("0.001s", 1)])
def test_a_budget_ends_the_pairs(
    bench: pytest.Pytester, run: Run, document: Document, budget: str, pairs: int
) -> None:
    bench.makepyfile(LEVEL)
    with fake_server() as server:
        ab = (f"--llm-base-url={server.url}", f"--llm-ab=base_url={server.url}", "--llm-gate=tpot")
        result = run(*ab, f"--llm-budget={budget}", backend=None)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*LLMBenchWarning: inconclusive: tpot; to decide it: add --llm-budget=*"])
    cases = sides(document())
    assert [len(case["processes"]) for case in cases] == [pairs, pairs]
    assert cases[0]["verdict"] == "inconclusive"


@pytest.mark.parametrize("side", ["base", "new"])
def test_failed_requests_make_a_case_invalid_and_the_side_is_named(
    bench: pytest.Pytester, run: Run, document: Document, side: str
) -> None:
    bench.makepyfile(LEVEL)
    with fake_server() as sound, fake_server(fail_every=5) as failing:
        now, base = (sound, failing) if side == "base" else (failing, sound)
        ab = (f"--llm-base-url={now.url}", f"--llm-ab=base_url={base.url}")
        result = run(*ab, "--llm-gate=tpot", backend=None)
        # Only the side that is judged has to answer.
        result.assert_outcomes(failed=side == "new", passed=side == "base")
        result.stdout.fnmatch_lines(["*LLMBenchWarning: invalid: tpot*"])
        strict = run(*ab, "--llm-gate=tpot", "--llm-inconclusive=fail", backend=None)
    strict.assert_outcomes(failed=1)
    case, _ = sides(document())
    assert case["verdict"] == "invalid"
    (judged,) = case["judgments"]
    assert f"on the {side} side" in judged["reason"]
    assert "of 8 requests failed, the first by status: " in judged["reason"]
    assert "overloaded" in judged["reason"]
    name = "(default@base): failed" if side == "base" else "test_load[[]server-c2]: failed"
    result.stdout.fnmatch_lines([f"*{name}: *HTTP 503*"])


def test_other_work_makes_a_case_invalid(bench: pytest.Pytester, run: Run, document: Document) -> None:
    bench.makepyfile(LEVEL)
    with fake_server() as base, fake_server(fewer=1) as now:
        ab = (f"--llm-base-url={now.url}", f"--llm-ab=base_url={base.url}", "--llm-gate=tpot")
        result = run(*ab, backend=None)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*LLMBenchWarning: invalid: tpot"])
    case, before = sides(document())
    assert case["verdict"] == "invalid"
    assert "8 of 8 requests generated other numbers of tokens" in case["judgments"][0]["reason"]
    assert [len(one["processes"]) for one in (case, before)] == [1, 1]


def test_disturbed_pairs_are_dropped_and_too_many_make_a_case_invalid(
    bench: pytest.Pytester, run: Run, document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HardwareMonitor, "disturbance", lambda self, start, end: ("foreign_gpu",))
    bench.makepyfile(LEVEL)
    with fake_server() as server:
        ab = (f"--llm-base-url={server.url}", f"--llm-ab=base_url={server.url}", "--llm-gate=tpot")
        few = ("--llm-disturbed=drop", "--llm-budget=4")
        result = run(*ab, *few, backend=None, monitor=True)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*LLMBenchWarning: invalid: tpot*"])
    case, _ = sides(document())
    assert case["verdict"] == "invalid"
    (judged,) = case["judgments"]
    assert "3 of 3 pairs were disturbed: foreign_gpu (3)" in judged["reason"]
    assert judged["dropped"] == len(case["processes"]) == 3


def test_pairs_of_a_machine_that_is_disturbed_all_the_time_are_used_and_the_verdict_says_so(
    bench: pytest.Pytester, run: Run, document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HardwareMonitor, "disturbance", lambda self, start, end: ("foreign_gpu",))
    bench.makepyfile(LEVEL)
    with fake_server() as server:
        ab = (f"--llm-base-url={server.url}", f"--llm-ab=base_url={server.url}", "--llm-gate=tpot")
        run(*ab, "--llm-budget=2", backend=None, monitor=True)
    (judged,) = sides(document())[0]["judgments"]
    assert (judged["verdict"], judged["n"], judged["dropped"]) == ("inconclusive", 2, 0)
    assert judged["noise"] == {"foreign_gpu": 2}


def test_a_late_client_spoils_its_pairs_and_says_why(
    bench: pytest.Pytester, run: Run, document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(*args: Any, **kwargs: Any) -> Any:
        return replace(summarize_level(*args, **kwargs), invalid="the client slept in")

    monkeypatch.setattr(load_bench, "summarize_level", late)
    bench.makepyfile(LEVEL)
    with fake_server() as server:
        ab = (f"--llm-base-url={server.url}", f"--llm-ab=base_url={server.url}", "--llm-gate=tpot")
        result = run(*ab, backend=None)
    result.stdout.fnmatch_lines(["*test_load*: the client slept in*"])
    case, _ = sides(document())
    assert case["verdict"] == "invalid"
    assert "client (3)" in case["judgments"][0]["reason"]


def test_what_was_measured_is_kept_if_a_later_level_fails(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(LEVEL)
    with fake_server() as base, fake_server() as now:
        # Nine requests that are asked before the first level, and ten of each level.
        now.fail_after = 9 + 10
        ab = (f"--llm-base-url={now.url}", f"--llm-ab=base_url={base.url}")
        result = run(*ab, backend=None)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*all 8 requests failed*503*", "*It was the new side of pair 2.*kept*"])
    result.stdout.no_fnmatch_line("*Traceback*")
    case, before = sides(document())
    assert [len(p["rounds"]) for p in case["processes"]] == [8, 0]
    assert [len(p["failures"]) for p in case["processes"]] == [0, 8]
    assert len(before["processes"][0]["rounds"]) == 8


@pytest.mark.parametrize(
    "key", [f"python={sys.executable}", "env.A=1", "quantization=q8_0", "server.arguments=--x"]
)
def test_what_a_server_that_runs_cannot_have_is_refused(bench: pytest.Pytester, run: Run, key: str) -> None:
    bench.makepyfile(LEVEL)
    with fake_server() as server:
        result = run(f"--llm-base-url={server.url}", f"--llm-ab={key}", backend=None)
        asked = list(server.bodies)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"*{key.partition('=')[0]} cannot be set*runs already*base_url=*"])
    result.stdout.no_fnmatch_line("*Traceback*")
    assert asked == []


def test_a_base_server_that_is_not_there_is_a_clear_error(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(LEVEL)
    with fake_server() as gone:
        url = gone.url
    with fake_server() as server:
        result = run(f"--llm-base-url={server.url}", f"--llm-ab=base_url={url}", backend=None)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*no server answers at*", "*base side of pair 1*"])


def test_each_measurement_of_a_test_has_a_base_side(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(
        LEVEL.replace("llm_load.measure()", "llm_load.measure(label='a')\n    llm_load.measure(label='b')")
    )
    with fake_server() as server:
        ab = (f"--llm-base-url={server.url}", f"--llm-ab=base_url={server.url}")
        run(*ab, "--llm-budget=1", "--llm-inconclusive=pass", backend=None).assert_outcomes(passed=1)
    assert [case["measurement"] for case in document()["cases"]] == ["a", "a@base", "b", "b@base"]


# -- servers that are started -------------------------------------------------------------------


@pytest.fixture
def log(bench: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[list[str]]]:
    """Of each server that started: its side, its id, and how many of those before it were still there."""
    path = bench.path / "starts"
    monkeypatch.setenv("LLMBENCH_FAKE_LOG", str(path))
    return lambda: [line.split() for line in path.read_text().splitlines()]


def test_a_server_is_started_for_each_level_and_never_two_at_once(
    bench: pytest.Pytester, run: Run, document: Document, engine: str, log: Callable[[], list[list[str]]]
) -> None:
    bench.makepyfile(LEVEL.replace("(llm_load)", "(llm_load, llm_server)"))
    ab = (f"--llm-serve={engine}", "--llm-ab=env.LLMBENCH_FAKE_SIDE=base env.HUSH='open sesame'")
    result = run(*ab, "--llm-budget=2", "--llm-inconclusive=pass", backend=None)
    result.assert_outcomes(passed=1)
    now, base = sides(document())
    # The first one is llm_server's.
    started = log()[1:]
    assert sorted(side for side, _, _ in started) == ["base", "base", "now", "now"]
    assert {frozenset((a[0], b[0])) for a, b in (started[:2], started[2:])} == {frozenset(("base", "now"))}
    assert [there for _, _, there in log()] == ["0"] * 5
    for case, side in ((now, "now"), (base, "base")):
        assert [p["pid"] for p in case["processes"]] == [int(pid) for name, pid, _ in started if name == side]
        assert all(p["values"]["load_time"] > 0 for p in case["processes"])
        assert case["model"]["digest"].startswith("sha256:")
    order = now["judgments"][0]["details"]["order"]
    assert order == "a fresh server for each level, one after the other in drawn order"
    assert base["protocol"]["ab"] == {"env.LLMBENCH_FAKE_SIDE": "set", "env.HUSH": "set"}
    kept = [path for path in bench.path.rglob("*.json*") if b"open sesame" in path.read_bytes()]
    assert kept == []


def test_the_base_side_has_an_interpreter_of_its_own(
    bench: pytest.Pytester, run: Run, engine: str, log: Callable[[], list[list[str]]]
) -> None:
    python = bench.path / "old python"
    python.write_text(f'#!/bin/sh\nLLMBENCH_FAKE_SIDE=old exec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    bench.makepyfile(LEVEL)
    ab = (f"--llm-serve={engine}", f"--llm-ab=python='{python}'")
    run(*ab, "--llm-budget=1", "--llm-inconclusive=pass", backend=None).assert_outcomes(passed=1)
    assert sorted(side for side, _, _ in log()) == ["now", "old"]


def test_a_slower_start_of_the_same_server_fails(
    bench: pytest.Pytester, run: Run, document: Document, engine: str
) -> None:
    bench.makepyfile(LEVEL)
    result = run(
        f"--llm-serve={engine}",
        f"--llm-option=server.arguments=--seconds {SLOW}",
        f"--llm-ab='server.arguments=--seconds {FAST}'",
        "--llm-gate=tpot",
        FEWEST,
        backend=None,
    )
    result.assert_outcomes(failed=1)
    now, base = sides(document())
    assert now["verdict"] == "fail"
    assert base["protocol"]["options"]["arguments"] == f"--seconds {FAST}"


def test_a_base_side_that_does_not_start_fails_the_test_in_its_own_words(
    bench: pytest.Pytester, run: Run, document: Document, engine: str
) -> None:
    bench.makepyfile(LEVEL)
    result = run(f"--llm-serve={engine}", "--llm-ab=server.arguments=--no-such-option", backend=None)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*unrecognized arguments: --no-such-option*", "*base side of pair 1*"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_a_server_that_runs_can_be_the_base_of_one_that_is_started(
    bench: pytest.Pytester, run: Run, document: Document, engine: str, log: Callable[[], list[list[str]]]
) -> None:
    bench.makepyfile(LEVEL)
    with fake_server() as server:
        ab = (f"--llm-serve={engine}", f"--llm-ab=base_url={server.url} model=fake")
        run(*ab, "--llm-budget=2", "--llm-inconclusive=pass", backend=None).assert_outcomes(passed=1)
    assert len(log()) == 2
    now, base = sides(document())
    assert [case["model"]["name"] for case in (now, base)] == ["tiny", "fake"]
    assert "of the new side started anew each time" in now["judgments"][0]["details"]["order"]
