"""The parts that all cells of a run share: S3 with the pictures, a proxy per distance, the cores, and the events.

S3, proxies, queue, emulator and this process keep to one core; the cells have the others. So support programs take no
time from a cell, and their CPU time does not count as the cell's.
"""

import math
import os
import random
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote_plus

from bench.cells.pictures import Pictures
from bench.rig.enclosures import Enclosure
from bench.rig.limits import NoLimits
from bench.rig.network import PRESETS
from bench.rig.processes import cache
from bench.rig.proxy import Proxy, latency_proxy
from bench.rig.s3 import S3Server, s3_server

BUCKET: Final = "bench"
LAMBDA_CORES: Final = ((3008, 2), (5307, 3), (7076, 4), (8845, 5), (10_240, 6))
"""Cores visible to a function of up to so many MB (measured by others; AWS documents the CPU share only)."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Cores of the cells, and the one of S3 and all other support programs."""

    cells: tuple[int, ...]
    support: int

    def for_cell(self, vcpus: float, visible: int) -> tuple[int, ...]:
        """As many cores as the cell sees on AWS, if there are as many. Raises NoLimits if its share needs more."""
        if vcpus > len(self.cells) + 0.001:
            raise NoLimits(
                f"{vcpus:.2g} vCPUs cannot be given: of this machine's {len(self.cells) + 1} cores one is for S3"
            )
        return self.cells[: max(visible, math.ceil(vcpus))]


def cores() -> Cores:
    """Raises NoLimits on a machine of one core."""
    mine = sorted(os.sched_getaffinity(0))
    if len(mine) < 2:
        raise NoLimits("a cell and S3 need a core each, and there is one here: nothing can be measured")
    return Cores(tuple(mine[:-1]), mine[-1])


def visible_cores(memory_mb: int) -> int:
    """Cores that a Lambda function of that memory sees."""
    return next(count for most, count in LAMBDA_CORES if memory_mb <= most)


@dataclass(slots=True)
class Testbed:
    """`sets` by name. The cells take turns with one bucket, and with the one of its thumbnails.

    `scratch` holds the folders of the cells.
    """

    __test__ = False  # pytest collects classes by their names
    s3: S3Server
    cores: Cores
    sets: Mapping[str, Pictures]
    enclosure: Enclosure
    stack: ExitStack
    scratch: Path
    proxies: dict[str, Proxy] = field(default_factory=dict)

    def proxy(self, latency: str) -> Proxy:
        if latency not in self.proxies:
            proxy = latency_proxy(self.s3.url, PRESETS[latency], seed=1)
            self.proxies[latency] = self.stack.enter_context(proxy)
        return self.proxies[latency]

    def environment(self, latency: str) -> dict[str, str]:
        """Variables that point a cell to its S3."""
        return self.s3.environment(self.proxy(latency).url)

    @property
    def pictures(self) -> Path:
        """The folder of the bucket."""
        return self.s3.folder / BUCKET


@contextmanager
def set_up_testbed(sets: Mapping[str, Pictures], enclosure: Enclosure, copies: int) -> Iterator[Testbed]:
    """The bucket holds `copies` of every picture. Raises NotStarted, NoLimits."""
    found = cores()
    with ExitStack() as stack:
        cache().mkdir(parents=True, exist_ok=True)  # it has room for pictures; /tmp may be memory
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="s3-", dir=cache())))
        for pictures in sets.values():
            _fill(folder / BUCKET, pictures, copies)
        allowed = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {found.support})  # all that this thread starts inherits it
        stack.callback(os.sched_setaffinity, 0, allowed)
        s3 = stack.enter_context(s3_server(BUCKET, f"{BUCKET}-resized", folder=folder))
        # A signal may come between the making of a cell's folder and the order to remove it. This one removes both.
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-cells-")))
        yield Testbed(s3, found, sets, enclosure, stack, scratch)


def _fill(bucket: Path, pictures: Pictures, copies: int) -> None:
    """Copies the pictures once; further copies are links."""
    for path, key in zip(pictures.files, pictures.keys, strict=True):
        first, *others = (bucket / f"{copy:02}" / key for copy in range(copies))
        if not first.exists():  # a picture may be in several sets
            for target in (first, *others):
                target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, first)
            for target in others:
                os.link(first, target)


def keys_of_pass(pictures: Pictures, batch_size: int) -> list[str]:
    """The keys of one pass through the pictures, with enough copies to fill batches, in a fixed random order."""
    copies = copies_needed(len(pictures.files), batch_size)
    keys = [f"{copy:02}/{key}" for copy in range(copies) for key in pictures.keys]
    random.Random(1).shuffle(keys)  # noqa: S311
    return keys


def copies_needed(pictures: int, batch_size: int) -> int:
    """Copies of each picture that fill all batches, if ten are enough for that; otherwise copies that fill one."""
    exact = batch_size // math.gcd(pictures, batch_size)
    return exact if exact <= 10 else math.ceil(batch_size / pictures)


def batches(keys: Sequence[str], batch_size: int) -> list[Sequence[str]]:
    return [keys[start : start + batch_size] for start in range(0, len(keys), batch_size)]


def s3_event(keys: Sequence[str]) -> dict[str, Any]:
    """A notification of these uploads."""
    record = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "us-east-1",
        "eventTime": "2026-01-02T03:04:05.678Z",
        "eventName": "ObjectCreated:Put",
    }
    objects = ({"key": quote_plus(key, safe="/")} for key in keys)
    s3 = {"s3SchemaVersion": "1.0", "bucket": {"name": BUCKET}}
    return {"Records": [record | {"s3": s3 | {"object": one}} for one in objects]}
