"""A queue of pictures, and how Lambda or Fargate grow to empty it: a simulation of discrete events; no I/O.

What is modelled: messages that come at a rate; for Lambda the mapping's batches, window and growth, the account's
limit, how fast new environments may start, and their init; for Fargate a target of backlog a task that is looked at
once a minute, the time until a task runs, and the tasks that still run, and are paid, when the queue is empty already.
What is not: failures and what comes back for them, duplicates, other functions of the account, mappings and
environments that shrink. Batches are as full as the queue allows. Messages of one moment and batches that start
together are one event, so that a high rate takes no longer.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator
from dataclasses import replace
from typing import Final

import numpy as np
import simpy

from bench.money.costing import (
    MILLION,
    MOST_MESSAGES_A_REQUEST,
    Cost,
    LambdaCell,
    Requests,
    Task,
    lambda_cost,
    request_lines,
)
from bench.money.prices import Prices
from bench.scale.model import Arrivals, Fleet, Function, Outcome, Sample, Service

TICK: Final = 0.02
"""Seconds of arrivals that are one event, where they are many."""
MANY: Final = 5.0
"""Arrivals a tick from which they are."""
PIECES: Final = 200
"""Batches that run at once are this many groups at most, each with one service time."""
SAMPLE_SECONDS: Final = 1.0
Group = tuple[float, int]
"""Messages that came at one moment."""


# --- the simulation -----------------------------------------------------------------------------------------------


class _Simulation:
    """A queue that is emptied by servers, of which `_slots()` may be in use at once."""

    def __init__(self, arrivals: Arrivals, service: Service, batch_size: int, window: float, seed: int) -> None:
        self.env = simpy.Environment()
        self.coming = np.random.default_rng(seed)
        """the chance of arrivals is its own, so that the same messages come to all that are compared"""
        self.chance = np.random.default_rng((seed, 1))
        self.arrivals = arrivals
        self.service = service
        self.batch_size = batch_size
        self.window = window
        self.queue: deque[Group] = deque()
        self.backlog = self.arrived = self.done = self.in_work = 0
        self.running = self.peak_running = self.peak_backlog = 0
        self.invocations = 0
        self.receives = 0
        self.billed_ms = 0
        self.finished = False
        self._closed = False
        self.last_done = 0.0
        self._waits_until = -1.0
        self._in_system_area = self._busy_area = self._area_time = 0.0
        self._latencies: list[float] = []
        self._weights: list[int] = []
        self.samples: list[Sample] = []
        self.env.process(self._arrive())
        self.env.process(self._sample())

    # What differs between Lambda and Fargate:

    def _slots(self) -> int:
        raise NotImplementedError

    def _admit(self, batches: int) -> tuple[int, int]:
        """How many of these may start now, and how many of those start cold."""
        return batches, 0

    def _init_seconds(self) -> float:
        return 0.0

    def _capacity(self) -> int:
        return self._slots()

    # What is the same:

    def run(self, patience: float) -> None:
        """Until the queue is empty, or `patience` seconds after the last arrival."""
        end = self.arrivals.seconds + patience
        while not self.finished and self.env.peek() <= end:
            self.env.step()
            self.finished = self.env.now >= self.arrivals.seconds and self.done == self.arrived and self._closed
        self._account()

    def _arrive(self) -> Generator[simpy.Event, None, None]:
        rate, end = self.arrivals.rate, self.arrivals.seconds
        grouped = rate * TICK >= MANY
        while True:
            gap = TICK if grouped else float(self.coming.exponential(1 / rate))
            if self.env.now + gap > end + 1e-9:
                break
            yield self.env.timeout(gap)
            self._enqueue(int(self.coming.poisson(rate * TICK)) if grouped else 1)
        yield self.env.timeout(max(0.0, end - self.env.now))
        self._closed = True

    def _enqueue(self, count: int) -> None:
        if count == 0:
            return
        self._account()
        self.queue.append((self.env.now, count))
        self.backlog += count
        self.arrived += count
        self.dispatch()
        self.peak_backlog = max(self.peak_backlog, self.backlog)

    def _sample(self) -> Generator[simpy.Event, None, None]:
        while True:
            self.samples.append(Sample(self.env.now, self.backlog, self.in_work, self._capacity()))
            yield self.env.timeout(SAMPLE_SECONDS)

    def dispatch(self) -> None:
        """Starts all batches that may start now."""
        while self.backlog and (free := self._slots() - self.running) > 0:
            full = self.backlog // self.batch_size
            if full == 0 and not self._window_is_over():
                return
            batches, cold = self._admit(min(free, full) or 1)
            if batches == 0:
                return
            self._start(batches - cold, 0.0)
            self._start(cold, self._init_seconds())

    def _window_is_over(self) -> bool:
        end = self.queue[0][0] + self.window
        if self.env.now >= end - 1e-9:
            return True
        if self._waits_until < end:
            self._waits_until = end
            self.wake_in(end - self.env.now)
        return False

    def wake_in(self, seconds: float) -> None:
        self.env.timeout(seconds).callbacks.append(lambda _: self.dispatch())

    def _start(self, batches: int, extra: float) -> None:
        """Starts batches together, in groups that have one service time each."""
        smallest = max(1, self._slots() // PIECES)
        while batches:
            size = batches if batches < 2 * smallest else smallest
            self._start_group(size, extra)
            batches -= size

    def _start_group(self, batches: int, extra: float) -> None:
        groups = self._take(min(self.backlog, batches * self.batch_size))
        records = sum(count for _, count in groups)
        self._account()
        self.backlog -= records
        self.in_work += records
        self.running += batches
        self.peak_running = max(self.peak_running, self.running)
        took = extra + self._service_seconds(records / batches)
        self.invocations += batches
        self.billed_ms += batches * math.ceil(1000 * took - 1e-6)
        self.receives += batches * math.ceil(records / batches / MOST_MESSAGES_A_REQUEST)
        self.env.timeout(took).callbacks.append(lambda _: self._end_group(batches, records, groups))

    def _service_seconds(self, records: float) -> float:
        return self.service.draw(records, self.chance)

    def _take(self, count: int) -> list[Group]:
        """The oldest messages."""
        taken = []
        while count:
            time, there = self.queue.popleft()
            some = min(there, count)
            taken.append((time, some))
            if some < there:
                self.queue.appendleft((time, there - some))
            count -= some
        return taken

    def _end_group(self, batches: int, records: int, groups: list[Group]) -> None:
        self._account()
        now = self.last_done = self.env.now
        self._latencies += [now - time for time, _ in groups]
        self._weights += [count for _, count in groups]
        self.running -= batches
        self.in_work -= records
        self.done += records
        self.dispatch()

    def _account(self) -> None:
        """The areas under what is in the system and what runs, up to now."""
        passed = self.env.now - self._area_time
        self._in_system_area += passed * (self.backlog + self.in_work)
        self._busy_area += passed * self.running
        self._area_time = self.env.now

    def outcome(self, cost: Cost, started: int) -> Outcome:
        seconds = max(self.env.now, 1e-9)
        mean, *shares = _weighted(self._latencies, self._weights)
        return Outcome(
            arrived=self.arrived,
            done=self.done,
            drained=self.last_done if self.finished else None,
            mean_latency=mean,
            p50=shares[0],
            p95=shares[1],
            p99=shares[2],
            peak_backlog=self.peak_backlog,
            peak_running=self.peak_running,
            started=started,
            invocations=self.invocations,
            busy=self._busy_area / seconds,
            mean_in_system=self._in_system_area / seconds,
            seconds=seconds,
            cost=cost,
            samples=tuple(self.samples),
        )


def _weighted(values: list[float], weights: list[int]) -> list[float]:
    """Mean, p50, p95 and p99."""
    if not values:
        return [math.nan] * 4
    latencies, counts = np.array(values), np.array(weights)
    order = np.argsort(latencies)
    reached = np.cumsum(counts[order])
    places = np.searchsorted(reached, [share * reached[-1] for share in (0.5, 0.95, 0.99)])
    return [float(np.average(latencies, weights=counts)), *(float(value) for value in latencies[order][places])]


class _LambdaSimulation(_Simulation):
    def __init__(self, arrivals: Arrivals, function: Function, seed: int) -> None:
        super().__init__(arrivals, function.service, function.batch_size, function.window, seed)
        self.function = function
        self.mapped = float(function.first)
        self.environments = 0
        self._starts = float(function.new_environments)
        self._starts_time = 0.0
        self._refilled = 0.0
        self.env.process(self._grow())

    def _slots(self) -> int:
        return min(int(self.mapped), self.function.most, self.function.account)

    def _init_seconds(self) -> float:
        return self.function.init_seconds

    def _admit(self, batches: int) -> tuple[int, int]:
        """Those for which there is an environment that rests, and as many new ones as may start."""
        rate = self.function.new_environments / 10
        now = self.env.now
        self._starts = min(self.function.new_environments, self._starts + rate * (now - self._starts_time))
        self._starts_time = now
        resting = self.environments - self.running
        cold = min(max(0, batches - resting), int(self._starts + 1e-9))
        admitted = min(batches, resting + cold)
        if admitted == 0 and now >= self._refilled:
            wait = max(TICK, (1 - self._starts) / rate)
            self._refilled = now + wait
            self.wake_in(wait)
        self._starts -= cold
        self.environments += cold
        return admitted, cold

    def _grow(self) -> Generator[simpy.Event, None, None]:
        while True:
            yield self.env.timeout(1.0)
            if self.backlog and self.running >= self._slots():
                self.mapped = min(self.function.most, self.mapped + self.function.per_minute / 60)
                self.dispatch()


class _FleetSimulation(_Simulation):
    def __init__(self, arrivals: Arrivals, fleet: Fleet, seed: int) -> None:
        super().__init__(arrivals, fleet.service, 1, 0.0, seed)
        self.fleet = fleet
        self.asked_for: list[float] = [-fleet.start_seconds] * fleet.least
        """when each task that is there or comes was asked for"""
        self.tasks = fleet.least
        self.started = fleet.least
        self.task_seconds = 0.0
        self.env.process(self._look())

    def _slots(self) -> int:
        return self.tasks * self.fleet.in_flight

    def _capacity(self) -> int:
        return self.tasks

    def _service_seconds(self, records: float) -> float:
        """`in_work` has these records in it already."""
        full = self.service.draw(records, self.chance)
        share = min(1.0, self.in_work / max(1, self.tasks) / self.fleet.in_flight)
        scatter = full / self.service.seconds(records)
        return max(full * share, self.fleet.alone_seconds * scatter)

    def _look(self) -> Generator[simpy.Event, None, None]:
        above = below = 0
        while True:
            yield self.env.timeout(self.fleet.look_seconds)
            backlog_a_task = self.backlog / max(1, self.tasks)
            above = above + 1 if backlog_a_task > self.fleet.backlog_a_task else 0
            below = below + 1 if backlog_a_task < 0.9 * self.fleet.backlog_a_task else 0
            wanted = min(self.fleet.most, max(self.fleet.least, math.ceil(self.backlog / self.fleet.backlog_a_task)))
            if above >= self.fleet.looks_out:
                self._add(wanted - len(self.asked_for))
            elif below >= self.fleet.looks_in:
                self._remove(self.tasks - wanted)
                below = 0

    def _add(self, count: int) -> None:
        for _ in range(count):
            self.asked_for.append(self.env.now)
            self.started += 1
        if count > 0:
            self.env.timeout(self.fleet.start_seconds).callbacks.append(lambda _: self._arrived(count))

    def _arrived(self, count: int) -> None:
        self.tasks += count
        self.dispatch()

    def _remove(self, count: int) -> None:
        """The youngest first; what they have in work they finish."""
        for _ in range(min(count, len(self.asked_for))):
            self.tasks -= 1
            self.task_seconds += _paid(self.asked_for.pop(), self.env.now)

    def run_until_scaled_in(self) -> float:
        """Goes on with an empty queue until autoscaling has the tasks back to the least, and says when that is."""
        while len(self.asked_for) > self.fleet.least:
            self.env.step()
        return self.env.now

    def all_task_seconds(self) -> float:
        return self.task_seconds + sum(_paid(start, self.env.now) for start in self.asked_for)


def _paid(start: float, end: float) -> float:
    """By the second, from when the image is pulled; a minute at least. Those there from the start are paid from it."""
    return max(60.0, end - max(0.0, start))


# --- what is answered ---------------------------------------------------------------------------------------------


def simulate_lambda(
    arrivals: Arrivals, function: Function, prices: Prices, seed: int = 1, patience: float = 3600.0
) -> Outcome:
    """Each invocation is paid by the millisecond, with its init."""
    run = _LambdaSimulation(arrivals, function, seed)
    run.run(patience)
    if run.done == 0:
        return run.outcome(Cost(), run.environments)
    mean_records = (run.done + run.in_work) / run.invocations
    cell = LambdaCell(
        function.memory_mb,
        run.billed_ms / run.invocations,
        mean_records,
        _with_queue(function.requests, run),
        function.architecture,
    )
    return run.outcome(lambda_cost(cell, prices), run.environments)


def simulate_fleet(
    arrivals: Arrivals, fleet: Fleet, prices: Prices, seed: int = 1, patience: float = 3600.0
) -> Outcome:
    """Tasks take single messages from requests of ten.

    All tasks are paid, those that run all the time too, until the load has left no trace: until autoscaling has them
    back to the least. Where messages are left at the end, until then.
    """
    run = _FleetSimulation(arrivals, fleet, seed)
    run.run(patience)
    outcome = run.outcome(Cost(), run.started)
    if run.done == 0:
        return outcome
    paid_until = run.run_until_scaled_in() if run.finished else None
    run.receives = math.ceil(run.receives / MOST_MESSAGES_A_REQUEST)
    requests = _with_queue(fleet.requests, run)
    task = Task(fleet.vcpus, fleet.memory_gb, 1.0, requests, fleet.architecture, fleet.spot)
    hours = run.all_task_seconds() / 3600
    compute = MILLION * hours * task.hour(prices) / run.done
    return replace(outcome, cost=Cost(compute=compute, **request_lines(requests, prices)), paid_until=paid_until)


def _with_queue(requests: Requests, run: _Simulation) -> Requests:
    """Those of SQS as they were simulated."""
    sqs = 1 + 2 * run.receives / (run.done + run.in_work)
    return replace(requests, sqs=sqs)
