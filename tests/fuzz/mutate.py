"""Files broken on purpose. All random choices come from `dice`, so equal dice break files alike."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from random import Random
from typing import Final

from tests.fuzz.parts import Part, join, packed, split, unpacked
from tests.fuzz.sources import KINDS, OTHER, Source, by_kind

HEADER: Final = 512
MOST_BYTES: Final = 2 << 20
MOST_BLOCK: Final = 4096
BYTES: Final = (0x00, 0x01, 0x7F, 0x80, 0xFE, 0xFF)
EXTREMES: Final = {
    "H": (0, 1, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF),
    "I": (0, 1, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 0x40000000, 0x20000001),
}
Change = Callable[[Random, bytearray, int, bytes], None]
"""Takes dice, the bytes to change, the offset, and another file of the same kind."""


def broken_file(seed: int, number: int) -> tuple[Source, bytes]:
    """The input of that number in the run of that seed, and its source."""
    dice = _dice(seed, number)
    source = _picked(dice)
    return source, mutated(dice, source)


def source_of(seed: int, number: int) -> Source:
    """The source of that input."""
    return _picked(_dice(seed, number))


def _dice(seed: int, number: int) -> Random:
    return Random(f"{seed}:{number}")


def _picked(dice: Random) -> Source:
    """The smaller of two sources: changes of small files hit more, at less cost."""
    files = by_kind()[dice.choice(_wheel())]
    return files[min(dice.randrange(len(files)), dice.randrange(len(files)))]


@cache
def _wheel() -> tuple[str, ...]:
    """Every format has the same probability, however many files it has."""
    return tuple(kind for kind in (*KINDS * 3, OTHER) if by_kind()[kind])


def mutated(dice: Random, source: Source) -> bytes:
    """Makes one to eight changes of bytes, or of parts with corrected lengths and checksums."""
    other = dice.choice(by_kind()[source.kind])
    data, times = source.data, dice.choice((1, 1, 1, 2, 3, 8))
    parts = split(source.kind, data)
    if len(parts) > 1 and dice.randrange(2):
        strangers = split(source.kind, other.data)
        for _ in range(times):
            parts = _other_parts(dice, parts, strangers)
        return join(source.kind, parts)[:MOST_BYTES]
    for _ in range(times):
        data = other_bytes(dice, data, other.data, hot_spots(source))
    if source.kind == "png" and dice.randrange(8):
        data = join("png", split("png", data))
    return data[:MOST_BYTES]


def hot_spots(source: Source) -> tuple[int, ...]:
    """Offsets of headers: the start and, for a TIFF, its first directory."""
    if source.kind != "tiff" or len(source.data) < 16:
        return (0,)
    order = "<" if source.data[:2] == b"II" else ">"
    big = source.data[2:4] in (b"+\0", b"\0+")
    (directory,) = struct.unpack_from(order + ("Q" if big else "I"), source.data, 8 if big else 4)
    return (0, directory if directory < len(source.data) else 0)


# --- bytes --------------------------------------------------------------------------------------------------------


def other_bytes(dice: Random, data: bytes, other: bytes, hot: Sequence[int] = (0,)) -> bytes:
    """Makes one change, half of the time within a header."""
    if not data:
        return data
    changed = bytearray(data)
    start = dice.choice(hot) if dice.randrange(2) else None
    at = dice.randrange(len(data)) if start is None else min(start + dice.randrange(HEADER), len(data) - 1)
    dice.choice(CHANGES)(dice, changed, at, other)
    return bytes(changed)


def _flip(dice: Random, data: bytearray, at: int, _: bytes) -> None:
    data[at] ^= 1 << dice.randrange(8)


def _set_byte(dice: Random, data: bytearray, at: int, _: bytes) -> None:
    data[at] = dice.choice((*BYTES, dice.randrange(256)))


def _set_number(dice: Random, data: bytearray, at: int, _: bytes) -> None:
    code = dice.choice("HI")
    number = struct.pack(dice.choice("<>") + code, dice.choice(EXTREMES[code]))
    data[at : at + len(number)] = number


def _cut(_: Random, data: bytearray, at: int, __: bytes) -> None:
    del data[at:]


def _remove(dice: Random, data: bytearray, at: int, _: bytes) -> None:
    del data[at : at + _block(dice)]


def _double(dice: Random, data: bytearray, at: int, _: bytes) -> None:
    block = data[at : at + _block(dice)]
    data[at:at] = block * dice.choice((1, 1, 2, 16))


def _move(dice: Random, data: bytearray, at: int, _: bytes) -> None:
    size = _block(dice)
    block = data[at : at + size]
    del data[at : at + size]
    to = dice.randrange(len(data) + 1)
    data[to:to] = block


def _splice(dice: Random, data: bytearray, at: int, other: bytes) -> None:
    """Replaces the rest by that of another file, from the same offset or a random one."""
    start = at if dice.randrange(2) else dice.randrange(len(other) + 1)
    data[at:] = other[start:]


def _paste(dice: Random, data: bytearray, at: int, other: bytes) -> None:
    start, size = dice.randrange(len(other) + 1), _block(dice)
    data[at : at + size] = other[start : start + size]


def _block(dice: Random) -> int:
    return dice.randrange(1, dice.choice((4, 32, 256, MOST_BLOCK)))


CHANGES: Final[tuple[Change, ...]] = (
    *(_flip, _set_byte, _set_number, _set_number) * 3,
    *(_cut, _remove, _double, _move, _splice, _paste),
)
"""Small changes are more frequent: the probe rejects a heavily broken file at once."""


# --- parts --------------------------------------------------------------------------------------------------------


def _other_parts(dice: Random, parts: list[Part], strangers: list[Part]) -> list[Part]:
    """Changes, removes, doubles or swaps one part, or takes it from another file."""
    parts = list(parts)
    at, to = dice.randrange(len(parts)), dice.randrange(len(parts))
    match dice.randrange(8):
        case 0:
            del parts[at]
            return parts or strangers[:1]
        case 1:
            most = MOST_BYTES // (1 + len(parts[at].body))
            parts[to:to] = [parts[at]] * min(most, dice.choice((1, 1, 2, 120)))
        case 2:
            parts[at], parts[to] = parts[to], parts[at]
        case 3:
            parts[to:to] = [dice.choice(strangers)]
        case _:
            parts[at] = _other_body(dice, parts[at], dice.choice(strangers))
    return parts


def _other_body(dice: Random, part: Part, stranger: Part) -> Part:
    """Changes the bytes of a part, or its decompressed content."""
    content = unpacked(part) if dice.randrange(2) else None
    if content is not None:
        return packed(part, other_bytes(dice, content, stranger.body))
    return replace(part, body=other_bytes(dice, part.body, stranger.body))
