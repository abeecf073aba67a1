"""What a run found, what it would cost and what it did, as text for the terminal and for logs of cron jobs."""

import math
from datetime import timedelta

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from thumbnailer.backfill.estimate import Estimate, Survey
from thumbnailer.backfill.verdicts import MEANINGS


def survey_table(survey: Survey, estimate: Estimate) -> RenderableType:
    """Verdicts with their counts and, if there is work, the estimate by line."""
    found = _table("objects", "")
    for verdict, meaning in MEANINGS.items():
        if number := survey.counts[verdict]:
            found.add_row(f"{number:,}", f"{verdict}: {meaning}")
    if not estimate.todo:
        return Group(found)
    bill = _table("number", "USD", "")
    for line in estimate.lines:
        bill.add_row(
            f"{line.number:,.0f}" if line.number >= 10 else f"{line.number:.2g}", f"{line.usd:,.4f}", line.name
        )
    bill.add_row("", f"{estimate.usd:,.4f}", f"together, with 10 % on top; {_duration(estimate.seconds)}")
    bill.caption = f"List prices of {estimate.region}, the oldest of {estimate.prices_from}, without free tier."
    bill.caption_justify = "left"
    return Group(found, bill)


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in headings:
        table.add_column(name, justify="right" if name else "left")
    return table


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"about {math.ceil(seconds)} s"
    return f"about {timedelta(minutes=math.ceil(seconds / 60))}".removesuffix(":00") + " h"


def enough_usd(estimate: Estimate) -> str:
    """The smallest limit in cents that lets the run start."""
    return f"{math.ceil(100 * estimate.usd) / 100:g}"
