"""SVG, and the refusal of all other text: HTML, ImageMagick's scripts, prose.

XML is never parsed: the reader steps over the prologue and searches the root for a few attributes, within LIMIT.
"""

import math
import re

from thumbnailer.errors import NeedMoreBytes, NotAnImage, UnsupportedFormat
from thumbnailer.formats.base import FormatSpec, Head
from thumbnailer.formats.details import SvgDetails
from thumbnailer.model import Format, ImageInfo

LIMIT = 64 << 10
MAX_ATTRIBUTES = 16 << 10
SAMPLE = 512  # bytes that decide whether something is text

ENCODINGS = (
    (b"\xef\xbb\xbf", 3, "utf-8"),
    (b"\xff\xfe", 2, "utf-16-le"),
    (b"\xfe\xff", 2, "utf-16-be"),
    (b"<\0", 0, "utf-16-le"),
    (b"\0<", 0, "utf-16-be"),
)
"""Start of a text, bytes of its byte order mark, encoding."""
SPACE = b" \t\r\n\f"
PROLOGUE = re.compile(
    rb"\A(?:[ \t\r\n\f]+"
    rb"|<(?=\?).*?(?:\?>|\Z)"  # declaration
    rb"|<!--.*?(?:-->|\Z)"  # comment
    rb"|<![^>\[]*(?:\[[^\]]*\]?)?[^>]*>?"  # document type, which may have a subset in brackets
    rb")*",
    re.DOTALL,
)
TAG = re.compile(rb"<(?:[^>\"']|\"[^\"]*\"|'[^']*')*>")
"""A tag; its values may hold `>`."""
MOST_PIXELS = 16_000_000
"""A drawing has no pixels: one of a larger size counts as one of so many."""
ROOT = re.compile(rb"<(?:[A-Za-z_][\w.-]{0,63}:)?([A-Za-z_][\w.-]{0,63})")
NOT_TEXT = re.compile(rb"[\x00-\x06\x0e-\x1a\x1c-\x1f\x7f]")
HTML_ROOTS = frozenset(b"html head body script style title table div p a br iframe".split())
MSL_ROOTS = frozenset({b"msl", b"image", b"group"})
"""The outermost element of a script in ImageMagick's msl.c."""
MVG_STARTS = (b"push graphic-context", b"push defs", b"viewbox ")

NUMBER = re.compile(rb"\s*\+?(\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})\s*(px|pt|pc|in|cm|mm|q)?\s*$", re.IGNORECASE)
PIXELS = {b"": 1, b"px": 1, b"pt": 4 / 3, b"pc": 16, b"in": 96, b"cm": 96 / 2.54, b"mm": 96 / 25.4, b"q": 96 / 101.6}
"""CSS pixels a unit (CSS Values 3, section 6.2)."""


def read_text(head: Head) -> ImageInfo:
    """The size of an SVG. Raises NotAnImage or UnsupportedFormat for everything else."""
    text = _decode(head.up_to(0, LIMIT))
    if NOT_TEXT.search(text[:SAMPLE]):
        raise NotAnImage("unknown content")
    text = text.lstrip(SPACE)
    if text.startswith(MVG_STARTS):
        raise UnsupportedFormat("ImageMagick MVG")
    if not text.startswith(b"<"):
        raise NotAnImage("text")
    return _read_markup(text, cut_short=len(head) < LIMIT and not head.whole)


def _decode(data: bytes) -> bytes:
    """As UTF-8 without a byte order mark; text without a known start stays unchanged."""
    for start, mark_size, encoding in ENCODINGS:
        if data.startswith(start):
            return data[mark_size:].decode(encoding, "replace").encode("utf-8", "replace")
    return data


def _read_markup(text: bytes, cut_short: bool) -> ImageInfo:
    root = PROLOGUE.sub(b"", text, count=1)
    found = ROOT.match(root)
    name = found[1] if found else b""
    if name == b"svg":
        if cut_short and not TAG.match(root):
            raise NeedMoreBytes("SVG root element goes on beyond the bytes at hand")
        return _read_svg(root[:MAX_ATTRIBUTES])
    if name in MSL_ROOTS and not _is_html(text):
        raise UnsupportedFormat("ImageMagick MSL")
    raise NotAnImage("HTML" if _is_html(text) or name.lower() in HTML_ROOTS else "XML")


def _is_html(text: bytes) -> bool:
    return re.search(rb"<!doctype\s{1,16}html", text[:SAMPLE], re.IGNORECASE) is not None


def _read_svg(root: bytes) -> ImageInfo:
    """Width and height in CSS pixels; one that is missing follows from the view box (SVG 2, section 8.2)."""
    tag = ((found := TAG.match(root)) and found[0]) or root.partition(b">")[0]
    width, height = (_parse_length(_find_attribute(tag, name)) for name in (b"width", b"height"))
    view_box = re.split(rb"[\s,]+", _find_attribute(tag, b"viewBox").strip())
    box_width, box_height = map(_parse_length, view_box[2:]) if len(view_box) == 4 else (0.0, 0.0)
    if box_width and box_height:
        if not (width or height):
            width, height = box_width, box_height
        width = width or height * box_width / box_height
        height = height or width * box_height / box_width
    if not (width and height):
        raise UnsupportedFormat("SVG without a size of its own (no width and height, no viewBox)")
    scale = min(1.0, math.sqrt(MOST_PIXELS / (width * height)))
    width, height = (max(1, round(scale * side)) for side in (width, height))
    return ImageInfo(Format.SVG, width, height, has_alpha=True, details=SvgDetails(scale=scale))


def _find_attribute(tag: bytes, name: bytes) -> bytes:
    found = re.search(rb"\s" + name + rb"\s{0,16}=\s{0,16}[\"']([^\"']{0,128})[\"']", tag)
    return found[1] if found else b""


def _parse_length(value: bytes) -> float:
    """In CSS pixels; 0 for a length that depends on the surroundings (%, em) or makes no sense."""
    found = NUMBER.match(value)
    return float(found[1]) * PIXELS[(found[2] or b"").lower()] if found else 0.0


FORMAT = FormatSpec("SVG", (Format.SVG,), lambda _: False, read_text)
"""SVG has no signature: `probe` reads every object that nothing else matches as text."""
