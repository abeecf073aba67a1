"""The Lambda function of the demo, behind its queue."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final
from uuid import uuid4

from handler import aws_lambda
from handler.demo.cloud import Queue
from handler.demo.mapping import InvocationFailed, QueueMapping
from thumbnailer.model import Outcome
from thumbnailer.reporting.logs import LOGGER

BATCH: Final = 10
POLL_SECONDS: Final = 0.1
FUNCTION_SECONDS: Final = 15.0
"""The function's time limit."""


class Context:
    """The part of Lambda's context object that the handler uses."""

    def __init__(self, seconds: float) -> None:
        self.aws_request_id = str(uuid4())
        self._end = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return max(0, round((self._end - time.monotonic()) * 1000))


class Function:
    """Runs the mapping and the real handler in a thread of its own, one invocation at a time, until closed.

    `outcome` and `failed` are called in the loop that made this.
    """

    def __init__(
        self, sqs: Any, queue: Queue, outcome: Callable[[Outcome], object], failed: Callable[[Exception], object]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._failed = failed
        self._stopping = threading.Event()
        configuration = {
            "EventSourceArn": queue.arn,
            "BatchSize": BATCH,
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
            "State": "Enabled",
        }
        self._mapping = QueueMapping(configuration, sqs, self._invoke)
        self._outcome = outcome
        LOGGER.addFilter(self._tap)
        self._thread = threading.Thread(target=self._run, name="lambda")
        self._thread.start()

    async def aclose(self) -> None:
        """Waits for the running invocation and closes what the function holds."""
        self._stopping.set()
        await asyncio.to_thread(self._thread.join)
        LOGGER.removeFilter(self._tap)
        LOGGER.handlers = []  # the handler's, with a stream that ends here

    def _run(self) -> None:
        while not self._stopping.is_set():
            if self._mapping.deliver() is None:
                self._stopping.wait(POLL_SECONDS)
        aws_lambda.close()

    def _tap(self, record: logging.LogRecord) -> bool:
        """Takes the outcomes from the log, so that the handler needs no hook."""
        if isinstance(outcome := getattr(record, "outcome", None), Outcome):
            self._loop.call_soon_threadsafe(self._outcome, outcome)
        return True

    def _invoke(self, event: dict[str, Any]) -> dict[str, Any]:
        """The handler's standard output is meant for CloudWatch and dropped. Raises InvocationFailed.

        The redirection holds for the whole process, so run.py keeps the real stream for its own output.
        """
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                return aws_lambda.handler(event, Context(FUNCTION_SECONDS))
        except Exception as error:
            self._loop.call_soon_threadsafe(self._failed, error)
            raise InvocationFailed from error
