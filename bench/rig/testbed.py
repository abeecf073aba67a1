"""What all cells of a run share: S3 with their pictures in it, a proxy for each distance, the cores, the events.

S3, proxies, queue, emulator and this process keep to one core; the cells have the others. So nothing that is not the
cell's takes its time, and nothing that it costs is counted as its own.
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote_plus

from bench.cells.pictures import KINDS, cache, described_files, pictures_in, reference_set
from bench.result import PictureSet
from bench.rig.enclosures import Enclosure
from bench.rig.limits import NoLimits
from bench.rig.network import PRESETS, Running, latency_proxy
from bench.rig.s3 import S3Server, s3_server

LAMBDA_CORES: Final = ((3008, 2), (5307, 3), (7076, 4), (8845, 5), (10_240, 6))
"""Cores that a function of up to so many MB sees (found by others; AWS documents the share alone)."""


@dataclass(frozen=True, slots=True)
class Cores:
    """`beside` is what S3 and all else that is not measured keep to."""

    cells: tuple[int, ...]
    beside: int

    def given(self, vcpus: float, seen: int) -> tuple[int, ...]:
        """A cell's: as many as it sees on AWS, where there are as many. Raises NoLimits where its share is more."""
        if vcpus > len(self.cells) + 0.001:
            raise NoLimits(
                f"{vcpus:.2g} vCPUs cannot be given: of this machine's {len(self.cells) + 1} cores one is for S3"
            )
        return self.cells[: max(seen, math.ceil(vcpus))]


def cores() -> Cores:
    """Raises NoLimits on a machine of one core."""
    mine = sorted(os.sched_getaffinity(0))
    if len(mine) < 2:
        raise NoLimits("a cell and S3 need a core each, and there is one here: nothing can be measured")
    return Cores(tuple(mine[:-1]), mine[-1])


def cores_seen(memory_mb: int) -> int:
    """By a Lambda function of that memory."""
    return next(count for most, count in LAMBDA_CORES if memory_mb <= most)


# --- pictures -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pictures:
    """A set with its name: files of one folder."""

    name: str
    folder: Path
    files: tuple[Path, ...]

    def described(self) -> PictureSet:
        return described_files(self.folder, self.files, self.name)

    @property
    def endings(self) -> frozenset[str]:
        return frozenset(path.suffix.lower() for path in self.files)

    @property
    def keys(self) -> list[str]:
        return [path.relative_to(self.folder).as_posix() for path in self.files]


def reference_sets(quick: bool, folder: Path | None = None) -> dict[str, Pictures]:
    """`photos` are JPEGs, baseline and progressive, ten in a batch's honour; beside them, a set of each kind."""
    made = reference_set(quick, folder)
    files = pictures_in(made)
    of_kind = {kind: tuple(path for path in files if f"-{kind.partition('.')[0]}-" in path.name) for kind in KINDS}
    photos = _photos([path for path in files if path.suffix == ".jpg"])
    sets = {"photos": photos} | {f"{kind.partition('.')[0]}": found for kind, found in of_kind.items()}
    return {name: Pictures(name, made, found) for name, found in sets.items()}


def _photos(jpegs: Sequence[Path]) -> tuple[Path, ...]:
    """One of each size and kind, and a second baseline one of those up to 12 MP, which most uploads are: ten, or five.

    Not the progressive one of 24 MP, which takes more memory than the smallest functions have; it is in its kind's set.
    """
    first: dict[str, Path] = {}
    for path in jpegs:
        first.setdefault(path.name.rpartition("-")[0], path)
    common = [path for path in jpegs if path.name.startswith(("01mp-baseline", "03mp-baseline", "12mp-baseline"))]
    return tuple(sorted({*first.values(), *common} - {first.get("24mp-progressive")} - {None}))


def own_set(folder: Path) -> dict[str, Pictures]:
    """A user's pictures, as the set that all commands measure. Raises NoPictures."""
    return {"photos": Pictures("photos", folder, tuple(pictures_in(folder)))}


# --- the bed ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Bed:
    """`sets` by name. Buckets are `bench-HANDLER` and `bench-HANDLER-resized`, so that no key is of two handlers."""

    s3: S3Server
    cores: Cores
    sets: Mapping[str, Pictures]
    enclosure: Enclosure
    stack: ExitStack
    proxies: dict[str, Running] = field(default_factory=dict)

    def proxy(self, latency: str) -> Running:
        if latency not in self.proxies:
            distance = PRESETS[latency]
            proxy = latency_proxy(self.s3.url, distance, seed=1, core=self.cores.beside)
            self.proxies[latency] = self.stack.enter_context(proxy)
        return self.proxies[latency]

    def environment(self, latency: str) -> dict[str, str]:
        """Variables with which a cell finds its S3."""
        return self.s3.environment(self.proxy(latency).url)

    def thumbnails(self, handler: str) -> Path:
        return self.s3.folder / f"{bucket_of(handler)}-resized"


@contextmanager
def bed(sets: Mapping[str, Pictures], handlers: Iterable[str], enclosure: Enclosure, most_copies: int) -> Iterator[Bed]:
    """With every picture `most_copies` times in each handler's bucket. Raises NotStarted, NoLimits."""
    there = cores()
    with ExitStack() as stack:
        buckets = [bucket_of(handler) for handler in handlers]
        folder = Path(stack.enter_context(_scratch()))
        for bucket in buckets:
            _fill(folder / bucket, sets.values(), most_copies, folder / buckets[0])
        names = [name for bucket in buckets for name in (bucket, f"{bucket}-resized")]
        s3 = stack.enter_context(s3_server(*names, folder=folder, core=there.beside))
        allowed = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {there.beside})
        stack.callback(os.sched_setaffinity, 0, allowed)
        yield Bed(s3, there, sets, enclosure, stack)


@contextmanager
def _scratch() -> Iterator[str]:
    """Beside the reference set, where there is room for pictures; /tmp may be memory."""
    cache().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="s3-", dir=cache()) as folder:
        yield folder


def _fill(bucket: Path, sets: Iterable[Pictures], copies: int, first: Path) -> None:
    """Copies of the first bucket's files are links: no bytes of their own."""
    for pictures in sets:
        for path, key in zip(pictures.files, pictures.keys, strict=True):
            for copy in range(copies):
                target = bucket / f"{copy:02}" / key
                if target.exists():
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                original = first / "00" / key
                if original.exists():
                    os.link(original, target)
                else:
                    shutil.copyfile(path, target)


def bucket_of(handler: str) -> str:
    return f"bench-{handler}"


# --- events -------------------------------------------------------------------------------------------------------


def keys_of_a_pass(pictures: Pictures, batch_size: int) -> list[str]:
    """Each picture as often as it takes to fill batches, under as many keys, in an order of chance that is the same."""
    copies = copies_needed(len(pictures.files), batch_size)
    keys = [f"{copy:02}/{key}" for copy in range(copies) for key in pictures.keys]
    random.Random(1).shuffle(keys)  # noqa: S311
    return keys


def copies_needed(pictures: int, batch_size: int) -> int:
    """So that all batches are full, if ten copies are enough for that; else so that there is one that is."""
    exact = batch_size // math.gcd(pictures, batch_size)
    return exact if exact <= 10 else math.ceil(batch_size / pictures)


def batches(keys: Sequence[str], batch_size: int) -> list[Sequence[str]]:
    return [keys[start : start + batch_size] for start in range(0, len(keys), batch_size)]


def s3_event(bucket: str, keys: Sequence[str]) -> dict[str, Any]:
    """A notification of so many uploads."""
    return {"Records": [_record(bucket, key) for key in keys]}


def message(bucket: str, key: str) -> str:
    """The body of a queue's message about one upload."""
    return json.dumps(s3_event(bucket, [key]))


def _record(bucket: str, key: str) -> dict[str, Any]:
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "us-east-1",
        "eventTime": "2026-01-02T03:04:05.678Z",
        "eventName": "ObjectCreated:Put",
        "s3": {"s3SchemaVersion": "1.0", "bucket": {"name": bucket}, "object": {"key": quote_plus(key, safe="/")}},
    }
