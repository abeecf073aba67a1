"""A sample of the user's pictures, from a folder or from S3: what there is by format and size, and a few that stand
for it.

Only headers are read of most pictures, by ranged GETs; only those that are picked are fetched as a whole. The time of
a picture goes with its pixels, more or less, so that pictures are divided by format and megapixels, and the error of
the sample is reckoned by them.
"""

from __future__ import annotations

import itertools
import math
import os
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final, Protocol

import numpy as np

from bench.cells.pictures import COMPLETE, NoPictures
from thumbnailer.engine import installed_engines
from thumbnailer.errors import (
    BucketMissing,
    NeedMoreBytes,
    ObjectArchived,
    ObjectMissing,
    Rejected,
    StoreDenied,
    StoreError,
    StoreRefused,
    ThumbnailerError,
)
from thumbnailer.formats import probe
from thumbnailer.model import Format
from thumbnailer.store.s3 import BucketElsewhere, CredentialsExpired, error_for

MOST_KEYS: Final = 20_000
"""As many are listed: 20 requests. Of a larger prefix these are the first by name, and the survey says so."""
MOST_HEADERS: Final = 200
"""As many are looked at: what one picture in twenty is, is then missed once in 30,000 surveys."""
HEADER_BYTES: Final = (64 * 1024, 1024 * 1024, 32 * 1024 * 1024)
"""What is asked for first, and again where a header goes on: TIFF may have its own at its end."""
AT_ONCE: Final = 8
CLASSES: Final = (1, 4, 12, 24)
"""Megapixels up to which a class goes; one more is for what is larger."""
SAMPLE: Final = 12
"""Pictures that cells measure: each takes its time in each cell."""
COMMON_SHARE: Final = 0.02
"""What more than this share of the pictures are is in the sample, by one picture at least."""
SECONDS_TO_CONNECT: Final = 5
SECONDS_TO_READ: Final = 30
_NAME_LENGTH: Final = 100


class SourceError(ThumbnailerError):
    """The pictures cannot be listed or read. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Listing:
    """Keys with their sizes; `complete`: there are no others."""

    keys: tuple[tuple[str, int], ...]
    complete: bool


@dataclass(frozen=True, slots=True)
class Header:
    """What a picture's header says."""

    key: str
    size: int
    format: str
    megapixels: float

    @property
    def stratum(self) -> tuple[str, str]:
        return self.format, megapixel_class(self.megapixels)


@dataclass(frozen=True, slots=True)
class Stratum:
    """Pictures of one format and one class of megapixels, among those that were looked at."""

    format: str
    megapixels: str
    count: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Survey:
    """`looked` of `listed` keys were looked at; `complete`: no others are there. `others`: what was no picture, by
    reason."""

    headers: tuple[Header, ...]
    looked: int
    listed: int
    complete: bool
    others: Mapping[str, int]

    @property
    def strata(self) -> tuple[Stratum, ...]:
        """The most frequent first."""
        counts = Counter(header.stratum for header in self.headers)
        sizes: Counter[tuple[str, str]] = Counter()
        for header in self.headers:
            sizes[header.stratum] += header.size
        order = sorted(counts, key=lambda stratum: (-counts[stratum], stratum))
        return tuple(Stratum(*stratum, counts[stratum], sizes[stratum]) for stratum in order)

    @property
    def largest_megapixels(self) -> float:
        return max(header.megapixels for header in self.headers)


def megapixel_class(megapixels: float) -> str:
    """Its name: "<=1", "<=4", "<=12", "<=24" or ">24"."""
    return next((f"<={most}" for most in CLASSES if megapixels <= most), f">{CLASSES[-1]}")


# --- where pictures are -------------------------------------------------------------------------------------------


class Source(Protocol):
    """Pictures by key."""

    def keys(self) -> Listing:
        """At most MOST_KEYS, without what is empty."""
        ...

    def head(self, key: str, count: int) -> bytes:
        """Its first bytes."""
        ...

    def fetch(self, key: str) -> bytes: ...


class FolderSource:
    """The files in a folder and in those below."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __str__(self) -> str:
        return str(self._folder)

    def keys(self) -> Listing:
        if not self._folder.is_dir():
            raise NoPictures(f"{self._folder}: is no folder; expected one, or s3://bucket/prefix")
        found = list(itertools.islice(self._files(), MOST_KEYS + 1))
        return Listing(tuple(sorted(found[:MOST_KEYS])), len(found) <= MOST_KEYS)

    def _files(self) -> Iterator[tuple[str, int]]:
        for path in self._folder.rglob("*"):
            hidden = any(part.startswith(".") for part in path.relative_to(self._folder).parts)
            if path.is_file() and not hidden and path.name != COMPLETE and (size := path.stat().st_size):
                yield path.relative_to(self._folder).as_posix(), size

    def head(self, key: str, count: int) -> bytes:
        with self._read(key) as file:
            return bytes(file.read(count))

    def fetch(self, key: str) -> bytes:
        with self._read(key) as file:
            return bytes(file.read())

    @contextmanager
    def _read(self, key: str) -> Iterator[Any]:
        path = self._folder / key
        try:
            with path.open("rb") as file:
                yield file
        except OSError as error:
            raise SourceError(f"{path}: cannot be read: {error.strerror}") from error


class S3Source:
    """The objects below a prefix, through AWS's own SDK: its credentials, profiles and AWS_ENDPOINT_URL."""

    def __init__(self, url: str) -> None:
        found = re.fullmatch(r"s3://([^/]+)/?(.*)", url)
        if not found:
            raise SourceError(f"{url}: expected s3://bucket or s3://bucket/prefix")
        self._url = url
        self._bucket, self._prefix = found[1], found[2]
        with _told(url):
            self._client = _client(self._bucket)

    def __str__(self) -> str:
        return self._url

    def keys(self) -> Listing:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
        with _told(f"listing {self._url}"):
            objects = (item for page in pages for item in page.get("Contents", ()))
            found = list(itertools.islice(objects, MOST_KEYS + 1))
        keys = ((item["Key"], item["Size"]) for item in found[:MOST_KEYS])
        return Listing(tuple((key, size) for key, size in keys if size), len(found) <= MOST_KEYS)

    def head(self, key: str, count: int) -> bytes:
        return self._get(key, Range=f"bytes=0-{count - 1}")

    def fetch(self, key: str) -> bytes:
        return self._get(key)

    def _get(self, key: str, **more: str) -> bytes:
        with _told(f"s3://{self._bucket}/{key}"):
            answer = self._client.get_object(Bucket=self._bucket, Key=key, **more)
            with answer["Body"] as body:
                return bytes(body.read())


def source_of(images: str) -> Source:
    """What `--images` names: s3://bucket/prefix, or a folder. Raises SourceError."""
    return S3Source(images) if images.startswith("s3://") else FolderSource(Path(images))


def _client(bucket: str) -> Any:
    import boto3
    from botocore.config import Config

    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return boto3.Session().client(
        "s3",
        config=Config(
            s3={"addressing_style": "path" if endpoint or "." in bucket else "auto"},
            connect_timeout=SECONDS_TO_CONNECT,
            read_timeout=SECONDS_TO_READ,
            retries={"total_max_attempts": 3, "mode": "standard"},
            max_pool_connections=AT_ONCE,
        ),
    )


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Raises SourceError, with what to do, for whatever the SDK says; StoreError for what is wrong with one object."""
    from botocore import exceptions

    try:
        yield
    except exceptions.ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        meant = error_for(what, status, error.response.get("Error", {}).get("Code"))
        if isinstance(meant, ObjectMissing | ObjectArchived):
            raise meant from error
        raise SourceError(f"{meant}: {_hint(meant)}") from error
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.ProfileNotFound) as error:
        raise SourceError(f"{what}: {error}: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and its secret") from error
    except (exceptions.ConnectionError, exceptions.HTTPClientError) as error:
        raise SourceError(
            f"{what}: cannot be reached: {error}: look at the network, AWS_REGION, and AWS_ENDPOINT_URL if it is set"
        ) from error
    except (exceptions.BotoCoreError, ValueError) as error:  # ValueError: an endpoint that is no URL
        raise SourceError(f"{what}: {error}") from error


def _hint(error: StoreError) -> str:
    hints: tuple[tuple[type[StoreError], str], ...] = (
        (BucketMissing, "there is no such bucket: look at its name, and at AWS_ENDPOINT_URL if it is set"),
        (StoreDenied, "allow these credentials s3:ListBucket on the bucket and s3:GetObject on its objects"),
        (CredentialsExpired, "get new credentials"),
        (BucketElsewhere, "set AWS_REGION to the bucket's region"),
        (StoreRefused, "look at the credentials, and at this machine's clock"),
    )
    return next((hint for kind, hint in hints if isinstance(error, kind)), "try again later")


# --- what there is ------------------------------------------------------------------------------------------------


def survey(source: Source, seed: int = 1, most: int = MOST_HEADERS) -> Survey:
    """Looks at the headers of some, by chance. Raises NoPictures where none is a picture that is read, SourceError."""
    listing = source.keys()
    if not listing.keys:
        raise NoPictures(f"{source}: is empty; expected pictures there")
    count = min(most, len(listing.keys))
    keys = [listing.keys[place] for place in np.random.default_rng(seed).permutation(len(listing.keys))[:count]]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        looked = list(pool.map(lambda each: _look(source, *each), keys))
    headers = tuple(found for found in looked if isinstance(found, Header))
    others = Counter(found for found in looked if isinstance(found, str))
    if not headers:
        raise NoPictures(_nothing_read(source, keys, others, len(listing.keys)))
    return Survey(headers, len(keys), len(listing.keys), listing.complete, dict(others))


def _look(source: Source, key: str, size: int) -> Header | str:
    """The header; or why there is none."""
    try:
        return _header(source, key, size)
    except Rejected as error:
        return error.reason.value
    except NeedMoreBytes:
        return "its header does not end"
    except ObjectMissing:
        return "deleted meanwhile"
    except ObjectArchived:
        return "in an archive"


def _header(source: Source, key: str, size: int) -> Header | str:
    for count in sorted({min(count, size) for count in HEADER_BYTES}):
        try:
            info = probe(source.head(key, count), size)
        except NeedMoreBytes:
            continue
        if info.format not in _read_formats():
            return f"{info.format} is not read"
        return Header(key, size, info.format, info.pixels / 1e6)
    raise NeedMoreBytes(f"{key}: its header does not end within {HEADER_BYTES[-1]} bytes")


def _read_formats() -> frozenset[Format]:
    """By the engines that are installed. SVG is off unless a setting says otherwise."""
    every: frozenset[Format] = frozenset().union(*(engine.reads for engine in installed_engines().values()))
    return every - {Format.SVG}


def _nothing_read(source: Source, keys: Sequence[tuple[str, int]], others: Mapping[str, int], listed: int) -> str:
    reasons = ", ".join(f"{count} x {reason}" for reason, count in sorted(others.items()))
    names = ", ".join(repr(key) for key, _ in keys[:3])
    return (
        f"{source}: none of the {len(keys)} looked at (of {listed:,}) is a picture that is read: {reasons}; "
        f"e.g. {names}. Name the folder or prefix that has the pictures"
    )


# --- a few that stand for it --------------------------------------------------------------------------------------


def pick(found: Survey, most: int = SAMPLE, seed: int = 1) -> list[str]:
    """Keys of a stratified sample: by the counts, and one at least of what COMMON_SHARE of the pictures are.

    Within a stratum every n-th by megapixels, from a place by chance on: small and large ones are both in it.
    """
    chance = np.random.default_rng(seed)
    members: dict[tuple[str, str], list[Header]] = {}
    for header in sorted(found.headers, key=lambda header: (header.megapixels, header.size, header.key)):
        members.setdefault(header.stratum, []).append(header)
    seats = _seats({stratum: len(headers) for stratum, headers in sorted(members.items())}, most)
    return [header.key for stratum, count in seats.items() for header in _systematic(members[stratum], count, chance)]


def _seats(counts: Mapping[tuple[str, str], int], most: int) -> dict[tuple[str, str], int]:
    """By the largest remainder; those that must be in it have one before. Only what has seats is in it."""
    total = sum(counts.values())
    common = [stratum for stratum, count in counts.items() if count > COMMON_SHARE * total]
    common.sort(key=lambda stratum: -counts[stratum])
    seats = Counter(dict.fromkeys(common[:most], 1))
    quotas = {stratum: count / total * most for stratum, count in counts.items()}
    while seats.total() < min(most, total):
        free = [stratum for stratum in counts if seats[stratum] < counts[stratum]]
        seats[max(free, key=lambda stratum: quotas[stratum] - seats[stratum])] += 1
    return {stratum: seats[stratum] for stratum in counts if seats[stratum]}


def _systematic(headers: Sequence[Header], count: int, chance: np.random.Generator) -> Iterator[Header]:
    step = len(headers) / count
    start = chance.random() * step
    for number in range(count):
        yield headers[min(len(headers) - 1, int(start + number * step))]


def sampling_error(found: Survey, picked: Iterable[str]) -> float:
    """How far the mean of the megapixels may be off, as a share of it: one standard error.

    Three parts: those that were not looked at, what differs within a stratum, and what the sample's mean is off the
    mean of those that were looked at.
    """
    chosen = set(picked)
    sample = [header for header in found.headers if header.key in chosen]
    every = [header.megapixels for header in found.headers]
    mean = statistics.fmean(every)
    offset = statistics.fmean(header.megapixels for header in sample) - mean
    return math.hypot(_unseen(found, every), _within(found, sample), offset) / mean


def _unseen(found: Survey, every: Sequence[float]) -> float:
    """Where all were looked at there is none."""
    left_out = 1 - found.looked / found.listed if found.complete else 1.0
    if left_out <= 0:
        return 0.0
    deviation = statistics.stdev(every) if len(every) > 1 else every[0]
    return deviation * math.sqrt(left_out / len(every))


def _within(found: Survey, sample: Iterable[Header]) -> float:
    picked = Counter(header.stratum for header in sample)
    variance = 0.0
    for stratum, count in picked.items():
        members = [header.megapixels for header in found.headers if header.stratum == stratum]
        share, left_out = len(members) / len(found.headers), 1 - count / len(members)
        variance += share**2 * statistics.pvariance(members) * left_out / count
    return math.sqrt(variance)


def download(source: Source, keys: Iterable[str], folder: Path) -> None:
    """The pictures as files of a folder, numbered: keys may end alike. Raises SourceError."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, key in enumerate(keys):
        name = re.sub(r"[^\w.-]", "_", PurePosixPath(key).name, flags=re.ASCII)[-_NAME_LENGTH:]
        try:
            (folder / f"{number:03}-{name}").write_bytes(source.fetch(key))
        except StoreError as error:
            raise SourceError(f"{error}: it was there a moment ago; try again") from error
