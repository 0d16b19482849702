"""Is what is wrong with a Ray cluster said at once, in one line?"""

from __future__ import annotations

import importlib.util
import socket

import pytest

from pytest_llmbench.errors import ClusterError, UsageError
from pytest_llmbench.matrix import on_ray
from pytest_llmbench.matrix.on_ray import connect


@pytest.fixture(autouse=True)
def has_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_ray, "find_spec", lambda name: importlib.util.find_spec("json"))


@pytest.mark.parametrize(
    "address", ["", "head", "ray://head", "http://head:1", "head:6379/x", "head:port", "a b:1"]
)
def test_what_is_not_an_address_is_said(address: str) -> None:
    with pytest.raises(UsageError, match="write ray://HOST:PORT or HOST:PORT"):
        connect(address)


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_where_nobody_listens_is_said_at_once(scheme: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"{scheme}127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(ClusterError, match=f"no Ray answers at {address}: Connection refused"):
            connect(address)


def test_a_port_that_there_is_not_is_said() -> None:
    with pytest.raises(ClusterError, match=r"no Ray answers at 127\.0\.0\.1:99999: "):
        connect("127.0.0.1:99999")


def test_without_ray_its_extra_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_ray, "find_spec", lambda name: None)
    with pytest.raises(
        UsageError, match=r"cells on a cluster need Ray: pip install 'pytest-llmbench\[matrix\]'"
    ):
        connect(None)
