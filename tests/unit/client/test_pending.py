"""Is the end of a response seen, though most of what comes is only stored?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmbench.client.http import MalformedError
from pytest_llmbench.client.pending import PendingRequest
from pytest_llmbench.client.raw import RawResponse
from pytest_llmbench.client.stamps import Clock

pytestmark = pytest.mark.usefixtures("receiver")

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ENDS = [b"0\r\n\r\n", b"00;last\r\n\r\n", b"0\r\nChecksum: 7\r\n0: 0\r\n\r\n"]

# Much that looks like the end and is none.
events = st.lists(st.sampled_from([b"data: x\n\n", b"0\r\n\r\n", b"\n0", b"0", b"\r\n0\r\n\r\n"]), max_size=8)


def pending() -> PendingRequest:
    return PendingRequest(RawResponse(0, warmup=False, scheduled=None, sent=0))


def taken(pending: PendingRequest, *segments: bytes) -> list[bool]:
    return [pending.take((number, None, segment)) for number, segment in enumerate(segments)]


@given(events, st.sampled_from(ENDS), st.lists(st.integers(1, 200), max_size=8))
def test_a_response_ends_with_its_last_segment_however_it_is_cut(
    texts: list[bytes], end: bytes, places: list[int]
) -> None:
    wire = HEAD + b"".join(b"%x\r\n%s\r\n" % (len(text), text) for text in texts) + end
    cuts = sorted({min(place, len(wire) - 1) for place in places})
    segments = [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
    assert taken(pending(), *segments) == [False] * (len(segments) - 1) + [True]


def test_the_middle_of_a_stream_is_stored_and_not_read() -> None:
    one = pending()
    assert taken(one, HEAD, b"9\r\ndata: x\n\n\r\n") == [False, False]
    assert one.inside
    # Nobody has looked at this yet.
    assert taken(one, b"what is this\r\n") == [False]
    with pytest.raises(MalformedError, match="what is this"):
        one.follow()


def test_a_mistake_in_the_framing_is_found_at_the_end_at_the_latest() -> None:
    one = pending()
    taken(one, HEAD, b"9\r\ndata: x\n\n\r\n", b"what is this\r\n")
    with pytest.raises(MalformedError, match="what is this"):
        taken(one, b"0\r\n\r\n")


def test_a_body_of_known_length_is_followed_as_it_comes() -> None:
    one = pending()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
    assert taken(one, head, b"12345", b"67890") == [False, False, True]
    assert not one.inside


def test_a_request_that_goes_out_again_begins_anew() -> None:
    one = pending()
    taken(one, HEAD, b"9\r\ndata: x\n\n\r\n")
    one.begin_again()
    assert not one.inside
    assert taken(one, b"HTTP/1.1 204 No Content\r\n\r\n") == [True]


class Arrived(Clock):
    """Believes stamps that are the numbers of ns themselves."""

    def arrival(self, stamp: bytes | None, read: int, sent: int) -> int:
        return read if stamp is None else int(stamp)


def test_how_late_a_response_was_read_is_the_median_over_its_segments() -> None:
    one = pending()
    one.take((130, b"100", HEAD))
    for read, stamp in ((240, b"200"), (900, b"300"), (950, b"400"), (1010, b"1000"), (1200, None)):
        one.take((read, stamp, b"9\r\ndata: x\n\n\r\n"))
    one.read(Arrived())
    assert one.raw.read_lag == 40
    assert [at for at, _ in one.raw.body] == [200, 300, 400, 1000, 1200]
    nothing = pending()
    nothing.read(Arrived())
    assert nothing.raw.read_lag is None
