"""Which files does a page need beside its HTML?

The reports hold them, the service serves them; recipe and versions of the charts' library are in
``tools/echarts``.
"""

from __future__ import annotations

import base64
import gzip
from pathlib import Path

STATIC = Path(__file__).parent / "static"
"""The folder of ``page.css``, ``charts.js``, ``table.js`` and ``echarts.min.js`` with its licenses."""
LIBRARY = "echarts.min.js"


def text(name: str) -> str:
    """A file of :data:`STATIC`."""
    return (STATIC / name).read_text(encoding="utf-8")


def packed_library() -> str:
    """The charts' library with its licenses as gzip in base64, always the same: less than half as long."""
    licenses = text("echarts.LICENSE.txt").replace("*/", "* /")
    code = f"/*\n{licenses}*/\n{text(LIBRARY)}"
    return base64.b64encode(gzip.compress(code.encode(), mtime=0)).decode("ascii")
