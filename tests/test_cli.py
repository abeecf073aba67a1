"""The command line as a child process: output, files and exit codes."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from handler import aws_lambda
from tests.conftest import Context, scratch_files
from tests.support.cloud import Cloud, s3_event, s3_record, sqs_event
from tests.support.commands import thumbnailer

SAMPLES = Path(__file__).parents[1] / "handler" / "demo" / "samples"


def test_event_of_25_records_with_3_bad_ones_stores_22_and_names_the_3(
    aws: Cloud, samples: dict[str, bytes], tmp_path: Path
) -> None:
    good = list(samples)
    records = [aws.put(f"{n:02}-{good[n % len(good)]}", samples[good[n % len(good)]]) for n in range(22)]
    records.insert(3, aws.put("note.jpg", b"only text\n" * 100))
    records.insert(9, aws.put("cut.jpg", samples["rocket.jpg"][:9000]))
    records.append(s3_record("gone.jpg", 100, "e"))
    file = tmp_path / "event.json"
    file.write_text(json.dumps(sqs_event(*(s3_event(record) for record in records))))
    before = scratch_files()
    ended = thumbnailer("event", file, **aws.env)
    assert ended.returncode == 1, ended.stderr
    assert len([key for key in aws.thumbnails() if not key.startswith("_failed/")]) == 22
    assert ended.stdout.count(" stored ") == 22
    for key, reason in (("note.jpg", "not-an-image"), ("cut.jpg", "corrupt"), ("gone.jpg", "gone")):
        line = next(line for line in ended.stdout.splitlines() if key in line)
        assert reason in line
    assert '"batchItemFailures": []' in ended.stdout
    assert scratch_files() == before


def test_local_file_and_s3_object_give_the_same_thumbnail(
    aws: Cloud, samples: dict[str, bytes], tmp_path: Path
) -> None:
    ended = thumbnailer("resize", *(SAMPLES / name for name in samples), "-o", tmp_path)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    aws_lambda.handler(s3_event(*(aws.put(name, data) for name, data in samples.items())), Context())
    for name in samples:
        local = tmp_path / (name if name != "retina.heic" else "retina.heic.jpg")
        assert local.read_bytes() == aws.thumbnail(name)["Body"], name


def test_non_picture_gives_exit_code_1_and_the_others_are_written(tmp_path: Path) -> None:
    bad = tmp_path / "note.jpg"
    bad.write_text("only text")
    ended = thumbnailer("resize", bad, SAMPLES / "rocket.jpg", "-o", tmp_path / "out")
    assert ended.returncode == 1
    assert "not-an-image" in ended.stdout
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["rocket.jpg"]


def test_invalid_settings_are_all_named_and_give_exit_code_2(tmp_path: Path) -> None:
    bad = {"THUMBNAILER_RENDITIONS": "big", "THUMBNAILER_DESTINATION": "{bucket}", "THUMBNAILER_WORKERS": "none"}
    ended = thumbnailer("resize", SAMPLES / "rocket.jpg", "-o", tmp_path, **bad)
    assert ended.returncode == 2
    assert all(name in ended.stderr for name in bad)
    assert "It accepts" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("text", ["{", '{"no": "event"}', "[]", "[" * 100_000])
def test_file_without_an_event_gives_exit_code_2_and_says_what_is_expected(tmp_path: Path, text: str) -> None:
    file = tmp_path / "event.json"
    file.write_text(text)
    ended = thumbnailer("event", file)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    assert "JSON" in ended.stderr or "expected an S3 notification" in ended.stderr


def test_doctor_names_the_installed_pillow_and_each_engines_formats() -> None:
    ended = thumbnailer("doctor")
    assert ended.returncode == 0, ended.stdout
    assert all(word in ended.stdout for word in ("Pillow", "heic", "obstore"))


def test_doctor_rejects_a_source_bucket_that_is_a_destination() -> None:
    assert thumbnailer("doctor", "--source", "photos").returncode == 0
    assert thumbnailer("doctor", "--source", "photos-resized").returncode == 2


# --- messages ---------------------------------------------------------------------------------------------------------


def test_a_busy_port_ends_the_worker_with_a_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        queue = "http://127.0.0.1:9/1/q"
        env = {"AWS_REGION": "us-east-1", "THUMBNAILER_PORT": str(port), "THUMBNAILER_QUEUE_URL": queue}
        worker, demo = thumbnailer("worker", **env), thumbnailer("demo", "--port", str(port))
    assert worker.returncode == 2
    assert f"THUMBNAILER_PORT={port} cannot be used: Address already in use" in worker.stderr
    assert "Traceback" not in worker.stderr + demo.stderr
    assert f"Port {port} cannot be used: Address already in use; --port 0" in demo.stdout


@pytest.mark.parametrize(
    ("command", "module", "extra"),
    [
        ("handler.cli doctor", "typer", "[cli,demo,deploy]"),
        ("handler.cli demo", "moto", "[cli,demo,deploy]"),
        ("handler.cli deploy", "yaml", "[cli,demo,deploy]"),
        ("bench advise --images .", "numpy", "[bench]"),
        ("bench --help", "typer", "[bench]"),
    ],
)
def test_a_missing_package_is_named_with_the_extra_that_has_it(command: str, module: str, extra: str) -> None:
    package, *arguments = command.split()
    code = f"import runpy, sys; sys.modules[{module!r}] = None; runpy.run_module({package!r}, run_name='__main__')"
    ended = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == 2, ended.stderr
    assert f"The package {module} is missing" in ended.stderr
    assert extra in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({}, "there are no AWS credentials: set AWS_ACCESS_KEY_ID"),
        ({"AWS_PROFILE": "nobody"}, "AWS's settings are invalid: The config profile (nobody) could not be found"),
    ],
)
def test_missing_credentials_end_in_a_sentence(tmp_path: Path, env: dict[str, str], says: str) -> None:
    none = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "HOME": str(tmp_path)}
    none |= {"AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": "us-east-1", **env}
    queue = {"THUMBNAILER_QUEUE_URL": "http://127.0.0.1:9/1/q", "THUMBNAILER_PORT": "0"}
    file = tmp_path / "event.json"
    file.write_text(json.dumps(s3_event(s3_record("a.jpg", 100, "e"))))
    worker = thumbnailer("worker", **none, **queue)
    event = thumbnailer("event", file, **none, THUMBNAILER_TRANSPORT="aioboto3")
    assert (worker.returncode, event.returncode) == (2, 1)
    assert says in worker.stderr
    assert says in event.stdout
    assert "Traceback" not in worker.stderr + event.stderr


@pytest.mark.parametrize("program", ["handler.cli", "bench"])
def test_an_unknown_command_suggests_the_nearest(program: str) -> None:
    command = [sys.executable, "-m", program, "advize" if program == "bench" else "resise"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "Did you mean" in ended.stderr


def test_unknown_settings_suggest_the_nearest_and_units_are_explained() -> None:
    env = {"RENDITION": "64x64", "ENGINE": "pilow", "MAX_BYTES": "10M", "RENDITIONS": "64x64:wepb"}
    ended = thumbnailer("resize", SAMPLES / "rocket.jpg", "-o", "x", **{f"THUMBNAILER_{k}": v for k, v in env.items()})
    assert ended.returncode == 2
    for nearest in ("'THUMBNAILER_RENDITIONS'", "'pillow'", "'webp'"):
        assert f"the nearest is {nearest}" in ended.stderr
    assert "10485760 for 10 MB" in ended.stderr
