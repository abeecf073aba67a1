"""The queue as the worker's parts use it: errors are logged and counted, and never raised."""

from collections.abc import Awaitable, Sequence
from typing import Protocol, TypeVar

from handler.worker.sqs import QueueError, QueueState, Received
from thumbnailer.reporting.logs import LOGGER
from thumbnailer.reporting.metrics import Prometheus

T = TypeVar("T")


class MessageQueue(Protocol):
    """The methods of handler.worker.sqs.Queue. Each raises QueueError."""

    async def receive(self, most: int, wait_seconds: int) -> list[Received]: ...
    async def delete(self, receipts: Sequence[str]) -> list[str]: ...
    async def hide(self, receipts: dict[str, int]) -> list[str]: ...
    async def state(self) -> QueueState: ...


class ReportingQueue:
    """Entries that SQS refuses need no retry: their messages reappear after the visibility timeout."""

    def __init__(self, queue: MessageQueue, metrics: Prometheus) -> None:
        self._queue = queue
        self._metrics = metrics

    async def receive(self, most: int, wait_seconds: int) -> list[Received] | None:
        """None if the request failed."""
        return await self._tried(self._queue.receive(most, wait_seconds))

    async def delete(self, receipts: Sequence[str]) -> int:
        """The number of messages that the queue deleted."""
        return self._accepted(len(receipts), await self._tried(self._queue.delete(receipts)))

    async def hide(self, receipts: dict[str, int]) -> int:
        """The number of messages whose visibility timeout the queue changed."""
        return self._accepted(len(receipts), await self._tried(self._queue.hide(receipts)))

    async def state(self) -> QueueState | None:
        """None if the request failed."""
        return await self._tried(self._queue.state())

    async def _tried(self, request: Awaitable[T]) -> T | None:
        try:
            return await request
        except QueueError as error:
            self._report(str(error))
            return None

    def _accepted(self, entries: int, refused: list[str] | None) -> int:
        if refused is None:
            return 0
        for entry in refused:
            self._report(entry)
        return entries - len(refused)

    def _report(self, detail: str) -> None:
        self._metrics.count("thumbnailer_queue_errors")
        LOGGER.warning("queue-error", extra={"line": {"detail": detail[:500]}})
