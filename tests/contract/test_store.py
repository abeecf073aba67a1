"""The contract of every object store. S3 is real HTTP: moto keeps objects, ScriptedServer makes errors.

The tests use no clock; they count requests, connections and bytes.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import subprocess
import sys
import urllib.request
from collections.abc import Awaitable, Callable
from datetime import timedelta
from importlib.metadata import version
from typing import Any
from urllib.parse import unquote_to_bytes

import boto3
import obstore
import pytest
import uvloop

from tests.support.cloud import Cloud
from tests.support.servers import LATIN_1, NO_LENGTH, Answer, ScriptedServer, error, rest, whole
from thumbnailer.errors import (
    BucketMissing,
    InvalidRequest,
    ObjectArchived,
    ObjectMissing,
    StoreDenied,
    StoreError,
    StoreRefused,
    StoreThrottled,
    StoreUnavailable,
)
from thumbnailer.store.aioboto3_ import Aioboto3Store
from thumbnailer.store.auto import choose_transport, open_store
from thumbnailer.store.base import (
    ObjectHeaders,
    ObjectStore,
    ObjectVersion,
    PutHeaders,
    StoreConfig,
    name_unsendable,
)
from thumbnailer.store.memory import MemoryStore
from thumbnailer.store.obstore_ import ObstoreStore, is_expressible
from thumbnailer.store.s3 import ObstoreCannot

Use = Callable[[ObjectStore], Awaitable[Any]]
Run = Callable[[Use], Any]

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_EC2_METADATA_DISABLED": "true"}
TRANSPORTS = ["obstore", "aioboto3"]
JPEG = PutHeaders("image/jpeg")
ODD_KEYS = [
    "a//b",
    "../../etc/x",
    "..",
    ".",
    "/lead",
    "//lead",
    "trail/",
    "trail//",
    "a/./b",
    "a/../b",
    "new\nline",
    "\r\n",
    "c\x01\x7f",
    "tab\t",
]
PLAIN_KEYS = [
    "photo.jpg",
    "noext",
    ".jpg",
    "%2e%2e",
    "%2e%2e/x",
    "a%2Fb",
    "%",
    "a+b c",
    "q\"'`",
    "é/e\u0301",
    "😀.jpg",
    "*~#?&=;:@!$,()[]{}<>|^",
    "a\\b",
    " ",
    "...",
    "a/...",
    "\u202ertl",
    "\x85\xa0",
    "x" * 1024,
    "é" * 512,
    "?versionId=1",
    "<Code>AccessDenied</Code>",
]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def s3(cloud: Cloud) -> Any:
    """A boto3 client that checks the stores; buckets `bkt` and `ver` are empty, `ver` is versioned."""
    client = boto3.client("s3", endpoint_url=cloud.url, region_name="us-east-1")
    urllib.request.urlopen(urllib.request.Request(f"{cloud.url}/moto-api/reset", method="POST"), timeout=10).close()
    client.create_bucket(Bucket="bkt")
    client.create_bucket(Bucket="ver")
    client.put_bucket_versioning(Bucket="ver", VersioningConfiguration={"Status": "Enabled"})
    return client


def _run(make: Callable[[], ObjectStore], use: Use) -> Any:
    async def main() -> Any:
        store = make()
        try:
            return await use(store)
        finally:
            await store.aclose()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


def _config(transport: Any, url: str, **changes: Any) -> StoreConfig:
    quick: dict[str, Any] = {"backoff": 0.001, "max_backoff": 0.01, "read_timeout": 0.5, **changes}
    return StoreConfig(transport=transport, endpoint_url=url, **quick)


@pytest.fixture(params=[*TRANSPORTS, "memory"])
def kept(request: pytest.FixtureRequest, s3: Any, cloud: Cloud) -> Run:
    """Runs with a store that keeps objects in the buckets `bkt` and `ver` (versioned)."""
    if request.param == "memory":
        return lambda use: _run(_two_in_memory, use)
    return lambda use: _run(lambda: open_store(_config(request.param, cloud.url, read_timeout=5), os.environ), use)


def _two_in_memory() -> ObjectStore:
    return MemoryStore("bkt", "ver", versioned=True)


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def faulty(transport: str, scripted: ScriptedServer) -> Run:
    """Runs with an S3 store on the scripted server."""
    return lambda use: _run(lambda: open_store(_config(transport, scripted.url), os.environ), use)


async def get(store: ObjectStore, bucket: str, key: str) -> tuple[ObjectHeaders, bytes]:
    async with store.open(bucket, key) as body:
        return body.headers, b"".join([chunk async for chunk in body.chunks()])


def fetch(key: str = "k") -> Use:
    return lambda store: get(store, "bkt", key)


# ---- objects


@pytest.mark.parametrize("size", [0, 1, 65536, 300_000])
def test_get_returns_the_object_of_the_put(kept: Run, size: int) -> None:
    data = os.urandom(size)

    async def use(store: ObjectStore) -> tuple[ObjectHeaders, bytes]:
        await store.put("bkt", "k", data, JPEG)
        return await get(store, "bkt", "k")

    headers, body = kept(use)
    assert body == data
    assert (headers.size, headers.content_type) == (size, "image/jpeg")
    assert headers.etag == hashlib.md5(data, usedforsecurity=False).hexdigest()


def test_every_key_can_be_put_read_and_deleted(kept: Run) -> None:
    """Except line breaks, which moto does not support; the next test has them."""
    keys = [key for key in ODD_KEYS + PLAIN_KEYS if "\n" not in key]

    async def use(store: ObjectStore) -> None:
        for key in keys:
            await store.put("bkt", key, key.encode(), JPEG)
        for key in keys:
            assert (await get(store, "bkt", key))[1] == key.encode()
        for key in keys:
            await store.delete("bkt", key)
            with pytest.raises(ObjectMissing):
                await get(store, "bkt", key)

    kept(use)


def test_every_key_is_sent_byte_for_byte(faulty: Run, scripted: ScriptedServer) -> None:
    scripted.play(whole(b"it"))
    keys = ODD_KEYS + PLAIN_KEYS

    async def use(store: ObjectStore) -> None:
        for key in keys:
            await get(store, "bkt", key)

    faulty(use)
    sent = [unquote_to_bytes(seen.target.partition("?")[0]) for seen in scripted.seen]
    assert sent == [f"/bkt/{key}".encode() for key in keys]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_bucket_lists_the_keys_that_were_put(transport: str, s3: Any, cloud: Cloud) -> None:
    keys = [key for key in ODD_KEYS + PLAIN_KEYS if "\n" not in key]

    async def use(store: ObjectStore) -> None:
        for key in keys:
            await store.put("bkt", key, b"it", JPEG)

    _run(lambda: open_store(_config(transport, cloud.url, read_timeout=5), os.environ), use)
    assert {entry["Key"] for entry in s3.list_objects_v2(Bucket="bkt")["Contents"]} == set(keys)


def test_expressible_keys_are_those_that_obstore_sends_unchanged(scripted: ScriptedServer) -> None:
    assert [key for key in PLAIN_KEYS if not is_expressible(key)] == []
    assert [key for key in ODD_KEYS if is_expressible(key)] == []
    scripted.play(whole(b"it"))

    async def use(store: ObjectStore) -> None:
        for key in ODD_KEYS:
            with pytest.raises(ObstoreCannot):
                await get(store, "bkt", key)

    _run(lambda: ObstoreStore(_config("obstore", scripted.url)), use)
    assert scripted.seen == []


def test_headers_and_metadata_are_stored_and_returned(kept: Run) -> None:
    sent = PutHeaders(
        "image/webp",
        "max-age=60",
        'attachment; filename="x y.jpg"',
        "de",
        {"Source-ETag": "abc", "rfc": "=?UTF-8?B?w6k=?="},
    )

    async def use(store: ObjectStore) -> ObjectHeaders:
        await store.put("bkt", "k", b"x", sent)
        return (await get(store, "bkt", "k"))[0]

    got = kept(use)
    assert (got.content_type, got.cache_control, got.content_disposition, got.content_language) == (
        sent.content_type,
        sent.cache_control,
        sent.content_disposition,
        sent.content_language,
    )
    assert dict(got.metadata) == {"source-etag": "abc", "rfc": "=?UTF-8?B?w6k=?="}


def test_headers_that_http_cannot_carry_are_left_out(kept: Run) -> None:
    odd = {"a b": "x", "é": "x", "line": "a\nb", "umlaut": "é", "del": "\x7f", "good": "yes", "": "x"}

    async def use(store: ObjectStore) -> ObjectHeaders:
        await store.put("bkt", "k", b"x", PutHeaders("image/jpeg", "a\r\nb: c", "é", None, odd))
        return (await get(store, "bkt", "k"))[0]

    got = kept(use)
    assert (got.cache_control, got.content_disposition, dict(got.metadata)) == (None, None, {"good": "yes"})


@pytest.mark.parametrize(
    ("sse", "key"), [("AES256", None), ("aws:kms", None), ("aws:kms", "key-1"), ("aws:kms:dsse", "key-1")]
)
def test_storage_class_and_encryption_reach_the_object(
    transport: str, s3: Any, cloud: Cloud, sse: str, key: str | None
) -> None:
    headers = PutHeaders("image/jpeg", storage_class="STANDARD_IA", sse=sse, kms_key_id=key)

    async def use(store: ObjectStore) -> None:
        await store.put("bkt", "k", b"x", headers)
        await store.put("bkt", "plain", b"x", JPEG)

    _run(lambda: open_store(_config(transport, cloud.url, read_timeout=5), os.environ), use)
    got = s3.head_object(Bucket="bkt", Key="k")
    assert (got["StorageClass"], got["ServerSideEncryption"], got["ContentType"]) == ("STANDARD_IA", sse, "image/jpeg")
    if key is not None and sse != "aws:kms:dsse":  # moto keeps no key for that one
        assert got["SSEKMSKeyId"].endswith(key)
    assert s3.head_object(Bucket="bkt", Key="plain").get("StorageClass", "STANDARD") == "STANDARD"


@pytest.mark.parametrize("bucket", ["bkt", "ver"])
def test_head_returns_the_version_that_a_get_returns(kept: Run, bucket: str) -> None:
    """The same bytes twice are two versions if the bucket is versioned."""

    async def use(store: ObjectStore) -> list[ObjectVersion]:
        assert await store.head(bucket, "k") is None
        versions = []
        for data in (b"one", b"two", b"two"):
            await store.put(bucket, "k", data, JPEG)
            found = await store.head(bucket, "k")
            assert found == (await get(store, bucket, "k"))[0].version
            assert found is not None
            versions.append(found)
        await store.delete(bucket, "k")
        assert await store.head(bucket, "k") is None
        with pytest.raises(ObjectMissing):
            await get(store, bucket, "k")
        return versions

    one, two, again = kept(use)
    assert one.etag == hashlib.md5(b"one", usedforsecurity=False).hexdigest()
    assert one != two
    assert (two == again) == (two.version_id is None)
    assert bucket == "bkt" or two.version_id is not None


def test_head_in_a_missing_bucket_returns_none(kept: Run) -> None:
    assert kept(lambda store: store.head("no-such-bucket", "k")) is None


def test_head_works_for_every_key(kept: Run) -> None:
    keys = [key for key in ODD_KEYS + PLAIN_KEYS if "\n" not in key]

    async def use(store: ObjectStore) -> None:
        for key in keys:
            await store.put("bkt", key, key.encode(), JPEG)
        for key in keys:
            found = await store.head("bkt", key)
            assert found is not None
            assert found.etag == hashlib.md5(key.encode(), usedforsecurity=False).hexdigest()

    kept(use)


def test_deleting_a_missing_key_succeeds(kept: Run) -> None:
    kept(lambda store: store.delete("bkt", "nothing"))


def test_a_missing_key_and_a_missing_bucket_are_different_errors(kept: Run) -> None:
    async def use(store: ObjectStore) -> None:
        with pytest.raises(ObjectMissing):
            await get(store, "bkt", "nothing")
        with pytest.raises(BucketMissing):
            await get(store, "no-such-bucket", "k")
        with pytest.raises(BucketMissing):
            await store.put("no-such-bucket", "k", b"x", JPEG)

    kept(use)


# ---- requests


def test_each_operation_is_one_request(faulty: Run, scripted: ScriptedServer) -> None:
    async def use(store: ObjectStore) -> None:
        scripted.play(whole(b"abc"), whole(b"abc"), Answer(200, {"ETag": '"e"'}), Answer(204))
        await get(store, "bkt", "k")
        await store.head("bkt", "k")
        await store.put("bkt", "k", b"x" * 6_000_000, JPEG)
        await store.delete("bkt", "k")

    faulty(use)
    assert [(seen.method, seen.target.partition("?")[0]) for seen in scripted.seen] == [
        ("GET", "/bkt/k"),
        ("HEAD", "/bkt/k"),
        ("PUT", "/bkt/k"),
        ("DELETE", "/bkt/k"),
    ]
    assert scripted.connections == 1
    assert len(scripted.seen[2].body) == 6_000_000
    checksums = [[name for name in seen.headers if "checksum" in name or "trailer" in name] for seen in scripted.seen]
    assert checksums == [[], [], ["x-amz-checksum-sha256"], []]
    digest = hashlib.sha256(b"x" * 6_000_000).digest()
    assert base64.b64decode(scripted.seen[2].headers["x-amz-checksum-sha256"]) == digest


@pytest.mark.parametrize(("sse", "key"), [(None, None), ("AES256", None), ("aws:kms:dsse", "key-1")])
def test_put_sends_the_encryption_and_get_sends_none(
    faulty: Run, scripted: ScriptedServer, sse: str | None, key: str | None
) -> None:
    async def use(store: ObjectStore) -> None:
        scripted.play(Answer(200, {"ETag": '"e"'}), whole(b"abc"))
        await store.put("bkt", "k", b"x", PutHeaders("image/jpeg", sse=sse, kms_key_id=key))
        await get(store, "bkt", "k")

    faulty(use)
    name = "x-amz-server-side-encryption"
    assert [(seen.headers.get(name), seen.headers.get(f"{name}-aws-kms-key-id")) for seen in scripted.seen] == [
        (sse, key),
        (None, None),
    ]


@pytest.mark.parametrize(
    ("endpoint", "bucket", "expected"),
    [
        (None, "bkt", "https://bkt.s3.eu-west-1.amazonaws.com/k"),
        (None, "my.bkt", "https://s3.eu-west-1.amazonaws.com/my.bkt/k"),
        (None, "Photos", "https://s3.eu-west-1.amazonaws.com/Photos/k"),
        (None, "my_bkt", "https://s3.eu-west-1.amazonaws.com/my_bkt/k"),
        (None, "b" * 64, f"https://s3.eu-west-1.amazonaws.com/{'b' * 64}/k"),
        ("http://h:9000", "bkt", "http://h:9000/bkt/k"),
    ],
)
def test_both_stores_use_the_same_url(
    endpoint: str | None, bucket: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://elsewhere")
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    config = StoreConfig(endpoint_url=endpoint, region="eu-west-1")

    async def main() -> list[str]:
        rust, python = ObstoreStore(config), Aioboto3Store(config)
        client = await python._client()
        signed = await client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
        await python.aclose()
        return [obstore.sign(rust._store(bucket, None, None), "GET", "k", timedelta(minutes=1)), signed]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert [url.partition("?")[0] for url in runner.run(main())] == [expected] * 2


def test_session_token_and_region_are_signed(
    faulty: Run, scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "tok")
    scripted.play(whole(b"abc"))
    faulty(fetch())
    (seen,) = scripted.seen
    assert seen.headers["x-amz-security-token"] == "tok"
    assert "Credential=k/" in seen.headers["authorization"]
    assert "/us-east-1/s3/aws4_request" in seen.headers["authorization"]


def test_leaving_early_drops_the_connection(faulty: Run, scripted: ScriptedServer) -> None:
    size = 50_000_000
    scripted.play(whole(bytes(size)))

    async def use(store: ObjectStore) -> tuple[int, bool]:
        async with store.open("bkt", "k") as body:
            chunk = await anext(body.chunks())
        return len(chunk), await asyncio.to_thread(scripted.dropped.wait, 10)

    taken, dropped = faulty(use)
    assert dropped
    assert 0 < taken <= 256 * 1024
    assert scripted.body_bytes < size / 3
    assert scripted.methods == ["GET"]


def test_a_slow_reader_gets_the_whole_body(faulty: Run, scripted: ScriptedServer) -> None:
    """Admission can hold a half-read body for longer than the read timeout (0.5 s here)."""
    data = os.urandom(20_000_000)
    scripted.play(whole(data))

    async def use(store: ObjectStore) -> bytes:
        async with store.open("bkt", "k") as body:
            chunks = body.chunks()
            first = await anext(chunks)
            await asyncio.sleep(1)
            return first + b"".join([chunk async for chunk in chunks])

    assert faulty(use) == data
    assert scripted.methods == ["GET"]


def test_a_cancelled_read_leaves_the_store_usable(faulty: Run, scripted: ScriptedServer) -> None:
    scripted.play(whole(b"abc"), Answer(200, {"ETag": '"e"'}, b"abc", length=10, then="stall"), whole(b"abc"))

    async def use(store: ObjectStore) -> bytes:
        await get(store, "bkt", "k")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await get(store, "bkt", "k")
        return (await get(store, "bkt", "k"))[1]

    assert faulty(use) == b"abc"


# ---- errors

ERRORS = [
    (404, "NoSuchKey", ObjectMissing),
    (404, "NoSuchVersion", ObjectMissing),
    (404, "NoSuchBucket", BucketMissing),
    (405, "MethodNotAllowed", ObjectMissing),
    (403, "AccessDenied", StoreDenied),
    (403, "AllAccessDisabled", StoreDenied),
    (403, "InvalidObjectState", ObjectArchived),
    (403, "RequestTimeTooSkewed", StoreRefused),
    (403, "SignatureDoesNotMatch", StoreRefused),
    (403, "InvalidAccessKeyId", StoreRefused),
    (400, "InvalidArgument", StoreRefused),
    (400, "InvalidRequest", InvalidRequest),
]


@pytest.mark.parametrize(("status", "code", "expected"), ERRORS, ids=lambda value: str(value)[:24])
def test_permanent_errors_are_not_retried(
    faulty: Run, scripted: ScriptedServer, status: int, code: str, expected: type[StoreError]
) -> None:
    scripted.play(error(status, code))
    with pytest.raises(expected) as raised:
        faulty(fetch())
    assert type(raised.value) is expected
    assert raised.value.__cause__ is not None
    assert scripted.methods == ["GET"]


PASSING = [
    (503, "SlowDown", StoreThrottled),
    (429, "TooManyRequestsException", StoreThrottled),
    (400, "KMS.ThrottlingException", StoreThrottled),
    (503, "RequestLimitExceeded", StoreThrottled),
    (500, "InternalError", StoreUnavailable),
    (502, "BadGateway", StoreUnavailable),
    (400, "RequestTimeout", StoreUnavailable),
]


@pytest.mark.parametrize(("status", "code", "expected"), PASSING, ids=lambda value: str(value)[:24])
def test_temporary_errors_are_tried_four_times(
    faulty: Run, scripted: ScriptedServer, status: int, code: str, expected: type[StoreError]
) -> None:
    async def use(store: ObjectStore) -> None:
        scripted.play(error(status, code))
        with pytest.raises(expected) as raised:
            await get(store, "bkt", "k")
        assert type(raised.value) is expected
        assert scripted.methods == ["GET"] * 4
        scripted.play(*[error(status, code)] * 3, Answer(200, {"ETag": '"e"'}))
        await store.put("bkt", "k", b"x", JPEG)
        assert [seen.body for seen in scripted.seen] == [b"x"] * 4
        scripted.play(error(status, code), Answer(204))
        await store.delete("bkt", "k")
        assert scripted.methods == ["DELETE"] * 2

    faulty(use)


def test_no_retry_starts_after_the_retry_timeout(transport: str, scripted: ScriptedServer) -> None:
    scripted.play(error(503, "SlowDown"))
    config = _config(transport, scripted.url, retry_timeout=0)
    with pytest.raises(StoreThrottled):
        _run(lambda: open_store(config, os.environ), fetch())
    assert scripted.methods == ["GET"]


def test_a_denied_head_is_an_error_and_a_missing_key_is_not(faulty: Run, scripted: ScriptedServer) -> None:
    async def use(store: ObjectStore) -> None:
        scripted.play(Answer(404))
        assert await store.head("bkt", "k") is None
        scripted.play(Answer(403))
        with pytest.raises(StoreDenied):
            await store.head("bkt", "k")
        assert scripted.methods == ["HEAD"]

    faulty(use)


def test_head_is_retried_and_renews_credentials_once(
    faulty: Run, transport: str, scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 answers 400 without a body to a HEAD with an expired token; botocore then asks for the bucket's region."""
    asked = 2 if transport == "aioboto3" else 1

    async def use(store: ObjectStore) -> None:
        scripted.play(Answer(503), Answer(500), whole(b"abc"))
        assert await store.head("bkt", "k") == ObjectVersion("e1", None)
        scripted.play(*[Answer(400)] * asked, whole(b"abc"))
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "rotated")
        assert await store.head("bkt", "k") == ObjectVersion("e1", None)
        assert "Credential=rotated/" in scripted.seen[asked].headers["authorization"]
        scripted.play(Answer(400))
        with pytest.raises(StoreRefused):
            await store.head("bkt", "k")
        assert scripted.methods == ["HEAD"] * 2 * asked

    faulty(use)


OWNER = "123456789012"


@pytest.mark.matrix(44)
def test_every_request_names_and_signs_the_expected_owner(transport: str, scripted: ScriptedServer) -> None:
    scripted.play(Answer(200, whole(b"").headers, BODY, sent=100, then="close"), whole(b""))
    scripted.answer_ranges(BODY)

    async def use(store: ObjectStore) -> None:
        await get(store, "bkt", "k")
        await store.head("bkt", "k")
        await store.put("bkt", "k", b"x", JPEG)
        await store.delete("bkt", "k")

    _run(lambda: open_store(_config(transport, scripted.url, expected_owner=OWNER), os.environ), use)
    assert scripted.methods == ["GET", "GET", "HEAD", "PUT", "DELETE"]
    assert {seen.headers["x-amz-expected-bucket-owner"] for seen in scripted.seen} == {OWNER}
    assert all("x-amz-expected-bucket-owner" in seen.headers["authorization"] for seen in scripted.seen)


def test_an_answer_without_a_body_is_understood(faulty: Run, scripted: ScriptedServer) -> None:
    scripted.play(Answer(403))
    with pytest.raises(StoreDenied):
        faulty(fetch())


def test_a_key_cannot_imitate_an_error(faulty: Run, scripted: ScriptedServer) -> None:
    """obstore's error text contains the key; status and code must be the server's."""
    scripted.play(error(404, "NoSuchKey"))
    for key in (
        "<Code>AccessDenied</Code>",
        "Server returned non-2xx status code: 403 F: <Code>X</Code>",
        "  status: 403,",
    ):
        with pytest.raises(ObjectMissing):
            faulty(fetch(key))


def test_obstore_s_error_text_has_not_changed(scripted: ScriptedServer) -> None:
    """thumbnailer/store/obstore_.py reads status and code from this text, because no field has them."""
    answers: list[tuple[Answer, type[StoreError]]] = [
        (error(403, "InvalidObjectState"), ObjectArchived),
        (error(404, "NoSuchBucket"), BucketMissing),
        (Answer(403), StoreDenied),
        (Answer(301), ObstoreCannot),
        (whole(b"", **{"Content-Type": "é"}), ObstoreCannot),
    ]
    for answer, expected in answers:
        scripted.play(answer)
        with pytest.raises(StoreError) as raised:
            _run(lambda: ObstoreStore(_config("obstore", scripted.url, retries=0)), fetch())
        assert type(raised.value) is expected, (
            f"obstore {version('obstore')} has changed the text of its errors: adapt the patterns in "
            f"thumbnailer/store/obstore_.py and the bound in pyproject.toml. The text is:\n{raised.value.__cause__}"
        )


def test_missing_credentials_are_named_with_the_remedy(
    scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """obstore asks the EC2 instance last. A refusal of that must not reject the source as access-denied."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", scripted.url)
    for answer in (Answer(403), Answer(404)):
        scripted.play(answer, answer)
        with pytest.raises(StoreUnavailable, match="there are no AWS credentials: set AWS_ACCESS_KEY_ID"):
            _run(lambda: ObstoreStore(_config("obstore", "http://127.0.0.1:1", retries=0)), fetch())


def test_a_missing_ca_bundle_is_an_error(transport: str) -> None:
    config = StoreConfig.from_env({"AWS_CA_BUNDLE": "/nowhere.pem"}, transport=transport, retry_timeout=1)
    with pytest.raises(StoreUnavailable):
        _run(lambda: open_store(config, os.environ), fetch())


def test_a_refused_connection_is_unavailable_in_the_same_words_each_time(transport: str) -> None:
    said = set()
    for _ in range(2):
        with pytest.raises(StoreUnavailable) as raised:
            _run(lambda: open_store(_config(transport, "http://127.0.0.1:1"), os.environ), fetch())
        said.add(str(raised.value))
    assert len(said) == 1


BODY = bytes(range(256)) * 1024
SAMPLE = [0, 1, 255, 65535, 65536, 65537, 200_000, len(BODY) - 1]


@pytest.mark.parametrize("then", ["reset", "close"])
@pytest.mark.parametrize("cut", SAMPLE)
def test_a_broken_body_resumes_where_it_broke_off(faulty: Run, scripted: ScriptedServer, cut: int, then: Any) -> None:
    """Short or reset at any byte: the body is complete, and the second request has the condition If-Match."""
    scripted.play(Answer(200, whole(b"").headers, BODY, sent=cut, then=then))
    scripted.answer_ranges(BODY)
    _, got = faulty(fetch())
    assert got == BODY
    first, *others = scripted.seen
    assert "range" not in first.headers
    assert all(seen.headers["if-match"] == '"e1"' for seen in others)
    assert others


@pytest.mark.parametrize("cut", [0, 1, 100_000])
def test_a_stalled_body_resumes(faulty: Run, scripted: ScriptedServer, cut: int) -> None:
    scripted.play(Answer(200, whole(b"").headers, BODY, sent=cut, then="stall"))
    scripted.answer_ranges(BODY)
    assert faulty(fetch())[1] == BODY


def test_a_body_that_breaks_four_times_is_unavailable(faulty: Run, scripted: ScriptedServer) -> None:
    scripted.play(Answer(200, whole(b"").headers, BODY, sent=0, then="close"))
    with pytest.raises(StoreUnavailable):
        faulty(fetch())
    scripted.play(
        Answer(200, whole(b"").headers, BODY, sent=0, then="close"),
        Answer(206, rest(BODY, 0).headers, BODY, sent=0, then="close"),
    )
    with pytest.raises(StoreUnavailable):
        faulty(fetch())
    assert scripted.methods == ["GET"] * 4


@pytest.mark.parametrize(
    "second",
    [
        rest(BODY, 0, etag="e2"),
        error(412, "PreconditionFailed"),
        whole(BODY),
        Answer(206, {"ETag": '"e1"', "Content-Range": f"bytes 7-{len(BODY) - 1}/{len(BODY)}"}, BODY[7:]),
        Answer(206, {"ETag": '"e1"', "Content-Range": "bytes 0-9/10"}, BODY[:10]),
    ],
    ids=["another-etag", "precondition", "not-partial", "another-range", "another-size"],
)
def test_a_body_never_continues_with_another_object(faulty: Run, scripted: ScriptedServer, second: Answer) -> None:
    scripted.play(Answer(200, whole(b"").headers, BODY, sent=0, then="close"), second)
    with pytest.raises(StoreUnavailable):
        faulty(fetch())


def test_a_body_without_an_etag_is_not_resumed(faulty: Run, scripted: ScriptedServer) -> None:
    scripted.play(Answer(200, {}, BODY, sent=100, then="close"), rest(BODY, 100))
    with pytest.raises(StoreUnavailable):
        faulty(fetch())
    assert scripted.methods == ["GET"]


def test_an_object_that_is_deleted_during_the_read_is_missing(faulty: Run, scripted: ScriptedServer) -> None:
    scripted.play(Answer(200, whole(b"").headers, BODY, sent=0, then="close"), error(404, "NoSuchKey"))
    with pytest.raises(ObjectMissing):
        faulty(fetch())


def test_a_reset_put_is_sent_again_unchanged(faulty: Run, scripted: ScriptedServer) -> None:
    scripted.play(Answer(200, {}, b"", length=5, sent=0, then="reset"), Answer(200, {"ETag": '"e"'}))
    faulty(lambda store: store.put("bkt", "k", b"same", JPEG))
    assert {(seen.method, seen.target.partition("?")[0], seen.body) for seen in scripted.seen} == {
        ("PUT", "/bkt/k", b"same")
    }
    assert len(scripted.seen) == 2


def test_expired_credentials_are_renewed_once(
    faulty: Run, scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def use(store: ObjectStore) -> None:
        scripted.play(whole(b"abc"), error(400, "ExpiredToken"), whole(b"abc"), error(400, "ExpiredToken"))
        await get(store, "bkt", "k")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "rotated")
        assert (await get(store, "bkt", "k"))[1] == b"abc"
        with pytest.raises(StoreRefused):
            await get(store, "bkt", "k")

    faulty(use)
    keys = [seen.headers["authorization"].split("Credential=")[1].split("/")[0] for seen in scripted.seen]
    assert keys == ["k", "k", "rotated", "rotated", "rotated"]


def test_headers_of_a_stranger_do_not_stop_a_read(faulty: Run, scripted: ScriptedServer) -> None:
    scripted.play(whole(b"abc", **{"x-amz-meta-name": "é", "Content-Disposition": "é"}))
    headers, body = faulty(fetch())
    assert body == b"abc"
    assert headers.metadata.keys() == {"name"}


@pytest.mark.matrix(58)
def test_a_header_that_is_not_utf_8_is_read_as_one_that_cannot_be_sent(faulty: Run, scripted: ScriptedServer) -> None:
    """Both stores read it by way of aiobotocore, which decodes all headers as UTF-8.

    If this fails with a new version of aiobotocore or aiohttp, adapt `_HttpSession` in thumbnailer/store/aioboto3_.py.
    """
    scripted.play(whole(b"abc", **{"x-amz-meta-name": LATIN_1, "Content-Disposition": LATIN_1}))
    headers, body = faulty(fetch())
    assert body == b"abc"
    sent = PutHeaders("image/jpeg", content_disposition=headers.content_disposition, metadata=headers.metadata)
    assert name_unsendable(sent) == "left out: Content-Disposition, x-amz-meta-name"


@pytest.mark.matrix(58)
def test_an_answer_without_content_length_is_unavailable(faulty: Run, scripted: ScriptedServer) -> None:
    scripted.play(Answer(200, whole(b"").headers, b"abc", length=NO_LENGTH, then="close"))
    with pytest.raises(StoreUnavailable, match="Content-Length"):
        faulty(fetch())


def test_the_content_encoding_is_returned_and_not_undone(faulty: Run, scripted: ScriptedServer) -> None:
    scripted.play(whole(b"abc", **{"Content-Encoding": "gzip"}))
    headers, body = faulty(fetch())
    assert (headers.content_encoding, body) == ("gzip", b"abc")


# ---- the choice of a store


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, "obstore"),
        ({"AWS_PROFILE": "p"}, "aioboto3"),
        ({"AWS_PROFILE": "p", "AWS_ACCESS_KEY_ID": "k"}, "obstore"),
        ({"HOME": "/home/u"}, "aioboto3"),
        ({"HOME": "/home/u", "AWS_WEB_IDENTITY_TOKEN_FILE": "/t"}, "obstore"),
        ({"AWS_CONFIG_FILE": "/etc/aws"}, "aioboto3"),
        ({"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/c"}, "obstore"),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://h/c", "AWS_CONTAINER_AUTHORIZATION_TOKEN": "t"}, "aioboto3"),
        (
            {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://h/c", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/t"},
            "obstore",
        ),
        ({"AWS_USE_FIPS_ENDPOINT": "true"}, "aioboto3"),
        ({"AWS_USE_FIPS_ENDPOINT": "false"}, "obstore"),
        ({"AWS_CA_BUNDLE": "/etc/ca.pem"}, "obstore"),
        ({"AWS_REGION": "cn-north-1"}, "aioboto3"),
        ({"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true", "AWS_ENDPOINT_URL": "http://x"}, "obstore"),
    ],
)
def test_auto_is_obstore_where_it_finds_the_same_credentials(env: dict[str, str], expected: str) -> None:
    there = {"/home/u/.aws/credentials", "/etc/aws"}
    assert choose_transport(StoreConfig.from_env(env), env, there.__contains__).transport == expected


def test_a_configured_transport_is_used() -> None:
    for transport in ("obstore", "aioboto3"):
        config = StoreConfig.from_env({}, transport=transport)
        assert choose_transport(config, {"AWS_PROFILE": "p"}).transport == transport


@pytest.mark.parametrize(
    ("env", "endpoint", "region"),
    [
        ({}, None, "us-east-1"),
        ({"AWS_ENDPOINT_URL": "http://a", "AWS_DEFAULT_REGION": "eu-west-1"}, "http://a", "eu-west-1"),
        ({"AWS_ENDPOINT_URL": "http://a", "AWS_ENDPOINT_URL_S3": "http://b"}, "http://b", "us-east-1"),
        ({"AWS_DEFAULT_REGION": "eu-west-1", "AWS_REGION": "eu-west-2"}, None, "eu-west-2"),
        ({"AWS_ENDPOINT_URL": "http://a", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}, None, "us-east-1"),
    ],
)
def test_endpoint_and_region_follow_aws_s_variables(env: dict[str, str], endpoint: str | None, region: str) -> None:
    config = StoreConfig.from_env(env)
    assert (config.endpoint_url, config.region) == (endpoint, region)


def test_a_bucket_in_another_region_goes_to_aioboto3(scripted: ScriptedServer) -> None:
    """obstore gets a 301; aioboto3 repeats the request, and gets the next one directly."""
    scripted.play(error(301, "PermanentRedirect"), whole(b"abc"))

    async def use(store: ObjectStore) -> None:
        await get(store, "bkt", "k")
        await get(store, "bkt", "k")

    _run(lambda: open_store(_config("auto", scripted.url), os.environ), use)
    assert ["aiobotocore" in seen.headers["user-agent"] for seen in scripted.seen] == [False, True, True]


# ---- the interpreter

COUNT = """
import asyncio, os, sys
import uvloop
import thumbnailer.store.obstore_
from thumbnailer.store.base import PutHeaders, StoreConfig
from thumbnailer.store.auto import open_store

async def main():
    store = open_store(StoreConfig.from_env(os.environ), os.environ)
    if "AWS_ENDPOINT_URL" in os.environ:
        async with store.open("bkt", "k") as body:
            print([len(chunk) async for chunk in body.chunks()])
    await store.aclose()

with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main())
print(sorted({"boto3", "botocore", "aiohttp", "aiobotocore", "aioboto3"} & sys.modules.keys()))
"""


@pytest.mark.parametrize("used", [False, True])
def test_obstore_imports_no_boto3_and_the_interpreter_exits_cleanly(scripted: ScriptedServer, used: bool) -> None:
    scripted.play(whole(b"abc"))
    env = {**os.environ, "HOME": "/nowhere"} | ({"AWS_ENDPOINT_URL": scripted.url} if used else {})
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", COUNT], env=env, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines() == ["[3]"] * used + ["[]"]
