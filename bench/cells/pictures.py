"""The pictures of a run: the reference set, which is made once and cached, or a folder of the user's own.

The reference set holds the repository's photos at several sizes, in the kinds that most uploads have. Enlarged photos
are smoother than a camera's; added noise brings their bytes per pixel close to real ones. The same libraries make the
same bytes: the hash of the set says whether two runs measured the same pictures.
"""

import hashlib
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import pyvips

from bench.result import PictureSet
from bench.rig.processes import ROOT, cache, made_once
from thumbnailer.errors import ThumbnailerError

SAMPLES: Final = ROOT / "handler" / "demo" / "samples"
PHOTOS: Final = ("hubble-progressive.jpg", "rocket.jpg", "chelsea.png", "china.webp")
MEGAPIXELS: Final = (1, 3, 12, 24)
KINDS: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "baseline.jpg": ("jpegsave", {"Q": 88, "optimize_coding": True}),
    "progressive.jpg": ("jpegsave", {"Q": 88, "interlace": True}),
    "rgb.png": ("pngsave", {"compression": 3}),
    "lossy.webp": ("webpsave", {"Q": 80, "effort": 2}),
}
NOISE: Final = 6.0
"""standard deviation, of 255: a JPEG of 12 MP then has about 3 MB"""
VERSION: Final = 1
"""changes with the pictures that this module makes"""


class NoPictures(ThumbnailerError):
    """The folder does not exist or holds no pictures."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """A named set: files of one folder."""

    name: str
    folder: Path
    files: tuple[Path, ...]

    def description(self) -> PictureSet:
        """Count, bytes, and a hash over names and contents."""
        digest = hashlib.sha256()
        for path, key in zip(self.files, self.keys, strict=True):
            digest.update(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {key}\n".encode())
        total = sum(path.stat().st_size for path in self.files)
        return PictureSet(self.name, digest.hexdigest(), len(self.files), total)

    @property
    def endings(self) -> frozenset[str]:
        return frozenset(path.suffix.lower() for path in self.files)

    @property
    def keys(self) -> list[str]:
        return [path.relative_to(self.folder).as_posix() for path in self.files]


def folder_set(folder: Path, name: str = "photos") -> Pictures:
    """All pictures of a folder. Raises NoPictures."""
    return Pictures(name, folder, tuple(pictures_in(folder)))


def pictures_in(folder: Path) -> list[Path]:
    """The files of a folder with subfolders, by name. Raises NoPictures."""
    if not folder.is_dir():
        raise NoPictures(f"{folder}: is no folder")
    found = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    pictures = [path for path in found if not path.name.startswith(".")]
    if not pictures:
        raise NoPictures(f"{folder}: has no pictures in it")
    return pictures


@dataclass(frozen=True, order=True, slots=True)
class Picture:
    """One picture of the set. Its name gives size, kind and photo."""

    megapixels: int
    photo: str
    kind: str

    @property
    def name(self) -> str:
        stem, extension = self.kind.split(".")
        return f"{self.megapixels:02}mp-{stem}-{self.photo.partition('.')[0].partition('-')[0]}.{extension}"


def reference_pictures(quick: bool = False) -> tuple[Picture, ...]:
    """Two photos of each size and kind. Quick: one of each kind at 1 and 3 MP, and one JPEG of 12 MP."""
    pairs = itertools.cycle(zip(PHOTOS, (*PHOTOS[1:], PHOTOS[0]), strict=True))
    found = [Picture(mp, photo, kind) for mp in MEGAPIXELS for kind in KINDS for photo in next(pairs)]
    if quick:
        return tuple(one for one in found[::2] if one.megapixels <= 3 or one.name.startswith("12mp-baseline"))
    return tuple(found)


def reference_sets(quick: bool, folder: Path | None = None) -> dict[str, Pictures]:
    """One set per kind, one per size and kind ("12mp-baseline"), and `photos`: JPEGs of every size."""
    whole = folder_set(reference_folder(quick, folder))
    files = {"photos": _photos([path for path in whole.files if path.suffix == ".jpg"])}
    for kind in KINDS:
        stem = kind.partition(".")[0]
        files[stem] = [path for path in whole.files if f"-{stem}-" in path.name]
    for path in whole.files:
        files.setdefault(path.name.rpartition("-")[0], []).append(path)
    return {name: Pictures(name, whole.folder, tuple(found)) for name, found in files.items()}


def _photos(jpegs: Sequence[Path]) -> list[Path]:
    """Ten photos (quick: five): one of each size and kind, and a second baseline JPEG of each size up to 12 MP.

    Left out is the progressive JPEG of 24 MP, which needs more memory than the smallest functions have.
    """
    first = {path.name.rpartition("-")[0]: path for path in reversed(jpegs)}
    first.pop("24mp-progressive", None)
    common = [path for path in jpegs if path.name.startswith(("01mp-baseline", "03mp-baseline", "12mp-baseline"))]
    return sorted({*first.values(), *common})


def reference_folder(quick: bool = False, folder: Path | None = None) -> Path:
    """The folder of the set, which is made if it is missing or made by other libraries."""
    name = "reference-quick" if quick else "reference"
    made_by = f"{VERSION}-vips{pyvips.version(0)}.{pyvips.version(1)}.{pyvips.version(2)}-{version('pyvips')}"
    pictures = reference_pictures(quick)
    return made_once((folder or cache()) / f"{name}-{made_by}", lambda target: _make(pictures, target))


def _make(pictures: Iterable[Picture], folder: Path) -> None:
    scene = lru_cache(1)(_scene)
    for picture in sorted(pictures):  # all kinds of a scene follow one another
        saver, options = KINDS[picture.kind]
        image = scene(picture.megapixels, picture.photo)
        getattr(image, saver)(str(folder / picture.name), keep="none", **options)


def _scene(megapixels: int, photo: str) -> Any:
    """A photo at that size, 4:3, in sRGB without a profile, with noise."""
    width = round(math.sqrt(megapixels * 1e6 * 4 / 3))
    height = round(megapixels * 1e6 / width)
    source = pyvips.Image.thumbnail(
        str(SAMPLES / photo), width, height=height, size="both", crop="centre", output_profile="srgb"
    )
    noise = pyvips.Image.gaussnoise(width, height, sigma=NOISE, seed=1)
    return (source[0:3] + noise).cast("uchar").copy(interpretation="srgb").copy_memory()
