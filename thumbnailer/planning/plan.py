"""Event, header and settings -> Plan: every decision about one picture, before any pixel is read.

Refusals are errors: a function raises as soon as its facts suffice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
from thumbnailer.model import EngineName, EventKind, ImageInfo, ObjectEvent
from thumbnailer.planning.capabilities import INPUTS, Capabilities, engines_for, pixels_of_work, scans, shrink_on_load
from thumbnailer.planning.memory import Wanted, Work, memory_estimate, salvage_estimate
from thumbnailer.planning.targets import SOURCE_ETAG, Target, keeps_animation, resolve
from thumbnailer.planning.tier import Tier
from thumbnailer.settings import Settings
from thumbnailer.store.base import ObjectHeaders

EMPTY_FOLDER: Final = "an empty object whose key ends in /"


@dataclass(frozen=True, slots=True)
class Plan:
    """Every decision about one picture. Equal by value; sizes in bytes, sides in upright pixels."""

    event: ObjectEvent
    info: ImageInfo
    engine: EngineName
    fallback: EngineName | None
    """reads the file if `engine` fails"""
    shrink: int
    frames: int
    targets: tuple[Target, ...]
    fetch_bytes: int
    memory_estimate: int
    """memory that `engine` takes beyond the idle process"""
    second_estimate: int
    """memory that the fallback and the salvage of a damaged picture take"""
    salvage: bool
    """there is memory to show the readable part of a damaged picture"""
    thumbhash: bool


def refuse_event(event: ObjectEvent, settings: Settings) -> None:
    """Raises if the event alone shows that there is nothing to do.

    The event's size is not checked: the object may have changed since. If the new object is too large or empty, the
    thumbnails of the old one must go, so `refuse_headers` checks the size.
    """
    if settings.is_destination(event.bucket):
        raise OwnOutput(f"{event.bucket} is a destination of THUMBNAILER_DESTINATION={settings.destination}")
    if not settings.may_be_source(event.bucket):
        raise BucketNotAllowed(f"{event.bucket} is none of THUMBNAILER_SOURCES={','.join(settings.sources)}")
    if event.kind is EventKind.OTHER:
        raise Filtered("nothing was created, removed or restored")
    if settings.failed_prefix and event.key.startswith(settings.failed_prefix):
        raise Filtered(f"the key lies under THUMBNAILER_FAILED_PREFIX={settings.failed_prefix}")
    if not settings.wants(event.key):
        raise Filtered("THUMBNAILER_INCLUDE or _EXCLUDE leaves the key out")
    if event.kind is not EventKind.REMOVED and event.size == 0 and event.key.endswith("/"):
        raise FolderMarker(EMPTY_FOLDER)


def refuse_headers(event: ObjectEvent, headers: ObjectHeaders, tier: Tier) -> None:
    """Raises if the object's headers show that there is nothing to do, before its body is read."""
    if SOURCE_ETAG in headers.metadata:
        raise OwnOutput(f"the object has the metadata {SOURCE_ETAG}, which only thumbnails have")
    if headers.size == 0 and event.key.endswith("/"):
        raise FolderMarker(EMPTY_FOLDER)
    if headers.size == 0:
        raise NotAnImage("empty object")
    if headers.size > tier.max_bytes:
        raise TooManyBytes(f"{headers.size} bytes; at most {tier.max_bytes} are taken")


def make_plan(
    event: ObjectEvent,
    info: ImageInfo,
    source: ObjectHeaders,
    settings: Settings,
    tier: Tier,
    installed: Capabilities,
) -> Plan:
    """Decides engine, shrink, sizes, formats, keys and headers. The limits are the tier's.

    Raises UnsupportedFormat, TooManyPixels, TooManyFrames, KeyTooLong.
    """
    _refuse_picture(info, settings, tier)
    targets = tuple(resolve(rendition, event, info, source, settings) for rendition in settings.renditions)
    shrink = shrink_on_load(info, _reduction(info, targets))
    outputs = frozenset(target.format for target in targets)
    engines = engines_for(info, shrink, outputs, settings.engine, installed)
    if not engines:
        raise UnsupportedFormat(f"{info.format}: no engine here reads it and writes {', '.join(sorted(outputs))}")
    wanted = tuple(_wanted(info, target) for target in targets)
    work = Work(info, shrink, source.size, wanted)
    _refuse_work(info, work.frames, tier)
    room = _room(engines, work, tier, settings.engine)
    return Plan(
        event=event,
        info=info,
        engine=room.engine,
        fallback=room.fallback,
        shrink=shrink,
        frames=work.frames,
        targets=targets,
        fetch_bytes=source.size,
        memory_estimate=room.first,
        second_estimate=room.second,
        salvage=room.salvage,
        thumbhash=settings.thumbhash,
    )


def _refuse_picture(info: ImageInfo, settings: Settings, tier: Tier) -> None:
    if info.format not in INPUTS:
        raise UnsupportedFormat(f"{info.format}: no engine here reads it")
    if INPUTS[info.format].opt_in and not settings.svg:
        raise UnsupportedFormat(f"{info.format}: a program for a drawing; THUMBNAILER_SVG=on takes it")
    if info.pixels > tier.max_pixels:
        size = f"{info.width}x{info.height}"
        raise TooManyPixels(f"{size} are {info.pixels} pixels; at most {tier.max_pixels} are taken")
    if info.frames > tier.max_frames and INPUTS[info.format].animated:
        raise TooManyFrames(f"{info.frames} frames; at most {tier.max_frames} are taken")


def _refuse_work(info: ImageInfo, frames: int, tier: Tier) -> None:
    """Frames and scans cost nearly nothing to write, and a pass over the picture each to read."""
    work = pixels_of_work(info, frames)
    if work > tier.max_pixels:
        picture = f"{info.width}x{info.height} as {info.format}, frames: {frames}, scans: {scans(info)}"
        raise TooManyPixels(f"{picture}: it takes as long as {work} pixels; at most {tier.max_pixels} are taken")


def _reduction(info: ImageInfo, targets: Sequence[Target]) -> float:
    """The factor between the source and the largest thumbnail, by the less reduced side."""
    width, height = info.upright
    return min(min(width / target.scaled[0], height / target.scaled[1]) for target in targets)


def _wanted(info: ImageInfo, target: Target) -> Wanted:
    """The thumbnail before it is turned and cropped."""
    width, height = reversed(target.scaled) if info.orientation >= 5 else target.scaled
    frames = info.frames if keeps_animation(info, target) else 1
    return Wanted(width, height, target.format, frames, kept=target.width * target.height)


@dataclass(frozen=True, slots=True)
class _Room:
    """The order of engines, and the memory for the first and the second try."""

    engine: EngineName
    fallback: EngineName | None
    salvage: bool
    first: int
    second: int


def _room(engines: Sequence[EngineName], work: Work, tier: Tier, preferred: EngineName | None) -> _Room:
    """The engines that fit into the tier's memory, in their order. Raises TooManyPixels if none fits.

    An engine that leaves no memory for the other workers comes last, unless a setting asks for it.
    """
    needs = {name: memory_estimate(name, work) for name in engines}
    fitting = [name for name, need in needs.items() if need <= tier.memory_budget]
    if not fitting:
        size = f"{work.info.width}x{work.info.height}"
        raise TooManyPixels(f"{size} needs {min(needs.values()) >> 20} MB, there are {tier.memory_budget >> 20}")
    if preferred is None:
        share = tier.memory_budget // tier.workers
        fitting.sort(key=lambda name: needs[name] > share)
    engine, *others = fitting
    salvage_need = salvage_estimate(work) if EngineName.PILLOW in fitting else 0
    salvage = 0 < salvage_need <= tier.memory_budget
    second = max([needs[name] for name in others] + [salvage_need] * salvage, default=0)
    return _Room(engine, next(iter(others), None), salvage, needs[engine], second)
