"""Which documents does a baseline's name mean, and where do named baselines lie?

``STORE/baselines/NAME/SESSION.json``: a named baseline is a folder, and each session that is saved
under the name adds to what is known of how sessions differ. What an update replaces goes to a
folder ``replaced``, of the name or of the store, so that nothing measured is lost.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pytest_llmbench.errors import ResultsError, UsageError, few, suggest
from pytest_llmbench.metrics import units
from pytest_llmbench.models.paths import from_folder
from pytest_llmbench.results.document import read_header, write_document
from pytest_llmbench.results.files import atomic_write, make_folder, results_error
from pytest_llmbench.results.ids import check_session_id, is_file_name, is_session_id
from pytest_llmbench.results.records import ResultsDocument
from pytest_llmbench.results.store import LATEST, Entry, Store

_HEX = re.compile(r"[0-9a-f]{4,40}")
_REPLACED = "replaced"
_COMMIT, _BRANCH = "commit:", "branch:"
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class NamedBaseline:
    """A baseline of the store, its cases unread."""

    name: str
    entries: tuple[Entry, ...]
    """Its sessions, the newest first."""
    problems: tuple[str, ...] = ()
    """One line for each damaged document."""


@dataclass(frozen=True, slots=True)
class Place:
    """A single baseline, that one session can take the place of."""

    path: Path
    """Its document, or the folder of its sessions."""
    name: str | None = None
    """As in the store; None for a document anywhere else."""

    @property
    def label(self) -> str:
        """What messages call it."""
        return repr(self.name) if self.name is not None else str(self.path)


def find_baselines(
    refs: Iterable[str | Path],
    store: Store,
    problems: list[str] | None = None,
    *,
    root: Path | None = None,
    here: Path | None = None,
) -> list[Path]:
    """The documents that *refs* mean, in the order of the refs, each once.

    A ref is the path of a document or of a folder of documents, a named baseline, ``latest``,
    ``commit:REV``, ``branch:NAME`` (the newest commit measured on it), or a session of the store.
    Sessions of a dirty working tree are none of a commit's. Damaged documents of a folder or a name
    are passed over, with a line each in *problems*.

    :param root: the folder whose git resolves ``commit:REV`` where it is not a hash.
    :param here: from where relative paths are meant; the working directory if None.
    :raises ResultsError: if a ref means nothing, with what there is.
    """
    told = problems if problems is not None else []
    found: dict[Path, Path] = {}
    for ref in refs:
        for path in _find(str(ref), store, told, root, here):
            found.setdefault(path.resolve(), path)
    return list(found.values())


def named_baselines(store: Store) -> list[NamedBaseline]:
    """Every named baseline of the store, by name."""
    folder = baselines_folder(store)
    try:
        names = sorted(path.name for path in folder.iterdir() if path.is_dir() and is_file_name(path.name))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise results_error("list", folder, error) from error
    return [NamedBaseline(name, *_entries(folder / name)) for name in names]


def save_baseline(store: Store, name: str, document: ResultsDocument) -> Path:
    """Add *document* to the baseline *name*. Returns its path.

    :raises UsageError: if the name cannot be one.
    :raises ResultsError: if it cannot be written.
    """
    folder = _folder(store, name)
    check_session_id(document.session.id)
    store.create()
    make_folder(folder)
    return write_document(folder / f"{document.session.id}.json", document)


def replace_baseline(store: Store, name: str, documents: Iterable[ResultsDocument]) -> list[Path]:
    """Let *documents* be the baseline *name*. Returns their paths.

    The sessions that were it, and are not among them, move to its folder ``replaced``.

    :raises UsageError: if the name cannot be one.
    :raises ResultsError: if it cannot be written; then both the old and the new ones are in it.
    """
    written = [save_baseline(store, name, document) for document in documents]
    folder = _folder(store, name)
    old = [path for path in _documents(folder) if path not in written]
    if old:
        make_folder(folder / _REPLACED)
    for path in old:
        try:
            path.replace(folder / _REPLACED / path.name)
        except OSError as error:
            raise results_error("replace", path, error) from error
    return written


def find_place(ref: str, store: Store, *, here: Path | None = None) -> Place:
    """The one baseline that *ref* means: a named one, or a document outside the store's own folders.

    :param here: from where a relative path is meant; the working directory if None.
    :raises UsageError: for what means sessions that were measured, such as ``latest``.
    """
    path = from_folder(ref, here)
    if path.is_file():
        kept = (store.results, baselines_folder(store))
        if not any(path.resolve().is_relative_to(folder.resolve()) for folder in kept):
            return Place(path)
    elif (folder := _named_folder(ref, store)) is not None:
        return Place(folder, ref)
    names = ", ".join(one.name for one in named_baselines(store)) or "none"
    msg = (
        f"{ref} is not one baseline that can be replaced: give the name of one in {store.path} (there are: "
        f"{names}), or the path of a document outside of it"
    )
    raise UsageError(msg)


def take_place(place: Place, store: Store, document: ResultsDocument) -> str:
    """Let *document* be the baseline at *place*. Returns what was replaced and where it is now.

    :raises ResultsError: if it cannot be written; then what it should replace is still there.
    """
    if place.name is not None:
        count = len(_documents(place.path))
        replace_baseline(store, place.name, [document])
        what = units.count(count, "session")
        return f"{document.session.id} takes the place of {what}, kept in {place.path / _REPLACED}"
    old = read_header(place.path).session.id
    # Another program may have written the document: its id is not trusted to be a file's name.
    kept = store.results / f"{old if is_session_id(old) else place.path.stem}.json"
    if not kept.is_file():
        kept = store.path / _REPLACED / kept.name
        try:
            content = place.path.read_bytes()
        except OSError as error:
            raise results_error("read", place.path, error) from error
        atomic_write(kept, content)
    write_document(place.path, document)
    return f"{document.session.id} takes the place of {old}, kept as {kept}"


def baselines_folder(store: Store) -> Path:
    """The folder of the named baselines."""
    return store.path / "baselines"


def check_name(name: str) -> None:
    """Refuse a name that could be taken for another kind of ref, or is no folder's.

    :raises UsageError: with what a name is.
    """
    if not is_file_name(name) or name in (LATEST, _REPLACED) or name.endswith(".json"):
        msg = (
            f"{name!r} cannot name a baseline: a name is of letters, digits, '.', '_' and '-', "
            f"and is not {LATEST!r} or a file's"
        )
        raise UsageError(msg)


def _folder(store: Store, name: str) -> Path:
    check_name(name)
    return baselines_folder(store) / name


def _find(ref: str, store: Store, problems: list[str], root: Path | None, here: Path | None) -> list[Path]:
    if ref.startswith(_COMMIT):
        return _of_commit(ref.removeprefix(_COMMIT), store, problems, root)
    if ref.startswith(_BRANCH):
        return _of_branch(ref.removeprefix(_BRANCH), store, problems)
    path = from_folder(ref, here)
    if path.is_file():
        return [path]
    if (folder := _named_folder(ref, store)) is not None:
        return _readable(folder, problems)
    if ref != LATEST and path.is_dir():
        # A store's own folder means its sessions.
        inner = Store(path).results
        return _readable(inner if inner.is_dir() else path, problems)
    try:
        return [store.find(ref, problems)]
    except ResultsError as error:
        names = [baseline.name for baseline in named_baselines(store)]
        if ref == LATEST or not names:
            raise
        msg = f"{error}; the named baselines are {', '.join(names)}{suggest(ref, names)}"
        raise ResultsError(msg) from None


def _named_folder(ref: str, store: Store) -> Path | None:
    folder = baselines_folder(store) / ref
    return folder if ref != LATEST and is_file_name(ref) and folder.is_dir() else None


def _readable(folder: Path, problems: list[str]) -> list[Path]:
    entries, damaged = _entries(folder)
    problems += damaged
    if entries:
        return [entry.path for entry in entries]
    what = f": {damaged[0]}" if damaged else ""
    msg = f"there is no results document in the folder {folder}{what}"
    raise ResultsError(msg)


def _entries(folder: Path) -> tuple[tuple[Entry, ...], tuple[str, ...]]:
    entries, problems = [], []
    for path in _documents(folder):
        try:
            entries.append(Entry(path, read_header(path)))
        except ResultsError as error:
            problems.append(str(error))
    entries.sort(key=lambda entry: entry.header.session.id, reverse=True)
    return tuple(entries), tuple(problems)


def _documents(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if p.suffix == ".json" and not p.name.startswith("."))
    except OSError as error:
        raise results_error("list", folder, error) from error


def _of_commit(rev: str, store: Store, problems: list[str], root: Path | None) -> list[Path]:
    entries, damaged = store.documents()
    problems += damaged
    commit = rev if _HEX.fullmatch(rev) else _resolve(rev, root)
    matching = [e for e in entries if commit is not None and (e.header.commit.id or "").startswith(commit)]
    if len({entry.header.commit.id for entry in matching}) > 1:
        msg = f"commit:{rev} means several commits that were measured; write more of the hash"
        raise ResultsError(msg)
    clean = [entry.path for entry in matching if not entry.header.commit.dirty]
    if clean:
        return clean
    if matching:
        msg = (
            f"commit:{rev} was measured only with uncommitted changes (session {matching[0].id}): "
            "name that session, or measure the commit itself"
        )
    elif commit is None:
        msg = f"commit:{rev} is neither a hash nor anything that git knows here"
    else:
        msg = f"no session of {store.path} was at commit {commit[:12]}; there are {_commits(entries)}"
    raise ResultsError(msg)


def _of_branch(branch: str, store: Store, problems: list[str]) -> list[Path]:
    entries, damaged = store.documents()
    problems += damaged
    on_branch = [entry for entry in entries if entry.header.commit.branch == branch]
    clean = [entry for entry in on_branch if not entry.header.commit.dirty]
    if clean:
        newest = clean[0].header.commit.id
        return [entry.path for entry in clean if entry.header.commit.id == newest]
    if on_branch:
        msg = (
            f"branch:{branch} was measured only with uncommitted changes (session {on_branch[0].id}): "
            "name that session, or measure a commit of it"
        )
        raise ResultsError(msg)
    branches = list(dict.fromkeys(e.header.commit.branch for e in entries if e.header.commit.branch))
    shown = few(branches, _SHOWN) or "none"
    msg = f"no session of {store.path} was on branch {branch!r}{suggest(branch, branches)}; there are {shown}"
    raise ResultsError(msg)


def _commits(entries: Iterable[Entry]) -> str:
    ids = list(dict.fromkeys(e.header.commit.id[:9] for e in entries if e.header.commit.id))
    return few(ids, _SHOWN) or "none"


def _resolve(rev: str, root: Path | None) -> str | None:
    """The hash of a tag, ``HEAD~1`` and the like; None where git cannot tell."""
    if rev.startswith("-"):
        return None
    command = ["git", "-C", str(root or Path.cwd()), "rev-parse", "--verify", "--quiet", f"{rev}^{{commit}}"]
    try:
        done = subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
