"""Which server is it that runs already, and what does it serve?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from pytest_llmbench.errors import BackendUnavailableError
from pytest_llmbench.metrics.bounds import short, whole
from pytest_llmbench.processes.wire import Json
from pytest_llmbench.secrets import mask
from pytest_llmbench.servers.ask import Access, Answer, NoAnswerError, get
from pytest_llmbench.servers.table import ENGINES
from pytest_llmbench.servers.urls import URL, read_url

_NOT_SUPPORTED = re.compile(
    r"not (?:be )?(?:supported|implemented|available|found)|unsupported|no such (?:path|route)", re.IGNORECASE
)
_LOOKED_AT = 4096
"""Bytes of a refusal."""
METRICS_PATHS = ("/metrics", "/prometheus/metrics")


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What a running server says of itself."""

    models: tuple[str, ...]
    """What requests may call its models; the first is as good a default as any. Empty where it fails
    to list them, as ``transformers serve`` does without a hub's cache."""
    also: frozenset[str]
    """Further names that its models answer to."""
    context: Mapping[str, int]
    """Model to the tokens that prompt and output may have together, where it says so."""
    engine: str | None
    """Its name in :data:`.table.ENGINES`, guessed from what it answers; None where nothing tells."""
    version: str | None
    metrics_url: str | None
    """Where its Prometheus metrics are; None where it has none."""
    header: str | None
    """Its ``Server`` header."""


def probe(
    base_url: str, access: Access | None = None, *, named: bool = False, timeout: float = 10.0
) -> ServerInfo:
    """Ask the server at *base_url* (``http://HOST:PORT/v1``) what it is.

    :param named: whether the model is known, so that it does no harm if the server lists none.
    :param timeout: seconds for each of the few questions.
    :raises BackendUnavailableError: if it does not answer, refuses, or has no OpenAI-compatible API.
    :raises UsageError: if the key's variable is not set.
    """
    url = read_url(base_url, "base_url")
    if url.user is not None:
        access = access or Access()
        access = replace(access, headers={**url.headers, **access.headers})
    try:
        answer = get(url.at("/models"), access, timeout=timeout)
    except NoAnswerError as error:
        raise BackendUnavailableError(_unreachable(url, error)) from None
    entries = [] if answer.status == 500 else model_entries(answer)
    if entries is None and named and _lists_none(answer) and not _is_below(url, access, timeout):
        entries = []
    if entries is None:
        raise BackendUnavailableError(_refusal(url, answer, access))
    root = url.root.text
    header = answer.headers.get("server")
    metrics_url, counted = _metrics(root, access, timeout)
    engine = counted or _engine_of(entries, header)
    return ServerInfo(
        models=tuple(entry["id"] for entry in entries),
        also=frozenset(name for entry in entries for name in _also(entry)),
        context={e["id"]: n for e in entries if (n := whole(e.get("max_model_len")))},
        engine=engine,
        version=version_of(root, engine, access, timeout=timeout),
        metrics_url=metrics_url,
        header=header,
    )


def model_entries(answer: Answer) -> list[Json] | None:
    """The entries of an answer of ``/v1/models``; None where it is none."""
    body = answer.json()
    listed = body.get("data") if isinstance(body, dict) else None
    if answer.status != 200 or not isinstance(listed, list):
        return None
    return [entry for entry in listed if isinstance(entry, dict) and short(entry.get("id"))]


def version_of(
    root: str, engine: str | None, access: Access | None = None, *, timeout: float = 5.0
) -> str | None:
    """The version that a server tells; None where it does not.

    :param root: its URL, without ``/v1``.
    """
    row = ENGINES.get(engine or "")
    path, keys = ("/version", "version") if row is None or row.version is None else row.version
    try:
        found = get(read_url(root).at(path), access, timeout=timeout).json()
    except NoAnswerError:
        return None
    for key in keys.split("."):
        found = found.get(key) if isinstance(found, dict) else None
    return short(found)


def _metrics(root: str, access: Access | None, timeout: float) -> tuple[str | None, str | None]:
    """Where the Prometheus metrics are, and the engine whose names they bear."""
    for path in METRICS_PATHS:
        try:
            answer = get(read_url(root).at(path), access, timeout=timeout)
        except NoAnswerError:
            continue
        text = answer.body.decode(errors="replace")
        if answer.status != 200 or "# TYPE " not in text:
            continue
        for row in ENGINES.values():
            if any(sample in text for samples in row.counters.values() for sample in samples):
                return read_url(root).at(path), row.name
        return read_url(root).at(path), None
    return None, None


def _engine_of(entries: list[Json], header: str | None) -> str | None:
    owners = [entry.get("owned_by") for entry in entries]
    for row in ENGINES.values():
        if row.owned_by is not None and row.owned_by in owners:
            return row.name
    return "llama-server" if header is not None and header.startswith("llama.cpp") else None


def _unreachable(url: URL, error: NoAnswerError) -> str:
    advice = {
        "refused": "is the server running, and is this its port?",
        "timeout": "is it still loading, or is it busy?",
        "tls": "name its authority with --llm-option server.ca_file=FILE, or set server.verify=false",
        "resolve": "is the host's name right?",
        "broken": "does it speak HTTP there, and not HTTPS, or the other way round?",
        "too_large": "is this the address of its API?",
    }[error.kind]
    if error.kind == "timeout" and url.scheme == "https":
        # A server without TLS may wait for the end of what it takes for a request.
        advice += " Or does it speak HTTP there, and not HTTPS?"
    return f"no server answers at {url.shown}: {error}; {advice}"


def refused_key(url: str, answer: Answer, access: Access | None) -> str | None:
    """Why a server does not let us in, and what to do; None where the answer is another."""
    if answer.status not in (401, 403) or _lists_none(answer):
        return None
    variable = None if access is None else access.api_key_env
    if variable is None and access is not None and "authorization" in map(str.lower, access.headers):
        return f"{url} refuses the user (status {answer.status}): check the user and password of its URL"
    if variable is None:
        return (
            f"{url} wants an API key (status {answer.status}), and none was sent: name the environment "
            "variable that holds it, with --llm-option server.api_key_env=NAME"
        )
    return f"{url} does not accept the API key in {variable} (status {answer.status})"


def _refusal(base: URL, answer: Answer, access: Access | None) -> str:
    url = mask(base.at("/models"))
    if (key := refused_key(url, answer, access)) is not None:
        return key
    if answer.status == 503:
        return f"{url} answers with status 503: the server is not ready; is it still loading?"
    said = f"answers with status {answer.status}"
    if answer.status == 200:
        said = "does not answer with a list of models"
    hint = "" if base.path.endswith("/v1") else f"; the API is mostly at {mask(base.at('/v1'))}"
    if _lists_none(answer):
        hint += "; a server that cannot list its models needs the name of one: --llm-model"
    return f"{url} {said}: this is not an OpenAI-compatible server{hint}"


def _lists_none(answer: Answer) -> bool:
    """Whether it may be the list of models alone that a server lacks."""
    if answer.status in (400, 403):
        return _NOT_SUPPORTED.search(answer.body[:_LOOKED_AT].decode(errors="replace")) is not None
    return answer.status in (200, 404, 405, 501)


def _is_below(url: URL, access: Access | None, timeout: float) -> bool:
    """Whether the API is at ``/v1`` below what was given: then every request would miss it."""
    if url.path.endswith("/v1"):
        return False
    with suppress(NoAnswerError):
        return model_entries(get(url.at("/v1/models"), access, timeout=timeout)) is not None
    return False


def _also(entry: Json) -> Iterator[str]:
    """Other names of a model: aliases (llama-server), what it is of (vLLM), without its tag (Ollama)."""
    aliases = entry.get("aliases")
    for name in (entry.get("root"), *(aliases if isinstance(aliases, list) else ())):
        if short(name):
            yield name
    yield entry["id"].removesuffix(":latest")
