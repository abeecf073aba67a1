"""Renditions -> targets: size, format, quality, key and headers of each thumbnail."""

from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from typing import Final

from thumbnailer.model import Fit, Format, ImageInfo, ObjectEvent
from thumbnailer.planning.capabilities import INPUTS, OUTPUTS
from thumbnailer.renditions import MAX_SIDE, OUTPUT_FORMATS, SMALL_FORMATS, Rendition, target_key
from thumbnailer.settings import Settings
from thumbnailer.store.base import ObjectHeaders, ObjectVersion, PutHeaders
from thumbnailer.values import dataclass, replace

SOURCE_ETAG: Final = "source-etag"
SOURCE_VERSION: Final = "source-version-id"
RECIPE: Final = "recipe"
PICTURE_VERSION: Final = 1
"""Raised when the pixels of thumbnails change: a backfill with `--compare etag` then makes all of them again."""
PLACEHOLDER: Final = "thumbhash"
_CONTENT_TYPES: Final = frozenset(output.content_type for output in OUTPUTS.values())
MOST_METADATA: Final = 2048  # bytes of user metadata, names and values together: S3's limit


@dataclass(frozen=True, slots=True)
class Target:
    """A rendition resolved: the picture is resized to `scaled`, then cropped to `width` x `height`."""

    bucket: str
    key: str
    name: str
    width: int
    height: int
    scaled: tuple[int, int]
    format: Format
    quality: int
    headers: PutHeaders
    smart: bool = False  # cropped around the most striking part, not around the middle
    progressive: bool = False
    small: bool = False  # fewer bytes for more time to encode
    quick: bool = False  # less time to encode for more bytes
    most_bytes: int | None = None  # limit for the encoded picture if a lower quality can meet it; None: no limit


def resolve(
    rendition: Rendition, event: ObjectEvent, info: ImageInfo, source: ObjectHeaders, settings: Settings
) -> Target:
    """Raises KeyTooLong."""
    format_ = rendition.format or automatic_format(info)
    output = OUTPUTS[format_]
    scaled = scaled_size(rendition, *info.upright)
    width, height = cropped_size(rendition, scaled)
    # Only fewer colours make a PNG or GIF smaller than a file of another format.
    may_shrink = scaled == info.upright and (format_ is info.format or not output.lossless)
    return Target(
        bucket=settings.destination_bucket(event.bucket),
        key=target_key(settings.key, event.key, rendition, format_),
        name=rendition.name,
        width=width,
        height=height,
        scaled=scaled,
        format=format_,
        quality=rendition.quality or output.quality,
        headers=target_headers(source, rendition, format_, settings),
        smart=rendition.fit is Fit.SMART,
        progressive=rendition.progressive and output.progressive,
        small=rendition.small and format_ in SMALL_FORMATS,
        quick=rendition.quick,
        most_bytes=source.size if may_shrink else None,
    )


def automatic_format(info: ImageInfo) -> Format:
    """The source's own format if browsers show it; else JPEG, or PNG to keep alpha."""
    if info.format in OUTPUTS:
        return info.format
    return Format.PNG if info.has_alpha else Format.JPEG


def scaled_size(rendition: Rendition, width: int, height: int) -> tuple[int, int]:
    """The size to resize to: within the wish (inside) or over it (cover), never enlarged, no side below 1.

    A side without a wish is at most MAX_SIDE.
    """
    sides = ((rendition.width, width), (rendition.height, height))
    ratios = [wish / side for wish, side in sides if wish is not None]
    longest = [MAX_SIDE / side for wish, side in sides if wish is None]
    scale = min(1.0, max(ratios) if rendition.fit.crops else min(ratios), *longest)
    return max(1, round(width * scale)), max(1, round(height * scale))


def cropped_size(rendition: Rendition, scaled: tuple[int, int]) -> tuple[int, int]:
    return min(rendition.width or scaled[0], scaled[0]), min(rendition.height or scaled[1], scaled[1])


def keeps_animation(info: ImageInfo, target: Target) -> bool:
    """Whether this thumbnail is animated."""
    return info.frames > 1 and INPUTS[info.format].animated and OUTPUTS[target.format].animated


@lru_cache(256)
def recipe(rendition: Rendition, format_: Format) -> str:
    """Eight hexadecimal digits that change with everything that decides a thumbnail's pixels, beside its source."""
    text = f"{rendition} {format_} {rendition.quality or OUTPUTS[format_].quality} {PICTURE_VERSION}"
    return sha256(text.encode()).hexdigest()[:8]


def recipes(rendition: Rendition) -> frozenset[str]:
    """The recipes of all formats that the rendition may have."""
    formats = (rendition.format,) if rendition.format else OUTPUT_FORMATS
    return frozenset(recipe(rendition, format_) for format_ in formats)


def target_headers(source: ObjectHeaders, rendition: Rendition, format_: Format, settings: Settings) -> PutHeaders:
    """The source's own headers and metadata, and what the thumbnail is made from: version and recipe."""
    return PutHeaders(
        content_type=OUTPUTS[format_].content_type,
        cache_control=settings.cache_control or source.cache_control,
        content_disposition=source.content_disposition,
        content_language=source.content_language,
        metadata=_metadata(source, recipe(rendition, format_), settings.user_metadata),
        storage_class=settings.storage_class,
        sse=settings.sse,
        kms_key_id=settings.kms_key_id,
    )


def _metadata(source: ObjectHeaders, made_by: str, user: bool) -> Mapping[str, str]:
    """The product's entries, and the user's if they are wanted and S3 takes all of them."""
    own = {SOURCE_ETAG: source.etag or "", RECIPE: made_by}
    if source.version_id:
        own[SOURCE_VERSION] = source.version_id
    every = {**source.metadata, **own}
    return every if user and _size(every) <= MOST_METADATA else own


def source_version(thumbnail: ObjectHeaders) -> ObjectVersion | None:
    """The version of the source that the thumbnail was made from; None if the object is no thumbnail."""
    metadata = thumbnail.metadata
    if SOURCE_ETAG not in metadata or thumbnail.content_type not in _CONTENT_TYPES:
        return None
    return ObjectVersion(metadata[SOURCE_ETAG] or None, metadata.get(SOURCE_VERSION))


def with_placeholder(headers: PutHeaders, placeholder: str) -> PutHeaders:
    """Adds the ThumbHash to the metadata unless S3's limit is reached."""
    metadata = {**(headers.metadata or {}), PLACEHOLDER: placeholder}
    return replace(headers, metadata=metadata) if _size(metadata) <= MOST_METADATA else headers


def _size(metadata: Mapping[str, str]) -> int:
    return sum(len(name) + len(value) for name, value in metadata.items())
