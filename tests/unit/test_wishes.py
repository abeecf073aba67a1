"""URLs of every grammar -> wishes, and who may ask for what."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thumbnailer.model import Fit, Format
from thumbnailer.renditions import Rendition, parse_rendition, parse_renditions
from thumbnailer.store.base import ObjectVersion
from thumbnailer.values import replace
from thumbnailer.wishes import query as query_
from thumbnailer.wishes.grammars import GRAMMARS, read_url
from thumbnailer.wishes.negotiation import entity_tag, is_known, preferred_format
from thumbnailer.wishes.signing import sign, sign_url
from thumbnailer.wishes.wish import BadWish, Expired, NotAllowed, Site, Wish, allow

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
KEYS = (b"k" * 16, b"old key" * 4)
SITE = Site(
    ("photos",),
    parse_renditions("128x128,card=512x512:cover:webp:q80"),
    KEYS,
    imgproxy_keys=((bytes.fromhex("736563726574"), bytes.fromhex("68656C6C6F")),),
    thumbor_keys=(b"MY_SECURE_KEY",),
)
SEVERAL = Site(("photos-*", "art"), (), KEYS)
NAMES = tuple(GRAMMARS)
ODD_KEY = "a b/ü+%2F?.jpg"


def read(url: str, *grammars: str, site: Site = SITE, now: datetime = NOW) -> Wish:
    path, _, query = url.partition("?")
    return read_url(path, query, site, now.timestamp(), grammars or ("query",))


def canonical(wish: Wish) -> tuple[str, str]:
    return wish.key, str(wish.rendition)


# --- our own grammar ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "rendition"),
    [
        ("w=300", "300x"),
        ("h=200", "x200"),
        ("w=300&h=200", "300x200"),
        ("width=300&height=200&fit=cover", "300x200:cover"),
        ("w=300&h=200&fit=smart&fm=webp&q=70", "300x200:smart:webp:q70"),
        ("w=300&fm=jpg", "300x:jpeg"),
        ("w=300&format=auto", "300x"),
        ("w=300&dpr=2", "600x"),
        ("w=300&dpr=1.5", "450x"),
        ("w=300&h=&fit=", "300x"),
        ("resize.width=300&resize.height=200&resize.fit=contain", "300x200"),
        ("w=300&h=200&fit=crop", "300x200:cover"),
        ("w=300&fit=clip", "300x"),
        ("w=300&fit=max", "300x"),
        ("", "4096x4096"),
        ("name=card", "card=512x512:cover:webp:q80"),
    ],
)
def test_a_query_asks_for_a_rendition(query: str, rendition: str) -> None:
    assert canonical(read(f"/a.jpg?{query}")) == ("a.jpg", rendition)


@pytest.mark.parametrize(
    ("query", "option"),
    [
        *((f"w={bad}", "width") for bad in ("0", "-1", "1e3", "NaN", "1000000000", "4097", "1.5", "%20", "x", "٣")),
        ("w=3000&dpr=2", "width"),
        ("w=1&dpr=0.1", "width"),
        *((f"w=100&dpr={bad}", "dpr") for bad in ("0", "10", "-1", "2x", "1.234")),
        ("w=100&w=200", "width"),
        ("w=100&width=200", "width"),
        ("w=100&fit=fill", "fit"),
        ("w=100&fit=cover", "fit"),
        ("w=100&fm=tiff", "format"),
        *((f"w=100&q={bad}", "quality") for bad in ("0", "101", "080", "x")),
        ("w=100&blur=5", "blur"),
        ("name=nope", "name"),
        ("name=card&w=100", "width"),
        ("w=100&expires=tomorrow&signature=" + "0" * 64, "signature"),
        ("&".join(f"a{number}=1" for number in range(33)), "query"),
        ("w=%ff", "query"),
    ],
)
def test_a_bad_option_is_named(query: str, option: str) -> None:
    with pytest.raises((BadWish, NotAllowed), match=f"^({option}|the signature)"):
        read(f"/a.jpg?{query}")


@pytest.mark.parametrize("path", ["/", "/%ff", "/" + "a" * 1025])
def test_a_path_is_a_key(path: str) -> None:
    with pytest.raises(BadWish):
        read(path)


def test_the_tag_of_a_quickly_encoded_picture_is_another() -> None:
    version = ObjectVersion("etag", None)
    quick = read("/a.jpg?w=64").rendition
    assert entity_tag(version, quick) != entity_tag(version, replace(quick, quick=False))


def test_keys_are_decoded_once() -> None:
    assert read("/" + quote(ODD_KEY)).key == ODD_KEY
    assert read("/a//b").key == "a//b"


def test_the_path_names_the_bucket_where_there_are_several() -> None:
    wish = read("/photos-2026/a/b.jpg?w=10", site=SEVERAL)
    assert (wish.bucket, wish.key) == ("photos-2026", "a/b.jpg")
    for path in ("/other/a.jpg", "/a.jpg", "//a.jpg"):
        with pytest.raises(NotAllowed):
            read(path, site=SEVERAL)


def test_a_version_makes_the_answer_immutable() -> None:
    assert read("/a.jpg?v=7").immutable
    assert not read("/a.jpg").immutable


# --- signatures ---------------------------------------------------------------------------------------------------


def signed(url: str, key: bytes = KEYS[0], days: int | None = 1) -> str:
    return sign_url(url, key, None if days is None else timedelta(days=days), NOW)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("days", [None, 1])
def test_a_signed_url_may_ask_for_any_size(key: bytes, days: int | None) -> None:
    url = urlsplit(signed(f"https://pictures.example.com/{quote(ODD_KEY)}?w=333&fm=webp", key, days))
    wish = read(f"{url.path}?{url.query}")
    assert wish.signed
    assert canonical(allow(wish, SITE)) == (ODD_KEY, "333x:webp")


def test_the_signature_is_that_of_dynamic_image_transformation() -> None:
    """HMAC-SHA256 over path, `?` and the sorted entries, decoded and joined by `&`."""
    text = "/a.jpg?expires=20261201T000000Z&format=webp&width=100"
    entries = [("width", "100"), ("format", "webp"), ("expires", "20261201T000000Z"), ("signature", "x")]
    assert sign("/a.jpg", entries, KEYS[0]) == hmac.new(KEYS[0], text.encode(), hashlib.sha256).hexdigest()


def test_urls_expire_at_midnight() -> None:
    url = signed("/a.jpg?w=100")
    assert "expires=20261202T000000Z" in url
    assert read(url, now=datetime(2026, 12, 1, 23, 59, 59, tzinfo=UTC)).signed
    with pytest.raises(Expired):
        read(url, now=datetime(2026, 12, 2, 0, 0, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    "change",
    [
        ("w=100", "w=101"),
        ("/a.jpg", "/b.jpg"),
        ("20261202", "20271202"),
        ("?", "?q=100&"),
        ("signature=", "signature=0"),
    ],
)
def test_a_changed_url_is_refused(change: tuple[str, str]) -> None:
    with pytest.raises(NotAllowed):
        read(signed("/a.jpg?w=100").replace(*change, 1))


def test_a_signature_of_another_key_is_refused() -> None:
    with pytest.raises(NotAllowed):
        read(signed("/a.jpg?w=100", b"another key, not the site's"))
    with pytest.raises(NotAllowed):
        read(signed("/a.jpg?w=100"), site=Site(("photos",), ()))


# --- who may ask --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "rendition"),
    [
        ("w=128&h=128", "128x128"),
        ("w=64&h=64&dpr=2", "128x128"),
        ("w=512&h=512&fit=cover", "card=512x512:cover:webp:q80"),
        ("w=512&h=512&fit=cover&fm=webp&q=80", "card=512x512:cover:webp:q80"),
        ("name=card", "card=512x512:cover:webp:q80"),
    ],
)
def test_everybody_may_ask_for_the_renditions(query: str, rendition: str) -> None:
    assert str(allow(read(f"/a.jpg?{query}"), SITE).rendition) == rendition


def test_a_name_tells_renditions_of_one_size_apart() -> None:
    site = replace(SITE, offers=parse_renditions("a=300x:jpeg,b=300x:jpeg:progressive,c=128x128:webp"))
    for query, name in (("name=b", "b"), ("name=c", "c"), ("w=300", "a"), ("w=128&h=128", "128x128")):
        wish = query_.parse("/a.jpg", query, site, 0)
        assert allow(wish, site).rendition.name == name


def test_everybody_may_ask_for_negotiated_formats_of_an_offer_without_one() -> None:
    site = replace(SITE, offers=parse_renditions("300x"), negotiate=(Format.WEBP,))
    assert allow(query_.parse("/a.jpg", "w=300&fm=webp", site, 0), site).rendition.format is Format.WEBP
    with pytest.raises(NotAllowed):
        allow(query_.parse("/a.jpg", "w=300&fm=avif", site, 0), site)


@pytest.mark.parametrize("query", ["w=129&h=128", "w=128&h=128&q=5", "w=128&h=128&fm=png", "w=128&h=128&fit=cover", ""])
def test_other_wishes_need_a_signature(query: str) -> None:
    wish = read(f"/a.jpg?{query}")
    with pytest.raises(NotAllowed):
        allow(wish, SITE)
    assert allow(wish, Site(SITE.sources, SITE.renditions, open=True)) == wish


# --- the peers' grammars ------------------------------------------------------------------------------------------


def dit(**request: object) -> str:
    return "/" + base64.b64encode(json.dumps({"key": "a/b.jpg"} | request).encode()).decode()


@pytest.mark.parametrize(
    ("request_", "rendition"),
    [
        ({"bucket": "photos", "edits": {"resize": {"width": 200, "height": 100, "fit": "cover"}}}, "200x100:cover"),
        ({"edits": {"resize": {"width": 200}, "toFormat": "webp"}}, "200x:webp"),
        (
            {"edits": {"resize": {"width": 200, "height": None}, "webp": {"quality": 50}}, "outputFormat": "webp"},
            "200x:webp:q50",
        ),
        ({"edits": {"resize": {"width": 200}, "jpeg": {"quality": 50}}, "outputFormat": "webp"}, "200x:webp"),
        ({}, "4096x4096"),
    ],
)
def test_dynamic_image_transformation_asks_in_json(request_: dict[str, object], rendition: str) -> None:
    assert canonical(read(dit(**request_), "dit")) == ("a/b.jpg", rendition)


@pytest.mark.parametrize(
    "request_",
    [
        {"edits": {"grayscale": True}},
        {"edits": {"resize": {"width": 200, "background": "red"}}},
        {"edits": {"resize": {"width": 200.5}}},
        {"edits": {"resize": {"width": True}}},
        {"edits": []},
        {"edits": {"resize": {"width": 10, "height": 10, "fit": "fill"}}},
        {"key": 5},
        {"key": ""},
        {"key": "\ud800"},
        {"effects": 1},
    ],
    ids=str,
)
def test_dynamic_image_transformation_refuses_other_edits(request_: dict[str, object]) -> None:
    with pytest.raises(BadWish):
        read(dit(**request_), "dit")
    with pytest.raises(NotAllowed):
        read(dit(bucket="private"), "dit")


def test_dynamic_image_transformation_is_signed_like_our_own_urls() -> None:
    assert read(signed(dit(edits={"resize": {"width": 200}})), "dit").signed


IMGPROXY_PLAIN = "plain/s3://photos/a/b.jpg"


@pytest.mark.parametrize(
    ("rest", "rendition"),
    [
        (f"rs:fit:300:200/{IMGPROXY_PLAIN}@webp", "300x200:webp"),
        (f"resize:fill:300:200:0/g:sm/{IMGPROXY_PLAIN}", "300x200:smart"),
        (f"rs:fill:300:200/q:60/f:avif/{IMGPROXY_PLAIN}", "300x200:cover:avif:q60"),
        (f"w:300/h:0/dpr:2/ar:1/sm:1/{IMGPROXY_PLAIN}", "600x"),
        (f"s:300:200/el:0/{IMGPROXY_PLAIN}@jpg", "300x200:jpeg"),
        (f"pr:card/{IMGPROXY_PLAIN}", "card=512x512:cover:webp:q80"),
        (f"rs:fill:300/{IMGPROXY_PLAIN}", "300x"),
        (
            "rs:fit:300:200/" + base64.urlsafe_b64encode(b"s3://photos/a/b.jpg").decode().rstrip("=") + ".webp",
            "300x200:webp",
        ),
        ("rs:fit:300:200/czM6Ly9waG90/b3MvYS9iLmpw/Zw.webp", "300x200:webp"),
        (IMGPROXY_PLAIN, "4096x4096"),
    ],
)
def test_imgproxy_asks_with_options_and_an_address(rest: str, rendition: str) -> None:
    assert canonical(read(f"/unsafe/{rest}", "imgproxy")) == ("a/b.jpg", rendition)


@pytest.mark.parametrize(
    "rest",
    [
        f"rs:force:300:200/{IMGPROXY_PLAIN}",
        f"el:1/{IMGPROXY_PLAIN}",
        f"bl:5/{IMGPROXY_PLAIN}",
        f"g:no/{IMGPROXY_PLAIN}",
        f"w:1e3/{IMGPROXY_PLAIN}",
        f"w:1:2/{IMGPROXY_PLAIN}",
        "plain/http://169.254.169.254/latest",
        "plain/local:///etc/passwd",
        "w:300",
        "w:300/%%%",
        "plain/s3://photos/%ff",
        f"exp:soon/{IMGPROXY_PLAIN}",
        f"pr:none/{IMGPROXY_PLAIN}",
    ],
)
def test_imgproxy_refuses_other_options_and_addresses(rest: str) -> None:
    with pytest.raises(BadWish):
        read(f"/unsafe/{rest}", "imgproxy")


def test_imgproxy_reaches_no_other_bucket() -> None:
    with pytest.raises(NotAllowed):
        read("/unsafe/w:10/plain/s3://private/a.jpg", "imgproxy")


def test_imgproxy_signs_salt_and_path() -> None:
    """Key, salt and signature of imgproxy's own documentation; its source is no bucket, so the wish is bad."""
    path = "/rs:fill:300:400:0/g:sm/aHR0cDovL2V4YW1w/bGUuY29tL2ltYWdl/cy9jdXJpb3NpdHku/anBn.png"
    with pytest.raises(BadWish, match="s3://bucket/key"):
        read(f"/oKfUtW34Dvo2BGQehJFR4Nr0_rIjOtdtzJ3QFsUcXH8{path}", "imgproxy")
    with pytest.raises(NotAllowed):
        read(f"/pKfUtW34Dvo2BGQehJFR4Nr0_rIjOtdtzJ3QFsUcXH8{path}", "imgproxy")
    with pytest.raises(Expired):
        read(f"/unsafe/exp:{int(NOW.timestamp()) - 1}/{IMGPROXY_PLAIN}", "imgproxy")


@pytest.mark.parametrize(
    ("rest", "rendition"),
    [
        ("300x200/a/b.jpg", "300x200:cover"),
        ("300x200/smart/a/b.jpg", "300x200:smart"),
        ("fit-in/300x200/a/b.jpg", "300x200"),
        ("300x0/a/b.jpg", "300x"),
        ("300x/a/b.jpg", "300x"),
        ("fit-in/300x200/filters:format(webp):quality(80):strip_exif()/a/b.jpg", "300x200:webp:q80"),
        ("0x0/a/b.jpg", "4096x4096"),
        ("a/b.jpg", "4096x4096"),
    ],
)
def test_thumbor_asks_with_parts_of_the_path(rest: str, rendition: str) -> None:
    assert canonical(read(f"/unsafe/{rest}", "thumbor")) == ("a/b.jpg", rendition)


@pytest.mark.parametrize(
    "rest",
    [
        "trim/300x200/a.jpg",
        "10x10:20x20/300x200/a.jpg",
        "meta/a.jpg",
        "filters:blur(7)/a.jpg",
        "filters:x/a.jpg",
        "300x200",
    ],
)
def test_thumbor_refuses_other_parts(rest: str) -> None:
    with pytest.raises(BadWish):
        read(f"/unsafe/{rest}", "thumbor")


def test_thumbor_signs_the_path() -> None:
    rest = "300x200/smart/a/b.jpg"
    signature = base64.urlsafe_b64encode(hmac.digest(b"MY_SECURE_KEY", rest.encode(), "sha1")).decode()
    assert read(f"/{signature}/{rest}", "thumbor").signed
    with pytest.raises(NotAllowed):
        read(f"/{signature}/400x200/smart/a/b.jpg", "thumbor")


def test_the_first_grammar_that_fits_reads_a_url() -> None:
    every = ("dit", "imgproxy", "thumbor", "query")
    assert str(read("/unsafe/rs:fit:30:20/plain/s3://photos/a.jpg", *every).rendition) == "30x20"
    assert read("/a/b.jpg?w=30", *every).key == "a/b.jpg"
    with pytest.raises(BadWish):
        read("/a/b.jpg", "dit", "imgproxy")


@given(st.text(max_size=80), st.text(max_size=80), st.sampled_from(NAMES))
def test_any_text_is_read_or_refused(path: str, query: str, name: str) -> None:
    for prefix in ("/", "/unsafe/"):
        try:
            wish = read_url(
                prefix + quote(path, safe="/:@.,()"), quote(query, safe="=&"), SITE, NOW.timestamp(), [name]
            )
        except (BadWish, NotAllowed, Expired):
            continue
        assert wish.bucket == "photos"


@given(
    st.builds(
        Rendition,
        st.just("x"),
        st.integers(1, 4096),
        st.integers(1, 4096),
        st.sampled_from(Fit),
        st.sampled_from([None, Format.JPEG, Format.PNG, Format.WEBP, Format.AVIF, Format.GIF]),
        st.none() | st.integers(1, 100),
    )
)
def test_every_rendition_can_be_asked_for(rendition: Rendition) -> None:
    query = f"w={rendition.width}&h={rendition.height}&fit={rendition.fit}&fm={rendition.format or 'auto'}"
    made = read(f"/a.jpg?{query}&q={rendition.quality or ''}").rendition
    assert replace(parse_rendition(str(made)), quick=True) == made
    assert (made.width, made.height, made.fit, made.format, made.quality) == (
        rendition.width, rendition.height, rendition.fit, rendition.format, rendition.quality,
    )  # fmt: skip


# --- formats and tags ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("image/avif,image/webp,image/apng,image/*,*/*;q=0.8", Format.WEBP),
        ("image/avif,image/webp;q=0.5", Format.AVIF),
        ("image/webp;q=0", None),
        ("IMAGE/WEBP", Format.WEBP),
        ("image/*,*/*", None),
        ("", None),
        (", ;;,q=", None),
    ],
)
def test_a_client_gets_a_format_that_it_names(accept: str, expected: Format | None) -> None:
    assert preferred_format(accept, (Format.WEBP, Format.AVIF)) == expected


def test_a_tag_names_source_and_rendition() -> None:
    source, rendition = ObjectVersion("e", None), parse_rendition("128x128")
    tags = {
        entity_tag(source, rendition),
        entity_tag(ObjectVersion("f", None), rendition),
        entity_tag(ObjectVersion("e", "v1"), rendition),
        entity_tag(source, parse_rendition("128x128:webp")),
        entity_tag(source, parse_rendition("128x128:q50")),
    }
    assert len(tags) == 5
    tag = entity_tag(source, rendition)
    assert is_known(f'"x", W/{tag}', tag)
    assert is_known("*", tag)
    assert not is_known('"x"', tag)
