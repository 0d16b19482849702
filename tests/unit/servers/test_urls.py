"""Does everybody read the same from a server's URL, and is its password nowhere?"""

from __future__ import annotations

import base64

import pytest

from pytest_llmbench.cases.target import ServerTarget
from pytest_llmbench.errors import UsageError
from pytest_llmbench.secrets import mask
from pytest_llmbench.servers.urls import proxy_headers, read_proxy, read_url, stored_url


@pytest.mark.parametrize(
    ("text", "asked", "authority", "port"),
    [
        ("http://h:8000/v1", "http://h:8000/v1/models", "h:8000", 8000),
        ("http://h:8000/v1///", "http://h:8000/v1/models", "h:8000", 8000),
        (" https://H.example ", "https://H.example/models", "h.example", 443),
        ("http://h:80/v1", "http://h:80/v1/models", "h", 80),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1/models", "[::1]:8000", 8000),
        ("https://h/openai/deployments/x?api-version=2024-06-01",
         "https://h/openai/deployments/x/models?api-version=2024-06-01", "h", 443),
        ("http://u:p%40ss@h/a/b?key=12345678", "http://h/a/b/models?key=12345678", "h", 80),
    ],
)  # fmt: skip
def test_a_path_is_put_before_the_query_and_after_the_prefix(
    text: str, asked: str, authority: str, port: int
) -> None:
    url = read_url(text)
    assert (url.at("/models"), url.authority, url.port) == (asked, authority, port)


def test_user_and_password_become_a_header_and_are_nowhere_else() -> None:
    url = read_url("http://me:p%40ssw0rd%2F@h:1/v1?key=querysecret&a=b")
    assert url.headers == {"Authorization": f"Basic {base64.b64encode(b'me:p@ssw0rd/').decode()}"}
    shown = f"{url.shown} {url!r} {url.at('/x').replace('querysecret', '')} {url.root!r}"
    assert not any(secret in shown for secret in ("p@ss", "p%40", "querysecret", "me:"))
    assert url.shown == "http://h:1/v1?key=***&a=b"
    assert mask("p@ssw0rd/") == "***"
    assert read_url("http://h").headers == {}


def test_a_password_is_neither_in_a_test_id_nor_in_what_pytest_shows_of_a_parameter() -> None:
    choice = ServerTarget(base_url="http://me:hunter22@h:8000/v1?key=querysecret", alone=False)
    assert choice.label == "server@h:8000"
    assert "hunter22" not in repr(choice)
    assert "querysecret" not in repr(choice)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("h:8000", "write http://HOST:PORT/v1 or https://HOST:PORT/v1"),
        ("ftp://h", "write http://"),
        ("http://", "write http://"),
        ("", "write http://"),
        ("http://h:99999", "its port is not a number from 1 to 65535"),
        ("http://h/v1#frag", "what follows '#' is not sent"),
        ("http://u:hunter/22@h", "as %40, %2F"),
        ("http://u:hunter#22@h", "what follows|as %40|write http"),
        ("http://h/a b", "characters that a URL cannot have"),
        ("http://h/v1?a=\u00fc", "characters that a URL cannot have"),
    ],
)
def test_what_is_no_url_of_a_server_is_refused_without_its_password(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        read_url(text)
    assert "hunter" not in str(caught.value)


def test_a_proxy_is_told_who_asks() -> None:
    assert proxy_headers(read_proxy("http://u:pw@p:3128")) == {"Proxy-Authorization": "Basic dTpwdw=="}
    with pytest.raises(UsageError, match=r"server\.proxy=https://p: write http://HOST:PORT$"):
        read_proxy("https://p")


@pytest.mark.parametrize("value", [None, 5, "", "http://[", "x", "http://h:port"])
def test_what_a_document_has_in_place_of_a_url_is_none(value: object) -> None:
    assert stored_url(value) is None
