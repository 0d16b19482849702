"""How is a server asked something small: is it ready, what does it serve, what has it counted?

The load client has its own sockets; nothing that is measured goes through here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pytest_llmbench._version import __version__
from pytest_llmbench.errors import one_line
from pytest_llmbench.metrics.bounds import MAX_ANSWER, read_json
from pytest_llmbench.processes.wire import Json
from pytest_llmbench.servers.overrides import header_values
from pytest_llmbench.servers.trust import api_key, tls_context
from pytest_llmbench.servers.urls import read_url


@dataclass(frozen=True, slots=True)
class Access:
    """What requests to a server need, beside its address."""

    api_key_env: str | None = None
    """The environment variable that holds the key; the key itself is in no message."""
    verify: bool = True
    """Whether a TLS certificate has to be valid."""
    ca_file: str | None = None
    """PEM file of the authority to trust; None trusts the system's."""
    proxy: str | None = None
    """``http://HOST:PORT``; None goes straight to the server, whatever the environment says."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """As a user gives them; see :func:`.overrides.header_values`."""


_OURS = {
    "User-Agent": f"pytest-llmbench/{__version__}",
    "Accept": "*/*",
    "Accept-Encoding": "identity",
    "Connection": "close",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered, whatever the status."""

    status: int
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes

    def json(self) -> Any:
        """The body as JSON; None where it is not JSON."""
        try:
            return read_json(self.body)
        except ValueError:
            return None


class NoAnswerError(Exception):
    """No HTTP response came, or none that can be taken."""

    def __init__(
        self, kind: Literal["refused", "timeout", "tls", "resolve", "broken", "too_large"], detail: str
    ) -> None:
        super().__init__(detail)
        self.kind = kind


def get(url: str, access: Access | None = None, *, timeout: float = 5.0) -> Answer:
    """Ask for *url*; redirects are not followed, so that a key goes nowhere else.

    :param timeout: seconds until the whole of it has come; see :func:`.timed.open_url`.
    :raises NoAnswerError: if it has not, or has more bytes than :data:`.bounds.MAX_ANSWER`.
    :raises UsageError: if the key's variable is not set, or ``ca_file`` cannot be read.
    """
    return _asked(url, access, None, timeout)


def post(url: str, question: Json, access: Access | None = None, *, timeout: float = 5.0) -> Answer:
    """Post *question* as JSON to *url*; the rest is as with :func:`get`."""
    # Half of a surrogate pair has no UTF-8; its escape is JSON's own.
    sent = json.dumps(question, ensure_ascii=False).encode(errors="backslashreplace")
    return _asked(url, access, sent, timeout)


def _asked(url: str, access: Access | None, sent: bytes | None, timeout: float) -> Answer:
    import socket
    import ssl

    import httpcore2

    from pytest_llmbench.servers.timed import TooLongError, open_url

    access = access or Access()
    asked = read_url(url)
    context = tls_context(verify=access.verify, ca_file=access.ca_file) if asked.scheme == "https" else None
    ours = _OURS if sent is None else {**_OURS, "Content-Type": "application/json"}
    headers = {**ours, **asked.headers, **_authorization(access), **header_values(access.headers)}
    try:
        return Answer(
            *open_url(
                asked,
                headers,
                timeout=timeout,
                context=context,
                proxy=access.proxy,
                most=MAX_ANSWER,
                sent=sent,
            )
        )
    except TooLongError:
        detail = f"the answer is longer than {MAX_ANSWER // 2**20} MiB"
        raise NoAnswerError("too_large", detail) from None
    except TimeoutError:
        raise NoAnswerError("timeout", f"no answer within {timeout:g} s") from None
    except ssl.SSLError as error:
        detail = getattr(error, "verify_message", "") or error.reason or str(error)
        raise NoAnswerError("tls", str(detail)) from None
    except socket.gaierror as error:
        raise NoAnswerError("resolve", error.strerror or "unknown host") from None
    except ConnectionRefusedError:
        raise NoAnswerError("refused", "nothing listens there") from None
    except httpcore2.ProxyError as error:
        raise NoAnswerError("broken", f"the proxy answers with {one_line(str(error))}") from None
    except (OSError, httpcore2.ProtocolError) as error:
        detail = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise NoAnswerError("broken", one_line(detail)) from None


def _authorization(access: Access) -> dict[str, str]:
    key = api_key(access.api_key_env)
    return {} if key is None else {"Authorization": f"Bearer {key}"}
