"""Does a service that is started as users start it measure what a script asks for?"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("llama_cpp")
pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from pytest_llmbench.results.document import read_document
from tests.waiting import until

ASKED = {
    "model_id": "tiny",
    "task": "text-generation",
    "config": {"prompt": "hello", "max_new_tokens": 4, "rounds": 2, "backends": "llamacpp"},
    "hardware_options": {"use_gpu": False},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("service") / "store"


@pytest.fixture(scope="module")
def address(store: Path) -> Iterator[str]:
    """Where a service of its own answers."""
    command = [sys.executable, "-m", "pytest_llmbench", "serve", "--port=0", f"--store={store}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LLMBENCH_TOKEN")}
    with subprocess.Popen(
        command,
        cwd=store.parent,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=(store.parent / "log").open("wb"),
        text=True,
    ) as process:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found is not None, (store.parent / "log").read_text()
        yield found[0]
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def asked(address: str, method: str = "GET", body: object = None) -> Any:
    request = urllib.request.Request(address, method=method)
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def test_a_benchmark_is_measured_and_its_result_is_what_its_document_has(address: str, store: Path) -> None:
    job = asked(f"{address}/benchmarks/", "POST", ASKED)
    place = f"{address}{job['links']['self']}"
    # The index has it when the worker is idle again.
    until(lambda: asked(place)["result"] or asked(place)["state"] == "failed")
    told = asked(place)
    assert told["state"] == "done", told
    assert told["progress"] == {"done": 1, "total": 1}
    assert [event["state"] for event in told["events"]] == ["queued", "running", "done"]
    (case,) = told["result"]
    document = read_document(store / "results" / f"{told['session_id']}.json")
    assert case["metrics"]["ttft"]["median"] == document.cases[0].metrics["ttft"].median
    assert asked(f"{address}/results")["items"][0]["id"] == document.session.id
    with urllib.request.urlopen(f"{address}/metrics", timeout=60) as answer:
        assert b'llmbench_ttft_seconds_count{backend="llamacpp",model="tiny"' in answer.read()


def test_another_service_cannot_have_its_port(address: str, tmp_path: Path) -> None:
    port = address.rpartition(":")[2]
    command = [sys.executable, "-m", "pytest_llmbench", "serve", f"--port={port}", f"--store={tmp_path}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("choose another with --port")


def test_it_does_not_serve_others_without_a_token(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest_llmbench", "serve", "--host=0.0.0.0", f"--store={tmp_path}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LLMBENCH_TOKEN")}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "LLMBENCH_TOKEN" in done.stderr
    assert len(done.stderr.splitlines()) == 1
