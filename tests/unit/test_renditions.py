from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from thumbnailer.errors import KeyTooLong
from thumbnailer.model import Fit, Format
from thumbnailer.renditions import (
    KEY_FIELDS,
    MAX_KEY_BYTES,
    MAX_SIDE,
    OUTPUT_FORMATS,
    Rendition,
    can_collide,
    check_key_template,
    default_key_template,
    parse_rendition,
    parse_renditions,
    possible_target_keys,
    target_key,
    template_fields,
)

ONE = parse_renditions("128x128")
SEVERAL = parse_renditions("s=128x128,m=512x512,s-m=64x64:cover:webp:q80")
SAFE_FOR_SEVERAL = ("{key}/{name}.{ext}", "{key}/{name}", "{name}/{key}", "{name}.{ext}/{key}", "thumbs/{name}/{key}.x")

sides = st.integers(1, MAX_SIDE)
NAMES = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
KEYS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40),
    st.text(st.sampled_from("ab/.-smjpgwe"), min_size=1, max_size=12),
)


@st.composite
def any_rendition(draw: st.DrawFn) -> Rendition:
    fit = draw(st.sampled_from(Fit))
    width, height = draw(sides), draw(sides)
    kept = "both" if fit.crops else draw(st.sampled_from(["both", "width", "height"]))
    size = (None if kept == "height" else width, None if kept == "width" else height)
    name = draw(st.one_of(NAMES, st.just(f"{size[0] or ''}x{size[1] or ''}")))
    format_ = draw(st.sampled_from([None, *OUTPUT_FORMATS]))
    progressive = format_ in (None, Format.JPEG) and draw(st.booleans())
    return Rendition(name, *size, fit, format_, draw(st.none() | st.integers(1, 100)), progressive)


@st.composite
def any_template(draw: st.DrawFn) -> str:
    """Templates of fields and text, and often a safe template."""
    part = st.sampled_from(
        ["/", ".", "-", "a", "{{", "}}", "jpg", "{key}", "{name}", *(f"{{{field}}}" for field in sorted(KEY_FIELDS))]
    )
    return draw(st.one_of(st.sampled_from(SAFE_FOR_SEVERAL), st.lists(part, min_size=1, max_size=6).map("".join)))


# --- renditions ---------------------------------------------------------------------------------------------------


@given(any_rendition())
def test_str_and_parse_rendition_are_inverse(rendition: Rendition) -> None:
    assert parse_rendition(str(rendition)) == rendition


@given(any_rendition())
def test_str_is_canonical(rendition: Rendition) -> None:
    assert str(parse_rendition(str(rendition))) == str(rendition)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("128x128", Rendition("128x128", 128, 128)),
        (" 128x128 ", Rendition("128x128", 128, 128)),
        ("9x9:smart", Rendition("9x9", 9, 9, Fit.SMART)),
        ("9x9:progressive", Rendition("9x9", 9, 9, progressive=True)),
        ("9x9:jpeg:q70:progressive", Rendition("9x9", 9, 9, Fit.INSIDE, Format.JPEG, 70, progressive=True)),
        ("512x", Rendition("512x", 512, None)),
        ("x512", Rendition("x512", None, 512)),
        ("card=512x512:cover:webp:q80", Rendition("card", 512, 512, Fit.COVER, Format.WEBP, 80)),
        ("1x1:auto", Rendition("1x1", 1, 1)),
        ("64x64:inside:q1", Rendition("64x64", 64, 64, Fit.INSIDE, None, 1)),
        ("16383x16383:avif", Rendition("16383x16383", 16383, 16383, Fit.INSIDE, Format.AVIF)),
        ("64x64=32x32", Rendition("64x64", 32, 32)),
        ("0128x128", Rendition("128x128", 128, 128)),
    ],
)
def test_parse_rendition(text: str, expected: Rendition) -> None:
    assert parse_rendition(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "128",
        "128X128",
        "-1x128",
        "0x128",
        "128x0",
        "16384x1",
        "99999x1",
        "123456x1",
        "1.5x2",
        "128 x 128",
        "=128x128",
        "a b=128x128",
        "a/b=128x128",
        "a.b=128x128",
        "é=128x128",
        f"{'n' * 65}=128x128",
        "128x128:",
        "128x128:fill",
        "128x128:heic",
        "128x128:tiff",
        "128x128:webp:cover",
        "128x128:q80:webp",
        "128x128:cover:cover",
        "128x128:webp:png",
        "128x128:q0",
        "128x128:q101",
        "128x128:q1000",
        "128x128:80",
        "128x128:Q80",
        "128x128:q",
        "128x128:q80:q80",
        "512x:cover",
        "x512:cover",
        "128x128:webp\n:q80",
    ],
)
def test_a_bad_rendition_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        parse_rendition(text)


@given(st.text(max_size=30))
@example("128x128:q¹")
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        rendition = parse_rendition(text)
    except ValueError:
        return
    assert parse_rendition(str(rendition)) == rendition


@pytest.mark.parametrize("text", ["", " ", ",", " , ,"])
def test_an_empty_list_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="empty"):
        parse_renditions(text)


@pytest.mark.parametrize("text", ["128x128,128x128", "a=1x1,b=2x2,a=3x3", "128x128,128x128:webp"])
def test_a_name_given_twice_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="twice"):
        parse_renditions(text)


def test_a_list_keeps_its_order_and_ignores_empty_parts_and_blanks() -> None:
    assert [r.name for r in parse_renditions(" b=1x1 ,, a=2x2, ")] == ["b", "a"]


# --- keys ---------------------------------------------------------------------------------------------------------


def other_source(template: str, written: str, rendition: Rendition, format_: Format) -> str | None:
    """The key whose thumbnail is `written` too, None if there is none: inverts the template."""
    before, after = (target_key(part, "", rendition, format_) for part in template.split("{key}"))
    key = written.removeprefix(before).removesuffix(after)
    return key if key and before + key + after == written else None


def collides(
    template: str, renditions: tuple[Rendition, ...], key: str, first: Rendition, formats: tuple[Format, Format]
) -> bool:
    """Whether another source or another rendition has the same thumbnail key as `first` of `key`."""
    written = target_key(template, key, first, first.format or formats[0])
    others = [(r, other_source(template, written, r, r.format or formats[1])) for r in renditions]
    return any(other is not None and (other, r.name) != (key, first.name) for r, other in others)


@st.composite
def likely_to_collide(draw: st.DrawFn) -> tuple[str, tuple[Rendition, ...], str, tuple[Format, Format]]:
    """Short names with common beginnings or ends, and a key made of a template's text."""
    names = draw(st.lists(st.text("ab-", min_size=1, max_size=3), min_size=1, max_size=3, unique=True))
    wanted = st.sampled_from([None, Format.JPEG])
    renditions = tuple(Rendition(name, 1, 1, Fit.INSIDE, draw(wanted)) for name in names)
    pieces = st.sampled_from([*names, "/", ".", "-", "a", "jpg", "png", ".jpg", "{", "}", "я"])
    key = "".join(draw(st.lists(pieces, min_size=1, max_size=6)))
    formats = draw(st.tuples(st.sampled_from(OUTPUT_FORMATS), st.sampled_from(OUTPUT_FORMATS)))
    return draw(any_template()), renditions, key, formats


@pytest.mark.matrix(1)
@settings(max_examples=500)
@given(likely_to_collide())
def test_with_a_safe_template_no_two_thumbnails_have_the_same_key(
    case: tuple[str, tuple[Rendition, ...], str, tuple[Format, Format]],
) -> None:
    template, renditions, key, formats = case
    try:
        check_key_template(template, renditions)
    except ValueError:
        return
    if not can_collide(template, renditions):
        assert not any(collides(template, renditions, key, first, formats) for first in renditions)


@pytest.mark.parametrize(
    ("template", "key"), [("{key}-{name}", "x"), ("{name}{key}", "x"), ("{name}-{key}", "m-x"), ("{key}{name}", "x")]
)
def test_the_search_for_collisions_finds_them(template: str, key: str) -> None:
    renditions = parse_renditions("s=1x1,s-m=1x1,m=1x1,m-m=1x1,ss=1x1")
    assert any(collides(template, renditions, key, first, (Format.JPEG, Format.JPEG)) for first in renditions)


@pytest.mark.parametrize("renditions", [ONE, SEVERAL], ids=["one", "several"])
def test_the_default_template_is_safe(renditions: tuple[Rendition, ...]) -> None:
    template = default_key_template(renditions)
    check_key_template(template, renditions)
    assert not can_collide(template, renditions)


def test_by_default_a_thumbnail_has_its_source_s_key() -> None:
    assert default_key_template(ONE) == "{key}"
    assert target_key("{key}", "a//b/../ü.PNG", ONE[0], Format.JPEG) == "a//b/../ü.PNG"


def test_by_default_several_thumbnails_are_below_the_key() -> None:
    assert target_key(default_key_template(SEVERAL), "a/b.png", SEVERAL[0], Format.JPEG) == "a/b.png/s.jpg"


@pytest.mark.parametrize("template", SAFE_FOR_SEVERAL)
def test_templates_that_separate_name_and_key_are_safe(template: str) -> None:
    assert not can_collide(template, SEVERAL)


@pytest.mark.parametrize(
    "template", ["{key}-{name}", "{name}{key}", "{dir}/{stem}-{name}.{ext}", "{stem}/{name}", "{key}{key}/{name}"]
)
def test_templates_that_can_collide(template: str) -> None:
    check_key_template(template, SEVERAL)
    assert can_collide(template, SEVERAL)


@pytest.mark.parametrize("template", ["thumbnail.jpg", "{name}.{ext}", "{dir}/{name}", "", "{{key}}"])
def test_a_template_with_the_same_key_for_every_source_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match="every source"):
        check_key_template(template, ONE)


@pytest.mark.parametrize("template", ["{key}", "{key}.{ext}", "{dir}/{stem}.{ext}"])
def test_a_template_without_name_is_refused_for_several_renditions(template: str) -> None:
    check_key_template(template, ONE)
    with pytest.raises(ValueError, match="overwrite each other"):
        check_key_template(template, SEVERAL)


@pytest.mark.parametrize(
    "template", ["{", "}", "{}", "{0}", "{key", "{size}", "{key!r}", "{key:>9}", "{key.real}", "{key[0]}", "{key!}"]
)
def test_unknown_fields_and_formatted_fields_are_refused(template: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        template_fields(template)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("a/b/c.jpg", "a/b|c|jpg"),
        ("c.tar.gz", "|c.tar|jpg"),
        ("a/.hidden", "a|.hidden|jpg"),
        ("noext", "|noext|jpg"),
        ("a.b/c", "a.b|c|jpg"),
        ("{name}", "|{name}|jpg"),
    ],
)
def test_dir_and_stem_of_a_key(key: str, expected: str) -> None:
    assert target_key("{dir}|{stem}|{ext}", key, ONE[0], Format.JPEG) == expected


@pytest.mark.matrix(1)
@pytest.mark.parametrize("key", ["k" * 1024, "я" * 512, "/" * 1024])
def test_a_key_of_1024_bytes_is_too_long_for_several_renditions(key: str) -> None:
    assert target_key(default_key_template(ONE), key, ONE[0], Format.JPEG) == key
    with pytest.raises(KeyTooLong):
        target_key(default_key_template(SEVERAL), key, SEVERAL[0], Format.JPEG)


def test_the_limit_is_counted_in_bytes() -> None:
    room = MAX_KEY_BYTES - len("/s.jpg")
    assert len(target_key("{key}/{name}.{ext}", "k" * room, SEVERAL[0], Format.JPEG)) == MAX_KEY_BYTES
    with pytest.raises(KeyTooLong, match="1025 bytes"):
        target_key("{key}/{name}.{ext}", "k" * (room - 1) + "я", SEVERAL[0], Format.JPEG)


@given(KEYS, st.sampled_from(OUTPUT_FORMATS), st.sampled_from(SAFE_FOR_SEVERAL), st.sampled_from(SEVERAL))
@example("k" * 1018, Format.JPEG, "{key}/{name}.{ext}", SEVERAL[0])
def test_a_removal_deletes_every_written_key(key: str, format_: Format, template: str, rendition: Rendition) -> None:
    written = target_key(template, key, rendition, rendition.format or format_)
    assert written in possible_target_keys(template, key, SEVERAL)


def test_a_removal_has_each_key_once_and_none_that_is_too_long() -> None:
    assert possible_target_keys("{key}", "a.jpg", ONE) == ("a.jpg",)
    assert possible_target_keys("{key}/{name}.{ext}", "k" * 1024, SEVERAL) == ()
    keys = possible_target_keys("{key}/{name}.{ext}", "a", SEVERAL)
    assert len(set(keys)) == len(keys) == 2 * len(OUTPUT_FORMATS) + 1


@pytest.mark.parametrize(
    ("key", "expected"), [("a.jpg", "t/a-64x64.webp"), ("x/y/a.jpg", "t/x/y/a-64x64.webp"), ("x/a", "t/x/a-64x64.webp")]
)
def test_an_empty_dir_takes_no_slash(key: str, expected: str) -> None:
    assert target_key("t/{dir}/{stem}-{name}.{ext}", key, parse_rendition("64x64"), Format.WEBP) == expected
    assert target_key("{dir}/{stem}-{name}.{ext}", key, parse_rendition("64x64"), Format.WEBP) == expected[2:]


def test_keys_that_are_not_utf_8_have_thumbnails() -> None:
    assert target_key("{key}", "caf\udce9.jpg", parse_rendition("64x64"), Format.JPEG) == "caf\udce9.jpg"


@pytest.mark.parametrize(("word", "nearest"), [("covr", "cover"), ("jpg", "jpeg"), ("progresive", "progressive")])
def test_an_unknown_word_names_the_nearest(word: str, nearest: str) -> None:
    with pytest.raises(ValueError, match=f"'{word}' is unknown; the nearest is '{nearest}'"):
        parse_rendition(f"64x64:{word}")
