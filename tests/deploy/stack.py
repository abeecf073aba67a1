"""A template as data: translated by AWS's SAM translator, and resolved with parameters as CloudFormation does.

`Stack` knows only the intrinsic functions that the templates use; others raise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple

import boto3
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

TEMPLATE: Final = Path(__file__).parents[2] / "deploy" / "template.yaml"
ACCOUNT: Final = "123456789012"
REGION: Final = "us-east-1"
IMAGE: Final = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/thumbnailer:1"
BASICS: Final = {"SourceBucket": "photos", "ImageUri": IMAGE}
"""The parameters that must be given."""
AS_ZIP: Final = {"PackageType": "Zip", "ImageUri": "", "CodeBucket": "code", "CodeKey": "thumbnailer-1.zip"}

_NOTHING: Final = object()
_ARNS: Final = {
    "AWS::S3::Bucket": "arn:aws:s3:::{id}",
    "AWS::SQS::Queue": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{{id}}",
    "AWS::Lambda::Function": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{{id}}",
    "AWS::IAM::Role": f"arn:aws:iam::{ACCOUNT}:role/{{id}}",
    "AWS::Logs::LogGroup": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{{id}}:*",
    "AWS::CloudWatch::Alarm": f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:{{id}}",
    "AWS::CloudFront::KeyValueStore": f"arn:aws:cloudfront::{ACCOUNT}:key-value-store/{{id}}",
    "AWS::SNS::Topic": f"arn:aws:sns:{REGION}:{ACCOUNT}:{{id}}",
    "AWS::ServiceDiscovery::Service": f"arn:aws:servicediscovery:{REGION}:{ACCOUNT}:service/{{id}}",
    "AWS::StepFunctions::StateMachine": f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:{{id}}",
}
_NAMES: Final = {"QueueName": "AWS::SQS::Queue", "Name": "AWS::ECS::Service", "GroupId": "AWS::EC2::SecurityGroup"}
"""Attributes that give the resource's name or id, by type."""
_OTHERS: Final = {
    "FunctionUrl": f"https://{{id}}.lambda-url.{REGION}.on.aws/",
    "FunctionARN": f"arn:aws:cloudfront::{ACCOUNT}:function/{{id}}",
    "DomainName": "{id}.cloudfront.net",
    "Id": "{id}",
    "RootResourceId": "{id}",
}
"""Attributes that are neither an ARN nor a name."""
_NAME_PROPERTIES: Final = ("BucketName", "QueueName", "LogGroupName", "DashboardName", "StateMachineName")


@cache
def _translate() -> dict[str, Any]:
    session = boto3.Session(region_name=REGION)
    translated: dict[str, Any] = Translator({}, Parser(), boto_session=session).translate(source(), {})
    return translated


def source() -> dict[str, Any]:
    """The template as written."""
    written: dict[str, Any] = yaml_parse(TEMPLATE.read_text())
    return written


def translate() -> dict[str, Any]:
    """A copy of the template as plain CloudFormation. Offline: it uses no managed policy."""
    return deepcopy(_translate())


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource with its properties resolved."""

    id: str
    type: str
    properties: dict[str, Any]


class Stack:
    """A template (by default the Lambda's) with parameters; `physical` has an emulator's names by logical id."""

    def __init__(
        self,
        parameters: Mapping[str, str] = BASICS,
        template: Mapping[str, Any] | None = None,
        name: str = "thumbnailer",
        physical: Mapping[str, str] | None = None,
        partition: str = "aws",
    ) -> None:
        self.template = template or _translate()
        self.name = name
        self.partition = partition
        self._physical = physical or {}
        declared = self.template["Parameters"]
        defaults = {key: _text(one["Default"]) for key, one in declared.items() if "Default" in one}
        self.parameters = defaults | dict(parameters)
        if unknown := set(self.parameters) - set(declared):
            raise ValueError(f"the template has no parameters {unknown}")
        if missing := set(declared) - set(self.parameters):
            raise ValueError(f"parameters without a default are not given: {missing}")

    # --- refusals --------------------------------------------------------------------------------------------------

    def refused(self) -> list[str]:
        """The parameters with forbidden values, and the broken rules."""
        wrong = [
            name for name, value in self.parameters.items() if not accepts(self.template["Parameters"][name], value)
        ]
        return wrong + [name for name, rule in self.template["Rules"].items() if not self._holds(rule)]

    def _holds(self, rule: Mapping[str, Any]) -> bool:
        if "RuleCondition" in rule and not self.resolve(rule["RuleCondition"]):
            return True
        return all(self.resolve(assertion["Assert"]) for assertion in rule["Assertions"])

    # --- resources --------------------------------------------------------------------------------------------------

    @cached_property
    def resources(self) -> dict[str, Resource]:
        return {
            id_: Resource(id_, written["Type"], self.resolve(written.get("Properties", {})))
            for id_, written in self.template["Resources"].items()
            if self._exists(written)
        }

    def of_type(self, type_: str) -> list[Resource]:
        return [resource for resource in self.resources.values() if resource.type == type_]

    def __getitem__(self, id_: str) -> dict[str, Any]:
        """The properties of one resource."""
        return self.resources[id_].properties

    @property
    def outputs(self) -> dict[str, str]:
        written = self.template["Outputs"]
        return {name: self.resolve(one["Value"]) for name, one in written.items() if self._exists(one)}

    def _exists(self, written: Mapping[str, Any]) -> bool:
        return "Condition" not in written or self.condition(written["Condition"])

    def condition(self, name: str) -> bool:
        return bool(self.resolve(self.template["Conditions"][name]))

    def ref(self, name: str) -> Any:
        """The value of `Ref`: a parameter's value or a resource's physical name."""
        pseudo = {
            "AWS::NoValue": _NOTHING,
            "AWS::Partition": self.partition,
            "AWS::Region": REGION,
            "AWS::AccountId": ACCOUNT,
            "AWS::StackName": self.name,
            "AWS::URLSuffix": "amazonaws.com",
        }
        if name in pseudo:
            return pseudo[name]
        if name in self.parameters:
            is_list = self.template["Parameters"][name]["Type"] == "CommaDelimitedList"
            return self.parameters[name].split(",") if is_list else self.parameters[name]
        return self._physical_id(name)

    def _physical_id(self, id_: str) -> str:
        written = self.template["Resources"][id_]
        if not self._exists(written):
            raise ValueError(f"{id_} is referred to and not made")
        if written["Type"] == "AWS::SQS::Queue":
            return f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{self._name_of(id_)}"
        return self._name_of(id_)

    def _name_of(self, id_: str) -> str:
        properties = self.template["Resources"][id_].get("Properties", {})
        named = next((properties[key] for key in _NAME_PROPERTIES if key in properties), None)
        return str(self._physical.get(id_) or (self.resolve(named) if named else f"{self.name}-{id_}"))

    def attribute(self, id_: str, attribute: str) -> str:
        """The value of `GetAtt`."""
        self._physical_id(id_)  # raises if the resource is not made
        if _NAMES.get(attribute) == self.template["Resources"][id_]["Type"]:
            return self._name_of(id_)
        if attribute in _OTHERS:
            return _OTHERS[attribute].format(id=self._name_of(id_))
        if attribute == "Version":
            return "7"
        if attribute != "Arn":
            raise NotImplementedError(attribute)
        return _ARNS[self.template["Resources"][id_]["Type"]].format(id=self._name_of(id_))

    # --- intrinsic functions --------------------------------------------------------------------------------------

    def resolve(self, written: Any) -> Any:
        """`written` with every intrinsic function evaluated; properties without a value are left out."""
        if isinstance(written, list):
            items = [self.resolve(item) for item in written]
            return [item for item in items if item is not _NOTHING]
        if not isinstance(written, dict):
            return written
        if len(written) == 1:
            ((name, argument),) = written.items()
            if name == "Ref":
                return self.ref(argument)
            if name == "Condition" and isinstance(argument, str):
                return self.condition(argument)
            if name.startswith("Fn::"):
                return self._function(name, argument)
        values = {key: self.resolve(value) for key, value in written.items()}
        return {key: value for key, value in values.items() if value is not _NOTHING}

    def _function(self, name: str, argument: Any) -> Any:
        if name == "Fn::If":  # only the branch that is taken
            return self.resolve(argument[1 if self.condition(argument[0]) else 2])
        if name == "Fn::GetAtt":
            return self.attribute(*argument)
        if name == "Fn::Sub":
            return self._substituted(argument)
        functions: dict[str, Callable[..., Any]] = {
            "Fn::Equals": lambda one, other: _text(one) == _text(other),
            "Fn::Not": lambda value: not value,
            "Fn::And": lambda *values: all(values),
            "Fn::Or": lambda *values: any(values),
            "Fn::Contains": lambda values, value: _text(value) in values,
            "Fn::Join": lambda by, parts: by.join(parts),
            "Fn::Split": lambda by, text: text.split(by),
            "Fn::Select": lambda index, items: items[int(index)],
            "Fn::GetAZs": lambda: [f"{REGION}{letter}" for letter in "abc"],
            "Fn::FindInMap": lambda map_, *keys: self._found(map_, *map(_text, keys)),
        }
        return functions[name](*self.resolve(argument))

    def _found(self, map_: str, first: str, second: str) -> Any:
        return self.template["Mappings"][map_][first][second]

    def _substituted(self, argument: Any) -> str:
        text, given = argument if isinstance(argument, list) else (argument, {})
        values = {name: self.resolve(value) for name, value in given.items()}

        def value(match: re.Match[str]) -> str:
            name = match[1]
            if name in values:
                return str(values[name])
            return str(self.attribute(*name.split(".")) if "." in name else self.ref(name))

        return re.sub(r"\$\{([A-Za-z0-9:.]+)\}", value, text)


def accepts(declared: Mapping[str, Any], value: str) -> bool:
    """Whether a parameter accepts a value; numbers must be whole."""
    if declared["Type"] == "CommaDelimitedList":
        return all(accepts({**declared, "Type": "String"}, one) for one in value.split(","))
    if declared["Type"] == "Number":
        if not re.fullmatch(r"-?\d+", value):
            return False
        least, most = declared.get("MinValue", -1), declared.get("MaxValue", 10**9)
        in_range = least <= int(value) <= most
    else:
        in_range = declared.get("MinLength", 0) <= len(value) <= declared.get("MaxLength", 4096)
    allowed = declared.get("AllowedValues")
    listed = allowed is None or value in map(_text, allowed)
    return in_range and listed and bool(re.fullmatch(declared.get("AllowedPattern", r"[^\0]*"), value))


def policies(stack: Stack) -> dict[str, dict[str, Any]]:
    """Every policy document in the stack, by its path."""
    found = {}
    for resource in stack.resources.values():
        for path, document in _documents(resource.properties, resource.id):
            found[path] = document
    return found


def _documents(value: Any, path: str) -> list[tuple[str, dict[str, Any]]]:
    if isinstance(value, list):
        return [found for number, item in enumerate(value) for found in _documents(item, f"{path}.{number}")]
    if not isinstance(value, dict):
        return []
    if "Statement" in value:
        return [(path, value)]
    return [found for key, item in value.items() for found in _documents(item, f"{path}.{key}")]


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def dashboard(stack: Stack) -> Any:
    return json.loads(stack["Dashboard"]["DashboardBody"])


# --- monitoring ---------------------------------------------------------------------------------------------------


class Series(NamedTuple):
    """The identity of a metric in CloudWatch."""

    namespace: str
    name: str
    dimensions: frozenset[tuple[str, str]]


def dashboard_series(stack: Stack) -> set[Series]:
    """The metrics on the dashboard's charts."""
    charts = [widget for widget in dashboard(stack)["widgets"] if widget["type"] == "metric"]
    return {series for chart in charts for series in _of_chart(chart["properties"]["metrics"])}


def _of_chart(metrics: list[list[Any]]) -> list[Series]:
    """In a chart, a dot repeats the word of the metric above."""
    found: list[Series] = []
    above: list[str] = []
    for metric in metrics:
        words = [word for word in metric if isinstance(word, str)]
        if not words:  # an expression
            continue
        above = [above[place] if word == "." else word for place, word in enumerate(words)]
        namespace, name, *dimensions = above
        found.append(Series(namespace, name, frozenset(zip(dimensions[::2], dimensions[1::2], strict=True))))
    return found


def alarm_series(stack: Stack) -> set[Series]:
    """The metrics of the alarms."""
    written = [alarm.properties for alarm in stack.of_type("AWS::CloudWatch::Alarm")]
    single = [one for one in written if "MetricName" in one]
    of_expressions = [
        part["MetricStat"]["Metric"] for one in written for part in one.get("Metrics", []) if "MetricStat" in part
    ]
    return {
        Series(
            one["Namespace"], one["MetricName"], frozenset((part["Name"], part["Value"]) for part in one["Dimensions"])
        )
        for one in single + of_expressions
    }


def _text(value: Any) -> str:
    """The value as text, which CloudFormation compares."""
    return str(value).lower() if isinstance(value, bool) else str(value)
