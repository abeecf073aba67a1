"""The steps of a run on AWS: the function that the state machine of deploy/backfill.yaml invokes.

The machine carries numbers; each step keeps its files under `_runs/{run}/` in the destination. Renditions and keys come
from the pipeline function's own variables, so a run makes what an upload gets.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from time import time
from typing import Any, Final

import aioboto3

from handler.aws_lambda import Context
from handler.worker.sqs import BATCH, Queue, QueueError, open_queue
from thumbnailer import VERSION
from thumbnailer.app import new_event_loop
from thumbnailer.backfill import job as jobs
from thumbnailer.backfill.estimate import Consumer, Estimate, Survey, age_warning, estimate
from thumbnailer.backfill.job import EVERYTHING, Job, Shard, cut_shards, parse_job, refuse_bucket
from thumbnailer.backfill.prices import load_prices
from thumbnailer.backfill.records import message_of
from thumbnailer.backfill.run import Run
from thumbnailer.backfill.verdicts import Finding, Verdict
from thumbnailer.errors import ObjectMissing, SettingsError, ThumbnailerError
from thumbnailer.reporting.metrics import DIMENSION, NAMESPACE
from thumbnailer.settings import PREFIX, Settings, parse_settings
from thumbnailer.store.base import PutHeaders, StoreConfig
from thumbnailer.store.lister import S3Lister
from thumbnailer.store.listing import Listed
from thumbnailer.values import dataclass

VARIABLES: Final = (
    "RUN_FUNCTION", "RUN_MAPPING", "RUN_SOURCE", "RUN_DESTINATION", "RUN_QUEUE", "RUN_DEAD_LETTERS", "RUN_MACHINE",
    "RUN_BACKLOG",
)  # fmt: skip
STILL_MISSING: Final = "thumbnailer_run_still_missing"
REDRIVEN: Final = "redriven"
"""Tag of the dead-letter queue: the version that its messages were last moved for."""
PLAN_RESERVE_SECONDS: Final = 300
"""What is left of the time limit when a planning turn ends."""
REST_SECONDS: Final = 10
"""Between two looks at a full queue."""
LONGEST_REST_SECONDS: Final = 3600
MOVED_A_SECOND: Final = 50
AT_ONCE: Final = 8
USD_A_TRANSITION: Final = 0.000025
"""Step Functions, Standard, us-east-1 (AWS's price list, 2026-11)."""


class QueueStuck(ThumbnailerError):
    """The queue was full for LONGEST_REST_SECONDS."""


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
        made = aioboto3.Session().client(service, region_name=os.environ.get("AWS_REGION"))
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

    async def read(self, name: str, default: Any = None) -> Any:
        """A file of the run, or `default`. Raises ObjectMissing if there is neither."""
        try:
            async with self.lister.open(self.place.destination, f"_runs/{self.run}/{name}.json") as body:
                return json.loads(b"".join([chunk async for chunk in body.chunks()]))
        except ObjectMissing:
            if default is None:
                raise
            return default

    async def write(self, name: str, value: Any) -> None:
        key = f"_runs/{self.run}/{name}.json"
        await self.lister.put(self.place.destination, key, json.dumps(value).encode(), PutHeaders("application/json"))


_SETTINGS: Final[dict[str, Settings]] = {}
"""Of the last run that this process worked for."""


def queue_url(arn: str) -> str:
    _, partition, _, region, account, name = arn.split(":")
    return f"https://sqs.{region}.amazonaws.com{'.cn' if partition == 'aws-cn' else ''}/{account}/{name}"


def handler(event: Mapping[str, Any], context: Context) -> Any:
    """One step. Raises what the step raises; the machine tries it again."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(_work(event, context))


async def _work(event: Mapping[str, Any], context: Context) -> Any:
    async with AsyncExitStack() as stack:
        return await STEPS[event["step"]](Step(event, context, stack))


# --- before anything is sent ----------------------------------------------------------------------------------------


async def check(step: Step) -> dict[str, Any]:
    """Whether the run may start, and if not, what to do."""
    try:
        step.job()
        settings = await step.settings()
        refuse_bucket(step.place.source, settings)
        _refuse_destination(step.place, settings)
        await _refuse_idle_queue(step)
        await _refuse_second_run(step)
    except SettingsError as error:
        return {"fit": False, "why": str(error)}
    return {"fit": True, "why": ""}


def _refuse_destination(place: Place, settings: Settings) -> None:
    wanted = settings.destination_bucket(place.source)
    if wanted != place.destination:
        raise SettingsError(
            f"the function writes to {wanted}, and this stack has DestinationBucket={place.destination}: deploy it again "
            "with the Lambda stack's outputs"
        )


async def _refuse_idle_queue(step: Step) -> None:
    if not step.place.mapping:
        return
    mapping = await (await step.client("lambda")).get_event_source_mapping(UUID=step.place.mapping)
    if mapping["State"] not in {"Enabled", "Enabling", "Updating", "Creating"}:
        raise SettingsError(
            f"nothing empties the queue: its mapping to the function is {mapping['State']}. Deploy the Lambda stack with "
            "Consumer=lambda, or this one with MappingId= if a worker empties the queue"
        )


async def _refuse_second_run(step: Step) -> None:
    """Of runs at the same time the first one goes on. The list is eventually consistent, so it may lack this run."""
    states = await step.client("stepfunctions")
    told = await states.list_executions(stateMachineArn=step.place.machine, statusFilter="RUNNING")
    started = {one["name"]: (one["startDate"], one["name"]) for one in told["executions"]}
    own = started.pop(step.run, (datetime.max.replace(tzinfo=UTC), ""))
    if earlier := [name for name, begin in started.items() if begin < own]:
        raise SettingsError(f"the run {earlier[0]} goes on: wait for its end, or stop it")


async def plan(step: Step) -> dict[str, Any]:
    """One turn of listing the sources and cutting them into shards. A run that `check` refuses has none."""
    done = {"done": True, "bucket": step.place.destination, "key": f"_runs/{step.run}/shards.json", "cursor": ""}
    try:
        job = step.job()
        refuse_bucket(job.bucket, await step.settings())
    except SettingsError:
        return {"shards": 0, **done}
    before = step.event["plan"]
    shards = [Shard(*one["range"]) for one in (await step.read("shards"))[: before["shards"]]] if before["shards"] else []
    shards, cursor = await _cut(step, job, shards, before["cursor"])
    if shards:
        await step.write("shards", [{"n": number, "range": shard} for number, shard in enumerate(shards)])
    return {**done, "shards": len(shards), "done": cursor is None, "cursor": cursor or ""}


async def _cut(step: Step, job: Job, shards: list[Shard], cursor: str) -> tuple[list[Shard], str | None]:
    """The shards of this turn, and where the next one begins; None if this was the last."""
    keys: list[str] = []
    async for page in step.lister.pages(job.bucket, job.prefix, cursor):
        keys += [listed.key for listed in page]
        whole = len(keys) - len(keys) % jobs.SHARD_KEYS
        if whole:
            shards += cut_shards(keys[:whole], cursor)
            keys, cursor = keys[whole:], keys[whole - 1]
            if step.seconds_left() < PLAN_RESERVE_SECONDS:
                return shards, cursor
    if keys or (job.reconciles and not shards):
        shards.append(Shard(cursor, None))
    elif shards:  # what lies behind the last source are orphans
        shards[-1] = Shard(shards[-1].after, None)
    return shards, None


async def survey(step: Step) -> dict[str, Any]:
    """Compares one shard. Keeps its counts, and what it would send in the order of sending."""
    shard, found = step.event["shard"], Survey()
    work: list[Finding] = []
    async for page in (await step.comparison()).findings(Shard(*shard["range"])):
        found.add(page)
        work += [finding for finding in page if finding.verdict.is_work]
    if step.job().reconciles:
        work.sort(key=lambda finding: finding.listed.modified)
    await step.write(f"work/{shard['n']}", work)
    await step.write(f"survey/{shard['n']}", found.as_json())
    return {"n": len(work)}


async def read_work(step: Step, number: int) -> list[Finding]:
    """What the survey of a shard found to send."""
    return [
        Finding(Verdict(verdict), Listed(*listed), key) for verdict, listed, key in await step.read(f"work/{number}")
    ]


async def price(step: Step) -> dict[str, Any]:
    """Sums the surveys: what to send of each shard, within `most`, and its price."""
    job, shards = step.job(), step.event["plan"]["shards"]
    surveys = [Survey(**told) async for told in _read_all(step, [f"survey/{number}" for number in range(shards)])]
    total = sum(surveys, Survey())
    items, chosen = await _choose(step, surveys, job.most or total.todo)
    cost = estimate(chosen, await step.settings(), job, load_prices(), Consumer())
    dead = await _redrivable(step, job, chosen)
    transitions = 20 + 4 * shards + 5 * len(items) + 4 * chosen.todo / int(step.place.backlog)
    usd = round((cost.usd + transitions * USD_A_TRANSITION) * (1 + dead / max(1, chosen.todo)), 4)
    told = {"todo": chosen.todo + dead, "usd": usd, "seconds": round(cost.seconds), "dead_letters": dead}
    told["text"] = _describe(total, chosen, told, cost)
    await step.write("feed", items)
    await step.write("estimate", {**told, "counts": total.counts})
    await _report_missing(step, job, total)
    return {**told, "bucket": step.place.destination, "key": f"_runs/{step.run}/feed.json"}


async def _read_all(step: Step, names: Sequence[str]) -> AsyncIterator[Any]:
    for start in range(0, len(names), 64):
        for told in await asyncio.gather(*map(step.read, names[start : start + 64])):
            yield told


async def _choose(step: Step, surveys: Sequence[Survey], most: int) -> tuple[list[dict[str, int]], Survey]:
    """The number of records to send of each shard that has some, and their survey."""
    items, chosen = [], Survey()
    for number, found in enumerate(surveys):
        take = min(found.todo, most - chosen.todo)
        if take:
            items.append({"n": number, "most": take})
        if take < found.todo:  # its price needs the records themselves
            found = Survey(counts=found.counts - Counter(dict.fromkeys(WORK, found.todo)))
            found.add((await read_work(step, number))[:take])
        chosen += found
    return items, chosen
