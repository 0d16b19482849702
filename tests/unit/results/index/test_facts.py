"""Do facts of two cases agree where a comparison would, and differ where it would not?"""

from __future__ import annotations

from typing import Any

import pytest

from pytest_llmbench.results.index.facts import CaseFacts, case_facts


def facts(document: Any) -> CaseFacts:
    return case_facts(document.cases[0], document)


@pytest.fixture
def usual(a_session: Any) -> CaseFacts:
    return facts(a_session(1))


def test_a_case_that_is_measured_again_is_the_same_work(usual: CaseFacts, a_session: Any) -> None:
    again = facts(a_session(2, slow=2.0, rounds=3, processes=2))
    assert (again.work, again.task, again.weights, again.engine_version, again.prompts) == (
        usual.work,
        usual.task,
        usual.weights,
        usual.engine_version,
        usual.prompts,
    )
    assert again.levels["tpot"].value == pytest.approx(2 * usual.levels["tpot"].value, rel=0.1)
    assert (usual.levels["tpot"].processes, again.levels["tpot"].processes) == (3, 2)


@pytest.mark.parametrize(
    "what",
    [{"quantization": "q4_0"}, {"params": {"tokens": 4}}, {"temperature": 0.7}, {"engine": {"n_threads": 2}}],
)
def test_another_setting_is_other_work(usual: CaseFacts, a_session: Any, what: dict[str, Any]) -> None:
    assert facts(a_session(1, **what)).work != usual.work


def test_another_engine_and_other_weights_are_told_apart_from_the_work(
    usual: CaseFacts, a_session: Any
) -> None:
    other = facts(a_session(1, version="9.9", digest="1"))
    assert other.work == usual.work
    assert (other.engine_version, other.weights) == ("llama-cpp-python 9.9", "sha256:" + "1" * 64)


@pytest.mark.parametrize(
    ("what", "same"),
    [
        ({"name": "test_x[llamacpp-tiny-q4_0]", "quantization": "q4_0", "engine": {"n_threads": 2}}, True),
        ({"name": "test_y[llamacpp-tiny-q8_0]"}, False),
        ({"measurement": "warm"}, False),
        ({"params": {"tokens": 4}}, False),
        ({"tokens": 4}, False),
    ],
)
def test_a_task_is_what_was_asked_whoever_answered(
    usual: CaseFacts, a_session: Any, what: dict[str, Any], same: bool
) -> None:
    assert (facts(a_session(1, **what)).task == usual.task) is same


def test_what_other_load_disturbed_has_no_level_and_its_reason(a_session: Any) -> None:
    found = facts(a_session(1, disturbed=15))
    assert found.spoiled == found.spoiled_cpu == "15 of 15 rounds were disturbed (foreign_cpu)"
    assert found.left_out is None
    assert "tpot" not in found.levels
    assert "peak_rss" in found.levels


def test_cpu_times_beside_other_load_have_theirs(a_cpu_session: Any) -> None:
    found = facts(a_cpu_session(1, crowded=1.0))
    assert found.spoiled is not None
    assert found.spoiled_cpu is None
    assert found.levels["cpu_time_per_token"].processes == 3


@pytest.mark.parametrize(("outcome", "why"), [("failed", "it failed"), ("skipped", "it was skipped")])
def test_a_case_that_ended_otherwise_says_how(a_session: Any, outcome: str, why: str) -> None:
    assert facts(a_session(1, outcome=outcome)).left_out == why


def test_what_is_not_a_number_is_no_level(a_session: Any) -> None:
    document = a_session(1)
    for process in document.cases[0].processes:
        process.values["peak_rss"] = float("nan")
    assert "peak_rss" not in facts(document).levels
