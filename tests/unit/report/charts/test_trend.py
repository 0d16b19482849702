"""How did a metric develop over sessions, as a chart?"""

from __future__ import annotations

from itertools import pairwise

import pytest

from pytest_llmbench.report.charts.trend import TrendPoint, TrendSeries, trends


def _series(breaks: tuple[int, ...] = (), changes: tuple[int, ...] = ()) -> TrendSeries:
    points = tuple(
        TrendPoint(
            time=1e9 + 86400.0 * n,
            value=0.1 + 0.01 * n,
            session=f"s{n}",
            break_before="another engine" if n in breaks else None,
            change=0.2 if n in changes else None,
        )
        for n in range(8)
    )
    return TrendSeries(label="test_x", metric="ttft", points=points)


def test_no_line_leads_over_a_break() -> None:
    (whole,), (broken,) = trends([_series()]), trends([_series(breaks=(4,))])
    at = 1e9 + 86400.0 * 4

    def crossing(points: tuple[tuple[float | None, ...], ...]) -> bool:
        return any(
            one[1] is not None and two[1] is not None and (one[0] or 0) < at <= (two[0] or 0)
            for one, two in pairwise(points)
        )

    lines = {"whole": whole, "broken": broken}
    crossed = {
        name: any(crossing(one.points) for one in chart.series if one.shape == "line")
        for name, chart in lines.items()
    }
    assert crossed == {"whole": True, "broken": False}
    # A row of the table is a level.
    assert (len(whole.rows), len(broken.rows)) == (1, 2)


def test_nothing_is_said_to_be_missing() -> None:
    (chart,) = trends([])
    assert chart.missing is not None
    assert chart.series == ()


@pytest.mark.parametrize("changes", [(), (4,)])
def test_a_change_of_level_is_marked(changes: tuple[int, ...]) -> None:
    (chart,) = trends([_series(changes=changes)])
    assert len([line for line in chart.lines if line.role == "change"]) == len(changes)
