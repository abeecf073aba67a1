"""Event, header and settings -> Plan: everything decided, nothing done. Raises the rejection where nothing is to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from thumbnailer.errors import (
    BucketNotAllowed,
    Filtered,
    FolderMarker,
    NotAnImage,
    OwnOutput,
    TooManyBytes,
    TooManyFrames,
    TooManyPixels,
    UnsupportedFormat,
)
from thumbnailer.model import EngineName, EventKind, Fit, Format, ImageInfo, ObjectEvent
from thumbnailer.planning import capabilities as costs
from thumbnailer.planning.capabilities import Capabilities
from thumbnailer.planning.memory import Wanted, Work, memory_estimate, salvage_estimate
from thumbnailer.planning.tier import Tier
from thumbnailer.renditions import MAX_SIDE, OUTPUT_FORMATS, Rendition, target_key
from thumbnailer.settings import Settings
from thumbnailer.store.base import ObjectHeaders, PutHeaders

SOURCE_ETAG: Final = "source-etag"
SOURCE_VERSION: Final = "source-version-id"
PLACEHOLDER: Final = "thumbhash"
EMPTY_FOLDER: Final = "an empty object whose key ends in /"
MOST_METADATA: Final = 2048  # S3's limit on user metadata, names and values together, in bytes
CONTENT_TYPES: Final = {
    Format.JPEG: "image/jpeg",
    Format.PNG: "image/png",
    Format.WEBP: "image/webp",
    Format.AVIF: "image/avif",
    Format.GIF: "image/gif",
}
QUALITY: Final = {Format.JPEG: 95, Format.WEBP: 95, Format.AVIF: 90, Format.PNG: 100, Format.GIF: 100}


@dataclass(frozen=True, slots=True)
class Target:
    """A wish resolved: the picture is resized to `scaled`, then cropped to `width` x `height`.

    The crop is around the middle, or, if `smart`, around what draws the eye. `most_bytes`: the encoded picture is to be
    no larger, if some lower quality makes that possible; None: there is no such limit.
    """

    bucket: str
    key: str
    name: str
    width: int
    height: int
    scaled: tuple[int, int]
    format: Format
    quality: int
    headers: PutHeaders
    smart: bool = False
    progressive: bool = False
    most_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything decided about one picture. Equal by value; sizes in bytes, sides in upright pixels."""

    event: ObjectEvent
    info: ImageInfo
    engine: EngineName
    fallback: EngineName | None
    """asked when `engine` cannot read the file after all"""
    shrink: int
    frames: int
    targets: tuple[Target, ...]
    fetch_bytes: int
    memory_estimate: int
    """what `engine` takes beyond the idle process"""
    second_estimate: int
    """what is taken by what is tried when `engine` cannot read the file: the fallback, then the part that shows"""
    salvage: bool
    """whether there is room for showing the part of a damaged picture that can be decoded"""
    thumbhash: bool


# --- before anything is read --------------------------------------------------------------------------------------


def refuse_event(event: ObjectEvent, settings: Settings) -> None:
    """Raises what can be said of a record from its event alone.

    Its size is not among that: the object may be another by now, and where it is too large or empty, the thumbnails of
    what the key held before must go. So that is asked of the object itself.
    """
    if settings.is_destination(event.bucket):
        raise OwnOutput(f"{event.bucket} is a destination of THUMBNAILER_DESTINATION={settings.destination}")
    if not settings.may_be_source(event.bucket):
        raise BucketNotAllowed(f"{event.bucket} is none of THUMBNAILER_SOURCES={','.join(settings.sources)}")
    if event.kind is EventKind.OTHER:
        raise Filtered("nothing was created, removed or restored")
    if settings.failed_prefix and event.key.startswith(settings.failed_prefix):
        raise Filtered(f"it lies under THUMBNAILER_FAILED_PREFIX={settings.failed_prefix}")
    if not settings.wants(event.key):
        raise Filtered("THUMBNAILER_INCLUDE and _EXCLUDE leave it out")
    if event.kind is not EventKind.REMOVED and event.size == 0 and event.key.endswith("/"):
        raise FolderMarker(EMPTY_FOLDER)


def refuse_headers(event: ObjectEvent, headers: ObjectHeaders, settings: Settings, tier: Tier) -> None:
    """Raises what can be said once the object's headers are there, before its body is read."""
    if SOURCE_ETAG in headers.metadata:
        raise OwnOutput(f"it carries the metadata {SOURCE_ETAG}, as only thumbnails do")
    if headers.size == 0 and event.key.endswith("/"):
        raise FolderMarker(EMPTY_FOLDER)
    if headers.size == 0:
        raise NotAnImage("empty object")
    most = most_bytes(settings, tier)
    if headers.size > most:
        raise TooManyBytes(f"{headers.size} bytes; at most {most} are taken")


def most_bytes(settings: Settings, tier: Tier) -> int:
    return settings.max_bytes or tier.max_bytes


# --- the plan -----------------------------------------------------------------------------------------------------


def make_plan(
    event: ObjectEvent,
    info: ImageInfo,
    source: ObjectHeaders,
    settings: Settings,
    tier: Tier,
    installed: Capabilities,
) -> Plan:
    """Decides engine, shrink, sizes, formats, keys and headers.

    Raises UnsupportedFormat, TooManyPixels, TooManyFrames, KeyTooLong.
    """
    _refuse_picture(info, settings, tier)
    targets = tuple(_target(rendition, event, info, source, settings) for rendition in settings.renditions)
    shrink = costs.shrink_on_load(info, _reduction(info, targets))
    outputs = frozenset(target.format for target in targets)
    engines = costs.engines_for(info, shrink, outputs, settings.engine, installed)
    if not engines:
        raise UnsupportedFormat(f"{info.format}: no engine here reads it" + _writes_too(targets))
    frames = _frames(info, targets)
    _refuse_work(info, frames, settings, tier)
    room = _room(engines, Work(info, shrink, source.size, _wanted(info, targets)), tier, settings.engine)
    return Plan(
        event=event,
        info=info,
        engine=room.engine,
        fallback=room.fallback,
        shrink=shrink,
        frames=frames,
        targets=targets,
        fetch_bytes=source.size,
        memory_estimate=room.first,
        second_estimate=room.second,
        salvage=room.salvage,
        thumbhash=settings.thumbhash,
    )


@dataclass(frozen=True, slots=True)
class _Room:
    """Who is asked in what order, and the memory that takes."""

    engine: EngineName
    fallback: EngineName | None
    salvage: bool
    first: int
    second: int


def _room(engines: Iterable[EngineName], work: Work, tier: Tier, preferred: EngineName | None) -> _Room:
    """The engines that fit into the tier's memory, in their order. Raises TooManyPixels where none does.

    One that would leave no room for the other workers gives way to one that does, unless it was asked for by name.
    """
    needs = {name: memory_estimate(name, work) for name in engines}
    fitting = [name for name, need in needs.items() if need <= tier.memory_budget]
    if not fitting:
        size = f"{work.info.width}x{work.info.height}"
        least, budget = min(needs.values()) >> 20, tier.memory_budget >> 20
        raise TooManyPixels(f"{size} needs {least} MB, there are {budget}")
    if preferred is None:
        share = tier.memory_budget // tier.workers
        fitting.sort(key=lambda name: needs[name] > share)
    engine, *others = fitting
    salvage_need = salvage_estimate(work) if EngineName.PILLOW in fitting else 0
    salvage = 0 < salvage_need <= tier.memory_budget
    second = [needs[name] for name in others] + ([salvage_need] if salvage else [])
    return _Room(engine, next(iter(others), None), salvage, needs[engine], max(second, default=0))


def _wanted(info: ImageInfo, targets: Iterable[Target]) -> tuple[Wanted, ...]:
    """The thumbnails before they are turned and cropped."""
    return tuple(
        Wanted(
            *(target.scaled[::-1] if info.orientation >= 5 else target.scaled),
            format=target.format,
            frames=info.frames if keeps_animation(info, target) else 1,
            kept=target.width * target.height,
        )
        for target in targets
    )


def _refuse_picture(info: ImageInfo, settings: Settings, tier: Tier) -> None:
    if info.format not in costs.PREFERENCE:
        raise UnsupportedFormat(f"{info.format}: no engine here reads it")
    if info.format is Format.SVG and not settings.svg:
        raise UnsupportedFormat("svg: it is a program for a drawing; THUMBNAILER_SVG=on takes it")
    most = settings.max_pixels or tier.max_pixels
    if info.pixels > most:
        raise TooManyPixels(f"{info.width}x{info.height} are {info.pixels} pixels; at most {most} are taken")
    if info.frames > (settings.max_frames or tier.max_frames) and info.format in costs.ANIMATED:
        raise TooManyFrames(f"{info.frames} frames; at most {settings.max_frames or tier.max_frames} are taken")


def _refuse_work(info: ImageInfo, frames: int, settings: Settings, tier: Tier) -> None:
    """Frames and scans are nearly free to write and cost a pass over the picture each to read."""
    work, most = costs.pixels_of_work(info, frames), settings.max_pixels or tier.max_pixels
    if work > most:
        what = f"{info.width}x{info.height} as {info.format}, frames: {frames}, scans: {costs.scans(info)}"
        raise TooManyPixels(f"{what}: it takes as long as {work} pixels; at most {most} are taken")


def _writes_too(targets: Iterable[Target]) -> str:
    return " and writes " + ", ".join(sorted({target.format for target in targets}))


def _frames(info: ImageInfo, targets: Iterable[Target]) -> int:
    """All frames where some target can hold them, else the first."""
    return info.frames if any(keeps_animation(info, target) for target in targets) else 1


def keeps_animation(info: ImageInfo, target: Target) -> bool:
    """Whether this thumbnail moves."""
    return info.frames > 1 and info.format in costs.ANIMATED and target.format in costs.ANIMATED


def _reduction(info: ImageInfo, targets: Iterable[Target]) -> float:
    """How many times smaller than the source the largest thumbnail is, by its less reduced side."""
    width, height = info.upright
    return min(min(width / target.scaled[0], height / target.scaled[1]) for target in targets)


def _target(
    rendition: Rendition, event: ObjectEvent, info: ImageInfo, source: ObjectHeaders, settings: Settings
) -> Target:
    format_ = rendition.format or automatic_format(info)
    scaled = scaled_size(rendition, *info.upright)
    width, height = cropped_size(rendition, scaled)
    return Target(
        bucket=settings.destination_bucket(event.bucket),
        key=target_key(settings.key, event.key, rendition, format_),
        name=rendition.name,
        width=width,
        height=height,
        scaled=scaled,
        format=format_,
        quality=rendition.quality or QUALITY[format_],
        headers=target_headers(source, format_, settings),
        smart=rendition.fit is Fit.SMART,
        progressive=rendition.progressive and format_ is Format.JPEG,
        most_bytes=source.size if scaled == info.upright and _can_be_as_small(info.format, format_) else None,
    )


def _can_be_as_small(source: Format, target: Format) -> bool:
    """PNG and GIF can do with fewer bytes than another format by nothing but fewer colours, which shows."""
    return target is source or target not in (Format.PNG, Format.GIF)


def automatic_format(info: ImageInfo) -> Format:
    """The source's own format where browsers show it; else JPEG, or PNG where there is alpha to keep."""
    if info.format in OUTPUT_FORMATS:
        return info.format
    return Format.PNG if info.has_alpha else Format.JPEG


def scaled_size(rendition: Rendition, width: int, height: int) -> tuple[int, int]:
    """The size to resize to: within the wish (inside) or over it (cover), never enlarged, no side below 1.

    A side that is left to follow from the other is still no longer than thumbnails may be.
    """
    sides = ((rendition.width, width), (rendition.height, height))
    ratios = [wish / side for wish, side in sides if wish is not None]
    longest = [MAX_SIDE / side for wish, side in sides if wish is None]
    scale = min(1.0, max(ratios) if rendition.fit.crops else min(ratios), *longest)
    return max(1, round(width * scale)), max(1, round(height * scale))


def cropped_size(rendition: Rendition, scaled: tuple[int, int]) -> tuple[int, int]:
    """What is left of `scaled` within the wish."""
    return min(rendition.width or scaled[0], scaled[0]), min(rendition.height or scaled[1], scaled[1])


def target_headers(source: ObjectHeaders, format_: Format, settings: Settings) -> PutHeaders:
    """What goes with a thumbnail: the source's own headers and metadata carried over, and what it was made from."""
    return PutHeaders(
        content_type=CONTENT_TYPES[format_],
        cache_control=settings.cache_control or source.cache_control,
        content_disposition=source.content_disposition,
        content_language=source.content_language,
        metadata=_metadata(source),
        storage_class=settings.storage_class,
        sse=settings.sse,
        kms_key_id=settings.kms_key_id,
    )


def with_placeholder(headers: PutHeaders, placeholder: str) -> PutHeaders:
    """With the ThumbHash in the metadata, unless that is full."""
    metadata = {**(headers.metadata or {}), PLACEHOLDER: placeholder}
    return replace(headers, metadata=metadata) if _metadata_size(metadata) <= MOST_METADATA else headers


def _metadata_size(metadata: Mapping[str, str]) -> int:
    return sum(len(name) + len(value) for name, value in metadata.items())


def _metadata(source: ObjectHeaders) -> Mapping[str, str]:
    """Ours always; the user's as well unless both together are more than S3 takes."""
    ours = {SOURCE_ETAG: source.etag or ""}
    if source.version_id:
        ours[SOURCE_VERSION] = source.version_id
    both = {**source.metadata, **ours}
    return both if _metadata_size(both) <= MOST_METADATA else ours
