"""The Lambda handler against moto's S3 over HTTP: events, stored objects and answers."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from handler import aws_lambda
from handler.envelope import RecordsComeBack
from tests.conftest import Context, scratch_files
from tests.support.cloud import DESTINATION, SOURCE, Cloud, s3_event, s3_record, sqs_event
from tests.support.pictures import opened
from tests.support.servers import Answer, ScriptedServer, error, whole
from thumbnailer.errors import EventError
from thumbnailer.model import Format
from thumbnailer.planning.targets import recipe
from thumbnailer.renditions import parse_rendition

EVENTS = Path(__file__).parents[1] / "events"
ODD_KEYS = (
    "with spaces and+plus.jpg",
    "50%.jpg",
    "%2e%2e/x.jpg",
    "../../etc/x",
    "a/../b.jpg",
    "a//b.jpg",
    "\"quoted\" 'too'.jpg",
    "кириллица.jpg",
    "中文/图片.jpg",
    "🖼️.jpg",
    ".jpg",
    "no-suffix",
    "я" * 512,
)


@pytest.fixture(params=["vips", "pillow"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, aws: Cloud) -> str:
    monkeypatch.setenv("THUMBNAILER_ENGINE", request.param)
    return str(request.param)


@pytest.fixture(params=["obstore", "aioboto3"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, aws: Cloud) -> str:
    monkeypatch.setenv("THUMBNAILER_TRANSPORT", request.param)
    return str(request.param)


@pytest.fixture(autouse=True)
def a_line_a_record(aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THUMBNAILER_LOG_LEVEL", "DEBUG")


def records_logged(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    """The log lines of records, by key. Every line must be JSON."""
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return {line["key"]: line for line in lines if line.get("message") == "record"}


def size(data: bytes) -> tuple[int, int]:
    return opened(data).size


def test_every_sample_becomes_a_thumbnail(
    aws: Cloud, engine: str, samples: dict[str, bytes], context: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    event = sqs_event(*(s3_event(aws.put(key, data)) for key, data in samples.items()))
    assert aws_lambda.handler(event, context) == {"batchItemFailures": []}
    assert aws.thumbnails() == sorted(samples)
    for key in samples:
        thumbnail = aws.thumbnail(key)
        assert max(size(thumbnail["Body"])) == 128
        assert thumbnail["Metadata"]["source-etag"]
    assert {line["outcome"] for line in records_logged(capsys).values()} == {"stored"}
    assert aws.thumbnail("retina.heic")["ContentType"] == "image/jpeg"
    assert size(aws.thumbnail("coffee-rotated-by-exif.jpg")["Body"]) == (128, 85)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda event: event,
        lambda event: {"Records": [{"EventSource": "aws:sns", "Sns": {"Message": json.dumps(event)}}]},
        sqs_event,
        lambda event: sqs_event({"Type": "Notification", "Message": json.dumps(event)}),
    ],
    ids=["s3", "sns", "sqs or sns raw in sqs", "sns in sqs"],
)
def test_same_thumbnail_from_every_event_shape(aws: Cloud, samples: dict[str, bytes], context: Any, wrap: Any) -> None:
    answer = aws_lambda.handler(wrap(s3_event(aws.put("red flower.jpg", samples["rocket.jpg"]))), context)
    assert answer in ({"batchItemFailures": []}, {"records": 1, "outcomes": {"stored": 1}})
    assert aws.thumbnails() == ["red flower.jpg"]


@pytest.mark.parametrize("in_queue", [False, True])
def test_eventbridge_keys_are_not_decoded(aws: Cloud, samples: dict[str, bytes], context: Any, in_queue: bool) -> None:
    key = "red+flower %41.jpg"
    aws.put(key, samples["rocket.jpg"])
    event = json.loads((EVENTS / "eventbridge_created.json").read_text())
    event["detail"]["bucket"]["name"], event["detail"]["object"] = SOURCE, {"key": key, "size": 5}
    aws_lambda.handler(sqs_event(event) if in_queue else event, context)
    assert aws.thumbnails() == [key]


@pytest.mark.matrix(26)
@pytest.mark.parametrize(
    "name", ["s3_test_event.json", "sqs_s3_test_event.json", "s3_empty_records.json", "sns_test_event.json"]
)
def test_s3_test_event_succeeds(aws: Cloud, context: Any, name: str) -> None:
    answer = aws_lambda.handler(json.loads((EVENTS / name).read_text()), context)
    assert answer in ({"batchItemFailures": []}, {"records": 0, "outcomes": {}})


@pytest.mark.matrix(26)
@pytest.mark.parametrize("event", [None, [], "text", {}, {"Records": [{}]}, {"Records": [{"s3": {}}]}])
def test_unknown_event_raises_and_names_the_expected_shapes(aws: Cloud, context: Any, event: object) -> None:
    with pytest.raises(EventError, match="expected an S3 notification"):
        aws_lambda.handler(event, context)


@pytest.mark.matrix(1)
@pytest.mark.parametrize("key", ODD_KEYS)
def test_a_key_may_hold_anything(
    aws: Cloud, transport: str, samples: dict[str, bytes], context: Any, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another client stores the source and reads the thumbnail. The log has one line for it."""
    aws_lambda.handler(s3_event(aws.put(key, samples["rocket.jpg"])), context)
    assert aws.thumbnails() == [key]
    assert list(records_logged(capsys)) == [key]


@pytest.mark.matrix(1)
def test_line_break_in_a_key_breaks_neither_log_nor_batch(
    aws: Cloud, samples: dict[str, bytes], context: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """moto has no route for such keys, so the object is gone for it. The stores' tests show these keys on the wire."""
    event = s3_event(s3_record('a\nb\r\n{"level": "x"}.jpg', 5, "e"), aws.put("good.jpg", samples["rocket.jpg"]))
    aws_lambda.handler(event, context)
    logged = records_logged(capsys)
    assert logged['a\nb\r\n{"level": "x"}.jpg']["reason"] == "gone"
    assert logged["good.jpg"]["outcome"] == "stored"


BAD = {
    "text.jpg": (b"this is no picture, whatever its name says\n" * 20, "rejected", "not-an-image"),
    "page.jpg": (b"<!doctype html><html><body>404</body></html>", "rejected", "not-an-image"),
    "archive.jpg": (b"PK\x03\x04" + bytes(200), "rejected", "not-an-image"),
    "film.jpg": (b"\0\0\0\x18ftypmp42" + bytes(200), "rejected", "not-an-image"),
    "empty.jpg": (b"", "rejected", "not-an-image"),
    "one-byte.jpg": (b"x", "rejected", "not-an-image"),
    "folder/": (b"", "skipped", "folder-marker"),
    "paper.pdf": (b"%PDF-1.7\n" + bytes(200), "rejected", "unsupported-format"),
}


@pytest.mark.matrix(2)
def test_bad_records_get_their_reason_and_good_ones_are_stored(
    aws: Cloud, engine: str, samples: dict[str, bytes], context: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = [aws.put(key, data) for key, (data, _, _) in BAD.items()]
    bad.append(aws.put("truncated.jpg", samples["rocket.jpg"][:5000]))
    bad.append(s3_record("gone.jpg", 5, "e"))
    good = [aws.put(key, samples[key]) for key in ("rocket.jpg", "chelsea.png", "china.webp")]
    before = scratch_files()
    answer = aws_lambda.handler(sqs_event(*(s3_event(record) for record in bad + good)), context)
    assert answer == {"batchItemFailures": []}
    ends = {key: (line["outcome"], line.get("reason")) for key, line in records_logged(capsys).items()}
    expected = {key: (outcome, reason) for key, (_, outcome, reason) in BAD.items()}
    expected |= {"truncated.jpg": ("rejected", "corrupt"), "gone.jpg": ("skipped", "gone")}
    assert ends == expected | dict.fromkeys(("rocket.jpg", "chelsea.png", "china.webp"), ("stored", None))
    assert scratch_files() == before
    note = json.loads(aws.thumbnail("_failed/text.jpg.json")["Body"])
    assert (note["key"], note["reason"]) == ("text.jpg", "not-an-image")
    assert "_failed/gone.jpg.json" not in aws.thumbnails()


@pytest.mark.matrix(2)
def test_at_most_64_kb_of_a_non_picture_are_read(
    aws: Cloud, transport: str, context: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    aws_lambda.handler(s3_event(aws.put("long.jpg", b"no picture " * 1_000_000)), context)
    assert 0 < records_logged(capsys)["long.jpg"]["bytes"] <= 65_536


@pytest.mark.matrix(3)
@pytest.mark.parametrize(
    ("key", "sample", "type_"), [("a.jpg", "chelsea.png", "image/png"), ("b", "rocket.jpg", "image/jpeg")]
)
def test_bytes_decide_the_format_not_the_name(
    aws: Cloud, samples: dict[str, bytes], context: Any, key: str, sample: str, type_: str
) -> None:
    aws_lambda.handler(s3_event(aws.put(key, samples[sample], ContentType="text/plain")), context)
    assert aws.thumbnail(key)["ContentType"] == type_


@pytest.mark.matrix(19)
@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 65_535), (65_535, 1), (100, 3)])
def test_small_and_thin_pictures_are_never_enlarged(
    aws: Cloud, engine: str, context: Any, width: int, height: int
) -> None:
    picture = BytesIO()
    Image.new("RGB", (width, height), "red").save(picture, "PNG")
    aws_lambda.handler(s3_event(aws.put("thin.png", picture.getvalue())), context)
    made = size(aws.thumbnail("thin.png")["Body"])
    assert made == (min(width, 128), min(height, 128))


@pytest.mark.matrix(22)
def test_hundred_concurrent_copies_of_an_event_make_one_thumbnail(
    aws: Cloud, samples: dict[str, bytes], context: Any
) -> None:
    record = aws.put("rocket.jpg", samples["rocket.jpg"])
    aws_lambda.handler(s3_event(record), context)
    first = aws.thumbnail("rocket.jpg")["ETag"]
    assert aws_lambda.handler(s3_event(*[record] * 100), context) == {"records": 100, "outcomes": {"stored": 100}}
    assert (aws.thumbnails(), aws.thumbnail("rocket.jpg")["ETag"]) == (["rocket.jpg"], first)


@pytest.mark.matrix(27)
def test_only_the_unreadable_message_is_given_back(aws: Cloud, samples: dict[str, bytes], context: Any) -> None:
    good = s3_event(aws.put("rocket.jpg", samples["rocket.jpg"]))
    answer = aws_lambda.handler(sqs_event("not json", good, {"no": "event"}), context)
    assert [failure["itemIdentifier"] for failure in answer["batchItemFailures"]] == ["m0", "m2"]
    assert aws.thumbnails() == ["rocket.jpg"]


@pytest.mark.matrix(28)
def test_bug_in_an_engine_gives_back_only_its_record(
    aws: Cloud, samples: dict[str, bytes], context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from thumbnailer.engine.vips import VipsEngine

    def bug(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(VipsEngine, "render", bug)
    event = sqs_event(
        *(s3_event(aws.put(key, samples[key])) for key in ("rocket.jpg", "chelsea.png", "astronaut-alpha.png"))
    )
    assert aws_lambda.handler(event, context)["batchItemFailures"] == [
        {"itemIdentifier": "m1"},
        {"itemIdentifier": "m2"},
    ]
    assert aws.thumbnails() == ["rocket.jpg"]


@pytest.mark.matrix(29)
def test_all_messages_are_given_back_if_all_fail(aws: Cloud, samples: dict[str, bytes], context: Any) -> None:
    event = sqs_event(*(s3_event(aws.put(key, samples["rocket.jpg"])) for key in "abc"))
    aws.s3.delete_bucket(Bucket=DESTINATION)
    assert [f["itemIdentifier"] for f in aws_lambda.handler(event, context)["batchItemFailures"]] == ["m0", "m1", "m2"]


def test_direct_invocation_with_a_failed_record_raises_after_all_records(
    aws: Cloud, samples: dict[str, bytes], context: Any
) -> None:
    """The destination of the second record is missing. The first record is stored all the same."""
    aws.s3.create_bucket(Bucket="others")
    aws.s3.put_object(Bucket="others", Key="x.jpg", Body=samples["rocket.jpg"])
    event = s3_event(s3_record("x.jpg", 5, "e", bucket="others"), aws.put("rocket.jpg", samples["rocket.jpg"]))
    with pytest.raises(RecordsComeBack, match="destination-unavailable"):
        aws_lambda.handler(event, context)
    assert aws.thumbnails() == ["rocket.jpg"]


@pytest.mark.matrix(42)
def test_own_output_is_skipped_so_no_loop_is_deeper_than_one(
    aws: Cloud, samples: dict[str, bytes], context: Any
) -> None:
    aws_lambda.handler(s3_event(aws.put("rocket.jpg", samples["rocket.jpg"])), context)
    own = s3_record("rocket.jpg", 5, "e", bucket=DESTINATION)
    aws.s3.copy_object(Bucket=SOURCE, Key="copy.jpg", CopySource={"Bucket": DESTINATION, "Key": "rocket.jpg"})
    copied = s3_record("copy.jpg", 5, "e")
    assert aws_lambda.handler(s3_event(own, copied), context) == {"records": 2, "outcomes": {"skipped:own-output": 2}}
    assert aws.thumbnails() == ["rocket.jpg"]


def test_removed_picture_loses_its_thumbnail_unless_it_is_back(
    aws: Cloud, samples: dict[str, bytes], context: Any
) -> None:
    aws_lambda.handler(s3_event(aws.put("rocket.jpg", samples["rocket.jpg"])), context)
    removed = s3_record("rocket.jpg", 0, "", name="ObjectRemoved:Delete")
    aws_lambda.handler(s3_event(removed), context)
    assert aws.thumbnails() == ["rocket.jpg"]
    aws.s3.delete_object(Bucket=SOURCE, Key="rocket.jpg")
    assert aws_lambda.handler(s3_event(removed), context)["outcomes"] == {"deleted": 1}
    assert aws.thumbnails() == []


@pytest.mark.matrix(23)
def test_current_version_is_read_whatever_version_the_event_names(
    aws: Cloud, transport: str, samples: dict[str, bytes], context: Any
) -> None:
    aws.s3.put_bucket_versioning(Bucket=SOURCE, VersioningConfiguration={"Status": "Enabled"})
    first = aws.put("x.jpg", samples["rocket.jpg"])
    second = aws.put("x.jpg", samples["astronaut-alpha.png"])
    for event in (first, second, first):
        aws_lambda.handler(s3_event(event), context)
        thumbnail = aws.thumbnail("x.jpg")
        assert thumbnail["ContentType"] == "image/png"
        assert thumbnail["Metadata"]["source-version-id"] == second["s3"]["object"]["versionId"]


def test_headers_and_metadata_of_the_source_are_carried_over(
    aws: Cloud, transport: str, samples: dict[str, bytes], context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"CacheControl": "max-age=60", "ContentDisposition": "inline", "ContentLanguage": "de"}
    record = aws.put("x.jpg", samples["rocket.jpg"], Metadata={"album": "space"}, **said)
    aws_lambda.handler(s3_event(record), context)
    thumbnail = aws.thumbnail("x.jpg")
    assert {name: thumbnail[name] for name in said} == said
    made_by = recipe(parse_rendition("128x128"), Format.JPEG)
    etag = record["s3"]["object"]["eTag"]
    assert thumbnail["Metadata"] == {"album": "space", "source-etag": etag, "recipe": made_by}


def test_several_renditions_need_one_get(
    aws: Cloud, engine: str, samples: dict[str, bytes], context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THUMBNAILER_RENDITIONS", "64x64:cover,small=100x,big=300x300:inside:webp:q70")
    aws_lambda.handler(s3_event(aws.put("a/rocket.jpg", samples["rocket.jpg"])), context)
    sizes = {key: size(aws.thumbnail(key)["Body"]) for key in aws.thumbnails()}
    assert sizes == {
        "a/rocket.jpg/64x64.jpg": (64, 64),
        "a/rocket.jpg/big.webp": (300, 200),
        "a/rocket.jpg/small.jpg": (100, 67),
    }


def test_records_without_enough_time_are_deferred_and_given_back(aws: Cloud, samples: dict[str, bytes]) -> None:
    event = sqs_event(s3_event(aws.put("rocket.jpg", samples["rocket.jpg"])))
    assert aws_lambda.handler(event, Context(1000)) == {"batchItemFailures": [{"itemIdentifier": "m0"}]}
    assert aws_lambda.handler(event, Context()) == {"batchItemFailures": []}


@pytest.mark.parametrize(
    ("answer", "end"),
    [
        (error(404, "NoSuchKey"), "skipped:gone"),
        (error(403, "AccessDenied"), "rejected:access-denied"),
        (error(403, "InvalidObjectState"), "rejected:archived"),
        (error(503, "SlowDown"), "failed:throttled"),
        (error(500, "InternalError"), "failed:source-unavailable"),
        (Answer(200, {"ETag": '"e"'}, b"\xff\xd8", then="stall", length=500), "deferred:out-of-time"),
    ],
)
@pytest.mark.matrix(25)
def test_each_answer_of_s3_to_a_get_has_its_outcome(
    aws: Cloud, transport: str, scripted: ScriptedServer, answer: Answer, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script's last answer, 200, is for the note of a rejected record."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", scripted.url)
    monkeypatch.setenv("THUMBNAILER_FAILED_PREFIX", "")
    scripted.play(answer)
    event = s3_event(s3_record("x.jpg", 500, "e"))
    context = Context(4_000 if end.startswith("deferred") else 30_000)  # 30 s outlast every retry
    if end.startswith(("failed", "deferred")):
        with pytest.raises(RecordsComeBack, match=end):
            aws_lambda.handler(event, context)
    else:
        assert aws_lambda.handler(event, context)["outcomes"] == {end: 1}


def test_stored_record_costs_one_get_one_put_and_one_head(
    aws: Cloud,
    transport: str,
    scripted: ScriptedServer,
    samples: dict[str, bytes],
    context: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", scripted.url)
    scripted.play(whole(samples["rocket.jpg"]), Answer(200, {"ETag": '"t"'}), whole(samples["rocket.jpg"]))
    aws_lambda.handler(s3_event(s3_record("x.jpg", len(samples["rocket.jpg"]), "e1")), context)
    assert scripted.methods == ["GET", "PUT", "HEAD"]


def test_rejected_record_costs_one_get_one_delete_one_head_and_its_note(
    aws: Cloud, transport: str, scripted: ScriptedServer, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", scripted.url)
    text = whole(b"only text, no picture")
    scripted.answer_by_method(GET=text, HEAD=text, DELETE=Answer(204), PUT=Answer(200, {"ETag": '"t"'}))
    aws_lambda.handler(s3_event(s3_record("x.jpg", 21, "e1")), context)
    assert scripted.methods == ["GET", "DELETE", "HEAD", "PUT"]


@pytest.mark.matrix(44)
def test_event_of_a_foreign_bucket_is_rejected_without_request_or_note(
    aws: Cloud, scripted: ScriptedServer, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", scripted.url)
    monkeypatch.setenv("THUMBNAILER_SOURCES", "photos,team-*")
    events = [
        s3_record("x.jpg", 500, "e", name=name, bucket=bucket)
        for name in ("ObjectCreated:Put", "ObjectRemoved:Delete")
        for bucket in ("other", "photos2", "a-team-b")
    ]
    answer = aws_lambda.handler(s3_event(*events), context)
    assert answer["outcomes"] == {"rejected:bucket-not-allowed": 6}
    assert scripted.seen == []


@pytest.mark.matrix(54)
@pytest.mark.parametrize("sources", ["", "photos-*"])
def test_a_forged_bucket_name_is_unreadable_and_reaches_no_server(
    transport: str,
    aws: Cloud,
    scripted: ScriptedServer,
    context: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    sources: str,
) -> None:
    """Without an endpoint, the name was the first part of the host that obstore connects to."""
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("THUMBNAILER_SOURCES", sources)
    forged = s3_record("x.jpg", 500, "e", bucket=f"photos-x@{scripted.url.removeprefix('http://')}/")
    answer = aws_lambda.handler(sqs_event(s3_event(forged)), context)
    assert len(answer["batchItemFailures"]) == 1
    assert "is no bucket name; expected 3 to 255" in capsys.readouterr().out
    assert scripted.connections == 0


@pytest.mark.matrix(44)
def test_a_bucket_of_another_account_is_denied(
    aws: Cloud, transport: str, scripted: ScriptedServer, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 compares the expected owner and answers 403 for a foreign bucket."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", scripted.url)
    monkeypatch.setenv("THUMBNAILER_EXPECTED_OWNER", "123456789012")
    monkeypatch.setenv("THUMBNAILER_FAILED_PREFIX", "")
    scripted.play(error(403, "AccessDenied"))
    answer = aws_lambda.handler(s3_event(s3_record("x.jpg", 500, "e")), context)
    assert answer["outcomes"] == {"rejected:access-denied": 1}
    (seen,) = scripted.seen
    assert seen.headers["x-amz-expected-bucket-owner"] == "123456789012"


def test_one_connection_serves_several_invocations(
    aws: Cloud,
    transport: str,
    scripted: ScriptedServer,
    samples: dict[str, bytes],
    context: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """obstore has a pool each for source and destination, aioboto3 one for both. A second invocation opens no other."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", scripted.url)
    event = s3_event(s3_record("x.jpg", len(samples["rocket.jpg"]), "e1"))
    seen = []
    for _ in range(3):
        scripted.play(whole(samples["rocket.jpg"]), Answer(200, {"ETag": '"t"'}), whole(samples["rocket.jpg"]))
        aws_lambda.handler(event, context)
        seen.append(scripted.connections)
    assert seen[0] <= 2
    assert seen[1:] == [0, 0]


def test_cancelled_record_leaves_no_file(aws: Cloud, scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    from thumbnailer.app import build, new_event_loop
    from thumbnailer.events import parse_event
    from thumbnailer.machine import machine
    from thumbnailer.settings import environment, load

    monkeypatch.setenv("AWS_ENDPOINT_URL", scripted.url)
    scripted.play(Answer(200, {"ETag": '"e"'}, b"\xff\xd8\xff" + bytes(70_000), then="stall", length=500_000))

    async def cancelled() -> set[str]:
        pipeline = build(load(), machine(), environment()).pipeline
        task = asyncio.create_task(pipeline.process(parse_event(s3_event(s3_record("x.jpg", 500_000, "e")))[0]))
        while not (held := scratch_files()):
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await pipeline.aclose()
        return held

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        held = runner.run(cancelled())
    assert held
    assert not held & scratch_files()


CHILD = """
import json, sys
from handler import aws_lambda
class Context:
    aws_request_id = "r"
    def get_remaining_time_in_millis(self): return 60000
answer = aws_lambda.handler(json.loads(sys.argv[1]), Context())
heavy = sorted({"boto3", "botocore", "aiohttp", "aioboto3", "prometheus_client", "rich"} & set(sys.modules))
print(json.dumps({"answer": answer, "heavy": heavy}))
"""


def test_invocation_imports_no_boto3_and_the_process_exits_with_0(aws: Cloud, samples: dict[str, bytes]) -> None:
    event = s3_event(*(aws.put(key, data) for key, data in samples.items()))
    child = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(event)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (child.returncode, child.stderr) == (0, "")
    said = json.loads(child.stdout.splitlines()[-1])
    assert said == {"answer": {"records": len(samples), "outcomes": {"stored": len(samples)}}, "heavy": []}
