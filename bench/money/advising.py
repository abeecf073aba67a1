"""`python -m bench advise`: looks at the user's pictures, has a few cells measured with some, and says what to run.

The measuring is handed in: a function that gets the folder with the sample and the cells that are wanted.
"""

from __future__ import annotations

import json
import math
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench.money.advice import Advice, Next, Wanted, advise, plan
from bench.money.candidates import AdviceError, Candidate, CostInterval, Question, Sample
from bench.money.costing import BreakEven
from bench.money.prices import load_prices
from bench.money.sampling import SAMPLE, Survey, download, pick, sampling_error, source_of, survey
from bench.result import Result
from bench.scale.command import parse_rate
from thumbnailer.errors import ThumbnailerError

Measure = Callable[[Path, Sequence[Wanted]], Result]
SECONDS: Final[Mapping[str, float]] = {"ms": 0.001, "s": 1.0, "min": 60.0}
LONGEST_DEADLINE: Final = 3600.0
FORMAT: Final = "thumbnailer-bench-advice"
VERSION: Final = 1
TIMES: Final = 2.0
"""From this share on, how much dearer it is is said in times."""
PLATFORMS: Final[Mapping[str, str]] = {"lambda": "Lambda", "fargate": "Fargate", "fargate-spot": "Fargate Spot"}


class DeadlineError(ThumbnailerError):
    """The deadline cannot be read."""


def parse_deadline(text: str) -> float:
    """Seconds, of e.g. 3s, 500ms or 2min. Raises DeadlineError."""
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(ms|s|min)\s*", text)
    seconds = float(found[1]) * SECONDS[found[2]] if found else 0.0
    if not 0 < seconds <= LONGEST_DEADLINE:
        raise DeadlineError(f"{text}: expected a time such as 3s, 500ms or 2min, above 0 and of an hour at most")
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
    """Prints the advice; 0 where there is one, 1 where nothing meets what was asked.

    Raises ThumbnailerError for what the user can put right; all that can be known before is, before it measures.
    """
    console = console or Console()
    question = Question(parse_rate(rate) if rate else None, parse_deadline(deadline) if deadline else None)
    charged = load_prices(prices)
    wanted = plan(cores or len(os.sched_getaffinity(0)))
    if output and not output.parent.is_dir():
        raise AdviceError(f"{output}: there is no folder {output.parent} to write it to")
    source = source_of(images)
    found = survey(source, seed)
    picked = pick(found, most, seed)
    _print_survey(console, images, found, picked)
    with tempfile.TemporaryDirectory(prefix="advise-") as scratch:
        download(source, picked, Path(scratch))
        result = measure(Path(scratch), wanted)
    sample = Sample(
        len(picked), len(found.headers), sampling_error(found, picked), found.complete, found.largest_megapixels
    )
    advice = advise(result.cells, charged, question, sample)
    _print_advice(console, advice, result)
    if output:
        document = _document(images, found, picked, advice)
        output.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return 0 if advice.best else 1


# --- on the terminal ----------------------------------------------------------------------------------------------


def _say(console: Console, text: str, style: str | None = None) -> None:
    """Keys and error messages are in it: nothing in it is markup."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def _print_survey(console: Console, images: str, found: Survey, picked: Sequence[str]) -> None:
    chosen = Counter(header.stratum for header in found.headers if header.key in set(picked))
    table = Table("format", "megapixels", "pictures", "share", "MB", "in the sample", show_edge=False)
    for column in table.columns[2:]:
        column.justify = "right"
    for stratum in found.strata:
        table.add_row(
            stratum.format,
            stratum.megapixels,
            str(stratum.count),
            f"{100 * stratum.count / len(found.headers):.0f} %",
            f"{stratum.bytes / 1e6:.1f}",
            str(chosen[stratum.format, stratum.megapixels]),
        )
    console.print(table)
    listed = f"{found.listed:,}{'' if found.complete else ' or more'}"
    others = ", ".join(f"{count} x {reason}" for reason, count in sorted(found.others.items()))
    _say(
        console,
        f"{images}: {len(found.headers)} pictures among {found.looked} looked at, of {listed} there"
        f"{'; others: ' + others if others else ''}. {len(picked)} stand for them.",
    )


def _print_advice(console: Console, advice: Advice, result: Result) -> None:
    console.print()
    for number, line in enumerate(_answer(advice)):
        _say(console, line, "bold" if number == 0 else None)
    _say(console, _where(result))
    console.print()
    console.print(_table(advice))
    for line in _not_offered(advice):
        _say(console, line)
    for name, formula in advice.formulas.items():
        console.print()
        _say(console, name, "bold")
        _say(console, formula)


def _answer(advice: Advice) -> Iterator[str]:
    """In plain words, what is most wanted first."""
    if advice.best is None:
        yield "No recommendation."
    else:
        yield f"Take {_name(advice.best)}: {_money_and_time(advice.best)}."
    if advice.next_best:
        yield f"Next best: {_compared(advice.next_best)}."
    if advice.next_platform and (
        advice.next_best is None or advice.next_platform.candidate is not advice.next_best.candidate
    ):
        yield f"On the other platform: {_compared(advice.next_platform)}."
    for name, point in advice.break_evens.items():
        yield f"Break-even: {_break_even(name, point)}."
    yield f"Confidence: {advice.confidence.word}. {'; '.join(advice.confidence.reasons)}."
    yield from advice.notes


def _where(result: Result) -> str:
    """What no interval has in it."""
    distances = ", ".join(sorted({cell.key.latency for cell in result.cells if cell.repetitions}))
    return (
        f"Measured on {result.machine.cpu}, with S3 as far away as {distances}: AWS's own cores and distances move all "
        "prices and times, and the intervals do not have that in them."
    )


def _name(one: Candidate) -> str:
    if one.platform != "lambda":
        tasks = f"{one.at_once:.0f} task{'s' if one.at_once > 1 else ''} of " if one.at_once else ""
        return f"{PLATFORMS[one.platform]}, {tasks}{one.vcpus:g} vCPU and {one.memory_mb / 1024:g} GB"
    batches = "single pictures" if one.batch_size == 1 else f"batches of {one.batch_size}"
    window = f" (window {one.window} s)" if one.window else ""
    basis = "" if one.basis == "measured" else f", {one.basis}"
    return f"Lambda with {one.memory_mb:,} MB and {batches}{window}{basis}"


def _money_and_time(one: Candidate) -> str:
    parts = []
    if one.usd_per_million:
        parts.append(f"${_between(one.usd_per_million)} a million pictures")
    if one.p95_seconds:
        parts.append(f"expected p95 {_between(one.p95_seconds)} s")
    return ", ".join(parts)


def _between(interval: CostInterval) -> str:
    return f"{interval.value:.2f} ({interval.low:.2f} to {interval.high:.2f})"


def _compared(other: Next) -> str:
    words = _dearer(other.dearer)
    if not other.told_apart:
        words += ", which is within the noise: the two cannot be told apart"
    return f"{_name(other.candidate)}, {words} ({_money_and_time(other.candidate)})"


def _dearer(share: float) -> str:
    if share >= TIMES:
        return f"{1 + share:,.0f} times the price"
    return f"{100 * abs(share):.1f} % {'dearer' if share >= 0 else 'cheaper'}"


def _break_even(name: str, point: BreakEven) -> str:
    platform, _, size = name.partition(" ")
    title = f"{PLATFORMS[platform]} of {size}"
    if point.for_good is None:
        return f"{title} is never cheaper than the cheapest function that is warm and has full batches"
    return (
        f"{title} is cheaper than the cheapest function (warm, its batches full) from {point.for_good:,.0f} pictures a "
        "month on, if they come evenly; a task that always runs is, when it is busy for "
        f"{100 * point.busy_share:.0f} % of its time"
    )


def _table(advice: Advice) -> Table:
    """What is to be had, the cheapest first; narrow enough for a terminal of 80."""
    table = Table("", "batch", "$ a million", "p95 s", "", show_edge=False)
    for column in table.columns[1:4]:
        column.justify = "right"
    possible = (one for one in advice.candidates if not one.refused)
    for one in sorted(possible, key=lambda each: each.usd):
        table.add_row(
            _size(one),
            f"{one.batch_size} in {one.window} s" if one.window else str(one.batch_size),
            _shown(one.usd_per_million),
            _shown(one.p95_seconds),
            one.basis + _rank(one, advice),
            style="bold" if one is advice.best else None,
        )
    return table


def _size(one: Candidate) -> str:
    if one.platform == "lambda":
        return f"Lambda {one.memory_mb:,} MB"
    return f"{PLATFORMS[one.platform]} {one.vcpus:g} vCPU {one.memory_mb / 1024:g} GB"


def _rank(one: Candidate, advice: Advice) -> str:
    if one is advice.best:
        return ", best"
    return ", next best" if advice.next_best and one is advice.next_best.candidate else ""


def _not_offered(advice: Advice) -> Iterator[str]:
    """A line a reason."""
    by_reason: dict[str, dict[str, list[str]]] = {}
    for one in advice.candidates:
        if one.refused:
            by_reason.setdefault(one.refused, {}).setdefault(_size(one), []).append(str(one.batch_size))
    for reason, sizes in by_reason.items():
        listed = "; ".join(f"{size}, batch {' and '.join(batches)}" for size, batches in sizes.items())
        yield f"Not offered ({reason}): {listed}."


def _shown(interval: CostInterval | None) -> str:
    """With the larger of both sides."""
    if interval is None:
        return ""
    off = max(interval.high - interval.value, interval.value - interval.low)
    return f"{interval.value:.2f} ±{off:.2f}" if math.isfinite(off) else f"{interval.value:.2f} ?"


# --- the file -----------------------------------------------------------------------------------------------------


def _document(images: str, found: Survey, picked: Sequence[str], advice: Advice) -> dict[str, Any]:
    surveyed = {
        "strata": [asdict(stratum) for stratum in found.strata],
        "looked": found.looked,
        "listed": found.listed,
        "complete": found.complete,
        "others": dict(found.others),
    }
    document = {
        "format": FORMAT,
        "version": VERSION,
        "images": images,
        "survey": surveyed,
        "sample": list(picked),
        "advice": asdict(advice),
    }
    plain: dict[str, Any] = _finite(document)
    return plain


def _finite(value: Any) -> Any:
    """JSON has no infinite number; null is what is not known."""
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
