"""The simulation against queueing theory where that has an answer, and against the limits that it models."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bench.__main__ import app
from bench.costing import Requests, sqs_requests
from bench.prices import load_prices
from bench.result import Cell, write_result
from bench.scale import (
    Arrivals,
    Fleet,
    Function,
    Outcome,
    ScaleError,
    Service,
    fleet_from,
    function_from,
    parse_rate,
    simulate_fleet,
    simulate_lambda,
)
from tests.bench.results import synthetic_result

PRICES = load_prices()
CHANGES: tuple[dict[str, Any], ...] = (
    {"start": "cold"},
    {"in_flight": 1},
    {"latency": "published"},
    {"transport": "aioboto3"},
)


def servers(count: int, service: Service) -> Function:
    """So many servers that are there from the start, one message each: the queue of the textbooks."""
    return Function(
        service, batch_size=1, first=count, per_minute=0, most=count, new_environments=10**6, init_seconds=0
    )


def simulate(rate: float, seconds: float, function: Function, seed: int = 1) -> Outcome:
    return simulate_lambda(Arrivals(rate, seconds), function, PRICES, seed=seed)


# --- queueing theory ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("utilisation", [0.5, 0.8])
def test_one_server_and_the_same_time_for_each_waits_as_pollaczek_and_khinchine_say(utilisation: float) -> None:
    """M/D/1: wait = rho s / (2 (1 - rho))."""
    outcome = simulate(utilisation, 60_000, servers(1, Service(1.0, 0.0)))
    wait = utilisation / (2 * (1 - utilisation))
    assert outcome.mean_latency - 1 == pytest.approx(wait, rel=0.06)
    assert outcome.busy == pytest.approx(utilisation, rel=0.02)


def test_times_that_differ_make_longer_queues() -> None:
    """M/G/1: wait = rate E[S^2] / (2 (1 - rho)), and E[S^2] = s^2 exp(sigma^2) of a lognormal."""
    outcome = simulate(0.6, 80_000, servers(1, Service(1.0, 0.0, sigma=0.7)))
    wait = 0.6 * 2.718281828 ** (0.7**2) / (2 * 0.4)
    assert outcome.mean_latency - 1 == pytest.approx(wait, rel=0.1)


@pytest.mark.parametrize(("rate", "count"), [(1.5, 2), (6.0, 8), (100.0, 30), (4000.0, 1100)])
def test_the_busy_servers_are_rate_times_service_time(rate: float, count: int) -> None:
    """M/D/c: however many there are, alone or in groups."""
    service = Service(0.25 if rate >= 100 else 1.0, 0.0)
    outcome = simulate(rate, 30 if rate >= 100 else 2000, replace(servers(count, service), account=count))
    assert outcome.busy == pytest.approx(outcome.done / outcome.seconds * service.seconds(1), rel=1e-6)
    assert outcome.busy == pytest.approx(rate * service.seconds(1), rel=0.1)
    assert outcome.peak_running <= count


@pytest.mark.parametrize("rate", [5, 3000])
@pytest.mark.parametrize("sigma", [0.0, 0.6])
def test_littles_law_holds(rate: float, sigma: float) -> None:
    """What is in the system on the average is the rate times the time each is in it."""
    for outcome in (
        simulate(rate, 60, Function(Service(0.1, 0.02, sigma))),
        simulate_fleet(Arrivals(rate, 60), Fleet(Service(0, 0.2, sigma), least=max(1, int(rate) // 35)), PRICES),
    ):
        assert outcome.mean_in_system == pytest.approx(outcome.done / outcome.seconds * outcome.mean_latency, rel=1e-6)
        assert outcome.done == outcome.arrived == pytest.approx(rate * 60, rel=0.2)


def test_what_cannot_keep_up_grows_by_the_difference() -> None:
    outcome = simulate_lambda(Arrivals(2, 1000), servers(1, Service(1.0, 0.0)), PRICES, patience=0)
    assert outcome.drained is None
    assert outcome.arrived - outcome.done == pytest.approx(1000, rel=0.1)
    assert outcome.busy == pytest.approx(1, abs=0.01)


def test_the_same_seed_gives_the_same_and_another_does_not() -> None:
    function = Function(Service(0.1, 0.02, 0.5))
    one, again, other = (simulate(300, 30, function, seed) for seed in (7, 7, 8))
    assert one == again
    assert one != other


# --- Lambda -------------------------------------------------------------------------------------------------------


def test_a_mapping_starts_with_five_and_grows_by_five_a_second() -> None:
    outcome = simulate(10_000, 30, Function(Service(0.3, 0.0), init_seconds=0))
    capacity = {round(sample.seconds): sample.capacity for sample in outcome.samples}
    assert capacity[0] == 5
    assert capacity[20] == pytest.approx(105, abs=6)
    assert outcome.peak_backlog > 100_000


def test_concurrency_stays_within_mapping_and_account() -> None:
    for function in (Function(Service(1, 0.1), account=40), Function(Service(1, 0.1), most=40)):
        assert simulate(2000, 60, function).peak_running == 40


def test_new_environments_start_at_their_rate() -> None:
    function = Function(Service(5, 0), batch_size=1, first=1000, account=1000, new_environments=100, init_seconds=0)
    outcome = simulate(2000, 10, function)
    in_work = {round(sample.seconds): sample.in_work for sample in outcome.samples}
    assert in_work[1] == pytest.approx(110, abs=2)
    assert in_work[4] == pytest.approx(140, abs=2)


def test_only_the_first_use_of_an_environment_pays_for_its_init() -> None:
    warm = simulate(5, 200, Function(Service(0.1, 0.0), init_seconds=0))
    cold = simulate(5, 200, Function(Service(0.1, 0.0), init_seconds=3.0))
    assert cold.p50 == pytest.approx(warm.p50)
    assert cold.started >= warm.started
    billed = (cold.cost.compute - warm.cost.compute) * cold.done / 1e6
    assert billed == pytest.approx(cold.started * 3.0 * 1769 / 1024 * PRICES.gb_second("x86"), rel=0.05)


def test_a_window_fills_batches_and_costs_latency() -> None:
    eager, patient = (simulate(20, 120, Function(Service(0.05, 0.01), window=window)) for window in (0.0, 5.0))
    assert patient.invocations < 0.2 * eager.invocations
    assert patient.done / patient.invocations == pytest.approx(10, rel=0.05)
    assert patient.p50 > eager.p50
    assert patient.cost.total < eager.cost.total


def test_a_window_ends_also_when_the_batch_is_not_full() -> None:
    outcome = simulate(0.05, 2000, Function(Service(0.05, 0.01), window=2.0, init_seconds=0))
    assert outcome.p99 == pytest.approx(2.06, abs=0.02)
    assert outcome.done == outcome.arrived > 50


def test_full_batches_cost_what_the_costing_says() -> None:
    outcome = simulate(5000, 60, Function(Service(0.1, 0.02), init_seconds=0))
    assert outcome.cost.sqs == pytest.approx(1e6 * sqs_requests(10) * PRICES["sqs_request"], rel=0.02)
    assert outcome.cost.compute == pytest.approx(0.03 * 1e6 * 1769 / 1024 * PRICES.gb_second("x86"), rel=0.02)
    assert outcome.cost.s3_put == pytest.approx(5.0)


# --- Fargate ------------------------------------------------------------------------------------------------------


def test_tasks_are_added_after_three_looks_and_their_start() -> None:
    fleet = Fleet(Service(0, 0.2), least=1, most=10, backlog_a_task=100)
    outcome = simulate_fleet(Arrivals(200, 300), fleet, PRICES)
    capacity = {round(sample.seconds): sample.capacity for sample in outcome.samples}
    assert capacity[3 * 60 + 44] == 1
    assert capacity[3 * 60 + 46] == 10
    assert outcome.started == 10
    assert outcome.peak_backlog == pytest.approx(160 * 225, rel=0.05)


def test_tasks_are_paid_from_when_they_are_asked_for_and_a_minute_at_least() -> None:
    fleet = Fleet(Service(0, 0.2), least=3, most=3)
    short = simulate_fleet(Arrivals(10, 20), fleet, PRICES, Requests(get=0, put=0))
    long = simulate_fleet(Arrivals(10, 1200), fleet, PRICES, Requests(get=0, put=0))
    minute = PRICES.task_hour(1, 2, "x86", spot=False) / 60 + PRICES["public_ipv4_hour"] / 60
    assert short.cost.compute * short.done / 1e6 == pytest.approx(3 * minute)
    assert long.cost.compute * long.done / 1e6 == pytest.approx(3 * 20 * minute, rel=0.01)


def test_spot_does_the_same_for_less() -> None:
    fleet = Fleet(Service(0, 0.2), least=2)
    dear, cheap = (simulate_fleet(Arrivals(20, 60), replace(fleet, spot=spot), PRICES) for spot in (False, True))
    assert cheap.cost.compute < 0.6 * dear.cost.compute
    assert replace(cheap, cost=dear.cost) == dear


def test_tasks_that_are_not_needed_end() -> None:
    fleet = Fleet(Service(0, 0.2), least=1, most=10, backlog_a_task=100, looks_in=3)
    outcome = simulate_fleet(Arrivals(60, 1500), fleet, PRICES)
    capacities = [sample.capacity for sample in outcome.samples]
    assert max(capacities) == 10
    assert min(capacities[capacities.index(10) :]) < 10


# --- large, and from the command line -----------------------------------------------------------------------------


def test_a_high_rate_is_few_events() -> None:
    """Ten thousand a second for two minutes: the groups, not the messages, are what is simulated."""
    outcome = simulate(10_000, 120, Function(Service(0.05, 0.02, 0.4)))
    assert outcome.arrived == pytest.approx(1_200_000, rel=0.01)
    assert outcome.done == outcome.arrived


@pytest.mark.parametrize(
    ("text", "rate"), [("10000/s", 10_000), ("600/min", 10), ("3600 / h", 1), ("2e6/day", 23.148), ("1_000/s", 1000)]
)
def test_rates_are_read(text: str, rate: float) -> None:
    assert parse_rate(text) == pytest.approx(rate, rel=1e-4)


@pytest.mark.parametrize("text", ["", "10", "10/week", "/s", "-5/s", "0/s", "1e/s", "1e300/s", "nan/s"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ScaleError, match="expected a rate such as"):
        parse_rate(text)


def test_service_times_come_from_measured_cells() -> None:
    result = synthetic_result()
    function = function_from(result, 1769)
    cell = next(cell for cell in result.cells if cell.key.memory_mb == 1769 and cell.key.engine == "auto")
    assert function.service.seconds(10) == pytest.approx(10 * (cell.median("billed_ms_per_image") or 0) / 1000)
    assert function.memory_mb == 1769
    assert function.init_seconds == pytest.approx((cell.median("cold_start_ms") or 0) / 1000)
    fleet = fleet_from(result)
    assert fleet is not None
    rates = [cell.median("images_per_second") for cell in result.cells if cell.key.platform == "fargate"]
    assert fleet.in_flight / fleet.service.seconds(1) in [pytest.approx(rate) for rate in rates]
    with pytest.raises(ScaleError, match="no measured function of 333 MB"):
        function_from(result, 333)
    assert fleet_from(replace(result, cells=())) is None


def test_two_batch_sizes_tell_what_a_batch_takes_for_itself() -> None:
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


def test_where_there_are_enough_cells_the_model_of_an_invocation_says_what_a_batch_takes_at_a_memory_size() -> None:
    """A wait of 70 ms a batch and 20 ms of CPU a picture: at half a core ten take 470 ms, one takes 110."""
    base = synthetic_result((1769,))
    cell = next(cell for cell in base.cells if cell.key.engine == "auto")
    cells = [
        _invocations(cell, memory, size)
        for memory, size in ((512, 10), (1024, 10), *((1769, n) for n in (1, 2, 5, 10)))
    ]
    function = function_from(replace(base, cells=tuple(cells)), 1024)
    vcpus = 1024 / 1769
    assert function.service.seconds(1) == pytest.approx(0.07 + 0.02 / vcpus, rel=0.01)
    assert function.service.seconds(10) == pytest.approx(0.07 + 0.2 / vcpus, rel=0.01)


def _invocations(cell: Cell, memory: int, size: int) -> Cell:
    ms = 70 + 20 * size / (memory / 1769)
    key = replace(cell.key, memory_mb=memory, vcpus=memory / 1769, batch_size=size)
    timed = tuple(replace(each, invocations=100, records=100 * size, billed_ms=100 * ms) for each in cell.repetitions)
    return replace(cell, key=key, repetitions=timed)


def test_cold_cells_single_pictures_in_flight_and_other_distances_are_no_service_times() -> None:
    base = synthetic_result((1769,))
    cell = next(cell for cell in base.cells if cell.key.engine == "auto")
    slow = tuple(replace(each, billed_ms=each.billed_ms * 9) for each in cell.repetitions)
    others = [replace(cell, key=replace(cell.key, **change), repetitions=slow) for change in CHANGES]
    alone, among = (function_from(replace(base, cells=(cell, *more))) for more in ((), others))
    assert alone == among


def test_the_fewer_pictures_share_a_task_the_sooner_each_is_done_but_none_sooner_than_alone() -> None:
    fleet = Fleet(Service(0.0, 0.4), in_flight=16, least=1, most=1, alone_seconds=0.1)
    idle = simulate_fleet(Arrivals(1, 300), fleet, PRICES)
    busy = simulate_fleet(Arrivals(0.95 * fleet.images_per_second, 300), fleet, PRICES)
    assert idle.p50 == pytest.approx(0.1)
    assert busy.p50 > 0.1
    assert fleet.images_per_second == pytest.approx(40)


def test_the_command_prints_a_table_and_writes_all_of_it(tmp_path: Path) -> None:
    measured, output = tmp_path / "result.json", tmp_path / "scale.json"
    write_result(synthetic_result(), measured)
    options = [
        "scale",
        "--rate",
        "50/s",
        "--minutes",
        "0.5",
        "--results",
        str(measured),
        "--memory",
        "512",
        "-o",
        str(output),
    ]
    ended = CliRunner().invoke(app, options)
    assert ended.exit_code == 0, ended.output
    assert "USD a million" in ended.output
    written = json.loads(output.read_text())
    assert set(written) == {"Lambda", "Fargate", "Fargate Spot"}
    assert len(written["Lambda"]["samples"]) >= 30
    assert set(written["Lambda"]["cost"]) == set(asdict(simulate(1, 1, Function(Service(1, 0))).cost))


def test_a_memory_size_needs_measured_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.scale.REFERENCE", Path("nowhere"))
    ended = CliRunner().invoke(app, ["scale", "--memory", "512"])
    assert (ended.exit_code, "--memory goes with --results" in " ".join(ended.output.split())) == (2, True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--rate", "many"], "expected a rate such as"),
        (["--rate", "1/day", "--minutes", "1"], "nothing came in 60 s"),
        (["--results", "none.json"], "cannot be read"),
        (["--prices", "none.toml"], "cannot be read"),
        (["--memory", "333"], "no measured function of 333 MB"),
    ],
)
def test_the_command_says_what_is_wrong(options: list[str], said: str) -> None:
    ended = CliRunner().invoke(app, ["scale", *options])
    assert ended.exit_code == 2
    assert said in " ".join(ended.output.split())
