"""Thumbnailer as a construct of AWS's CDK; `pip install aws-cdk-lib`. deploy/cdk/README.md is its guide."""

from collections.abc import Mapping
from pathlib import Path

from aws_cdk import Token
from aws_cdk.cloudformation_include import CfnInclude
from constructs import Construct

TEMPLATE = Path(__file__).parents[1] / "template.yaml"


class Thumbnailer(Construct):  # type: ignore[misc]
    """deploy/template.yaml within a stack. `parameters` are the template's, by name."""

    def __init__(self, scope: Construct, id: str, parameters: Mapping[str, object]) -> None:
        super().__init__(scope, id)
        texts = {name: str(value) for name, value in parameters.items()}
        self.template = CfnInclude(self, "Template", template_file=str(TEMPLATE), parameters=texts)

    def output(self, name: str) -> str:
        """The value of one of the template's outputs, e.g. DestinationBucketName."""
        return str(Token.as_string(self.template.get_output(name).value))
