"""The Lambda door for HTTP, against an S3 over HTTP."""

from __future__ import annotations

import base64
import copy
import json
import urllib.request
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from handler import aws_http
from handler.http import events
from tests.http.events import EVENTS, FUNCTION_URL, KEY
from tests.support.cloud import Cloud
from tests.support.pictures import opened
from thumbnailer.errors import EventError, SettingsError

LEFT = SimpleNamespace(aws_request_id="id", get_remaining_time_in_millis=lambda: 30_000)


@pytest.fixture
def cloud_with_pictures(cloud: Cloud, samples: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    cloud.reset()
    cloud.put(KEY, samples["rocket.jpg"])
    for name, value in {**cloud.env, "THUMBNAILER_SOURCES": "photos", "THUMBNAILER_OPEN": "on"}.items():
        monkeypatch.setenv(name, value)
    yield cloud
    aws_http.close()


def body(answer: dict[str, Any]) -> bytes:
    return base64.b64decode(answer["body"])


@pytest.mark.parametrize("name", EVENTS)
def test_every_event_gets_its_picture(cloud_with_pictures: Cloud, name: str) -> None:
    for _ in range(2):  # the second finds everything loaded
        answer = aws_http.handler(EVENTS[name], LEFT)
        assert answer["statusCode"] == 200
        assert (opened(body(answer)).format, opened(body(answer)).size[0]) == ("WEBP", 200)


@pytest.mark.parametrize("transport", ["obstore", "aioboto3"])
def test_a_kept_picture_too_large_for_lambda_is_a_redirect(
    cloud_with_pictures: Cloud, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 gives it to whoever has the URL. Other pictures are a 413."""
    monkeypatch.setenv("THUMBNAILER_OFFERS", "large=400x:png")
    monkeypatch.setenv("THUMBNAILER_TRANSPORT", transport)
    for module in (aws_http, events):
        monkeypatch.setattr(module, "MOST_BODY_BYTES", 10_000)
    for _ in range(2):  # made, then kept
        answer = aws_http.handler(FUNCTION_URL | {"rawQueryString": "name=large"}, LEFT)
        assert (answer["statusCode"], answer["body"]) == (307, "")
        with urllib.request.urlopen(answer["headers"]["Location"], timeout=20) as found:
            assert opened(found.read()).size[0] == 400
            assert found.headers["Content-Type"] == "image/png"
    refused = aws_http.handler(FUNCTION_URL | {"rawQueryString": "w=399&fm=png"}, LEFT)
    assert refused["statusCode"] == 413
    assert "thumbnailer serve" in json.loads(body(refused))["detail"]


def test_no_time_is_a_504(cloud_with_pictures: Cloud) -> None:
    hurried = SimpleNamespace(aws_request_id="id", get_remaining_time_in_millis=lambda: 501)
    assert aws_http.handler(FUNCTION_URL, hurried)["statusCode"] == 504


def test_an_http_api_is_answered_with_the_reason(cloud_with_pictures: Cloud) -> None:
    event = copy.deepcopy(FUNCTION_URL)
    event["requestContext"]["domainName"] = "abc.execute-api.eu-west-1.amazonaws.com"
    answer = aws_http.handler(event, LEFT)
    assert answer["statusCode"] == 501
    assert "function URL" in json.loads(body(answer))["detail"]


def test_other_events_raise(cloud_with_pictures: Cloud) -> None:
    with pytest.raises(EventError):
        aws_http.handler({"Records": []}, LEFT)


def test_sources_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("THUMBNAILER_SOURCES", raising=False)
    with pytest.raises(SettingsError, match="THUMBNAILER_SOURCES"):
        aws_http.handler(FUNCTION_URL, LEFT)
    aws_http.close()
