"""Where do the documents of all sessions lie, and how is one of them found?

``STORE/results/SESSION.json`` are the documents, ``STORE/journal/SESSION[.WORKER].jsonl`` the
journals of sessions that have not ended. A session's id begins with its start, so names sort by
time, and ends in random digits, so two sessions never share one.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from pytest_llmbench.errors import ResultsError, few, suggest
from pytest_llmbench.results import DEFAULT_STORE
from pytest_llmbench.results.document import read_header, write_document
from pytest_llmbench.results.files import atomic_write, make_folder, read_bounded, results_error, take_name
from pytest_llmbench.results.ids import check_session_id, is_session_id, meant
from pytest_llmbench.results.records import Header, ResultsDocument

LATEST = "latest"
_GITIGNORE = b"# Written by pytest-llmbench. Delete the next line to keep results in git.\n*\n"


@dataclass(frozen=True, slots=True)
class Entry:
    """One document of the store, its cases unread."""

    path: Path
    header: Header

    @property
    def id(self) -> str:
        """The session's id."""
        return self.path.stem


class Store:
    """A folder of results documents and journals; it may be shared by sessions at the same time."""

    def __init__(self, path: Path | str = DEFAULT_STORE) -> None:
        self.path = Path(path).expanduser()

    @property
    def results(self) -> Path:
        """The folder of the documents."""
        return self.path / "results"

    @property
    def journals(self) -> Path:
        """The folder of the journals."""
        return self.path / "journal"

    def create(self) -> None:
        """Create the folders; results are kept out of git, unless the user changes ``.gitignore``.

        :raises ResultsError: if a folder cannot be created.
        """
        make_folder(self.results)
        make_folder(self.journals)
        ignore = self.path / ".gitignore"
        if not ignore.exists():
            atomic_write(ignore, _GITIGNORE)

    def document_path(self, session_id: str) -> Path:
        """Where the document of a session lies, or will lie.

        :raises ResultsError: for what is not a session's id, and could be the path of another file.
        """
        check_session_id(session_id)
        return self.results / f"{session_id}.json"

    def write(self, document: ResultsDocument) -> Path:
        """Put *document* under its session's id. Returns its path.

        :raises ResultsError: if it cannot be written.
        """
        path = self.document_path(document.session.id)
        self.create()
        if path.is_symlink():
            msg = f"{path} is a link to another file, and is not written: remove it"
            raise ResultsError(msg)
        return write_document(path, document)

    def add(self, session_id: str, data: bytes) -> Path:
        """Put the document *data* there, which another process has made; returns its path.

        :raises ResultsError: if it cannot be written, or the session has another document there, which stays.
        """
        path = self.document_path(session_id)
        self.create()
        hidden = path.with_name(f".{session_id}.{secrets.token_hex(4)}.tmp")
        try:
            atomic_write(hidden, data)
            take_name(hidden, path)
        except FileExistsError:
            hidden.unlink(missing_ok=True)
            if read_bounded(path, "the document") != data:
                msg = f"session {session_id} has another document, {path}, which is not replaced"
                raise ResultsError(msg) from None
        except OSError as error:
            hidden.unlink(missing_ok=True)
            raise results_error("write", path, error) from error
        return path

    def documents(self) -> tuple[list[Entry], list[str]]:
        """Every document, the newest first, and one line for each that is damaged.

        Only the beginning of each file is read.
        """
        entries, problems = [], []
        for path in self.paths():
            try:
                entries.append(Entry(path, read_header(path)))
            except ResultsError as error:
                problems.append(str(error))
        return entries, problems

    def find(self, ref: str | Path, problems: list[str] | None = None) -> Path:
        """The document that *ref* means: a path, ``latest``, a session's id, or a part of one.

        A part is the beginning of an id or of its random digits, and must fit one session only.
        ``latest`` passes over damaged documents and appends one line for each to *problems*.

        :raises ResultsError: if there is none, or more than one.
        """
        text = str(ref)
        if text == LATEST:
            return self._latest([] if problems is None else problems)
        path = Path(ref).expanduser()
        if path.is_file():
            return path
        if is_session_id(text) and self.document_path(text).is_file():
            return self.document_path(text)
        ids = [p.stem for p in self.paths()]
        matches = meant(text, ids)
        if len(matches) == 1:
            return self.results / f"{matches[0]}.json"
        if matches:
            msg = (
                f"{text!r} means {len(matches)} sessions of {self.path}: {few(matches, 3)}; write "
                "more of the id"
            )
            raise ResultsError(msg)
        msg = (
            f"there is no results document {text!r}: it is neither a file nor a session of {self.path}"
            f"{suggest(text, [*ids, LATEST])}; 'llmbench list' shows the sessions"
        )
        raise ResultsError(msg)

    def _latest(self, problems: list[str]) -> Path:
        for path in self.paths():
            try:
                read_header(path)
            except ResultsError as error:
                problems.append(str(error))
            else:
                return path
        msg = f"there is no results document in {self.results}: run pytest with benchmarks first"
        raise ResultsError(msg)

    def paths(self) -> list[Path]:
        """Where every document lies, the newest first; nothing is read.

        :raises ResultsError: if the folder cannot be listed.
        """
        try:
            names = [p for p in self.results.iterdir() if p.suffix == ".json" and not p.name.startswith(".")]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise results_error("list", self.results, error) from error
        return sorted(names, key=lambda p: p.name, reverse=True)
