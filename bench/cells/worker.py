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

from bench.cells.base import Effort, check_output, settings_of
from bench.cells.observation import CellFailed, Log, assert_s3_is_there, counted, requests_of, stages
from bench.result import CellKey, Repetition
from bench.rig.enclosures import Limit, Meter
from bench.rig.limits import CONTAINER_PERIOD_US
from bench.rig.processes import ROOT
from bench.rig.sqs import SqsServer, sqs_server
from bench.rig.testbed import Bed, bucket_of, keys_of_a_pass, message

PATIENCE: Final = 120.0
"""Seconds that the queue may stay as long as it is."""
POLL: Final = 0.01


class WorkerCell:
    """`thumbnailer worker` on a queue, with the vCPUs and the memory of a task."""

    def __init__(self, key: CellKey, bed: Bed, effort: Effort) -> None:
        self._key, self._bed = key, bed
        self._stack = ExitStack()
        self.passes = 1
        try:
            self._start()
            began = time.time()
            self._measured(1)
            check_output(key, bed, began, self._keys)
            self.passes = effort.passes(self._measured(1).wall_seconds)
        except BaseException:
            self._stack.close()
            raise

    def _start(self) -> None:
        key, bed = self._key, self._bed
        given = bed.cores.given(key.vcpus, math.ceil(key.vcpus))
        limit = Limit(key.memory_mb, key.vcpus, CONTAINER_PERIOD_US, given)
        box = bed.enclosure.box(limit, False, self._stack)
        self._meter = Meter(box)
        scratch = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-cell-")))
        self._log = Log(scratch / "log")
        self._queue = self._stack.enter_context(sqs_server(core=bed.cores.beside))
        self._keys = keys_of_a_pass(bed.sets[key.pictures], key.batch_size)
        env = worker_environment(key, bed, self._queue, scratch)
        ours = [sys.executable, "-c", "from handler.cli import main; main()"]
        command = [*(["thumbnailer"] if bed.enclosure.holds_ours_alone else ours), "worker"]
        out = self._stack.enter_context(self._log.path.open("wb"))
        process = subprocess.Popen(  # noqa: S603
            box.command(command, env), cwd=ROOT, env=env, stdout=out, stderr=subprocess.STDOUT
        )
        self._process = process
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)

    @property
    def queue(self) -> SqsServer:
        return self._queue

    def new_records(self) -> list[dict[str, Any]]:
        """Its lines about records since the last call."""
        return self._log.new_records()

    def bodies(self, count: int) -> list[str]:
        """So many messages, in rounds through the pictures."""
        keys = self._keys * math.ceil(count / len(self._keys))
        return [message(bucket_of(self._key.handler), each) for each in keys[:count]]

    def repeat(self) -> Repetition:
        return self._measured(self.passes)

    def _measured(self, passes: int) -> Repetition:
        """From the first message that is sent until the last is deleted."""
        proxy = self._bed.proxy(self._key.latency)
        counted(proxy)
        self._meter.begin()
        calls, log_bytes = Counter(self._queue.calls()), self._log.bytes_of_its_own()
        bodies = self.bodies(passes * len(self._keys))
        began = time.perf_counter()
        self._queue.send(bodies)
        self.wait_until_empty()
        wall = time.perf_counter() - began
        used, report = self._meter.used(), counted(proxy)
        lines = self._log.new_records()
        outcomes = Counter(str(line["outcome"]) for line in lines)
        if set(outcomes) != {"stored"}:
            raise CellFailed(f"not all became thumbnails: {dict(outcomes)}; it wrote: {self._log.tail()}")
        asked = Counter(self._queue.calls()) - calls
        return Repetition(
            records=len(bodies),
            invocations=0,
            wall_seconds=wall,
            cpu_seconds=used.cpu_seconds,
            billed_ms=wall * 1000,
            peak_rss_bytes=used.peak_rss,
            latencies_ms=tuple(round(line["ms"]["total"], 1) for line in lines),
            bytes_in=report["bytes_down"],
            bytes_out=report["bytes_up"],
            outcomes=dict(outcomes),
            requests=requests_of(report, len(bodies)) | {"sqs": 1 + worker_calls(asked) / len(bodies)},
            stages_ms=stages(lines),
            oom_kills=used.kills,
            log_bytes=self._log.bytes_of_its_own() - log_bytes,
        )

    def wait_until_empty(self) -> None:
        left, changed = math.inf, time.monotonic()
        while (now_left := self._queue.left()) > 0:
            if now_left < left:
                left, changed = now_left, time.monotonic()
            if self._process.poll() is not None:
                killed = f", killed for want of memory within {self._key.memory_mb} MB" if self._meter.killed() else ""
                raise CellFailed(f"the worker has ended ({self._process.returncode}{killed}): {self._log.tail()}")
            if time.monotonic() - changed > PATIENCE:
                assert_s3_is_there(self._bed)
                raise CellFailed(f"{left} messages stay in the queue; the worker wrote: {self._log.tail()}")
            time.sleep(POLL)

    def close(self) -> None:
        self._stack.close()


def worker_environment(key: CellKey, bed: Bed, queue: SqsServer, scratch: Path) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "AWS_ENDPOINT_URL_SQS": queue.endpoint,
        "THUMBNAILER_QUEUE_URL": queue.queue_url,
        "THUMBNAILER_MEMORY_MB": str(key.memory_mb),
        "THUMBNAILER_PORT": "0",
        "TMPDIR": str(scratch),
        **bed.environment(key.latency),
        **settings_of(key),
    }


def worker_calls(asked: Mapping[str, int]) -> int:
    """Of the queue's operations those that the worker asks for."""
    return sum(count for name, count in asked.items() if name not in ("SendMessageBatch", "GetQueueAttributes"))
