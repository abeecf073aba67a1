from __future__ import annotations

import struct

QUANTISATION = 0xDB
HUFFMAN = 0xC4
BASELINE, PROGRESSIVE, ARITHMETIC_PROGRESSIVE = 0xC0, 0xC2, 0xCA
SCAN = 0xDA
ONE_UP_ONE_DOWN = bytes((0b01000100,))
"""Coded data of four blocks, alternately brighter and darker."""
LONGEST_RUN = 32_767
"""Blocks that one end-of-band code of a progressive scan covers (T.81, table G.1)."""


def segment(marker: int, payload: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(payload) + 2) + payload


def frame(width: int, height: int, marker: int = BASELINE, components: int = 3) -> bytes:
    fields = b"".join(bytes((number + 1, 0x11, 0)) for number in range(components))
    return segment(marker, struct.pack(">BHHB", 8, height, width, components) + fields)


def scan(components: tuple[int, ...], first: int, last: int, bits: int) -> bytes:
    listed = b"".join(bytes((number + 1, 0)) for number in components)
    return segment(SCAN, bytes((len(components),)) + listed + bytes((first, last, bits)))


def one_code(table: int, symbol: int) -> bytes:
    """A Huffman table of one code, the bit 0."""
    return segment(HUFFMAN, bytes((table, 1)) + bytes(15) + bytes((symbol,)))


def with_segments(data: bytes, marker: int, payload: bytes, count: int) -> bytes:
    return data[:2] + segment(marker, payload) * count + data[2:]


def repeating_its_last_scan(data: bytes, times: int) -> bytes:
    last, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    return data[:end] + data[last:end] * times + data[end:]


def of_empty_scans(width: int, height: int, scans: int, marker: int = ARITHMETIC_PROGRESSIVE) -> bytes:
    """Scans without data. An arithmetic decoder reads zeros: a grey picture, or a cut one."""
    start = b"\xff\xd8" + segment(QUANTISATION, b"\0" + b"\1" * 64) + frame(width, height, marker)
    every = scan((0, 1, 2), 0, 0, 1)
    return start + every + b"".join(scan((index % 3,), 1, 63, 0) for index in range(scans - 1)) + b"\xff\xd9"


def of_refinements(width: int, height: int, scans: int) -> bytes:
    """Scans of 200 bytes that visit every coefficient in one run and change none."""
    blocks = -(-width // 8) * -(-height // 8)
    start = b"\xff\xd8" + segment(QUANTISATION, b"\0" + b"\xff" * 64) + one_code(0x00, 1) + one_code(0x10, 0xE0)
    flat = scan((0, 1, 2), 0, 0, 1) + ONE_UP_ONE_DOWN * -(-blocks * 3 // 4)
    bits = ("0" + "1" * 14) * -(-blocks // LONGEST_RUN)
    bits += "1" * (-len(bits) % 8)
    run = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    passes = (scan((index % 3,), 1, 63, 0x21 if index >= 3 else 0x02) + run for index in range(scans - 1))
    return start + frame(width, height, PROGRESSIVE) + flat + b"".join(passes) + b"\xff\xd9"


def of_separate_scans(width: int, height: int) -> bytes:
    """A baseline JPEG with one scan per component, so the decoder holds the whole picture."""
    blocks = -(-width // 8) * -(-height // 8)
    start = b"\xff\xd8" + segment(QUANTISATION, b"\0" + b"\1" * 64) + one_code(0x00, 0) + one_code(0x10, 0)
    data = bytes(-(-blocks * 2 // 8))
    return start + frame(width, height) + b"".join(scan((index,), 0, 63, 0) + data for index in range(3)) + b"\xff\xd9"
