"""The loops that the guides say to type, run by bash with jq, and with a stand-in for the AWS command line."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from tests.deploy.fargate import FARGATE
from tests.deploy.test_guide import GUIDE
from thumbnailer.events import parse_event
from thumbnailer.model import EventKind

WORKER_GUIDE: Final = FARGATE.with_suffix(".md").read_text()
needs_jq = pytest.mark.skipif(shutil.which("jq") is None, reason="no jq: .ci/apt jq")

AWS: Final = '''#!{python}
"""`aws` as far as the guides use it. What it is told of is in state.json, what it was asked to do in told.jsonl."""
import json
import pathlib
import sys

here = pathlib.Path(__file__).parent
state = json.loads((here / "state.json").read_text())
words = sys.argv[1:]
option = lambda name: words[words.index(name) + 1]


def tell(**what):
    with (here / "told.jsonl").open("a") as told:
        told.write(json.dumps(what) + chr(10))


match words[:2]:
    case ["cloudformation", "describe-stacks"]:
        print(option("--query").split("'")[1])
    case ["sqs", "receive-message"]:
        assert (option("--output"), option("--query")) == ("json", "Messages[0]")
        tell(waited=option("--wait-time-seconds"))
        print(json.dumps(state["messages"][0] if state["messages"] else None))
    case ["sqs", "delete-message"]:
        tell(deleted=option("--receipt-handle"))
        state["messages"] = [one for one in state["messages"] if one["ReceiptHandle"] != option("--receipt-handle")]
        (here / "state.json").write_text(json.dumps(state))
    case ["lambda", "invoke"]:
        sys.stdin.read()  # as a command may that is run in a loop
        tell(invoked=json.loads(pathlib.Path(option("--payload").removeprefix("fileb://")).read_text()))
        sys.exit(255 if state["refuses"] else 0)
    case ["s3api", "list-objects-v2"]:
        print(json.dumps(state["keys"]))
    case ["ecs", "list-tasks"]:
        print(chr(9).join(state["tasks"]))
    case ["ecs", "update-task-protection"]:
        tell(unprotected=words[words.index("--tasks") + 1 :])
    case _:
        sys.exit(f"not known here: {{words}}")
'''


def typed(guide: str, containing: str) -> str:
    """The only block of commands in a guide that has this in it."""
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", guide, re.DOTALL | re.MULTILINE)
    (found,) = [block for block in blocks if containing in block]
    return str(found)


def run(folder: Path, commands: str, **state: Any) -> list[dict[str, Any]]:
    """What the commands asked AWS to do, one after the other."""
    everything = {"messages": [], "refuses": False, "keys": None, "tasks": []} | state
    (folder / "state.json").write_text(json.dumps(everything))
    (folder / "aws").write_text(AWS.format(python=sys.executable))
    (folder / "aws").chmod(0o755)
    (folder / "told.jsonl").touch()
    output = "output() { aws cloudformation describe-stacks --query \"Outputs[?OutputKey=='${2:-$1}']\"; }\n"
    script = "set -u; bucket=photos stack=thumbnailer worker=worker\n" + output + commands
    env = {"PATH": f"{folder}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-c", script], cwd=folder, env=env, timeout=60, check=False, stdin=subprocess.DEVNULL)
    return [json.loads(line) for line in (folder / "told.jsonl").read_text().splitlines()]


def told(asked: Sequence[dict[str, Any]], what: str) -> list[Any]:
    return [one[what] for one in asked if what in one]


def dead_letter(number: int) -> dict[str, str]:
    """A message of the dead-letter queue with `Trigger=direct`: Lambda's record of a failure."""
    record = {"requestContext": {"condition": "RetriesExhausted"}, "requestPayload": {"Records": [{"number": number}]}}
    return {"Body": json.dumps(record), "ReceiptHandle": f"handle {number}"}


@needs_jq
def test_redriving_invokes_the_function_with_each_event_and_deletes_it(tmp_path: Path) -> None:
    asked = run(tmp_path, typed(GUIDE, "receive-message"), messages=[dead_letter(number) for number in range(3)])
    assert told(asked, "invoked") == [{"Records": [{"number": number}]} for number in range(3)]
    assert told(asked, "deleted") == [f"handle {number}" for number in range(3)]


@needs_jq
def test_redriving_asks_all_servers_of_the_queue(tmp_path: Path) -> None:
    """Short polling asks some of them, and finds nothing where there is something."""
    assert told(run(tmp_path, typed(GUIDE, "receive-message")), "waited") == ["10"]


@needs_jq
def test_redriving_ends_where_the_function_cannot_be_invoked_and_deletes_nothing(tmp_path: Path) -> None:
    asked = run(tmp_path, typed(GUIDE, "receive-message"), messages=[dead_letter(1), dead_letter(2)], refuses=True)
    assert len(told(asked, "invoked")) == 1
    assert told(asked, "deleted") == []


KEYS: Final = ["a/b c.jpg", "Größe+1.png", 'say "hi" \\ 100%.jpg', "two\nlines.gif"]


@needs_jq
def test_what_came_while_the_trigger_was_changed_is_given_to_the_function_as_s3_would(tmp_path: Path) -> None:
    asked = run(tmp_path, typed(GUIDE, "list-objects-v2"), keys=KEYS)
    events = [event for payload in told(asked, "invoked") for event in parse_event(payload)]
    assert [(event.kind, event.bucket, event.key) for event in events] == [
        (EventKind.CREATED, "photos", key) for key in KEYS
    ]


@needs_jq
def test_where_nothing_came_nothing_is_invoked(tmp_path: Path) -> None:
    assert run(tmp_path, typed(GUIDE, "list-objects-v2"), keys=None) == []


@pytest.mark.parametrize("tasks", [1, 10, 23])
def test_the_protection_of_all_tasks_is_ended_ten_a_request(tmp_path: Path, tasks: int) -> None:
    running = [f"arn:task/{number}" for number in range(tasks)]
    requests = told(run(tmp_path, typed(WORKER_GUIDE, "update-task-protection"), tasks=running), "unprotected")
    assert [task for request in requests for task in request] == running
    assert max(len(request) for request in requests) <= 10
