"""How is a server asked something small: is it ready, what does it serve, what has it counted?

The load client has its own sockets; nothing that is measured goes through here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pytest_llmbench.errors import UsageError
from pytest_llmbench.metrics.bounds import MAX_ANSWER, read_json
from pytest_llmbench.servers.overrides import header_values
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


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered, whatever the status."""

    status: int
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes

    def json(self) -> Any:
        """The body as JSON; None where it is none."""
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
    import http.client
    import socket
    import ssl
    import urllib.request

    from pytest_llmbench.servers.timed import TooLongError, open_url

    access = access or Access()
    context = _tls(access) if url.startswith("https:") else None
    asked = read_url(url)
    headers = {**asked.headers, **_authorization(access), **header_values(access.headers)}
    request = urllib.request.Request(asked.text, headers=headers)
    try:
        return Answer(
            *open_url(request, timeout=timeout, context=context, proxy=access.proxy, most=MAX_ANSWER)
        )
    except TooLongError:
        detail = f"the answer is longer than {MAX_ANSWER // 2**20} MiB"
        raise NoAnswerError("too_large", detail) from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None)
        cause = reason if isinstance(reason, OSError) else error
        if isinstance(cause, ssl.SSLError):
            detail = getattr(cause, "verify_message", "") or cause.reason or str(cause)
            raise NoAnswerError("tls", str(detail)) from None
        if isinstance(cause, TimeoutError):
            raise NoAnswerError("timeout", f"no answer within {timeout:g} s") from None
        if isinstance(cause, socket.gaierror):
            raise NoAnswerError("resolve", cause.strerror or "unknown host") from None
        if isinstance(cause, ConnectionRefusedError):
            raise NoAnswerError("refused", "nothing listens there") from None
        detail = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
        raise NoAnswerError("broken", str(detail)) from None


def _authorization(access: Access) -> dict[str, str]:
    if access.api_key_env is None:
        return {}
    key = os.environ.get(access.api_key_env)
    if not key:
        msg = f"the environment variable {access.api_key_env}, which is to hold the API key, is not set"
        raise UsageError(msg)
    return {"Authorization": f"Bearer {key.strip()}"}


def _tls(access: Access) -> Any:
    import ssl

    try:
        context = ssl.create_default_context(cafile=access.ca_file)
    except OSError as error:
        msg = f"the certificates in {access.ca_file} cannot be read: {error.strerror or error}"
        raise UsageError(msg) from None
    if not access.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
