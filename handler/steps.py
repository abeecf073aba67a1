"""The steps of a run on AWS: the function that the state machine of deploy/backfill.yaml invokes.

The machine carries numbers; each step keeps its files under `_runs/{run}/` in the destination. Renditions and keys come
from the pipeline function's own variables, so a run makes what an upload gets.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from time import time
from typing import Any, Final

from handler.aws_lambda import Context
from handler.invocation import LAST, Place, Step, queue_url
from handler.worker.sqs import BATCH, Queue
from thumbnailer.app import new_event_loop
from thumbnailer.backfill import job as jobs
from thumbnailer.backfill.estimate import Consumer, Estimate, Survey, age_warning, estimate
from thumbnailer.backfill.job import Job, Shard, cut_shards, refuse_bucket
from thumbnailer.backfill.prices import load_prices
from thumbnailer.backfill.records import message_of
from thumbnailer.backfill.verdicts import MEANINGS, Finding, Verdict
from thumbnailer.errors import SettingsError, ThumbnailerError
from thumbnailer.reporting.metrics import DIMENSION, NAMESPACE
from thumbnailer.reporting.notes import VERSION
from thumbnailer.settings import Settings
from thumbnailer.store.listing import Listed

STILL_MISSING: Final = "thumbnailer_run_still_missing"
REDRIVEN: Final = "redriven"
"""Tag of the dead-letter queue: the version that its messages were last moved for."""
PLAN_RESERVE_SECONDS: Final = 300
"""What is left of the time limit when a planning turn ends."""
REST_SECONDS: Final = 10
"""Between two looks at a full queue."""
LONGEST_REST_SECONDS: Final = 3600
MOVED_A_SECOND: Final = 50
BATCHES_AT_ONCE: Final = 8
READ_AT_ONCE: Final = 64
USD_A_TRANSITION: Final = 0.000025
"""Step Functions, Standard, us-east-1 (AWS's price list, 2026-11)."""


class QueueStuck(ThumbnailerError):
    """The queue was full for LONGEST_REST_SECONDS."""


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
            f"the function writes to {wanted}, and this stack has DestinationBucket={place.destination}: "
            "deploy it again with the Lambda stack's outputs"
        )


async def _refuse_idle_queue(step: Step) -> None:
    if not step.place.mapping:
        return
    mapping = await (await step.client("lambda")).get_event_source_mapping(UUID=step.place.mapping)
    if mapping["State"] not in {"Enabled", "Enabling", "Updating", "Creating"}:
        raise SettingsError(
            f"nothing empties the queue: its mapping to the function is {mapping['State']}. Deploy the Lambda stack "
            "with Consumer=lambda, or this one with MappingId= if a worker empties the queue"
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
    done = {"done": True, "bucket": step.place.destination, "key": step.key("shards"), "cursor": ""}
    try:
        job = step.job()
        refuse_bucket(job.bucket, await step.settings())
    except SettingsError:
        return {"shards": 0, **done}
    before = step.event["plan"]
    planned = (await step.read("shards", []))[: before["shards"]]
    shards, cursor = await _cut(step, job, [Shard(*one["range"]) for one in planned], before["cursor"])
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


async def _read_work(step: Step, number: int) -> list[Finding]:
    """What the survey of a shard found to send."""
    return [
        Finding(Verdict(verdict), Listed(*listed), key) for verdict, listed, key in await step.read(f"work/{number}")
    ]


async def total(step: Step) -> dict[str, Any]:
    """Sums the surveys: what to send of each shard, within `most`, and its price."""
    job, shards = step.job(), step.event["plan"]["shards"]
    surveys = [Survey(**found) async for found in _read_all(step, [f"survey/{number}" for number in range(shards)])]
    found = sum(surveys, Survey())
    items = _share(surveys, job.most or found.todo)
    dead = await _dead_letters(step, job)
    chosen = found.within(job.most) + Survey(work={"STANDARD": dead})
    cost = estimate(chosen, await step.settings(), job, load_prices(), Consumer())
    transitions = 20 + 4 * shards + 5 * len(items) + 4 * cost.todo / int(step.place.backlog)
    told = {"todo": cost.todo, "usd": round(cost.usd + transitions * USD_A_TRANSITION, 4), "dead_letters": dead}
    told["text"] = _describe(found, cost, told)
    await step.write("feed", items)
    lines = [[line.name, line.number, line.usd] for line in cost.lines]
    await step.write("estimate", {**told, "counts": found.counts, "lines": lines})
    counts = {f"thumbnailer_run_{verdict}": found.counts[verdict] for verdict in Verdict}
    _emit(counts | await _missing(step, job, found))
    return {**told, "bucket": step.place.destination, "key": step.key("feed")}


async def _read_all(step: Step, names: Sequence[str], default: Any = None) -> AsyncIterator[Any]:
    for start in range(0, len(names), READ_AT_ONCE):
        some = names[start : start + READ_AT_ONCE]
        for told in await asyncio.gather(*(step.read(name, default) for name in some)):
            yield told


def _share(surveys: Sequence[Survey], most: int) -> list[dict[str, int]]:
    """The number of records to send of each shard that has some, `most` in all."""
    items = []
    for number, found in enumerate(surveys):
        if take := min(found.todo, most):
            items.append({"n": number, "most": take})
            most -= take
    return items


def _describe(found: Survey, cost: Estimate, told: Mapping[str, Any]) -> str:
    counts = "; ".join(f"{number:,} {MEANINGS[verdict]}" for verdict in Verdict if (number := found.counts[verdict]))
    dead = f", {told['dead_letters']:,} of them dead letters" if told["dead_letters"] else ""
    text = (
        f"{cost.todo:,} records to send{dead}, for about {told['usd']:.2f} USD (list prices of {cost.region}) in "
        f"{cost.seconds / 3600:.1f} hours. Objects: {counts}."
    )
    return f"{text} {age_warning(cost, datetime.now(UTC).date())}".strip()


async def _missing(step: Step, job: Job, found: Survey) -> dict[str, int]:
    """The metric of the alarm: what this reconcile run and the one before it found missing or stale."""
    if not job.reconciles:
        return {}
    now = found.counts[Verdict.MISSING] + found.counts[Verdict.STALE]
    last = await step.read(LAST, {"run": "", "missing": 0, "before": 0})
    before = last["before"] if last["run"] == step.run else last["missing"]
    await step.write(LAST, {"run": step.run, "missing": now, "before": before})
    return {STILL_MISSING: min(now, before)}


def _emit(values: Mapping[str, int]) -> None:
    """Prints metrics in CloudWatch's embedded format."""
    metrics = [{"Name": name, "Unit": "Count"} for name in values]
    directive = {"Namespace": NAMESPACE, "Dimensions": [[DIMENSION]], "Metrics": metrics}
    head = {"Timestamp": round(time() * 1000), "CloudWatchMetrics": [directive]}
    function = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "local")
    print(json.dumps({"_aws": head, DIMENSION: function, **values}))


# --- sending --------------------------------------------------------------------------------------------------------


async def feed(step: Step) -> dict[str, Any]:
    """Sends records of a shard while few messages wait, and says how long to rest. Raises QueueStuck."""
    shard, fed = step.event["shard"], step.event["fed"]
    queue, backlog = await step.queue(step.place.queue), int(step.place.backlog)
    work = (await _read_work(step, shard["n"]))[: shard["most"]]
    visible = (await queue.state()).visible
    now = work[fed["sent"] :][: max(0, backlog - visible)]
    await _send(queue, [message_of(one, step.place.source) for one in await _confirm(step, now)], step.run)
    sent, waited = fed["sent"] + len(now), 0 if now else fed["waited"] + REST_SECONDS
    if waited >= LONGEST_REST_SECONDS:
        raise QueueStuck(f"the queue has been full for {waited} s: start its consumer, then start another run")
    done = sent == len(work)
    if done:
        await step.write(f"fed/{shard['n']}", sent)
    return {"sent": sent, "waited": waited, "done": done, "rest": 0 if done or visible < backlog / 10 else REST_SECONDS}


async def _confirm(step: Step, found: Sequence[Finding]) -> list[Finding]:
    """The findings whose record is needed: HEADs tell it of sources that listings cannot compare."""
    known = [finding for finding in found if finding.verdict is not Verdict.UNKNOWN]
    if unknown := [finding.key for finding in found if finding.verdict is Verdict.UNKNOWN]:
        async for page in (await step.comparison(unknown)).work():
            known += page
    return known


async def _send(queue: Queue, bodies: Sequence[str], run: str) -> None:
    """Each message has the run's group, so that SQS delivers uploads first (fair queues). Raises QueueError."""
    limit = asyncio.Semaphore(BATCHES_AT_ONCE)

    async def send(batch: Sequence[str]) -> None:
        async with limit:
            await queue.send_batch(batch, f"backfill-{run}")

    batches = [bodies[start : start + BATCH] for start in range(0, len(bodies), BATCH)]
    await asyncio.gather(*map(send, batches))


async def report(step: Step) -> dict[str, Any]:
    """How much was sent. Moves dead letters back if the run may mend."""
    items, told = await step.read("feed"), await step.read("estimate")
    fed = [one async for one in _read_all(step, [f"fed/{item['n']}" for item in items], 0)]
    wanted, sent = sum(item["most"] for item in items), sum(fed)
    complete = sent == wanted
    moved = await _redrive(step, told["dead_letters"]) if complete else 0
    text = f"{sent:,} of {wanted:,} records were sent, and {moved:,} dead letters moved back to the queue."
    if not complete:
        text += " Remove the cause, which the failed map run names, and start another run: it sends the rest."
    answer = {"complete": complete, "sent": sent, "text": text}
    await step.write("report", answer)
    _emit({"thumbnailer_run_sent": sent})
    return answer


# --- dead letters ---------------------------------------------------------------------------------------------------


async def _dead_letters(step: Step, job: Job) -> int:
    """The dead letters that this run moves back: all or none, once for each version, and at most `most`."""
    if not job.reconciles:
        return 0
    sqs, url = await step.client("sqs"), queue_url(step.place.dead_letters)
    tags = (await sqs.list_queue_tags(QueueUrl=url)).get("Tags", {})
    number = (await (await step.queue(step.place.dead_letters)).state()).visible
    return 0 if tags.get(REDRIVEN) == VERSION or number > (job.most or number) else number


async def _redrive(step: Step, number: int) -> int:
    if number:
        sqs, url = await step.client("sqs"), queue_url(step.place.dead_letters)
        await sqs.start_message_move_task(
            SourceArn=step.place.dead_letters, MaxNumberOfMessagesPerSecond=MOVED_A_SECOND
        )
        await sqs.tag_queue(QueueUrl=url, Tags={REDRIVEN: VERSION})
    return number


STEPS: Final[Mapping[str, Callable[[Step], Awaitable[dict[str, Any]]]]] = {
    "check": check,
    "plan": plan,
    "survey": survey,
    "estimate": total,
    "feed": feed,
    "report": report,
}
