"""Which colors and marks tell the series of a chart apart, for whoever draws it?

The page has them as JSON, matplotlib reads them here. Each color has a contrast of 3 to 1 at least with the
background of its theme (WCAG 2.1, 1.4.11), and those next to each other differ for eyes that take red and
green for one; from the ninth series on colors repeat with another mark.
"""

from __future__ import annotations

from pytest_llmbench.processes.wire import Json

LIGHT = ("#0072b2", "#c4500a", "#00805c", "#a0508c", "#8a6d00", "#3d3d3d", "#5b7fd6", "#b03060")
"""On a white page and in print."""
DARK = ("#56b4e9", "#ff8a3d", "#2fc79a", "#e39bd0", "#f0d24a", "#d9d9d9", "#a6b8ff", "#ff7d9c")
"""On a dark page."""
MARKS = ("circle", "rect", "triangle", "diamond", "pin", "arrow", "roundRect")
"""As ECharts calls them; as many as share no divisor with the number of colors."""
LIGHT_BACKGROUND = "#ffffff"
DARK_BACKGROUND = "#16181d"
HEAT = ("#fff7e6", "#fdd49e", "#fc8d59", "#d7301f", "#7f0000")
"""From little to much."""
ROLES_LIGHT = {
    "disturbed": "#d8a200",
    "pareto": "#3d3d3d",
    "knee": "#c4500a",
    "threshold": "#b03060",
    "break": "#6b6b6b",
    "change": "#c4500a",
    "own": "#6b6b6b",
}
ROLES_DARK = {
    "disturbed": "#f0d24a",
    "pareto": "#d9d9d9",
    "knee": "#ff8a3d",
    "threshold": "#ff7d9c",
    "break": "#a0a0a0",
    "change": "#ff8a3d",
    "own": "#a0a0a0",
}


def as_json() -> Json:
    """The palette for JavaScript."""
    return {
        "light": {"colors": list(LIGHT), "roles": ROLES_LIGHT, "background": LIGHT_BACKGROUND},
        "dark": {"colors": list(DARK), "roles": ROLES_DARK, "background": DARK_BACKGROUND},
        "marks": list(MARKS),
        "heat": list(HEAT),
    }
