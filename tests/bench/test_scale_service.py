"""What the simulation is told of a function and a task: as measured, else by the model, else in proportion."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench.money.costing import cell_requests
from bench.money.invocation_model import fit
from bench.result import Cell
from bench.scale.model import ScaleError, Service
from bench.scale.service import fleet_from, function_from, service_from, sigma_of
from tests.bench.results import synthetic_result

CHANGES: tuple[dict[str, Any], ...] = (
    {"start": "cold"},
    {"in_flight": 1},
    {"latency": "published"},
    {"transport": "aioboto3"},
)


def test_service_times_come_from_measured_cells() -> None:
    result = synthetic_result()
    function = function_from(result, 1769)
    cell = next(cell for cell in result.cells if cell.key.memory_mb == 1769 and cell.key.engine == "auto")
    assert function.service.seconds(10) == pytest.approx(10 * (cell.median("billed_ms_per_image") or 0) / 1000)
    assert function.memory_mb == 1769
    assert function.init_seconds == pytest.approx((cell.median("cold_start_ms") or 0) / 1000)
    fleet = fleet_from(result)
    rates = [cell.median("images_per_second") for cell in result.cells if cell.key.platform == "fargate"]
    assert fleet.in_flight / fleet.service.seconds(1) in [pytest.approx(rate) for rate in rates]
    with pytest.raises(ScaleError, match="no measured function of 333 MB"):
        function_from(result, 333)
    with pytest.raises(ScaleError, match="no measured task"):
        fleet_from(replace(result, cells=()))


def test_two_batch_sizes_separate_fixed_and_per_record_time() -> None:
    result = synthetic_result((1769,))
    cell = next(cell for cell in result.cells if cell.key.engine == "auto")
    one = replace(
        cell,
        key=replace(cell.key, batch_size=1),
        repetitions=tuple(replace(each, invocations=1000, billed_ms=1000 * 100.0) for each in cell.repetitions),
    )
    ten = replace(cell, repetitions=tuple(replace(each, billed_ms=100 * 300.0) for each in cell.repetitions))
    service = function_from(replace(result, cells=(one, ten))).service
    assert service.seconds(1) == pytest.approx(0.1)
    assert service.seconds(10) == pytest.approx(0.3)


def test_enough_cells_use_the_invocation_model() -> None:
    """A wait of 70 ms a batch and 20 ms of CPU a picture: at half a core ten take 470 ms, one takes 110."""
    base = synthetic_result((1769,))
    cell = next(cell for cell in base.cells if cell.key.engine == "auto")
    cells = [
        _invocations(cell, memory, size)
        for memory, size in ((512, 10), (1024, 10), *((1769, n) for n in (1, 2, 5, 10)))
    ]
    function = function_from(replace(base, cells=tuple(cells)), 1024)
    assert "a model of 6 measured" in function.service.source
    vcpus = 1024 / 1769
    assert function.service.seconds(1) == pytest.approx(0.07 + 0.02 / vcpus, rel=0.01)
    assert function.service.seconds(10) == pytest.approx(0.07 + 0.2 / vcpus, rel=0.01)


def test_measured_batch_takes_precedence_over_the_model() -> None:
    """Ten took a fifth more at 1,024 MB than the model has from all others."""
    others = [_invocations(_ours(), memory, size) for memory, size in ((512, 10), *((1769, n) for n in (1, 2, 5, 10)))]
    service = _service((*others, _billed(_invocations(_ours(), 1024, 10), 1.2)), 1024)
    assert "a model of 6 measured" in service.source
    assert service.seconds(10) == pytest.approx(1.2 * (0.07 + 0.2 / (1024 / 1769)))


def test_model_scales_the_measured_batch() -> None:
    """Two memories with two batch sizes each settle its four numbers."""
    places = ((512, 1), (512, 10), (1769, 1), (1769, 2), (1769, 10))
    cells = (*(_invocations(_ours(), *place) for place in places), _billed(_invocations(_ours(), 1024, 10), 1.2))
    sizes, billed = [cell.key.batch_size for cell in cells], [cell.median("billed_ms_per_image") or 0 for cell in cells]
    points = [(cell.key.vcpus, b, b * ms) for cell, b, ms in zip(cells, sizes, billed, strict=True)]
    one, ten = (fit(points).invocation_ms(1024 / 1769, records) for records in (1, 10))
    service = _service(cells, 1024)
    assert service.seconds(1) / service.seconds(10) == pytest.approx(one / ten)


def test_two_batch_sizes_of_a_memory_take_precedence_over_other_memories() -> None:
    other = _billed(_invocations(_ours(), 512, 10), 3)
    cells = (other, *(_invocations(_ours(), memory, size) for memory, size in ((1024, 10), (1769, 1), (1769, 10))))
    service = _service(cells, 1769)
    assert service.seconds(1) == pytest.approx(0.09)
    assert service.seconds(10) == pytest.approx(0.27)
    assert "a model of 2 measured" in service.source


def test_single_batch_size_scales_in_proportion() -> None:
    service = _service((_invocations(_ours(), 1769, 10),), 1769)
    assert service.seconds(1) == pytest.approx(0.027)
    assert "a model of 1 measured" in service.source


@pytest.mark.parametrize("ten_ms", [80.0, 90.0, 2000.0])
def test_noise_never_makes_times_negative(ten_ms: float) -> None:
    """Where ten take less than one, or more than ten times as much."""
    ten = _invocations(_ours(), 1769, 10)
    ten = replace(ten, repetitions=tuple(replace(each, billed_ms=100 * ten_ms) for each in ten.repetitions))
    service = service_from((_invocations(_ours(), 1769, 1), ten), ten)
    assert service.batch_seconds >= 0
    assert service.record_seconds > 0
    assert service.seconds(10) == pytest.approx(ten_ms / 1000)


@pytest.mark.parametrize(("asked_for", "taken"), [(None, 10), (20, 20), (5, 5), (7, 10)])
def test_batch_size_is_the_wanted_or_the_best_of_one_request(asked_for: int | None, taken: int) -> None:
    cells = tuple(_invocations(_ours(), 1769, size) for size in (1, 5, 10, 20))
    function = function_from(replace(synthetic_result(()), cells=cells), 1769, asked_for)
    assert function.batch_size == taken
    assert function.service.seconds(taken) == pytest.approx((70 + 20 * taken) / 1000)


def test_times_vary_like_single_pictures_at_the_nearest_memory() -> None:
    cells = (
        _spread(_invocations(_ours(), 512, 10), 1.1),
        _spread(_invocations(_ours(), 1769, 1), 2.0),
        _spread(_invocations(_ours(), 3008, 1), 1.5),
    )
    service = _service(cells, 512)
    assert service.sigma == sigma_of(cells[1]) > 0
    assert "as batches of 1 at 1,769 MB" in service.source


def test_times_vary_like_the_smallest_batches_without_single_pictures() -> None:
    cells = (_spread(_invocations(_ours(), 512, 10), 1.1), _spread(_invocations(_ours(), 1769, 5), 1.5))
    service = _service(cells, 512)
    assert service.sigma == sigma_of(cells[1]) > 0
    assert "as batches of 5 at 1,769 MB" in service.source


def test_requests_are_the_measured_ones() -> None:
    base = synthetic_result((1769,))
    asked = {"lambda": {"get": 2.0, "head": 1.0, "put": 4.0}, "fargate": {"get": 3.0, "head": 0.5, "put": 5.0}}
    cells = [_asking(cell, asked.get(cell.key.platform, {})) for cell in base.cells]
    result = replace(base, cells=tuple(cells))
    function, fleet = function_from(result), fleet_from(result)
    for one, platform in ((function, "lambda"), (fleet.task, "fargate")):
        assert one.requests == cell_requests(next(cell for cell in cells if cell.key.platform == platform))
        assert (one.requests.get, one.requests.head, one.requests.put) == tuple(asked[platform].values())


def test_task_has_the_measured_architecture() -> None:
    base = synthetic_result((1769,))
    cells = (replace(cell, key=replace(cell.key, architecture="arm64")) for cell in base.cells)
    fleet = fleet_from(replace(base, cells=tuple(cells)))
    assert fleet.task.architecture == "arm64"


# --- cells that are made up -----------------------------------------------------------------------------------------


def _ours() -> Cell:
    return next(cell for cell in synthetic_result((1769,)).cells if cell.key.engine == "auto")


def _service(cells: tuple[Cell, ...], memory: int) -> Service:
    return function_from(replace(synthetic_result(()), cells=cells), memory).service


def _billed(cell: Cell, times: float) -> Cell:
    return replace(cell, repetitions=tuple(replace(one, billed_ms=times * one.billed_ms) for one in cell.repetitions))


def _spread(cell: Cell, times: float) -> Cell:
    """A p95 of so many times the p50."""
    latencies = (*[10.0] * 18, *[times * 10.0] * 2)
    return replace(cell, repetitions=tuple(replace(one, latencies_ms=latencies) for one in cell.repetitions))


def _asking(cell: Cell, requests: dict[str, float]) -> Cell:
    asked = (replace(one, requests={**one.requests, **requests}) for one in cell.repetitions)
    return replace(cell, repetitions=tuple(asked))


def _invocations(cell: Cell, memory: int, size: int) -> Cell:
    ms = 70 + 20 * size / (memory / 1769)
    key = replace(cell.key, memory_mb=memory, vcpus=memory / 1769, batch_size=size)
    timed = tuple(replace(each, invocations=100, records=100 * size, billed_ms=100 * ms) for each in cell.repetitions)
    return replace(cell, key=key, repetitions=timed)


def test_unusual_cells_give_no_service_times() -> None:
    base = synthetic_result((1769,))
    cell = next(cell for cell in base.cells if cell.key.engine == "auto")
    slow = tuple(replace(each, billed_ms=each.billed_ms * 9) for each in cell.repetitions)
    others = [replace(cell, key=replace(cell.key, **change), repetitions=slow) for change in CHANGES]
    alone, among = (function_from(replace(base, cells=(cell, *more))) for more in ((), others))
    assert alone == among
