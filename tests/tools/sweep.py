"""Every encoder setting against the default: CPU time and bytes at the default quality. `worth` marks a bad trade."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from PIL import Image
from rich.console import Console
from rich.table import Table

from tests.tools.quality import SAMPLES
from tests.tools.scoring import shown, ssim
from thumbnailer.model import Format

MOST_TIME, LEAST_SAVED = 2.0, 0.05
PHOTOS: Final = ("rocket.jpg", "chelsea.png", "china.webp")
SETTINGS: Final[Mapping[Format, tuple[str, Mapping[str, Any], Mapping[str, tuple[Any, ...]]]]] = {
    Format.JPEG: ("jpegsave", {"Q": 80, "optimize_coding": True}, {"interlace": (True,), "trellis_quant": (True,)}),
    Format.WEBP: (
        "webpsave",
        {"Q": 80, "effort": 4},
        {"effort": (2, 3, 5, 6), "passes": (6,), "smart_deblock": (True,)},
    ),
    Format.AVIF: (
        "heifsave",
        {"Q": 50, "compression": "av1", "subsample_mode": "off", "effort": 4},
        {"effort": (2, 3, 5, 6)},
    ),
    Format.PNG: ("pngsave", {"compression": 6, "filter": "all"}, {"compression": (3, 9), "filter": ("none",)}),
    Format("png with a quality"): (
        "pngsave",
        {"palette": True, "Q": 80, "compression": 9, "effort": 4, "dither": 0},
        {"effort": (1, 7, 10), "dither": (1,), "compression": (6,)},
    ),
    Format.GIF: ("gifsave", {"effort": 4, "dither": 0}, {"effort": (1, 7, 10), "dither": (1,)}),
}


def run(side: int) -> None:
    """Prints a row a setting: time and bytes divided by the default's, and the SSIM to the pixels."""
    table = Table("format", "setting", "time", "bytes", "SSIM", "worth")
    for format_, (operation, usual, options) in SETTINGS.items():
        base = _measure(operation, usual, side)
        table.add_row(format_, "as built", f"{base[0] * 1000:.1f} ms", f"{base[1]:.0f}", f"{base[2]:.4f}", "")
        for name, values in options.items():
            for value in values:
                spent, size, likeness = _measure(operation, {**usual, name: value}, side)
                dear = spent > MOST_TIME * base[0] and size > (1 - LEAST_SAVED) * base[1]
                row = f"{spent / base[0]:.2f}", f"{size / base[1]:.3f}", f"{likeness:.4f}", "no" if dear else ""
                table.add_row("", f"{name}={value}", *row)
    Console().print(table)


def _measure(operation: str, options: Mapping[str, Any], side: int) -> tuple[float, float, float]:
    """CPU seconds, bytes and SSIM of a thumbnail, as means of the photos."""
    import pyvips

    spent = size = likeness = 0.0
    for name in PHOTOS:
        with Image.open(SAMPLES / name) as photo:
            pixels = photo.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
        image = pyvips.Image.new_from_array(pixels).copy(interpretation="srgb")
        started = time.process_time()
        data = bytes(getattr(image, f"{operation}_buffer")(keep="none", **options))
        spent += time.process_time() - started
        size, likeness = size + len(data), likeness + ssim(shown(data), shown(bytes(image.pngsave_buffer())))
    return spent / len(PHOTOS), size / len(PHOTOS), likeness / len(PHOTOS)
