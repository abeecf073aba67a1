"""ICC profiles (ICC.1:2022): which embedded ones can be used, and new ones for colours that a file gives in numbers.

libvips silently replaces a broken profile, Pillow raises: `is_usable` decides for both. It ignores the contents of
curves and tables. PQ and HLG have room for light beyond the white of graphics (ITU-R BT.2408: 203 cd/m2, or three
quarters of HLG's signal): `_tone_map` makes room for it.
"""

import struct
from collections.abc import Callable, Sequence
from functools import lru_cache

from thumbnailer.values import dataclass

RGB = b"RGB "
GREY = b"GRAY"
CMYK = b"CMYK"

HEADER = 128
MOST_TAGS = 100  # Little CMS takes no more
CLASSES = (b"mntr", b"scnr", b"prtr", b"spac")
"""Display, input, output and colour space; links and named colours do not describe pixels."""
CONNECTION_SPACES = (b"XYZ ", b"Lab ")
TABLE = ((b"A2B0",), (b"D2B0",))
SUFFICIENT = {
    RGB: (*TABLE, (b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC")),
    GREY: (*TABLE, (b"kTRC",)),
    CMYK: TABLE,
}
"""Sets of tags; a profile needs one of them."""
TYPES = {
    b"A2B0": (b"mft1", b"mft2", b"mAB "),
    b"D2B0": (b"mpet",),
    **dict.fromkeys((b"rXYZ", b"gXYZ", b"bXYZ"), (b"XYZ ",)),
    **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC", b"kTRC"), (b"curv", b"para")),
}


def is_usable(profile: bytes, space: bytes | None) -> bool:
    """Whether the profile is for pixels of that colour space and has all that a conversion needs."""
    if len(profile) < HEADER + 4 or profile[36:40] != b"acsp" or profile[12:16] not in CLASSES:
        return False
    if int.from_bytes(profile[:4]) > len(profile):  # a piece is missing, of a JPEG most likely one segment
        return False
    if space is None or profile[16:20] != space or profile[20:24] not in CONNECTION_SPACES:
        return False
    (count,) = struct.unpack_from(">I", profile, HEADER)
    table = profile[HEADER + 4 : HEADER + 4 + 12 * min(count, MOST_TAGS)]
    entries = struct.iter_unpack(">4sII", table[: len(table) // 12 * 12])
    tags = {tag: profile[at : at + 4] for tag, at, size in entries if at + size <= len(profile)}
    return any(all(tags.get(tag) in TYPES[tag] for tag in needed) for needed in SUFFICIENT.get(space, ()))


Point = tuple[float, float]  # a chromaticity: x and y of CIE 1931
Vector = Sequence[float]
Curve = tuple[float, ...] | Callable[[float], float]
"""Turns values into light: the parameters of ICC's parametric curve (one exponent, or all five), or a function."""

D65 = (0.3127, 0.3290)
EQUAL_ENERGY = (1 / 3, 1 / 3)
DCI_WHITE = (0.314, 0.351)
SRGB_PRIMARIES = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
BT2100_PRIMARIES = ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))
P3_PRIMARIES = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))

D50 = (0.9642, 1.0, 0.8249)  # the white of ICC's connection space
BRADFORD = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))
GRAPHICS_WHITE, HDR_PEAK, PQ_PEAK = 203, 1000, 10_000  # cd/m2; HDR_PEAK is HLG's, and of most PQ pictures
ROLL_OFF = (1.65, 0.825)  # middle control point of the tone curve, on the line of the halved light
HLG_SYSTEM_GAMMA = 1.2
CURVE_POINTS = 1024


def pq_light(value: float) -> float:
    """SMPTE ST 2084, tone-mapped."""
    power = value ** (1 / 78.84375)
    light = (max(0.0, power - 0.8359375) / (18.8515625 - 18.6875 * power)) ** (1 / 0.1593017578125)
    return _tone_map(light * PQ_PEAK / GRAPHICS_WHITE)


def hlg_light(value: float) -> float:
    """ITU-R BT.2100, tone-mapped."""
    exponential = (2.718281828459045 ** ((value - 0.55991073) / 0.17883277) + 0.28466892) / 12
    light = (value * value / 3 if value <= 0.5 else exponential) ** HLG_SYSTEM_GAMMA
    return _tone_map(light * HDR_PEAK / GRAPHICS_WHITE)


def _tone_map(light: float) -> float:
    """Light as a share of graphics' white -> a share of sRGB's white, as Chromium 156 shows it.

    Light of up to graphics' white is halved. A quadratic Bézier curve rolls off the highlights from there to HDR_PEAK,
    which becomes sRGB's white (SMPTE ST 2094-50, reference white tone mapping).
    """
    if light <= 1:
        return light / 2
    (x, y), peak = ROLL_OFF, HDR_PEAK / GRAPHICS_WHITE
    a, b, c = 1 - 2 * x + peak, 2 * (x - 1), 1 - min(light, peak)
    t = ((b * b - 4 * a * c) ** 0.5 - b) / (2 * a)
    return float((1 - t) ** 2 / 2 + 2 * t * (1 - t) * y + t * t)


SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
BT709_CURVE = (1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081)
SMPTE_240M_CURVE = (1 / 0.45, 1 / 1.1115, 0.1115 / 1.1115, 1 / 4, 0.0913)
LINEAR, DCI_GAMMA, VIDEO_GAMMA = (1.0,), (2.6,), (2.4,)  # of displays for video: ITU-R BT.1886
PRIMARIES = {1: SRGB_PRIMARIES, 9: BT2100_PRIMARIES, 11: P3_PRIMARIES}
CURVES: dict[int, Curve] = {1: BT709_CURVE, 8: LINEAR, 13: SRGB_CURVE, 16: pq_light, 17: DCI_GAMMA, 18: hlg_light}
"""By the numbers of ITU-T H.273, which JPEG XL shares."""


@dataclass(frozen=True, slots=True)
class ColourSpace:
    """Grey has no `primaries`."""

    white: Point = D65
    primaries: tuple[Point, Point, Point] | None = SRGB_PRIMARIES
    curve: Curve = SRGB_CURVE

    @property
    def is_srgb(self) -> bool:
        """Whether pixels need no conversion; of grey, the white does not matter."""
        if self.primaries is None:
            return self.curve == SRGB_CURVE
        points = zip((self.white, *self.primaries), (D65, *SRGB_PRIMARIES), strict=True)
        # Rounding to three digits counts as equal.
        is_near = all(abs(x - x2) < 0.001 and abs(y - y2) < 0.001 for (x, y), (x2, y2) in points)
        return is_near and self.curve == SRGB_CURVE


SRGB = ColourSpace()
CICP_WHITES = {4: (0.310, 0.316), 8: (0.310, 0.316), 11: DCI_WHITE}
CICP_PRIMARIES = PRIMARIES | dict.fromkeys((6, 7), ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)))
CICP_PRIMARIES |= {4: ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08)), 5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06))}
CICP_PRIMARIES |= {8: ((0.681, 0.319), (0.243, 0.692), (0.145, 0.049)), 12: P3_PRIMARIES}
CICP_PRIMARIES |= {22: ((0.630, 0.340), (0.295, 0.605), (0.155, 0.077))}
SRGB_NUMBER, BT2100_NUMBER, VIDEO_CURVES = 13, 9, (1, 6, 14, 15)
CICP_CURVES = CURVES | {4: (2.2,), 5: (2.8,), 7: SMPTE_240M_CURVE, **dict.fromkeys((*VIDEO_CURVES, 11), VIDEO_GAMMA)}


def space_by_numbers(primaries: int, curve: int, grey: bool = False) -> ColourSpace | None:
    """The space of numbers of H.273; None if they say nothing. A curve of video stands for its display."""
    if primaries not in CICP_PRIMARIES or curve not in CICP_CURVES:
        return None
    points = None if grey else CICP_PRIMARIES[primaries]
    return ColourSpace(CICP_WHITES.get(primaries, D65), points, CICP_CURVES[curve])


def conversion_profile(space: ColourSpace | None) -> bytes:
    """The profile of `space`; empty if it is sRGB or unknown. Raises ValueError like `profile_for`."""
    return b"" if space is None or space.is_srgb else profile_for(space)


@lru_cache(maxsize=32)  # a curve of a thousand points takes a millisecond
def profile_for(space: ColourSpace) -> bytes:
    """The ICC profile of `space`. Raises ValueError for primaries that span no colours."""
    curve = _pack_curve(space.curve)
    white = (b"wtpt", _xyz(D50))
    if space.primaries is None:
        return _profile(GREY, [white, (b"kTRC", curve)])
    columns = zip((b"rXYZ", b"gXYZ", b"bXYZ"), _columns(space.white, space.primaries), strict=True)
    colourants = [(name, _xyz(column)) for name, column in columns]
    return _profile(RGB, [white, *colourants, *((name, curve) for name in (b"rTRC", b"gTRC", b"bTRC"))])


def _columns(white: Point, primaries: Sequence[Point]) -> list[Vector]:
    """XYZ of full red, green and blue, adapted to the white D50; together they are white."""
    lights = [_light(point) for point in primaries]
    shares = _solve(lights, _light(white))
    cones = [_dot(row, _light(white)) for row in BRADFORD]
    if 0 in cones:
        raise ValueError("a white that cones do not see")
    gains = [_dot(row, D50) / cone for row, cone in zip(BRADFORD, cones, strict=True)]
    scaled = ([part * share for part in light] for light, share in zip(lights, shares, strict=True))
    responses = ([_dot(row, colour) * gain for row, gain in zip(BRADFORD, gains, strict=True)] for colour in scaled)
    return [_solve(list(zip(*BRADFORD, strict=True)), response) for response in responses]


def _light(point: Point) -> Vector:
    """XYZ at a luminance of one."""
    x, y = point
    if y == 0:
        raise ValueError("a colour without luminance")
    return x / y, 1.0, (1 - x - y) / y


def _solve(columns: Sequence[Vector], target: Vector) -> Vector:
    """How much of each column adds up to `target` (Cramer's rule)."""
    one, two, three = columns
    crosses = _cross(two, three), _cross(three, one), _cross(one, two)
    determinant = _dot(one, crosses[0])
    if abs(determinant) < 1e-9:
        raise ValueError("primaries that span no colours")
    return [_dot(target, cross) / determinant for cross in crosses]


def _dot(a: Vector, b: Vector) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _cross(a: Vector, b: Vector) -> Vector:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def _pack_curve(curve: Curve) -> bytes:
    if callable(curve):
        values = (round(65535 * min(1.0, curve(step / (CURVE_POINTS - 1)))) for step in range(CURVE_POINTS))
        return struct.pack(f">4s4xI{CURVE_POINTS}H", b"curv", CURVE_POINTS, *values)
    kind = 3 if len(curve) == 5 else 0
    return struct.pack(f">4s4xHxx{len(curve)}i", b"para", kind, *map(_to_s15_fixed, curve))


def _to_s15_fixed(value: float) -> int:
    """s15Fixed16Number."""
    scaled = round(value * 65536)
    if not -(1 << 31) <= scaled < 1 << 31:
        raise ValueError("a number beyond what a profile holds")
    return scaled


def _xyz(colour: Vector) -> bytes:
    return struct.pack(">4s4x3i", b"XYZ ", *map(_to_s15_fixed, colour))


def _profile(space: bytes, tags: Sequence[tuple[bytes, bytes]]) -> bytes:
    start = 128 + 4 + 12 * len(tags)
    table, values = b"", b""
    for name, value in tags:
        table += struct.pack(">4sII", name, start + len(values), len(value))
        values += value + bytes(-len(value) % 4)
    version, white, count = 0x04300000, map(_to_s15_fixed, D50), struct.pack(">I", len(tags))
    fields = (start + len(values), version, b"mntr", space, b"XYZ ", b"acsp", *white)
    return struct.pack(">I4xI4s4s4s12x4s28x3i48x", *fields) + count + table + values
