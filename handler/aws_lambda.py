"""The Lambda door: `handler(event, context)`.

Loop, clients and engines live as long as the environment: one Runner, entered once, runs every invocation, so that
connections outlive it and survive freeze and thaw.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from functools import cache
from time import perf_counter, time
from typing import Any, Final, Protocol

from handler.envelope import Delivery, open_envelope
from handler.partial import answer
from thumbnailer import settings as settings_
from thumbnailer.app import App, build, new_event_loop
from thumbnailer.machine import machine
from thumbnailer.model import Message, Outcome
from thumbnailer.reporting.logs import LOGGER, REQUEST_ID, log_batch, log_record, start_logging
from thumbnailer.reporting.metrics import emf_lines

RESERVE_SECONDS: Final = 1.5
"""What is kept of the time limit for the answer: records still in work then are deferred, never cut off."""


class Context(Protocol):
    """What is used of Lambda's context."""

    aws_request_id: str

    def get_remaining_time_in_millis(self) -> int: ...


@cache
def _runner() -> asyncio.Runner:
    return asyncio.Runner(loop_factory=new_event_loop)


@cache
def _app() -> App:
    """Raises SettingsError. Must be called inside the runner's loop."""
    settings = settings_.load()
    start_logging(settings.log_level)
    return build(settings, machine(), settings_.environment())


def handler(event: object, context: Context) -> dict[str, Any]:
    """One invocation, of any shape.

    Raises EventError on what is no event, RecordsComeBack where a direct invocation must be tried again.
    """
    delivery, outcomes = _runner().run(_work(event, context))
    return answer(delivery, outcomes)


async def _work(event: object, context: Context) -> tuple[Delivery, list[Outcome]]:
    started = perf_counter()
    app, delivery, request_id = _app(), open_envelope(event), context.aws_request_id
    REQUEST_ID.set(request_id)  # for what is logged by those who know of no request
    _end_if_worn_out(app, request_id)
    deadline = asyncio.get_running_loop().time() + context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS
    for broken in delivery.broken:
        line = {"message_id": broken.id, "detail": broken.error, "request_id": request_id}
        LOGGER.error("unreadable message", extra={"line": line})
    events = [event_ for message in delivery.messages for event_ in message.events]
    outcomes = await app.pipeline.process_all(
        events, deadline, lambda outcome: log_record(outcome, request_id), delivered_before(delivery.messages)
    )
    log_batch(outcomes, perf_counter() - started, request_id)
    function = settings_.environment().get("AWS_LAMBDA_FUNCTION_NAME", "local")
    for line in emf_lines(outcomes, round(time() * 1000), function):
        print(json.dumps(line | {"request_id": request_id}), file=sys.stdout)
    return delivery, outcomes


def delivered_before(messages: Sequence[Message]) -> set[int]:
    """The places of their events among those of all: what was in work when a process died comes with them."""
    events = (message for message in messages for _ in message.events)
    return {place for place, message in enumerate(events) if message.receive_count > 1}


def _end_if_worn_out(app: App, request_id: str) -> None:
    """An environment whose decoders hang is left for a new one. Its event comes back, and is worked there."""
    if app.pipeline.stuck < app.tier.workers:
        return
    detail = f"{app.pipeline.stuck} decodes do not end: this environment does, and the event comes back"
    LOGGER.critical("worn out", extra={"line": {"detail": detail, "request_id": request_id}})
    sys.stdout.flush()
    os._exit(1)  # an exit in the usual way would wait for them


def close() -> None:
    """Lets go of loop and clients: for tests and the demo. Lambda just ends the process."""
    if _app.cache_info().currsize:
        _runner().run(_app().pipeline.aclose())
    if _runner.cache_info().currsize:
        _runner().close()
    _app.cache_clear()
    _runner.cache_clear()
