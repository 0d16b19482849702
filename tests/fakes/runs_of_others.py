"""Which files of runs and of models do other programs write?"""

from __future__ import annotations

BASELINE = """\
model: "qwen3_4b"
backend: "hf"
warmup: 2
repeats: 5
cases:
  - prompt: "Who are you?"
    new_tokens: 32
"""
MODELS = """\
models:
  qwen3_4b:
    hf_id: "Qwen/Qwen3-4B"
    local_files_only: true
    dtype_default: "fp16"
"""
