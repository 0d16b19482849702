"""Does a case find what it may be compared with, and is everything else told with its reason?"""

from __future__ import annotations

from typing import Any

import pytest

from pytest_llmbench.gate.matching import Baselines, Kind, Match
from pytest_llmbench.results.measured import Measured

X = "benchmarks/test_a.py::test_x[llamacpp-tiny-q8_0]"


def matched(base: Any, now: Any) -> Match:
    found = Baselines([base], present={case.nodeid for case in now.cases})
    return found.match(Measured(now.cases[0], now))


def test_the_same_test_measured_in_the_same_way_matches(a_session: Any) -> None:
    base = a_session(1)
    match = matched(base, a_session(2))
    assert [one.session for one in match.bases] == [base.session.id]
    assert match.mismatch is None


@pytest.mark.parametrize("changed", [{"rounds": 9}, {"processes": 1}, {"timeout": 5.0}])
def test_how_often_it_is_measured_may_differ(a_session: Any, changed: dict[str, Any]) -> None:
    assert matched(a_session(1), a_session(2, **changed)).bases


def test_a_parameter_that_an_earlier_document_lacks_was_not_set(a_session: Any) -> None:
    assert matched(a_session(1), a_session(2, top_k=0, top_p=1.0)).bases
    assert not matched(a_session(1), a_session(2, top_k=40)).bases


def test_commit_and_branch_may_differ(a_session: Any) -> None:
    assert matched(a_session(1), a_session(2, commit="b" * 40, branch="topic", dirty=True)).bases


@pytest.mark.parametrize(
    ("changed", "kind", "said"),
    [
        ({"machine": "machine-b"}, Kind.HARDWARE, "machine-a → machine-b"),
        ({"machine": None}, Kind.HARDWARE, "machine-a → unknown"),
        ({"digest": "1"}, Kind.WEIGHTS, "sha256:000000000000 → sha256:111111111111"),
        ({"version": "0.3.37"}, Kind.ENGINE, "llama-cpp-python 0.3.36 → llama-cpp-python 0.3.37"),
        ({"quantization": "f16"}, Kind.QUANTIZATION, "q8_0 → f16"),
        ({"params": {"size": 2}}, Kind.PARAMETERS, "parameter size: not set → 2"),
        ({"warmup_rounds": 3}, Kind.PROTOCOL, "warmup_rounds: 1 → 3"),
        ({"isolation": "model"}, Kind.PROTOCOL, "isolation: not set → model"),
        ({"options": {"n_threads": None, "mlock": True}}, Kind.PROTOCOL, "options.mlock: not set → True"),
        ({"engine": {"n_threads": 2}}, Kind.PROTOCOL, "options.n_threads: 1 → 2"),
        ({"prompt": "q"}, Kind.PROMPT, "p → q"),
    ],
)
def test_what_differs_is_told(a_session: Any, changed: dict[str, Any], kind: Kind, said: str) -> None:
    match = matched(a_session(1), a_session(2, **changed))
    assert not match.bases
    assert match.mismatch is not None
    assert match.mismatch.kind is kind
    assert said in match.mismatch.reason


def test_several_differences_are_told_by_name(a_session: Any) -> None:
    match = matched(a_session(1), a_session(2, digest="1", machine="machine-b"))
    assert match.mismatch is not None
    assert match.mismatch.kind is Kind.HARDWARE
    assert match.mismatch.reason.startswith("hardware: machine-a → machine-b; weights: sha256:0")


def test_an_option_that_another_version_did_not_know_and_that_is_not_set_is_no_difference(
    a_session: Any,
) -> None:
    assert matched(a_session(1), a_session(2, options={"n_threads": None, "new": None}, also_new=None)).bases


def test_two_unknown_machines_are_not_the_same_machine(a_session: Any) -> None:
    match = matched(a_session(1, machine=None), a_session(2, machine=None))
    assert match.mismatch is not None
    assert match.mismatch.kind is Kind.HARDWARE


def test_the_address_in_a_parameters_repr_is_no_difference(a_session: Any) -> None:
    base = a_session(1, params={"f": "<function f at 0x7f0000000001>"})
    assert matched(base, a_session(2, params={"f": "<function f at 0x7f0000000002>"})).bases


def test_of_several_sessions_those_that_match_are_used_and_the_others_told(a_session: Any) -> None:
    bases = [a_session(1), a_session(2, machine="machine-b"), a_session(3)]
    now = a_session(4)
    match = Baselines(bases).match(Measured(now.cases[0], now))
    assert [one.header.session.started[:10] for one in match.bases] == ["2026-01-03", "2026-01-01"]
    assert [one.kind for one in match.left_out] == [Kind.HARDWARE]


def test_of_several_that_differ_the_one_that_differs_least_is_the_reason(a_session: Any) -> None:
    bases = [a_session(1, digest="1"), a_session(2, machine="machine-b", digest="1", version="1")]
    now = a_session(4)
    match = Baselines(bases).match(Measured(now.cases[0], now))
    assert match.mismatch is not None
    assert match.mismatch.kind is Kind.WEIGHTS
    assert len(match.left_out) == 1


def test_a_session_that_is_given_twice_counts_once(a_session: Any) -> None:
    base, now = a_session(1), a_session(2)
    match = Baselines([base, base]).match(Measured(now.cases[0], now))
    assert len(match.bases) == 1


def test_a_case_that_failed_in_the_baseline_is_none(a_session: Any) -> None:
    match = matched(a_session(1, outcome="failed"), a_session(2))
    assert match.mismatch is not None
    assert match.mismatch.kind is Kind.FAILED


@pytest.mark.parametrize(
    "renamed",
    [
        {"file": "benchmarks/test_b.py"},
        {"name": "test_y[llamacpp-tiny-q8_0]"},
        {"name": "test_z[other]", "file": "test_c.py"},
    ],
)
def test_a_renamed_test_is_told_with_its_old_name(a_session: Any, renamed: dict[str, Any]) -> None:
    match = matched(a_session(1), a_session(2, **renamed))
    assert match.mismatch is not None
    assert match.mismatch.kind is Kind.RENAMED
    assert match.mismatch.base_key == (X, "default")
    assert X in match.mismatch.reason


def test_in_a_moved_file_each_case_finds_its_own_old_name(a_session: Any, a_case: Any) -> None:
    base = a_session(1, [a_case("test_x[a]"), a_case("test_x[b]")])
    now = a_session(2, [a_case("test_x[b]", file="benchmarks/test_b.py")])
    match = matched(base, now)
    assert match.mismatch is not None
    assert match.mismatch.base_key == ("benchmarks/test_a.py::test_x[b]", "default")


def test_a_test_beside_one_that_still_exists_is_new_and_not_renamed(a_session: Any, a_case: Any) -> None:
    now = a_session(2, [a_case("test_copy"), a_case()])
    match = matched(a_session(1), now)
    assert match.mismatch is not None
    assert match.mismatch.kind is Kind.NEW


def test_a_name_that_could_have_been_one_of_several_is_not_guessed(a_session: Any, a_case: Any) -> None:
    base = a_session(1, [a_case("test_x"), a_case("test_y")])
    match = matched(base, a_session(2, name="test_z"))
    assert match.mismatch is not None
    assert match.mismatch.kind is Kind.NEW


def test_what_was_not_measured_now_is_missing(a_session: Any, a_case: Any) -> None:
    base = a_session(1, [a_case("test_x"), a_case("test_y"), a_case("test_z", outcome="failed")])
    missing = Baselines([base]).missing({("benchmarks/test_a.py::test_x", "default")})
    assert [(one.nodeid, one.kind) for one in missing] == [("benchmarks/test_a.py::test_y", Kind.MISSING)]


def served(day: int, a_session: Any, *, server: str = "vllm", url: str = "http://a:1/v1", **case: Any) -> Any:
    """A session on a server that runs and does not report its version."""
    session = a_session(day, engine={"server": server, "base_url": url}, **case)
    for process in session.cases[0].processes:
        process.versions = {}
    session.cases[0].model.digest = None
    return session


def test_where_a_server_listens_is_no_difference_and_what_it_is_is_one(a_session: Any) -> None:
    base = served(1, a_session)
    assert matched(base, served(2, a_session, url="http://b:2/v1")).bases
    match = matched(base, served(2, a_session, server="sglang"))
    assert match.mismatch is not None
    assert match.mismatch.reason.startswith("vllm → sglang")


def test_a_test_id_with_a_servers_address_finds_that_server_at_another_one(a_session: Any) -> None:
    base = served(1, a_session, name="test_x[server@a:1-tiny-c2]")
    moved = served(2, a_session, name="test_x[server@b:2-tiny-c2]", url="http://b:2/v1")
    assert matched(base, moved).bases
    alone = served(3, a_session, name="test_x[server-tiny-c2]", url="http://b:2/v1")
    assert matched(base, alone).bases
    assert matched(alone, moved).bases


def test_a_test_of_a_server_is_found_by_what_earlier_documents_call_it(a_session: Any) -> None:
    base = served(1, a_session, name="test_x[openai-tiny-c2]")
    assert matched(base, served(2, a_session, name="test_x[server-tiny-c2]")).bases


def test_of_two_servers_at_other_addresses_none_is_guessed(a_session: Any) -> None:
    base = served(1, a_session, name="test_x[server@a:1-tiny-c2]")
    base.cases += served(1, a_session, name="test_x[server@b:2-tiny-c2]", url="http://b:2/v1").cases
    moved = served(2, a_session, name="test_x[server@c:3-tiny-c2]", url="http://c:3/v1")
    assert not matched(base, moved).bases
    there = served(2, a_session, name="test_x[server@b:2-tiny-c2]", url="http://b:2/v1")
    assert [one.case.key[0] for one in matched(base, there).bases] == [there.cases[0].nodeid]
