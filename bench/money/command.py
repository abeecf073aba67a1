"""`python -m bench advise`: samples the user's pictures, measures a few cells with them, and recommends a setup."""

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Final

import jinja2
from rich.console import Console

from bench.cells.pictures import NoPictures
from bench.money.advice import Advice, advise, differ
from bench.money.candidates import MODEL_LIMIT, CostInterval
from bench.money.measured import Question, Sample
from bench.money.months import FORMULAS
from bench.money.sampling import Header, Survey, pick, sampling_error, survey
from bench.pages.selection import outcome_shares
from bench.pages.tables import plain_table, say
from bench.result import Result
from bench.scale.command import parse_amount, parse_rate
from thumbnailer import RecordError, thumbnail
from thumbnailer.backfill.prices import load_prices

Measure = Callable[[Path], Result]
"""Measures the planned cells with the pictures of a folder."""
TEXT: Final = Path(__file__).with_name("advice.txt.j2")
ENVIRONMENTS: Final = 1000
"""Default concurrency of an AWS account."""


def parse_deadline(text: str) -> float:
    """Return seconds, at most an hour, from e.g. 3s, 500ms or 2min. Raises ScaleError."""
    return parse_amount(text, {"ms": 0.001, "s": 1, "min": 60}, 3600, "a time such as 3s, 500ms or 2min, up to an hour")


def run(
    images: Path, rate: str | None, deadline: str | None, prices: Path | None, measure: Measure, console: Console
) -> int:
    """Print the advice. Returns 0, or 1 if no candidate meets the question.

    Raises ThumbnailerError for mistakes that the user can fix, if possible before measuring.
    """
    question = Question(parse_rate(rate) if rate else None, parse_deadline(deadline) if deadline else None)
    charged = load_prices(prices)
    found = survey(images)
    picked = _without_undecodable(console, pick(found))
    _print_survey(console, images, found, picked)
    with tempfile.TemporaryDirectory(prefix="advise-") as scratch:
        for number, header in enumerate(picked):  # two of them can have the same name
            shutil.copyfile(header.path, Path(scratch) / f"{number:03}{header.path.suffix}")
        result = measure(Path(scratch))
    largest = max(header.megapixels for header in found.headers)
    sample = Sample(len(picked), len(found.headers), sampling_error(found), largest)
    advice = advise(result.cells, charged, question, sample)
    _print_advice(console, advice, answer(advice, result))
    return 0 if advice.best else 1


def _without_undecodable(console: Console, picked: Sequence[Header]) -> Sequence[Header]:
    """The pictures that give a thumbnail; the others are named. Raises NoPictures if none is left."""
    good = []
    for header in picked:
        try:
            thumbnail(header.path, "128x128")
            good.append(header)
        except RecordError as error:
            say(console, f"Left out: {header.path}: {error.reason}: {error}")
    if not good:
        raise NoPictures("none of the sampled pictures can be decoded")
    return good


def answer(advice: Advice, result: Result) -> str:
    """Return the recommendation in sentences, one a line."""
    template = jinja2.Template(TEXT.read_text(encoding="utf-8"), trim_blocks=True, lstrip_blocks=True)
    late = [each for each in advice.candidates if each.refused.startswith("p95")]
    text: str = template.render(
        {name: getattr(advice, name) for name in Advice.__slots__},
        differ=differ,
        late=min(late, key=lambda each: each.p95, default=None),
        environments=ENVIRONMENTS,
        model_limit=MODEL_LIMIT,
        kb=median(cell.median("bytes_out_per_image") or 0 for cell in result.cells if cell.repetitions) / 1000,
        prices=advice.known.prices,
        failed_share=1 - outcome_shares(result.cells).get("stored", 1.0),
        not_measured=sorted({cell.refused for cell in result.cells if cell.refused}),
        machine=result.machine.cpu,
        distances=", ".join(sorted({cell.key.latency for cell in result.cells if cell.repetitions})),
    )
    return text


def _print_survey(console: Console, images: Path, found: Survey, picked: Sequence[Header]) -> None:
    total = len(found.headers)
    table = plain_table(["format", "megapixels", "pictures", "share", "in the sample"], _survey_rows(found, picked))
    console.print(table)
    others = "".join(
        f"; {len(names)} x {reason} ({', '.join(names[:3])}{', ...' if names[3:] else ''})"
        for reason, names in sorted(found.others.items())
    )
    surveyed = f"{total} pictures among {found.looked} surveyed files of {found.listed:,}{others}"
    say(console, f"{images}: {surveyed}. {len(picked)} represent them.")


def _survey_rows(found: Survey, picked: Sequence[Header]) -> Iterator[list[str]]:
    chosen = Counter(header.format for header in picked)
    for format_, count in Counter(header.format for header in found.headers).most_common():
        sizes = [header.megapixels for header in found.headers if header.format == format_]
        share = f"{100 * count / len(found.headers):.0f} %"
        yield [format_, f"{sizes[0]:.1f} to {sizes[-1]:.1f}", str(count), share, str(chosen[format_])]


def _print_advice(console: Console, advice: Advice, text: str) -> None:
    console.print()
    for number, line in enumerate(text.splitlines()):
        say(console, line, "bold" if number == 0 else None)
    console.print()
    console.print(plain_table(["", "batch", "$ a million", "p95 s", "basis"], _rows(advice)))
    for reason in sorted({one.refused for one in advice.candidates if one.refused}):
        refused = (f"{one.title}, batch {one.batch_size}" for one in advice.candidates if one.refused == reason)
        say(console, f"Not offered ({reason}): {'; '.join(refused)}.")
    say(console, f"Formulas: {os.path.relpath(FORMULAS)}")


def _rows(advice: Advice) -> Iterator[list[str]]:
    """The candidates that are not refused, the cheapest first."""
    for one in sorted((each for each in advice.candidates if not each.refused), key=lambda each: each.usd):
        rank = ", best" if one is advice.best else ", next best" if one is advice.next_best else ""
        batch = f"{one.batch_size} in {one.window} s" if one.window else str(one.batch_size)
        yield [one.title, batch, _with_error(one.usd_per_million), _with_error(one.p95_seconds), one.basis + rank]


def _with_error(interval: CostInterval | None) -> str:
    """The value and the larger of its two errors."""
    return f"{interval.value:.2f} ±{interval.high - interval.value:.2f}" if interval else ""
