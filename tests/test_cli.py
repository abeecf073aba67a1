"""The command line as a child process: output, files and exit codes."""

from __future__ import annotations

import json
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
