"""A systematic sample of the user's pictures, by format and megapixels, and its sampling error.

The survey reads headers only, by ranged GETs; only the sample is fetched whole. The error is that of the megapixels,
because the time of a picture roughly follows its pixels.
"""

import math
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np

from bench.cells.pictures import NoPictures
from bench.money.sources import CONNECTIONS, Source, SourceError
from thumbnailer.engine import installed_engines
from thumbnailer.errors import NeedMoreBytes, ObjectArchived, ObjectMissing, Rejected, StoreError
from thumbnailer.formats import probe
from thumbnailer.model import Format, ImageInfo

MOST_HEADERS: Final = 200
"""Headers in a survey: a kind that makes up 5 % of the pictures is missed with probability 1/30,000."""
HEADER_BYTES: Final = (64 * 1024, 1024 * 1024, 32 * 1024 * 1024)
"""Bytes of the first read and of the further ones if the header goes on: a TIFF may have it at its end."""
CLASSES: Final = (1, 4, 12, 24)
"""Upper ends of the megapixel classes; one more class is above them."""
SAMPLE: Final = 12
"""Pictures that each cell renders."""
NAME_LENGTH: Final = 100


@dataclass(frozen=True, slots=True)
class Header:
    """Format and megapixels from a picture's header."""

    key: str
    size: int
    format: str
    megapixels: float

    @property
    def kind(self) -> tuple[str, str]:
        """Format and megapixel class."""
        return self.format, megapixel_class(self.megapixels)


@dataclass(frozen=True, slots=True)
class Survey:
    """`looked` of `listed` keys were surveyed; `complete`: there are no others. `others`: unusable files by reason."""

    headers: tuple[Header, ...]
    looked: int
    listed: int
    complete: bool
    others: Mapping[str, int]

    @property
    def largest_megapixels(self) -> float:
        return max(header.megapixels for header in self.headers)


def megapixel_class(megapixels: float) -> str:
    """Return "<=1", "<=4", "<=12", "<=24" or ">24"."""
    return next((f"<={most}" for most in CLASSES if megapixels <= most), f">{CLASSES[-1]}")


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
        for count in sorted({min(count, size) for count in HEADER_BYTES}):
            with suppress(NeedMoreBytes):
                return _header(key, size, probe(source.read(key, count), size))
    except Rejected as error:
        return error.reason
    except ObjectMissing:
        return "deleted during the survey"
    except ObjectArchived:
        return "archived"
    return "its header does not end"


def _header(key: str, size: int, info: ImageInfo) -> Header | str:
    if info.format not in _readable_formats():
        return f"{info.format} is not supported"
    return Header(key, size, str(info.format), info.pixels / 1e6)


def _readable_formats() -> frozenset[Format]:
    """The formats of the installed engines, without SVG, which is off by default."""
    every: frozenset[Format] = frozenset().union(*(engine.reads for engine in installed_engines().values()))
    return every - {Format.SVG}


# --- sample -------------------------------------------------------------------------------------------------------


def pick(found: Survey, most: int = SAMPLE, seed: int = 1) -> list[Header]:
    """Return every n-th picture by format and megapixels, from a random start."""
    return _systematic(_in_order(found), most, np.random.default_rng(seed).random())


def _in_order(found: Survey) -> list[Header]:
    return sorted(found.headers, key=lambda header: (header.format, header.megapixels, header.size, header.key))


def _systematic(headers: Sequence[Header], most: int, start: float) -> list[Header]:
    """`start` is the place of the first one, as a share of the distance between two."""
    count = min(most, len(headers))
    return [headers[int((number + start) * len(headers) / count)] for number in range(count)]


def sampling_error(found: Survey, most: int = SAMPLE) -> float:
    """Return one standard error of a sample's mean megapixels, as a share of the survey's mean.

    Combines the pictures that were not surveyed with the deviation of all samples that `pick` could return.
    """
    every = [header.megapixels for header in found.headers]
    mean = statistics.fmean(every)
    left_out = 1 - found.looked / found.listed if found.complete else 1.0
    deviation = statistics.stdev(every) if len(every) > 1 else every[0]
    headers = _in_order(found)
    samples = (_systematic(headers, most, (number + 0.5) / len(every)) for number in range(len(every)))
    means = [statistics.fmean(header.megapixels for header in sample) for sample in samples]
    return math.hypot(deviation * math.sqrt(left_out / len(every)), statistics.pstdev(means, mean)) / mean


def download(source: Source, picked: Iterable[Header], folder: Path) -> None:
    """Write the pictures as numbered files, because two keys may end alike. Raises SourceError."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, key in enumerate(header.key for header in picked):
        name = re.sub(r"[^\w.-]", "_", PurePosixPath(key).name, flags=re.ASCII)[-NAME_LENGTH:]
        try:
            (folder / f"{number:03}-{name}").write_bytes(source.read(key))
        except StoreError as error:
            raise SourceError(f"{error}: it changed during the survey; try again") from error
