"""Event, header and settings -> Plan: every decision about one picture, before any pixel is read.

Refusals are errors: a function raises as soon as its facts suffice.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from thumbnailer import errors
from thumbnailer.formats.base import MOST_FRAMES
from thumbnailer.formats.details import JpegDetails
from thumbnailer.model import EngineName, EventKind, Format, ImageInfo, ObjectEvent
from thumbnailer.planning.capabilities import (
    ENCODED_WEIGHT,
    INPUTS,
    NATIVE,
    OUTPUTS,
    Capabilities,
    engines_for,
    pixels_of_work,
    shrink_on_load,
    suits_native,
)
from thumbnailer.planning.memory import Wanted, Work, memory_estimate, salvage_estimate
from thumbnailer.planning.targets import SOURCE_ETAG, Target, keeps_animation, resolve
from thumbnailer.planning.tier import Tier
from thumbnailer.settings import Settings
from thumbnailer.store.base import ObjectHeaders
from thumbnailer.values import dataclass

EMPTY_FOLDER: Final = "an empty object whose key ends in /"


@dataclass(frozen=True, slots=True)
class Plan:
    """Every decision about one picture. Equal by value; sizes in bytes, sides in upright pixels."""

    event: ObjectEvent
    info: ImageInfo
    engine: EngineName
    fallback: EngineName | None  # reads the file if `engine` fails
    shrink: int
    frames: int
    targets: tuple[Target, ...]
    fetch_bytes: int
    memory_estimate: int  # memory that `engine` takes beyond the idle process
    second_estimate: int  # memory that the fallback and the salvage of a damaged picture take
    salvage: bool  # there is memory to show the readable part of a damaged picture
    thumbhash: bool
    still_because: str = ""  # why an animation shows only its first frame; empty if nothing is left out


def refuse_event(event: ObjectEvent, settings: Settings) -> None:
    """Raises if the event alone shows that there is nothing to do.

    The event's size is not checked: the object may have changed since. If the new object is too large or empty, the
    thumbnails of the old one must go, so `refuse_headers` checks the size.
    """
    if settings.is_destination(event.bucket):
        raise errors.OwnOutput(f"{event.bucket} is a destination of THUMBNAILER_DESTINATION={settings.destination}")
    if not settings.may_be_source(event.bucket):
        raise errors.BucketNotAllowed(f"{event.bucket} is none of THUMBNAILER_SOURCES={','.join(settings.sources)}")
    if event.kind is EventKind.OTHER:
        raise errors.Filtered("nothing was created, removed or restored")
    if settings.failed_prefix and event.key.startswith(settings.failed_prefix):
        raise errors.Filtered(f"the key lies under THUMBNAILER_FAILED_PREFIX={settings.failed_prefix}")
    if settings.kept_offers and event.key.startswith(settings.any_prefix):
        raise errors.Filtered(f"the key lies under THUMBNAILER_ANY_PREFIX={settings.any_prefix}")
    if not settings.wants(event.key):
        raise errors.Filtered("THUMBNAILER_INCLUDE or _EXCLUDE leaves the key out")


def refuse_headers(event: ObjectEvent, headers: ObjectHeaders, tier: Tier) -> None:
    """Raises if the object's headers show that there is nothing to do, before its body is read."""
    if SOURCE_ETAG in headers.metadata:
        raise errors.OwnOutput(f"the object has the metadata {SOURCE_ETAG}, which only thumbnails have")
    if headers.size == 0 and event.key.endswith("/"):
        raise errors.FolderMarker(EMPTY_FOLDER)
    if headers.size == 0:
        raise errors.NotAnImage("empty object")
    if headers.size > tier.max_bytes:
        raise errors.TooManyBytes(f"{headers.size} bytes; at most {tier.max_bytes} are taken")


def make_plan(
    event: ObjectEvent,
    info: ImageInfo,
    source: ObjectHeaders,
    settings: Settings,
    tier: Tier,
    installed: Capabilities,
    still_because: str = "",
) -> Plan:
    """Decides engine, shrink, sizes, formats, keys and headers. The limits are the tier's.

    An animation that does not fit becomes a still, and `still_because` says why. Raises UnsupportedFormat,
    TooManyPixels, KeyTooLong.
    """
    _refuse_format(info, settings)
    targets = tuple(resolve(rendition, event, info, source, settings) for rendition in settings.renditions)
    reduction = _reduction(info, targets)
    shrink = shrink_on_load(info, reduction)
    outputs = frozenset(target.format for target in targets)
    preferred = None if settings.engine is NATIVE else settings.engine
    engines = engines_for(info, shrink, outputs, preferred, installed)
    natively = suits_native(info, reduction, outputs, settings.engine, installed)
    if not (engines or natively):
        formats = ", ".join(sorted(outputs))
        raise errors.UnsupportedFormat(f"{info.format}: no engine here reads it and writes {formats}")
    frames = 1 if still_because else info.frames
    work = Work(info, shrink, source.size, tuple(_describe_wanted(info, target, frames) for target in targets))
    try:
        needs = _select_fitting(work, engines, natively, tier, preferred)
    except errors.TooManyPixels as error:
        if work.frames == 1:
            raise
        return make_plan(event, info, source, settings, tier, installed, f"only its first frame is shown: {error}")
    engine, *others = needs
    salvage_need = salvage_estimate(work) if EngineName.PILLOW in needs else 0
    salvage = 0 < salvage_need <= tier.memory_budget
    return Plan(
        event=event,
        info=info,
        engine=engine,
        fallback=next(iter(others), None),
        shrink=shrink,
        frames=work.frames,
        targets=targets,
        fetch_bytes=source.size,
        memory_estimate=needs[engine],
        second_estimate=max([needs[name] for name in others] + [salvage_need] * salvage, default=0),
        salvage=salvage,
        thumbhash=settings.thumbhash,
        still_because=still_because,
    )


def _refuse_format(info: ImageInfo, settings: Settings) -> None:
    if info.format not in INPUTS:
        raise errors.UnsupportedFormat(f"{info.format}: no engine here reads it")
    if INPUTS[info.format].opt_in and not settings.svg:
        raise errors.UnsupportedFormat(f"{info.format}: a program for a drawing; THUMBNAILER_SVG=on takes it")


def _refuse_work(work: Work, tier: Tier) -> None:
    """Frames and scans cost nearly nothing to write, and a pass over the picture each to read."""
    info, most = work.info, min(tier.max_frames, MOST_FRAMES)
    if work.frames > most:
        raise errors.TooManyPixels(f"{work.frames} frames; at most {most} are taken")
    encoded = sum(wanted.encoded * wanted.frames for wanted in work.wanted if wanted.frames > 1)
    pixels = pixels_of_work(info, work.frames, work.shrink) + encoded * ENCODED_WEIGHT
    if pixels > tier.max_pixels:
        scans = info.details_of(JpegDetails).scans
        size = f"{info.width}x{info.height} as {info.format}, frames: {work.frames}, scans: {scans}"
        raise errors.TooManyPixels(f"{size}: it takes as long as {pixels} pixels; at most {tier.max_pixels} are taken")


def _reduction(info: ImageInfo, targets: Sequence[Target]) -> float:
    """The factor between the source and the largest thumbnail, by the less reduced side."""
    width, height = info.upright
    return min(min(width / target.scaled[0], height / target.scaled[1]) for target in targets)


def _describe_wanted(info: ImageInfo, target: Target, frames: int) -> Wanted:
    """The thumbnail before it is turned and cropped."""
    width, height = reversed(target.scaled) if info.orientation >= 5 else target.scaled
    shown = frames if keeps_animation(info, target) else 1
    quantised = OUTPUTS[target.format].lossless and target.quality < 100
    format_ = Format.GIF if quantised else target.format  # the quantiser takes most memory
    return Wanted(width, height, format_, target.width * target.height, shown)


def _select_fitting(
    work: Work, engines: Sequence[EngineName], natively: bool, tier: Tier, preferred: EngineName | None
) -> Mapping[EngineName, int]:
    """The engines that fit into the tier's memory, and their needs, in order. Raises TooManyPixels if none fits.

    The compiled engine needs no second one. An engine that leaves no memory for the other workers comes last, unless a
    setting asks for it.
    """
    _refuse_work(work, tier)
    if natively and (native := memory_estimate(NATIVE, work)) <= tier.memory_budget:
        return {NATIVE: native}
    needs = {name: memory_estimate(name, work) for name in engines}
    fitting = [name for name, need in needs.items() if need <= tier.memory_budget]
    if not fitting:
        least, budget = min(needs.values()) >> 20, tier.memory_budget >> 20
        raise errors.TooManyPixels(f"{work.info.width}x{work.info.height} needs {least} MB, there are {budget}")
    if preferred is None:
        fitting.sort(key=lambda name: needs[name] > tier.memory_budget // tier.workers)
    return {name: needs[name] for name in fitting}
