"""What a run would cost: the counts of a survey times dated prices, 10 % on top. Money is USD, time is seconds."""

import datetime
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from thumbnailer.backfill.job import Job
from thumbnailer.backfill.prices import Prices
from thumbnailer.backfill.verdicts import WORK, Finding, Verdict
from thumbnailer.renditions import possible_target_keys
from thumbnailer.settings import Settings
from thumbnailer.values import dataclass

MARGIN: Final = 1.1
PAGE: Final = 1000
BATCH: Final = 10
LISTED_A_SECOND: Final = 5_000
SECONDS_A_PICTURE: Final = 0.0405
"""one vCPU, photos of 1 to 24 MP in batches of ten (docs/performance.md)"""
LAMBDA_MB: Final = 1769
LAMBDA_AT_ONCE: Final = 10
LOG_BYTES: Final = 810
YEAR: Final = datetime.timedelta(days=365)
RETRIEVALS: Final = {"STANDARD_IA": "s3_ia", "ONEZONE_IA": "s3_ia", "GLACIER_IR": "s3_glacier_ir"}
"""Storage classes whose reading has prices of its own."""


class Survey:
    """The counts of a run or of a shard of it: objects by verdict, and work by storage class."""

    def __init__(
        self,
        counts: Mapping[str, int] | None = None,
        work: Mapping[str, int] | None = None,
        bytes_: Mapping[str, int] | None = None,
    ) -> None:
        self.counts = Counter(counts or {})
        self.work = Counter(work or {})
        self.bytes = Counter(bytes_ or {})

    def add(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            self.counts[finding.verdict] += 1
            if finding.verdict in WORK:
                listed = finding.listed
                self.work[listed.storage_class] += 1
                self.bytes[listed.storage_class] += listed.size

    def __add__(self, other: "Survey") -> "Survey":
        return Survey(self.counts + other.counts, self.work + other.work, self.bytes + other.bytes)

    @property
    def todo(self) -> int:
        """Records that the run would send."""
        return self.work.total()

    def within(self, most: int | None) -> "Survey":
        """The same with at most about `most` records, of each storage class its share."""
        if most is None or self.todo <= most:
            return self
        share = most / self.todo
        work, bytes_ = ({name: math.ceil(n * share) for name, n in each.items()} for each in (self.work, self.bytes))
        return Survey(self.counts, work, bytes_)

    def as_json(self) -> dict[str, Any]:
        """The arguments of an equal Survey."""
        return {"counts": dict(self.counts), "work": dict(self.work), "bytes_": dict(self.bytes)}


@dataclass(frozen=True, slots=True)
class Consumer:
    """Who makes the thumbnails: Lambda behind the queue, or this machine if `memory_mb` is 0."""

    memory_mb: int = LAMBDA_MB
    at_once: float = LAMBDA_AT_ONCE
    seconds_a_picture: float = SECONDS_A_PICTURE


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the bill; `number` counts requests, GB or GB-seconds."""

    name: str
    number: float
    usd: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """`usd` has the margin of 10 %, the lines have not. `prices_from` is the day of the oldest price."""

    todo: int
    lines: tuple[Line, ...]
    usd: float
    seconds: float
    prices_from: datetime.date
    region: str


def estimate(survey: Survey, settings: Settings, job: Job, prices: Prices, consumer: Consumer) -> Estimate:
    """The price of a run after its survey: its own requests, and those of the pipeline."""
    parts = [*_listing(survey, settings, job), *_pictures(survey, settings), *_work(survey.todo, consumer)]
    used = [(name, number, price) for name, number, price in parts if number]
    lines = tuple(Line(name, number, number * prices[price]) for name, number, price in used)
    seconds = _listed(survey) / LISTED_A_SECOND + survey.todo * consumer.seconds_a_picture / consumer.at_once
    oldest = min((prices.items[price].date for _, _, price in used), default=datetime.date.max)
    usd = MARGIN * sum(line.usd for line in lines)
    return Estimate(survey.todo, lines, usd, seconds, oldest, prices.region)


def age_warning(estimate: Estimate, today: datetime.date) -> str:
    """A sentence if a price is older than a year; else empty."""
    if today - estimate.prices_from <= YEAR:
        return ""
    return (
        f"A price is from {estimate.prices_from}, more than a year ago: update Thumbnailer, or give your own with "
        "--prices FILE, before you trust the sum."
    )


def transfer_warning(survey: Survey, prices: Prices) -> str:
    """A sentence about the transfer that a machine outside AWS pays for; it is in no line."""
    gb = survey.bytes.total() / 1e9
    return (
        f"{gb:,.2f} GB are read: {gb * prices['internet_gb']:,.2f} USD for transfer come on top if this machine is "
        "outside the bucket's region."
    )


_Parts = Iterator[tuple[str, float, str]]
"""Name, number and price of each line."""


def _listed(survey: Survey) -> int:
    return survey.counts.total() - survey.counts[Verdict.ORPHAN] - survey.counts[Verdict.FOREIGN]


def _listing(survey: Survey, settings: Settings, job: Job) -> _Parts:
    """The second listing, when records are sent, and HEADs where listings cannot tell."""
    sources, renditions = _listed(survey), len(settings.renditions)
    compares = job.compare != "none"
    thumbnails = renditions * sources if compares else 0
    yield "S3 LIST", math.ceil(sources / PAGE) + math.ceil(thumbnails / PAGE), "s3_list"
    possible = len(possible_target_keys(settings.key, "a/b.c", settings.renditions)) + 1
    unknown = survey.counts[Verdict.UNKNOWN] * possible if compares else 0
    fresh = survey.counts[Verdict.FRESH] * renditions if job.compare == "etag" else 0
    yield "S3 HEAD to compare", unknown + fresh, "s3_head"


def _pictures(survey: Survey, settings: Settings) -> _Parts:
    """What the pipeline asks S3 for: GET and HEAD of each source, PUT of each thumbnail."""
    looks = 0 if settings.write_once else 1
    for storage_class, number in sorted(survey.work.items()):
        price, label = RETRIEVALS.get(storage_class), "" if storage_class == "STANDARD" else f" from {storage_class}"
        yield f"S3 GET{label}", number, f"{price}_get" if price else "s3_get"
        yield f"S3 HEAD{label}", number * looks, f"{price}_get" if price else "s3_head"
        if price:
            yield f"GB retrieved{label}", survey.bytes[storage_class] / 1e9, f"{price}_retrieved_gb"
    puts = survey.todo * len(settings.renditions)
    yield "S3 PUT", puts, "s3_put"
    yield "KMS requests", puts if (settings.sse or "").startswith("aws:kms") else 0, "kms_request"


def _work(todo: int, consumer: Consumer) -> _Parts:
    """Queue, function and log; nothing if this machine does the work."""
    if not consumer.memory_mb:
        return
    batches = math.ceil(todo / BATCH)
    yield "SQS requests", 3 * batches, "sqs_request"
    yield "SQS sends with a group", batches, "sqs_fair_request"
    yield "Lambda GB-seconds", todo * consumer.seconds_a_picture * consumer.memory_mb / 1024, "lambda_x86_gb_second"
    yield "Lambda invocations", batches, "lambda_request"
    yield "GB of log", todo * LOG_BYTES / 1e9, "log_gb"
