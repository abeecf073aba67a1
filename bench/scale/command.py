"""`python -m bench scale`: a load that nobody can try out, on paper; what is simulated is in bench.scale.simulation.

It reads what was measured, chooses a function and a task, and prints what becomes of the load and what that costs.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from bench.money.prices import load_prices
from bench.result import read_result
from bench.scale.model import Arrivals, Fleet, Function, Outcome, Service
from bench.scale.service import fleet_for, fleet_from, function_from
from bench.scale.simulation import simulate_fleet, simulate_lambda
from thumbnailer.errors import ThumbnailerError

REFERENCE: Final = Path(__file__).parents[1] / "results" / "reference.json"
"""What the repository was measured with."""
PER: Final = {"s": 1, "min": 60, "h": 3600, "day": 86_400}
ASSUMED_FUNCTION: Final = Function(Service(0.078, 0.022))
"""A tenth of a second for one picture and 0.3 for ten, as the deployment guide reckons."""
ASSUMED_FLEET: Final = fleet_for(Service(0.0, 0.2), 1, 2, 8)
BARS: Final = " ▁▂▃▄▅▆▇█"


class ScaleError(ThumbnailerError):
    """The question cannot be simulated."""


def parse_rate(text: str) -> float:
    """Messages a second, of e.g. 10000/s, 600/min, 2e6/day. Raises ScaleError."""
    found = re.fullmatch(r"\s*([0-9.eE_]+)\s*/\s*(s|min|h|day)\s*", text)
    try:
        rate = float(found[1]) / PER[found[2]] if found else 0.0
    except ValueError:
        rate = 0.0
    if not found or not 0 < rate < 1e7:
        raise ScaleError(f"{text}: expected a rate such as 10000/s, 600/min, 5000/h or 2e6/day")
    return rate


def reference() -> Path | None:
    """None in a copy that has none."""
    return REFERENCE if REFERENCE.exists() else None


def run(
    arrivals: Arrivals,
    results: Path | None,
    change: dict[str, float | None],
    least_tasks: int,
    most_tasks: int | None,
    prices: Path | None,
    seed: int,
    output: Path | None,
) -> None:
    """Prints the table; `change` has fields of Function that were given. Raises as reading results and prices does."""
    given = {name: value for name, value in change.items() if value is not None}
    function, fleet = _chosen(results, given)
    fleet = _sized(fleet, arrivals, least_tasks, most_tasks)
    charged = load_prices(prices)
    outcomes = {
        "Lambda": simulate_lambda(arrivals, function, charged, seed=seed),
        "Fargate": simulate_fleet(arrivals, fleet, charged, seed=seed),
        "Fargate Spot": simulate_fleet(arrivals, replace(fleet, spot=True), charged, seed=seed),
    }
    if outcomes["Lambda"].arrived == 0:
        raise ScaleError(f"at {arrivals.rate:g}/s nothing came in {arrivals.seconds:g} s: take more minutes")
    console = Console()
    console.print(_table(outcomes))
    for name, outcome in list(outcomes.items())[:2]:
        console.print(f"backlog, {name}: {_bars(outcome)} to {outcome.peak_backlog:,}", soft_wrap=True)
    for line in (_times(results, function, fleet), _counted(function, fleet)):
        console.print(line, soft_wrap=True, markup=False, highlight=False)
    if output:
        output.write_text(json.dumps({name: asdict(outcome) for name, outcome in outcomes.items()}, indent=1))


def _chosen(results: Path | None, given: dict[str, float]) -> tuple[Function, Fleet]:
    """As measured, or as assumed where nothing was, with what was given."""
    memory, batch_size = given.get("memory_mb"), given.get("batch_size")
    if results is None:
        if memory:
            raise ScaleError("how fast a function of another memory is must be measured: --memory goes with --results")
        function, fleet = ASSUMED_FUNCTION, None
    else:
        measured = read_result(results)
        function = function_from(measured, _whole(memory), _whole(batch_size))
        fleet = fleet_from(measured)
    return replace(function, **given), fleet or ASSUMED_FLEET  # type: ignore[arg-type]


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)


def _sized(fleet: Fleet, arrivals: Arrivals, least_tasks: int, most_tasks: int | None) -> Fleet:
    """At most half more tasks than the rate needs, where nothing else is asked for."""
    needed = arrivals.rate / fleet.images_per_second
    return replace(fleet, least=least_tasks, most=max(least_tasks, most_tasks or math.ceil(1.5 * math.ceil(needed))))


# --- on the terminal ----------------------------------------------------------------------------------------------


def _times(results: Path | None, function: Function, fleet: Fleet) -> str:
    """Where the service times are from."""
    batch = f"{function.service.seconds(function.batch_size):.3f} s a batch of {function.batch_size}"
    task = f"{fleet.images_per_second:.0f} images/s a task"
    if results is None:
        return f"service times are assumed; --results takes measured ones: {batch}, {task}"
    measured = f"{batch} at {function.memory_mb:,} MB ({function.service.source})"
    return f"service times from {os.path.relpath(results)}: {measured}, {task}"


def _counted(function: Function, fleet: Fleet) -> str:
    """What the prices have in them."""
    go_on = "which goes on after that" if fleet.least == 1 else "which go on after that"
    return (
        f"counted: each Lambda invocation by the millisecond, with its init; all Fargate tasks until autoscaling has "
        f"taken them back to {fleet.least}, {go_on}; for a picture {_requests(function, fleet)}, and SQS's requests"
    )


def _requests(function: Function, fleet: Fleet) -> str:
    """E.g. 1 GET, 1 HEAD, 1 PUT; two numbers where function and task differ."""
    pairs = {kind: (getattr(function.requests, kind), getattr(fleet.requests, kind)) for kind in ("get", "head", "put")}
    each = {kind: " or ".join(dict.fromkeys(f"{number:.3g}" for number in pair)) for kind, pair in pairs.items()}
    return ", ".join(f"{numbers} {kind.upper()}" for kind, numbers in each.items())


def _table(outcomes: dict[str, Outcome]) -> Table:
    table = Table("", *outcomes, show_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for title, show in _rows():
        table.add_row(title, *(show(outcome) for outcome in outcomes.values()))
    return table


def _rows() -> Iterator[tuple[str, Callable[[Outcome], str]]]:
    yield "messages", lambda one: f"{one.arrived:,}"
    yield "done after", lambda one: "not within the hour" if one.drained is None else f"{one.drained:,.0f} s"
    yield "largest backlog", lambda one: f"{one.peak_backlog:,}"
    yield "latency p50", lambda one: f"{one.p50:,.2f} s"
    yield "latency p95", lambda one: f"{one.p95:,.2f} s"
    yield "latency p99", lambda one: f"{one.p99:,.2f} s"
    yield "at once, most", lambda one: f"{one.peak_running:,}"
    yield "at once, mean", lambda one: f"{one.busy:,.1f}"
    yield "environments or tasks", lambda one: f"{one.started:,}"
    yield "invocations", lambda one: f"{one.invocations:,}" if one.cost.lambda_requests else "-"
    yield "tasks paid until", lambda one: "-" if one.paid_until is None else f"{one.paid_until:,.0f} s"
    yield "USD a million", lambda one: f"{one.cost.total:.2f}"
    yield "of that compute", lambda one: f"{one.cost.compute:.2f}"


def _bars(outcome: Outcome, width: int = 60) -> str:
    """Backlog over time, in as many columns."""
    backlogs = [sample.backlog for sample in outcome.samples]
    step = max(1, math.ceil(len(backlogs) / width))
    highest = [max(backlogs[start : start + step]) for start in range(0, len(backlogs), step)]
    top = max(1, outcome.peak_backlog)
    return "".join(BARS[math.ceil(value / top * (len(BARS) - 1))] for value in highest)
