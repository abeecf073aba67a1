"""What the simulation of a load is told, and what it answers: values alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from bench.money.costing import Cost, Requests
from bench.money.prices import Architecture

INIT_SECONDS: Final = 0.6
ONE_EACH: Final = Requests(head=1.0)
"""A GET, a PUT, and the HEAD that looks at the source once more, as ours is deployed."""


# --- what is asked ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Messages a second, by chance and independent of each other, for so many seconds."""

    rate: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Service:
    """How long a batch takes: something for itself, something for each record.

    `sigma` is that of the lognormal of a batch of one, 0 for none. `source` says where the numbers are from.
    """

    batch_seconds: float
    record_seconds: float
    sigma: float = 0.0
    source: str = field(default="", compare=False)

    def seconds(self, records: float) -> float:
        """The mean."""
        return self.batch_seconds + records * self.record_seconds

    def draw(self, records: float, chance: np.random.Generator) -> float:
        if self.sigma == 0:
            return self.seconds(records)
        sigma = self.sigma_of(records)
        return self.seconds(records) * float(chance.lognormal(-(sigma**2) / 2, sigma))

    def sigma_of(self, records: float) -> float:
        """Pictures are independent of each other, so that their variances add up: a large batch varies less."""
        variance_of_one = math.expm1(self.sigma**2) * self.seconds(1) ** 2
        return math.sqrt(math.log1p(records * variance_of_one / self.seconds(records) ** 2))


@dataclass(frozen=True, slots=True)
class Function:
    """A function behind a queue. The defaults are AWS's, but for memory, init and `requests`, which are S3's a record.

    The mapping starts with `first` batches at a time and adds `per_minute` while there are more to do, to `most`;
    `account` is the concurrency there is; `new_environments` may start in ten seconds.
    """

    service: Service
    memory_mb: int = 1769
    batch_size: int = 10
    window: float = 0.0
    first: int = 5
    per_minute: float = 300.0
    most: int = 1250
    account: int = 1000
    new_environments: int = 1000
    init_seconds: float = INIT_SECONDS
    architecture: Architecture = "x86"
    requests: Requests = ONE_EACH


@dataclass(frozen=True, slots=True)
class Fleet:
    """Tasks behind a queue. At most `in_flight` pictures are in work in a task; then each takes `service`.

    With fewer each takes less, in proportion, as they share the task's cores; never less than `alone_seconds`, which
    is what a picture takes that shares them with none.

    Looked at every `look_seconds`: more tasks where the backlog a task was above `backlog_a_task` for `looks_out`
    times, fewer after `looks_in` times below nine tenths of it; a task works `start_seconds` after it was asked for.
    """

    service: Service
    vcpus: float = 1.0
    memory_gb: float = 2.0
    in_flight: int = 8
    least: int = 1
    most: int = 100
    backlog_a_task: float = 2000.0
    look_seconds: float = 60.0
    looks_out: int = 3
    looks_in: int = 15
    start_seconds: float = 45.0
    spot: bool = False
    architecture: Architecture = "x86"
    alone_seconds: float = 0.0
    requests: Requests = ONE_EACH

    @property
    def images_per_second(self) -> float:
        """Of a task that is full."""
        return self.in_flight / self.service.seconds(1)


# --- what is answered ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sample:
    """A moment: what waits, what is in work, and the batches or tasks that may run."""

    seconds: float
    backlog: int
    in_work: int
    capacity: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it. Latency is from a message's arrival until its batch ends, in seconds.

    `drained`: when the last one was done; None where messages are left at the end. `busy`: how many batches ran at
    once, on the average; `started`: environments or tasks. `paid_until`: when autoscaling had the tasks back to the
    least; None of a function, which is paid by its invocations, and where messages are left at the end.
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
    mean_in_system: float
    seconds: float
    cost: Cost
    samples: tuple[Sample, ...] = field(repr=False)
    paid_until: float | None = None
