"""Money from measured cells: examples worked out by hand, and what holds for every cell."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.money.costing import (
    Cost,
    Requests,
    Task,
    billed_ms,
    cell_cost,
    fargate_cost,
    lambda_cost,
    sqs_requests,
)
from bench.money.months import BreakEven, break_even, fargate_month, lambda_month, pictures_per_task
from bench.result import Architecture
from tests.bench.results import lambda_cell, task_cell
from thumbnailer.backfill.prices import load_prices


class LambdaCell(NamedTuple):
    """The arguments of `lambda_cost`."""

    memory_mb: int
    billed_ms: float
    records: float
    requests: Requests
    architecture: Architecture = "x86"


PRICES = load_prices()
NO_REQUESTS = Requests(get=0, put=0)
cells = st.builds(
    LambdaCell,
    memory_mb=st.integers(128, 10_240),
    billed_ms=st.floats(1, 900_000),
    records=st.floats(0.1, 10_000),
    requests=st.builds(
        Requests, *[st.floats(0, 20) for _ in ("get", "head", "put", "sqs")], log_bytes=st.floats(0, 10_000)
    ),
    architecture=st.sampled_from(["x86", "arm64"]),
)
tasks = st.builds(
    Task,
    vcpus=st.just(1),
    memory_gb=st.sampled_from([2, 4, 8]),
    images_per_second=st.floats(1, 500),
    requests=st.just(Requests()),
    spot=st.booleans(),
)


# --- worked examples ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("memory_mb", "usd"),
    [(128, 0.41), (512, 1.03), (1024, 1.87), (1769, 3.08), (3008, 5.10), (3538, 5.96), (5307, 8.84), (10_240, 16.87)],
)
def test_a_million_invocations_of_a_tenth_of_a_second(memory_mb: int, usd: float) -> None:
    cost = lambda_cost(PRICES, memory_mb, 100, 1, NO_REQUESTS)
    assert cost.total == pytest.approx(usd, abs=0.005)
    assert cost.lambda_requests == pytest.approx(0.20)


def test_one_get_and_four_puts_cost_more_than_the_time() -> None:
    cost = lambda_cost(PRICES, 1769, 100, 1, Requests(get=1, put=4))
    assert cost.s3_get + cost.s3_put == pytest.approx(20.40)
    assert cost.compute + cost.lambda_requests == pytest.approx(3.08, abs=0.005)


def test_a_head_each_adds_forty_cents() -> None:
    assert lambda_cost(PRICES, 128, 1, 1, Requests(head=1)).s3_head == pytest.approx(0.40)


def test_batches_of_ten_cost_one_send_and_two_tenths() -> None:
    def cost(batch: int) -> float:
        return lambda_cost(PRICES, 128, 1, batch, Requests(sqs=sqs_requests(batch))).sqs

    assert cost(10) == pytest.approx(0.40 + 0.04 + 0.04)
    assert cost(1) == pytest.approx(1.20)
    assert cost(100) == pytest.approx(cost(10))  # no request takes more than ten


def test_ten_pictures_an_invocation_match_the_deployment_guide() -> None:
    cost = lambda_cost(PRICES, 1769, 300, 10, Requests(sqs=sqs_requests(10), log_bytes=810))
    assert cost.compute == pytest.approx(0.86, abs=0.005)
    assert cost.lambda_requests == pytest.approx(0.02)
    assert cost.logs == pytest.approx(0.41, abs=0.005)
    assert cost.total == pytest.approx(7.17, abs=0.01)


def test_an_hour_of_one_processor() -> None:
    hour_of_lambda = lambda_cost(PRICES, 1769, 3_600_000, 1_000_000, NO_REQUESTS).compute
    assert hour_of_lambda == pytest.approx(0.1037, abs=0.00005)
    task = Task(1, 2, 10, NO_REQUESTS, public_ipv4=False)
    assert task.hour(PRICES) == pytest.approx(0.0494, abs=0.00005)
    arm = LambdaCell(1769, 3_600_000, 1_000_000, NO_REQUESTS, "arm64")
    assert lambda_cost(PRICES, *arm).compute == pytest.approx(0.0829, abs=0.00005)
    assert replace(task, architecture="arm64").hour(PRICES) == pytest.approx(0.0395, abs=0.00005)


def test_price_ratio_of_task_and_function_at_equal_speed() -> None:
    """Of a processor that makes 10 images a second; Lambda's own requests apart, as in the example."""
    lambda_ = replace(lambda_cost(PRICES, 1769, 100, 1, NO_REQUESTS), lambda_requests=0)
    task = Task(1, 2, 10, NO_REQUESTS, public_ipv4=False)
    assert break_even(lambda_, task, PRICES).busy_share == pytest.approx(0.48, abs=0.005)
    spot = break_even(lambda_, replace(task, spot=True), PRICES).busy_share
    assert spot == pytest.approx((0.0133 + 2 * 0.0015) / 0.1037, abs=0.001)


def test_break_even_by_hand() -> None:
    """A task costs 39.69 a month and makes 21.0 M pictures. Lambda costs 3.08 a million more: 39.69 for 12.9 M.

    Beyond 21.0 M two tasks are needed, which are cheaper from 25.8 M on.
    """
    lambda_ = lambda_cost(PRICES, 1769, 100, 1)
    task = Task(1, 2, 10)
    found = break_even(lambda_, task, PRICES)
    assert task.hour(PRICES) * 730 == pytest.approx(39.69, abs=0.005)
    assert pictures_per_task(task) == pytest.approx(730 * 3600 * 10 * 0.8)
    assert found.pictures == pytest.approx(2 * 39.69 / 3.0793 * 1e6, rel=1e-3)


# --- what holds for every cell ------------------------------------------------------------------------------------


@given(cells)
def test_total_is_the_sum_of_its_lines_and_none_is_negative(cell: LambdaCell) -> None:
    cost = lambda_cost(PRICES, *cell)
    assert cost.total == pytest.approx(sum(cost.lines().values()))
    assert all(line >= 0 for line in cost.lines().values())
    assert Cost(**cost.lines()) == cost


@given(cells)
def test_compute_is_gb_second_price_over_images_per_gb_second(cell: LambdaCell) -> None:
    price = PRICES.gb_second(cell.architecture)
    gb_seconds = cell.memory_mb / 1024 * cell.billed_ms / 1000
    assert lambda_cost(PRICES, *cell).compute == pytest.approx(1e6 * price * gb_seconds / cell.records)


@given(cells, st.integers(2, 10))
def test_twice_the_memory_at_half_the_time_costs_the_same(cell: LambdaCell, times: int) -> None:
    other = cell._replace(memory_mb=cell.memory_mb * times, billed_ms=cell.billed_ms / times)
    assert lambda_cost(PRICES, *other).total == pytest.approx(lambda_cost(PRICES, *cell).total)


@given(cells, st.floats(1.01, 100))
def test_more_records_in_the_same_time_never_cost_more(cell: LambdaCell, times: float) -> None:
    other = cell._replace(records=cell.records * times)
    assert lambda_cost(PRICES, *other).total < lambda_cost(PRICES, *cell).total


@given(st.lists(st.floats(0.001, 1000), min_size=1), st.floats(0, 5000))
def test_every_invocation_is_rounded_up_by_less_than_a_millisecond(durations: list[float], init: float) -> None:
    billed = billed_ms(durations, init)
    assert sum(durations) + init <= billed + 1e-6
    assert billed <= sum(durations) + init + len(durations) + 1


def test_exact_milliseconds_are_not_rounded_up() -> None:
    assert billed_ms([1.0, 1.0001, 0.2]) == 1 + 2 + 1
    assert billed_ms([1.0], init_ms=28.6) == 30


@given(tasks, st.floats(0.01, 1))
def test_half_busy_doubles_compute(task: Task, busy: float) -> None:
    full, partly = fargate_cost(task, PRICES), fargate_cost(task, PRICES, busy)
    assert partly.compute * busy == pytest.approx(full.compute)
    assert partly.total - partly.compute == pytest.approx(full.total - full.compute)


@given(tasks, st.floats(0, 1e10), st.floats(1, 10))
def test_more_pictures_never_cost_less(task: Task, pictures: float, times: float) -> None:
    assert fargate_month(task, PRICES, pictures * times) >= fargate_month(task, PRICES, pictures)


@given(tasks, st.integers(1, 1000))
def test_number_of_tasks_is_the_smallest_sufficient(task: Task, count: int) -> None:
    without_requests = replace(task, requests=NO_REQUESTS)
    usd = fargate_month(without_requests, PRICES, (count - 0.01) * pictures_per_task(task))
    assert usd == pytest.approx(count * 730 * task.hour(PRICES))
    assert fargate_month(without_requests, PRICES, 0) == pytest.approx(730 * task.hour(PRICES))


@given(tasks, st.floats(0, 100), st.floats(0.1, 300))
def test_break_even_is_where_the_two_curves_cross(task: Task, fixed: float, compute: float) -> None:
    lambda_ = Cost(compute=compute, s3_get=0.40, s3_put=5.00)
    found = break_even(lambda_, task, PRICES, fixed)

    def fargate(pictures: float) -> float:
        return fixed + fargate_month(task, PRICES, pictures)

    def cheaper(pictures: float) -> bool:
        return fargate(pictures) < lambda_month(lambda_, pictures)

    if found.pictures is None:
        assert not any(cheaper(pictures_per_task(task) * tasks * 0.999) for tasks in (1, 2, 10, 1000))
        return
    assert fargate(found.pictures * (1 - 1e-9)) == pytest.approx(lambda_month(lambda_, found.pictures), rel=1e-6)
    tasks_before = math.ceil(found.pictures * (1 - 1e-9) / pictures_per_task(task)) - 1
    start = pictures_per_task(task) * tasks_before * (1 + 1e-6)  # one task more than before
    assert start > found.pictures or not cheaper(start)
    for times in (1.001, 1.1, 1.5, 2, 3, 7.7, 50, 1000):
        assert cheaper(found.pictures * times)


def test_unprofitable_task_has_no_break_even() -> None:
    slow = Task(1, 2, 1)
    lambda_ = Cost(compute=1.0, s3_get=0.40, s3_put=5.00)
    assert break_even(lambda_, slow, PRICES).pictures is None
    assert break_even(lambda_, slow, PRICES).busy_share > 1
    dearer_requests = replace(slow, requests=Requests(put=3))
    assert break_even(lambda_, dearer_requests, PRICES) == BreakEven(None, math.inf)


def test_measured_cell_costs_follow_its_numbers() -> None:
    measured = lambda_cell(512, "vips")
    rates = [measured.median(name) or 0 for name in ("billed_ms_per_image", "images_per_gb_second")]
    cost = cell_cost(measured, PRICES)
    assert cost.compute == pytest.approx(1e6 * PRICES.gb_second("x86") / rates[1])
    assert cost == lambda_cost(PRICES, 512, 10 * rates[0], 10, Requests(sqs=1.2, log_bytes=600))
    task = task_cell(1, 2048)
    same = Task(1, 2, task.median("images_per_second") or 0, Requests(sqs=1.2, log_bytes=600))
    assert cell_cost(task, PRICES) == fargate_cost(same, PRICES)
