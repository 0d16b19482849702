"""Can a script measure, judge and keep a case, and is pytest left out of it?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pytest_llmbench.backends.registry import Registry
from pytest_llmbench.bench.measurement import recorded
from pytest_llmbench.bench.model import LLMModel
from pytest_llmbench.bench.runtime import Runtime
from pytest_llmbench.errors import EngineError, LLMBenchWarning, UsageError
from pytest_llmbench.results.document import read_document
from pytest_llmbench.results.session import ResultsSession
from pytest_llmbench.results.store import Store
from pytest_llmbench.settings.sources import Precedence, Source
from tests.fakes.llmbench_fake import backend

EXAMPLES = Path(__file__).parents[3] / "examples"

SCRIPT = """
import sys
from pathlib import Path

from programmatic import measure
from pytest_llmbench import ResultsSession, Runtime, Store, StoredJudge, read_document
from pytest_llmbench.backends.registry import Registry
from tests.fakes.llmbench_fake import backend

registry = Registry()
registry.register(backend)
to, limit, *bases = sys.argv[1:]
judge = StoredJudge(read_document(path) for path in bases)
with (
    Runtime(registry, monitor_rate=0) as runtime,
    ResultsSession.open(Store("store"), json=Path(to)) as results,
):
    slower = measure(
        runtime,
        results,
        judge,
        models="tiny",
        backends="fake",
        processes=3,
        rounds=3,
        max_new_tokens=8,
        thresholds={"ttft": ["off", limit]},
    )
known = {name.partition(".")[0] for name in sys.modules} & {"pytest", "_pytest", "pytest_benchmark"}
assert not known, known
sys.exit(slower)
"""


@pytest.fixture
def runtime() -> Runtime:
    registry = Registry()
    registry.register(backend)
    return Runtime(registry, monitor_rate=0)


def test_a_script_measures_a_case_judges_it_against_a_document_and_writes_a_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{EXAMPLES}:{EXAMPLES.parent}")
    monkeypatch.chdir(tmp_path)

    def script(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=False
        )

    first = script("first.json", "<1000s")
    assert first.returncode == 0, first.stdout + first.stderr
    second = script("second.json", "<1ns", "first.json")
    assert second.returncode == 1, second.stdout + second.stderr
    assert "fake-tiny" in second.stdout
    (case,) = read_document(tmp_path / "second.json").cases
    assert (case.nodeid, case.outcome, case.verdict) == ("programmatic.py::fake-tiny", "passed", "fail")
    assert case.compared_with == [read_document(tmp_path / "first.json").session.id]
    assert len(list((tmp_path / "store" / "results").iterdir())) == 2


def test_settings_stand_for_cases_as_a_marker_does(runtime: Runtime) -> None:
    ids = [
        model.id
        for model in LLMModel.each(runtime, models="tiny", backends="fake", quantizations=["f16", "q8_0"])
    ]
    assert ids == ["fake-tiny-f16", "fake-tiny-q8_0"]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"round": 3}, "no key 'round'; did you mean 'rounds'"),
        ({"backends": "faker"}, "there is no backend 'faker'"),
        ({"backends": "fake", "quantizations": "q1"}, "no backend has a quantization 'q1'"),
        ({"backends": "fake", "isolation": "model", "processes": 2}, "keeps one process"),
    ],
)
def test_settings_that_cannot_hold_are_refused(
    runtime: Runtime, settings: dict[str, object], told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        list(LLMModel.each(runtime, **settings))


def test_what_is_set_for_the_session_holds_over_a_case_in_how_often_it_is_measured() -> None:
    registry = Registry()
    registry.register(backend)
    typed = Precedence(Source.of({"rounds": 2, "warmup_rounds": 0}))
    with Runtime(registry, typed, monitor_rate=0) as runtime:
        (model,) = LLMModel.each(runtime, models="tiny", backends="fake", rounds=9, max_new_tokens=4)
        run = model.measure("hello", rounds=7)
    assert len(run.rounds) == 2


def test_what_was_measured_before_an_exception_is_kept_with_it(runtime: Runtime, tmp_path: Path) -> None:
    def measure(results: ResultsSession) -> None:
        with runtime, results:
            for model in LLMModel.each(
                runtime, models="tiny", backends="fake", rounds=3, warmup_rounds=0, max_new_tokens=4
            ):
                with recorded(model, "script::x", results):
                    model.measure("!raise!after=2")

    results = ResultsSession.open(Store(tmp_path / "store"))
    with pytest.raises(EngineError):
        measure(results)
    document = read_document(results.written[0])
    (case,) = document.cases
    assert (case.outcome, len(case.rounds)) == ("failed", 2)
    assert (case.error or "").startswith("EngineError")
    assert (document.session.outcomes, document.session.exit_status) == ({"failed": 1}, 1)


def test_figures_that_cannot_be_right_are_warned_of(runtime: Runtime) -> None:
    settings = {"prefix_cache": True, "isolation": "none", "max_new_tokens": 2}
    with runtime:
        (model,) = LLMModel.each(runtime, models="tiny", backends="fake", **settings)
        with pytest.warns(LLMBenchWarning, match="are said to have come from the cache"):
            run = model.measure("!overclaims")
    assert run.invalid is not None
