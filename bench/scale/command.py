"""`python -m bench scale`: simulates a load on a measured function and a measured task, and prints the outcomes."""

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console

from bench.pages.tables import plain_table, say
from bench.result import read_result
from bench.scale.model import Arrivals, Fleet, Function, Outcome, ScaleError
from bench.scale.service import fleet_from, function_from
from bench.scale.simulation import simulate_fleet, simulate_lambda
from thumbnailer.backfill.prices import load_prices

REFERENCE: Final = Path(__file__).parents[1] / "results" / "reference.json"
PER: Final = {"/s": 1, "/min": 1 / 60, "/h": 1 / 3600, "/day": 1 / 86_400}
ROWS: Final[Mapping[str, Callable[[Outcome], str]]] = {
    "messages": lambda one: f"{one.arrived:,}",
    "done after": lambda one: "not within the hour" if one.drained is None else f"{one.drained:,.0f} s",
    "largest backlog": lambda one: f"{one.peak_backlog:,}",
    "latency p50": lambda one: f"{one.p50:,.2f} s",
    "latency p95": lambda one: f"{one.p95:,.2f} s",
    "latency p99": lambda one: f"{one.p99:,.2f} s",
    "at once, most": lambda one: f"{one.peak_running:,}",
    "at once, mean": lambda one: f"{one.busy:,.1f}",
    "environments or tasks": lambda one: f"{one.started:,}",
    "invocations": lambda one: f"{one.invocations:,}" if one.cost.lambda_requests else "-",
    "tasks paid until": lambda one: "-" if one.paid_until is None else f"{one.paid_until:,.0f} s",
    "USD a million": lambda one: f"{one.cost.total:.2f}",
    "compute part of it": lambda one: f"{one.cost.compute:.2f}",
}


def parse_amount(text: str, units: Mapping[str, float], most: float, expected: str) -> float:
    """Return a number times its unit, above 0 and up to `most`. Raises ScaleError."""
    found = re.fullmatch(rf"([0-9]+(?:\.[0-9]+)?(?:e[0-9]+)?)({'|'.join(units)})", re.sub(r"[\s_]", "", text))
    amount = float(found[1]) * units[found[2]] if found else 0.0
    if not 0 < amount <= most:
        raise ScaleError(f"{text}: expected {expected}")
    return amount


def parse_rate(text: str) -> float:
    """Return messages a second, from e.g. 10000/s, 600/min, 2e6/day. Raises ScaleError."""
    return parse_amount(text, PER, 1e7, "a rate such as 10000/s, 600/min, 5000/h or 2e6/day")


def run(
    arrivals: Arrivals,
    results: Path,
    change: dict[str, float | None],
    least_tasks: int,
    most_tasks: int | None,
    prices: Path | None,
    seed: int,
    output: Path | None,
) -> None:
    """Print the table; `change` has fields of Function. Raises ScaleError, ResultError, PricesError."""
    result = read_result(results)
    given = {name: value for name, value in change.items() if value is not None}
    function = replace(function_from(result, given.get("memory_mb"), given.get("batch_size")), **given)  # type: ignore[arg-type]
    fleet = fleet_from(result)
    needed = math.ceil(arrivals.rate / fleet.task.images_per_second)
    fleet = replace(fleet, least=least_tasks, most=max(least_tasks, most_tasks or math.ceil(1.5 * needed)))
    spot = replace(fleet, task=replace(fleet.task, spot=True))
    charged = load_prices(prices)
    outcomes = {
        "Lambda": simulate_lambda(arrivals, function, charged, seed=seed),
        "Fargate": simulate_fleet(arrivals, fleet, charged, seed=seed),
        "Fargate Spot": simulate_fleet(arrivals, spot, charged, seed=seed),
    }
    console = Console()
    rows = ([title, *(show(outcome) for outcome in outcomes.values())] for title, show in ROWS.items())
    console.print(plain_table(["", *outcomes], rows))
    say(console, _source(results, function, fleet))
    say(console, _price_basis(function, fleet))
    if output:
        output.write_bytes(msgspec.json.format(msgspec.json.encode(outcomes), indent=1))


def _source(results: Path, function: Function, fleet: Fleet) -> str:
    batch = f"{function.service.seconds(function.batch_size):.3f} s a batch of {function.batch_size}"
    measured = f"{batch} at {function.memory_mb:,} MB ({function.service.source})"
    return (
        f"service times from {os.path.relpath(results)}: {measured}, {fleet.task.images_per_second:.0f} images/s a task"
    )


def _price_basis(function: Function, fleet: Fleet) -> str:
    """What the prices include."""
    requests = ", ".join(f"{getattr(function.requests, kind):.3g} {kind.upper()}" for kind in ("get", "head", "put"))
    return (
        f"prices include each Lambda invocation by the millisecond with its init; all Fargate tasks until autoscaling "
        f"is back at {fleet.least}; for a picture {requests}, and SQS's requests"
    )
