"""Timings and findings of one record, and how it ended: for its log line and metrics, never for a decision."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from time import perf_counter

from thumbnailer.engine import Rendering
from thumbnailer.errors import MOST_DETAIL, OutOfTime, RecordError, internal_error
from thumbnailer.model import EngineName, ImageInfo, ObjectEvent, Outcome, Output, Status
from thumbnailer.reporting.logs import LOGGER


class Trace:
    """Attributes describe the current round; timings add up over all rounds."""

    outcome: Outcome

    def __init__(self, event: ObjectEvent) -> None:
        self._event = event
        self._started = perf_counter()
        self._timings: dict[str, float] = {}
        self.begin_round()

    def begin_round(self) -> None:
        """Forgets the source's previous content."""
        self.bytes_in = 0
        self.info: ImageInfo | None = None
        self.engine: EngineName | None = None
        self.profile_ignored = False
        self.engine_bug = ""
        self.defects: tuple[str, ...] = ()
        self.remark = ""
        self.still_because = ""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = perf_counter()
        try:
            yield
        finally:
            self._add(name, perf_counter() - started)

    def add_defects(self, *defects: str) -> None:
        """An empty text is no defect."""
        self.defects += tuple(filter(None, defects))

    def add_rendering(self, rendering: Rendering, seconds: float) -> None:
        """`seconds` includes the wait for memory and for a decoder."""
        self._add("wait", seconds - rendering.decode_seconds - rendering.encode_seconds)
        self._add("decode", rendering.decode_seconds)
        self._add("encode", rendering.encode_seconds)
        self.engine, self.profile_ignored = rendering.engine, rendering.profile_ignored
        self.add_defects(rendering.defect)

    @asynccontextmanager
    async def ending(self, deadline: float | None) -> AsyncIterator[None]:
        """Ends the record with an error of the block, or at `deadline`. Raises nothing but CancelledError."""
        try:
            async with asyncio.timeout_at(deadline):
                yield
        except TimeoutError:
            self._fail(OutOfTime("the time ran out before the record was finished"))
        except RecordError as error:
            self._fail(error)
        except Exception as error:
            LOGGER.exception("internal-error", extra={"line": {"bucket": self._event.bucket, "key": self._event.key}})
            self._fail(internal_error(error))

    def end(self, status: Status, outputs: Sequence[Output]) -> None:
        """A picture with defects is stored all the same."""
        detail = "; ".join(filter(None, (*self.defects, self.remark, self.still_because)))
        self._end(status, outputs, None, detail[:MOST_DETAIL] or None)

    def _fail(self, error: RecordError) -> None:
        self._end(error.status, (), error.reason, str(error))

    def _end(self, status: Status, outputs: Sequence[Output], reason: str | None, detail: str | None) -> None:
        self.outcome = Outcome(
            event=self._event,
            status=status,
            reason=reason,
            detail=detail,
            outputs=tuple(outputs),
            bytes_in=self.bytes_in,
            info=self.info,
            engine=self.engine,
            damaged=status is Status.STORED and bool(self.defects),
            first_frame_only=status is Status.STORED and bool(self.still_because),
            profile_ignored=self.profile_ignored,
            engine_bug=self.engine_bug,
            timings=(*self._timings.items(), ("total", perf_counter() - self._started)),
        )

    def _add(self, stage: str, seconds: float) -> None:
        self._timings[stage] = self._timings.get(stage, 0.0) + seconds
