"""A systematic sample of the user's pictures, by format and megapixels, and its sampling error.

The survey reads headers only. The error is that of the megapixels, because the time of a picture roughly follows its
pixels.
"""

import math
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from bench.cells.pictures import NoPictures, pictures_in
from thumbnailer.engine import installed_engines
from thumbnailer.errors import NeedMoreBytes, Rejected
from thumbnailer.formats import probe
from thumbnailer.model import Format

MOST_HEADERS: Final = 200
"""Headers in a survey: a kind that makes up 5 % of the pictures is missed with probability 1/30,000."""
HEADER_BYTES: Final = (64 * 1024, 32 * 1024 * 1024)
"""Bytes of the first read, and of the second one if the header goes on: a TIFF may have it at its end."""
SAMPLE: Final = 12
"""Pictures that each cell renders."""


@dataclass(frozen=True, order=True, slots=True)
class Header:
    """Format and megapixels from a picture's header."""

    format: str
    megapixels: float
    path: Path


@dataclass(frozen=True, slots=True)
class Survey:
    """`looked` of `listed` files were surveyed; `headers` are in order. `others`: names of unusable files by reason."""

    headers: tuple[Header, ...]
    looked: int
    listed: int
    others: Mapping[str, Sequence[str]]


def survey(folder: Path, seed: int = 1, most: int = MOST_HEADERS) -> Survey:
    """Read the headers of random pictures. Raises NoPictures if none can be rendered."""
    paths = pictures_in(folder)
    chosen = random.Random(seed).sample(paths, min(most, len(paths)))  # noqa: S311
    found = {path: _header_or_reason(path) for path in chosen}
    headers = tuple(sorted(each for each in found.values() if isinstance(each, Header)))
    others: dict[str, list[str]] = {}
    for path, each in found.items():
        if isinstance(each, str):
            others.setdefault(each, []).append(path.name)
    if not headers:
        reasons = ", ".join(f"{len(names)} x {reason}" for reason, names in sorted(others.items()))
        raise NoPictures(f"{folder}: none of {len(chosen)} files can be rendered, e.g. {chosen[0].name!r}: {reasons}")
    return Survey(headers, len(chosen), len(paths), others)


def _header_or_reason(path: Path) -> Header | str:
    try:
        for count in HEADER_BYTES:
            with suppress(NeedMoreBytes), path.open("rb") as file:
                info = probe(file.read(count), path.stat().st_size)
                readable = info.format in _readable_formats()
                return Header(info.format, info.pixels / 1e6, path) if readable else f"{info.format} is not supported"
    except Rejected as error:
        return error.reason
    except OSError as error:
        return error.strerror or "cannot be read"
    return "its header does not end"


def _readable_formats() -> frozenset[Format]:
    """The formats of the installed engines, without SVG, which is off by default."""
    return frozenset().union(*(engine.reads for engine in installed_engines().values())) - {Format.SVG}


def pick(found: Survey, most: int = SAMPLE, seed: int = 1) -> list[Header]:
    """Return every n-th picture by format and megapixels, from a random start."""
    (places,) = _places(len(found.headers), most, np.array([np.random.default_rng(seed).random()]))
    return [found.headers[place] for place in places]


def _places(total: int, most: int, starts: np.ndarray) -> np.ndarray:
    """A row for each start, which is a share of the distance between two places."""
    count = min(most, total)
    places: np.ndarray = ((np.arange(count) + starts[:, None]) * total / count).astype(int)
    return places


def sampling_error(found: Survey, most: int = SAMPLE) -> float:
    """Return one standard error of a sample's mean megapixels, as a share of the survey's mean.

    Combines the pictures that were not surveyed with the deviation of all samples that `pick` could return.
    """
    every = np.array([header.megapixels for header in found.headers])
    deviation = every.std(ddof=1) if len(every) > 1 else every[0]
    starts = (np.arange(len(every)) + 0.5) / len(every)
    means = every[_places(len(every), most, starts)].mean(axis=1)
    left_out = (1 - found.looked / found.listed) / len(every)
    square = deviation**2 * left_out + ((means - every.mean()) ** 2).mean()
    return math.sqrt(square) / float(every.mean())
