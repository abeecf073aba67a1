"""The header and the frames of a GIF."""

from __future__ import annotations

import struct

import pytest

from tests.support import facts
from tests.support.gifs import Painted
from tests.support.gifs import gif as gif_of
from tests.support.headers import animated, saved, whole
from thumbnailer.errors import Corrupt
from thumbnailer.formats import probe
from thumbnailer.formats.base import MOST_FRAMES


def test_the_frames_of_a_gif_are_counted() -> None:
    info = whole(animated("GIF", 3))
    assert (info.frames, info.complete) == (3, True)


def test_a_gif_head_is_incomplete_within_its_animation() -> None:
    data = animated("GIF", 3, loop=0)
    part = data[: data.rindex(b",")]
    assert not probe(part, len(data)).complete
    assert not probe(part).complete
    assert whole(part).complete


def test_a_transparent_gif_has_alpha() -> None:
    assert whole(saved("GIF", "P", transparency=0)).has_alpha
    assert not whole(saved("GIF", "P")).has_alpha


def test_a_gif_grows_to_hold_its_first_frame() -> None:
    data = b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0, 0, 0) + b"," + struct.pack("<HHHHB", 0, 10, 65_535, 5, 0x40)
    info = whole(data + b"\2\0;")
    assert (info.width, info.height, info.progressive) == (65_535, 15, True)


@pytest.mark.parametrize(
    "data", [b"GIF89a" + bytes(7) + b";", b"GIF89a\1\0\1\0\0\0\0;", b"GIF88a" + bytes(40), b"GIF89a\1"]
)
def test_a_gif_without_size_or_picture_is_corrupt(data: bytes) -> None:
    with pytest.raises(Corrupt):
        whole(data)


@pytest.mark.matrix(11)
@pytest.mark.parametrize("frames", [3000, 10_000])
def test_no_frames_are_counted_beyond_the_most_that_are_shown(frames: int) -> None:
    one = b"!\xf9\4\0\0\0\0\0," + struct.pack("<HHHHB", 0, 0, 8, 8, 0) + b"\2" + b"\xc8" + bytes(200) + b"\0"
    data = b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0, 0, 0) + one * frames + b";"
    info = whole(data)
    assert (info.frames, info.complete) == (min(frames, MOST_FRAMES + 1), True)


GIF_START = b"GIF89a" + struct.pack("<HHBBB", 100, 100, 0, 0, 0)


def gif_frame(width: int, height: int, left: int = 0) -> bytes:
    return b"," + struct.pack("<HHHHB", left, 0, width, height, 0) + b"\2\0"


def test_a_frame_far_beyond_the_canvas_of_a_gif_is_corrupt() -> None:
    assert whole(GIF_START + gif_frame(100, 100) + gif_frame(110, 100, 20) + b";").frames == 2
    with pytest.raises(Corrupt, match="frame"):
        whole(GIF_START + gif_frame(100, 100) + gif_frame(8000, 8000) + b";")


RED, SCREEN = (9, 0, 0), ((0, 0), (40, 30))


PART, SMALLER = ((8, 6), (12, 10)), ((9, 7), (3, 3))


ODD = {
    "one frame of the whole screen": ([Painted(RED, *SCREEN)], False, False),
    "one frame of a part": ([Painted(RED, *PART)], True, True),
    "one of a part that says what else is": ([Painted(RED, *PART, transparent=True)], False, True),
    "frames on one another": ([Painted(RED, *SCREEN), Painted(RED, *PART)], False, False),
    "the last one removed": ([Painted(RED, *SCREEN), Painted(RED, *PART, disposal=2)], False, False),
    "one removed, and another over its place": (
        [Painted(RED, *SCREEN), Painted(RED, *SMALLER, disposal=2), Painted(RED, *PART)],
        False,
        False,
    ),
    "one removed, and another beside its place": (
        [Painted(RED, *SCREEN), Painted(RED, *PART, disposal=2), Painted(RED, *SMALLER)],
        True,
        True,
    ),
    "one removed that had a transparent colour": (
        [Painted(RED, *SCREEN), Painted(RED, *PART, disposal=2, transparent=True), Painted(RED, *SMALLER)],
        False,
        True,
    ),
    "one taken back": (
        [Painted(RED, *SCREEN), Painted(RED, *PART, disposal=3), Painted(RED, *SMALLER, disposal=3)],
        False,
        False,
    ),
    "the first taken back": ([Painted(RED, *SCREEN, disposal=3), Painted(RED, *SMALLER)], True, True),
    "one beyond the screen": ([Painted(RED, *SCREEN), Painted(RED, (30, 20), (12, 12))], True, False),
    "a first one beyond the screen": ([Painted(RED, (0, 0), (44, 33))], False, False),
    "one that stays behind one taken back": (
        [
            Painted(RED, *SCREEN),
            Painted(RED, *PART, disposal=3),
            Painted(RED, *PART, disposal=0),
            Painted(RED, *SMALLER),
        ],
        True,
        False,
    ),
}


@pytest.mark.parametrize("case", ODD)
def test_uncovered_canvas_and_frames_beyond_it_are_found(case: str) -> None:
    frames, odd, alpha = ODD[case]
    info = whole(gif_of((40, 30), *frames))
    assert (facts.gif(info).odd_frames, info.has_alpha) == (odd, alpha)
    assert (info.width, info.height) == ((44, 33) if case == "a first one beyond the screen" else (40, 30))
