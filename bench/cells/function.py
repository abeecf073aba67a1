"""A Lambda cell: a handler under AWS's runtime client and runtime interface emulator.

As on Lambda, the init runs with all the CPU there is; the limit applies from the first invocation on.
"""

import json
import re
import sys
import threading
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from bench.cells.base import TAIL, CellFailed, Recorder, Repeat, check_output, settings_of
from bench.cells.testbed import Testbed, batches, keys_of_pass, s3_event, visible_cores
from bench.money.costing import billed_ms, sqs_requests
from bench.peers import PEERS
from bench.questions import VARIANTS, Options
from bench.result import CellKey, Repetition
from bench.rig.emulator import HANDLER, Answer, Emulator, Function, find_binary

TIMEOUT: Final = 900
"""seconds of an invocation: Lambda's maximum, so the slowest cell ends by itself"""
PATIENCE: Final = 300.0
"""seconds to wait for an answer"""
INIT: Final = re.compile(rb"INIT REPORT\(durationMs: ([\d.]+)")
INIT_DONE: Final = re.compile(rb"INIT (?:RTDONE|REPORT)")


def start_warm(key: CellKey, testbed: Testbed, options: Options, tree: Path, stack: ExitStack) -> Repeat:
    """One environment, from its cold start until the stack ends it."""
    environment = _Environment(key, testbed, options, tree, stack)
    keys = keys_of_pass(testbed.sets[key.pictures], key.batch_size)
    events = [s3_event(batch) for batch in batches(keys, key.batch_size)]
    began = time.time()
    cold_starts = iter([environment.invoke_first(events[0]).cold_start_ms])
    warm = environment.invoke_all(events)
    check_output(key, testbed, began, keys)
    events *= options.passes(warm.wall_seconds)
    # The first repetition carries the cold start: there was one.
    return lambda: replace(environment.invoke_all(events), cold_start_ms=next(cold_starts, None))


def start_cold(key: CellKey, testbed: Testbed, options: Options, tree: Path, _: ExitStack) -> Repeat:
    """Each repetition is a new environment and its first invocation."""
    keys = keys_of_pass(testbed.sets[key.pictures], key.batch_size)[: key.batch_size]
    event = s3_event(keys)

    def repeat() -> Repetition:
        with ExitStack() as stack:
            return _Environment(key, testbed, options, tree, stack).invoke_first(event)

    began = time.time()
    repeat()  # brings its files into the page cache
    check_output(key, testbed, began, keys)
    return repeat


def latencies(answers: Sequence[Answer], stored_at: Sequence[float]) -> tuple[float, ...]:
    """Milliseconds of each record from the start of its invocation until its thumbnail was stored.

    A handler that stores nothing has the durations of its invocations.
    """
    begins = [answer.began for answer in answers]
    since = [moment - begins[max(0, bisect_right(begins, moment) - 1)] for moment in stored_at]
    return tuple(round(1000 * seconds, 1) for seconds in since) or tuple(
        round(1000 * answer.seconds, 1) for answer in answers
    )


class _Environment:
    """A function under the emulator, in its enclosure."""

    def __init__(self, key: CellKey, testbed: Testbed, options: Options, tree: Path, stack: ExitStack) -> None:
        self._batch_size = key.batch_size
        period_us = round(1000 * options.period_ms)
        self._recorder = Recorder(key, testbed, period_us, visible_cores(key.memory_mb), stack)
        self._log = self._recorder.log.path
        function = function_of(key, testbed, tree, self._recorder.scratch)
        variables = [*function.environment(), "AWS_LAMBDA_RUNTIME_API"]
        command = self._recorder.command(function.command, variables=variables)
        self._emulator = Emulator(replace(function, command=command), find_binary(), self._log)
        stack.callback(self._emulator.close)

    def invoke_first(self, event: dict[str, Any]) -> Repetition:
        """The first invocation, which waits for the init. Raises CellFailed, S3Gone, NoLimits."""
        with limit_after_init(self._log, self._recorder.limit_cpu):
            repetition = self.invoke_all([event])
        found = INIT.search(self._log.read_bytes())
        if found is None:
            raise self._recorder.failure("the emulator does not say how long the init took")
        init_ms, total_ms = float(found[1]), repetition.wall_seconds * 1000
        billed = float(billed_ms([max(0.0, total_ms - init_ms)], init_ms))
        return replace(repetition, billed_ms=billed, latencies_ms=(round(total_ms, 1),), cold_start_ms=init_ms)

    def invoke_all(self, events: Sequence[dict[str, Any]]) -> Repetition:
        """Invokes the function one event after another. Raises CellFailed, S3Gone."""
        self._recorder.begin()
        answers = [self._invoke(event) for event in events]
        took = [1000 * answer.seconds for answer in answers]
        sizes = [len(event["Records"]) for event in events]
        outcomes = sum(map(outcomes_of, answers, sizes), Counter[str]())
        if set(outcomes) - {"stored", "done"}:
            raise self._recorder.failure(f"not all became thumbnails: {dict(outcomes)}")
        fields, counts, _ = self._recorder.end(sum(sizes), sqs_requests(self._batch_size))
        return Repetition(
            **fields,
            invocations=len(events),
            wall_seconds=round(sum(took) / 1000, 6),
            billed_ms=float(billed_ms(took)),
            latencies_ms=latencies(answers, counts.stored_at),
            outcomes=dict(outcomes),
        )

    def _invoke(self, event: dict[str, Any]) -> Answer:
        try:
            answer = self._emulator.invoke(event, PATIENCE)
        except OSError as error:
            raise self._recorder.failure(f"no answer: {error}") from error
        if answer.error is not None:
            raise self._recorder.failure(f"{answer.error}: {json.dumps(answer.value)[:TAIL]}")
        return answer


@contextmanager
def limit_after_init(log: Path, limit_cpu: Callable[[], None]) -> Iterator[None]:
    """Sets the CPU limit within a millisecond or two after the emulator reports the end of the init.

    Raises NoLimits at the end: an unlimited cell is not measured.
    """
    over = threading.Event()

    def limit() -> None:
        while not over.wait(0.001) and not INIT_DONE.search(log.read_bytes()):
            continue
        limit_cpu()

    with ThreadPoolExecutor(1) as pool:
        limiting = pool.submit(limit)
        try:
            yield
        finally:
            over.set()
    limiting.result()


def outcomes_of(answer: Answer, records: int) -> Counter[str]:
    """The outcomes in our own answer; all records "done" for a peer's answer, which was no error."""
    found = answer.value.get("outcomes") if isinstance(answer.value, Mapping) else None
    return Counter(found if isinstance(found, Mapping) else {"done": records})


def function_of(key: CellKey, testbed: Testbed, tree: Path, scratch: Path) -> Function:
    """Our handler, of this or another checkout, or a peer. Raises CellFailed and NotInstalled for a peer."""
    env = testbed.environment(key.latency) | {"TMPDIR": str(scratch), **VARIANTS[key.variant]}
    if key.handler in PEERS:
        if testbed.enclosure.image:
            raise CellFailed(f"not in {testbed.enclosure.name}: only control groups can hold it")
        function = PEERS[key.handler].start(key.memory_mb)
        return replace(function, env={**function.env, "BENCH_PICTURES": str(testbed.pictures.resolve()), **env})
    python = "python" if testbed.enclosure.image else sys.executable
    command = (python, "-m", "awslambdaric", HANDLER)
    return Function(key.memory_mb, TIMEOUT, env | settings_of(key), command, tree)
