"""Records as S3 would send them: the pipeline has one way in."""

import json
from typing import Any
from urllib.parse import quote_plus

from thumbnailer.backfill.verdicts import Finding, Verdict
from thumbnailer.model import EventKind, ObjectEvent


def event_of(finding: Finding, bucket: str) -> ObjectEvent:
    kind = EventKind.REMOVED if finding.verdict is Verdict.ORPHAN else EventKind.CREATED
    return ObjectEvent(kind, bucket, finding.key)


def message_of(finding: Finding, bucket: str) -> str:
    """The body of a message: an S3 notification of one record, so that a message that comes back is one picture."""
    removed = finding.verdict is Verdict.ORPHAN
    item: dict[str, Any] = {"key": quote_plus(finding.key, safe="/")}
    if not removed:
        item |= {"size": finding.listed.size, "eTag": finding.listed.etag}
    record = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "eventName": "ObjectRemoved:Reconcile" if removed else "ObjectCreated:Backfill",
        "s3": {"bucket": {"name": bucket}, "object": item},
    }
    return json.dumps({"Records": [record]})
