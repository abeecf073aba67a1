"""The whole of an advice: pictures in, a sample for the measuring that is handed in, an answer and a file out."""

from __future__ import annotations

import random
import re
from io import BytesIO, StringIO
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from bench.cells.pictures import NoPictures, pictures_in
from bench.money import command
from bench.money.advice import advise
from bench.money.command import parse_deadline
from bench.money.measured import Question, Sample
from bench.result import Result
from bench.scale.model import ScaleError
from tests.bench.advised import CPU_BOUND, IO_BOUND, Made
from thumbnailer.backfill.prices import PricesError, load_prices


def picture(width: int, height: int) -> bytes:
    out = BytesIO()
    Image.new("RGB", (width, height), (90, 120, 30)).save(out, "JPEG")
    return out.getvalue()


def noisy_picture() -> bytes:
    out = BytesIO()
    Image.frombytes("RGB", (400, 400), random.Random(1).randbytes(480_000)).save(out, "JPEG")
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
        self.sizes: list[int] = []
        self.folder = Path()

    def __call__(self, folder: Path) -> Result:
        self.calls += 1
        self.folder = folder
        self.sizes = [path.stat().st_size for path in pictures_in(folder)]
        return self.made.result()


class Ran:
    def __init__(
        self, images: Path, measuring: Measuring, rate: str = "", deadline: str = "", prices: Path | None = None
    ) -> None:
        out = StringIO()
        self.code = command.run(images, rate, deadline, prices, measuring, Console(file=out, width=160))
        self.text = out.getvalue()


def test_sample_is_measured_and_answer_comes_first(folder: Path) -> None:
    measuring = Measuring(IO_BOUND)
    ran = Ran(folder, measuring)
    assert ran.code == 0
    assert (measuring.calls, len(measuring.sizes)) == (1, 12)
    assert not measuring.folder.exists()
    answer = ran.text.index("Take Lambda with 256 MB and batches of 10")
    assert ran.text.index("40 pictures among 41 surveyed files") < answer < ran.text.index("Next best:")
    assert ran.text.index("Next best:") < ran.text.index("Confidence: fair") < ran.text.index("formulas.toml")
    assert "a million pictures" in ran.text
    assert "Break-even: Fargate, 1 vCPU, 2 GB is cheaper" in ran.text
    assert "pictures [1]" in ran.text
    assert "1 x not-an-image" in ran.text
    assert "Measured on made up, with S3 as far away as loopback" in ran.text


def test_pictures_that_cannot_be_decoded_are_left_out_and_named(tmp_path: Path) -> None:
    for number in range(11):
        (tmp_path / f"{number}.jpg").write_bytes(picture(400 + number, 300))
    cut = noisy_picture()
    (tmp_path / "cut.jpg").write_bytes(cut[: len(cut) // 8])
    (tmp_path / "notes.txt").write_text("what I did on my holidays, and more of it than one would like to read")
    measuring = Measuring(IO_BOUND)
    ran = Ran(tmp_path, measuring)
    assert ran.code == 0
    assert len(measuring.sizes) == 11
    assert "cut.jpg: corrupt: of its" in ran.text
    assert "1 x not-an-image (notes.txt)" in ran.text


def test_nothing_decodable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "cut.jpg").write_bytes(noisy_picture()[:9000])
    with pytest.raises(NoPictures, match="none of the sampled pictures"):
        Ran(tmp_path, Measuring(IO_BOUND))


def test_a_dearer_recommendation_says_why() -> None:
    """Which of two prices within the noise is lower is chance, so many made-up loads are asked."""
    said = 0
    for wait in range(0, 200, 10):
        advice = advise(Made(wait, 100).result().cells, load_prices(None), Question(), Sample(12, 40, 0.0))
        text = command.answer(advice, Made(wait, 100).result())
        assert advice.best is not None
        assert advice.next_best is not None
        dearer = advice.next_best.usd < advice.best.usd
        assert ("is recommended all the same: " in text) == dearer
        said += dearer
    assert said


def test_sample_is_proportional_to_the_folder(folder: Path) -> None:
    measuring = Measuring(IO_BOUND)
    Ran(folder, measuring)
    large = (folder / "large-0.jpg").stat().st_size
    assert measuring.sizes.count(large) == 3


def test_rate_and_deadline_are_answered(folder: Path) -> None:
    ran = Ran(folder, Measuring(CPU_BOUND), "200/s", "10s")
    assert re.search(r"Take \d+ tasks of Fargate, 1 vCPU, 2 GB: ", ran.text)
    assert "On the other platform: Lambda" in ran.text or "Next best: Lambda" in ran.text
    assert "AWS may stop a Spot task" in ran.text


def test_unmet_question_exits_with_1(folder: Path) -> None:
    ran = Ran(folder, Measuring(CPU_BOUND), "5/s", "50ms")
    assert ran.code == 1
    assert "No recommendation." in ran.text
    assert "No candidate is fast enough" in ran.text


def test_indistinguishable_candidates_are_reported(folder: Path) -> None:
    ran = Ran(folder, Measuring(Made(wait_ms=0, cpu_ms=100)))
    assert "the two cannot be told apart" in ran.text


def test_large_price_differences_are_factors(folder: Path) -> None:
    ran = Ran(folder, Measuring(CPU_BOUND), "600/day", "10s")
    assert "times the price" in ran.text


def test_mistakes_are_reported_before_measuring(folder: Path, tmp_path: Path) -> None:
    measuring = Measuring(IO_BOUND)
    for error, images, given in (
        (NoPictures, tmp_path / "none", {}),
        (ScaleError, folder, {"rate": "many"}),
        (ScaleError, folder, {"deadline": "soon"}),
        (PricesError, folder, {"prices": tmp_path / "none.toml"}),
    ):
        with pytest.raises(error):
            Ran(images, measuring, **given)
    assert measuring.calls == 0


@pytest.mark.parametrize(
    ("text", "seconds"), [("3s", 3), ("500ms", 0.5), ("2min", 120), (" 0.25 s ", 0.25), ("60min", 3600)]
)
def test_deadlines_are_parsed(text: str, seconds: float) -> None:
    assert parse_deadline(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "3", "s", "-3s", "0s", "3h", "3 s 5", "1e4s", "61min", "nans"])
def test_invalid_deadline_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ScaleError, match="3s, 500ms or 2min"):
        parse_deadline(text)
