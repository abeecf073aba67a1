"""The reference set of pictures: the repository's photos at several sizes, in the kinds that most uploads have.

Photos that were enlarged are smoother than any camera's; noise on them brings their bytes a pixel near to real ones.
The same libraries make the same bytes: the hash over the set says whether two runs measured the same.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import pyvips
from rich.console import Console
from rich.table import Table

from bench.result import PictureSet
from thumbnailer.errors import ThumbnailerError

SAMPLES: Final = Path(__file__).parents[2] / "handler" / "demo" / "samples"
PHOTOS: Final = ("hubble-progressive.jpg", "rocket.jpg", "chelsea.png", "china.webp")
MEGAPIXELS: Final = (1, 3, 12, 24)
KINDS: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "baseline.jpg": ("jpegsave", {"Q": 88, "optimize_coding": True}),
    "progressive.jpg": ("jpegsave", {"Q": 88, "interlace": True}),
    "rgb.png": ("pngsave", {"compression": 3}),
    "lossy.webp": ("webpsave", {"Q": 80, "effort": 2}),
}
NOISE: Final = 6.0
"""Standard deviation, of 255: a JPEG of 12 MP then has some 3 MB."""
COMPLETE: Final = "complete"
VERSION: Final = 1
"""Of what is made here: another one is another set."""


class NoPictures(ThumbnailerError):
    """There is nothing to measure with."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of the set: its name says its size, its kind and the photo that it shows."""

    megapixels: int
    kind: str
    photo: str

    @property
    def name(self) -> str:
        stem, extension = self.kind.split(".")
        return f"{self.megapixels:02}mp-{stem}-{self.photo.partition('.')[0].partition('-')[0]}.{extension}"


def wanted(quick: bool = False) -> tuple[Picture, ...]:
    """Two photos of each size and kind; quick: one of each kind at 1 and 3 MP, and a JPEG of 12."""
    photos = zip(PHOTOS, (*PHOTOS[1:], PHOTOS[0]), strict=True)
    pairs = itertools.cycle(photos)
    scenes = [(mp, kind, next(pairs)) for mp in MEGAPIXELS for kind in KINDS]
    if quick:
        few = [scene for scene in scenes if scene[0] <= 3 or scene[:2] == (12, "baseline.jpg")]
        return tuple(Picture(mp, kind, first) for mp, kind, (first, _) in few)
    return tuple(Picture(mp, kind, photo) for mp, kind, pair in scenes for photo in pair)


def cache() -> Path:
    """Where sets are kept: XDG_CACHE_HOME, or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "thumbnailer-bench"


def reference_set(quick: bool = False, folder: Path | None = None) -> Path:
    """The folder with the set; made if it is not there, or not complete, or by other libraries."""
    name = "reference-quick" if quick else "reference"
    made_by = f"{VERSION}-vips{pyvips.version(0)}.{pyvips.version(1)}.{pyvips.version(2)}-{version('pyvips')}"
    target = (folder or cache()) / f"{name}-{made_by}"
    if (target / COMPLETE).exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".making-") as scratch:
        making = Path(scratch) / target.name
        making.mkdir()
        _make(wanted(quick), making)
        (making / COMPLETE).touch()
        os.replace(making, target)
    return target


def _make(pictures: Iterable[Picture], folder: Path) -> None:
    by_scene: dict[tuple[int, str], list[Picture]] = {}
    for picture in pictures:
        by_scene.setdefault((picture.megapixels, picture.photo), []).append(picture)
    for (megapixels, photo), same in by_scene.items():
        image = _scene(megapixels, photo)
        for picture in same:
            saver, options = KINDS[picture.kind]
            getattr(image, saver)(str(folder / picture.name), keep="none", **options)


def _scene(megapixels: int, photo: str) -> Any:
    """A photo at that size, 4:3, in sRGB without a profile, with noise on it."""
    width = round(math.sqrt(megapixels * 1e6 * 4 / 3))
    height = round(megapixels * 1e6 / width)
    source = pyvips.Image.thumbnail(
        str(SAMPLES / photo), width, height=height, size="both", crop="centre", output_profile="srgb"
    )
    noise = pyvips.Image.gaussnoise(width, height, sigma=NOISE, seed=1)
    return (source[0:3] + noise).cast("uchar").copy(interpretation="srgb").copy_memory()


def pictures_in(folder: Path) -> list[Path]:
    """The files of a set, or of a folder of one's own, by name. Raises NoPictures."""
    if not folder.is_dir():
        raise NoPictures(f"{folder}: is no folder")
    found = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    pictures = [path for path in found if path.name != COMPLETE and not path.name.startswith(".")]
    if not pictures:
        raise NoPictures(f"{folder}: has no pictures in it")
    return pictures


def described(folder: Path, name: str) -> PictureSet:
    """What a result says of its pictures: all of a folder. Raises NoPictures."""
    return described_files(folder, pictures_in(folder), name)


def described_files(folder: Path, pictures: Sequence[Path], name: str) -> PictureSet:
    """Of some files of a folder; the hash is over names and bytes."""
    digest = hashlib.sha256()
    for path in pictures:
        inner = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{inner}  {path.relative_to(folder).as_posix()}\n".encode())
    total = sum(path.stat().st_size for path in pictures)
    return PictureSet(name, digest.hexdigest(), len(pictures), total)


def run(quick: bool, folder: Path | None) -> None:
    """Prints where the set is, and what is in it."""
    made = reference_set(quick, folder)
    found = described(made, "reference-quick" if quick else "reference")
    table = Table("picture", "sides", "MB", "bits a pixel", show_edge=False)
    for path in pictures_in(made):
        image = pyvips.Image.new_from_file(str(path))
        size, pixels = path.stat().st_size, image.width * image.height
        table.add_row(path.name, f"{image.width} x {image.height}", f"{size / 1e6:.2f}", f"{8 * size / pixels:.1f}")
    console = Console()
    console.print(table)
    console.print(f"{found.count} pictures, {found.bytes / 1e6:.1f} MB, in {made}\nsha256 {found.hash}", soft_wrap=True)
