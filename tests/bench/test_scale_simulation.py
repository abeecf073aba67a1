"""The simulation against queueing theory where that has an answer, and against the limits that it models."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from bench.money.costing import Requests, Task, sqs_requests
from bench.scale.model import DEPLOYED, Arrivals, Fleet, Function, Outcome, Service
from bench.scale.simulation import simulate_fleet, simulate_lambda
from thumbnailer.backfill.prices import load_prices

PRICES = load_prices()
TASK = Task(1.0, 2.0, 40.0, DEPLOYED)


def servers(count: int, service: Service) -> Function:
    """So many servers that are there from the start, one message each: the queue of the textbooks."""
    return Function(service, batch_size=1, first=count, per_minute=0, most=count, init_seconds=0)


def simulate(rate: float, seconds: float, function: Function, seed: int = 1) -> Outcome:
    return simulate_lambda(Arrivals(rate, seconds), function, PRICES, seed=seed)


# --- queueing theory ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("utilisation", [0.5, 0.8])
def test_single_server_waits_match_pollaczek_khinchine(utilisation: float) -> None:
    """M/D/1: wait = rho s / (2 (1 - rho))."""
    outcome = simulate(utilisation, 60_000, servers(1, Service(1.0, 0.0)))
    wait = utilisation / (2 * (1 - utilisation))
    assert outcome.mean_latency - 1 == pytest.approx(wait, rel=0.06)
    assert outcome.busy == pytest.approx(utilisation, rel=0.02)


def test_varying_times_make_longer_queues() -> None:
    """M/G/1: wait = rate E[S^2] / (2 (1 - rho)), and E[S^2] = s^2 exp(sigma^2) of a lognormal."""
    outcome = simulate(0.6, 80_000, servers(1, Service(1.0, 0.0, sigma=0.7)))
    wait = 0.6 * 2.718281828 ** (0.7**2) / (2 * 0.4)
    assert outcome.mean_latency - 1 == pytest.approx(wait, rel=0.1)


@pytest.mark.parametrize(("rate", "count"), [(1.5, 2), (6.0, 8), (100.0, 30), (4000.0, 1100)])
def test_busy_servers_are_rate_times_service_time(rate: float, count: int) -> None:
    """M/D/c: however many there are, alone or in groups."""
    service = Service(0.25 if rate >= 100 else 1.0, 0.0)
    outcome = simulate(rate, 30 if rate >= 100 else 2000, replace(servers(count, service), account=count))
    assert outcome.busy == pytest.approx(outcome.done / outcome.seconds * service.seconds(1), rel=1e-6)
    assert outcome.busy == pytest.approx(rate * service.seconds(1), rel=0.1)
    assert outcome.peak_running <= count


@pytest.mark.parametrize("rate", [300, pytest.param(3000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("sigma", [0.0, 0.6])
def test_littles_law_holds_with_a_backlog(rate: int, sigma: float) -> None:
    """The mean number in the system is the rate times the mean time of each."""
    for outcome in (
        simulate(rate, 300, Function(Service(0.1, 0.02, sigma), most=rate // 40)),
        simulate_fleet(Arrivals(rate, 300), Fleet(Service(0, 0.2, sigma), TASK, least=rate // 50), PRICES),
    ):
        in_system = np.mean([sample.backlog + sample.in_work for sample in outcome.samples])
        assert in_system == pytest.approx(outcome.done / outcome.seconds * outcome.mean_latency, rel=0.03)
        assert outcome.done == outcome.arrived == pytest.approx(rate * 300, rel=0.2)


def test_overloaded_queue_grows_by_the_difference() -> None:
    outcome = simulate_lambda(Arrivals(2, 1000), servers(1, Service(1.0, 0.0)), PRICES, patience=0)
    assert outcome.drained is None
    assert outcome.arrived - outcome.done == pytest.approx(1000, rel=0.1)
    assert outcome.busy == pytest.approx(1, abs=0.01)


def test_seed_determines_the_outcome() -> None:
    function = Function(Service(0.1, 0.02, 0.5))
    one, again, other = (simulate(300, 30, function, seed) for seed in (7, 7, 8))
    assert one == again
    assert one != other


# --- Lambda -------------------------------------------------------------------------------------------------------


def test_mapping_starts_with_five_and_grows_by_five_a_second() -> None:
    outcome = simulate(10_000, 30, Function(Service(0.3, 0.0), init_seconds=0))
    capacity = {round(sample.seconds): sample.capacity for sample in outcome.samples}
    assert capacity[0] == 5
    assert capacity[20] == pytest.approx(105, abs=6)
    assert outcome.peak_backlog > 100_000


def test_concurrency_stays_within_mapping_and_account() -> None:
    for function in (Function(Service(1, 0.1), account=40), Function(Service(1, 0.1), most=40)):
        assert simulate(2000, 60, function).peak_running == 40


def test_init_is_paid_once_per_environment() -> None:
    warm = simulate(5, 200, Function(Service(0.1, 0.0), init_seconds=0))
    cold = simulate(5, 200, Function(Service(0.1, 0.0), init_seconds=3.0))
    assert cold.p50 == pytest.approx(warm.p50)
    assert cold.started >= warm.started
    billed = (cold.cost.compute - warm.cost.compute) * cold.done / 1e6
    assert billed == pytest.approx(cold.started * 3.0 * 1769 / 1024 * PRICES.gb_second("x86"), rel=0.05)


def test_window_fills_batches_and_adds_latency() -> None:
    eager, patient = (simulate(20, 120, Function(Service(0.05, 0.01), window=window)) for window in (0.0, 5.0))
    assert patient.invocations < 0.2 * eager.invocations
    assert patient.done / patient.invocations == pytest.approx(10, rel=0.05)
    assert patient.p50 > eager.p50
    assert patient.cost.total < eager.cost.total


def test_window_ends_with_a_partial_batch() -> None:
    outcome = simulate(0.05, 2000, Function(Service(0.05, 0.01), window=2.0, init_seconds=0))
    assert outcome.p99 == pytest.approx(2.06, abs=0.02)
    assert outcome.done == outcome.arrived > 50


def test_requests_come_from_function_or_task() -> None:
    requests = Requests(get=2, head=3, put=4)
    outcomes = (
        simulate(5, 20, Function(Service(0.1, 0.02), requests=requests)),
        simulate_fleet(Arrivals(5, 20), Fleet(Service(0, 0.2), replace(TASK, requests=requests)), PRICES),
    )
    for cost in (outcome.cost for outcome in outcomes):
        assert cost.s3_get == pytest.approx(2e6 * PRICES["s3_get"])
        assert cost.s3_head == pytest.approx(3e6 * PRICES["s3_head"])
        assert cost.s3_put == pytest.approx(4e6 * PRICES["s3_put"])
        assert cost.sqs > 1e6 * PRICES["sqs_request"]  # sent and received


def test_varying_times_spread_percentiles_at_light_load() -> None:
    outcome = simulate(1, 2000, Function(Service(0.1, 0.02, sigma=0.45), init_seconds=0))
    assert outcome.p50 < 0.12 < outcome.p95 < outcome.p99
    assert outcome.p95 / outcome.p50 == pytest.approx(math.exp(1.645 * 0.45), rel=0.1)


@pytest.mark.parametrize("records", [1, 4, 10])
def test_batch_varies_like_a_sum_of_independent_pictures(records: int) -> None:
    """Of four, half as much as of one, where a batch takes nothing for itself."""
    service, chance = Service(0.0, 0.1, sigma=0.5), np.random.default_rng(1)
    drawn = [service.draw(records, chance) for _ in range(20_000)]
    deviation_of_one = 0.1 * math.sqrt(math.expm1(0.5**2))
    assert np.mean(drawn) == pytest.approx(0.1 * records, rel=0.02)
    assert np.std(drawn) == pytest.approx(deviation_of_one * math.sqrt(records), rel=0.05)


def test_full_batches_match_the_costing() -> None:
    outcome = simulate(5000, 60, Function(Service(0.1, 0.02), init_seconds=0))
    assert outcome.cost.sqs == pytest.approx(1e6 * sqs_requests(10) * PRICES["sqs_request"], rel=0.02)
    assert outcome.cost.compute == pytest.approx(0.03 * 1e6 * 1769 / 1024 * PRICES.gb_second("x86"), rel=0.02)
    assert outcome.cost.s3_put == pytest.approx(5.0)


# --- Fargate ------------------------------------------------------------------------------------------------------


def test_tasks_are_added_after_three_looks_and_their_start() -> None:
    fleet = Fleet(Service(0, 0.2), TASK, least=1, most=10, backlog_a_task=100)
    outcome = simulate_fleet(Arrivals(200, 300), fleet, PRICES)
    capacity = {round(sample.seconds): sample.capacity for sample in outcome.samples}
    assert capacity[3 * 60 + 44] == 1
    assert capacity[3 * 60 + 46] == 10
    assert outcome.started == 10
    assert outcome.peak_backlog == pytest.approx(160 * 225, rel=0.05)


def test_tasks_are_paid_from_the_request_for_at_least_a_minute() -> None:
    fleet = Fleet(Service(0, 0.2), TASK, least=3, most=3)
    short = simulate_fleet(Arrivals(10, 20), fleet, PRICES)
    long = simulate_fleet(Arrivals(10, 1200), fleet, PRICES)
    minute = PRICES.task_hour(1, 2, "x86", spot=False) / 60 + PRICES["public_ipv4_hour"] / 60
    assert short.cost.compute * short.done / 1e6 == pytest.approx(3 * minute)
    assert long.cost.compute * long.done / 1e6 == pytest.approx(3 * 20 * minute, rel=0.01)


def test_spot_has_the_same_outcome_for_less() -> None:
    fleet = Fleet(Service(0, 0.2), TASK, least=2)
    dear, cheap = (
        simulate_fleet(Arrivals(20, 60), replace(fleet, task=replace(TASK, spot=spot)), PRICES)
        for spot in (False, True)
    )
    assert cheap.cost.compute < 0.6 * dear.cost.compute
    assert replace(cheap, cost=dear.cost) == dear


def test_unneeded_tasks_end() -> None:
    fleet = Fleet(Service(0, 0.2), TASK, least=1, most=10, backlog_a_task=100, looks_in=3)
    outcome = simulate_fleet(Arrivals(60, 1500), fleet, PRICES)
    capacities = [sample.capacity for sample in outcome.samples]
    assert max(capacities) == 10
    assert min(capacities[capacities.index(10) :]) < 10


def test_tasks_are_paid_until_scale_in_completes() -> None:
    """Looks come once a minute: the third asks for nine more tasks, the fourth to sixth see them not needed."""
    fleet = Fleet(Service(0, 0.2), TASK, least=1, most=10, backlog_a_task=100, looks_in=3)
    for spot in (False, True):
        outcome = simulate_fleet(Arrivals(60, 300), replace(fleet, task=replace(TASK, spot=spot)), PRICES)
        assert outcome.started == 10
        assert outcome.drained is not None
        assert outcome.samples[-1].capacity == 10
        assert outcome.drained < 360
        assert outcome.paid_until == 360
        hour = PRICES.task_hour(1, 2, "x86", spot) + PRICES["public_ipv4_hour"]
        paid = outcome.cost.compute * outcome.done / 1e6
        assert paid == pytest.approx((360 + 9 * (360 - 180)) / 3600 * hour)


def test_outcome_ends_with_the_last_message() -> None:
    fleet = Fleet(Service(0, 0.2), TASK, least=1, most=10, backlog_a_task=100)
    soon, late = (simulate_fleet(Arrivals(60, 300), replace(fleet, looks_in=looks), PRICES) for looks in (5, 50))
    assert soon.cost.compute < late.cost.compute
    assert replace(soon, cost=late.cost, paid_until=late.paid_until) == late


def test_constant_tasks_are_paid_until_the_load_ends() -> None:
    outcome = simulate_fleet(Arrivals(10, 200), Fleet(Service(0, 0.2), TASK, least=2, most=2), PRICES)
    assert outcome.paid_until == outcome.seconds == pytest.approx(200, abs=1)


def test_unfinished_queue_pays_tasks_until_the_end() -> None:
    fleet = Fleet(Service(0, 0.2), TASK, least=1, most=2, backlog_a_task=100)
    outcome = simulate_fleet(Arrivals(200, 300), fleet, PRICES, patience=0)
    assert (outcome.drained, outcome.paid_until) == (None, None)
    hour = PRICES.task_hour(1, 2, "x86", spot=False) + PRICES["public_ipv4_hour"]
    assert outcome.cost.compute * outcome.done / 1e6 == pytest.approx((300 + 120) / 3600 * hour, rel=0.01)


def test_functions_and_tasks_get_the_same_messages() -> None:
    one = simulate(300, 30, Function(Service(0.1, 0.02, 0.5)))
    other = simulate_fleet(Arrivals(300, 30), Fleet(Service(0, 0.2, 0.4), TASK, least=9), PRICES)
    assert one.arrived == other.arrived


def test_fewer_pictures_in_a_task_finish_sooner() -> None:
    fleet = Fleet(Service(0.0, 0.4), TASK, in_flight=16, least=1, most=1, alone_seconds=0.1)
    idle = simulate_fleet(Arrivals(1, 300), fleet, PRICES)
    busy = simulate_fleet(Arrivals(0.95 * 16 / 0.4, 300), fleet, PRICES)
    assert idle.p50 == pytest.approx(0.1)
    assert busy.p50 > 0.1


# --- large -----------------------------------------------------------------------------------------------------------


def test_high_rate_needs_few_events() -> None:
    """Ten thousand a second for two minutes: the groups, not the messages, are what is simulated."""
    outcome = simulate(10_000, 120, Function(Service(0.05, 0.02, 0.4)))
    assert outcome.arrived == pytest.approx(1_200_000, rel=0.01)
    assert outcome.done == outcome.arrived
