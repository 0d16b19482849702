"""Is a name understood, and what lies at a path checked?"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_llmbench.errors import ModelError, UsageError
from pytest_llmbench.models.listing import build, listed_models
from pytest_llmbench.models.resolve import parse_spec, resolve
from pytest_llmbench.models.spec import Form, ModelSpec, ResolvedModel

Tiny = Callable[..., ResolvedModel]


def at(path: Path, quantization: str | None = None) -> ModelSpec:
    return ModelSpec(str(path), quantization)


def hex_only(text: str) -> bool:
    return text.startswith("sha256:") and len(text) == 71


# -- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("tiny", ModelSpec("tiny")),
        ("synthetic/tiny", ModelSpec("tiny")),
        ("synthetic/llama-3.2-1b", ModelSpec("synthetic/llama-3.2-1b")),
        ("org/Name-1.5B_x", ModelSpec("org/Name-1.5B_x")),
        ("org/name@refs/pr/1", ModelSpec("org/name", revision="refs/pr/1")),
    ],
)
def test_a_name_is_understood(text: str, spec: ModelSpec) -> None:
    assert parse_spec(text) == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tinny", r"no model 'tinny'; did you mean 'tiny'.*There are tiny, synthetic/llama-82m, .*ORG/NAME"),
        ("llama-82m", "did you mean 'synthetic/llama-82m'"),
        ("", "no model ''"),
        ("a/b/c", "no model 'a/b/c'"),
        ("synthetic/x", r"There are tiny, synthetic/llama-82m"),
        ("tiny@main", "tiny has no revisions"),
        ("org/name@", "a branch, a tag or a commit is missing"),
        ("./nowhere", r"there is no model at \./nowhere"),
        ("/nowhere/model.gguf", "there is no model at /nowhere/model.gguf"),
    ],
)
def test_a_name_that_cannot_be_meant_is_told_what_there_is(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_spec(text)


def test_a_folder_without_its_dot_is_told_how_to_write_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "config.json").touch()
    monkeypatch.chdir(tmp_path)

    with pytest.raises(UsageError, match=r"is written '\./weights'"):
        parse_spec("weights")
    assert parse_spec("./weights") == ModelSpec("./weights")


def test_reading_names_imports_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from pytest_llmbench.models.resolve import parse_spec\n"
        "parse_spec('tiny'), parse_spec('org/name@main')\n"
        "heavy = {'numpy', 'gguf', 'tokenizers', 'safetensors', 'huggingface_hub', 'pydantic', 'yaml'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True, text=True)

    assert done.stdout.strip() == "[]"


# -- synthetic models -------------------------------------------------------------------------


@pytest.mark.parametrize(("form", "quantization"), [("hf", None), ("gguf", None), ("gguf", "f32")])
def test_a_synthetic_model_is_built_and_described(tiny: Tiny, form: Form, quantization: str | None) -> None:
    model = tiny(form, quantization)

    assert model.form == form
    assert model.path.is_dir() == (form == "hf")
    assert model.quantization == (quantization or "f16")
    assert model.parameters == 6_163_712
    assert model.size >= 2 * model.parameters
    assert hex_only(model.digest)
    assert tiny(form, quantization) == model


def test_an_unknown_quantization_of_a_synthetic_model_is_told_what_there_is(tiny: Tiny) -> None:
    with pytest.raises(ModelError, match=r"tiny cannot be built as q8_1 GGUF.*f32, f16, bf16, q8_0, .*q4_0"):
        tiny("gguf", "q8_1")


def test_a_quantization_of_the_engine_leaves_the_huggingface_files_as_they_are(tiny: Tiny) -> None:
    model = tiny("hf", "int8_torchao")

    assert (model.path, model.digest) == (tiny("hf").path, tiny("hf").digest)
    assert model.quantization == "f16"
    assert model.spec.quantization == "int8_torchao"


def test_a_truncated_model_is_built_again(cache: Path) -> None:
    for package in ("tokenizers", "gguf"):
        pytest.importorskip(package)
    model = resolve(ModelSpec("tiny"), "gguf", quiet=True)
    os.truncate(model.path, 1000)

    again = resolve(ModelSpec("tiny"), "gguf", quiet=True)

    assert again == model
    assert again.path.stat().st_size == model.size


def test_two_processes_that_build_at_once_get_the_same_model(cache: Path) -> None:
    for package in ("tokenizers", "safetensors"):
        pytest.importorskip(package)
    script = (
        "from pytest_llmbench.models.resolve import *\n"
        "print(resolve(ModelSpec('tiny'), 'hf', quiet=True).digest)"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    digests = [process.communicate()[0].strip() for process in processes]

    assert [process.returncode for process in processes] == [0, 0]
    assert digests[0] == digests[1] == resolve(ModelSpec("tiny"), "hf", quiet=True).digest


@pytest.mark.parametrize(("package", "form"), [("safetensors", "hf"), ("gguf", "gguf"), ("tokenizers", "hf")])
def test_a_missing_library_is_named_with_what_installs_it(
    cache: Path, monkeypatch: pytest.MonkeyPatch, package: str, form: Form
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    if package == "safetensors":
        monkeypatch.setitem(sys.modules, "safetensors.numpy", None)

    with pytest.raises(
        ModelError, match=rf"{package}, which comes .*pip install 'pytest-llmbench\[llamacpp\]'"
    ):
        resolve(ModelSpec("tiny"), form, quiet=True)


def test_the_list_says_what_is_built_and_how_large_it_is(cache: Path) -> None:
    pytest.importorskip("gguf")
    before = {entry.name: entry for entry in listed_models()}
    assert list(before)[:2] == ["tiny", "synthetic/llama-82m"]
    assert all(entry.cached == () for entry in before.values())

    model = build("tiny", "f16", quiet=True)
    after = {entry.name: entry for entry in listed_models()}

    (form,) = after["tiny"].cached
    assert (form.form, form.quantization, form.size) == ("gguf", "f16", model.size)
    assert form.cached == model.path.parent
    estimate = next(f for f in before["tiny"].forms if (f.form, f.quantization) == ("gguf", "f16"))
    assert estimate.size == pytest.approx(model.size, rel=0.05)
    assert before["synthetic/llama-3.1-8b"].parameters == 8_030_261_248


# -- paths ------------------------------------------------------------------------------------


def test_a_gguf_file_is_described_from_its_header(cache: Path, tiny: Tiny) -> None:
    built = tiny("gguf", "f16")
    model = resolve(at(built.path), "gguf")

    assert (model.digest, model.parameters, model.size) == (built.digest, built.parameters, built.size)
    assert model.quantization == "f16"
    assert resolve(at(built.path, "f16"), "gguf").digest == built.digest


def test_a_relative_path_is_made_absolute(cache: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny("gguf", "f16").path
    monkeypatch.chdir(path.parent)

    assert resolve(parse_spec(path.name), "gguf").path == path


def test_another_quantization_than_the_file_has_is_an_error(cache: Path, tiny: Tiny) -> None:
    with pytest.raises(ModelError, match="holds f16, and q8_0 was asked for"):
        resolve(at(tiny("gguf", "f16").path, "q8_0"), "gguf")


def test_a_truncated_gguf_file_is_called_so(cache: Path, tiny: Tiny, tmp_path: Path) -> None:
    copy = Path(shutil.copy(tiny("gguf", "f16").path, tmp_path / "copy.gguf"))
    os.truncate(copy, copy.stat().st_size // 2)

    with pytest.raises(ModelError, match=r"copy\.gguf is truncated"):
        resolve(at(copy), "gguf")


def test_what_is_no_gguf_file_is_called_so(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_text("version https://git-lfs.github.com/spec/v1\n")

    with pytest.raises(ModelError, match="is not a GGUF file"):
        resolve(at(tmp_path / "model.gguf"), "gguf")


def test_a_folder_of_several_gguf_files_needs_a_quantization(cache: Path, tiny: Tiny, tmp_path: Path) -> None:
    for quantization in ("f16", "f32"):
        os.link(tiny("gguf", quantization).path, tmp_path / f"model-{quantization.upper()}.gguf")

    assert resolve(at(tmp_path, "f32"), "gguf").path == tmp_path / "model-F32.gguf"
    with pytest.raises(ModelError, match=r"several GGUF files.*model-F16\.gguf, model-F32\.gguf"):
        resolve(at(tmp_path), "gguf")
    with pytest.raises(ModelError, match=r"no GGUF file for the quantization q4_0.*model-F16\.gguf"):
        resolve(at(tmp_path, "q4_0"), "gguf")


def test_a_split_model_is_all_its_parts(cache: Path, tiny: Tiny, tmp_path: Path) -> None:
    parts = [tmp_path / f"m-{i:05d}-of-00002.gguf" for i in (1, 2)]
    for part in parts:
        shutil.copy(tiny("gguf", "f16").path, part)
    model = resolve(at(parts[0]), "gguf")

    assert model.path == parts[0]
    assert model.size == 2 * tiny("gguf", "f16").size
    with pytest.raises(ModelError, match=r"name the first part, \.\.\.-00001-of-00002\.gguf"):
        resolve(at(parts[1]), "gguf")
    parts[1].unlink()
    with pytest.raises(ModelError, match=r"not beside it: m-00002-of-00002\.gguf"):
        resolve(at(parts[0]), "gguf")


def test_a_huggingface_folder_is_described_from_its_headers(cache: Path, tiny: Tiny) -> None:
    built = tiny("hf")
    model = resolve(at(built.path), "hf")

    assert (model.path, model.form) == (built.path, "hf")
    assert (model.digest, model.parameters, model.size) == (built.digest, built.parameters, built.size)
    assert model.quantization == "f16"


@pytest.fixture
def folder(tiny: Tiny, tmp_path: Path) -> Path:
    """A copy of tiny in Hugging Face form, to be damaged."""
    return Path(shutil.copytree(tiny("hf").path, tmp_path / "model"))


def test_a_folder_without_a_configuration_is_no_model(cache: Path, folder: Path) -> None:
    (folder / "config.json").unlink()

    with pytest.raises(ModelError, match=r"is not a Hugging Face model: it has no config\.json"):
        resolve(at(folder), "hf")


def test_pickles_are_not_loaded(cache: Path, folder: Path) -> None:
    for file in folder.glob("*.safetensors*"):
        file.unlink()
    (folder / "pytorch_model.bin").touch()

    with pytest.raises(ModelError, match=r"pickles only \(pytorch_model\.bin\)"):
        resolve(at(folder), "hf")


def test_a_missing_shard_is_named(cache: Path, folder: Path) -> None:
    (folder / "model-00003-of-00008.safetensors").unlink()

    with pytest.raises(ModelError, match=r"lacks model-00003-of-00008\.safetensors"):
        resolve(at(folder), "hf")


@pytest.mark.parametrize("length", [3, 20, 5000])
def test_a_truncated_shard_is_called_so(cache: Path, folder: Path, length: int) -> None:
    os.truncate(folder / "model-00003-of-00008.safetensors", length)

    with pytest.raises(ModelError, match=r"model-00003-of-00008\.safetensors is truncated"):
        resolve(at(folder), "hf")


@pytest.mark.parametrize("file", ["config.json", "model.safetensors.index.json"])
def test_broken_json_is_named(cache: Path, folder: Path, file: str) -> None:
    (folder / file).write_text("{")

    with pytest.raises(ModelError, match=rf"{file} cannot be read"):
        resolve(at(folder), "hf")


def test_weights_that_are_quantized_already_say_by_what(cache: Path, folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (folder / "config.json").write_text(json.dumps(config))
    model = resolve(at(folder), "hf")

    assert (model.quantization, model.parameters) == ("gptq", None)
    with pytest.raises(ModelError, match="quantized by gptq already, and f16 was asked for"):
        resolve(at(folder, "f16"), "hf")


def test_the_wrong_form_is_told_which_backend_takes_it(cache: Path, tiny: Tiny, folder: Path) -> None:
    with pytest.raises(ModelError, match=r"llama\.cpp needs one.*backend transformers"):
        resolve(at(folder), "gguf")
    with pytest.raises(ModelError, match="run a GGUF file on the backend llamacpp"):
        resolve(at(tiny("gguf", "f16").path), "hf")
    with pytest.raises(ModelError, match="it has no config"):
        resolve(at(tiny("gguf", "f16").path.parent), "hf")
