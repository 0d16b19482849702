"""Is a suite valid, and which tests does it have: ``llmbench suite``?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pytest_llmbench.cli.options import say
from pytest_llmbench.cli.presets import presets_of
from pytest_llmbench.metrics.units import count, size

if TYPE_CHECKING:
    from pytest_llmbench.cases.suites import SuiteTest
    from pytest_llmbench.settings.suite import SuiteCase

suite_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Check suites, and list their tests."
)

BackendOption = Annotated[
    list[str] | None,
    typer.Option(
        "--backend", metavar="NAME", help="As pytest --llm-backend; by default every one that is installed."
    ),
]
ModelsFileOption = Annotated[
    Path | None, typer.Option("--models-file", metavar="FILE", help="As pytest --llm-models-file.")
]


@suite_app.command()
def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Suites.")],
    models_file: ModelsFileOption = None,
) -> None:
    """Check suites as pytest does before it measures anything."""
    for file in files:
        found = _expanded(file, None, models_file)
        tests = sum(len(tests) for _, tests in found)
        say(f"{file}: {count(len(found), 'case')}, {count(tests, 'test')}")


@suite_app.command()
def expand(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A suite.")],
    backend: BackendOption = None,
    models_file: ModelsFileOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write a line of JSON for each test.")] = False,
) -> None:
    """List the tests of a suite, with the context that each needs and what the suite says of it.

    The context is the prompt and the answer, in tokens; under load, of middle lengths. It is left out where
    only the model's tokenizer knows how long the prompt is; of a conversation, it is estimated. The memory is
    that of the weights and of the K and V of all these tokens, as far as the model's files are here, or more
    where its alias recommends more.
    """
    import json

    for case, tests in _expanded(file, backend, models_file):
        for test in tests:
            about = _about(case, test)
            if as_json:
                say(json.dumps(about))
                continue
            say(f"{file.name}::{about['id']}")
            shown = {**about, "memory": _memory_text(about), "turns": _turns_text(about)}
            for key in ("skip", "context", "turns", "memory", "tags", "settings"):
                if (text := _text(shown[key])) is not None:
                    say(f"  {f'{key}:'.ljust(9)} {text}")


def _expanded(
    file: Path, backends: list[str] | None, models_file: Path | None
) -> list[tuple[SuiteCase, list[SuiteTest]]]:
    from pytest_llmbench.backends.registry import Registry
    from pytest_llmbench.cases.selection import Selector
    from pytest_llmbench.cases.suites import expand_suite
    from pytest_llmbench.models.aliases import read_aliases
    from pytest_llmbench.settings.sources import NOTHING, Precedence, Source
    from pytest_llmbench.settings.suite import read_suite

    registry = Registry()
    typed = Source.of({"backends": tuple(backends)}) if backends else NOTHING
    selector = Selector(
        registry, Precedence(typed), None if models_file is None else read_aliases(models_file)
    )
    selector.check_command_line()
    suite = read_suite(file, registry, presets_of(None), models_beside=models_file is None)
    return expand_suite(suite, selector)


def _about(case: SuiteCase, test: SuiteTest) -> dict[str, Any]:
    """What is known of a test before it runs."""
    from dataclasses import asdict

    conversation = test.point.asked.conversation
    asked = {key: value for key, value in asdict(test.point.asked).items() if value is not None}
    if conversation is not None:
        asked["conversation"] = conversation.name
    new_tokens = test.point.source.values.max_new_tokens
    one = test.selected
    known = None if one.case is None else one.case.spec.known
    recommended = None if known is None else known.memory
    memory = None if one.fit is None else one.fit.memory(test.need)
    return {
        "id": f"{case.name}[{test.id}]",
        "fixture": case.fixture,
        "skip": one.skip,
        "context": test.need.tokens,
        "memory": recommended if memory is None else max(memory.both, recommended or 0),
        "weights": None if memory is None else memory.weights,
        "kv_cache": None if memory is None else memory.cache,
        "turns": None if conversation is None else len(conversation.turns),
        "about_tokens": None if conversation is None else conversation.about_tokens(new_tokens),
        "tags": list(dict.fromkeys([*case.tags, *test.point.tags])),
        "settings": {**asked, **dict(_settings(test))},
    }


def _settings(test: SuiteTest) -> Iterator[tuple[str, object]]:
    """What the suite says of a test, as JSON has it."""
    from pytest_llmbench.gate.thresholds import as_text
    from pytest_llmbench.secrets import mask_setting

    for key, value in test.point.values.items():
        if key == "backend_options":
            # A key that is written in a suite is not shown either.
            yield (
                key,
                {
                    name: {option: mask_setting(option, said) for option, said in value.of(name).items()}
                    for name in value
                },
            )
        elif key == "thresholds":
            yield key, as_text(value)
        else:
            yield key, list(value) if isinstance(value, tuple) else value


def _turns_text(about: Mapping[str, Any]) -> str | None:
    if about["turns"] is None:
        return None
    return f"{about['turns']}, of about {about['about_tokens']:,} tokens at most"


def _memory_text(about: Mapping[str, Any]) -> str | None:
    if about["memory"] is None:
        return None
    parts = {"weights": about["weights"], "KV cache": about["kv_cache"]}
    told = ", ".join(f"{name} {size(part)}" for name, part in parts.items() if part)
    return size(about["memory"]) + (f" ({told})" if told else "")


def _text(value: object) -> str | None:
    if value is None or value == []:
        return None
    if isinstance(value, dict):
        return ", ".join(f"{key}={one}" for key, one in value.items()) or None
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
