from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thumbnailer.errors import KeyTooLong
from thumbnailer.model import EventKind, Fit, Format, ImageInfo, ObjectEvent
from thumbnailer.planning.capabilities import OUTPUTS
from thumbnailer.planning.targets import (
    MOST_METADATA,
    RECIPE,
    SOURCE_ETAG,
    SOURCE_VERSION,
    Target,
    automatic_format,
    cropped_size,
    recipe,
    recipes,
    resolve,
    scaled_size,
    target_headers,
)
from thumbnailer.renditions import MAX_SIDE, OUTPUT_FORMATS, Rendition, parse_rendition
from thumbnailer.settings import Settings, parse_settings
from thumbnailer.store.base import ObjectHeaders

EVENT = ObjectEvent(EventKind.CREATED, "photos", "a/b.jpg", size=1000)
SOURCE = ObjectHeaders(1000, "e1", None, "image/jpeg", None, None, None, {})
JPEG = ImageInfo(Format.JPEG, 4000, 3000)

SMALL = parse_rendition("128x128")
MARK = {RECIPE: recipe(SMALL, Format.JPEG)}

sides = st.integers(1, 65535)
wishes = st.integers(1, MAX_SIDE)


def settings(**values: str) -> Settings:
    return parse_settings({f"THUMBNAILER_{name}": value for name, value in values.items()})


def headers(**changes: Any) -> ObjectHeaders:
    return replace(SOURCE, **changes)


def targets(info: ImageInfo = JPEG, event: ObjectEvent = EVENT, **values: str) -> tuple[Target, ...]:
    wished = settings(**values)
    return tuple(resolve(rendition, event, info, SOURCE, wished) for rendition in wished.renditions)


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
def test_a_picture_is_scaled_to_the_wish_and_cropped_to_cover(
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
    (target,) = targets(ImageInfo(Format.PNG, *source), RENDITIONS=wish)
    assert (target.width, target.height) == expected


@pytest.mark.matrix(19)
@given(sides, sides, wishes | st.none(), wishes)
def test_inside_stays_within_the_wish_and_keeps_the_aspect(
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
def test_cover_fills_the_wish_and_keeps_the_aspect(width: int, height: int, wish_width: int, wish_height: int) -> None:
    rendition = Rendition("r", wish_width, wish_height, Fit.COVER)
    scaled = scaled_size(rendition, width, height)
    assert 1 <= scaled[0] <= width
    assert 1 <= scaled[1] <= height
    assert cropped_size(rendition, scaled) == (min(wish_width, width), min(wish_height, height))
    scale = min(Fraction(1), max(Fraction(wish_height, height), Fraction(wish_width, width)))
    assert_aspect_kept(scale, (width, height), scaled)


def assert_aspect_kept(scale: Fraction, source: tuple[int, int], scaled: tuple[int, int]) -> None:
    """Each side is the exact one, rounded, and at least 1."""
    for exact, side in ((source[0] * scale, scaled[0]), (source[1] * scale, scaled[1])):
        assert abs(max(Fraction(1), exact) - side) <= Fraction(500_001, 1_000_000)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_is_measured_upright(orientation: int) -> None:
    (target,) = targets(replace(JPEG, orientation=orientation), RENDITIONS="128x128")
    assert (target.width, target.height) == ((96, 128) if orientation >= 5 else (128, 96))


# --- formats, keys, headers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("format_", sorted(Format.all()))
def test_automatic_format_is_shown_by_browsers(format_: Format, alpha: bool) -> None:
    expected = format_ if format_ in OUTPUT_FORMATS else Format.PNG if alpha else Format.JPEG
    assert automatic_format(ImageInfo(format_, 1, 1, has_alpha=alpha)) is expected


def test_a_wish_for_format_and_quality_is_kept() -> None:
    auto, wished = targets(RENDITIONS="a=128x128,b=128x128:webp:q33")
    assert (auto.format, auto.quality) == (Format.JPEG, OUTPUTS[Format.JPEG].quality)
    assert (wished.format, wished.quality) == (Format.WEBP, 33)
    assert (auto.headers.content_type, wished.headers.content_type) == ("image/jpeg", "image/webp")


def test_every_output_format_has_a_row() -> None:
    assert set(OUTPUTS) == set(OUTPUT_FORMATS)


def test_thumbnails_go_to_the_destination_under_their_keys() -> None:
    assert [(t.bucket, t.key) for t in targets()] == [("photos-resized", "a/b.jpg")]
    assert [(t.bucket, t.key, t.name) for t in targets(RENDITIONS="s=1x1,m=2x2:webp")] == [
        ("photos-resized", "a/b.jpg/s.jpg", "s"),
        ("photos-resized", "a/b.jpg/m.webp", "m"),
    ]


@pytest.mark.matrix(1)
def test_the_longest_key_has_room_for_one_rendition() -> None:
    event = replace(EVENT, key="k" * 1024)
    (target,) = targets(event=event)
    assert target.key == event.key
    with pytest.raises(KeyTooLong):
        targets(event=event, RENDITIONS="a=1x1,b=2x2")


def test_the_sources_headers_and_metadata_are_carried_over() -> None:
    source = headers(
        version_id="v1",
        cache_control="max-age=60",
        content_disposition='attachment; filename="a.jpg"',
        content_language="de",
        metadata={"camera": "x100"},
    )
    made = target_headers(source, SMALL, Format.WEBP, settings())
    assert made.content_type == "image/webp"
    assert made.cache_control == "max-age=60"
    assert made.content_disposition == 'attachment; filename="a.jpg"'
    assert made.content_language == "de"
    ours = {SOURCE_ETAG: "e1", SOURCE_VERSION: "v1"}
    assert made.metadata == {"camera": "x100", RECIPE: recipe(SMALL, Format.WEBP), **ours}
    without = target_headers(source, SMALL, Format.JPEG, settings(USER_METADATA="off"))
    assert without.metadata == {**MARK, **ours}
    assert (made.storage_class, made.sse, made.kms_key_id) == (None, None, None)


def test_the_settings_headers_are_on_every_thumbnail() -> None:
    made = target_headers(
        headers(cache_control="max-age=60"),
        SMALL,
        Format.JPEG,
        settings(CACHE_CONTROL="no-store", STORAGE_CLASS="GLACIER_IR", SSE="aws:kms", KMS_KEY_ID="alias/x"),
    )
    assert (made.cache_control, made.storage_class) == ("no-store", "GLACIER_IR")
    assert (made.sse, made.kms_key_id) == ("aws:kms", "alias/x")


def test_metadata_has_no_version_without_one() -> None:
    assert target_headers(SOURCE, SMALL, Format.JPEG, settings()).metadata == {**MARK, SOURCE_ETAG: "e1"}


def test_user_metadata_never_replaces_our_own() -> None:
    source = headers(metadata={SOURCE_VERSION: "forged", SOURCE_ETAG: "forged"}, version_id="v1")
    assert target_headers(source, SMALL, Format.JPEG, settings()).metadata == {
        **MARK,
        SOURCE_ETAG: "e1",
        SOURCE_VERSION: "v1",
    }


@pytest.mark.parametrize("spare", [0, 1, -1])
def test_user_metadata_is_carried_over_up_to_the_limit_of_s3(spare: int) -> None:
    ours = len(SOURCE_ETAG) + len("e1") + len(RECIPE) + 8
    metadata = {"note": "x" * (MOST_METADATA - ours - len("note") - spare)}
    made = target_headers(headers(metadata=metadata), SMALL, Format.JPEG, settings()).metadata
    assert made == ({**MARK, SOURCE_ETAG: "e1"} if spare < 0 else {**metadata, **MARK, SOURCE_ETAG: "e1"})


def test_the_recipe_changes_with_what_decides_the_pixels() -> None:
    asked = ["128x128", "128x128:q79", "128x128:cover", "129x128", "128x128:small"]
    made = {recipe(parse_rendition(text), format_) for text in asked for format_ in (Format.JPEG, Format.WEBP)}
    assert len(made) == 10
    assert all(re.fullmatch("[0-9a-f]{8}", one) for one in made)
    assert recipe(SMALL, Format.JPEG) == recipe(parse_rendition("128x128"), Format.JPEG)


def test_a_rendition_without_format_has_a_recipe_for_each_output() -> None:
    assert recipes(SMALL) == {recipe(SMALL, format_) for format_ in OUTPUT_FORMATS}
    webp = parse_rendition("128x128:webp")
    assert recipes(webp) == {recipe(webp, Format.WEBP)}
