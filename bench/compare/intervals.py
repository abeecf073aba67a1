"""A confidence interval for the ratio of two times, from few and noisy repetitions.

A benchmark has 5 to 20 repetitions, their noise multiplies, and some are far too slow because the machine was busy. So
the interval takes logarithms, cuts off a fifth at each end, and averages the rest (trimmed mean; its error from the
winsorized variance, Yuen 1974). The width in errors is simulated for the actual numbers of repetitions, because
Student's t is only an approximation here.

Rejected alternatives, with the noise of tests/bench/test_compare.py: the bootstrap of the median is too narrow for 5 to
10 pairs (two to six times the promised false alarms); the sign test says nothing below 9 pairs; two disturbed
repetitions of 12 hide a difference from the mean and the sign test, one from the signed-rank test.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

TRIM: Final = 0.2
DRAWS: Final = 20
DRAW_SIZE: Final = 10_000
SEED: Final = 1
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


def ratio_interval(over: Sequence[Sequence[float]], under: Sequence[Sequence[float]], risk: float) -> Interval:
    """Return the product of the middles of `over`, divided by those of `under`; all values are above zero.

    `risk`: probability that the lower end is above the truth, and that the upper end is below it. Pairs of neighbours
    in time are one sample in `over`, of their ratios.
    """
    samples = [np.log(np.asarray(sample, np.float64)) for sample in (*over, *under)]
    middles, variances = zip(*((float(each) for each in _middle(sample)) for sample in samples), strict=True)
    centre = sum(middles[: len(over)]) - sum(middles[len(over) :])
    error = math.sqrt(sum(variances))
    sizes = [sample.size for sample in samples]
    shares = [round(variance / error**2, 1) if error else 1.0 for variance in variances]
    reach = _errors_wide(tuple(sorted(zip(sizes, shares, strict=True))), risk) * error if min(sizes) > 1 else math.inf
    if reach > FURTHEST:
        return Interval(math.exp(centre), 0.0, math.inf)
    return Interval(math.exp(centre), math.exp(centre - reach), math.exp(centre + reach))


def _middle(values: Floats) -> tuple[Floats, Floats]:
    """The trimmed mean along the last axis, and its squared error."""
    count = values.shape[-1]
    cut = int(TRIM * count)
    kept = count - 2 * cut
    ordered = np.sort(values, axis=-1)
    middle = ordered[..., cut : count - cut].mean(axis=-1)
    winsorized = np.clip(ordered, ordered[..., cut, None], ordered[..., count - cut - 1, None])
    return middle, winsorized.var(axis=-1) * count / max(1, kept * (kept - 1))


@cache
def _errors_wide(samples: tuple[tuple[int, float], ...], risk: float) -> float:
    """The distance from the truth, in estimated errors, that normal noise exceeds with probability 2 x risk.

    `samples`: size and share of the variance of each. If one sample has nearly all of the noise, the others do not help
    to estimate it.
    """
    chance = np.random.default_rng(SEED)
    found = np.concatenate([_distances(samples, chance) for _ in range(DRAWS)])
    return float(np.quantile(found, 1 - 2 * risk))


def _distances(samples: tuple[tuple[int, float], ...], chance: np.random.Generator) -> Floats:
    drawn = [_middle(math.sqrt(size * share) * chance.standard_normal((DRAW_SIZE, size))) for size, share in samples]
    centres, variances = (np.sum(each, axis=0) for each in zip(*drawn, strict=True))
    distances: Floats = np.abs(centres) / np.sqrt(variances)
    return distances
