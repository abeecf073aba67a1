"""The cost of a million pictures, and of the dearest hour, for a stack's parameters."""

import tomllib
from collections.abc import Mapping
from typing import Final

from handler.deploy.parameters import ROOT

MILLION: Final = 1_000_000
HOURS_A_MONTH: Final = 730
_GB_SECONDS: Final = {1: 0.2125, 10: 0.0700}
_SECONDS: Final = {1: 0.123, 10: 0.0405}
_LOG_GB: Final = {1: 2.2e-6, 10: 0.81e-6}
"""Of one picture, by the pictures in an invocation, at 1,769 MB and LogLevel=INFO (deploy/README.md, costs)."""


def load_prices() -> dict[str, float]:
    """USD for one unit, from the bench's list of prices."""
    listed = tomllib.loads((ROOT / "bench" / "money" / "prices.toml").read_text())
    return {name: one["usd"] / one.get("per", 1) for name, one in listed.items() if isinstance(one, dict)}


def million(values: Mapping[str, str], renditions: int, batch: int, prices: Mapping[str, float]) -> float:
    """USD for a million pictures, with 1 or 10 pictures an invocation."""
    architecture = "arm64" if values["Architecture"] == "arm64" else "x86"
    each = (
        _GB_SECONDS[batch] * prices[f"lambda_{architecture}_gb_second"]
        + prices["lambda_request"] / batch
        + prices["s3_get"]
        + prices["s3_head"]
        + prices["s3_put"] * renditions
        + _LOG_GB[batch] * prices["log_gb"]
        + (prices["sqs_request"] * (1 + 2 / batch) if values["Trigger"] != "direct" else 0)
        + (prices["eventbridge_event"] if values["Trigger"] == "eventbridge" else 0)
    )
    return MILLION * each


def busy_hour(values: Mapping[str, str], prices: Mapping[str, float]) -> float:
    """USD for the time of Lambda in an hour in which every allowed invocation runs."""
    architecture = "arm64" if values["Architecture"] == "arm64" else "x86"
    gigabytes = int(values["MemorySize"]) / 1024
    return 3600 * int(values["MaximumConcurrency"]) * gigabytes * prices[f"lambda_{architecture}_gb_second"]


def cost_lines(values: Mapping[str, str], renditions: int) -> list[str]:
    """What a million pictures and the dearest hour cost, as sentences."""
    prices = load_prices()
    least, most = (million(values, renditions, batch, prices) for batch in (10, 1))
    lines = [f"A million pictures cost {least:.2f} USD in batches of ten, {most:.2f} one by one (us-east-1, photos)."]
    if values["Trigger"] == "direct" and values["ReserveConcurrency"] != "true":
        return [*lines, "Nothing limits an hour but the account's concurrency: set ReserveConcurrency=true."]
    hour = busy_hour(values, prices)
    pictures = 3600 * int(values["MaximumConcurrency"]) / _SECONDS[10]
    requests = pictures * least / MILLION - pictures * _GB_SECONDS[10] * prices["lambda_x86_gb_second"]
    return [
        *lines,
        f"The dearest hour: {hour:.2f} USD of Lambda if {values['MaximumConcurrency']} invocations run all the time "
        f"({hour * HOURS_A_MONTH:.0f} a month), and {requests:.2f} for the requests of the {pictures:,.0f} pictures "
        "that they make at most.",
    ]
