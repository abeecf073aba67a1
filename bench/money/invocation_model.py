"""How long an invocation takes at a memory size and a batch size that were not measured: a model of four numbers.

    ms = wait + wait_each x b  +  (cpu + cpu_each x b) / speed,   speed = min(vCPUs, b),   vCPUs = MB / 1,769

Waiting for S3 overlaps within a batch, so that most of it counts once a batch; what does not overlap counts for each
picture. CPU time adds up, and one picture keeps one core busy. No number is below 0. They are fitted by least squares
of the relative errors, to the medians of what was measured.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

FORMULA: Final = """\
An invocation of b pictures takes wait + wait_each x b + (cpu + cpu_each x b) / min(vCPUs, b) milliseconds, where
vCPUs = MB / 1,769. The four numbers are from 0 on, and are those with the least squares of relative errors over what
was measured. Each cell is also predicted from the others alone: the root of the mean square of those errors is what
the model is taken to be off at sizes that were not measured."""

FEWEST: Final = 5
"""Cells: four numbers go through any four, which says nothing of how well they fit."""
_Four = tuple[float, float, float, float]
_Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Point:
    """What was measured of an invocation."""

    vcpus: float
    records: float
    ms: float


@dataclass(frozen=True, slots=True)
class InvocationModel:
    """`worst_error` is the largest over the cells it was fitted to, `left_out_error` that of cells predicted from the
    others: shares. Infinite: there are too few cells to tell."""

    wait_ms: float
    wait_each_ms: float
    cpu_ms: float
    cpu_each_ms: float
    worst_error: float = 0.0
    left_out_error: float = math.inf

    def invocation_ms(self, vcpus: float, records: float) -> float:
        numbers = np.array([self.wait_ms, self.wait_each_ms, self.cpu_ms, self.cpu_each_ms])
        return float(_row(vcpus, records) @ numbers)


def fit(points: Sequence[Point]) -> InvocationModel:
    """Raises ValueError where there is no point."""
    if not points:
        raise ValueError("a model is fitted to one point at least")
    numbers = _numbers(points)
    errors = [_error(numbers, point) for point in points]
    if len(points) < FEWEST:
        return InvocationModel(*numbers, max(errors))
    others = ([other for other in points if other is not point] for point in points)
    left_out = [_error(_numbers(rest), point) for rest, point in zip(others, points, strict=True)]
    return InvocationModel(*numbers, max(errors), math.sqrt(sum(error**2 for error in left_out) / len(left_out)))


def _row(vcpus: float, records: float) -> _Array:
    speed = min(vcpus, max(1.0, records))
    return np.array([1.0, records, 1 / speed, records / speed])


def _error(numbers: _Four, point: Point) -> float:
    return abs(InvocationModel(*numbers).invocation_ms(point.vcpus, point.records) / point.ms - 1)


def _numbers(points: Sequence[Point]) -> _Four:
    matrix = np.array([_row(point.vcpus, point.records) / point.ms for point in points])
    return _not_negative(matrix, np.ones(len(points)))


def _not_negative(matrix: _Array, target: _Array) -> _Four:
    """Least squares with no number below 0: of four, every choice of those that are not 0 can be tried."""
    columns = range(matrix.shape[1])
    choices = (choice for size in columns for choice in itertools.combinations(columns, size + 1))
    tried = [_solved(matrix, target, choice) for choice in choices]
    _, best = min((each for each in tried if each[1].min() >= 0), key=lambda each: each[0])
    wait, wait_each, cpu, cpu_each = (float(number) for number in best)
    return wait, wait_each, cpu, cpu_each


def _solved(matrix: _Array, target: _Array, choice: Sequence[int]) -> tuple[float, Any]:
    """The error, and the numbers with 0 for those that were not chosen."""
    numbers = np.zeros(matrix.shape[1])
    numbers[list(choice)] = np.linalg.lstsq(matrix[:, list(choice)], target, rcond=None)[0]
    return float(np.sum((matrix @ numbers - target) ** 2)), numbers
