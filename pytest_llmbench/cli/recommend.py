"""Which configuration should I take: ``llmbench recommend``?"""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, get_args

import typer

from pytest_llmbench.catalog.uses import USES, UseName
from pytest_llmbench.cli.documents import warn
from pytest_llmbench.cli.index import open_index
from pytest_llmbench.cli.options import STORE, StoreOption, print_columns, say
from pytest_llmbench.errors import UsageError, few, suggest


class AnswerFormat(StrEnum):
    """How an answer is written."""

    TABLE = "table"
    JSON = "json"
    MARKDOWN = "markdown"


class PriceMarket(StrEnum):
    """Whose prices hold."""

    ON_DEMAND = "on_demand"
    SPOT = "spot"


_USES = "; ".join(f"{name}: {use.description}" for name, use in USES.items())
_Names = Annotated[list[str] | None, typer.Option(metavar="NAME", help="Repeat it, or use commas and *.")]


def recommend(
    use: Annotated[
        str, typer.Option("--for", metavar="USE", help=f"Limits and weights of a use case. {_USES}.")
    ] = "",
    ttft: Annotated[str, typer.Option(metavar="LIMIT", help="Such as 'p95<500ms'.")] = "",
    tpot: Annotated[str, typer.Option(metavar="LIMIT", help="Such as 'p95<50ms'.")] = "",
    e2e: Annotated[str, typer.Option(metavar="LIMIT", help="Such as 'p99<30s'.")] = "",
    slo: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC:LIMIT", help="Of any metric, such as 'goodput:>2'; repeat it."),
    ] = None,
    budget: Annotated[
        str,
        typer.Option(metavar="USD", help="'2.5/h', '0.4/Mtok' for output tokens, or both: '2.5/h,1/Mtok'."),
    ] = "",
    min_quality: Annotated[str, typer.Option(metavar="SHARE", help="Such as 0.8 or 80%.")] = "",
    workload: Annotated[
        str,
        typer.Option(metavar="TEST", help="What was asked; by default what most configurations answered."),
    ] = "",
    hardware: _Names = None,
    model: _Names = None,
    engine: _Names = None,
    quantization: _Names = None,
    load: _Names = None,
    weights: Annotated[
        str, typer.Option(metavar="NAMES", help="What counts: cost=2,latency=1. See the guide for all.")
    ] = "",
    market: Annotated[PriceMarket, typer.Option(help="Whose prices hold.")] = PriceMarket.ON_DEMAND,
    lost_share: Annotated[
        float, typer.Option(metavar="SHARE", help="Work lost on spot and done again, for each part kept.")
    ] = 0.0,
    utilization: Annotated[
        float, typer.Option(metavar="SHARE", help="Of the paid time in which the machine works.")
    ] = 1.0,
    price_per_kwh: Annotated[
        float | None, typer.Option(metavar="USD", help="For the part of energy in the costs.")
    ] = None,
    hardware_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Your prices: YAML, over those that come with this.")
    ] = None,
    top: Annotated[int, typer.Option("--top", "-n", metavar="N", help="Entries; 1 to 1000.")] = 5,
    every: Annotated[
        bool,
        typer.Option("--all", help="Several of a model too, and those that another one beats in everything."),
    ] = False,
    form: Annotated[
        AnswerFormat, typer.Option("--format", "-f", help="table is for people; json is in SI units and USD.")
    ] = AnswerFormat.TABLE,
    explain: Annotated[
        bool, typer.Option("--explain", help="Also how scores are made, and of which prices.")
    ] = False,
    update: Annotated[
        bool, typer.Option("--update/--no-update", help="Whether the index is first brought up to date.")
    ] = True,
    store: StoreOption = STORE,
) -> None:
    """Say which of all measured configurations to take, why, and what is not known.

    Those that meet every limit and that no other beats in everything, ordered by the weights. The answer is
    of one workload, since only what answered the same compares.
    """
    if use and use not in get_args(UseName):
        hint = suggest(use, list(USES)) or "."
        msg = f"--for={use}: there is no such use case{hint} There are {', '.join(USES)}"
        raise UsageError(msg)
    from pytest_llmbench.catalog.ask import Ask
    from pytest_llmbench.catalog.hardware import read_devices
    from pytest_llmbench.catalog.recommend import recommend as answer_of

    limits = dict(map(_limit, slo or ()))
    limits |= {name: text for name, text in (("ttft", ttft), ("tpot", tpot), ("e2e", e2e)) if text}
    ask = Ask.of(
        use=use or None,
        slo=limits,
        budget=budget or None,
        min_quality=min_quality or None,
        workload=workload or None,
        hardware=_names(hardware),
        models=_names(model),
        engines=_names(engine),
        quantizations=_names(quantization),
        loads=_names(load),
        weights=_weights(weights),
        market=market.value,
        lost_share=lost_share,
        utilization=utilization,
        usd_per_kwh=price_per_kwh,
        top=top,
        every=every,
    )
    devices = read_devices(hardware_file)
    index = open_index(store)
    from pytest_llmbench.catalog.rows import Catalog

    try:
        if update:
            warn(index.update().problems)
        answer = answer_of(Catalog.load(index.database), ask, devices)
    finally:
        index.close()
    if form is AnswerFormat.JSON:
        sys.stdout.write(json.dumps(answer.as_json(), indent=1) + "\n")
        return
    from pytest_llmbench.report import advice

    if form is AnswerFormat.MARKDOWN:
        sys.stdout.write(advice.markdown(answer, whole=explain))
        return
    if answer.test:
        say(advice.head(answer))
    heads, rows = advice.table(answer)
    if rows:
        typer.echo()
        print_columns([tuple(head.upper() for head in heads), *rows])
    if answer.beaten and not every:
        say("--all shows those that are beaten too.")
    if answer.others and not workload:
        say(f"Other workloads were measured too, for --workload: {few(answer.others, 5)}")
    for section in advice.sections(answer, whole=explain):
        typer.echo()
        say(section.title)
        for line in section.lines:
            say(f"  {line}")


def _names(given: list[str] | None) -> list[str]:
    return [name for text in given or () for name in map(str.strip, text.split(",")) if name]


def _limit(text: str) -> tuple[str, str]:
    name, colon, limit = text.partition(":")
    if not colon or not limit.strip():
        msg = f"--slo={text[:80]}: write METRIC:LIMIT, such as 'ttft:p99<1s'"
        raise UsageError(msg)
    return name.strip(), limit.strip()


def _weights(text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, _, number = part.partition("=")
        try:
            found[name.strip()] = float(number)
        except ValueError:
            msg = f"--weights: {part[:80]!r} is not NAME=NUMBER, such as cost=2"
            raise UsageError(msg) from None
    return found
