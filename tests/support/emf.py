"""CloudWatch's embedded metric format: the specification's JSON schema, and rules beyond a schema.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

import jsonschema

MOST_BYTES = 256 * 1024
"""The limit of a log event. Newer versions of the specification allow 1 MB."""
MOST_VALUES = 100
_SCALES = ("", "Kilo", "Mega", "Giga", "Tera")
_SIZES = [f"{scale}{unit}".capitalize() for unit in ("Bytes", "Bits") for scale in _SCALES]
UNITS = [
    "Seconds",
    "Microseconds",
    "Milliseconds",
    *_SIZES,
    "Percent",
    "Count",
    *(f"{size}/Second" for size in [*_SIZES, "Count"]),
    "None",
]


def _text(longest: int) -> dict[str, Any]:
    return {"type": "string", "minLength": 1, "maxLength": longest}


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    """The specification: objects "MUST NOT contain any additional members"."""
    return {
        "type": "object",
        "required": list(required),
        "properties": required | (optional or {}),
        "additionalProperties": False,
    }


METRIC_DEFINITION = _object({"Name": _text(1024)}, {"Unit": {"enum": UNITS}, "StorageResolution": {"enum": [1, 60]}})
METRIC_DIRECTIVE = _object(
    {
        "Namespace": _text(1024),
        "Dimensions": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "array", "maxItems": 30, "uniqueItems": True, "items": _text(250)},
        },
        "Metrics": {"type": "array", "maxItems": 100, "items": METRIC_DEFINITION},
    }
)
METADATA = _object(
    {
        "Timestamp": {"type": "integer", "minimum": 0},
        "CloudWatchMetrics": {"type": "array", "minItems": 1, "items": METRIC_DIRECTIVE},
    },
    {"LogGroupName": {"type": "string"}},
)
SCHEMA: dict[str, Any] = {"type": "object", "required": ["_aws"], "properties": {"_aws": METADATA}}

_VALID = jsonschema.Draft202012Validator(SCHEMA)
_NUMBER = {"type": "number"}
_VALUES = jsonschema.Draft202012Validator(
    {"oneOf": [_NUMBER, {"type": "array", "minItems": 1, "maxItems": MOST_VALUES, "items": _NUMBER}]}
)
_DIMENSION = jsonschema.Draft202012Validator(_text(1024))


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def check(line: str) -> dict[str, Any]:
    """The document in `line`. Raises ValueError or jsonschema's ValidationError if CloudWatch would reject it."""
    if len(line.encode()) > MOST_BYTES:
        raise ValueError(f"a log event of {len(line.encode())} bytes")
    document: dict[str, Any] = json.loads(line, parse_constant=_no_number)
    _VALID.validate(document)
    for directive in document["_aws"]["CloudWatchMetrics"]:
        for metric in directive["Metrics"]:
            _VALUES.validate(document.get(metric["Name"]))
        for name in (name for names in directive["Dimensions"] for name in names):
            _DIMENSION.validate(document.get(name))
    return document
