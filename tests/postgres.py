"""How does a test get a real PostgreSQL: its own, on a socket in a folder that is gone afterwards?"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


def _program(name: str) -> str:
    places = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr/pgsql").glob("*/bin")]
    newest = sorted(places, key=lambda path: int(path.parent.name.partition(".")[0]), reverse=True)
    found = shutil.which(name) or next((str(p / name) for p in newest if (p / name).is_file()), None)
    if found is None:
        pytest.skip(f"PostgreSQL's {name} is not installed")
    return found


def _another_user() -> dict[str, int]:
    """PostgreSQL does not run as root: who is it then?"""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid}
    pytest.skip("there is no user that PostgreSQL could run as")


@contextlib.contextmanager
def server() -> Iterator[str]:
    """A server with an empty database; its URL."""
    initdb, postgres = _program("initdb"), _program("postgres")
    pytest.importorskip("psycopg")
    who = _another_user()
    # A socket's path may have a hundred characters.
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    try:
        if who:
            os.chown(folder, who["user"], who["group"])
        data = folder / "data"
        made = [
            initdb,
            "--no-sync",
            "-A",
            "trust",
            "-U",
            "llmbench",
            "-E",
            "UTF8",
            "--locale=C",
            "-D",
            str(data),
        ]
        subprocess.run(made, check=True, capture_output=True, cwd=folder, **who)
        options = [
            f"unix_socket_directories={folder}",
            "listen_addresses=",
            "fsync=off",
            "max_connections=50",
        ]
        command = [postgres, "-D", str(data), *(word for one in options for word in ("-c", one))]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, **who)
        try:
            url = f"postgresql://llmbench@/postgres?host={folder}"
            _wait(url, process, folder)
            yield url
        finally:
            # It does not wait for whoever is still connected.
            process.send_signal(signal.SIGINT)
            process.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(url: str, process: subprocess.Popen[bytes], folder: Path) -> None:
    import psycopg

    from tests.waiting import until

    def answers() -> bool:
        if process.poll() is not None:
            pytest.fail((folder / "log").read_text())
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(url).close()
            return True
        return False

    until(answers)


def empty_database(url: str, name: str) -> str:
    """The URL of a new database *name* on the server of *url*."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return url.replace("/postgres?", f"/{name}?")
