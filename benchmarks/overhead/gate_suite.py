"""How often does a whole suite fail in which nothing changed?

Each suite is a pytest session of its own, as a user starts it: 20 prompts of other lengths, and an A/B
base side that differs in a variable which no program reads.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from child_pytest import make_folder, run_pytest
from machine import HEADS, Meanwhile, Watch, columns
from pairs import NotMeasuredError
from tables import listed, markdown, rate

from pytest_llmbench.gate.ab import BASE_SUFFIX
from pytest_llmbench.metrics.table import gated_metrics
from pytest_llmbench.results.document import read_document
from pytest_llmbench.results.records import CaseRecord
from pytest_llmbench.results.verdict import Verdict

SUITES = 1
CASES = 20
_STEP = 8
_NOT_JUDGED = "not judged"
_FILE = f"""\
import pytest


@pytest.mark.llm(models=["tiny"], quantizations=["f16"], max_new_tokens=32, rounds=10)
@pytest.mark.parametrize("tokens", {[_STEP * (n + 1) for n in range(CASES)]})
def test_prompt(llm_model, tokens):
    llm_model.measure(prompt_tokens=tokens)
"""


@dataclass(frozen=True, slots=True)
class Suite:
    """One session, and what became of its cases."""

    number: int
    seconds: float
    exit_status: int
    cases: Mapping[str, Mapping[str, Any]]
    """Id of each case to its ``verdict``, its ``judgments`` and, where it has one, its ``error``."""
    meanwhile: Meanwhile

    @property
    def verdicts(self) -> Counter[str]:
        """How many cases have which."""
        return Counter(case["verdict"] or _NOT_JUDGED for case in self.cases.values())

    @property
    def failed(self) -> bool:
        """Whether any case did."""
        return self.verdicts[Verdict.FAIL] > 0

    def __str__(self) -> str:
        return f"suite {self.number}: {listed(self.verdicts)} in {self.seconds / 60:.1f} min"

    def to_json(self) -> dict[str, Any]:
        return {
            "suite": self.number,
            "seconds": self.seconds,
            "exit_status": self.exit_status,
            "failed": self.failed,
            "machine": self.meanwhile.to_json(),
            "cases": self.cases,
        }


def measure(suites: int, options: Sequence[str]) -> Iterator[Suite]:
    """One suite after the other.

    :param options: further ones of pytest's command line.
    :raises NotMeasuredError: if a session did not come to judge its cases.
    """
    for number in range(suites):
        with TemporaryDirectory() as parent:
            yield _suite(number, make_folder(parent, "suite", _FILE), options)


def _suite(number: int, folder: Path, options: Sequence[str]) -> Suite:
    document = folder / "results.json"
    plain = ("--llm-backend=llamacpp", "--llm-ab=env.LLMBENCH_NOTHING=1", f"--llm-json={document}")
    began, watch = time.monotonic(), Watch()
    status = run_pytest(folder, *plain, *options, statuses=(0, 1))
    seconds = time.monotonic() - began
    cases = [case for case in read_document(document).cases if not case.measurement.endswith(BASE_SUFFIX)]
    if len(cases) != CASES:
        msg = f"{len(cases)} of the {CASES} cases of suite {number} are in its results"
        raise NotMeasuredError(msg)
    judged = {case.nodeid: told(case) for case in cases}
    return Suite(number, seconds, status, judged, watch.seen())


def told(case: CaseRecord) -> dict[str, Any]:
    """What became of one case."""
    judged = {"verdict": case.verdict, "judgments": [one.model_dump(mode="json") for one in case.judgments]}
    return judged if case.verdict is not None else {**judged, "error": case.error}


def table(suites: Sequence[Suite]) -> str:
    """What failed: suites, their cases, and each metric of those."""
    lines = [
        ("of", "judged", "`fail`", "rate", "95% bound", "other verdicts", "minutes", "exit status", *HEADS)
    ]
    any_fail: Counter[str] = Counter(Verdict.FAIL if suite.failed else Verdict.PASS for suite in suites)
    minutes = f"{fmean(suite.seconds for suite in suites) / 60:.1f}" if suites else "–"
    statuses = Counter(str(suite.exit_status) for suite in suites)
    machine = columns([suite.meanwhile for suite in suites])
    shown = ", ".join(f"{n} × {status}" for status, n in sorted(statuses.items()))
    lines.append((*_counted(f"suites of {CASES} cases", any_fail, "no `fail`"), minutes, shown, *machine))
    cases = sum((suite.verdicts for suite in suites), Counter[str]())
    lines.append((*_counted("cases", cases), "", "", "", ""))
    judged = (one["metric"] for s in suites for case in s.cases.values() for one in case["judgments"] or ())
    for metric in dict.fromkeys((*gated_metrics(), *judged)):
        found = Counter(
            one["verdict"]
            for suite in suites
            for case in suite.cases.values()
            for one in case["judgments"] or ()
            if one["metric"] == metric
        )
        if found:
            lines.append((*_counted(f"`{metric}` of cases", found), "", "", "", ""))
    return markdown(lines)


def _counted(
    what: str, verdicts: Mapping[str, int], passed: str = "pass"
) -> tuple[str, str, str, str, str, str]:
    """The first columns of a row."""
    judged, fails = sum(verdicts.values()), verdicts.get(Verdict.FAIL, 0)
    others = {passed if v == Verdict.PASS else v: n for v, n in verdicts.items() if v != Verdict.FAIL}
    return (what, str(judged), str(fails), *rate(fails, judged, wanted=False), listed(others))
