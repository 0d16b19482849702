"""How is a GGUF file quantized by llama.cpp itself?

In a process of its own, ``python -m pytest_llmbench.models.synthetic.quantize SOURCE TARGET NAME``: nothing
is loaded into the caller, and what llama.cpp prints is kept for the message of an error.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pytest_llmbench.errors import ModelError
from pytest_llmbench.hardware.cores import usable_cores
from pytest_llmbench.processes.endings import OF_MEMORY, how_it_ended, was_killed

# enum llama_ftype, in llama.h.
FILE_TYPES = {"bf16": 32, "q8_0": 7, "q6_k": 18, "q5_k_m": 17, "q4_k_m": 15, "q4_0": 2}
_LOG_TAIL = 2000


def quantize(source: Path, target: Path, quantization: str) -> None:
    """Write *source*, an f16 or f32 GGUF file, to *target* in one of :data:`FILE_TYPES`.

    :raises ModelError: with the end of llama.cpp's log, if it is not installed or fails.
    """
    command = [
        sys.executable,
        "-m",
        "pytest_llmbench.models.synthetic.quantize",
        str(source),
        str(target),
        quantization,
    ]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode == 0 and target.exists():
        return
    log = done.stdout.decode(errors="replace").strip()[-_LOG_TAIL:]
    if done.returncode == _NOT_INSTALLED:
        msg = f"making a {quantization} file needs llama.cpp: pip install 'pytest-llmbench[llamacpp]'"
        raise ModelError(msg)
    how = f"its process {how_it_ended(done.returncode)}"
    if was_killed(done.returncode):
        how += f"; {OF_MEMORY}"
    end = f"the end of its log:\n{log}" if log else "its log is empty"
    msg = f"llama.cpp could not quantize {source.name} to {quantization} ({how}); {end}"
    raise ModelError(msg)


_NOT_INSTALLED = 69


def main(arguments: list[str]) -> int:
    """Quantize in this process; returns the exit status."""
    source, target, quantization = arguments
    try:
        import llama_cpp
    except ImportError:
        return _NOT_INSTALLED
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = FILE_TYPES[quantization]
    params.nthread = usable_cores()
    return int(llama_cpp.llama_model_quantize(source.encode(), target.encode(), params))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
