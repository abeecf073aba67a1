"""A model of four numbers for invocations at memory and batch sizes that were not measured.

    ms = wait + wait_each x b  +  (cpu + cpu_each x b) / speed,   speed = min(vCPUs, b),   vCPUs = MB / 1,769

Waits for S3 overlap within a batch, so most of the wait counts once a batch; the rest counts for each picture. CPU
time adds up, and one picture keeps one core busy.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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
class InvocationModel:
    """`left_out_error`: error on cells predicted from the others, as a share; infinite if there are too few cells."""

    wait_ms: float
    wait_each_ms: float
    cpu_ms: float
    cpu_each_ms: float
    left_out_error: float = math.inf

    def invocation_ms(self, vcpus: float, records: float) -> float:
        return float(_row(vcpus, records) @ (self.wait_ms, self.wait_each_ms, self.cpu_ms, self.cpu_each_ms))


def fit_cells(cells: Iterable[Cell]) -> InvocationModel:
    """Return the model of at least one measured function."""
    return fit([(cell.key.vcpus, records_of(cell), invocation_ms(cell)) for cell in cells])


def fit(points: Sequence[tuple[float, float, float]]) -> InvocationModel:
    """Return the model with the least squared relative errors of vCPUs, records and milliseconds."""
    rows = np.array([_row(vcpus, records) / ms for vcpus, records, ms in points])
    numbers = _solve(rows)
    left_out = [math.inf]
    if len(points) >= FEWEST:
        left_out = [row @ _solve(np.delete(rows, place, axis=0)) - 1 for place, row in enumerate(rows)]
    wait, wait_each, cpu, cpu_each = numbers.tolist()
    return InvocationModel(wait, wait_each, cpu, cpu_each, math.hypot(*left_out) / math.sqrt(len(left_out)))


def _row(vcpus: float, records: float) -> _Array:
    speed = min(vcpus, max(1.0, records))
    return np.array([1.0, records, 1 / speed, records / speed])


def _solve(rows: _Array) -> _Array:
    """The numbers, none of them negative, with which each row gives about 1."""
    numbers: _Array = nnls(rows, np.ones(len(rows)))[0]
    return numbers
