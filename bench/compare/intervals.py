"""A confidence interval for the ratio of two times, from few and noisy repetitions.

A benchmark has 5 to 20 repetitions, their noise multiplies, and some are far too slow because the machine was busy. So
the interval takes logarithms, cuts off a fifth at each end, and averages the rest (trimmed mean; its error from the
winsorized variance and Student's t, Yuen 1974). docs/why.md has the rejected alternatives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from scipy import stats

TRIM: Final = 0.2
FURTHEST: Final = math.log(100)
"""An interval that reaches further is unbounded: its ends could overflow."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A ratio and its bounds; 0 and infinity if the values cannot tell."""

    ratio: float
    lower: float
    upper: float

    @property
    def half_width(self) -> float:
        """0.05 is an interval of about 5 % to each side; smaller differences are not visible."""
        return self.upper / self.ratio - 1


def ratio_interval(over: Sequence[float], under: Sequence[float], risk: float) -> Interval:
    """Return the middle of `over` divided by that of `under`, if there is one; all values are above zero.

    `risk`: probability that the lower end is above the truth, and that the upper end is below it.
    """
    middles = [_middle(sample) for sample in (over, under) if sample]
    centre = middles[0].mean - sum(each.mean for each in middles[1:])
    reach = _reach(middles, risk)
    if reach > FURTHEST:
        return Interval(math.exp(centre), 0.0, math.inf)
    return Interval(math.exp(centre), math.exp(centre - reach), math.exp(centre + reach))


class _Middle(NamedTuple):
    """The trimmed mean of logarithms, its squared error, and the degrees of freedom of that."""

    mean: float
    variance: float
    freedom: int


def _middle(values: Sequence[float]) -> _Middle:
    ordered = np.sort(np.log(values))
    cut = int(TRIM * ordered.size)
    kept = ordered[cut : ordered.size - cut]
    winsorized = np.clip(ordered, kept[0], kept[-1])
    variance = winsorized.var() * ordered.size / max(1, kept.size * (kept.size - 1))
    return _Middle(float(kept.mean()), float(variance), kept.size - 1)


def _reach(middles: Sequence[_Middle], risk: float) -> float:
    """The half width; degrees of freedom by Welch and Satterthwaite."""
    if min(each.freedom for each in middles) < 1:
        return math.inf
    variance = sum(each.variance for each in middles)
    if variance == 0:
        return 0.0
    freedom = variance**2 / sum(each.variance**2 / each.freedom for each in middles)
    return float(stats.t.ppf(1 - risk, freedom)) * math.sqrt(variance)
