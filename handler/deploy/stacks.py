"""Stacks of CloudFormation: what is there, the change set, and the wait for its end."""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from handler.deploy import DeployError, DeploymentFailed
from handler.deploy.account import code_of
from handler.deploy.code import CodeBucket
from handler.deploy.parameters import Template, parse_template

POLL_SECONDS: Final = 2.0
DIRECT_LIMIT: Final = 51_200
"""The largest template, in bytes, that CloudFormation takes in a request (docs: cloudformation-limits)."""
_NO_CHANGES: Final = ("didn't contain changes", "No updates are to be performed")
"""In a reason of CloudFormation, which has no code for it; `aws cloudformation deploy` looks for the same words."""
_REVIEW: Final = "REVIEW_IN_PROGRESS"
_REMOVE: Final = "run `thumbnailer deploy --remove --stack {name}`, then deploy again"
_ADVICE: Final = {
    "ROLLBACK_COMPLETE": f"its first deployment failed, and AWS cannot update it: {_REMOVE}",
    "ROLLBACK_FAILED": f"its first deployment failed: {_REMOVE}",
    "CREATE_FAILED": f"its first deployment failed: {_REMOVE}",
    "DELETE_FAILED": f"AWS could not remove it: {_REMOVE}",
    "UPDATE_ROLLBACK_FAILED": "AWS could not take a failed update back: run `aws cloudformation "
    "continue-update-rollback --stack-name {name}`, then deploy again",
}


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack as AWS describes it."""

    name: str
    id: str
    status: str
    values: Mapping[str, str]
    outputs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Change:
    """A change set. `lines` say what it does."""

    stack: str
    id: str
    stack_id: str
    lines: tuple[str, ...]


class CloudFormation:
    """The stacks of an account."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def find(self, name: str) -> Stack | None:
        """The stack with that name or id, None if there is none."""
        try:
            (one,) = self._client.describe_stacks(StackName=name)["Stacks"]
        except ClientError as error:
            if code_of(error) == "ValidationError":  # the answer for a stack that does not exist
                return None
            raise
        values = {each["ParameterKey"]: each["ParameterValue"] for each in one.get("Parameters", ())}
        outputs = {each["OutputKey"]: each["OutputValue"] for each in one.get("Outputs", ())}
        return Stack(one["StackName"], one["StackId"], one["StackStatus"], values, outputs)

    def find_usable(self, name: str) -> Stack | None:
        """The stack, None if it has no resources yet. Raises DeployError if it cannot be updated."""
        stack = self.find(name)
        if stack is None or stack.status == _REVIEW:
            return None
        if advice := _ADVICE.get(stack.status):
            raise DeployError(f"The stack {name} is in {stack.status}: {advice.format(name=name)}.")
        if stack.status.endswith("_IN_PROGRESS"):
            raise DeployError(f"AWS still changes the stack {name} ({stack.status}): wait until it has finished.")
        return stack

    def prepare(
        self, name: str, stack: Stack | None, template: Template, values: Mapping[str, str], code: CodeBucket,
        undo: ExitStack,
    ) -> Change | None:  # fmt: skip
        """A change set, None if nothing would change. `undo` removes it. Raises DeployError."""
        if stack and self._is_current(stack, template, values):
            return None
        kind: dict[str, str] = {"ChangeSetType": "UPDATE" if stack else "CREATE"}
        if not stack:
            kind["OnStackFailure"] = "DELETE"
        made = self._client.create_change_set(
            StackName=name,
            ChangeSetName=f"thumbnailer-{time.time_ns()}",
            Parameters=_parameters(stack, template, values),
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
            **_body(template, code),
            **kind,
        )
        undo.callback(self._forget, made["StackId"], made["Id"], stack is None)
        lines = self._wait_for_lines(made["Id"])
        return None if lines is None else Change(name, made["Id"], made["StackId"], lines)

    def _is_current(self, stack: Stack, template: Template, values: Mapping[str, str]) -> bool:
        there = self._client.get_template(StackName=stack.id, TemplateStage="Original")["TemplateBody"]
        if (parse_template(there) if isinstance(there, str) else there) != template.parsed:
            return False
        hidden = {name for name, one in template.parameters.items() if "NoEcho" in one and name not in values}
        wanted = {**template.defaults(), **stack.values, **values}
        return all(stack.values.get(name) == wanted[name] for name in template.parameters if name not in hidden)

    def _wait_for_lines(self, change: str) -> tuple[str, ...] | None:
        """What a change set does, None if nothing. Raises DeployError."""
        described = self._client.describe_change_set(ChangeSetName=change)
        while described["Status"].endswith(("_PENDING", "_IN_PROGRESS")):
            time.sleep(POLL_SECONDS / 4)
            described = self._client.describe_change_set(ChangeSetName=change)
        if described["Status"] == "FAILED":
            reason = described.get("StatusReason", "")
            if any(words in reason for words in _NO_CHANGES):
                return None
            raise DeployError(f"CloudFormation makes no change set: {reason}")
        return tuple(_line(each["ResourceChange"]) for each in described["Changes"])

    def _forget(self, stack: str, change: str, is_new: bool) -> None:
        """Removes a change set, with the stack that was made for it."""
        self._client.delete_change_set(ChangeSetName=change)
        if is_new:
            self.delete(stack)

    def execute(self, change: Change) -> Stack:
        """Executes a change set and waits for its end. Raises DeploymentFailed."""
        self._client.execute_change_set(ChangeSetName=change.id)
        stack = self._wait(change.stack_id, _REVIEW)
        if stack.status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            raise DeploymentFailed(
                f"CloudFormation could not deploy {change.stack} and took its changes back ({stack.status}). "
                f"{self._first_failure(change.stack_id)}"
            )
        return stack

    def delete(self, stack_id: str) -> None:
        """Deletes a stack and waits for its end. Raises DeploymentFailed."""
        self._client.delete_stack(StackName=stack_id)
        stack = self._wait(stack_id)
        if stack.status != "DELETE_COMPLETE":
            raise DeploymentFailed(
                f"CloudFormation could not delete {stack.name} ({stack.status}). {self._first_failure(stack_id)}"
            )

    def _wait(self, stack_id: str, before: str = "") -> Stack:
        """The stack when it has a status that stays, other than `before`."""
        while True:
            stack = self.find(stack_id) or Stack(stack_id, stack_id, "DELETE_COMPLETE", {}, {})
            if stack.status != before and not stack.status.endswith("_IN_PROGRESS"):
                return stack
            time.sleep(POLL_SECONDS)

    def _first_failure(self, stack_id: str) -> str:
        """The reason that AWS gives for the first resource that failed."""
        pages = self._client.get_paginator("describe_stack_events").paginate(StackName=stack_id)
        events = [one for page in pages for one in page["StackEvents"]]  # the latest first
        failed = [one for one in events if one["ResourceStatus"].endswith("_FAILED")] or events
        return f"{failed[-1]['LogicalResourceId']}: {failed[-1].get('ResourceStatusReason')}"


def _parameters(stack: Stack | None, template: Template, values: Mapping[str, str]) -> list[dict[str, Any]]:
    """Given values, for an update previous ones too; the template's defaults stay unnamed."""
    given = [{"ParameterKey": name, "ParameterValue": values[name]} for name in template.parameters if name in values]
    kept = [name for name in template.parameters if stack and name in stack.values and name not in values]
    return [*given, *({"ParameterKey": name, "UsePreviousValue": True} for name in kept)]


def _body(template: Template, code: CodeBucket) -> dict[str, str]:
    if len(template.text.encode()) <= DIRECT_LIMIT:
        return {"TemplateBody": template.text}
    return {"TemplateURL": code.put(f"templates/{template.file}", template.text)}


def _line(change: Mapping[str, Any]) -> str:
    replaced = ", replaced" if change.get("Replacement") == "True" else ""
    return f"{change['Action'].lower():8} {change['LogicalResourceId']} ({change['ResourceType']}{replaced})"
