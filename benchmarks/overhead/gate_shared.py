"""What does pytest say, as a user starts it, of a side that is really slower, and of equal ones?

The worse side evaluates the prompt in batches of 8 tokens, its base side all at once: real work of the real
engine, and nothing but the command line tells. The equal sides have batches of 8 both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from child_pytest import make_folder, run_pytest
from gate_suite import told
from machine import HEADS, Meanwhile, Watch, columns
from pairs import NotMeasuredError
from tables import listed, markdown, rate

from pytest_llmbench.gate.ab import BASE_SUFFIX
from pytest_llmbench.results.document import read_document
from pytest_llmbench.results.verdict import Verdict

SESSIONS = 10
_WORSE = 8
_BASES = {"worse": 512, "equal": _WORSE}
ROWS = tuple(_BASES)
_TIMES = ("ttft", "prefill_cpu_time")
"""What the smaller batch makes worse, by either clock."""
_FILE = """\
import pytest


@pytest.mark.llm(models=["tiny"], max_new_tokens=32)
def test_short_answer(llm_model):
    llm_model.measure("Explain what a benchmark is in three sentences.")
"""


@dataclass(frozen=True, slots=True)
class Started:
    """One pytest session, and what it said."""

    row: str
    number: int
    exit_status: int
    case: Mapping[str, Any]
    """Its ``verdict``, its ``judgments`` and, where it has one, its ``error``."""
    meanwhile: Meanwhile

    @property
    def judgments(self) -> Sequence[Mapping[str, Any]]:
        return self.case["judgments"] or ()

    @property
    def found(self) -> bool:
        """Whether it failed for the time to the first token, by whichever clock, and pytest with it."""
        failed = {one["metric"] for one in self.judgments if one["verdict"] == Verdict.FAIL}
        return self.exit_status == 1 and not failed.isdisjoint(_TIMES)

    @property
    def noisy(self) -> bool:
        return any(marked(one) for one in self.judgments)

    def __str__(self) -> str:
        said = ", ".join(_said(one) for one in self.judgments)
        verdict = self.case["verdict"] or "not judged"
        return (
            f"{self.row} {self.number}: exit {self.exit_status}, {verdict} ({said}) in "
            f"{self.meanwhile.seconds:.0f} s, load {self.meanwhile.load:.1f}"
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "row": self.row,
            "session": self.number,
            "exit_status": self.exit_status,
            "found": self.found,
            "noisy": self.noisy,
            "machine": self.meanwhile.to_json(),
            **self.case,
        }


def marked(judged: Mapping[str, Any]) -> bool:
    """Whether a verdict that counts is marked noisy."""
    return bool(judged.get("noise")) and not judged.get("decided_by")


def _said(judged: Mapping[str, Any]) -> str:
    """``ttft invalid → prefill_cpu_time``, ``tpot pass noisy``."""
    decided = f" → {judged['decided_by']}" if judged.get("decided_by") else ""
    return f"{judged['metric']} {judged['verdict']}{' noisy' if judged.get('noise') else ''}{decided}"


def measure(sessions: int, rows: Sequence[str], options: Sequence[str]) -> Iterator[Started]:
    """So many sessions of each row.

    :param options: further ones of pytest's command line.
    :raises NotMeasuredError: if a session did not come to judge its case.
    """
    for row in ROWS:
        if row in rows:
            for number in range(sessions):
                with TemporaryDirectory() as parent:
                    yield _session(row, number, make_folder(parent, "shared", _FILE), options)


def _session(row: str, number: int, folder: Path, options: Sequence[str]) -> Started:
    document = folder / "results.json"
    plain = (
        "--llm-backend=llamacpp",
        f"--llm-option=llamacpp.n_batch={_WORSE}",
        f"--llm-ab=llamacpp.n_batch={_BASES[row]}",
        f"--llm-json={document}",
    )
    watch = Watch()
    status = run_pytest(folder, *plain, *options, statuses=(0, 1), environment={"CI": "1"})
    seen = watch.seen()
    cases = [case for case in read_document(document).cases if not case.measurement.endswith(BASE_SUFFIX)]
    if len(cases) != 1:
        msg = f"{len(cases)} cases instead of one are in the results of session {number}"
        raise NotMeasuredError(msg)
    return Started(row, number, status, told(cases[0]), seen)


def table(sessions: Sequence[Started]) -> str:
    """A row for each pair of sides, and one for each metric that was judged of them."""
    heads = ("sides", "of", "judged", "`fail`", "rate", "95% bound", "other verdicts", "noisy", "decides")
    lines: list[tuple[str, ...]] = [
        (*heads, "`fail` on TTFT, exit 1", "exit status", "change seen", "pairs", "minutes", *HEADS)
    ]
    for row in ROWS:
        if found := [one for one in sessions if one.row == row]:
            lines.append(_cases(row, found))
            metrics = dict.fromkeys(judged["metric"] for one in found for judged in one.judgments)
            lines += [_metric(row, metric, found) for metric in metrics]
    return markdown(lines)


def _cases(row: str, sessions: Sequence[Started]) -> tuple[str, ...]:
    statuses = Counter(str(one.exit_status) for one in sessions)
    return (
        *_counted(row, "case", [one.case["verdict"] or "not judged" for one in sessions]),
        str(sum(one.noisy for one in sessions)),
        "",
        str(sum(one.found for one in sessions)),
        ", ".join(f"{n} × {status}" for status, n in sorted(statuses.items())),
        "",
        "",
        f"{fmean(one.meanwhile.seconds for one in sessions) / 60:.1f}",
        *columns([one.meanwhile for one in sessions]),
    )


def _metric(row: str, metric: str, sessions: Sequence[Started]) -> tuple[str, ...]:
    judged = [one for session in sessions for one in session.judgments if one["metric"] == metric]
    changes = [one["change"] for one in judged if one["change"] is not None]
    deciders = Counter(str(one["decided_by"]) for one in judged if one.get("decided_by"))
    stands = sum(bool(one.get("stands_for")) for one in judged)
    decides = listed({f"by `{name}`": n for name, n in deciders.items()} | {"for the wall's clock": stands})
    pairs = [one["details"].get("pairs", one["n"]) for one in judged]
    return (
        *_counted(row, f"`{metric}`", [one["verdict"] for one in judged]),
        str(sum(bool(one.get("noise")) for one in judged)),
        decides,
        "",
        "",
        f"{fmean(changes):+.1%}" if changes else "–",
        f"{fmean(pairs):.1f}" if pairs else "–",
        "",
        "",
        "",
    )


def _counted(row: str, what: str, verdicts: Sequence[str]) -> tuple[str, ...]:
    """The first columns of a row."""
    fails = verdicts.count(Verdict.FAIL)
    # The batch has no say in how fast the tokens come, or in memory: only TTFT and the case should fail.
    wanted = row == "worse" and what in ("case", *(f"`{metric}`" for metric in _TIMES))
    return (
        row,
        what,
        str(len(verdicts)),
        str(fails),
        *rate(fails, len(verdicts), wanted=wanted),
        listed({v: n for v, n in Counter(verdicts).items() if v != Verdict.FAIL}),
    )
