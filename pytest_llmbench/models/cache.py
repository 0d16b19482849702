"""Where are built models kept, and how do they get there whole?

A cache entry is a folder with a manifest that names every file in it with its size, its time and
its SHA-256. It is built in a folder beside it and renamed when everything is on the disk, under a
lock between processes: whoever is killed leaves no entry, and whoever comes second waits and uses
what the first has built. What does not fit its manifest is built again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_llmbench.errors import ModelError
from pytest_llmbench.metrics import units

ENVIRONMENT = "LLMBENCH_CACHE"
MANIFEST = "llmbench-manifest.json"


def cache_folder() -> Path:
    """``$LLMBENCH_CACHE``, or the user's cache folder of this system."""
    if chosen := os.environ.get(ENVIRONMENT):
        return Path(chosen).expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("pytest-llmbench", appauthor=False)


@dataclass(frozen=True, slots=True)
class File:
    """One file as its manifest has it."""

    size: int
    """Bytes."""
    mtime: int
    """Nanoseconds."""
    sha256: str


def ensure(folder: Path, build: Callable[[Path], None], *, size: int) -> Mapping[str, File]:
    """The files of the entry *folder*; ``build(empty_folder)`` makes them if they are not there whole.

    :param size: bytes that building will need, checked against the free space beforehand.
    :raises ModelError: if the cache folder cannot be written, or has too little space.
    """
    from filelock import FileLock

    if (files := read_entry(folder)) is not None:
        return files
    with _explained(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f"{folder.name}.lock")):
            if (files := read_entry(folder)) is not None:
                return files
            _remove_leftovers(folder)
            _check_space(folder.parent, size)
            return _build(folder, build)


def read_entry(folder: Path) -> Mapping[str, File] | None:
    """The files of an entry, or None if it is missing or damaged.

    Sizes are always compared. A file that is as long and as old as its manifest says is taken for
    whole; one with another time is read, and its SHA-256 decides.
    """
    try:
        listed = json.loads((folder / MANIFEST).read_text("utf-8"))["files"]
        files = {name: File(**entry) for name, entry in listed.items()}
        if any(Path(name).name != name for name in files):
            return None
        touched = False
        for name, known in files.items():
            status = (folder / name).stat()
            if status.st_size != known.size:
                return None
            if status.st_mtime_ns != known.mtime:
                if file_digest(folder / name) != known.sha256:
                    return None
                files[name] = File(known.size, status.st_mtime_ns, known.sha256)
                touched = True
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if touched:
        with contextlib.suppress(OSError):
            write_atomically(folder / MANIFEST, _manifest(files))
    return files


def _build(folder: Path, build: Callable[[Path], None]) -> Mapping[str, File]:
    building = folder.with_name(f"{_prefix(folder)}{os.getpid()}")
    try:
        building.mkdir()
        build(building)
        files = {}
        for path in sorted(building.iterdir()):
            _sync(path)
            status = path.stat()
            files[path.name] = File(status.st_size, status.st_mtime_ns, file_digest(path))
        (building / MANIFEST).write_text(_manifest(files), "utf-8")
        _sync(building / MANIFEST)
        _sync(building)
        if folder.exists():
            shutil.rmtree(folder)
        building.rename(folder)
        _sync(folder.parent)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    return files


def _prefix(folder: Path) -> str:
    return f".{folder.name}.building-"


def _remove_leftovers(folder: Path) -> None:
    """What a killed build left; the lock says that no process works on it."""
    for leftover in folder.parent.glob(f"{_prefix(folder)}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _check_space(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        msg = (
            f"building this model needs {units.size(size)} in {folder}, and {units.size(free)} are free; "
            f"make room, or set {ENVIRONMENT} to a folder on a larger disk"
        )
        raise ModelError(msg)


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        msg = (
            f"cannot build a model in {folder.parent}: {error.strerror or error}; "
            f"set {ENVIRONMENT} to a folder that can be written and has room"
        )
        raise ModelError(msg) from error


def _manifest(files: Mapping[str, File]) -> str:
    listed = {name: {"size": f.size, "mtime": f.mtime, "sha256": f.sha256} for name, f in files.items()}
    return json.dumps({"files": listed}, indent=2)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomically(path: Path, text: str) -> None:
    """Write a small file so that a reader sees either the old text or the new."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def file_digest(path: Path) -> str:
    """SHA-256 of one file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def remembered_digest(path: Path) -> str:
    """SHA-256 of a file anywhere; read only if its size or time changed since it was last asked for."""
    real = path.resolve()
    status = real.stat()
    place = {"path": str(real), "size": status.st_size, "mtime": status.st_mtime_ns}
    note = cache_folder() / "digests" / f"{hashlib.sha256(str(real).encode()).hexdigest()[:32]}.json"
    with contextlib.suppress(OSError, ValueError, AttributeError):
        known = json.loads(note.read_text("utf-8"))
        digest = known.pop("sha256", None)
        if known == place and isinstance(digest, str):
            return digest
    digest = file_digest(real)
    # A cache that cannot be written costs time only.
    with contextlib.suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(note, json.dumps({**place, "sha256": digest}))
    return digest


def weights_digest(digests: Mapping[str, str]) -> str:
    """``sha256:HEX`` over weight files, given as file name to SHA-256.

    Of one file it is the file's own; of several, that of the list which ``sha256sum`` prints.
    """
    if len(digests) == 1:
        return f"sha256:{next(iter(digests.values()))}"
    listed = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    return f"sha256:{hashlib.sha256(listed.encode()).hexdigest()}"
