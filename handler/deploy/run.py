"""The way of a deployment: check, prepare, show, ask, execute, try. And the way back."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import typer
from botocore.exceptions import ClientError

from handler.deploy import DeploymentFailed
from handler.deploy.account import Account, code_of, open_account, sentences
from handler.deploy.code import CodeBucket, build_package, check_package, read_package
from handler.deploy.costs import cost_lines
from handler.deploy.parameters import Addition, Template, load_template, values_from_main
from handler.deploy.plan import Plan, Request, make_plan
from handler.deploy.removal import SWITCHED_ON, find_stacks, remove
from handler.deploy.source import SAMPLE_KEY, send_sample, switch_eventbridge_on
from handler.deploy.stacks import CloudFormation, Stack

FAILED: Final = 1
PATIENCE, LONG_PATIENCE = 120.0, 900.0
"""Seconds for a sample's thumbnail; EventBridge begins after some five minutes, a Fargate task starts in some."""
LINK_SECONDS: Final = 3600


def run_deploy(request: Request) -> int:
    """Returns the exit code. Raises DeployError, DeploymentFailed."""
    with sentences():
        account = open_account(request.region)
        cloudformation = CloudFormation(account.client("cloudformation"))
        plan, warnings = make_plan(request, account, cloudformation)
        print(f"Account {account.id}, {account.region}, stack {plan.name}, bucket {plan.bucket}", *warnings, sep="\n")
        deployment = Deployment(request, account, cloudformation, plan, CodeBucket(account, plan.name))
        with ExitStack() as undo:
            changed = deployment.run(undo)
        return deployment.finish() if changed else 0


def run_remove(request: Request) -> int:
    """Returns the exit code. Raises DeployError, DeploymentFailed."""
    with sentences():
        account = open_account(request.region)
        cloudformation = CloudFormation(account.client("cloudformation"))
        stacks = find_stacks(cloudformation, request.stack)
        if not stacks and not CodeBucket(account, request.stack).exists():
            print(f"Nothing to do: there is no stack {request.stack} in {account.region}.")
            return 0
        names = ", ".join(stack.name for stack in stacks) or "none, only the code bucket"
        print(f"Account {account.id}, {account.region}. Stacks: {names}. Events that wait are lost.")
        if not request.dry_run and request.agrees("Remove them, their code, and their buckets if these are empty?"):
            for line in remove(account, cloudformation, request.stack, stacks):
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
    plan: Plan
    code: CodeBucket

    def run(self, undo: ExitStack) -> bool:
        """Deploys the main stack and the additions; returns whether anything was changed."""
        plan = self.plan
        self.code.make(undo)
        values = {**plan.values, **self._code()}
        main = self._deploy(plan.name, plan.stack, plan.template, values, undo, self._before_main)
        changed = main is not plan.stack
        for name, addition in plan.additions.items():
            if main is None:
                print(f"{plan.name}-{name}: --dry-run can show it when {plan.name} is deployed.")
                continue
            changed |= self._deploy_addition(f"{plan.name}-{name}", addition, main, undo)
        return changed

    def _code(self) -> dict[str, str]:
        """The parameters of the zip, which is built if none is given; none for an image."""
        effective = self.plan.effective
        if self.request.image or (effective["PackageType"] == "Image" and effective["ImageUri"]):
            return {}
        runtime, architecture = effective["Runtime"], effective["Architecture"]
        package = read_package(self.request.zip or build_package(runtime, architecture))
        check_package(package, runtime, architecture)
        key = self.code.upload(package)
        return {"PackageType": "Zip", "ImageUri": "", "CodeBucket": self.code.name, "CodeKey": key}

    def _before_main(self, undo: ExitStack) -> None:
        if self.plan.effective["CreateSourceBucket"] == "true":
            return
        if switch_eventbridge_on(self.account, self.plan.bucket, self.plan.name, undo):
            print(f"EventBridge is switched on in {self.plan.bucket}; S3 begins to send within five minutes.")
            self.code.put(SWITCHED_ON, self.plan.bucket)

    def _deploy_addition(self, name: str, addition: Addition, main: Stack, undo: ExitStack) -> bool:
        template = load_template(addition.file)
        values = values_from_main(addition, template, main.outputs, main.values)
        given = {key: value for key, value in self.plan.given.items() if key in template.parameters}
        stack = self.cloudformation.find_usable(name)

        def before(_: ExitStack) -> None:
            if addition.service_role:
                _make_service_role(self.account, addition.service_role)

        return self._deploy(name, stack, template, {**values, **given}, undo, before) is not stack

    def _deploy(
        self,
        name: str,
        stack: Stack | None,
        template: Template,
        values: Mapping[str, str],
        undo: ExitStack,
        before: Callable[[ExitStack], None],
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
        outputs, values = (stack.outputs, stack.values) if stack else ({}, {})
        code = self._try(outputs)
        print(f"Dashboard: {outputs.get('DashboardUrl', 'none')}")
        print(*cost_lines({**self.plan.template.defaults(), **values}, len(self.plan.settings.renditions)), sep="\n")
        return code

    def _try(self, outputs: Mapping[str, str]) -> int:
        plan, settings = self.plan, self.plan.settings
        if not settings.wants(SAMPLE_KEY):
            print(f"No sample was sent: Include or Exclude does not let {SAMPLE_KEY} through.")
            return 0
        if plan.effective["Consumer"] == "none" and not plan.additions:
            print("No sample was sent: nobody consumes the queue (Consumer=none).")
            return 0
        is_slow = plan.effective["Trigger"] == "eventbridge" or plan.effective["Consumer"] == "none"
        patience = LONG_PATIENCE if is_slow else PATIENCE
        print(f"A sample goes through {plan.bucket}: at most {patience / 60:.0f} minutes.")
        found = send_sample(self.account, plan.bucket, settings, patience)
        if found is None:
            log = outputs.get("LogGroupName")
            print(f"No thumbnail came: `aws logs tail {log} --since 1h` and the dashboard tell why.")
            return FAILED
        bucket, key = found
        link = self.account.client("s3").generate_presigned_url(
            "get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=LINK_SECONDS
        )
        print(f"Thumbnail: s3://{bucket}/{key}\nFor an hour: {link}")
        return 0


def _make_service_role(account: Account, service: str) -> None:
    """An account's first ECS cluster fails without the role (CloudFormation's roadmap, 818)."""
    try:
        account.client("iam").create_service_linked_role(AWSServiceName=service)
    except ClientError as error:
        if code_of(error) != "InvalidInput":  # it is there
            raise
