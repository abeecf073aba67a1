"""Lambda's HTTP events and answers, each with a key that every door must decode in the same way."""

from __future__ import annotations

import base64
import copy
from urllib.parse import unquote

import pytest

from handler.http.events import MOST_BODY_BYTES, read_event, write_answer
from handler.http.messages import HttpAnswer, HttpRequest, Refusal
from tests.http.events import EVENTS, FUNCTION_URL, KEY, PATH, QUERY, REST
from thumbnailer.errors import EventError


@pytest.mark.parametrize("name", EVENTS)
def test_every_event_is_the_same_request(name: str) -> None:
    request = read_event(EVENTS[name])
    assert (request.method, request.path, unquote(request.path[1:])) == ("GET", PATH, KEY)
    assert request.query.replace("a%2Bb+c", "a%2Bb%20c") == QUERY
    assert (request.headers["accept"], request.headers["if-none-match"]) == ("image/webp", '"x"')


def test_a_query_given_twice_reaches_the_grammar() -> None:
    event = copy.deepcopy(REST)
    event["multiValueQueryStringParameters"]["w"] = ["1", "2"]
    assert read_event(event).query.startswith("w=1&w=2")


def test_an_http_api_changes_keys() -> None:
    event = copy.deepcopy(FUNCTION_URL)
    event["requestContext"]["domainName"] = "abc.execute-api.eu-west-1.amazonaws.com"
    event["rawPath"] = "/" + KEY
    with pytest.raises(Refusal) as caught:
        read_event(event)
    assert caught.value.status == 501
    event["rawPath"] = "/a/b-1.jpg"
    assert read_event(event).path == "/a/b-1.jpg"


@pytest.mark.parametrize(
    "event", [None, [], {}, {"Records": []}, {"requestContext": None}, {"requestContext": {"http": {}}}]
)
def test_other_events_are_refused(event: object) -> None:
    with pytest.raises(EventError, match="function URL"):
        read_event(event)


@pytest.mark.parametrize("name", EVENTS)
def test_an_answer_has_its_body_in_base64(name: str) -> None:
    answer = HttpAnswer(200, {"Content-Type": "image/webp", "ETag": '"y"'}, b"\0picture")
    made = write_answer(answer, HttpRequest("GET", PATH), EVENTS[name])
    assert base64.b64decode(made["body"]) == b"\0picture"
    assert (made["statusCode"], made["isBase64Encoded"]) == (200, True)
    several = made.get("multiValueHeaders", {}).get("ETag")
    assert several == ['"y"'] if name == "ALB with several values" else made["headers"]["ETag"] == '"y"'


def test_a_picture_too_large_for_lambda_is_refused() -> None:
    for size, status in ((MOST_BODY_BYTES, 200), (MOST_BODY_BYTES + 1, 413)):
        made = write_answer(HttpAnswer(200, {}, bytes(size)), HttpRequest("GET", "/a"), FUNCTION_URL)
        assert made["statusCode"] == status
        assert len(made["body"]) < 6_000_000
