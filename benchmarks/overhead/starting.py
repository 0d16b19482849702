"""What does the plugin cost a pytest session that measures nothing?"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from child_pytest import make_folder, run_pytest
from pairs import Bound, Measured, Row, alternate, differences, ratios

from pytest_llmbench.backends.registry import Registry
from pytest_llmbench.errors import BackendUnavailableError

CASES = 9000
_FUNCTIONS = 100
_PROMPTS = ("short", "long", "code")
_MODELS = (
    "tiny",
    "synthetic/llama-82m",
    "synthetic/smollm2-135m",
    "synthetic/llama-3.2-1b",
    "synthetic/llama-3.1-8b",
)
_QUANTIZATIONS = ("f16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_0")


def _session(folder: Path, *options: str, expect: str) -> float:
    """Seconds of one pytest in *folder*, its start included; its output must have *expect*."""
    started = perf_counter()
    run_pytest(folder, *options, expect=expect)
    return perf_counter() - started


def _empty(pairs: int) -> Measured:
    with TemporaryDirectory() as parent:
        folder = make_folder(parent, "empty", "def test_empty():\n    pass\n")

        def milliseconds(*options: str) -> float:
            return 1000 * _session(folder, *options, expect="1 passed")

        taken = alternate(pairs, milliseconds, lambda: milliseconds("-p", "no:llmbench"))
        return differences(taken, "ms")


def _collect(pairs: int) -> Measured:
    backend = Registry().get("llamacpp")
    if not (availability := backend.availability()).available:
        raise BackendUnavailableError(availability.reason)
    with TemporaryDirectory() as parent:
        ours = make_folder(parent, "ours", _our_file())
        plain = make_folder(parent, "plain", _plain_file())
        collect, expect = ("--collect-only", "-q"), f"{CASES} tests collected"
        taken = alternate(
            pairs,
            lambda: _session(ours, *collect, "--llm-backend=llamacpp", expect=expect),
            lambda: _session(plain, *collect, "-p", "no:llmbench", expect=expect),
        )
        return ratios(taken, "s")


def _our_file() -> str:
    mark = f"@pytest.mark.llm(models={list(_MODELS)!r}, quantizations={list(_QUANTIZATIONS)!r})"
    return "import pytest\n" + _functions(mark)


def _plain_file() -> str:
    """The same cases under the same names."""
    ids = [f"llamacpp-{model}-{quantization}" for model in _MODELS for quantization in _QUANTIZATIONS]
    head = "import pytest\n\n@pytest.fixture\ndef llm_model(request):\n    return request.param\n"
    return head + _functions(f'@pytest.mark.parametrize("llm_model", {ids!r}, indirect=True)')


def _functions(mark: str) -> str:
    assert len(_MODELS) * len(_QUANTIZATIONS) * len(_PROMPTS) * _FUNCTIONS == CASES
    return "".join(
        f'\n{mark}\n@pytest.mark.parametrize("prompt", {_PROMPTS!r})\n'
        f"def test_{number:03}(llm_model, prompt):\n    pass\n"
        for number in range(_FUNCTIONS)
    )


ROWS = (
    Row(
        "startup",
        "`pytest` on one empty test with the plugin installed, minus `-p no:llmbench`",
        Bound(at_most=30.0),
        20,
        _empty,
        "ms",
    ),
    Row(
        "collect",
        f"collecting {CASES:,} cases / the same parametrization in plain pytest",
        Bound(at_most=1.5),
        5,
        _collect,
    ),
)
