"""How does a browser get in where a token is needed: by a form, and then a cookie that stands for it?"""

from __future__ import annotations

import re

from pytest_llmbench.service.pages.asked import Answer, Asked, go_to, page
from pytest_llmbench.service.tokens import COOKIE, LASTS

_OURS = re.compile(r"/(?:ui/[\w/%.~-]*)?")
"""Where a login leads: to a page of ours, and to no other host."""


def show(asked: Asked) -> Answer:
    """The form."""
    return page(asked, "login.html", next=_next(asked.one("next")), wrong=False)


def submit(asked: Asked) -> Answer:
    """Set the cookie, if the token is the one."""
    following = _next(asked.text("next"))
    tokens = asked.service.tokens
    if not tokens.is_token(asked.text("token").strip()):
        return page(asked, "login.html", status=403, next=following, wrong=True)
    attributes = f"Path=/; Max-Age={LASTS}; HttpOnly; SameSite=Strict"
    led = go_to(following)
    return Answer(
        status=led.status, headers={**led.headers, "Set-Cookie": f"{COOKIE}={tokens.cookie()}; {attributes}"}
    )


def leave(asked: Asked) -> Answer:
    """Take the cookie away."""
    cookie = f"{COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict"
    return Answer(status=303, headers={"Location": "/login", "Set-Cookie": cookie})


def _next(given: str) -> str:
    return given if _OURS.fullmatch(given) else "/"
