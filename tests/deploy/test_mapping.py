"""The stand-in for Lambda's event source mapping."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.mapping import sqs_event

RECORDED = Path(__file__).parents[1] / "events" / "sqs_s3.json"


def test_event_has_the_shape_of_a_recorded_one() -> None:
    """Rebuilt from the messages as SQS would return them, the recorded event is the same."""
    recorded = json.loads(RECORDED.read_bytes())
    messages = [
        {
            "MessageId": record["messageId"],
            "ReceiptHandle": record["receiptHandle"],
            "Body": record["body"],
            "Attributes": record["attributes"],
            "MD5OfBody": record["md5OfBody"],
        }
        for record in recorded["Records"]
    ]
    assert sqs_event(messages, "arn:aws:sqs:eu-central-1:123456789012:thumbnails") == recorded
