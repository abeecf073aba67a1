"""What a deployment will be: everything that is checked before anything is made."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import typer

from handler.deploy import DeployError
from handler.deploy.account import Account, has_bucket, look_at_concurrency
from handler.deploy.parameters import (
    ADDITIONS,
    MAIN,
    Addition,
    Template,
    load_template,
    read_values,
    refuse_values,
    settings_of,
)
from handler.deploy.stacks import CloudFormation, Stack
from thumbnailer.errors import nearest
from thumbnailer.settings import Settings

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
    """The stacks to be. `given` are the user's parameters, `values` this run's of the main stack."""

    name: str
    bucket: str
    stack: Stack | None
    given: Mapping[str, str]
    values: Mapping[str, str]
    additions: Mapping[str, Addition]

    @property
    def template(self) -> Template:
        return load_template(MAIN)

    @property
    def effective(self) -> dict[str, str]:
        """Every parameter of the main stack after this run."""
        return {**self.template.defaults(), **(self.stack.values if self.stack else {}), **self.values}

    @property
    def settings(self) -> Settings:
        return settings_of(self.effective)


def make_plan(request: Request, account: Account, cloudformation: CloudFormation) -> tuple[Plan, list[str]]:
    """The plan, and warnings. Raises DeployError."""
    if not STACK_NAME.fullmatch(request.stack):
        raise DeployError(f"--stack {request.stack}: take at most 29 of a-z, 0-9 and hyphens, a letter first.")
    stack = cloudformation.find_usable(request.stack)
    additions = _additions(request, cloudformation)
    given = _given(request, additions)
    bucket = _bucket(request, stack)
    asked = {key: value for name in request.additions for key, value in ADDITIONS[name].main.items()}
    image = {"PackageType": "Image", "ImageUri": request.image} if request.image else {}
    values = {**asked, **image, **given, "SourceBucket": bucket}
    declared = load_template(MAIN).parameters
    own = {name: value for name, value in values.items() if name in declared}
    plan = Plan(request.stack, bucket, stack, given, own, additions)
    refuse_values(plan.template, own)
    _check_names(plan)
    for addition in additions.values():
        addition.refuse_missing(plan.effective)
    plan = plan if stack else replace(plan, values={**_buckets_there(plan, account), **own})
    return plan, look_at_concurrency(account, plan.effective)


def _additions(request: Request, cloudformation: CloudFormation) -> dict[str, Addition]:
    """Those that are asked for, and those that are there: one run updates all stacks."""
    for name in request.additions:
        if name not in ADDITIONS:
            raise DeployError(f"--with {name}: there is {', '.join(ADDITIONS)}{nearest(name, ADDITIONS)}.")
    return {
        name: addition
        for name, addition in ADDITIONS.items()
        if name in request.additions or cloudformation.find_usable(f"{request.stack}-{name}")
    }


def _given(request: Request, additions: Mapping[str, Addition]) -> dict[str, str]:
    templates = [load_template(file) for file in (MAIN, *(one.file for one in additions.values()))]
    given = read_values(request.sets, templates)
    for template in templates:
        refuse_values(template, given)
    return given


def _bucket(request: Request, stack: Stack | None) -> str:
    known = stack.values["SourceBucket"] if stack else ""
    if known and request.bucket not in ("", known):
        raise DeployError(f"The stack {request.stack} is for the bucket {known}: add --stack NAME for one more.")
    if not known and not request.bucket:
        raise DeployError("Which bucket? Add --bucket NAME; it is made if it is not there.")
    return known or request.bucket


def _check_names(plan: Plan) -> None:
    """Refuses names that no bucket can have, and an endless loop."""
    name = plan.settings.destination_bucket(plan.bucket)
    if len(name) > MOST_BUCKET_NAME:
        raise DeployError(
            f"The bucket of the thumbnails would be {name}: {len(name)} characters, and S3 allows {MOST_BUCKET_NAME}. "
            "Add --set Destination=NAME."
        )
    if plan.settings.is_destination(plan.bucket):
        raise DeployError(
            f"{plan.bucket} has the name of a bucket of thumbnails, whose objects are skipped: take another bucket, or "
            "add --set Destination=NAME."
        )


def _buckets_there(plan: Plan, account: Account) -> dict[str, str]:
    """Parameters of a new stack for buckets that it does not make, because they are there."""
    there: dict[str, str] = {}
    if has_bucket(account, plan.bucket):
        there = {"CreateSourceBucket": "false", "Trigger": "eventbridge"}
    is_here = not plan.effective["DestinationAccount"]
    if is_here and has_bucket(account, plan.settings.destination_bucket(plan.bucket)):
        there["CreateDestinationBucket"] = "false"
    return there
