from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thumbnailer.errors import (
    BucketNotAllowed,
    Filtered,
    FolderMarker,
    NotAnImage,
    OwnOutput,
    TooManyBytes,
    TooManyPixels,
    UnsupportedFormat,
)
from thumbnailer.formats.details import JpegDetails
from thumbnailer.model import NO_DETAILS, Details, EngineName, EventKind, Fit, Format, ImageInfo, ObjectEvent
from thumbnailer.planning.capabilities import BOTH_ENGINES, INPUTS, Capability, pixels_of_work
from thumbnailer.planning.plan import Plan, make_plan, refuse_event, refuse_headers
from thumbnailer.planning.targets import (
    SOURCE_ETAG,
)
from thumbnailer.planning.tier import Tier, tier_for
from thumbnailer.renditions import MAX_SIDE
from thumbnailer.settings import Settings, parse_settings
from thumbnailer.store.base import ObjectHeaders

PILLOW, VIPS = EngineName.PILLOW, EngineName.VIPS
EVERYTHING = Format.all()
INSTALLED = {
    PILLOW: Capability(EVERYTHING, EVERYTHING),
    VIPS: Capability(EVERYTHING - {Format.HEIC, Format.BMP, Format.ICO}, EVERYTHING),
}
TIER = tier_for(1769)
SMALL = tier_for(128)
EVENT = ObjectEvent(EventKind.CREATED, "photos", "a/b.jpg", size=1000)
SOURCE = ObjectHeaders(1000, "e1", None, "image/jpeg", None, None, None, {})
JPEG = ImageInfo(Format.JPEG, 4000, 3000)

sides = st.integers(1, 65535)
wishes = st.integers(1, MAX_SIDE)


def settings(**values: str) -> Settings:
    return parse_settings({f"THUMBNAILER_{name}": value for name, value in values.items()})


def limited(**limits: int) -> Tier:
    return TIER.with_changes(limits)


def plan(info: ImageInfo = JPEG, tier: Tier = TIER, source: ObjectHeaders = SOURCE, **values: str) -> Plan:
    return make_plan(EVENT, info, source, settings(**{"SVG": "on", **values}), tier, INSTALLED)


def headers(**changes: Any) -> ObjectHeaders:
    return replace(SOURCE, **changes)


def test_shrink_follows_the_largest_thumbnail() -> None:
    assert plan(RENDITIONS="128x128").shrink == 8
    assert plan(RENDITIONS="128x128,1000x1000").shrink == 2
    assert plan(RENDITIONS="128x128,4000x").shrink == 1
    assert plan(ImageInfo(Format.JPEG, 1, 65535)).shrink == 1


@given(sides, sides, st.integers(1, 8), wishes, wishes, st.sampled_from(Fit))
def test_shrink_leaves_twice_the_size_of_each_thumbnail(
    width: int, height: int, orientation: int, wish_width: int, wish_height: int, fit: Fit
) -> None:
    info = ImageInfo(Format.JPEG, width, height, orientation)
    wish = f"{wish_width}x{wish_height}:{fit}"
    huge = TIER.with_changes({"max_pixels": 2**40, "memory_budget": 2**60})
    made = plan(info, huge, RENDITIONS=wish)
    if made.shrink > 1:
        (target,) = made.targets
        assert info.upright[0] / made.shrink >= 2 * target.scaled[0]
        assert info.upright[1] / made.shrink >= 2 * target.scaled[1]


# --- refused before anything is read ------------------------------------------------------------------------------


def test_an_ordinary_record_is_not_refused() -> None:
    refuse_event(EVENT, settings())
    refuse_headers(EVENT, SOURCE, TIER)


@pytest.mark.matrix(44)
@pytest.mark.parametrize("kind", EventKind)
def test_every_event_of_another_bucket_is_rejected(kind: EventKind) -> None:
    with pytest.raises(BucketNotAllowed, match="THUMBNAILER_SOURCES=other,more-"):
        refuse_event(replace(EVENT, kind=kind), settings(SOURCES="other,more-*"))
    refuse_event(EVENT, settings(SOURCES="other,photos"))


@pytest.mark.matrix(42)
@pytest.mark.parametrize("kind", EventKind)
def test_objects_in_a_destination_are_own_output(kind: EventKind) -> None:
    with pytest.raises(OwnOutput):
        refuse_event(replace(EVENT, kind=kind, bucket="photos-resized"), settings())
    with pytest.raises(OwnOutput):
        refuse_event(replace(EVENT, kind=kind), settings(DESTINATION="photos"))


@pytest.mark.matrix(42)
def test_objects_with_our_metadata_are_own_output() -> None:
    with pytest.raises(OwnOutput):
        refuse_headers(EVENT, headers(metadata={SOURCE_ETAG: ""}), TIER)


@pytest.mark.matrix(42)
def test_a_stored_thumbnail_is_own_output() -> None:
    (target,) = plan().targets
    stored = headers(metadata=target.headers.metadata)
    with pytest.raises(OwnOutput):
        refuse_event(replace(EVENT, bucket=target.bucket, key=target.key), settings())
    with pytest.raises(OwnOutput):
        refuse_headers(EVENT, stored, TIER)


@pytest.mark.parametrize(
    ("event", "values"),
    [
        (replace(EVENT, kind=EventKind.OTHER), {}),
        (replace(EVENT, key="_failed/a.jpg.json"), {}),
        (replace(EVENT, key="oops/a"), {"FAILED_PREFIX": "oops/"}),
        (EVENT, {"INCLUDE": "*.png"}),
        (EVENT, {"EXCLUDE": "a/*"}),
        (replace(EVENT, kind=EventKind.REMOVED), {"EXCLUDE": "a/*"}),
    ],
)
def test_unwanted_keys_are_filtered(event: ObjectEvent, values: dict[str, str]) -> None:
    with pytest.raises(Filtered):
        refuse_event(event, settings(**values))


def test_an_empty_failed_prefix_filters_nothing() -> None:
    refuse_event(replace(EVENT, key="_failed/a.jpg"), settings(FAILED_PREFIX=""))


def test_an_empty_object_with_a_key_ending_in_a_slash_is_a_folder_marker() -> None:
    """The event's size decides nothing: the thumbnail of a picture that the marker replaced must go."""
    marker = replace(EVENT, key="a/", size=0)
    refuse_event(marker, settings())
    with pytest.raises(FolderMarker):
        refuse_headers(marker, headers(size=0), TIER)


def test_an_empty_object_is_no_picture() -> None:
    with pytest.raises(NotAnImage):
        refuse_headers(EVENT, headers(size=0), TIER)


@pytest.mark.matrix(5)
@pytest.mark.parametrize("memory_mb", [128, 1769, 10240])
def test_an_object_of_5_gb_is_refused_from_its_headers_alone(memory_mb: int) -> None:
    with pytest.raises(TooManyBytes):
        refuse_headers(EVENT, headers(size=5 * 10**9), tier_for(memory_mb))


@pytest.mark.parametrize("size", [0, 5 * 10**9, None])
def test_the_size_in_the_event_is_ignored(size: int | None) -> None:
    """The object may have changed since."""
    refuse_event(replace(EVENT, size=size), settings())


@pytest.mark.matrix(5)
def test_many_scans_of_a_small_picture_are_refused() -> None:
    info = ImageInfo(Format.JPEG, 6000, 4000, progressive=True, details=JpegDetails(scans=120))
    with pytest.raises(TooManyPixels, match="scans: 120"):
        plan(info)
    assert plan(replace(info, details=NO_DETAILS))
    assert plan(info, limited(max_pixels=10**9))


LARGE_FRAMES, MANY_FRAMES = (2000, 2000, 100), (64, 48, 1700)


@pytest.mark.matrix(57)
@pytest.mark.parametrize("format_", [Format.GIF, Format.WEBP])
@pytest.mark.parametrize("size", [LARGE_FRAMES, MANY_FRAMES])
def test_an_animation_that_takes_too_long_is_a_still(format_: Format, size: tuple[int, int, int]) -> None:
    info = ImageInfo(format_, size[0], size[1], frames=size[2])
    still = plan(info)
    assert still.frames == 1
    assert f"only its first frame is shown: {size[0]}x{size[1]}" in still.still_because
    assert still.memory_estimate <= plan(replace(info, frames=2)).memory_estimate
    whole = plan(info, limited(max_pixels=10**10, memory_budget=1 << 40))
    assert (whole.frames, whole.still_because) == (size[2], "")


@pytest.mark.matrix(57)
def test_an_animation_without_room_in_memory_is_a_still() -> None:
    gif = ImageInfo(Format.GIF, 100, 100, frames=300)
    made = plan(gif, limited(memory_budget=24 << 20))
    assert made.frames == 1
    assert "there are 24" in made.still_because
    assert plan(gif).frames == 300


def test_frames_of_small_thumbnails_are_limited_by_work_not_by_their_count() -> None:
    assert plan(ImageInfo(Format.GIF, 64, 48, frames=1001)).frames == 1001
    assert plan(ImageInfo(Format.GIF, 64, 48, frames=101), SMALL).frames == 101


@pytest.mark.matrix(57)
def test_a_picture_too_large_for_a_still_is_refused() -> None:
    with pytest.raises(TooManyPixels, match="frames: 1,"):
        plan(ImageInfo(Format.GIF, 20_000, 20_000, frames=2))


def test_an_animation_to_a_still_format_is_a_still() -> None:
    assert plan(ImageInfo(Format.GIF, 2000, 2000, frames=100), RENDITIONS="128x128:jpeg").frames == 1


def test_the_limit_of_bytes_is_exact() -> None:
    for tier in (TIER, limited(max_bytes=1000)):
        refuse_headers(EVENT, headers(size=tier.max_bytes), tier)
        with pytest.raises(TooManyBytes, match=str(tier.max_bytes)):
            refuse_headers(EVENT, headers(size=tier.max_bytes + 1), tier)


def test_a_removed_object_is_no_folder_marker() -> None:
    refuse_event(replace(EVENT, key="a/", kind=EventKind.REMOVED, size=0), settings())


# --- refused from the picture's header ----------------------------------------------------------------------------


@pytest.mark.matrix(6)
@pytest.mark.parametrize("memory_mb", [128, 1769, 10240])
@pytest.mark.parametrize("format_", sorted(INPUTS))
def test_a_picture_that_claims_64250_by_64250_is_refused(memory_mb: int, format_: Format) -> None:
    with pytest.raises(TooManyPixels, match="64250x64250"):
        plan(ImageInfo(format_, 64250, 64250), tier_for(memory_mb))


@pytest.mark.matrix(6)
def test_the_limit_of_pixels_is_exact() -> None:
    tier = limited(max_pixels=10_000)
    assert plan(ImageInfo(Format.JPEG, 100, 100), tier).targets
    with pytest.raises(TooManyPixels, match="at most 10000"):
        plan(ImageInfo(Format.JPEG, 100, 101), tier)


def test_a_jpeg_of_200_megapixels_is_taken_where_it_shrinks_or_streams() -> None:
    phone = ImageInfo(Format.JPEG, 16_320, 12_240, channels=3, details=Details(1.5))
    assert plan(phone, SMALL).shrink == 8
    full = plan(phone, TIER, RENDITIONS="8000x8000")
    assert (full.shrink, full.fallback) == (1, VIPS)
    with pytest.raises(TooManyPixels):
        plan(phone, SMALL, RENDITIONS="8000x8000")
    with pytest.raises(TooManyPixels):
        plan(replace(phone, progressive=True), SMALL)


@pytest.mark.matrix(57)
def test_more_frames_than_the_operator_allows_are_a_still() -> None:
    tier = limited(max_frames=5)
    made = plan(ImageInfo(Format.GIF, 10, 10, frames=6), tier)
    assert (made.frames, made.still_because) == (1, "only its first frame is shown: 6 frames; at most 5 are taken")
    assert plan(ImageInfo(Format.GIF, 10, 10, frames=5), tier).frames == 5
    tiff = plan(ImageInfo(Format.TIFF, 10, 10, frames=6), tier)
    assert (tiff.frames, tiff.still_because) == (1, "")


def test_frames_are_kept_only_for_animated_formats() -> None:
    gif = ImageInfo(Format.GIF, 100, 100, frames=7)
    assert plan(gif, RENDITIONS="10x10").frames == 7
    assert plan(gif, RENDITIONS="10x10:webp").frames == 7
    assert plan(gif, RENDITIONS="10x10:jpeg").frames == 1
    assert plan(gif, RENDITIONS="a=10x10:jpeg,b=10x10").frames == 7


def test_a_format_without_an_engine_is_refused() -> None:
    with pytest.raises(UnsupportedFormat, match="pcx"):
        plan(ImageInfo(Format("pcx"), 10, 10))


# --- the engine ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", sorted(INPUTS))
def test_the_faster_engine_renders_and_the_other_is_the_fallback(format_: Format) -> None:
    made = plan(ImageInfo(format_, 100, 100))
    order = [*INPUTS[format_].engines, None]
    assert (made.engine, made.fallback) == (order[0], order[1])


@pytest.mark.parametrize("name", BOTH_ENGINES)
@pytest.mark.parametrize("format_", [Format.JPEG, Format.PNG])
def test_a_forced_engine_is_used_for_what_it_reads(name: EngineName, format_: Format) -> None:
    made = plan(ImageInfo(format_, 100, 100), ENGINE=name)
    assert made.engine is name
    assert made.fallback not in (name, None)


def test_the_other_engine_reads_formats_that_the_forced_one_does_not() -> None:
    made = plan(ImageInfo(Format.HEIC, 100, 100), ENGINE="vips")
    assert (made.engine, made.fallback) == (PILLOW, None)


def test_a_format_without_an_installed_engine_is_unsupported() -> None:
    only_jpeg = {PILLOW: Capability(frozenset({Format.JPEG}), frozenset({Format.JPEG}))}
    made = make_plan(EVENT, JPEG, SOURCE, settings(), TIER, only_jpeg)
    assert (made.engine, made.fallback) == (PILLOW, None)
    with pytest.raises(UnsupportedFormat, match="png"):
        make_plan(EVENT, ImageInfo(Format.PNG, 9, 9), SOURCE, settings(), TIER, only_jpeg)
    with pytest.raises(UnsupportedFormat, match="writes avif"):
        make_plan(EVENT, JPEG, SOURCE, settings(RENDITIONS="9x9:avif"), TIER, only_jpeg)


# --- memory -------------------------------------------------------------------------------------------------------


def test_a_small_tier_refuses_a_large_progressive_jpeg() -> None:
    assert plan(JPEG, SMALL).memory_estimate <= SMALL.memory_budget
    with pytest.raises(TooManyPixels, match=r"4000x3000 needs \d+ MB, there are 46"):
        plan(replace(JPEG, progressive=True), SMALL)
    assert plan(replace(JPEG, progressive=True), TIER).engine is PILLOW


def test_the_slower_engine_is_chosen_if_only_it_has_room() -> None:
    small = plan(JPEG, SMALL, RENDITIONS="1024x")
    assert (small.engine, small.fallback) == (VIPS, None)
    large = plan(JPEG, TIER, RENDITIONS="1024x")
    assert (large.engine, large.fallback) == (PILLOW, VIPS)


def test_a_forced_engine_without_room_gives_way() -> None:
    assert plan(JPEG, SMALL, RENDITIONS="1024x", ENGINE="pillow").engine is VIPS


def test_the_second_try_has_an_estimate_of_its_own() -> None:
    made = plan(JPEG, TIER, RENDITIONS="1024x")
    fallback = make_plan(EVENT, JPEG, SOURCE, settings(RENDITIONS="1024x"), TIER, {VIPS: INSTALLED[VIPS]})
    assert made.second_estimate >= fallback.memory_estimate
    assert made.salvage
    assert (fallback.second_estimate, fallback.salvage) == (0, False)


def test_an_engine_that_leaves_no_room_for_other_workers_comes_last() -> None:
    """Only libvips shrinks a still WebP on load."""
    webp = replace(JPEG, format=Format.WEBP, details=Details(1.5))
    assert plan(webp, tier_for(3008), RENDITIONS="1024x").engine is PILLOW
    crowded = tier_for(3008).with_changes({"workers": 16})
    assert plan(webp, crowded, RENDITIONS="1024x").engine is VIPS
    assert plan(webp, crowded, RENDITIONS="1024x", ENGINE="pillow").engine is PILLOW


@given(
    st.sampled_from(sorted(INPUTS)),
    sides,
    sides,
    st.booleans(),
    st.integers(1, 50),
    st.sampled_from([128, 512, 3008]),
)
def test_every_plan_fits_into_the_tier(
    format_: Format, width: int, height: int, progressive: bool, frames: int, memory_mb: int
) -> None:
    info = ImageInfo(format_, width, height, progressive=progressive, frames=frames)
    tier = tier_for(memory_mb)
    try:
        made = plan(info, tier, RENDITIONS="128x128,1024x1024")
    except TooManyPixels:
        return
    assert made.memory_estimate <= tier.memory_budget
    assert pixels_of_work(info, made.frames, made.shrink) <= tier.max_pixels


@pytest.mark.matrix(22)
def test_the_same_record_gives_the_same_plan() -> None:
    assert plan(RENDITIONS="a=128x128,b=64x64:webp") == plan(RENDITIONS="a=128x128,b=64x64:webp")
