"""The worker's door, `thumbnailer worker`: wires settings, queue, pipeline, consumer, health checks and metrics."""

import asyncio
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from handler.health import Health
from handler.worker.consumer import Consumer, Limits
from handler.worker.protection import Protection
from handler.worker.sqs import Queue, QueueError, QueueMissing, QueueState, open_queue
from handler.worker.status import named_buckets, serve_status
from thumbnailer import settings as settings_
from thumbnailer.app import build, new_event_loop
from thumbnailer.errors import SettingsError
from thumbnailer.machine import machine
from thumbnailer.reporting.logs import LOGGER, start_logging
from thumbnailer.reporting.metrics import Prometheus
from thumbnailer.settings import Settings

RETRY_SECONDS: Final = 2.0
"""Between attempts to reach the queue at the start."""


def main() -> None:
    """Works until SIGTERM or SIGINT. Raises SettingsError."""
    settings = settings_.load()
    if settings.queue_url is None:
        accepts = "https://sqs.eu-west-1.amazonaws.com/123456789012/thumbnails"
        raise SettingsError(f"THUMBNAILER_QUEUE_URL is not set: the worker needs its queue, as in {accepts}")
    start_logging(settings.log_level)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_work(settings, settings.queue_url, settings_.environment()))


async def _work(settings: Settings, url: str, env: Mapping[str, str]) -> None:
    stop = _stop_event()
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    metrics = Prometheus(registry)
    async with AsyncExitStack() as stack:
        app = build(settings, machine(), env)
        stack.push_async_callback(app.pipeline.aclose)
        metrics.watch("thumbnailer_memory_reserved_bytes", lambda: app.pipeline.renderer.memory.reserved)
        queue = await stack.enter_async_context(open_queue(url, env))
        health = Health(app, named_buckets(settings), queue.state)
        port = await stack.enter_async_context(serve_status(settings.port, registry, health))
        LOGGER.info("serving", extra={"line": {"port": port}})
        protection = Protection(env["ECS_AGENT_URI"]) if env.get("ECS_AGENT_URI") else None
        if protection:
            stack.callback(asyncio.create_task(protection.run()).cancel)
        state = await _first_state(queue, stop)
        if state is None:
            return
        limits = Limits(app.tier.in_flight, settings.record_timeout, settings.stop_timeout)
        consumer = Consumer(queue, app.pipeline, limits, metrics, protection.busy if protection else lambda _: None)
        LOGGER.info("working", extra={"line": {"queue": url, "in_flight": limits.in_flight}})
        stopping = asyncio.create_task(stop.wait())
        stopping.add_done_callback(lambda _: consumer.stop())
        await consumer.run(state.visibility)
        await _close(stack, consumer.stopping.deadline)
    LOGGER.info("stopped")


async def _close(stack: AsyncExitStack, deadline: float) -> None:
    """Closes everything. Cancels whatever is not closed at `deadline`, in loop time."""
    with suppress(TimeoutError):
        async with asyncio.timeout_at(deadline):
            await stack.aclose()


def _stop_event() -> asyncio.Event:
    """Set by SIGTERM (ECS, Kubernetes) and SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def _first_state(queue: Queue, stop: asyncio.Event) -> QueueState | None:
    """Waits until the queue can be reached. None if the worker is stopped first. Raises SettingsError."""
    while not stop.is_set():
        try:
            return await queue.state()
        except QueueMissing as error:
            raise SettingsError(f"THUMBNAILER_QUEUE_URL: {error}") from error
        except QueueError as error:
            LOGGER.warning("queue-error", extra={"line": {"detail": str(error)[:500]}})
        with suppress(TimeoutError):
            async with asyncio.timeout(RETRY_SECONDS):
                await stop.wait()
    return None
