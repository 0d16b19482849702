"""What do all tests of this repository need?"""

from __future__ import annotations

pytest_plugins = ["pytester"]
