"""The way of a deployment: check, prepare, show, ask, execute, try. And the way back."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

import typer
from botocore.exceptions import ClientError

from handler.deploy import DeploymentFailed
from handler.deploy.account import Account, code_of, open_account, sentences
from handler.deploy.code import CodeBucket, build_package, check_package, read_package
from handler.deploy.costs import cost_lines
from handler.deploy.parameters import (
    ADDITIONS,
    MAIN,
    Addition,
    Template,
    is_foreign,
    load_template,
    settings_of,
    values_from_main,
)
from handler.deploy.plan import Plan, Request, make_plan
from handler.deploy.removal import SWITCHED_ON, find_stacks, remove
from handler.deploy.source import sample_key, send_sample, switch_eventbridge_on, thumbnail_of_sample
from handler.deploy.stacks import CloudFormation, Stack

FAILED: Final = 1
PATIENCE, LONG_PATIENCE = 120.0, 900.0
"""Seconds for a sample's thumbnail; EventBridge begins after some five minutes, a Fargate task starts in some."""
LINK_SECONDS: Final = 3600


@contextmanager
def _opened(request: Request) -> Iterator[tuple[Account, CloudFormation, CodeBucket]]:
    with sentences():
        account = open_account(request.region)
        yield account, CloudFormation(account.client("cloudformation")), CodeBucket(account, request.stack)


def run_deploy(request: Request) -> int:
    """Returns the exit code. Raises DeployError, DeploymentFailed."""
    with _opened(request) as (account, cloudformation, code):
        plan, warnings = make_plan(request, account, cloudformation)
        bucket = plan.values["SourceBucket"]
        print(f"Account {account.id}, {account.region}, stack {plan.name}, bucket {bucket}", *warnings, sep="\n")
        deployment = Deployment(request, account, cloudformation, code, plan)
        with ExitStack() as undo:
            changed = deployment.run(undo)
        return deployment.finish() if changed else 0


def run_remove(request: Request) -> int:
    """Returns the exit code. Raises DeployError, DeploymentFailed."""
    with _opened(request) as (account, cloudformation, code):
        stacks = find_stacks(cloudformation, request.stack)
        if not stacks and not code.exists():
            print(f"Nothing to do: there is no stack {request.stack} in {account.region}.")
            return 0
        names = ", ".join(stack.name for stack in stacks) or "none, only the code bucket"
        print(f"Account {account.id}, {account.region}. Stacks: {names}. Events that wait are lost.")
        if not request.dry_run and request.agrees("Remove them, their code, and their buckets if these are empty?"):
            for line in remove(account, cloudformation, code, stacks):
                print(line)
            return 0
        print("Nothing was changed.")
        return 0 if request.dry_run else FAILED


@dataclass(frozen=True, slots=True)
class Deployment:
    """One run. What it makes is undone unless a change set is executed."""

    request: Request
    account: Account
    cloudformation: CloudFormation
    code: CodeBucket
    plan: Plan

    def run(self, undo: ExitStack) -> bool:
        """Deploys the main stack and the additions; returns whether anything was changed."""
        plan = self.plan
        self.code.make(undo)
        values = {**plan.values, **self._code()}
        main = self._deploy(plan.name, plan.stack, load_template(MAIN), values, self._before_main, undo)
        changed = main is not plan.stack
        for name, stack in plan.additions.items():
            if main is None:
                print(f"{plan.name}-{name}: --dry-run can show it when {plan.name} is deployed.")
            else:
                changed |= self._deploy_addition(ADDITIONS[name], stack, main, undo)
        return changed

    def _code(self) -> dict[str, str]:
        """The parameters of the zip, which is built if none is given; none for an image."""
        effective = self.plan.effective
        if effective["PackageType"] == "Image" and effective["ImageUri"]:
            return {}
        runtime, architecture = effective["Runtime"], effective["Architecture"]
        package = read_package(self.request.zip or build_package(runtime, architecture))
        check_package(package, runtime, architecture)
        return {"PackageType": "Zip", "CodeBucket": self.code.name, "CodeKey": self.code.upload(package)}

    def _before_main(self, undo: ExitStack) -> None:
        values = self.plan.effective
        if values["CreateSourceBucket"] == "true" or values["Trigger"] != "eventbridge":
            return
        if switch_eventbridge_on(self.account, values["SourceBucket"], self.plan.name, undo):
            print("EventBridge is switched on in the bucket; S3 begins to send within five minutes.")
            self.code.put(SWITCHED_ON, "")

    def _deploy_addition(self, addition: Addition, stack: Stack | None, main: Stack, undo: ExitStack) -> bool:
        name, given = f"{self.plan.name}-{addition.name}", addition.given(self.plan.given)
        known = {**main.values, **main.outputs, **given}
        values = {**values_from_main(addition, known, stack.values if stack else {}), **given}
        template = load_template(addition.file)
        after = self._deploy(name, stack, template, values, lambda _: _make_role(self.account, addition), undo)
        if after and (address := after.outputs.get("Address")):
            print(f"{name}: {address}")
        return after is not stack

    def _deploy(
        self,
        name: str,
        stack: Stack | None,
        template: Template,
        values: Mapping[str, str],
        before: Callable[[ExitStack], None],
        undo: ExitStack,
    ) -> Stack | None:
        """The stack after its change; the same one if nothing is to do, or in a dry run."""
        with ExitStack() as forget:
            change = self.cloudformation.prepare(name, stack, template, values, self.code, forget)
            if change is None:
                print(f"{name}: nothing to do.")
                return stack
            print(f"{name}:", *(f"  {line}" for line in change.lines), sep="\n")
            if self.request.dry_run:
                return stack
            if not self.request.agrees(f"Deploy {name}?"):
                print(f"{name} was not changed.")
                raise typer.Exit(FAILED)
            before(undo)
            forget.pop_all()
        made = undo.pop_all()  # after Ctrl-C or a broken network, AWS goes on and needs all of it
        print(f"Deploying {name}; this takes some minutes.")
        try:
            return self.cloudformation.execute(change)
        except DeploymentFailed:
            made.close()
            raise

    # --- afterwards ---------------------------------------------------------------------------------------------------

    def finish(self) -> int:
        """Sends a sample through and prints addresses and costs; returns the exit code."""
        stack = self.cloudformation.find(self.plan.name)
        outputs, values = (stack.outputs, stack.values) if stack else ({}, self.plan.effective)
        code = self._try(values, outputs)
        print(f"Dashboard: {outputs.get('DashboardUrl', 'none')}")
        print(*cost_lines(values, len(settings_of(values).renditions)), sep="\n")
        return code

    def _try(self, values: Mapping[str, str], outputs: Mapping[str, str]) -> int:
        if is_foreign(values) or not settings_of(values).wants(sample_key(values)):
            print("No sample was sent: a bucket is another account's, or Include and Exclude do not want it.")
            return 0
        is_slow = values["Trigger"] == "eventbridge" or values["Consumer"] == "none"
        print(f"A sample goes through: {values['SourceBucket']}/{sample_key(values)}. This can take some minutes.")
        if not send_sample(self.account, values, LONG_PATIENCE if is_slow else PATIENCE):
            print(f"No thumbnail came: `aws logs tail {outputs.get('LogGroupName')}` and the dashboard tell why.")
            return FAILED
        bucket, key = thumbnail_of_sample(values)
        place = {"Bucket": bucket, "Key": key}
        link = self.account.client("s3").generate_presigned_url("get_object", Params=place, ExpiresIn=LINK_SECONDS)
        print(f"Thumbnail: s3://{bucket}/{key}\nFor an hour: {link}")
        return 0


def _make_role(account: Account, addition: Addition) -> None:
    """An account's first ECS cluster fails without the service's role (CloudFormation's roadmap, 818)."""
    if not addition.service_role:
        return
    try:
        account.client("iam").create_service_linked_role(AWSServiceName=addition.service_role)
    except ClientError as error:
        if code_of(error) not in ("InvalidInput", "EntityAlreadyExists"):  # it is there
            raise
