"""Was a turn of a conversation answered, and with what, so that the next one can be sent?

This is asked while a level runs, where nearly nothing is read; a look is enough in nearly every case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pytest_llmbench.client.http import body_of
from pytest_llmbench.client.pending import PendingRequest
from pytest_llmbench.client.plan import Request
from pytest_llmbench.client.raw import RawResponse
from pytest_llmbench.client.stream import read_answer
from pytest_llmbench.workloads.messages import Message

_SHORT = 2048
"""Bytes of a response that is read whatever it seems to be: that takes no longer than to look at a long one,
and none without a token is longer."""
_END = 256
"""Bytes at a response's end in which a server says that it was all."""


def has_answered(pending: PendingRequest) -> bool:
    """Whether a response that came whole is an answer: it has tokens, no error, and an end.

    A long one in which no error is named and that ends as it should is taken for one without being read.
    """
    whole = b"".join(data for _, _, data in pending.segments)
    if len(whole) >= _SHORT and b"[DONE]" in whole[-_END:] and b"error" not in whole:
        return True
    return answer_of(pending) is not None


def answer_of(pending: PendingRequest) -> str | None:
    """What was answered, without its reasoning; None if the request failed."""
    raw, response = pending.raw, pending.response
    body = body_of((0, data) for _, _, data in pending.segments)
    came = RawResponse(raw.number, raw.warmup, None, 0, status=response.status, body=body, complete=True)
    return read_answer(came)


class LiveHistory:
    """The requests of a plan with the server's own answers in their messages, as far as these came."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self.requests = list(requests)
        self._answers: dict[int | None, list[str]] = {}
        """By conversation."""

    def put(self, answer: str, number: int) -> Request:
        """The request *number*, now that the turn before it has its *answer*.

        Of its messages, the last so many of the assistant are those that were answered here: before the first
        turn that was sent there may be others.
        """
        request = self.requests[number]
        answers = self._answers.setdefault(request.conversation, [])
        answers.append(answer)
        messages, left = list(request.messages or ()), list(answers)
        for place in reversed(range(len(messages))):
            if left and messages[place]["role"] == "assistant":
                said: Message = {"role": "assistant", "content": left.pop()}
                messages[place] = said
        self.requests[number] = replace(request, messages=tuple(messages))
        return self.requests[number]
