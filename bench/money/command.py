"""`python -m bench advise`: samples the user's pictures, measures a few cells with them, and recommends a setup.

The caller passes the function that measures: it gets the folder with the sample and the wanted cells.
"""

import math
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import jinja2
import msgspec
from rich.console import Console

from bench.money.advice import Advice, Wanted, advise, plan
from bench.money.candidates import MODEL_LIMIT, Candidate, CostInterval
from bench.money.measured import AdviceError, Question, Sample
from bench.money.months import FORMULAS
from bench.money.prices import load_prices
from bench.money.sampling import SAMPLE, Header, Survey, download, pick, sampling_error, survey
from bench.money.sources import source_of
from bench.pages.rivals import PLATFORMS
from bench.pages.tables import plain_table
from bench.result import Result
from bench.scale.command import parse_rate
from thumbnailer.errors import ThumbnailerError

Measure = Callable[[Path, Sequence[Wanted]], Result]
SECONDS: Final[Mapping[str, float]] = {"ms": 0.001, "s": 1.0, "min": 60.0}
LONGEST_DEADLINE: Final = 3600.0
FORMAT: Final = "thumbnailer-bench-advice"
VERSION: Final = 3
ENVIRONMENTS: Final = 1000
"""Default concurrency of an AWS account."""


class DeadlineError(ThumbnailerError):
    """The deadline cannot be parsed."""


def parse_deadline(text: str) -> float:
    """Return seconds, from e.g. 3s, 500ms or 2min. Raises DeadlineError."""
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(ms|s|min)\s*", text)
    seconds = float(found[1]) * SECONDS[found[2]] if found else 0.0
    if not 0 < seconds <= LONGEST_DEADLINE:
        raise DeadlineError(f"{text}: expected a time such as 3s, 500ms or 2min, above 0 and at most an hour")
    return seconds


def run(
    images: str,
    rate: str | None,
    deadline: str | None,
    prices: Path | None,
    measure: Measure,
    *,
    output: Path | None = None,
    cores: float | None = None,
    most: int = SAMPLE,
    seed: int = 1,
    console: Console | None = None,
) -> int:
    """Print the advice. Returns 0, or 1 if no candidate meets the question.

    Raises ThumbnailerError for mistakes that the user can fix, if possible before measuring.
    """
    console = console or Console()
    question = Question(parse_rate(rate) if rate else None, parse_deadline(deadline) if deadline else None)
    charged = load_prices(prices)
    wanted = plan(cores or len(os.sched_getaffinity(0)))
    if output and not output.parent.is_dir():
        raise AdviceError(f"{output}: the folder {output.parent} does not exist")
    source = source_of(images)
    found = survey(source, seed)
    picked = pick(found, most, seed)
    _print_survey(console, images, found, picked)
    with tempfile.TemporaryDirectory(prefix="advise-") as scratch:
        download(source, picked, Path(scratch))
        result = measure(Path(scratch), wanted)
    error = sampling_error(found, most)
    sample = Sample(len(picked), len(found.headers), error, found.complete, found.largest_megapixels)
    advice = advise(result.cells, charged, question, sample)
    text = answer(advice, result)
    _print_advice(console, advice, text)
    if output:
        output.write_bytes(_document(images, found, picked, advice, text))
    return 0 if advice.best else 1


def answer(advice: Advice, result: Result) -> str:
    """Return the recommendation in sentences, one a line."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, trim_blocks=True, lstrip_blocks=True)  # noqa: S701 (a terminal)
    late = [each for each in advice.candidates if each.refused.startswith("p95")]
    return environment.get_template("advice.txt.j2").render(
        {name: getattr(advice, name) for name in Advice.__slots__},
        late=min(late, key=lambda each: each.p95, default=None),
        platforms=PLATFORMS,
        environments=ENVIRONMENTS,
        model_limit=MODEL_LIMIT,
        machine=result.machine.cpu,
        distances=", ".join(sorted({cell.key.latency for cell in result.cells if cell.repetitions})),
    )


# --- on the terminal ----------------------------------------------------------------------------------------------


def _say(console: Console, text: str, style: str | None = None) -> None:
    """Print literally: keys and error messages are not markup."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def _print_survey(console: Console, images: str, found: Survey, picked: Sequence[Header]) -> None:
    surveyed, chosen = (Counter(header.kind for header in headers) for headers in (found.headers, picked))
    total = len(found.headers)
    rows = [
        [*kind, str(count), f"{100 * count / total:.0f} %", str(chosen[kind])] for kind, count in surveyed.most_common()
    ]
    console.print(plain_table(["format", "megapixels", "pictures", "share", "in the sample"], rows, left=2))
    listed = f"{found.listed:,}{'' if found.complete else ' or more'}"
    others = "".join(f"; {count} x {reason}" for reason, count in sorted(found.others.items()))
    _say(
        console,
        f"{images}: {total} pictures among {found.looked} surveyed files of {listed}{others}. "
        f"{len(picked)} represent them.",
    )


def _print_advice(console: Console, advice: Advice, text: str) -> None:
    console.print()
    for number, line in enumerate(text.splitlines()):
        _say(console, line, "bold" if number == 0 else None)
    console.print()
    console.print(plain_table(["", "batch", "$ a million", "p95 s", "basis"], _rows(advice), left=1))
    for reason in sorted({one.refused for one in advice.candidates if one.refused}):
        refused = (f"{_size(one)}, batch {one.batch_size}" for one in advice.candidates if one.refused == reason)
        _say(console, f"Not offered ({reason}): {'; '.join(refused)}.")
    _say(console, f"Formulas: {os.path.relpath(FORMULAS)}")


def _rows(advice: Advice) -> Iterator[list[str]]:
    for one in advice.offered:
        next_best = advice.next_best is not None and one is advice.next_best.candidate
        rank = ", best" if one is advice.best else ", next best" if next_best else ""
        batch = f"{one.batch_size} in {one.window} s" if one.window else str(one.batch_size)
        yield [_size(one), batch, _with_error(one.usd_per_million), _with_error(one.p95_seconds), one.basis + rank]


def _size(one: Candidate) -> str:
    if one.is_function:
        return f"Lambda {one.memory_mb:,} MB"
    return f"{PLATFORMS[one.platform]} {one.vcpus:g} vCPU {one.memory_mb / 1024:g} GB"


def _with_error(interval: CostInterval | None) -> str:
    """The value and the larger of its two errors."""
    if interval is None:
        return ""
    error = max(interval.high - interval.value, interval.value - interval.low)
    return f"{interval.value:.2f} ±{error:.2f}" if math.isfinite(error) else f"{interval.value:.2f} ?"


def _document(images: str, found: Survey, picked: Sequence[Header], advice: Advice, text: str) -> bytes:
    """The advice as JSON, where null stands for an infinite number."""
    document = {
        "format": FORMAT,
        "version": VERSION,
        "images": images,
        "survey": {name: getattr(found, name) for name in ("looked", "listed", "complete", "others")},
        "sample": picked,
        "text": text.splitlines(),
        "advice": advice,
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"
