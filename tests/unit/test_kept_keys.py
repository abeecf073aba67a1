"""Keys of kept pictures: made from a rendition, read back, and listed for deletion."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

import pytest

from tests.support.pipelines import settings
from thumbnailer.errors import KeyTooLong
from thumbnailer.model import Format
from thumbnailer.renditions import any_key, any_keys, any_name, parse_rendition, parse_renditions
from thumbnailer.values import replace
from thumbnailer.wishes.kept import find_place, parse
from thumbnailer.wishes.wish import Site, Wish

NAMES: Final = {
    "128x128": "128x128.auto",
    "web=256x256:webp": "256x256.webp",
    "card=512x512:cover:webp:q80": "512x512-cover-q80.webp",
    "x300:jpeg:progressive": "x300-progressive.jpg",
    "300x:small": "300x-small.auto",
    "a-b=9x9:smart:avif": "9x9-smart.avif",
}
OFFERS: Final = parse_renditions(", ".join(NAMES))
ONE = Site(("photos",), (), offers=OFFERS, negotiate=(Format.WEBP,), any_prefix="_any/")
KEYS: Final = ("a.jpg", "a//b/", "_any/a.jpg", "a b/ü+%2F?.jpg", "/")


def test_a_kept_picture_is_named_after_size_fit_quality_and_format() -> None:
    assert {text: any_name(parse_rendition(text)) for text in NAMES} == NAMES
    assert any_key("_any/", "a b/ü+%2F?.jpg", OFFERS[0]) == "_any/a b/ü+%2F?.jpg/128x128.auto"


@pytest.mark.parametrize("site", [ONE, replace(ONE, sources=("photos", "art"))], ids=["one bucket", "several"])
def test_every_kept_key_is_read_back_to_its_source_and_rendition(site: Site) -> None:
    for offer in OFFERS:
        for format_ in (offer.format,) if offer.format else (None, Format.WEBP):
            rendition = replace(offer, format=format_)
            for key in KEYS:
                path = quote(any_key("_any/", key, rendition))
                bucket = "" if site is ONE else "photos/"
                assert parse(f"/{bucket}{path}", "", site, 0) == Wish("photos", key, rendition), path


def test_a_place_is_one_of_the_keys_that_records_delete() -> None:
    chosen = settings(SOURCES="photos", OFFERS=", ".join(NAMES), RENDITIONS="1x1")
    for offer in OFFERS:
        for format_ in (offer.format,) if offer.format else (None, *Format.all() & {Format.WEBP, Format.AVIF}):
            place = find_place(Wish("photos", "a.jpg", replace(offer, format=format_)), chosen)
            assert place is not None
            assert place.key in any_keys("_any/", "a.jpg", OFFERS)


@pytest.mark.parametrize("path", ["/a.jpg", "/_failed/a", "/any/a.jpg/128x128.auto", "/"])
def test_other_paths_are_left_to_the_grammars(path: str) -> None:
    assert parse(path, "", ONE, 0) is None
    assert parse("/_any/a.jpg/128x128.auto", "", replace(ONE, any_prefix=""), 0) is None


def test_a_kept_key_has_at_most_1024_bytes() -> None:
    fits = "ü" * 503
    assert len(any_key("_any/", fits, OFFERS[1]).encode()) == 1024
    with pytest.raises(KeyTooLong):
        any_key("_any/", fits + "x", OFFERS[1])
    assert any_keys("_any/", fits + "x", OFFERS[1:2]) == ()
    wish = Wish("photos", fits + "x", OFFERS[1])
    assert find_place(wish, settings(SOURCES="photos", OFFERS="web=256x256:webp")) is None
