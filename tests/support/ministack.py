"""MiniStack: an AWS of its own process, without Docker, which runs templates, state machines and the zip of a function.

It is beta. It does not know: alarms over metric math, Fn::Split in conditions, some numbers given as text
(`possible_in_ministack` changes a template accordingly), IAM policies, TLS, prices, and how long AWS takes.
"""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.config import Config

from bench.rig.processes import background, free_port, listens
from tests.support.environments import locked_environment

REGION: Final = "us-east-1"
ACCOUNT: Final = "123456789012"
UNABLE: Final = {
    "AWS::CloudWatch::Dashboard",  # it refers to alarms that are left out
    "AWS::ApplicationAutoScaling::ScalableTarget",
    "AWS::ApplicationAutoScaling::ScalingPolicy",
}


@dataclass(frozen=True, slots=True)
class MiniStack:
    """A running MiniStack. `env` points a process to it."""

    url: str
    env: Mapping[str, str]

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=ACCOUNT,
            aws_secret_access_key="testing",
            config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
        )

    def reset(self) -> None:
        """Removes every resource."""
        request = urllib.request.Request(f"{self.url}/_ministack/reset", method="POST")
        urllib.request.urlopen(request, timeout=60).close()


@contextmanager
def running_ministack(folder: Path) -> Iterator[MiniStack]:
    """MiniStack on a free port of loopback, with its files in `folder`. Raises NotInstalled, NotStarted."""
    python, port = locked_environment("ministack"), free_port()
    url = f"http://127.0.0.1:{port}"
    keys = {"AWS_ACCESS_KEY_ID": ACCOUNT, "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": REGION}
    own = {"GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "MINISTACK_HOST": "127.0.0.1", "LOG_LEVEL": "WARNING"}
    places = {"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder)}
    account = {"MINISTACK_ACCOUNT_ID": ACCOUNT, "MINISTACK_REGION": REGION}
    with background(
        "MiniStack",
        [str(python), "-m", "ministack"],
        lambda: listens(port),
        {**places, **keys, **own, **account},
        folder,
        folder / "ministack.log",
    ):
        yield MiniStack(url, {**keys, "AWS_REGION": REGION, "AWS_ENDPOINT_URL": url})


def possible_in_ministack(template: Mapping[str, Any], true: frozenset[str] = frozenset({"NamesSource"})) -> str:
    """A template as JSON without the parts that MiniStack refuses.

    It cannot split text in conditions, so such a condition is set: true if its name is in `true`. It compares numbers
    of a mapping with text, so their parameters' defaults are written as numbers.
    """
    conditions = {
        name: ({"Fn::Equals": ["", "" if name in true else "no"]} if "Fn::Split" in json.dumps(written) else written)
        for name, written in template.get("Conditions", {}).items()
    }
    kept = {id_: _with_numbers(one, template) for id_, one in template["Resources"].items() if not _is_unable(one)}
    gone = set(template["Resources"]) - set(kept)
    outputs = {
        name: one
        for name, one in template.get("Outputs", {}).items()
        if not any(f'"{id_}"' in json.dumps(one) for id_ in gone)
    }
    return json.dumps({**template, "Conditions": conditions, "Resources": kept, "Outputs": outputs})


def _is_unable(resource: Mapping[str, Any]) -> bool:
    return resource["Type"] in UNABLE or "Metrics" in resource.get("Properties", {})


def _with_numbers(resource: Mapping[str, Any], template: Mapping[str, Any]) -> Mapping[str, Any]:
    if resource["Type"] not in ("AWS::Lambda::EventSourceMapping", "AWS::ECS::Service"):
        return resource
    numbers = {name: _number(value, template) for name, value in resource["Properties"].items()}
    return {**resource, "Properties": {**resource["Properties"], **numbers}}


def _number(value: Any, template: Mapping[str, Any]) -> Any:
    """A reference to a parameter that is a number, anywhere in a value, as its default."""
    if isinstance(value, list):
        return [_number(one, template) for one in value]
    if not isinstance(value, dict):
        return value
    default = template["Parameters"].get(value.get("Ref"), {}).get("Default")
    if str(default).isdigit():
        return int(default)
    return {name: _number(one, template) for name, one in value.items()}
