"""Which requests are let in, how large and how many, and what do all answers say to a browser?

Around the whole application, before anything is read of a request: the host that it names (so that a page
of another site cannot reach a service on this machine under a name of its own), whether its sender has
the token, where it was sent from (a page of another site changes nothing), how large it is and how long it
takes.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from pytest_llmbench.errors import one_line, shown
from pytest_llmbench.service.problems import MEDIA_TYPE, ProblemError
from pytest_llmbench.service.tokens import COOKIE, Tokens

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("pytest_llmbench.service")

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
LARGEST_BODY = 2**20
"""Bytes."""
LONGEST_URL = 4096
"""Characters of a path and its query."""
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_FORMS = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})
_JSON = "application/json"

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; form-action 'self'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
"""Of every answer that does not say otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a request and all of them together may take."""

    body: int = LARGEST_BODY
    body_seconds: float = 30.0
    at_once: int = 64


@dataclass(slots=True)
class Guard:
    """An ASGI application that lets *app* see what may pass."""

    app: ASGIApp
    tokens: Tokens
    hosts: frozenset[str] | None = LOOPBACK
    """The names by which it may be asked; None: by any, since a token is needed."""
    public: tuple[str, ...] = ("/health", "/login", "/static/")
    """Addresses that need no token; what ends in a slash stands for all below it."""
    pages: tuple[str, ...] = ("/login", "/logout", "/ui/")
    """Addresses that take forms."""
    limits: Limits = field(default_factory=Limits)
    _running: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            # Lifespan; there are no web sockets, and uvicorn is told so.
            await self.app(scope, receive, send)
            return
        started = time.monotonic()
        answer = _Answer(send)
        self._running += 1
        try:
            if self._running > self.limits.at_once:
                raise ProblemError(503, "too many requests at once; ask again", headers={"Retry-After": "1"})
            self._admit(scope)
            await self.app(scope, await self._body(scope, receive), answer)
        except ProblemError as problem:
            await answer.problem(problem)
        except Exception as error:  # noqa: BLE001  # whatever it is, the client learns nothing of it
            await answer.problem(_unexpected(error))
        finally:
            self._running -= 1
            took = time.monotonic() - started
            log.info("%s %s %s %.0f ms", scope["method"], _path(scope), answer.status, took * 1e3)

    def _admit(self, scope: Scope) -> None:
        """Refuse what may not pass.

        :raises ProblemError: saying why.
        """
        headers = _headers(scope)
        if len(scope["raw_path"] or b"") + len(scope["query_string"]) > LONGEST_URL:
            raise ProblemError(414, f"the address has more than {LONGEST_URL} characters")
        if "\0" in scope["path"]:
            raise ProblemError(400, "the address has a NUL character")
        host = _host(headers.get("host", ""))
        if not host or (self.hosts is not None and host not in self.hosts):
            raise ProblemError(
                400, "the header Host does not name this service; further names of it stand in LLMBENCH_HOSTS"
            )
        path = scope["path"]
        authorization = headers.get("authorization", "")
        scheme, _, given = authorization.partition(" ")
        bearer = scheme.lower() == "bearer" and self.tokens.is_token(given.strip())
        cookie = _cookie(headers.get("cookie", ""))
        scope.setdefault("state", {})
        scope["state"]["cookie"] = cookie
        public = any(path.startswith(one) if one.endswith("/") else path == one for one in self.public)
        known = self.tokens.token is None or bearer or self.tokens.is_cookie(cookie)
        if not (known or public):
            if scope["method"] in _SAFE and "text/html" in headers.get("accept", ""):
                place = "/login" if path == "/" else f"/login?next={quote(path, safe='/')}"
                raise ProblemError(303, "log in first", headers={"Location": place})
            raise ProblemError(
                401,
                "this service needs its token: the header 'Authorization: Bearer TOKEN'",
                headers={"WWW-Authenticate": "Bearer"},
            )
        if scope["method"] not in _SAFE and not bearer:
            self._same_site(headers, path)
        self._media_type(headers, path)

    def _same_site(self, headers: dict[str, str], path: str) -> None:
        """Refuse what a page of another site sent.

        A browser says where what it sends comes from, and no page can make it say otherwise.
        """
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        ours = None
        if origin is not None:
            place = urlsplit(origin)
            ours = place.scheme in ("http", "https") and place.netloc == headers.get("host")
        if site is not None:
            ours = site in ("same-origin", "none") and ours is not False
        if ours is False or (
            ours is None and headers.get("content-type", "").partition(";")[0].strip() in _FORMS
        ):
            raise ProblemError(403, "a page of another site sent this; send it from a page of this service")

    def _media_type(self, headers: dict[str, str], path: str) -> None:
        if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
            return
        given = headers.get("content-type", "").partition(";")[0].strip().lower()
        forms = any(path.startswith(one) for one in self.pages)
        if given != _JSON and not (forms and given in _FORMS):
            raise ProblemError(415, f"a body is sent as {_JSON}", headers={"Accept": _JSON})

    async def _body(self, scope: Scope, receive: Receive) -> Receive:
        """Read the body whole, within its bounds; what the application reads is that.

        :raises ProblemError: if it is too large, comes too slowly, or is not valid JSON.
        """
        headers = _headers(scope)
        length = headers.get("content-length", "")
        if length.isdigit() and (len(length) > 9 or int(length) > self.limits.body):
            raise _too_large(self.limits.body)
        data = bytearray()
        if (length and length != "0") or "transfer-encoding" in headers:
            try:
                async with asyncio.timeout(self.limits.body_seconds):
                    more = True
                    while more:
                        message = await receive()
                        if message["type"] == "http.disconnect":
                            raise ProblemError(400, "the connection ended within the body")
                        data += message.get("body", b"")
                        if len(data) > self.limits.body:
                            raise _too_large(self.limits.body)
                        more = message.get("more_body", False)
            except TimeoutError:
                raise ProblemError(
                    408,
                    f"the body did not come within {self.limits.body_seconds:g} s",
                    headers={"Connection": "close"},
                ) from None
            if headers.get("content-type", "").partition(";")[0].strip().lower() == _JSON:
                _check_json(bytes(data))
        given = False

        async def again() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": bytes(data), "more_body": False}

        return again


class _Answer:
    """Sends an answer with the headers that all have; remembers whether it has begun."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = list(message.get("headers", ()))
            there = {name.lower() for name, _ in headers}
            headers += [
                (name.lower().encode(), value.encode())
                for name, value in HEADERS.items()
                if name.lower().encode() not in there
            ]
            message = {**message, "headers": headers}
        await self._send(message)

    async def problem(self, problem: ProblemError) -> None:
        """Answer with *problem*; what has begun already is cut off, which the client sees."""
        if self.status:
            log.error("the answer had begun when this happened: %s", one_line(problem.detail))
            return
        body = problem.body()
        headers = {"content-type": MEDIA_TYPE, "content-length": str(len(body)), **problem.headers}
        pairs = [
            (name.lower().encode(), value.encode("latin-1", "replace")) for name, value in headers.items()
        ]
        await self({"type": "http.response.start", "status": problem.status, "headers": pairs})
        await self({"type": "http.response.body", "body": body})


def _unexpected(error: Exception) -> ProblemError:
    """A defect of ours: the log has all of it, the client its id."""
    import traceback

    identity = secrets.token_hex(8)
    log.error("%s: %s", identity, shown("".join(traceback.format_exception(error))))
    detail = f"something went wrong here; the log of the service has it under {identity}"
    return ProblemError(500, detail, instance=f"urn:llmbench:error:{identity}")


def _too_large(most: int) -> ProblemError:
    # The rest of it is not read.
    return ProblemError(413, f"the body is larger than {most} bytes", headers={"Connection": "close"})


def _check_json(data: bytes) -> None:
    """Refuse what is not JSON, has NaN, or lists that stand in one another too deep."""
    from pydantic_core import from_json

    try:
        from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise ProblemError(400, f"the body is not valid JSON: {one_line(str(error), 200)}") from None


def _headers(scope: Scope) -> dict[str, str]:
    """The headers of a request; of several of a name the last, and of the name "host" none of several."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        text = name.decode("latin-1").lower()
        if text == "host" and text in found:
            found[text] = ""
        else:
            found[text] = value.decode("latin-1")
    return found


_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?")


def _host(text: str) -> str:
    """The name in a header ``Host``, without the port; an empty text for what is not valid."""
    found = _HOST.fullmatch(text)
    return "" if found is None else found[1].strip("[]").lower().removesuffix(".")


def _cookie(header: str) -> str:
    """The value of our cookie; an empty text without one."""
    jar: SimpleCookie = SimpleCookie()
    try:
        jar.load(header)
    except CookieError:
        return ""
    return jar[COOKIE].value if COOKIE in jar else ""


def _path(scope: Any) -> str:
    """The path for the log: not its query, which may hold anything."""
    return one_line(shown(scope["path"]), 200)
