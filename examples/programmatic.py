"""Measure without pytest: judge what was measured against an earlier document, and write one of it.

    python examples/programmatic.py now.json                          # measure, keep
    python examples/programmatic.py now.json --base before.json       # measure, and say what got slower

Exit status: 0; 1 if something got slower, beyond doubt and beyond its threshold.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pytest_llmbench import (
    LLMBenchError,
    LLMModel,
    Policy,
    ResultsSession,
    Runtime,
    Store,
    StoredJudge,
    explain_case,
    read_document,
    recorded,
)

PROMPT = "Explain in three sentences what a benchmark is."


def measure(runtime: Runtime, results: ResultsSession, judge: StoredJudge, **settings: object) -> int:
    """Measure one case for each combination of the settings; returns how many got slower.

    :param settings: as those of ``@pytest.mark.llm(...)``.
    """
    slower = 0
    for model in LLMModel.each(runtime, **settings):
        with recorded(model, f"programmatic.py::{model.id}", results, judge) as verdicts:
            print(f"{model.id}\n{model.measure(PROMPT)}\n")
        for verdict in verdicts:
            if Policy().action(verdict) == "fail":
                slower += 1
                print(explain_case(verdict))
    return slower


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure as the command line says. Returns the exit status."""
    parser = argparse.ArgumentParser(description="Measure, judge and keep a case without pytest.")
    parser.add_argument("document", type=Path, help="where the results are written, beside the store")
    parser.add_argument("--base", type=Path, nargs="*", default=[], help="earlier documents to compare with")
    parser.add_argument("--store", default=".llmbench", help="the folder of all documents")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--processes", type=int, default=3)
    given = parser.parse_args(arguments)
    judge = StoredJudge(read_document(path) for path in given.base)
    with Runtime() as runtime, ResultsSession.open(Store(given.store), json=given.document) as results:
        slower = measure(
            runtime,
            results,
            judge,
            models=[given.model],
            backends=[given.backend],
            processes=given.processes,
            rounds=3,
            max_new_tokens=16,
        )
    print("Results:", *results.written)
    return 1 if slower else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LLMBenchError as error:
        sys.exit(f"error: {error}")
