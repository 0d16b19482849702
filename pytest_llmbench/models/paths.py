"""From where is a relative path meant?

What was typed, from where it was typed; what an ini file says, from that file's folder; and what a test's
marker or call says, from the folder of the test's file. A ``~`` is the user's home everywhere.
"""

from __future__ import annotations

from pathlib import Path


def from_folder(path: str | Path, folder: Path | None) -> Path:
    """The absolute path of what *folder* has at *path*."""
    try:
        path = Path(path).expanduser()
    except RuntimeError:  # no user of that name has a home here
        path = Path(path)
    # Links stay as they are: the interpreter of a virtual environment is one.
    return (folder or Path()).absolute() / path


def there_is(path: Path) -> bool:
    """Whether there is such a file or folder; what is too long for a name of one is not there."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def is_path(text: str) -> bool:
    """True for what is written as a path: absolute, or with ``./``, ``../`` or ``~`` before it."""
    return text.startswith(("/", "./", "../", "~", ".\\", "..\\")) or Path(text).is_absolute()


def interpreter(path: str | None, folder: Path) -> str | None:
    """An interpreter's absolute path, where it is written as a path."""
    return str(from_folder(path, folder)) if path and ("/" in path or is_path(path)) else path
