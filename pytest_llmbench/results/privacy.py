"""What must not get into a document that people share?"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

MASK = "***"

_SECRET = "KEY|SECRET|PASSW|PASSPHRASE|CREDENTIAL|COOKIE|AUTH|BEARER|PRIVATE|SIGNATURE"
_SECRET_VARIABLE = re.compile(f"TOKEN(?!IZERS_)|{_SECRET}", re.IGNORECASE)
# On a command line "tokens" are a model's.
_SECRET_OPTION = re.compile(rf"(?=[\w.-]+$).*(TOKEN(?!S|IZER)|{_SECRET})", re.IGNORECASE)
# Where a name tells nothing: how the usual services write their keys, and a password within a URL.
_SECRET_VALUE = re.compile(
    r"\b(?:hf|sk|gsk|pk|ghp|gho|ghs|github_pat|glpat|nvapi|xox[abp])[_-][A-Za-z0-9_-]{12,}"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_.-]+|\bAKIA[A-Z0-9]{12,}"
)
# Of --llm-ab: what an engine's variables hold is nobody's business. A value may be quoted as in a shell.
_SET_VARIABLE = re.compile(r"""(?<![\w.])(env\.\w+=)(?:"[^"]*"|'[^']*'|[^\s"'])+""")
_URL_USER = re.compile(r"(?<=://)[^/@\s]+(?=@)")

_KEPT_PREFIXES = (
    "OMP_", "KMP_", "GOMP_", "MKL_", "OPENBLAS_", "BLIS_", "VECLIB_", "NUMEXPR_",
    "CUDA_", "CUBLAS_", "CUDNN_", "NCCL_", "NVIDIA_", "HIP_", "HSA_", "ROCR_", "ROCM_", "ZE_", "SYCL_",
    "GGML_", "LLAMA_", "PYTORCH_", "TORCH_", "TORCHINDUCTOR_", "TRITON_", "ATEN_", "DNNL_", "ONEDNN_",
    "VLLM_", "TOKENIZERS_", "SAFETENSORS_", "BITSANDBYTES_", "ACCELERATE_", "TRANSFORMERS_", "LLMBENCH_",
    "HF_HUB_", "HF_DATASETS_", "MALLOC_",
)  # fmt: skip
_KEPT_NAMES = frozenset(
    {
        "HF_HOME", "HF_ENDPOINT", "CI", "GITHUB_ACTIONS", "LD_PRELOAD", "PYTHONMALLOC", "PYTHON_GIL",
        "PYTHONHASHSEED", "PYTHONOPTIMIZE", "SLURM_CPUS_PER_TASK",
    }
)  # fmt: skip


def environment_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that steer an engine or its libraries, by name; none that may hold a secret."""
    return {
        name: mask_value(value)
        for name, value in sorted(environ.items())
        if (name in _KEPT_NAMES or name.startswith(_KEPT_PREFIXES)) and not _SECRET_VARIABLE.search(name)
    }


def mask_value(text: str) -> str:
    """*text* with user and password of URLs and keys of well-known form masked."""
    return _SECRET_VALUE.sub(MASK, _URL_USER.sub(MASK, text))


def mask_command(arguments: Sequence[str]) -> list[str]:
    """A command line with the values masked of options whose names say that they are secret, and of
    the variables that ``--llm-ab`` sets."""
    masked: list[str] = []
    hide = False
    for argument in arguments:
        name, equals, value = argument.rpartition("=")
        if hide and not argument.startswith("-"):
            masked.append(MASK)
            hide = False
            continue
        hide = False
        if (set_variables := _SET_VARIABLE.sub(rf"\1{MASK}", argument)) != argument:
            masked.append(mask_value(set_variables))
            continue
        if equals and value and _SECRET_OPTION.match(name):
            masked.append(f"{name}={MASK}")
            continue
        masked.append(mask_value(argument))
        hide = not equals and argument.startswith("--") and bool(_SECRET_OPTION.match(argument))
    return masked
