"""Is a real NVIDIA GPU used, watched and shared as the documents say? Skipped where there is none."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pytest_llmbench.hardware.gpus import free_memory, list_gpus, why_no_gpus
from pytest_llmbench.hardware.monitor import HardwareMonitor
from tests.waiting import until

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(
    why_no_gpus() is not None or not torch.cuda.is_available(), reason="needs an NVIDIA GPU"
)

MIB = 2**20
BENCH = """
import pytest

@pytest.mark.llm(models=["tiny"], max_new_tokens=16, processes=2, rounds=3)
def test_answer(llm_model, hw_monitor):
    run = llm_model.measure("What is a benchmark?")
    assert run.ttft.n > 0
    assert hw_monitor.peak_vram > 2**20
"""
HOG = """
import sys, torch
free, _ = torch.cuda.mem_get_info()
size = free - int(sys.argv[2]) if sys.argv[1] == "memory" else 2**24
held = torch.empty(size, dtype=torch.uint8, device="cuda")
print(flush=True)
while sys.argv[1] == "compute":
    held.add_(1)
sys.stdin.read()
"""

Session = Callable[..., tuple[pytest.RunResult, dict[str, Any]]]


@contextmanager
def another_program(*what: str) -> Iterator[None]:
    """One that computes on the GPU, or holds all but so many bytes of its memory."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOG, *what], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "\n"
        yield
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def session(pytester: pytest.Pytester) -> Session:
    """Run the benchmark, and read what it kept."""

    def run(*args: str, bench: str = BENCH) -> tuple[pytest.RunResult, dict[str, Any]]:
        pytester.makepyfile(bench)
        result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--llm-json=out.json", *args)
        return result, json.loads((pytester.path / "out.json").read_text())

    return run


def on_gpu(*more: str) -> list[str]:
    return ["--llm-backend=transformers", "--llm-option=transformers.device=cuda", *more]


def test_a_gpu_says_what_it_is() -> None:
    for gpu in list_gpus():
        assert gpu["name"]
        assert gpu["uuid"].startswith("GPU-")
        assert gpu["memory"] > 0
        assert gpu["driver"]
        assert gpu["compute_capability"]


def test_every_field_of_a_gpu_is_read_or_has_a_reason() -> None:
    with HardwareMonitor(20.0) as monitor:
        start = monitor.edge()
        until(lambda: monitor.summary(start.time_ns, monitor.edge().time_ns)["samples"] > 20)
        summary = monitor.summary(start.time_ns, monitor.edge().time_ns)
    fields = ("utilization", "memory_used", "power", "temperature", "clock_sm", "clock_memory", "pcie_rx")
    for field in (f"gpu0_{name}" for name in fields):
        assert field in summary["values"] or field in summary["unavailable"], field
    assert summary["methods"]["gpu0_power"] in ("instant", "average")
    assert summary["energy"]["joules"] > 0 or summary["energy"]["reason"]
    json.dumps(summary)


@pytest.mark.parametrize("quantization", ["f32", "f16", "bf16"])
def test_a_model_on_the_gpu_is_measured_with_its_memory_and_energy(
    session: Session, quantization: str
) -> None:
    result, document = session(*on_gpu(f"--llm-quantization={quantization}"))
    result.assert_outcomes(passed=1)
    (case,) = document["cases"]
    assert document["machine"]["gpus"]
    rounds = [r for process in case["processes"] for r in process["rounds"]]
    assert len({r["output_hash"] for r in rounds}) == 1
    assert all("foreign_gpu" not in r["disturbance"] for r in rounds)
    for process in case["processes"]:
        assert process["engine"]["device"].startswith("cuda")
        assert process["engine"]["device_name"]
        assert (
            process["values"]["peak_vram"] > case["model"]["size"]
            or process["hardware"]["methods"]["peak_vram"]
        )
    assert (
        any(r["values"].get("energy") for r in rounds) or case["processes"][0]["hardware"]["energy"]["reason"]
    )


def test_a_compiled_model_runs_on_the_gpu(session: Session) -> None:
    result, _ = session(*on_gpu("--llm-option=transformers.compile=true", "--llm-processes=1"))
    result.assert_outcomes(passed=1)


def test_a_quantized_model_runs_on_the_gpu(session: Session) -> None:
    pytest.importorskip("torchao")
    result, document = session(*on_gpu("--llm-quantization=int8_torchao", "--llm-processes=1"))
    result.assert_outcomes(passed=1)
    assert document["cases"][0]["processes"][0]["engine"]["quantization"] == "int8_torchao"


def test_another_program_on_the_gpu_marks_the_rounds(session: Session) -> None:
    with another_program("compute"):
        result, document = session(*on_gpu())
    result.assert_outcomes(passed=1)
    rounds = [r for process in document["cases"][0]["processes"] for r in process["rounds"]]
    assert {code for r in rounds for code in r["disturbance"]} >= {"foreign_gpu"}


def test_a_full_gpu_fails_the_case_and_says_what_to_do(session: Session) -> None:
    with another_program("memory", str(64 * MIB)):
        result, document = session(*on_gpu())
    result.assert_outcomes(failed=1)
    assert document["cases"][0]["outcome"] == "failed"
    result.stdout.fnmatch_lines(["*the GPU's memory is full*use a smaller model*"])
    result.stdout.no_fnmatch_line("*INTERNALERROR*")


def test_the_free_memory_of_the_gpu_is_seen() -> None:
    (before, *_) = free_memory()
    with another_program("memory", str(4096 * MIB)):
        (during, *_) = free_memory()
    assert before is not None
    assert during is not None
    assert during < before / 2


def test_two_sides_are_measured_in_pairs_on_the_gpu(session: Session) -> None:
    base = "transformers.attn_implementation=eager"
    result, document = session(*on_gpu(f"--llm-ab={base}", "--llm-budget=2", "--llm-inconclusive=pass"))
    result.assert_outcomes(**{document["cases"][0]["outcome"]: 1})
    assert len(document["cases"]) == 2
    assert {p["engine"]["attn_implementation"] for p in document["cases"][1]["processes"]} == {"eager"}


def test_llamacpp_takes_its_layers_to_the_gpu(session: Session) -> None:
    llama_cpp = pytest.importorskip("llama_cpp")
    if not llama_cpp.llama_supports_gpu_offload():
        pytest.skip("this llama-cpp-python is built for CPUs only")
    result, document = session("--llm-backend=llamacpp", "--llm-option=llamacpp.n_gpu_layers=99")
    result.assert_outcomes(passed=1)
    for process in document["cases"][0]["processes"]:
        assert process["values"]["peak_vram"] > 0
