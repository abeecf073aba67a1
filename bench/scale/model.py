"""Input and output of the simulation: arrivals, service times, a function, a fleet of tasks, the outcome."""

import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from bench.money.costing import Cost, Requests, Task
from bench.result import Architecture
from thumbnailer.errors import ThumbnailerError

INIT_SECONDS: Final = 0.6
DEPLOYED: Final = Requests(head=1.0)
"""A GET, a PUT, and the HEAD that checks the source after the upload."""


class ScaleError(ThumbnailerError):
    """The question cannot be parsed or simulated, or the results have no cell for it."""


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Independent random messages: so many a second, for so many seconds."""

    rate: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Service:
    """The time of a batch: a fixed part and a part for each record.

    `sigma`: of the lognormal time of a batch of one, 0 for constant times. `source`: where the numbers are from.
    """

    batch_seconds: float
    record_seconds: float
    sigma: float = 0.0
    source: str = field(default="", compare=False)

    def seconds(self, records: float) -> float:
        """Return the mean."""
        return self.batch_seconds + records * self.record_seconds

    def draw(self, records: float, chance: np.random.Generator) -> float:
        if self.sigma == 0:
            return self.seconds(records)
        sigma = self.sigma_of(records)
        return self.seconds(records) * float(chance.lognormal(-(sigma**2) / 2, sigma))

    def sigma_of(self, records: float) -> float:
        """Return the sigma of a batch: pictures are independent, so variances add up and large batches vary less."""
        variance_of_one = math.expm1(self.sigma**2) * self.seconds(1) ** 2
        return math.sqrt(math.log1p(records * variance_of_one / self.seconds(records) ** 2))


@dataclass(frozen=True, slots=True)
class Function:
    """A function behind a queue, with AWS's defaults. `requests` are S3's a record.

    The mapping runs `first` batches at once and adds `per_minute` while more wait, up to `most` and `account` (the
    account's concurrency).
    """

    service: Service
    memory_mb: int = 1769
    batch_size: int = 10
    window: float = 0.0
    first: int = 5
    per_minute: float = 300.0
    most: int = 1250
    account: int = 1000
    init_seconds: float = INIT_SECONDS
    architecture: Architecture = "x86"
    requests: Requests = DEPLOYED


@dataclass(frozen=True, slots=True)
class Fleet:
    """Tasks behind a queue. A full task has `in_flight` pictures in work and each takes `service`.

    In a task with fewer pictures each takes proportionally less, because they share the cores, but at least
    `alone_seconds`. Autoscaling looks every `look_seconds`. It adds tasks after `looks_out` looks with more than
    `backlog_a_task` messages a task, and removes tasks after `looks_in` looks with less than nine tenths of that. A
    task works `start_seconds` after autoscaling asked for it.
    """

    service: Service
    task: Task
    in_flight: int = 8
    least: int = 1
    most: int = 100
    backlog_a_task: float = 2000.0
    look_seconds: float = 60.0
    looks_out: int = 3
    looks_in: int = 15
    start_seconds: float = 45.0
    alone_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Sample:
    """A moment: waiting messages, messages in work, and the batches or tasks that may run."""

    seconds: float
    backlog: int
    in_work: int
    capacity: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a simulation. Latencies are seconds from a message's arrival until its batch ends.

    `drained`: time of the last message's end, None if messages are left. `busy`: mean number of running batches.
    `started`: environments or tasks. `paid_until`: when autoscaling is back at the least number of tasks; None for a
    function and if messages are left.
    """

    arrived: int
    done: int
    drained: float | None
    mean_latency: float
    p50: float
    p95: float
    p99: float
    peak_backlog: int
    peak_running: int
    started: int
    invocations: int
    busy: float
    seconds: float
    cost: Cost
    samples: tuple[Sample, ...] = field(repr=False)
    paid_until: float | None = None
