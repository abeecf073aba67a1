"""The worker as it drains a queue: images a second, how busy its cores are, how much memory it comes to take.

S3 is rclone's behind the latency proxy; the queue is `bench.rig.sqs`. All three run as their own processes on
the cores that the worker does not use, if there are any.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.cells.pictures import pictures_in
from bench.rig.network import PRESETS, latency_proxy
from bench.rig.processes import ROOT
from bench.rig.s3 import S3Server, s3_server
from bench.rig.sqs import SqsServer, sqs_server

SOURCE, DESTINATION = "photos", "photos-resized"
WARM_SHARE: Final = 0.1
"""Of the messages, at the beginning: not counted."""
MOST_UNSENT: Final = 5000
"""Messages in the queue at a time."""
CLOCK_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Drain:
    """What is to be measured. `cores` are those of the worker."""

    messages: int
    pictures: Path
    cores: tuple[int, ...]
    memory_mb: int
    preset: str


@dataclass(frozen=True, slots=True)
class Sample:
    """The worker at one moment: messages done, CPU seconds of user and system, resident and peak MB."""

    done: int
    at: float
    user: float
    system: float
    rss_mb: float
    peak_mb: float


@dataclass(frozen=True, slots=True)
class Drained:
    """How it went, from the end of the warm-up on. `rss_mb`: after each tenth of the messages."""

    images_a_second: float
    user_share: float
    system_share: float
    peak_mb: float
    rss_mb: tuple[float, ...]
    queue_calls: dict[str, int]
    exit_code: int


def drain(wanted: Drain, progress: Callable[[int], None] = lambda _: None) -> Drained:
    others = sorted(os.sched_getaffinity(0) - set(wanted.cores))
    beside_core = others[0] if others else None
    with ExitStack() as stack:
        s3 = stack.enter_context(s3_server(SOURCE, DESTINATION, core=beside_core))
        keys = _uploaded(s3, wanted.pictures)
        proxy = stack.enter_context(latency_proxy(s3.url, PRESETS[wanted.preset], core=beside_core))
        sqs = stack.enter_context(sqs_server(core=beside_core))
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-drain-"))
        env = os.environ | s3.environment(proxy.url) | _worker_env(sqs, wanted.memory_mb, scratch)
        with _worker(env, wanted.cores, Path(scratch) / "log") as process:
            samples = list(_watched(wanted, sqs, keys, process.pid, progress))
            process.send_signal(signal.SIGTERM)
            code = process.wait(60)
        return _summary(samples, len(wanted.cores), sqs.calls(), code)


def _uploaded(s3: S3Server, pictures: Path) -> list[str]:
    """The pictures as objects of the source bucket; they lie in its folder before the worker asks for any."""
    keys = []
    for path in pictures_in(pictures):
        if path.suffix in (".md", ".csv"):
            continue
        (s3.folder / SOURCE / path.name).write_bytes(path.read_bytes())
        keys.append(path.name)
    return keys


def _worker_env(sqs: SqsServer, memory_mb: int, scratch: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL_SQS": sqs.endpoint,
        "THUMBNAILER_QUEUE_URL": sqs.queue_url,
        "THUMBNAILER_MEMORY_MB": str(memory_mb),
        "THUMBNAILER_PORT": "0",
        "THUMBNAILER_LOG_LEVEL": "WARNING",
        "THUMBNAILER_KEY": "{key}",
        "TMPDIR": scratch,
    }


@contextmanager
def _worker(env: dict[str, str], cores: tuple[int, ...], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """On its cores from the first instruction on, so that it counts them as the machine's."""
    start = f"import os; os.sched_setaffinity(0, {set(cores)!r}); from handler.cli import main; main()"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", start, "worker"], cwd=ROOT, env=env, stdout=out, stderr=subprocess.STDOUT
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def _watched(
    wanted: Drain, sqs: SqsServer, keys: list[str], pid: int, progress: Callable[[int], None]
) -> Iterator[Sample]:
    """A sample after each hundredth of the messages, and at the end."""
    sent, due = 0, 0
    while True:
        left = sqs.left()
        done = sent - left
        progress(done)
        if done >= due:
            yield _sample(pid, done)
            due += max(1, wanted.messages // 100)
        if done == wanted.messages:
            return
        if left < MOST_UNSENT and sent < wanted.messages:
            number = min(MOST_UNSENT, wanted.messages - sent)
            sqs.send([_event(keys[n % len(keys)]) for n in range(sent, sent + number)])
            sent += number
        time.sleep(0.1)


def _event(key: str) -> str:
    s3 = {"bucket": {"name": SOURCE}, "object": {"key": key}}
    return json.dumps({"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": s3}]})


def _sample(pid: int, done: int) -> Sample:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    rss, peak = (int(status[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    user, system = int(fields[11]) / CLOCK_TICKS, int(fields[12]) / CLOCK_TICKS
    return Sample(done, time.monotonic(), user, system, rss, peak)


def _summary(samples: list[Sample], cores: int, calls: dict[str, int], code: int) -> Drained:
    last = samples[-1]
    first = next(sample for sample in samples if sample.done >= last.done * WARM_SHARE)
    seconds = last.at - first.at
    tenths = [next(s for s in samples if s.done >= last.done * tenth / 10).rss_mb for tenth in range(1, 11)]
    return Drained(
        images_a_second=(last.done - first.done) / seconds,
        user_share=(last.user - first.user) / seconds / cores,
        system_share=(last.system - first.system) / seconds / cores,
        peak_mb=last.peak_mb,
        rss_mb=tuple(tenths),
        queue_calls=calls,
        exit_code=code,
    )


def run(wanted: Drain) -> None:
    """Prints the table."""
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("messages", total=wanted.messages)
        drained = drain(wanted, lambda done: progress.update(bar, completed=done))
    table = Table("what", "how much", show_edge=False)
    table.add_row("images a second", f"{drained.images_a_second:.1f}")
    table.add_row("of its cores: user, system", f"{drained.user_share:.0%}, {drained.system_share:.0%}")
    table.add_row("peak RSS, MB", f"{drained.peak_mb:.0f}")
    table.add_row("RSS after each tenth, MB", " ".join(f"{rss:.0f}" for rss in drained.rss_mb))
    table.add_row("requests to the queue", ", ".join(f"{name} {n}" for name, n in sorted(drained.queue_calls.items())))
    table.add_row("exit code after SIGTERM", str(drained.exit_code))
    Console().print(f"{wanted.messages} messages, {len(wanted.cores)} cores, {wanted.memory_mb} MB, S3 {wanted.preset}")
    Console().print(table)
