"""What did a server's bytes say, and when?

A raw response, which is what the wire carried, becomes a request's result: its events are read by the
rules of server-sent events (WHATWG HTML, section 9.2.6), their JSON by OpenAI's API reference, with
the reasoning fields of vLLM and SGLang. A response that is one JSON object counts as one chunk.

A request succeeded if the server answered 2xx, said that it was done, sent tokens and no error, and
nothing went wrong on the way. All else is a failure that keeps what had come.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import accumulate

from pydantic_core import from_json

from pytest_llmbench.client.arrivals import count_first, find_arrivals, why_untimed
from pytest_llmbench.client.counting import (
    Counts,
    cached_tokens,
    read_counts,
    read_ids,
    reasoning_tokens,
    told_ids,
)
from pytest_llmbench.client.deltas import read_message
from pytest_llmbench.client.plan import Failure, Request, RequestResult
from pytest_llmbench.client.raw import RawResponse
from pytest_llmbench.errors import one_line
from pytest_llmbench.metrics.bounds import MAX_NAME, check_counts, whole
from pytest_llmbench.metrics.timeline import NANO, Timeline
from pytest_llmbench.processes.wire import Json
from pytest_llmbench.secrets import mask

_BOM = b"\xef\xbb\xbf"
_KINDS = 8
"""So many types of parts without text are kept."""
_END_OF_THOUGHT = "</think>"
"""What is in an answer whose reasoning was not taken out of it."""
_GIVEN_UP = ("abort", "error")
"""Finish reasons by which vLLM and SGLang say that they gave a request up."""


def read_result(
    raw: RawResponse,
    request: Request,
    *,
    started: int,
    count: Callable[[str], int] | None = None,
    keep_text: bool = False,
) -> RequestResult:
    """The result of *request*, as *raw* has it, without the secrets that this process has sent.

    :param started: ns: the level's start.
    :param count: returns how many tokens a text has; asked where the server sent no ``usage``.
    :param keep_text: whether the result keeps the output's text.

    An event arrived when the last byte of its last data line did. Chunks without text (of a role
    alone, or of a token whose text is still held back) bring no tokens; those of reasoning and of
    tool calls do, and so do parts of a content in parts, as far as they have text. The timeline's
    ``tokenized`` is its ``sent``, since no client can know it; ``output_hash`` is over the output text in
    UTF-8 (reasoning and tool calls included, in order of arrival), ``prompt_hash`` over the prompt's, or
    over the messages as canonical JSON.
    ``prompt_tokens`` is 0 where they were not counted; *count* leaves out what a chat template adds.
    """
    output = _Output()
    answered = raw.status is not None and 200 <= raw.status < 300
    if answered:
        output.read(raw.body)
    failure = _failure(raw, output) if answered else _refusal(raw)
    if failure is not None:
        # Cut only when masked: half a key cannot be found.
        failure = Failure(failure.kind, one_line(mask(failure.detail)))
    text = "".join(output.parts)
    counts, source = output.tokens(count)
    cached = cached_tokens(output.usage, output.timings)
    due = raw.sent if raw.scheduled is None else raw.scheduled
    timeline = None
    if output.times:
        arrivals = find_arrivals(output.times, raw.sent)
        timeline = Timeline(
            sent=due,
            tokenized=due,
            prefilled=None,
            token_times=tuple(output.times),
            done=raw.ended,
            prompt_tokens=_prompt_tokens(output, request, count),
            output_tokens=counts.output,
            output_hash=_sha256(text),
            prompt_hash=prompt_hash(request),
            finish_reason=output.finish_reason or "unknown",
            hidden_tokens=counts.hidden,
            first_tokens=output.first_tokens(arrivals.first, counts, count),
            untimed=why_untimed(output.times, raw.sent, arrivals, counts.shown, raw.read_lag),
        )
    return RequestResult(
        number=raw.number,
        at=_seconds(raw.sent - started),
        send_lag=None if raw.scheduled is None else _seconds(raw.sent - due),
        status=raw.status,
        chunks=len(output.times),
        reasoning_chunks=output.reasoning_chunks,
        reasoning_tokens=reasoning_tokens(output.usage),
        first_content=None if output.first_content is None else _seconds(output.first_content - due),
        ignored_parts=output.ignored,
        token_source=source if output.times else None,
        cached_tokens=cached.tokens,
        cached_source=cached.source,
        attempts=raw.attempts,
        conversation=request.conversation,
        turn=request.turn,
        new_connection=raw.new_connection,
        warmup=raw.warmup,
        sent=raw.sent,
        ended=raw.ended,
        scheduled=raw.scheduled,
        failure=failure,
        timeline=timeline,
        text=text if keep_text else None,
        answer="".join(output.answer) if keep_text else None,
        answer_ids=tuple(output.answer_ids)
        if keep_text and len(output.answer_ids) == counts.output
        else None,
    )


def read_answer(raw: RawResponse) -> str | None:
    """What the server answered, without its reasoning; None if the request failed by what *raw* has."""
    output = _Output()
    if raw.status is None or not 200 <= raw.status < 300:
        return None
    output.read(raw.body)
    return None if _failure(raw, output) is not None else "".join(output.answer)


def _seconds(nanoseconds: int) -> float:
    return round(nanoseconds * NANO, 9)


class _Output:
    """What a response brought, chunk by chunk."""

    def __init__(self) -> None:
        self.times: list[int] = []
        """When each chunk with tokens arrived."""
        self.parts: list[str] = []
        """The text, in order of arrival."""
        self.answer: list[str] = []
        """That of it which is not reasoning."""
        self.answer_ids: list[int] = []
        """The ids of its tokens, as far as they came."""
        self.lengths = [0, 0]
        """Characters of the reasoning among it, and of everything else."""
        self.ends: list[int] = []
        """How many of these had come with each chunk."""
        self.told: list[int | None] = []
        """How many tokens the server had counted with each chunk; None where it did not say."""
        self.ids: list[int | None] = []
        """Of how many tokens each chunk has the ids or probabilities."""
        self.reasoning_chunks = 0
        self.first_content: int | None = None
        self.ignored: tuple[str, ...] = ()
        """The types of parts without text, each once."""
        self.usage: Json = {}
        """The last that came: where each chunk has it, it counts from the start."""
        self.timings: Json = {}
        """Of llama-server, the last that came."""
        self.finish_reason: str | None = None
        self.events = 0
        self.finished = False
        """Whether the server said that this was all."""
        self.failure: Failure | None = None

    def read(self, pieces: list[tuple[int, bytes]]) -> None:
        """Read the body up to its end, or to what cannot be right."""
        body = b"".join(piece for _, piece in pieces)
        # Bytes come in order: one that seems to have come before its predecessor did not.
        times = list(accumulate((at for at, _ in pieces), max))
        if body[:64].removeprefix(_BOM).lstrip()[:1] in (b"{", b"["):
            # Not streamed, or an error in place of the stream.
            self._take(b"", body.removeprefix(_BOM), times[-1], 0)
            self.finished = True
            return
        ends = list(accumulate(len(piece) for _, piece in pieces))
        for name, data, position, last in _events(body):
            if data.strip() == b"[DONE]":
                self.finished = True
                return
            self._take(name, data, times[bisect_right(ends, last)], position)
            if self.failure is not None:
                return
        self.finished = self.finish_reason is not None

    def _take(self, name: bytes, data: bytes, at: int, position: int) -> None:
        self.events += 1
        if name == b"error":
            self.failure = Failure("error_in_stream", _words(data))
            return
        try:
            chunk = from_json(data)
            if chunk.get("error") or chunk.get("object") == "error":
                self.failure = Failure("error_in_stream", _words(data))
            else:
                self._chunk(chunk, at)
        except (AttributeError, TypeError, ValueError) as error:
            # The first two: it is JSON, but no chunk of this API.
            self.failure = Failure(
                "malformed",
                f"event {self.events}, at byte {position} of the body, is not a chunk of the API ({error}): "
                f"{_plain(data)!r}",
            )

    def _chunk(self, chunk: Json, at: int) -> None:
        usage = chunk.get("usage")
        if isinstance(usage, dict):
            check_counts(usage)
            self.usage = usage
        if isinstance(timings := chunk.get("timings"), dict):
            self.timings = timings
        content = reasoning = False
        ids: int | None = None
        for choice in chunk.get("choices") or ():
            # A completion is a message whose content is called otherwise.
            message = choice.get("delta") or choice.get("message") or {"content": choice.get("text")}
            said = read_message(message)
            for text, thought in said.words:
                self.parts.append(text)
                self.lengths[not thought] += len(text)
                if not thought:
                    self.answer.append(text)
                reasoning |= thought
                content |= not thought
            self.answer_ids += read_ids(choice)
            if (known := told_ids(choice)) is not None:
                ids = known + (ids or 0)
            if said.ignored:
                self.ignored = tuple(sorted({*self.ignored, *said.ignored}))[:_KINDS]
            reason = choice.get("finish_reason")
            if reason:
                self.finish_reason = one_line(str(reason), MAX_NAME)
        if content or reasoning:
            self.times.append(at)
            self.ends.append(len(self.parts))
            self.told.append(whole(usage.get("completion_tokens")) if isinstance(usage, dict) else None)
            self.ids.append(ids)
            self.reasoning_chunks += reasoning
            if content and self.first_content is None:
                self.first_content = at
        if self.finish_reason in _GIVEN_UP:
            self.failure = Failure(
                "error_in_stream", f"the server gave the request up: finish_reason {self.finish_reason!r}"
            )

    def tokens(self, count: Callable[[str], int] | None) -> tuple[Counts, str]:
        """How many tokens came, and who says so."""
        if whole(self.usage.get("completion_tokens")) or not self.times:
            text = "".join(self.parts)
            found = read_counts(self.usage, len(self.times), *self.lengths, inline=_END_OF_THOUGHT in text)
            return found, "usage"
        if count is not None:
            return Counts(count("".join(self.parts))), "tokenizer"
        return Counts(len(self.times)), "chunks"

    def first_tokens(self, first: int, counts: Counts, count: Callable[[str], int] | None) -> int:
        """How many tokens came with the *first* of the chunks."""
        begin = "".join(self.parts[: self.ends[first - 1]])
        told, ids = self.told[first - 1], self.ids[:first]
        if told is not None:
            # What is hidden was made before.
            told -= counts.hidden
        elif None not in ids:
            told = sum(filter(None, ids))
        elif count is not None:
            told = count(begin)
        share = len(begin) / sum(self.lengths)
        return count_first(len(self.times), counts.shown, first, told=told, share=share)


def _events(body: bytes) -> Iterator[tuple[bytes, bytes, int, int]]:
    """Each event's name, its data, where it begins, and where the last byte of its data lies."""
    data: list[bytes] = []
    name = b""
    begin = last = 0
    position = len(_BOM) if body.startswith(_BOM) else 0
    for raw in body[position:].splitlines(keepends=True):
        line = raw.rstrip(b"\r\n")
        if line.startswith(b"data:"):
            if not data:
                begin = position
            data.append(line[6:] if line[5:6] == b" " else line[5:])
            last = position + len(line) - 1
        elif not line:
            if any(data):
                yield name, b"\n".join(data), begin, last
            data, name = [], b""
        elif line.startswith(b"event:"):
            name = line[6:].strip()
        elif line.startswith(b"error:"):
            # No field of the standard: so does llama-server name the event of an error.
            name, data, begin, last = b"error", [line[6:]], position, position + len(line) - 1
        position += len(raw)
    # The standard drops an event that no empty line ends, but this one has said all it can say.
    if data == [b"[DONE]"]:
        yield name, data[0], begin, last


def _failure(raw: RawResponse, output: _Output) -> Failure | None:
    """Why an answered request failed: the server's own words first, then the wire's."""
    if output.failure is not None and output.failure.kind == "error_in_stream":
        return output.failure
    if raw.failure is not None:
        return raw.failure
    if output.failure is not None:
        return output.failure
    if not raw.complete:
        return Failure("truncated", f"the response broke off after {len(output.times)} chunks")
    if not output.events:
        start = _plain(b"".join(piece for _, piece in raw.body))
        return Failure("empty", f"no event came; the response was {start!r}" if start else "no byte came")
    if not output.finished:
        return Failure(
            "truncated",
            f"the stream ended after {len(output.times)} chunks without a finish_reason or [DONE]",
        )
    if not output.times:
        told = whole(output.usage.get("completion_tokens"))
        what = f"the server counted {told} tokens and sent no text" if told else "no token came"
        parts = f": its parts have the types {', '.join(output.ignored)}" if output.ignored else ""
        return Failure("empty", what + parts)
    return None


def _refusal(raw: RawResponse) -> Failure:
    """Why a request failed that no 2xx answered."""
    if raw.status is None:
        return raw.failure or Failure("truncated", "no response came")
    words = _words(b"".join(piece for _, piece in raw.body))
    place = raw.headers.get("location")
    if 300 <= raw.status < 400 and place:
        words = f"redirects to {place}: give the address that answers itself"
    return Failure("status", f"{raw.status} {words}".strip())


def _words(body: bytes) -> str:
    """What an error's body says to a person."""
    try:
        said = from_json(body)
    except ValueError:
        return _plain(body)
    # {"error": {"message": ..., "param": ...}}, {"error": ...}, {"message": ...}, {"detail": ...} (FastAPI)
    param = None
    for key in ("error", "message", "detail"):
        if isinstance(said, dict) and said.get(key):
            param = said.get("param")
            said = said[key]
    text = _plain((_complaints(said) if not isinstance(said, str) else said).encode(errors="replace"))
    return f"{text} (param {param})" if isinstance(param, str) and param not in text else text


def _complaints(said: object) -> str:
    """What FastAPI says of each key that it does not take, without the values; else the JSON."""
    if isinstance(said, list) and said and all(isinstance(one, dict) and "msg" in one for one in said):
        return "; ".join(f"{'.'.join(map(str, one.get('loc') or ()))}: {one['msg']}" for one in said)
    return json.dumps(said)


def _plain(data: bytes) -> str:
    return " ".join(data.decode(errors="replace").split())


def _prompt_tokens(output: _Output, request: Request, count: Callable[[str], int] | None) -> int:
    told = whole(output.usage.get("prompt_tokens"))
    if told or count is None:
        return told or 0
    if request.messages is None:
        return count(request.prompt or "")
    return sum(count(message["content"]) for message in request.messages)


def prompt_hash(request: Request) -> str:
    """``sha256:HEX`` over the prompt in UTF-8, or over the messages as canonical JSON."""
    if request.messages is None:
        return _sha256(request.prompt or "")
    return _sha256(json.dumps(request.messages, ensure_ascii=False, sort_keys=True, separators=(",", ":")))


def _sha256(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
