"""A Lambda cell: the door, or what it is compared with, under AWS's runtime client and runtime interface emulator.

Its init runs with all the CPU there is, as on Lambda; the limit holds from the first invocation on.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import threading
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote_plus

from bench.cells.base import Effort, check_output, settings_of
from bench.cells.observation import TAIL, CellFailed, Log, assert_s3_is_there, counted, outcomes_of, requests_of, stages
from bench.money.costing import billed_ms, sqs_requests
from bench.peers import PEERS
from bench.result import CellKey, Repetition
from bench.rig.emulator import HANDLER, Emulator, Function, find_binary
from bench.rig.enclosures import Box, Limit, Meter
from bench.rig.limits import NoLimits
from bench.rig.testbed import Bed, batches, bucket_of, cores_seen, keys_of_a_pass, s3_event
from thumbnailer.errors import ThumbnailerError

TIMEOUT: Final = 900
"""Seconds that an invocation may take: Lambda's most, so that the slowest cell ends by itself."""
PATIENCE: Final = 300.0
"""Seconds until an answer is waited for no longer."""
INIT: Final = re.compile(rb"INIT REPORT\(durationMs: ([\d.]+)")
INIT_DONE: Final = re.compile(rb"INIT (?:RTDONE|REPORT)")


class FunctionCell:
    """One environment, from its cold start until it is closed."""

    def __init__(self, key: CellKey, bed: Bed, effort: Effort, tree: Path) -> None:
        self._key, self._bed = key, bed
        self._stack = ExitStack()
        self.passes = 1
        self._cold_start_ms: float | None = None
        try:
            self._events = events_of(key, bed)
            self._function = _Environment(key, bed, effort, tree, self._stack)
            self._warm_up(effort)
        except BaseException:
            self._stack.close()
            raise

    def _warm_up(self, effort: Effort) -> None:
        began = time.time()
        cold = self._function.first(self._events[0])
        self._cold_start_ms = cold.init_ms
        one = self._measured(1)
        check_output(self._key, self._bed, began, keys_in(self._events))
        self.passes = effort.passes(one.wall_seconds)

    def repeat(self) -> Repetition:
        cold, self._cold_start_ms = self._cold_start_ms, None  # of the first repetition alone: it was one start
        return replace(self._measured(self.passes), cold_start_ms=cold)

    def _measured(self, passes: int) -> Repetition:
        return self._function.measured(list(self._events) * passes)

    def close(self) -> None:
        self._stack.close()


class ColdCell:
    """Each repetition is a new environment and its first invocation."""

    passes = 1

    def __init__(self, key: CellKey, bed: Bed, effort: Effort, tree: Path) -> None:
        self._key, self._bed, self._effort, self._tree = key, bed, effort, tree
        self._event = events_of(key, bed)[0]
        began = time.time()
        self.repeat()  # what it reads from the disk is in memory from now on, as it is for any later start
        check_output(key, bed, began, keys_in([self._event]))

    def repeat(self) -> Repetition:
        with ExitStack() as stack:
            function = _Environment(self._key, self._bed, self._effort, self._tree, stack)
            started = function.first(self._event, measure=True)
            assert started.repetition is not None
            return replace(started.repetition, cold_start_ms=started.init_ms)

    def close(self) -> None:
        """Nothing is kept."""


@dataclass(frozen=True, slots=True)
class Started:
    """Milliseconds of the init, and of init and first invocation together."""

    init_ms: float
    total_ms: float
    repetition: Repetition | None


@dataclass(frozen=True, slots=True)
class Answered:
    """An invocation: when it began, by time.monotonic, and what became of its records."""

    began: float
    ms: float
    outcomes: Counter[str]


def latencies(answers: Sequence[Answered], stored_at: Sequence[float]) -> tuple[float, ...]:
    """Milliseconds of each record from the invocation's begin until its thumbnail was stored.

    Whoever stores nothing has those of the invocations.
    """
    begins = [answer.began for answer in answers]
    since = [moment - begins[max(0, bisect_right(begins, moment) - 1)] for moment in stored_at]
    return tuple(round(1000 * seconds, 1) for seconds in since) or tuple(round(answer.ms, 1) for answer in answers)


class _Environment:
    """A function under the emulator, in its group."""

    def __init__(self, key: CellKey, bed: Bed, effort: Effort, tree: Path, stack: ExitStack) -> None:
        self._key, self._bed, self._effort = key, bed, effort
        given = bed.cores.given(key.vcpus, cores_seen(key.memory_mb))
        refuse_others(key, bed)
        limit = Limit(key.memory_mb, key.vcpus, effort.period_us, given)
        self._box = bed.enclosure.box(limit, True, stack)
        self._meter = Meter(self._box)
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-cell-")))
        function = function_of(key, bed, tree, scratch)
        command = self._box.command(function.command, [*function.environment(), "AWS_LAMBDA_RUNTIME_API"])
        self._log = Log(scratch / "log")
        self._emulator = Emulator(replace(function, command=command), find_binary(), self._log.path)
        stack.callback(self._emulator.close)

    def first(self, event: object, measure: bool = False) -> Started:
        """The first invocation, which waits for the init. Raises CellFailed."""
        with _LimitAfterInit(self._log.path, self._box):
            repetition = self.measured([event])
        found = INIT.search(self._log.path.read_bytes())
        if found is None:
            raise CellFailed(f"the emulator does not say how long the init took: {self._log.tail()}")
        init_ms, total_ms = float(found[1]), repetition.wall_seconds * 1000
        billed = float(billed_ms([max(0.0, total_ms - init_ms)], init_ms))
        cold = replace(repetition, billed_ms=billed, latencies_ms=(round(total_ms, 1),))
        return Started(init_ms, total_ms, cold if measure else None)

    def measured(self, events: Sequence[Any]) -> Repetition:
        """One after another. Raises CellFailed, S3Gone."""
        proxy = self._bed.proxy(self._key.latency)
        counted(proxy)
        self._meter.begin()
        log_bytes = self._log.bytes_of_its_own()
        answers = [self._invoked(event) for event in events]
        took = [answer.ms for answer in answers]
        records = sum(len(event["Records"]) for event in events)
        used, report = self._meter.used(), counted(proxy)
        return Repetition(
            records=records,
            invocations=len(events),
            wall_seconds=sum(took) / 1000,
            cpu_seconds=used.cpu_seconds,
            billed_ms=float(billed_ms(took)),
            peak_rss_bytes=used.peak_rss,
            latencies_ms=latencies(answers, report["stored_at"]),
            bytes_in=report["bytes_down"],
            bytes_out=report["bytes_up"],
            outcomes=dict(sum((answer.outcomes for answer in answers), Counter())),
            requests=requests_of(report, records) | {"sqs": sqs_requests(self._key.batch_size)},
            stages_ms=stages(self._log.new_records()),
            oom_kills=used.kills,
            log_bytes=self._log.bytes_of_its_own() - log_bytes,
        )

    def _invoked(self, event: dict[str, Any]) -> Answered:
        began = time.monotonic()
        try:
            answer = self._emulator.invoke(event, PATIENCE)
        except OSError as error:
            raise self._failure(f"no answer: {error}") from error
        if answer.error is not None:
            raise self._failure(f"{answer.error}: {json.dumps(answer.value)[:TAIL]}")
        outcomes = outcomes_of(answer.value, len(event["Records"]))
        if set(outcomes) - {"stored", "done"}:
            raise self._failure(f"not all became thumbnails: {dict(outcomes)}")
        return Answered(began, answer.seconds * 1000, outcomes)

    def _failure(self, what: str) -> ThumbnailerError:
        assert_s3_is_there(self._bed)
        killed = self._meter.killed()
        if killed:
            return CellFailed(f"killed for want of memory ({killed} times) within {self._key.memory_mb} MB")
        return CellFailed(f"{what}; it wrote: {self._log.tail()}")


class _LimitAfterInit:
    """Sets the CPU limit when the emulator says that the init is done: a millisecond or two after it is."""

    def __init__(self, log: Path, box: Box) -> None:
        self._log, self._box = log, box
        self._over = threading.Event()
        self._error: NoLimits | None = None
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._over.wait(0.001):
            if INIT_DONE.search(self._log.read_bytes()):
                break
        try:
            self._box.hold_cpu()
        except NoLimits as error:
            self._error = error

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, kind: object, *_: object) -> None:
        """Raises NoLimits: what has no limit is not measured."""
        self._over.set()
        self._thread.join()
        if self._error is not None and kind is None:
            raise self._error


def refuse_others(key: CellKey, bed: Bed) -> None:
    """Raises CellFailed for what is not in a container's image."""
    if bed.enclosure.holds_ours_alone and key.handler != "ours":
        raise CellFailed(f"not in {bed.enclosure.name}: only control groups can hold it")


def function_of(key: CellKey, bed: Bed, tree: Path, scratch: Path) -> Function:
    """Ours, of this or another checkout, or a peer's. Raises CellFailed where the peer cannot run here."""
    pictures = bed.sets[key.pictures]
    env = bed.environment(key.latency) | {"TMPDIR": str(scratch)}
    if key.handler in PEERS:
        peer = PEERS[key.handler]
        if why := peer.unavailable():
            raise CellFailed(why)
        if peer.reads is not None and pictures.endings - peer.reads:
            raise CellFailed(f"reads {', '.join(sorted(peer.reads))} alone, and there are others among the pictures")
        return peer.function(key.memory_mb, env, bed.s3.folder / bucket_of(key.handler))
    python = "python" if bed.enclosure.holds_ours_alone else sys.executable
    command = (python, "-m", "awslambdaric", HANDLER)
    return Function(key.memory_mb, TIMEOUT, env | settings_of(key), command, tree)


def events_of(key: CellKey, bed: Bed) -> list[dict[str, Any]]:
    """One round through the pictures, in batches."""
    keys = keys_of_a_pass(bed.sets[key.pictures], key.batch_size)
    return [s3_event(bucket_of(key.handler), batch) for batch in batches(keys, key.batch_size)]


def keys_in(events: Sequence[dict[str, Any]]) -> list[str]:
    return [unquote_plus(record["s3"]["object"]["key"]) for event in events for record in event["Records"]]
