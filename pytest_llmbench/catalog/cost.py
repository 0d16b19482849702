"""What do a million tokens cost?

Formulas alone, for numbers and for arrays, which are broadcast against each other. Prices are US dollars an
hour for all that a configuration occupies (the price of a device, times their number), throughput is in
tokens a second, energy in joules a token. Take the throughput of a load that keeps its limits: the same model
costs twice as much at a low load as at a high one.

What is unknown is ``None`` or NaN, and what depends on it is NaN: never 0, never infinite. So is what cannot
be: a throughput of zero, a price below it. Answers are arrays, of shape () for numbers; :func:`known` makes
one of them a number or ``None``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pytest_llmbench.errors import UsageError

Floats = NDArray[np.float64]
Part = float | None | Floats

SECONDS_AN_HOUR = 3600.0
JOULES_A_KWH = 3.6e6
MILLION = 1e6


def per_million_tokens(usd_per_hour: Part, tokens_per_second: Part, utilization: float = 1.0) -> Floats:
    """US dollars for a million tokens, all of the machine's price charged to the tokens that are counted.

    ::

        usd_per_hour / (tokens_per_second * utilization * 3600) * 1,000,000

    As https://github.com/kubernetes-sigs/inference-perf/issues/139 has it. With the throughput of output
    tokens it is the cost of a million of these, what was read for them included; with that of input tokens
    the same money over those. The two are never added: see :func:`blended_per_million`. *utilization* is
    the share of the paid time in which the machine is asked for anything, above 0 and up to 1.

    :raises UsageError: for a utilization outside these.
    """
    tokens_per_hour = _not_negative(tokens_per_second) * _utilized(utilization) * SECONDS_AN_HOUR
    with np.errstate(all="ignore"):
        return _finite(_not_negative(usd_per_hour) / tokens_per_hour * MILLION)


def blended_per_million(
    usd_per_hour: Part,
    input_tokens_per_second: Part,
    output_tokens_per_second: Part,
    utilization: float = 1.0,
) -> Floats:
    """US dollars for a million tokens, whether read or written, at the mix that was measured.

    :func:`per_million_tokens` of both throughputs together. It holds for that mix, so it is shown with the
    lengths of input and output. Input that a prefix cache answered is among what was read if its throughput
    counts it.

    :raises UsageError: for a utilization that is not above 0 and up to 1.
    """
    both = _not_negative(input_tokens_per_second) + _not_negative(output_tokens_per_second)
    return per_million_tokens(usd_per_hour, both, utilization)


def energy_per_million(joules_per_token: Part, usd_per_kwh: Part) -> Floats:
    """US dollars of energy for a million tokens; a kilowatt hour is 3,600,000 joules.

    ::

        joules_per_token * 1,000,000 / 3,600,000 * usd_per_kwh

    It is a part of what a rented machine's price holds already, and is not added to that.
    """
    energy, price = _not_negative(joules_per_token), _not_negative(usd_per_kwh)
    return _finite(energy * MILLION / JOULES_A_KWH * price)


def spot_price(usd_per_hour: Part, lost_share: Part) -> Floats:
    """US dollars for an hour of work that counts, on machines that are taken away now and then.

    ::

        usd_per_hour * (1 + lost_share)

    *lost_share* is the work that was lost and done again for each hour of work that was kept, from 0: 0.1 is
    six minutes for each hour.
    """
    return _finite(_not_negative(usd_per_hour) * (1.0 + _not_negative(lost_share)))


def known(cost: Floats) -> float | None:
    """An answer of shape () as a number, or ``None`` where it is unknown."""
    number = float(cost)
    return None if np.isnan(number) else number


def _utilized(utilization: float) -> float:
    if not 0.0 < utilization <= 1.0:
        msg = f"{utilization:g} is not a valid utilization; use a share above 0 and up to 1"
        raise UsageError(msg)
    return utilization


def _not_negative(part: Part) -> Floats:
    """The finite values from 0 on; NaN for the others and for what is unknown."""
    values = np.asarray(np.nan if part is None else part, dtype=np.float64)
    return np.where((values >= 0.0) & (values < np.inf), values, np.nan)


def _finite(values: Floats) -> Floats:
    """An array of the values; NaN for what is infinite, as where a throughput is 0."""
    return np.where(np.isfinite(values), values, np.nan)
