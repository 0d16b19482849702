"""Is somebody who types another tool's word told ours?"""

from __future__ import annotations

import pytest

from pytest_llmbench.backends.registry import Registry
from pytest_llmbench.settings.case import SETTINGS
from tests.plugin.conftest import Run


@pytest.mark.parametrize(
    ("option", "ours"),
    [
        ("--max-concurrency=8", "--llm-concurrency"),
        ("--num-prompts=100", "--llm-requests"),
        ("--random_input_len=512", "--llm-prompt-length"),
        ("--rate=4", "--llm-request-rate"),
        ("--isl=512", "--llm-prompt-length"),
        ("--n-gpu-layers=99", "--llm-option=llamacpp.n_gpu_layers=..."),
        ("--repetitions=3", "--llm-rounds"),
        ("--concurrency=8", "--llm-concurrency"),
        ("--llm-max-concurrency=8", "--llm-concurrency"),
        ("--llm-concurency=8", "--llm-concurrency"),
        ("--llm-models=tiny", "--llm-model"),
        ("--benchmark-compare=x", "--llm-compare"),
    ],
)
def test_a_word_of_another_tool_or_a_slip_is_answered_with_our_option(
    bench: pytest.Pytester, run: Run, option: str, ours: str
) -> None:
    bench.makepyfile("def test_x(): pass")
    result = run(option, "-p", "no:benchmark")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    name = option.partition("=")[0]
    assert f"ERROR: unrecognized arguments: {name}; did you mean {ours}?" in result.stderr.lines


def test_each_is_told_and_what_nobody_knows_is_named_too(bench: pytest.Pytester, run: Run) -> None:
    result = run("--what", "--num-prompts", "100", "--rate=4")
    result.stderr.fnmatch_lines(
        [
            "ERROR: unrecognized arguments: --what",
            "  --num-prompts; did you mean --llm-requests?",
            "  --rate; did you mean --llm-request-rate?",
        ]
    )


def test_an_option_that_means_nothing_to_us_is_left_to_pytest(bench: pytest.Pytester, run: Run) -> None:
    result = run("--what")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*error: unrecognized arguments: --what"])


def test_an_option_that_a_conftest_has_is_no_concern_of_ours(bench: pytest.Pytester, run: Run) -> None:
    bench.makeconftest("def pytest_addoption(parser): parser.addoption('--rate')")
    bench.makepyfile("def test_x(request): assert request.config.getoption('rate') == '4'")
    run("--rate=4", backend=None).assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("@pytest.mark.llm(max_concurrency=8)", "*no key 'max_concurrency'; did you mean 'concurrency'?*"),
        ("@pytest.mark.llm(model='tiny')", "*no key 'model'; did you mean 'models'?*"),
        (
            "@pytest.mark.llm(backend_options={'llamacpp': {'ngl': 9}})",
            "*no option 'ngl'; did you mean 'n_gpu_layers'?*",
        ),
        (
            "@pytest.mark.llm(backends=['vllm'])",
            "*'vllm'; vllm is a server: start one with --llm-serve=vllm*",
        ),
    ],
)
def test_markers_and_options_of_backends_know_the_words_too(
    bench: pytest.Pytester, run: Run, code: str, message: str
) -> None:
    bench.makepyfile(f"import pytest\n{code}\ndef test_x(llm_model): pass")
    run().stdout.fnmatch_lines([message])


def test_a_call_knows_the_words_too(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile("def test_x(llm_model): llm_model.measure('hello', max_tokens=4)")
    run().stdout.fnmatch_lines(["*no setting 'max_tokens' for a call; did you mean 'max_new_tokens'?*"])


def test_a_server_named_as_a_backend_is_pointed_to_serve(bench: pytest.Pytester, run: Run) -> None:
    result = run(backend="vllm")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: there is no backend 'vllm'; vllm is a server: *--llm-serve=vllm*"])


def test_no_word_of_another_tool_stands_for_two_of_our_settings() -> None:
    words = [word for setting in SETTINGS.values() for word in setting.also]
    registry = Registry()
    for name in registry.names():
        words += [word for spec in registry.get(name).options for word in spec.also]
    assert len(words) == len(set(words))
    assert not [word for word in words if word.startswith("-") or "_" in word]
