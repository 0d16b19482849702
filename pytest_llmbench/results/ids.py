"""What is a session's id, and which names become files?

``YYYYMMDDTHHMMSSZ-HEX``. Ids, and names in general, also come from the content of files that anybody may have
written: what has another form never becomes a path.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable

from pytest_llmbench.errors import ResultsError, one_line
from pytest_llmbench.times import stamp

SESSION_VARIABLE = "LLMBENCH_SESSION"
"""The environment variable by which ``llmbench run`` says the id of the session that it starts."""
PATTERN = r"^\d{8}T\d{6}Z-[0-9a-f]{8}$"
"""Of an id, as a regular expression of JSON Schema has it."""
_ID = re.compile(PATTERN.strip("^$"))
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


def new_session_id(start: float) -> str:
    """The id of a session that starts at *start*, in seconds since 1970.

    Ids sort by time, and no two sessions share one.
    """
    return f"{stamp(start)}-{secrets.token_hex(4)}"


def is_session_id(text: str) -> bool:
    """Whether :func:`new_session_id` can have made *text*."""
    return _ID.fullmatch(text) is not None


def meant(text: str, ids: Iterable[str]) -> list[str]:
    """Those of *ids* that *text* means: that begin with it, or whose random digits do."""
    return [one for one in ids if text and (one.startswith(text) or one.rpartition("-")[2].startswith(text))]


def check_session_id(text: str) -> None:
    """Refuse an id that no session has, before it becomes a file's name.

    :raises ResultsError: saying what an id is.
    """
    if not is_session_id(text):
        msg = f"{one_line(text, 60)!r} is not a session's id; an id looks like 20260102T030405Z-0a1b2c3d"
        raise ResultsError(msg)


def is_file_name(text: str) -> bool:
    """Whether *text* can be a file's name in any folder, and nothing else: no path, no hidden file."""
    return _NAME.fullmatch(text) is not None
