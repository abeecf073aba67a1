"""The price of a million pictures from a measured cell. Pure arithmetic in USD; a GB of Lambda is 1,024 MB.

A record is one incoming picture: a GET, a PUT for each rendition and its share of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Final

from bench.result import Architecture, Cell
from thumbnailer.backfill.prices import Prices

MILLION: Final = 1_000_000
MB_PER_GB: Final = 1024
MOST_MESSAGES_A_REQUEST: Final = 10
"""SQS receives and deletes at most this many messages a request."""
PLATFORMS: Final = {"lambda": "Lambda", "fargate": "Fargate", "fargate-spot": "Fargate Spot"}


def place_title(platform: str, memory_mb: float, vcpus: float) -> str:
    """Return e.g. "Lambda, 512 MB" or "Fargate Spot, 1 vCPU, 2 GB"."""
    size = f"{memory_mb:,} MB" if platform == "lambda" else f"{vcpus:g} vCPU, {memory_mb / MB_PER_GB:g} GB"
    return f"{PLATFORMS[platform]}, {size}"


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests a record, by kind, and bytes of log a record."""

    get: float = 1.0
    head: float = 0.0
    put: float = 1.0
    sqs: float = 0.0
    log_bytes: float = 0.0

    def cost(self, prices: Prices) -> Cost:
        """Return their price, which is the same on every platform."""
        return Cost(
            sqs=MILLION * self.sqs * prices["sqs_request"],
            s3_get=MILLION * self.get * prices["s3_get"],
            s3_head=MILLION * self.head * prices["s3_head"],
            s3_put=MILLION * self.put * prices["s3_put"],
            logs=MILLION * self.log_bytes / 1e9 * prices["log_gb"],
        )


@dataclass(frozen=True, slots=True)
class Cost:
    """USD a million records, by line of the bill."""

    compute: float = 0.0
    lambda_requests: float = 0.0
    sqs: float = 0.0
    s3_get: float = 0.0
    s3_head: float = 0.0
    s3_put: float = 0.0
    logs: float = 0.0

    def lines(self) -> dict[str, float]:
        return asdict(self)

    @property
    def total(self) -> float:
        return sum(self.lines().values())


def sqs_requests(batch_size: float) -> float:
    """Return requests a message: one send, and a share of one receive and one delete. Empty receives are excluded."""
    return 1 + 2 / min(batch_size, MOST_MESSAGES_A_REQUEST)


def billed_ms(durations_ms: Iterable[float], init_ms: float = 0.0) -> int:
    """Return the sum of invocations and init, each rounded up to a millisecond."""
    return sum(math.ceil(duration) for duration in durations_ms) + math.ceil(init_ms)


def lambda_cost(
    prices: Prices,
    memory_mb: int,
    billed_ms: float,
    records: float,
    requests: Requests = Requests(),
    architecture: Architecture = "x86",
) -> Cost:
    """Return the cost of invocations of so many billed milliseconds and records."""
    invocations = MILLION / records
    compute = invocations * memory_mb / MB_PER_GB * billed_ms / 1000 * prices.gb_second(architecture)
    shared = requests.cost(prices).lines()
    return Cost(**shared | {"compute": compute, "lambda_requests": invocations * prices["lambda_request"]})


@dataclass(frozen=True, slots=True)
class Task:
    """A Fargate task, and the images a second that it makes when it is always busy.

    A task without `public_ipv4` needs a NAT gateway or interface endpoints.
    """

    vcpus: float
    memory_gb: float
    images_per_second: float
    requests: Requests = Requests()
    architecture: Architecture = "x86"
    spot: bool = False
    public_ipv4: bool = True

    @property
    def title(self) -> str:
        return place_title("fargate-spot" if self.spot else "fargate", self.memory_gb * MB_PER_GB, self.vcpus)

    def hour(self, prices: Prices) -> float:
        """Return USD for an hour."""
        address = prices["public_ipv4_hour"] if self.public_ipv4 else 0.0
        return prices.task_hour(self.vcpus, self.memory_gb, self.architecture, self.spot) + address


def fargate_cost(task: Task, prices: Prices, busy: float = 1.0) -> Cost:
    """Return the cost of a task that has work for the share `busy` of its paid time."""
    compute = MILLION * task.hour(prices) / (3600 * task.images_per_second * busy)
    return Cost(**task.requests.cost(prices).lines() | {"compute": compute})


def records_of(cell: Cell) -> float:
    """Return the records of one invocation."""
    return median(one.records / max(1, one.invocations) for one in cell.repetitions)


def invocation_ms(cell: Cell) -> float:
    """Return the billed milliseconds of one invocation."""
    return median(one.billed_ms / max(1, one.invocations) for one in cell.repetitions)


def cell_requests(cell: Cell) -> Requests:
    """Return the median of each kind over the repetitions."""
    kinds = ("get", "head", "put", "sqs")
    each = {kind: median(one.requests.get(kind, 0.0) for one in cell.repetitions) for kind in kinds}
    return Requests(**each, log_bytes=median(one.log_bytes / one.records for one in cell.repetitions))


def cell_task(cell: Cell, spot: bool = False) -> Task:
    """Return the task that a Fargate cell measured."""
    rate, key = cell.median("images_per_second") or 0.0, cell.key
    return Task(key.vcpus, key.memory_mb / MB_PER_GB, rate, cell_requests(cell), key.architecture, spot)


def cell_cost(cell: Cell, prices: Prices) -> Cost:
    """Return the cost from the medians of the repetitions. A Fargate task counts as always busy."""
    if cell.key.platform != "lambda":
        return fargate_cost(cell_task(cell), prices)
    key, requests = cell.key, cell_requests(cell)
    return lambda_cost(prices, key.memory_mb, invocation_ms(cell), records_of(cell), requests, key.architecture)
