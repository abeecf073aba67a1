"""The edge function of deploy/on-demand.yaml in Chromium: it decides about URLs as the Python code does."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import time
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs, parse_qsl, quote, quote_plus, unquote

import pytest
from playwright.sync_api import Page

from handler.http.service import make_site
from tests.demo.running import browser, no_browser
from tests.deploy.on_demand import pictures
from thumbnailer.model import Format
from thumbnailer.renditions import Rendition
from thumbnailer.settings import Settings, parse_settings
from thumbnailer.values import replace
from thumbnailer.wishes import kept
from thumbnailer.wishes.grammars import read_url
from thumbnailer.wishes.kept import find_place
from thumbnailer.wishes.negotiation import preferred_format
from thumbnailer.wishes.signing import TIME, sign
from thumbnailer.wishes.wish import BadWish, Expired, NotAllowed, Wish, allow

WHY_NOT = no_browser()
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))

RUNTIME: Final = Path(__file__).with_name("edge_runtime.js")
KEYS: Final = ("ab" * 16, "0c" * 64)
SITE: Final = {
    "Renditions": "128x128,thumb=64x64:cover:jpeg:q70,late=128x128:progressive",
    "Offers": "card=512x512:cover:webp:q80, x300, hero=1600x:progressive,"
    " 200x200:smart:small, slow=640x:jpeg:progressive, 640x:jpeg, late=77x, 9x9:q50, new=9x9:gif:q90",
    "Negotiate": "webp,avif",
    "MaxSide": "2000",
    "UrlKeys": ",".join(KEYS),
}
MOST_BYTES: Final = 10_240
"""CloudFront's limit on a function."""
BYTES_OF_LISTS: Final = 1000
"""of Renditions and Offers together: the guide names it"""
UNRESERVED: Final = "/!~*'()"
"""what JavaScript's encodeURIComponent leaves as it is, beside Python's own"""

Request = tuple[str, str, str | None]
"""Path and query as they are sent, and the Accept header."""


# --- the function in the browser ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browser() as chromium:
        page = chromium.new_page()
        page.add_script_tag(content=RUNTIME.read_text())
        yield page
        page.close()


def function_code(**parameters: str) -> str:
    code: str = pictures(**parameters)["EdgeFunction"]["FunctionCode"]
    return code


Answer = dict[str, Any]


def ask(page: Page, requests: Sequence[Request], keys: str = SITE["UrlKeys"], **parameters: str) -> list[Answer]:
    """The answers of the edge function that a stack with these parameters has."""
    script = """async ([code, keys, requests]) => {
        const text = code.replace(/^import (\\w+) from '(\\w+)';$/gm, "const $1 = modules.$2;");
        return ask(new Function(`"use strict"; ${text}; return handler;`)(), keys, requests);
    }"""
    answers: list[Answer] = page.evaluate(script, [function_code(**parameters), keys, requests])
    return answers


def ask_one(page: Page, url: str, accept: str | None = None, **parameters: str) -> Answer:
    path, _, query = url.partition("?")
    (answer,) = ask(page, [(path, query, accept)], **parameters)
    return answer


# --- what Python decides ------------------------------------------------------------------------------------------


class Decision(NamedTuple):
    """A refusal's status; the path of a kept picture; or the wish that the function has to make."""

    status: int = 0
    kept: str = ""
    wish: Wish | None = None


def read_settings(**parameters: str) -> Settings:
    """The settings of the function behind the edge."""
    return parse_settings(pictures(**parameters)["Function"]["Environment"]["Variables"])


def read_wish(request: Request, settings: Settings) -> Wish:
    """The wish with its format, as `Service` reads it. Raises BadWish, NotAllowed, Expired."""
    path, query, accept = request
    site = make_site(settings)
    wish = allow(read_url(path, query, site, time(), settings.grammars), site)
    if wish.rendition.format or wish.rendition in settings.renditions:
        return wish
    format_ = preferred_format(accept or "", settings.negotiate)
    return replace(wish, rendition=replace(wish.rendition, format=format_))


def decide(request: Request, settings: Settings) -> Decision:
    text = unquote(request[0][1:])
    if settings.any_prefix and text.startswith(settings.any_prefix) and "\N{REPLACEMENT CHARACTER}" not in text:
        return Decision(kept=path_of(text))
    try:
        wish = read_wish(request, settings)
    except BadWish:
        return Decision(status=400)
    except NotAllowed:
        return Decision(status=403)
    except Expired:
        return Decision(status=410)
    place = find_place(wish, settings)
    if place and place.template and not wish.immutable and may_be_asked_for(path_of(place.key), settings):
        return Decision(kept=path_of(place.key))
    return Decision(wish=wish)


def may_be_asked_for(path: str, settings: Settings) -> bool:
    """Whether anybody may ask for a kept picture by its key; a signed URL may name any format of an offer."""
    try:
        return kept.parse(path, "", make_site(settings), 0) is not None
    except BadWish:
        return False


def path_of(key: str) -> str:
    return "/" + quote(key, safe=UNRESERVED)


def given_version(query: str) -> list[str]:
    return [value for value in parse_qs(query).get("v", []) if value]


def differences(request: Request, answer: Answer, settings: Settings) -> str:
    """How the edge function's answer differs from Python's decision; empty if it does not."""
    wanted = decide(request, settings)
    if wanted.status or "status" in answer:
        return "" if answer.get("status", 0) == wanted.status else f"{request}: {answer}, not {wanted}"
    if wanted.kept:
        is_same = (answer["uri"], answer["origin"], answer["accept"]) == (wanted.kept, None, "*/*")
        return "" if is_same else f"{request}: {answer}, not {wanted.kept}"
    function = read_wish((answer["uri"], answer["query"], answer["accept"]), settings)
    assert wanted.wish
    is_same = replace(function, signed=True) == replace(wanted.wish, signed=True) and answer["origin"] == "function"
    is_same &= given_version(answer["query"]) == given_version(request[1])
    return "" if is_same else f"{request}: {answer} is read as {function}, not {wanted.wish}"


# --- made-up wishes -----------------------------------------------------------------------------------------------

PATHS: Final = (
    "/photo.jpg", "/a%20b/%C3%BC%2B%252F%3F.jpg", "/a%20b/ü+%2f%3F.jpg", "/a//b.png", "/", "/%zz%", "/%FF", "/%C3",
    "/!~*'()@:$&,;=.jpg", "/%F0%9F%93%B7.webp", "/_any/photo.jpg/x300.webp", "/_any/nothing", "/%5fany/a/x300.avif",
    f"/{'k' * 1000}", f"/{'%C3%BC' * 512}", f"/{'k' * 1025}", "/../secret", "/uploads/x/y.jpg",
)  # fmt: skip
ACCEPTS: Final = (
    None, "", "*/*", "image/avif,image/webp,image/apng,*/*;q=0.8", "image/webp", "IMAGE/WEBP;q=0.5, image/avif;q=0.4",
    "image/avif;q=0, image/webp;q=0", "image/webp;level=1;q=.2,image/avif;q=1.2.3", "text/html, image/avif ; q=9",
    ",;q=1, image/webp;q=", "image/*",
)  # fmt: skip
SIDES: Final = (
    "", "0", "9", "64", "128", "200", "300", "512", "1600", "2000", "2001", "01", "1e3", "-5", "6.5",
    "99999", "\N{ARABIC-INDIC DIGIT NINE}",
)  # fmt: skip
VALUES: Final = {
    "w": SIDES, "h": SIDES, "width": SIDES, "height": SIDES, "resize.width": SIDES, "resize.height": SIDES,
    "fit": ("", "inside", "cover", "crop", "clip", "max", "contain", "smart", "fill", "toString", "COVER"),
    "resize.fit": ("cover", "inside"),
    "fm": ("", "auto", "jpg", "jpeg", "png", "webp", "avif", "gif", "bmp", "constructor"),
    "format": ("webp", "auto"),
    "q": ("", "1", "50", "70", "80", "90", "100", "101", "0", "080", "x"),
    "quality": ("80",),
    "dpr": ("", "1", "2", "1.5", "0.5", "0.25", "0", "0.00", "9.99", "10", "1.234", ".5"),
    "v": ("", "1", "2026-11-30", "é/&=%", "a b+c"),
    "name": ("card", "x300", "hero", "thumb", "128x128", "200x200", "new", "9x9", "late", "slow", "640x", "", "nobody"),
    "expires": ("20200101T000000Z", "20990101T000000Z", "20991301T000000Z", "20990230T000000Z", "tomorrow", ""),
    "utm_source": ("mail",), "": ("x",), "__proto__": ("1",),
}  # fmt: skip
LIKELY: Final = (
    "w=512&h=512&fit=cover", "w=512&h=512&fit=crop&fm=webp&q=80", "h=300", "w=1600", "w=128&h=128", "name=card",
    "w=64&h=64&fit=cover", "name=thumb", "w=200&h=200&fit=smart", "w=100&h=100&fit=smart&dpr=2", "h=150&dpr=2", "w=640",
    "h=300&fm=avif", "h=300&fm=png", "w=9&h=9&q=90", "w=9&h=9&q=50&fm=gif", "w=128&h=128&fm=avif", "", "w=77&v=1",
    "w=333&expires=20200101T000000Z", "w=333&expires=20990101T000000Z", "h=300&expires=20200101T000000Z",
)  # fmt: skip


EDGES: Final = (
    "w=64&h=64&fit=cover" + "&" * 29, "w=64&h=64&fit=cover" + "&" * 30, "dpr=0.00", "w=9&dpr=0.5", "w=11&dpr=0.5",
)  # fmt: skip
"""Signed queries with 32 and 33 entries, a pixel ratio of 0, and halves of a pixel."""


def made_up(random_: random.Random) -> Request:
    entries = parse_qsl(random_.choice(LIKELY), keep_blank_values=True)
    for _ in range(random_.choice((0, 0, 1, 1, 2, 3))):
        name = random_.choice(list(VALUES))
        value = random_.choice(VALUES[name])
        if random_.random() < 0.8:
            entries = [entry for entry in entries if entry[0] != name]
        entries.append((name, value))
    path = random_.choice(PATHS[:6] if random_.random() < 0.7 else PATHS)
    if random_.random() < 0.5:
        key = random_.choice((*KEYS, *KEYS, "ee" * 16))
        signature = sign(path, entries, bytes.fromhex(key))
        entries.append(("signature", random_.choice((signature, signature, signature, signature.upper(), "", "zz"))))
    random_.shuffle(entries)
    query = "&".join(encoded(random_, name) + "=" + encoded(random_, value) for name, value in entries)
    if random_.random() < 0.03:
        query += random_.choice(("&", "&&", "&w", "&%FF=1", "&v=%", "&w=1=2", "&" * 40))
    return path, query, random_.choice(ACCEPTS)


def encoded(random_: random.Random, text: str) -> str:
    """Percent-encoded in one of the ways that mean the same."""
    if random_.random() < 0.1:
        return "".join(f"%{byte:02x}" for byte in text.encode())
    return random_.choice((quote, quote_plus))(text)


def signed(url: str, key: str = KEYS[0]) -> tuple[str, str]:
    """Path and query."""
    path, _, query = url.partition("?")
    signature = sign(path, parse_qsl(query, keep_blank_values=True), bytes.fromhex(key))
    return path, f"{query}&signature={signature}"


# --- tests --------------------------------------------------------------------------------------------------------


def test_edge_and_function_decide_the_same_about_10000_wishes(page: Page) -> None:
    random_ = random.Random(17)
    requests = [made_up(random_) for _ in range(10_000)]
    requests += [(path, query, None) for path, query in (signed(f"/a.jpg?{query}") for query in EDGES)]
    answers = ask(page, requests, **SITE)
    settings = read_settings(**SITE)
    found = [told for pair in zip(requests, answers, strict=True) if (told := differences(*pair, settings))]
    assert found[:5] == []
    outcomes = [answer.get("status") or answer["origin"] or "bucket" for answer in answers]
    assert {kind for kind in set(outcomes) if outcomes.count(kind) > 50} == {400, 403, 410, "function", "bucket"}


def test_equal_wishes_have_one_url(page: Page) -> None:
    random_ = random.Random(18)
    requests = [made_up(random_) for _ in range(4_000)]
    settings = read_settings(**SITE)
    urls: dict[object, set[str]] = defaultdict(set)
    for request, answer in zip(requests, ask(page, requests, **SITE), strict=True):
        wish = decide(request, settings).wish
        if wish and not is_of_site(wish.rendition, settings):
            name = (wish.key, wish.rendition, *given_version(request[1]))
            urls[name].add(re.sub("fm=[a-z]*&|", "", f"{answer['uri']}?{answer['query']}"))
    assert len(urls) > 50
    assert [
        found for found in urls.values() if len({re.sub("signature=[0-9a-f]*", "", url) for url in found}) > 1
    ] == []


def is_of_site(rendition: Rendition, settings: Settings) -> bool:
    site = (*settings.renditions, *settings.offers)
    return any(rendition in (one, replace(one, format=rendition.format)) for one in site)


def test_offers_are_found_by_size_alias_pixel_ratio_and_name(page: Page) -> None:
    path = "/_any/a%20b/%C3%BC.jpg/512x512-cover-q80.webp"
    for query in (
        "w=512&h=512&fit=cover", "fit=crop&height=512&width=512", "w=256&h=256&dpr=2&fit=cover&fm=webp&q=80",
        "name=card", "resize.width=512&resize.height=512&resize.fit=cover", "&w=512&h=512&fit=cover&dpr=1&",
    ):  # fmt: skip
        assert ask_one(page, f"/a%20b/%c3%bc.jpg?{query}", **SITE)["uri"] == path, query


@pytest.mark.parametrize(
    ("accept", "ending"),
    [
        (None, "auto"),
        ("image/webp", "webp"),
        ("image/avif,image/webp", "webp"),
        ("image/avif;q=1,image/webp;q=.9", "avif"),
    ],
)
def test_the_accept_header_becomes_one_of_three_endings(page: Page, accept: str | None, ending: str) -> None:
    answer = ask_one(page, "/a.jpg?h=300", accept, **SITE)
    assert (answer["uri"], answer["accept"]) == (f"/_any/a.jpg/x300.{ending}", "*/*")
    assert not answer["query"]


def test_expiry_and_signature_leave_the_cache_key(page: Page) -> None:
    tomorrow, later = (datetime(year, 1, 1, tzinfo=UTC).strftime(TIME) for year in (2098, 2099))
    urls = [
        signed(f"/a.jpg?w=333&expires={tomorrow}"),
        signed(f"/a.jpg?expires={later}&width=333", KEYS[1]),
        signed("/a.jpg?w=111&dpr=3&fit=inside"),
    ]
    answers = ask(page, [(path, query, None) for path, query in urls], **SITE)
    assert answers[0] == answers[1] == answers[2]
    assert answers[0]["query"] == f"signature={sign('/a.jpg', [('w', '333')], bytes.fromhex(KEYS[0]))}&w=333"


def test_without_keys_in_the_store_no_signature_is_right(page: Page) -> None:
    path, query = signed("/a.jpg?w=333")
    for keys, status in ((SITE["UrlKeys"], None), (KEYS[1], 403), ("", 403)):
        (answer,) = ask(page, [(path, query, None)], keys, **SITE)
        assert answer.get("status") == status


def test_with_open_on_no_signature_is_needed_nor_made(page: Page) -> None:
    acl = "arn:aws:wafv2:us-east-1:123456789012:global/webacl/pictures/1234-abcd"
    answer = ask_one(page, "/a.jpg?w=333", **SITE, Open="on", WebAclArn=acl)
    assert (answer["uri"], answer["query"], answer["origin"]) == ("/a.jpg", "w=333", "function")


def test_a_url_with_a_version_goes_to_the_function_which_looks_at_the_source(page: Page) -> None:
    answer = ask_one(page, "/a.jpg?name=x300&v=2", "image/webp", **SITE)
    assert answer == {"uri": "/a.jpg", "query": "name=x300&v=2", "accept": "image/webp", "origin": "function"}


@pytest.mark.parametrize("more", [{"OnDelete": "keep"}, {"AnyPrefix": ""}])
def test_offers_that_are_not_kept_go_to_the_function(page: Page, more: dict[str, str]) -> None:
    answer = ask_one(page, "/a.jpg?h=300", "image/webp", **SITE, **more)
    assert answer == {"uri": "/a.jpg", "query": "name=x300", "accept": "image/webp", "origin": "function"}
    assert (
        read_wish(("/a.jpg", "name=x300", "image/webp"), read_settings(**SITE, **more)).rendition.format is Format.WEBP
    )


def test_other_grammars_are_read_by_the_function(page: Page) -> None:
    """The edge sorts the query and names the one format that the client prefers."""
    answer = ask_one(page, "/_/rs:fit:300:200/plain/s3://b/k?b=2&a=1", "image/avif", **SITE, Grammars="imgproxy,query")
    expected = {"uri": "/_/rs:fit:300:200/plain/s3://b/k", "query": "a=1&b=2", "accept": "image/avif"}
    assert answer == expected | {"origin": "function"}


def test_the_stand_in_s_hmac_is_python_s(page: Page) -> None:
    texts = ["", "a", "é" * 40, *("x" * length for length in range(50, 70))]
    script = """([key, texts]) => texts.map((text) =>
        modules.crypto.createHmac("sha256", Buffer.from(key)).update(text).digest("hex"))"""
    for key in KEYS:
        told = page.evaluate(script, [key, [f"{text}?" for text in texts]])
        assert told == [sign(text, [], bytes.fromhex(key)) for text in texts]


# --- CloudFront's limits ------------------------------------------------------------------------------------------

METHODS: Final = {
    "assign", "codePointAt", "concat", "createHmac", "digest", "exec", "filter", "floor", "forEach", "from", "get",
    "hasOwnProperty", "includes", "indexOf", "join", "kvs", "map", "min", "parse", "pop", "push", "rawQueryString",
    "reduce", "replace", "round", "selectRequestOriginById", "slice", "some", "sort", "split", "startsWith",
    "stringify", "test", "toISOString", "toLowerCase", "trim", "update", "now",
}  # fmt: skip
"""What the function calls; AWS lists each in the features of runtime 2.0, or it is a method of the modules."""
NOT_SUPPORTED: Final = r"\?\.|\?\?|\.\.\.|\bclass\b|\bof\b|\beval\b|\brequire\b|=> *\{? *await|async *\("
"""Syntax that the runtime lacks: optional chaining, spread, classes, for-of; async closures."""


def without_comments(code: str) -> str:
    return re.sub(r" // .*", "", code)


def test_the_function_uses_only_what_cloudfront_s_runtime_has() -> None:
    code = without_comments(function_code(**SITE))
    assert set(re.findall(r"\.(\w+)\(", code)) - METHODS == set()
    assert re.findall(NOT_SUPPORTED, code) == []


def test_the_function_has_room_for_its_lists_within_10_kb() -> None:
    lists = len(SITE["Renditions"]) + len(SITE["Offers"])
    assert len(function_code(**SITE).encode()) - lists + BYTES_OF_LISTS <= MOST_BYTES
