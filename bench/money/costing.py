"""From a measured cell to money: arithmetic alone, no measuring. USD; Lambda's GB is 1,024 MB.

A record is a picture that comes in, whatever it takes: a GET, a PUT for each rendition, its share of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import Final

from bench.money.prices import Architecture, Prices
from bench.result import Cell

MILLION: Final = 1_000_000
MB_PER_GB: Final = 1024
HOURS_A_MONTH: Final = 730.0
SECONDS_A_MONTH: Final = HOURS_A_MONTH * 3600
MOST_MESSAGES_A_REQUEST: Final = 10
"""SQS gives and deletes no more at once, however large a batch is."""
FARGATE_MEMORY_GB: Final[Mapping[float, frozenset[float]]] = {
    0.25: frozenset({0.5, 1, 2}),
    0.5: frozenset(range(1, 5)),
    1: frozenset(range(2, 9)),
    2: frozenset(range(4, 17)),
    4: frozenset(range(8, 31)),
    8: frozenset(range(16, 61, 4)),
    16: frozenset(range(32, 121, 8)),
}
"""The pairs of vCPUs and GB there are (AWS, "task CPU and memory")."""


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests a record, by kind, and bytes of log a record."""

    get: float = 1.0
    head: float = 0.0
    put: float = 1.0
    sqs: float = 0.0
    log_bytes: float = 0.0


@dataclass(frozen=True, slots=True)
class Cost:
    """USD a million records, a line each."""

    compute: float = 0.0
    lambda_requests: float = 0.0
    sqs: float = 0.0
    s3_get: float = 0.0
    s3_head: float = 0.0
    s3_put: float = 0.0
    logs: float = 0.0

    def lines(self) -> dict[str, float]:
        return {
            "compute": self.compute,
            "lambda_requests": self.lambda_requests,
            "sqs": self.sqs,
            "s3_get": self.s3_get,
            "s3_head": self.s3_head,
            "s3_put": self.s3_put,
            "logs": self.logs,
        }

    @property
    def total(self) -> float:
        return sum(self.lines().values())


def sqs_requests(batch_size: int) -> float:
    """Requests a message: sent alone, received and deleted with others. Asking an empty queue is not in it."""
    return 1 + 2 / min(batch_size, MOST_MESSAGES_A_REQUEST)


def billed_ms(durations_ms: Iterable[float], init_ms: float = 0.0) -> int:
    """Each invocation is rounded up to a millisecond, and so is the init before the first."""
    return sum(math.ceil(duration) for duration in durations_ms) + math.ceil(init_ms)


def request_lines(requests: Requests, prices: Prices) -> dict[str, float]:
    """The lines of a cost that are the same wherever the pictures are made."""
    return {
        "sqs": MILLION * requests.sqs * prices["sqs_request"],
        "s3_get": MILLION * requests.get * prices["s3_get"],
        "s3_head": MILLION * requests.head * prices["s3_head"],
        "s3_put": MILLION * requests.put * prices["s3_put"],
        "logs": MILLION * requests.log_bytes / 1e9 * prices["log_gb"],
    }


# --- Lambda -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LambdaCell:
    """What was measured of a function: the billed milliseconds of an invocation, and the records in it."""

    memory_mb: int
    billed_ms: float
    records: float
    requests: Requests = Requests()
    architecture: Architecture = "x86"

    def __post_init__(self) -> None:
        if self.memory_mb <= 0 or self.billed_ms <= 0 or self.records <= 0:
            raise ValueError(f"memory, billed time and records are above 0: {self}")

    @property
    def gb_seconds(self) -> float:
        """Of one invocation."""
        return self.memory_mb / MB_PER_GB * self.billed_ms / 1000


def lambda_cost(cell: LambdaCell, prices: Prices) -> Cost:
    invocations = MILLION / cell.records
    return Cost(
        compute=invocations * cell.gb_seconds * prices.gb_second(cell.architecture),
        lambda_requests=invocations * prices["lambda_request"],
        **request_lines(cell.requests, prices),
    )


# --- Fargate ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Task:
    """A Fargate task and the images a second it was measured to make, always busy.

    `public_ipv4`: without an address of its own it needs a NAT gateway or interface endpoints: `own_network`.
    """

    vcpus: float
    memory_gb: float
    images_per_second: float
    requests: Requests = Requests()
    architecture: Architecture = "x86"
    spot: bool = False
    public_ipv4: bool = True

    def __post_init__(self) -> None:
        if self.memory_gb not in FARGATE_MEMORY_GB.get(self.vcpus, ()):
            raise ValueError(f"Fargate has no task of {self.vcpus:g} vCPU and {self.memory_gb:g} GB")
        if self.images_per_second <= 0:
            raise ValueError(f"images a second are above 0: {self}")

    def hour(self, prices: Prices) -> float:
        """USD for an hour."""
        address = prices["public_ipv4_hour"] if self.public_ipv4 else 0.0
        return prices.task_hour(self.vcpus, self.memory_gb, self.architecture, self.spot) + address


def fargate_cost(task: Task, prices: Prices, busy: float = 1.0) -> Cost:
    """`busy`: the share of the paid time in which the task has work."""
    if not 0 < busy <= 1:
        raise ValueError(f"the busy share is above 0 and at most 1: {busy}")
    images_an_hour = 3600 * task.images_per_second * busy
    return Cost(compute=MILLION * task.hour(prices) / images_an_hour, **request_lines(task.requests, prices))


# --- a cell of a result ----------------------------------------------------------------------------------------------


def cell_requests(cell: Cell) -> Requests:
    """The median of each kind."""
    kinds = ("get", "head", "put", "sqs")
    log_bytes = median(one.log_bytes / one.records for one in cell.repetitions)
    each = {kind: median(one.requests.get(kind, 0.0) for one in cell.repetitions) for kind in kinds}
    return Requests(**each, log_bytes=log_bytes)


def cell_task(cell: Cell) -> Task:
    """Of a cell that was measured as a Fargate task."""
    rate, key = cell.median("images_per_second") or 0.0, cell.key
    spot = key.platform == "fargate-spot"
    return Task(key.vcpus, key.memory_mb / MB_PER_GB, rate, cell_requests(cell), _architecture(cell), spot)


def cell_cost(cell: Cell, prices: Prices) -> Cost:
    """By the medians of its repetitions; of a task that is always busy."""
    if cell.key.platform != "lambda":
        return fargate_cost(cell_task(cell), prices)
    records = median(one.records / max(1, one.invocations) for one in cell.repetitions)
    billed = (cell.median("billed_ms_per_image") or 0.0) * records
    return lambda_cost(
        LambdaCell(cell.key.memory_mb, billed, records, cell_requests(cell), _architecture(cell)), prices
    )


def _architecture(cell: Cell) -> Architecture:
    return "arm64" if cell.key.architecture == "arm64" else "x86"


# --- a month ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Load:
    """How a month's pictures come, and how many tasks there are for them.

    `duty`: the share of the month in which they come, evenly; `least_tasks` run all month, others follow the load
    at once; `headroom`: the share of a task's speed that is used, so that a queue does not grow. `network_month`: USD
    that the tasks' network costs whatever they do.
    """

    duty: float = 1.0
    least_tasks: int = 1
    headroom: float = 0.8
    network_month: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.duty <= 1 or not 0 < self.headroom <= 1 or self.least_tasks < 0:
            raise ValueError(f"duty and headroom are above 0 and at most 1, tasks from 0: {self}")

    @property
    def fewest_busy(self) -> int:
        """Tasks while pictures come: one at least."""
        return max(1, self.least_tasks)


def lambda_month(cost: Cost, pictures: float) -> float:
    """USD a month."""
    return pictures / MILLION * cost.total


def pictures_per_task(task: Task, load: Load) -> float:
    """What one task makes in a month's busy share."""
    return load.duty * SECONDS_A_MONTH * task.images_per_second * load.headroom


ENDPOINTS: Final = 8
"""SQS, ECR's two, and logs, in two zones: what deploy/fargate.yaml makes with a network. S3's gateway is free."""


def own_network(task: Task, load: Load, prices: Prices) -> tuple[Task, Load]:
    """The same in a network that is made for it: no address, and endpoints all month."""
    month = ENDPOINTS * HOURS_A_MONTH * prices["endpoint_hour"]
    return replace(task, public_ipv4=False), replace(load, network_month=month)


def tasks_for(task: Task, load: Load, pictures: float) -> int:
    """Tasks while pictures come."""
    return max(load.fewest_busy, math.ceil(pictures / pictures_per_task(task, load)))


def fargate_month(task: Task, prices: Prices, load: Load, pictures: float) -> float:
    """USD a month."""
    task_hours = _task_hours(load, tasks_for(task, load, pictures))
    return load.network_month + task.hour(prices) * task_hours + pictures * _requests_a_picture(task, prices)


def _task_hours(load: Load, busy_tasks: int) -> float:
    return HOURS_A_MONTH * (load.duty * busy_tasks + (1 - load.duty) * load.least_tasks)


def _requests_a_picture(task: Task, prices: Prices) -> float:
    return sum(request_lines(task.requests, prices).values()) / MILLION


# --- break-even ---------------------------------------------------------------------------------------------------

FORMULA: Final = """\
Lambda costs L a picture. Fargate costs R a picture in requests and h an hour and task; a month has 730 hours, in the
share d of which pictures come. m tasks always run, n = max(1, m, ceil(N / K)) while pictures come, where
K = d x 730 x 3600 x images/s x headroom is what a task makes in a month.
With s = L - R, a = F + 730 h (1 - d) m and b = 730 h d, Fargate is cheaper where a + b n < s N; F is what a network
made for it costs a month, or 0. It never is if s K <= b.
Else it is from N = (a + b n) / s on: first with n = max(1, m, ceil(a / (s K - b))), though a further task may make it
dearer for a while; and for good with n = max(1, m, ceil((a + s K) / (s K - b)) - 1)."""

BUSY_FORMULA: Final = """\
A task that always runs is cheaper than Lambda when it is busy for more than h / (3600 x images/s x s) of its time."""


@dataclass(frozen=True, slots=True)
class BreakEven:
    """Pictures a month from which Fargate is the cheaper: for the first time, and for good. None: it never is."""

    first: float | None
    for_good: float | None
    busy_share: float
    """of a task that always runs; above 1 it never pays"""


def break_even(lambda_: Cost, task: Task, prices: Prices, load: Load = Load()) -> BreakEven:
    """In closed form: FORMULA and BUSY_FORMULA."""
    saved = lambda_.total / MILLION - _requests_a_picture(task, prices)
    hour = task.hour(prices)
    busy_share = hour / (3600 * task.images_per_second * saved) if saved > 0 else math.inf
    always = load.network_month + HOURS_A_MONTH * hour * (1 - load.duty) * load.least_tasks
    a_task = HOURS_A_MONTH * hour * load.duty
    saved_by_a_task = saved * pictures_per_task(task, load)
    gain = saved_by_a_task - a_task
    if gain <= 0:
        return BreakEven(None, None, busy_share)
    tasks_first = max(load.fewest_busy, math.ceil(always / gain))
    tasks_for_good = max(load.fewest_busy, math.ceil((always + saved_by_a_task) / gain) - 1)
    return BreakEven((always + a_task * tasks_first) / saved, (always + a_task * tasks_for_good) / saved, busy_share)
