"""What a run is asked to do. The command line and the state machine give the same fields."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from thumbnailer.backfill.verdicts import Policy
from thumbnailer.errors import SettingsError, nearest
from thumbnailer.settings import Kind, Settings, Text, Whole, Words
from thumbnailer.values import dataclass

SHARD_KEYS: Final = 10_000


class Shard(NamedTuple):
    """The sources whose keys sort behind `after`, up to and with `upto`; None: to the end."""

    after: str = ""
    upto: str | None = None


EVERYTHING: Final = Shard()


@dataclass(frozen=True, slots=True)
class Job:
    """`most` limits the records of the run; None: as many as its survey counted. `limit_usd` 0 is a dry run."""

    bucket: str
    prefix: str = ""
    mode: str = "backfill"
    compare: str = "time"
    policy: Policy = Policy()
    limit_usd: float = 0.0
    most: int | None = None

    @property
    def reconciles(self) -> bool:
        return self.mode == "reconcile"


def _usd(text: str) -> float:
    if not 0 < (usd := float(text)) < math.inf:
        raise ValueError("not above 0")
    return usd


def _epoch(text: str) -> int:
    time = datetime.fromisoformat(text)
    return math.ceil((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())


KINDS: Final[Mapping[str, Kind]] = {
    "prefix": Text("the beginning of keys"),
    "mode": Words(("backfill", "reconcile")),
    "compare": Words(("time", "etag", "none")),
    "redo_before": Text("a time such as 2026-11-30 or 2026-11-30T12:00Z, in UTC", convert=_epoch),
    "retry_failed": Words(("True", "False"), "True".__eq__),
    "limit_usd": Text("USD above 0, e.g. 8; without a limit it is a dry run", convert=_usd),
    "most": Whole(1, 10**12),
}
"""The fields of a job."""


def parse_job(bucket: str, given: Mapping[str, Any]) -> Job:
    """A job from the fields in KINDS; missing, empty and zero ones take the default. Raises SettingsError."""
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in KINDS:
            raise SettingsError(f"{name} is no field of a job{nearest(name, KINDS)}; it has {', '.join(KINDS)}")
        try:
            values |= {name: KINDS[name].parse(str(value))} if value else {}
        except ValueError as error:
            raise SettingsError(f"{name} is {value!r}: {error}. It accepts: {KINDS[name].accepts}.") from None
    policy = Policy(values.pop("redo_before", 0), values.pop("retry_failed", False))
    return Job(bucket, policy=policy, **values)


def refuse_bucket(bucket: str, settings: Settings) -> None:
    """Raises SettingsError if the pipeline would take no source of this bucket."""
    if settings.is_destination(bucket):
        raise SettingsError(
            f"{bucket} is a destination of THUMBNAILER_DESTINATION={settings.destination}: "
            "name the bucket that has the originals"
        )
    if not settings.may_be_source(bucket):
        raise SettingsError(
            f"{bucket} is none of THUMBNAILER_SOURCES={','.join(settings.sources)}: "
            "add it to that setting, or the pipeline skips every record"
        )


def cut_shards(keys: list[str], after: str) -> list[Shard]:
    """The shards of sorted keys, which follow the key `after`."""
    ends = [*keys[SHARD_KEYS - 1 :: SHARD_KEYS]]
    if keys and (not ends or ends[-1] != keys[-1]):
        ends.append(keys[-1])
    return [Shard(first, last) for first, last in zip([after, *ends], ends, strict=False)]
