"""Which configuration should I take?

Constraints leave the candidates, then limits; of those that meet them all, the ones that no other beats in
everything are ranked by TOPSIS over the fixed bounds of their workload in this version of the catalog. So no
filter, and no candidate that goes, reorders the others. What is not known is never counted as 0: it is told,
and a configuration of which something that counts is not known has no place in the order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import numpy as np

from pytest_llmbench.catalog.answer import Answer, Configuration, Incomplete, Miss
from pytest_llmbench.catalog.ask import Ask
from pytest_llmbench.catalog.criteria import CRITERIA, USUAL, check_weights
from pytest_llmbench.catalog.entries import entries_of
from pytest_llmbench.catalog.hardware import Devices, read_devices
from pytest_llmbench.catalog.limits import Checked, all_meet, excluded, near
from pytest_llmbench.catalog.rows import Catalog
from pytest_llmbench.catalog.scoring import Scored, best_by, known, one_a_model, score
from pytest_llmbench.catalog.view import Terms, View, view_of
from pytest_llmbench.errors import UsageError, few, suggest
from pytest_llmbench.metrics.units import count

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Places = NDArray[np.int64]
    Mask = NDArray[np.bool_]

_MOST_MISSES, _MOST_NAMED = 3, 20


def recommend(
    catalog: Catalog, ask: Ask, devices: Devices | None = None, today: date | None = None
) -> Answer:
    """What *catalog* answers.

    :param devices: whose prices hold; by default those that come with the package.
    :param today: from which ages are counted; by default today in UTC.
    :raises UsageError: for a limit, a weight or a workload that cannot be.
    """
    devices = devices or read_devices()
    today = today or datetime.now(UTC).date()
    limits = ask.limits()
    weights = check_weights(ask.given_weights() or USUAL)
    if not len(catalog):
        return Answer(version=catalog.version, notes=[_nothing(catalog)])
    workload, others = _workload(catalog, ask.workload)
    terms = Terms(ask.market, ask.lost_share, ask.utilization, ask.usd_per_kwh)
    view = view_of(catalog, workload, devices, terms)
    constrained = _constrain(view, ask, devices)
    checked = [Checked.of(limit, view) for limit in limits]
    candidates = np.flatnonzero(all_meet(checked, constrained.within))
    notes = _notes(catalog, ask)
    told = [name for name in weights if known(view, name)]
    shares = {name: weights[name] / sum(weights[one] for one in told) for name in told}
    notes += [
        f"{CRITERIA[name].head} does not count: {_why_unknown(view, name, ask)}"
        for name in weights
        if name not in shares
    ]
    scored = score(view, shares, candidates, every=ask.every) if shares else None
    if scored is None:
        notes.append("nothing that has a weight is known of any configuration; give other weights")
    shown = np.zeros(0, dtype=np.int64)
    if scored is not None:
        shown = np.arange(len(scored.places)) if ask.every else one_a_model(view, scored)
    incomplete, incomplete_count = _incomplete(view, scored, checked, constrained.within, today)
    never = [*constrained.missing, *_pairs(view, constrained)]
    return Answer(
        version=catalog.version,
        workload=workload,
        test=view.row(0).test,
        others=others,
        evaluated=int(np.count_nonzero(constrained.within)),
        meeting=len(candidates),
        beaten=0 if scored is None else scored.beaten,
        shown_once=0 if scored is None or ask.every else int(np.count_nonzero(scored.possible)) - len(shown),
        weights=shares,
        ranked=[]
        if scored is None
        else entries_of(view, scored, shown[: ask.top], candidates, checked, today),
        excluded=excluded(checked, constrained.within),
        near_misses=[
            Miss(
                configuration=Configuration.of(view.row(place), today),
                beyond=beyond,
                margins=[one.margin(place) for one in checked],
            )
            for place, beyond in near(checked, constrained.within, _MOST_MISSES)
        ],
        incomplete=incomplete,
        incomplete_count=incomplete_count,
        lists={
            title: None if place is None else Configuration.of(view.row(place), today)
            for title, place in best_by(view, candidates).items()
        },
        never_measured=never[:_MOST_NAMED],
        never_measured_count=len(never),
        notes=notes,
    )


def _nothing(catalog: Catalog) -> str:
    failed = f" ({count(catalog.failed, 'configuration')} failed)" if catalog.failed else ""
    return f"nothing was measured that can be recommended{failed}; run benchmarks with --llm-store"


def _workload(catalog: Catalog, said: str | None) -> tuple[str, list[str]]:
    """The workload that is named, or the one of which most is known; and the names of the others.

    They are called as their tests, with the hash where two tests are called the same.

    :raises UsageError: if there is none of that name.
    """
    names: dict[str, str] = {}
    for workload, places in catalog.workloads().items():
        test = catalog.rows[places[0]].test
        names[f"{test} {workload}" if test in names else test] = workload
    found = next(iter(names.values()))
    if said is not None:
        parts = [workload for name, workload in names.items() if said.casefold() in name.casefold()]
        if said in names:
            found = names[said]
        elif said in names.values():
            found = said
        elif parts:
            found = parts[0]
        else:
            hint = suggest(said, list(names)) or "."
            msg = f"no workload {said[:80]!r} was measured{hint} There are {few(list(names))}"
            raise UsageError(msg)
    return found, [name for name, workload in names.items() if workload != found]


@dataclass(frozen=True, eq=False, slots=True)
class _Constrained:
    """What the constraints leave."""

    within: Mask
    chosen: Mapping[str, Mask] = field(default_factory=dict)
    """By axis, the values that are asked for."""
    missing: Sequence[str] = ()
    """What is asked for and was never measured."""


def _constrain(view: View, ask: Ask, devices: Devices) -> _Constrained:
    def same(axis: str, name: str) -> str:
        label = devices.label(name) if axis == "hardware" else None
        return (label or name).casefold()

    within = np.ones(len(view.places), dtype=np.bool_)
    chosen, missing = {}, []
    for axis, there in view.axes.items():
        wanted = getattr(ask, axis)
        chosen[axis], absent = there.choose(wanted, [same(axis, one) for one in wanted], same)
        within &= chosen[axis][there.codes]
        missing += [f"{axis}: {one[:80]}{suggest(one, list(there.names))}" for one in absent]
    return _Constrained(within, chosen, missing)


def _pairs(view: View, constrained: _Constrained) -> list[str]:
    """The models that were never measured on hardware that others were, as far as both are asked for."""
    models, hardware = view.axes["models"], view.axes["hardware"]
    open_ = constrained.chosen["models"][:, None] & constrained.chosen["hardware"]
    open_[models.codes, hardware.codes] = False
    return [
        f"{models.names[model]} on {hardware.names[device] or 'unknown hardware'}"
        for model, device in zip(*np.nonzero(open_), strict=True)
    ]


def _why_unknown(view: View, name: str, ask: Ask) -> str:
    """Why a criterion is known of no configuration."""
    if name != "cost" or not known(view, "throughput"):
        return "it was not measured" if name != "cost" else "no throughput was measured"
    market = "spot price" if ask.market == "spot" else "price on demand"
    names = [one or "unknown hardware" for one in view.axes["hardware"].names]
    return f"there is no {market} of {few(names, 5)}; a file of hardware can have one"


def _incomplete(
    view: View, scored: Scored | None, checked: Sequence[Checked], within: Mask, today: date
) -> tuple[list[Incomplete], int]:
    """The first configurations that have no place since something of them is not known; and how many.

    Those that lack something that counts, then those that would meet every limit if all were known.
    """
    found = []
    lacking = np.zeros(0, dtype=np.int64) if scored is None else scored.lacking
    if scored is not None:
        for place, maybe in zip(lacking[:_MOST_NAMED], scored.maybe, strict=False):
            heads = [CRITERIA[n].head for n in scored.scale.names if np.isnan(view.criterion(n)[0][place])]
            found.append((place, f"{few(heads)}: not known", "possible" if maybe else None))
    might = within & ~all_meet(checked, within)
    for one in checked:
        might &= one.meets | one.unknown
    open_ = np.flatnonzero(might)
    for place in open_[: _MOST_NAMED - len(found)]:
        texts = [one.limit.text for one in checked if one.unknown[place]]
        found.append((place, f"{few(texts)}: not known", None))
    named = [
        Incomplete(configuration=Configuration.of(view.row(int(place)), today), reason=why, front=on)
        for place, why, on in found
    ]
    return named, len(lacking) + len(open_)


def _notes(catalog: Catalog, ask: Ask) -> list[str]:
    notes = []
    if catalog.failed:
        notes.append(
            f"{count(catalog.failed, 'configuration')} failed whenever measured, and cannot be taken"
        )
    if ask.utilization < 1:
        notes.append(f"costs assume that the machine works {ask.utilization:.0%} of the paid time")
    else:
        notes.append("costs assume that the machine works all of the paid time")
    if ask.market == "spot" and not ask.lost_share:
        notes.append("costs assume that no work is lost to preemption")
    return notes
