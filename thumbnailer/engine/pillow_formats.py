"""The formats of Pillow: loaders and savers as rows. Pillow is handed the formats of LOADERS and no others."""

import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from PIL import ExifTags, Image, ImageFile, ImageSequence

from thumbnailer.engine import pillow_private, salvage, versions
from thumbnailer.engine.pillow_colours import on_white
from thumbnailer.errors import Corrupt, UnsupportedFormat
from thumbnailer.formats.base import Head
from thumbnailer.formats.details import GifDetails, HeifDetails, PngDetails, TiffDetails
from thumbnailer.formats.exif import valid_orientation
from thumbnailer.model import Format, ImageInfo
from thumbnailer.planning.capabilities import OUTPUTS
from thumbnailer.planning.plan import Plan
from thumbnailer.planning.targets import Target
from thumbnailer.values import dataclass

if TYPE_CHECKING:
    from thumbnailer.formats.gif import Frame

PLUGINS: Final = {
    "WEBP": "PIL.WebPImagePlugin",
    "AVIF": "PIL.AvifImagePlugin" if find_spec("PIL._avif") else "pillow_avif",  # Pillow-SIMD is built without it
    "TIFF": "PIL.TiffImagePlugin",
    "ICO": "PIL.IcoImagePlugin",
}
"""Plugins that Pillow does not load at its start: to find one, it would import all of its forty."""
REPLACING: Final = 0  # PngImagePlugin.Blend.OP_SOURCE
ANTICLOCKWISE: Final = (1, 8, 3, 6)  # EXIF orientations of turns by 90 degrees
MOST_PLAYS: Final = 65_535  # of a WebP
FULL_CHROMA: Final = 90  # from this quality on, as in libvips

warnings.simplefilter("ignore", Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module="PIL")  # about odd tags, which are not used
ImageFile.LOAD_TRUNCATED_IMAGES = False
pillow_private.quiet_libtiff()
versions.require("Pillow")


# --- loaders ------------------------------------------------------------------------------------------------------


def import_plugin(name: str) -> None:
    if name == "WEBP":
        versions.require("libwebp")
    if name in PLUGINS:
        import_module(PLUGINS[name])


def _open(path: str, plan: Plan) -> Image.Image:
    name = LOADERS[plan.info.format].name
    import_plugin(name)
    return pillow_private.open_as(name, path)


def _open_tiff(path: str, plan: Plan) -> Image.Image:
    image = _open(path, plan)
    if plan.info.details_of(TiffDetails).plain_ycbcr:
        pillow_private.read_as_ycbcr(image)
    return image


def _open_ico(path: str, _: Plan) -> Image.Image:
    """Of icons with the same size, Pillow would take the one with the fewest colours."""
    from thumbnailer.formats.ico import with_best_icon_alone

    import_plugin("ICO")
    return Image.open(BytesIO(with_best_icon_alone(Path(path).read_bytes())), formats=["ICO"])


def _codec(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise UnsupportedFormat(f"{name} is not installed") from error


def _open_heic(path: str, plan: Plan) -> Image.Image:
    pillow_heif = _codec("pillow_heif")
    versions.require("libheif")
    pillow_heif.register_heif_opener(thumbnails=False)
    return _open(path, plan) if plan.shrink == 1 else _assemble_tiles(path, plan)


def _assemble_tiles(path: str, plan: Plan) -> Image.Image:
    """A shrunken grid of tiles, of which only one is decoded at a time: libheif decodes the primary item as a whole."""
    from thumbnailer.formats.heif import single_tiles

    details, shrink, data = plan.info.details_of(HeifDetails), plan.shrink, bytearray(Path(path).read_bytes())
    sides = plan.info.width // shrink, plan.info.height // shrink
    canvas = Image.new("RGB", sides[::-1] if details.turns % 2 else sides)
    with _open(path, plan) as whole:
        canvas.info = whole.info
    width, height = (side // shrink for side in details.tile or sides)
    across = -(-canvas.width // width)
    for number, patches in enumerate(single_tiles(Head(memoryview(data), len(data), "HEIF"))):
        for at, patch in patches:
            data[at : at + len(patch)] = patch
        with Image.open(BytesIO(data), formats=["HEIF"]) as tile:
            canvas.paste(tile.reduce(shrink), (number % across * width, number // across * height))
    return turn_upright(canvas, ANTICLOCKWISE[details.turns % 4])


def _decode_jxl(path: str, plan: Plan) -> Image.Image:
    """The first frame, by libjxl's own binding: it tells the size before it decodes, and uses one thread."""
    pylibjxl, info, data = _codec("pylibjxl"), plan.info, Path(path).read_bytes()
    profile = info.details.profile or (b"" if info.icc else None)  # an empty one counts as unusable
    try:
        header = pylibjxl.probe(data)
        if (header["width"], header["height"]) != (info.width, info.height):
            raise Corrupt(f"the header says {info.width}x{info.height}, libjxl {header['width']}x{header['height']}")
        with pylibjxl.JXL(threads=1) as codec:
            if profile == b"" and info.frames == 1:  # asked for metadata, pylibjxl returns the last of all frames
                pixels, metadata = codec.decode(data, metadata=True)
                profile = metadata.get("icc")
            else:
                pixels = codec.decode(data)
    except RuntimeError as error:
        raise Corrupt(f"libjxl cannot read it: {error}") from error
    image = Image.fromarray(pixels)
    if profile is not None:
        image.info["icc_profile"] = profile
    return image


def _open_cut_webp(path: str, plan: Plan) -> Image.Image:
    """libwebp does not even open an incomplete file."""
    import_plugin("WEBP")
    return salvage.load_webp(Path(path).read_bytes(), plan.info)


def _load_turned_rows(image: Image.Image, info: ImageInfo) -> Image.Image:
    """Rows that are missing are rows of the stored picture, so it is turned afterwards."""
    pillow_private.keep_as_stored(image, info.width, info.height)
    return turn_upright(salvage.load(image, info), info.orientation)


def _frames(image: Image.Image, plan: Plan) -> Iterator[Image.Image]:
    """As opened, if there is one: of a HEIC with several pictures the primary one, not the first."""
    return iter(ImageSequence.Iterator(image) if plan.frames > 1 else [image])


def _png_frames(image: Image.Image, plan: Plan) -> Iterator[Image.Image]:
    """Of an APNG the first frame, on an empty canvas: Pillow would lay it over a picture before the animation."""
    if not plan.info.details_of(PngDetails).hidden_first:
        return _frames(image, plan)
    image.seek(1)
    image.blend_op = REPLACING  # type: ignore[attr-defined]
    if (box := image.info["bbox"]) == (0, 0, *image.size):
        return iter([image])
    canvas = Image.new("RGBA", image.size)
    canvas.paste(image.convert("RGBA").crop(box), box)
    canvas.info = {"icc_profile": image.info["icc_profile"]} if "icc_profile" in image.info else {}
    return iter([canvas])


def _gif_frames(image: Image.Image, plan: Plan) -> Iterator[Image.Image]:
    return _compose(image, plan.info) if plan.info.details_of(GifDetails).odd_frames else _frames(image, plan)


def _compose(image: Image.Image, info: ImageInfo) -> Iterator[Image.Image]:
    """Frames on the canvas of a GIF, as browsers compose them (formats/gif.py says where Pillow differs).

    Pillow decodes each frame as a picture of its own. The canvas starts transparent and is cleared to transparent.
    A frame is valid until the caller asks for the next one.
    """
    from thumbnailer.formats.gif import TO_BACKGROUND, TO_PREVIOUS, gif_frames

    canvas = Image.new("RGBA", (info.width, info.height))
    data = mmap(pillow_private.file_of(image).fileno(), 0, access=ACCESS_READ)
    for frame in gif_frames(data):  # not closed: an error's traceback may still refer to it
        before = canvas.copy() if frame.disposal in TO_PREVIOUS else canvas
        _paint(canvas, frame)
        shown = canvas if info.has_alpha else canvas.convert("RGB")
        shown.info["duration"] = frame.milliseconds
        yield shown
        canvas = before
        if frame.disposal == TO_BACKGROUND:
            canvas.paste((0, 0, 0, 0), frame.box)


def _paint(canvas: Image.Image, frame: "Frame") -> None:
    left, top, right, bottom = frame.box
    if right == left or bottom == top:
        return
    with Image.open(BytesIO(frame.file), formats=["GIF"]) as image:
        image.load()
        if frame.transparent is not None:
            image.info["transparency"] = frame.transparent
        pixels = image.convert("RGBA")
    canvas.paste(pixels, (left, top), pixels)


TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    turn = TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _exif_orientation(image: Image.Image, _: ImageInfo) -> int:
    """Pillow hands an AVIF's own turn on as an EXIF tag."""
    return valid_orientation(image.getexif().get(ExifTags.Base.Orientation, 1))


def _gif_plays(loop: int | None) -> int:
    """A GIF tells how often it is repeated, or nothing for never."""
    return 1 if loop is None else loop and loop + 1


@dataclass(frozen=True, slots=True)
class Loader:
    """One format's name in Pillow, and the functions that open it."""

    name: str
    open: Callable[[str, Plan], Image.Image] = _open
    frames: Callable[[Image.Image, Plan], Iterator[Image.Image]] = _frames
    orientation: Callable[[Image.Image, ImageInfo], int] = lambda _, info: info.orientation  # the turn that is left
    plays: Callable[[int | None], int] = lambda loop: loop or 0  # of an animation, by Pillow's `loop`; 0: endlessly
    check: Callable[[Image.Image, ImageInfo], None] | None = None  # raises Corrupt if a loaded picture is incomplete
    # Loads the readable rows of an opened picture; None: the decoder returns all or nothing.
    salvage: Callable[[Image.Image, ImageInfo], Image.Image] | None = None
    open_damaged: Callable[[str, Plan], Image.Image] | None = None  # None: as `open` does


LOADERS: Final[dict[Format, Loader]] = {
    Format.JPEG: Loader("JPEG", check=salvage.refuse_cut, salvage=salvage.load),
    Format.PNG: Loader("PNG", frames=_png_frames, salvage=salvage.load),
    Format.GIF: Loader("GIF", frames=_gif_frames, plays=_gif_plays, salvage=salvage.load),
    Format.WEBP: Loader("WEBP", salvage=lambda image, _: image, open_damaged=_open_cut_webp),
    Format.AVIF: Loader("AVIF", orientation=_exif_orientation),
    Format.HEIC: Loader("HEIF", _open_heic, orientation=lambda *_: 1),
    Format.TIFF: Loader("TIFF", _open_tiff, orientation=lambda *_: 1, salvage=_load_turned_rows),
    Format.BMP: Loader("BMP", salvage=salvage.load),
    Format.ICO: Loader("ICO", _open_ico, salvage=salvage.load),
    Format.JXL: Loader("JXL", _decode_jxl, orientation=lambda *_: 1),
}


# --- savers -------------------------------------------------------------------------------------------------------


def _chroma(target: Target) -> str:
    return "4:4:4" if target.quality >= FULL_CHROMA else "4:2:0"


@dataclass(frozen=True, slots=True)
class Saver:
    """One format's name in Pillow, its options and the conversion to a mode that it has."""

    name: str
    options: Callable[[Target], dict[str, Any]]  # beside the quality, which lossless formats ignore
    mode: Callable[[Image.Image], Image.Image] = lambda image: image


def saver_for(target: Target) -> Saver | None:
    """None for what libvips encodes better: fewer bytes for the same pixels, or less time."""
    fewer_colours = OUTPUTS[target.format].lossless and target.quality < 100
    return None if target.small or fewer_colours else SAVERS.get(target.format)


SAVERS: Final[dict[Format, Saver]] = {
    Format.JPEG: Saver(
        "JPEG",
        lambda target: {
            "optimize": not target.quick,
            "subsampling": _chroma(target),
            "progressive": target.progressive,
        },
        lambda image: on_white(image) if image.mode == "RGBA" else image,
    ),
    Format.PNG: Saver("PNG", lambda target: {"compress_level": 4 if target.quick else 6}),
    Format.WEBP: Saver("WEBP", lambda target: {"method": 2 if target.quick else 4, "kmin": 0, "kmax": 0}),
}
