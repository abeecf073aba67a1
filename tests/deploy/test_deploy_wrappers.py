"""The Terraform module and the CDK construct: both are read by the tools' own parsers, in an environment of their own.

No registry has a terraform binary, so the module is parsed and compared with the template, and not planned.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest

from bench.rig.processes import NotInstalled
from tests.deploy.stack import source
from tests.support.environments import ROOT, locked_environment
from tests.tools.terraform import variable_name, variable_type

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
READ_HCL = "import hcl2, json, sys; print(json.dumps(hcl2.load(open(sys.argv[1]))))"
SYNTHESISE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from aws_cdk import App, CfnOutput, Stack
from thumbnailer import Thumbnailer
app = App()
stack = Stack(app, "pictures")
made = Thumbnailer(stack, "Thumbnailer", json.loads(sys.argv[2]))
CfnOutput(stack, "Thumbnails", value=made.output("DestinationBucketName"))
print("\\n" + json.dumps(app.synth().get_stack_by_name("pictures").template))
"""


@pytest.fixture(scope="module")
def python() -> str:
    try:
        return str(locked_environment("wrappers"))
    except NotInstalled as error:
        pytest.skip(str(error))


def run(python: str, *arguments: str) -> Any:
    done = subprocess.run([python, "-c", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def plain(value: Any) -> Any:
    """hcl2 keeps the quotes of strings."""
    return value.strip('"') if isinstance(value, str) else value


def test_each_parameter_is_a_typed_variable_of_the_terraform_module(python: str) -> None:
    read = run(python, READ_HCL, str(ROOT / "deploy" / "terraform" / "variables.tf"))
    found = {plain(name): one for block in read["variable"] for name, one in block.items()}
    declared = source()["Parameters"]
    types = {name: plain(one["type"]).strip("${}") for name, one in found.items()}
    assert types == {variable_name(name): variable_type(one) for name, one in declared.items()}
    needed = {name for name, one in found.items() if "default" not in one}
    assert needed == {variable_name(name) for name, one in declared.items() if "Default" not in one}
    (local,) = read["locals"]
    assert {plain(name) for name in local["parameters"]} == set(declared)


def test_the_terraform_module_makes_the_stack_of_the_template(python: str) -> None:
    read = run(python, READ_HCL, str(ROOT / "deploy" / "terraform" / "main.tf"))
    kinds = {plain(kind): one for block in read["resource"] for kind, one in block.items()}
    assert set(kinds) == {"aws_s3_object", "aws_cloudformation_stack"}
    text = json.dumps(kinds)
    assert "../template.yaml" in text
    assert (ROOT / "deploy" / "terraform" / ".." / "template.yaml").exists()


@pytest.mark.skipif(shutil.which("node") is None, reason="AWS's CDK runs on Node.js, and there is no node")
def test_the_cdk_construct_synthesises_the_template(python: str) -> None:
    parameters = {"SourceBucket": "photos", "MemorySize": 2048, "Renditions": "64x64"}
    made = run(python, SYNTHESISE, str(ROOT / "deploy" / "cdk"), json.dumps(parameters))
    written = source()
    assert set(written["Resources"]) <= set(made["Resources"])
    assert set(parameters).isdisjoint(made["Parameters"])
    assert set(written["Parameters"]) - set(parameters) <= set(made["Parameters"])
    assert made["Transform"] == written["Transform"]
    variables = made["Globals"]["Function"]["Environment"]["Variables"]
    assert variables["THUMBNAILER_RENDITIONS"] == "64x64"


def test_the_guides_are_ten_lines() -> None:
    for guide in ("terraform", "cdk"):
        lines = (ROOT / "deploy" / guide / "README.md").read_text().splitlines()
        assert len([line for line in lines if line.strip() and not line.startswith("```")]) <= 12
