"""What the compiled JPEG engine accepts, libjpeg decodes without a warning and to the same pixels."""

from __future__ import annotations

import random
import shutil
import subprocess
from io import BytesIO
from itertools import product

import numpy as np
import pytest
from PIL import Image

native = pytest.importorskip(
    "thumbnailer_jpeg", reason="the compiled JPEG engine is not built: see thumbnailer/native/README.md"
)

FILES = 2000
LIMIT = 64 << 20
needs_djpeg = pytest.mark.skipif(shutil.which("djpeg") is None, reason="djpeg (libjpeg-turbo-progs) is not installed")


def _seeds() -> list[bytes]:
    source = Image.linear_gradient("L").resize((64, 48))
    picture = Image.merge("RGB", (source, source.rotate(90), source.rotate(180)))
    files = []
    for progressive, subsampling, restart in product((False, True), (0, 1, 2), (0, 3)):
        file = BytesIO()
        picture.save(
            file, "JPEG", progressive=progressive, subsampling=subsampling, restart_marker_blocks=restart, quality=85
        )
        files.append(file.getvalue())
    return files


def _mutate(file: bytes, chance: random.Random) -> bytes:
    """Changes, removes, adds or moves bytes at one to three places."""
    data = bytearray(file)
    for _ in range(chance.randint(1, 3)):
        at, source = chance.randrange(len(data)), chance.randrange(len(data))
        start, end, new = chance.choice(
            [
                (at, at + 1, bytes([chance.randrange(256)])),
                (at, at + 1, bytes([data[at] ^ 1 << chance.randrange(8)])),
                (at, at + 1, b""),
                (at, at, bytes([chance.randrange(256)])),
                (at, at + 8, bytes(data[source : source + 8])),
            ]
        )
        data[start:end] = new
    return bytes(data)


def _render_whole(data: bytes) -> np.ndarray | None:
    """Returns the pixels at full size, or None if the engine leaves the file to libjpeg."""
    try:
        _, (width, height, _) = native.render(data, [(1, 1, None)], scale=1, max_bytes=LIMIT)
        [(_, _, _, pixels)], _ = native.render(data, [(width, height, None)], scale=8, max_bytes=LIMIT)
    except (native.Unsupported, native.Doubtful, native.TooLarge):
        return None
    return np.frombuffer(pixels, np.uint8).reshape(height, width, -1).astype(int)


@pytest.mark.matrix(62)
@needs_djpeg
def test_accepted_files_are_clean_and_equal_for_libjpeg() -> None:
    """Mutated files. At 1/8 alone, progressive scans that the scale skips may hide damage."""
    chance = random.Random(1)
    seeds = _seeds()
    accepted = 0
    for number in range(FILES):
        data = _mutate(chance.choice(seeds), chance)
        ours = _render_whole(data)
        if ours is None:
            continue
        accepted += 1
        decoded = subprocess.run(["djpeg", "-strict", "-pnm"], input=data, capture_output=True, check=False)
        assert decoded.returncode == 0, f"file {number}: {decoded.stderr!r}"
        theirs = np.asarray(Image.open(BytesIO(decoded.stdout)).convert("RGB"), dtype=int)
        assert np.abs(ours - theirs).mean() <= 1.5, f"file {number}"
    assert accepted > FILES / 20
