from array import array

from pytest_llmbench.client.pending import Segment
from pytest_llmbench.client.receiver import Arrived

def receive_within(
    epoll: int, streams: dict[int, list[Segment]], room: array[int], timeout: int, /
) -> list[Arrived]: ...
def skip_chunks(data: bytes, at: int, /) -> int: ...
