"""Lambda and Fargate as servers of a queue: growth, limits, cold starts, autoscaling, and the price.

Lambda: batches, window and growth of the mapping, the account's limit, and the init of environments.
Fargate: autoscaling by backlog a task, the start time of a task, and the tasks that are still paid when the queue is
empty. Left out: other functions of the account, and mappings and environments that shrink.
"""

import math
from collections.abc import Generator
from dataclasses import replace

import simpy

from bench.money.costing import MILLION, MOST_MESSAGES_A_REQUEST, Cost, Task, lambda_cost
from bench.money.prices import Prices
from bench.scale.model import Arrivals, Fleet, Function, Outcome
from bench.scale.queue import Queue


class _LambdaQueue(Queue):
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


class _FleetQueue(Queue):
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
    requests = replace(fleet.requests, sqs=run.sqs_requests())
    task = Task(fleet.vcpus, fleet.memory_gb, 1.0, requests, fleet.architecture, fleet.spot)
    compute = MILLION * run.task_seconds() / 3600 * task.hour(prices) / run.done
    return replace(outcome, cost=replace(requests.cost(prices), compute=compute), paid_until=paid_until)
