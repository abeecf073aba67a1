"""Keys of kept pictures: made from a rendition, read back, and listed for deletion."""

from __future__ import annotations

from typing import Final

import pytest

from thumbnailer.errors import KeyTooLong
from thumbnailer.model import Format
from thumbnailer.renditions import parse_rendition, parse_renditions
from thumbnailer.values import replace
from thumbnailer.wishes.keys import any_key, any_name, possible_any_keys, read_any_key, with_formats

NAMES: Final = {
    "128x128": "128x128.auto",
    "web=256x256:webp": "256x256.webp",
    "card=512x512:cover:webp:q80": "512x512-cover-q80.webp",
    "x300:jpeg:progressive": "x300-progressive.jpg",
    "300x:small": "300x-small.auto",
    "a-b=9x9:smart:avif": "9x9-smart.avif",
}
OFFERS: Final = parse_renditions(", ".join(NAMES))


def test_a_kept_picture_is_named_after_size_fit_quality_and_format() -> None:
    assert {text: any_name(parse_rendition(text)) for text in NAMES} == NAMES
    assert any_key("a b/ü+%2F?.jpg", parse_rendition("128x128:png")) == "_any/a b/ü+%2F?.jpg/128x128.png"


def test_every_kept_key_is_read_back_to_its_source_and_rendition() -> None:
    for rendition in with_formats(OFFERS, (Format.WEBP, Format.AVIF)):
        for key in ("a.jpg", "a//b/", "_any/a.jpg", "ü+%2F?"):
            assert read_any_key(any_key(key, rendition), OFFERS, (Format.WEBP, Format.AVIF)) == (key, rendition)


def test_only_offers_in_formats_that_may_be_negotiated_are_read() -> None:
    formats = (Format.WEBP,)
    for text in (
        "_any/a/64x64.webp",
        "_any/a/128x128.avif",
        "_any/128x128.webp",
        "_failed/a",
        "a/128x128.auto",
        "_any/",
    ):
        assert read_any_key(text, OFFERS, formats) is None, text


def test_a_source_s_possible_keys_have_every_format_that_may_have_been_negotiated() -> None:
    keys = possible_any_keys("a.jpg", OFFERS[:2])
    assert {f"_any/a.jpg/128x128.{name}" for name in ("auto", "jpg", "png", "webp", "avif", "gif")} == set(keys) - {
        "_any/a.jpg/256x256.webp"
    }


def test_a_kept_key_has_at_most_1024_bytes() -> None:
    fits = "ü" * 503
    assert len(any_key(fits, OFFERS[1]).encode()) == 1024
    with pytest.raises(KeyTooLong):
        any_key(fits + "x", OFFERS[1])
    assert possible_any_keys(fits + "xx", [replace(OFFERS[1], width=1000)]) == ()
