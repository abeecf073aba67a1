"""The Lambda door for HTTP, `handler(event, context)`: function URLs, REST APIs and ALBs.

One loop answers every invocation, so that clients, engines and connections live as long as the environment.
"""

import asyncio
from functools import cache
from typing import Any, Final

from handler.aws_lambda import Context
from handler.http.events import MOST_BODY_BYTES, read_event, write_answer
from handler.http.messages import HttpRequest, Refusal, problem
from handler.http.service import Service, make_site
from thumbnailer import settings as settings_
from thumbnailer.app import build, new_event_loop
from thumbnailer.errors import SettingsError
from thumbnailer.machine import machine
from thumbnailer.reporting.logs import REQUEST_ID, start_logging

RESERVE_SECONDS: Final = 0.5
"""The last part of the time limit, reserved for the answer: a picture that takes longer is a 504."""


@cache
def _runner() -> asyncio.Runner:
    return asyncio.Runner(loop_factory=new_event_loop)


@cache
def _service() -> Service:
    """Raises SettingsError. Must be called inside the runner's loop."""
    settings = settings_.load()
    if not settings.sources:
        raise SettingsError("THUMBNAILER_SOURCES is not set: nothing else can be asked for")
    start_logging(settings.log_level)
    return Service(build(settings, machine(), settings_.environment()), make_site(settings))


def handler(event: object, context: Context) -> dict[str, Any]:
    """Answers one request. Raises EventError for an event that is no HTTP request."""
    return _runner().run(_answer(event, context))


async def _answer(event: object, context: Context) -> dict[str, Any]:
    REQUEST_ID.set(context.aws_request_id)
    service = _service()
    try:
        request = read_event(event)
    except Refusal as refusal:
        request = HttpRequest("GET", "/")
        return write_answer(problem(refusal, request), request, event)
    seconds = context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS
    answer = await service.answer(request, seconds)
    if len(answer.body) > MOST_BODY_BYTES:
        answer = await service.redirect(answer)
    return write_answer(answer, request, event)


def close() -> None:
    """Closes loop and clients, for tests. Lambda just ends the process."""
    if _service.cache_info().currsize:
        _runner().run(_service().aclose())
    _runner().close()
    _service.cache_clear()
    _runner.cache_clear()
