"""Which environment variables does a document keep, that people share?"""

from __future__ import annotations

from collections.abc import Mapping

from pytest_llmbench.secrets import is_secret_name, mask

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
        name: mask(value)
        for name, value in sorted(environ.items())
        if (name in _KEPT_NAMES or name.startswith(_KEPT_PREFIXES)) and not is_secret_name(name)
    }
