"""A stratified sample of the user's pictures, by format and megapixels, and its sampling error.

The survey reads headers only, by ranged GETs; only the sample is fetched whole. Strata and error use megapixels because
the time of a picture roughly follows its pixels.
"""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np

from bench.cells.pictures import NoPictures
from bench.money.sources import CONNECTIONS, Source, SourceError
from thumbnailer.engine import installed_engines
from thumbnailer.errors import NeedMoreBytes, ObjectArchived, ObjectMissing, Rejected, StoreError
from thumbnailer.formats import probe
from thumbnailer.model import Format

MOST_HEADERS: Final = 200
"""Headers in a survey: a kind that makes up 5 % of the pictures is missed with probability 1/30,000."""
HEADER_BYTES: Final = (64 * 1024, 1024 * 1024, 32 * 1024 * 1024)
"""Bytes of the first read and of the further ones if the header goes on: a TIFF may have it at its end."""
CLASSES: Final = (1, 4, 12, 24)
"""Upper ends of the megapixel classes; one more class is above them."""
SAMPLE: Final = 12
"""Pictures that each cell renders."""
COMMON_SHARE: Final = 0.02
"""Each stratum with more than this share of the pictures has at least one picture in the sample."""
NAME_LENGTH: Final = 100
Kind = tuple[str, str]
"""Format and megapixel class."""


@dataclass(frozen=True, slots=True)
class Header:
    """Format and megapixels from a picture's header."""

    key: str
    size: int
    format: str
    megapixels: float

    @property
    def stratum(self) -> Kind:
        return self.format, megapixel_class(self.megapixels)


@dataclass(frozen=True, slots=True)
class Stratum:
    """The surveyed pictures of one format and megapixel class."""

    format: str
    megapixels: str
    count: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Survey:
    """`looked` of `listed` keys were surveyed; `complete`: there are no others. `others`: unusable files by reason."""

    headers: tuple[Header, ...]
    looked: int
    listed: int
    complete: bool
    others: Mapping[str, int]

    @property
    def strata(self) -> tuple[Stratum, ...]:
        """The strata, the most frequent first."""
        members = _by_stratum(self.headers)
        order = sorted(members, key=lambda stratum: (-len(members[stratum]), stratum))
        return tuple(Stratum(*each, len(members[each]), sum(one.size for one in members[each])) for each in order)

    @property
    def largest_megapixels(self) -> float:
        return max(header.megapixels for header in self.headers)


def megapixel_class(megapixels: float) -> str:
    """Return "<=1", "<=4", "<=12", "<=24" or ">24"."""
    return next((f"<={most}" for most in CLASSES if megapixels <= most), f">{CLASSES[-1]}")


def _by_stratum(headers: Iterable[Header]) -> dict[Kind, list[Header]]:
    members: dict[Kind, list[Header]] = {}
    for header in headers:
        members.setdefault(header.stratum, []).append(header)
    return members


# --- survey -------------------------------------------------------------------------------------------------------


def survey(source: Source, seed: int = 1, most: int = MOST_HEADERS) -> Survey:
    """Read the headers of random pictures. Raises NoPictures if none can be rendered, and SourceError."""
    listing = source.keys()
    if not listing.keys:
        raise NoPictures(f"{source}: is empty; expected pictures there")
    places = np.random.default_rng(seed).permutation(len(listing.keys))[:most]
    keys = [listing.keys[place] for place in places]
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        found = list(pool.map(lambda each: _header_or_reason(source, *each), keys))
    headers = tuple(each for each in found if isinstance(each, Header))
    others = Counter(each for each in found if isinstance(each, str))
    if not headers:
        reasons = ", ".join(f"{count} x {reason}" for reason, count in sorted(others.items()))
        names = ", ".join(repr(key) for key, _ in keys[:3])
        raise NoPictures(
            f"{source}: none of the {len(keys)} surveyed files (of {len(listing.keys):,}) can be rendered: {reasons}; "
            f"e.g. {names}. Name the folder or prefix that has the pictures"
        )
    return Survey(headers, len(keys), len(listing.keys), listing.complete, dict(others))


def _header_or_reason(source: Source, key: str, size: int) -> Header | str:
    try:
        return _header(source, key, size)
    except Rejected as error:
        return error.reason
    except NeedMoreBytes:
        return "its header does not end"
    except ObjectMissing:
        return "deleted during the survey"
    except ObjectArchived:
        return "archived"


def _header(source: Source, key: str, size: int) -> Header | str:
    for count in sorted({min(count, size) for count in HEADER_BYTES}):
        try:
            info = probe(source.read(key, count), size)
        except NeedMoreBytes:
            continue
        if info.format not in _readable_formats():
            return f"{info.format} is not supported"
        return Header(key, size, str(info.format), info.pixels / 1e6)
    raise NeedMoreBytes(f"{key}: its header does not end within {HEADER_BYTES[-1]} bytes")


def _readable_formats() -> frozenset[Format]:
    """The formats of the installed engines, without SVG, which is off by default."""
    every: frozenset[Format] = frozenset().union(*(engine.reads for engine in installed_engines().values()))
    return every - {Format.SVG}


# --- sample -------------------------------------------------------------------------------------------------------


def pick(found: Survey, most: int = SAMPLE, seed: int = 1) -> list[str]:
    """Return keys in proportion to the strata, with at least one of each common stratum.

    Within a stratum, takes every n-th picture by megapixels from a random start, so small and large ones are included.
    """
    chance = np.random.default_rng(seed)
    members = _by_stratum(sorted(found.headers, key=lambda header: (header.megapixels, header.size, header.key)))
    seats = _seats({stratum: len(headers) for stratum, headers in sorted(members.items())}, most)
    return [header.key for stratum, count in seats.items() for header in _systematic(members[stratum], count, chance)]


def _seats(counts: Mapping[Kind, int], most: int) -> dict[Kind, int]:
    """Pictures of each stratum, by the largest remainder after one for each common stratum."""
    total = sum(counts.values())
    common = [stratum for stratum, count in counts.items() if count > COMMON_SHARE * total]
    common.sort(key=lambda stratum: -counts[stratum])
    seats = Counter(dict.fromkeys(common[:most], 1))
    while seats.total() < min(most, total):
        free = [stratum for stratum in counts if seats[stratum] < counts[stratum]]
        seats[max(free, key=lambda stratum: counts[stratum] / total * most - seats[stratum])] += 1
    return {stratum: seats[stratum] for stratum in counts if seats[stratum]}


def _systematic(headers: Sequence[Header], count: int, chance: np.random.Generator) -> Iterator[Header]:
    step = len(headers) / count
    start = chance.random() * step
    for number in range(count):
        yield headers[min(len(headers) - 1, int(start + number * step))]


def sampling_error(found: Survey, picked: Iterable[str]) -> float:
    """Return one standard error of the mean megapixels, as a share of the mean.

    Combines the pictures that were not surveyed, the variance within the strata, and the distance of the sample's mean
    from the survey's mean.
    """
    chosen = set(picked)
    sample = [header for header in found.headers if header.key in chosen]
    every = [header.megapixels for header in found.headers]
    mean = statistics.fmean(every)
    offset = statistics.fmean(header.megapixels for header in sample) - mean
    return math.hypot(_survey_error(found, every), _strata_error(found, sample), offset) / mean


def _survey_error(found: Survey, every: Sequence[float]) -> float:
    left_out = 1 - found.looked / found.listed if found.complete else 1.0
    deviation = statistics.stdev(every) if len(every) > 1 else every[0]
    return deviation * math.sqrt(max(0.0, left_out) / len(every))


def _strata_error(found: Survey, sample: Iterable[Header]) -> float:
    variance, strata = 0.0, _by_stratum(found.headers)
    for stratum, picked in _by_stratum(sample).items():
        members = [header.megapixels for header in strata[stratum]]
        share, left_out = len(members) / len(found.headers), 1 - len(picked) / len(members)
        variance += share**2 * statistics.pvariance(members) * left_out / len(picked)
    return math.sqrt(variance)


def download(source: Source, keys: Iterable[str], folder: Path) -> None:
    """Write the pictures as numbered files, because two keys may end alike. Raises SourceError."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, key in enumerate(keys):
        name = re.sub(r"[^\w.-]", "_", PurePosixPath(key).name, flags=re.ASCII)[-NAME_LENGTH:]
        try:
            (folder / f"{number:03}-{name}").write_bytes(source.read(key))
        except StoreError as error:
            raise SourceError(f"{error}: it changed during the survey; try again") from error
