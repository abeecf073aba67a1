"""AWS prices: the shipped prices.toml, each with date and source, and a user's own file over it."""

from __future__ import annotations

import datetime
import difflib
import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from bench.result import Result
from thumbnailer.errors import ThumbnailerError

SHIPPED: Final = Path(__file__).with_name("prices.toml")
FIELDS: Final = ("usd", "per", "unit", "date", "source")
Architecture = Literal["x86", "arm64"]


class PricesError(ThumbnailerError):
    """The user's file of prices is not valid. The message lists every mistake."""


@dataclass(frozen=True, slots=True)
class Price:
    """USD for one unit."""

    usd: float
    unit: str
    date: datetime.date
    source: str


@dataclass(frozen=True, slots=True)
class Prices:
    """All prices of a region."""

    region: str
    items: Mapping[str, Price]

    def __getitem__(self, name: str) -> float:
        """Return USD for one unit."""
        return self.items[name].usd

    def gb_second(self, architecture: Architecture) -> float:
        return self[f"lambda_{architecture}_gb_second"]

    def task_hour(self, vcpus: float, memory_gb: float, architecture: Architecture, spot: bool) -> float:
        """Return USD for an hour of a Fargate task, without its network."""
        kind = f"{'spot' if spot else 'fargate'}_{architecture}"
        return vcpus * self[f"{kind}_vcpu_hour"] + memory_gb * self[f"{kind}_gb_hour"]


def load_prices(own: Path | None = None) -> Prices:
    """Return the shipped prices, overridden by those in `own`. Raises PricesError."""
    shipped, given = _read(SHIPPED), _read(own) if own else {}
    region = given.pop("region", shipped["region"])
    del shipped["region"]
    mistakes = [f"{own}: {name}: {text}" for name, table in given.items() for text in _mistakes(name, table, shipped)]
    if not isinstance(region, str) or not region:
        mistakes.append(f'{own}: region: expected a name such as "us-east-1"')
    if mistakes:
        raise PricesError("\n".join(mistakes))
    return Prices(region, {name: _price(table) for name, table in (shipped | given).items()})


def prices_of(result: Result) -> Prices:
    """Return the prices that the result was calculated with. Equal and missing ones keep the shipped date and source."""
    shipped = load_prices()
    day = datetime.date.fromisoformat(result.made[:10])
    own = {
        name: Price(usd, shipped.items[name].unit, day, "the results")
        for name, usd in result.prices.items()
        if name in shipped.items and not math.isclose(usd, shipped[name])
    }
    return Prices(result.region, {**shipped.items, **own})


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PricesError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PricesError(f"{path}: is not TOML: {error}") from error


def _price(table: Mapping[str, Any]) -> Price:
    usd = float(table["usd"]) / table.get("per", 1)
    return Price(usd, table["unit"], datetime.date.fromisoformat(str(table["date"])), table["source"])


def _mistakes(name: str, table: object, shipped: Mapping[str, Any]) -> Iterator[str]:
    if name not in shipped:
        near = difflib.get_close_matches(name, shipped, 1)
        yield "no such price" + (f"; did you mean {near[0]}?" if near else "")
    elif not isinstance(table, Mapping):
        yield f"expected a table with {', '.join(FIELDS)}"
    else:
        unit = shipped[name]["unit"]
        yield from (f"unknown field {field}" for field in sorted(set(table) - set(FIELDS)))
        if not _is_number(table.get("usd")):
            yield f"usd: expected a number from 0, found {table.get('usd')!r}"
        if not _is_number(table.get("per", 1)) or table.get("per") == 0:
            yield f"per: expected a number above 0, found {table['per']!r}"
        if table.get("unit") != unit:
            yield f'unit: expected "{unit}", found {table.get("unit")!r}'
        if not _is_date(table.get("date")):
            yield f"date: expected a day such as 2026-09-19, found {table.get('date')!r}"
        if not str(table.get("source", "")).strip():
            yield "source: expected the place where the price was found"


def _is_number(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and value >= 0  # type: ignore[arg-type,operator]


def _is_date(value: object) -> bool:
    try:
        return bool(datetime.date.fromisoformat(str(value)))
    except ValueError:
        return False
