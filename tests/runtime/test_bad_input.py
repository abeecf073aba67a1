"""Bad events and a failing S3 for the function under AWS's emulator.

One function serves all tests. Between it and moto's S3 is the proxy of `tests.support.faults`.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bench.rig.emulator import Answer, Function, find_binary
from bench.rig.processes import NotInstalled
from handler.aws_lambda import RESERVE_SECONDS
from tests.support import emf
from tests.support.cloud import DESTINATION, SOURCE, Cloud, s3_event, s3_record, sqs_event
from tests.support.emulator import Emulator, running
from tests.support.faults import PASS, Fault, FaultProxy, Request, Rule, at_random, fault_proxy, never
from tests.support.servers import error

EVENTS = Path(__file__).parents[1] / "events"
TIMEOUT = 10
SECRETS = {"AWS_SECRET_ACCESS_KEY": "s3cret-of-the-test", "AWS_SESSION_TOKEN": "t0ken-of-the-test"}
IN_FLIGHT = 5  # of a function of 512 MB

Faults = Fault | Sequence[Fault]


@dataclass(frozen=True, slots=True)
class Call:
    """One invocation and its log lines."""

    answer: Answer
    lines: list[dict[str, Any]]

    @property
    def returned(self) -> list[str]:
        """The ids in the partial batch response."""
        return [failure["itemIdentifier"] for failure in self.answer.value["batchItemFailures"]]

    @property
    def records(self) -> dict[str, dict[str, Any]]:
        return {line["key"]: line for line in self.lines if line.get("message") == "record"}

    @property
    def ends(self) -> dict[str, str]:
        return {
            key: ":".join(filter(None, (line["outcome"], line.get("reason", "")))) for key, line in self.records.items()
        }


class Door:
    """The function. A call returns the answer and the lines written meanwhile."""

    def __init__(self, function: Emulator) -> None:
        self.function = function

    def __call__(self, event: object) -> Call:
        start = len(self.function.log)
        answer = self.function.invoke(event)
        deadline = time.monotonic() + 10
        while "REPORT RequestId" not in (log := self.function.log[start:]) and time.monotonic() < deadline:
            time.sleep(0.01)
        return Call(answer, [json.loads(line) for line in log.splitlines() if line.startswith("{")])


@pytest.fixture(scope="module")
def proxy(cloud: Cloud) -> Iterator[FaultProxy]:
    with fault_proxy(cloud.url) as started:
        yield started


@pytest.fixture(scope="module")
def running_door(cloud: Cloud, proxy: FaultProxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    folder = tmp_path_factory.mktemp("runtime")
    env = {**cloud.env, **SECRETS, "AWS_ENDPOINT_URL": proxy.url, "TMPDIR": str(folder)}
    env["THUMBNAILER_LOG_LEVEL"] = "DEBUG"
    try:
        find_binary()
    except NotInstalled as missing:
        pytest.skip(str(missing))
    with running(Function(timeout=TIMEOUT, env=env), folder / "log") as function:
        started = Door(function)
        started({"Event": "s3:TestEvent"})  # the cold start belongs to no test
        yield started
        scratch = [path.name for path in folder.iterdir() if path.name.startswith("thumbnailer-")]
    assert scratch == []


@pytest.fixture
def door(running_door: Door, cloud: Cloud, proxy: FaultProxy, request: pytest.FixtureRequest) -> Iterator[Door]:
    """The function with empty buckets and no faults. No test may kill the runtime."""
    cloud.reset()
    proxy.reset(never)
    start = len(running_door.function.log)
    yield running_door
    assert running_door.function.starts == 1
    print(running_door.function.log[start:])


@pytest.fixture(scope="module")
def picture() -> bytes:
    return (Path(__file__).parents[2] / "handler/demo/samples/rocket.jpg").read_bytes()


def faults_at(*cases: tuple[str, str, Faults]) -> Rule:
    """(method, end of the target, fault): the same fault always, or a list with one fault an attempt."""

    def rule(request: Request) -> Fault:
        for method, end, faults in cases:
            if request.method == method and request.target.partition("?")[0].endswith(end):
                if isinstance(faults, Fault):
                    return faults
                return faults[request.attempt] if request.attempt < len(faults) else PASS
        return PASS

    return rule


def error_answer(status: int, code: str) -> Fault:
    return Fault("answer", error(status, code))


def sqs_batch(records: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """An SQS event with one message a record. The keys are the message ids."""
    event = sqs_event(*(s3_event(record) for record in records.values()))
    for message, key in zip(event["Records"], records, strict=True):
        message["messageId"] = key
    return event


# --- one batch, a fault a record ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Case:
    """The faults for one record, and its expected outcome. `says` must be in the outcome's detail."""

    end: str
    get: Faults = ()
    put: Faults = ()
    head: Faults = ()
    says: str = ""
    requests: tuple[int, int] = (1, 1)


def case(name: str, row: int | None, *of: Any, **more: Any) -> Any:
    return pytest.param(name, Case(*of, **more), id=name, marks=[pytest.mark.matrix(row)] if row else [])


SLOW_DOWN, UNAVAILABLE, DENIED = (
    error_answer(503, "SlowDown"),
    error_answer(500, "InternalError"),
    error_answer(403, "AccessDenied"),
)
MISSING, NO_BUCKET = error_answer(404, "NoSuchKey"), error_answer(404, "NoSuchBucket")
CASES = [
    case("good.jpg", None, "stored"),
    case("slow-thrice.jpg", 30, "stored", get=[SLOW_DOWN] * 3, requests=(4, 1)),
    case("error-thrice.jpg", 30, "stored", get=[UNAVAILABLE] * 3, requests=(4, 1)),
    case("put-slow-thrice.jpg", 30, "stored", put=[SLOW_DOWN, UNAVAILABLE, SLOW_DOWN], requests=(1, 4)),
    case("always-slow.jpg", None, "failed:throttled", get=SLOW_DOWN, says="SlowDown", requests=(4, 0)),
    case("always-error.jpg", None, "failed:source-unavailable", get=UNAVAILABLE, says="500", requests=(4, 0)),
    case("reset-once.jpg", None, "stored", get=[Fault("reset")], requests=(2, 1)),
    case("reset-always.jpg", None, "failed:source-unavailable", get=Fault("reset"), requests=(4, 0)),
    case("closed-after.jpg", None, "stored", get=[Fault("close")], put=[Fault("close")]),
    case("late.jpg", None, "stored", get=Fault("pass", delay=0.5), put=Fault("pass", delay=0.5)),
    case("short-always.jpg", 33, "failed:source-unavailable", get=Fault("short", byte=900), requests=(4, 0)),
    case("gone.jpg", 25, "skipped:gone", get=MISSING, head=MISSING, requests=(1, 0)),
    case("denied.jpg", 25, "rejected:access-denied", get=DENIED, says="AccessDenied", requests=(1, 0)),
    case("no-bucket.jpg", None, "skipped:gone", get=NO_BUCKET, head=NO_BUCKET, says="NoSuchBucket", requests=(1, 0)),
    case("lost-put.jpg", 34, "stored", put=[Fault("lost")], requests=(1, 2)),
    case("expired-once.jpg", 35, "stored", get=[error_answer(400, "ExpiredToken")], requests=(2, 1)),
    case(
        "expired.jpg",
        35,
        "failed:source-unavailable",
        get=error_answer(400, "ExpiredToken"),
        says="ExpiredToken",
        requests=(2, 0),
    ),
    case("private/put-denied.jpg", 45, "failed:destination-denied", put=DENIED, says="AccessDenied"),
    case(
        "kms.jpg",
        45,
        "failed:throttled",
        put=error_answer(400, "KMS.ThrottlingException"),
        says="KMS.ThrottlingException",
        requests=(1, 4),
    ),
    case(
        "no-destination.jpg",
        None,
        "failed:destination-unavailable",
        put=error_answer(404, "NoSuchBucket"),
        says="NoSuchBucket",
    ),
    case(
        "clock.jpg",
        49,
        "failed:source-unavailable",
        get=error_answer(403, "RequestTimeTooSkewed"),
        says="clock",
        requests=(1, 0),
    ),
]


@dataclass(frozen=True, slots=True)
class Batch:
    call: Call
    requests: Mapping[tuple[str, str], int]
    thumbnails: Mapping[str, bytes]
    versions_of_lost_put: list[dict[str, Any]]


@pytest.fixture(scope="module")
def batch(running_door: Door, cloud: Cloud, proxy: FaultProxy, picture: bytes) -> Batch:
    """All cases as one SQS batch."""
    cases = {param.values[0]: param.values[1] for param in CASES}
    cloud.reset()
    faults = faults_at(
        *(
            (method, f"/{bucket}/{key}", faults)
            for key, case in cases.items()
            for method, bucket, faults in (
                ("GET", SOURCE, case.get),
                ("HEAD", SOURCE, case.head),
                ("PUT", DESTINATION, case.put),
            )
        )
    )
    asked: Counter[str] = Counter()

    def rule(request: Request) -> Fault:
        asked[f"{request.method} {request.target}"] += 1
        return faults(request)

    proxy.reset(rule)
    cloud.s3.put_bucket_versioning(Bucket=DESTINATION, VersioningConfiguration={"Status": "Enabled"})
    call = running_door(sqs_batch({key: cloud.put(key, picture) for key in cases}))
    requests = {
        (method, key): asked[f"{method} /{bucket}/{key}"]
        for key in cases
        for method, bucket in (("GET", SOURCE), ("PUT", DESTINATION))
    }
    return Batch(
        call,
        requests,
        {key: cloud.thumbnail(key)["Body"] for key in cloud.thumbnails()},
        cloud.s3.list_object_versions(Bucket=DESTINATION, Prefix="lost-put.jpg")["Versions"],
    )


@pytest.mark.parametrize(("key", "case"), CASES)
def test_each_record_of_a_batch_has_its_own_outcome(batch: Batch, key: str, case: Case) -> None:
    assert batch.call.ends[key] == case.end, batch.call.records[key]
    assert case.says in (batch.call.records[key].get("detail", ""))
    assert (key in batch.call.returned) == case.end.startswith(("failed", "deferred"))
    assert (key in batch.thumbnails) == (case.end == "stored" or case.put == [Fault("lost")])
    if case.end == "stored":
        assert batch.thumbnails[key] == batch.thumbnails["good.jpg"]
    assert (batch.requests["GET", key], batch.requests["PUT", key]) == case.requests


@pytest.mark.matrix(34)
def test_put_with_a_lost_response_is_repeated_unchanged(batch: Batch) -> None:
    first, second = batch.versions_of_lost_put
    assert (first["ETag"], first["Size"]) == (second["ETag"], second["Size"])


@pytest.mark.matrix(25)
def test_denied_object_leaves_a_note_and_a_missing_one_does_not(batch: Batch) -> None:
    notes = [key for key in batch.thumbnails if key.startswith("_failed/")]
    assert notes == ["_failed/denied.jpg.json"]
    assert json.loads(batch.thumbnails[notes[0]])["reason"] == "access-denied"


# --- truncated bodies ---------------------------------------------------------------------------------------------


@pytest.mark.matrix(32)
def test_truncated_or_stalled_body_is_resumed_and_gives_the_same_thumbnail(
    door: Door, cloud: Cloud, proxy: FaultProxy, picture: bytes
) -> None:
    places = (0, 1, 100, 5_000, 60_000, len(picture) // 2, len(picture) - 1)
    faults = {f"{do}-{byte}.jpg": Fault(do, byte=byte) for do in ("break", "short") for byte in places}
    faults |= {f"hang-{byte}.jpg": Fault("hang", byte=byte) for byte in (0, len(picture) // 2)}
    proxy.rule = faults_at(*(("GET", key, [fault]) for key, fault in faults.items()))
    keys = ["whole.jpg", *sorted(faults, key=lambda key: not key.startswith("hang"))]  # the slowest first
    call = door(sqs_batch({key: cloud.put(key, picture) for key in keys}))
    assert (call.returned, call.ends) == ([], dict.fromkeys(keys, "stored"))
    assert {cloud.thumbnail(key)["ETag"] for key in keys} == {cloud.thumbnail("whole.jpg")["ETag"]}
    assert {count for (method, do), count in proxy.requests.items() if do in ("break", "short")} == {len(places)}


@pytest.mark.matrix(33)
def test_object_that_changes_while_it_is_read_is_retried(
    door: Door, cloud: Cloud, proxy: FaultProxy, picture: bytes, samples: dict[str, bytes]
) -> None:
    def overwritten(request: Request) -> Fault:
        if request.method == "GET" and request.attempt == 1:
            cloud.put("changes.jpg", samples["astronaut-alpha.png"])
        return Fault("break", byte=5_000) if request.method == "GET" and request.attempt == 0 else PASS

    event = sqs_batch({"changes.jpg": cloud.put("changes.jpg", picture)})
    proxy.rule = overwritten
    call = door(event)
    assert (call.ends, call.returned) == ({"changes.jpg": "failed:source-unavailable"}, ["changes.jpg"])
    assert cloud.thumbnails() == []
    proxy.rule = never
    assert door(event).returned == []
    assert cloud.thumbnail("changes.jpg")["ContentType"] == "image/png"


@pytest.mark.matrix(31)
def test_all_records_are_deferred_while_s3_does_not_answer(
    door: Door, cloud: Cloud, proxy: FaultProxy, picture: bytes
) -> None:
    event = sqs_batch({key: cloud.put(key, picture) for key in ("1.jpg", "2.jpg", "3.jpg")})
    proxy.rule = lambda _: Fault("stall")
    call = door(event)
    assert call.answer.error is None
    assert call.returned == ["1.jpg", "2.jpg", "3.jpg"]
    assert set(call.ends.values()) == {"deferred:out-of-time"}
    assert RESERVE_SECONDS >= 1
    proxy.rule = never
    assert door(event).returned == []


# --- concurrent changes -------------------------------------------------------------------------------------------


@pytest.mark.matrix(22)
def test_many_copies_of_an_event_over_a_bad_network_make_one_thumbnail(
    door: Door, cloud: Cloud, proxy: FaultProxy, picture: bytes
) -> None:
    record = cloud.put("x.jpg", picture)
    door(s3_event(record))
    first = cloud.thumbnail("x.jpg")["ETag"]
    proxy.reset(at_random(seed=5, share=0.2))
    event = sqs_batch({f"m{number}": record for number in range(30)})
    for _ in range(3):
        messages = door(event).returned
        event = {"Records": [message for message in event["Records"] if message["messageId"] in messages]}
        if not messages:
            break
    assert proxy.faults > 0
    assert (messages, cloud.thumbnails(), cloud.thumbnail("x.jpg")["ETag"]) == ([], ["x.jpg"], first)


@pytest.mark.matrix(23)
@pytest.mark.matrix(24)
def test_source_overwritten_during_the_put_gets_the_newer_thumbnail(
    door: Door, cloud: Cloud, proxy: FaultProxy, picture: bytes, samples: dict[str, bytes]
) -> None:
    newer: list[dict[str, Any]] = []

    def overwritten(request: Request) -> Fault:
        if request.method == "PUT" and not newer:
            newer.append(cloud.put("x.jpg", samples["astronaut-alpha.png"]))
        return PASS

    older = cloud.put("x.jpg", picture)
    proxy.rule = overwritten
    assert door(s3_event(older)).ends == {"x.jpg": "stored"}
    for event in (None, *newer, older):  # in the wrong order, too: the pipeline reads the current version
        if event is not None:
            door(s3_event(event))
        made = cloud.thumbnail("x.jpg")
        assert made["ContentType"] == "image/png"
        assert made["Metadata"]["source-etag"] == newer[0]["s3"]["object"]["eTag"]


@pytest.mark.matrix(42)
def test_thumbnail_in_a_source_bucket_is_skipped(door: Door, cloud: Cloud, picture: bytes) -> None:
    door(s3_event(cloud.put("x.jpg", picture)))
    cloud.s3.copy_object(Bucket=SOURCE, Key="copy.jpg", CopySource={"Bucket": DESTINATION, "Key": "x.jpg"})
    call = door(s3_event(s3_record("copy.jpg", 5, "e"), s3_record("x.jpg", 5, "e", bucket=DESTINATION)))
    assert call.answer.value == {"records": 2, "outcomes": {"skipped:own-output": 2}}
    assert cloud.thumbnails() == ["x.jpg"]


# --- direct invocations: all or nothing ---------------------------------------------------------------------------


def test_direct_event_with_a_denied_destination_raises_and_the_retry_succeeds(
    door: Door, cloud: Cloud, proxy: FaultProxy, picture: bytes
) -> None:
    event = s3_event(cloud.put("private/x.jpg", picture), cloud.put("good.jpg", picture), s3_record("gone.jpg", 5, "e"))
    proxy.rule = faults_at(("PUT", f"/{DESTINATION}/private/x.jpg", DENIED))
    call = door(event)
    assert call.answer.error == "RecordsComeBack"
    assert "'failed:destination-denied': 1" in call.answer.value["errorMessage"]
    assert cloud.thumbnails() == ["good.jpg"]
    proxy.rule = never
    assert door(event).answer.value == {"records": 3, "outcomes": {"stored": 2, "skipped:gone": 1}}


def test_direct_event_with_final_outcomes_is_no_error(door: Door, cloud: Cloud) -> None:
    call = door(s3_event(cloud.put("text.jpg", b"no picture"), s3_record("x.jpg", 5, "e", bucket="never-there")))
    assert call.answer.value == {"records": 2, "outcomes": {"rejected:not-an-image": 1, "skipped:gone": 1}}


# --- buckets ------------------------------------------------------------------------------------------------------


def test_records_of_other_buckets_and_regions_go_to_their_own_destinations(
    door: Door, cloud: Cloud, proxy: FaultProxy, picture: bytes
) -> None:
    """The last bucket is in another region, where S3 redirects requests signed for the function's region."""
    away = error(301, "PermanentRedirect")
    redirect = Fault("answer", type(away)(301, {**away.headers, "x-amz-bucket-region": "eu-west-1"}, away.body))

    def rule(request: Request) -> Fault:
        here = "/us-east-1/s3/" in request.headers.get("authorization", "")
        return redirect if request.target.startswith("/far") and here else PASS

    records = {}
    for bucket in ("near", "far"):
        for name in (bucket, f"{bucket}-resized"):
            cloud.s3.create_bucket(Bucket=name)
        cloud.s3.put_object(Bucket=bucket, Key="x.jpg", Body=picture)
        records[bucket] = s3_record("x.jpg", len(picture), "e", bucket=bucket)
    records["photos"] = cloud.put("x.jpg", picture)
    proxy.rule = rule
    assert door(sqs_batch(records)).returned == []
    etags = {cloud.s3.head_object(Bucket=f"{bucket}-resized", Key="x.jpg")["ETag"] for bucket in records}
    assert len(etags) == 1
    assert proxy.requests["GET", "301"] >= 1


@pytest.mark.matrix(29)
def test_all_messages_come_back_if_all_records_fail(door: Door, cloud: Cloud, picture: bytes) -> None:
    event = sqs_batch({key: cloud.put(key, picture) for key in ("1.jpg", "2.jpg")})
    cloud.s3.delete_bucket(Bucket=DESTINATION)
    call = door(event)
    assert call.returned == ["1.jpg", "2.jpg"]
    assert set(call.ends.values()) == {"failed:destination-unavailable"}
    assert all("NoSuchBucket" in record["detail"] for record in call.records.values())


# --- the machine --------------------------------------------------------------------------------------------------


def test_object_too_large_for_tmp_is_retried_and_the_others_are_stored(
    running_door: Door, cloud: Cloud, picture: bytes, samples: dict[str, bytes], tmp_path: Path
) -> None:
    """The function's file size limit is between the sizes of the two pictures."""
    cloud.reset()
    large = samples["astronaut-alpha.png"]
    limit = (len(picture) + len(large)) // 2
    assert len(picture) < limit < len(large)
    limited = ("prlimit", f"--fsize={limit}", *Function().command)
    env = {**cloud.env, "TMPDIR": str(tmp_path), "THUMBNAILER_LOG_LEVEL": "DEBUG"}
    with running(Function(timeout=TIMEOUT, env=env, command=limited), tmp_path / "log") as function:
        call = Door(function)(
            sqs_batch({"small.jpg": cloud.put("small.jpg", picture), "large": cloud.put("large", large)})
        )
        assert call.returned == ["large"]
        assert call.ends == {"small.jpg": "stored", "large": "deferred:no-space"}
        assert call.records["large"]["detail"].endswith(
            f"takes no file of {len(large)} bytes: File too large; memory takes no more either"
        )
        assert [path.name for path in tmp_path.iterdir()] == ["log"]


@pytest.mark.matrix(42)
def test_destination_equal_to_the_source_is_refused_before_any_read(
    running_door: Door, cloud: Cloud, picture: bytes, tmp_path: Path
) -> None:
    cloud.reset()
    env = {**cloud.env, "THUMBNAILER_DESTINATION": "{bucket}"}
    with running(Function(timeout=TIMEOUT, env=env), tmp_path / "log") as function:
        answer = function.invoke(s3_event(cloud.put("x.jpg", picture)))
    assert answer.error == "SettingsError"
    assert "THUMBNAILER_DESTINATION" in answer.value["errorMessage"]


# --- events -------------------------------------------------------------------------------------------------------


@pytest.mark.matrix(26)
def test_events_without_records_succeed(door: Door, proxy: FaultProxy) -> None:
    for name in ("s3_empty_records.json", "s3_test_event.json"):
        assert door(json.loads((EVENTS / name).read_text())).answer.value == {"records": 0, "outcomes": {}}
    assert door(sqs_event({"Records": []}, {"Event": "s3:TestEvent"})).returned == []
    assert proxy.requests == {}


def from_nowhere() -> dict[str, Any]:
    return {"Records": [{"eventSource": "aws:dynamodb", "eventName": "INSERT", "dynamodb": {"Keys": {}}}]}


def of_version(version: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda record: record | {"eventVersion": version, "notKnownYet": {"a": [1]}}


@pytest.mark.matrix(26)
@pytest.mark.parametrize(
    ("event", "says"),
    [
        (from_nowhere(), "got a record with 'eventSource', 'eventName', 'dynamodb'; expected an S3 notification"),
        (s3_event(of_version("3.0")(s3_record("x.jpg", 5, "e"))), "eventVersion '3.0' is not supported; expected 2.x"),
        ({"detail-type": "x", "source": "aws.ec2"}, "expected an S3 notification"),
        ([], "got list"),
        ("text", "got str"),
    ],
    ids=["unknown source", "version 3", "other eventbridge", "list", "text"],
)
def test_unknown_event_is_an_error_that_names_the_expected_shapes(door: Door, event: object, says: str) -> None:
    call = door(event)
    assert call.answer.error == "EventError"
    assert says in call.answer.value["errorMessage"]


@pytest.mark.matrix(27)
@pytest.mark.matrix(26)
def test_only_unreadable_messages_of_a_queue_come_back(door: Door, cloud: Cloud, picture: bytes) -> None:
    plain = s3_event(cloud.put("plain.jpg", picture))
    bridged = json.loads((EVENTS / "eventbridge_created.json").read_text())
    bridged["detail"] |= {"bucket": {"name": SOURCE}, "object": {"key": "bridged.jpg"}}
    bodies: dict[str, Any] = {
        "no json": "{not json",
        "plain": plain,
        "unknown source": from_nowhere(),
        "in sns": {"Type": "Notification", "Message": json.dumps(s3_event(cloud.put("in-sns.jpg", picture)))},
        "version 3": s3_event(of_version("3.0")(cloud.put("three.jpg", picture))),
        "version 2.9": s3_event(of_version("2.9")(cloud.put("later.jpg", picture))),
        "bridged": bridged,
        "of 256 KB": plain | {"padding": "x" * 250_000},
    }
    cloud.put("bridged.jpg", picture)
    event = sqs_event(*bodies.values())
    for message, name in zip(event["Records"], bodies, strict=True):
        message["messageId"] = name
    call = door(event)
    assert call.returned == ["no json", "unknown source", "version 3"]
    assert cloud.thumbnails() == ["bridged.jpg", "in-sns.jpg", "later.jpg", "plain.jpg"]
    broken = {line["message_id"]: line["detail"] for line in call.lines if line.get("message") == "unreadable-message"}
    assert list(broken) == call.returned
    assert all("expected" in detail for detail in broken.values())


def test_lambda_rejects_events_beyond_6_mb_and_smaller_ones_are_processed(door: Door, proxy: FaultProxy) -> None:
    """Ten thousand records without any request to S3: the test is about the handler and its lines."""
    records = [s3_record(f"_failed/{number:0259d}", 0, "e") for number in range(10_000)]
    event = s3_event(*records)
    assert 5_500_000 < len(json.dumps(event)) < 6_000_000
    call = door(event)
    assert call.answer.value == {"records": 10_000, "outcomes": {"skipped:filtered": 10_000}}
    assert (len(call.records), sum("_aws" in line for line in call.lines)) == (10_000, 100)
    assert [line["records"] for line in call.lines if line.get("message") == "batch"] == [100] * 100
    beyond = door(s3_event(*records, *records[:2_000]))
    assert beyond.answer.error == "Runtime.UnmarshalError"
    assert (beyond.lines, proxy.requests) == ([], {})


def test_concurrent_requests_stay_within_in_flight(door: Door, proxy: FaultProxy) -> None:
    gone = error_answer(404, "NoSuchKey")
    proxy.rule = lambda _: Fault("answer", gone.answer, delay=0.02)
    call = door(sqs_batch({f"{number}.jpg": s3_record(f"{number}.jpg", 5, "e") for number in range(200)}))
    assert (len(call.ends), set(call.ends.values())) == (200, {"skipped:gone"})
    assert (proxy.of("GET"), proxy.most_at_once) == (200, IN_FLIGHT)


# --- lines --------------------------------------------------------------------------------------------------------

FORGED = '{"level": "INFO", "message": "record", "outcome": "forged", "request_id": "forged"}'
BREAKS = ("\n", "\r", "\r\n", "\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1b[2J", "\x1b]0;x\x07")
HOSTILE = [
    *(f"{mark}{FORGED}{mark}.jpg" for mark in BREAKS),
    '"}\n{"message": "record',
    "\x00",
    "\ud7ff\ue000\U0010ffff",
    "quote\"'`\\",
    "é" * 512,
    "%0A%0D",
]


def test_no_key_can_forge_a_line(door: Door, cloud: Cloud, picture: bytes) -> None:
    records = {f"m{number}": s3_record(key, 5, "e") for number, key in enumerate(HOSTILE)}
    call = door(sqs_batch(records))
    assert sorted(call.records) == sorted(HOSTILE)
    assert [line.get("message") for line in call.lines].count("record") == len(HOSTILE)
    assert [line["message"] for line in call.lines if "message" in line].count("batch") == 1
    (request_id,) = {line["request_id"] for line in call.lines}
    assert request_id != "forged"
    for event in (
        of_version("\n" + FORGED)(s3_record("x", 5, "e")),
        record_with_key("%FF" + FORGED),
        record_with_key("\ud800\n" + FORGED),
    ):
        for call in (door(s3_event(event)), door(sqs_event(s3_event(event)))):
            assert call.answer.error == "EventError" or call.returned == ["m0"]
            assert all(line["request_id"] != "forged" for line in call.lines)


def record_with_key(raw: str) -> dict[str, Any]:
    """A record with a key that S3 would never send."""
    record = s3_record("x", 5, "e")
    record["s3"]["object"]["key"] = raw
    return record


@pytest.mark.matrix(48)
def test_no_line_holds_a_secret_and_no_metric_holds_input(door: Door, batch: Batch, cloud: Cloud) -> None:
    """Checks all lines so far, which hold every kind of outcome."""
    door(s3_event(s3_record("x.jpg", 5, "e")))
    log = door.function.log
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert {"stored", "skipped", "rejected", "failed"} <= {line.get("outcome") for line in lines}
    assert not [secret for secret in SECRETS.values() if secret in log]
    metrics = [json.dumps(line | {"request_id": ""}) for line in lines if "_aws" in line]
    assert metrics
    inputs = {SOURCE, DESTINATION, "m0", *(line["key"] for line in lines if line.get("message") == "record")}
    assert not [name for name in inputs for line in metrics if len(name) > 3 and name in line]


def test_every_metric_line_is_valid_for_cloudwatch(door: Door, batch: Batch) -> None:
    found = [line for line in door.function.log.splitlines() if line.startswith("{") and "_aws" in line]
    assert found
    for line in found:
        emf.check(line)
