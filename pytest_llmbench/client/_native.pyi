from array import array

from pytest_llmbench.client.segments import Arrived, Segment

def receive_within(
    epoll: int, streams: dict[int, list[Segment]], room: array[int], timeout: int, /
) -> list[Arrived]: ...
def skip_chunks(data: bytes, at: int, /) -> int: ...
