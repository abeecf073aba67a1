"""The bytes that a child answers with: complete in both directions, and refused if anything in them is wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pictures import SAMPLES
from tests.tools.peak import plan_for
from thumbnailer import errors
from thumbnailer.engine import Rendering
from thumbnailer.execution.attempt import KINDS, frame, most_reply_bytes, pack_reply, unpack_reply
from thumbnailer.model import EngineName
from thumbnailer.planning.memory import MB

PLAN = plan_for(str(next(path for path in SAMPLES if path.name == "rocket.jpg")), EngineName.PILLOW, "128x128")
RENDERING = Rendering(EngineName.PILLOW, (b"picture",), "cut short", 0.5, 0.25)
HEADER = json.loads(pack_reply(RENDERING)[4:-7])


def reply(picture: bytes = b"picture", **changes: object) -> bytes:
    return frame(json.dumps(HEADER | changes).encode()) + picture


def test_a_rendering_arrives_as_it_was_sent() -> None:
    hashed = replace(RENDERING, placeholders=("1QcSHQRnh493V4dIh4eXh1h4kJUI",), profile_ignored=True)
    assert unpack_reply(pack_reply(RENDERING), PLAN) == RENDERING
    assert unpack_reply(pack_reply(hashed), replace(PLAN, thumbhash=True)) == hashed


@pytest.mark.parametrize("kind", KINDS.values())
def test_an_error_arrives_with_its_class_and_a_bounded_text(kind: type[errors.RecordError]) -> None:
    with pytest.raises(kind, match=r"^x{500}$") as raised:
        unpack_reply(pack_reply(kind("x" * 10_000)), PLAN)
    assert type(raised.value) is kind


def test_a_reply_is_no_longer_than_its_thumbnails_can_be() -> None:
    """The parent holds it beside all that it has reserved for the child."""
    assert most_reply_bytes(PLAN) < 2 * MB < PLAN.memory_estimate


def test_every_error_of_a_decoder_has_its_class_in_a_reply() -> None:
    """Otherwise a picture that the compiled engine leaves to the others is rejected as a crash."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.Corrupt)]
    assert {*kinds, errors.UnsupportedFormat} <= set(KINDS.values())


WRONG = {
    "empty": b"",
    "long header": b"\0\1\0\0" + b"x" * 65536,
    "no JSON": frame(b"x"),
    "no object": frame(b"[]"),
    "deep": frame(b"[" * 60_000),
    "another error": frame(b'{"error": "SystemExit", "text": ""}'),
    "another policy": frame(b'{"error": "Gone", "text": ""}'),
    "no text": frame(b'{"error": "Corrupt", "text": 1}'),
    "unknown engine": reply(engine="x"),
    "two pictures": reply(sizes=[3, 4]),
    "no picture": reply(b"", sizes=[]),
    "empty picture": reply(b"", sizes=[0]),
    "negative size": reply(sizes=[-7]),
    "longer": reply(b"pictures"),
    "sizes as text": reply(sizes="7"),
    "not a number": reply(seconds=[float("nan"), 0.1]),
    "negative time": reply(seconds=[-1.0, 0.1]),
    "years": reply(seconds=[1e308, 0.1]),
    "one time": reply(seconds=[1.0]),
    "placeholder unasked": reply(placeholders=["AAAA"]),
    "defect as list": reply(defect=[]),
}


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_reply_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the parent names the cause
        unpack_reply(data, PLAN)


def test_a_placeholder_that_no_header_can_carry_is_refused() -> None:
    with pytest.raises(ValueError, match="placeholders"):
        unpack_reply(reply(placeholders=["a\r\nx-amz-acl: public-read"]), replace(PLAN, thumbhash=True))


@given(st.binary(max_size=64), st.recursive(st.none() | st.text() | st.floats() | st.integers(), st.lists))
def test_any_bytes_are_refused_without_another_error(data: bytes, value: object) -> None:
    candidates = [data, frame(data), *(reply(b"picture", **{name: value}) for name in HEADER)]
    for candidate in candidates:
        try:
            unpack_reply(candidate, PLAN)
        except (ValueError, errors.RecordError):
            continue


def test_nothing_unpickles_what_a_child_sends() -> None:
    """Only the child reads pickles."""
    folder = Path(__file__).parents[2] / "thumbnailer"
    readers = [path.name for path in folder.rglob("*.py") if "pickle.load" in path.read_text()]
    assert readers == ["child.py"]
