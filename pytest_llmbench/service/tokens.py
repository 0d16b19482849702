"""Who may ask: the token, the page's cookie that stands for it, and what a form of ours has?

The cookie holds a value that is made from the token and a time, and not the token: who reads it cannot use
it as one, and it ends. Everything is compared in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass, field

COOKIE = "llmbench_session"
FORM_FIELD = "form_token"
"""The hidden field of a form."""
FORM_HEADER = "x-form-token"
"""The header in place of it, for htmx."""
LASTS = 7 * 24 * 3600
"""Seconds for which a login holds."""


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), wanted.encode(errors="replace"))


@dataclass(frozen=True, slots=True)
class Tokens:
    """What tells one who may ask; without a *token* everybody on this machine may."""

    token: str | None
    _own: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    """Signs forms where there is no token: forms of an earlier process are refused."""

    def is_token(self, given: str) -> bool:
        """Whether *given* is the token."""
        return self.token is not None and _same(given, self.token)

    def cookie(self, now: float | None = None) -> str:
        """The value of a login's cookie: until when it holds, and its proof."""
        ends = str(int((time.time() if now is None else now) + LASTS))
        return f"{ends}.{self._signed('cookie', ends)}"

    def is_cookie(self, given: str, now: float | None = None) -> bool:
        """Whether *given* is the cookie of a login that still holds."""
        ends, _, proof = given.partition(".")
        if self.token is None or not (ends.isascii() and ends.isdigit() and len(ends) <= 12):
            return False
        return _same(proof, self._signed("cookie", ends)) and int(ends) > (
            time.time() if now is None else now
        )

    def form(self, cookie: str = "") -> str:
        """What a form has that a page of ours sent, to one with this *cookie*."""
        return self._signed("form", cookie)

    def is_form(self, given: str, cookie: str = "") -> bool:
        """Whether a form is ours."""
        return _same(given, self.form(cookie))

    def _signed(self, *words: str) -> str:
        key = self._own if self.token is None else hashlib.sha256(self.token.encode()).digest()
        return hmac.new(key, "\n".join(("llmbench", *words)).encode(errors="replace"), "sha256").hexdigest()
