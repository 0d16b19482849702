"""What is asked for and cannot be: is it said before anything is measured?"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pytest_llmbench.plugin.options import add_options
from tests.plugin.conftest import Run

MEASURE = """
import pytest
{marker}
def test_one(llm_model):
    llm_model.measure("hello", max_new_tokens=1, rounds=1, warmup_rounds=0)
"""

BIG = "9" * 20


def flags_with_a_value() -> list[str]:
    """Every option of ours that takes a value, as pytest is told of it."""
    told: dict[str, Any] = {}
    group = SimpleNamespace(addoption=lambda flag, **attributes: told.update({flag: attributes}))
    parser: Any = SimpleNamespace(getgroup=lambda *_: group, addini=lambda *_, **__: None)
    add_options(parser)
    return [flag for flag, attributes in told.items() if attributes.get("action") != "store_true"]


def refused(run: Run, *arguments: str, backend: str | None = "fake") -> str:
    result = run(*arguments, backend=backend)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    return result.stderr.str()


@pytest.mark.parametrize("value", ["", " , "])
@pytest.mark.parametrize("flag", flags_with_a_value())
def test_an_empty_option_is_refused(bench: pytest.Pytester, run: Run, flag: str, value: str) -> None:
    bench.makepyfile(MEASURE.format(marker=""))
    backend = None if flag == "--llm-backend" else "fake"
    assert f"{flag} is empty" in refused(run, f"{flag}={value}", backend=backend)
    assert not (bench.path / ".llmbench").exists()


def test_an_empty_option_of_another_plugin_is_its_own_affair(bench: pytest.Pytester, run: Run) -> None:
    with (bench.path / "conftest.py").open("a") as conftest:
        conftest.write("\ndef pytest_addoption(parser):\n    parser.addoption('--llm-rails', default='')\n")
    bench.makepyfile(MEASURE.format(marker=""))
    run("--collect-only", "-q").stdout.fnmatch_lines(["*test_one[[]fake-tiny]"])


def test_an_empty_value_among_others_is_refused(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(MEASURE.format(marker=""))
    assert "--llm-model is empty" in refused(run, "--llm-model=tiny", "--llm-model=")


@pytest.mark.parametrize(
    "key", ["models=[]", "models=''", "models=['tiny', '']", "backends=[]", "backends=()", "base_url=['']"]
)
def test_a_marker_that_names_nothing_is_an_error(bench: pytest.Pytester, run: Run, key: str) -> None:
    bench.makepyfile(MEASURE.format(marker=f"@pytest.mark.llm({key})"))
    result = run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*@pytest.mark.llm({key.partition('=')[0]}=...) is empty: give *"])


def test_an_empty_list_takes_back_what_stands_elsewhere_where_none_is_the_default(
    bench: pytest.Pytester, run: Run
) -> None:
    bench.makeini("[pytest]\nllm_quantizations = q8_0\n")
    bench.makepyfile(MEASURE.format(marker="@pytest.mark.llm(quantizations=[], slo={}, thresholds={})"))
    result = run("--collect-only", "-q")
    result.stdout.fnmatch_lines(["*test_one[[]fake-tiny]"])


def test_an_empty_value_of_an_ini_file_is_as_if_it_were_not_there(bench: pytest.Pytester, run: Run) -> None:
    names = ("models", "backends", "quantizations", "rounds", "base_url", "timeout", "monitor_rate", "gate")
    bench.makeini("[pytest]\n" + "".join(f"llm_{name} =\n" for name in names))
    bench.makepyfile(MEASURE.format(marker=""))
    run("--collect-only", "-q").stdout.fnmatch_lines(["*test_one[[]fake-tiny]"])


@pytest.mark.parametrize("name", ["../evil", "a/b", "/tmp/evil", "latest", "x.json", "."])
def test_a_name_that_no_baseline_can_have_is_refused_before_anything_is_measured(
    bench: pytest.Pytester, run: Run, name: str
) -> None:
    bench.makepyfile(MEASURE.format(marker=""))
    assert f"--llm-save: {name!r} cannot name a baseline" in refused(run, f"--llm-save={name}")
    assert not (bench.path / ".llmbench").exists()


@pytest.mark.parametrize("flag", ["--llm-python", "--llm-ab=python"])
def test_an_interpreter_that_does_not_exist_is_refused_before_anything_is_measured(
    bench: pytest.Pytester, run: Run, flag: str
) -> None:
    bench.makepyfile(MEASURE.format(marker=""))
    told = refused(run, f"{flag}=./no-such-python")
    assert "python=" in told
    assert "no-such-python: there is no such program, or it may not be run" in told


@pytest.mark.parametrize(
    "argument",
    [
        f"--llm-rounds={BIG}",
        "--llm-processes=0",
        f"--llm-max-new-tokens={BIG}",
        f"--llm-seed={BIG}",
        "--llm-timeout=1e300",
        "--llm-timeout=nan",
        f"--llm-concurrency=8,{BIG}",
        "--llm-request-rate=1e9",
        f"--llm-requests={BIG}",
        f"--llm-shared-prefix={BIG}",
        f"--llm-prompt-length={BIG}",
        f"--llm-output-length=uniform:1:{BIG}",
        f"--llm-option=llamacpp.n_ctx={BIG}",
        "--llm-option=llamacpp.n_ctx=2147483648",
        f"--llm-option=llamacpp.n_batch={BIG}",
        "--llm-option=llamacpp.n_threads=513",
        "--llm-option=server.start_timeout=inf",
        f"--llm-option=server.context={BIG}",
        f"--llm-option=transformers.n_ctx={BIG}",
    ],
)
def test_a_number_that_cannot_be_meant_is_refused(bench: pytest.Pytester, run: Run, argument: str) -> None:
    bench.makepyfile(MEASURE.format(marker=""))
    told = refused(run, argument)
    assert argument.partition("=")[2].partition("=")[0].partition(".")[2] in told
    assert "Traceback" not in told


def test_a_number_of_a_marker_is_bounded_likewise(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(MEASURE.format(marker=f"@pytest.mark.llm(rounds={BIG}, timeout=10**400)"))
    result = run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*is not a whole number of at least 1, at most 10000000*"])


def test_a_prompt_that_no_memory_holds_is_refused(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(f"def test_one(llm_model):\n    llm_model.measure(prompt_tokens={BIG})")
    run().stdout.fnmatch_lines(["E*is not a whole number of at least 1, at most 10000000*"])
