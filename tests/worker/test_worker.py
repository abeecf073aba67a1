"""The worker as a process, against moto's SQS and S3."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.crashing import PYTHONPATH, alive, children, waits
from tests.support.servers import Answer, ScriptedServer
from tests.worker.running import HASTY, SOURCE, Cloud, Depth, WorkerProcess, event, moto, until, worker

VISIBILITY = 2


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with moto() as url:
        yield url


@pytest.fixture
def aws(server: str) -> Cloud:
    """Many receives: on a busy machine, killed workers' messages may return often before a child has started."""
    return Cloud(server, VISIBILITY, most_receives=50)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture
def env(aws: Cloud, scratch: Path) -> dict[str, str]:
    return aws.env | {"TMPDIR": str(scratch), "THUMBNAILER_LOG_LEVEL": "DEBUG"}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "worker.log"


def is_drained(aws: Cloud) -> bool:
    depth = aws.depth()
    return (depth.visible, depth.held) == (0, 0)


def has_thumbnails(aws: Cloud, number: int) -> bool:
    return len(aws.keys()) >= number


def lines(process: WorkerProcess) -> list[dict[str, Any]]:
    return [json.loads(line) for line in process.text.splitlines()]


def fill_queue(aws: Cloud, picture: bytes, number: int, prefix: str = "") -> list[str]:
    """Stores pictures and sends their events. Returns the keys."""
    keys = [f"{prefix}{place}.jpg" for place in range(number)]
    for key in keys:
        aws.put(key, picture)
    aws.send([event(key) for key in keys])
    return keys


def test_uploaded_pictures_become_thumbnails_and_metrics_count_them(
    aws: Cloud, env: dict[str, str], log: Path, samples: dict[str, bytes]
) -> None:
    aws.notify()
    with worker(env, log) as process:
        for name, data in samples.items():
            aws.put(name, data)
        aws.put("text.jpg", b"no picture")
        until(lambda: aws.keys() == {*samples, "_failed/text.jpg.json"})
        until(lambda: is_drained(aws))
        assert process.get("/healthz")[0] == process.get("/readyz")[0] == 200
        assert process.metric("thumbnailer_records_stored_total") == len(samples)
        assert process.metric("thumbnailer_records_rejected_total") == 1
        assert process.metric("thumbnailer_messages_deleted_total") == len(samples) + 1
        assert process.metric("thumbnailer_decode_seconds_count") == len(samples)
        assert process.metric("thumbnailer_in_flight") == 0
        assert process.metric("process_resident_memory_bytes") > 0
        assert process.terminate() == 0
        records = [line for line in lines(process) if line["message"] == "record"]
        assert len(records) == len(samples) + 1
        assert all(line["request_id"] for line in records)
        batches = [line for line in lines(process) if line["message"] == "batch"]
        assert sum(line["records"] for line in batches) == len(records)
        assert not any("request_id" in line for line in batches)
    assert not list(Path(env["TMPDIR"]).iterdir())


@pytest.mark.matrix(37)
def test_sigterm_under_load_loses_nothing(
    aws: Cloud, env: dict[str, str], log: Path, samples: dict[str, bytes]
) -> None:
    """moto may answer a receive after the worker's end. Those messages reappear after the visibility timeout."""
    keys = fill_queue(aws, samples["rocket.jpg"], 80)
    with worker(env, log) as process:
        until(lambda: len(aws.keys()) >= 10)
        assert process.terminate() == 0
    until(lambda: aws.depth().held == 0)
    depth = aws.depth()
    assert depth.dead == 0
    assert depth.visible + len(aws.keys()) == len(keys)
    assert not list(Path(env["TMPDIR"]).iterdir())
    assert lines(process)[-1]["message"] == "stopped"


@pytest.mark.matrix(37)
def test_sigterm_ends_waiting_children(aws: Cloud, env: dict[str, str], log: Path, samples: dict[str, bytes]) -> None:
    fill_queue(aws, samples["rocket.jpg"], 4)
    with worker(env | {"THUMBNAILER_ISOLATION": "always"}, log) as process:
        until(lambda: process.metric("thumbnailer_records_stored_total") == 4)
        started = children(process.pid)
        assert started
        assert process.terminate() == 0
    assert not any(map(alive, started))
    assert not list(Path(env["TMPDIR"]).iterdir())


@pytest.mark.matrix(37)
@pytest.mark.matrix(47)
def test_sigterm_gives_back_work_that_hangs_in_a_thread_or_in_a_child_process(
    server: str, scratch: Path, log: Path, samples: dict[str, bytes]
) -> None:
    """The worker holds all messages, so it sends no further receive, which moto would answer after the worker's end."""
    aws = Cloud(server, visibility=600)
    settings = {"THUMBNAILER_IN_FLIGHT": "10", "THUMBNAILER_STOP_TIMEOUT": "4"}
    env = aws.env | settings | {"TMPDIR": str(scratch), "PYTHONPATH": PYTHONPATH}
    given_back = Depth(visible=len(fill_queue(aws, samples["rocket.jpg"], 20, prefix="wait-")), held=0, dead=0)
    with worker(env, log) as process:
        until(lambda: waits(process.pid) and aws.depth().visible == 0)
        assert process.terminate() == 0
    assert aws.depth() == given_back
    with worker(env, log) as process:
        until(lambda: any(map(waits, children(process.pid))) and aws.depth().visible == 0)
        started = children(process.pid)
        assert process.terminate() == 0
    assert aws.depth() == given_back
    assert not any(map(alive, started))
    assert [line["message"] for line in lines(process)].count("stopped") == 2
    assert not list(scratch.iterdir())


@pytest.mark.matrix(36)
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("number", "kill_after"), [(16, (4,)), pytest.param(100, (10, 40), marks=pytest.mark.slow)], ids=["short", "long"]
)
def test_sigkill_loses_nothing(
    aws: Cloud,
    env: dict[str, str],
    log: Path,
    samples: dict[str, bytes],
    number: int,
    kill_after: tuple[int, ...],
) -> None:
    """Messages held by a killed worker reappear after the visibility timeout."""
    keys = fill_queue(aws, samples["rocket.jpg"], number)
    for done in kill_after:
        with worker(env, log, HASTY) as process:
            until(partial(has_thumbnails, aws, done))
            process.kill()
    with worker(env, log, HASTY) as process:
        until(lambda: aws.keys() == set(keys) and is_drained(aws))
        assert process.terminate() == 0
    assert aws.depth().dead == 0
    assert len({aws.thumbnail(key)[0] for key in keys}) == 1
    assert not list(Path(env["TMPDIR"]).iterdir())


def test_unreadable_message_ends_in_the_dead_letter_queue(
    server: str, scratch: Path, log: Path, samples: dict[str, bytes]
) -> None:
    aws = Cloud(server, VISIBILITY, most_receives=2)
    aws.put("good.jpg", samples["rocket.jpg"])
    aws.send(["no event", event("good.jpg")])
    with worker(aws.env | {"TMPDIR": str(scratch), "THUMBNAILER_LOG_LEVEL": "DEBUG"}, log, HASTY) as process:
        until(lambda: aws.depth().dead == 1)
        assert aws.keys() == {"good.jpg"}
        assert process.terminate() == 0
    assert aws.dead_bodies() == ["no event"]


@pytest.mark.matrix(41)
def test_redrive_after_a_fix_makes_the_thumbnail(
    server: str, scratch: Path, log: Path, samples: dict[str, bytes]
) -> None:
    aws = Cloud(server, VISIBILITY, most_receives=2)
    aws.put("a.jpg", samples["rocket.jpg"])
    aws.s3.delete_bucket(Bucket="photos-resized")
    aws.send([event("a.jpg")])
    with worker(aws.env | {"TMPDIR": str(scratch), "THUMBNAILER_LOG_LEVEL": "DEBUG"}, log, HASTY):
        until(lambda: aws.depth().dead == 1)
        aws.s3.create_bucket(Bucket="photos-resized")
        aws.send(aws.dead_bodies())  # as `aws sqs start-message-move-task` does
        until(lambda: aws.keys() == {"a.jpg"} and is_drained(aws))


def test_missing_queue_url_is_named(env: dict[str, str], log: Path) -> None:
    with worker({name: value for name, value in env.items() if name != "THUMBNAILER_QUEUE_URL"}, log) as process:
        assert process.wait() == 2
        assert "THUMBNAILER_QUEUE_URL is not set" in process.text


def test_queue_that_does_not_exist_ends_the_worker_with_a_clear_message(env: dict[str, str], log: Path) -> None:
    with worker(env | {"THUMBNAILER_QUEUE_URL": env["THUMBNAILER_QUEUE_URL"] + "-not"}, log) as process:
        assert process.wait() == 2
        assert "there is no such queue" in process.text


def test_worker_waits_for_a_queue_that_cannot_be_reached_and_is_not_ready(env: dict[str, str], log: Path) -> None:
    with worker(env | {"AWS_ENDPOINT_URL_SQS": "http://127.0.0.1:9"}, log) as process:
        until(lambda: "get_queue_attributes" in process.text)
        assert process.get("/healthz")[0] == 200
        assert process.get("/readyz")[0] == 503
        assert process.terminate() == 0


def test_worker_is_not_ready_while_a_source_bucket_is_missing(aws: Cloud, env: dict[str, str], log: Path) -> None:
    with worker(env | {"THUMBNAILER_SOURCES": "photos,albums,*-photos"}, log) as process:
        assert process.get("/healthz")[0] == 200
        assert process.get("/readyz") == (503, "a bucket or the queue does not answer; see the log")
        until(lambda: "albums" in process.text)
        for bucket in ("albums", "albums-resized"):
            aws.s3.create_bucket(Bucket=bucket)
        assert process.get("/readyz")[0] == 503  # the answer is kept for 5 seconds
        until(lambda: process.get("/readyz") == (200, "ok\n"))


def test_ecs_task_is_protected_while_the_worker_has_work(
    aws: Cloud, env: dict[str, str], log: Path, samples: dict[str, bytes], scripted: ScriptedServer
) -> None:
    scripted.play(Answer(body=b'{"protection": {}}'))
    aws.put("a.jpg", samples["rocket.jpg"])
    with worker(env | {"ECS_AGENT_URI": scripted.url}, log) as process:
        assert not scripted.seen
        aws.send([event("a.jpg")])
        asked = until(lambda: list(scripted.seen))[0]
        assert (asked.method, asked.target) == ("PUT", "/task-protection/v1/state")
        assert json.loads(asked.body)["ProtectionEnabled"] is True
        assert process.terminate() == 0


def test_picture_uploaded_before_the_worker_starts_gets_its_thumbnail(
    aws: Cloud, env: dict[str, str], log: Path, samples: dict[str, bytes]
) -> None:
    aws.notify()
    aws.put("late.jpg", samples["rocket.jpg"])
    time.sleep(0.2)
    assert aws.keys(SOURCE) == {"late.jpg"}
    with worker(env, log):
        until(lambda: aws.keys() == {"late.jpg"})
