"""deploy/on-demand.yaml in MiniStack, with the zip as the function's code: each front makes and keeps a picture.

MiniStack checks API keys and signatures of function URLs. It runs no CloudFront, and decodes the paths of requests.
"""

from __future__ import annotations

import platform
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from deploy.packing import IndexUnreachable
from deploy.packing.build import build, write
from deploy.packing.target import MACHINES, target_for
from tests.deploy.on_demand import ON_DEMAND
from tests.deploy.stack import ACCOUNT, REGION

MiniStack = pytest.importorskip("tests.support.ministack", reason="MiniStack is not part of this tree").MiniStack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
HERE: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
ARCHITECTURE: Final = {machine: name for name, machine in MACHINES.items()}[platform.machine()]
SAMPLE: Final = Path(__file__).parents[2] / "handler" / "demo" / "samples" / "coffee-rotated-by-exif.jpg"
KEPT: Final = "_any/coffee.jpg/x300.webp"


@pytest.fixture(scope="module")
def zipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zip for this Python, which is MiniStack's too."""
    try:
        built = build(target_for(HERE, ARCHITECTURE), (), tmp_path_factory.mktemp("built"))
    except IndexUnreachable as error:
        pytest.skip(str(error))
    return write(built, tmp_path_factory.mktemp("zip"))[0][0]


def deploy(cloud: Any, zipped: Path, **parameters: str) -> dict[str, str]:
    """The outputs of a new stack, whose source bucket has coffee.jpg."""
    s3 = cloud.client("s3")
    for bucket in ("code", "photos", "photos-resized"):
        s3.create_bucket(Bucket=bucket)
    s3.upload_file(str(zipped), "code", "thumbnailer.zip")
    s3.upload_file(str(ON_DEMAND), "code", "on-demand.yaml")
    s3.upload_file(str(SAMPLE), "photos", "coffee.jpg")
    given = {
        "SourceBucket": "photos",
        "DestinationBucket": "photos-resized",
        "PackageType": "Zip",
        "CodeBucket": "code",
        "CodeKey": "thumbnailer.zip",
        "Runtime": f"python{HERE}",
        "Offers": "x300",
    } | parameters
    formation = cloud.client("cloudformation")
    formation.create_stack(
        StackName="pictures",
        TemplateURL=f"{cloud.url}/code/on-demand.yaml",
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in given.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    for _ in range(600):
        (stack,) = formation.describe_stacks(StackName="pictures")["Stacks"]
        if not stack["StackStatus"].endswith("IN_PROGRESS"):
            break
        time.sleep(0.2)
    assert stack["StackStatus"] == "CREATE_COMPLETE", formation.describe_stack_events(StackName="pictures")
    return {one["OutputKey"]: one["OutputValue"] for one in stack["Outputs"]}


def get(url: str, **headers: str) -> tuple[int, str]:
    """Status and content type."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=120) as answer:
            return answer.status, answer.headers["Content-Type"]
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"]


def kept_keys(cloud: Any) -> list[str]:
    listed = cloud.client("s3").list_objects_v2(Bucket="photos-resized")
    return [one["Key"] for one in listed.get("Contents", [])]


def test_the_api_makes_and_keeps_a_picture_for_its_key(ministack: Any, zipped: Path) -> None:
    outputs = deploy(ministack, zipped, Front="api")
    name = outputs["Address"].removeprefix("https://").partition(".")[0]
    address = f"{ministack.url}/restapis/{name}/v1/_user_request_/coffee.jpg"
    key = ministack.client("apigateway").get_api_key(apiKey=outputs["ApiKeyId"], includeValue=True)["value"]
    assert get(f"{address}?h=300&fm=webp")[0] == 403
    assert get(f"{address}?h=300&fm=webp", **{"x-api-key": key}) == (200, "image/webp")
    assert get(f"{address}?h=301", **{"x-api-key": key}) == (403, "application/problem+json")
    assert kept_keys(ministack) == [KEPT]


@pytest.mark.parametrize("front", ["cloudfront", "none"])
def test_the_url_makes_and_keeps_a_picture_for_signed_requests_only(front: str, ministack: Any, zipped: Path) -> None:
    """CloudFront asks for the kept picture's key, and signs as any role does."""
    outputs = deploy(ministack, zipped, Front=front)
    url = ministack.client("lambda").get_function_url_config(FunctionName=outputs["FunctionName"])["FunctionUrl"]
    host = url.removeprefix("https://").strip("/")
    request = AWSRequest("GET", f"https://{host}/{KEPT}", headers={"Host": host})
    SigV4Auth(Credentials(ACCOUNT, "testing"), "lambda", REGION).add_auth(request)
    assert get(f"{ministack.url}/{KEPT}", Host=host)[0] == 403
    assert get(f"{ministack.url}/{KEPT}", **dict(request.headers)) == (200, "image/webp")
    assert kept_keys(ministack) == [KEPT]
