"""Colour profiles written after ICC.1:2022, and the formulas that convert their colours to sRGB."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]

SRGB_TO_XYZ = np.array(
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)
D50 = np.array([0.9642, 1.0, 0.8249])
"""The white point of all matrices, as in ICC's connection space (Lindbloom's tables)."""


@dataclass(frozen=True)
class Space:
    """A matrix from linear values to XYZ, and the exponent of the curve; 0 means the curve of sRGB."""

    matrix: Array
    gamma: float


P3 = Space(np.array([[0.5151, 0.2920, 0.1571], [0.2412, 0.6922, 0.0666], [-0.0011, 0.0419, 0.7841]]), 0)
ADOBE_RGB = Space(
    np.array([[0.6097559, 0.2052401, 0.1492240], [0.3111242, 0.6256560, 0.0632197], [0.0194811, 0.0608902, 0.7448387]]),
    563 / 256,
)
PROPHOTO = Space(
    np.array([[0.7976749, 0.1351917, 0.0313534], [0.2880402, 0.7118741, 0.0000857], [0.0, 0.0, 0.8252100]]), 1.8
)
GREY_GAMMA = 1.8


def linear(values: Array, gamma: float) -> Array:
    if gamma:
        return np.power(values, gamma)
    return np.asarray(np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4))


def srgb(colours: Array, space: Space) -> Array:
    """Colours from 0 to 1 in sRGB; values beyond are outside of sRGB."""
    light = linear(colours, space.gamma) @ space.matrix.T @ np.linalg.inv(SRGB_TO_XYZ).T
    return encoded(light)


def encoded(light: Array) -> Array:
    return np.asarray(np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.abs(light) ** (1 / 2.4) - 0.055))


def difference(one: Array, other: Array) -> Array:
    """CIE 1976 delta E of colours in sRGB, 0 to 1."""
    return np.asarray(np.linalg.norm(_lab(one) - _lab(other), axis=-1))


def _lab(colours: Array) -> Array:
    xyz = linear(np.clip(colours, 0, 1), 0) @ SRGB_TO_XYZ.T / D50
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)


def rgb_profile(space: Space) -> bytes:
    columns = {name: _xyz(space.matrix[:, index]) for index, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    return _profile(b"RGB ", columns | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _curve(space.gamma)))


def grey_profile() -> bytes:
    return _profile(b"GRAY", {b"kTRC": _curve(GREY_GAMMA)})


def _profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    tags = {b"wtpt": _xyz(D50), **tags}
    start = 128 + 4 + 12 * len(tags)
    table, values = b"", b""
    for name, value in tags.items():
        table += name + struct.pack(">II", start + len(values), len(value))
        values += value + bytes(-len(value) % 4)
    size = start + len(values)
    header = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02400000, b"mntr", space, b"XYZ ") + bytes(12) + b"acsp"
    header = header.ljust(68, b"\0") + _fixed(D50)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + values


def _fixed(numbers: Array) -> bytes:
    return b"".join(struct.pack(">i", round(number * 65536)) for number in numbers)


def _xyz(numbers: Array) -> bytes:
    return b"XYZ \0\0\0\0" + _fixed(numbers)


def _curve(gamma: float) -> bytes:
    if gamma:
        return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))
    table = np.round(linear(np.linspace(0, 1, 1024), 0) * 65535).astype(">u2")
    return b"curv\0\0\0\0" + struct.pack(">I", len(table)) + table.tobytes()
