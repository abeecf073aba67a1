"""Draws the state machine of deploy/backfill.yaml in deploy/backfill.md: `python -m tests.tools.machine`.

With `--check` it changes nothing and exits with 1 if the drawing in the guide is not the machine's.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from samtranslator.yaml_helper import yaml_parse

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
GUIDE: Final = DEPLOY / "backfill.md"
COMMAND: Final = "python -m tests.tools.machine"
OPERATORS: Final = {"Equals": "=", "GreaterThan": ">", "LessThan": "<", "GreaterThanEquals": "≥", "LessThanEquals": "≤"}
_DRAWING: Final = re.compile(r"```mermaid\n.*?```\n", re.DOTALL)


def draw(machine: Mapping[str, Any]) -> str:
    """A Mermaid state diagram of a machine in Amazon States Language."""
    return "\n".join(["stateDiagram-v2", *_level(machine, "    ")])


def _level(level: Mapping[str, Any], indent: str) -> Iterator[str]:
    yield f"{indent}[*] --> {level['StartAt']}"
    for name, state in level["States"].items():
        yield from _inside(name, state, indent)
        for target, label in _ways(state):
            yield f"{indent}{name} --> {target}" + (f" : {label}" if label else "")


def _inside(name: str, state: Mapping[str, Any], indent: str) -> Iterator[str]:
    """A choice's diamond; the branches of a Parallel and the processor of a Map as a box."""
    if state["Type"] == "Choice":
        yield f"{indent}state {name} <<choice>>"
    parts = state.get("Branches") or ([state["ItemProcessor"]] if "ItemProcessor" in state else [])
    if not parts:
        return
    kind = "in parallel" if state["Type"] == "Parallel" else f"for each shard, {state['MaxConcurrency']} at a time"
    yield f'{indent}state "{name} ({kind})" as {name} {{'
    for number, part in enumerate(parts):
        if number:
            yield f"{indent}    --"
        yield from _level(part, indent + "    ")
    yield f"{indent}}}"


def _ways(state: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The states that may come next, each with its condition."""
    for choice in state.get("Choices", []):
        yield choice["Next"], _condition(choice)
    if "Default" in state:
        yield state["Default"], "otherwise"
    if "Next" in state:
        yield state["Next"], ""
    for catch in state.get("Catch", []):
        yield catch["Next"], "fails"
    if state["Type"] in {"Succeed", "Fail"} or state.get("End"):
        yield "[*]", "fails" if state["Type"] == "Fail" else ""


def _condition(choice: Mapping[str, Any]) -> str:
    """`usd ≤ limit_usd` for a comparison of two paths or of a path and a value."""
    (test,) = set(choice) - {"Variable", "Next"}
    operator = OPERATORS[re.sub(r"^(Boolean|Numeric|String)|Path$", "", test)]
    value = _last(choice[test]) if test.endswith("Path") else str(choice[test]).lower()
    return f"{_last(choice['Variable'])} {operator} {value}"


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def definition() -> dict[str, Any]:
    template = yaml_parse((DEPLOY / "backfill.yaml").read_text())
    machine: dict[str, Any] = template["Resources"]["Machine"]["Properties"]["Definition"]
    return machine


def made() -> str:
    """The guide with the drawing of today's machine."""
    return _DRAWING.sub(lambda _: f"```mermaid\n{draw(definition())}\n```\n", GUIDE.read_text(), count=1)


def main(arguments: list[str]) -> int:
    if "--check" in arguments:
        return int(GUIDE.read_text() != made())
    GUIDE.write_text(made())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
