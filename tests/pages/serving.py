"""A service in a process of its own: the application and its workers, as one command starts them."""

from __future__ import annotations

import os
import subprocess
import sys

from pytest_llmbench.service.app import create_app
from pytest_llmbench.service.configuration import read_configuration
from pytest_llmbench.service.server import address_of, bind, run
from pytest_llmbench.service.state import Service
from pytest_llmbench.service.worker import PARENT

if __name__ == "__main__":
    configuration = read_configuration(os.environ)
    bound = bind("127.0.0.1", 0)
    environment = {**os.environ, PARENT: str(os.getpid())}
    workers = subprocess.Popen([sys.executable, "-m", "pytest_llmbench.service.worker"], env=environment)
    try:
        run(create_app(Service(configuration)), bound, lambda: print(address_of(bound), flush=True))
    finally:
        workers.terminate()
        workers.wait()
