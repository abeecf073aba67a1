"""Lambda and Fargate as servers of a queue, as a discrete-event simulation: growth, limits, cold starts, price. No I/O.

Lambda: batches, window and growth of the mapping, the account's limit, and the init of environments.
Fargate: autoscaling by backlog a task, the start time of a task, and the tasks that are still paid when the queue is
empty. Batches are as full as the queue allows; messages of one moment, and batches that start together, are one event,
so that a high rate needs no more events than a low one. Left out: failures, retries, duplicates, other functions of the
account, and mappings and environments that shrink.
"""

import math
from collections import deque
from collections.abc import Generator
from dataclasses import replace
from typing import Final

import numpy as np
import simpy

from bench.money.costing import MILLION, MOST_MESSAGES_A_REQUEST, Cost, lambda_cost
from bench.scale.model import Arrivals, Fleet, Function, Outcome, Sample, ScaleError, Service
from thumbnailer.backfill.prices import Prices

TICK: Final = 0.02
"""Seconds of arrivals in one event at a high rate."""
MANY: Final = 5.0
"""Arrivals a tick that make a rate high."""
PIECES: Final = 200
"""Most groups of batches that run at once; the batches of a group share one service time."""
SAMPLE_SECONDS: Final = 1.0
Group = tuple[float, int]
"""Arrival time and number of messages."""


class _Queue:
    """A queue and servers, of which `slots()` may run at once. A subclass says how servers are added."""

    batch_size, window, init_seconds = 1, 0.0, 0.0

    def __init__(self, arrivals: Arrivals, service: Service, seed: int) -> None:
        self.env = simpy.Environment()
        self.arrivals, self.service = arrivals, service
        self.coming = np.random.default_rng(seed)  # its own, so that every simulation gets the same messages
        self.chance = np.random.default_rng((seed, 1))
        self.queue: deque[Group] = deque()
        self.backlog = self.arrived = self.done = self.in_work = 0
        self.environments = self.running = self.peak_running = self.peak_backlog = 0
        self.invocations = self.receives = self.billed_ms = 0
        self.finished = self._closed = False
        self.last_done = self.busy_seconds = 0.0
        self._ended: list[Group] = []
        self.samples: list[Sample] = []
        self.env.process(self._arrive())
        self.env.process(self._sample())

    def slots(self) -> int:
        raise NotImplementedError

    def capacity(self) -> int:
        return self.slots()

    def service_seconds(self, records: float) -> float:
        return self.service.draw(records, self.chance)

    def run(self, patience: float) -> None:
        """Simulate until the queue is empty, or `patience` seconds after the last arrival.

        Raises ScaleError if nothing arrives.
        """
        end = self.arrivals.seconds + patience
        while not self.finished and self.env.peek() <= end:
            self.env.step()
            self.finished = self._closed and self.done == self.arrived
        if not self.arrived:
            rate, seconds = self.arrivals.rate, self.arrivals.seconds
            raise ScaleError(f"at {rate:g}/s nothing arrived in {seconds:g} s: take more minutes")

    def _arrive(self) -> Generator[simpy.Event, None, None]:
        rate, end = self.arrivals.rate, self.arrivals.seconds
        times = np.sort(self.coming.uniform(0, end, self.coming.poisson(rate * end)))
        if rate * TICK >= MANY:
            times = np.ceil(times / TICK) * TICK
        for time, count in zip(*np.unique(times, return_counts=True), strict=True):
            yield self.env.timeout(max(0.0, float(time) - self.env.now))
            self._enqueue(int(count))
        yield self.env.timeout(max(0.0, end - self.env.now))
        self._closed = True

    def _enqueue(self, count: int) -> None:
        self.queue.append((self.env.now, count))
        self.backlog += count
        self.arrived += count
        self.dispatch()
        if self.window:
            self.env.timeout(self.window).callbacks.append(lambda _: self.dispatch())
        self.peak_backlog = max(self.peak_backlog, self.backlog)

    def _sample(self) -> Generator[simpy.Event, None, None]:
        while True:
            self.samples.append(Sample(self.env.now, self.backlog, self.in_work, self.capacity()))
            yield self.env.timeout(SAMPLE_SECONDS)

    def dispatch(self) -> None:
        """Start every batch that may start now: full ones, and a partial one when its window is over."""
        while self.backlog and (free := self.slots() - self.running) > 0:
            full = self.backlog // self.batch_size
            if full == 0 and self.env.now < self.queue[0][0] + self.window - 1e-9:
                return
            warm = self.environments - self.running
            self._start(min(free, full or 1, warm or free, max(1, self.slots() // PIECES)), is_cold=not warm)

    def _start(self, batches: int, is_cold: bool) -> None:
        groups = self._take(min(self.backlog, batches * self.batch_size))
        records = sum(count for _, count in groups)
        self.backlog -= records
        self.in_work += records
        self.running += batches
        self.peak_running = max(self.peak_running, self.running)
        self.environments = max(self.environments, self.running)
        took = self.init_seconds * is_cold + self.service_seconds(records / batches)
        self.busy_seconds += batches * took
        self.invocations += batches
        self.billed_ms += batches * math.ceil(1000 * took - 1e-6)
        self.receives += batches * math.ceil(records / batches / MOST_MESSAGES_A_REQUEST)
        self.env.timeout(took).callbacks.append(lambda _: self._end(batches, records, groups))

    def _take(self, count: int) -> list[Group]:
        """Remove the oldest messages."""
        taken = []
        while count:
            time, there = self.queue.popleft()
            some = min(there, count)
            taken.append((time, some))
            if some < there:
                self.queue.appendleft((time, there - some))
            count -= some
        return taken

    def _end(self, batches: int, records: int, groups: list[Group]) -> None:
        self.last_done = self.env.now
        self._ended += [(self.env.now - time, count) for time, count in groups]
        self.running -= batches
        self.in_work -= records
        self.done += records
        self.dispatch()

    def sqs_requests(self) -> float:
        """Return simulated requests to SQS a message."""
        return 1 + 2 * self.receives / (self.done + self.in_work)

    def outcome(self, cost: Cost, started: int) -> Outcome:
        return Outcome(
            arrived=self.arrived,
            done=self.done,
            drained=self.last_done if self.finished else None,
            **_latencies(self._ended),
            peak_backlog=self.peak_backlog,
            peak_running=self.peak_running,
            started=started,
            invocations=self.invocations,
            busy=self.busy_seconds / self.env.now,
            seconds=self.env.now,
            cost=cost,
            samples=tuple(self.samples),
        )


def _latencies(ended: list[Group]) -> dict[str, float]:
    """Mean and percentiles over all messages."""
    latencies, counts = np.array(ended).T
    shares = np.quantile(latencies, (0.5, 0.95, 0.99), weights=counts, method="inverted_cdf")
    p50, p95, p99 = shares.tolist()
    return {"mean_latency": float(np.average(latencies, weights=counts)), "p50": p50, "p95": p95, "p99": p99}


class _LambdaQueue(_Queue):
    def __init__(self, arrivals: Arrivals, function: Function, seed: int) -> None:
        super().__init__(arrivals, function.service, seed)
        self.function = function
        self.batch_size, self.window, self.init_seconds = function.batch_size, function.window, function.init_seconds
        self.mapped = float(function.first)
        self.env.process(self._grow())

    def slots(self) -> int:
        return min(int(self.mapped), self.function.most, self.function.account)

    def _grow(self) -> Generator[simpy.Event, None, None]:
        while True:
            yield self.env.timeout(1.0)
            if self.backlog and self.running >= self.slots():
                self.mapped = min(self.function.most, self.mapped + self.function.per_minute / 60)
                self.dispatch()


class _FleetQueue(_Queue):
    def __init__(self, arrivals: Arrivals, fleet: Fleet, seed: int) -> None:
        super().__init__(arrivals, fleet.service, seed)
        self.fleet = fleet
        self.asked_for = [-fleet.start_seconds] * fleet.least  # a time for each task
        self.tasks = self.started = fleet.least
        self._ended_task_seconds = 0.0
        self.env.process(self._look())

    def slots(self) -> int:
        return self.tasks * self.fleet.in_flight

    def capacity(self) -> int:
        return self.tasks

    def service_seconds(self, records: float) -> float:
        full = self.service.draw(records, self.chance)
        share = min(1.0, self.in_work / max(1, self.tasks) / self.fleet.in_flight)
        scatter = full / self.service.seconds(records)
        return max(full * share, self.fleet.alone_seconds * scatter)

    def _look(self) -> Generator[simpy.Event, None, None]:
        above = below = 0
        target = self.fleet.backlog_a_task
        while True:
            yield self.env.timeout(self.fleet.look_seconds)
            backlog_a_task = self.backlog / max(1, self.tasks)
            above = above + 1 if backlog_a_task > target else 0
            below = below + 1 if backlog_a_task < 0.9 * target else 0
            wanted = min(self.fleet.most, max(self.fleet.least, math.ceil(self.backlog / target)))
            if above >= self.fleet.looks_out:
                self._add(wanted - len(self.asked_for))
            elif below >= self.fleet.looks_in:
                self._remove(self.tasks - wanted)
                below = 0

    def _add(self, count: int) -> None:
        if count > 0:
            self.asked_for += [self.env.now] * count
            self.started += count
            self.env.timeout(self.fleet.start_seconds).callbacks.append(lambda _: self._begin(count))

    def _begin(self, count: int) -> None:
        self.tasks += count
        self.dispatch()

    def _remove(self, count: int) -> None:
        """Remove the youngest tasks; they finish their work."""
        for _ in range(min(count, len(self.asked_for))):
            self.tasks -= 1
            self._ended_task_seconds += _paid_seconds(self.asked_for.pop(), self.env.now)

    def run_until_scaled_in(self) -> float:
        """Continue with an empty queue until only the least number of tasks is left; return that time."""
        while len(self.asked_for) > self.fleet.least:
            self.env.step()
        return self.env.now

    def task_seconds(self) -> float:
        """Return the paid seconds of all tasks."""
        return self._ended_task_seconds + sum(_paid_seconds(start, self.env.now) for start in self.asked_for)


def _paid_seconds(start: float, end: float) -> float:
    """AWS bills a task from the image pull, for at least a minute. Initial tasks are paid from 0."""
    return max(60.0, end - max(0.0, start))


def simulate_lambda(
    arrivals: Arrivals, function: Function, prices: Prices, seed: int = 1, patience: float = 3600.0
) -> Outcome:
    """Every invocation is billed by the millisecond, with its init. Raises ScaleError if nothing arrives."""
    run = _LambdaQueue(arrivals, function, seed)
    run.run(patience)
    requests = replace(function.requests, sqs=run.sqs_requests())
    records, billed = (run.done + run.in_work) / run.invocations, run.billed_ms / run.invocations
    cost = lambda_cost(prices, function.memory_mb, billed, records, requests, function.architecture)
    return run.outcome(cost, run.environments)


def simulate_fleet(
    arrivals: Arrivals, fleet: Fleet, prices: Prices, seed: int = 1, patience: float = 3600.0
) -> Outcome:
    """All tasks are paid until autoscaling is back at the least number, or until the end if messages are left.

    Raises ScaleError if nothing arrives.
    """
    run = _FleetQueue(arrivals, fleet, seed)
    run.run(patience)
    outcome = run.outcome(Cost(), run.started)
    paid_until = run.run_until_scaled_in() if run.finished else None
    run.receives = math.ceil(run.receives / MOST_MESSAGES_A_REQUEST)  # tasks receive ten single messages a request
    requests = replace(fleet.task.requests, sqs=run.sqs_requests())
    compute = MILLION * run.task_seconds() / 3600 * fleet.task.hour(prices) / run.done
    return replace(outcome, cost=replace(requests.cost(prices), compute=compute), paid_until=paid_until)
