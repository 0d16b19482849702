"""Is the answer what follows from the limits and weights, and does it say what it does not know?"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmbench.catalog.answer import Answer
from pytest_llmbench.catalog.ask import Ask
from pytest_llmbench.catalog.criteria import CRITERIA, USUAL
from pytest_llmbench.catalog.recommend import recommend
from pytest_llmbench.catalog.rows import Catalog
from pytest_llmbench.errors import UsageError
from tests.fakes.a_catalog import HARDWARE, TODAY, catalog_of, devices, made_catalog, row

PRICES = devices(L4=0.8, H100=6.0, **{"A100-80GB": 3.0})


def asked(catalog: Catalog, **given: Any) -> Answer:
    return recommend(catalog, Ask.of(**given), PRICES, TODAY)


def names(answer: Answer) -> list[str]:
    return [entry.configuration.nodeid for entry in answer.ranked]


def test_the_best_is_the_one_that_is_best_in_everything() -> None:
    catalog = catalog_of(
        [row(0), row(1, model="other"), row(2, model="third")],
        ttft=[0.2, 0.1, 0.3],
        e2e_latency=[2, 1, 3],
        system_throughput=[100, 200, 50],
    )
    answer = asked(catalog)
    assert (answer.evaluated, answer.meeting, answer.beaten) == (3, 3, 2)
    (best,) = answer.ranked
    assert best.configuration.model == "other"
    assert best.score == pytest.approx(1.0)
    assert best.front == "certain"
    assert best.why == "Of 3 that meet the limits: best in cost, latency p95 and throughput"
    # 0.8 USD an hour, 200 tokens a second.
    assert best.costs.output == pytest.approx(0.8 / (200 * 3600) * 1e6)
    assert best.costs.input == pytest.approx(best.costs.output / 2)
    assert best.costs.blended == pytest.approx(best.costs.output / 3)
    assert len(asked(catalog, every=True).ranked) == 3


def test_limits_leave_out_and_say_how_many() -> None:
    catalog = catalog_of(
        [row(n, model=f"m{n}") for n in range(4)],
        ttft=[0.1, 0.2, 0.5, np.nan],
        e2e_latency=[4, 3, 2, 1],
        system_throughput=[100, 100, 100, 100],
    )
    answer = asked(catalog, slo={"ttft": "median<300ms", "e2e": "median<3.5s"})
    assert names(answer) == ["m.llm.yaml::chat[1]"]
    assert answer.ranked[0].margins[0].margin == pytest.approx(1 / 3)
    told = {one.limit: (one.count, one.alone, one.unknown) for one in answer.excluded}
    assert told == {"ttft median < 300 ms": (1, 2, 1), "e2e_latency median < 3.5 s": (1, 1, 0)}
    assert [(one.configuration.model, one.reason) for one in answer.incomplete] == [
        ("m3", "ttft median < 300 ms: not known")
    ]


def test_where_nothing_meets_it_says_what_each_limit_would_have_to_be() -> None:
    catalog = catalog_of(
        [row(n, model=f"m{n}", hardware=HARDWARE[n]) for n in range(3)],
        ttft=[0.9, 0.6, 0.2],
        e2e_latency=[3, 2, 1],
        system_throughput=[100, 100, 100],
    )
    answer = asked(catalog, slo={"ttft": "median<300ms"}, budget="4/h")
    assert answer.meeting == 0
    assert not answer.ranked
    needed = {one.limit: one.needed for one in answer.excluded}
    assert needed == {"ttft median < 300 ms": pytest.approx(0.6), "4 USD/h at most": pytest.approx(6.0)}
    assert [(one.configuration.model, round(one.beyond, 3)) for one in answer.near_misses] == [
        ("m2", 0.5),
        ("m1", 1.0),
        ("m0", 2.0),
    ]
    assert set(answer.lists.values()) == {None}


def test_without_a_price_costs_are_unknown_and_never_zero() -> None:
    catalog = catalog_of(
        [row(0, hardware="cpu"), row(1, model="other", hardware="L4")],
        e2e_latency=[1, 2],
        system_throughput=[200, 100],
    )
    answer = asked(catalog)
    assert names(answer) == ["m.llm.yaml::chat[1]"]
    (left,) = answer.incomplete
    assert (left.configuration.hardware, left.reason, left.front) == ("cpu", "cost: not known", "possible")
    budget = asked(catalog, budget="1/h")
    assert [(one.count, one.unknown) for one in budget.excluded] == [(0, 1)]
    # Where no price at all is known, costs do not count, and that is told.
    alone = asked(catalog_of([row(0, hardware="cpu")], e2e_latency=[1], system_throughput=[200]))
    assert (
        "cost does not count: there is no price on demand of cpu; a file of hardware can have one"
        in alone.notes
    )
    assert set(alone.weights) == {"latency", "throughput"}
    assert alone.ranked[0].costs.output is None
    assert "cost: not known" in alone.ranked[0].unknown


def test_of_a_model_there_is_one_entry_unless_every_one_is_asked_for() -> None:
    catalog = catalog_of(
        [row(0), row(1, load="c1"), row(2, model="other")],
        e2e_latency=[2, 1, 1.5],
        system_throughput=[300, 100, 200],
    )
    answer = asked(catalog)
    assert (len(answer.ranked), answer.shown_once) == (2, 1)
    assert len({entry.configuration.model for entry in answer.ranked}) == 2
    assert len(asked(catalog, every=True).ranked) == 3
    assert len(asked(catalog, top=1).ranked) == 1


def test_what_noise_alone_tells_apart_is_a_tie_that_costs_decide() -> None:
    rows = [row(n, model=f"m{n}", hardware=HARDWARE[n]) for n in range(3)]
    noisy = Catalog.of(
        rows,
        catalog_of(rows, noise=0.5, n=4, e2e_latency=[1.02, 1.01, 1.0], system_throughput=[1, 1, 1]).columns,
    )
    answer = asked(noisy, weights={"latency": 1}, every=True)
    costs = [entry.costs.output or 0 for entry in answer.ranked]
    assert all(entry.ties for entry in answer.ranked)
    assert costs == sorted(costs)


def test_what_is_not_sure_is_told() -> None:
    rows = [row(0, spoiled="steal_time"), row(1, model="other")]
    made = catalog_of(rows, noise=1.0, n=4, ttft=[0.3, 0.2], e2e_latency=[1, 2], system_throughput=[9, 9])
    made.columns["ttft.processes"][:] = 1  # type: ignore[index]
    answer = asked(made, slo={"ttft": "p95<400ms"}, every=True)
    told = answer.ranked[0].unknown
    assert "quality: not known" in told
    assert "ttft p95 < 400 ms: the 95% interval reaches beyond it" in told
    assert "ttft p95: of 4 values only" in told
    assert "other load while it was measured: steal_time" in told
    assert any(text.startswith("measured in one process") for text in told)


def test_old_prices_and_old_measurements_are_told() -> None:
    catalog = catalog_of([row(0)], e2e_latency=[1], system_throughput=[9])
    late = recommend(catalog, Ask(), PRICES, TODAY.replace(year=2027))
    told = late.ranked[0].unknown
    assert "measured 392 days ago" in told
    assert "price of 2026-11-21, 372 days old" in told
    assert late.ranked[0].costs.price is not None
    assert late.ranked[0].costs.price.old


def test_a_price_changes_costs_without_a_new_measurement() -> None:
    catalog = made_catalog(50)
    cheap = recommend(catalog, Ask(), devices(L4=0.1), TODAY)
    usual = recommend(catalog, Ask(), devices(L4=1.0), TODAY)
    assert cheap.version == usual.version
    assert cheap.ranked[0].costs.output == pytest.approx((usual.ranked[0].costs.output or 0) / 10)


def test_spot_costs_more_by_what_is_lost() -> None:
    from pytest_llmbench.catalog.hardware import Devices, Price

    row_ = PRICES.rows["L4"]
    spot = Price(provider="us", market="spot", usd_per_hour=0.4, date=TODAY, source="https://example.org")
    prices = Devices.of({**PRICES.rows, "L4": row_.model_copy(update={"prices": (*row_.prices, spot)})})
    catalog = catalog_of([row(0, count=2)], e2e_latency=[1], system_throughput=[100])
    answer = recommend(catalog, Ask(market="spot", lost_share=0.25, utilization=0.5), prices, TODAY)
    best = answer.ranked[0]
    assert best.costs.price is not None
    assert best.costs.price.usd_per_hour == pytest.approx(2 * 0.4 * 1.25)
    assert best.costs.output == pytest.approx(1.0 / (100 * 0.5 * 3600) * 1e6)
    assert "costs assume that the machine works 50% of the paid time" in answer.notes


def test_energy_has_its_own_cost() -> None:
    catalog = catalog_of([row(0)], e2e_latency=[1], system_throughput=[100], energy_per_token=[3.6])
    best = recommend(catalog, Ask(usd_per_kwh=0.5), PRICES, TODAY).ranked[0]
    # 3.6 J a token are 1 kWh a million of them.
    assert best.costs.energy == pytest.approx(0.5)


def test_constraints_choose_by_any_name_and_tell_what_was_never_measured() -> None:
    catalog = catalog_of(
        [row(0, hardware="NVIDIA L4"), row(1, model="other", hardware="H100")],
        e2e_latency=[1, 2],
        system_throughput=[9, 9],
    )
    answer = asked(catalog, hardware=["l4", "H200"])
    assert [entry.configuration.hardware for entry in answer.ranked] == ["NVIDIA L4"]
    assert list(answer.never_measured) == ["hardware: H200; did you mean 'H100'?", "other on NVIDIA L4"]
    both = asked(catalog)
    assert list(both.never_measured) == ["tiny on H100", "other on NVIDIA L4"]
    assert asked(catalog, models=["OTH*"]).evaluated == 1
    nothing = asked(catalog, models=["none"])
    assert (nothing.evaluated, list(nothing.ranked)) == (0, [])


def test_only_what_answered_the_same_is_compared() -> None:
    catalog = catalog_of(
        [
            row(0),
            row(1, workload="w1", test="summaries"),
            row(2, workload="w1", test="summaries", model="other"),
        ],
        e2e_latency=[1, 2, 3],
        system_throughput=[9, 9, 9],
    )
    assert (asked(catalog).test, asked(catalog).evaluated) == ("summaries", 2)
    chat = asked(catalog, workload="chat")
    assert (chat.test, chat.evaluated, list(chat.others)) == ("chat", 1, ["summaries"])
    assert asked(catalog, workload="w0").evaluated == asked(catalog, workload="CHA").evaluated == 1
    with pytest.raises(UsageError, match="no workload 'chaat' was measured; did you mean 'chat'"):
        asked(catalog, workload="chaat")


def test_an_empty_catalog_says_so() -> None:
    answer = asked(Catalog.of([], {}, 2))
    assert (answer.evaluated, list(answer.ranked)) == (0, [])
    assert "2 configurations failed" in answer.notes[0]


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({"cost": 0, "latency": 0}, "all are 0"),
        ({"costs": 1}, "there is no criterion 'costs'; did you mean 'cost'?"),
        ({"cost": -1}, "cost=-1 is not valid"),
        ({"cost": float("inf")}, "cost=inf is not valid"),
    ],
)
def test_weights_that_give_no_order_are_refused(weights: dict[str, float], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        asked(made_catalog(3), weights=weights)
    assert said in str(raised.value)


def test_an_answer_is_json_and_the_same_each_time() -> None:
    catalog = made_catalog(200, unknown=0.2)
    first, second = (
        json.dumps(asked(made_catalog(200, unknown=0.2), use="chatbot").as_json(), allow_nan=False)
        for _ in range(2)
    )
    assert first == second
    told = asked(catalog).as_json()
    assert told["ranked"][0]["values"].keys() == CRITERIA.keys()
    assert set(told["lists"]) == {
        "best_quality",
        "lowest_cost",
        "lowest_latency",
        "simplest",
        "balanced",
    }


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    size=st.integers(5, 100),
    gone=st.integers(0, 99),
    weights=st.dictionaries(
        st.sampled_from(sorted(set(CRITERIA) - {"quality"})), st.floats(0.1, 5), min_size=1
    ),
    unknown=st.sampled_from([0.0, 0.2]),
    noise=st.sampled_from([0.01, 0.5]),
)
def test_a_candidate_that_goes_never_reorders_the_others(
    seed: int, size: int, gone: int, weights: dict[str, float], unknown: float, noise: float
) -> None:
    made = made_catalog(size, seed, unknown)
    for name, values in made.columns.items():
        if name.endswith("stddev"):
            values *= noise / 0.01
    # Each is a model of its own, so that one alone can be left out.
    rows = [replace(one, model=f"only-{n}") for n, one in enumerate(made.rows)]
    catalog = Catalog.of(rows, made.columns)
    others = [one.model for n, one in enumerate(rows) if n != gone % size]
    for every in (True, False):
        ask: dict[str, Any] = {"slo": {"ttft": "p95<1s"}, "weights": weights, "top": 1000, "every": every}
        before, after = (
            [entry.configuration.model for entry in asked(catalog, **ask, **more).ranked]
            for more in ({}, {"models": others})
        )
        left = [model for model in before if model in others]
        # One that only the missing one beat may join them.
        assert [model for model in after if model in left] == left


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 1000), factor=st.sampled_from([1e-3, 1e3]))
def test_no_unit_changes_the_order(seed: int, factor: float) -> None:
    catalog = made_catalog(40, seed)
    scaled = Catalog.of(
        catalog.rows,
        {
            name: values * factor
            if name.startswith("e2e_latency") and not name.endswith((".n", ".processes"))
            else values
            for name, values in catalog.columns.items()
        },
    )
    weights = {"latency": 1.0, "throughput": 1.0}
    assert names(asked(catalog, weights=weights, every=True, top=40)) == names(
        asked(scaled, weights=weights, every=True, top=40)
    )


def test_the_usual_weights_are_criteria() -> None:
    assert set(USUAL) <= set(CRITERIA)
