"""A small hub on loopback, which answers as the real one does."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = hashlib.sha1(b"first").hexdigest()
REVISIONS = {"main": COMMIT, "v2": hashlib.sha1(b"second").hexdigest()}


class Hub:
    """Repositories by name, each a mapping from file name to the file that is served."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, Path]] = {}
        self.gated: set[str] = set()
        self.broken = False
        self.cut: dict[str, int] = {}
        """Files whose connection breaks, once, after so many bytes."""
        self.missing: set[str] = set()
        """Files that the hub lists, and cannot give out now."""
        self.downloads: list[str] = []
        self.ranges: list[str] = []
        """What was asked for of a file of which a part was there."""
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub.answer(self, body=True)

            def do_HEAD(self) -> None:
                hub.answer(self, body=False)

            def log_message(self, *args: object) -> None:
                """Nothing: the tests' output is no access log."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler, *, body: bool) -> None:
        path = unquote(urlsplit(request.path).path)
        if self.broken:
            return self._send(request, 503, b"out of order", body=body)
        api = path.startswith("/api/models/")
        parts = path.removeprefix("/api/models/").strip("/").split("/")
        name, rest = "/".join(parts[:2]), parts[2:]
        if name not in self.repositories:
            return self._error(request, 404, "RepoNotFound", body=body)
        revision = rest[1] if len(rest) > 1 else "main"
        commit = REVISIONS.get(revision, revision)
        if commit not in REVISIONS.values():
            return self._error(request, 404, "RevisionNotFound", body=body)
        if api:
            return self._describe(request, name, commit, rest[:1] == ["tree"], body=body)
        if name in self.gated:
            return self._error(request, 403, "GatedRepo", body=body)
        file = self.repositories[name].get("/".join(rest[2:]))
        if file is None:
            return self._error(request, 404, "EntryNotFound", body=body)
        if "/".join(rest[2:]) in self.missing:
            return self._send(request, 500, b"out of order", body=body)
        content = file.read_bytes()
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        headers = {"ETag": etag, "X-Repo-Commit": commit}
        if body:
            self.downloads.append("/".join(rest[2:]))
            if (part := request.headers.get("Range")) is not None:
                self.ranges.append(part)
                start = int(part.removeprefix("bytes=").partition("-")[0])
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
                return self._send(request, 206, content[start:], headers, body=body)
            if (after := self.cut.pop("/".join(rest[2:]), None)) is not None:
                headers["Content-Length"] = str(len(content))
                request.close_connection = True
                return self._send(request, 200, content[:after], headers, body=body)
        return self._send(request, 200, content, headers, body=body)

    def _describe(
        self, request: BaseHTTPRequestHandler, name: str, commit: str, tree: bool, *, body: bool
    ) -> None:
        files = self.repositories[name]
        described: object = {
            "id": name,
            "modelId": name,
            "sha": commit,
            "private": False,
            "tags": [],
            "downloads": 0,
            "siblings": [{"rfilename": name, "size": file.stat().st_size} for name, file in files.items()],
        }
        if tree:
            described = [
                {
                    "type": "file",
                    "path": name,
                    "size": file.stat().st_size,
                    "oid": hashlib.sha1(name.encode()).hexdigest(),
                }
                for name, file in files.items()
            ]
        self._send(
            request, 200, json.dumps(described).encode(), {"Content-Type": "application/json"}, body=body
        )

    def _error(self, request: BaseHTTPRequestHandler, status: int, code: str, *, body: bool) -> None:
        self._send(request, status, b"{}", {"X-Error-Code": code, "X-Error-Message": code}, body=body)

    def _send(
        self,
        request: BaseHTTPRequestHandler,
        status: int,
        content: bytes,
        headers: dict[str, str] | None = None,
        *,
        body: bool,
    ) -> None:
        request.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            request.send_header(name, value)
        request.end_headers()
        if body:
            request.wfile.write(content)
