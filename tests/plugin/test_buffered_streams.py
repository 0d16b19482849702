"""Are the numbers of a server true whatever stands before it, and however it sends its tokens?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.fakes.openai_server import FakeServer, fake_server
from tests.plugin.conftest import Run

Document = Callable[[], dict[str, Any]]

TOKENS, PACE = 32, 0.01
UNTIMED = {"tpot", "tpot_all_tokens", "itl", "decode_throughput"}

LOAD = f"""
import pytest

@pytest.mark.llm(concurrency=[1], requests=4, warmup_requests=0, prompt_length=20, max_new_tokens={TOKENS},
                 slo={{"tpot": "1ms"}})
def test_load(llm_load):
    llm_load.measure()
"""
MODEL = f"""
import pytest

@pytest.mark.llm(rounds=3, warmup_rounds=0, max_new_tokens={TOKENS})
def test_model(llm_model):
    llm_model.measure("Name a river.")
"""


def serve(server: FakeServer, **how: int) -> None:
    for name, value in how.items():
        setattr(server, name, value)


@pytest.mark.parametrize("lot", [16, TOKENS])
@pytest.mark.parametrize("file", [LOAD, MODEL], ids=["load", "model"])
def test_a_server_behind_a_proxy_that_buffers_has_no_tpot_and_says_why(
    bench: pytest.Pytester, run: Run, document: Document, lot: int, file: str
) -> None:
    bench.makepyfile(file)
    with fake_server(seconds_per_token=PACE) as server:
        serve(server, lot=lot)
        result = run(f"--llm-base-url={server.url}", backend=None)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*-#*", "# not known: *proxy_buffering off*"])
    result.stdout.fnmatch_lines(["*LLMBenchWarning: *no decode_throughput, *tpot*: buffered: *"])
    (case,) = document()["cases"]
    assert case["metrics"].keys() >= {"ttft", "e2e_latency", "output_throughput"}
    assert not case["metrics"].keys() & (UNTIMED | {"goodput"})
    assert case["unknown"].keys() >= UNTIMED
    assert set(case["unknown"].values()) == {"buffered"}
    rounds = case["processes"][0]["rounds"]
    assert {(measured["values"].get("tpot"), len(measured["token_times"])) for measured in rounds} == {
        (None, TOKENS)
    }
    # On a busy machine the client may be late for one of them, which is not held against the proxy.
    why = [measured["untimed"] for measured in rounds]
    assert why.count("buffered") > len(why) / 2
    if file is LOAD:
        level = case["processes"][0]["load"]
        assert (level["untimed"], level["invalid"]) == ("buffered", None)
        assert level["buffered"] > 0.5
        assert (level["goodput"], level["goodput_unknown"]) == (None, "buffered")


@pytest.mark.parametrize("file", [LOAD, MODEL], ids=["load", "model"])
def test_a_session_behind_a_proxy_that_buffers_is_not_judged_by_the_time_between_tokens(
    bench: pytest.Pytester, run: Run, document: Document, file: str
) -> None:
    bench.makepyfile(file)
    with fake_server(seconds_per_token=PACE) as server:
        run(f"--llm-base-url={server.url}", "--llm-json=base.json", backend=None).assert_outcomes(passed=1)
        serve(server, lot=16)
        compare = (f"--llm-base-url={server.url}", "--llm-compare=base.json", "--llm-gate=tpot")
        run(*compare, "--llm-inconclusive=fail", backend=None).assert_outcomes(failed=1)
        result = run(*compare, backend=None)
    result.assert_outcomes(passed=1)
    (case,) = document()["cases"]
    assert case["verdict"] == "invalid"
    (judged,) = case["judgments"]
    assert (judged["metric"], judged["verdict"]) == ("tpot", "invalid")
    assert judged["reason"].startswith("buffered: ")
    result.stdout.fnmatch_lines(["*tpot*invalid*"])


def test_pairs_of_a_server_behind_a_proxy_that_buffers_end_soon_and_say_why(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(LOAD)
    with fake_server(seconds_per_token=PACE) as base, fake_server(seconds_per_token=PACE) as now:
        serve(now, lot=16)
        ab = (f"--llm-base-url={now.url}", f"--llm-ab=base_url={base.url}", "--llm-gate=tpot")
        run(*ab, backend=None).assert_outcomes(passed=1)
    case, base_case = document()["cases"]
    assert (case["verdict"], base_case["unknown"]) == ("invalid", {})
    (judged,) = case["judgments"]
    assert judged["reason"].startswith("buffered: ")
    assert len(case["processes"]) < 7


@pytest.mark.parametrize("file", [LOAD, MODEL], ids=["load", "model"])
@pytest.mark.parametrize("a_chunk", [1, 4])
def test_several_tokens_a_chunk_and_hidden_ones_leave_the_time_of_a_token_true(
    bench: pytest.Pytester, run: Run, document: Document, file: str, a_chunk: int
) -> None:
    bench.makepyfile(file)
    with fake_server(seconds_per_token=PACE) as server:
        serve(server, a_chunk=a_chunk, hidden=16)
        result = run(f"--llm-base-url={server.url}", backend=None)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*hidden*"])
    (case,) = document()["cases"]
    assert case["unknown"] == {}
    for measured in case["processes"][0]["rounds"]:
        times = measured["token_times"]
        assert (measured["output_tokens"], measured["hidden_tokens"]) == (TOKENS, 16)
        assert measured["first_tokens"] == a_chunk
        # No sleep is shorter than asked for.
        values = measured["values"]
        assert values["tpot"] == pytest.approx((times[-1] - times[0]) / (16 - a_chunk))
        assert values["tpot"] > PACE
        assert values["tpot_all_tokens"] == pytest.approx((times[-1] - times[0]) / (TOKENS - 1))
        assert values["decode_throughput"] == pytest.approx(1 / values["tpot"])
        assert values["output_throughput"] == pytest.approx(TOKENS / values["e2e_latency"])
    if file is LOAD:
        level = case["processes"][0]["load"]
        assert (level["hidden_tokens"], level["tokens_per_chunk"], level["buffered"]) == (
            4 * 16,
            a_chunk,
            0.0,
        )


def test_an_answer_that_was_not_streamed_has_no_time_between_tokens_and_accuses_nobody(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(LOAD.replace(f"={TOKENS},", "=4,"))
    with fake_server(seconds_per_token=PACE) as server:
        serve(server, lot=4)
        run(f"--llm-base-url={server.url}", backend=None).assert_outcomes(passed=1)
    (case,) = document()["cases"]
    assert set(case["unknown"].values()) == {"one_arrival"}
    # Few tokens that are there at once are soon enough for any objective.
    assert case["metrics"]["goodput"]["median"] > 0
