"""What does the URL of a server say: where it is, which user asks, and what is behind its path?

``SCHEME://[USER[:PASSWORD]@]HOST[:PORT][/PATH][?QUERY]``. User and password are sent as a header
(RFC 7617) and are in nothing that is shown or kept; a query stays behind the path of every request.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from urllib.parse import unquote, urlsplit

from pytest_llmbench.errors import UsageError
from pytest_llmbench.secrets import learn_url, mask

HTTP = ("http", "https")
_PORTS = {"http": 80, "https": 443}
_UNSENDABLE = re.compile(r"[^\x21-\x7e]")


@dataclass(frozen=True, slots=True)
class URL:
    """A URL in its parts. Use :func:`read_url`."""

    scheme: str
    host: str
    """As it goes over the wire, without brackets."""
    port: int
    path: str = ""
    """Without a slash at its end."""
    query: str = field(default="", repr=False)
    user: str | None = field(default=None, repr=False)
    """``USER:PASSWORD``, decoded."""
    place: str = ""
    """``HOST[:PORT]`` as it was written."""

    @property
    def authority(self) -> str:
        """``HOST[:PORT]``; the port is left out where it is the scheme's own."""
        return authority(self.host, self.port, self.scheme)

    @property
    def text(self) -> str:
        """The URL without user and password; it may have a key in its query."""
        return self.at("")

    @property
    def shown(self) -> str:
        """The URL as it is shown and kept: no secret is in it."""
        return mask(self.text)

    @property
    def headers(self) -> Mapping[str, str]:
        """What names the user; empty where the URL names none."""
        if self.user is None:
            return {}
        return {"Authorization": f"Basic {base64.b64encode(self.user.encode()).decode()}"}

    @property
    def root(self) -> URL:
        """The same without ``/v1`` at its end."""
        return replace(self, path=self.path.removesuffix("/v1"))

    def at(self, path: str) -> str:
        """The URL of *path* below this one, the query behind it, without user and password."""
        return f"{self.scheme}://{self.place}{self.target(path)}"

    def target(self, path: str) -> str:
        """What a request for *path* below this one names (RFC 9112, section 3.2.1)."""
        return f"{self.path}{path}{'?' if self.query else ''}{self.query}"


@lru_cache(maxsize=64)
def _read(text: str, what: str, schemes: tuple[str, ...]) -> URL:
    shown = f"{what}={mask(text)}"
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
        host = host if host.isascii() else host.encode("idna").decode()
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError as error:
        # What is not a port may be a part of a password.
        why = "its port is not a number from 1 to 65535" if "ort" in str(error) else mask(str(error))
        msg = f"{shown}: {why}; write '@', '/', '?' and '#' of a password as %40, %2F, %3F and %23"
        raise UsageError(msg) from None
    if parts.scheme not in schemes or not host:
        ending = "/v1" if schemes == HTTP else ""
        msg = f"{shown}: write {' or '.join(f'{scheme}://HOST:PORT{ending}' for scheme in schemes)}"
        raise UsageError(msg)
    if parts.fragment or text.endswith("#"):
        msg = f"{shown}: what follows '#' is not sent to a server; remove it (in a password, write %23)"
        raise UsageError(msg)
    if _UNSENDABLE.search(parts.path + parts.query):
        msg = f"{shown}: its path or query has characters that a URL cannot have; write them as %XX"
        raise UsageError(msg)
    given, at, place = parts.netloc.rpartition("@")
    user, _, password = given.partition(":")
    return URL(
        scheme=parts.scheme,
        host=host,
        port=port,
        path=parts.path.rstrip("/"),
        query=parts.query,
        user=f"{unquote(user)}:{unquote(password)}" if at else None,
        place=place if place.isascii() else authority(host, port, parts.scheme),
    )


def read_url(text: str, what: str = "--llm-base-url", schemes: Sequence[str] = HTTP) -> URL:
    """The parts of a URL; what of it is secret is learned.

    :param what: the option that it came from.
    :raises UsageError: if its scheme is not one of *schemes*, or it has no host or a bad port, or a fragment.
    """
    learn_url(text)
    return _read(text.strip(), what, tuple(schemes))


def stored_url(value: object) -> URL | None:
    """The parts of a URL that a document has, which anybody may have written; None where it is none."""
    try:
        return read_url(value) if isinstance(value, str) else None
    except UsageError:
        return None


def read_proxy(text: str) -> URL:
    """The parts of the URL of a proxy.

    :raises UsageError: saying what it must be.
    """
    return read_url(text, "server.proxy", ("http",))


def proxy_headers(proxy: URL) -> Mapping[str, str]:
    """What names the user to a proxy (RFC 9110, section 11.7.1)."""
    return {f"Proxy-{name}": value for name, value in proxy.headers.items()}


def authority(host: str, port: int, scheme: str = "") -> str:
    """``HOST[:PORT]``; the port is left out where it is the scheme's own."""
    bracketed = f"[{host}]" if ":" in host else host
    return bracketed if _PORTS.get(scheme) == port else f"{bracketed}:{port}"
