"""Is it known in which forms a model lies at a path, and which GGUF file of a folder is meant?"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_llmbench.errors import ModelError
from pytest_llmbench.models import gguf
from pytest_llmbench.models.forms import forms_at
from pytest_llmbench.models.gguf import Gguf, choose_gguf, gguf_files, parts_of
from pytest_llmbench.models.resolve import resolve
from pytest_llmbench.models.spec import ModelSpec, ResolvedModel

Tiny = Callable[..., ResolvedModel]


def put(folder: Path, *names: str) -> Path:
    """*folder* with files of these names that begin as GGUF does."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"GGUF")
    return folder


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("m.gguf",), {"gguf"}),
        (("M-Q8_0.GGUF",), {"gguf"}),
        (("Q8_0/m.gguf",), {"gguf"}),
        (("m.gguf", "config.json", "tokenizer.json"), {"gguf"}),
        (("m.gguf", "config.json", "model.safetensors"), {"gguf", "hf"}),
        (("config.json",), {"hf"}),
        (("config.json", "pytorch_model.bin"), {"hf"}),
        (("config.json", "model.safetensors", "mmproj-f16.gguf"), {"hf"}),
    ],
)
def test_the_files_of_a_folder_tell_its_forms(
    tmp_path: Path, names: tuple[str, ...], found: set[str]
) -> None:
    assert forms_at(put(tmp_path, *names)) == found


def test_a_file_is_gguf_by_its_name_or_by_its_content(tmp_path: Path) -> None:
    put(tmp_path, "sha256-0123", "m.gguf")
    (tmp_path / "notes.txt").write_text("nothing")
    assert forms_at(tmp_path / "sha256-0123") == forms_at(tmp_path / "m.gguf") == {"gguf"}
    with pytest.raises(ModelError, match=r"notes\.txt is not a model; a model is a folder .* or a GGUF file"):
        forms_at(tmp_path / "notes.txt")


def test_a_folder_that_is_called_like_a_gguf_file_is_a_folder(tmp_path: Path) -> None:
    put(tmp_path / "m.gguf", "m-Q8_0.gguf")
    assert gguf_files(tmp_path) == ["m.gguf/m-Q8_0.gguf"]
    assert gguf_files(tmp_path / "m.gguf") == ["m-Q8_0.gguf"]


def test_links_to_a_store_of_blobs_are_files_and_broken_ones_are_not(tmp_path: Path) -> None:
    put(tmp_path / "blobs", "abc")
    snapshot = tmp_path / "snapshots"
    snapshot.mkdir()
    (snapshot / "m.gguf").symlink_to("../blobs/abc")
    (snapshot / "gone.gguf").symlink_to("../blobs/def")
    assert gguf_files(snapshot) == ["m.gguf"]


def test_a_folder_of_too_many_files_is_not_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf, "MAX_ENTRIES", 3)
    with pytest.raises(ModelError, match="holds over 3 files, so it is not a model's folder"):
        gguf_files(put(tmp_path, "a", "b", "c", "d"))


@pytest.mark.parametrize(
    "beside", ["mmproj-model-f16.gguf", "model-mmproj-F16.gguf", "imatrix.gguf", "m.imatrix.GGUF"]
)
def test_what_is_no_model_is_not_chosen(beside: str) -> None:
    assert choose_gguf([beside, "model-f16.gguf"], None, "here") == ["model-f16.gguf"]
    assert choose_gguf([beside, "model-f16.gguf"], "f16", "here") == ["model-f16.gguf"]


def test_what_a_file_holds_decides_where_no_name_tells() -> None:
    holds = {"a.gguf": "q8_0", "b.gguf": "f16"}
    assert choose_gguf(list(holds), "f16", "here", holds.__getitem__) == ["b.gguf"]
    with pytest.raises(
        ModelError, match=r"no GGUF file for the quantization q4_0; there are: a\.gguf, b\.gguf"
    ):
        choose_gguf(list(holds), "q4_0", "here", holds.__getitem__)


def test_many_names_are_not_all_listed() -> None:
    with pytest.raises(ModelError, match=r"m019\.gguf and 980 more$"):
        choose_gguf([f"m{number:03d}.gguf" for number in range(1000)], None, "here")


@pytest.mark.parametrize("suffix", [".gguf", ".GGUF"])
def test_the_parts_of_a_split_model_are_found_as_they_are_written(tmp_path: Path, suffix: str) -> None:
    names = [f"M-Q8_0-{part:05d}-of-00003{suffix}" for part in (1, 2, 3)]
    put(tmp_path, *names)
    assert parts_of(tmp_path / names[0]) == [tmp_path / name for name in names]
    assert choose_gguf(names, "q8_0", "here") == names


def test_a_part_that_is_missing_is_named_whichever_it_is(tmp_path: Path) -> None:
    put(tmp_path, *(f"m-{part:05d}-of-00003.gguf" for part in (2, 3)))
    with pytest.raises(ModelError, match=r"part 2 of a model in 3 parts.*beside it: m-00001-of-00003\.gguf;"):
        resolve(ModelSpec(str(tmp_path)), "gguf")


def test_two_splits_of_one_model_are_two_models() -> None:
    with pytest.raises(ModelError, match="several GGUF files"):
        choose_gguf(["m-00001-of-00001.gguf", "m-00001-of-00002.gguf"], None, "here")


def test_a_number_of_parts_that_cannot_be_is_a_name(tmp_path: Path) -> None:
    put(tmp_path, "m-00001-of-00000.gguf")
    assert parts_of(tmp_path / "m-00001-of-00000.gguf") == [tmp_path / "m-00001-of-00000.gguf"]


def test_a_folder_as_a_download_makes_it_is_resolved_in_both_forms(
    cache: Path, tiny: Tiny, tmp_path: Path
) -> None:
    folder = tmp_path / "download"
    shutil.copytree(tiny("hf").path, folder)
    for number in (1, 2):
        os.link(tiny("gguf", "f16").path, folder / f"tiny-F16-{number:05d}-of-00002.gguf")
    os.link(tiny("gguf", "f32").path, folder / "TINY-F32.GGUF")

    split = resolve(ModelSpec(str(folder), "f16"), "gguf")
    assert split.path.name == "tiny-F16-00001-of-00002.gguf"
    assert split.size == 2 * tiny("gguf", "f16").size
    assert resolve(ModelSpec(str(folder), "f32"), "gguf").digest == tiny("gguf", "f32").digest
    assert resolve(ModelSpec(str(folder)), "hf").digest == tiny("hf").digest


def test_a_file_whose_name_does_not_tell_is_found_by_its_header(
    cache: Path, tiny: Tiny, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    os.link(tiny("gguf", "f16").path, folder / "model.gguf")
    assert resolve(ModelSpec(str(folder), "f16"), "gguf").path.name == "model.gguf"
    with pytest.raises(ModelError, match="no GGUF file for the quantization q8_0"):
        resolve(ModelSpec(str(folder), "q8_0"), "gguf")


def test_a_file_that_an_alias_names_is_taken_with_all_its_parts() -> None:
    parts = [f"big-0000{number}-of-00002.gguf" for number in (1, 2)]
    names = ["a-q4.gguf", "b-q4.gguf", *parts, "README.md"]

    def chosen(file: str) -> list[str]:
        return Gguf().choose(ModelSpec("org/name", file=file), names, "org/name")

    assert chosen("b-q4.gguf") == ["b-q4.gguf"]
    assert chosen(parts[0]) == parts
    for file in ("c-q4.gguf", "README.md", "../a-q4.gguf"):
        with pytest.raises(
            ModelError, match=r"^org/name has no GGUF file '.*There is a-q4\.gguf, b-q4\.gguf"
        ):
            chosen(file)
