"""The templates as data, and the values that their parameters get."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from handler.deploy import DeployError
from thumbnailer.errors import SettingsError, nearest
from thumbnailer.settings import SETTINGS, Settings, parse_settings

ROOT: Final = Path(__file__).parents[2]
TEMPLATES: Final = ROOT / "deploy"
MAIN: Final = "template.yaml"


class Addition(NamedTuple):
    """A template beside the main one.

    A parameter gets the value of the main stack's output or parameter of the same name, except `own`: they mean
    something else there. `renamed` has the main stack's name by parameter, if it is another. `main` are parameters that
    the main stack gets with it. `needs` says what to do if one has no value. `service_role` is made if it is missing.
    """

    file: str
    own: frozenset[str] = frozenset()
    renamed: Mapping[str, str] = {}
    main: Mapping[str, str] = {}
    needs: Mapping[str, str] = {}
    service_role: str = ""

    def refuse_missing(self, main: Mapping[str, str]) -> None:
        """Raises DeployError if the main stack lacks a value that is needed."""
        for name, advice in self.needs.items():
            if not main.get(name):
                raise DeployError(f"{self.file} needs {name}: {advice}.")


ADDITIONS: Final[Mapping[str, Addition]] = {
    "on-demand": Addition(
        "on-demand.yaml", renamed={"DestinationBucket": "DestinationBucketName"}, main={"Readers": "cloudfront"}
    ),
    "backfill": Addition(
        "backfill.yaml",
        own=frozenset({"MemorySize"}),
        renamed={"DestinationBucket": "DestinationBucketName", "KmsKeyArn": "KmsKeyId"},
    ),
    "fargate": Addition(
        "fargate.yaml",
        own=frozenset({"Consumer", "EphemeralStorage", "VpcId", "SubnetIds"}),
        main={"Consumer": "none"},
        needs={"ImageUri": "add --image URI (deploy/image.md builds it)"},
        service_role="ecs.amazonaws.com",
    ),
}


@dataclass(frozen=True, slots=True)
class Template:
    """A template's text, and the same parsed. `parameters` are its declarations by name."""

    file: str
    text: str
    parsed: Mapping[str, Any]

    @property
    def parameters(self) -> Mapping[str, Mapping[str, Any]]:
        return dict(self.parsed["Parameters"])

    def defaults(self) -> dict[str, str]:
        return {name: _text(one["Default"]) for name, one in self.parameters.items() if "Default" in one}


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Reads CloudFormation's short forms, e.g. `!Ref`, as mappings."""


def _short_form(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        return {tag: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {tag: loader.construct_sequence(node, deep=True)}
    return {tag: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _short_form)


def parse_template(text: str) -> Any:
    """A template in YAML or JSON as data."""
    return yaml.load(text, _Loader)  # noqa: S506 (a SafeLoader)


@cache
def load_template(file: str) -> Template:
    """A template of the deploy folder. Raises DeployError."""
    path = TEMPLATES / file
    try:
        text = path.read_text()
    except OSError as error:
        raise DeployError(f"{path} is missing: run `thumbnailer deploy` in a clone of the repository.") from error
    return Template(file, text, parse_template(text))


def read_values(pairs: Sequence[str], templates: Sequence[Template]) -> dict[str, str]:
    """`Name=value` pairs as a mapping. Raises DeployError for a name that no template declares."""
    known = sorted({name for template in templates for name in template.parameters})
    values = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign:
            raise DeployError(f"--set {pair}: write --set Name=value.")
        if name not in known:
            raise DeployError(f"--set {pair}: no parameter has that name{nearest(name, known)}.")
        values[name] = value
    return values


def settings_of(values: Mapping[str, str]) -> Settings:
    """The settings that a stack with these parameters gives to its function. Raises DeployError."""
    given = {one.variable: values[one.parameter] for one in SETTINGS if values.get(one.parameter)}
    try:
        return parse_settings(given)
    except SettingsError as error:
        raise DeployError(str(error)) from error


def refuse_values(template: Template, values: Mapping[str, str]) -> None:
    """Raises DeployError for a value that CloudFormation would refuse, before any stack is made."""
    for name, declared in template.parameters.items():
        if name in values and not _accepts(declared, values[name]):
            allowed = declared.get("ConstraintDescription") or ", ".join(map(_text, declared.get("AllowedValues", ())))
            limits = f"{declared.get('MinValue', '')} to {declared.get('MaxValue', '')}"
            raise DeployError(f"{name}={values[name]}: {template.file} accepts {allowed or limits}.")


def _accepts(declared: Mapping[str, Any], value: str) -> bool:
    if "AllowedValues" in declared and value not in map(_text, declared["AllowedValues"]):
        return False
    if declared["Type"] == "Number":
        is_number = re.fullmatch(r"-?\d{1,18}", value) is not None
        return is_number and declared.get("MinValue", 0) <= int(value) <= declared.get("MaxValue", 10**18)
    fits = len(value) <= declared.get("MaxLength", 4096)
    return fits and re.search(declared.get("AllowedPattern", ""), value) is not None


def values_from_main(
    addition: Addition, template: Template, outputs: Mapping[str, str], main: Mapping[str, str]
) -> dict[str, str]:
    """The values that an addition's parameters take from the main stack."""
    known = {**main, **outputs}
    known |= {name: known[other] for name, other in addition.renamed.items()}
    return {name: known[name] for name in template.parameters if name in known and name not in addition.own}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
