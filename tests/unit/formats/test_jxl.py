"""The header of a JPEG XL."""

from __future__ import annotations

import pytest

from tests.bombs.heif import box
from tests.support import facts, jpeg_xl
from tests.support.headers import bits, whole
from thumbnailer.errors import Corrupt, NeedMoreBytes, UnsupportedFormat
from thumbnailer.formats import probe
from thumbnailer.formats.icc import BT2100_PRIMARIES, LINEAR, P3_PRIMARIES, ColourSpace, pq_light, profile_for
from thumbnailer.model import Format


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        (((1, 1), (4, 5), (1, 3)), (40, 40)),
        (((1, 1), (4, 5), (0, 3), (9, 5)), (80, 40)),
        (((0, 1), (0, 2), (29, 9), (3, 3)), (40, 30)),
        (((0, 1), (3, 2), (99_999, 30), (7, 3)), (200_000, 100_000)),
    ],
)
def test_every_encoding_of_the_size_is_read(fields: tuple[tuple[int, int], ...], size: tuple[int, int]) -> None:
    info = whole(bits(*fields, (1, 1)))
    assert (info.format, info.width, info.height) == (Format.JXL, *size)


def test_the_metadata_is_read() -> None:
    size = ((0, 1), (0, 2), (29, 9), (3, 3))
    # Not all default, extra fields: orientation 6, no intrinsic size, no preview, animation; 10 bits; one alpha.
    animation = ((0, 2), (0, 2), (0, 2), (0, 1))
    fields = (*size, (0, 1), (1, 1), (5, 3), (0, 1), (0, 1), (1, 1), *animation, (0, 1), (1, 2), (1, 1), (1, 2), (1, 1))
    info = whole(bits(*fields))
    assert (info.width, info.height, info.orientation) == (30, 40, 1)
    assert (info.frames, info.bit_depth, info.has_alpha) == (2, 10, True)


def test_a_jpeg_xl_of_too_many_channels_is_rejected() -> None:
    size = ((0, 1), (0, 2), (29, 9), (3, 3))
    # Not all default, no extra fields, 8 bits; then as many plain alpha channels as two bits and four more can say.
    plain = (*size, (0, 1), (0, 1), (0, 1), (0, 2), (1, 1))
    assert whole(bits(*plain, (2, 2), (6, 4), *[(1, 1)] * 8)).has_alpha
    with pytest.raises(UnsupportedFormat, match="9 channels"):
        whole(bits(*plain, (2, 2), (7, 4), *[(1, 1)] * 9))
    with pytest.raises(UnsupportedFormat, match="4096 channels"):
        whole(bits(*plain, (3, 2), (4095, 12)))


AT_ONCE: tuple[jpeg_xl.Field, ...] = ((0, 2), (0, 1), (0, 2), (0, 2), (0, 1), (0, 2))
"""No flags, no YCbCr, not upsampled, one pass, not cropped, in place of what there was."""


@pytest.mark.parametrize(
    ("frame", "channels", "whole_planes", "saved_frames"),
    [
        (((1, 1),), 0, 0, 0),  # all default: VarDCT
        (((0, 1), (0, 2), (0, 1), *AT_ONCE, (1, 1)), 0, 0, 0),
        (((0, 1), (0, 2), (1, 1), *AT_ONCE, (0, 2), (1, 1)), 0, 3, 0),  # modular
        (((0, 1), (0, 2), (1, 1), *AT_ONCE, (0, 2), (0, 1)), 0, 3, 1),  # and another is laid over it
        (((0, 1), (2, 2), (1, 1)), 0, 3, 1),  # something that the picture takes parts from
        (((1, 1),), 1, 1, 0),
        (((1, 1),), 3, 3, 0),
    ],
)
def test_the_coding_of_the_first_frame_is_read(
    frame: tuple[jpeg_xl.Field, ...], channels: int, whole_planes: int, saved_frames: int
) -> None:
    count = ((channels, 2),) if channels < 2 else ((2, 2), (channels - 2, 4))
    plain = ((0, 1), (0, 1), (0, 1), (0, 2), (1, 1), *count, *[(1, 1)] * channels, (0, 1), *jpeg_xl.SRGB)
    info = whole(jpeg_xl.bits(*jpeg_xl.SIZE, *plain, (0, 2), (1, 1)) + jpeg_xl.bits(*frame)[2:] + bytes(8))
    assert (facts.jxl(info).whole_planes, facts.jxl(info).saved_frames, info.details.samples) == (
        whole_planes,
        saved_frames,
        3 + channels,
    )


def test_a_profile_is_made_of_the_stated_colours() -> None:
    def profile(colours: tuple[jpeg_xl.Field, ...], xyb: bool = False) -> bytes:
        return facts.jxl(whole(jpeg_xl.header(colours, xyb) + bytes(8))).profile

    assert profile(jpeg_xl.SRGB) == profile(jpeg_xl.space(1, 13)) == b""
    assert profile(jpeg_xl.space(11, 13)) == profile_for(ColourSpace(primaries=P3_PRIMARIES))
    assert profile(jpeg_xl.space(1, 8)) == profile_for(ColourSpace(curve=LINEAR))
    assert profile(jpeg_xl.space(9, 16)) == profile_for(ColourSpace(primaries=BT2100_PRIMARIES, curve=pq_light))
    icc = ((0, 1), (1, 1), (0, 2))
    assert profile(icc) == b""  # its own
    assert profile(icc, xyb=True) == profile_for(ColourSpace(curve=LINEAR))
    with pytest.raises(Corrupt, match="gamma of 0"):
        profile(((0, 1), (0, 1), (0, 2), (1, 2), (1, 2), (1, 1), (0, 24), (1, 2)))
    nowhere = ((0, 2), (0, 19), (0, 2), (0, 19)) * 3
    with pytest.raises(Corrupt, match="colour"):
        profile(((0, 1), (0, 1), (0, 2), (1, 2), (2, 2), (0, 4), *nowhere, (0, 1), *jpeg_xl.enum(13), (1, 2)))


def test_a_jpeg_xl_codestream_may_be_split_over_boxes() -> None:
    stream = bits((0, 1), (0, 2), (29, 9), (3, 3), (1, 1))
    start = b"\0\0\0\x0cJXL \r\n\x87\n" + box(b"ftyp", b"jxl ", bytes(4), b"jxl ")
    parts = box(b"jxlp", bytes(4), stream[:3]) + box(b"jxlp", b"\x80\0\0\1", stream[3:])
    assert whole(start + parts).width == 40
    with pytest.raises(NeedMoreBytes):
        probe((start + parts)[: len(start) + 15], len(start + parts))
