"""Is a server under load measured as the test asked, and is every outcome kept and told?"""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.bench.planning import Planner, Workload
from pytest_llmbench.cases.case import LoadLevel
from pytest_llmbench.measure.saturation import FEWEST_REQUESTS
from pytest_llmbench.settings.case import CaseSettings
from pytest_llmbench.settings.sources import read_marker
from tests.fakes.openai_server import fake_server
from tests.plugin.conftest import Run

Document = Callable[[], dict[str, Any]]

SWEEP = """
import pytest

@pytest.mark.llm(concurrency=[1, 3], requests=12, prompt_length=20, max_new_tokens=4)
def test_load(llm_load):
    run = llm_load.measure()
    assert run.failed == 0
    assert run.ttft.n >= 1
"""


def one_level(text: str = "", call: str = "") -> str:
    return f"""
import pytest

@pytest.mark.llm(requests=8, prompt_length=20, max_new_tokens=4, {text})
def test_load(llm_load):
    run = llm_load.measure({call})
"""


def test_each_load_level_is_a_case(bench: pytest.Pytester, run: Run, document: Document) -> None:
    bench.makepyfile(SWEEP)
    with fake_server("org/name") as server:
        result = run(f"--llm-base-url={server.url}", backend=None)
    result.assert_outcomes(passed=2)
    cases = document()["cases"]
    assert [case["name"] for case in cases] == ["test_load[server-c1]", "test_load[server-c3]"]
    for case, concurrency in zip(cases, (1, 3), strict=True):
        assert case["model"]["name"] == "org/name"
        assert case["model"]["backend"] == "server"
        assert case["protocol"]["concurrency"] == concurrency
        (process,) = case["processes"]
        assert process["load"]["successful"] == len(process["rounds"]) == 12
        assert process["failures"] == []
        assert {"request_throughput", "system_throughput", "ttft", "tpot", "itl"} <= case["metrics"].keys()
        assert all(
            r["output_tokens"] == 4 and r["request"]["token_source"] == "usage" for r in process["rounds"]
        )
        assert process["load"]["client"]["stamps"] in ("kernel", "user")


def test_the_table_of_loads_is_printed(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(SWEEP)
    with fake_server() as server:
        result = run(f"--llm-base-url={server.url}", backend=None)
    result.stdout.fnmatch_lines(["*req/s*TTFT*", "*test_load*", "*c1 *", "*c3 *"])


def test_the_command_line_has_the_last_word_on_the_load(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(SWEEP)
    with fake_server() as server:
        run(
            f"--llm-base-url={server.url}",
            "--llm-backend=server",
            "--llm-model=fake",
            "--llm-concurrency=2",
            "--llm-requests=5",
            "--llm-warmup-requests=1",
            backend=None,
        ).assert_outcomes(passed=1)
        loads = [body for body in server.bodies if body["max_tokens"] == 4]
    (case,) = document()["cases"]
    assert case["name"] == "test_load[server-fake-c2]"
    assert len(case["processes"][0]["rounds"]) == 5
    assert len(loads) == 6


def test_no_two_prompts_begin_alike(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(SWEEP)
    with fake_server() as server:
        run(f"--llm-base-url={server.url}", backend=None).assert_outcomes(passed=2)
        prompts = [b["prompt"] for b in server.bodies if b["max_tokens"] == 4]
    assert len({prompt[:16] for prompt in prompts}) == len(prompts)
    assert {len(prompt.split()) for prompt in prompts} == {20}


def test_a_rate_is_an_open_loop(bench: pytest.Pytester, run: Run, document: Document) -> None:
    bench.makepyfile(one_level("request_rate=[50], arrivals='constant', slo={'ttft': '10s'}"))
    with fake_server() as server:
        run(f"--llm-base-url={server.url}", backend=None).assert_outcomes(passed=1)
    (case,) = document()["cases"]
    assert case["name"] == "test_load[server-r50]"
    assert case["protocol"]["arrivals"] == "constant"
    assert case["metrics"]["goodput"]["median"] > 0
    assert all(r["request"]["send_lag"] is not None for r in case["processes"][0]["rounds"])


def test_failures_are_counted_by_kind_and_are_no_rounds(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(one_level("concurrency=[2], warmup_requests=0"))
    with fake_server(fail_every=4) as server:
        result = run(f"--llm-base-url={server.url}", "--llm-max-failures=2", backend=None)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*failed: 2 HTTP 503*"])
    (case,) = document()["cases"]
    (process,) = case["processes"]
    assert len(process["rounds"]) == 6
    assert [failure["kind"] for failure in process["failures"]] == ["status", "status"]
    assert "overloaded" in process["failures"][0]["detail"]
    assert process["load"]["failed"] == {"status": 2}


def test_a_level_of_failures_alone_fails_the_test(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(one_level("concurrency=[2], warmup_requests=0", "'hello'"))
    with fake_server(fail_every=1) as server:
        result = run(f"--llm-base-url={server.url}", backend=None)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*all 8 requests failed: *503*overloaded*"])
    (case,) = document()["cases"]
    assert len(case["processes"][0]["failures"]) == 8


def test_a_server_that_is_not_there_is_a_clear_error(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(one_level())
    with fake_server() as server:
        url = server.url
    result = run(f"--llm-base-url={url}", backend=None)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*no server answers at*nothing listens there*"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_a_model_that_the_server_does_not_have_is_named(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(one_level())
    with fake_server("one", "two") as server:
        result = run(f"--llm-base-url={server.url}", "--llm-model=three", backend=None)
        result.stdout.fnmatch_lines(["*has no model 'three'; it has one, two*"])
        result = run(f"--llm-base-url={server.url}", backend=None)
        result.stdout.fnmatch_lines(["*has the models one, two: choose one with --llm-model*"])


def test_two_servers_are_measured_side_by_side(bench: pytest.Pytester, run: Run, document: Document) -> None:
    bench.makepyfile(one_level())
    with fake_server() as first, fake_server() as second:
        run(f"--llm-base-url={first.url}", f"--llm-base-url={second.url}", backend=None).assert_outcomes(
            passed=2
        )
        ports = [server.server_address[1] for server in (first, second)]
    names = [case["name"] for case in document()["cases"]]
    assert names == [f"test_load[server@127.0.0.1:{port}-c1]" for port in ports]


def test_the_key_is_sent_and_kept_nowhere(
    bench: pytest.Pytester, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_SERVER_KEY", "sesame-opens")
    bench.makepyfile(one_level())
    with fake_server() as server:
        result = run(
            f"--llm-base-url={server.url}", "--llm-option=server.api_key_env=MY_SERVER_KEY", backend=None
        )
        assert server.keys == {"Bearer sesame-opens"}
    result.assert_outcomes(passed=1)
    assert "sesame-opens" not in result.stdout.str()
    kept = [path for path in bench.path.rglob("*") if path.is_file() and b"sesame-opens" in path.read_bytes()]
    assert kept == []


def test_a_key_whose_variable_is_not_set_is_refused(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(one_level())
    with fake_server() as server:
        result = run(f"--llm-base-url={server.url}", "--llm-option=server.api_key_env=NOT_SET", backend=None)
    result.stdout.fnmatch_lines(["*NOT_SET*"])
    result.assert_outcomes(failed=1)


def test_chat_goes_to_the_chat_endpoint(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(one_level("", "[{'role': 'user', 'content': 'hello'}], prefix_cache=True"))
    with fake_server() as server:
        run(
            f"--llm-base-url={server.url}", "--llm-option=server.endpoint=chat", backend=None
        ).assert_outcomes(passed=1)
        assert {body["messages"][-1]["content"] for body in server.bodies} == {"hello"}


SHIPPED = Path(__file__).parents[2] / "benchmarks" / "test_serving.py"


def test_a_level_with_too_few_requests_to_tell_saturation_says_so(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(bench_it=SHIPPED.read_text())
    with fake_server() as server:
        asked = ("bench_it.py::test_request_rate", f"--llm-base-url={server.url}", "--llm-request-rate=100")
        run(*asked, "--llm-requests=125", backend=None).assert_outcomes(passed=1)
        (case,) = document()["cases"]
        assert case["processes"][0]["load"]["saturated"] is not None
        result = run(*asked, "--llm-requests=30", backend=None)
    result.stdout.fnmatch_lines(["s[?] test_request_rate*: it is not known whether it was saturated: *"])


def test_the_shipped_rate_has_requests_enough_to_tell_saturation() -> None:
    (marker,) = runpy.run_path(str(SHIPPED))["test_request_rate"].pytestmark
    assert all(count_of(rate, **marker.kwargs) >= FEWEST_REQUESTS * 5 // 4 for rate in (0.5, 2, 4))


@pytest.mark.parametrize("rate", [0.5, 2.0, 4.0])
@pytest.mark.parametrize("arrivals", ["poisson", "constant", "burst:8", "ramp:0"])
def test_a_slow_rate_has_requests_enough_by_default_whatever_the_arrivals(rate: float, arrivals: str) -> None:
    assert count_of(rate, arrivals=arrivals) >= FEWEST_REQUESTS * 5 // 4


def count_of(rate: float, **given: Any) -> int:
    """How many requests a level at a rate has by default."""
    values = CaseSettings(**read_marker([((), given)], "a test"))
    workload = Workload(values, prompt=None, dataset=None, text_seed=0)
    planner = Planner(workload, LoadLevel(request_rate=rate), "a test", disabled=False)
    unused: Any = None
    return planner._counts(unused, values.params, 0)[1]


def test_a_data_set_gives_the_prompts(bench: pytest.Pytester, run: Run, document: Document) -> None:
    bench.makefile(".jsonl", prompts="\n".join(json.dumps({"prompt": f"question {n}"}) for n in range(3)))
    bench.makepyfile(one_level("prefix_cache=True"))
    with fake_server() as server:
        run(f"--llm-base-url={server.url}", "--llm-dataset=prompts.jsonl", backend=None).assert_outcomes(
            passed=1
        )
        assert set(server.prompts) == {"question 0", "question 1", "question 2"}
    (case,) = document()["cases"]
    assert case["protocol"]["prompts"].startswith("sha256:")


def test_a_trace_is_replayed_at_its_times(bench: pytest.Pytester, run: Run, document: Document) -> None:
    lines = [json.dumps({"timestamp": 40 * n, "input_length": 20, "output_length": 2 + n}) for n in range(4)]
    bench.makefile(".jsonl", trace="\n".join(lines))
    bench.makepyfile("def test_load(llm_load): llm_load.measure()")
    with fake_server() as server:
        run(
            f"--llm-base-url={server.url}",
            "--llm-dataset=trace.jsonl",
            "--llm-arrivals=trace",
            "--llm-time-unit=ms",
            backend=None,
        ).assert_outcomes(passed=1)
    (case,) = document()["cases"]
    assert case["name"] == "test_load[server-trace]"
    assert case["protocol"]["time_unit"] == "ms"
    assert [r["output_tokens"] for r in case["processes"][0]["rounds"]] == [2, 3, 4, 5]


def test_a_trace_of_blocks_shares_what_it_shared(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    recorded = {"timestamp": 0, "input_length": 128, "output_length": 2}
    lines = [json.dumps({**recorded, "hash_ids": [1, 2, 3, last]}) for last in (4, 5)]
    bench.makefile(".jsonl", trace="\n".join(lines))
    bench.makepyfile(one_level("warmup_requests=0, concurrency=1", "requests=2"))
    with fake_server() as server:
        asked = f"--llm-base-url={server.url}", "--llm-dataset=trace.jsonl"
        run(*asked, "--llm-block-size=32", backend=None).assert_outcomes(passed=1)
        (case,) = document()["cases"]
        one, other = server.prompts[-2:]
        result = run(*asked, "--llm-block-size=16", backend=None)
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*no prompt has as many hash_ids*block_size=16*; 32 fits them all*"])
    assert case["protocol"]["block_size"] == 32
    assert one[: 3 * len(one) // 5] == other[: 3 * len(one) // 5]
    assert one != other


def test_prompts_that_the_memory_has_no_room_for_are_refused(bench: pytest.Pytester, run: Run) -> None:
    bench.makefile(".jsonl", trace=json.dumps({"timestamp": 0, "input_length": 10**8, "output_length": 2}))
    bench.makepyfile(one_level("concurrency=1", "requests=100000"))
    with fake_server() as server:
        result = run(f"--llm-base-url={server.url}", "--llm-dataset=trace.jsonl", backend=None)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*requests have prompts of * tokens together*ask for fewer requests*"])


def test_times_in_seconds_that_were_read_as_milliseconds_are_not_replayed(
    bench: pytest.Pytester, run: Run
) -> None:
    lines = [json.dumps({"timestamp": 60.0 * n, "input_length": 10, "output_length": 5}) for n in range(2)]
    bench.makefile(".jsonl", trace="\n".join(lines))
    bench.makepyfile("def test_load(llm_load): llm_load.measure()")
    with fake_server() as server:
        asked = f"--llm-base-url={server.url}", "--llm-dataset=trace.jsonl", "--llm-arrivals=trace"
        result = run(*asked, backend=None)
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(
            ["*read as milliseconds, as its form has them*--llm-time-unit=s for seconds*"]
        )
        # At a rate, the times are scaled, in whatever unit they are.
        run(*asked, "--llm-request-rate=50", backend=None).assert_outcomes(passed=1)


def test_llm_model_measures_a_server_one_request_at_a_time(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(
        """
        def test_speed(llm_model):
            run = llm_model.measure("hello there", rounds=3, max_new_tokens=4)
            assert run.ttft.n == 3
            assert llm_model.generate("hello", max_new_tokens=2).round.timeline.output_tokens == 2
        """
    )
    with fake_server() as server:
        run(f"--llm-base-url={server.url}", backend=None).assert_outcomes(passed=1)
    cases = document()["cases"]
    assert [case["measurement"] for case in cases] == ["default", "generate"]
    assert cases[0]["model"]["name"] == "fake"
    assert [r["output_tokens"] for r in cases[0]["processes"][0]["rounds"]] == [4, 4, 4]


def test_llm_server_is_there_beside_the_load(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(
        """
        def test_alone(llm_server):
            assert llm_server.base_url.startswith("http://127.0.0.1")

        def test_both(llm_load, llm_server):
            llm_load.measure(requests=2)
            assert llm_server is llm_load.server
        """
    )
    with fake_server() as server:
        run(f"--llm-base-url={server.url}", backend=None).assert_outcomes(passed=2)


def test_llm_server_is_there_beside_the_model_and_skips_what_no_server_runs(
    bench: pytest.Pytester, run: Run
) -> None:
    bench.makepyfile(
        """
        def test_both(llm_server, llm_model):
            assert llm_model.measure("hello", max_new_tokens=2, rounds=1).ttft.n == 1
            assert llm_server.base_url.startswith("http://127.0.0.1")
        """
    )
    with fake_server() as server:
        run(f"--llm-base-url={server.url}", backend=None).assert_outcomes(passed=1)
    result = run("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*SKIP*this test needs a server*--llm-serve*"])


@pytest.mark.parametrize("argument", ["--llm-backend=fake", "--llm-backend=server", "-v"])
def test_without_a_server_a_load_is_skipped_with_the_reason(
    bench: pytest.Pytester, run: Run, argument: str
) -> None:
    bench.makepyfile(one_level())
    result = run(argument, "-rs", backend=None)
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*SKIP*--llm-base-url*"])


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("--llm-base-url=localhost:80", "write http://HOST:PORT/v1"),
        ("--llm-serve=vlm", "did you mean 'vllm'"),
        ("--llm-concurrency=0", "a whole number of at least 1"),
        ("--llm-request-rate=0", "a number above 0"),
        ("--llm-arrivals=poison", "poisson"),
        ("--llm-requests=x", "a whole number of at least 1"),
        ("--llm-duration=0", "a number above 0"),
        ("--llm-warmup-requests=-1", "a whole number of at least 0"),
        ("--llm-slo=itl:5ms", "ttft"),
        ("--llm-prompt-length=uniform:9:3", "uniform"),
        ("--llm-output-length=0", "a length is at least 1 token"),
        ("--llm-shared-prefix=x", "a whole number of at least 0"),
        ("--llm-option=server.endpoint=embeddings", "completions"),
        ("--llm-option=server.proxy=socks://x", "http://HOST:PORT"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_sent(
    bench: pytest.Pytester, run: Run, argument: str, told: str
) -> None:
    bench.makepyfile(one_level())
    result = run(argument, backend=None)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert told in result.stderr.str()


def test_a_data_set_that_is_not_there_fails_the_test(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(one_level())
    with fake_server() as server:
        result = run(f"--llm-base-url={server.url}", "--llm-dataset=nowhere.jsonl", backend=None)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*nowhere.jsonl cannot be read: No such file*"])


def test_a_load_is_compared_with_a_baseline(bench: pytest.Pytester, run: Run, document: Document) -> None:
    bench.makepyfile(one_level("processes=2"))
    with fake_server(seconds_per_token=0.002) as server:
        run(f"--llm-base-url={server.url}", backend=None).assert_outcomes(passed=1)
        (bench.path / "out.json").rename(bench.path / "base.json")
        result = run(f"--llm-base-url={server.url}", "--llm-compare=base.json", backend=None)
    (case,) = document()["cases"]
    assert case["verdict"] in ("pass", "inconclusive", "fail")
    assert {j["metric"] for j in case["judgments"]} >= {"ttft", "tpot"}
    result.stdout.fnmatch_lines(["*LLM comparison*"])


def test_two_servers_are_judged_in_pairs(bench: pytest.Pytester, run: Run, document: Document) -> None:
    bench.makepyfile("def test_speed(llm_model): llm_model.measure('hello', rounds=4, max_new_tokens=8)")
    with fake_server(seconds_per_token=0.001) as base, fake_server(seconds_per_token=0.01) as slow:
        result = run(
            f"--llm-base-url={slow.url}", f"--llm-ab=base_url={base.url}", "--llm-gate=tpot", backend=None
        )
    result.assert_outcomes(failed=1)
    verdicts = {case["measurement"]: case["verdict"] for case in document()["cases"]}
    assert verdicts["default"] == "fail"


MADE_PROMPT = """
def test_speed(llm_model):
    llm_model.measure(prompt_tokens=32, rounds=2, warmup_rounds=0, max_new_tokens=4)
"""


@pytest.mark.parametrize(
    ("counted", "told"),
    [
        (None, "the server does not report how many tokens its prompts have*server.tokenizer=FOLDER*"),
        (1, "the server's token counts do not match its prompts (1 tokens for 32 words*"),
    ],
)
def test_a_prompt_is_made_where_the_server_does_not_count_it_and_the_guess_is_told(
    bench: pytest.Pytester, run: Run, document: Document, counted: int | None, told: str
) -> None:
    bench.makepyfile(MADE_PROMPT)
    with fake_server() as server:
        server.counts, server.prompt_tokens = counted is not None, counted
        result = run(f"--llm-base-url={server.url}", backend=None)
        one, other = (prompt.split() for prompt in server.prompts[-2:])
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*prompts are made with 1.33 tokens for a word*"])
    result.stdout.fnmatch_lines([f"*{told}"])
    # A server of which nothing is known may keep what it was asked: each prompt begins with words of its own.
    assert one[3:] == other[3:] != []
    assert one[:3] != other[:3]
    assert len(one) == len(other) == 24
    (case,) = document()["cases"]
    assert case["protocol"]["prompt_tokens"] == 32
    assert [r["prompt_tokens"] for p in case["processes"] for r in p["rounds"]] == [counted, counted]


def test_a_made_prompt_has_the_length_that_the_server_counts(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(MADE_PROMPT)
    with fake_server() as server:
        run(f"--llm-base-url={server.url}", backend=None).assert_outcomes(passed=1)
        asked = [body for body in server.bodies if body["max_tokens"] == 1]
    (case,) = document()["cases"]
    assert [r["prompt_tokens"] for p in case["processes"] for r in p["rounds"]] == [32, 32]
    # Not every server counts what it streams.
    assert [body["stream"] for body in asked] == [False]


def test_two_passes_count_the_tokens_that_came(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(
        """
        import pytest

        def test_speed(llm_model):
            found = llm_model.two_pass("hello", rounds=3, max_new_tokens=20)
            whole, first = (run.e2e_latency.median for run in (found.full, found.one))
            assert found.tpot == pytest.approx((whole - first) / 15)
        """
    )
    with fake_server(fewer=4, seconds_per_token=0.001) as server:
        run(f"--llm-base-url={server.url}", backend=None).assert_outcomes(passed=1)
