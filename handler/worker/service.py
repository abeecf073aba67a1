"""The worker's door, `thumbnailer worker`: settings -> queue, pipeline, consumer and what watches them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from handler.worker.consumer import Consumer, Limits
from handler.worker.protection import Protection
from handler.worker.sqs import Queue, QueueError, QueueMissing, QueueState, open_queue
from handler.worker.status import served
from thumbnailer import settings as settings_
from thumbnailer.app import App, build, new_event_loop
from thumbnailer.errors import ObjectMissing, SettingsError, StoreDenied, StoreError
from thumbnailer.machine import machine
from thumbnailer.reporting.logs import LOGGER, start_logging
from thumbnailer.reporting.metrics import Prometheus
from thumbnailer.settings import Settings

RETRY_SECONDS: Final = 2.0
"""Between attempts to reach the queue at the start."""
PROBE_KEY: Final = ".thumbnailer-ready"
"""An object that need not be there: what is asked is whether S3 answers for the bucket."""


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
    stop = _signalled()
    registry, metrics = _metrics()
    async with AsyncExitStack() as stack:
        app = build(settings, machine(), env)
        stack.push_async_callback(app.pipeline.aclose)
        metrics.watch("thumbnailer_memory_reserved_bytes", lambda: app.pipeline.memory_reserved)
        queue = await stack.enter_async_context(open_queue(url, env))
        watch = Watch(app, queue)
        port = await stack.enter_async_context(served(settings.port, registry, watch.live, watch.ready))
        LOGGER.info("serving", extra={"line": {"port": port}})
        protection = Protection(env["ECS_AGENT_URI"]) if env.get("ECS_AGENT_URI") else None
        if protection:
            await stack.enter_async_context(_running(protection.run()))
        state = await _reached(queue, stop)
        if state is None:
            return
        limits = Limits(app.tier.in_flight, settings.record_timeout, settings.stop_timeout)
        consumer = Consumer(queue, app.pipeline, limits, metrics, protection.busy if protection else lambda _: None)
        LOGGER.info("working", extra={"line": {"queue": url, "in_flight": limits.in_flight}})
        stopping = asyncio.ensure_future(stop.wait())
        stopping.add_done_callback(lambda _: consumer.stop())
        await consumer.run(state.visibility)
        await _closed(stack, consumer.until)
    LOGGER.info("stopped")


async def _closed(stack: AsyncExitStack, until: float) -> None:
    """All that is open is closed; what takes longer than that, by the loop's clock, is not waited for."""
    with suppress(TimeoutError):
        async with asyncio.timeout_at(until):
            await stack.aclose()


def _signalled() -> asyncio.Event:
    """Set by SIGTERM (ECS, Kubernetes) and SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def _metrics() -> tuple[CollectorRegistry, Prometheus]:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry, Prometheus(registry)


@asynccontextmanager
async def _running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _reached(queue: Queue, stop: asyncio.Event) -> QueueState | None:
    """The queue's state once it can be reached; None where the worker is stopped before. Raises SettingsError."""
    while not stop.is_set():
        try:
            return await queue.state()
        except QueueMissing as error:
            raise SettingsError(f"THUMBNAILER_QUEUE_URL: there is no such queue: {error}") from error
        except QueueError as error:
            LOGGER.warning("queue", extra={"line": {"detail": str(error)[:500]}})
        try:
            await asyncio.wait_for(stop.wait(), RETRY_SECONDS)
        except TimeoutError:
            continue
    return None


class Watch:
    """What /healthz and /readyz look at."""

    def __init__(self, app: App, queue: Queue) -> None:
        self._app = app
        self._queue = queue

    async def live(self) -> str | None:
        """That it answers says that the loop turns; of threads that hang the loop knows nothing."""
        stuck = self._app.pipeline.stuck
        return f"{stuck} decodes do not end" if stuck >= self._app.tier.workers else None

    async def ready(self) -> str | None:
        """The queue answers, and so do the buckets that THUMBNAILER_SOURCES names, with those of their thumbnails."""
        try:
            await self._queue.state()
        except QueueError as error:
            return str(error)
        answers = await asyncio.gather(*(self._unreachable(bucket) for bucket in named_buckets(self._app.settings)))
        return next(filter(None, answers), None)

    async def _unreachable(self, bucket: str) -> str | None:
        """That S3 denies the look is an answer as well: writing and reading are other permissions."""
        try:
            async with self._app.store.open(bucket, PROBE_KEY):
                return None
        except (ObjectMissing, StoreDenied):
            return None
        except StoreError as error:
            return str(error)


def named_buckets(settings: Settings) -> list[str]:
    """The buckets that can be known before any event: of THUMBNAILER_SOURCES those that are no globs, and where their
    thumbnails go.
    """
    sources = [bucket for bucket in settings.sources if not set(bucket) & set("*?[")]
    fixed = [] if "{bucket}" in settings.destination else [settings.destination]
    return list(dict.fromkeys([*sources, *map(settings.destination_bucket, sources), *fixed]))
