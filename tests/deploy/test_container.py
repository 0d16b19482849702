"""Are the container's files what their tools take?"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parents[2] / "deploy"


def test_the_dockerfile_has_no_complaint_of_hadolint() -> None:
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if hadolint is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([hadolint, DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_runs_as_a_user_without_rights_and_its_last_stage_has_no_compiler() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    assert len(re.findall(r"^FROM ", text, re.MULTILINE)) == 2
    last = text.rpartition("\nFROM ")[2]
    assert "\nUSER 1000\n" in last
    assert "build-essential" not in last
    assert "HEALTHCHECK" in last


@pytest.fixture
def compose() -> str:
    """docker-compose, which needs no engine to check a file."""
    found = shutil.which("docker-compose")
    if found is None:
        pytest.skip("docker-compose is not installed")
    return found


def _checked(compose: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [compose, "-f", str(DEPLOY / "compose.yaml"), *arguments]
    environment = {"PATH": os.environ["PATH"], **variables}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_compose_takes_the_file(compose: str) -> None:
    assert _checked(compose, "config", "-q", LLMBENCH_TOKEN="x").returncode == 0


def test_compose_says_that_a_token_is_needed(compose: str) -> None:
    done = _checked(compose, "config", "-q")
    assert done.returncode != 0
    assert "set LLMBENCH_TOKEN in .env" in done.stderr


def test_the_service_alone_needs_nothing_else(compose: str) -> None:
    alone = _checked(compose, "config", "--services", LLMBENCH_TOKEN="x").stdout.split()
    full = _checked(compose, "--profile", "full", "config", "--services", LLMBENCH_TOKEN="x").stdout.split()
    assert "llmbench" in alone
    assert set(full) == {"llmbench", "postgres", "prometheus", "grafana"}


def test_every_port_is_open_on_this_machine_alone() -> None:
    import yaml

    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    ports = [port for one in services.values() for port in one.get("ports", ())]
    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:") for port in ports)
