"""S3's check of a form, which moto leaves out.

The rules: docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from xml.sax.saxutils import escape

from moto.s3.responses import S3Response

UNCHECKED = {"policy", "x-amz-signature"}


def refusal(fields: Mapping[str, str], size: int, bucket: str, secret: str, now: datetime) -> str | None:
    """The reason why S3 refuses a form with a file of `size` bytes; None if it takes the file."""
    if not hmac.compare_digest(signature(fields, secret), fields["x-amz-signature"]):
        return "SignatureDoesNotMatch"
    policy = json.loads(base64.b64decode(fields["policy"]))
    if now > datetime.fromisoformat(policy["expiration"]):
        return "Policy expired"
    given, named = {"bucket": bucket, **fields}, UNCHECKED | {"bucket"}
    for condition in policy["conditions"]:
        kind, name, value = as_list(condition)
        if kind == "content-length-range":
            failed = not name <= size <= value
        else:
            text = given.get(name[1:], "")
            failed = text != value if kind == "eq" else not text.startswith(value)
            named.add(name[1:])
        if failed:
            return f"Policy Condition failed: {json.dumps(condition)}"
    extra = sorted(given.keys() - named)
    return f"Extra input fields: {extra[0]}" if extra else None


def as_list(condition: Any) -> list[Any]:
    """{"name": "value"} is short for ["eq", "$name", "value"]."""
    if isinstance(condition, list):
        return condition
    ((name, value),) = condition.items()
    return ["eq", f"${name}", value]


def signature(fields: Mapping[str, str], secret: str) -> str:
    key = f"AWS4{secret}".encode()
    for part in fields["x-amz-credential"].split("/")[1:]:
        key = hmac.digest(key, part.encode(), hashlib.sha256)
    return hmac.digest(key, fields["policy"].encode(), hashlib.sha256).hex()


def checked(post: Any, seen: list[dict[str, str]]) -> Any:
    """moto's POST behind the check. Adds the fields of each form to `seen`."""

    @functools.wraps(post)
    def checking(self: S3Response, request: Any, bucket: str) -> Any:
        fields = dict(request.form)
        seen.append(fields)
        if why := refusal(fields, len(self.body), bucket, "testing", datetime.now(UTC)):
            return 403, {}, f"<Error><Code>AccessDenied</Code><Message>{escape(why)}</Message></Error>"
        return post(self, request, bucket)

    return checking
