"""Which devices and folders of this machine does one attempt have, and no other of ours?

A lock of the system on a file says so: whoever is killed loses it, and leaves nothing to be found out.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from pytest_llmbench.errors import ResultsError
from pytest_llmbench.hardware.cores import numa_nodes, whole_cores
from pytest_llmbench.results.files import lock

_LOCK = "in-use"
_NEW = "new-"
_LOOK = 0.05
"""Seconds between looks."""


class InUseError(Exception):
    """Somebody else has them, and went on having them."""


def cpu_sets(total: int) -> list[frozenset[int]]:
    """The CPUs of each of the *total* devices of a node without GPUs.

    NUMA nodes, as many as are asked for; where there are fewer of them, sets of whole cores, of one size.

    :raises InUseError: if there are not so many cores.
    """
    nodes = numa_nodes()
    if total <= len(nodes):
        return nodes[:total]
    cores = [core for node in nodes for core in whole_cores(node)]
    size = len(cores) // total
    if not size:
        msg = f"a node of {len(cores)} cores does not have {total} devices of whole cores"
        raise InUseError(msg)
    return [frozenset().union(*cores[size * at : size * (at + 1)]) for at in range(total)]


@contextmanager
def exclusive_cpus(total: int, count: int, seconds: float) -> Iterator[frozenset[int]]:
    """The CPUs of *count* of the *total* devices of this machine, for no other attempt meanwhile.

    :param seconds: to wait for those that others have.
    :raises InUseError: if they still have them then.
    """
    sets = cpu_sets(total)
    with ExitStack() as held:
        taken: list[frozenset[int]] = []
        end = time.monotonic() + seconds
        while True:
            for one in sets:
                if one not in taken and len(taken) < count and (locks := _lock_all("cpu", sorted(one))):
                    held.enter_context(locks)
                    taken.append(one)
            if len(taken) >= count:
                break
            if time.monotonic() >= end:
                msg = f"another attempt has its CPUs, for {seconds:g} s and more"
                raise InUseError(msg)
            time.sleep(_LOOK)
        yield frozenset().union(*taken)


@contextmanager
def exclusive_gpus(gpus: Sequence[str], seconds: float) -> Iterator[None]:
    """These GPUs of this machine, for no other attempt meanwhile.

    :raises InUseError: if somebody has one for longer than *seconds*.
    """
    end = time.monotonic() + seconds
    while (locks := _lock_all("gpu", sorted(gpus))) is None:
        if time.monotonic() >= end:
            msg = f"another attempt has GPU {', '.join(gpus)}, for {seconds:g} s and more"
            raise InUseError(msg)
        time.sleep(_LOOK)
    with locks:
        yield


def _lock_all(kind: str, names: Sequence[object]) -> ExitStack | None:
    """Hold the locks of all of these; None, and none of them, if somebody has one."""
    folder = Path(tempfile.gettempdir()) / f"llmbench-devices-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    with ExitStack() as held:
        for name in names:
            if (fd := _locked(folder / f"{kind}-{name}")) is None:
                return None
            held.callback(os.close, fd)
        return held.pop_all()


def _locked(path: Path) -> int | None:
    """A descriptor that holds the file's lock; None if somebody has it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    if lock(fd) is False:
        os.close(fd)
        return None
    return fd


@contextmanager
def fresh_folder(prefix: str, within: Path | None = None) -> Iterator[Path]:
    """A folder of this process alone, gone afterwards; those that killed ones have left behind go too.

    :param within: by default the system's folder for what is temporary.
    :raises ResultsError: if it cannot be made.
    """
    parent = within or Path(tempfile.gettempdir())
    _sweep(parent, prefix)
    try:
        # Under a name that no other sweeps until the lock is held.
        new = Path(tempfile.mkdtemp(prefix=f"{_NEW}{prefix}", dir=parent))
        fd = _locked(new / _LOCK)
        assert fd is not None
        folder = new.rename(parent / new.name.removeprefix(_NEW))
    except OSError as error:
        msg = f"a folder for what is temporary cannot be made in {parent}: {error.strerror or error}"
        raise ResultsError(msg) from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(fd)


def _sweep(parent: Path, prefix: str) -> None:
    """Remove the folders whose process is gone."""
    for old in parent.glob(f"{prefix}*/{_LOCK}"):
        with suppress(OSError):
            if old.stat().st_uid == os.getuid() and (fd := _locked(old)) is not None:
                shutil.rmtree(old.parent, ignore_errors=True)
                os.close(fd)
