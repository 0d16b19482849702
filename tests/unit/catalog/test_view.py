"""Are the configurations of a workload arrays with the right costs, kept no longer than their catalog?"""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from pytest_llmbench.catalog.rows import Catalog
from pytest_llmbench.catalog.view import Terms, View, view_of
from tests.fakes.a_catalog import catalog_of, devices, made_catalog, row


def of(catalog: Catalog, terms: Terms | None = None, **usd: float) -> View:
    return view_of(catalog, next(iter(catalog.workloads())), devices(**usd), terms or Terms())


def test_costs_are_in_dollars_a_million_tokens() -> None:
    """A slip of 1,000, or of an hour and a second, is far from these."""
    catalog = catalog_of(
        [row(0), row(1, count=4), row(2, hardware="cpu")],
        system_throughput=[1000.0, 1000.0, 1000.0],
        energy_per_token=[0.5, np.nan, 0.5],
    )
    view = of(catalog, Terms(usd_per_kwh=0.36), L4=3.6)
    # 3.6 USD are 3,600,000 tokens.
    assert view.costs["cost"].tolist() == pytest.approx([1.0, 4.0, np.nan], nan_ok=True)
    # Two are read for each that is written.
    assert view.costs["input"][0] == pytest.approx(0.5)
    assert view.costs["blended"][0] == pytest.approx(1 / 3)
    # Half a million joules are 0.139 kWh.
    assert view.costs["energy"].tolist() == pytest.approx([0.05, np.nan, 0.05], nan_ok=True)
    assert view.usd_per_hour.tolist() == pytest.approx([3.6, 14.4, np.nan], nan_ok=True)


def test_what_is_not_known_of_lengths_leaves_the_cost_of_input_unknown() -> None:
    view = of(catalog_of([row(0, prompt_tokens=None)], system_throughput=[100.0]), L4=1.0)
    assert np.isfinite(view.costs["cost"]).all()
    assert np.isnan(view.costs["input"]).all()
    assert np.isnan(view.costs["blended"]).all()


def test_without_a_load_the_throughput_is_that_of_the_answer() -> None:
    catalog = catalog_of(
        [row(0, load=None), row(1)], output_throughput=[50.0, 9.0], system_throughput=[np.nan, 400.0]
    )
    assert of(catalog).criterion("throughput")[0].tolist() == [50.0, 400.0]


def test_memory_is_that_of_the_gpu_where_there_is_one() -> None:
    catalog = catalog_of([row(0), row(1)], peak_vram=[2e9, 0.0], peak_rss=[3e9, 4e9])
    assert of(catalog).criterion("memory")[0].tolist() == [2e9, 4e9]


def test_a_view_is_made_once_for_a_question_and_goes_with_its_catalog() -> None:
    catalog, prices = made_catalog(30), devices(L4=1.0)
    view = view_of(catalog, "w0", prices, Terms())
    assert view_of(catalog, "w0", prices, Terms()) is view
    others = [view_of(catalog, "w0", prices, Terms(utilization=share / 10)) for share in range(1, 9)]
    assert len(catalog.kept) < len(others)
    gone = weakref.ref(catalog)
    del catalog, view, others
    gc.collect()
    assert gone() is None


def test_the_scale_is_that_of_all_whatever_is_asked() -> None:
    view = of(made_catalog(500))
    bounds = view.bounds(("latency", "throughput"))
    known = np.sort(view.criterion("latency")[0])
    assert bounds.low[0] == pytest.approx(np.exp(np.percentile(np.log(known), 1)))
    assert bounds.logarithmic == (True, True)
