"""Does a person read which configuration to take, why, and what a limit costs?"""

from __future__ import annotations

from typing import Any

import numpy as np

from pytest_llmbench.catalog.answer import Answer
from pytest_llmbench.catalog.ask import Ask
from pytest_llmbench.catalog.recommend import recommend
from pytest_llmbench.catalog.rows import Catalog
from pytest_llmbench.report.advice import head, markdown, sections, table
from tests.fakes.a_catalog import TODAY, catalog_of, devices, made_catalog, row

PRICES = devices(L4=0.8, H100=6.0)


def asked(catalog: Catalog, **given: Any) -> Answer:
    return recommend(catalog, Ask.of(**given), PRICES, TODAY)


def two() -> Catalog:
    return catalog_of(
        [row(0), row(1, model="a_b", hardware="H100")],
        ttft=[0.3, 0.1],
        e2e_latency=[2, 1],
        system_throughput=[100, 200],
    )


def said(answer: Answer, **more: bool) -> dict[str, tuple[str, ...]]:
    return {section.title: section.lines for section in sections(answer, **more)}


def test_the_table_has_what_counts_and_what_it_costs() -> None:
    heads, rows = table(asked(two()))
    assert heads == ("rank", "configuration", "score", "cost", "latency p95", "throughput", "USD/h")
    assert [cells[1] for cells in rows] == ["a_b, vllm, H100, c8", "tiny, vllm, L4, c8"]
    assert rows[0][3:] == ("8.33 USD/Mtok", "1.30 s", "200 tokens/s", "6")
    # Costs are told where they do not count, too.
    assert table(asked(two(), weights={"latency": 1}))[0][3:] == ("latency p95", "cost", "USD/h")


def test_sentences_say_why_and_what_is_not_known() -> None:
    answer = asked(two(), slo={"ttft": "median<1s"})
    told = said(answer)
    assert head(answer).startswith("2 configurations that answered 'chat': 2 meet every limit. Catalog ")
    assert told["Why"][1].startswith("2. Of 2 that meet the limits: best in cost, 2nd in latency p95")
    assert "quality: not known" in told["Not known, or not sure"][0]
    assert "lowest cost: tiny, vllm, L4, c8" in told["Best by one thing"]
    assert told["Never measured"] == ("tiny on H100", "a_b on L4")
    assert "Prices" not in told


def test_explained_are_scores_and_prices() -> None:
    told = said(asked(two()), whole=True)
    assert "weights: cost 33%" in told["How the scores are made"][0]
    assert "6 USD/h, on demand, us here, 2026-11-21: https://example.org" in told["Prices"][0]
    assert "at 512 in and 256 out: output 8.33, input 4.17, both together 2.78" in told["Prices"][1]


def test_where_nothing_meets_it_says_what_each_limit_costs() -> None:
    told = said(asked(two(), slo={"ttft": "median<200ms"}, budget="5/h"))
    assert told["Excluded"] == (
        "5 USD/h at most: 1 beyond it; without it 1 would meet the others, the best has 6 USD/h",
        "ttft median < 200 ms: 1 beyond it; without it 1 would meet the others, the best has 300 ms",
    )
    assert told["Nearest misses"][0] == "a_b, vllm, H100, c8: 6 USD/h instead of 5 USD/h at most"
    both = said(asked(two(), slo={"ttft": "median<1ms", "e2e": "median<1ms"}))
    assert all("without it, none would meet the others either" in line for line in both["Excluded"])


def test_a_limit_on_what_is_not_known_says_how_many_it_leaves_out() -> None:
    told = said(recommend(two(), Ask(budget="1/h"), devices(), TODAY))
    assert told["Excluded"] == (
        "1 USD/h at most: 0 beyond it, not known of 2; without it 2 would meet the others",
    )


def test_what_has_no_place_is_counted() -> None:
    catalog = made_catalog(60)
    catalog.columns["e2e_latency.p95"][5:] = np.nan
    told = said(asked(catalog))["Not known, or not sure"]
    assert sum("has no place: latency p95: not known" in line for line in told) == 5
    assert any(line.endswith("more have no place, since something of them is not known") for line in told)


def test_markdown_shows_names_as_they_are() -> None:
    text = markdown(asked(two()))
    assert "| rank | configuration |" in text
    assert "a\\_b, vllm, H100, c8" in text
    assert "**Why**" in text
    assert markdown(asked(Catalog.of([], {}))).startswith("**Note**")
