"""What does ``python -m pytest_llmbench`` do? The same as ``llmbench``."""

from __future__ import annotations

from pytest_llmbench.cli.app import app

if __name__ == "__main__":
    app()
