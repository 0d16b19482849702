"""What does a comparison look like on a terminal, in a pull request, and in a failed test's report?

Changes are shown with the sign that the numbers have: a throughput that fell has a minus. Cases
that pass say little, so of many only the others are shown.
"""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, NamedTuple

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from pytest_llmbench.errors import few
from pytest_llmbench.gate.next_step import remedy_of
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.metrics.units import count, precise_percent
from pytest_llmbench.report import rows
from pytest_llmbench.report.judgment import (
    HEADS,
    Cells,
    cells,
    decided_elsewhere,
    explain,
    noise_of,
    stands_instead,
)
from pytest_llmbench.report.markdown import escaped
from pytest_llmbench.report.together import conversation_of, summed, together, turns_said
from pytest_llmbench.report.verdicts import BY_GRAVITY, noisy, on_cpu_time, steps_said, summary
from pytest_llmbench.results.records import label_of
from pytest_llmbench.results.verdict import Judgment, Verdict

if TYPE_CHECKING:
    from pytest_llmbench.gate.compare import CaseComparison, Comparison
    from pytest_llmbench.results.records import Header

MANY = 20
"""Of more cases than this, those that pass are only counted; lists of what did not fail are cut at it."""

COMMENT_LIMIT = 65_000
"""Characters of Markdown: GitHub refuses a comment of more than 65,536."""

_STYLES = {
    Verdict.PASS: "green",
    Verdict.FAIL: "bold red",
    Verdict.INCONCLUSIVE: "yellow",
    Verdict.INVALID: "magenta",
    Verdict.NEW: "cyan",
}
_MARKS = {
    Verdict.PASS: "✅",
    Verdict.FAIL: "❌",
    Verdict.INCONCLUSIVE: "❔",
    Verdict.INVALID: "⚠️",
    Verdict.NEW: "🆕",
}
_WIDE_NAME = 12
"""Letters of a metric's name for which its head may stand."""


def explain_case(case: CaseComparison) -> str:
    """Everything that was judged of one case, what failed first."""
    order = sorted(case.judgments, key=lambda one: BY_GRAVITY.index(one.verdict))
    head = [case.reason] if case.reason else []
    if case.sessions:
        head.append(f"compared with {_sessions(case.sessions)}")
    tail = [f"left out: {one}" for one in case.left_out]
    if (remedy := remedy_of(case)) is not None:
        tail.append(f"to decide it: {remedy.said}")
    return "\n".join([*head, *map(explain, order), *tail])


def to_json(comparison: Comparison) -> dict[str, object]:
    """The comparison as plain data; SI units, changes positive where worse."""
    return {
        "now": _session(comparison.now),
        "base": [_session(header) for header in comparison.bases],
        "verdict": comparison.verdict.value,
        "counts": {verdict.value: count for verdict, count in comparison.counts.items()},
        "cases": [_case_json(case) for case in comparison.cases],
        "missing": [asdict(one) for one in comparison.missing],
        "to_decide": steps_said(comparison),
        "notes": list(comparison.notes),
    }


def markdown_comparison(comparison: Comparison, *, full: bool = False) -> str:
    """The comparison for a pull request's comment. Ends with a newline.

    Cases that pass are folded away; they are left out, and counted, where the whole is too long.
    """
    told, quiet = _split(comparison, full=full)
    head = f"### {_MARKS[comparison.verdict]} LLM benchmarks: {summary(comparison)}"
    tail = [f"**{escaped(line)}**\n" for line in steps_said(comparison)]
    tail += _markdown_unmatched(comparison) + [f"_{escaped(line)}_\n" for line in _footnotes(comparison)]
    parts = [head, ""]
    if told:
        parts += [*_markdown_table(told), ""]
    passing = _markdown_table(quiet)
    folded = ["<details><summary>Cases that pass</summary>", "", *passing, "", "</details>", ""]
    length = sum(len(line) + 1 for line in (*parts, *tail))
    if quiet and length + sum(len(line) + 1 for line in folded) <= COMMENT_LIMIT:
        parts += folded
    elif quiet:
        parts += [f"{_cases(quiet)} cases that pass are not shown.", ""]
    text = "\n".join([*parts, *tail]).rstrip() + "\n"
    if len(text) <= COMMENT_LIMIT:
        return text
    return text[: text.rfind("\n", 0, COMMENT_LIMIT)] + "\n\nCut off here: a comment cannot be longer.\n"


def comparison_table(
    comparison: Comparison, *, full: bool = False, width: int | None = None
) -> ComparisonTable:
    """The comparison for a terminal; *full* shows cases that pass, however many."""
    return ComparisonTable(comparison, full, width)


@dataclass(frozen=True, slots=True)
class ComparisonTable:
    """A rich renderable that lays itself out for the width at which it is printed."""

    comparison: Comparison
    full: bool = False
    width: int | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self._lines(self.width or options.max_width):
            line.no_wrap = True
            line.overflow = "ignore"
            yield line

    def _lines(self, width: int) -> Iterator[Text]:
        told, quiet = _split(self.comparison, full=self.full)
        if not self.full and len(told) + len(quiet) <= MANY:
            told, quiet = [*told, *quiet], []
        shown = told if self.full else _cut(told)
        yield from _table(shown, width)
        if more := _cases(told) - _cases(shown):
            yield Text(f"{more} more cases that did not fail are not shown.", style="dim")
        if quiet:
            yield Text(f"{_cases(quiet)} cases that pass are not shown.", style="dim")
        for group in _unmatched(self.comparison):
            yield from _wrapped(f"{group.kind}: {group.reason}", width, "", "cyan")
            ids = group.ids if self.full else group.ids[:MANY]
            yield from (Text(f"  {one}") for one in ids)
            if len(group.ids) > len(ids):
                yield Text(f"  ... and {len(group.ids) - len(ids)} more", style="dim")
        for note in _footnotes(self.comparison):
            yield from _wrapped(note, width, "", "dim")
        yield Text(summary(self.comparison), style=_STYLES[self.comparison.verdict])
        for step in steps_said(self.comparison):
            yield from _wrapped(step, width, "", "yellow")


# --- The table of a terminal -------------------------------------------------------------------


def _table(parts: Sequence[Part], width: int) -> Iterator[Text]:
    if not parts:
        return
    by_case = {one.first.case.key: one for one in parts}
    heads, fitted, widths = _fitted([row for one in parts for row in one.cells], width)
    left = iter(fitted)
    lines = {one.first.case.key: [next(left) for _ in one.rows] for one in parts}

    def row(texts: Cells, style: str = "") -> Text:
        first = f"  {texts.metric}".ljust(widths[0] + 2)
        rest = [" " + text.rjust(size) for text, size in zip(texts[1:], widths[1:], strict=False)]
        text = Text(first + "".join(rest[:5]))
        text.append(rest[5], style=style)
        text.append("".join(rest[6:]))
        text.rstrip()
        return text

    if fitted:
        yield Text.assemble((row(heads).plain, "bold"))
    file = None
    for group in rows.grouped(one.first.case for one in parts):
        if group.file != file:
            file = group.file
            yield Text(file, style="bold")
        yield Text(group.function, style="cyan")
        for case, label in zip(group.cases, group.labels, strict=True):
            judged = by_case[case.key]
            if label := judged.label(label):
                yield Text(f" {label}", style="" if judged.rows else _STYLES[judged.first.verdict])
            for verdict, said in judged.lines:
                style = _STYLES[verdict] if verdict in (Verdict.PASS, Verdict.FAIL) else "yellow"
                yield from _wrapped(said, width, "  ", style)
            judgments = [judgment for _, judgment in judged.rows]
            for judgment, line, notes in zip(judgments, lines[case.key], _remarks(judgments), strict=True):
                yield row(line, _STYLES[judgment.verdict] if judgment.decided_by is None else "dim")
                for note in notes:
                    yield from _wrapped(note, width, "    ", "dim")


def _fitted(lines: list[Cells], width: int) -> tuple[Cells, list[Cells], list[int]]:
    """Heads, rows and widths: short names of metrics, and no last column, only where it has to be."""
    heads = HEADS
    for short in (False, True):
        if short:
            lines = [one._replace(metric=_short(one.metric)) for one in lines]
        widths = [max(map(cell_len, column)) for column in zip(heads, *lines, strict=True)]
        if 1 + sum(widths) + len(widths) <= width:
            return heads, lines, widths
    return heads, lines, widths[:-1]


def _short(name: str) -> str:
    """The head of a metric in the results table, where its name is too wide: ``decode tok/s.p99``."""
    turn, space, name = name.rpartition(" ")
    plain, dot, tail = name.partition(".")
    head = METRICS[plain].head if plain in METRICS and len(plain) > _WIDE_NAME else ""
    return f"{turn}{space}{head or plain}{dot}{tail}"


def _wrapped(text: str, width: int, indent: str, style: str) -> Iterator[Text]:
    for line in textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=indent + "  "):
        yield Text(line, style=style)


def _remarks(judgments: Iterable[Judgment]) -> list[list[str]]:
    """What to say below each judgment; what holds for several of a case only below the first."""
    said: set[tuple[object, ...]] = set()
    found: list[list[str]] = []
    for one in judgments:
        remarks: dict[tuple[object, ...], str | None] = {}
        if one.decided_by is not None:
            remarks[one.decided_by, one.verdict] = decided_elsewhere(one)
        elif one.improved:
            remarks[one.verdict, one.method, "improved"] = (
                "improved beyond the threshold: the baseline is stale"
            )
        elif one.verdict is not Verdict.PASS:
            remarks[one.verdict, one.method] = one.reason
        if one.stands_for:
            remarks["instead", one.metric] = stands_instead(one)
        if one.decided_by is None:
            remarks["noise",] = noise_of(one)
        new = {like: remark for like, remark in remarks.items() if remark and like not in said}
        said.update(new)
        found.append(list(new.values()))
    return found


# --- Cells -------------------------------------------------------------------------------------


class Part(NamedTuple):
    """What stands in one place: a case, or the turns of a conversation."""

    cases: list[CaseComparison]
    rows: list[tuple[str, Judgment]]
    """Which turn it is of, if it is of one, and the judgment."""
    lines: list[tuple[Verdict, str]]

    @classmethod
    def of(cls, cases: list[CaseComparison]) -> Part:
        """The part of one case, or of the turns of one conversation."""
        if len(cases) > 1:
            return cls(cases, *summed(cases))
        (one,) = cases
        reason = (
            [(one.verdict, f"{one.verdict}: {one.reason}")] if one.reason and one.mismatch is None else []
        )
        return cls(cases, [("", judgment) for judgment in one.judgments], reason)

    @property
    def first(self) -> CaseComparison:
        return self.cases[0]

    @property
    def cells(self) -> list[Cells]:
        """A row for each judgment."""
        made = [(turn, cells(judgment)) for turn, judgment in self.rows]
        return [row._replace(metric=f"{turn} {row.metric}".strip()) for turn, row in made]

    def label(self, label: str) -> str:
        """The *label* of its first case, for all of them."""
        if len(self.cases) == 1:
            return label
        measurement = self.first.case.measurement
        return f"{label.removesuffix(measurement)} {conversation_of(measurement)}".strip().replace("  ", " ")

    @property
    def telling(self) -> bool:
        """Whether a case of it does not just pass."""
        return any(one.verdict is not Verdict.PASS or one.improved for one in self.cases)

    @property
    def failed(self) -> bool:
        return any(one.verdict is Verdict.FAIL for one in self.cases)


def _cases(parts: Iterable[Part]) -> int:
    return sum(len(one.cases) for one in parts)


def _split(comparison: Comparison, *, full: bool) -> tuple[list[Part], list[Part]]:
    """What has something to tell, and what just passes. What was not compared is neither."""
    judged = [one for one in comparison.cases if one.judgments or one.mismatch is None]
    if full:
        return [Part.of([one]) for one in judged], []
    parts = [Part.of(cases) for cases in together(judged)]
    return [one for one in parts if one.telling], [one for one in parts if not one.telling]


def _cut(told: list[Part]) -> list[Part]:
    """Everything that failed, and so much of the other."""
    room, shown = MANY, []
    for one in told:
        if one.failed:
            shown.append(one)
        elif room:
            shown.append(one)
            room -= 1
    return shown


class _Group(NamedTuple):
    kind: str
    reason: str
    ids: list[str]


def _unmatched(comparison: Comparison) -> list[_Group]:
    """What was not compared, cases with the same reason together."""
    found: dict[tuple[str, str], dict[str, list[str]]] = {}
    for one in comparison.unmatched:
        tests = found.setdefault((one.kind.value, one.reason), {})
        tests.setdefault(one.nodeid, []).append(one.measurement)
    return [
        _Group(kind, reason, [name for test, labels in tests.items() for name in _ids(test, labels)])
        for (kind, reason), tests in found.items()
    ]


def _ids(test: str, measurements: Iterable[str]) -> Iterator[str]:
    """A name for each measurement of a test, and one for the turns of a conversation."""
    talks: dict[str, list[str]] = {}
    for one in measurements:
        talks.setdefault(conversation_of(one) or one, []).append(one)
    for labels in talks.values():
        yield label_of(test, turns_said(labels))


def _sessions(ids: Sequence[str]) -> str:
    return f"{count(len(ids), 'session')} ({few(ids, 3)})"


def _footnotes(comparison: Comparison) -> list[str]:
    """What holds for several cases: the baseline, caveats, sessions left out, what columns mean."""
    lines = []
    # A document that is shown again has no more of its baseline than the sessions' ids.
    bases = [header.session.id for header in comparison.bases] or list(
        dict.fromkeys(session for case in comparison.cases for session in case.sessions)
    )
    if bases:
        lines.append(f"compared with {_sessions(bases)}")
    judgments = [one for case in comparison.cases for one in case.judgments]
    caveats = Counter(one.reason for one in judgments if one.verdict is Verdict.PASS and one.reason)
    lines += [f"{reason} ({count}×)" if count > 1 else str(reason) for reason, count in caveats.items()]
    left_out = Counter(why for case in comparison.cases if case.sessions for why in case.left_out)
    lines += [f"not used, for {count} of the cases: {why}" for why, count in left_out.items()]
    levels = sorted({one.confidence for one in judgments if one.low is not None and one.confidence})
    if levels:
        shown = " or ".join(map(precise_percent, levels))
        lines.append(f"interval: of the change, {shown}; sees: the smallest change found in 4 of 5 tries")
    if any(one.dropped for one in judgments):
        lines.append(f"n {rows.DISTURBED_MARK}: processes or pairs left out, as the machine was disturbed")
    if comparison.notes:
        lines.append(f"also different: {'; '.join(comparison.notes)}")
    return lines


# --- Markdown and JSON -------------------------------------------------------------------------


def _markdown_table(parts: Iterable[Part]) -> list[str]:
    lines = [
        "| case | metric | base | now | change | interval | allowed | verdict | n | sees |",
        "| :--- | :--- | ---: | ---: | ---: | ---: | ---: | :--- | ---: | ---: |",
    ]
    for one in parts:
        label = one.first.case.measurement
        label = label if len(one.cases) == 1 else conversation_of(label) or label
        name = escaped(label_of(one.first.nodeid, label))
        for verdict, said in one.lines or [(one.first.verdict, "")] * (not one.rows):
            said = escaped(said.removeprefix(f"{verdict}: "))
            lines.append(f"| {name} | {said} | | | | | | {_MARKS[verdict]} {verdict} | | |")
            name = ""
        judgments = [judgment for _, judgment in one.rows]
        for row, judgment, remarks in zip(one.cells, judgments, _remarks(judgments), strict=True):
            told = [f"{_MARKS[judgment.verdict]} {row.verdict}", *map(escaped, remarks)]
            texts = [escaped(text) for text in row]
            texts[6] = "<br>".join(told)
            lines.append(f"| {name} | {' | '.join(texts)} |")
            name = ""
    return lines


def _markdown_unmatched(comparison: Comparison) -> list[str]:
    lines = []
    for kind, reason, ids in _unmatched(comparison):
        lines.append(f"**{escaped(kind)}**: {escaped(reason)}")
        lines.append("")
        lines += [f"- {escaped(one)}" for one in ids[:MANY]]
        if len(ids) > MANY:
            lines.append(f"- and {len(ids) - MANY} more")
        lines.append("")
    return lines


def _session(header: Header) -> dict[str, object]:
    return {
        "session": header.session.id,
        "started": header.session.started,
        "machine": header.machine.id if header.machine is not None else None,
        "commit": header.commit.id,
        "branch": header.commit.branch,
        "dirty": header.commit.dirty,
    }


def _case_json(case: CaseComparison) -> dict[str, object]:
    remedy = remedy_of(case)
    return {
        "nodeid": case.nodeid,
        "measurement": case.case.measurement,
        "verdict": case.verdict.value,
        "reason": case.reason,
        "improved": case.improved,
        "mismatch": None if case.mismatch is None else asdict(case.mismatch),
        "sessions": list(case.sessions),
        "left_out": list(case.left_out),
        "on_cpu_time": on_cpu_time(case),
        "noisy": noisy(case),
        "to_decide": None if remedy is None else asdict(remedy),
        "judgments": [_finite(asdict(one)) for one in case.judgments],
    }


def _finite(value: object) -> object:
    """JSON has no infinity: an end that is not known is null."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
