"""What does a server count of itself, and how much of it happened in between?

Servers tell it as Prometheus text under names of their own; :data:`.table.ENGINES` says which of
them are ours. What a server does not tell is None, with a reason in :attr:`Scraper.reasons`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Literal

from pytest_llmbench.errors import one_line
from pytest_llmbench.metrics.bounds import MAX_COUNTER
from pytest_llmbench.servers.ask import Access, NoAnswerError, get
from pytest_llmbench.servers.table import ENGINES
from pytest_llmbench.servers.urls import read_url

Kind = Literal["counter", "amount", "share"]

KINDS: dict[str, Kind] = {
    "running": "amount",
    "waiting": "amount",
    "kv_cache_use": "share",
    "prefix_cache_queries": "counter",
    "prefix_cache_hits": "counter",
    "preemptions": "counter",
    "prompt_tokens": "counter",
    "generation_tokens": "counter",
    "draft_tokens": "counter",
    "accepted_tokens": "counter",
    "acceptance": "share",
}
"""Our names. A counter only grows; an amount is now, and several engines of one server add up; a share
is between 0 and 1, and of several engines the largest counts. ``running`` and ``waiting`` are requests;
queries and hits of the prefix cache are tokens of prompts (blocks, for trtllm); ``draft_tokens``,
``accepted_tokens`` and ``acceptance`` are of speculative decoding."""

_MOST_SERIES = 10_000
"""Lines of the metrics that we want; a server of hundreds of engines has fewer."""

RATES = {
    "prefix_cache_hit_rate": ("prefix_cache_hits", "prefix_cache_queries"),
    "acceptance": ("accepted_tokens", "draft_tokens"),
}
"""Shares that :func:`difference` makes of two counters, where the lower one grew."""


class Scraper:
    """Reads the counters of one server.

    :param url: where its Prometheus text is; None where it has none.
    :param engine: its name in :data:`.table.ENGINES`; None where it is not known.
    """

    def __init__(
        self, url: str | None = None, engine: str | None = None, access: Access | None = None
    ) -> None:
        self.url = url
        """Where its text is; None where it has none."""
        self._engine = engine
        self._access = access
        self.reasons: dict[str, str] = {}
        """Our name to why the last reading does not have it."""

    def read(self, *, timeout: float = 5.0) -> dict[str, float | None]:
        """Every name of :data:`KINDS` to what the server says now; None where it does not say.

        Never raises for what the server does: :attr:`reasons` says what was wrong.
        """
        names = ENGINES[self._engine].counters if self._engine in ENGINES else {}
        try:
            if self.url is None or not names:
                raise ScrapeError(self._nothing())
            found = scrape(self.url, names, self._access, timeout=timeout)
            missing = f"{self._engine} does not report it at {read_url(self.url).shown}"
        except ScrapeError as error:
            found, missing = {}, str(error)
        self.reasons = {name: missing for name in KINDS if name not in found}
        return {name: found.get(name) for name in KINDS}

    def difference(
        self,
        before: Mapping[str, float | None],
        after: Mapping[str, float | None],
        between: Iterable[Mapping[str, float | None]] = (),
    ) -> dict[str, float | None]:
        """See :func:`difference`."""
        return difference(before, after, between)

    def _nothing(self) -> str:
        if self._engine is None:
            return "which engine the server runs is not known, so neither are the names of its metrics"
        return f"{self._engine} has no Prometheus metrics"


class ScrapeError(Exception):
    """The counters cannot be read; the message says why."""


def scrape(
    url: str, names: Mapping[str, tuple[str, ...]], access: Access | None = None, *, timeout: float = 5.0
) -> dict[str, float]:
    """What the server at *url* says now, by our names; without those that it does not say.

    :param names: our name to the sample names whose sum it is.
    :raises ScrapeError: if there is nothing to be read.
    """
    return parse(fetch(url, access, timeout=timeout), names)


def labels(url: str, sample: str, access: Access | None = None, *, timeout: float = 5.0) -> dict[str, str]:
    """The labels of the first of a server's samples of that name; empty where it has none.

    :raises ScrapeError: if there is nothing to be read.
    """
    from prometheus_client.parser import text_string_to_metric_families

    text = fetch(url, access, timeout=timeout)
    line = next((line for line in text.splitlines() if line.startswith(sample)), "")
    try:
        families = list(text_string_to_metric_families(line))
    except (LookupError, ValueError) as error:
        msg = f"the server's metrics are not Prometheus text: {error}"
        raise ScrapeError(msg) from None
    found = [one.labels for family in families for one in family.samples if one.name == sample]
    return dict(found[0]) if found else {}


def fetch(url: str, access: Access | None = None, *, timeout: float = 5.0) -> str:
    """The Prometheus text at *url*.

    :raises ScrapeError: if it cannot be read.
    """
    try:
        answer = get(url, access, timeout=timeout)
    except NoAnswerError as error:
        msg = f"{read_url(url).shown} does not answer: {error}"
        raise ScrapeError(msg) from None
    if answer.status != 200:
        msg = f"{read_url(url).shown} answers with status {answer.status}"
        raise ScrapeError(msg)
    return answer.body.decode(errors="replace")


def parse(text: str, names: Mapping[str, tuple[str, ...]]) -> dict[str, float]:
    """Our names to their values in *text*, over all label sets; without those it has not, or has as NaN.

    :raises ScrapeError: if it is not Prometheus text.
    """
    from prometheus_client.parser import text_string_to_metric_families

    wanted = {sample for samples in names.values() for sample in samples}
    # A server has thousands of others, and reading them takes a core that the load may need.
    lines = [line for line in text.splitlines() if line.startswith(tuple(wanted))]
    if not lines and "# TYPE " not in text:
        msg = f"the server's metrics are not Prometheus text: {one_line(text, 60)!r}"
        raise ScrapeError(msg)
    found: dict[str, list[float]] = {}
    try:
        for family in text_string_to_metric_families("\n".join(lines[:_MOST_SERIES])):
            for sample in family.samples:
                if sample.name in wanted and abs(sample.value) <= MAX_COUNTER:
                    found.setdefault(sample.name, []).append(sample.value)
    except (LookupError, ValueError) as error:
        msg = f"the server's metrics are not Prometheus text: {error}"
        raise ScrapeError(msg) from None
    values = {}
    for name, samples in names.items():
        if all(sample in found for sample in samples):
            over = max if KINDS[name] == "share" else math.fsum
            values[name] = math.fsum(over(found[sample]) for sample in samples)
    return values


def difference(
    before: Mapping[str, float | None],
    after: Mapping[str, float | None],
    between: Iterable[Mapping[str, float | None]] = (),
) -> dict[str, float | None]:
    """What happened between two readings: counters as growth, the others as the largest reading.

    Beside the names of :data:`KINDS` it has those of :data:`RATES`. None where a reading lacks the
    name, where a counter shrank (the server was restarted meanwhile), and for a rate of nothing.

    :param between: further readings, for the largest.
    """
    readings = [before, *between, after]
    change: dict[str, float | None] = {}
    for name, kind in KINDS.items():
        if kind == "counter":
            first, last = before.get(name), after.get(name)
            grown = None if first is None or last is None else last - first
            change[name] = None if grown is None or grown < 0 else grown
        else:
            known = [value for reading in readings if (value := reading.get(name)) is not None]
            change[name] = max(known, default=None)
    for name, (part, whole) in RATES.items():
        over, under = change[part], change[whole]
        rate = over / under if over is not None and under else None
        change[name] = rate if rate is not None else change.get(name)
    return change
