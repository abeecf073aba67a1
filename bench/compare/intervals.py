"""How sure the ratio of two times is: an interval for the middle of few and noisy repetitions.

Repetitions of a benchmark are few (5 to 20), their noise multiplies, and now and then one is far too slow because the
machine did something else. So logarithms are taken, a fifth is cut off at each end, and what is left is averaged; its
error is that of the trimmed mean (Yuen 1974: from the winsorized variance). How many such errors the interval is wide
is simulated with numbers of repetitions as they are, and not read off Student's t, which is but an approximation here.

What was tried beside it, with noise of the kind that tests/bench/test_comparing.py makes: the bootstrap of the median
is an interval between order statistics, too narrow for few values (for 5 to 10 pairs it cried two to six times as
often as promised); the exact interval of the sign test keeps its promise and says nothing below 9 pairs, and with
12 it misses what two disturbed repetitions hide; so does the mean; the signed-rank test is undone by one.
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
DRAWS: Final = 200_000
AT_ONCE: Final = 10_000
SEED: Final = 1
FURTHEST: Final = math.log(100)
"""An interval that reaches further says nothing, and its ends need not be numbers."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A ratio and what it lies between; from 0 to infinity where the values cannot say."""

    ratio: float
    lower: float
    upper: float

    @property
    def half_width(self) -> float:
        """As a share: 0.05 is an interval of about 5 % to each side. A difference that is smaller is not seen."""
        return self.upper / self.ratio - 1


def ratio_interval(over: Sequence[Sequence[float]], under: Sequence[Sequence[float]], risk: float) -> Interval:
    """The middles of the samples `over`, multiplied, divided by those of the samples `under`; all are above zero.

    `risk`: how often the lower end is above the truth, which is how often the upper end is below it. Neighbours in
    time give one sample, of their ratios, and nothing under it.
    """
    samples = [np.log(np.asarray(sample, np.float64)) for sample in (*over, *under)]
    signs = [1] * len(over) + [-1] * len(under)
    measured = [_middle(sample) for sample in samples]
    centre = sum(sign * float(middle) for sign, (middle, _) in zip(signs, measured, strict=True))
    variances = [float(variance) for _, variance in measured]
    error = math.sqrt(sum(variances))
    sizes = [sample.size for sample in samples]
    shares = [round(variance / error**2, 1) if error else 1.0 for variance in variances]
    reach = _errors_wide(tuple(sorted(zip(sizes, shares, strict=True))), risk) * error if min(sizes) > 1 else math.inf
    if reach > FURTHEST:
        return Interval(math.exp(centre), 0.0, math.inf)
    return Interval(math.exp(centre), math.exp(centre - reach), math.exp(centre + reach))


def _middle(values: Floats) -> tuple[Floats, Floats]:
    """The trimmed mean along the last axis, and the square of its error."""
    count = values.shape[-1]
    cut = int(TRIM * count)
    kept = count - 2 * cut
    ordered = np.sort(values, axis=-1)
    middle = ordered[..., cut : count - cut].mean(axis=-1)
    winsorized = np.clip(ordered, ordered[..., cut, None], ordered[..., count - cut - 1, None])
    squares = ((winsorized - winsorized.mean(axis=-1, keepdims=True)) ** 2).sum(axis=-1)
    return middle, squares / max(1, kept * (kept - 1))


@cache
def _errors_wide(samples: tuple[tuple[int, float], ...], risk: float) -> float:
    """How many of its own errors the middle of normal noise is away from the truth, in 2 x risk of all cases.

    `samples`: of each its size and its share of the variance. Where one sample has nearly all of the noise, the others
    do not help to tell how large it is.
    """
    chance = np.random.default_rng(SEED)
    found = np.concatenate([_distances(samples, chance) for _ in range(DRAWS // AT_ONCE)])
    return float(np.quantile(found, 1 - 2 * risk))


def _distances(samples: tuple[tuple[int, float], ...], chance: np.random.Generator) -> Floats:
    drawn = [_middle(math.sqrt(size * share) * chance.standard_normal((AT_ONCE, size))) for size, share in samples]
    centre = sum((middle for middle, _ in drawn), np.zeros(AT_ONCE))
    variance = sum((variance for _, variance in drawn), np.zeros(AT_ONCE))
    return np.abs(centre) / np.sqrt(variance)
