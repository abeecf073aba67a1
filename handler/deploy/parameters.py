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
    the main stack gets with it. `service_role` is made if it is missing.
    """

    file: str
    own: frozenset[str] = frozenset()
    renamed: Mapping[str, str] = {}
    main: Mapping[str, str] = {}
    service_role: str = ""

    @property
    def name(self) -> str:
        return self.file.removesuffix(".yaml")

    def given(self, values: Mapping[str, str]) -> dict[str, str]:
        """The user's values for this template: `Name`, or `fargate.Name` for this one alone."""
        names = load_template(self.file).parameters
        shared = {name: values[name] for name in names if name in values and name not in self.own}
        return shared | {name: values[f"{self.name}.{name}"] for name in names if f"{self.name}.{name}" in values}


_BUCKET: Final = {"DestinationBucket": "DestinationBucketName"}
ADDITIONS: Final[Mapping[str, Addition]] = {
    "on-demand": Addition("on-demand.yaml", renamed=_BUCKET, main={"Readers": "cloudfront"}),
    "backfill": Addition("backfill.yaml", frozenset({"MemorySize"}), _BUCKET),
    "fargate": Addition(
        "fargate.yaml",
        frozenset({"Consumer", "EphemeralStorage", "VpcId", "SubnetIds"}),
        main={"Consumer": "none"},
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
    return {tag: loader.construct_sequence(node, deep=True)}


_Loader.add_multi_constructor("!", _short_form)


def parse_template(text: str) -> Any:
    """A template in YAML or JSON as data."""
    return _Loader(text).get_single_data()


@cache
def load_template(file: str) -> Template:
    """A template of the deploy folder. Raises DeployError."""
    path = TEMPLATES / file
    if not path.exists():
        raise DeployError(f"{path} is missing: run `thumbnailer deploy` in a clone of the repository.")
    text = path.read_text()
    return Template(file, text, parse_template(text))


def read_values(pairs: Sequence[str], additions: Sequence[Addition]) -> dict[str, str]:
    """`Name=value` pairs as a mapping. Raises DeployError for a name or value that no template accepts."""
    known = set(load_template(MAIN).parameters)
    for addition in additions:
        names = set(load_template(addition.file).parameters)
        known |= (names - addition.own) | {f"{addition.name}.{name}" for name in names}
    values = {}
    for pair in pairs:
        name, sign, values[name] = pair.partition("=")
        if not sign:
            raise DeployError(f"--set {pair}: write --set Name=value.")
        if name not in known:
            raise DeployError(f"--set {pair}: no parameter has that name{nearest(name, sorted(known))}.")
    refuse_values(load_template(MAIN), values)
    for addition in additions:
        refuse_values(load_template(addition.file), addition.given(values))
    return values


def refuse_values(template: Template, values: Mapping[str, str]) -> None:
    """Raises DeployError for a value that CloudFormation would refuse, before any stack is made."""
    for name, declared in template.parameters.items():
        if name in values and not _accepts(declared, values[name]):
            words = ", ".join(map(_text, declared.get("AllowedValues", ())))
            limits = f"{declared.get('MinValue')} to {declared.get('MaxValue')}"
            accepted = declared.get("ConstraintDescription") or words or limits
            raise DeployError(f"{name}={values[name]}: {template.file} accepts {accepted}.")


def _accepts(declared: Mapping[str, Any], value: str) -> bool:
    if "AllowedValues" in declared and value not in map(_text, declared["AllowedValues"]):
        return False
    if declared["Type"] == "Number":
        is_number = re.fullmatch(r"\d{1,18}", value) is not None
        return is_number and declared.get("MinValue", 0) <= int(value) <= declared.get("MaxValue", 10**18)
    fits = len(value) <= declared.get("MaxLength", 4096)
    return fits and re.search(declared.get("AllowedPattern", ""), value) is not None


def settings_of(values: Mapping[str, str]) -> Settings:
    """The settings that a stack with these parameters gives to its function. Raises DeployError."""
    given = {one.variable: values[one.parameter] for one in SETTINGS if values.get(one.parameter)}
    try:
        return parse_settings(given)
    except SettingsError as error:
        raise DeployError(str(error)) from error


def is_foreign(values: Mapping[str, str]) -> bool:
    """Whether a bucket is another account's, so that its owner sets it up (deploy/buckets.md)."""
    return any(values.get(name) for name in ("SourceAccount", "DestinationAccount", "ExpectedOwner"))


def values_from_main(addition: Addition, known: Mapping[str, str], before: Mapping[str, str]) -> dict[str, str]:
    """What an addition's parameters take from `known`, the main stack's outputs and parameters.

    MappingId is empty if a worker empties the queue: a backfill refuses to start while the mapping is disabled.
    Raises DeployError if a parameter has no value in `before`, the addition's present stack, either.
    """
    parameters = load_template(addition.file).parameters
    mapping = {"MappingId": ""} if known["Consumer"] == "none" else {}
    named = {**known, **{name: known[other] for name, other in addition.renamed.items()}, **mapping}
    needed = {name for name, declared in parameters.items() if "Default" not in declared and not named.get(name)}
    if missing := sorted(needed - set(before)):
        name, what = missing[0], parameters[missing[0]]["Description"]
        raise DeployError(f"{addition.file} needs {name}: add --set {addition.name}.{name}=VALUE. {what}")
    return {name: named[name] for name in parameters if name in named and name not in addition.own | needed}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
