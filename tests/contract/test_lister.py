"""The lister over S3's protocol: every key as it is, in order, one request for each 1,000 keys."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from tests.support.cloud import DESTINATION, SOURCE, Cloud
from tests.support.counting import Counted, counted
from tests.support.pipelines import run
from thumbnailer.errors import BucketMissing
from thumbnailer.store.base import StoreConfig
from thumbnailer.store.lister import S3Lister

ODD = ["a//b", "/a", "a\x01\x1f", "a b+c%20", "a\r\n", "é", "\U0001f33a", "~", "k" * 1024, "a&<>\"'", "./../a"]


@pytest.fixture
def counts(aws: Cloud) -> Iterator[Counted]:
    with counted(aws) as made:
        yield made


@asynccontextmanager
async def opened(counts: Counted) -> AsyncIterator[S3Lister]:
    lister = S3Lister(StoreConfig(endpoint_url=counts.url))
    try:
        yield lister
    finally:
        await lister.aclose()


def listed(counts: Counted, prefix: str = "", after: str = "", bucket: str = SOURCE) -> list[str]:
    async def work() -> list[str]:
        async with opened(counts) as lister:
            return [line.key async for page in lister.pages(bucket, prefix, after) for line in page]

    return run(work())


def test_every_key_is_listed_in_the_order_of_its_bytes(aws: Cloud, counts: Counted) -> None:
    aws.fill(SOURCE, ODD)
    assert listed(counts) == sorted(ODD, key=lambda key: key.encode())
    assert listed(counts, after="a b+c%20") == [key for key in sorted(ODD) if key > "a b+c%20"]
    assert listed(counts, prefix="a/") == ["a//b"]


@pytest.mark.parametrize(("number", "requests"), [(0, 1), (1000, 1), (2500, 3)])
def test_one_request_for_each_thousand_keys(aws: Cloud, counts: Counted, number: int, requests: int) -> None:
    keys = [f"{n:05}.jpg" for n in range(number)]
    aws.fill(SOURCE, keys)
    assert listed(counts) == keys
    assert counts.requests == {"LIST": requests}


def test_a_missing_bucket_is_an_error(counts: Counted) -> None:
    with pytest.raises(BucketMissing):
        listed(counts, bucket="nothing-here")


def test_a_head_gives_line_and_metadata(aws: Cloud, counts: Counted) -> None:
    aws.s3.put_object(Bucket=DESTINATION, Key="a//b", Body=b"12345", Metadata={"Recipe": "01234567"})

    async def work() -> None:
        async with opened(counts) as lister:
            found = await lister.inspect(DESTINATION, "a//b")
            assert found is not None
            assert found.metadata == {"recipe": "01234567"}
            assert [found.listed] == [line async for page in lister.pages(DESTINATION) for line in page]
            assert await lister.inspect(DESTINATION, "a/b") is None

    run(work())
