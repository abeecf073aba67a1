"""A model of four numbers for invocations at memory and batch sizes that were not measured.

    ms = wait + wait_each x b  +  (cpu + cpu_each x b) / speed,   speed = min(vCPUs, b),   vCPUs = MB / 1,769

Waits for S3 overlap within a batch, so most of the wait counts once a batch; the rest counts for each picture. CPU
time adds up, and one picture keeps one core busy.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from bench.money.costing import invocation_ms, records_of
from bench.result import Cell

FEWEST: Final = 5
"""Least number of cells that test the model: its four numbers fit any four cells exactly."""
_Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Point:
    """A measured invocation."""

    vcpus: float
    records: float
    ms: float


@dataclass(frozen=True, slots=True)
class InvocationModel:
    """`worst_error`: largest error on the fitted cells. `left_out_error`: error on cells predicted from the others;
    infinite if there are too few cells. Both are shares."""

    wait_ms: float
    wait_each_ms: float
    cpu_ms: float
    cpu_each_ms: float
    worst_error: float = 0.0
    left_out_error: float = math.inf

    def invocation_ms(self, vcpus: float, records: float) -> float:
        numbers = np.array([self.wait_ms, self.wait_each_ms, self.cpu_ms, self.cpu_each_ms])
        return float(_row(vcpus, records) @ numbers)


def fit_cells(cells: Iterable[Cell]) -> InvocationModel:
    """Return the model of measured functions. Raises ValueError without cells."""
    return fit([Point(cell.key.vcpus, records_of(cell), invocation_ms(cell)) for cell in cells])


def fit(points: Sequence[Point]) -> InvocationModel:
    """Return the model with the least squared relative errors. Raises ValueError without points."""
    if not points:
        raise ValueError("a model needs at least one point")
    numbers = _fit(points)
    model = InvocationModel(*numbers.tolist())
    worst = max(_error(numbers, point) for point in points)
    if len(points) < FEWEST:
        return replace(model, worst_error=worst)
    left_out = [_error(_fit([other for other in points if other is not point]), point) for point in points]
    mean_square = sum(error**2 for error in left_out) / len(left_out)
    return replace(model, worst_error=worst, left_out_error=math.sqrt(mean_square))


def _row(vcpus: float, records: float) -> _Array:
    speed = min(vcpus, max(1.0, records))
    return np.array([1.0, records, 1 / speed, records / speed])


def _error(numbers: _Array, point: Point) -> float:
    return abs(float(_row(point.vcpus, point.records) @ numbers) / point.ms - 1)


def _fit(points: Sequence[Point]) -> _Array:
    """Least squares without negative numbers."""
    matrix = np.array([_row(point.vcpus, point.records) / point.ms for point in points])
    numbers: _Array = nnls(matrix, np.ones(len(matrix)))[0]
    return numbers
