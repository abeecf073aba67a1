"""The way of one record, and of a batch. The pipeline knows the store and the engines by their protocols only."""

import asyncio
from collections.abc import Awaitable, Callable, Container, Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from thumbnailer import errors
from thumbnailer.model import EventKind, ObjectEvent, Outcome, Output, Status
from thumbnailer.newest import Rounds
from thumbnailer.planning.plan import refuse_event
from thumbnailer.planning.targets import with_placeholder
from thumbnailer.rendering import Refused, Rendered, Renderer
from thumbnailer.renditions import any_keys, possible_target_keys
from thumbnailer.reporting.logs import LOGGER
from thumbnailer.reporting.notes import note_body, note_headers, note_key
from thumbnailer.settings import Settings
from thumbnailer.store.base import ObjectStore
from thumbnailer.trace import Trace

LEAST_SECONDS: Final = 0.25
"""No step begins with less time than this: not even a small record could finish."""


class Pipeline:
    """Make it inside the loop that runs it."""

    def __init__(self, settings: Settings, store: ObjectStore, renderer: Renderer) -> None:
        self._settings = settings
        self._store = store
        self.renderer = renderer

    @property
    def stuck(self) -> int:
        """Decodes that still run long after their records were given up. If all `workers` are stuck, exit."""
        return self.renderer.decoder.stuck

    async def process_all(
        self,
        events: Sequence[ObjectEvent],
        deadline: float | None = None,
        done: Callable[[Outcome], None] = lambda _: None,
        isolated: Container[int] = (),
    ) -> list[Outcome]:
        """Processes all records, `in_flight` at a time. Returns one outcome each, in the order of `events`.

        `isolated` holds the indexes of events to decode in child processes; `deadline` as in `process`.
        """
        outcomes: dict[int, Outcome] = {}
        waiting = iter(enumerate(events))

        async def work() -> None:
            for number, event in waiting:
                outcomes[number] = await self.process(event, deadline, number in isolated)
                done(outcomes[number])

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self.renderer.tier.in_flight, len(events))):
                group.create_task(work())
        return [outcomes[number] for number in range(len(events))]

    async def process(self, event: ObjectEvent, deadline: float | None = None, isolated: bool = False) -> Outcome:
        """Takes one record from its event to its outcome. Raises nothing but CancelledError.

        `deadline` is a time of the running loop; None: no limit. `isolated` decodes in a child process, because the
        picture may have killed the last process that held it.
        """
        trace = Trace(event)
        async with trace.ending(deadline):  # an error or the deadline ends this record, not the batch
            _require_time(deadline)
            self._refuse(event)  # some events need no request at all
            chosen = self._settings
            rounds = Rounds(event.kind is EventKind.REMOVED, chosen.on_delete == "delete", chosen.write_once)
            result, outputs = await self._settle(event, chosen, rounds, trace, self._upload, isolated)
            trace.end(rounds.status(result), outputs)
        if self._needs_note(trace.outcome):
            async with trace.ending(deadline):  # a record whose note cannot be written is retried
                _require_time(deadline)
                await self._write_note(trace.outcome)
        return trace.outcome

    async def keep(self, event: ObjectEvent, settings: Settings, trace: Trace) -> tuple[Rendered, list[Output]]:
        """Makes the picture of `settings` for a client and stores it, in rounds as a record does.

        No output if it could not be stored: the client gets it all the same. Raises RecordError.
        """
        rounds = Rounds(removed=False, deletes=True, write_once=settings.write_once, on_demand=True)
        try:
            result, outputs = await self._settle(event, settings, rounds, trace, self._try_upload)
        except BaseException:  # nothing has confirmed the PUT, and no queue delivers a request again
            if rounds.uploaded:
                await self._withdraw(event, settings)
            raise
        rounds.status(result)
        assert isinstance(result, Rendered)
        return result, outputs

    async def aclose(self) -> None:
        """Waits for running decodes, but not forever."""
        await self.renderer.decoder.aclose()
        await self._store.aclose()

    # --- the steps ------------------------------------------------------------------------------------------------

    def _refuse(self, event: ObjectEvent) -> None:
        refuse_event(event, self._settings)
        if event.kind is EventKind.REMOVED and self._settings.on_delete == "keep":
            raise errors.Filtered("the source was removed; THUMBNAILER_ON_DELETE=keep leaves its thumbnails")

    async def _settle(
        self,
        event: ObjectEvent,
        settings: Settings,
        rounds: Rounds,
        trace: Trace,
        upload: Callable[[ObjectEvent, Rendered], Awaitable[list[Output]]],
        isolated: bool = False,
    ) -> tuple[Rendered | Refused, list[Output]]:
        """Newest wins: again until the source is still the version that was fetched."""
        for _ in rounds:
            trace.begin_round()
            # Fetch, plan, render: one GET; the plan drops hopeless objects before the rest of them is read.
            result = await self.renderer.render(_to_creation(event), settings, trace, isolated)
            rounds.check(result)  # a refusal ends the record if no older thumbnail can be there
            with trace.stage("upload"):
                # Upload: all PUTs at once. Or delete: no older thumbnail may stand for a refused source.
                write = upload(event, result) if isinstance(result, Rendered) else self._delete(event, settings)
                outputs = await write
                # Confirm: one HEAD after the last write, because the source may have changed meanwhile.
                confirmed = not rounds.needs_look(result) or await self._is_current(event, result)
            if confirmed:
                break
        return result, outputs

    async def _upload(self, event: ObjectEvent, rendered: Rendered) -> list[Output]:
        """Also deletes what was kept of an older source: it is made again when it is asked for."""
        older = () if self._settings.write_once else _kept_keys(event, self._settings)
        return await self._write(rendered, older)

    async def _try_upload(self, event: ObjectEvent, rendered: Rendered) -> list[Output]:
        try:
            return await self._write(rendered)
        except errors.Failed as error:
            _warn("not-kept", event, error)
            return []

    async def _write(self, rendered: Rendered, older: Sequence[str] = ()) -> list[Output]:
        targets, placeholders = rendered.plan.targets, rendered.rendering.placeholders
        if placeholders:
            labelled = zip(targets, placeholders, strict=True)
            targets = tuple(replace(t, headers=with_placeholder(t.headers, text)) for t, text in labelled)
        pairs = list(zip(targets, rendered.rendering.pictures, strict=True))
        with (
            self.renderer.memory.count(sum(len(data) for _, data in pairs)),
            errors.store_errors(errors.OF_DESTINATION),
        ):
            puts = [self._store.put(t.bucket, t.key, data, t.headers) for t, data in pairs]
            await _write_all([*puts, *(self._store.delete(targets[0].bucket, key) for key in older)])
        return [Output(t.bucket, t.key, t.name, t.width, t.height, t.format, len(data)) for t, data in pairs]

    async def _delete(self, event: ObjectEvent, settings: Settings) -> list[Output]:
        bucket = settings.destination_bucket(event.bucket)
        keys = (*possible_target_keys(settings.key, event.key, settings.renditions), *_kept_keys(event, settings))
        with errors.store_errors(errors.OF_DESTINATION), suppress(errors.BucketMissing):
            await _write_all(self._store.delete(bucket, key) for key in keys)
        return []

    async def _withdraw(self, event: ObjectEvent, settings: Settings) -> None:
        """Deletes a kept picture that no look has confirmed: what is missing is made when it is asked for."""
        try:
            async with asyncio.timeout(LEAST_SECONDS):
                await self._delete(event, settings)
        except (errors.Failed, TimeoutError) as error:
            _warn("not-confirmed", event, error)

    async def _is_current(self, event: ObjectEvent, result: Rendered | Refused) -> bool:
        """Whether the source still is the one of `result`. S3 answers 403 for a missing key without s3:ListBucket, and
        400 for one that its uploader encrypted."""
        with errors.store_errors(errors.OF_SOURCE):
            try:
                return await self._store.head(event.bucket, event.key) == result.version
            except errors.StoreDenied:
                return result.version is None
            except errors.StoreRefused:
                if isinstance(result, Refused) and isinstance(result.error, errors.CustomerEncrypted):
                    return True
                raise

    def _needs_note(self, outcome: Outcome) -> bool:
        """Not for a bucket outside THUMBNAILER_SOURCES: a forged event must not choose where the note goes."""
        rejected = outcome.status is Status.REJECTED and outcome.reason != errors.BucketNotAllowed.reason
        return rejected and bool(self._settings.failed_prefix)

    async def _write_note(self, outcome: Outcome) -> None:
        bucket = self._settings.destination_bucket(outcome.event.bucket)
        key = note_key(self._settings.failed_prefix, outcome.event.key)
        with errors.store_errors(errors.OF_DESTINATION):
            settings = self._settings
            await self._store.put(bucket, key, note_body(outcome, settings), note_headers(outcome, settings))


def _require_time(deadline: float | None) -> None:
    if deadline is not None and deadline - asyncio.get_running_loop().time() < LEAST_SECONDS:
        raise errors.OutOfTime("too little time was left to begin")


def _kept_keys(event: ObjectEvent, settings: Settings) -> tuple[str, ...]:
    return any_keys(settings.any_prefix, event.key, settings.kept_offers)


def _warn(message: str, event: ObjectEvent, error: Exception) -> None:
    LOGGER.warning(message, extra={"line": {"bucket": event.bucket, "key": event.key, "detail": str(error)}})


def _to_creation(event: ObjectEvent) -> ObjectEvent:
    """A removal may be late: its key may hold a newer source, which is then made into thumbnails."""
    return ObjectEvent(EventKind.CREATED, event.bucket, event.key) if event.kind is EventKind.REMOVED else event


async def _write_all(writes: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Runs all writes at once and waits for every one even if one fails: no write may happen after the look.

    A TaskGroup would cancel the others, and a cancelled PUT may still reach S3.
    """
    for result in await asyncio.gather(*writes, return_exceptions=True):
        if result is not None:
            raise result
