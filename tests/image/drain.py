"""The image's worker on a queue of real photos, under limits: `python -m tests.image.drain`.

Exit code 1 if one is lost. S3 and SQS are moto's, which takes milliseconds a request: the rate is a lower bound, and
says more of moto.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated
from uuid import uuid4

import typer
from rich.console import Console
from rich.progress import Progress

from tests.image.container import IMAGE, MEMORY_PEAK, SCRIPT, engine
from tests.tools.quality import SAMPLES
from tests.worker.running import Cloud, event, moto, until

PHOTOS = ("rocket.jpg", "hubble-progressive.jpg", "china.webp", "chelsea.png")


@dataclass(slots=True)
class Worker:
    """A container that runs the worker."""

    name: str

    def log(self) -> str:
        return engine("logs", self.name)

    def peak_mb(self) -> float:
        """The control group's memory, page cache included."""
        script = " || ".join(f"cat {path} 2>/dev/null" for path in MEMORY_PEAK)
        return int(engine("exec", self.name, "sh", "-c", script).split()[0]) / (1 << 20)

    def resident_peak_mb(self) -> float:
        lines = engine("exec", self.name, "sh", "-c", "grep -h VmHWM /proc/[0-9]*/status").splitlines()
        return max(int(line.split()[1]) for line in lines) / 1024

    def stop(self) -> int:
        """Sends SIGTERM and returns the exit code."""
        wait = [SCRIPT, "engine", "wait", self.name]  # a container that has ended is removed, and its code with it
        with subprocess.Popen(wait, stdout=subprocess.PIPE, text=True) as waiting:
            engine("stop", "--time=60", self.name)
            return int(waiting.communicate(timeout=60)[0])

    def kill(self) -> None:
        engine("kill", "--signal=KILL", self.name)


@contextmanager
def worker(aws: Cloud, options: Sequence[str]) -> Iterator[Worker]:
    name = f"thumbnailer-worker-{uuid4().hex[:8]}"
    given = {name: value for name, value in aws.env.items() if name.startswith(("AWS_", "THUMBNAILER_"))}
    variables = [f"--env={name}={value}" for name, value in given.items()]
    command = [SCRIPT, "run", "--detach", "--network=host", f"--name={name}", *options, *variables, IMAGE]
    subprocess.run([*command, "thumbnailer", "worker"], check=True, capture_output=True, timeout=60)
    try:
        yield Worker(name)
    finally:
        subprocess.run([SCRIPT, "engine", "rm", "--force", name], capture_output=True, check=False)


@dataclass(frozen=True, slots=True)
class Drained:
    """The result; `missing` are keys without a thumbnail, `other` thumbnails that differ from equal pictures' ones."""

    seconds: float
    peak_mb: float
    resident_peak_mb: float
    exit_code: int
    missing: int
    other: int
    dead: int


def drain(photos: int, options: Sequence[str], kill: bool = False, told: Callable[[int], None] = print) -> Drained:
    """`kill` sends SIGKILL to the container during the work; another container continues."""
    sources = [(SAMPLES / name).read_bytes() for name in PHOTOS]
    with moto() as url:
        aws = Cloud(url, visibility=20, most_receives=10)
        keys = [f"{number}.jpg" for number in range(photos)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: aws.put(key, sources[int(key[:-4]) % len(sources)]), keys))
        started = time.monotonic()
        with worker(aws, options) as first:
            aws.send([event(key) for key in keys])
            if kill:
                until(lambda: len(aws.keys()) > photos // 2)
                first.kill()
            else:
                ended = _wait_until_empty(aws, first, photos, told, started)
        if kill:
            with worker(aws, options) as second:
                ended = _wait_until_empty(aws, second, photos, told, started)
        found = [aws.thumbnail(key)[0] for key in sorted(aws.keys(), key=lambda key: int(key[:-4]))]
        kinds = {(number % len(sources), data) for number, data in enumerate(found)}
        return Drained(*ended, photos - len(found), len(kinds) - min(photos, len(sources)), aws.depth().dead)


def _wait_until_empty(
    aws: Cloud, running: Worker, photos: int, told: Callable[[int], None], started: float
) -> tuple[float, float, float, int]:
    def empty() -> bool:
        depth = aws.depth()
        told(photos - depth.visible - depth.held)
        return depth.visible == depth.held == 0

    until(empty, seconds=3600)
    seconds = time.monotonic() - started
    return seconds, running.peak_mb(), running.resident_peak_mb(), running.stop()


def main(
    photos: Annotated[int, typer.Option(min=4)] = 5000,
    cpus: Annotated[float, typer.Option(min=0.1)] = 1.0,
    memory: Annotated[str, typer.Option()] = "2g",
    kill: Annotated[bool, typer.Option(help="SIGKILL in mid-work, and another worker after it")] = False,
) -> None:
    """A queue of photos for one container under limits."""
    options = [f"--cpus={cpus:g}", f"--memory={memory}", f"--memory-swap={memory}"]
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("photos", total=photos)
        drained = drain(photos, options, kill, lambda done: progress.update(bar, completed=done))
    print(f"{photos} photos, {' '.join(options)}: {photos / drained.seconds:.1f} a second, {drained}")
    sys.exit(bool(drained.missing or drained.other or drained.dead or drained.exit_code))


if __name__ == "__main__":
    typer.run(main)
