"""How does what a session measures become its document?

Each finished case goes to the session's journal at once; at its end the journal becomes a document. Under
xdist every worker has a journal, and the controller makes the document of all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from pytest_llmbench.errors import LLMBenchError, ResultsError
from pytest_llmbench.results.document import write_document
from pytest_llmbench.results.environment import snapshot
from pytest_llmbench.results.journal import Journal, collect, count_outcomes, finish
from pytest_llmbench.results.records import CaseRecord, Header, ResultsDocument
from pytest_llmbench.results.store import Store
from pytest_llmbench.times import now

OK, FAILED = 0, 1
"""Exit statuses, as pytest has them too."""


class ResultsSession:
    """The results of one session. Use :meth:`open`, or :meth:`merged`.

    :meth:`append` each case; then :meth:`end`, and :meth:`write`. As a context manager it does the last two:
    the document says whether an exception or an interrupt ended the session.
    """

    def __init__(
        self,
        store: Store,
        header: Header,
        journal: Journal | None,
        *,
        json: Path | None = None,
        problems: Iterable[str] = (),
    ) -> None:
        self.store = store
        self._journal = journal
        self._document = (
            header
            if isinstance(header, ResultsDocument)
            else ResultsDocument.model_validate(header.model_dump())
        )
        self._cases = {case.key: case for case in self._document.cases}
        self._journaled: set[tuple[str, str]] = set()
        """The cases that are in the journal."""
        self._json = json
        self._problems = list(problems)
        self._written: list[Path] = []

    @classmethod
    def open(
        cls,
        store: Store,
        header: Header | None = None,
        *,
        worker: str | None = None,
        json: Path | None = None,
    ) -> ResultsSession:
        """Start the journal, before anything is measured that could not be kept.

        :param header: by default a new session's, of this machine and the working directory's commit.
            A document's has cases already, of a session that is resumed.
        :param worker: the xdist worker's id, such as ``gw0``, whose journal it is; or which part of a session
            that is resumed.
        :param json: where the document is written beside the store.
        :raises ResultsError: if the store cannot be written.
        """
        if header is None:
            header = snapshot(Path.cwd())
        return cls(store, header, Journal.create(store, header, worker), json=json)

    @classmethod
    def merged(cls, store: Store, session_id: str, *, json: Path | None = None) -> ResultsSession | None:
        """The session whose xdist workers have written journals; None if there is none."""
        document, problems = collect(store, session_id)
        return None if document is None else cls(store, document, None, json=json, problems=problems)

    def __enter__(self) -> ResultsSession:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Write the document.

        :raises ResultsError: if that is all that failed, and something of it did.
        """
        self.end(interrupted=kind is not None and issubclass(kind, KeyboardInterrupt))
        self.write(OK if kind is None else FAILED)
        if kind is None and self._problems:
            raise ResultsError("\n".join(self._problems))

    @property
    def document(self) -> ResultsDocument:
        """The document so far: its cases are complete from :meth:`end` on."""
        return self._document

    @property
    def cases(self) -> int:
        """How many cases it has so far."""
        return len(self._cases)

    @property
    def problems(self) -> Sequence[str]:
        """What went wrong with the keeping of the results, a line or more each."""
        return self._problems

    @property
    def written(self) -> Sequence[Path]:
        """Where the document was written, each place once."""
        return list(dict.fromkeys(self._written))

    def note_problem(self, text: str) -> None:
        """Let the exit status tell that something went wrong."""
        self._problems.append(text)

    def append(self, *cases: CaseRecord) -> None:
        """Keep cases, on the disk before this returns; one that has the key of an earlier one replaces it.

        :raises ResultsError: if the journal cannot be written; they go into the document all the same.
        """
        self._cases.update({case.key: case for case in cases})
        if self._journal is None:
            return
        self._journal.append(*cases)
        self._journaled.update(case.key for case in cases)

    def leave(self) -> None:
        """Leave the journal to whoever makes the document: the controller of a worker."""
        if self._journal is not None:
            self._journal.close()

    def discard(self) -> None:
        """Remove the journal of a session that measures nothing."""
        if self._journal is not None:
            self._journal.discard()

    def end(self, *, interrupted: bool = False) -> ResultsDocument:
        """Nothing more is measured. Returns the document, as it will be written but for the exit status."""
        self._document.cases = list(self._cases.values())
        record = self._document.session
        record.state = "interrupted" if interrupted else "finished"
        record.outcomes = count_outcomes(self._document.cases)
        record.ended = now()
        return self._document

    def write(
        self, exit_status: int = OK, afterwards: Iterable[Callable[[], str]] = ()
    ) -> tuple[int, list[str]]:
        """Write the document: into the store, which ends the journal, and to where else it was asked for.

        :param exit_status: that the session would have; a problem makes 1 of 0, and the document says so.
        :param afterwards: what is done when the document is in the store, each telling what it did.
        :return: the exit status, and what *afterwards* told. What failed is in :attr:`problems`.
        """
        told: list[str] = []
        exit_status = self._settled(exit_status)
        try:
            if self._json is not None:
                self._written.append(write_document(self._json, self._document))
        except ResultsError as error:
            self._problems.append(str(error))
        exit_status = self._settled(exit_status)
        try:
            self._written.append(finish(self.store, self._document))
        except ResultsError as error:
            self._problems.append(f"{error}{self._left()}")
        # Not before: while it is open, no other process takes it for that of a killed session.
        self.leave()
        for act in afterwards:
            try:
                told.append(act())
            except LLMBenchError as error:
                self._problems.append(str(error))
        settled = self._settled(exit_status)
        if settled != exit_status:
            # What could be written says that all was well, and what could not ended the session otherwise.
            for path in self._written:
                with suppress(ResultsError):
                    write_document(path, self._document)
        return settled, told

    def _settled(self, exit_status: int) -> int:
        """Let the exit status tell of problems, and the document of the exit status."""
        if self._problems and exit_status == OK:
            exit_status = FAILED
        self._document.session.exit_status = exit_status
        return exit_status

    def _left(self) -> str:
        """Where the cases are, when no document could be written into the store."""
        cases = len(self._cases)
        # What came from the journals of workers is in them.
        kept = cases if self._journal is None else len(self._journaled & self._cases.keys())
        journal = self.store.journals if self._journal is None else self._journal.path
        if not kept or not journal.exists():
            return ""
        what = "Every finished case is" if kept == cases else f"{kept} of {cases} cases are"
        return (
            f"\n{what} in {journal}; when the store can be written again, 'llmbench recover --store "
            f"{self.store.path}' makes a document of it."
        )
