"""Is a person told what was skipped, and which options did nothing?"""

from __future__ import annotations

import sys

import pytest

from tests.fakes.openai_server import fake_server
from tests.plugin.conftest import Run

MODEL = """
import pytest

@pytest.mark.llm(quantizations={quantizations}, rounds=1, warmup_rounds=0, max_new_tokens=2)
def test_speed(llm_model):
    llm_model.measure("hello"{call})
"""

LOAD = """
import pytest

@pytest.mark.llm({marker}, requests=4, prompt_length=20, max_new_tokens=2)
def test_load(llm_load):
    llm_load.measure()
"""


def model(quantizations: str = "['f16']", call: str = "") -> str:
    return MODEL.format(quantizations=quantizations, call=call)


def told(result: pytest.RunResult, begin: str = "Note: ") -> list[str]:
    return [line.removeprefix(begin) for line in result.outlines if line.startswith(begin)]


def test_what_was_skipped_is_told_by_reason_without_being_asked(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(model("['f16', 'q4_k_m', 'q5_k_m']") + "\ndef test_other(): pytest.skip('mine')\n")
    bench.makepyfile(test_more=model("['q4_k_m']"))
    result = run()
    result.assert_outcomes(passed=1, skipped=4)
    assert told(result, "Skipped: ") == [
        "2 cases: fake has no quantization 'q4_k_m'; it has f16, q8_0",
        "1 case: fake has no quantization 'q5_k_m'; it has f16, q8_0",
    ]
    assert told(run("-rs"), "Skipped: ") == []


def test_a_session_of_which_all_was_skipped_says_why(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(model("['q4_k_m']"))
    run().stdout.fnmatch_lines(
        ["*= LLM benchmarks =*", "Skipped: 1 case: fake has no quantization 'q4_k_m'*"]
    )
    assert not told(run("--llm-skip"), "Skipped: ")


def test_a_test_without_its_server_says_so(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(LOAD.format(marker="concurrency=[1]"))
    (line,) = told(run(backend=None), "Skipped: ")
    assert "--llm-base-url" in line


def test_a_reason_is_one_line_without_control_characters(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile("def test_x(llm_model): __import__('pytest').skip('it\\nsaid \\x1b[31mno')")
    (line,) = told(run(), "Skipped: ")
    assert line == r"1 case: it said \x1b[31mno"


def test_a_long_reason_is_cut_and_says_where_the_rest_is(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(f"def test_x(llm_model):\n    __import__('pytest').skip({'word, ' * 99!r})\n")
    (line,) = told(run(), "Skipped: ")
    assert line.endswith("… (-rs shows all)")
    assert len(line) < 200


@pytest.mark.parametrize(
    ("option", "note"),
    [
        ("--llm-concurrency=4", "--llm-concurrency does *: it is for load levels of a concurrency"),
        ("--llm-requests=4", "--llm-requests does *: it is for load levels (llm_load)"),
        ("--llm-top-k=3", "--llm-top-k does *: it is for a temperature above 0"),
        ("--llm-option=server.usage=false", "--llm-option=server.usage does *: it is for servers"),
    ],
)
def test_an_option_for_other_tests_is_told_once(
    bench: pytest.Pytester, run: Run, option: str, note: str
) -> None:
    bench.makepyfile(model("['f16', 'q8_0']"))
    result = run(option)
    result.assert_outcomes(passed=2)
    assert len(told(result)) == 1
    result.stdout.fnmatch_lines([f"Note: {note}"])


def test_an_option_that_one_test_has_a_use_for_is_not_told(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(model("['f16', 'q8_0']", ", temperature=0.5"))
    options = ["--llm-top-k=3", "--llm-rounds=2", "--llm-option=fake.context=512", "--llm-isolation=test"]
    assert told(run(*options)) == []


def test_nothing_is_said_of_a_test_that_failed_before_it_measured(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(model(call=", temperature=0.5").replace("llm_model.measure", "raise KeyError; print"))
    result = run("--llm-top-k=3")
    result.assert_outcomes(failed=1)
    assert told(result) == []


@pytest.mark.parametrize(
    ("marker", "option", "note"),
    [
        ("concurrency=[1]", "--llm-arrivals=constant", "load levels at a request rate"),
        ("concurrency=[1]", "--llm-rounds=2", "what llm_model measures or conversations (llm_chat)"),
        ("concurrency=[1]", "--llm-quantization=f16", "models in a process * or servers that are started *"),
        ("concurrency=[1]", f"--llm-python={sys.executable}", "models in a process * or servers that are *"),
        ("concurrency=[1]", "--llm-option=server.verify=false", "servers behind https://"),
        ("concurrency=[1]", "--llm-option=server.start_timeout=9", "servers that are started (--llm-serve)"),
        ("request_rate=[50]", "--llm-arrivals=constant", None),
        ("concurrency=[1]", "--llm-concurrency=2", None),
        ("concurrency=[1]", "--llm-prompt-length=16", None),
    ],
)
def test_options_of_a_load_and_its_server_are_told_where_they_do_nothing(
    bench: pytest.Pytester, run: Run, marker: str, option: str, note: str | None
) -> None:
    bench.makepyfile(LOAD.format(marker=marker))
    with fake_server() as server:
        result = run(f"--llm-base-url={server.url}", option, backend=None)
    result.assert_outcomes(passed=1)
    if note is None:
        assert told(result) == []
    else:
        name = option.rpartition("=")[0]
        result.stdout.fnmatch_lines([f"Note: {name} does nothing for the chosen tests: it is for {note}"])


def test_the_letter_of_another_tool_for_rounds_is_told(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(model())
    assert told(run("-r", "7")) == ["-r 7 is an option of pytest's own: did you mean --llm-rounds=7?"]
    assert told(run("-rfE")) == []
