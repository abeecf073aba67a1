"""One invocation of a step: where its run works, its clients, and its files under `_runs/{run}/` in the destination."""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

import aioboto3

from handler.aws_lambda import Context
from handler.worker.sqs import Queue, open_queue
from thumbnailer.backfill.job import Job, parse_job
from thumbnailer.backfill.run import Run
from thumbnailer.errors import ObjectMissing
from thumbnailer.settings import PREFIX, Settings, parse_settings
from thumbnailer.store.base import PutHeaders, StoreConfig
from thumbnailer.store.lister import S3Lister
from thumbnailer.values import dataclass

VARIABLES: Final = (
    "RUN_FUNCTION", "RUN_MAPPING", "RUN_SOURCE", "RUN_DESTINATION", "RUN_QUEUE", "RUN_DEAD_LETTERS", "RUN_MACHINE",
    "RUN_BACKLOG",
)  # fmt: skip
LAST: Final = "reconcile"
"""The one file that runs share: what the last reconcile run found."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where runs work: the function's variables, without RUN_. Queues are ARNs."""

    function: str
    mapping: str
    source: str
    destination: str
    queue: str
    dead_letters: str
    machine: str
    backlog: str


class Step:
    """One invocation: its event, its files, and clients that close with it."""

    def __init__(self, event: Mapping[str, Any], context: Context, stack: AsyncExitStack) -> None:
        self.event = event
        self.run: str = event["run"]
        self.place = Place(*(os.environ[name] for name in VARIABLES))
        self.lister = S3Lister(StoreConfig.from_env(os.environ, transport="aioboto3", connections=64))
        self._context = context
        self._stack = stack
        stack.push_async_callback(self.lister.aclose)

    def seconds_left(self) -> float:
        return self._context.get_remaining_time_in_millis() / 1000

    async def client(self, service: str) -> Any:
        session: Any = aioboto3.Session(region_name=os.environ.get("AWS_REGION"))
        made = session.client(service)
        return await self._stack.enter_async_context(made)

    async def queue(self, arn: str) -> Queue:
        return await self._stack.enter_async_context(open_queue(queue_url(arn), os.environ))

    def job(self) -> Job:
        """Raises SettingsError."""
        return parse_job(self.place.source, self.event["job"])

    async def settings(self) -> Settings:
        """The pipeline function's settings, read once a run. Raises SettingsError."""
        if self.run not in _SETTINGS:
            function = await (await self.client("lambda")).get_function_configuration(FunctionName=self.place.function)
            variables = function.get("Environment", {}).get("Variables", {})
            _SETTINGS.clear()
            _SETTINGS[self.run] = parse_settings({k: v for k, v in variables.items() if k.startswith(PREFIX)})
        return _SETTINGS[self.run]

    async def comparison(self, keys: Sequence[str] | None = None) -> Run:
        return Run(self.lister, await self.settings(), self.job(), keys)

    # --- files of the run -----------------------------------------------------------------------------------------

    def key(self, name: str) -> str:
        return f"_runs/{name}.json" if name == LAST else f"_runs/{self.run}/{name}.json"

    async def read(self, name: str, default: Any = None) -> Any:
        """A file of the run, or `default`. Raises ObjectMissing if there is neither."""
        try:
            async with self.lister.open(self.place.destination, self.key(name)) as body:
                return json.loads(b"".join([chunk async for chunk in body.chunks()]))
        except ObjectMissing:
            if default is None:
                raise
            return default

    async def write(self, name: str, value: Any) -> None:
        data, headers = json.dumps(value).encode(), PutHeaders("application/json")
        await self.lister.put(self.place.destination, self.key(name), data, headers)


_SETTINGS: Final[dict[str, Settings]] = {}
"""Of the last run that this process worked for."""


def forget() -> None:
    """Makes the next step read the settings again, for tests."""
    _SETTINGS.clear()


def queue_url(arn: str) -> str:
    _, partition, _, region, account, name = arn.split(":")
    return f"https://sqs.{region}.amazonaws.com{'.cn' if partition == 'aws-cn' else ''}/{account}/{name}"
