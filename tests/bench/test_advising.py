"""The whole of an advice: pictures in, a sample for the measuring that is handed in, an answer and a file out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from bench.cells.pictures import NoPictures, pictures_in
from bench.money import command
from bench.money.advice import Wanted
from bench.money.command import DeadlineError, parse_deadline
from bench.money.measured import AdviceError
from bench.money.prices import PricesError
from bench.result import Result
from bench.scale.command import ScaleError
from tests.bench.advised import CPU_BOUND, IO_BOUND, Made
from tests.support.cloud import SOURCE, Cloud


def picture(width: int, height: int) -> bytes:
    out = BytesIO()
    Image.new("RGB", (width, height), (90, 120, 30)).save(out, "JPEG")
    return out.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "pictures [1]"
    made.mkdir()
    for number in range(30):
        (made / f"{number}.jpg").write_bytes(picture(400 + number, 300))
    for number in range(10):
        (made / f"large-{number}.jpg").write_bytes(picture(2000, 1000))
    (made / "notes.txt").write_bytes(b"what I did on my holidays, and more of it than one would like to read")
    return made


class Measuring:
    """What is handed in: keeps what it was asked, and answers with a load that is made up."""

    def __init__(self, made: Made) -> None:
        self.made = made
        self.calls = 0
        self.wanted: Sequence[Wanted] = ()
        self.sizes: list[int] = []
        self.folder = Path()

    def __call__(self, folder: Path, wanted: Sequence[Wanted]) -> Result:
        self.calls += 1
        self.folder, self.wanted = folder, wanted
        self.sizes = [path.stat().st_size for path in pictures_in(folder)]
        return self.made.result(wanted)


class Ran:
    def __init__(
        self, images: str, measuring: Measuring, rate: str | None = None, deadline: str | None = None, **more: Any
    ) -> None:
        out = StringIO()
        console = Console(file=out, width=160)
        self.code = command.run(
            images, rate, deadline, more.pop("prices", None), measuring, console=console, cores=2, **more
        )
        self.text = out.getvalue()


def test_sample_is_measured_and_answer_comes_first(folder: Path) -> None:
    measuring = Measuring(IO_BOUND)
    ran = Ran(str(folder), measuring)
    assert ran.code == 0
    assert (measuring.calls, len(measuring.sizes), len(measuring.wanted)) == (1, 12, 7)
    assert not measuring.folder.exists()
    answer = ran.text.index("Take Lambda with 256 MB and batches of 10")
    assert ran.text.index("40 pictures among 41 surveyed files") < answer < ran.text.index("Next best:")
    assert ran.text.index("Next best:") < ran.text.index("Confidence: fair") < ran.text.index("formulas.toml")
    assert "a million pictures" in ran.text
    assert "Break-even: Fargate of 1 vCPU 2 GB is cheaper" in ran.text
    assert "pictures [1]" in ran.text
    assert "1 x not-an-image" in ran.text
    assert "Measured on made up, with S3 as far away as loopback" in ran.text


def test_sample_is_proportional_to_the_folder(folder: Path) -> None:
    measuring = Measuring(IO_BOUND)
    Ran(str(folder), measuring)
    large = (folder / "large-0.jpg").stat().st_size
    assert measuring.sizes.count(large) == 3


def test_rate_and_deadline_are_answered(folder: Path) -> None:
    ran = Ran(str(folder), Measuring(CPU_BOUND), "200/s", "10s")
    assert "Take Fargate, " in ran.text
    assert "On the other platform: Lambda" in ran.text or "Next best: Lambda" in ran.text
    assert "AWS may stop a Spot task" in ran.text


def test_unmet_question_exits_with_1(folder: Path) -> None:
    ran = Ran(str(folder), Measuring(CPU_BOUND), "5/s", "50ms")
    assert ran.code == 1
    assert "No recommendation." in ran.text
    assert "No candidate is fast enough" in ran.text


def test_indistinguishable_candidates_are_reported(folder: Path) -> None:
    ran = Ran(str(folder), Measuring(Made(wait_ms=0, cpu_ms=100)))
    assert "the two cannot be told apart" in ran.text


def test_large_price_differences_are_factors(folder: Path) -> None:
    ran = Ran(str(folder), Measuring(CPU_BOUND), "600/day", "10s")
    assert "times the price" in ran.text


def test_advice_is_written_as_json(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "advice.json"
    Ran(str(folder), Measuring(replace(CPU_BOUND, noise=(1.0,))), "50/s", "5s", output=output)
    document = json.loads(output.read_text())
    assert (document["format"], document["version"]) == ("thumbnailer-bench-advice", 3)
    assert document["survey"]["looked"] == 41
    assert len(document["sample"]) == 12
    advice = document["advice"]
    assert any(line.startswith("Take ") for line in document["text"])
    assert advice["question"] == {"rate": 50.0, "deadline": 5.0}
    assert advice["best"] in advice["candidates"]
    assert advice["best"]["usd_per_million"]["low"] <= advice["best"]["usd_per_million"]["value"]


def test_unknown_numbers_are_null_in_json(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "advice.json"

    class Few(Measuring):
        def __call__(self, folder: Path, wanted: Sequence[Wanted]) -> Result:
            return self.made.result(wanted[:2])

    ran = Ran(str(folder), Few(CPU_BOUND), output=output)
    assert json.loads(output.read_text())["advice"]["model"]["left_out_error"] is None
    assert "Confidence: low" in ran.text


def test_pictures_in_s3_are_sampled(aws: Cloud) -> None:
    for number in range(5):
        aws.put(f"in/{number}.jpg", picture(400 + number, 300))
    measuring = Measuring(IO_BOUND)
    ran = Ran(f"s3://{SOURCE}/in", measuring)
    assert ran.code == 0
    assert len(measuring.sizes) == 5


def test_mistakes_are_reported_before_measuring(folder: Path, tmp_path: Path) -> None:
    measuring = Measuring(IO_BOUND)
    for error, images, given in (
        (NoPictures, tmp_path / "none", {}),
        (ScaleError, folder, {"rate": "many"}),
        (DeadlineError, folder, {"deadline": "soon"}),
        (PricesError, folder, {"prices": tmp_path / "none.toml"}),
        (AdviceError, folder, {"output": tmp_path / "none" / "advice.json"}),
    ):
        with pytest.raises(error):
            Ran(str(images), measuring, **given)
    assert measuring.calls == 0


@pytest.mark.parametrize(
    ("text", "seconds"), [("3s", 3), ("500ms", 0.5), ("2min", 120), (" 0.25 s ", 0.25), ("60min", 3600)]
)
def test_deadlines_are_parsed(text: str, seconds: float) -> None:
    assert parse_deadline(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "3", "s", "-3s", "0s", "3h", "3 s 5", "1e3s", "61min", "nans"])
def test_invalid_deadline_is_refused_with_examples(text: str) -> None:
    with pytest.raises(DeadlineError, match="3s, 500ms or 2min"):
        parse_deadline(text)
