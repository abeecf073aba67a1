"""A Fargate cell: `thumbnailer worker` on a queue, with the vCPUs and the memory of a task."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from bench.cells.base import CellFailed, Effort, Log, Recorder, assert_s3_answers, check_output, settings_of
from bench.cells.testbed import Testbed, bucket_of, keys_of_pass, message_body
from bench.result import CellKey, Repetition
from bench.rig.enclosures import Limit
from bench.rig.limits import CONTAINER_PERIOD_US
from bench.rig.processes import ROOT
from bench.rig.sqs import SqsServer, sqs_server

PATIENCE: Final = 120.0
"""seconds without progress in the queue"""
POLL: Final = 0.01
OF_THE_BENCH: Final = ("SendMessageBatch", "GetQueueAttributes", "Requests")
"""operations on the queue that the worker does not call"""


class WorkerCell:
    """A running worker and its queue."""

    def __init__(self, key: CellKey, testbed: Testbed, effort: Effort) -> None:
        self._key, self._testbed = key, testbed
        self._keys = keys_of_pass(testbed.sets[key.pictures], key.batch_size)
        self._stack = ExitStack()
        try:
            self._start()
            began = time.time()
            self._measure(1)
            check_output(key, testbed, began, self._keys)
            self.passes = effort.passes(self._measure(1).wall_seconds)
        except BaseException:
            self._stack.close()
            raise

    def _start(self) -> None:
        key, testbed = self._key, self._testbed
        cores = testbed.cores.for_cell(key.vcpus, math.ceil(key.vcpus))
        limit = Limit(key.memory_mb, key.vcpus, CONTAINER_PERIOD_US, cores)
        self._box = testbed.enclosure.box(limit, self._stack, False)
        scratch = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-cell-")))
        self._log = Log(scratch / "log")
        self._recorder = Recorder(self._box, testbed.proxy(key.latency), self._log)
        self.queue = self._stack.enter_context(sqs_server(core=testbed.cores.support))
        env = worker_environment(key, testbed, self.queue, scratch)
        program = [sys.executable, "-c", "from handler.cli import main; main()"]
        command = [*(["thumbnailer"] if testbed.enclosure.ours_only else program), "worker"]
        out = self._stack.enter_context(self._log.path.open("wb"))
        self._process = subprocess.Popen(  # noqa: S603
            self._box.command(command, env), cwd=ROOT, env=env, stdout=out, stderr=subprocess.STDOUT
        )
        self._stack.callback(self._process.wait)
        self._stack.callback(self._process.kill)

    def new_records(self) -> list[dict[str, Any]]:
        """The worker's log lines about records since the last call."""
        return self._log.new_records()

    def bodies(self, count: int) -> list[str]:
        """Message bodies, in rounds through the pictures."""
        keys = self._keys * math.ceil(count / len(self._keys))
        return [message_body(bucket_of(self._key.handler), each) for each in keys[:count]]

    def repeat(self) -> Repetition:
        return self._measure(self.passes)

    def _measure(self, passes: int) -> Repetition:
        """Measures from the first message sent until the last one deleted."""
        self._recorder.begin()
        calls = Counter(self.queue.calls())
        bodies = self.bodies(passes * len(self._keys))
        began = time.perf_counter()
        self.queue.send(bodies)
        self.wait_until_empty()
        wall = time.perf_counter() - began
        requests = 1 + worker_calls(Counter(self.queue.calls()) - calls) / len(bodies)
        fields, _, lines = self._recorder.end(len(bodies), requests)
        outcomes = Counter(str(line["outcome"]) for line in lines)
        if set(outcomes) != {"stored"}:
            raise CellFailed(f"not all became thumbnails: {dict(outcomes)}; it wrote: {self._log.tail()}")
        return Repetition(
            **fields,
            invocations=0,
            wall_seconds=wall,
            billed_ms=wall * 1000,
            latencies_ms=tuple(round(line["ms"]["total"], 1) for line in lines),
            outcomes=dict(outcomes),
        )

    def wait_until_empty(self) -> None:
        """Raises CellFailed if the worker ends or makes no progress, S3Gone."""
        left, changed = math.inf, time.monotonic()
        while (now_left := self.queue.left()) > 0:
            if now_left < left:
                left, changed = now_left, time.monotonic()
            if self._process.poll() is not None:
                killed = f", killed for lack of memory within {self._key.memory_mb} MB" if self._box.kills() else ""
                raise CellFailed(f"the worker has ended ({self._process.returncode}{killed}): {self._log.tail()}")
            if time.monotonic() - changed > PATIENCE:
                assert_s3_answers(self._testbed)
                raise CellFailed(f"{left} messages stay in the queue; the worker wrote: {self._log.tail()}")
            time.sleep(POLL)

    def close(self) -> None:
        self._stack.close()


def worker_environment(key: CellKey, testbed: Testbed, queue: SqsServer, scratch: Path) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "AWS_ENDPOINT_URL_SQS": queue.endpoint,
        "THUMBNAILER_QUEUE_URL": queue.queue_url,
        "THUMBNAILER_MEMORY_MB": str(key.memory_mb),
        "THUMBNAILER_PORT": "0",
        "TMPDIR": str(scratch),
        **testbed.environment(key.latency),
        **settings_of(key),
    }


def worker_calls(calls: Mapping[str, int]) -> int:
    """Requests that the worker makes to SQS."""
    return sum(count for name, count in calls.items() if name not in OF_THE_BENCH)
