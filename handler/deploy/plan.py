"""What a deployment will be: everything that is checked before anything is made."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import typer

from handler.deploy import DeployError
from handler.deploy.account import Account, has_bucket, look_at_concurrency
from handler.deploy.parameters import (
    ADDITIONS,
    MAIN,
    is_foreign,
    load_template,
    read_values,
    refuse_values,
    settings_of,
    values_from_main,
)
from handler.deploy.stacks import CloudFormation, Stack
from thumbnailer.errors import nearest

MOST_BUCKET_NAME: Final = 63
STACK_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,28}")
"""The code bucket's name has it, with account and region; a bucket's name has 63 characters at most."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asks for. `sets` are `Name=value`."""

    bucket: str = ""
    additions: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    zip: Path | None = None
    image: str = ""
    stack: str = "thumbnailer"
    region: str | None = None
    dry_run: bool = False
    yes: bool = False

    def agrees(self, question: str) -> bool:
        return self.yes or typer.confirm(question)


@dataclass(frozen=True, slots=True)
class Plan:
    """The stacks to be. `given` are the user's parameters, `values` those of the main stack that this run sets.

    `additions` are the present stacks by the addition's name, None for a new one.
    """

    name: str
    stack: Stack | None
    given: Mapping[str, str]
    values: Mapping[str, str]
    additions: Mapping[str, Stack | None]

    @property
    def effective(self) -> dict[str, str]:
        """Every parameter of the main stack after this run."""
        return {**load_template(MAIN).defaults(), **(self.stack.values if self.stack else {}), **self.values}


def make_plan(request: Request, account: Account, cloudformation: CloudFormation) -> tuple[Plan, list[str]]:
    """The plan, and warnings. Raises DeployError."""
    if not STACK_NAME.fullmatch(request.stack):
        raise DeployError(f"--stack {request.stack}: take at most 29 of a-z, 0-9 and hyphens, a letter first.")
    stack, main = cloudformation.find_usable(request.stack), load_template(MAIN)
    additions = _additions(request, cloudformation)
    given = read_values(request.sets, [ADDITIONS[name] for name in additions])
    asked = {key: value for name in request.additions for key, value in ADDITIONS[name].main.items()}
    image = {"PackageType": "Image", "ImageUri": request.image} if request.image else {}
    wanted = {**asked, **image, **given, "SourceBucket": _bucket(request, stack)}
    values = {name: value for name, value in wanted.items() if name in main.parameters}
    refuse_values(main, values)
    plan = Plan(request.stack, stack, given, values, additions)
    destination = _destination(plan.effective)
    absent = "HasQueue" if plan.effective["Trigger"] == "direct" else ""
    outputs = {name: "-" for name, one in main.parsed["Outputs"].items() if one.get("Condition", "-") != absent}
    for name, present in additions.items():
        known = {**outputs, **plan.effective, **ADDITIONS[name].given(given)}
        values_from_main(ADDITIONS[name], known, present.values if present else {})
    warnings = _look_at_quota(account, plan)
    there = {} if stack else _buckets_there(plan.effective, destination, account)
    is_made = {**plan.effective, **there}["CreateDestinationBucket"] == "true"
    if not is_made and values.get("Readers") != given.get("Readers"):
        del values["Readers"]
        warnings.append(f"The policy of {destination} is yours: let CloudFront read the bucket (deploy/buckets.md).")
    return Plan(request.stack, stack, given, {**there, **values}, additions), warnings


def _look_at_quota(account: Account, plan: Plan) -> list[str]:
    """Warnings about a new main stack. Raises DeployError if Lambda would refuse a reservation of a new stack."""
    values = dict(plan.effective)
    for addition in (ADDITIONS[name] for name, present in plan.additions.items() if not present):
        values = {**load_template(addition.file).defaults(), **addition.given(plan.given), **values}
    if not plan.stack:
        return look_at_concurrency(account, values)
    if "OnDemandConcurrency" in values:
        look_at_concurrency(account, {**values, "ReserveConcurrency": "false"})  # the present stack has its own already
    return []


def _additions(request: Request, cloudformation: CloudFormation) -> dict[str, Stack | None]:
    """Those that are asked for, and those that are there: one run updates all stacks."""
    for name in request.additions:
        if name not in ADDITIONS:
            raise DeployError(f"--with {name}: there is {', '.join(ADDITIONS)}{nearest(name, ADDITIONS)}.")
    stacks = {name: cloudformation.find_usable(f"{request.stack}-{name}") for name in ADDITIONS}
    return {name: stack for name, stack in stacks.items() if stack or name in request.additions}


def _bucket(request: Request, stack: Stack | None) -> str:
    known = stack.values["SourceBucket"] if stack else request.bucket
    if not known:
        raise DeployError("Which bucket? Add --bucket NAME; it is made if it is not there.")
    if request.bucket not in ("", known):
        raise DeployError(f"The stack {request.stack} is for the bucket {known}: add --stack NAME for one more.")
    return known


def _destination(values: Mapping[str, str]) -> str:
    """The bucket of the thumbnails. Raises DeployError for a name that no bucket can have, and for an endless loop."""
    settings, source = settings_of(values), values["SourceBucket"]
    name = settings.destination_bucket(source)
    if len(name) > MOST_BUCKET_NAME:
        raise DeployError(
            f"The bucket of the thumbnails would be {name}: {len(name)} characters, and S3 allows {MOST_BUCKET_NAME}. "
            "Add --set Destination=NAME."
        )
    if settings.is_destination(source):
        raise DeployError(
            f"{source} has the name of a bucket of thumbnails, whose objects are skipped: take another bucket, or add "
            "--set Destination=NAME."
        )
    return name


def _buckets_there(values: Mapping[str, str], destination: str, account: Account) -> dict[str, str]:
    """Parameters of a new stack for buckets that it does not make, because they are there."""
    if is_foreign(values):
        return {}
    source = {"CreateSourceBucket": "false", "Trigger": "eventbridge"}
    return (source if has_bucket(account, values["SourceBucket"]) else {}) | (
        {"CreateDestinationBucket": "false"} if has_bucket(account, destination) else {}
    )
