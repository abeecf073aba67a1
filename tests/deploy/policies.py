"""Evaluates policies as IAM does: a deny wins over an allow, and a condition on a missing key fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final, Literal

from tests.deploy.stack import ACCOUNT, as_list

Decision = Literal["allow", "deny", "nothing"]


@dataclass(frozen=True, slots=True)
class Request:
    """One call. `principal` is None in a role's own policies, else e.g. `("Service", "s3.amazonaws.com")`."""

    action: str
    resource: str
    principal: tuple[str, str] | None = None
    context: Mapping[str, str] = field(default_factory=dict)


def stack_request(action: str, resource: str) -> Request:
    """A role's request; the resource is in the stack's account."""
    return Request(action, resource, context={"aws:ResourceAccount": ACCOUNT})


def decision(policy: Mapping[str, Any], request: Request) -> Decision:
    effects = {statement["Effect"] for statement in policy["Statement"] if _applies(statement, request)}
    if "Deny" in effects:
        return "deny"
    return "allow" if "Allow" in effects else "nothing"


def _applies(statement: Mapping[str, Any], request: Request) -> bool:
    unknown = set(statement) - {"Sid", "Effect", "Principal", "Action", "Resource", "Condition"}
    if unknown:
        raise NotImplementedError(f"{unknown} in {statement}")
    return (
        any(fnmatchcase(request.action.lower(), action.lower()) for action in as_list(statement["Action"]))
        and any(fnmatchcase(request.resource, resource) for resource in as_list(statement["Resource"]))
        and _principal_matches(statement.get("Principal"), request.principal)
        and all(
            _OPERATORS[operator](request.context.get(key), as_list(wanted))
            for operator, keys in statement.get("Condition", {}).items()
            for key, wanted in keys.items()
        )
    )


def _principal_matches(written: Any, principal: tuple[str, str] | None) -> bool:
    if written is None or principal is None:
        return written is None and principal is None
    if written == "*":
        return True
    kind, name = principal
    return any(name == one or one == "*" for one in as_list(written.get(kind, [])))


_OPERATORS: Final[Mapping[str, Callable[[str | None, list[str]], bool]]] = {
    "Null": lambda given, wanted: str(given is None).lower() in wanted,
    "Bool": lambda given, wanted: given in wanted,
    "StringEquals": lambda given, wanted: given in wanted,
    "ArnEquals": lambda given, wanted: given is not None and any(fnmatchcase(given, one) for one in wanted),
    "ArnLike": lambda given, wanted: given is not None and any(fnmatchcase(given, one) for one in wanted),
}
