"""The probe reads the same from a header as the decoders, and as the manifest of the corpus states."""

from __future__ import annotations

import re
import struct
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from io import BytesIO
from typing import Any, Final

import pytest
from PIL import Image

from tests.bombs import heif
from tests.support.corpus import Row, needs_corpus, rows
from thumbnailer.engine import installed_engines, load_engine
from thumbnailer.engine.pillow_formats import LOADERS as PILLOW_LOADERS
from thumbnailer.engine.vips_formats import LOADERS
from thumbnailer.errors import NeedMoreBytes, NotAnImage, Rejected
from thumbnailer.formats import probe
from thumbnailer.model import EngineName, Format, ImageInfo

Fields = dict[str, Any]

DIFFERENCES: Final = {
    ("libavif-apple_gainmap_new.jpg", "Pillow"): {"frames": "counts the gain map"},
    ("pillow-iss634.apng", "libvips"): {"frames": "reads no animated PNG"},
    ("pillow-dispose_op_previous_first.png", "libvips"): {"frames": "reads no animated PNG"},
    ("imagor-dancing-banana.gif", "libvips"): {"bit_depth": "reports the bits of a palette index"},
    ("pillow-dispose_prev.gif", "libvips"): {"bit_depth": "reports the bits of a palette index"},
    ("pillow-g4_orientation_6.tif", "Pillow"): {"size": "reports the upright size"},
    ("pillow-rgb16-565.bmp", "Pillow"): {"bit_depth": "reports the bits of a pixel"},
    ("pillow_heif-zPug_3.heic", "Pillow"): {"frames": "counts separate pictures as frames"},
    ("pillow_heif-zPug_3.heic", "libvips"): {"frames": "counts separate pictures as frames"},
    ("pillow-rot1mir0.avif", "Pillow"): {
        "size": "reports the size before rotation",
        "orientation": "reports the rotation",
    },
    ("libavif-abc_color_irot_alpha_irot.avif", "Pillow"): {"size": "as above", "orientation": "as above"},
    ("pillow-star.avifs", "libvips"): {"frames": "reads the still picture of an animation"},
}
"""Fields that a decoder defines differently."""
CANNOT_READ: Final = {("sharp-cielab-dagams.tiff", "Pillow")}


def probed(info: ImageInfo) -> Fields:
    return {
        "size": (info.width, info.height),
        "orientation": info.orientation,
        "progressive": info.progressive,
        "has_alpha": info.has_alpha,
        "frames": info.frames,
        "bit_depth": info.bit_depth,
        "icc": info.icc,
    }


def by_pillow(data: bytes, format_: Format) -> Fields:
    if format_ is Format.HEIC:
        import pillow_heif

        pillow_heif.register_heif_opener(thumbnails=False)
    image = Image.open(BytesIO(data), formats=[PILLOW_LOADERS[format_].name])
    fields = _from_tile(image, format_)  # decoding the pixels removes the tile
    return fields | {
        "size": image.size,
        "orientation": image.getexif().get(0x0112, 1),
        "has_alpha": image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info,
        "frames": getattr(image, "n_frames", 1),
        "icc": bool(image.info.get("icc_profile")),
    }


def _from_tile(image: Any, format_: Format) -> Fields:
    """Depth and interlacing, from the arguments that Pillow passes to its decoders."""
    arguments = image.tile[0][3] if image.tile else ""
    match format_:
        case Format.GIF:
            return {"progressive": bool(arguments[1])}
        case Format.TIFF:
            return {"bit_depth": max(image.tag_v2.get(258, (1,)))}
        case Format.HEIC:
            return {"bit_depth": image.info["bit_depth"]}
        case Format.AVIF | Format.ICO | Format.WEBP:
            return {}
    raw_mode = arguments if isinstance(arguments, str) else arguments[0]
    said = re.search(r";(\d+)", raw_mode)
    depth = int(said[1]) if said else 1 if image.mode == "1" else 8
    interlaced = image.info.get("progressive") or image.info.get("interlace")
    return {"bit_depth": depth, "progressive": bool(interlaced)}


def by_libvips(data: bytes, format_: Format) -> Fields:
    import pyvips

    loader = LOADERS[Format.AVIF if format_ is Format.HEIC else format_].operation
    image = getattr(pyvips.Image, f"{loader}_buffer")(data, access="sequential")

    def field(name: str, default: Any) -> Any:
        return image.get(name) if image.get_typeof(name) else default

    fields = {
        "size": (image.width, image.height),
        "orientation": field("orientation", 1),
        "progressive": bool(field("interlaced", 0)),
        "has_alpha": bool(image.hasalpha()),
        "frames": field("n-pages", 1),
        "icc": bool(image.get_typeof("icc-profile-data")),
    }
    depth = field("bits-per-sample", None)
    return fields | ({"bit_depth": depth} if depth else {})


def by_libjxl(data: bytes, format_: Format) -> Fields:
    import pylibjxl

    said = pylibjxl.probe(data)
    return {
        "size": (said["width"], said["height"]),
        "has_alpha": said["has_alpha"],
        "bit_depth": said["bits_per_sample"],
    }


DECODERS: Final = {
    "Pillow": (by_pillow, installed_engines()[EngineName.PILLOW].reads - {Format.JXL}),
    "libvips": (by_libvips, (installed_engines()[EngineName.VIPS].reads | {Format.HEIC}) - {Format.SVG}),
    "libjxl": (by_libjxl, frozenset({Format.JXL}) if find_spec("pylibjxl") else frozenset()),
}


FORMATS: Final = {"HEIF": Format.HEIC}
SIZE_BEFORE_ROTATION: Final = (Format.TIFF, Format.AVIF)
"""Formats whose size in the MANIFEST is Pillow's: of a TIFF after its orientation tag, of an AVIF before irot."""
HEAD: Final = 64 << 10
TOO_MANY_PIXELS: Final = 178_956_970


@needs_corpus
@pytest.mark.slow
@pytest.mark.parametrize("decoder", DECODERS)
def test_the_probe_agrees_with_the_decoders(decoder: str, subtests: pytest.Subtests) -> None:
    read, formats = DECODERS[decoder]
    load_engine(EngineName.VIPS)  # unblocks its loaders
    compared = set()
    for row in rows():
        if not row.expect.startswith("thumbnail") or (row.file, decoder) in CANNOT_READ:
            continue
        data = row.read()
        info = probe(data, len(data))
        if info.format in formats:
            with subtests.test(row.file):
                compared.add(info.format)
                found, expected = read(data, info.format), probed(info)
                different = {name for name, value in found.items() if value != expected[name]}
                assert different == DIFFERENCES.get((row.file, decoder), {}).keys(), (found, expected)
    assert compared == formats, "the corpus has no picture of a format"


@needs_corpus
@pytest.mark.slow
def test_the_probe_agrees_with_the_manifest(subtests: pytest.Subtests) -> None:
    for row in rows():
        with subtests.test(row.file):
            if row.expect.startswith("thumbnail"):
                assert_as_the_manifest_says(row, probe(row.read(), row.bytes))
            elif row.expect == "reject-not-image":
                with pytest.raises(NotAnImage):
                    probe(row.read()[:HEAD], row.bytes)
            elif row.expect == "reject-too-large":
                with suppress(Rejected):
                    assert probe(row.read()[:HEAD], row.bytes).pixels > TOO_MANY_PIXELS


def assert_as_the_manifest_says(row: Row, info: ImageInfo) -> None:
    assert info.format is (FORMATS.get(row.format) or Format(row.format.lower()))
    size = (info.width, info.height)
    rotated = info.format in SIZE_BEFORE_ROTATION and size == (row.height, row.width)
    assert rotated or size == (row.width, row.height)
    assert info.complete
    assert info.frames == (row.frames or info.frames)
    assert info.orientation == (row.orientation or info.orientation)
    assert info.frames > 1 or row.expect != "thumbnail-animated"


@needs_corpus
@pytest.mark.slow
def test_the_head_of_a_file_agrees_with_the_whole_or_needs_more_bytes(subtests: pytest.Subtests) -> None:
    for row in rows():
        data = row.read()
        with subtests.test(row.file), suppress(NeedMoreBytes):
            head, whole = summary(data[:HEAD], len(data)), summary(data, len(data))
            assert head == whole


def summary(data: bytes, total: int) -> object:
    """Format and size, or the class of the rejection. Raises NeedMoreBytes only if there are more."""
    try:
        info = probe(data, total)
    except NeedMoreBytes:
        assert len(data) < total
        raise
    except Rejected as error:
        return type(error)
    return info.format, info.width, info.height


CROPS = {
    "one row less, as in photos of phones": ((64, 1, 63, 1, 0, 1, -1, 2), ()),
    "around the middle": ((40, 1, 20, 1, 0, 1, 0, 1), ()),
    "off the middle": ((30, 1, 30, 1, -10, 1, 12, 1), ()),
    "at a corner": ((32, 1, 32, 1, -16, 1, -16, 1), ()),
    "then a quarter turn": ((40, 1, 20, 1, 0, 1, 0, 1), (1,)),
    "then a half turn": ((40, 1, 20, 1, 0, 1, 0, 1), (2,)),
    "in fractions": ((80, 2, 60, 3, 0, 1, 0, 1), ()),
}


@pytest.mark.skipif(find_spec("pillow_heif") is None, reason="pillow-heif is not installed")
@pytest.mark.parametrize("how", CROPS)
def test_the_size_of_a_cropped_heic_is_that_of_libheif(how: str) -> None:
    import pillow_heif

    numbers, turns = CROPS[how]
    crop = heif.box(b"clap", struct.pack(">iIiIiIiI", *numbers))
    whole = heif.picture(heif.HEIC, (64, 64))
    turned = tuple(heif.box(b"irot", bytes((turn,))) for turn in turns)
    data = heif.file(heif.HEIC, replace(whole, properties=(*whole.properties, crop, *turned)))
    info = probe(data, len(data))
    assert (info.width, info.height) == pillow_heif.open_heif(data).size
    assert (info.width, info.height) != (64, 64)
