"""Does a request's result say what the server sent, and never more?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.client.outgoing import Writer
from pytest_llmbench.client.plan import Failure, Request, RequestResult
from pytest_llmbench.client.raw import RawResponse
from pytest_llmbench.client.stream import read_result
from pytest_llmbench.metrics.table import timeline_rows
from pytest_llmbench.metrics.timeline import Timeline, gaps
from pytest_llmbench.servers.endpoint import Endpoint

MS = 1_000_000
SENT = 1_000 * MS
ASKED = Request(max_new_tokens=4, prompt="Say it")


def completion(text: str = "", *, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
    return {"id": "cmpl-1", "object": "text_completion", "choices": [choice], **more}


def chat(*, finish: str | None = None, **delta: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [choice]}


def usage(completion_tokens: int, prompt_tokens: int = 7, **more: Any) -> dict[str, Any]:
    counts = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens, **more}
    return {"id": "cmpl-1", "choices": [], "usage": counts}


def event(data: Mapping[str, Any] | str) -> bytes:
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return f"data: {text}\n\n".encode()


DONE = event("[DONE]")
FOUR = [event(completion(text)) for text in (" a", " b", " c")] + [event(completion(" d", finish="length"))]


def read(
    *pieces: bytes,
    at: Iterable[int] | None = None,
    status: int | None = 200,
    failure: Failure | None = None,
    complete: bool = True,
    headers: Mapping[str, str] | None = None,
    scheduled: int | None = None,
    read_lag: int | None = None,
    request: Request = ASKED,
    **options: Any,
) -> RequestResult:
    """The result of a body whose pieces arrived 50, 60, 70, ... ms after the request was sent."""
    times = [SENT + (50 + 10 * i) * MS for i in range(len(pieces))] if at is None else list(at)
    raw = RawResponse(
        number=3,
        warmup=False,
        scheduled=scheduled,
        sent=SENT,
        ended=max(times, default=SENT) + MS,
        status=status,
        headers=headers or {},
        body=list(zip(times, pieces, strict=True)),
        complete=complete,
        failure=failure,
        read_lag=read_lag,
    )
    return read_result(raw, request, started=SENT, **options)


def timeline_metrics(line: Timeline) -> dict[str, float | None]:
    return {row.name: row.of(line) for row in timeline_rows()}


def kind_of(result: RequestResult) -> str | None:
    return None if result.failure is None else result.failure.kind


def detail_of(result: RequestResult) -> str:
    assert result.failure is not None
    return result.failure.detail


def sha256(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


# --- What succeeded ------------------------------------------------------------------------------


def test_a_stream_of_completions_gives_one_time_for_each_chunk() -> None:
    result = read(*FOUR, event(usage(4)), DONE, keep_text=True)
    line = result.timeline
    assert result.ok
    assert line is not None
    assert [time - SENT for time in line.token_times] == [50 * MS, 60 * MS, 70 * MS, 80 * MS]
    assert (line.sent, line.tokenized, line.prefilled, line.done) == (SENT, SENT, None, result.ended)
    assert (line.prompt_tokens, line.output_tokens, line.finish_reason) == (7, 4, "length")
    assert (line.output_hash, line.prompt_hash) == (sha256(" a b c d"), sha256("Say it"))
    assert (result.number, result.chunks, result.token_source, result.text) == (3, 4, "usage", " a b c d")
    assert timeline_metrics(line)["tpot"] == pytest.approx(0.010)


def test_the_text_is_kept_only_where_asked() -> None:
    assert read(*FOUR, DONE).text is None


def test_an_open_loop_counts_from_when_the_request_was_due() -> None:
    line = read(*FOUR, DONE, scheduled=SENT - 20 * MS).timeline
    assert line is not None
    assert (line.sent, line.tokenized) == (SENT - 20 * MS, SENT - 20 * MS)
    assert timeline_metrics(line)["ttft"] == pytest.approx(0.070)


def test_a_chunk_of_a_role_alone_is_no_token() -> None:
    result = read(
        event(chat(role="assistant", content="")),
        event(chat(content="Hi")),
        event(chat(content=None)),
        event(chat(finish="stop")),
        DONE,
    )
    assert result.timeline is not None
    assert [time - SENT for time in result.timeline.token_times] == [60 * MS]
    assert result.ok


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_counts_as_tokens_and_the_answer_is_told_apart(field: str) -> None:
    counted = usage(3, completion_tokens_details={"reasoning_tokens": 2})
    result = read(
        event(chat(**{field: "Well"})),
        event(chat(**{field: " then"})),
        event(chat(content="Yes", finish="stop")),
        event(counted),
        DONE,
        keep_text=True,
    )
    assert (result.chunks, result.reasoning_chunks, result.reasoning_tokens) == (3, 2, 2)
    assert result.first_content == 0.07
    assert result.timeline is not None
    assert result.timeline.token_times[0] == SENT + 50 * MS
    assert result.text == "Well thenYes"


def test_calls_of_tools_are_content() -> None:
    def call(**function: str) -> bytes:
        return event(chat(tool_calls=[{"index": 0, "function": function}]))

    result = read(
        call(name="look_up"), call(arguments='{"x":'), call(arguments=" 1}"), event(chat(finish="tool_calls"))
    )
    assert result.ok
    assert result.chunks == 3
    assert result.timeline is not None
    assert result.timeline.output_hash == sha256('look_up{"x": 1}')


THINKING = [
    [{"type": "thinking", "thinking": "Well"}],
    # Mistral's
    [{"type": "thinking", "thinking": [{"type": "text", "text": "Well"}]}],
    [{"type": "reasoning_text", "text": "Well"}],
    [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "Well"}]}],
    {"type": "thinking", "thinking": "Well"},
]
ANSWER = [
    [{"type": "text", "text": "Yes"}],
    [{"type": "output_text", "text": "Yes"}],
    [{"type": "text", "text": {"value": "Yes", "annotations": []}}],
    ["Yes"],
    [{"type": "of_another_day", "text": "Yes"}, {"type": "image_url", "image_url": {"url": "u"}}],
    [{"type": "refusal", "refusal": "Yes"}],
]


@pytest.mark.parametrize("thought", THINKING)
@pytest.mark.parametrize("answer", ANSWER)
def test_content_in_parts_is_text_and_its_thoughts_are_told_apart(thought: object, answer: object) -> None:
    result = read(
        event(chat(content=thought)), event(chat(content=answer, finish="stop")), DONE, keep_text=True
    )
    assert result.ok
    assert (result.chunks, result.reasoning_chunks) == (2, 1)
    assert result.first_content == 0.06
    assert result.text == "WellYes"


def test_an_answer_in_one_piece_may_have_its_content_in_parts() -> None:
    parts = [{"type": "thinking", "thinking": "Well"}, {"type": "text", "text": "Yes"}]
    message = {"role": "assistant", "content": parts}
    result = read(
        json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode(), keep_text=True
    )
    assert (result.ok, result.chunks, result.reasoning_chunks, result.text) == (True, 1, 1, "WellYes")
    assert result.first_content == 0.05


def test_parts_without_text_are_left_out_and_told() -> None:
    picture = {"type": "image_\x1b[31murl", "image_url": {"url": "data:..."}}
    result = read(event(chat(content=[picture, {"x": 1}])), *FOUR, DONE)
    assert result.ok
    assert (result.chunks, result.ignored_parts) == (4, ("image_?[31murl", "without a type"))
    empty = read(event(chat(content=[{"type": "audio"}], finish="stop")), event(usage(9)), DONE)
    assert kind_of(empty) == "empty"
    assert detail_of(empty).endswith("sent no text: its parts have the types audio")


def test_so_many_types_of_parts_are_kept_and_no_more() -> None:
    parts = [{"type": f"type{number}"} for number in range(1000)]
    assert len(read(event(chat(content=parts)), *FOUR, DONE).ignored_parts) == 8


@pytest.mark.parametrize(
    ("delta", "text"),
    [
        ({"refusal": "No"}, "No"),
        ({"function_call": {"name": "f", "arguments": "{}"}}, "f{}"),
        ({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": {"x": 1}}}]}, 'f{"x": 1}'),
    ],
)
def test_refusals_and_calls_of_every_form_are_content(delta: dict[str, Any], text: str) -> None:
    result = read(event(chat(**delta, finish="stop")), DONE, keep_text=True)
    assert (result.ok, result.text, result.reasoning_chunks) == (True, text, 0)
    assert result.first_content == 0.05


@pytest.mark.parametrize(
    "delta",
    [
        {"thinking": "Hm"},
        {"reasoning_details": [{"type": "reasoning.text", "text": "Hm"}]},
        {"reasoning": "Hm", "reasoning_details": [{"type": "reasoning.text", "text": "Hm"}]},
        {"reasoning_content": [{"type": "text", "text": "Hm"}], "content": ""},
    ],
)
def test_reasoning_of_every_form_is_taken_once(delta: dict[str, Any]) -> None:
    result = read(event(chat(**delta)), event(chat(content="Yes", finish="stop")), DONE, keep_text=True)
    assert (result.chunks, result.reasoning_chunks, result.text) == (2, 1, "HmYes")


def test_a_chunk_may_bring_several_tokens() -> None:
    result = read(event(completion(" a b c")), event(completion(" d e f", finish="length")), event(usage(6)))
    assert result.timeline is not None
    assert (result.chunks, result.timeline.output_tokens) == (2, 6)
    assert timeline_metrics(result.timeline)["tpot"] == pytest.approx(0.010 / 3)
    assert timeline_metrics(result.timeline)["tpot_all_tokens"] == pytest.approx(0.010 / 5)


def test_tokens_that_a_first_chunk_held_back_are_taken_off_by_the_length_of_its_text() -> None:
    chunks = [" one two three four", *[" more"] * 12]
    result = read(
        *(event(completion(text)) for text in chunks), event(completion(finish="stop")), event(usage(16))
    )
    assert result.timeline is not None
    assert (result.timeline.first_tokens, result.timeline.timed_tokens) == (4, 12)
    assert timeline_metrics(result.timeline)["tpot"] == pytest.approx(0.010)
    assert timeline_metrics(result.timeline)["tpot_all_tokens"] == pytest.approx(0.120 / 15)


@pytest.mark.parametrize("known", ["usage", "token_ids", "logprobs", "chat logprobs", "tokenizer"])
def test_tokens_of_the_first_chunk_are_counted_where_somebody_can(known: str) -> None:
    """By their text they would be 8 of the 16."""
    texts, sizes = [" a long long word", " b c d", " e f g"], [2, 7, 7]
    more: list[dict[str, Any]] = []
    told = 0
    for size in sizes:
        told += size
        tokens = [{"token": "t"}] * size
        more.append(
            {
                "usage": {"usage": {"prompt_tokens": 7, "completion_tokens": told}},
                "token_ids": {"token_ids": list(range(size))},
                "logprobs": {"logprobs": {"tokens": ["t"] * size}},
                "chat logprobs": {"logprobs": {"content": tokens}},
                "tokenizer": {},
            }[known]
        )
    bodies = [completion(text) for text in texts]
    for body, extra in zip(bodies, more, strict=True):
        (body if known == "usage" else body["choices"][0]).update(extra)
    lengths = {" a long long word": 2}
    count = lengths.get if known == "tokenizer" else None
    result = read(*map(event, bodies), event(completion(finish="stop")), event(usage(16)), count=count)
    assert result.timeline is not None
    assert (result.timeline.output_tokens, result.timeline.first_tokens) == (16, 2)
    assert timeline_metrics(result.timeline)["tpot"] == pytest.approx(0.020 / 14)


def test_a_count_with_the_first_chunk_that_cannot_be_is_not_taken() -> None:
    """A server that sends the number at the end with every chunk, for one."""
    chunks = [completion(" x y", usage={"prompt_tokens": 7, "completion_tokens": 8}) for _ in range(4)]
    result = read(*map(event, chunks), event(completion(finish="stop")), DONE)
    assert result.timeline is not None
    assert (result.timeline.output_tokens, result.timeline.first_tokens) == (8, 2)


def thought_of(reasoning: int | None, **more: Any) -> dict[str, Any]:
    return {"completion_tokens_details": {"reasoning_tokens": reasoning, **more}}


@pytest.mark.parametrize(
    ("counted", "details", "output", "hidden"),
    [
        (104, thought_of(100), 104, 100),
        # SGLang has it beside the others.
        (104, {"reasoning_tokens": 100}, 104, 100),
        (24, thought_of(0, rejected_prediction_tokens=20), 24, 20),
        (124, thought_of(100, rejected_prediction_tokens=20), 124, 120),
        # xAI counts them apart, and its total says so.
        (4, {**thought_of(100), "total_tokens": 111}, 104, 100),
        # Nonsense.
        (4, thought_of(100), 4, 0),
        (4, thought_of(4), 4, 0),
        (104, thought_of(-5), 104, 0),
        (104, thought_of(None), 104, 0),
        (4, thought_of(0, rejected_prediction_tokens=50), 4, 0),
        (4, {"completion_tokens_details": [1]}, 4, 0),
    ],
)
def test_tokens_that_were_counted_and_never_came_are_hidden(
    counted: int, details: dict[str, Any], output: int, hidden: int
) -> None:
    result = read(*FOUR, event(usage(counted, **details)), DONE)
    line = result.timeline
    assert line is not None
    assert (line.output_tokens, line.hidden_tokens) == (output, hidden)
    if output - hidden == 4:
        assert timeline_metrics(line)["tpot"] == pytest.approx(0.010)
        assert timeline_metrics(line)["tpot_all_tokens"] == pytest.approx(0.030 / (output - 1))
        # They are work that was done in that time.
        assert timeline_metrics(line)["output_throughput"] == pytest.approx(output / 0.080)


def thinking(words: int, counted: int) -> RequestResult:
    """A stream of so many words of reasoning and four of an answer, of which the server counted more."""
    thoughts = [event(chat(reasoning="word "))] * words
    answer = [*[event(chat(content="word "))] * 3, event(chat(content="word ", finish="stop"))]
    return read(*thoughts, *answer, event(usage(counted + 4, **thought_of(counted))), DONE)


def test_reasoning_that_came_is_not_hidden_and_a_summary_of_it_hides_the_rest() -> None:
    for words, counted, hidden in ((20, 20, 0), (20, 26, 0), (20, 15, 0), (20, 400, 380), (0, 400, 400)):
        line = thinking(words, counted).timeline
        assert line is not None
        assert line.hidden_tokens == hidden
        assert timeline_metrics(line)["tpot"] == pytest.approx(0.010, rel=0.35)


def test_reasoning_within_the_answer_came() -> None:
    texts = ["<think>so and so", " it is", "</think>", " Yes"]
    result = read(
        *(event(chat(content=text)) for text in texts),
        event(chat(finish="stop")),
        event(usage(40, **thought_of(30))),
        DONE,
    )
    assert result.timeline is not None
    assert result.timeline.hidden_tokens == 0


def test_calls_of_tools_are_tokens_that_came() -> None:
    def call(arguments: str) -> bytes:
        return event(chat(tool_calls=[{"index": 0, "function": {"arguments": arguments}}]))

    result = read(
        *map(call, ("{", '"x":', " 1", "}")),
        event(chat(finish="tool_calls")),
        event(usage(104, **thought_of(100))),
    )
    assert result.timeline is not None
    assert (result.timeline.hidden_tokens, result.timeline.timed_tokens) == (100, 3)


def test_chunks_that_arrived_many_at_a_time_have_no_times_between_tokens() -> None:
    lots = [b"".join([event(completion(" w"))] * 12)] * 3
    result = read(*lots, event(completion(finish="length")), event(usage(36)), DONE)
    line = result.timeline
    assert line is not None
    assert (result.ok, line.untimed, line.output_tokens, len(line.token_times)) == (True, "buffered", 36, 36)
    values = timeline_metrics(line)
    assert [values[name] for name in ("tpot", "tpot_all_tokens", "decode_throughput")] == [None] * 3
    assert gaps(line) == []
    assert values["ttft"] == pytest.approx(0.050)
    assert values["e2e_latency"] == pytest.approx(0.070)
    assert RequestResult.from_json(json.loads(json.dumps(result.to_json()))) == result


def test_the_same_chunks_are_not_held_against_a_server_whose_client_was_late() -> None:
    lots = [b"".join([event(completion(" w"))] * 12)] * 3
    late = read(*lots, event(completion(finish="length")), event(usage(36)), DONE, read_lag=MS)
    assert late.timeline is not None
    assert (late.timeline.untimed, late.timeline.first_tokens) == (None, 12)
    assert timeline_metrics(late.timeline)["tpot"] == pytest.approx(0.020 / 24)


def test_usage_in_every_chunk_counts_from_the_start() -> None:
    chunks = [completion(" x", usage={"prompt_tokens": 7, "completion_tokens": n}) for n in (1, 3, 4)]
    result = read(*map(event, chunks), event(completion(finish="length", usage=None)), DONE)
    assert result.timeline is not None
    assert (result.timeline.output_tokens, result.token_source) == (4, "usage")


def test_a_request_that_broke_off_has_the_tokens_counted_until_then() -> None:
    chunks = [completion(" x", usage={"prompt_tokens": 7, "completion_tokens": n}) for n in (2, 4)]
    reset = Failure("reset", "connection reset by peer")
    result = read(*map(event, chunks), complete=False, failure=reset)
    assert result.failure == reset
    assert result.timeline is not None
    assert (result.timeline.output_tokens, len(result.timeline.token_times)) == (4, 2)


@pytest.mark.parametrize(
    ("told", "timings", "cached"),
    [
        ({"prompt_tokens_details": {"cached_tokens": 5}}, None, (5, "usage")),
        ({"prompt_tokens_details": {"cached_tokens": 0}}, {"cache_n": 3}, (0, "usage")),
        ({"prompt_tokens_details": None}, {"cache_n": 3, "prompt_n": 4}, (3, "timings")),
        ({}, {"cache_n": 0, "prompt_n": 7}, (0, "timings")),
        ({"prompt_tokens_details": {"audio_tokens": 1}}, None, (None, None)),
        ({"prompt_tokens_details": [5]}, {"cache_n": -1}, (None, None)),
        ({"prompt_tokens_details": {"cached_tokens": "5"}}, "fast", (None, None)),
        ({}, {"cache_n": 10**30}, (None, None)),
    ],
)
def test_what_a_server_says_of_its_cache_is_kept_with_its_source(
    told: dict[str, Any], timings: object, cached: tuple[int | None, str | None]
) -> None:
    last = usage(4, **told) | ({} if timings is None else {"timings": timings})
    streamed = read(*FOUR, event(last), DONE)
    assert (streamed.cached_tokens, streamed.cached_source) == cached
    said = {"message": {"content": "a b"}, "finish_reason": "stop"}
    whole = read(json.dumps(last | {"choices": [said]}).encode())
    assert (whole.cached_tokens, whole.cached_source) == cached


def test_timings_in_the_last_chunk_of_text_are_read_too() -> None:
    first = completion(" a", timings={"cache_n": 1})
    result = read(event(first), event(completion(finish="stop", timings={"cache_n": 6})), DONE)
    assert (result.cached_tokens, result.cached_source) == (6, "timings")


def test_without_usage_the_tokenizer_counts_and_else_the_chunks_do() -> None:
    def count(text: str) -> int:
        return 2 * len(text.split())

    counted, guessed = read(*FOUR, DONE, count=count), read(*FOUR, DONE)
    assert counted.timeline is not None
    assert guessed.timeline is not None
    assert (counted.token_source, counted.timeline.output_tokens) == ("tokenizer", 8)
    assert counted.timeline.prompt_tokens == 4
    assert (guessed.token_source, guessed.timeline.output_tokens) == ("chunks", 4)
    assert guessed.timeline.prompt_tokens == 0


@pytest.mark.parametrize("told", [0, None, "4", True, -1, 4.0])
def test_a_count_that_cannot_be_is_not_taken(told: object) -> None:
    result = read(*FOUR, event({"choices": [], "usage": {"completion_tokens": told}}), DONE)
    assert result.timeline is not None
    assert (result.timeline.output_tokens, result.token_source) == (4, "chunks")


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (10**400, "its completion_tokens is a number of 401 digits"),
        (10**4000, "its completion_tokens is a number of 4001 digits"),
        (10**9, "its completion_tokens is a number of 10 digits"),
    ],
    ids=["401 digits", "4001 digits", "10 digits"],
)
def test_a_count_beyond_reason_fails_its_request(told: int, said: str) -> None:
    result = read(*FOUR, event({"choices": [], "usage": {"completion_tokens": told}}), DONE)
    assert result.failure is not None
    assert result.failure.kind == "malformed"
    assert said in result.failure.detail
    assert len(result.failure.detail) < 500


def test_a_count_of_reasoning_beyond_reason_fails_its_request() -> None:
    details = {"reasoning_tokens": 10**30}
    counted = {"completion_tokens": 4, "completion_tokens_details": details}
    result = read(*FOUR, event({"choices": [], "usage": counted}), DONE)
    assert result.failure is not None
    assert "reasoning_tokens is a number of 31 digits" in result.failure.detail


@pytest.mark.parametrize(
    "data",
    [b"[" * 100_000, b'{"choices": ' * 5000, b'{"usage": {"completion_tokens": ' + b"9" * 5000 + b"}}"],
    ids=["lists", "objects", "digits"],
)
def test_an_event_that_cannot_be_read_fails_its_request(data: bytes) -> None:
    for pieces in ((*FOUR, b"data: " + data + b"\n\n"), (data,)):
        result = read(*pieces)
        assert result.failure is not None
        assert result.failure.kind == "malformed"
        assert len(result.failure.detail) < 500
    refused = read(data, status=500)
    assert refused.failure is not None
    assert refused.failure.kind == "status"


def test_what_a_failure_repeats_is_printable_and_in_one_line() -> None:
    words = json.dumps({"error": {"message": "\x1b[2J\u202e\n" + "no " * 1000}}).encode()
    failure = read(words, status=500).failure
    assert failure is not None
    assert failure.detail.startswith("500 \\x1b[2J\\u202e no no")
    assert len(failure.detail) < 500


def test_a_reason_to_finish_without_end_is_cut() -> None:
    result = read(event(completion(" a", finish="x" * 100_000)), DONE)
    assert result.timeline is not None
    assert len(result.timeline.finish_reason) < 1000


def test_messages_are_hashed_as_canonical_json() -> None:
    messages = ({"role": "user", "content": "Grüß"}, {"content": "two", "role": "user"})
    request = Request(4, messages=messages)  # type: ignore[arg-type]
    line = read(event(chat(content="x", finish="stop")), request=request, count=len).timeline
    assert line is not None
    expected = '[{"content":"Grüß","role":"user"},{"content":"two","role":"user"}]'
    assert (line.prompt_hash, line.prompt_tokens) == (sha256(expected), 7)


@pytest.mark.parametrize(
    "choice",
    [
        {"text": " a b", "finish_reason": "length"},
        {"message": {"role": "assistant", "content": " a b"}, "finish_reason": "length"},
    ],
)
def test_a_response_that_was_not_streamed_is_one_chunk(choice: Mapping[str, Any]) -> None:
    body = json.dumps({"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}).encode()
    result = read(body[:20], body[20:])
    assert result.ok
    assert result.timeline is not None
    assert result.timeline.token_times == (SENT + 60 * MS,)
    assert result.timeline.output_tokens == 2


# --- The rules of server-sent events ---------------------------------------------------------------


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
@pytest.mark.parametrize("space", ["", " "])
def test_lines_end_in_each_of_three_ways_and_the_space_is_optional(end: str, space: str) -> None:
    lines = [f"data:{space}{json.dumps(completion(text, finish='stop'))}{end}{end}" for text in "ab"]
    result = read(*(line.encode() for line in lines), keep_text=True)
    assert result.ok
    assert result.text == "ab"


def test_comments_other_fields_and_a_byte_order_mark_are_passed_over() -> None:
    body = (
        b"\xef\xbb\xbf: hello\n\nevent: message\nid: 7\nretry: 100\nfoo\nbar: data: x\n"
        + event(completion("a", finish="stop"))
        + b":\n\ndata\n\ndata:\n\n"
        + DONE
    )
    result = read(body, keep_text=True)
    assert result.ok
    assert (result.text, result.chunks) == ("a", 1)


def test_several_data_lines_are_one_event_that_arrives_with_the_last() -> None:
    head, tail = b'data: {"choices": [{"text":\ndata: "a", ', b'"finish_reason": "stop"}]}'
    result = read(head, tail, b"\n", b"\n", keep_text=True)
    assert result.text == "a"
    assert result.timeline is not None
    assert result.timeline.token_times == (SENT + 60 * MS,)


def test_an_event_that_no_empty_line_ends_is_dropped() -> None:
    result = read(*FOUR[:3], FOUR[3].rstrip())
    assert result.chunks == 3
    assert kind_of(result) == "truncated"


def test_the_end_is_believed_without_its_empty_line() -> None:
    assert read(*FOUR[:3], b"data: [DONE]").ok


def test_what_comes_after_the_end_is_not_read() -> None:
    assert read(*FOUR, DONE, b"data: what\n\n").ok


def test_stamps_that_run_backwards_are_put_in_order() -> None:
    times = [SENT + ms * MS for ms in (50, 72, 70, 80)]
    line = read(*FOUR, at=times).timeline
    assert line is not None
    assert [time - SENT for time in line.token_times] == [50 * MS, 72 * MS, 72 * MS, 80 * MS]


TEXTS = ["Grüße", " ", "🙂", "\r\n", "data: x", '"}', "", " 漢字"]
STREAM = [
    *(event(completion(text)) for text in TEXTS),
    b": comment\r\n\r\n",
    event(completion("end", finish="length")).replace(b"\n", b"\r\n"),
    event(usage(9)),
    DONE,
]


@settings(max_examples=200, deadline=None)
@given(st.sets(st.integers(1, sum(map(len, STREAM)) - 1)))
def test_where_a_stream_is_cut_changes_nothing_but_when_its_events_arrived(cuts: set[int]) -> None:
    body = b"".join(STREAM)
    edges = [0, *sorted(cuts), len(body)]
    pieces = [body[a:b] for a, b in pairwise(edges)]
    whole, cut = read(body, keep_text=True), read(*pieces, keep_text=True)
    assert cut.ok
    assert cut.text == whole.text == "".join(TEXTS) + "end"
    expected, begin = [], 0
    for text, sent in zip([*TEXTS, "", "end"], STREAM[:-2], strict=True):
        last = begin + len(sent.rstrip(b"\r\n")) - 1
        begin += len(sent)
        if text:
            expected.append(SENT + (50 + 10 * sum(end <= last for end in edges[1:])) * MS)
    assert cut.timeline is not None
    assert list(cut.timeline.token_times) == expected


# --- What failed -----------------------------------------------------------------------------------


def test_an_error_in_the_stream_is_a_failure_in_the_servers_words() -> None:
    error = {"error": {"message": "CUDA out of memory", "type": "InternalServerError", "code": 500}}
    result = read(*FOUR[:2], event(error), DONE)
    assert result.failure == Failure("error_in_stream", "CUDA out of memory")
    assert result.timeline is not None
    assert len(result.timeline.token_times) == 2


@pytest.mark.parametrize(
    "body",
    [
        b"event: error\ndata: the engine is gone\n\n",
        b'event: error\ndata: {"message": "the engine is gone"}\n\n',
        b'data: {"object": "error", "message": "the engine is gone"}\n\n',
        b'error: {"error": "the engine is gone"}\n\n',
        b'{"error": {"message": "the engine is gone"}}',
        b'{"object": "error", "message": "the engine is gone"}',
    ],
)
def test_every_way_to_say_error_is_understood(body: bytes) -> None:
    assert read(body).failure == Failure("error_in_stream", "the engine is gone")


@pytest.mark.parametrize("reason", ["abort", "error"])
def test_a_request_that_the_server_gave_up_failed(reason: str) -> None:
    result = read(*FOUR[:3], event(completion(finish=reason)), event(usage(3)), DONE)
    assert kind_of(result) == "error_in_stream"
    assert reason in detail_of(result)


def test_the_servers_words_say_more_than_the_reset_that_followed() -> None:
    error = event({"error": {"message": "shutting down"}})
    result = read(FOUR[0], error, complete=False, failure=Failure("reset", "connection reset"))
    assert result.failure == Failure("error_in_stream", "shutting down")


def test_a_stream_that_just_ends_is_truncated() -> None:
    result = read(*FOUR[:3])
    assert kind_of(result) == "truncated"
    assert "after 3 chunks" in detail_of(result)
    assert kind_of(read(event(chat(role="assistant", content="")))) == "truncated"


def test_either_sign_of_the_end_is_enough() -> None:
    assert read(*FOUR).ok
    assert read(*FOUR[:3], DONE).ok


def test_a_body_that_broke_off_is_no_success_whatever_it_says() -> None:
    assert kind_of(read(*FOUR, complete=False)) == "truncated"
    reset = Failure("reset", "connection reset")
    assert read(*FOUR, DONE, complete=False, failure=reset).failure == reset


@pytest.mark.parametrize(
    "data", ['{"choices": [', "null", "[1]", '{"choices": [7]}', '{"choices": 7}', "<html>"]
)
def test_an_event_that_is_no_chunk_is_malformed_and_shown_with_its_place(data: str) -> None:
    result = read(FOUR[0], event(data), *FOUR[1:], DONE)
    assert kind_of(result) == "malformed"
    assert f"event 2, at byte {len(FOUR[0])}" in detail_of(result)
    assert data in detail_of(result)
    assert result.chunks == 1


@pytest.mark.parametrize(
    "content", [7, [7], [{"type": "text", "text": 7}], {"type": "thinking", "thinking": [[7]]}]
)
def test_text_that_is_no_text_is_malformed(content: object) -> None:
    result = read(event(chat(content=content)))
    assert kind_of(result) == "malformed"
    assert "a int in place of text" in detail_of(result)


def test_parts_within_parts_end_somewhere() -> None:
    content: object = "x"
    for _ in range(20):
        content = [content]
    assert kind_of(read(event(chat(content=content)))) == "malformed"


def test_bytes_that_are_no_utf8_are_malformed() -> None:
    result = read(FOUR[0], b'data: {"choices": [{"text": "\xff"}]}\n\n', *FOUR[1:], DONE)
    assert kind_of(result) == "malformed"
    assert result.chunks == 1


def test_long_rubbish_is_trimmed() -> None:
    result = read(event("x" * 100_000))
    assert kind_of(result) == "malformed"
    assert len(detail_of(result)) < 500


def test_no_token_is_no_success() -> None:
    result = read(event(completion("", finish="stop")), DONE)
    assert kind_of(result) == "empty"
    assert result.timeline is None
    counted = read(event(completion("", finish="stop")), event(usage(4)), DONE)
    assert detail_of(counted) == "the server counted 4 tokens and sent no text"


def test_a_page_in_place_of_a_stream_is_shown() -> None:
    result = read(b"<html><body>Log   in</body></html>")
    assert result.failure == Failure(
        "empty", "no event came; the response was '<html><body>Log in</body></html>'"
    )
    assert kind_of(read()) == "empty"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"error": {"message": "no such model", "code": 404}}', "no such model"),
        (b'{"error": "no such model"}', "no such model"),
        (b'{"message": "no such model"}', "no such model"),
        (b'{"detail": "no such model"}', "no such model"),
        (b'{"detail": [{"loc": ["body"], "msg": "bad"}]}', "body: bad"),
        (b"<h1>no such\n model</h1>", "<h1>no such model</h1>"),
        (b"", ""),
    ],
)
def test_a_refusal_has_its_number_and_the_servers_words(body: bytes, words: str) -> None:
    result = read(body, status=404, failure=Failure("status", "404"))
    assert result.failure == Failure("status", f"404 {words}".strip())
    assert result.timeline is None
    assert result.status == 404


def test_a_refusal_is_never_read_as_a_stream() -> None:
    result = read(*FOUR, DONE, status=500)
    assert kind_of(result) == "status"
    assert result.timeline is None


def test_a_redirect_says_where_to() -> None:
    result = read(b"", status=307, headers={"location": "https://there/v1"})
    assert "redirects to https://there/v1" in detail_of(result)


def test_what_went_wrong_below_is_kept_where_no_answer_came() -> None:
    refused = Failure("refused", "nothing listens on 127.0.0.1:1")
    result = read(status=None, complete=False, failure=refused)
    assert (result.failure, result.timeline, result.status) == (refused, None, None)
    assert kind_of(read(status=None, complete=False)) == "truncated"


def test_a_key_that_the_server_repeats_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-123456")
    endpoint = Endpoint(
        "http://x", "m", api_key_env="MY_KEY", headers={"Api-Key": "other-secret", "X-Auth": "Basic dXNlcg=="}
    )
    Writer(endpoint, GenerationParams())
    words = "keys sk-123456, other-secret and dXNlcg== are unknown"
    refused = read(json.dumps({"error": words}).encode(), status=401)
    broken = read(event({"error": {"message": words}}))
    malformed = read(event(words))
    assert detail_of(refused) == "401 keys ***, *** and *** are unknown"
    for result in (refused, broken, malformed):
        told = json.dumps(result.to_json())
        assert not any(secret in told for secret in ("sk-123456", "other-secret", "dXNlcg=="))


@pytest.mark.parametrize("before", range(380, 400, 3))
def test_a_key_that_lies_where_the_words_are_cut_is_masked(
    monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-123456")
    endpoint = Endpoint("http://x", "m", api_key_env="MY_KEY")
    Writer(endpoint, GenerationParams())
    result = read(json.dumps({"error": "x" * before + "sk-123456"}).encode(), status=401)
    assert "sk-" not in detail_of(result)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=6), st.booleans())
def test_no_bytes_raise(pieces: list[bytes], framed: bool) -> None:
    sent = [b"data: " + piece + b"\n\n" for piece in pieces] if framed else pieces
    result = read(*sent)
    assert RequestResult.from_json(json.loads(json.dumps(result.to_json()))) == result
    assert not result.ok
