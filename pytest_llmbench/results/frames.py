"""How are results analyzed with pandas?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmbench.results import DEFAULT_STORE
from pytest_llmbench.results.document import read_document
from pytest_llmbench.results.journal import SUFFIX, read_journal
from pytest_llmbench.results.records import ResultsDocument
from pytest_llmbench.results.rows import case_row, round_row
from pytest_llmbench.results.store import Store

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class Results:
    """One session's results, as a document and as frames."""

    document: ResultsDocument
    problems: tuple[str, ...] = ()
    """What was damaged and left out."""

    def __repr__(self) -> str:
        return f"<Results of session {self.document.session.id}: {len(self.document.cases)} cases>"

    @cached_property
    def cases(self) -> pd.DataFrame:
        """One row a case; ``METRIC_STATISTIC`` columns such as ``ttft_median``, SI units."""
        import pandas as pd

        return pd.DataFrame([case_row(self.document, case) for case in self.document.cases])

    @cached_property
    def rounds(self) -> pd.DataFrame:
        """One row a round; ``token_times`` holds lists, ``started`` is a time in UTC."""
        import pandas as pd

        rows: list[dict[str, object]] = [
            round_row(case, process, index, number)
            for case in self.document.cases
            for index, process in enumerate(case.processes)
            for number in range(len(process.rounds))
        ]
        frame = pd.DataFrame(rows)
        if rows:
            frame["started"] = pd.to_datetime(frame["started"], utc=True, format="ISO8601")
        return frame


def read_results(source: str | Path | ResultsDocument, store: str | Path = DEFAULT_STORE) -> Results:
    """The results of one session as pandas frames.

    *source* is a document, its path, the path of a journal (``*.jsonl``), or what a session of
    *store* is called: its id, a part of it, or ``latest``.

    :raises ResultsError: if there is no such document, or it cannot be read.
    """
    if isinstance(source, ResultsDocument):
        return Results(source)
    if str(source).endswith(SUFFIX) and Path(source).is_file():
        document, problems = read_journal(source)
        return Results(document, tuple(problems))
    passed_over: list[str] = []
    path = Store(store).find(source, passed_over)
    return Results(read_document(path), tuple(passed_over))


load = read_results
"""The short name of :func:`read_results`."""
