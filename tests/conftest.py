"""What do the tests share? The models: built once on a machine, not once a test."""

from __future__ import annotations

import os

from pytest_llmbench.models.cache import cache_folder

# pytester gives each test a home of its own, and with it an empty cache folder.
os.environ["LLMBENCH_CACHE"] = str(cache_folder())
