"""HTTP events of Lambda -> HttpRequest, and HttpAnswer -> Lambda's answer.

REST APIs (payload 1.0), function URLs (2.0) and ALBs pass the path on as it was sent. HTTP APIs (2.0 too) decode it.
"""

import base64
import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

from handler.http.messages import HttpAnswer, HttpRequest, Refusal, problem
from thumbnailer.errors import EventError

MOST_BODY_BYTES: Final = 4_400_000
"""Lambda answers at most 6 MB, the body in Base64 (FACTS of AWS: Lambda quotas)."""
_UNCHANGED: Final = re.compile(r"[A-Za-z0-9/._~-]*")
"""Paths that look the same before and after decoding."""


def read_event(event: Any) -> HttpRequest:
    """Raises EventError for an event that is no HTTP request, Refusal for a path that an HTTP API has changed."""
    try:
        context = event["requestContext"]
        if "http" in context:
            return _read_url(event, context)
        query = _encoded(event) if "elb" in context else urlencode(list(_entries(event, "queryStringParameters")))
        return HttpRequest(event["httpMethod"], event["path"], query, _headers(_entries(event, "headers")))
    except (KeyError, TypeError, AttributeError) as error:
        raise EventError(f"no event of a function URL, REST API or ALB: {type(error).__name__}: {error}") from error


def _read_url(event: Mapping[str, Any], context: Mapping[str, Any]) -> HttpRequest:
    path = event["rawPath"]
    if ".lambda-url." not in context.get("domainName", "") and not _UNCHANGED.fullmatch(path):
        detail = "HTTP APIs decode paths, and so change this key: use a function URL or a REST API"
        raise Refusal(HTTPStatus.NOT_IMPLEMENTED, "http-api", detail)
    headers = _headers(event.get("headers", {}).items())
    return HttpRequest(context["http"]["method"], path, event.get("rawQueryString", ""), headers)


def _entries(event: Mapping[str, Any], name: str) -> Iterable[tuple[str, str]]:
    """The entries of a mapping with one value a name, or with several."""
    several = event.get(f"multiValue{name[0].upper()}{name[1:]}")
    if several:
        return [(key, value) for key, values in several.items() for value in values]
    return list((event.get(name) or {}).items())


def _encoded(event: Mapping[str, Any]) -> str:
    """An ALB's query, whose names and values are as the client sent them."""
    return "&".join(f"{name}={value}" for name, value in _entries(event, "queryStringParameters"))


def _headers(entries: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name.lower(): value for name, value in entries}


def write_answer(answer: HttpAnswer, request: HttpRequest, event: Any) -> dict[str, Any]:
    """Lambda's answer; 413 for a picture that does not fit into one."""
    if len(answer.body) > MOST_BODY_BYTES:
        detail = (
            f"the picture has {len(answer.body)} bytes, Lambda answers at most {MOST_BODY_BYTES}; ask for a "
            "smaller one, or run `thumbnailer serve`"
        )
        answer = problem(Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-large-for-lambda", detail), request)
    headers: dict[str, Any] = {"headers": dict(answer.headers)}
    if isinstance(event, dict) and "elb" in event.get("requestContext", {}) and "multiValueHeaders" in event:
        headers = {"multiValueHeaders": {name: [value] for name, value in answer.headers.items()}}
    body = base64.b64encode(answer.body).decode()
    return {"statusCode": int(answer.status), **headers, "body": body, "isBase64Encoded": True}
