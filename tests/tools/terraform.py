"""The variables of the Terraform module, from the parameters of deploy/template.yaml."""

import json
import re
from collections.abc import Mapping
from typing import Any


def variable_name(parameter: str) -> str:
    """MaxPixels as max_pixels."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", parameter).lower()


def variable_type(declared: Mapping[str, Any]) -> str:
    if declared["Type"] == "Number":
        return "number"
    return "bool" if declared.get("AllowedValues") == ["true", "false"] else "string"


def variables(parameters: Mapping[str, Mapping[str, Any]]) -> str:
    """variables.tf: without a value, the template's default holds."""
    blocks = [_variable(name, declared) for name, declared in parameters.items()]
    width = max(map(len, parameters))
    values = "\n".join(f"    {name.ljust(width)} = var.{variable_name(name)}" for name in parameters)
    made = "# Made from deploy/template.yaml by `python -m tests.tools.parameters`."
    return "\n\n".join([made, *blocks, f"locals {{\n  parameters = {{\n{values}\n  }}\n}}\n"])


def _variable(name: str, declared: Mapping[str, Any]) -> str:
    lines = [f"  description = {_text(declared['Description'])}", f"  type        = {variable_type(declared)}"]
    if "Default" in declared:
        lines.append("  default     = null")
    if "AllowedValues" in declared and variable_type(declared) != "bool":
        lines += _validation(variable_name(name), declared["AllowedValues"])
    return "\n".join([f'variable "{variable_name(name)}" {{', *lines, "}"])


def _validation(name: str, allowed: list[Any]) -> list[str]:
    values = json.dumps(allowed)
    return [
        "",
        "  validation {",
        f"    condition     = var.{name} == null ? true : contains({values}, var.{name})",
        f"    error_message = {_text('One of: ' + ', '.join(map(repr, allowed)) + '.')}",
        "  }",
    ]


def _text(text: str) -> str:
    """A string of HCL, where ${ and %{ begin templates."""
    return json.dumps(text.strip(), ensure_ascii=False).replace("${", "$${").replace("%{", "%%{")
