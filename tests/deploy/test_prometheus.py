"""Does a real Prometheus take the rules, and answer what the dashboard asks of it?"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy")

from pytest_llmbench.matrix.summary import write_plan
from pytest_llmbench.results.document import read_document
from pytest_llmbench.results.index.build import Index
from pytest_llmbench.results.store import Store
from pytest_llmbench.service.matrices import Matrices
from pytest_llmbench.service.metrics import CONTENT_TYPE, Scrapes
from tests.unit.matrix.plans import a_cell, a_plan
from tests.waiting import until

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCUMENTS = ROOT / "tests" / "unit" / "results" / "documents"


def _program(name: str) -> str:
    folder = os.environ.get("LLMBENCH_TEST_PROMETHEUS", "")
    found = shutil.which(name, path=f"{folder}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def _promtool(*arguments: str) -> str:
    done = subprocess.run(
        [_program("promtool"), *arguments],
        cwd=DEPLOY / "prometheus",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rules_are_taken() -> None:
    assert "SUCCESS" in _promtool("check", "rules", "rules.yml")


def test_the_configuration_is_taken_but_for_the_token_that_the_container_writes(tmp_path: Path) -> None:
    text = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
    (tmp_path / "token").write_text("x")
    shutil.copy(DEPLOY / "prometheus" / "rules.yml", tmp_path)
    (tmp_path / "prometheus.yml").write_text(text.replace("/tmp/token", str(tmp_path / "token")))
    assert "SUCCESS" in _promtool("check", "config", str(tmp_path / "prometheus.yml"))


def test_alerts_come_when_they_should_and_only_then() -> None:
    assert "SUCCESS" in _promtool("test", "rules", "rules.test.yml")


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prometheus that has scraped the metrics of a store."""
    prometheus = _program("prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    store = Store(folder / "store")
    for path in sorted(DOCUMENTS.rglob("*.json")):
        document = read_document(path)
        for case in document.cases:
            case.verdict = "fail"
        store.write(document)
    write_plan(store, a_plan(a_cell("short"), a_cell("long")))
    index = Index.open(store)
    index.update()
    scrapes, matrices = Scrapes(), Matrices(store)

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = scrapes.answer(index.database, matrices)
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server, socket.socket() as free:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        shutil.copy(DEPLOY / "prometheus" / "rules.yml", folder)
        (folder / "prometheus.yml").write_text(
            "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
            "rule_files: [rules.yml]\n"
            "scrape_configs:\n  - job_name: llmbench\n    static_configs:\n"
            f"      - targets: ['127.0.0.1:{server.server_port}']\n"
        )
        command = [prometheus, "--config.file=prometheus.yml", "--storage.tsdb.path=data"]
        process = subprocess.Popen(
            [*command, f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"], cwd=folder
        )
        try:
            address = f"http://127.0.0.1:{port}"
            # A rate takes two scrapes.
            until(lambda: _value(address, "count_over_time(llmbench_build_info[1m])") >= 3)
            yield address
        finally:
            process.terminate()
            process.wait(30)
            server.shutdown()
    index.close()


def _asked(address: str, expression: str) -> list[Any]:
    query = urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(f"{address}/api/v1/query?{query}", timeout=30) as answer:
        told = json.load(answer)
    assert told["status"] == "success", told
    found: list[Any] = told["data"]["result"]
    return found


def _value(address: str, expression: str) -> float:
    try:
        found = _asked(address, expression)
    except OSError:
        return 0.0
    return float(found[0]["value"][1]) if found else 0.0


def test_every_expression_of_the_dashboard_has_an_answer(scraped: str) -> None:
    board = json.loads((DEPLOY / "grafana" / "dashboards" / "llmbench.json").read_text())
    asked = [one["expr"] for panel in board["panels"] for one in panel.get("targets", ())]
    assert len(asked) > 8
    for expression in asked:
        filled = re.sub(r"\$(model|backend|quantization)", ".*", expression)
        assert _asked(scraped, filled.replace("$__rate_interval", "10s")), expression


def test_every_name_in_rules_and_dashboard_is_one_that_the_service_tells(scraped: str) -> None:
    with urllib.request.urlopen(f"{scraped}/api/v1/label/__name__/values", timeout=30) as answer:
        there = set(json.load(answer)["data"])
    files = (DEPLOY / "prometheus" / "rules.yml", DEPLOY / "grafana" / "dashboards" / "llmbench.json")
    named = {name for path in files for name in re.findall(r"\bllmbench_[a-z_]+", path.read_text())}
    assert len(named) >= 8
    assert named <= there


def test_a_regression_is_an_alert(scraped: str) -> None:
    until(lambda: _asked(scraped, 'ALERTS{alertname="LLMBenchRegression", alertstate="firing"}'))
