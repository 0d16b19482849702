"""What does the plugin cost a pytest session that measures nothing?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from child_pytest import FILE, make_folder, run_pytest
from pairs import Bound, Measured, Row, alternate, differences, ratios

from pytest_llmbench.backends.registry import Registry
from pytest_llmbench.errors import BackendUnavailableError

CASES = 9000
OF_A_SUITE = 10_000
"""Cases."""
_FUNCTIONS = 100
_PROMPTS = ("short", "long", "code")
_MODELS = (
    "tiny",
    "synthetic/llama-82m",
    "synthetic/smollm2-135m",
    "synthetic/llama-3.2-1b",
    "synthetic/llama-3.1-8b",
)
_HUNDRED = range(1, 101)
_FIXTURE = "import pytest\n\n@pytest.fixture\ndef llm_model(request):\n    return request.param\n"
_TEST = "def test_case(llm_model):\n    pass\n"
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
    return _collected(pairs, CASES, _our_file(), _plain_file())


def _sweep(pairs: int) -> Measured:
    cases = "  - name: case\n    sweep: {parameters: {prompt_tokens: 1-100, max_new_tokens: 1-100}}\n"
    ids = [f"prompt_tokens:{tokens}-max_new_tokens:{new}" for tokens in _HUNDRED for new in _HUNDRED]
    return _collected(pairs, OF_A_SUITE, _suite(cases), _one_function(ids), "suite.llm.yaml")


def _written(pairs: int) -> Measured:
    cases = "".join(
        f"  - {{name: case-{number:05}, prompt: Tell me of {number}, max_new_tokens: {number % 100 + 1}}}\n"
        for number in range(OF_A_SUITE)
    )
    ids = [f"{number:05}" for number in range(OF_A_SUITE)]
    return _collected(pairs, OF_A_SUITE, _suite(cases), _one_function(ids), "suite.llm.yaml")


def _collected(pairs: int, count: int, ours: str, plain: str, name: str = FILE) -> Measured:
    """How long *count* cases take to collect that a file called *name* has: *ours*, against *plain*."""
    backend = Registry().get("llamacpp")
    if not (availability := backend.availability()).available:
        raise BackendUnavailableError(availability.reason)
    with TemporaryDirectory() as parent:
        folder, other = make_folder(parent, "ours", ours, name), make_folder(parent, "plain", plain)
        collect, expect = ("--collect-only", "-q"), f"{count} tests collected"
        taken = alternate(
            pairs,
            lambda: _session(folder, *collect, "--llm-backend=llamacpp", expect=expect),
            lambda: _session(other, *collect, "-p", "no:llmbench", expect=expect),
        )
        return ratios(taken, "s")


def _suite(cases: str) -> str:
    return f"version: 1\ndefaults: {{models: [tiny]}}\ncases:\n{cases}"


def _one_function(ids: Sequence[str]) -> str:
    """A function of plain pytest with so many parameters."""
    values = [f"llamacpp-tiny-{one}" for one in ids]
    return f'{_FIXTURE}\n@pytest.mark.parametrize("llm_model", {values!r}, indirect=True)\n{_TEST}'


def _our_file() -> str:
    mark = f"@pytest.mark.llm(models={list(_MODELS)!r}, quantizations={list(_QUANTIZATIONS)!r})"
    return "import pytest\n" + _functions(mark)


def _plain_file() -> str:
    """The same cases under the same names."""
    ids = [f"llamacpp-{model}-{quantization}" for model in _MODELS for quantization in _QUANTIZATIONS]
    return _FIXTURE + _functions(f'@pytest.mark.parametrize("llm_model", {ids!r}, indirect=True)')


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
    Row(
        "collect-sweep",
        f"collecting a suite of {OF_A_SUITE:,} points of a sweep / as many parameters in plain pytest",
        Bound(at_most=1.5),
        5,
        _sweep,
    ),
    Row(
        "collect-written",
        f"collecting a suite of {OF_A_SUITE:,} written cases / as many parameters in plain pytest",
        Bound(at_most=1.5),
        5,
        _written,
    ),
)
