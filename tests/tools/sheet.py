"""A contact sheet of JPEGs by each engine beside the whole decode: pixels before encoding, for people to look at."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.table import Table

from tests.tools.quality import SAMPLES, TITLES, plan_for
from tests.tools.scoring import Pixels, references, shown, ssim
from thumbnailer.engine import load_engine
from thumbnailer.model import EngineName

SIDES: Final = (64, 128, 320)
MOST_SHOWN: Final = 80
"""a larger thumbnail is shown in part, around its middle"""
PHOTOS: Final = ("china.webp", "astronaut-alpha.png")
COLOURS: Final = ("#d00000", "#0000d0", "#008000", "#c000c0", "#000000")
WHOLE: Final = "whole decode"
LABEL_HEIGHT: Final = 14

Column = dict[int, Pixels]
"""Thumbnails by side."""


def run(output: Path) -> None:
    """Writes the sheet, and prints the SSIM of each engine to the whole decode."""
    table = Table("picture", "px", *TITLES.values())
    rows = []
    for name, data in _sources():
        columns = _columns(data)
        for side in SIDES:
            whole = columns[WHOLE][side]
            table.add_row(name, str(side), *(f"{ssim(columns[title][side], whole):.4f}" for title in TITLES.values()))
        rows.append(_row(name, columns))
    sheet = Image.new("RGB", (max(row.width for row in rows), sum(row.height for row in rows)), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    output.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(output, quality=45, method=6)
    Console(width=120).print(table)


def _sources() -> Iterator[tuple[str, bytes]]:
    for name in PHOTOS:
        data = (SAMPLES / name).read_bytes()
        if not name.endswith(".jpg"):
            image = Image.open(BytesIO(data)).convert("RGBA")
            data = _jpeg(Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB"))
        yield name.partition(".")[0], data
    yield "text", _jpeg(_text())
    yield "saturated edges", _jpeg(_edges())


def _jpeg(image: Image.Image) -> bytes:
    out = BytesIO()
    image.save(out, "JPEG", quality=90)
    return out.getvalue()


def _text() -> Image.Image:
    """A screenshot: coloured text of 18 pixels on white and on grey."""
    image = Image.new("RGB", (1280, 960), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(18)
    draw.rectangle((640, 0, 1280, 960), fill="#e8e8e8")
    for line in range(40):
        for column in range(2):
            text = f"line {line:02}: def thumbnail(picture, side={line * 16}) -> bytes"
            draw.text((10 + 640 * column, 10 + 24 * line), text, fill=COLOURS[(line + column) % 5], font=font)
    return image


def _edges() -> Image.Image:
    """Red, blue and green rings and lines, all fully saturated."""
    y, x = np.mgrid[0:960, 0:1280]
    rings = (np.hypot(x - 400, y - 480) // 14 % 3).astype(int)
    lines = ((x + 2 * y) // 9 % 3).astype(int)
    inks = np.array([(255, 0, 0), (0, 0, 255), (0, 255, 0)], np.uint8)
    return Image.fromarray(inks[np.where(x < 800, rings, lines)])


def _columns(data: bytes) -> dict[str, Column]:
    """By title, for each engine and the whole decode."""
    renditions = ",".join(f"s{side}={side}x{side}:png" for side in SIDES)
    columns: dict[str, Column] = {}
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        for engine, title in TITLES.items():
            columns[title] = dict(zip(SIDES, _pixels(file.name, data, engine, renditions), strict=True))
    targets = plan_for(data, EngineName.PILLOW, renditions).targets
    return columns | {WHOLE: dict(zip(SIDES, references(data, targets), strict=True))}


def _pixels(path: str, data: bytes, engine: EngineName, renditions: str) -> Iterator[Pixels]:
    """Each size is rendered for itself, because the largest one of a set decides the scale."""
    for rendition in renditions.split(","):
        plan = plan_for(data, engine, rendition)
        assert plan.engine is engine, f"{engine} does not take it: is it built?"
        yield shown(load_engine(engine).render(path, plan).pictures[0])


def _row(name: str, columns: dict[str, Column]) -> Image.Image:
    cells = [(title, _cell(pixels)) for title, column in columns.items() for pixels in column.values()]
    height = LABEL_HEIGHT + max(image.height for _, image in cells)
    row = Image.new("RGB", (sum(image.width + 4 for _, image in cells), height + 2), "white")
    left = 0
    for number, (title, image) in enumerate(cells):
        if number % len(SIDES) == 0:
            ImageDraw.Draw(row).text((left, 0), f"{name}: {title}", fill="black")
        row.paste(image, (left, LABEL_HEIGHT))
        left += image.width + 4
    return row


def _cell(pixels: Pixels) -> Image.Image:
    image = Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
    width, height = min(image.width, MOST_SHOWN), min(image.height, MOST_SHOWN)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))
