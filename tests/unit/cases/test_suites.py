"""Has a case of a suite the tests that it should, in an order in which little is started anew?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_llmbench.backends.registry import Registry
from pytest_llmbench.cases.selection import Selector
from pytest_llmbench.cases.suites import SuiteTest, expand_suite
from pytest_llmbench.errors import UsageError
from pytest_llmbench.settings.presets import shipped
from pytest_llmbench.settings.sources import NOTHING, Precedence, Source
from pytest_llmbench.settings.suite import read_suite

Expand = Callable[..., list[SuiteTest]]


@pytest.fixture
def expand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Expand:
    """The tests of the only case of a suite, on servers to start, of which none is asked."""
    monkeypatch.chdir(tmp_path)

    def expand(
        case: str, before: str = "", typed: Source = NOTHING, asks: str = "prompt: Hello, "
    ) -> list[SuiteTest]:
        text = f"version: 1\n{before}cases:\n- {{name: a, serve: [vllm, sglang], {asks}{case}}}\n"
        Path("s.llm.yaml").write_text(text)
        suite = read_suite(Path("s.llm.yaml"), Registry(), shipped(), {})
        selector = Selector(Registry(), Precedence(typed), None)
        ((_, tests),) = expand_suite(suite, selector)
        return tests

    return expand


def ids(tests: list[SuiteTest]) -> list[str]:
    return [test.id for test in tests]


def test_points_that_share_a_server_follow_each_other(expand: Expand) -> None:
    tests = expand("models: [tiny, synthetic/llama-82m], sweep: {parameters: {seed: [1, 2]}}")
    assert ids(tests) == [
        f"{server}-{model}-seed:{seed}"
        for server in ("vllm", "sglang")
        for model in ("tiny", "synthetic/llama-82m")
        for seed in (1, 2)
    ]


def test_options_may_start_a_server_anew(expand: Expand) -> None:
    said = [(1, 1), (1, 2), (2, 1)]
    points = ", ".join(f"{{seed: {seed}, backend_options.server.retries: {n}}}" for seed, n in said)
    assert ids(expand(f"sweep: {{type: list, parameters: [{points}]}}")) == [
        f"{server}-tiny-seed:{seed}-retries:{retries}"
        for server in ("vllm", "sglang")
        for seed, retries in ((1, 1), (2, 1), (1, 2))
    ]


def test_two_tests_of_one_name_are_refused(expand: Expand) -> None:
    with pytest.raises(UsageError, match=r"two tests of the case 'a' would be called \[vllm-tiny\]"):
        expand("sweep: {parameters: {models: [tiny, synthetic/tiny]}}")


def test_whether_a_point_fits_is_found_out_for_each(expand: Expand) -> None:
    alias = "models: {small: {hf_repo: org/name, context_length: 100}}\n"
    tests = expand("models: small, sweep: {parameters: {max_new_tokens: [10, 200]}}", alias)
    assert [(test.id, test.selected.skip is None) for test in tests] == [
        ("vllm-small-max_new_tokens:10", True),
        ("vllm-small-max_new_tokens:200", False),
        ("sglang-small-max_new_tokens:10", True),
        ("sglang-small-max_new_tokens:200", False),
    ]


def test_a_conversation_has_to_fit_too(expand: Expand) -> None:
    alias = "models: {small: {hf_repo: org/name, context_length: 600}}\n"
    tests = expand("models: small, conversation: rag", alias, asks="")
    assert [test.selected.skip is None for test in tests] == [False, False]
    assert "the turns of the conversation rag" in str(tests[0].selected.skip)
    short = "conversation: {turns: [{user: Hello}, {user: And then?}]}"
    assert all(test.selected.skip is None for test in expand(f"models: small, {short}", alias, asks=""))


def test_what_the_command_line_says_is_not_swept(expand: Expand) -> None:
    typed = Source.of({"seed": 3})
    assert ids(expand("sweep: {parameters: {seed: [1, 2]}}", typed=typed)) == ["vllm-tiny", "sglang-tiny"]
    typed = Source.of({"quantizations": ("q8_0",)})
    assert len(expand("sweep: {parameters: {seed: [1, 2], quantizations: [f16, q4_0]}}", typed=typed)) == 4


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("models: nothing", "there is no model 'nothing'"),
        ("models: ~nothing/x", "there is no model at ~nothing/x"),
        (f"models: {'x' * 300}", "there is no model 'xxx"),
        ('base_url: "a\\nb"', "base-url"),
        ("backends: nothing", "nothing"),
        ("quantizations: nothing", "no backend has a quantization 'nothing'"),
        ("backend_options: {server: {nothing: 1}}", "nothing"),
        ("sweep: {parameters: {models: [tiny, nothing]}}", "there is no model 'nothing'"),
    ],
)
def test_what_there_is_not_is_refused_with_its_place(expand: Expand, case: str, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        expand(case)
    assert str(refused.value).startswith("s.llm.yaml:3:")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
