"""Does one line tell which backends and which machine?"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.backends.base import Availability, Backend, Engine, OptionSpec
from pytest_llmbench.backends.threads import default_threads
from pytest_llmbench.models.spec import Form, ResolvedModel
from pytest_llmbench.report.header import MachineSummary, header_line

MACHINE = MachineSummary(cpu="Some CPU", cores=2, memory=24 * 2**30, gpus=())


@dataclass
class _Described:
    """A backend that is only described."""

    name: str
    installed: Mapping[str, str] = field(default_factory=dict)
    reason: str | None = None
    extra: str = ""
    form: Form = "hf"
    quantizations: tuple[str, ...] = ()
    options: tuple[OptionSpec, ...] = ()
    modules: tuple[str, ...] = ()

    def availability(self) -> Availability:
        return Availability(bool(self.installed) and self.reason is None, self.reason)

    def versions(self) -> Mapping[str, str]:
        return self.installed

    def load(self, model: ResolvedModel, options: Mapping[str, Any]) -> Engine:
        raise AssertionError


def test_the_description_in_these_tests_is_a_backend() -> None:
    assert isinstance(_Described("x"), Backend)


def test_a_backend_shows_the_version_of_its_engine() -> None:
    backends = [
        _Described("llamacpp", {"llama-cpp-python": "0.3.36"}),
        _Described("transformers", {"transformers": "5.23.0", "torch": "2.13.0"}),
    ]
    assert header_line(backends, MACHINE) == (
        "llmbench: llamacpp 0.3.36, transformers 5.23.0 | 2 cores (Some CPU), 24 GiB, no NVIDIA GPU"
    )


def test_a_backend_shows_how_many_threads_it_will_have() -> None:
    threads = (OptionSpec("n_threads", int, None, "threads"),)
    backends = [
        _Described("a", {"a": "1"}, options=threads),
        _Described("b", {"b": "2"}, options=threads),
        _Described("c", {"c": "3"}),
    ]
    line = header_line(backends, MACHINE, {"a": {"n_threads": "1"}, "b": {"n_threads": 3}})
    assert line.startswith("llmbench: a 1 (1 thread), b 2 (3 threads), c 3 | ")
    assert f"a 1 ({default_threads()} thread" in header_line(backends, MACHINE)


def test_to_be_judged_by_cpu_time_a_backend_has_one_thread_unless_its_option_says_otherwise() -> None:
    threads = (OptionSpec("n_threads", int, None, "threads"),)
    backends = [
        _Described("a", {"a": "1"}, options=threads),
        _Described("b", {"b": "2"}, options=threads),
        _Described("c", {"c": "3"}),
    ]
    line = header_line(backends, MACHINE, {"b": {"n_threads": 3}}, one_thread=True)
    assert line.startswith("llmbench: a 1 (1 thread, to be judged by CPU time), b 2 (3 threads), c 3 | ")


def test_a_missing_backend_shows_the_extra_that_installs_it() -> None:
    line = header_line([_Described("vllm", reason="not installed", extra="vllm")], MACHINE)
    assert line.startswith("llmbench: no backend | ")
    assert line.endswith(" | missing: vllm (pip install 'pytest-llmbench[vllm]')")


def test_an_installed_backend_that_does_not_work_shows_why() -> None:
    line = header_line([_Described("x", {"x": "1"}, reason="needs a GPU", extra="x")], MACHINE)
    assert line.endswith(" | missing: x (needs a GPU)")


def test_the_line_is_one_line() -> None:
    assert "\n" not in header_line([_Described("x", {"x": "1"})])


@pytest.mark.parametrize(
    ("machine", "text"),
    [
        (MachineSummary(cores=1, memory=2**30, gpus=("NVIDIA H200",)), "1 core, 1 GiB, NVIDIA H200"),
        (MachineSummary(cores=8, gpus=("A", "A", "B")), "8 cores, 2 x A, B"),
        (MachineSummary(), ""),
    ],
)
def test_what_is_not_known_of_the_machine_is_left_out(machine: MachineSummary, text: str) -> None:
    assert str(machine) == text


def test_cpu_and_gpus_are_read_from_the_kernels_files(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(
        "processor\t: 0\nmodel name\t: Intel(R) Xeon(R) CPU E5-2690 v4 @ 2.60GHz\nmodel name\t: other\n"
    )
    card = tmp_path / "proc/driver/nvidia/gpus/0000:01:00.0"
    card.mkdir(parents=True)
    (card / "information").write_text("Model: \t\t NVIDIA H200\nIRQ: 16\n")
    machine = MachineSummary.here(tmp_path)
    assert machine.cpu == "Intel Xeon E5-2690 v4"
    assert machine.gpus == ("NVIDIA H200",)


def test_a_machine_without_these_files_has_unknown_gpus(tmp_path: Path) -> None:
    assert MachineSummary.here(tmp_path).gpus is None


def test_the_header_imports_no_engine() -> None:
    code = (
        "import sys; from pytest_llmbench.report.header import header_line; header_line([]); "
        "heavy = {'torch', 'llama_cpp', 'transformers', 'pandas', 'pynvml', 'rich'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_what_a_container_allows_is_shown_beside_what_the_machine_has() -> None:
    bounded = MachineSummary(
        cpu="Some CPU", cores=16, memory=24 * 2**30, quota=1.5, memory_limit=3 * 2**29, gpus=()
    )
    assert str(bounded) == "1.5 of 16 cores (Some CPU), 1.5 of 24 GiB, no NVIDIA GPU"


def test_a_limit_above_what_there_is_is_not_shown() -> None:
    wide = MachineSummary(cores=2, memory=24 * 2**30, quota=4.0, memory_limit=32 * 2**30)
    assert str(wide) == "2 cores, 24 GiB"
