"""The Lambda door: `handler(event, context)`.

One Runner runs every invocation, so that loop, clients, engines and connections live as long as the environment and
survive freeze and thaw.
"""

import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from time import perf_counter, time
from typing import Any, Final, Protocol

from handler.envelope import Delivery, answer, open_envelope
from thumbnailer import settings as settings_
from thumbnailer.app import App, build, new_event_loop, warm_up
from thumbnailer.machine import machine
from thumbnailer.model import Message, Outcome
from thumbnailer.reporting.logs import LOGGER, REQUEST_ID, batch_lines, log_record, log_unreadable, start_logging

RESERVE_SECONDS: Final = 1.5
"""The last part of the time limit, reserved for the answer. Records still in work then are deferred, never cut off."""

BUNDLES: Final = ("/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/certs/ca-certificates.crt")
"""The system's trusted certificates, of Amazon Linux and of Debian. Without these names, obstore also reads each file
of their folder, for each client: 8 ms of CPU on Debian."""


class Context(Protocol):
    """The part of Lambda's context that the handler uses."""

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
    """One invocation with any event shape.

    Raises EventError for an unknown shape, RecordsComeBack if Lambda must retry a direct invocation.
    """
    delivery, outcomes = _runner().run(_work(event, context))
    return answer(delivery, outcomes)


async def _work(event: object, context: Context) -> tuple[Delivery, list[Outcome]]:
    started = perf_counter()
    app, delivery = _app(), open_envelope(event)
    REQUEST_ID.set(context.aws_request_id)
    _exit_if_all_decoders_stuck(app)
    deadline = asyncio.get_running_loop().time() + context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS
    log_unreadable(delivery.unreadable)
    events = [event_ for message in delivery.messages for event_ in message.events]
    outcomes = await app.pipeline.process_all(events, deadline, log_record, find_redelivered(delivery.messages))
    function = settings_.environment().get("AWS_LAMBDA_FUNCTION_NAME", "local")
    for line in batch_lines(outcomes, perf_counter() - started, round(time() * 1000), function):
        print(line)
    return delivery, outcomes


def find_redelivered(messages: Sequence[Message]) -> set[int]:
    """The indexes of events whose message was received before. One of them may have killed the earlier process."""
    events = (message for message in messages for _ in message.events)
    return {place for place, message in enumerate(events) if message.receive_count > 1}


def _exit_if_all_decoders_stuck(app: App) -> None:
    """Exits when every decoder is stuck. Lambda starts a fresh environment and retries the event there."""
    if app.pipeline.stuck < app.tier.workers:
        return
    detail = f"{app.pipeline.stuck} decoders are stuck: this environment exits, and Lambda retries the event"
    LOGGER.critical("all-decoders-stuck", extra={"line": {"detail": detail}})
    sys.stdout.flush()
    os._exit(1)  # a normal exit would wait for their threads


def close() -> None:
    """Closes loop and clients, for tests and the demo. Lambda just ends the process."""
    if _app.cache_info().currsize:
        _runner().run(_app().pipeline.aclose())
    if _runner.cache_info().currsize:
        _runner().close()
    _app.cache_clear()
    _runner.cache_clear()


def _initialise() -> None:
    """Does during the init what the first JPEG needs. What fails here fails in the first invocation too."""
    if bundle := next(filter(os.path.exists, BUNDLES), None):
        os.environ.setdefault("SSL_CERT_FILE", bundle)
        os.environ.setdefault("SSL_CERT_DIR", bundle)
    with suppress(Exception):
        _runner().run(warm_up(_app))


if "AWS_LAMBDA_INITIALIZATION_TYPE" in os.environ:
    _initialise()  # Lambda gives its init all the CPU, whatever the memory
