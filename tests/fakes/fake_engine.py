"""A server process that does what its options say; stands for an engine in the tests of launching."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

SLEEPER = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"]
METRICS = """# TYPE fake:running gauge
fake:running{engine="0"} 2
# TYPE fake:tokens counter
fake:tokens_total{engine="0"} 40
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model")
    parser.add_argument("--name")
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--context")
    parser.add_argument("--api-key")
    parser.add_argument("--lock", default=[], nargs="*")
    parser.add_argument("--say", default="")
    parser.add_argument("--die", type=int)
    parser.add_argument("--never-mind", action="store_true")
    parser.add_argument("--never-ready", action="store_true")
    parser.add_argument("--stubborn", action="store_true")
    parser.add_argument("--family", type=Path)
    parser.add_argument("--share", type=Path)
    parser.add_argument("--port-taken", type=Path)
    parser.add_argument("--port-taken-times", type=int, default=1)
    parser.add_argument("--show-environment", type=Path)
    options = parser.parse_args()
    if options.stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if options.show_environment is not None:
        options.show_environment.write_text(json.dumps(dict(os.environ)))
    if options.say:
        print(options.say, flush=True)
    if options.port_taken is not None:
        before = options.port_taken.read_text() if options.port_taken.exists() else ""
        options.port_taken.write_text(before + f"{options.port} ")
        if len(before.split()) < options.port_taken_times:
            sys.exit("[Errno 98] Address already in use")
    if options.die is not None:
        sys.exit(options.die)
    if options.family is not None:
        # One that leaves the process group, and one whose parent ends at once.
        child = subprocess.Popen(SLEEPER, start_new_session=True)
        leave = f"from subprocess import *; print(Popen({SLEEPER!r}, stdout=-3, start_new_session=True).pid)"
        orphan = subprocess.run([sys.executable, "-c", leave], stdout=subprocess.PIPE, check=True).stdout
        options.family.write_text(f"{child.pid} {int(orphan)}")
    if options.share is not None:
        memory = SharedMemory(create=True, size=4096)
        options.share.write_text(memory.name)
        if not os.fork():
            # It holds on to what tells of the memory's last user.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(600)
    if options.never_ready:
        time.sleep(600)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if (
                self.path.startswith(tuple(options.lock))
                and self.headers["Authorization"] != f"Bearer {options.api_key}"
            ):
                self.send_response(401)
                self.end_headers()
                return
            models = {"object": "list", "data": [{"id": options.name, "owned_by": "fake"}]}
            found = {
                "/health": "",
                "/v1/models": json.dumps(models),
                "/version": json.dumps({"version": "1.2.3"}),
                "/metrics": METRICS,
            }.get(self.path)
            self.send_response(404 if found is None else 200)
            self.end_headers()
            self.wfile.write((found or "").encode())

        def log_message(self, *_: object) -> None: ...

    ThreadingHTTPServer((options.host, options.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
