"""Is what an earlier version wrote still read, with every value where it belongs?

The documents beside this file are real ones, kept when their schema was today's. They are never changed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.errors import ResultsError
from pytest_llmbench.results.brief import read_brief
from pytest_llmbench.results.document import read_document, read_header, write_document
from pytest_llmbench.results.journal import read_journal
from pytest_llmbench.results.records import SCHEMA_VERSION

DOCUMENTS = Path(__file__).parent / "documents"
KEPT = sorted(DOCUMENTS.glob("*.json"))
_OF_A_ROUND = ("ttft", "tpot", "e2e_latency", "decode_throughput", "output_throughput", "tpot_all_tokens")
_OF_A_PROCESS = ("load_time", "peak_rss", "request_throughput", "system_throughput", "goodput")


def written(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def values(case: dict[str, Any], metric: str) -> list[float]:
    """What schema 1 had of a metric."""
    rounds = [r for p in case["processes"] for r in p["rounds"] if r["counted"]]
    owners = case["processes"] if metric in _OF_A_PROCESS else rounds
    return [one[metric] for one in owners if one.get(metric) is not None]


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
@pytest.mark.parametrize("read", [read_document, read_brief])
def test_every_value_of_a_kept_document_is_read(path: Path, read: Any) -> None:
    before, now = written(path), read(path)
    assert now.schema_version == SCHEMA_VERSION
    assert [case.nodeid for case in now.cases] == [case["nodeid"] for case in before["cases"]]
    for old, new in zip(before["cases"], now.cases, strict=True):
        for metric in (*_OF_A_ROUND, *_OF_A_PROCESS):
            assert new.values(metric) == values(old, metric), metric
        gaps = [
            round(b - a, 9)
            for p in old["processes"]
            for r in p["rounds"]
            if r["counted"]
            for a, b in zip(r["token_times"], r["token_times"][1:], strict=False)
        ]
        assert new.values("itl") == gaps


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_the_judgments_of_a_kept_document_are_read(path: Path) -> None:
    for old, new in zip(written(path)["cases"], read_document(path).cases, strict=True):
        assert [one.metric for one in new.judgments] == [one["metric"] for one in old["judgements"]]
        assert "judgements" not in (new.model_extra or {})


def test_what_was_measured_on_a_server_says_so() -> None:
    (path,) = (path for path in KEPT if path.stem.startswith("load"))
    assert [case.model.backend for case in read_document(path).cases] == ["server"]


def _hardware_of_1(hardware: dict[str, Any]) -> dict[str, Any]:
    judged = dict(hardware["disturbance"])
    plain = {name: judged.pop(name) for name in ("codes", "seconds", "unknown")}
    return {**hardware, "disturbance": {**plain, "figures": judged}}


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_the_facts_of_a_kept_document_are_read(path: Path) -> None:
    moved = {"stamps", "stamps_reason", "read_lag", "receiver", "real_time"}
    for old_case, new_case in zip(written(path)["cases"], read_document(path).cases, strict=True):
        for old, new in zip(old_case["processes"], new_case.processes, strict=True):
            assert (new.load is None) == (old["load"] is None)
            if new.load is not None:
                facts = new.load.model_dump(mode="json")
                client = facts.pop("client")
                assert client == {
                    **dict.fromkeys(("cpu", "reads")),
                    **{name: old["load"][name] for name in moved},
                    "processes": old["load"]["client_processes"],
                }
                kept = {k: v for k, v in old["load"].items() if k not in {*moved, "client_processes"}}
                # What later versions say besides.
                added = {"conversations_in_flight": None, "history": None, "abandoned": 0}
                assert facts == {**added, **kept}
            if new.hardware is not None:
                assert new.hardware.model_dump(mode="json") == _hardware_of_1(old["hardware"])
            for failed, was in zip(new.failures, old["failures"], strict=True):
                assert (failed.kind, failed.detail, failed.ended) == (
                    was["kind"],
                    was["detail"],
                    was["ended"],
                )
                assert (failed.request.number, failed.request.at) == (was["number"], was["sent"])
                assert (failed.request.status, failed.request.attempts) == (was["status"], was["attempts"])
                # What was not kept then is not made up now.
                assert (failed.request.chunks, failed.request.new_connection) == (None, None)


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_a_kept_document_that_is_written_again_is_todays(path: Path, tmp_path: Path) -> None:
    first = read_document(path)
    again = read_document(write_document(tmp_path / "again.json", first))
    assert again == first
    assert written(tmp_path / "again.json")["schema_version"] == SCHEMA_VERSION


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_the_header_of_a_kept_document_is_read_alone(path: Path) -> None:
    header = read_header(path)
    assert header.schema_version == SCHEMA_VERSION
    assert header.session.id == written(path)["session"]["id"]


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_a_kept_document_with_other_spacing_is_read(path: Path, tmp_path: Path) -> None:
    (tmp_path / "spaced.json").write_text(json.dumps(written(path), indent=1))
    assert read_document(tmp_path / "spaced.json") == read_document(path)


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_a_journal_of_an_earlier_version_is_read(path: Path, tmp_path: Path) -> None:
    content = written(path)
    cases = content.pop("cases")
    journal = tmp_path / f"{content['session']['id']}.jsonl"
    journal.write_text("".join(json.dumps(part) + "\n" for part in [content, *cases]))
    document, problems = read_journal(journal)
    assert problems == []
    assert document == read_document(path)


@pytest.mark.parametrize("damage", [b'"processes":3', b'"processes":[3]', b'"processes":[{"rounds":7}]'])
def test_damage_in_an_earlier_document_is_said(damage: bytes, tmp_path: Path) -> None:
    text = KEPT[0].read_bytes()
    start = text.index(b'"processes":[{')
    end = text.index(b',"metrics":', start)
    (tmp_path / "damaged.json").write_bytes(text[:start] + damage + text[end:])
    with pytest.raises(ResultsError, match="is damaged, or is not a results document: cases"):
        read_document(tmp_path / "damaged.json")


@pytest.mark.parametrize("version", ["0.9", "3.0", "99.1"])
def test_a_version_that_is_not_read_is_refused_with_a_way_on(version: str, tmp_path: Path) -> None:
    content = {**written(KEPT[0]), "schema_version": version}
    (tmp_path / "other.json").write_text(json.dumps(content))
    with pytest.raises(ResultsError, match=r"reads 1\.0 to 2\.x: read it with the version that wrote it"):
        read_document(tmp_path / "other.json")
