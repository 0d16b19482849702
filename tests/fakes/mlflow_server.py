"""A small MLflow server on loopback, which answers as the real one (3.17) was seen to."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

KEY = re.compile(r"[\w\-.: /]{1,250}")


class RefusedError(Exception):
    """An error as the server words it."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.status = code, status


class MLflow:
    """Experiments and runs, in memory."""

    def __init__(self) -> None:
        self.experiments: dict[str, dict[str, str]] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.paths: list[str] = []
        """What was asked for, in order."""
        self.authorizations: set[str | None] = set()
        self.faults: list[tuple[str, str]] = []
        """``(path, fault)``, each once: ``503`` before it is done, ``lost`` after; or ``every 503``."""
        self._known = {
            "experiments/get-by-name": self._get_experiment,
            "experiments/create": self._create_experiment,
            "runs/create": self._create_run,
            "runs/search": self._search,
            "runs/log-batch": self._log,
            "runs/update": self._update,
        }
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.take(self)

            def do_POST(self) -> None:
                server.take(self)

            def log_message(self, *args: object) -> None:
                """Nothing: the tests' output is no access log."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.02])
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def take(self, request: BaseHTTPRequestHandler) -> None:
        asked = urlsplit(request.path)
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        path = asked.path.removeprefix("/api/2.0/mlflow/")
        self.paths.append(path)
        self.authorizations.add(request.headers.get("Authorization"))
        fault = self._fault(path)
        if path not in self._known:
            return self._send(request, 404, b"<p>Not Found</p>")
        if fault == "503":
            return self._send(request, 503, b"busy")
        given = json.loads(body) if body else {name: one[0] for name, one in parse_qs(asked.query).items()}
        try:
            if len(body) > 1_000_000:
                raise RefusedError("INVALID_PARAMETER_VALUE", "the request is too long")
            answer, status = self._do(path, given), 200
        except RefusedError as error:
            answer, status = {"error_code": error.code, "message": str(error)}, error.status
        if fault == "lost":
            request.close_connection = True
            request.connection.close()
            return None
        return self._send(request, status, json.dumps(answer).encode())

    def children(self) -> list[dict[str, Any]]:
        return [run for run in self.runs.values() if "mlflow.parentRunId" in run["tags"]]

    def parents(self) -> list[dict[str, Any]]:
        return [run for run in self.runs.values() if "mlflow.parentRunId" not in run["tags"]]

    def _fault(self, path: str) -> str | None:
        for one in self.faults:
            if one[0] == path:
                if not one[1].startswith("every "):
                    self.faults.remove(one)
                return one[1].removeprefix("every ")
        return None

    def _send(self, request: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def _do(self, path: str, given: dict[str, Any]) -> dict[str, Any]:
        return self._known[path](given)

    def _get_experiment(self, given: dict[str, Any]) -> dict[str, Any]:
        if (found := self.experiments.get(given["experiment_name"])) is None:
            raise RefusedError("RESOURCE_DOES_NOT_EXIST", "Could not find experiment", 404)
        return {"experiment": found}

    def _create_experiment(self, given: dict[str, Any]) -> dict[str, Any]:
        if given["name"] in self.experiments:
            raise RefusedError("RESOURCE_ALREADY_EXISTS", "Experiment already exists")
        made = {"experiment_id": str(len(self.experiments) + 1), "lifecycle_stage": "active"}
        self.experiments[given["name"]] = made
        return {"experiment_id": made["experiment_id"]}

    def _create_run(self, given: dict[str, Any]) -> dict[str, Any]:
        tags = {one["key"]: one["value"] for one in given["tags"]}
        if len(tags) > 100 or any(len(value) > 8000 for value in tags.values()):
            raise RefusedError("INVALID_PARAMETER_VALUE", "tags")
        made = {
            "id": f"run{len(self.runs)}",
            "experiment": given["experiment_id"],
            "name": given["run_name"],
            "status": "RUNNING",
            "tags": tags,
            "params": {},
            "metrics": set(),
            "batches": 0,
        }
        self.runs[made["id"]] = made
        return {"run": self._shown(made)}

    def _shown(self, run: dict[str, Any]) -> dict[str, Any]:
        tags = [{"key": key, "value": value} for key, value in run["tags"].items()]
        return {"info": {"run_id": run["id"], "status": run["status"]}, "data": {"tags": tags}}

    def _search(self, given: dict[str, Any]) -> dict[str, Any]:
        asked = re.fullmatch(r'tags\.`([^`]+)` = "([^"]*)"', given["filter"])
        assert asked
        found = [
            run
            for run in self.runs.values()
            if run["experiment"] in given["experiment_ids"] and run["tags"].get(asked[1]) == asked[2]
        ]
        first = int(given.get("page_token", 0))
        last = first + given["max_results"]
        more = {"next_page_token": str(last)} if last < len(found) else {}
        # Without runs, the real one leaves them out.
        shown = [self._shown(run) for run in found[first:last]]
        return {**({"runs": shown} if shown else {}), **more}

    def _log(self, given: dict[str, Any]) -> dict[str, Any]:
        run, params, metrics = self.runs[given["run_id"]], given["params"], given["metrics"]
        if len(params) > 100 or len(metrics) > 1000 or len(params) + len(metrics) > 1000:
            raise RefusedError("INVALID_PARAMETER_VALUE", "too many")
        for one in [*params, *metrics]:
            if not KEY.fullmatch(one["key"]):
                raise RefusedError("INVALID_PARAMETER_VALUE", f"Invalid name {one['key']}")
        for one in params:
            if len(one["value"]) > 6000:
                raise RefusedError("INVALID_PARAMETER_VALUE", "value")
            if run["params"].setdefault(one["key"], one["value"]) != one["value"]:
                raise RefusedError("INVALID_PARAMETER_VALUE", f"Changing param values: {one['key']}")
        run["metrics"] |= {(one["key"], one["timestamp"], one["step"], one["value"]) for one in metrics}
        run["batches"] += 1
        return {}

    def _update(self, given: dict[str, Any]) -> dict[str, Any]:
        run = self.runs[given["run_id"]]
        run["status"], run["end"] = given["status"], given["end_time"]
        return {}
