from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thumbnailer.formats.base import Head, Piece
from thumbnailer.formats.exif import MAX_CREDIT, ORIENTATION, Ifd0, build_credit, read_ifd0, without_orientation
from thumbnailer.model import Credit

credit = st.binary(max_size=MAX_CREDIT).map(lambda text: text.rstrip(b"\0"))


def block(order: str, *entries: tuple[int, int, int, bytes], tail: bytes = b"") -> bytes:
    """A TIFF structure of (tag, type, count, four bytes) entries and the data behind the directory."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    fields = b"".join(struct.pack(order + "HHI", tag, kind, count) + value for tag, kind, count, value in entries)
    return mark + struct.pack(order + "IH", 8, len(entries)) + fields + bytes(4) + tail


def oriented(order: str, value: int) -> bytes:
    return block(order, (0x0112, 3, 1, struct.pack(order + "HH", value, 0)))


def parse_ifd0(data: bytes) -> Ifd0:
    return read_ifd0(Head(memoryview(data), len(data)), Piece(b"", 0, len(data)))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("value", range(1, 9))
def test_each_orientation_is_read_in_both_byte_orders(order: str, value: int) -> None:
    assert parse_ifd0(oriented(order, value)).orientation == value
    for fill in (b"\0", b"\xff", b"x"):  # browsers take any sixth byte
        assert parse_ifd0(b"Exif\0" + fill + oriented(order, value)).orientation == value


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("value", [0, 9, 65_535])
def test_an_orientation_that_does_not_exist_counts_as_upright(order: str, value: int) -> None:
    assert parse_ifd0(oriented(order, value)).orientation == 1


def test_an_orientation_written_as_a_long_is_read() -> None:
    assert parse_ifd0(block(">", (0x0112, 4, 1, struct.pack(">I", 6)))).orientation == 6


def test_an_orientation_of_another_type_counts_as_upright() -> None:
    assert parse_ifd0(block("<", (0x0112, 2, 1, b"\6\0\0\0"))).orientation == 1


def test_the_first_of_two_orientations_counts() -> None:
    twice = block("<", (0x0112, 3, 1, b"\6\0\0\0"), (0x0112, 3, 1, b"\3\0\0\0"))
    assert parse_ifd0(twice).orientation == 6


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"II",
        b"XX*\0\x08\0\0\0",
        b"II*\0\xff\xff\xff\xff",
        b"II*\0\x08\0\0\0",
        b"II*\0\x08\0\0\0\xff\xff",
        oriented("<", 6)[:-9],
    ],
)
def test_a_broken_block_has_no_fields(broken: bytes) -> None:
    assert parse_ifd0(broken) == Ifd0()


def test_fields_before_the_break_are_kept() -> None:
    cut = block("<", (0x0112, 3, 1, b"\6\0\0\0"), (0x013B, 2, 3, b"me\0\0"))[:-10]
    assert parse_ifd0(cut) == Ifd0(orientation=6)


def test_text_beyond_the_block_is_absent() -> None:
    far = block("<", (0x013B, 2, 100, struct.pack("<I", 26)), (0x8298, 2, 0xFFFFFFFF, struct.pack("<I", 0xFFFFFFF0)))
    assert parse_ifd0(far) == Ifd0()


def test_credit_is_stripped_of_trailing_nuls_and_capped() -> None:
    text = block("<", (0x8298, 2, 300, struct.pack("<I", 26)), tail=b"c" * 300)
    assert parse_ifd0(text).credit.copyright == b"c" * MAX_CREDIT
    assert parse_ifd0(block(">", (0x013B, 2, 4, b"me\0\0"))).credit.artist == b"me"


def as_libvips_writes_it(*others: tuple[int, int, int, bytes]) -> bytes:
    return block("<", (ORIENTATION, 3, 1, b"\1\0\0\0"), *others)


def test_removing_the_orientation_changes_nothing_else() -> None:
    others = ((0x013B, 2, 3, b"me\0\0"), (0x8298, 2, 3, b"us\0\0"))
    picture = b"\xff\xd8 before " + as_libvips_writes_it(*others) + b" values and pixels"
    changed = without_orientation(picture)
    start = picture.index(b"II*\0")
    assert len(changed) == len(picture)
    assert (changed[:start], changed[-18:]) == (picture[:start], picture[-18:])
    assert b"\x12\x01\x03\0" not in changed
    assert parse_ifd0(changed[start:]) == Ifd0(1, Credit(b"me", b"us"))


def test_removing_the_orientation_of_a_png_updates_the_checksum() -> None:
    exif = as_libvips_writes_it((0x013B, 2, 3, b"me\0\0"))
    chunk = b"eXIf" + exif
    whole = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(exif)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + b"rest"
    changed = without_orientation(whole)
    assert len(changed) == len(whole)
    assert changed[-8:-4] == struct.pack(">I", zlib.crc32(changed[12:-8]))
    assert changed.endswith(b"rest")


@pytest.mark.parametrize("picture", [b"", b"\xff\xd8 no EXIF", block("<", (0x013B, 2, 3, b"me\0\0"))])
def test_a_picture_without_orientation_is_unchanged(picture: bytes) -> None:
    assert without_orientation(picture) == picture


def test_no_credit_makes_no_block() -> None:
    assert build_credit(Credit(b"", b"\0\0")) == b""


def test_a_built_block_holds_only_the_given_fields() -> None:
    assert build_credit(Credit(b"", b"me")) == b"Exif\0\0II*\0\x08\0\0\0\x01\0\x98\x82\x02\0\x03\0\0\0me\0\0\0\0\0\0"


def test_pillow_reads_a_built_block() -> None:
    image = pytest.importorskip("PIL.Image")
    exif = image.Exif()
    exif.load(build_credit(Credit(b"An artist", b"(c) someone")))
    assert dict(exif) == {0x013B: "An artist", 0x8298: "(c) someone"}


@given(credit, credit)
def test_a_built_block_is_read_back(artist: bytes, copyright: bytes) -> None:
    assert parse_ifd0(build_credit(Credit(artist, copyright))) == Ifd0(1, Credit(artist, copyright))


@given(
    st.binary(max_size=200), st.sampled_from([b"", b"II*\0", b"MM\0*", b"II*\0\x08\0\0\0", b"Exif\0\0MM\0*\0\0\0\x08"])
)
def test_any_bytes_raise_nothing(tail: bytes, start: bytes) -> None:
    found = parse_ifd0(start + tail)
    assert 1 <= found.orientation <= 8
    assert len(found.credit.artist) <= MAX_CREDIT
