"""How is the reference server built and started, and what does it say of each request?

``truth_server.c`` beside this file writes down when it handed each token to the kernel.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from os import environ
from pathlib import Path
from types import TracebackType

from pairs import NotMeasuredError

SOURCE = Path(__file__).with_name("truth_server.c")
_SECOND = 1e9
_PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Served:
    """One request as the server's log has it; times in ns of ``time.perf_counter_ns``."""

    number: int
    """In the order in which requests were read."""
    user: str | None
    """What its body called ``user``."""
    received: int
    """Its last byte was read."""
    started: int | None
    """Its schedule counts from here; None if it never got a slot."""
    tokens: int
    """That were sent."""
    events: tuple[int, ...]
    """Just before each event with tokens was handed to the kernel."""
    late: int
    """ns by which the latest event was handed over after it was due."""
    blocked: int
    """Events that the kernel did not take at once, because the client did not read."""
    complete: bool

    def tokens_of(self, per_event: int) -> list[int]:
        """How many tokens each event brought, with *per_event* in all but the last."""
        return [min(per_event, self.tokens - i * per_event) for i in range(len(self.events))]


class TruthServer:
    """The server on a free port of the loopback; a context manager.

    :param program: what :func:`build` made.
    :param arguments: options of it; see ``truth_server --help``.
    """

    def __init__(self, program: Path, *arguments: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="truth-")
        self._log = Path(self._folder.name) / "log.jsonl"
        self._process = subprocess.Popen(
            [program, "--until-eof", "--log", self._log, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        port = self._process.stdout.readline()
        if not port:
            self.close()
            msg = f"the reference server ended with exit status {self._process.wait()}"
            raise NotMeasuredError(msg)
        self.port = int(port)
        scheme = "https" if "--cert" in arguments else "http"
        self.base_url = f"{scheme}://127.0.0.1:{self.port}/v1"

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> list[Served]:
        """End it and read its log; what is unfinished is there as far as it came."""
        self._process.terminate()
        self._process.wait(_PATIENCE)
        with self._log.open(encoding="utf-8") as lines:
            return [_served(line) for line in lines]

    def close(self) -> None:
        """End it; nothing of it is left."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.terminate()
        self._process.wait(_PATIENCE)
        self._folder.cleanup()

    def __enter__(self) -> TruthServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def build(folder: Path, *, tls: bool = False) -> Path:
    """Compile the server into *folder*; the compiler is ``$CC``, or ``cc``.

    :raises NotMeasuredError: without a compiler, or without OpenSSL's headers for TLS.
    """
    compiler = shlex.split(environ.get("CC") or "cc")
    if shutil.which(compiler[0]) is None:
        msg = f"there is no C compiler ({compiler[0]})"
        raise NotMeasuredError(msg)
    program = folder / ("truth_server_tls" if tls else "truth_server")
    options = ["-std=c11", "-O2", "-Wall", "-Wextra", "-o", str(program), str(SOURCE), "-lm"]
    if tls:
        options += ["-DWITH_TLS", "-lssl", "-lcrypto"]
    done = subprocess.run([*compiler, *options], capture_output=True, text=True, check=False)
    if done.returncode:
        msg = f"the reference server cannot be compiled{' with TLS' if tls else ''}: {done.stderr.strip()}"
        raise NotMeasuredError(msg)
    if done.stderr:
        msg = f"the compiler complains about the reference server: {done.stderr.strip()}"
        raise NotMeasuredError(msg)
    return program


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for the loopback, valid for a day, and its key.

    :raises NotMeasuredError: without the ``openssl`` command.
    """
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-days", "1", "-subj", "/CN=localhost", "-keyout", str(key), "-out", str(cert)]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    if shutil.which(command[0]) is None:
        msg = "there is no openssl command that could make a certificate"
        raise NotMeasuredError(msg)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        msg = f"openssl made no certificate: {done.stderr.strip()}"
        raise NotMeasuredError(msg)
    return cert, key


def _served(line: str) -> Served:
    data = json.loads(line)
    started = data["started"]
    return Served(
        number=data["number"],
        user=data["user"],
        received=_ns(data["received"]),
        started=None if started is None else _ns(started),
        tokens=data["tokens"],
        events=tuple(_ns(time) for time in data["events"]),
        late=_ns(data["late"]),
        blocked=data["blocked"],
        complete=data["complete"],
    )


def _ns(seconds: float) -> int:
    return round(seconds * _SECOND)
