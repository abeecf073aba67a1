"""Facts of single formats that planning and engines need: apart from the readers, which only their files need."""

from thumbnailer.model import Details
from thumbnailer.values import dataclass


@dataclass(frozen=True, slots=True)
class JpegDetails(Details):
    scans: int = 1  # passes of a decoder over the whole picture, as far as the bytes at hand tell


@dataclass(frozen=True, slots=True)
class PngDetails(Details):
    hidden_first: bool = False
    """of an APNG: the first picture is for viewers without APNG, the animation begins with the second"""


@dataclass(frozen=True, slots=True)
class GifDetails(Details):
    odd_frames: bool = False
    """the canvas shows between frames, or a frame goes beyond it: decoders differ from browsers there"""


@dataclass(frozen=True, slots=True)
class TiffDetails(Details):
    block_rows: int = 0
    """height of its strips or tiles, each of which is decompressed as one; 0: nothing is compressed"""
    read_rows: int = 0  # height of uncompressed strips, each of which Pillow reads as one
    band: int = 1  # rows that must be decoded to hand out one row: the height of tiles
    plain_ycbcr: bool = False
    """brightness and two colour differences, all of full size, and not by way of JPEG"""
    missing_from: int | None = None  # of tiles or planes: first row with missing bytes


@dataclass(frozen=True, slots=True)
class HeifDetails(Details):
    premultiplied: bool = False  # the colours are stored multiplied by alpha
    crop: tuple[int, int, int, int] | None = None
    """of an AVIF: left, top, right and bottom of the visible part of the coded pixels, before the turn"""
    tile: tuple[int, int] | None = None
    """of a HEIC that is a grid and no more: the sides of its tiles"""
    turns: int = 0  # of a HEIC, anticlockwise by 90 degrees


@dataclass(frozen=True, slots=True)
class JxlDetails(Details):
    whole_planes: int = 1  # the `samples` that a decoder may hold whole before it makes the first pixel
    saved_frames: int = 0  # frames that a decoder keeps beside the decoded one, to take parts from


@dataclass(frozen=True, slots=True)
class SvgDetails(Details):
    scale: float = 1.0
    """from the size that the drawing asks for to the probed one"""
