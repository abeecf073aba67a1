"""What AWS charges: one file with date and source of each price (prices.toml), and a user's own over it."""

from __future__ import annotations

import datetime
import difflib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from thumbnailer.errors import ThumbnailerError

SHIPPED: Final = Path(__file__).with_name("prices.toml")
UNITS: Final[Mapping[str, str]] = {
    "lambda_x86_gb_second": "GB-second",
    "lambda_arm64_gb_second": "GB-second",
    "lambda_request": "request",
    "fargate_x86_vcpu_hour": "vCPU-hour",
    "fargate_x86_gb_hour": "GB-hour",
    "fargate_arm64_vcpu_hour": "vCPU-hour",
    "fargate_arm64_gb_hour": "GB-hour",
    "spot_x86_vcpu_hour": "vCPU-hour",
    "spot_x86_gb_hour": "GB-hour",
    "spot_arm64_vcpu_hour": "vCPU-hour",
    "spot_arm64_gb_hour": "GB-hour",
    "sqs_request": "request",
    "s3_get": "request",
    "s3_head": "request",
    "s3_put": "request",
    "log_gb": "GB",
    "nat_hour": "hour",
    "nat_gb": "GB",
    "public_ipv4_hour": "hour",
    "endpoint_hour": "hour",
}
"""Every price there has to be, and what it is for."""
FIELDS: Final = frozenset({"usd", "per", "unit", "date", "source"})
Architecture = Literal["x86", "arm64"]


class PricesError(ThumbnailerError):
    """The prices cannot be read, or are not all there. The message has every mistake."""


@dataclass(frozen=True, slots=True)
class Price:
    """USD for one unit, and where it comes from."""

    usd: float
    unit: str
    date: datetime.date
    source: str


@dataclass(frozen=True, slots=True)
class Prices:
    """All prices of a region, complete."""

    region: str
    items: Mapping[str, Price]

    def __getitem__(self, name: str) -> float:
        """USD for one unit."""
        return self.items[name].usd

    def gb_second(self, architecture: Architecture) -> float:
        return self[f"lambda_{architecture}_gb_second"]

    def task_hour(self, vcpus: float, memory_gb: float, architecture: Architecture, spot: bool) -> float:
        """USD of a Fargate task for an hour, its network apart."""
        kind = f"{'spot' if spot else 'fargate'}_{architecture}"
        return vcpus * self[f"{kind}_vcpu_hour"] + memory_gb * self[f"{kind}_gb_hour"]


def load_prices(own: Path | None = None) -> Prices:
    """The shipped prices, with a user's own over them. Raises PricesError."""
    shipped = _read(SHIPPED)
    if missing := sorted(set(UNITS) - set(shipped)):
        raise PricesError(f"{SHIPPED}: no price for {', '.join(missing)}")
    over = _read(own) if own else {}
    tables = shipped | over
    region = tables.pop("region", None)
    if not isinstance(region, str) or not region:
        raise PricesError(f'{own or SHIPPED}: region: expected a name such as "us-east-1"')
    mistakes: list[str] = []
    items = {}
    for name, table in tables.items():
        try:
            items[name] = _price(name, table)
        except PricesError as error:
            mistakes.append(f"{own if name in over else SHIPPED}: {error}")
    if mistakes:
        raise PricesError("\n".join(mistakes))
    return Prices(region, items)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PricesError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PricesError(f"{path}: is not TOML: {error}") from error


def _price(name: str, table: object) -> Price:
    if name not in UNITS:
        near = difflib.get_close_matches(name, UNITS, 1)
        raise PricesError(f"{name}: no such price" + (f"; did you mean {near[0]}?" if near else ""))
    if not isinstance(table, Mapping):
        raise PricesError(f"{name}: expected a table with {', '.join(sorted(FIELDS))}")
    if unknown := sorted(set(table) - FIELDS):
        raise PricesError(f"{name}: unknown field {', '.join(unknown)}")
    if table.get("unit") != UNITS[name]:
        raise PricesError(f'{name}: unit: expected "{UNITS[name]}", found {table.get("unit")!r}')
    usd, per = _number(name, "usd", table.get("usd")), _number(name, "per", table.get("per", 1))
    if per == 0:
        raise PricesError(f"{name}: per: is 0")
    return Price(usd / per, UNITS[name], _date(name, table.get("date")), _source(name, table.get("source")))


def _number(name: str, field: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise PricesError(f"{name}: {field}: expected a number from 0, found {value!r}")
    return float(value)


def _date(name: str, value: object) -> datetime.date:
    try:
        return datetime.date.fromisoformat(str(value))
    except ValueError:
        raise PricesError(f"{name}: date: expected a day such as 2026-09-19, found {value!r}") from None


def _source(name: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise PricesError(f"{name}: source: expected where the price was found")
    return value
