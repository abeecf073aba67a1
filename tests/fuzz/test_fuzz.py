"""Broken pictures through the whole pipeline, and tests of the fuzzer itself."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from PIL import ExifTags, Image

from tests.fuzz import stand_ins
from tests.fuzz.judge import too_much, wrong_ending, wrong_objects, wrong_thumbnail
from tests.fuzz.mutate import broken_file
from tests.fuzz.parts import join, split
from tests.fuzz.report import findings, keep, replay_command
from tests.fuzz.run import verdicts
from tests.fuzz.sources import KINDS, by_kind, sources, whole
from tests.fuzz.verdict import Problem, Verdict
from tests.fuzz.worker import ENGINES, RENDITIONS, settings_of
from tests.support.pictures import SAMPLE_FOLDER, saved
from tests.support.processing import process
from thumbnailer.model import EventKind, Format, ObjectEvent, Outcome, Output, Status

EVENT = ObjectEvent(EventKind.CREATED, "photos", "x")


@pytest.mark.matrix(50)
def test_broken_pictures_are_stored_or_rejected() -> None:
    """`make fuzz` processes thousands."""
    results = list(verdicts(seed=50, numbers=range(300)))
    assert [f"{f.kind}: {f.problem}: {f.text}; {replay_command(50, f.numbers[0])}" for f in findings(results)] == []
    assert sorted(verdict.number for verdict in results) == list(range(300))
    assert {verdict.kind for verdict in results} >= set(KINDS) - {"heic", "jxl"}  # optional formats
    assert {"stored", "rejected:corrupt"} <= {verdict.ended for verdict in results}


# --- the processes ------------------------------------------------------------------------------------------------


def test_a_worker_that_crashes_or_hangs_loses_one_input() -> None:
    results = {v.number: v for v in verdicts(1, range(16), 2, stand_ins.start, stand_ins.check, seconds=3)}
    assert {number for number, verdict in results.items() if verdict.problems} == stand_ins.MISBEHAVING
    assert sorted(results) == list(range(16))
    crash, hang, left, raised = (
        results[number].problems[0]
        for number in (stand_ins.CRASHING, stand_ins.HANGING, stand_ins.EXITING, stand_ins.RAISING)
    )
    assert (crash.kind, hang.kind, left.kind) == ("crash: SIGSEGV", "hang", "crash: exit code 3")
    assert raised == Problem("escaped: ZeroDivisionError", "by zero")
    assert "free(): invalid pointer" in crash.text
    assert "stand_ins.py" in crash.text


def test_findings_are_grouped_by_format_problem_and_text() -> None:
    def verdict(number: int, kind: str, text: str) -> Verdict:
        return Verdict(number, "a", kind, "failed", problems=(Problem("failed", text),))

    found = findings(
        [
            verdict(9, "png", "at 0x7f12 of 12 bytes"),
            verdict(3, "png", "at 0x7a of 1500 bytes"),
            verdict(4, "gif", "at 0x7a of 1500 bytes"),
            verdict(5, "png", "other words"),
        ]
    )
    assert [(f.kind, f.numbers) for f in found] == [("gif", (4,)), ("png", (3, 9)), ("png", (5,))]
    assert found[1].text == "at 0x7a of 1500 bytes"


def test_findings_with_a_stack_are_grouped_by_the_innermost_frame() -> None:
    stack = 'Fatal Python error: Segmentation fault\n\n  File "a.py", line 3 in inner\n  File "b.py", line 4 in outer\n'
    (found,) = findings([Verdict(1, "a", "png", "crash", problems=(Problem("crash", stack),))])
    assert found.text == 'File "a.py", line 3 in inner'


def test_the_bytes_of_a_finding_are_kept(tmp_path: Path) -> None:
    found = findings([Verdict(8, "a", "png", "failed", problems=(Problem("failed", "x"),))])
    keep(found, 1, tmp_path / "new")
    assert (tmp_path / "new" / "1-8.png").read_bytes() == broken_file(1, 8)[1]


# --- the judge ----------------------------------------------------------------------------------------------------


def kinds(problems: Sequence[Problem]) -> list[str]:
    return [problem.kind for problem in problems]


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Outcome(EVENT, Status.STORED), []),
        (Outcome(EVENT, Status.REJECTED, "corrupt", "it ends early"), []),
        (Outcome(EVENT, Status.REJECTED, "corrupt", ""), ["no reason"]),
        (Outcome(EVENT, Status.REJECTED, None, "it ends early"), ["no reason"]),
        (Outcome(EVENT, Status.REJECTED, "just so", "it ends early"), ["no reason"]),
        (Outcome(EVENT, Status.FAILED, "engine-crash", "internal error"), ["failed:engine-crash"]),
        (Outcome(EVENT, Status.DEFERRED, "out-of-time", "late"), ["deferred:out-of-time"]),
    ],
)
def test_an_input_without_a_final_outcome_is_a_problem(outcome: Outcome, expected: list[str]) -> None:
    assert kinds(list(wrong_ending(outcome))) == expected


def test_a_thumbnail_unlike_its_plan_is_a_problem(samples: dict[str, bytes]) -> None:
    made = process(samples["rocket.jpg"], RENDITIONS="64x64")
    (output,), (data,) = made.outcome.outputs, made.thumbnails
    assert not list(wrong_thumbnail(output, data))
    assert kinds(list(wrong_thumbnail(replace(output, width=63), data))) == ["wrong thumbnail"]
    assert kinds(list(wrong_thumbnail(replace(output, format=Format.PNG), data))) == ["wrong thumbnail"]
    assert kinds(list(wrong_thumbnail(output, data[:300]))) == ["unreadable thumbnail"]
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "camera"
    assert kinds(list(wrong_thumbnail(output, again(data, exif=exif)))) == ["metadata left"]
    assert kinds(list(wrong_thumbnail(output, again(data, comment=b"secret")))) == ["metadata left"]
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    assert kinds(list(wrong_thumbnail(output, again(data, exif=exif)))) == ["wrong thumbnail"]


def again(data: bytes, **options: object) -> bytes:
    """The same JPEG with more metadata."""
    return saved(Image.open(BytesIO(data)), "JPEG", **options)


def test_objects_other_than_thumbnails_or_a_note_are_a_problem() -> None:
    output = Output("photos-resized", "x", "", 1, 1, Format.JPEG, 9)
    stored = Outcome(EVENT, Status.STORED, outputs=(output,))
    rejected = Outcome(EVENT, Status.REJECTED, "corrupt", "it ends early")
    note = {("photos-resized", "_failed/x.json"): b"{}"}
    assert not list(wrong_objects(rejected, note))
    for outcome, written in ((rejected, {}), (stored, note), (rejected, {("photos-resized", "x"): b""})):
        assert kinds(list(wrong_objects(outcome, written))) == ["wrong objects"]


def test_more_cpu_or_memory_than_allowed_is_a_problem() -> None:
    assert not list(too_much(9.9, 5, 5))
    assert kinds(list(too_much(10.1, 6, 5))) == ["slow", "memory"]


# --- the inputs ---------------------------------------------------------------------------------------------------


def test_a_seed_and_number_determine_an_input() -> None:
    inputs = [broken_file(1, number)[1] for number in range(200)]
    assert [broken_file(1, number)[1] for number in range(200)] == inputs
    assert len(set(inputs)) > 180
    assert sum(1 for number in range(200) if broken_file(2, number)[1] in set(inputs)) < 20


def test_every_engine_is_tried_with_all_renditions() -> None:
    met = {(s.engine, s.renditions) for s in map(settings_of, range(len(ENGINES) * len(RENDITIONS)))}
    assert len(met) == len(ENGINES) * len(RENDITIONS)


def test_sources_cover_every_format() -> None:
    assert {kind for kind, found in by_kind().items() if found} >= set(KINDS) - {"jxl"}  # needs an optional encoder
    for source in whole():
        assert process(source.data, SVG="on").outcome.status is Status.STORED, source.name


def test_splitting_and_joining_a_file_changes_nothing() -> None:
    for source in whole():
        assert join(source.kind, split(source.kind, source.data)) == source.data, source.name


def test_splitting_a_joined_broken_file_gives_the_same_parts() -> None:
    for source in sources():
        parts = split(source.kind, source.data)
        assert split(source.kind, join(source.kind, parts)) == parts, source.name


def test_a_changed_png_chunk_gets_a_new_checksum() -> None:
    parts = split("png", (SAMPLE_FOLDER / "chelsea.png").read_bytes())
    at = next(number for number, part in enumerate(parts) if part.name == b"IHDR")
    parts[at] = replace(parts[at], body=struct.pack(">I", 7) + parts[at].body[4:])
    data = join("png", parts)
    assert struct.unpack_from(">I", data, 29)[0] == zlib.crc32(data[12:29])


def test_the_command_of_a_finding_names_its_seed_and_number() -> None:
    assert re.fullmatch(r"python -m tests\.fuzz --seed 4 --replay 17", replay_command(4, 17))
