"""What is known of all configurations?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("sqlalchemy")

from pytest_llmbench.catalog.rows import Catalog
from pytest_llmbench.results.index.build import Index
from pytest_llmbench.results.records import CellRecord, ResultsDocument

MakeIndex = Callable[..., Index]


def as_it_is(document: ResultsDocument) -> None:
    """The document of three cases."""


def slower(document: ResultsDocument) -> None:
    for case in document.cases:
        case.metrics["ttft"].p95 = 0.5


def failed(document: ResultsDocument) -> None:
    slower(document)
    for case in document.cases:
        case.outcome = "failed"


def spoiled(document: ResultsDocument) -> None:
    slower(document)
    for case in document.cases:
        for process in case.processes:
            for one in process.rounds:
                one.disturbance = ["steal_time"]


def on_l4(document: ResultsDocument) -> None:
    document.session.cell = CellRecord(
        matrix="m", id="0" * 16, key="1" * 16, hardware="L4", count=2, market="spot"
    )


def loads(document: ResultsDocument) -> None:
    for case, level in zip(document.cases, (1, 8, 32), strict=True):
        case.nodeid = f"m.llm.yaml::chat[vllm-tiny-c{level}]"
        case.protocol.concurrency = level


def test_of_each_configuration_the_latest_counts(indexed: MakeIndex) -> None:
    catalog = Catalog.load(indexed(as_it_is, slower).database)
    assert len(catalog) == 3
    assert {row.session[:8] for row in catalog.rows} == {"20260102"}
    assert catalog.column("ttft.p95").tolist() == [0.5] * 3


@pytest.mark.parametrize("later", [failed, spoiled])
def test_what_failed_or_was_spoiled_does_not_hide_what_was_measured_before(
    indexed: MakeIndex, later: Callable[[ResultsDocument], None]
) -> None:
    catalog = Catalog.load(indexed(as_it_is, later).database)
    assert {row.session[:8] for row in catalog.rows} == {"20260101"}
    assert catalog.failed == 0


def test_what_was_never_measured_undisturbed_is_there_with_the_reason(indexed: MakeIndex) -> None:
    catalog = Catalog.load(indexed(spoiled).database)
    assert {row.spoiled for row in catalog.rows} == {"6 of 6 rounds were disturbed (steal_time)"}


def test_configurations_that_only_failed_are_counted(indexed: MakeIndex) -> None:
    catalog = Catalog.load(indexed(failed).database)
    assert (len(catalog), catalog.failed) == (0, 3)


def test_other_hardware_is_another_configuration(indexed: MakeIndex) -> None:
    catalog = Catalog.load(indexed(as_it_is, on_l4).database)
    assert len(catalog) == 6
    assert {row.label for row in catalog.rows} == {"tiny q8_0, llamacpp, A CPU", "tiny q8_0, llamacpp, L4x2"}
    assert {row.market for row in catalog.rows} == {None, "spot"}


def test_what_was_not_measured_is_nan_and_never_zero(indexed: MakeIndex) -> None:
    def unknown(document: ResultsDocument) -> None:
        del document.cases[0].metrics["ttft"]

    catalog = Catalog.load(indexed(unknown).database)
    assert np.isnan(catalog.column("ttft")).tolist() in (
        [True, False, False],
        [False, True, False],
        [False, False, True],
    )
    assert np.isnan(catalog.column("peak_vram.p95")).all()
    assert np.isnan(catalog.column("nothing")).all()


def test_one_workload_has_all_its_load_levels(indexed: MakeIndex) -> None:
    catalog = Catalog.load(indexed(loads).database)
    (places,) = catalog.workloads().values()
    assert sorted(str(catalog.rows[place].load) for place in places) == ["c1", "c32", "c8"]
    assert {row.test for row in catalog.rows} == {"chat"}


def test_a_version_is_of_the_content(indexed: MakeIndex) -> None:
    index = indexed(as_it_is)
    one = Catalog.load(index.database)
    assert Catalog.load(index.database).version == one.version
    assert Catalog.load(indexed(as_it_is, on_l4).database).version != one.version


def test_an_empty_index_has_an_empty_catalog(indexed: MakeIndex) -> None:
    catalog = Catalog.load(indexed().database)
    assert len(catalog) == 0
    assert catalog.workloads() == {}
    assert catalog.column("ttft").shape == (0,)
