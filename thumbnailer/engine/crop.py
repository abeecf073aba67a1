"""Where a thumbnail is cropped: around the middle, or around the most striking part."""

from __future__ import annotations

from importlib.util import find_spec

from thumbnailer.planning.targets import Target

Corner = tuple[int, int]
"""Left and top of the window, in pixels of the resized picture."""


def middle(width: int, height: int, target: Target) -> Corner:
    return (width - target.width) // 2, (height - target.height) // 2


def attention(width: int, height: int, rgb: bytes, target: Target) -> Corner:
    """The most striking window by libvips (edges, skin, saturation); the middle if libvips is not installed."""
    if not find_spec("pyvips"):
        return middle(width, height, target)
    import pyvips

    image = pyvips.Image.new_from_memory(rgb, width, height, 3, "uchar").copy(interpretation="srgb")
    window = image.smartcrop(target.width, target.height, interesting="attention")
    return -window.xoffset, -window.yoffset
