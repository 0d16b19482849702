"""Who is known by a token, a cookie, a form?"""

from __future__ import annotations

from pytest_llmbench.service.tokens import LASTS, Tokens

TOKEN = "a-token-of-24-characters"


def test_the_token_is_known_and_nothing_else_is() -> None:
    assert Tokens(TOKEN).is_token(TOKEN)
    assert not Tokens(TOKEN).is_token(TOKEN.upper())
    assert not Tokens(TOKEN).is_token("\udcff")
    assert not Tokens(None).is_token("")


def test_a_cookie_ends_and_cannot_be_prolonged() -> None:
    tokens = Tokens(TOKEN)
    cookie = tokens.cookie(1000.0)
    assert tokens.is_cookie(cookie, 1000.0 + LASTS - 1)
    assert not tokens.is_cookie(cookie, 1000.0 + LASTS)
    _, _, proof = cookie.partition(".")
    assert not tokens.is_cookie(f"{9 * LASTS}.{proof}", 1000.0)
    assert not tokens.is_cookie("²." + proof, 1000.0)


def test_a_cookie_holds_over_a_restart_and_ends_with_the_token() -> None:
    cookie = Tokens(TOKEN).cookie()
    assert Tokens(TOKEN).is_cookie(cookie)
    assert not Tokens(TOKEN + "x").is_cookie(cookie)
    assert not Tokens(None).is_cookie(Tokens(None).cookie())


def test_a_form_is_of_this_service_and_of_this_login() -> None:
    tokens = Tokens(None)
    assert tokens.is_form(tokens.form())
    assert not tokens.is_form("")
    assert not Tokens(None).is_form(tokens.form())
    assert not Tokens(TOKEN).is_form(Tokens(TOKEN).form("one"), "another")
    assert Tokens(TOKEN).is_form(Tokens(TOKEN).form("one"), "one")
