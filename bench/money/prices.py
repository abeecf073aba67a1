"""AWS prices: the shipped prices.toml, each with date and source, and a user's own file over it."""

import datetime
import difflib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from bench.result import Architecture, Result
from thumbnailer.errors import ThumbnailerError

SHIPPED: Final = Path(__file__).with_name("prices.toml")


class PricesError(ThumbnailerError):
    """The user's file of prices is not valid."""


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file: `usd` for `per` units, normalised to one unit by `load_prices`."""

    usd: Annotated[float, Meta(ge=0)]
    unit: str
    date: datetime.date
    source: Annotated[str, Meta(pattern=r"\S")]
    per: Annotated[float, Meta(gt=0)] = 1.0


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
    region = given.pop("region", shipped.pop("region"))
    if not isinstance(region, str):
        raise PricesError(f'{own}: region: expected a name such as "us-east-1"')
    items = {name: _price(table, f"{SHIPPED}: {name}") for name, table in shipped.items()}
    for name, table in given.items():
        if name not in items:
            near = difflib.get_close_matches(name, items, 1)
            raise PricesError(f"{own}: {name}: no such price" + (f"; did you mean {near[0]}?" if near else ""))
        price = _price(table, f"{own}: {name}")
        if price.unit != items[name].unit:
            raise PricesError(f'{own}: {name}: expected the unit "{items[name].unit}", found "{price.unit}"')
        items[name] = price
    return Prices(region, items)


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


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PricesError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PricesError(f"{path}: is not TOML: {error}") from error


def _price(table: object, place: str) -> Price:
    """Return the price of one unit. Raises PricesError."""
    try:
        found = msgspec.convert(table, Price)
    except msgspec.ValidationError as error:
        raise PricesError(f"{place}: {error}") from error
    return msgspec.structs.replace(found, usd=found.usd / found.per, per=1.0)
