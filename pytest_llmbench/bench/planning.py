"""What is sent in a load level: which prompts, how many, and when?"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from pytest_llmbench.backends.base import GenerationParams, Options
from pytest_llmbench.backends.options import kept_options
from pytest_llmbench.bench.talks import Given, TalkLevel
from pytest_llmbench.client.plan import LoadPlan, Request
from pytest_llmbench.errors import EngineError, UsageError, warn
from pytest_llmbench.hardware.memory import available
from pytest_llmbench.measure.engine import Prompt
from pytest_llmbench.measure.load import LoadBench
from pytest_llmbench.measure.saturation import FEWEST_REQUESTS
from pytest_llmbench.metrics.timeline import NANO
from pytest_llmbench.processes.wire import Json
from pytest_llmbench.servers.endpoint import asked_without
from pytest_llmbench.servers.options import SERVER_OPTIONS
from pytest_llmbench.settings.values import TRACE
from pytest_llmbench.workloads.arrivals import parse_arrivals
from pytest_llmbench.workloads.datasets import Dataset
from pytest_llmbench.workloads.lengths import parse_length
from pytest_llmbench.workloads.requests import (
    Item,
    TextOf,
    TokenEstimator,
    from_items,
    make_requests,
    words_text,
)
from pytest_llmbench.workloads.scenarios.conversation import Conversation

if TYPE_CHECKING:
    from pytest_llmbench.cases.case import LoadLevel
    from pytest_llmbench.settings.case import CaseSettings

_FEWEST_REQUESTS = 64
# At a rate: what tells saturation, and as many again by a quarter for the start and the end of the level.
_FEWEST_AT_A_RATE = FEWEST_REQUESTS * 5 // 4
_OPEN_LOOP_SECONDS = 30.0
# A request alone may have been slower than most: a cold cache, a long output.
_MARGIN = 2.0
_SHORTEST = 1e-3
# A word and a space: in a prompt, in the body that is made of it, and in the client's own copy.
_BYTES_PER_TOKEN = 16
_NEEDS_CHAT = "chat messages need the chat endpoint: --llm-option server.endpoint=chat"
# Words of the prompts from which a server's tokens a word are learned.
_CALIBRATION_WORDS = (32, 256) * 4


@dataclass(slots=True)
class Planner:
    """Makes the plans of one measurement's levels."""

    workload: Workload
    load: LoadLevel
    label: str
    """What warnings call the case."""
    disabled: bool
    """Whether one request is all."""
    estimator: TokenEstimator | None = None
    """How many tokens a server makes of so many words, once it was asked."""
    talks: TalkLevel | None = field(init=False, default=None)
    """The conversations of the levels; None where each request stands for itself."""

    def __post_init__(self) -> None:
        workload = self.workload
        if self.load.conversations is not None or workload.conversations:
            self.talks = TalkLevel.of(workload.values, self.load, workload.given, workload.text_seed)

    def learn(self, bench: LoadBench) -> TokenEstimator | None:
        """Ask a server how many tokens it makes of so many words; None if it does not matter.

        What was learned first holds for all plans, so that they ask for the same.

        :raises EngineError: if it does not answer.
        """
        if not self._needs_estimator:
            return None
        found = self._fit_estimator(bench, self.workload.values.params, self.workload.values.timeout)
        self.estimator = self.estimator or found
        return found

    def agree(self, bench: LoadBench) -> None:
        """Find out in which words a server wants to be asked, by a request of one token.

        :raises EngineError: if it takes none.
        """
        if bench.server.agreed:
            return
        params = replace(self.workload.values.params, max_new_tokens=1)
        request = _request(self.workload.sample, 1, bench.server.endpoint.api == "chat")
        timeout = self.workload.values.timeout
        bench.agree(LoadPlan(bench.server.endpoint, (request,), params, concurrency=1, timeout=timeout))

    def plan(self, bench: LoadBench, options: Options, *, number: int, text: int) -> LoadPlan:
        """The next level for the server of *bench*.

        :param options: of the backend, all of them.
        :param number: of the process or pair; the arrivals of each are drawn anew.
        :param text: of the prompts: another number, other words.
        """
        values = self.workload.values
        params = values.params
        if self._needs_estimator and self.estimator is None:
            self.learn(bench)
        self.agree(bench)
        if bench.server.lacks is not None and self.load.concurrency != 1 and number == 0:
            warn(f"{self.label}: {bench.server.lacks}")
        endpoint = bench.server.endpoint
        if self.talks is not None:
            return self._plan_talks(self.talks, bench, options, text)
        warmup, count = self._counts(bench, params, text)
        items = self.workload.items(warmup + count, self.estimator, text)
        chat = endpoint.api == "chat"
        return LoadPlan(
            endpoint=endpoint,
            requests=tuple(_request(item, params.max_new_tokens, chat) for item in items),
            params=params,
            concurrency=self.load.concurrency,
            schedule=None if self.load.concurrency is not None else self._schedule(items, number),
            duration=values.duration,
            warmup=warmup,
            timeout=values.timeout,
            retries=options["retries"],
        )

    def _plan_talks(self, talks: TalkLevel, bench: LoadBench, options: Options, text: int) -> LoadPlan:
        """The next level of conversations."""
        values, endpoint = talks.values, bench.server.endpoint
        if endpoint.api != "chat":
            raise UsageError(_NEEDS_CHAT)
        alone = None
        if values.requests is None and values.duration is not None and not self.disabled:
            alone = self._seconds_alone(bench, values.params, text)
        text_of = None if self.estimator is None else self.estimator.text_of
        requests, warmup = talks.requests(text, text_of, alone=alone, once=self.disabled, label=self.label)
        return LoadPlan(
            endpoint=endpoint,
            requests=requests,
            params=values.params,
            concurrency=self.load.concurrency,
            conversations=talks.at_once,
            history=talks.history,
            duration=values.duration,
            warmup=warmup,
            timeout=values.timeout,
            retries=options["retries"],
        )

    @property
    def _needs_estimator(self) -> bool:
        """Whether texts are made to a length, which only the server's own tokenizer knows."""
        return self.workload.needs_estimator if self.talks is None else self.talks.talks.makes_text

    def _schedule(self, items: Sequence[Item], number: int) -> tuple[float, ...]:
        """When each request is due, in seconds."""
        arrivals, rate = self.workload.values.arrivals, self.load.request_rate
        if arrivals != TRACE:
            assert rate is not None
            return parse_arrivals(arrivals).schedule(rate, len(items), self.workload.values.seed + number)
        times = [item.at for item in items if item.at is not None]
        if not times or len(times) < len(items):
            msg = "arrivals='trace' needs a data set with time stamps: --llm-dataset=FILE"
            raise UsageError(msg)
        dataset = self.workload.dataset
        if rate is None and dataset is not None and dataset.doubt is not None:
            msg = f"{dataset.path}: {dataset.doubt}"
            raise UsageError(msg)
        scale = 1.0
        if rate is not None and times[-1] > times[0]:
            scale = (len(times) - 1) / (times[-1] - times[0]) / rate
        return tuple((at - times[0]) * scale for at in times)

    def _time_unit(self, plan: LoadPlan) -> Json:
        """How the time stamps were read at which requests were sent."""
        dataset, values = self.workload.dataset, self.workload.values
        if plan.schedule is None or values.arrivals != TRACE or dataset is None:
            return {}
        return {"time_unit": dataset.time_unit}

    def _counts(self, bench: LoadBench, params: GenerationParams, text: int) -> tuple[int, int]:
        """Warm-up requests, and measured ones."""
        values, rate = self.workload.values, self.load.request_rate
        if self.disabled:
            return 0, 1
        warmup, requests, duration = values.warmup_requests, values.requests, values.duration
        if self.load.concurrency is not None:
            warmup = self.load.concurrency if warmup is None else warmup
            if requests is None and duration is not None:
                # No request is quicker in company than alone: so many are enough, the time ends the level.
                alone = self._seconds_alone(bench, params, text)
                requests = self.load.concurrency * (1 + math.ceil(_MARGIN * duration / alone))
            return warmup, requests or max(_FEWEST_REQUESTS, 4 * self.load.concurrency)
        if rate is None or values.arrivals == TRACE:
            return warmup or 0, requests or (
                0 if self.workload.dataset is None else len(self.workload.dataset.items)
            )
        warmup = math.ceil(rate) if warmup is None else warmup
        count = parse_arrivals(values.arrivals).count_for(duration or _OPEN_LOOP_SECONDS, rate)
        return warmup, requests or (count if duration else max(_FEWEST_AT_A_RATE, count))

    def _fit_estimator(self, bench: LoadBench, params: GenerationParams, timeout: float) -> TokenEstimator:
        """Ask the server how many tokens it makes of so many words."""
        short = replace(params, max_new_tokens=1)
        texts = [words_text(words, seed=index) for index, words in enumerate(_CALIBRATION_WORDS)]
        chat = bench.server.endpoint.api == "chat"
        requests = tuple(_request(Item(prompt=text), 1, chat) for text in texts)
        # In a stream, not every server tells what it counted.
        endpoint = replace(bench.server.endpoint, stream=False)
        result = bench.ask(LoadPlan(endpoint, requests, short, concurrency=1, timeout=timeout))
        counted = [
            (_CALIBRATION_WORDS[r.number], r.timeline.prompt_tokens)
            for r in result.requests
            if r.ok and r.timeline is not None
        ]
        if len({words for words, _ in counted}) < len(set(_CALIBRATION_WORDS)):
            failure = next(r.failure for r in result.requests if r.failure is not None)
            msg = f"{bench.server.label}: too many of the first requests failed: {failure}"
            raise EngineError(msg)
        estimator, note = TokenEstimator.fit_or_guess(counted)
        if note is not None:
            warn(f"{self.label}: {note}")
        return estimator

    def _seconds_alone(self, bench: LoadBench, params: GenerationParams, text: int) -> float:
        """How long one request takes that has the server for itself."""
        sample = self.workload.sample
        (item,) = [sample] if self.talks is not None else self.workload.items(1, self.estimator, -1 - text)
        request = _request(item, params.max_new_tokens, bench.server.endpoint.api == "chat")
        timeout = self.workload.values.timeout
        result = bench.ask(
            LoadPlan(bench.server.endpoint, (request,), params, concurrency=1, timeout=timeout)
        )
        return max((result.ended - result.started) * NANO, _SHORTEST)

    def protocol(self, plan: LoadPlan, options: Options) -> Json:
        """How it was measured, for the results document: cases compare only if these are equal."""
        values = self.workload.values
        return {
            "concurrency": plan.concurrency,
            "request_rate": self.load.request_rate,
            "arrivals": None if plan.schedule is None else values.arrivals,
            "requests": values.requests,
            "duration": values.duration,
            "warmup_requests": plan.warmup,
            **(self.workload.protocol() if self.talks is None else self.talks.protocol()),
            **self._time_unit(plan),
            "chat": plan.endpoint.api == "chat",
            **asdict(plan.params),
            "slo": dict(values.slo) or None,
            "processes": values.processes,
            "prefix_cache": values.prefix_cache,
            "timeout": plan.timeout,
            "options": kept_options(SERVER_OPTIONS, options),
            **asked_without(plan.endpoint),
        }


@dataclass(frozen=True, slots=True)
class Workload:
    """What is asked under load."""

    values: CaseSettings
    prompt: Prompt | None
    dataset: Dataset | None
    text_seed: int
    """Of the words that make prompts unique: another in each measurement of each session, because a
    server that runs for long keeps the prompts of earlier sessions too."""
    conversations: tuple[Conversation, ...] = ()
    """What is held instead of single requests; in a level of conversations, none are made ones."""

    @property
    def given(self) -> Given | None:
        """The conversations that are given, by the call or by a data set; None where they are made.

        :raises UsageError: for a prompt, which is none.
        """
        if self.prompt is not None:
            msg = "a prompt is one request: give measure(conversation=...), or leave the prompt out"
            raise UsageError(msg)
        if self.conversations:
            return Given.of(self.conversations)
        return None if self.dataset is None else Given.of_dataset(self.dataset)

    @property
    def needs_estimator(self) -> bool:
        """Whether prompts are made to a length, which only the server's own tokenizer knows."""
        if self.prompt is not None:
            return False
        return self.dataset is None or self.dataset.needs_prompts

    @property
    def sample(self) -> Item:
        """What a request that is not measured may ask."""
        if self.prompt is not None:
            return Item(prompt=self.prompt.text, messages=self.prompt.messages)
        if self.dataset is not None and not self.dataset.needs_prompts:
            return self.dataset.items[0]
        return Item(prompt=words_text(_CALIBRATION_WORDS[0], seed=self.text_seed))

    def items(self, count: int, estimator: TokenEstimator | None, text: int) -> list[Item]:
        """So many requests; with another *text*, in other words and of the same lengths."""
        values = self.values
        text_seed = self.text_seed + text
        unique = not values.prefix_cache
        text_of: TextOf | None = None if estimator is None else estimator.text_of
        if self.prompt is not None:
            fixed = Item(prompt=self.prompt.text, messages=self.prompt.messages)
            return from_items([fixed], count, seed=text_seed, unique=unique, text_of=text_of)
        output = parse_length(values.output_length or values.max_new_tokens)
        if self.dataset is not None:
            self._check_room(self.dataset, count)
            items = from_items(self.dataset.items, count, seed=text_seed, unique=unique, text_of=text_of)
            if values.output_length is None:
                return items
            lengths = output.sample(count, values.seed)
            return [replace(item, output_tokens=n) for item, n in zip(items, lengths, strict=True)]
        assert text_of is not None
        return make_requests(
            count,
            prompt_length=parse_length(values.prompt_length),
            output_length=output,
            seed=values.seed,
            text_seed=text_seed,
            text_of=text_of,
            shared_prefix=values.shared_prefix,
        )

    def _check_room(self, dataset: Dataset, count: int) -> None:
        """Refuse prompts that the memory has no room for: a trace may have any number of any length.

        :raises UsageError: with the figures.
        """
        again, rest = divmod(count, len(dataset.items))
        tokens = again * sum(item.prompt_tokens or 0 for item in dataset.items)
        tokens += sum(item.prompt_tokens or 0 for item in dataset.items[:rest])
        need, free = tokens * _BYTES_PER_TOKEN, available()
        if need > free:
            msg = (
                f"{dataset.path}: {count} requests have prompts of {tokens} tokens together, which need some "
                f"{need / 1e9:.2g} GB here, and {free / 1e9:.2g} GB are free: ask for fewer requests"
            )
            raise UsageError(msg)

    def protocol(self) -> Json:
        """What of it changes the work."""
        values = self.values
        made = self.prompt is None and self.dataset is None
        digest = None
        if self.prompt is not None:
            digest = "sha256:" + hashlib.sha256(repr(self.prompt).encode()).hexdigest()
        elif self.dataset is not None:
            digest = self.dataset.digest
        return {
            "prompts": digest,
            "prompt_length": values.prompt_length if made else None,
            "output_length": values.output_length,
            "shared_prefix": (values.shared_prefix or None) if made else None,
            **self._block_size(),
        }

    def _block_size(self) -> Json:
        """How many tokens requests have in common for each name of a block that they have in common."""
        size = None if self.prompt is not None or self.dataset is None else self.dataset.block_size
        return {} if size is None else {"block_size": size}


def _request(item: Item, max_new_tokens: int, chat: bool) -> Request:
    """The request for one item, in the form that the endpoint takes.

    :raises UsageError: for messages where the endpoint takes a text.
    """
    tokens = item.output_tokens or max_new_tokens
    if chat:
        messages = item.messages or ({"role": "user", "content": item.prompt or ""},)
        return Request(tokens, messages=messages)
    if item.messages is not None:
        raise UsageError(_NEEDS_CHAT)
    return Request(tokens, prompt=item.prompt)
