"""Is nothing of somebody else's overwritten, and does nothing stay of an earlier time?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from pytest_llmbench.errors import ResultsError, UsageError
from pytest_llmbench.matrix.manifests.files import objects, texts, write
from pytest_llmbench.matrix.manifests.kinds import Kind
from pytest_llmbench.matrix.manifests.wanted import Nodes, Wanted
from pytest_llmbench.results.cell import Hardware

WANTED = Wanted(name="sweep", matrix="a: 1\n", nodes=(Nodes(Hardware("L4"), 3),))


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("resources: []\n")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError) as refused:
        write(tmp_path, texts(WANTED, Kind.ARGO))
    assert "has other files (kustomization.yaml, notes.txt)" in str(refused.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kustomization.yaml", "notes.txt"]


def test_what_is_not_a_folder_is_said(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(UsageError, match="is not a folder"):
        write(file, texts(WANTED, Kind.ARGO))


def test_a_link_to_a_file_is_not_ours(tmp_path: Path) -> None:
    made = texts(WANTED, Kind.ARGO)
    write(tmp_path / "made", made)
    (tmp_path / "made" / "more.yaml").symlink_to(tmp_path / "made" / "matrix.yaml")
    with pytest.raises(UsageError, match=r"other files \(more.yaml\)"):
        write(tmp_path / "made", made)


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError):
        write(tmp_path / "file" / "below", texts(WANTED, Kind.ARGO))


def test_files_of_an_earlier_time_are_replaced(tmp_path: Path) -> None:
    write(tmp_path / "made", texts(WANTED, Kind.RAYJOB))
    write(tmp_path / "made", texts(WANTED, Kind.INDEXED_JOB))
    names = {path.name for path in (tmp_path / "made").iterdir()}
    assert "jobs.yaml" in names
    assert not {"rayjob.yaml", "raycluster.yaml"} & names


def test_more_groups_than_kueue_queues_are_said() -> None:
    many = replace(WANTED, nodes=tuple(Nodes(Hardware(f"gpu{n}"), 1) for n in range(18)))
    assert objects(many, Kind.RAYJOB)
    with pytest.raises(UsageError, match="has 18 groups of nodes, and Kueue takes 17"):
        objects(replace(many, queue="gpus"), Kind.RAYJOB)


def test_without_gpus_of_nvidia_there_is_no_exporter_of_theirs() -> None:
    assert "dcgm-exporter.yaml" in texts(WANTED, Kind.INDEXED_JOB)
    assert "dcgm-exporter.yaml" not in texts(replace(WANTED, gpu="amd.com/gpu"), Kind.INDEXED_JOB)


def test_the_matrix_is_what_the_file_has() -> None:
    matrix = "# é ${X}\nname: 'a'\t \nend"
    (read,) = yaml.safe_load_all(texts(replace(WANTED, matrix=matrix), Kind.ARGO)["matrix.yaml"])
    assert read["data"] == {"matrix.yaml": matrix}
