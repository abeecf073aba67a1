"""Answers of S3 that are neither success nor a passing fault, through the whole pipeline and both clients."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from tests.bombs import icons, png
from tests.support.pictures import gradient, saved
from tests.support.pipelines import built, created, run, settings, store_with
from tests.support.servers import LATIN_1, NO_LENGTH, Answer, ScriptedServer, error, whole
from thumbnailer.app import build
from thumbnailer.errors import Corrupt
from thumbnailer.machine import Machine
from thumbnailer.model import EventKind, ObjectEvent, Outcome, Status
from thumbnailer.store.auto import open_store
from thumbnailer.store.base import StoreConfig

ENCRYPTED = error(400, "InvalidRequest")
STORED = Answer(200, {"ETag": '"e"'})
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}

pytestmark = pytest.mark.matrix(58)
ODD_CHUNK = png.with_chunks([png.chunk(b"a\x01Bc", b"x")])
HALF_TIFF = saved(gradient(), "TIFF")[:60] + bytes(40) + saved(gradient(), "TIFF")[100:]
UNREADABLE = {"odd.png": ODD_CHUNK, "odd.ico": icons.ico((0, 0, 32, ODD_CHUNK)), "half.tif": HALF_TIFF}


@pytest.fixture(params=["obstore", "aioboto3"])
def client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return request.param


def process(client: Any, server: ScriptedServer, kind: EventKind = EventKind.CREATED) -> Outcome:
    async def work() -> Outcome:
        config = StoreConfig(transport=client, endpoint_url=server.url, backoff=0.001, max_backoff=0.01)
        app = build(settings(), Machine(1769, None), {}, open_store(config, CREDENTIALS))
        outcome = await app.pipeline.process(ObjectEvent(kind, "photos", "x.jpg"))
        await app.pipeline.aclose()
        return outcome

    return run(work())


def note(server: ScriptedServer) -> dict[str, Any]:
    (put,) = [seen for seen in server.seen if seen.method == "PUT"]
    return dict(json.loads(put.body))


def test_an_encrypted_source_is_rejected_at_once_with_a_note(client: Any, scripted: ScriptedServer) -> None:
    scripted.answer_by_method(GET=ENCRYPTED, PUT=STORED)
    outcome = process(client, scripted)
    assert (outcome.status, outcome.reason) == (Status.REJECTED, "customer-encrypted")
    assert scripted.methods == ["GET", "PUT"]
    assert note(scripted)["reason"] == "customer-encrypted"
    assert "SSE-C" in note(scripted)["detail"]


def test_a_late_removal_of_an_encrypted_source_is_rejected_too(client: Any, scripted: ScriptedServer) -> None:
    """The look is a HEAD, whose answer has no code."""
    scripted.answer_by_method(GET=ENCRYPTED, HEAD=Answer(400), DELETE=Answer(204), PUT=STORED)
    outcome = process(client, scripted, EventKind.REMOVED)
    assert (outcome.status, outcome.reason) == (Status.REJECTED, "customer-encrypted")


def test_a_put_that_s3_calls_invalid_is_the_destination_s_fault(
    client: Any, scripted: ScriptedServer, samples: dict[str, bytes]
) -> None:
    scripted.answer_by_method(GET=whole(samples["rocket.jpg"]), PUT=ENCRYPTED)
    assert process(client, scripted).reason == "destination-unavailable"


def test_headers_that_are_not_ascii_are_left_out_and_named(
    client: Any, scripted: ScriptedServer, samples: dict[str, bytes]
) -> None:
    odd = {"Content-Disposition": LATIN_1, "x-amz-meta-title": LATIN_1, "x-amz-meta-good": "yes"}
    source = whole(samples["rocket.jpg"], **odd)
    scripted.answer_by_method(GET=source, HEAD=source, PUT=STORED)
    outcome = process(client, scripted)
    assert (outcome.status, outcome.damaged) == (Status.STORED, False)
    assert outcome.detail == "left out: Content-Disposition, x-amz-meta-title"
    (put,) = [seen for seen in scripted.seen if seen.method == "PUT"]
    assert put.headers["x-amz-meta-good"] == "yes"
    assert put.headers.keys().isdisjoint({"content-disposition", "x-amz-meta-title"})


@pytest.mark.parametrize(
    ("coding", "body"), [("gzip", gzip.compress(b"\xff\xd8", mtime=0)), ("br", b"\x8b\2\x80" + bytes(99))]
)
def test_a_packed_source_is_rejected_by_its_content_encoding(
    client: Any, scripted: ScriptedServer, coding: str, body: bytes
) -> None:
    source = whole(body, **{"Content-Encoding": coding})
    scripted.answer_by_method(GET=source, HEAD=source, PUT=STORED, DELETE=Answer(204))
    outcome = process(client, scripted)
    assert (outcome.status, outcome.reason) == (Status.REJECTED, "not-an-image")
    assert f"Content-Encoding {coding!r}" in (outcome.detail or "")


@pytest.mark.parametrize("coding", ["aws-chunked", "undefined", "gzip"])
def test_a_picture_that_only_claims_a_content_encoding_is_stored(
    client: Any, scripted: ScriptedServer, samples: dict[str, bytes], coding: str
) -> None:
    source = whole(samples["rocket.jpg"], **{"Content-Encoding": coding})
    scripted.answer_by_method(GET=source, HEAD=source, PUT=STORED)
    assert process(client, scripted).status is Status.STORED


def test_a_source_without_content_length_is_unavailable(client: Any, scripted: ScriptedServer) -> None:
    scripted.answer_by_method(GET=Answer(200, whole(b"").headers, b"abc", length=NO_LENGTH, then="close"))
    outcome = process(client, scripted)
    assert (outcome.status, outcome.reason) == (Status.FAILED, "source-unavailable")


@pytest.mark.parametrize("engine", ["vips", "pillow"])
def test_a_refusal_reads_the_same_in_every_run(engine: str) -> None:
    """Pillow names the path of the file, or the address of its bytes."""

    async def details() -> list[str]:
        app = built(await store_with(UNREADABLE), ENGINE=engine)
        found = [await app.pipeline.process(created(key)) for key in UNREADABLE]
        await app.pipeline.aclose()
        return [outcome.detail or "" for outcome in found]

    for detail in run(details()):
        assert "/proc" not in detail
        assert "0x" not in detail


def test_errors_name_no_path_or_address_of_this_run() -> None:
    error = Corrupt("cannot identify '/proc/12/fd/5' or <_io.BytesIO object at 0x7f09ddeb36a0>")
    assert str(error) == "cannot identify 'the source' or the source"
