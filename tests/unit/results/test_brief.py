"""Is a brief reading all that a comparison needs, and the whole document where it would not be?"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.errors import ResultsError
from pytest_llmbench.gate.compare import compare
from pytest_llmbench.gate.thresholds import parse_thresholds, thresholds_of
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.results.brief import BriefDocument, read_brief
from pytest_llmbench.results.document import read_document, write_document
from pytest_llmbench.results.measured import Measured
from pytest_llmbench.results.records import JudgmentRecord, ResultsDocument
from pytest_llmbench.results.verdict import Judgment, Verdict
from tests.fakes.llmbench_levels import a_hardware_record

Write = Callable[[ResultsDocument], Path]

HARDWARE = a_hardware_record(unavailable={"gpu": 'no "NVIDIA" driver },"rounds":['})


@pytest.fixture
def rich(a_session: Any, a_case: Any) -> Callable[..., ResultsDocument]:
    """A session whose cases have what real ones have, in odd shapes too."""

    def make(day: int = 1, **what: Any) -> ResultsDocument:
        cases = [
            a_case("test_plain", seed=day, **what),
            a_case("test_disturbed", seed=day, disturbed=2, **what),
            a_case('test_odd[","metrics":{-"token_times":[1]-é]', seed=day, params={"x": '"], {'}, **what),
            a_case("test_failed", seed=day, processes=0, outcome="failed"),
            a_case("test_two", seed=day, processes=2, measurement="second", **what),
        ]
        for case in cases:
            case.thresholds = {"tpot": "7%"}
            for process in case.processes:
                process.hardware = HARDWARE
        cases[0].hardware = HARDWARE
        cases[0].judgments = [a_judgment(details={"metrics": {"a": 1}})]
        return a_session(day, cases)

    return make


def a_judgment(details: dict[str, Any]) -> JudgmentRecord:
    unknown = dict.fromkeys(field.name for field in fields(Judgment) if field.default is MISSING)
    return JudgmentRecord(
        **{**unknown, "metric": "tpot", "verdict": Verdict.PASS, "method": "exact", "details": details}
    )


@pytest.fixture
def write(tmp_path: Path) -> Write:
    return lambda document: write_document(tmp_path / f"{document.session.id}.json", document)


def facts(document: ResultsDocument | BriefDocument) -> list[Any]:
    """Everything that the gate knows of a document's cases."""
    return [
        (
            measured.case.key,
            measured.identity,
            measured.work,
            measured.usable,
            measured.spoiled,
            measured.incomparable,
            measured.crowd,
            measured.rounds,
            case.outcome,
            case.error,
            case.file,
            case.thresholds,
            {
                name: (measured.values(name), measured.has(name), measured.dropped_for(name))
                for name in METRICS
            },
            case.clock,
        )
        for case in document.cases
        if (measured := Measured(case, document))
    ]


def test_a_comparison_finds_in_it_what_the_whole_document_has(
    rich: Callable[..., ResultsDocument], write: Write
) -> None:
    path = write(rich())
    brief, full = read_brief(path), read_document(path)
    assert isinstance(brief, BriefDocument)
    assert facts(brief) == facts(full)
    assert brief.model_dump(exclude={"cases"}) == full.model_dump(exclude={"cases"})


def test_a_case_tells_its_raw_values_as_the_whole_one_does(
    rich: Callable[..., ResultsDocument], write: Write
) -> None:
    path = write(rich())
    brief, full = read_brief(path), read_document(path)
    for one, whole in zip(brief.cases, full.cases, strict=True):
        assert {name: one.values(name) for name in METRICS} == {name: whole.values(name) for name in METRICS}


def test_brief_and_whole_documents_give_the_same_verdicts(
    rich: Callable[..., ResultsDocument], write: Write
) -> None:
    paths = [write(rich(day)) for day in (1, 2, 3)]
    now = rich(9, slow=2.0)
    of = thresholds_of(parse_thresholds("itl.p95:5%"))
    brief = compare([read_brief(path) for path in paths], now, of)
    full = compare([read_document(path) for path in paths], now, of)
    assert replace(brief, bases=()) == replace(full, bases=())
    assert brief.verdict == "fail"


def test_what_is_not_compared_is_not_there_and_times_are_read_when_asked_for(
    rich: Callable[..., ResultsDocument], write: Write
) -> None:
    path = write(rich())
    case = read_brief(path).cases[0]
    assert not hasattr(case, "metrics")
    assert not hasattr(case.processes[0], "hardware")
    whole = read_document(path).cases[0].rounds[0]
    assert case.rounds[0].token_times == whole.token_times
    assert case.rounds[0].gaps == whole.gaps


def test_a_document_that_is_laid_out_otherwise_is_read_whole(
    rich: Callable[..., ResultsDocument], tmp_path: Path
) -> None:
    path = tmp_path / "pretty.json"
    path.write_text(json.dumps(json.loads(rich().model_dump_json()), indent=1))
    found = read_brief(path)
    assert isinstance(found, ResultsDocument)
    assert facts(found) == facts(rich())


@pytest.mark.parametrize(
    "nested",
    [{"request_throughput": 2.0}, {"rounds": [{"tpot": 9.0}]}, {"hardware": {}}, {"a": {"metrics": {}}}],
)
def test_an_object_with_the_key_that_would_end_it_loses_nothing(
    rich: Callable[..., ResultsDocument], write: Write, nested: dict[str, Any]
) -> None:
    document = rich()
    for case in document.cases:
        case.hardware = a_hardware_record(**nested)
        case.judgments = [a_judgment(details=nested)]
        for process in case.processes:
            process.hardware = a_hardware_record(nested=nested, after=1)
    path = write(document)
    assert facts(read_brief(path)) == facts(read_document(path))


def test_what_a_newer_minor_version_adds_is_passed_over(
    rich: Callable[..., ResultsDocument], write: Write
) -> None:
    document = rich()
    document.schema_version = "2.999"
    path = write(document)
    path.write_text(path.read_text().replace('"values":{"ttft"', '"newer":{"a":[1]},"values":{"ttft"'))
    assert isinstance(read_brief(path), BriefDocument)
    assert facts(read_brief(path)) == facts(read_document(path))


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text[:-4],
        lambda text: text.replace('"token_times":[', '"token_times":[x', 1),
        lambda text: text.replace('"ttft":0', '"ttft":"soon",', 1),
        lambda text: text.replace('"prompt_tokens"', '"prompt_token"', 1),
        lambda text: text.replace('"outcome":"passed"', '"outcome":"great"', 1),
        lambda text: text.replace('"schema_version":"2.', '"schema_version":"9.', 1),
        lambda text: text + "{}",
        lambda text: "no JSON",
        lambda text: "",
    ],
)
def test_damage_is_told_as_of_a_whole_reading(
    rich: Callable[..., ResultsDocument], write: Write, damage: Callable[[str], str]
) -> None:
    path = write(rich())
    path.write_text(damage(path.read_text()))
    with pytest.raises(ResultsError) as whole:
        read_document(path)
    with pytest.raises(ResultsError) as brief:
        read_brief(path)
    assert str(brief.value) == str(whole.value)


def test_times_that_are_no_numbers_are_told_when_they_are_asked_for(
    rich: Callable[..., ResultsDocument], write: Write
) -> None:
    path = write(rich())
    path.write_text(path.read_text().replace('"token_times":[', '"token_times":[1..2,', 1))
    first = read_brief(path).cases[0].rounds[0]
    with pytest.raises(ResultsError, match="is damaged"):
        _ = first.gaps


def test_times_of_a_document_that_was_replaced_meanwhile_are_not_mixed_up(
    rich: Callable[..., ResultsDocument], write: Write
) -> None:
    path = write(rich())
    first = read_brief(path).cases[0].rounds[0]
    write(rich(slow=2.0))
    with pytest.raises(ResultsError, match="was changed while it was compared"):
        _ = first.gaps
    path.unlink()
    with pytest.raises(ResultsError, match="cannot be read again"):
        _ = first.gaps


def test_cases_share_what_they_have_in_common(rich: Callable[..., ResultsDocument], write: Write) -> None:
    first, second = read_brief(write(rich())).cases[:2]
    assert first.protocol is second.protocol
    assert first.processes[0].engine is second.processes[0].engine


def test_a_document_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="there is no results document"):
        read_brief(tmp_path / "nothing.json")
