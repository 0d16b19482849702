"""Is what was measured what the test asked for, and is all of it kept?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.plugin.conftest import Run

Document = Callable[[], dict[str, Any]]


def test_a_case_has_its_processes_and_each_process_its_rounds(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(
        """
        import pytest

        @pytest.mark.llm(processes=2, rounds=3, warmup_rounds=1, max_new_tokens=5)
        def test_speed(llm_model):
            run = llm_model.measure("hello")
            assert run.ttft.n == 6
            assert run.itl.n == 24
            assert len({p.pid for p in run.processes}) == 2
        """
    )
    result = run()
    result.assert_outcomes(passed=1)
    (case,) = document()["cases"]
    assert [len(p["rounds"]) for p in case["processes"]] == [3, 3]
    assert case["outcome"] == "passed"
    assert case["model"]["name"] == "tiny"
    assert case["model"]["backend"] == "fake"
    assert case["model"]["digest"].startswith("sha256:")
    assert case["metrics"]["ttft"]["unit"] == "s"
    assert case["metrics"]["ttft"]["n"] == 6
    assert case["metrics"]["ttft"]["unsupported"] == ["p90", "p95", "p99"]
    measured = case["processes"][0]["rounds"][0]
    assert measured["prompt_tokens"] == 6
    assert measured["output_tokens"] == 5
    assert len(measured["token_times"]) == 5
    assert measured["values"]["ttft"] == measured["token_times"][0]
    hashes = {r["output_hash"] for p in case["processes"] for r in p["rounds"]}
    assert len(hashes) == 1
    assert case["protocol"]["max_new_tokens"] == 5
    assert set(document()) >= {"schema_version", "session", "machine", "commit", "versions", "cases"}


def test_the_table_and_the_place_of_the_document_are_printed(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile("def test_speed(llm_model): llm_model.measure('hello', rounds=2, max_new_tokens=4)")
    run().stdout.fnmatch_lines(
        ["*LLM benchmarks*", "*TTFT*", "*fake-tiny*", "Results: out.json", "Results: .llmbench*"]
    )


def test_several_measurements_of_a_test_are_cases_of_their_own(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(
        """
        def test_speed(llm_model):
            short = llm_model.measure("a", label="short", rounds=1)
            long = llm_model.measure("a" * 100, rounds=1)
            again = llm_model.measure("a" * 50, rounds=1)
        """
    )
    run().assert_outcomes(passed=1)
    assert [case["measurement"] for case in document()["cases"]] == ["short", "default", "2"]


def test_a_label_twice_is_refused_and_the_first_is_kept(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(
        """
        def test_speed(llm_model):
            llm_model.measure("a", label="short", rounds=1)
            llm_model.measure("b", label="short", rounds=1)
        """
    )
    result = run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E*this test has a measurement 'short' already*"])
    (case,) = document()["cases"]
    assert case["outcome"] == "failed"
    assert len(case["processes"][0]["rounds"]) == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("measure()", "*give either a prompt*"),
        ("measure('a', prompt_tokens=3)", "*give either a prompt*"),
        ("measure('a', task='summarization')", "*give either a prompt*"),
        (
            "measure(task='sumarization')",
            "*task='sumarization' is not one of*; did you mean 'summarization'?",
        ),
        ("measure(task='summarization', prompt_tokens=300, needle=0.5)", "*leave out task='summarization'*"),
        ("measure(prompt_tokens=0)", "*prompt_tokens=0 is not a whole number of at least 1, at most *"),
        ("measure('a', round=1)", "*no setting 'round' for a call; did you mean 'rounds'?*"),
        ("measure('a', rounds=-1)", "*rounds=...: -1 is not a whole number of at least 1, at most *"),
        ("measure([{'content': 'a'}])", "*each message needs 'role' and 'content'*"),
    ],
)
def test_a_wrong_call_fails_the_test_in_words(
    bench: pytest.Pytester, run: Run, call: str, message: str
) -> None:
    bench.makepyfile(f"def test_speed(llm_model): llm_model.{call}")
    result = run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"E{message}"])
    assert "fixtures.py" not in result.stdout.str()


def test_messages_go_through_the_chat_template(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(
        """
        def test_speed(llm_model):
            run = llm_model.measure([{"role": "user", "content": "hi"}], rounds=1)
            assert run.rounds[0].timeline.prompt_tokens == 1 + len("<user>hi<assistant>")
            assert run.protocol["chat"]
        """
    )
    run().assert_outcomes(passed=1)


def test_a_call_says_what_and_the_command_line_how_often(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(
        """
        def test_speed(llm_model):
            run = llm_model.measure("a", rounds=4, max_new_tokens=7)
            assert (len(run.rounds), run.rounds[0].timeline.output_tokens) == (2, 7)
        """
    )
    run("--llm-rounds=2", "--llm-max-new-tokens=9").assert_outcomes(passed=1)


def test_generate_is_one_recorded_round(bench: pytest.Pytester, run: Run, document: Document) -> None:
    bench.makepyfile(
        """
        def test_speed(llm_model):
            first = llm_model.generate("a", max_new_tokens=3)
            assert first.text == "abc"
            assert first.ttft > 0
            llm_model.generate(prompt_tokens=20)
        """
    )
    run().assert_outcomes(passed=1)
    (case,) = document()["cases"]
    assert case["measurement"] == "generate"
    (process,) = case["processes"]
    assert [r["prompt_tokens"] for r in process["rounds"]] == [2, 20]


def test_two_passes_estimate_the_same_latencies(bench: pytest.Pytester, run: Run, document: Document) -> None:
    bench.makepyfile(
        """
        def test_speed(llm_model):
            estimate = llm_model.two_pass("a", max_new_tokens=8, rounds=2)
            assert estimate.ttft > 0
            assert [r.timeline.output_tokens for r in estimate.one.rounds] == [1, 1]
            assert [r.timeline.output_tokens for r in estimate.full.rounds] == [8, 8]
        """
    )
    run().assert_outcomes(passed=1)
    assert len(document()["cases"]) == 2


def test_isolation_model_shares_one_process_between_consecutive_tests(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(
        """
        def test_one(llm_model): llm_model.measure("a", rounds=1)
        def test_two(llm_model): llm_model.measure("a", rounds=1)
        """
    )
    run("--llm-isolation=model").assert_outcomes(passed=2)
    first, second = (case["processes"][0] for case in document()["cases"])
    assert first["pid"] == second["pid"]
    assert "load_time" in first["values"]
    assert "load_time" not in second["values"]
    run("--llm-isolation=test").assert_outcomes(passed=2)
    first, second = (case["processes"][0] for case in document()["cases"])
    assert first["pid"] != second["pid"]


def test_isolation_none_runs_in_this_process(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(
        """
        import os

        def test_one(llm_model):
            run = llm_model.measure("a", rounds=1)
            assert run.processes[0].pid == os.getpid()
            assert run.peak_rss.n == 0
        """
    )
    run("--llm-isolation=none").assert_outcomes(passed=1)


def test_a_shared_process_and_fresh_ones_contradict_each_other(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile("def test_one(llm_model): llm_model.measure('a')")
    result = run("--llm-isolation=model", "--llm-processes=2")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*set processes=1 or isolation='test'*"])


def test_disable_runs_each_body_once_and_keeps_nothing(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(
        """
        import pytest

        @pytest.mark.llm(rounds=50, processes=9)
        def test_speed(llm_model):
            assert len(llm_model.measure("a", rounds=30).rounds) == 1
        """
    )
    result = run("--llm-disable")
    result.assert_outcomes(passed=1)
    assert not (bench.path / "out.json").exists()
    assert not (bench.path / ".llmbench").exists()


def test_options_of_a_backend_reach_the_engine(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(
        """
        import pytest

        @pytest.mark.llm(backend_options={"fake": {"context": 50, "seconds_per_token": 0.0}})
        def test_speed(llm_model):
            run = llm_model.measure("a", rounds=1, max_new_tokens=4)
            assert run.processes[0].engine["context"] == 99
        """
    )
    run("--llm-option", "fake.context=99").assert_outcomes(passed=1)


def test_the_monitor_watches_each_process(bench: pytest.Pytester, run: Run, document: Document) -> None:
    bench.makepyfile(
        """
        def test_speed(llm_model, hw_monitor):
            with hw_monitor.window("all"):
                run = llm_model.measure("a", rounds=3, max_new_tokens=40)
            assert run.peak_rss.max > 2**20
            assert hw_monitor.peak_rss > 2**20
            assert len(hw_monitor.samples) > 0
        """
    )
    run("--llm-option=fake.seconds_per_token=0.01", monitor=True).assert_outcomes(passed=1)
    (case,) = document()["cases"]
    assert case["processes"][0]["hardware"]["values"]


def test_pytest_benchmark_measures_generate(bench: pytest.Pytester, run: Run, document: Document) -> None:
    bench.makepyfile(
        """
        def test_speed(benchmark, llm_model):
            result = benchmark.pedantic(llm_model.generate, args=("a",), rounds=3, warmup_rounds=2)
        """
    )
    result = run("--benchmark-json=bench.json")
    result.assert_outcomes(passed=1)
    (case,) = document()["cases"]
    assert sum(len(p["rounds"]) for p in case["processes"]) == 3
    import json

    (entry,) = json.loads((bench.path / "bench.json").read_text())["benchmarks"]
    assert entry["extra_info"]["ttft"] == case["metrics"]["ttft"]["median"]
    assert entry["extra_info"]["model"] == "tiny"
    assert entry["stats"]["rounds"] == 3


def test_pytest_benchmarks_own_loop_counts_the_same_rounds(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile("def test_speed(benchmark, llm_model): benchmark(llm_model.generate, 'a')")
    run(
        "--benchmark-json=bench.json", "--benchmark-min-rounds=4", "--benchmark-max-time=0.000001"
    ).assert_outcomes(passed=1)
    import json

    (entry,) = json.loads((bench.path / "bench.json").read_text())["benchmarks"]
    (case,) = document()["cases"]
    assert entry["stats"]["rounds"] * entry["stats"]["iterations"] == len(case["processes"][0]["rounds"])


def test_the_table_has_the_columns_that_were_asked_for(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile("def test_x(llm_model): llm_model.measure('hello', rounds=1, max_new_tokens=2)")
    run("--llm-columns=size,load_time").stdout.fnmatch_lines(["*rounds* file load_time*"])
    bench.makeini("[pytest]\nllm_columns = load_time\n")
    run().stdout.fnmatch_lines(["*rounds* load_time*"])
    result = run("--llm-columns=lode_time")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: --llm-columns: there is no column 'lode_time'; did you mean 'load_time'?*"]
    )
