"""Is a server that refuses a key asked in its own words, and is said what helps where that cannot be?"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import pytest

from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.client.facts import ClientFacts
from pytest_llmbench.client.outgoing import request_body
from pytest_llmbench.client.plan import LoadPlan, LoadResult, Request, RequestResult
from pytest_llmbench.client.raw import RawResponse
from pytest_llmbench.client.stream import read_result
from pytest_llmbench.client.words import TRIES, advice, agree, send
from pytest_llmbench.servers.endpoint import Api, Endpoint, asked_without, refused_note

ENDPOINT = Endpoint("http://127.0.0.1:1/v1", "m")
PARAMS = GenerationParams()
ANSWERED = RequestResult(number=0, at=0.0, warmup=False, sent=0, ended=1)


def refusal(message: object, status: int = 400) -> RequestResult:
    """A request that was refused with a body like this."""
    body = message if isinstance(message, str) else json.dumps(message)
    raw = RawResponse(0, False, None, sent=0, ended=1, status=status, body=[(1, body.encode())])
    return read_result(raw, Request(4, "x"), started=0)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
            "'max_completion_tokens' instead.",
            {"max_tokens": "max_completion_tokens"},
        ),
        ({"error": {"message": "Unrecognized request argument supplied: seed"}}, {"seed": None}),
        ({"error": {"message": "Unknown parameter", "param": "ignore_eos"}}, {"ignore_eos": None}),
        (
            "Unrecognized request arguments supplied: ignore_eos, min_tokens",
            dict.fromkeys(("ignore_eos", "min_tokens")),
        ),
        (
            {
                "detail": [
                    {"loc": ["body", "cache_salt"], "msg": "Extra inputs are not permitted", "input": "seed"}
                ]
            },
            {"cache_salt": None},
        ),
        ("`temperature` and `top_p` cannot both be specified for this model", {"top_p": None}),
        ("stream_options is not supported", {"stream_options": None}),
    ],
)
def test_a_refusal_tells_the_words(said: object, words: dict[str, str | None]) -> None:
    assert agree(ENDPOINT, refusal(said, 422), PARAMS) == words


@pytest.mark.parametrize(
    ("result", "endpoint", "params"),
    [
        (refusal("bad request"), ENDPOINT, PARAMS),
        # What would be another request is not changed behind the user's back.
        (refusal("'temperature' does not support 0.0"), ENDPOINT, PARAMS),
        (refusal("top_p is not supported"), ENDPOINT, GenerationParams(temperature=0.5, top_p=0.9)),
        # What was not sent, or went already, does not help.
        (refusal("ignore_eos is unknown"), dataclasses.replace(ENDPOINT, extensions=False), PARAMS),
        (refusal("seed is unknown"), dataclasses.replace(ENDPOINT, words={"seed": None}), PARAMS),
        # A server that repeats the request names every key.
        (refusal("seed stream_options ignore_eos min_tokens top_p"), ENDPOINT, PARAMS),
        (refusal("seeds and a-seed and seed_x"), ENDPOINT, PARAMS),
        (refusal("seed is busy", 503), ENDPOINT, PARAMS),
    ],
)
def test_a_refusal_that_names_nothing_that_can_go_is_one(
    result: RequestResult, endpoint: Endpoint, params: GenerationParams
) -> None:
    assert agree(endpoint, result, params) is None


def served(*refused: str) -> Callable[[LoadPlan], LoadResult]:
    """A server that refuses these keys, the first of them first."""

    def run(plan: LoadPlan) -> LoadResult:
        body = request_body(plan.endpoint, plan.requests[0], plan.params)
        named = next((key for key in refused if key in body), None)
        instead = "; use max_completion_tokens" if named == "max_tokens" else ""
        result = ANSWERED if named is None else refusal(f"no {named!r}{instead}")
        return LoadResult((result,), 0, 1, ClientFacts(stamps="user"))

    return run


def test_a_server_is_asked_until_it_takes_the_request() -> None:
    plan = LoadPlan(ENDPOINT, (Request(4, "x"),), PARAMS, concurrency=1)
    result, words = send(served("seed", "max_tokens", "min_tokens"), plan)
    assert result.requests[0].ok
    assert words == {"seed": None, "max_tokens": "max_completion_tokens", "min_tokens": None}
    body = request_body(dataclasses.replace(ENDPOINT, words=words or {}), Request(4, "x"), PARAMS)
    assert body["max_completion_tokens"] == 4
    assert not {"seed", "max_tokens", "min_tokens"} & body.keys()
    assert send(served(), plan)[1] is None


def test_nothing_is_learnt_from_a_server_that_takes_no_words() -> None:
    plan = LoadPlan(ENDPOINT, (Request(4, "x"),), PARAMS, concurrency=1)
    result, words = send(served("seed", "model"), plan)
    assert words is None
    assert "no 'model'" in str(result.requests[0].failure)
    tries = []

    def endless(plan: LoadPlan) -> LoadResult:
        tries.append(plan)
        return LoadResult((refusal("seed, top_p"),), 0, 1, ClientFacts(stamps="user"))

    send(endless, plan)
    assert len(tries) <= TRIES


def test_a_users_own_body_goes_over_the_words() -> None:
    endpoint = dataclasses.replace(
        ENDPOINT, words={"seed": None}, body={"stream_options": {"more": True}, "top_p": None, "user": "me"}
    )
    body = request_body(endpoint, Request(4, "x"), PARAMS)
    assert body["stream_options"] == {"include_usage": True, "more": True}
    assert body["user"] == "me"
    assert not {"seed", "top_p"} & body.keys()


def test_the_protocol_says_in_which_words_and_without_what() -> None:
    endpoint = dataclasses.replace(
        ENDPOINT, words={"seed": None, "max_tokens": "x"}, body={"temperature": None}
    )
    assert asked_without(endpoint) == {
        "temperature": None,
        "seed": None,
        "words": {"seed": None, "max_tokens": "x"},
    }
    assert asked_without(ENDPOINT) == {"words": None}


def test_what_leaving_out_means_is_told() -> None:
    assert refused_note({"max_tokens": "max_completion_tokens"}) is None
    assert refused_note({"seed": None}) == "the server refuses 'seed', so it is asked without"
    assert "may end its answers early" in str(refused_note({"ignore_eos": None}))
    assert "prefix cache" in str(refused_note({"cache_salt": None}))


@pytest.mark.parametrize(
    ("result", "api", "helps"),
    [
        (
            refusal("temperature is fixed"),
            "chat",
            """leave it out with --llm-option 'server.body={"temperature": null}'""",
        ),
        (refusal("no thinking here"), "chat", """server.body={"KEY": null}"""),
        (refusal("Not Found", 404), "completions", "server.api=chat"),
        (refusal("who are you", 401), "chat", "server.api_key_env=NAME"),
        (refusal("busy", 503), "chat", ""),
        (refusal("Not Found", 404), "chat", ""),
    ],
)
def test_a_refusal_comes_with_the_option_that_helps(result: RequestResult, api: Api, helps: str) -> None:
    said = advice(dataclasses.replace(ENDPOINT, api=api), result)
    assert helps in said
    assert bool(said) == bool(helps)
