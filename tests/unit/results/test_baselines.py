"""Does each way to name a baseline find its documents, and say what there is where it finds none?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.errors import ResultsError, UsageError
from pytest_llmbench.results.baselines import (
    baselines_folder,
    find_baselines,
    find_place,
    named_baselines,
    replace_baseline,
    save_baseline,
    take_place,
)
from pytest_llmbench.results.document import read_document, write_document
from pytest_llmbench.results.store import Store


@pytest.fixture
def store(tmp_path: Path, a_session: Any) -> Store:
    made = Store(tmp_path / "store")
    made.write(a_session(1, commit="a" * 40, branch="main"))
    made.write(a_session(2, commit="a" * 40, branch="main"))
    made.write(a_session(3, commit="b" * 40, branch="main"))
    made.write(a_session(4, commit="b" * 40, branch="main", dirty=True))
    made.write(a_session(5, commit="c" * 40, branch="topic", dirty=True))
    return made


def days(paths: list[Path]) -> list[int]:
    return [int(path.stem[6:8]) for path in paths]


@pytest.mark.parametrize(
    ("ref", "found"),
    [
        ("latest", [5]),
        ("20260102", [2]),
        ("commit:aaaa", [2, 1]),
        (f"commit:{'a' * 40}", [2, 1]),
        ("commit:bbbb", [3]),
        ("branch:main", [3]),
    ],
)
def test_the_store_is_searched_by_session_commit_and_branch(store: Store, ref: str, found: list[int]) -> None:
    assert days(find_baselines([ref], store)) == found


def test_a_document_and_a_folder_are_found_by_path(store: Store, tmp_path: Path, a_session: Any) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    path = write_document(folder / "one.json", a_session(8))
    write_document(folder / "two.json", a_session(9))
    assert find_baselines([path], store) == [path]
    assert [one.name for one in find_baselines([folder], store)] == ["two.json", "one.json"]
    assert len(find_baselines([store.path], store)) == 5


def test_a_document_that_several_refs_mean_counts_once(store: Store) -> None:
    assert days(find_baselines(["latest", "branch:main", "commit:bbbb", "20260105"], store)) == [5, 3]


def test_a_damaged_document_of_a_folder_is_told_and_passed_over(
    store: Store, tmp_path: Path, a_session: Any
) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    write_document(folder / "good.json", a_session(8))
    (folder / "bad.json").write_text("{")
    problems: list[str] = []
    assert [one.name for one in find_baselines([folder], store, problems)] == ["good.json"]
    assert "bad.json" in problems[0]


@pytest.mark.parametrize(
    ("ref", "said"),
    [
        ("commit:dddd", "there are ccccccccc, bbbbbbbbb, aaaaaaaaa"),
        ("commit:cccc", "only with uncommitted changes"),
        ("commit:no-such-tag", "neither a hash nor anything that git knows"),
        ("branch:mian", "did you mean 'main'"),
        ("branch:topic", "only with uncommitted changes"),
        ("nowhere", "neither a file nor a session"),
    ],
)
def test_a_ref_that_means_nothing_says_what_there_is(
    store: Store, ref: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(ResultsError) as raised:
        find_baselines([ref], store, root=tmp_path)
    assert said in str(raised.value)


def test_an_empty_folder_is_no_baseline(store: Store, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ResultsError, match="no results document in the folder"):
        find_baselines([tmp_path / "empty"], store)


def test_sessions_accumulate_under_a_name(store: Store, a_session: Any) -> None:
    save_baseline(store, "nightly", a_session(7))
    save_baseline(store, "nightly", a_session(8))
    assert days(find_baselines(["nightly"], store)) == [8, 7]
    (baseline,) = named_baselines(store)
    assert baseline.name == "nightly"
    assert [entry.id[6:8] for entry in baseline.entries] == ["08", "07"]


def test_a_mistyped_name_lists_the_names(store: Store, a_session: Any) -> None:
    save_baseline(store, "nightly", a_session(7))
    with pytest.raises(ResultsError, match="did you mean 'nightly'"):
        find_baselines(["nightyl"], store)


def test_what_an_update_replaces_is_kept_beside_it(store: Store, a_session: Any) -> None:
    old = save_baseline(store, "nightly", a_session(7))
    replace_baseline(store, "nightly", [a_session(8)])
    assert days(find_baselines(["nightly"], store)) == [8]
    assert (baselines_folder(store) / "nightly" / "replaced" / old.name).is_file()


@pytest.mark.parametrize("name", ["latest", "a/b", "..", ".hidden", "x.json", "commit:a", ""])
def test_a_name_that_could_mean_something_else_is_refused(store: Store, name: str, a_session: Any) -> None:
    with pytest.raises(UsageError, match="cannot name a baseline"):
        save_baseline(store, name, a_session(7))


def test_a_session_takes_the_place_of_a_named_baseline(store: Store, a_session: Any) -> None:
    old = [save_baseline(store, "nightly", a_session(day)) for day in (6, 7)]
    place = find_place("nightly", store)
    assert place.label == "'nightly'"
    assert "takes the place of 2 sessions" in take_place(place, store, a_session(8))
    assert days(find_baselines(["nightly"], store)) == [8]
    assert sorted(path.name for path in (place.path / "replaced").iterdir()) == [path.name for path in old]


def test_a_document_that_is_replaced_is_kept_in_the_store(
    store: Store, tmp_path: Path, a_session: Any
) -> None:
    path = write_document(tmp_path / "base.json", a_session(7))
    before = path.read_bytes()
    take_place(find_place(str(path), store), store, a_session(8))
    assert read_document(path).session.id == a_session(8).session.id
    (kept,) = (store.path / "replaced").iterdir()
    assert (kept.stem, kept.read_bytes()) == (a_session(7).session.id, before)


def test_a_document_whose_session_is_in_the_store_is_kept_there(
    store: Store, tmp_path: Path, a_session: Any
) -> None:
    path = write_document(tmp_path / "base.json", a_session(3))
    assert str(store.document_path(a_session(3).session.id)) in take_place(
        find_place(str(path), store), store, a_session(8)
    )
    assert not (store.path / "replaced").exists()


def test_the_id_of_a_foreign_document_is_no_path(store: Store, tmp_path: Path, a_session: Any) -> None:
    foreign = a_session(7)
    foreign.session.id = "../../outside"
    path = write_document(tmp_path / "base.json", foreign)
    take_place(find_place(str(path), store), store, a_session(8))
    assert [kept.name for kept in (store.path / "replaced").iterdir()] == ["base.json"]


def test_a_baseline_that_cannot_be_kept_is_not_replaced(store: Store, tmp_path: Path, a_session: Any) -> None:
    path = write_document(tmp_path / "base.json", a_session(7))
    (store.path / "replaced").write_text("in the way")
    with pytest.raises(ResultsError, match="replaced"):
        take_place(find_place(str(path), store), store, a_session(8))
    assert read_document(path).session.id == a_session(7).session.id
