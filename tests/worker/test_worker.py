"""The worker as a process, against a real SQS protocol server."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.crashing import PYTHONPATH, alive, children, waits
from tests.support.servers import Answer, ScriptedServer
from tests.worker.running import HASTY, SOURCE, Cloud, Depth, WorkerProcess, cloud, event, until, worker

VISIBILITY = 4


@pytest.fixture
def aws() -> Iterator[Cloud]:
    with cloud(VISIBILITY, most_receives=5) as started:
        yield started


@pytest.fixture
def impatient_aws() -> Iterator[Cloud]:
    """It gives a message up after its second receive."""
    with cloud(VISIBILITY, most_receives=2) as started:
        yield started


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture
def env(aws: Cloud, scratch: Path) -> dict[str, str]:
    return aws.env | {"TMPDIR": str(scratch)}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "worker.log"


def drained(aws: Cloud) -> bool:
    depth = aws.depth()
    return (depth.visible, depth.held) == (0, 0)


def has_thumbnails(aws: Cloud, number: int) -> bool:
    return len(aws.keys()) >= number


def lines(process: WorkerProcess) -> list[dict[str, object]]:
    return [json.loads(line) for line in process.text.splitlines()]


def test_pictures_put_into_the_bucket_come_out_and_the_watchers_are_told(
    aws: Cloud, env: dict[str, str], log: Path, samples: dict[str, bytes]
) -> None:
    aws.notify()
    with worker(env, log) as process:
        for name, data in samples.items():
            aws.put(name, data)
        aws.put("text.jpg", b"no picture")
        until(lambda: aws.keys() == {*samples, "_failed/text.jpg.json"})
        until(lambda: drained(aws))
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
    assert not list(Path(env["TMPDIR"]).iterdir())


@pytest.mark.matrix(37)
def test_sigterm_under_load_loses_nothing_and_gives_back_at_once(
    aws: Cloud, env: dict[str, str], log: Path, samples: dict[str, bytes]
) -> None:
    keys = [f"{number}.jpg" for number in range(150)]
    for key in keys:
        aws.put(key, samples["rocket.jpg"])
    aws.send([event(key) for key in keys])
    with worker(env, log) as process:
        until(lambda: len(aws.keys()) >= 20)
        assert process.terminate() == 0
    depth = aws.depth()
    assert depth.held == depth.dead == 0
    assert depth.visible + len(aws.keys()) == len(keys)
    assert not list(Path(env["TMPDIR"]).iterdir())
    assert lines(process)[-1]["message"] == "stopped"


@pytest.mark.matrix(37)
@pytest.mark.matrix(47)
def test_sigterm_gives_back_at_once_what_does_not_end_in_time_be_it_in_a_thread_or_in_a_child(
    scratch: Path, log: Path, samples: dict[str, bytes]
) -> None:
    """As many as are held at once, so that it waits for no more: moto goes on with a receive whose client has gone."""
    keys = [f"wait-{number}.jpg" for number in range(20)]
    given_back = Depth(visible=len(keys), held=0, dead=0)
    settings = {"THUMBNAILER_IN_FLIGHT": "10", "THUMBNAILER_STOP_TIMEOUT": "5"}
    with cloud(visibility=600) as aws:
        env = aws.env | settings | {"TMPDIR": str(scratch), "PYTHONPATH": PYTHONPATH}
        for key in keys:
            aws.put(key, samples["rocket.jpg"])
        aws.send([event(key) for key in keys])
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
def test_sigkill_loses_nothing(aws: Cloud, env: dict[str, str], log: Path, samples: dict[str, bytes]) -> None:
    keys = [f"{number}.jpg" for number in range(100)]
    for key in keys:
        aws.put(key, samples["rocket.jpg"])
    aws.send([event(key) for key in keys])
    for done in (10, 40):
        with worker(env, log) as process:
            until(partial(has_thumbnails, aws, done))
            process.kill()
    with worker(env, log) as process:
        until(lambda: aws.keys() == set(keys) and drained(aws))
        assert process.terminate() == 0
    assert aws.depth().dead == 0
    assert len({aws.thumbnail(key)[0] for key in keys}) == 1
    assert not list(Path(env["TMPDIR"]).iterdir())


def test_what_is_no_event_ends_in_the_dead_letter_queue(
    impatient_aws: Cloud, scratch: Path, log: Path, samples: dict[str, bytes]
) -> None:
    aws = impatient_aws
    env = aws.env | {"TMPDIR": str(scratch)}
    aws.put("good.jpg", samples["rocket.jpg"])
    aws.send(["no event", event("good.jpg")])
    with worker(env, log) as process:
        until(lambda: aws.depth().dead == 1)
        assert aws.keys() == {"good.jpg"}
        assert process.terminate() == 0
    assert aws.dead_bodies() == ["no event"]


@pytest.mark.matrix(41)
def test_what_was_redriven_after_a_fix_ends_as_if_nothing_had_been(
    impatient_aws: Cloud, scratch: Path, log: Path, samples: dict[str, bytes]
) -> None:
    aws = impatient_aws
    env = aws.env | {"TMPDIR": str(scratch)}
    aws.put("a.jpg", samples["rocket.jpg"])
    aws.s3.delete_bucket(Bucket="photos-resized")
    aws.send([event("a.jpg")])
    with worker(env, log, HASTY):
        until(lambda: aws.depth().dead == 1)
        aws.s3.create_bucket(Bucket="photos-resized")
        aws.send(aws.dead_bodies())  # what `aws sqs start-message-move-task` does
        until(lambda: aws.keys() == {"a.jpg"} and drained(aws))


def test_without_a_queue_it_says_what_is_missing(env: dict[str, str], log: Path) -> None:
    with worker({name: value for name, value in env.items() if name != "THUMBNAILER_QUEUE_URL"}, log) as process:
        assert process.wait() == 2
        assert "THUMBNAILER_QUEUE_URL is not set" in process.text


def test_a_queue_that_does_not_exist_ends_it_with_a_clear_message(env: dict[str, str], log: Path) -> None:
    with worker(env | {"THUMBNAILER_QUEUE_URL": env["THUMBNAILER_QUEUE_URL"] + "-not"}, log) as process:
        assert process.wait() == 2
        assert "there is no such queue" in process.text


def test_a_queue_that_cannot_be_reached_yet_is_waited_for_and_it_is_not_ready(env: dict[str, str], log: Path) -> None:
    with worker(env | {"AWS_ENDPOINT_URL_SQS": "http://127.0.0.1:9"}, log) as process:
        until(lambda: "get_queue_attributes" in process.text)
        assert process.get("/healthz")[0] == 200
        assert process.get("/readyz")[0] == 503
        assert process.terminate() == 0


def test_it_is_not_ready_while_a_bucket_that_it_is_for_does_not_answer(
    aws: Cloud, env: dict[str, str], log: Path
) -> None:
    with worker(env | {"THUMBNAILER_SOURCES": "photos,albums,*-photos"}, log) as process:
        assert process.get("/healthz")[0] == 200
        status, text = process.get("/readyz")
        assert (status, "albums" in text) == (503, True)
        for bucket in ("albums", "albums-resized"):
            aws.s3.create_bucket(Bucket=bucket)
        assert process.get("/readyz") == (200, "ok\n")


def test_a_task_of_ecs_is_protected_while_there_is_work_in_hand(
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


def test_a_picture_that_lands_while_nobody_works_is_there_when_somebody_does(
    aws: Cloud, env: dict[str, str], log: Path, samples: dict[str, bytes]
) -> None:
    aws.notify()
    aws.put("late.jpg", samples["rocket.jpg"])
    time.sleep(0.2)
    assert aws.keys(SOURCE) == {"late.jpg"}
    with worker(env, log):
        until(lambda: aws.keys() == {"late.jpg"})
