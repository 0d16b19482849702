"""Does Prometheus learn what was measured, under the names that rules and dashboards have?"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pytest_llmbench.matrix.summary import PLAN, matrix_folder, write_plan
from pytest_llmbench.results.index.build import Index
from pytest_llmbench.results.records import ResultsDocument
from pytest_llmbench.service.configuration import Configuration
from pytest_llmbench.service.metrics import MOST_LABELS, MOST_MATRICES, Scrapes
from pytest_llmbench.service.state import Service
from tests.unit.matrix.plans import a_cell, a_plan, stored

MakeSession = Callable[..., ResultsDocument]


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(Configuration(store=tmp_path / "store"))


def scraped(service: Service) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """The samples by their names and labels."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(
        Scrapes().answer(service.database, service.matrices).decode()
    ):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def index(service: Service, *documents: ResultsDocument) -> None:
    for document in documents:
        service.store.write(document)
    Index(service.store, service.database).update()


def test_every_name_of_the_contract_is_there(service: Service, a_session: MakeSession) -> None:
    index(service, a_session(1))
    write_plan(service.store, a_plan(a_cell()))
    assert {
        "llmbench_ttft_seconds_bucket",
        "llmbench_tpot_seconds_bucket",
        "llmbench_output_tokens_total",
        "llmbench_prompt_tokens_total",
        "llmbench_cached_prompt_tokens_total",
        "llmbench_jobs",
        "llmbench_job_duration_seconds_bucket",
        "llmbench_case_verdict",
        "llmbench_case_timestamp_seconds",
        "llmbench_case_ttft_seconds",
        "llmbench_build_info",
        "llmbench_matrix_cells",
    } <= set(scraped(service))


def test_counters_are_what_all_rounds_add_up_to(service: Service, a_session: MakeSession) -> None:
    documents = [a_session(1), a_session(2, slow=2.0)]
    index(service, *documents)
    found = scraped(service)
    values = [value for document in documents for value in document.cases[0].values("ttft")]
    rounds = [one for document in documents for one in document.cases[0].rounds]
    (counted,) = found["llmbench_ttft_seconds_count"].values()
    (added,) = found["llmbench_ttft_seconds_sum"].values()
    (tokens,) = found["llmbench_output_tokens_total"].values()
    assert counted == len(values)
    assert added == pytest.approx(sum(values))
    assert tokens == sum(one.output_tokens for one in rounds)
    for labels, count in found["llmbench_ttft_seconds_bucket"].items():
        assert count == sum(value <= float(dict(labels)["le"]) for value in values)


def test_verdicts_are_those_of_each_case_s_last_run(service: Service, a_session: MakeSession) -> None:
    first, second = a_session(1), a_session(2)
    first.cases[0].verdict, second.cases[0].verdict = "fail", "pass"
    index(service, first)
    assert (
        sum(v for k, v in scraped(service)["llmbench_case_verdict"].items() if ("verdict", "fail") in k) == 1
    )
    index(service, second)
    found = scraped(service)["llmbench_case_verdict"]
    assert sum(v for k, v in found.items() if ("verdict", "fail") in k) == 0
    assert sum(v for k, v in found.items() if ("verdict", "pass") in k) == 1


def test_jobs_are_counted_by_state(service: Service) -> None:
    service.queue.submit("model", {}, "cpu")
    states = {dict(labels)["state"]: value for labels, value in scraped(service)["llmbench_jobs"].items()}
    assert states["queued"] == 1
    assert states["done"] == 0


def test_there_are_no_more_series_than_prometheus_can_keep(
    service: Service, a_session: MakeSession, a_case: Callable[..., object]
) -> None:
    cases = [
        a_case(f"test_x[{n}]", quantization=f"q{n}", processes=1, rounds=1) for n in range(MOST_LABELS + 20)
    ]
    index(service, a_session(1, cases))
    found = scraped(service)
    assert len(found["llmbench_output_tokens_total"]) == MOST_LABELS
    assert {name for labels in found["llmbench_output_tokens_total"] for name, _ in labels} == {
        "model",
        "backend",
        "quantization",
    }


def test_cells_of_a_matrix_are_counted_by_state(service: Service) -> None:
    cells = [a_cell(name) for name in ("one", "two", "three")]
    write_plan(service.store, a_plan(*cells, name="nightly"))
    stored(service.store, cells[1], matrix="nightly")
    found = {dict(labels)["state"]: v for labels, v in scraped(service)["llmbench_matrix_cells"].items()}
    assert found == {"done": 1, "running": 0, "failed": 0, "left": 2}


def test_only_the_matrices_that_were_driven_last_are_told(service: Service) -> None:
    names = [f"m{n:02}" for n in range(MOST_MATRICES + 3)]
    for place, name in enumerate(names):
        path = write_plan(service.store, a_plan(a_cell(), name=name))
        os.utime(path, (1e9 + place, 1e9 + place))
    told = {dict(labels)["matrix"] for labels in scraped(service)["llmbench_matrix_cells"]}
    assert told == set(names[3:])


def test_a_damaged_plan_hides_no_other_metric(service: Service) -> None:
    write_plan(service.store, a_plan(a_cell(), name="good"))
    (matrix_folder(service.store, "bad")).mkdir()
    (matrix_folder(service.store, "bad") / PLAN).write_text("{")
    told = {dict(labels)["matrix"] for labels in scraped(service)["llmbench_matrix_cells"]}
    assert told == {"good"}
