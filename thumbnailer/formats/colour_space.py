"""Colour spaces that a file gives in numbers, and the ICC profile (ICC.1:2022) for them that engines take.

PQ and HLG have room for light beyond the white of graphics; it is shown as that white (ITU-R BT.2408: 203 cd/m2, or
three quarters of HLG's signal).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from thumbnailer.formats.icc import GREY, RGB

Point = tuple[float, float]
"""A chromaticity: x and y of CIE 1931."""
Triple = tuple[float, float, float]

D65: Final = (0.3127, 0.3290)
EQUAL_ENERGY: Final = (1 / 3, 1 / 3)
DCI_WHITE: Final = (0.314, 0.351)
SRGB_PRIMARIES: Final = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
BT2100_PRIMARIES: Final = ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))
P3_PRIMARIES: Final = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))

D50: Final = (0.9642, 1.0, 0.8249)
"""The white of ICC's connection space."""
BRADFORD: Final = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))
GRAPHICS_WHITE: Final = 203
"""cd/m2."""
PQ_PEAK: Final = 10_000
HLG_WHITE: Final = 0.2033
"""The light of three quarters of the signal, as a share of its peak."""
HLG_SYSTEM_GAMMA: Final = 1.2
CURVE_POINTS: Final = 1024


class Curve(Enum):
    """Transfer functions other than a plain power."""

    SRGB = "sRGB"
    BT709 = "BT.709"
    PQ = "PQ"
    HLG = "HLG"


LINEAR: Final = 1.0
DCI_GAMMA: Final = 2.6


@dataclass(frozen=True, slots=True)
class ColourSpace:
    """`curve` is a transfer function, or the exponent that turns values into light. Grey has no `primaries`."""

    white: Point = D65
    primaries: tuple[Point, Point, Point] | None = SRGB_PRIMARIES
    curve: Curve | float = Curve.SRGB

    @property
    def is_srgb(self) -> bool:
        """Whether pixels need no conversion; of grey, the white does not matter."""
        where = self.primaries is None or all(map(_is_near, (self.white, *self.primaries), (D65, *SRGB_PRIMARIES)))
        return where and self.curve is Curve.SRGB


def _is_near(one: Point, other: Point) -> bool:
    """Equal but for rounding to three digits."""
    return abs(one[0] - other[0]) < 0.001 and abs(one[1] - other[1]) < 0.001


SRGB: Final = ColourSpace()
PRIMARIES: Final[Mapping[int, tuple[Point, Point, Point]]] = {1: SRGB_PRIMARIES, 9: BT2100_PRIMARIES, 11: P3_PRIMARIES}
CURVES: Final[Mapping[int, Curve | float]] = {
    1: Curve.BT709,
    8: LINEAR,
    13: Curve.SRGB,
    16: Curve.PQ,
    17: DCI_GAMMA,
    18: Curve.HLG,
}
"""By the numbers of ITU-T H.273, which JPEG XL shares."""


def profile_for(space: ColourSpace) -> bytes:
    """The ICC profile of `space`. Raises ValueError for primaries that span no colours."""
    curve = _curve(space.curve)
    white = (b"wtpt", _xyz(D50))
    if space.primaries is None:
        return _profile(GREY, [white, (b"kTRC", curve)])
    columns = zip((b"rXYZ", b"gXYZ", b"bXYZ"), _columns(space.white, space.primaries), strict=True)
    colourants = [(name, _xyz(column)) for name, column in columns]
    return _profile(RGB, [white, *colourants, *((name, curve) for name in (b"rTRC", b"gTRC", b"bTRC"))])


def _columns(white: Point, primaries: Sequence[Point]) -> list[Triple]:
    """XYZ of full red, green and blue, adapted to the white D50; together they are white."""
    lights = [_light(point) for point in primaries]
    shares = _solve(lights, _light(white))
    cones = [_dot(row, _light(white)) for row in BRADFORD]
    if 0 in cones:
        raise ValueError("a white that cones do not see")
    gains = [_dot(row, D50) / cone for row, cone in zip(BRADFORD, cones, strict=True)]
    scaled = (_scaled(light, share) for light, share in zip(lights, shares, strict=True))
    return [_adapted(colour, gains) for colour in scaled]


def _light(point: Point) -> Triple:
    """XYZ at a luminance of one."""
    x, y = point
    if y == 0:
        raise ValueError("a colour without luminance")
    return x / y, 1.0, (1 - x - y) / y


def _adapted(colour: Triple, gains: Sequence[float]) -> Triple:
    """Multiplies the response of each of Bradford's cones."""
    red, green, blue = (_dot(row, colour) * gain for row, gain in zip(BRADFORD, gains, strict=True))
    return _solve(list(zip(*BRADFORD, strict=True)), (red, green, blue))


def _solve(columns: Sequence[Triple], target: Triple) -> Triple:
    """How much of each column adds up to `target` (Cramer's rule)."""
    one, two, three = columns
    crosses = _cross(two, three), _cross(three, one), _cross(one, two)
    determinant = _dot(one, crosses[0])
    if abs(determinant) < 1e-9:
        raise ValueError("primaries that span no colours")
    first, second, third = (_dot(target, cross) / determinant for cross in crosses)
    return first, second, third


def _dot(a: Triple, b: Triple) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _cross(a: Triple, b: Triple) -> Triple:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def _scaled(a: Triple, factor: float) -> Triple:
    return a[0] * factor, a[1] * factor, a[2] * factor


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
    version, white, count = 0x04300000, map(_fixed, D50), struct.pack(">I", len(tags))
    fields = (start + len(values), version, b"mntr", space, b"XYZ ", b"acsp", *white)
    return struct.pack(">I4xI4s4s4s12x4s28x3i48x", *fields) + count + table + values
