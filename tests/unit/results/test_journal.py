"""Does what was measured survive a kill, a full disk and another session?"""

from __future__ import annotations

import errno
import os
import platform
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.errors import ResultsError
from pytest_llmbench.results.document import read_document
from pytest_llmbench.results.journal import Journal, collect, finish, journals, read_journal, recover
from pytest_llmbench.results.records import CaseRecord, Header, ResultsDocument, Session
from pytest_llmbench.results.store import Store

Maker = Callable[..., Any]
ID = "20260102T030405Z-0a1b2c3d"


def header(session_id: str = ID) -> Header:
    return Header(
        session=Session(id=session_id, started="2026-01-02T03:04:05Z"), versions={"pytest-llmbench": "0.1.0"}
    )


def end_process_of(path: Path) -> None:
    """Have a journal look as if the process that wrote it were gone."""
    lines = path.read_bytes().split(b"\n", 1)
    head = Header.model_validate_json(lines[0])
    head.session.process_started = 1.0
    path.write_bytes(head.model_dump_json().encode() + b"\n" + lines[1])


def test_appended_cases_come_back(store: Store, case_maker: Maker) -> None:
    journal = Journal.create(store, header())
    cases = [case_maker("a.py::test[1]"), case_maker("a.py::test[2]")]
    for case in cases:
        journal.append(case)
    document, problems = read_journal(journal.path)
    assert document.cases == cases
    assert document.session.id == ID
    assert problems == []
    journal.close()


def test_the_later_line_of_a_case_holds(store: Store, case_maker: Maker) -> None:
    journal = Journal.create(store, header())
    journal.append(case_maker(outcome="interrupted"))
    journal.append(case_maker(outcome="passed"))
    journal.close()
    document, _ = read_journal(journal.path)
    assert [case.outcome for case in document.cases] == ["passed"]


def test_a_torn_last_line_is_named_and_left_out(store: Store, case_maker: Maker) -> None:
    journal = Journal.create(store, header())
    journal.append(case_maker("a.py::test[1]"))
    journal.append(case_maker("a.py::test[2]"))
    journal.close()
    journal.path.write_bytes(journal.path.read_bytes()[:-20])
    document, problems = read_journal(journal.path)
    assert [case.nodeid for case in document.cases] == ["a.py::test[1]"]
    assert len(problems) == 1
    assert "cut off" in problems[0]


def test_a_damaged_line_costs_only_its_own_case(store: Store, case_maker: Maker) -> None:
    journal = Journal.create(store, header())
    for number in range(3):
        journal.append(case_maker(f"a.py::test[{number}]"))
    journal.close()
    lines = journal.path.read_bytes().split(b"\n")
    lines[2] = lines[2][:50] + b"\xff\0"
    journal.path.write_bytes(b"\n".join(lines))
    document, problems = read_journal(journal.path)
    assert [case.nodeid for case in document.cases] == ["a.py::test[0]", "a.py::test[2]"]
    assert problems == [f"{journal.path}: line 3 is damaged and left out"]


def test_a_damaged_header_costs_no_case(store: Store, case_maker: Maker) -> None:
    journal = Journal.create(store, header())
    journal.append(case_maker())
    journal.close()
    lines = journal.path.read_bytes().split(b"\n")
    journal.path.write_bytes(b"\n".join([lines[0][:30], *lines[1:]]))
    document, problems = read_journal(journal.path)
    assert len(document.cases) == 1
    assert document.session.id == ID
    assert document.session.started == "2026-01-02T03:04:05Z"
    assert "header" in problems[0]


def test_a_full_disk_keeps_what_was_there_and_a_later_append_succeeds(
    store: Store, case_maker: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal.create(store, header())
    journal.append(case_maker("a.py::test[1]"))
    real = os.write
    written = []

    def nearly_full(fd: int, data: Any) -> int:
        if written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(real(fd, data[:40]))
        return written[0]

    monkeypatch.setattr(os, "write", nearly_full)
    with pytest.raises(ResultsError, match="the disk is full"):
        journal.append(case_maker("a.py::test[2]"))
    monkeypatch.undo()
    journal.append(case_maker("a.py::test[3]"))
    journal.close()
    document, problems = read_journal(journal.path)
    assert [case.nodeid for case in document.cases] == ["a.py::test[1]", "a.py::test[3]"]
    assert problems == []


def test_a_store_that_cannot_be_written_is_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match=r"create the folder .*file.*name another path"):
        Journal.create(Store(tmp_path / "file"), header())


WRITER = textwrap.dedent(
    """
    import sys
    from pytest_llmbench.results.records import CaseRecord, Header
    from pytest_llmbench.results.journal import Journal
    from pytest_llmbench.results.store import Store

    journal = Journal.create(Store(sys.argv[1]), Header.model_validate_json(sys.argv[2]))
    case = CaseRecord.model_validate_json(sys.argv[3])
    for number in range(1_000_000):
        case.nodeid = f"a.py::test[{number}]"
        journal.append(case)
        print(number, flush=True)
    """
)


def test_a_killed_writer_leaves_every_finished_case(store: Store, case_maker: Maker) -> None:
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            WRITER,
            str(store.path),
            header().model_dump_json(),
            case_maker().model_dump_json(),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    finished = [int(process.stdout.readline()) for _ in range(5)]
    assert [one.status for one in recover(store)] == ["running"]
    process.kill()
    finished += [int(line) for line in process.stdout.read().split("\n") if line]
    process.stdout.close()
    process.wait()

    (recovery,) = recover(store)
    assert recovery.status == "recovered"
    assert recovery.path == store.document_path(ID)
    document = read_document(recovery.path)
    assert document.session.state == "recovered"
    assert document.session.ended is not None
    numbers = [int(case.nodeid[len("a.py::test[") : -1]) for case in document.cases]
    assert numbers[: len(finished)] == finished
    assert document.session.outcomes == {"passed": len(numbers)}
    assert journals(store) == []
    assert recover(store) == []


def test_a_session_that_still_runs_is_left_alone(store: Store, case_maker: Maker) -> None:
    journal = Journal.create(store, header())
    journal.append(case_maker())
    assert [one.status for one in recover(store, force=True)] == ["running"]
    assert journal.path.exists()
    journal.close()


def test_a_pid_that_was_given_to_another_process_does_not_count(store: Store, case_maker: Maker) -> None:
    journal = Journal.create(store, header())
    journal.append(case_maker())
    journal.close()
    end_process_of(journal.path)
    assert [one.status for one in recover(store)] == ["recovered"]


def test_a_session_of_another_machine_is_recovered_only_by_force(
    store: Store, case_maker: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "node", lambda: "elsewhere")
    journal = Journal.create(store, header())
    monkeypatch.undo()
    journal.append(case_maker())
    journal.close()
    assert [one.status for one in recover(store)] == ["elsewhere"]
    assert journal.path.exists()
    assert [one.status for one in recover(store, force=True)] == ["recovered"]


def test_the_journals_of_all_workers_become_one_document(store: Store, case_maker: Maker) -> None:
    for worker in ("gw0", "gw1"):
        journal = Journal.create(store, header(), worker)
        journal.append(case_maker(f"a.py::test[{worker}]"))
        journal.close()
    other = Journal.create(store, header("20260102T030405Z-ffffffff"))
    other.append(case_maker("a.py::test[other]"))
    other.close()

    document, problems = collect(store, ID)
    assert problems == []
    assert document is not None
    assert [case.nodeid for case in document.cases] == ["a.py::test[gw0]", "a.py::test[gw1]"]
    path = finish(store, document)
    assert read_document(path) == document
    assert journals(store) == [other.path]


def test_a_worker_that_still_runs_keeps_the_whole_session(store: Store, case_maker: Maker) -> None:
    first = Journal.create(store, header(), "gw0")
    first.append(case_maker())
    first.close()
    end_process_of(first.path)
    second = Journal.create(store, header(), "gw1")
    assert [one.status for one in recover(store)] == ["running"]
    second.close()


def test_collecting_a_session_that_was_recovered_meanwhile_loses_nothing(
    store: Store, case_maker: Maker
) -> None:
    journal = Journal.create(store, header(), "gw0")
    journal.append(case_maker())
    journal.close()
    end_process_of(journal.path)
    recover(store)
    document, _ = collect(store, ID)
    assert document is not None
    assert len(document.cases) == 1


def test_a_session_without_journal_or_document_is_none(store: Store) -> None:
    assert collect(store, ID) == (None, [])


def test_journals_stay_when_the_document_cannot_be_written(
    store: Store, case_maker: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal.create(store, header())
    journal.append(case_maker())
    journal.close()
    document, _ = read_journal(journal.path)

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResultsError, match="the disk is full"):
        finish(store, document)
    end_process_of(journal.path)
    (recovery,) = recover(store)
    assert recovery.status == "failed"
    assert "the disk is full" in recovery.problems[0]
    monkeypatch.undo()
    assert [one.status for one in recover(store)] == ["recovered"]


def test_a_kill_between_document_and_journal_recovers_nothing_twice(
    store: Store, case_maker: Maker, document_maker: Maker
) -> None:
    document: ResultsDocument = document_maker(ID)
    case: CaseRecord = document.cases[0]
    journal = Journal.create(store, header())
    journal.append(case)
    journal.close()
    end_process_of(journal.path)
    store.write(document)
    assert [one.status for one in recover(store)] == ["complete"]
    assert read_document(store.document_path(ID)) == document
    assert journals(store) == []


def test_a_session_that_had_finished_no_case_leaves_no_document(store: Store) -> None:
    journal = Journal.create(store, header())
    journal.close()
    end_process_of(journal.path)
    assert [one.status for one in recover(store)] == ["empty"]
    assert store.documents() == ([], [])
    assert journals(store) == []


def test_a_damaged_journal_is_kept_beside_the_document(store: Store, case_maker: Maker) -> None:
    journal = Journal.create(store, header())
    journal.append(case_maker())
    journal.close()
    end_process_of(journal.path)
    with journal.path.open("ab") as file:
        file.write(b'{"nodeid":"half')
    (recovery,) = recover(store)
    assert recovery.status == "recovered"
    assert "cut off" in recovery.problems[0]
    assert [p.name for p in store.journals.iterdir()] == [f"{ID}.jsonl.damaged"]
    assert recover(store) == []
