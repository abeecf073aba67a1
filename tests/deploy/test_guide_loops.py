"""The loops in the guides, run by bash with jq and a stand-in for the AWS command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from tests.deploy.guides import GUIDE, RUNS_GUIDE, WORKER_GUIDE, blocks
from thumbnailer.events import parse_event
from thumbnailer.model import EventKind

needs_jq = pytest.mark.skipif(shutil.which("jq") is None, reason="no jq: .ci/apt jq")

AWS: Final = '''#!{python}
"""`aws` as far as the guides use it. state.json holds its answers; it appends requests to asked.jsonl."""
import json
import pathlib
import sys

here = pathlib.Path(__file__).parent
state = json.loads((here / "state.json").read_text())
words = sys.argv[1:]
option = lambda name: words[words.index(name) + 1]


def note(**what):
    with (here / "asked.jsonl").open("a") as asked:
        asked.write(json.dumps(what) + chr(10))


match words[:2]:
    case ["cloudformation", "describe-stacks"] if option("--query") == "Stacks[0].Parameters":
        print(json.dumps(state["parameters"]))
    case ["cloudformation", "deploy"]:
        given = words[words.index("--parameter-overrides") + 1 :]
        path = given[0].removeprefix("file://")
        note(deployed=given if path == given[0] else json.loads(pathlib.Path(path).read_text()))
    case ["cloudformation", "describe-stacks"]:
        print(option("--query").split("'")[1])
    case ["sqs", "receive-message"]:
        assert (option("--output"), option("--query")) == ("json", "Messages[0]")
        note(waited=option("--wait-time-seconds"))
        print(json.dumps(state["messages"][0] if state["messages"] else None))
    case ["sqs", "delete-message"]:
        note(deleted=option("--receipt-handle"))
        state["messages"] = [one for one in state["messages"] if one["ReceiptHandle"] != option("--receipt-handle")]
        (here / "state.json").write_text(json.dumps(state))
    case ["lambda", "invoke"]:
        sys.stdin.read()  # a command in a loop may read the loop's input
        note(invoked=json.loads(pathlib.Path(option("--payload").removeprefix("fileb://")).read_text()))
        sys.exit(255 if state["refuses"] else 0)
    case ["s3api", "list-objects-v2"]:
        print(json.dumps(state["keys"]))
    case ["ecs", "list-tasks"]:
        print(chr(9).join(state["tasks"]))
    case ["ecs", "update-task-protection"]:
        note(unprotected=words[words.index("--tasks") + 1 :])
    case _:
        sys.exit(f"not known here: {{words}}")
'''


def commands_with(guide: str, containing: str) -> str:
    """The only block of commands in a guide that contains a word."""
    (found,) = [block for block in blocks(guide) if containing in block]
    return found


def run(folder: Path, commands: str, **state: Any) -> list[dict[str, Any]]:
    """The requests that the commands sent to AWS, in order."""
    everything = {"messages": [], "refuses": False, "keys": None, "tasks": []} | state
    (folder / "state.json").write_text(json.dumps(everything))
    (folder / "aws").write_text(AWS.format(python=sys.executable))
    (folder / "aws").chmod(0o755)
    (folder / "asked.jsonl").touch()
    output = "output() { aws cloudformation describe-stacks --query \"Outputs[?OutputKey=='${2:-$1}']\"; }\n"
    script = "set -u; bucket=photos stack=thumbnailer worker=worker\n" + output + commands
    env = {"PATH": f"{folder}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-c", script], cwd=folder, env=env, timeout=60, check=False, stdin=subprocess.DEVNULL)
    return [json.loads(line) for line in (folder / "asked.jsonl").read_text().splitlines()]


def values(asked: Sequence[dict[str, Any]], name: str) -> list[Any]:
    return [one[name] for one in asked if name in one]


def dead_letter(number: int) -> dict[str, str]:
    """A message of the dead-letter queue with `Trigger=direct`: Lambda's record of a failure."""
    record = {"requestContext": {"condition": "RetriesExhausted"}, "requestPayload": {"Records": [{"number": number}]}}
    return {"Body": json.dumps(record), "ReceiptHandle": f"handle {number}"}


@needs_jq
def test_redriving_invokes_the_function_with_each_event_and_deletes_it(tmp_path: Path) -> None:
    asked = run(
        tmp_path, commands_with(GUIDE, "receive-message"), messages=[dead_letter(number) for number in range(3)]
    )
    assert values(asked, "invoked") == [{"Records": [{"number": number}]} for number in range(3)]
    assert values(asked, "deleted") == [f"handle {number}" for number in range(3)]


@needs_jq
def test_redriving_uses_long_polling(tmp_path: Path) -> None:
    """Short polling asks only some servers of the queue and can miss messages."""
    assert values(run(tmp_path, commands_with(GUIDE, "receive-message")), "waited") == ["10"]


@needs_jq
def test_redriving_stops_and_deletes_nothing_if_the_function_cannot_be_invoked(tmp_path: Path) -> None:
    asked = run(
        tmp_path, commands_with(GUIDE, "receive-message"), messages=[dead_letter(1), dead_letter(2)], refuses=True
    )
    assert len(values(asked, "invoked")) == 1
    assert values(asked, "deleted") == []


KEYS: Final = ["a/b c.jpg", "Größe+1.png", 'say "hi" \\ 100%.jpg', "two\nlines.gif"]


@needs_jq
def test_uploads_during_a_change_of_trigger_are_sent_to_the_function_as_s3_events(tmp_path: Path) -> None:
    asked = run(tmp_path, commands_with(GUIDE, "list-objects-v2"), keys=KEYS)
    events = [event for payload in values(asked, "invoked") for event in parse_event(payload)]
    assert [(event.kind, event.bucket, event.key) for event in events] == [
        (EventKind.CREATED, "photos", key) for key in KEYS
    ]


@needs_jq
def test_without_uploads_the_function_is_not_invoked(tmp_path: Path) -> None:
    assert run(tmp_path, commands_with(GUIDE, "list-objects-v2"), keys=None) == []


@pytest.mark.parametrize("tasks", [1, 10, 23])
def test_the_protection_of_all_tasks_is_ended_ten_per_request(tmp_path: Path, tasks: int) -> None:
    running = [f"arn:task/{number}" for number in range(tasks)]
    requests = values(
        run(tmp_path, commands_with(WORKER_GUIDE, "update-task-protection"), tasks=running), "unprotected"
    )
    assert [task for request in requests for task in request] == running
    assert max(len(request) for request in requests) <= 10


@needs_jq
def test_the_worker_s_deployment_hands_the_function_s_settings_on(tmp_path: Path) -> None:
    given = {"CacheControl": "public, max-age=60", "Renditions": "a=1x1, b=2x2", "Key": "", "Consumer": "lambda"}
    parameters = [{"ParameterKey": name, "ParameterValue": value} for name, value in given.items()]
    worker, _ = values(run(tmp_path, commands_with(WORKER_GUIDE, "worker.json"), parameters=parameters), "deployed")
    handed = dict(word.split("=", 1) for word in worker)
    assert {name: handed.get(name) for name in given} == given | {"Consumer": None}
    assert handed["QueueArn"] == "QueueArn"


@needs_jq
def test_the_deployment_of_runs_hands_code_and_buckets_on(tmp_path: Path) -> None:
    """MemorySize is the pipeline's own. The stand-in gives each output its name as its value."""
    pairs = {"SourceBucket": "photos", "ImageUri": "image", "MemorySize": "1769"}
    parameters = [{"ParameterKey": name, "ParameterValue": value} for name, value in pairs.items()]
    (runs,) = values(run(tmp_path, commands_with(RUNS_GUIDE, "runs.json"), parameters=parameters), "deployed")
    assert sorted(runs) == [
        "DeadLetterQueueArn=DeadLetterQueueArn",
        "DestinationBucket=DestinationBucketName",
        "FunctionName=FunctionName",
        "ImageUri=image",
        "MappingId=MappingId",
        "QueueArn=QueueArn",
        "SourceBucket=photos",
    ]
