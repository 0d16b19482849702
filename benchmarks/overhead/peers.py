"""What does another load generator say of the same server?"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pairs import NotMeasuredError

from pytest_llmbench.models.resolve import resolve
from pytest_llmbench.models.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class Said:
    """Its figures: seconds and tokens/s."""

    ttft: float
    tpot: float
    gap: float
    throughput: float
    cpu: float
    """Of the whole command, its start included."""


# The command "vllm" wants a distribution of that name, which builds for CPUs do not have.
_VLLM = """
import argparse
from vllm.benchmarks.serve import add_cli_args, main
parser = argparse.ArgumentParser()
add_cli_args(parser)
main(parser.parse_args())
"""


def vllm(python: str, port: int, *, streams: int, requests: int, tokens: int) -> Said:
    """``vllm bench serve`` with made prompts; some versions send a request of their own before the others.

    :raises NotMeasuredError: if it fails, or not all of its requests succeed.
    """
    model = resolve(ModelSpec("tiny"), "hf", quiet=True)
    options = {
        "--backend": "openai",
        "--base-url": f"http://127.0.0.1:{port}",
        "--model": "truth",
        "--tokenizer": str(model.path),
        "--dataset-name": "random",
        "--random-input-len": "16",
        "--random-output-len": str(tokens),
        "--num-prompts": str(requests),
        "--max-concurrency": str(streams),
        "--percentile-metrics": "ttft,tpot,itl",
        "--metric-percentiles": "50,99",
        "--result-filename": "result.json",
    }
    flags = ("--ignore-eos", "--save-result", "--disable-tqdm")
    with tempfile.TemporaryDirectory(prefix="vllm-bench-") as folder:
        log = Path(folder) / "log"
        options["--result-dir"] = folder
        words = [word for pair in options.items() for word in pair]
        with log.open("w") as output:
            process = subprocess.Popen(
                [python, "-c", _VLLM, *flags, *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "HF_HUB_OFFLINE": "1"},
            )
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said = log.read_text(errors="replace").strip().splitlines()[-3:]
            msg = f"vllm bench serve ended with exit status {process.returncode}: {' / '.join(said)}"
            raise NotMeasuredError(msg)
        result = json.loads((Path(folder) / "result.json").read_text())
    if result["completed"] != requests:
        msg = f"vllm bench serve: only {result['completed']} of {requests} requests succeeded"
        raise NotMeasuredError(msg)
    return Said(
        ttft=result["median_ttft_ms"] / 1e3,
        tpot=result["median_tpot_ms"] / 1e3,
        gap=result["p99_itl_ms"] / 1e3,
        throughput=result["output_throughput"],
        cpu=used.ru_utime + used.ru_stime,
    )


PEERS: Mapping[str, Callable[..., Said]] = {"vllm": vllm}
