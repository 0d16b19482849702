"""What does it cost to receive a load with nothing of ours around it?

``python bare_load.py PORT STREAMS WAVES TOKENS`` has the load of a closed row of ``serving.py`` sent by the
shortest loop that stores when each segment arrived: no framing is followed, nothing is checked, no failure
is survived. Prints ``{"cpu": SECONDS, "reads": N}`` of the level, and imports nothing of the package.
"""

from __future__ import annotations

import gc
import json
import select
import socket
import sys
import time

_TIMESTAMPNS = 35
_BETWEEN_STREAMS = 0.001
_END = b"0\r\n\r\n"


def request(tokens: int) -> bytes:
    """One, head and body."""
    asked = {
        "model": "truth",
        "prompt": "Explain what a benchmark is in three sentences.",
        "max_tokens": tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    body = json.dumps(asked).encode()
    head = "POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return b"%sContent-Length: %d\r\n\r\n%s" % (head.encode(), len(body), body)


def connected(port: int) -> socket.socket:
    """A connection as the load client has them."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, _TIMESTAMPNS, 1)
    sock.setblocking(False)
    return sock


def main(port: int, streams: int, waves: int, tokens: int) -> None:
    """Send *waves* requests on each of *streams* connections."""
    asking = request(tokens)
    poller = select.epoll()
    socks = [connected(port) for _ in range(streams)]
    calls = {sock.fileno(): (sock.recvmsg, sock.send) for sock in socks}
    left = dict.fromkeys(calls, waves)
    segments: dict[int, list[tuple[int, bytes, bytes]]] = {fd: [] for fd in calls}
    clock, space, end = time.perf_counter_ns, socket.CMSG_SPACE(16), len(_END)
    waiting = [sock.fileno() for sock in reversed(socks)]
    for fd in calls:
        poller.register(fd, select.EPOLLIN)
    gc.collect()
    gc.disable()
    cpu, due = time.thread_time(), time.perf_counter()
    while left:
        while waiting and time.perf_counter() >= due:
            calls[waiting.pop()][1](asking)
            due += _BETWEEN_STREAMS
        for fd, _ in poller.poll(_BETWEEN_STREAMS if waiting else None, 64):
            receive, send = calls[fd]
            data, ancillary, _, _ = receive(65536, space)
            segments[fd].append((clock(), ancillary[0][2], data))
            if data[-end:] == _END:
                left[fd] -= 1
                if left[fd]:
                    send(asking)
                else:
                    del left[fd]
    cpu = time.thread_time() - cpu
    print(json.dumps({"cpu": cpu, "reads": sum(map(len, segments.values()))}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
