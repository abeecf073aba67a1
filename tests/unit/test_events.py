from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from thumbnailer.errors import EventError
from thumbnailer.events import parse_event, parse_text
from thumbnailer.model import EventKind, ObjectEvent

EVENTS = Path(__file__).parents[1] / "events"
ANY_KEY = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=256)


def load(name: str) -> Any:
    return json.loads((EVENTS / f"{name}.json").read_text())


def s3(key: str = "a.jpg", **changes: Any) -> dict[str, Any]:
    record = {
        "eventVersion": "2.1",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": "photos"}, "object": {"key": key}},
    }
    return {"Records": [record | changes]}


def eventbridge(key: str, **changes: Any) -> dict[str, Any]:
    detail = {"bucket": {"name": "photos"}, "object": {"key": key}}
    return {"source": "aws.s3", "detail-type": "Object Created", "detail": detail} | changes


def in_sns(payload: object, times: int = 1) -> dict[str, Any]:
    for _ in range(times):
        payload = {"Type": "Notification", "Message": json.dumps(payload)}
    assert isinstance(payload, dict)
    return payload


CREATED = ObjectEvent(
    kind=EventKind.CREATED,
    bucket="photos",
    key="red flower.jpg",
    version_id=None,
    etag="5278da7bb8a0aece3e47de6e169f233c",
    size=142987,
    sequencer="005AE6E90052A38B8D",
    time="2026-11-25T10:15:01.741Z",
)
EXACT: dict[str, tuple[ObjectEvent, ...]] = {
    "s3_put": (CREATED,),
    "s3_put_v26": (
        ObjectEvent(
            EventKind.CREATED,
            "photos",
            "red flower.jpg",
            "GEDA9_NEEmYjtvqMEY7wUap1x18.16oA",
            "3b30b1ce5d5c8b574f8a1c7fecae6a0a",
            142987,
            "00E0348F92C1409FBA",
            "2026-11-25T10:15:03.482Z",
        ),
    ),
    "s3_copy_multi": (
        ObjectEvent(
            EventKind.CREATED,
            "photos",
            "2026/copy of red flower.jpg",
            etag="94f775fce97dbf308a3f9f980bc9f5e4",
            size=142987,
            time="2026-11-25T10:15:06.964Z",
        ),
        ObjectEvent(
            EventKind.CREATED,
            "photos",
            "2026/panorama.tiff",
            etag="819769e1b53967deb1112984c48569fc-9",
            size=68157440,
            time="2026-11-25T10:15:08.705Z",
        ),
        ObjectEvent(
            EventKind.REMOVED,
            "photos",
            "2026/old flower.jpg",
            sequencer="00EF9435DB50D2FD0D",
            time="2026-11-25T10:15:10.446Z",
        ),
    ),
    "s3_removed_delete_marker": (
        ObjectEvent(
            EventKind.REMOVED,
            "photos",
            "red flower.jpg",
            "GHya.9rntVgu_CQngtiGK0Z1hMu9iEcd",
            sequencer="0041ED1557F32AFA43",
            time="2026-11-25T10:15:12.187Z",
        ),
    ),
    "s3_restore_completed": (
        ObjectEvent(
            EventKind.RESTORED,
            "photos",
            "archive/2019/red flower.jpg",
            etag="e36da89375d924fc39b449cd414d68a4",
            size=142987,
            time="2026-11-25T10:15:13.928Z",
        ),
    ),
    "s3_tagging": (
        ObjectEvent(
            EventKind.OTHER,
            "photos",
            "red flower.jpg",
            etag="5072e58f748ed06827bc8ba730d52a62",
            time="2026-11-25T10:15:15.669Z",
        ),
    ),
    "s3_test_event": (),
    "s3_empty_records": (),
    "sns_s3": (
        ObjectEvent(
            EventKind.CREATED,
            "photos",
            "red flower.jpg",
            etag="64052a24742321039f0a525c70ff8880",
            size=142987,
            sequencer="0033F006FECCFA524D",
            time="2026-11-25T10:15:34.820Z",
        ),
    ),
    "sns_test_event": (),
    "eventbridge_created": (
        ObjectEvent(
            EventKind.CREATED,
            "photos",
            "albums/red+flower 100%25.jpg",
            "sg5BJ_nORSgum0fjb1HCIx8iVxn_6f9o",
            "4bf5afcd023354ccd0bd4575b7ae0390",
            142987,
            "0087430AB6C540ABF7",
            "2026-11-25T10:15:41Z",
        ),
    ),
    "eventbridge_cloudtrail": (),
    "eventbridge_deleted": (
        ObjectEvent(
            EventKind.REMOVED,
            "photos",
            "red flower.jpg",
            sequencer="004600D5187F6AD1FC",
            time="2026-11-25T10:15:43Z",
        ),
    ),
    "eventbridge_restore": (
        ObjectEvent(
            EventKind.RESTORED,
            "photos",
            "archive/2019/red flower.jpg",
            etag="ef8f7351b39370e976464427ed282df9",
            size=142987,
            time="2026-11-25T10:15:45Z",
        ),
    ),
}
ELSEWHERE = {"s3_odd_keys", "s3_put_v30"}


@pytest.mark.parametrize("name", EXACT)
def test_each_shape_gives_exactly_its_events(name: str) -> None:
    assert parse_event(load(name)) == EXACT[name]
    assert parse_text((EVENTS / f"{name}.json").read_text()) == EXACT[name]


def test_every_file_except_queue_deliveries_is_tested_here() -> None:
    files = {path.stem for path in EVENTS.glob("*.json") if not path.stem.startswith("sqs_")}
    assert files == set(EXACT) | ELSEWHERE


@pytest.mark.matrix(1)
@pytest.mark.parametrize(
    ("source", "sent", "key"),
    [
        ("aws:s3", "a+b%2Bc.jpg", "a b+c.jpg"),
        ("ceph:s3", "a+b%2Bc.jpg", "a+b%2Bc.jpg"),
        ("ceph:s3", "100%.jpg", "100%.jpg"),
        ("minio:s3", "2026%2Fa+b%2Bc.jpg", "2026/a b+c.jpg"),
        ("minio:s3", "2026/a+b.jpg", "2026/a+b.jpg"),
        ("minio:s3", "100%.jpg", "100%.jpg"),
    ],
)
def test_each_source_s_keys_are_decoded_as_it_encodes_them(source: str, sent: str, key: str) -> None:
    """MinIO's notifications encode every slash; a key with a slash was sent by something that encodes nothing."""
    (event,) = parse_event(s3(sent, eventSource=source))
    assert event.key == key


@pytest.mark.matrix(1)
def test_odd_keys_are_decoded_once() -> None:
    keys = [event.key for event in parse_event(load("s3_odd_keys"))]
    assert keys[:9] == [
        "  two  spaces .jpg",
        "1+1=2.jpg",
        "100%.jpg",
        "a/../../etc/passwd.jpg",
        'say "hi", it\'s.jpg',
        "line\r\nbreak.jpg",
        "Фото/красный цветок.jpg",
        "照片/红花.jpg",
        "🌺 emoji 👩\u200d🚀.jpg",
    ]
    assert len(keys[9].encode()) == 1024
    assert keys[10:] == ["a//b", "a/%2e%2e/b.jpg", "albums/2026/red flower.jpg"]


# --- keys ---------------------------------------------------------------------------------------------------------


@pytest.mark.matrix(1)
@given(ANY_KEY)
@example("%2B")
@example("a+b%20c")
@example("../../etc/x")
@example("\n\r\x00\u2028")
def test_a_form_encoded_key_is_decoded_exactly_once(key: str) -> None:
    assert [event.key for event in parse_event(s3(quote_plus(key)))] == [key]


@pytest.mark.matrix(1)
@given(ANY_KEY)
@example("a+b%20c")
@example("%ff")
def test_an_eventbridge_key_is_not_decoded(key: str) -> None:
    assert [event.key for event in parse_event(eventbridge(key))] == [key]


@given(ANY_KEY)
def test_a_key_is_the_same_in_every_envelope(key: str) -> None:
    expected = parse_event(s3(quote_plus(key)))
    assert parse_event(in_sns(s3(quote_plus(key)))) == expected
    assert parse_event({"Records": [{"Sns": in_sns(s3(quote_plus(key)))}]}) == expected


def test_a_key_that_is_not_form_encoded_utf_8_is_refused() -> None:
    with pytest.raises(EventError, match="not UTF-8"):
        parse_event(s3("a%ff.jpg"))


@pytest.mark.matrix(1)
@pytest.mark.parametrize("text", [r"\ud800.jpg", r"a\udfff%20b"])
@pytest.mark.parametrize("shape", [s3, eventbridge])
def test_a_key_with_half_a_surrogate_pair_is_refused(shape: Any, text: str) -> None:
    """JSON can contain it, UTF-8 cannot; every later `key.encode()` would fail."""
    with pytest.raises(EventError):
        parse_text(json.dumps(shape("KEY")).replace("KEY", text))


@pytest.mark.matrix(1)
@pytest.mark.parametrize("shape", [s3, eventbridge])
def test_a_key_longer_than_s3_allows_is_refused(shape: Any) -> None:
    assert parse_event(shape("ü" * 512))[0].key == "ü" * 512
    with pytest.raises(EventError, match="1026 bytes; expected at most 1024"):
        parse_event(shape("ü" * 513))


# --- forged buckets and fields --------------------------------------------------------------------------------------

HOSTILE = st.text(st.sampled_from("ab.-_A0@:/?#[]\\%\r\n\t\0 üⅠ\u202e\u2028"), min_size=1, max_size=40)
LEGAL = re.compile(r"[A-Za-z0-9._-]{3,255}")


def with_bucket(shape: Any, name: object) -> Any:
    return json.loads(json.dumps(shape("KEY")).replace('"photos"', json.dumps(name)))


@pytest.mark.matrix(54)
@given(HOSTILE | st.text(max_size=300), st.sampled_from([s3, eventbridge]))
@example("photos-x@localhost:9000/", s3)
@example("photos-x@localhost:9000/", eventbridge)
@example("photos\n", s3)
@example("ab", s3)
@example("a" * 256, s3)
@example("../photos", s3)
@example("arn:aws:s3:eu-west-1:123456789012:accesspoint/photos", s3)
@example("photos%2f", eventbridge)
def test_a_bucket_name_is_one_of_s3_s_or_the_event_is_refused(name: str, shape: Any) -> None:
    if LEGAL.fullmatch(name):
        assert [event.bucket for event in parse_event(with_bucket(shape, name))] == [name]
    else:
        with pytest.raises(EventError, match="is no bucket name" if name else "is missing") as caught:
            parse_event(with_bucket(shape, name))
        assert len(str(caught.value)) <= 500


@pytest.mark.matrix(54)
@pytest.mark.parametrize("name", ["abc", "my.photos", "Photos_2016", "photos--use1-az4--x-s3", "a" * 255])
def test_every_kind_of_bucket_is_accepted(name: str) -> None:
    assert parse_event(with_bucket(s3, name))[0].bucket == name


@pytest.mark.matrix(54)
@given(st.text(max_size=2000))
@example("a" * 1025)
@example("x\r\nx-amz-acl: public-read")
def test_a_field_that_no_header_can_carry_is_dropped(text: str) -> None:
    payload = s3(eventTime=text)
    payload["Records"][0]["s3"]["object"] |= {"eTag": text, "versionId": text, "sequencer": text}
    (event,) = parse_event(payload)
    expected = text if 1 <= len(text) <= 1024 and text.isascii() and text.isprintable() else None
    assert {event.etag, event.version_id, event.sequencer, event.time} == {expected}


# --- versions, kinds and fields -----------------------------------------------------------------------------------


@pytest.mark.matrix(26)
def test_event_version_3_is_refused_and_the_error_says_so() -> None:
    with pytest.raises(EventError, match=r"eventVersion '3\.0' .*expected 2\.x"):
        parse_event(load("s3_put_v30"))


@pytest.mark.matrix(26)
@pytest.mark.parametrize("version", ["2.0", "2.1", "2.6", "2.99", "2"])
def test_every_version_2_is_accepted(version: str) -> None:
    assert len(parse_event(s3(eventVersion=version))) == 1


@pytest.mark.matrix(26)
@pytest.mark.parametrize("version", ["1.0", "20.1", "3", "", None, "x", "v2.1"])
def test_every_other_version_is_refused(version: object) -> None:
    with pytest.raises(EventError, match="eventVersion"):
        parse_event(s3(eventVersion=version))


@pytest.mark.matrix(26)
def test_unknown_fields_are_ignored() -> None:
    payload = load("s3_put")
    for part in (
        payload,
        record := payload["Records"][0],
        record["s3"],
        record["s3"]["object"],
        record["s3"]["bucket"],
    ):
        part["fieldOfTomorrow"] = {"deep": [None, 1, {"x": "y"}]}
    assert parse_event(payload) == (CREATED,)


@pytest.mark.matrix(26)
@pytest.mark.parametrize("times", [0, 1, 2])
@pytest.mark.parametrize("name", ["s3_test_event", "s3_empty_records"])
def test_a_test_event_and_empty_records_are_no_events_in_any_envelope(name: str, times: int) -> None:
    assert parse_event(in_sns(load(name), times) if times else load(name)) == ()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ObjectCreated:Put", EventKind.CREATED),
        ("ObjectCreated:Post", EventKind.CREATED),
        ("s3:ObjectCreated:Copy", EventKind.CREATED),
        ("ObjectCreated:CompleteMultipartUpload", EventKind.CREATED),
        ("ObjectRemoved:Delete", EventKind.REMOVED),
        ("ObjectRemoved:DeleteMarkerCreated", EventKind.REMOVED),
        ("LifecycleExpiration:Delete", EventKind.REMOVED),
        ("ObjectRestore:Completed", EventKind.RESTORED),
        ("ObjectRestore:Post", EventKind.OTHER),
        ("ObjectRestore:Delete", EventKind.OTHER),
        ("ObjectAcl:Put", EventKind.OTHER),
        ("ReducedRedundancyLostObject", EventKind.OTHER),
        ("SomethingNew:Happened", EventKind.OTHER),
    ],
)
def test_the_kind_follows_from_the_event_name(name: str, kind: EventKind) -> None:
    assert [event.kind for event in parse_event(s3(eventName=name))] == [kind]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Object Created", EventKind.CREATED),
        ("Object Deleted", EventKind.REMOVED),
        ("Object Restore Completed", EventKind.RESTORED),
        ("Object Tags Added", EventKind.OTHER),
        ("Object Storage Class Changed", EventKind.OTHER),
    ],
)
def test_the_kind_follows_from_the_detail_type(name: str, kind: EventKind) -> None:
    assert [event.kind for event in parse_event(eventbridge("a", **{"detail-type": name}))] == [kind]


@pytest.mark.parametrize("name", ["s3_removed_delete_marker", "eventbridge_deleted"])
def test_a_removal_has_neither_size_nor_etag(name: str) -> None:
    (event,) = parse_event(load(name))
    assert event.kind is EventKind.REMOVED
    assert (event.size, event.etag) == (None, None)


@pytest.mark.parametrize("size", [None, -1, "12", 1.5, [], {}])
def test_an_invalid_size_is_none(size: object) -> None:
    payload = s3()
    payload["Records"][0]["s3"]["object"]["size"] = size
    assert [event.size for event in parse_event(payload)] == [None]


# --- no event -----------------------------------------------------------------------------------------------------


@pytest.mark.matrix(27)
@pytest.mark.parametrize(
    "payload",
    [
        None,
        [],
        "x",
        {},
        3,
        True,
        b"{}",
        [s3()],
        {"Records": None},
        {"Records": {}},
        {"Records": "x"},
        {"Records": [None]},
        {"Records": [[]]},
        {"Records": [{}]},
        {"Records": [{"s3": None}]},
        {"Records": [{"s3": {}}]},
        {"Records": [{"Sns": None}]},
        {"Records": [{"Sns": {}}]},
        {"Records": [{"eventSource": "aws:dynamodb", "dynamodb": {}}]},
        {"Type": "Notification"},
        {"Type": "Notification", "Message": None},
        {"Type": "Notification", "Message": "hello"},
        {"Type": "Notification", "Message": "3"},
        {"Type": "SubscriptionConfirmation", "Message": "confirm"},
        {"source": "aws.s3"},
        {"source": "aws.s3", "detail": None},
        {"source": "aws.ec2", "detail": {}},
        {"source": "aws.s3", "detail-type": "Object Created", "detail": {"object": {"key": "a"}}},
        s3(""),
        s3(eventName=None),
        s3(s3={"bucket": {"name": "photos"}, "object": {}}),
        s3(s3={"bucket": {"name": ""}, "object": {"key": "a"}}),
        s3(s3={"bucket": {"name": "photos"}, "object": {"key": 3}}),
        {1: 2},
    ],
    ids=lambda value: repr(value)[:60],
)
def test_the_error_for_another_payload_says_what_was_expected(payload: object) -> None:
    with pytest.raises(EventError, match=r"expected.*S3 notification.*EventBridge.*s3:TestEvent"):
        parse_event(payload)


@pytest.mark.matrix(27)
@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "null",
        "[]",
        "3",
        '"x"',
        "{}",
        "NaN",
        "{",
        "[" * 100_000,
        '{"Records":' * 100_000,
        "9" * 10_000,
        None,
        3,
    ],
    ids=lambda value: repr(value)[:20],
)
def test_the_error_for_other_text_says_what_was_expected(text: object) -> None:
    with pytest.raises(EventError, match=r"expected.*S3 notification"):
        parse_text(text)


@pytest.mark.matrix(27)
def test_the_error_for_a_large_object_is_short() -> None:
    version = s3(eventVersion="3" * 10_000)
    for payload in ({f"{index}{'x' * 10_000}": index for index in range(100)}, s3("%ff" * 9_000), version):
        with pytest.raises(EventError) as caught:
            parse_event(payload)
        assert len(str(caught.value)) <= 500


@pytest.mark.matrix(27)
def test_four_envelopes_are_accepted_and_five_refused() -> None:
    assert len(parse_event(in_sns(s3(), 4))) == 1
    with pytest.raises(EventError, match="more than 4 nested envelopes"):
        parse_event(in_sns(s3(), 5))


@pytest.mark.matrix(27)
def test_nested_sns_records_are_limited_too() -> None:
    payload: Any = s3()
    for _ in range(8):
        payload = {"Records": [{"Sns": {"Message": json.dumps(payload)}}]}
    with pytest.raises(EventError, match="envelopes"):
        parse_event(payload)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["Records", "s3", "Sns", "Message", "Type", "source", "detail", "object", "bucket", "key", "Event"]
            ),
            inner | st.sampled_from(["Notification", "aws.s3", "a.jpg", "{}"]),
            max_size=4,
        )
    ),
    max_leaves=12,
)


@pytest.mark.matrix(27)
@given(_JSON)
def test_any_json_gives_events_or_an_event_error(payload: object) -> None:
    try:
        events = parse_event(payload)
    except EventError:
        return
    assert all(isinstance(event, ObjectEvent) for event in events)
