"""Turns the errors of stores, and bugs, into RecordErrors: here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from thumbnailer import errors
from thumbnailer.errors import RecordError, StoreError

ErrorMap = Mapping[type[StoreError], type[RecordError]]
OF_SOURCE: Final[ErrorMap] = {
    errors.ObjectMissing: errors.Gone,
    errors.BucketMissing: errors.Gone,
    errors.StoreDenied: errors.AccessDenied,
    errors.ObjectArchived: errors.Archived,
    errors.StoreThrottled: errors.Throttled,
    errors.StoreError: errors.SourceUnavailable,
}
OF_DESTINATION: Final[ErrorMap] = {  # all are retried: the operator can repair the destination
    errors.StoreDenied: errors.DestinationDenied,
    errors.StoreThrottled: errors.Throttled,
    errors.StoreError: errors.DestinationUnavailable,
}


@contextmanager
def store_errors(mapping: ErrorMap) -> Iterator[None]:
    """Raises the RecordError for a StoreError of the block: the first entry whose class fits."""
    try:
        yield
    except StoreError as error:
        kind = next(kind for kind in mapping if isinstance(error, kind))
        raise mapping[kind](str(error)) from error


def internal_error(error: Exception) -> RecordError:
    """For a bug in the product or in an engine: the record is retried, the others go on."""
    return errors.EngineCrash(f"internal error: {type(error).__name__}: {error}"[:300])
