"""Does ``llmbench recommend`` answer from a store, for people and programs?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

pytest.importorskip("alembic")

from pytest_llmbench.cli.app import app
from pytest_llmbench.results.store import Store
from tests.unit.results.conftest import make_document


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("LLMBENCH_DATABASE_URL", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    document = make_document(cases=2)
    for case, name in zip(document.cases, ("small", "large"), strict=True):
        case.model.alias = name
        case.nodeid = f"m.llm.yaml::chat[{name}]"
    Store(tmp_path / "store").write(document)
    return tmp_path


def llmbench(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["recommend", "--store", str(folder / "store"), *arguments])


def test_a_person_reads_a_table_and_why(store: Path) -> None:
    done = llmbench(store, "--weights", "ttft=1", "--all")
    assert done.exit_code == 0, done.output
    assert "2 configurations that answered" in done.output
    assert "RANK  CONFIGURATION" in done.output
    assert "\nWhy\n" in done.output
    assert "quality: not known" in done.output


def test_what_is_not_shown_is_named_with_the_option_that_shows_it(store: Path) -> None:
    document = make_document("20260103T000000Z-00000003", cases=3)
    for case, name in zip(document.cases, ("small", "large", "other"), strict=True):
        case.model.alias = name
        case.nodeid = f"m.llm.yaml::batch[{name}]"
    document.cases[0].metrics["ttft"].p95 = 0.001
    Store(store / "store").write(document)
    said = llmbench(store, "--weights", "ttft=1").output
    assert "3 configurations that answered 'batch'" in said
    assert "--all shows those that are beaten too." in said
    assert "Other workloads were measured too, for --workload: chat" in said
    assert "--workload:" not in llmbench(store, "--weights", "ttft=1", "--workload", "chat").output


def test_a_program_reads_json(store: Path) -> None:
    done = llmbench(store, "--weights", "ttft=1", "--model", "small,none", "-f", "json")
    told = json.loads(done.output)
    assert [entry["configuration"]["model"] for entry in told["ranked"]] == ["small"]
    assert told["never_measured"] == ["models: none"]


def test_markdown_is_for_a_pull_request(store: Path) -> None:
    assert "| rank | configuration |" in llmbench(store, "--weights", "ttft=1", "-f", "markdown").output


def test_prices_are_the_users(store: Path) -> None:
    file = store / "mine.yaml"
    file.write_text(
        "hardware:\n  mine:\n    products: [A CPU]\n    date: 2026-11-01\n    prices:\n"
        "      - {provider: us, usd_per_hour: 0.5, date: 2026-11-01, source: a bill}\n"
    )
    told = json.loads(
        llmbench(store, "--hardware-file", str(file), "--weights", "ttft=1", "-f", "json").output
    )
    price = told["ranked"][0]["costs"]["price"]
    assert (price["usd_per_hour"], price["source"]) == (0.5, "a bill")


def test_an_slo_that_nothing_meets_says_what_it_costs(store: Path) -> None:
    done = llmbench(store, "--ttft", "p95<1us", "--slo", "tpot:median<10s")
    assert done.exit_code == 0
    assert "ttft p95 < 1 us: 2 beyond it; without it 2 would meet the others" in done.output
    assert "Nearest misses" in done.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--ttft", "fast"), "ttft: 'fast' is not a limit in s"),
        (("--slo", "ttft"), "--slo=ttft: write METRIC:LIMIT"),
        (("--weights", "cost"), "--weights: 'cost' is not NAME=NUMBER"),
        (("--weights", "cost=0"), "weights: all are 0"),
        (("--budget", "9"), "budget: '9' is not valid"),
        (("--for", "chatbt"), "did you mean 'chatbot'?"),
        (("--top", "0"), "top: "),
        (("--workload", "nope"), "no workload 'nope' was measured"),
        (("--hardware-file", "none.yaml"), "none.yaml: the file cannot be read"),
    ],
)
def test_what_cannot_be_asked_is_one_line(store: Path, arguments: tuple[str, ...], said: str) -> None:
    done = llmbench(store, *arguments)
    assert done.exit_code == 2
    assert said in done.output
    assert len(done.output.strip().splitlines()) == 1


def test_a_store_without_results_says_so(tmp_path: Path) -> None:
    assert "nothing was measured that can be recommended" in llmbench(tmp_path).output
