"""The header of a JPEG."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from tests.bombs.jpeg import segment
from tests.support import facts
from tests.support.headers import HEAD, exif, frame, jpeg, whole
from thumbnailer.errors import Corrupt, NeedMoreBytes, TooManyBytes
from thumbnailer.formats import probe


def test_the_first_exif_segment_of_a_jpeg_counts() -> None:
    first, second = (segment(0xE1, exif(orientation)) for orientation in (6, 3))
    assert whole(jpeg(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0"), first, second, frame())).orientation == 6


def test_exif_between_frame_and_scan_is_read() -> None:
    assert whole(jpeg(frame(), segment(0xE1, exif(6)))).orientation == 6


@pytest.mark.parametrize(
    ("marker", "progressive"), [(0xC0, False), (0xC1, False), (0xC2, True), (0xC9, False), (0xCA, True)]
)
def test_progressive_follows_from_the_frame_marker(marker: int, progressive: bool) -> None:
    assert whole(jpeg(frame(marker))).progressive is progressive


def test_twelve_bit_samples_are_read() -> None:
    assert whole(jpeg(frame(0xC1, precision=12))).bit_depth == 12


@pytest.mark.parametrize("junk", [b"\xff" * 40, b"\xff\0", b"\0junk", b"\xff\xd0", b"\xff\1"])
def test_junk_that_libjpeg_skips_between_segments_is_skipped(junk: bytes) -> None:
    assert whole(jpeg(junk, segment(0xFE, b"a comment"), junk, frame())).width == 40


@pytest.mark.parametrize(
    "data",
    [
        jpeg(),
        jpeg(frame(height=0)),
        jpeg(frame(width=0)),
        jpeg(frame(precision=9)),
        jpeg(b"\xff\xd8", frame()),
        jpeg(b"\xff\xd9", frame()),
        jpeg(b"\xff\xe0\0\1", frame()),
        jpeg(b"\xff\x02", frame()),
        jpeg(segment(0xC0, b"\x08\0\1\0\1\3")),
        b"\xff\xd8",
        b"\xff\xd8\xff\xe0\xff\xff",
        jpeg(b"x" * HEAD, frame()),
    ],
)
def test_an_impossible_jpeg_header_is_corrupt(data: bytes) -> None:
    with pytest.raises(Corrupt):
        whole(data)


@pytest.mark.matrix(10)
def test_up_to_sixteen_megabytes_before_the_frame_are_stepped_over() -> None:
    padding = segment(0xE2, bytes(65_533))
    with pytest.raises(NeedMoreBytes):
        probe(jpeg(padding * 250)[:HEAD], 50 << 20)
    assert whole(jpeg(padding * 250, frame())).width == 40
    with pytest.raises(TooManyBytes, match="16 MB"):
        whole(jpeg(padding * 260, frame()))


def test_the_scans_of_a_jpeg_are_counted() -> None:
    picture = Image.linear_gradient("L").convert("RGB")
    plain, progressive = (io.BytesIO() for _ in range(2))
    picture.save(plain, "JPEG")
    picture.save(progressive, "JPEG", progressive=True)
    assert facts.jpeg(whole(plain.getvalue())).scans == 1
    assert facts.jpeg(whole(progressive.getvalue())).scans == progressive.getvalue().count(b"\xff\xda") == 10


SCAN, HUFFMAN_TABLE, END = b"\xff\xda\0\2", b"\xff\xc4\0\4\xff\xda", b"\xff\xd9"


@pytest.mark.matrix(9)
@pytest.mark.parametrize(
    ("behind_frame", "scans"),
    [
        (SCAN * 3 + END + SCAN * 500, 3),  # a motion photo's video
        (SCAN + HUFFMAN_TABLE * 500 + SCAN + END, 2),
        (SCAN + b"\xff\0\xff\xd0\xff" + SCAN + b"\xff\xe0", 2),
        (SCAN + b"\xff\xe0\0\0" + SCAN, 2),
    ],
)
def test_scans_are_counted_up_to_the_end_of_the_picture(behind_frame: bytes, scans: int) -> None:
    assert facts.jpeg(whole(jpeg(frame(0xC2))[:-2] + behind_frame)).scans == scans


def test_no_more_than_a_hundred_scans_are_taken() -> None:
    with pytest.raises(Corrupt, match="100 scans"):
        whole(jpeg(frame(0xC2))[:-2] + SCAN * 101 + END)


def test_a_jpeg_of_too_many_segments_is_corrupt() -> None:
    assert whole(jpeg(segment(0xE1, b"Exif\0\0") * 250, frame())).width == 40
    with pytest.raises(Corrupt, match="segments"):
        whole(jpeg(segment(0xE1, b"Exif\0\0") * 500, frame()))
