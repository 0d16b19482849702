"""How is a pytest session run as a user would run it, on a file that was made for it?"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from pairs import NotMeasuredError

_TAIL = 1000


FILE = "test_generated.py"


def make_folder(parent: str, name: str, test: str, file: str = FILE) -> Path:
    """A folder with that one test file, or suite."""
    folder = Path(parent, name)
    folder.mkdir()
    # The file keeps pytest from looking for a configuration further up.
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / file).write_text(test)
    return folder


def run_pytest(
    folder: Path,
    *options: str,
    statuses: tuple[int, ...] = (0,),
    expect: str = "",
    environment: Mapping[str, str] | None = None,
) -> int:
    """Run it in *folder*. Returns its exit status.

    :param environment: variables beside those of this process.
    :raises NotMeasuredError: for a status that is not among *statuses*, or an output without *expect*.
    """
    variables = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")} | dict(environment or {})
    # Compiled modules are kept, as they are for a user, but not in the source tree.
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    variables["PYTHONPYCACHEPREFIX"] = str(folder.parent / "compiled")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    if done.returncode not in statuses or expect not in done.stdout:
        tail = (done.stdout + done.stderr)[-_TAIL:]
        wanted = f", and {expect!r} was expected" if expect else ""
        msg = f"pytest ended with status {done.returncode}{wanted}:\n{tail}"
        raise NotMeasuredError(msg)
    return done.returncode
