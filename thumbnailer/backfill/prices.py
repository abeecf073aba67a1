"""AWS prices: the shipped prices.toml, each with date and source, and a user's own file over it."""

import datetime
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from thumbnailer.errors import ThumbnailerError, nearest
from thumbnailer.values import dataclass

SHIPPED: Final = Path(__file__).with_name("prices.toml")


class PricesError(ThumbnailerError):
    """The user's file of prices is not valid."""


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

    def gb_second(self, architecture: Literal["x86", "arm64"]) -> float:
        return self[f"lambda_{architecture}_gb_second"]

    def task_hour(self, vcpus: float, memory_gb: float, architecture: Literal["x86", "arm64"], spot: bool) -> float:
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
            raise PricesError(f"{own}: {name}: no such price{nearest(name, items)}")
        price = _price(table, f"{own}: {name}")
        if price.unit != items[name].unit:
            raise PricesError(f'{own}: {name}: expected the unit "{items[name].unit}", found "{price.unit}"')
        items[name] = price
    return Prices(region, items)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PricesError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PricesError(f"{path}: is not TOML: {error}") from error


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_FIELDS: Final[Mapping[str, tuple[str, Callable[[Any], bool]]]] = {
    "usd": ("a number from 0 on", lambda value: _is_number(value) and value >= 0),
    "per": ("a number above 0", lambda value: _is_number(value) and value > 0),
    "unit": ("text", lambda value: isinstance(value, str)),
    "date": ("a day such as 2026-11-30", lambda value: _day(value) is not None),
    "source": ("text", lambda value: isinstance(value, str) and bool(value.strip())),
}
"""What each field of a table accepts. `per` may be missing and is 1 then: `usd` is for so many units."""


def _price(table: object, place: str) -> Price:
    """Return the price of one unit. Raises PricesError."""
    if not isinstance(table, dict):
        raise PricesError(f"{place}: expected a table with {', '.join(_FIELDS)}")
    values: dict[str, Any] = {"per": 1} | table
    for name in values.keys() | _FIELDS.keys():
        if name not in _FIELDS:
            raise PricesError(f"{place}: unknown field {name}{nearest(name, _FIELDS)}")
        accepts, fits = _FIELDS[name]
        if not fits(values.get(name)):
            raise PricesError(f"{place}: {name}: expected {accepts}, found {values.get(name, 'nothing')!r}")
    day = _day(values["date"]) or datetime.date.min
    return Price(values["usd"] / values["per"], values["unit"], day, values["source"])


def _day(value: object) -> datetime.date | None:
    """The day that TOML read, or that a text names."""
    if type(value) is datetime.date:
        return value
    try:
        return datetime.date.fromisoformat(str(value)[:10])
    except ValueError:
        return None
