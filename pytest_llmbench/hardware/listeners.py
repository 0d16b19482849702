"""Which process of this machine listens at an address?"""

from __future__ import annotations

import socket

import psutil


def listener(host: str, port: int) -> tuple[int | None, str | None]:
    """The id of the process that listens at an address, or None and why it is not known.

    Of a parent and children that share a socket, the parent: its tree has them all.
    """
    if not _is_here(host, port):
        return None, "the server runs on another machine"
    try:
        found = {
            one.pid
            for one in psutil.net_connections("tcp")
            if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port and one.pid
        }
    except psutil.AccessDenied:
        return None, "the system does not say which process listens there"
    roots = [pid for pid in found if not found & _ancestors(pid)]
    if not roots:
        return None, "no process of this user listens there"
    return (roots[0], None) if len(roots) == 1 else (None, "several processes listen there")


def command_line(pid: int | None) -> list[str] | None:
    """How a process was started; None where it cannot be known."""
    try:
        return None if pid is None else psutil.Process(pid).cmdline() or None
    except psutil.Error:
        return None


def _is_here(host: str, port: int) -> bool:
    """Whether *host* is an address of this machine."""
    try:
        addresses = {str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except OSError:
        return False
    own = {a.address for addresses_of in psutil.net_if_addrs().values() for a in addresses_of}
    return bool(addresses & own)


def _ancestors(pid: int) -> set[int]:
    try:
        return {parent.pid for parent in psutil.Process(pid).parents()}
    except psutil.Error:
        return set()
