"""Notes about rejected objects: their keys and their content."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pipelines import settings
from thumbnailer.model import EventKind, ObjectEvent, Outcome, Status
from thumbnailer.planning.targets import RECIPE, SOURCE_ETAG
from thumbnailer.renditions import MAX_KEY_BYTES
from thumbnailer.reporting.notes import VERSION, note_body, note_headers, note_key, note_recipe

LETTERS = st.characters(exclude_categories=["Cs"])
PREFIXES = st.sampled_from(["_failed/", "x", "p" * 256, "я" * 128])
LONG = st.builds(
    lambda start, letter, end: (
        (start + letter * (1000 // len(letter.encode())) + end).encode()[:1024].decode(errors="ignore")
    ),
    st.text(LETTERS, max_size=4),
    LETTERS,
    st.text(LETTERS, max_size=12),
)


def outcome(key: str = "a.jpg", etag: str | None = "e1") -> Outcome:
    event = ObjectEvent(EventKind.CREATED, "photos", key, version_id="v1", etag=etag)
    return Outcome(event, Status.REJECTED, "corrupt", "ends in the middle")


def test_the_key_of_a_note_is_prefix_and_key() -> None:
    assert note_key("_failed/", "a//b/../c.jpg") == "_failed/a//b/../c.jpg.json"


@pytest.mark.matrix(1)
@pytest.mark.parametrize("key", ["k" * 1024, "я" * 512, "🌺" * 256, "a" + "🌺" * 255, "ab" + "🌺" * 255])
@pytest.mark.parametrize("prefix", ["_failed/", "p" * 256])
def test_the_note_of_the_longest_key_has_a_valid_key(prefix: str, key: str) -> None:
    note = note_key(prefix, key)
    assert len(note.encode()) <= MAX_KEY_BYTES
    assert note.startswith(prefix + key[:100])
    assert note.endswith(".json")
    assert "\ufffd" not in note


@given(PREFIXES, LONG | st.text(LETTERS, min_size=1, max_size=20), LONG | st.text(LETTERS, min_size=1, max_size=20))
def test_notes_fit_and_distinct_keys_have_distinct_notes(prefix: str, first: str, second: str) -> None:
    notes = note_key(prefix, first), note_key(prefix, second)
    assert max(len(note.encode()) for note in notes) <= MAX_KEY_BYTES
    assert (notes[0] == notes[1]) == (first == second)


def test_keys_that_differ_behind_the_cut_have_distinct_notes() -> None:
    assert note_key("_failed/", "k" * 1023 + "1") != note_key("_failed/", "k" * 1023 + "2")


@pytest.mark.parametrize("long_key", ["k" * 1024, "я" * 512, "a" + "🌺" * 255])
def test_no_upload_can_overwrite_the_note_of_a_long_key(long_key: str) -> None:
    """A stranger may choose as key the text between the prefix and the suffix of a cut note."""
    taken = note_key("_failed/", long_key)
    chosen = taken.removeprefix("_failed/").removesuffix(".json")
    assert chosen != long_key
    assert note_key("_failed/", chosen) != taken


def test_a_note_names_the_object_and_the_reason() -> None:
    assert json.loads(note_body(outcome("ü\n\u2028.jpg"), settings())) == {
        "bucket": "photos",
        "key": "ü\n\u2028.jpg",
        "version": "v1",
        "etag": "e1",
        "outcome": "rejected",
        "reason": "corrupt",
        "detail": "ends in the middle",
        "thumbnailer": VERSION,
        "settings": note_recipe(settings()).removeprefix(f"{VERSION}-"),
    }


def test_the_same_outcome_gives_the_same_note() -> None:
    assert note_body(outcome(), settings()) == note_body(outcome(), settings())


@pytest.mark.parametrize(("etag", "expected"), [("e1", "e1"), (None, "")])
def test_a_note_is_marked_as_own_output(etag: str | None, expected: str) -> None:
    headers = note_headers(outcome(etag=etag), settings())
    assert headers.content_type == "application/json"
    assert headers.metadata == {SOURCE_ETAG: expected, RECIPE: note_recipe(settings())}


def test_a_note_says_which_limits_refused() -> None:
    made = {note_recipe(settings(**env)) for env in ({}, {"MAX_PIXELS": "1000"}, {"MAX_BYTES": "1000"}, {"SVG": "on"})}
    assert len(made) == 4
    assert note_recipe(settings()) == note_recipe(settings(CACHE_CONTROL="no-store"))


def test_notes_name_the_version_of_the_package() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert project["project"]["version"] == VERSION
