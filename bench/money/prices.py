"""The prices of results that were measured earlier."""

import datetime
import math

from bench.result import Result
from thumbnailer.backfill.prices import Price, Prices, load_prices


def prices_of(result: Result) -> Prices:
    """Return the result's prices; equal and missing ones keep the date and source of the shipped ones."""
    shipped = load_prices()
    day = datetime.date.fromisoformat(result.made[:10])
    own = {
        name: Price(usd, shipped.items[name].unit, day, "the results")
        for name, usd in result.prices.items()
        if name in shipped.items and not math.isclose(usd, shipped[name])
    }
    return Prices(result.region, {**shipped.items, **own})
