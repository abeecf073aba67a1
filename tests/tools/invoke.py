"""The function under AWS's runtime interface emulator: answers a real S3 event and a real SQS event."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench.rig.emulator import Answer, Function
from handler.demo.cloud import PHOTOS, REGION, Cloud, furnish, moto_cloud
from handler.demo.run import SAMPLES
from tests.support.emulator import Emulator, running
from tests.support.mapping import sqs_event

MOST_POLLS: Final = 50


def run(memory_mb: int, timeout: int) -> int:
    """Prints the answers; returns exit code 0 if every record was stored. Raises NotInstalled."""
    with moto_cloud() as cloud, tempfile.TemporaryDirectory() as folder:
        env = {
            "AWS_ENDPOINT_URL": cloud.endpoint_url,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "demo",
            "AWS_SECRET_ACCESS_KEY": "demo",
            "NO_PROXY": "127.0.0.1",
            "THUMBNAILER_LOG_LEVEL": "DEBUG",  # a line a record
        }
        with running(Function(memory_mb, timeout, env), Path(folder) / "log") as function:
            return asyncio.run(_invoke(cloud, function))


async def _invoke(cloud: Cloud, function: Emulator) -> int:
    url, arn = await furnish(cloud)
    messages = await _upload(cloud, url)
    first, rest = messages[0], messages[1:]
    events = {
        "S3, cold": json.loads(first["Body"]),
        "S3, warm": json.loads(first["Body"]),
        f"SQS, {len(rest)} messages": sqs_event(rest, arn),
        "no event at all": {"hello": "world"},
    }
    answers = {name: await asyncio.to_thread(function.invoke, event) for name, event in events.items()}
    _print(answers, function)
    lines = [line for line in function.lines() if line.get("message") == "record"]
    return 0 if len(lines) == len(messages) + 1 and all(line["outcome"] == "stored" for line in lines) else 1


async def _upload(cloud: Cloud, url: str) -> list[Mapping[str, Any]]:
    """Uploads the samples; returns the queue's messages about them."""
    samples = sorted(path for path in SAMPLES.iterdir() if path.suffix != ".md")
    messages: list[Mapping[str, Any]] = []
    async with cloud.client("s3") as s3, cloud.client("sqs") as sqs:
        for path in samples:
            await s3.put_object(Bucket=PHOTOS, Key=path.name, Body=path.read_bytes())
        for _ in range(MOST_POLLS):
            answer = await sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, AttributeNames=["All"])
            messages += [message for message in answer.get("Messages", []) if "s3:TestEvent" not in message["Body"]]
            if len(messages) >= len(samples):
                break
    return messages


def _print(answers: Mapping[str, Answer], function: Emulator) -> None:
    table = Table("event", "ms", "answer", show_edge=False)
    for name, answer in answers.items():
        error = f"{answer.error}: {str(answer.value.get('errorMessage', ''))[:100]}" if answer.error else ""
        table.add_row(name, f"{answer.seconds * 1000:.0f}", error or json.dumps(answer.value))
    Console().print(table)
    Console().print(f"runtime started {function.starts} time(s); ms include the cold start where there was one")
