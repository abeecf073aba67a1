"""Thumbnails have the right colours in sRGB for every profile, bit depth and colour model.

Expected values come from the formulas of the colour spaces (`tests/profiles.py`), or, where a profile is a table, from
a conversion of the whole picture by Little CMS.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import pyvips
from PIL import Image, ImageCms, features

from tests.bombs import png
from tests.support.corpus import CORPUS, needs_corpus
from tests.support.pictures import opened, saved
from tests.support.processing import EVERY_ENGINE, Processed, process, process_by
from tests.support.profiles import (
    ADOBE_RGB,
    GREY_GAMMA,
    P3,
    PROPHOTO,
    Array,
    Space,
    difference,
    encoded,
    grey_profile,
    linear,
    rgb_profile,
    srgb,
)
from thumbnailer.formats import probe
from thumbnailer.formats.png import SRGB_CHROMATICITIES
from thumbnailer.model import EngineName, Status
from thumbnailer.reporting.metrics import observations

pytestmark = pytest.mark.matrix(18)
needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF encoder")

NEAR = 2.3
"""Delta E (CIE 1976) that an eye can just see."""
SPACES = {"P3": P3, "Adobe RGB": ADOBE_RGB, "ProPhoto": PROPHOTO}
PATCHES = np.array(
    [
        *((200, 150, 130), (120, 140, 110), (90, 100, 130), (128, 128, 128)),
        *((230, 220, 200), (40, 40, 45), (150, 120, 140), (120, 130, 90)),
    ],
    np.uint8,
)
GREYS = np.array([0, 30, 70, 110, 150, 190, 225, 255], np.uint8)
ALPHAS = np.array([255, 255, 255, 255, 128, 200, 90, 255], np.uint8)
LOSSLESS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 100, "subsampling": 0},
    "PNG": {},
    "TIFF": {},
    "WEBP": {"lossless": True},
    "AVIF": {"quality": 100, "subsampling": "4:4:4"},
}


def picture(values: Any, mode: str) -> Image.Image:
    """Eight patches of 100 x 100 in two rows."""
    grid = np.asarray(values).reshape(2, 4, -1)
    return Image.fromarray(grid.repeat(100, 0).repeat(100, 1).squeeze(), mode)


def patches(made: Processed) -> Array:
    """The colours of the thumbnail from 0 to 1, with alpha."""
    assert made.outcome.status is Status.STORED, made.outcome.detail
    image = opened(made.thumbnails[0]).convert("RGBA")
    assert image.size == (80, 40)
    return np.asarray(image).astype(float)[10:40:20, 10:80:20].reshape(8, 4) / 255


def made(data: bytes, engine: EngineName, renditions: str = "80x40:png") -> Processed:
    return process_by(engine, data, RENDITIONS=renditions)


def check(data: bytes, engine: EngineName, expected: Array, near: float = NEAR) -> None:
    result = made(data, engine)
    assert not result.outcome.profile_ignored
    found = patches(result)
    wrong = difference(found[:, :3], expected)
    assert wrong.max() <= near, (wrong.round(2), (found * 255).round(), (expected * 255).round())


def in_srgb(space: Space, colours: Any = PATCHES) -> Array:
    expected = srgb(np.asarray(colours) / 255, space)
    assert -0.001 <= expected.min() <= expected.max() <= 1.001, "a patch that sRGB cannot show proves nothing"
    assert difference(expected, np.asarray(colours) / 255).max() > 2 * NEAR, "without the profile it must be wrong"
    return expected


def grey_in_srgb(values: Any, most: int = 255) -> Array:
    expected = encoded(linear(np.asarray(values) / most, GREY_GAMMA))
    return np.repeat(expected[:, None], 3, axis=1)


def deep(values: Any, interpretation: str, profile: bytes | None, saver: str) -> bytes:
    """A picture of 16 bits per channel, which Pillow cannot write."""
    grid = (np.asarray(values).reshape(2, 4, -1).astype(np.uint16) * 257).repeat(100, 0).repeat(100, 1)
    image = pyvips.Image.new_from_array(np.ascontiguousarray(grid)).copy(interpretation=interpretation)
    if profile:
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    return bytes(getattr(image, saver)())


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("kind", LOSSLESS)
def test_a_profile_of_a_wide_colour_space_is_converted(kind: str, space: str, engine: EngineName) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF encoder")
    profile = rgb_profile(SPACES[space])
    data = saved(picture(PATCHES, "RGB"), kind, icc_profile=profile, **LOSSLESS[kind])
    check(data, engine, in_srgb(SPACES[space]))


@pytest.mark.parametrize("saver", ["pngsave_buffer", "tiffsave_buffer"])
@pytest.mark.parametrize("space", [None, *SPACES])
def test_sixteen_bits_become_eight(space: str | None, saver: str, engine: EngineName) -> None:
    profile = rgb_profile(SPACES[space]) if space else None
    expected = in_srgb(SPACES[space]) if space else PATCHES / 255
    check(deep(PATCHES, "rgb16", profile, saver), engine, expected)


@EVERY_ENGINE
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_a_grey_profile_is_converted(kind: str, engine: EngineName) -> None:
    data = saved(picture(GREYS, "L"), kind, icc_profile=grey_profile(), **LOSSLESS[kind])
    check(data, engine, grey_in_srgb(GREYS))


@pytest.mark.parametrize("saver", ["pngsave_buffer", "tiffsave_buffer"])
@pytest.mark.parametrize("profile", [None, grey_profile()], ids=["plain", "profile"])
def test_sixteen_bits_of_grey_become_eight(saver: str, profile: bytes | None, engine: EngineName) -> None:
    expected = grey_in_srgb(GREYS) if profile else np.repeat(GREYS[:, None] / 255, 3, axis=1)
    check(deep(GREYS, "grey16", profile, saver), engine, expected)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("profile", [None, grey_profile()], ids=["plain", "profile"])
def test_grey_with_alpha_keeps_both(bits: int, profile: bytes | None, engine: EngineName) -> None:
    both = np.stack([GREYS, ALPHAS], axis=1)
    if bits == 16:
        data = deep(both, "grey16", profile, "pngsave_buffer")
    else:
        data = saved(picture(both, "LA"), "PNG", **({"icc_profile": profile} if profile else {}))
    found = patches(made(data, engine))
    expected = grey_in_srgb(GREYS) if profile else np.repeat(GREYS[:, None] / 255, 3, axis=1)
    assert difference(found[:, :3], expected).max() <= NEAR
    assert np.abs(found[:, 3] * 255 - ALPHAS).max() <= 1


@pytest.mark.parametrize("profile", [None, rgb_profile(ADOBE_RGB)], ids=["plain", "profile"])
def test_a_palette_keeps_colours_and_transparency(profile: bytes | None, engine: EngineName) -> None:
    image = picture(np.arange(8, dtype=np.uint8), "P")
    image.putpalette(PATCHES.tobytes())
    options = {"icc_profile": profile} if profile else {}
    found = patches(made(saved(image, "PNG", transparency=ALPHAS.tobytes(), **options), engine))
    expected = in_srgb(ADOBE_RGB) if profile else PATCHES / 255
    assert difference(found[:, :3], expected).max() <= NEAR
    assert np.abs(found[:, 3] * 255 - ALPHAS).max() <= 1


def test_one_transparent_colour_of_an_rgb_png_is_transparent(engine: EngineName) -> None:
    key = tuple(int(value) for value in PATCHES[2])
    found = patches(made(saved(picture(PATCHES, "RGB"), "PNG", transparency=key), engine))
    assert [round(alpha) for alpha in found[:, 3]] == [1, 1, 0, 1, 1, 1, 1, 1]
    seen = found[:, 3] > 0
    assert difference(found[seen, :3], PATCHES[seen] / 255).max() <= NEAR


DEEP_GREYS = (257 * GREYS.astype(np.uint16)) + np.array([0, 0, 0, 1, 0, 0, 0, 0], np.uint16)
DEEP_GREYS[2] = DEEP_GREYS[3] - 1


def keyed_png(values: Any, colour: int, key: Any) -> bytes:
    """Patches of 16 bits per sample, with one transparent value."""
    grid = np.asarray(values).reshape(2, 4, -1).repeat(100, 0).repeat(100, 1).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in grid)
    chunks = png.chunk(b"tRNS", np.asarray(key).astype(">u2").tobytes()) + png.chunk(b"IDAT", zlib.compress(rows))
    return png.header(400, 200, 16, colour) + chunks + png.chunk(b"IEND")


def test_one_transparent_grey_of_sixteen_bits_is_transparent(engine: EngineName) -> None:
    found = patches(made(keyed_png(DEEP_GREYS, png.GREY, DEEP_GREYS[2]), engine))
    assert [round(alpha) for alpha in found[:, 3]] == [1, 1, 0, 1, 1, 1, 1, 1]
    seen = found[:, 3] > 0
    assert difference(found[seen, :3], np.repeat(DEEP_GREYS[seen, None] / 65535, 3, axis=1)).max() <= NEAR


def test_libvips_renders_one_transparent_colour_of_sixteen_bits(engine: EngineName) -> None:
    colours = 257 * PATCHES.astype(np.uint16)
    colours[3] = colours[2] + np.array([1, 0, 0], np.uint16)
    result = process(keyed_png(colours, png.RGB, colours[2]), ENGINE=engine, RENDITIONS="80x40:png")
    assert result.outcome.engine is EngineName.VIPS
    found = patches(result)
    assert [round(alpha) for alpha in found[:, 3]] == [1, 1, 0, 1, 1, 1, 1, 1]
    seen = found[:, 3] > 0
    assert difference(found[seen, :3], colours[seen] / 65535).max() <= NEAR


def converted(image: Image.Image, profile: bytes) -> Image.Image:
    """The whole picture converted by Little CMS: relative colorimetric, with black point compensation."""
    source = ImageCms.ImageCmsProfile(BytesIO(profile))
    target = ImageCms.createProfile("sRGB")
    intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
    transform = ImageCms.buildTransform(source, target, image.mode, "RGB", intent, flags)
    result = ImageCms.applyTransform(image, transform)
    assert result is not None
    return result


def press_profile() -> bytes:
    return bytes(pyvips.Operation.call("profile_load", "cmyk"))


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
@pytest.mark.parametrize("embedded", [True, False])
def test_cmyk_is_converted_by_its_profile_or_a_default_one(kind: str, embedded: bool, engine: EngineName) -> None:
    inks = [(0, 0, 0, 0), (0, 0, 0, 255), (255, 0, 0, 0), (0, 255, 0, 0), (0, 0, 255, 0), (90, 60, 30, 20)]
    image = picture(np.array([*inks, (20, 120, 90, 40), (130, 30, 140, 10)], np.uint8), "CMYK")
    options = {"icc_profile": press_profile()} if embedded else {}
    data = saved(image, kind, **options, **LOSSLESS[kind])
    expected = np.asarray(converted(image, press_profile())).astype(float)[50::100, 50::100].reshape(8, 3) / 255
    check(data, engine, expected, near=2 * NEAR)


HLG = 18
HIGHLIGHT = (-1, -1, -1)
"""A colour with a channel beyond graphics' white: Chromium dims all three channels alike, a profile each by itself."""
CHROMIUM: dict[tuple[int, int], tuple[tuple[int, int, int], ...]] = {
    (9, 13): ((226, 142, 126), (107, 142, 106), (79, 101, 133), (128, 128, 128), (238, 219, 197), (40, 40, 46)),
    (11, 13): ((207, 148, 126), (117, 141, 107), (88, 100, 133), (128, 128, 128), (232, 220, 198), (40, 40, 45)),
    (12, 13): ((209, 147, 126), (115, 141, 107), (88, 100, 133), (128, 128, 128), (232, 220, 198), (40, 40, 45)),
    (4, 13): ((220, 147, 126), (111, 139, 108), (81, 103, 132), (128, 128, 128), (236, 218, 198), (40, 40, 45)),
    (1, 1): ((197, 144, 123), (113, 134, 102), (81, 91, 123), (121, 121, 121), (229, 218, 197), (28, 28, 33)),
    (1, 7): ((206, 161, 143), (134, 152, 125), (106, 115, 143), (141, 141, 141), (233, 224, 206), (58, 58, 63)),
    (1, 8): ((229, 202, 189), (183, 196, 176), (160, 168, 189), (188, 188, 188), (244, 239, 229), (110, 110, 117)),
    (9, 16): (HIGHLIGHT, (66, 169, 82), (35, 77, 142), (132, 132, 132), HIGHLIGHT, (9, 9, 13)),
    (9, 18): (HIGHLIGHT, (84, 112, 84), (59, 75, 99), (99, 99, 99), HIGHLIGHT, (21, 21, 26)),
    (2, 2): tuple((int(red), int(green), int(blue)) for red, green, blue in PATCHES[:6]),
}
"""By numbers of primaries and curve: the first six patches of a PNG with cICP on a canvas of Chromium 156."""
LINEAR_P3 = Space(P3.matrix, 1.0)
P3_POINTS = struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)


def numbered_png(*chunks: bytes, mode: str = "RGB", values: Any = PATCHES) -> bytes:
    data = saved(picture(values if mode == "RGB" else GREYS, mode), "PNG")
    return data[:33] + b"".join(chunks) + data[33:]


def gamma(value: int) -> bytes:
    return png.chunk(b"gAMA", struct.pack(">I", value))


def numbered(kind: str, primaries: int, curve: int, mode: str = "RGB") -> bytes:
    """AVIF or HEIC with `nclx` in place of a profile."""
    image = picture(PATCHES if mode == "RGB" else GREYS, mode)
    if kind == "HEIC":
        pillow_heif = pytest.importorskip("pillow_heif")
        out = BytesIO()
        pillow_heif.from_pillow(image).save(out, quality=-1, chroma="444")
        data = out.getvalue()
    else:
        data = saved(image, "AVIF", **LOSSLESS["AVIF"])
    colr = re.compile(rb"colrnclx....", re.DOTALL)
    assert colr.search(data)
    return colr.sub(b"colrnclx" + struct.pack(">HH", primaries, curve), data)


def check_chromium(data: bytes, engine: EngineName, numbers: tuple[int, int], near: float = NEAR) -> None:
    result = made(data, engine)
    assert not result.outcome.profile_ignored
    expected = np.array(CHROMIUM[numbers])
    found, compared = patches(result)[:6, :3], expected[:, 0] >= 0
    assert difference(found[compared], expected[compared] / 255).max() <= near, (found * 255).round()


@pytest.mark.matrix(56)
@pytest.mark.parametrize("numbers", CHROMIUM)
def test_a_png_with_colours_by_numbers_looks_as_in_chromium(numbers: tuple[int, int], engine: EngineName) -> None:
    near = 2 * NEAR if numbers[1] == HLG else NEAR  # whose system gamma is one of the luminance in Chromium
    check_chromium(numbered_png(png.chunk(b"cICP", bytes([*numbers, 0, 1]))), engine, numbers, near)


@pytest.mark.matrix(56)
@pytest.mark.parametrize(
    ("curve", "expected"),
    [(16, [0, 4, 36, 94, 193, 253, 255, 255]), (18, [0, 13, 48, 84, 122, 185, 229, 255])],
    ids=["PQ", "HLG"],
)
def test_the_highlights_of_a_png_roll_off_as_in_chromium(curve: int, expected: list[int], engine: EngineName) -> None:
    """Greys, whose channels are dimmed alike."""
    for mode in ("RGB", "L"):
        data = numbered_png(png.chunk(b"cICP", bytes([1, curve, 0, 1])), mode=mode, values=np.stack([GREYS] * 3, 1))
        found = patches(made(data, engine))[:, :3] * 255
        assert np.abs(found - np.array(expected)[:, None]).max() <= 2, found


@pytest.mark.matrix(56)
@needs_avif
@pytest.mark.parametrize("kind", ["AVIF", "HEIC"])
@pytest.mark.parametrize("numbers", [(12, 13), (9, 16), (9, 18), (2, 2)])
def test_an_avif_or_heic_with_colours_by_numbers_looks_as_in_chromium(
    kind: str, numbers: tuple[int, int], engine: EngineName
) -> None:
    check_chromium(numbered(kind, *numbers), engine, numbers, near=3 * NEAR if numbers[1] == HLG else 2 * NEAR)


@pytest.mark.matrix(56)
@needs_avif
@pytest.mark.parametrize("kind", ["AVIF", "HEIC"])
def test_a_grey_hdr_picture_is_converted(kind: str, engine: EngineName) -> None:
    found = patches(made(numbered(kind, 1, 8, "L"), engine))[:, :3]
    assert difference(found, np.repeat(encoded(GREYS[:, None] / 255), 3, axis=1)).max() <= NEAR


@needs_avif
def test_the_curves_of_video_count_as_srgb_in_an_avif() -> None:
    for numbers in ((1, 1), (1, 6), (1, 13), (6, 6)):
        profile = probe(numbered("AVIF", *numbers)).details.profile
        assert (profile == b"") == (numbers[0] == 1), numbers
    assert probe(numbered("AVIF", 6, 6)).details.profile == probe(numbered("AVIF", 6, 13)).details.profile
    assert probe(numbered("AVIF", 9, 1)).details.profile != probe(numbered("AVIF", 9, 13)).details.profile
    for unspecified, meant in (((12, 2), (12, 13)), ((2, 16), (1, 16)), ((9, 2), (9, 13))):
        assert probe(numbered("AVIF", *unspecified)).details.profile == probe(numbered("AVIF", *meant)).details.profile


@pytest.mark.matrix(56)
def test_the_gamma_and_primaries_of_a_png_are_applied(engine: EngineName) -> None:
    check(numbered_png(gamma(100_000)), engine, encoded(PATCHES / 255))
    check(numbered_png(gamma(100_000), png.chunk(b"cHRM", P3_POINTS)), engine, srgb(PATCHES / 255, LINEAR_P3))
    found = patches(made(numbered_png(gamma(55_556), mode="L"), engine))[:, :3]
    assert difference(found, np.repeat(encoded((GREYS[:, None] / 255) ** 1.8), 3, axis=1)).max() <= NEAR


@pytest.mark.parametrize(
    "chunks",
    [
        (gamma(45_455), png.chunk(b"cHRM", struct.pack(">8I", *SRGB_CHROMATICITIES))),
        (gamma(47_000),),  # near enough
        (gamma(0),),
        (gamma(1),),
        (png.chunk(b"sRGB", b"\0"), gamma(100_000)),
        (gamma(100_000), png.chunk(b"cHRM", bytes(32))),
        (png.chunk(b"cHRM", P3_POINTS),),
        (png.chunk(b"cICP", bytes([9, 16, 9, 1])),),  # YCbCr does not exist in PNG
        (png.chunk(b"cICP", bytes([1, 13, 0, 1])), gamma(100_000)),
    ],
)
def test_numbers_that_change_nothing_cost_nothing(chunks: tuple[bytes, ...]) -> None:
    assert probe(numbered_png(*chunks)).details.profile == b""


def test_numbers_of_a_png_come_before_its_profile(engine: EngineName) -> None:
    profile = png.chunk(b"iCCP", b"P3\0\0" + zlib.compress(rgb_profile(P3)))
    check_chromium(numbered_png(png.chunk(b"cICP", bytes([1, 8, 0, 1])), profile), engine, (1, 8))
    check(numbered_png(png.chunk(b"cICP", bytes([1, 13, 0, 1])), profile), engine, PATCHES / 255)
    check(numbered_png(gamma(100_000), profile), engine, in_srgb(P3))


def test_a_deep_png_with_linear_light_keeps_its_shadows(engine: EngineName) -> None:
    """Pillow decodes eight bits of sixteen: too few for linear light."""
    values = (linear(PATCHES / 255, 0) * 65_535).round().astype(int)
    data = keyed_png(values, png.RGB, (1, 2, 3))
    result = process(data[:33] + gamma(100_000) + data[33:], ENGINE=engine, RENDITIONS="80x40:png")
    assert result.outcome.engine is EngineName.VIPS
    assert difference(patches(result)[:, :3], PATCHES / 255).max() <= NEAR


def test_a_small_png_with_a_gamma_is_not_its_own_thumbnail() -> None:
    data = numbered_png(gamma(100_000))
    thumbnail = opened(process(data, RENDITIONS="400x200").thumbnails[0]).convert("RGB")
    assert difference(np.asarray(thumbnail)[50, 50] / 255, encoded(PATCHES[0] / 255)).max() <= NEAR


CORPUS_FILES = (
    "sharp-Channel_digital_image_CMYK_color.jpg",  # YCCK with a profile
    "sharp-Channel_digital_image_CMYK_color_no_profile.jpg",  # YCCK without a profile
    "thumbor-cmyk-icc.jpg",  # CMYK with a profile
    "pillow-pil_sample_cmyk.jpg",
    "pillow-tiff_strip_cmyk_jpeg.tif",
    "imagor-jpg-24bit-icc-adobe-rgb.jpg",
    "libavif-apple_gainmap_new.jpg",  # P3
    "sharp-concert.jpg",  # grey, gamma 2.2
    "pillow-icc_profile_big.jpg",
)


@needs_corpus
@pytest.mark.slow
def test_a_corpus_file_has_the_colours_of_little_cms(engine: EngineName, subtests: pytest.Subtests) -> None:
    for name in CORPUS_FILES:
        with subtests.test(name):
            data = (CORPUS / name).read_bytes()
            found = opened(made(data, engine, "100x100:png").thumbnails[0]).convert("RGB")
            expected = converted_and_shrunk(data).resize(found.size)
            assert difference(np.asarray(found) / 255, np.asarray(expected) / 255).mean() <= NEAR


def converted_and_shrunk(data: bytes) -> Image.Image:
    with Image.open(BytesIO(data)) as image:
        profile = image.info.get("icc_profile") or (press_profile() if image.mode == "CMYK" else b"")
        whole = converted(image, profile) if profile else image.convert("RGB")
        whole.thumbnail((100, 100), Image.Resampling.LANCZOS)
        return whole.convert("RGB")


@EVERY_ENGINE
@pytest.mark.parametrize("missing", [2, 3])
def test_a_profile_with_a_missing_segment_is_ignored(missing: int, engine: EngineName) -> None:
    """All tags are in the first segment."""
    profile = rgb_profile(P3)
    long = (len(profile) + 140_000).to_bytes(4) + profile[4:] + bytes(140_000)
    data = saved(picture(PATCHES, "RGB"), "JPEG", icc_profile=long, **LOSSLESS["JPEG"])
    check(data, engine, in_srgb(P3))
    at = data.index(b"ICC_PROFILE\0" + bytes([missing])) - 4
    length = int.from_bytes(data[at + 2 : at + 4])
    result = made(data[:at] + data[at + 2 + length :], engine)
    assert result.outcome.profile_ignored
    assert difference(patches(result)[:, :3], PATCHES / 255).max() <= NEAR


VALID = {"RGB": rgb_profile(P3), "L": grey_profile(), "CMYK": press_profile()}
BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "no profile at all": lambda profile: b"no profile at all",
    "empty": lambda profile: bytes(len(profile)),
    "cut within its tags": lambda profile: profile[:150],
    "tags turned over": lambda profile: profile[:130] + bytes(byte ^ 255 for byte in profile[130:]),
    "of another colour space": lambda profile: VALID["L"] if profile != VALID["L"] else VALID["RGB"],
    "no tags": lambda profile: profile[:128] + bytes(4) + profile[132:],
}


@EVERY_ENGINE
@pytest.mark.parametrize("mode", VALID)
@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_a_broken_profile_is_ignored_and_counted(kind: str, how: str, mode: str, engine: EngineName) -> None:
    image = picture(PATCHES, "RGB").convert(mode)
    plain = made(saved(image, kind, **LOSSLESS[kind]), engine)
    broken = made(saved(image, kind, icc_profile=BROKEN[how](VALID[mode]), **LOSSLESS[kind]), engine)
    assert difference(patches(broken)[:, :3], patches(plain)[:, :3]).max() <= 0.5
    assert (plain.outcome.profile_ignored, broken.outcome.profile_ignored) == (False, True)
    assert ("thumbnailer_profiles_ignored", 1) in observations(broken.outcome)
    assert "thumbnailer_profiles_ignored" not in dict(observations(plain.outcome))
