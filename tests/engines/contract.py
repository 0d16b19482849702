"""What does every backend promise, whichever engine runs it?

A backend's tests subclass :class:`EngineContract`, say what the suite cannot know of the engine (how its
evaluations are counted, how a token is made an end token, ...), and add what is theirs alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from pytest_llmbench.backends.base import (
    Backend,
    Engine,
    GenerationParams,
    KnowsItsCache,
    LoadsVocabularies,
)
from pytest_llmbench.backends.cpu_time import CPU_TIME, told_of_cpu_time
from pytest_llmbench.backends.options import option_values
from pytest_llmbench.backends.registry import reference_of
from pytest_llmbench.errors import EngineError, LLMBenchError, PromptTooLongError, UsageError
from pytest_llmbench.measure.engine import EngineProcess, EngineSpec, Prompt
from pytest_llmbench.models.forms import FORMS
from pytest_llmbench.models.resolve import outline_of
from pytest_llmbench.models.spec import Form, ResolvedModel
from pytest_llmbench.workloads.messages import Message

TEXT = "A benchmark is a test that"
CHAT: tuple[Message, ...] = ({"role": "user", "content": "Say something."},)
Tiny = Callable[[str | None, Form], ResolvedModel]
Models = Callable[[str | None], ResolvedModel]

DESCRIBE = """
import sys
from pytest_llmbench.backends.registry import from_reference

backend = from_reference(sys.argv[1])
assert backend.availability().available
assert backend.versions()
print(*[name for name in sys.argv[2:] if name in sys.modules])
"""


class Sink:
    """Writes down what an engine reports, in its order."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.tokens: list[int] = []

    def prefilled(self) -> None:
        self.events.append("prefilled")

    def token(self, token: int) -> None:
        self.events.append("token")
        self.tokens.append(token)


class InterruptedSink(Sink):
    """What Ctrl-C does at the third token."""

    def token(self, token: int) -> None:
        super().token(token)
        if len(self.tokens) == 3:
            raise KeyboardInterrupt


def generated(engine: Engine, prompt: Sequence[int], **params: Any) -> list[int]:
    """The tokens of one generation; caches stay as they are."""
    sink = Sink()
    engine.generate(prompt, GenerationParams(**params), sink)
    return sink.tokens


class EngineContract:
    """The contract of :mod:`pytest_llmbench.backends.base`, as tests."""

    backend: ClassVar[Backend]
    options: ClassVar[Mapping[str, Any]] = {}
    """What the engine is loaded with in these tests, beside the defaults."""
    quantization: ClassVar[str | None] = None
    """Of the model that most tests use."""
    context: ClassVar[str] = "n_ctx"
    """The option that says how many tokens prompt and output may have together."""

    def count_evaluated(self, engine: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """A list that gets the number of tokens of each evaluation from now on."""
        raise NotImplementedError

    def end_with(self, engine: Any, token: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make *token* the only one that ends an output: a model with random weights hardly ever ends."""
        raise NotImplementedError

    def forget_template(self, engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """Leave the model without a chat template."""
        raise NotImplementedError

    def special_text(self, engine: Any) -> str:
        """How the token is written that begins a text."""
        raise NotImplementedError

    @classmethod
    def load(cls, model: ResolvedModel, **options: Any) -> Any:
        """The engine with *model*; not closed by anybody else."""
        return cls.backend.load(model, option_values(cls.backend, {**cls.options, **options}))

    @pytest.fixture(scope="class")
    @classmethod
    def models(cls, tiny: Tiny) -> Models:
        """``models(quantization)``: the model ``tiny`` in the backend's form."""
        return lambda quantization: tiny(quantization, cls.backend.form)

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls, models: Models) -> ResolvedModel:
        return models(cls.quantization)

    @pytest.fixture(scope="class")
    @classmethod
    def loaded(cls, model: ResolvedModel) -> Iterator[Any]:
        engine = cls.load(model)
        yield engine
        engine.close()

    @pytest.fixture
    def engine(self, loaded: Any) -> Any:
        """The engine, loaded once, with its caches empty."""
        loaded.reset()
        return loaded

    @pytest.fixture
    def evaluated(self, engine: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        return self.count_evaluated(engine, monkeypatch)

    @classmethod
    def pytest_generate_tests(cls, metafunc: pytest.Metafunc) -> None:
        if "quantization" in metafunc.fixturenames and metafunc.function.__name__ == QUANTIZED:
            metafunc.parametrize("quantization", cls.backend.quantizations)

    # -- what is said of the engine without importing it ----------------------------------------

    def test_it_is_described_without_being_imported(self) -> None:
        tops = {name.partition(".")[0] for name in self.backend.modules}
        done = subprocess.run(
            [sys.executable, "-c", DESCRIBE, reference_of(self.backend), *tops],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == []

    def test_what_is_not_installed_is_told_with_the_extra_that_installs_it(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert self.backend.availability().reason is None
        for top in {name.partition(".")[0] for name in self.backend.modules}:
            with monkeypatch.context() as patch:
                patch.setitem(sys.modules, top, None)
                found = self.backend.availability()
            assert not found.available, top
            assert found.reason is not None
            assert f"pip install 'pytest-llmbench[{self.backend.extra}]'" in found.reason

    def test_versions_are_texts_with_the_engines_own_first(self) -> None:
        versions = self.backend.versions()
        assert versions
        assert all(isinstance(name, str) and isinstance(number, str) for name, number in versions.items())
        assert all(versions.values())

    def test_defaults_are_taken_and_what_cannot_be_is_refused_by_name(self) -> None:
        name = self.backend.name
        assert set(option_values(self.backend, {})) == {spec.name for spec in self.backend.options}
        with pytest.raises(UsageError, match=rf"{name}.*no_such_option.*{self.context}"):
            option_values(self.backend, {"no_such_option": "1"})
        for spec in self.backend.options:
            refused: list[object] = []
            if spec.parse is None and spec.type is not str:
                refused += ["", "no-such-value"]
            if spec.choices:
                refused.append("no-such-choice")
            if spec.minimum is not None:
                refused.append(spec.minimum - 1)
            for value in refused:
                with pytest.raises(UsageError, match=rf"{name}\.{spec.name}"):
                    option_values(self.backend, {spec.name: value})

    # -- loading --------------------------------------------------------------------------------

    def test_what_was_loaded_is_told_in_json_and_closing_twice_does_no_harm(
        self, model: ResolvedModel
    ) -> None:
        engine = self.load(model)
        info = dict(engine.info)
        assert info
        assert json.loads(json.dumps(info)) == info
        assert engine.context_length > 0
        engine.close()
        engine.close()

    def test_a_process_counts_the_cpu_time_of_a_generation_and_says_whether_it_compares(
        self, model: ResolvedModel
    ) -> None:
        options = option_values(self.backend, dict(self.options))
        engine = EngineProcess(EngineSpec(self.backend.name, reference_of(self.backend), model, options))
        try:
            told = engine.loaded.engine
            first = engine.generate(Prompt(text=TEXT), GenerationParams(max_new_tokens=1))
            longer = engine.generate(Prompt(text=TEXT), GenerationParams(max_new_tokens=8))
        finally:
            engine.close()
        # What it does not tell, it does not compare by.
        assert told[CPU_TIME] == told_of_cpu_time(told)
        for one in (first, longer):
            assert one.cpu_time is not None
            assert one.prefill_cpu_time is not None
            assert 0 < one.prefill_cpu_time <= one.cpu_time

    def test_a_quantization_runs_or_is_refused_by_its_name(self, models: Models, quantization: str) -> None:
        form = FORMS[self.backend.form]
        refusal = None
        try:
            engine = self.load(models(quantization))
        except LLMBenchError as error:
            refusal = str(error)
        if refusal is not None:
            assert quantization in refusal
            # What the embedded models can be had in has to run everywhere.
            assert quantization not in form.quantizations
            return
        assert len(generated(engine, engine.tokenize(TEXT), max_new_tokens=2)) == 2
        engine.close()

    # -- generating -----------------------------------------------------------------------------

    @pytest.mark.parametrize("tokens", [1, 16])
    def test_the_prompt_is_reported_before_exactly_as_many_tokens_as_asked_for(
        self, engine: Engine, tokens: int
    ) -> None:
        sink = Sink()
        reason = engine.generate(engine.tokenize(TEXT), GenerationParams(max_new_tokens=tokens), sink)
        assert reason == "length"
        assert sink.events == ["prefilled"] + ["token"] * tokens

    def test_nothing_is_evaluated_after_the_last_token(self, engine: Engine, evaluated: list[int]) -> None:
        prompt = engine.tokenize(TEXT)
        generated(engine, prompt, max_new_tokens=5)
        assert evaluated == [len(prompt), 1, 1, 1, 1]

    def test_after_a_reset_the_whole_prompt_is_evaluated(self, engine: Engine, evaluated: list[int]) -> None:
        prompt = engine.tokenize(TEXT)
        first = generated(engine, prompt, max_new_tokens=2)
        engine.reset()
        second = generated(engine, prompt, max_new_tokens=2)
        assert evaluated == [len(prompt), 1, len(prompt), 1]
        assert first == second

    def test_what_an_earlier_call_left_changes_no_token(self, engine: Engine) -> None:
        prompt = engine.tokenize(TEXT)
        first = generated(engine, prompt, max_new_tokens=8)
        assert generated(engine, prompt, max_new_tokens=8) == first
        generated(engine, engine.tokenize("Another text."), max_new_tokens=3)
        assert generated(engine, prompt, max_new_tokens=8) == first

    def test_the_same_seed_draws_the_same_tokens_and_another_seed_others(self, engine: Engine) -> None:
        def draw(seed: int) -> list[int]:
            engine.reset()
            prompt = engine.tokenize(TEXT)
            how = {"temperature": 1.0, "top_k": 50, "top_p": 0.95}
            return generated(engine, prompt, max_new_tokens=16, seed=seed, **how)

        assert draw(1) == draw(1)
        assert draw(1) != draw(2)

    @pytest.mark.parametrize("temperature", [0.0, 0.01])
    def test_an_end_token_stops_only_who_did_not_ask_to_ignore_it(
        self, engine: Engine, monkeypatch: pytest.MonkeyPatch, temperature: float
    ) -> None:
        prompt = engine.tokenize(TEXT)
        usual = generated(engine, prompt, max_new_tokens=8)
        end = next(token for token in usual if token != usual[0])
        self.end_with(engine, end, monkeypatch)
        params = GenerationParams(max_new_tokens=8, ignore_eos=False, temperature=temperature)
        sink = Sink()
        assert engine.generate(prompt, params, sink) == "stop"
        assert sink.tokens == usual[: usual.index(end) + 1]
        sink = Sink()
        assert engine.generate(prompt, replace(params, ignore_eos=True), sink) == "length"
        assert len(sink.tokens) == 8
        assert end not in sink.tokens

    def test_a_prompt_that_does_not_fit_names_the_option(self, model: ResolvedModel) -> None:
        engine = self.load(model, **{self.context: 64})
        assert engine.context_length == 64
        prompt = (engine.tokenize(TEXT) * 20)[:60]
        sink = Sink()
        told = rf"60 tokens and 10 .*holds 64.*{self.backend.name}\.{self.context}=70"
        with pytest.raises(PromptTooLongError, match=told):
            engine.generate(prompt, GenerationParams(max_new_tokens=10), sink)
        assert sink.events == []
        assert len(generated(engine, prompt[:54], max_new_tokens=10)) == 10
        engine.close()

    def test_an_interrupted_generation_leaves_the_engine_usable(self, engine: Engine) -> None:
        prompt = engine.tokenize(TEXT)
        usual = generated(engine, prompt, max_new_tokens=6)
        with pytest.raises(KeyboardInterrupt):
            engine.generate(prompt, GenerationParams(max_new_tokens=6), InterruptedSink())
        assert generated(engine, prompt, max_new_tokens=6) == usual

    # -- text and tokens ------------------------------------------------------------------------

    def test_text_survives_the_way_through_tokens(self, engine: Engine) -> None:
        text = "Grüße, 世界! def f(x):\n    return x"
        assert engine.detokenize(engine.tokenize(text)) == text

    def test_special_tokens_written_in_a_plain_prompt_are_text(self, engine: Engine) -> None:
        begin = self.special_text(engine)
        assert engine.tokenize(begin)[1:] != engine.tokenize_rendered(begin)
        assert engine.detokenize(engine.tokenize(begin)) == begin

    def test_a_rendered_chat_begins_with_one_begin_token(self, engine: Engine) -> None:
        rendered = engine.render_chat(CHAT)
        assert "Say something." in rendered
        begin = engine.tokenize("")[:1]
        assert engine.detokenize(begin) == ""
        tokens = engine.tokenize_rendered(rendered)
        assert tokens[:1] == begin
        assert tokens[1:2] != begin

    def test_tokens_are_the_same_without_the_weights(self, engine: Engine, model: ResolvedModel) -> None:
        backend: Any = self.backend
        if not isinstance(backend, LoadsVocabularies):
            pytest.skip(f"{backend.name} does not load a vocabulary alone")
        options = option_values(backend, self.options)
        words = backend.load_vocabulary(model.spec, model.path, options)
        assert words.tokenize(TEXT) == engine.tokenize(TEXT)
        assert words.detokenize(words.tokenize(TEXT)) == engine.detokenize(engine.tokenize(TEXT))
        assert words.render_chat(CHAT) == engine.render_chat(CHAT)
        rendered = engine.render_chat(CHAT)
        assert words.tokenize_rendered(rendered) == engine.tokenize_rendered(rendered)
        words.close()
        words.close()

    def test_what_is_known_of_a_context_is_known_without_loading(self, model: ResolvedModel) -> None:
        backend: Any = self.backend
        if not isinstance(backend, KnowsItsCache):
            pytest.skip(f"{backend.name} does not tell what its cache takes")
        outline = outline_of(model.spec, backend.form)
        assert outline is not None
        key, value = backend.kv_bits(outline, model.spec.quantization, option_values(backend, self.options))
        assert 4 <= key <= 32
        assert 4 <= value <= 32

    def test_a_model_without_a_chat_template_says_so(
        self, engine: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.forget_template(engine, monkeypatch)
        with pytest.raises(EngineError, match="no chat template"):
            engine.render_chat(CHAT)


QUANTIZED = EngineContract.test_a_quantization_runs_or_is_refused_by_its_name.__name__
