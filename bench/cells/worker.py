"""A Fargate cell: `thumbnailer worker` on a queue, with the vCPUs and the memory of a task."""

import json
import math
import os
import sys
import time
from collections import Counter
from contextlib import ExitStack
from typing import Final

from bench.cells.base import Recorder, check_output, settings_of
from bench.cells.testbed import Testbed, keys_of_pass, s3_event
from bench.questions import Options
from bench.result import CellKey, Repetition
from bench.rig.limits import CONTAINER_PERIOD_US
from bench.rig.processes import background
from bench.rig.sqs import sqs_server

PATIENCE: Final = 120.0
"""seconds without progress in the queue"""
POLL: Final = 0.01
MAIN: Final = "from handler.cli import main; main()"


class WorkerCell:
    """A running worker and its queue."""

    def __init__(self, key: CellKey, testbed: Testbed, options: Options, stack: ExitStack) -> None:
        self._keys = keys_of_pass(testbed.sets[key.pictures], key.batch_size)
        self._recorder = Recorder(key, testbed, CONTAINER_PERIOD_US, math.ceil(key.vcpus), stack)
        self._recorder.limit_cpu()
        self.new_lines = self._recorder.log.new_lines
        self.queue = stack.enter_context(sqs_server())
        env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "AWS_ENDPOINT_URL_SQS": self.queue.url,
            "THUMBNAILER_QUEUE_URL": f"{self.queue.url}/000000000000/bench",
            "THUMBNAILER_MEMORY_MB": str(key.memory_mb),
            "THUMBNAILER_PORT": "0",
            "THUMBNAILER_LOG_LEVEL": "DEBUG",  # a line a record, for its latency
            "TMPDIR": str(self._recorder.scratch),
            **testbed.environment(key.latency),
            **settings_of(key),
        }
        program = ("thumbnailer",) if testbed.enclosure.image else (sys.executable, "-c", MAIN)
        command = self._recorder.command([*program, "worker"], variables=env)
        worker = background("the worker", command, lambda: True, env, output=self._recorder.log.path)
        self._process = stack.enter_context(worker)
        began = time.time()
        self._measure(1)
        check_output(key, testbed, began, self._keys)
        self._passes = options.passes(self._measure(1).wall_seconds)

    def bodies(self, count: int) -> list[str]:
        """Message bodies, in rounds through the pictures."""
        keys = self._keys * math.ceil(count / len(self._keys))
        return [json.dumps(s3_event([each])) for each in keys[:count]]

    def repeat(self) -> Repetition:
        return self._measure(self._passes)

    def _measure(self, passes: int) -> Repetition:
        """Measures from the first message sent until the last one deleted."""
        self._recorder.begin()
        calls = self.queue.calls.total()
        bodies = self.bodies(passes * len(self._keys))
        began = time.perf_counter()
        self.queue.send(bodies)
        self.wait_until_empty()
        wall = round(time.perf_counter() - began, 6)
        requests = 1 + (self.queue.calls.total() - calls) / len(bodies)
        fields, _, lines = self._recorder.end(len(bodies), requests)
        records = [line for line in lines if line.get("message") == "record"]
        outcomes = Counter(str(line["outcome"]) for line in records)
        if set(outcomes) != {"stored"}:
            raise self._recorder.failure(f"not all became thumbnails: {dict(outcomes)}")
        return Repetition(
            **fields,
            invocations=0,
            wall_seconds=wall,
            billed_ms=round(wall * 1000, 3),
            latencies_ms=tuple(line["ms"][-1] for line in records),
            outcomes=dict(outcomes),
        )

    def wait_until_empty(self) -> None:
        """Raises CellFailed if the worker ends or makes no progress, S3Gone."""
        left, changed = math.inf, time.monotonic()
        while (now_left := self.queue.left) > 0:
            if now_left < left:
                left, changed = now_left, time.monotonic()
            if self._process.poll() is not None:
                raise self._recorder.failure(f"the worker has ended ({self._process.returncode})")
            if time.monotonic() - changed > PATIENCE:
                raise self._recorder.failure(f"{left} messages stay in the queue")
            time.sleep(POLL)
