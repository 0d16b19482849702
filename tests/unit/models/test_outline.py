"""Is what a model's files say known without loading, building or fetching them?"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_llmbench.models.outline import Outline
from pytest_llmbench.models.resolve import outline_of
from pytest_llmbench.models.spec import ModelSpec, ResolvedModel
from pytest_llmbench.models.synthetic.shapes import SHAPES
from tests.fakes.hub import Hub

Tiny = Callable[..., ResolvedModel]
ATTENTION = SHAPES["tiny"].attention


def test_a_synthetic_model_is_known_before_it_is_built(cache: Path) -> None:
    for form in ("gguf", "hf"):
        outline = outline_of(ModelSpec("tiny"), form)
        assert outline is not None
        assert (outline.context, outline.attention, outline.dtype) == (8192, ATTENTION, "f16")
        assert 10_000_000 < outline.size < 15_000_000
    quantized = outline_of(ModelSpec("tiny", "q8_0"), "gguf")
    assert quantized is not None
    assert quantized.dtype is None
    assert outline_of(ModelSpec("tiny", "nothing"), "gguf") is None
    assert not cache.exists()


@pytest.mark.parametrize("form", ["gguf", "hf"])
def test_files_say_the_same_as_the_shape(tiny: Tiny, form: str) -> None:
    model = tiny(form, "f16" if form == "gguf" else None)
    outline = outline_of(ModelSpec(str(model.path)), form)
    assert outline == Outline(model.size, 8192, ATTENTION, None if form == "gguf" else "f16")
    if form == "gguf":
        assert outline_of(ModelSpec(str(model.path.parent)), form) == outline
        assert outline_of(ModelSpec(str(model.path)), "hf") is None


def test_of_files_that_are_not_whole_nothing_is_known(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "damaged.gguf").write_bytes(tiny("gguf", "f16").path.read_bytes()[:100])
    assert outline_of(ModelSpec(str(tmp_path / "damaged.gguf")), "gguf") is None
    assert outline_of(ModelSpec(str(tmp_path / "absent.gguf")), "gguf") is None
    copy = tmp_path / "copy"
    shutil.copytree(tiny("hf").path, copy)
    (copy / "config.json").write_text("[]")
    assert outline_of(ModelSpec(str(copy)), "hf") is None


_SCRIPT = """
import json
from pytest_llmbench.models.resolve import outline_of, resolve
from pytest_llmbench.models.spec import ModelSpec

spec = ModelSpec("org/tiny", "f16")
told = [outline_of(spec, "gguf"), outline_of(spec, "hf")]
resolve(spec, "gguf", quiet=True)
told += [outline_of(spec, "gguf"), outline_of(spec, "hf")]
print(json.dumps([one and one.context for one in told]))
"""


def test_of_a_hubs_model_only_what_is_in_the_cache_is_known(hub: Hub, tiny: Tiny, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    hub.repositories["org/tiny"] = {"tiny-f16.gguf": tiny("gguf", "f16").path}
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf")}
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT], env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [None, None, 8192, None]
    assert hub.downloads == ["tiny-f16.gguf"]
