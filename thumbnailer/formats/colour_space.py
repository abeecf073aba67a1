"""Colour spaces that a file says in numbers, made into the ICC profile (ICC.1:2022) that engines take.

Light beyond the white of graphics, which PQ and HLG have room for, is shown as that white (ITU-R BT.2408: 203 cd/m2, or
three quarters of HLG's signal).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from thumbnailer.formats.icc import GREY, RGB

Point = tuple[float, float]
"""A chromaticity: x and y of CIE 1931."""
Triple = tuple[float, float, float]
Matrix = tuple[Triple, Triple, Triple]

D65: Final = (0.3127, 0.3290)
EQUAL_ENERGY: Final = (1 / 3, 1 / 3)
DCI_WHITE: Final = (0.314, 0.351)
SRGB_PRIMARIES: Final = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
BT2100_PRIMARIES: Final = ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))
P3_PRIMARIES: Final = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))

D50: Final = (0.9642, 1.0, 0.8249)
"""The white of ICC's connection space."""
BRADFORD: Final[Matrix] = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))
GRAPHICS_WHITE: Final = 203
"""cd/m2."""
PQ_PEAK: Final = 10_000
HLG_WHITE: Final = 0.2033
"""What three quarters of the signal are of its peak."""
HLG_SYSTEM_GAMMA: Final = 1.2
CURVE_POINTS: Final = 1024


class Curve(Enum):
    """Transfer functions that are no plain power."""

    SRGB = "sRGB"
    BT709 = "BT.709"
    PQ = "PQ"
    HLG = "HLG"


LINEAR: Final = 1.0
DCI_GAMMA: Final = 2.6


@dataclass(frozen=True, slots=True)
class ColourSpace:
    """`curve` is a transfer function or the exponent that makes light of values. Grey has no `primaries`."""

    white: Point = D65
    primaries: tuple[Point, Point, Point] | None = SRGB_PRIMARIES
    curve: Curve | float = Curve.SRGB

    @property
    def is_srgb(self) -> bool:
        """Whether pixels are right as they are; of grey, the white does not matter."""
        where = self.primaries is None or all(map(_is_near, (self.white, *self.primaries), (D65, *SRGB_PRIMARIES)))
        return where and self.curve is Curve.SRGB


def _is_near(one: Point, other: Point) -> bool:
    """As near as rounding to three digits leaves it."""
    return abs(one[0] - other[0]) < 0.001 and abs(one[1] - other[1]) < 0.001


SRGB: Final = ColourSpace()


def profile_for(space: ColourSpace) -> bytes:
    """An ICC profile of it. Raises ValueError for primaries that span no colours."""
    curve = _curve(space.curve)
    white = (b"wtpt", _xyz(D50))
    if space.primaries is None:
        return _profile(GREY, [white, (b"kTRC", curve)])
    columns = zip((b"rXYZ", b"gXYZ", b"bXYZ"), _columns(space.white, space.primaries), strict=True)
    colourants = [(name, _xyz(column)) for name, column in columns]
    return _profile(RGB, [white, *colourants, *((name, curve) for name in (b"rTRC", b"gTRC", b"bTRC"))])


# --- where the primaries lie --------------------------------------------------------------------------------------


def _columns(white: Point, primaries: Sequence[Point]) -> list[Triple]:
    """XYZ of full red, green and blue, which together are white, seen by an eye that takes D50 for white."""
    red, green, blue = (_light(point) for point in primaries)
    shares = _times(_inverse(_transposed((red, green, blue))), _light(white))
    adapted = _adaptation(_light(white))
    scaled = zip((red, green, blue), shares, strict=True)
    return [_times(adapted, _triple(part * share for part in column)) for column, share in scaled]


def _light(point: Point) -> Triple:
    """XYZ at a luminance of one."""
    x, y = point
    if y == 0:
        raise ValueError("a colour without luminance")
    return x / y, 1.0, (1 - x - y) / y


def _adaptation(white: Triple) -> Matrix:
    """To D50, by Bradford's cones."""
    cones = zip(_times(BRADFORD, D50), _times(BRADFORD, white), strict=True)
    if any(is_ == 0 for is_ in _times(BRADFORD, white)):
        raise ValueError("a white that cones do not see")
    gains = [wanted / is_ for wanted, is_ in cones]
    back = _transposed(_inverse(BRADFORD))
    scaled = [_triple(part * gain for part in column) for column, gain in zip(back, gains, strict=True)]
    return _product(_transposed((scaled[0], scaled[1], scaled[2])), BRADFORD)


def _triple(parts: Iterable[float]) -> Triple:
    one, two, three = parts
    return one, two, three


def _times(matrix: Matrix, vector: Triple) -> Triple:
    return _triple(sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix)


def _transposed(matrix: Matrix) -> Matrix:
    one, two, three = zip(*matrix, strict=True)
    return _triple(one), _triple(two), _triple(three)


def _product(left: Matrix, right: Matrix) -> Matrix:
    columns = _transposed(right)
    return _transposed((_times(left, columns[0]), _times(left, columns[1]), _times(left, columns[2])))


def _inverse(matrix: Matrix) -> Matrix:
    one, two, three = matrix
    crosses = _cross(two, three), _cross(three, one), _cross(one, two)
    determinant = sum(a * b for a, b in zip(one, crosses[0], strict=True))
    if abs(determinant) < 1e-9:
        raise ValueError("primaries that span no colours")
    columns = [_triple(part / determinant for part in cross) for cross in crosses]
    return _transposed((columns[0], columns[1], columns[2]))


def _cross(a: Triple, b: Triple) -> Triple:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


# --- what light a value is ----------------------------------------------------------------------------------------


def _curve(curve: Curve | float) -> bytes:
    match curve:
        case Curve.SRGB:
            return _parametric(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
        case Curve.BT709:
            return _parametric(3, 1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081)
        case Curve.PQ:
            return _sampled(lambda value: _pq_light(value) * PQ_PEAK / GRAPHICS_WHITE)
        case Curve.HLG:
            return _sampled(lambda value: _hlg_light(value) ** HLG_SYSTEM_GAMMA / HLG_WHITE)
        case gamma:
            return _parametric(0, gamma)


def _pq_light(value: float) -> float:
    """SMPTE ST 2084, of its peak."""
    power = value ** (1 / 78.84375)
    return float((max(0.0, power - 0.8359375) / (18.8515625 - 18.6875 * power)) ** (1 / 0.1593017578125))


def _hlg_light(value: float) -> float:
    """ITU-R BT.2100, of its peak and before the system gamma."""
    if value <= 0.5:
        return value * value / 3
    return float((2.718281828459045 ** ((value - 0.55991073) / 0.17883277) + 0.28466892) / 12)


def _sampled(light: Callable[[float], float]) -> bytes:
    values = (min(1.0, light(step / (CURVE_POINTS - 1))) for step in range(CURVE_POINTS))
    return struct.pack(f">4s4xI{CURVE_POINTS}H", b"curv", CURVE_POINTS, *(round(65535 * value) for value in values))


def _parametric(kind: int, *parameters: float) -> bytes:
    return struct.pack(f">4s4xHxx{len(parameters)}i", b"para", kind, *map(_fixed, parameters))


# --- the file -----------------------------------------------------------------------------------------------------


def _fixed(value: float) -> int:
    """s15Fixed16Number."""
    scaled = round(value * 65536)
    if not -(1 << 31) <= scaled < 1 << 31:
        raise ValueError("a number beyond what a profile holds")
    return scaled


def _xyz(colour: Triple) -> bytes:
    return struct.pack(">4s4x3i", b"XYZ ", *map(_fixed, colour))


def _profile(space: bytes, tags: Sequence[tuple[bytes, bytes]]) -> bytes:
    start = 128 + 4 + 12 * len(tags)
    table, values = b"", b""
    for name, value in tags:
        table += struct.pack(">4sII", name, start + len(values), len(value))
        values += value + bytes(-len(value) % 4)
    head = struct.pack(
        ">I4sI4s4s4s12s4s28x3i48x",
        start + len(values),
        bytes(4),
        0x04300000,
        b"mntr",
        space,
        b"XYZ ",
        bytes(12),
        b"acsp",
        *map(_fixed, D50),
    )
    return head + struct.pack(">I", len(tags)) + table + values
