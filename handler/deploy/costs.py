"""The cost of a million pictures, and of the dearest hour, for a stack's parameters."""

from collections.abc import Mapping
from typing import Final

from thumbnailer.backfill.prices import load_prices

MILLION: Final = 1_000_000
HOURS_A_MONTH: Final = 730
_MEASURED: Final = {1: (0.1917, 1.43e-6), 10: (0.0539, 0.19e-6)}
"""GB-seconds and GB of log of a photo, by the pictures in an invocation, at 1,769 MB (deploy/README.md, costs)."""
_SECONDS: Final = 0.0312
"""of a photo in a batch of ten"""


def cost_lines(values: Mapping[str, str], renditions: int) -> list[str]:
    """What a million pictures and the dearest hour cost, as sentences."""
    prices = {name: price.usd for name, price in load_prices().items.items()}
    gb_second = prices["lambda_arm64_gb_second" if values["Architecture"] == "arm64" else "lambda_x86_gb_second"]
    requests = {
        batch: prices["lambda_request"] / batch
        + prices["s3_get"] + prices["s3_head"] + prices["s3_put"] * renditions + log_gb * prices["log_gb"]
        + (prices["sqs_request"] * (1 + 2 / batch) if values["Trigger"] != "direct" else 0)
        + (prices["eventbridge_event"] if values["Trigger"] == "eventbridge" else 0)
        for batch, (_, log_gb) in _MEASURED.items()
    }  # fmt: skip
    least, most = (MILLION * (_MEASURED[batch][0] * gb_second + requests[batch]) for batch in (10, 1))
    lines = [f"A million pictures cost {least:.2f} USD in batches of ten, {most:.2f} one by one (us-east-1, photos)."]
    if values["Trigger"] == "direct" and values["ReserveConcurrency"] != "true":
        return [*lines, "Nothing limits an hour but the account's concurrency: set ReserveConcurrency=true."]
    at_once = int(values["MaximumConcurrency"])
    hour, pictures = 3600 * at_once * int(values["MemorySize"]) / 1024 * gb_second, 3600 * at_once / _SECONDS
    return [
        *lines,
        f"The dearest hour: {hour:.2f} USD of Lambda if {at_once} invocations run all the time "
        f"({hour * HOURS_A_MONTH:.0f} a month), and {pictures * requests[10]:.2f} for the requests of {pictures:,.0f} "
        "pictures.",
    ]
