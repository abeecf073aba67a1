"""The frames of a GIF on its canvas, as browsers compose them (formats/gif.py says where Pillow differs).

Pillow decodes each frame as a picture of its own. The canvas starts transparent and is cleared to transparent.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from mmap import ACCESS_READ, mmap

from PIL import Image

from thumbnailer.formats.gif import TO_BACKGROUND, TO_PREVIOUS, Frame, gif_frames
from thumbnailer.model import ImageInfo


def composed(image: Image.Image, info: ImageInfo) -> Iterator[Image.Image]:
    """The opened GIF's frames. A frame is valid until the caller asks for the next one."""
    canvas = Image.new("RGBA", (info.width, info.height))
    data = mmap(image.fp.fileno(), 0, access=ACCESS_READ)  # type: ignore[attr-defined]
    for frame in gif_frames(data):  # not closed: an error's traceback may still refer to it
        before = canvas.copy() if frame.disposal in TO_PREVIOUS else canvas
        _paint(canvas, frame)
        shown = canvas if info.has_alpha else canvas.convert("RGB")
        shown.info["duration"] = frame.milliseconds
        yield shown
        canvas = before
        if frame.disposal == TO_BACKGROUND:
            canvas.paste((0, 0, 0, 0), frame.box)


def _paint(canvas: Image.Image, frame: Frame) -> None:
    left, top, right, bottom = frame.box
    if right == left or bottom == top:
        return
    with Image.open(BytesIO(frame.file), formats=["GIF"]) as image:
        image.load()
        if frame.transparent is not None:
            image.info["transparency"] = frame.transparent
        pixels = image.convert("RGBA")
    canvas.paste(pixels, (left, top), pixels)
