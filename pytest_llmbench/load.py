"""What can a test ask of a server under load?"""

from __future__ import annotations

import hashlib
import math
import secrets
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pytest_llmbench.backends.base import GenerationParams, Message
from pytest_llmbench.backends.options import option_values
from pytest_llmbench.errors import EngineError, LLMBenchError, LLMBenchWarning, UsageError
from pytest_llmbench.measure.engine import Prompt
from pytest_llmbench.measure.load.bench import LoadBench
from pytest_llmbench.measure.load.plan import LoadPlan, Request
from pytest_llmbench.measure.run import Run
from pytest_llmbench.measure.timeline import NANO
from pytest_llmbench.model import free_label
from pytest_llmbench.options import TRACE
from pytest_llmbench.workloads.arrivals import parse_arrivals
from pytest_llmbench.workloads.datasets import Dataset, read_dataset
from pytest_llmbench.workloads.lengths import parse_length
from pytest_llmbench.workloads.requests import (
    Calibration,
    Item,
    TextOf,
    from_items,
    make_requests,
    words_text,
)

if TYPE_CHECKING:
    from pytest_llmbench.models.spec import ModelSpec, ResolvedModel
    from pytest_llmbench.selection import CaseParam
    from pytest_llmbench.serving import Running
    from pytest_llmbench.session import BenchSession

_HOW_OFTEN = ("requests", "duration", "warmup_requests", "processes", "timeout")
_WHAT = (
    *("max_new_tokens", "seed", "temperature", "top_k", "top_p", "ignore_eos"),
    *("arrivals", "slo", "prompt_length", "output_length", "dataset", "shared_prefix", "prefix_cache"),
)
_FEWEST_REQUESTS = 64
_OPEN_LOOP_SECONDS = 30.0
# A request alone may have been slower than most: a cold cache, a long output.
_MARGIN = 2.0
_SHORTEST = 1e-3
# English in the tokenizers of today's models, where a server does not tell.
_TOKENS_PER_WORD = 4 / 3
# Words of the prompts from which a server's tokens a word are learnt.
_CALIBRATION_WORDS = (32, 256) * 4


@dataclass(slots=True, repr=False)
class LLMLoad:
    """The fixture ``llm_load``: one server under one load level, ready to be measured."""

    _session: BenchSession
    _case: CaseParam
    settings: Mapping[str, Any]
    """Every setting as it holds for this test."""
    runs: list[Run] = field(default_factory=list)
    """Every measurement of this test so far."""
    _server: Running | None = None
    _calibration: Calibration | None = None

    def __repr__(self) -> str:
        return f"<llm_load {self._case.id}>"

    @property
    def name(self) -> str:
        """What requests call the model; before the first request, as the test named it."""
        return self._case.spec.name if self._server is None else self._server.target.model

    @property
    def backend(self) -> str:
        """The backend's name."""
        return self._case.backend.name

    @property
    def quantization(self) -> str | None:
        """The quantisation that the test asked for."""
        return self._case.spec.quantization

    @property
    def concurrency(self) -> int | None:
        """How many requests at once; None at a request rate."""
        return None if self._case.load is None else self._case.load.concurrency

    @property
    def request_rate(self) -> float | None:
        """How many requests a second; None at a concurrency."""
        return None if self._case.load is None else self._case.load.request_rate

    @property
    def resolved(self) -> ResolvedModel | ModelSpec:
        """The model with its files where this session serves it, or else its spec."""
        if self._server is not None and self._server.model is not None:
            return self._server.model
        return replace(self._case.spec, name=self.name)

    @property
    def server(self) -> Running:
        """The server; started or looked at when it is first asked for.

        :raises LLMBenchError: if it does not start, or does not answer.
        """
        if self._server is None:
            self._server = self._session.servers.get(self._case, self.settings["backend_options"])
        return self._server

    def measure(
        self,
        prompt: str | Sequence[Message] | None = None,
        *,
        label: str | None = None,
        **settings: Any,
    ) -> Run:
        """Send one load level, ``processes`` times, each from a client process of its own.

        :param prompt: a text or chat messages for all requests, made unique at its beginning unless
            ``prefix_cache=True``; by default made prompts of ``prompt_length`` tokens, or ``dataset``.
        :param label: names this measurement, where a test makes several.
        :param settings: ``max_new_tokens``, ``prompt_length``, ``output_length``, ``dataset``,
            ``shared_prefix``, ``arrivals``, ``slo``, ``seed``, ``temperature``, ``top_k``, ``top_p``,
            ``ignore_eos``, ``prefix_cache``; ``requests``, ``duration``, ``warmup_requests``,
            ``processes`` and ``timeout`` too, where the command line does not set them.
        :raises LLMBenchError: if the server does not answer or every request fails; requests that
            were answered until then are kept.
        """
        __tracebackhide__ = True
        try:
            return self._measure(prompt, label, settings)
        except LLMBenchError as error:
            raise error.with_traceback(None) from None
        finally:
            self._session.progress.done()

    def finish(self) -> None:
        """The test is over; the server stays for the next one."""

    def _measure(
        self, prompt: str | Sequence[Message] | None, label: str | None, settings: Mapping[str, Any]
    ) -> Run:
        if (gating := self._session.gating) is not None and gating.base is not None:
            msg = "llm_load is not measured in pairs: leave --llm-ab out, or compare with --llm-compare"
            raise UsageError(msg)
        values = self._session.call_settings(self.settings, settings, _WHAT, _HOW_OFTEN)
        options = option_values(self._case.backend, values["backend_options"].get(self.backend, {}))
        workload = _Workload(
            values, None if prompt is None else Prompt.of(prompt), self._dataset(values), secrets.randbits(40)
        )
        fresh = (
            values["processes"] > 1 and self._case.server is not None and self._case.server.engine is not None
        )
        run = Run(free_label(label, self.runs), {})
        self.runs.append(run)
        for process in range(values["processes"]):
            if fresh and process:
                self._server = self._session.servers.restart(self._case, self.settings["backend_options"])
            bench = LoadBench(
                self.server, self._session.loop_monitor, self._session.progress, slo=values["slo"]
            )
            plan = self._plan(workload, bench, options, process)
            run.protocol = self._protocol(workload, plan, options)
            level = bench.level(plan, run, fresh=fresh)
            if level.invalid is not None:
                warnings.warn(LLMBenchWarning(f"{self._case.id}: {level.invalid}"), stacklevel=4)
        return run

    def _plan(
        self, workload: _Workload, bench: LoadBench, options: Mapping[str, Any], process: int
    ) -> LoadPlan:
        values = workload.values
        target, params = self.server.target, _params(values)
        if workload.needs_calibration and self._calibration is None:
            self._calibration = self._calibrate(bench, params, values["timeout"])
        warmup, count = self._counts(workload, bench, params)
        items = workload.items(warmup + count, self._calibration, process)
        return LoadPlan(
            target=target,
            requests=tuple(
                _request(item, params.max_new_tokens, target.endpoint == "chat") for item in items
            ),
            params=params,
            concurrency=self.concurrency,
            schedule=None if self.concurrency is not None else self._schedule(workload, items, process),
            duration=values["duration"],
            warmup=warmup,
            timeout=values["timeout"],
            retries=options["retries"],
        )

    def _schedule(self, workload: _Workload, items: Sequence[Item], process: int) -> tuple[float, ...]:
        """When each request is due, in seconds."""
        arrivals, rate = workload.values["arrivals"], self.request_rate
        if arrivals != TRACE:
            assert rate is not None
            return parse_arrivals(arrivals).schedule(rate, len(items), workload.values["seed"] + process)
        times = [item.at for item in items if item.at is not None]
        if not times or len(times) < len(items):
            msg = "arrivals='trace' needs a data set with time stamps: --llm-dataset FILE"
            raise UsageError(msg)
        scale = 1.0
        if rate is not None and times[-1] > times[0]:
            scale = (len(times) - 1) / (times[-1] - times[0]) / rate
        return tuple((at - times[0]) * scale for at in times)

    def _counts(self, workload: _Workload, bench: LoadBench, params: GenerationParams) -> tuple[int, int]:
        """Warm-up requests, and measured ones."""
        values, rate = workload.values, self.request_rate
        if self._session.disabled:
            return 0, 1
        warmup: int | None = values["warmup_requests"]
        requests: int | None = values["requests"]
        duration: float | None = values["duration"]
        if self.concurrency is not None:
            warmup = self.concurrency if warmup is None else warmup
            if requests is None and duration is not None:
                # No request is quicker in company than alone: so many are enough, the time ends the level.
                alone = self._seconds_alone(workload, bench, params)
                requests = self.concurrency * (1 + math.ceil(_MARGIN * duration / alone))
            return warmup, requests or max(_FEWEST_REQUESTS, 4 * self.concurrency)
        if rate is None or values["arrivals"] == TRACE:
            return warmup or 0, requests or (0 if workload.dataset is None else len(workload.dataset.items))
        warmup = math.ceil(rate) if warmup is None else warmup
        seconds = duration or max(_OPEN_LOOP_SECONDS, _FEWEST_REQUESTS / rate)
        return warmup, requests or parse_arrivals(values["arrivals"]).count_for(seconds, rate)

    def _calibrate(self, bench: LoadBench, params: GenerationParams, timeout: float) -> Calibration:
        """Ask the server how many tokens it makes of so many words."""
        short = replace(params, max_new_tokens=1)
        texts = [words_text(words, seed=index) for index, words in enumerate(_CALIBRATION_WORDS)]
        chat = self.server.target.endpoint == "chat"
        requests = tuple(_request(Item(prompt=text), 1, chat) for text in texts)
        # In a stream, not every server tells what it counted.
        target = replace(self.server.target, stream=False)
        result = bench.ask(LoadPlan(target, requests, short, concurrency=1, timeout=timeout))
        counted = [
            (_CALIBRATION_WORDS[r.number], r.timeline.prompt_tokens)
            for r in result.requests
            if r.ok and r.timeline is not None
        ]
        if len({words for words, _ in counted}) < len(set(_CALIBRATION_WORDS)):
            failure = next(r.failure for r in result.requests if r.failure is not None)
            msg = f"{self.server.label}: too many of the first requests failed: {failure}"
            raise EngineError(msg)
        try:
            return Calibration.fit(counted)
        except UsageError:
            said = ", ".join(f"{tokens} tokens for {words} words" for words, tokens in counted[:2])
            msg = (
                f"{self._case.id}: the server's token counts are not those of its prompts ({said}): prompts "
                f"are made with {_TOKENS_PER_WORD:.2f} tokens for a word"
            )
            warnings.warn(LLMBenchWarning(msg), stacklevel=6)
            return Calibration(0.0, _TOKENS_PER_WORD)

    def _seconds_alone(self, workload: _Workload, bench: LoadBench, params: GenerationParams) -> float:
        """How long one request takes that has the server for itself."""
        (item,) = workload.items(1, self._calibration, -1)
        request = _request(item, params.max_new_tokens, self.server.target.endpoint == "chat")
        timeout = workload.values["timeout"]
        result = bench.ask(LoadPlan(self.server.target, (request,), params, concurrency=1, timeout=timeout))
        return max((result.ended - result.started) * NANO, _SHORTEST)

    def _dataset(self, values: Mapping[str, Any]) -> Dataset | None:
        path: str | None = values["dataset"]
        if path is None:
            return None
        dataset = read_dataset(path, root=self._session.config.rootpath)
        for note in dataset.notes:
            warnings.warn(LLMBenchWarning(f"{path}: {note}"), stacklevel=6)
        return dataset

    def _protocol(self, workload: _Workload, plan: LoadPlan, options: Mapping[str, Any]) -> dict[str, Any]:
        """How it was measured, for the results document: cases compare only if these are equal."""
        values = workload.values
        return {
            "concurrency": plan.concurrency,
            "request_rate": self.request_rate,
            "arrivals": None if plan.schedule is None else values["arrivals"],
            "requests": values["requests"],
            "duration": values["duration"],
            "warmup_requests": plan.warmup,
            **workload.protocol(),
            "chat": plan.target.endpoint == "chat",
            "ignore_eos": plan.params.ignore_eos,
            "temperature": plan.params.temperature,
            "top_k": plan.params.top_k,
            "top_p": plan.params.top_p,
            "seed": plan.params.seed,
            "slo": dict(values["slo"]) or None,
            "processes": values["processes"],
            "prefix_cache": values["prefix_cache"],
            "timeout": plan.timeout,
            "options": {
                k: v for k, v in options.items() if k not in ("api_key_env", "start_timeout", "proxy")
            },
        }


@dataclass(frozen=True, slots=True)
class _Workload:
    """What is asked under load."""

    values: Mapping[str, Any]
    prompt: Prompt | None
    dataset: Dataset | None
    text_seed: int
    """Of the words that make prompts unique: another in each measurement of each session, because a
    server that runs for long keeps the prompts of earlier sessions too."""

    @property
    def needs_calibration(self) -> bool:
        """Whether prompts are made to a length, which only the server's own tokenizer knows."""
        if self.prompt is not None:
            return False
        return self.dataset is None or self.dataset.needs_prompts

    def items(self, count: int, calibration: Calibration | None, process: int) -> list[Item]:
        """So many requests; those of another *process* differ."""
        values = self.values
        text_seed = self.text_seed + process
        unique = not values["prefix_cache"]
        text_of: TextOf | None = None if calibration is None else calibration.text_of
        if self.prompt is not None:
            fixed = Item(prompt=self.prompt.text, messages=self.prompt.messages)
            return from_items([fixed], count, seed=text_seed, unique=unique, text_of=text_of)
        output = parse_length(values["output_length"] or values["max_new_tokens"])
        if self.dataset is not None:
            items = from_items(self.dataset.items, count, seed=text_seed, unique=unique, text_of=text_of)
            if values["output_length"] is None:
                return items
            lengths = output.sample(count, values["seed"])
            return [replace(item, output_tokens=n) for item, n in zip(items, lengths, strict=True)]
        assert text_of is not None
        return make_requests(
            count,
            prompt_length=parse_length(values["prompt_length"]),
            output_length=output,
            seed=values["seed"],
            text_seed=text_seed,
            text_of=text_of,
            shared_prefix=values["shared_prefix"],
        )

    def protocol(self) -> dict[str, Any]:
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
            "prompt_length": values["prompt_length"] if made else None,
            "output_length": values["output_length"],
            "max_new_tokens": values["max_new_tokens"],
            "shared_prefix": (values["shared_prefix"] or None) if made else None,
        }


def _params(values: Mapping[str, Any]) -> GenerationParams:
    keys = ("max_new_tokens", "ignore_eos", "temperature", "top_k", "top_p", "seed")
    return GenerationParams(**{key: values[key] for key in keys})


def _request(item: Item, max_new_tokens: int, chat: bool) -> Request:
    """The request for one item, in the form that the endpoint takes.

    :raises UsageError: for messages where the endpoint takes a text.
    """
    tokens = item.output_tokens or max_new_tokens
    if chat:
        messages = item.messages or ({"role": "user", "content": item.prompt or ""},)
        return Request(tokens, messages=messages)
    if item.messages is not None:
        msg = "chat messages need the chat endpoint: --llm-option openai.endpoint=chat"
        raise UsageError(msg)
    return Request(tokens, prompt=item.prompt)
