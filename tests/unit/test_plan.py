from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thumbnailer.errors import (
    BucketNotAllowed,
    Filtered,
    FolderMarker,
    KeyTooLong,
    NotAnImage,
    OwnOutput,
    TooManyBytes,
    TooManyFrames,
    TooManyPixels,
    UnsupportedFormat,
)
from thumbnailer.formats.jpeg import JpegDetails
from thumbnailer.model import NO_DETAILS, Details, EngineName, EventKind, Fit, Format, ImageInfo, ObjectEvent
from thumbnailer.planning.capabilities import INPUTS, OUTPUTS, Capability
from thumbnailer.planning.plan import Plan, make_plan, refuse_event, refuse_headers
from thumbnailer.planning.targets import (
    MOST_METADATA,
    SOURCE_ETAG,
    SOURCE_VERSION,
    automatic_format,
    cropped_size,
    scaled_size,
    target_headers,
)
from thumbnailer.planning.tier import Tier, tier_for
from thumbnailer.renditions import MAX_SIDE, OUTPUT_FORMATS, Rendition, parse_rendition
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


# --- sizes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "source", "scaled", "cropped"),
    [
        ("128x128", (4000, 3000), (128, 96), (128, 96)),
        ("128x128", (3000, 4000), (96, 128), (96, 128)),
        ("128x", (4000, 3000), (128, 96), (128, 96)),
        ("x128", (4000, 3000), (171, 128), (171, 128)),
        ("100x100:cover", (4000, 3000), (133, 100), (100, 100)),
        ("100x100:cover", (3000, 4000), (100, 133), (100, 100)),
        ("200x50:cover", (400, 400), (200, 200), (200, 50)),
    ],
)
def test_a_picture_is_scaled_to_the_wish_and_cropped_where_it_is_to_cover(
    wish: str, source: tuple[int, int], scaled: tuple[int, int], cropped: tuple[int, int]
) -> None:
    rendition = parse_rendition(wish)
    assert scaled_size(rendition, *source) == scaled
    assert cropped_size(rendition, scaled) == cropped


@pytest.mark.matrix(19)
@pytest.mark.parametrize("wish", ["128x128", "128x128:cover", "128x", "x128"])
@pytest.mark.parametrize("source", [(1, 1), (64, 100), (128, 128)])
def test_a_picture_smaller_than_the_wish_is_never_enlarged(wish: str, source: tuple[int, int]) -> None:
    rendition = parse_rendition(wish)
    assert scaled_size(rendition, *source) == source
    assert cropped_size(rendition, source) == source


@pytest.mark.matrix(19)
@pytest.mark.parametrize(
    ("source", "wish", "expected"),
    [
        ((1, 65535), "128x128", (1, 128)),
        ((65535, 1), "128x128", (128, 1)),
        ((1, 65535), "128x128:cover", (1, 128)),
        ((65535, 1), "x128", (16383, 1)),
        ((65535, 1), "128x", (128, 1)),
        ((1, 1), "128x128", (1, 1)),
    ],
)
def test_no_side_vanishes(source: tuple[int, int], wish: str, expected: tuple[int, int]) -> None:
    (target,) = plan(ImageInfo(Format.PNG, *source), RENDITIONS=wish).targets
    assert (target.width, target.height) == expected


@pytest.mark.matrix(19)
@given(sides, sides, wishes | st.none(), wishes)
def test_inside_stays_within_wish_and_source_and_keeps_the_aspect(
    width: int, height: int, wish_width: int | None, wish_height: int
) -> None:
    rendition = Rendition("r", wish_width, wish_height)
    scaled = scaled_size(rendition, width, height)
    assert 1 <= scaled[0] <= min(width, wish_width or MAX_SIDE)
    assert 1 <= scaled[1] <= min(height, wish_height)
    assert cropped_size(rendition, scaled) == scaled
    scale = min(Fraction(1), Fraction(wish_height, height), Fraction(wish_width or MAX_SIDE, width))
    assert_aspect_kept(scale, (width, height), scaled)


@given(sides, sides, wishes, wishes)
def test_cover_fills_the_wish_as_far_as_the_source_goes_and_keeps_the_aspect(
    width: int, height: int, wish_width: int, wish_height: int
) -> None:
    rendition = Rendition("r", wish_width, wish_height, Fit.COVER)
    scaled = scaled_size(rendition, width, height)
    assert 1 <= scaled[0] <= width
    assert 1 <= scaled[1] <= height
    assert cropped_size(rendition, scaled) == (min(wish_width, width), min(wish_height, height))
    scale = min(Fraction(1), max(Fraction(wish_height, height), Fraction(wish_width, width)))
    assert_aspect_kept(scale, (width, height), scaled)


def assert_aspect_kept(scale: Fraction, source: tuple[int, int], scaled: tuple[int, int]) -> None:
    """Each side is the exact one, rounded; or 1 where that would be none."""
    for exact, side in ((source[0] * scale, scaled[0]), (source[1] * scale, scaled[1])):
        assert abs(max(Fraction(1), exact) - side) <= Fraction(500_001, 1_000_000)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_is_measured_upright(orientation: int) -> None:
    (target,) = plan(replace(JPEG, orientation=orientation), RENDITIONS="128x128").targets
    assert (target.width, target.height) == ((96, 128) if orientation >= 5 else (128, 96))


def test_shrinking_while_loading_follows_the_largest_thumbnail() -> None:
    assert plan(RENDITIONS="128x128").shrink == 8
    assert plan(RENDITIONS="128x128,1000x1000").shrink == 2
    assert plan(RENDITIONS="128x128,4000x").shrink == 1
    assert plan(ImageInfo(Format.JPEG, 1, 65535)).shrink == 1


@given(sides, sides, st.integers(1, 8), wishes, wishes, st.sampled_from(Fit))
def test_what_the_decoder_leaves_is_at_least_twice_each_thumbnail(
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


# --- formats, keys, headers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("format_", sorted(Format.all()))
def test_the_automatic_format_is_the_sources_own_or_one_that_browsers_show(format_: Format, alpha: bool) -> None:
    expected = format_ if format_ in OUTPUT_FORMATS else Format.PNG if alpha else Format.JPEG
    assert automatic_format(ImageInfo(format_, 1, 1, has_alpha=alpha)) is expected


def test_a_wish_for_format_and_quality_is_kept() -> None:
    auto, wished = plan(RENDITIONS="a=128x128,b=128x128:webp:q33").targets
    assert (auto.format, auto.quality) == (Format.JPEG, OUTPUTS[Format.JPEG].quality)
    assert (wished.format, wished.quality) == (Format.WEBP, 33)
    assert (auto.headers.content_type, wished.headers.content_type) == ("image/jpeg", "image/webp")


def test_every_output_format_has_a_content_type_and_a_quality() -> None:
    assert set(OUTPUTS) == set(OUTPUT_FORMATS)


def test_thumbnails_go_to_the_destination_under_their_keys() -> None:
    assert [(t.bucket, t.key) for t in plan().targets] == [("photos-resized", "a/b.jpg")]
    assert [(t.bucket, t.key, t.name) for t in plan(RENDITIONS="s=1x1,m=2x2:webp").targets] == [
        ("photos-resized", "a/b.jpg/s.jpg", "s"),
        ("photos-resized", "a/b.jpg/m.webp", "m"),
    ]


@pytest.mark.matrix(1)
def test_a_key_that_leaves_no_room_is_refused_for_several_renditions_and_taken_for_one() -> None:
    event = replace(EVENT, key="k" * 1024)
    (target,) = make_plan(event, JPEG, SOURCE, settings(), TIER, INSTALLED).targets
    assert target.key == event.key
    with pytest.raises(KeyTooLong):
        make_plan(event, JPEG, SOURCE, settings(RENDITIONS="a=1x1,b=2x2"), TIER, INSTALLED)


def headers(**changes: Any) -> ObjectHeaders:
    return replace(SOURCE, **changes)


def test_the_sources_headers_and_metadata_are_carried_over() -> None:
    source = headers(
        version_id="v1",
        cache_control="max-age=60",
        content_disposition='attachment; filename="a.jpg"',
        content_language="de",
        metadata={"camera": "x100"},
    )
    given_ = target_headers(source, Format.WEBP, settings())
    assert given_.content_type == "image/webp"
    assert given_.cache_control == "max-age=60"
    assert given_.content_disposition == 'attachment; filename="a.jpg"'
    assert given_.content_language == "de"
    assert given_.metadata == {"camera": "x100", SOURCE_ETAG: "e1", SOURCE_VERSION: "v1"}
    assert (given_.storage_class, given_.sse, given_.kms_key_id) == (None, None, None)


def test_the_settings_headers_are_on_every_thumbnail() -> None:
    given_ = target_headers(
        headers(cache_control="max-age=60"),
        Format.JPEG,
        settings(CACHE_CONTROL="no-store", STORAGE_CLASS="GLACIER_IR", SSE="aws:kms", KMS_KEY_ID="alias/x"),
    )
    assert (given_.cache_control, given_.storage_class) == ("no-store", "GLACIER_IR")
    assert (given_.sse, given_.kms_key_id) == ("aws:kms", "alias/x")


def test_without_a_version_none_is_named() -> None:
    assert target_headers(SOURCE, Format.JPEG, settings()).metadata == {SOURCE_ETAG: "e1"}


def test_metadata_of_a_stranger_never_replaces_ours() -> None:
    source = headers(metadata={SOURCE_VERSION: "forged", SOURCE_ETAG: "forged"}, version_id="v1")
    assert target_headers(source, Format.JPEG, settings()).metadata == {SOURCE_ETAG: "e1", SOURCE_VERSION: "v1"}


@pytest.mark.parametrize("spare", [0, 1, -1])
def test_the_users_metadata_is_carried_over_up_to_what_s3_takes(spare: int) -> None:
    ours = len(SOURCE_ETAG) + len("e1")
    metadata = {"note": "x" * (MOST_METADATA - ours - len("note") - spare)}
    given_ = target_headers(headers(metadata=metadata), Format.JPEG, settings()).metadata
    assert given_ == ({SOURCE_ETAG: "e1"} if spare < 0 else {**metadata, SOURCE_ETAG: "e1"})


# --- refused before anything is read ------------------------------------------------------------------------------


def test_an_ordinary_record_is_not_refused() -> None:
    refuse_event(EVENT, settings())
    refuse_headers(EVENT, SOURCE, TIER)


@pytest.mark.matrix(44)
@pytest.mark.parametrize("kind", EventKind)
def test_events_of_a_bucket_that_is_no_source_are_rejected_whatever_they_tell(kind: EventKind) -> None:
    with pytest.raises(BucketNotAllowed, match="THUMBNAILER_SOURCES=other,more-"):
        refuse_event(replace(EVENT, kind=kind), settings(SOURCES="other,more-*"))
    refuse_event(EVENT, settings(SOURCES="other,photos"))


@pytest.mark.matrix(42)
@pytest.mark.parametrize("kind", EventKind)
def test_what_lies_in_a_destination_is_our_own_output(kind: EventKind) -> None:
    with pytest.raises(OwnOutput):
        refuse_event(replace(EVENT, kind=kind, bucket="photos-resized"), settings())
    with pytest.raises(OwnOutput):
        refuse_event(replace(EVENT, kind=kind), settings(DESTINATION="photos"))


@pytest.mark.matrix(42)
def test_what_carries_our_metadata_is_our_own_output_wherever_it_lies() -> None:
    with pytest.raises(OwnOutput):
        refuse_headers(EVENT, headers(metadata={SOURCE_ETAG: ""}), TIER)


@pytest.mark.matrix(42)
def test_a_thumbnail_would_be_known_again_by_what_it_is_stored_with() -> None:
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
def test_what_is_not_wanted_is_filtered(event: ObjectEvent, values: dict[str, str]) -> None:
    with pytest.raises(Filtered):
        refuse_event(event, settings(**values))


def test_without_a_failed_prefix_nothing_lies_under_it() -> None:
    refuse_event(replace(EVENT, key="_failed/a.jpg"), settings(FAILED_PREFIX=""))


def test_an_empty_object_whose_key_ends_in_a_slash_is_a_folder_marker() -> None:
    marker = replace(EVENT, key="a/", size=0)
    with pytest.raises(FolderMarker):
        refuse_event(marker, settings())
    with pytest.raises(FolderMarker):
        refuse_headers(replace(marker, size=None), headers(size=0), TIER)
    refuse_event(replace(marker, size=1), settings())


def test_an_empty_object_is_no_picture() -> None:
    with pytest.raises(NotAnImage):
        refuse_headers(EVENT, headers(size=0), TIER)


@pytest.mark.matrix(5)
@pytest.mark.parametrize("memory_mb", [128, 1769, 10240])
def test_an_object_of_5_gb_is_refused_from_its_headers_alone(memory_mb: int) -> None:
    with pytest.raises(TooManyBytes):
        refuse_headers(EVENT, headers(size=5 * 10**9), tier_for(memory_mb))


@pytest.mark.parametrize("size", [0, 5 * 10**9, None])
def test_what_the_event_says_of_the_size_is_not_believed(size: int | None) -> None:
    """The object may be another by now."""
    refuse_event(replace(EVENT, size=size), settings())


@pytest.mark.matrix(5)
@pytest.mark.parametrize(
    "info",
    [
        ImageInfo(Format.GIF, 2000, 2000, frames=100),
        ImageInfo(Format.WEBP, 2000, 2000, frames=100),
        ImageInfo(Format.JPEG, 6000, 4000, progressive=True, details=JpegDetails(scans=100)),
    ],
)
def test_more_work_than_pixels_are_taken_is_refused_though_the_picture_is_not_large(info: ImageInfo) -> None:
    with pytest.raises(TooManyPixels, match=r"(frames|scans): 100"):
        plan(info)
    assert plan(replace(info, frames=1, details=NO_DETAILS))
    assert plan(info, limited(max_pixels=10**9))


def test_an_animation_of_which_only_the_first_frame_is_wanted_is_a_still() -> None:
    assert plan(ImageInfo(Format.GIF, 2000, 2000, frames=100), RENDITIONS="128x128:jpeg").frames == 1


def test_exactly_as_many_bytes_as_are_taken_are_taken() -> None:
    for tier in (TIER, limited(max_bytes=1000)):
        refuse_headers(EVENT, headers(size=tier.max_bytes), tier)
        with pytest.raises(TooManyBytes, match=str(tier.max_bytes)):
            refuse_headers(EVENT, headers(size=tier.max_bytes + 1), tier)


def test_what_was_removed_is_no_folder_marker() -> None:
    refuse_event(replace(EVENT, key="a/", kind=EventKind.REMOVED, size=0), settings())


# --- refused from the picture's header ----------------------------------------------------------------------------


@pytest.mark.matrix(6)
@pytest.mark.parametrize("memory_mb", [128, 1769, 10240])
@pytest.mark.parametrize("format_", sorted(INPUTS))
def test_a_picture_that_claims_64250_by_64250_is_refused(memory_mb: int, format_: Format) -> None:
    with pytest.raises(TooManyPixels, match="64250x64250"):
        plan(ImageInfo(format_, 64250, 64250), tier_for(memory_mb))


@pytest.mark.matrix(6)
def test_exactly_as_many_pixels_as_are_taken_are_taken() -> None:
    tier = limited(max_pixels=10_000)
    assert plan(ImageInfo(Format.JPEG, 100, 100), tier).targets
    with pytest.raises(TooManyPixels, match="at most 10000"):
        plan(ImageInfo(Format.JPEG, 100, 101), tier)


def test_too_many_frames_are_refused_where_frames_are_kept() -> None:
    tier = limited(max_frames=5)
    with pytest.raises(TooManyFrames, match="at most 5"):
        plan(ImageInfo(Format.GIF, 10, 10, frames=6), tier)
    assert plan(ImageInfo(Format.GIF, 10, 10, frames=5), tier).frames == 5
    assert plan(ImageInfo(Format.TIFF, 10, 10, frames=6), tier).frames == 1


def test_frames_are_kept_only_for_thumbnails_that_can_move() -> None:
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


@pytest.mark.parametrize("name", EngineName)
@pytest.mark.parametrize("format_", [Format.JPEG, Format.PNG])
def test_a_forced_engine_is_used_for_what_it_reads(name: EngineName, format_: Format) -> None:
    made = plan(ImageInfo(format_, 100, 100), ENGINE=name)
    assert made.engine is name
    assert made.fallback not in (name, None)


def test_what_the_forced_engine_cannot_read_the_other_does() -> None:
    made = plan(ImageInfo(Format.HEIC, 100, 100), ENGINE="vips")
    assert (made.engine, made.fallback) == (PILLOW, None)


def test_without_an_engine_for_it_a_format_is_unsupported() -> None:
    only_jpeg = {PILLOW: Capability(frozenset({Format.JPEG}), frozenset({Format.JPEG}))}
    made = make_plan(EVENT, JPEG, SOURCE, settings(), TIER, only_jpeg)
    assert (made.engine, made.fallback) == (PILLOW, None)
    with pytest.raises(UnsupportedFormat, match="png"):
        make_plan(EVENT, ImageInfo(Format.PNG, 9, 9), SOURCE, settings(), TIER, only_jpeg)
    with pytest.raises(UnsupportedFormat, match="writes avif"):
        make_plan(EVENT, JPEG, SOURCE, settings(RENDITIONS="9x9:avif"), TIER, only_jpeg)


# --- memory -------------------------------------------------------------------------------------------------------


def test_a_progressive_jpeg_is_refused_on_a_small_tier_where_a_sequential_one_is_not() -> None:
    assert plan(JPEG, SMALL).memory_estimate <= SMALL.memory_budget
    with pytest.raises(TooManyPixels, match=r"4000x3000 needs \d+ MB, there are 46"):
        plan(replace(JPEG, progressive=True), SMALL)
    assert plan(replace(JPEG, progressive=True), TIER).engine is PILLOW


def test_the_slower_engine_is_chosen_where_only_it_has_room() -> None:
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


def test_an_engine_that_leaves_no_room_for_the_other_workers_gives_way_to_one_that_does() -> None:
    """A still WebP is shrunk while loading by libvips alone."""
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
def test_whatever_is_planned_fits_into_the_tier(
    format_: Format, width: int, height: int, progressive: bool, frames: int, memory_mb: int
) -> None:
    info = ImageInfo(format_, width, height, progressive=progressive, frames=frames)
    tier = tier_for(memory_mb)
    try:
        made = plan(info, tier, RENDITIONS="128x128,1024x1024")
    except TooManyPixels:
        return
    assert made.memory_estimate <= tier.memory_budget
    assert info.pixels <= tier.max_pixels


@pytest.mark.matrix(22)
def test_the_same_record_gives_the_same_plan() -> None:
    assert plan(RENDITIONS="a=128x128,b=64x64:webp") == plan(RENDITIONS="a=128x128,b=64x64:webp")
