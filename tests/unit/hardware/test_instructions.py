"""Is what a process runs counted, with its threads, and is the reason told where it is not?"""

from __future__ import annotations

import errno
import mmap
import os
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_llmbench.hardware import instructions
from pytest_llmbench.hardware.instructions import InstructionCounter, Reading, open_counter

PAGE_FAULTS = (1, 2)
"""PERF_TYPE_SOFTWARE, PERF_COUNT_SW_PAGE_FAULTS: counted by the kernel itself, without a counter."""


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Callable[..., int]]:
    """A perf_event_open whose counter gives what it was told to, reading by reading."""
    opened: list[int] = []

    def perf_event_open(attributes: bytes, *readings: tuple[int, ...]) -> int:
        path = tmp_path / "counter"
        path.write_bytes(b"".join(struct.pack(f"={len(r)}Q", *r) for r in readings))
        opened.append(os.open(path, os.O_RDONLY))
        return opened[-1]

    yield perf_event_open
    for fd in opened:
        os.close(fd)


def counter(kernel: Callable[..., int], *readings: tuple[int, ...]) -> InstructionCounter:
    found, reason = open_counter(open_event=lambda attributes: kernel(attributes, *readings))
    assert reason is None
    assert found is not None
    return found


def fails(number: int) -> Callable[[bytes], int]:
    def perf_event_open(attributes: bytes) -> int:
        raise OSError(number, os.strerror(number))

    return perf_event_open


def test_it_counts_user_space_with_all_threads_and_needs_no_group(kernel: Callable[..., int]) -> None:
    seen: list[bytes] = []
    open_counter(open_event=lambda attributes: seen.append(attributes) or kernel(attributes))
    kind, size, config, period, _, read_format, flags = struct.unpack_from("=IIQQQQQ", seen[0])
    assert (kind, config, period) == (0, 1, 0)
    assert size == len(seen[0]) == 64
    assert read_format == 3
    # inherit, exclude_kernel and exclude_hv; neither disabled nor pinned.
    assert flags == 1 << 1 | 1 << 5 | 1 << 6


def test_the_difference_of_two_readings_is_what_was_run(kernel: Callable[..., int]) -> None:
    count = counter(kernel, (1000, 50, 50), (5000, 90, 90))
    before, after = count.read(), count.read()
    assert before is not None
    assert before.until(after) == 4000


def test_a_counter_that_was_shared_or_missed_some_cores_counts_nothing() -> None:
    before = Reading(1000, 50, 50)
    assert before.until(Reading(5000, 90, 80)) is None
    # Of what was before, only the difference matters.
    assert Reading(1000, 50, 40).until(Reading(5000, 90, 80)) == 4000


def test_a_counter_that_cannot_be_read_counts_nothing(kernel: Callable[..., int]) -> None:
    count = counter(kernel, (1000, 50, 50), (7,))
    before = count.read()
    assert count.read() is None
    assert before is not None
    assert before.until(None) is None


@pytest.mark.parametrize(
    ("number", "paranoid", "said"),
    [
        (errno.EACCES, "4", "kernel.perf_event_paranoid is 4, and 2 or less is needed"),
        (errno.EPERM, "3", "kernel.perf_event_paranoid is 3, and 2 or less is needed"),
        (errno.EPERM, "2", "a container's seccomp profile forbids perf_event_open"),
        (errno.EPERM, None, "a container's seccomp profile forbids perf_event_open"),
        (errno.ENOENT, "2", "this machine has no instruction counter"),
        (errno.EOPNOTSUPP, "2", "this machine has no instruction counter"),
        (errno.ENOSYS, "2", os.strerror(errno.ENOSYS)),
    ],
)
def test_where_nothing_can_be_counted_the_reason_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int, paranoid: str | None, said: str
) -> None:
    level = tmp_path / "perf_event_paranoid"
    if paranoid is not None:
        level.write_text(f"{paranoid}\n")
    monkeypatch.setattr(instructions, "_PARANOID", level)
    found, reason = open_counter(open_event=fails(number))
    assert found is None
    assert reason is not None
    assert said in reason


def test_other_systems_and_machines_have_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instructions.platform, "machine", lambda: "vax")
    monkeypatch.setattr(sys, "platform", "linux")
    assert open_counter()[1] == "the number of perf_event_open is not known for vax"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert open_counter()[1] == "only Linux counts instructions for a single process"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="perf_event_open is Linux's")
def test_the_kernel_counts_threads_that_start_later_too() -> None:
    count, reason = open_counter(PAGE_FAULTS)
    if count is None:
        pytest.skip(f"perf_event_open: {reason}")
    pages = 4000

    def touch() -> None:
        with mmap.mmap(-1, pages * mmap.PAGESIZE) as memory:
            memory.madvise(mmap.MADV_NOHUGEPAGE)
            for page in range(pages):
                memory[page * mmap.PAGESIZE] = 1

    try:
        thread = threading.Thread(target=touch)
        before = count.read()
        thread.start()
        thread.join()
        after = count.read()
        assert before is not None
        faults = before.until(after)
    finally:
        count.close()
    assert faults is not None
    assert faults >= pages


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="perf_event_open is Linux's")
def test_the_cpu_counts_equal_work_equally() -> None:
    count, reason = open_counter()
    if count is None:
        pytest.skip(f"this machine counts no instructions: {reason}")
    found = []
    try:
        for _ in range(5):
            before = count.read()
            sum(range(200_000))
            after = count.read()
            assert before is not None
            found.append(before.until(after))
    finally:
        count.close()
    known = [value for value in found if value is not None]
    assert not known or min(known) > 100_000
