"""Does one line say what became of the cases, what noise had to do with it, and what to do next?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pytest_llmbench.gate.compare import CaseComparison, Comparison
from pytest_llmbench.report.comparison import comparison_table, explain_case, markdown_comparison, to_json
from pytest_llmbench.report.table import render
from pytest_llmbench.report.terminal import Screen
from pytest_llmbench.report.verdicts import headline, noisy, on_cpu_time, steps_said, summary, unjudged
from pytest_llmbench.results.verdict import Judgment, Verdict, verdicts_of, worst

Compared = Callable[..., Comparison]
LOAD = {"cpu_pressure": 3, "foreign_cpu": 9}


def pairs(metric: str = "ttft", verdict: Verdict = Verdict.PASS, **fields: Any) -> Judgment:
    details = {"pairs": 12, "seconds": 24.0, "looks": [8, 12, 20, 32], "pairs_wanted": 20, "disturbed": 9}
    values: dict[str, Any] = {
        **{"base": 0.01, "now": 0.012, "change": 0.2, "low": 0.15, "high": 0.25, "confidence": 0.95},
        **{"threshold": 0.05, "n": 12, "detectable": 0.12},
    }
    details |= fields.pop("details", {})
    return Judgment(metric, verdict, "signed-rank", details=details, **{**values, **fields})


FAIL, INCONCLUSIVE, INVALID = Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.INVALID
BELOW = "below the threshold of 5%, but not beyond doubt after 12 pairs; about 20 pairs would decide it"
BY_CPU = (
    pairs(verdict=INCONCLUSIVE, noise=LOAD, decided_by="prefill_cpu_time", reason=BELOW),
    pairs("prefill_cpu_time", stands_for=("ttft",)),
)
FAIL_BY_CPU = (BY_CPU[0], pairs("prefill_cpu_time", FAIL, stands_for=("ttft",)))
NOISY = pairs(verdict=FAIL, noise=LOAD)


@pytest.fixture
def compared(a_case: Any, a_session: Any) -> Compared:
    """A session's cases, one for each group of judgments."""

    def make(*groups: tuple[Judgment, ...]) -> Comparison:
        engine = {"n_threads": 1, "on_gpu": False, "cpu_time": "comparable"}
        cases = [
            CaseComparison(a_case(f"test_{n}", engine=engine), worst(verdicts_of(group)), group)
            for n, group in enumerate(groups)
        ]
        return Comparison(a_session(1, [case.case for case in cases]), (), tuple(cases))

    return make


def shown(comparison: Comparison, width: int = 80) -> list[str]:
    return render(comparison_table(comparison), Screen(width)).splitlines()


# -- noise --------------------------------------------------------------------------------------


def test_a_noisy_verdict_says_so_with_what_the_noise_cost(compared: Compared) -> None:
    comparison = compared((NOISY,))
    lines = shown(comparison)
    assert any("fail (noisy)" in line for line in lines)
    said = "noisy: 9 of 12 pairs were disturbed and used (cpu_pressure 3, foreign_cpu 9); sees changes"
    assert said in " ".join(" ".join(lines).split())
    assert lines[-1] == "1 case: 1 fail (noisy)"
    assert headline(comparison.cases[0]) == "ttft +20% (+15 to +25), noisy"
    explained = explain_case(comparison.cases[0])
    assert "ttft: fail (noisy)" in explained
    assert "noisy     9 of 12 pairs were disturbed and used" in explained
    assert "fail (noisy)<br>noisy: 9 of 12 pairs" in markdown_comparison(comparison)


def test_noise_is_said_once_a_case(compared: Compared) -> None:
    lines = shown(compared((NOISY, pairs("tpot", FAIL, noise=LOAD))))
    assert sum("noisy:" in line for line in lines) == 1


def test_what_is_invalid_for_its_noise_says_so_once(compared: Compared) -> None:
    why = "9 of 12 pairs were disturbed: foreign_cpu (9), and the load falls on one side"
    comparison = compared((pairs(verdict=INVALID, noise=LOAD, reason=why),))
    assert not any("noisy" in line for line in shown(comparison))
    assert "noisy" not in explain_case(comparison.cases[0])


def test_what_was_all_left_out_is_not_more_than_nothing(compared: Compared) -> None:
    judged = pairs(verdict=INVALID, n=0, dropped=3, details={"dropped": {"foreign_cpu": 3}})
    assert "0 pairs, 3 left out: foreign_cpu (3)" in explain_case(compared((judged,)).cases[0])


def test_a_failure_that_noise_did_not_touch_is_not_noisy(compared: Compared) -> None:
    (case,) = compared((NOISY, pairs("peak_rss", FAIL))).cases
    assert not noisy(case)


def test_what_was_left_out_is_said_with_the_reason(compared: Compared) -> None:
    judged = pairs(verdict=FAIL, dropped=3, details={"dropped": {"foreign_cpu": 2, "steal": 1}})
    said = explain_case(compared((judged,)).cases[0])
    assert "signed-rank, 12 pairs, 3 more left out: foreign_cpu (2), steal (1)" in said


# -- CPU time -----------------------------------------------------------------------------------


def test_a_verdict_on_cpu_time_is_never_silent(compared: Compared) -> None:
    comparison = compared(BY_CPU)
    (case,) = comparison.cases
    assert case.verdict is Verdict.PASS
    assert on_cpu_time(case)
    assert summary(comparison) == "1 case: 1 pass (on CPU time alone)"
    told = "\n".join(shown(comparison))
    assert "decided by prefill_cpu_time, as this is inconclusive: below the threshold" in told
    assert "judged instead of ttft, which noise left undecided" in told
    # What would decide the metric itself is not wanted any more.
    assert "20 pairs" not in told
    assert "20 pairs" not in explain_case(case)


def test_what_another_metric_decides_asks_for_nothing(compared: Compared) -> None:
    reason = "15 of 15 rounds were disturbed (foreign_cpu): measure again on a quieter machine"
    said = "\n".join(shown(compared((replace(BY_CPU[0], reason=reason), BY_CPU[1]))))
    assert "(foreign_cpu)" in said
    assert "measure again" not in said


def test_a_failure_by_cpu_time_says_for_what_it_stands(compared: Compared) -> None:
    comparison = compared(FAIL_BY_CPU)
    assert headline(comparison.cases[0]) == "prefill_cpu_time +20% (+15 to +25), judged instead of ttft"
    assert summary(comparison) == "1 case: 1 fail (on CPU time alone)"
    data = to_json(comparison)["cases"]
    assert isinstance(data, list)
    assert data[0]["on_cpu_time"] is True
    assert data[0]["judgments"][0]["decided_by"] == "prefill_cpu_time"


def test_a_failure_by_time_beside_one_by_cpu_time_stands_on_both(compared: Compared) -> None:
    (case,) = compared((*FAIL_BY_CPU, pairs("tpot", FAIL))).cases
    assert not on_cpu_time(case)


def test_the_summary_counts_what_stands_on_what(compared: Compared) -> None:
    quiet = (pairs(),)
    comparison = compared((NOISY,), quiet, BY_CPU, BY_CPU)
    assert summary(comparison) == "4 cases: 1 fail (noisy), 3 pass (2 on CPU time alone)"


# -- what next ----------------------------------------------------------------------------------


def test_what_is_not_decided_ends_with_the_command_that_would(compared: Compared) -> None:
    open_ = pairs(verdict=INCONCLUSIVE, noise=LOAD, reason=BELOW)
    comparison = compared((open_,), (pairs(),))
    step = "to decide 1 of 2 cases: add --llm-clock=cpu -k test_0 (about 40 s)"
    assert steps_said(comparison) == [step]
    assert shown(comparison)[-2:] == ["2 cases: 1 inconclusive, 1 pass", step]
    case = comparison.cases[0]
    said = "to decide it: add --llm-clock=cpu (about 40 s)"
    assert headline(case) == f"inconclusive: ttft; {said}"
    assert explain_case(case).endswith(said)
    assert "--llm-clock=cpu" in markdown_comparison(comparison)


def test_what_is_decided_has_no_next_step(compared: Compared) -> None:
    comparison = compared((NOISY,), BY_CPU)
    assert steps_said(comparison) == []
    assert unjudged(comparison, "warn") is None


def test_what_could_not_be_judged_is_counted_with_what_follows(compared: Compared) -> None:
    open_ = pairs(verdict=INCONCLUSIVE), pairs("tpot", INVALID)
    comparison = compared(open_[:1], open_[1:], BY_CPU, (NOISY,), (pairs(),))
    said = "the gate could not judge 2 of 5 cases (1 invalid, 1 inconclusive)"
    assert unjudged(comparison, "warn") == f"{said}: --llm-inconclusive=fail makes that exit with 1"
    assert unjudged(comparison, "fail") == f"{said}, which fails their tests (--llm-inconclusive=fail)"


@pytest.mark.parametrize("width", [80, 120])
def test_all_of_it_fits_the_terminal(compared: Compared, width: int) -> None:
    rates = {"base": 1420.0, "now": 1030.0, "noise": LOAD}
    groups = ((NOISY, pairs("decode_throughput", FAIL, **rates)), FAIL_BY_CPU, BY_CPU)
    assert max(map(len, shown(compared(*groups), width))) <= width
