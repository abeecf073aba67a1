"""MiniStack: an AWS of its own process, without Docker, which runs templates, state machines and the zip of a function.

It is beta. It does not know: alarms over metric math, Fn::Split in conditions, some numbers given as text
(`possible_in_ministack` changes a template accordingly), IAM policies, TLS, prices, and how long AWS takes.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.config import Config

from bench.rig.processes import NotInstalled, background, free_port, listens, made_once

ROOT: Final = Path(__file__).parents[2]
LOCK: Final = ROOT / ".ci" / "ministack.txt"
REGION: Final = "us-east-1"
ACCOUNT: Final = "123456789012"
UNABLE: Final = {"AWS::CloudWatch::Dashboard"}
"""The dashboard refers to alarms that are left out."""


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


def install_ministack() -> Path:
    """The Python of an environment with the versions of .ci/ministack.txt. Raises NotInstalled."""

    def install(target: Path) -> None:
        uv = str(Path(sys.executable).with_name("uv"))
        python = str(target / "bin" / "python")
        for command in (
            ["venv", "--quiet", "--relocatable", "--clear", f"--python={sys.executable}", str(target)],
            ["pip", "install", "--quiet", f"--python={python}", "--require-hashes", f"--requirements={LOCK}"],
        ):
            done = subprocess.run([uv, *command], capture_output=True, text=True, check=False)
            if done.returncode:
                raise NotInstalled(f"MiniStack cannot be installed: {done.stderr.strip()[-300:]}")

    digest = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()[:12]
    return made_once(ROOT / ".venv" / f"ministack-{digest}", install) / "bin" / "python"


@contextmanager
def running_ministack(folder: Path) -> Iterator[MiniStack]:
    """MiniStack on a free port of loopback, with its files in `folder`. Raises NotInstalled, NotStarted."""
    python, port = install_ministack(), free_port()
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

    It cannot split text in conditions, so such a condition is set: true if its name is in `true`.
    """
    conditions = {
        name: ({"Fn::Equals": ["", "" if name in true else "no"]} if "Fn::Split" in json.dumps(written) else written)
        for name, written in template.get("Conditions", {}).items()
    }
    kept = {id_: one for id_, one in template["Resources"].items() if not _is_unable(one)}
    gone = set(template["Resources"]) - set(kept)
    outputs = {
        name: one
        for name, one in template.get("Outputs", {}).items()
        if not any(f'"{id_}"' in json.dumps(one) for id_ in gone)
    }
    return json.dumps({**template, "Conditions": conditions, "Resources": kept, "Outputs": outputs})


def _is_unable(resource: Mapping[str, Any]) -> bool:
    return resource["Type"] in UNABLE or "Metrics" in resource.get("Properties", {})
