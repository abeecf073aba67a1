"""The resources and permissions that deploy/on-demand.yaml makes, tested as data."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from itertools import product
from typing import Any, Final

import pytest

from tests.deploy.on_demand import BASICS, NAME, ON_DEMAND, pictures, read_template, refusals
from tests.deploy.policies import Request, decision, stack_request
from tests.deploy.stack import ACCOUNT, AS_ZIP, IMAGE, REGION, Stack, accepts, as_list, policies, source
from tests.tools.parameters import ON_DEMAND as SETTINGS_HERE
from tests.tools.parameters import parameter
from thumbnailer.settings import parse_settings

MOST_BYTES: Final = 1_000_000
"""CloudFormation's limit on a template in S3."""
KEY: Final = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555"
OTHER_KEY: Final = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/99999999-2222-3333-4444-555555555555"
GLOBAL_ACL: Final = f"arn:aws:wafv2:us-east-1:{ACCOUNT}:global/webacl/pictures/1234-abcd"
CERTIFICATE: Final = f"arn:aws:acm:us-east-1:{ACCOUNT}:certificate/1234-abcd"
EVERYTHING: Final = {
    "SourceKmsKeyArn": KEY,
    "Sse": "aws:kms",
    "KmsKeyId": OTHER_KEY,
    "Offers": "card=512x512:cover:webp:q80",
    "UrlKeys": "ab" * 16,
    "WebAclArn": GLOBAL_ACL,
    "DomainName": "pictures.example.com",
    "CertificateArn": CERTIFICATE,
    "OriginShieldRegion": "eu-central-1",
}
FRONTS: Final = ("cloudfront", "api", "none")
ALL: Final = [
    {"Front": front, **package, **more} for front, package, more in product(FRONTS, ({}, AS_ZIP), ({}, EVERYTHING))
]
COMMON: Final = {"Function", "LogGroup", "Role"}
OWN: Final = {
    "cloudfront": {
        "Url", "UrlPermission", "InvokePermission", "BucketAccess", "FunctionAccess", "Distribution", "CachePolicy",
        "ResponseHeaders", "UrlKeyStore", "EdgeFunction",
    },
    "api": {
        "Api", "ApiPath", "ApiValidator", "ApiGet", "ApiHead", "ApiPermission", "ApiDeployment", "ApiStage", "ApiLog",
        "ApiPlan", "ApiKey", "ApiPlanKey", "ApiAccount", "ApiLogWriter",
    },
    "none": {"Url"},
}  # fmt: skip


# --- the file -----------------------------------------------------------------------------------------------------


def test_cfn_lint_reports_nothing_but_empty_defaults() -> None:
    """Rules of the template refuse the empty defaults of a zip and of a certificate. No rule of cfn-lint is off."""
    code = "from cfnlint.runner import main; main()"
    command = [sys.executable, "-c", code, "--format", "json", "--include-checks", "I", "--", str(ON_DEMAND)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    found = [f"{one['Rule']['Id']} {one['Message']}" for one in json.loads(told.stdout)]
    empty = ("W1030 {'Ref': 'Code", "W1030 {'Ref': 'CertificateArn'")
    assert [one for one in found if not one.startswith(empty)] == []
    assert "cfn-lint" not in ON_DEMAND.read_text()


def test_the_template_is_small_enough_for_cloudformation() -> None:
    assert len(ON_DEMAND.read_bytes()) <= MOST_BYTES


def test_every_condition_and_parameter_is_used() -> None:
    template = read_template()
    text = json.dumps(template)
    for name in template["Conditions"]:
        assert text.count(f'"{name}"') > 1, name
    for name in template["Parameters"]:
        assert f'{{"Ref": "{name}"}}' in text or f"${{{name}}}" in text, name


def test_every_variant_can_be_resolved_and_has_exactly_its_resources() -> None:
    for parameters in ALL:
        made = pictures(**parameters)
        acl = {"ApiWebAcl"} if (parameters["Front"], "WebAclArn" in parameters) == ("api", True) else set()
        assert set(made.resources) == COMMON | OWN[parameters["Front"]] | acl
        assert "Fn::" not in json.dumps([resource.properties for resource in made.resources.values()])
        assert made.outputs["Address"].startswith("https://")


def test_an_account_with_a_log_role_for_its_apis_keeps_it() -> None:
    made = pictures(Front="api", ApiLogRole="false")
    assert set(made.resources) == COMMON | OWN["api"] - {"ApiAccount", "ApiLogWriter"}


# --- parameters ---------------------------------------------------------------------------------------------------


def test_buckets_and_code_must_be_given_and_contradictions_are_refused() -> None:
    declared = read_template()["Parameters"]
    assert {name for name, one in declared.items() if "Default" not in one} == {"SourceBucket", "DestinationBucket"}
    for parameters, rule in (
        ({"ImageUri": ""}, "AnImageHasItsUri"),
        (AS_ZIP | {"CodeKey": ""}, "AZipHasItsPlace"),
        ({"DestinationBucket": "photos"}, "PicturesDoNotGoToTheSource"),
        ({"DomainName": "a.example.com"}, "ANameHasItsCertificate"),
        ({"Open": "on"}, "AnOpenDistributionHasAWebAcl"),
        ({"KmsKeyId": KEY}, "AKeyIsForKms"),
        ({"Page": "on"}, "ThePageIsSignedAndNotBehindAnApi"),
        ({"Page": "on", "UrlKeys": "ab" * 16, "Front": "api"}, "ThePageIsSignedAndNotBehindAnApi"),
    ):
        assert refusals(**parameters) == [rule], parameters
    assert refusals(Open="on", Front="api") == refusals(Open="on", WebAclArn=GLOBAL_ACL) == []


def test_parameters_of_the_main_template_accept_the_same_here() -> None:
    """So the values of the main stack can be passed on."""
    main = source()["Parameters"]
    checks = ("Type", "AllowedPattern", "AllowedValues", "MinValue", "MaxValue", "MaxLength")
    for name, declared in read_template()["Parameters"].items():
        if name in main:
            assert [declared.get(one) for one in checks] == [main[name].get(one) for one in checks], name


def test_secrets_are_not_shown_and_text_of_the_edge_function_needs_no_quoting() -> None:
    declared = read_template()["Parameters"]
    assert {name for name, one in declared.items() if one.get("NoEcho")} == {"UrlKeys", "ImgproxyKeys", "ThumborKeys"}
    for name in ("Renditions", "Offers", "AnyPrefix", "OnDelete", "Grammars", "Negotiate", "Open", "MaxSide"):
        assert not [one for one in ("'", "\\", "\n", "${", "1'") if accepts(declared[name], one)], name


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("AllowedCidrs", ["0.0.0.0/0,::/0", "203.0.113.0/24"], ["", "203.0.113.0", "example.com/24"]),
        ("WebAclArn", ["", GLOBAL_ACL], ["pictures", GLOBAL_ACL.replace("webacl", "ipset")]),
        ("CertificateArn", ["", CERTIFICATE], [CERTIFICATE.replace("us-east-1", "eu-west-1")]),
        ("DomainName", ["", "pictures.example.com"], ["https://pictures.example.com"]),
        ("OnDemandTimeout", ["3", "29"], ["2", "30"]),
    ],
)
def test_a_parameter_accepts_what_aws_accepts(name: str, good: list[str], bad: list[str]) -> None:
    declared = read_template()["Parameters"][name]
    assert [value for value in [*good, *bad] if accepts(declared, value)] == good


def environment(stack: Stack) -> dict[str, str]:
    variables: dict[str, str] = stack["Function"]["Environment"]["Variables"]
    return variables


def test_the_function_gets_every_setting_from_its_parameter() -> None:
    own = {
        "THUMBNAILER_SOURCES": "photos",
        "THUMBNAILER_DESTINATION": "photos-resized",
        "THUMBNAILER_EXPECTED_OWNER": ACCOUNT,
    }
    assert parse_settings(environment(pictures())) == parse_settings(own)
    given = {"Offers": "9x9:webp", "UrlKeys": "ab" * 16, "MaxSide": "512", "Negotiate": "avif,webp", "Cors": ""}
    variables = environment(pictures(**given))
    names = {parameter(setting): setting.variable for setting in SETTINGS_HERE.settings()}
    assert {name: variables.get(names[name], "") for name in given} == given


# --- the function -------------------------------------------------------------------------------------------------


def test_image_and_zip_run_the_same_handler() -> None:
    image, zip_ = pictures()["Function"], pictures(**AS_ZIP)["Function"]
    assert image["ImageConfig"]["Command"] == ["python", "-m", "awslambdaric", "handler.aws_http.handler"]
    assert image["Code"] == {"ImageUri": IMAGE}
    assert not {"Handler", "Runtime"} & set(image)
    assert (zip_["Handler"], zip_["Code"]) == (
        "handler.aws_http.handler",
        {"S3Bucket": "code", "S3Key": "thumbnailer-1.zip"},
    )
    assert "ImageConfig" not in zip_


PHOTO: Final = "arn:aws:s3:::photos/a/b.jpg"


def test_concurrency_is_reserved_unless_the_account_has_too_little() -> None:
    assert pictures()["Function"]["ReservedConcurrentExecutions"] == "20"
    assert "ReservedConcurrentExecutions" not in pictures(OnDemandConcurrency="0")["Function"]


UPLOAD: Final = "arn:aws:s3:::photos/uploads/x/y.jpg"
THUMBNAIL: Final = "arn:aws:s3:::photos-resized/a/b.jpg"
KEPT: Final = "arn:aws:s3:::photos-resized/_any/a/b.jpg/9x9.webp"
LOG: Final = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/lambda/{NAME}:log-stream:x"
MAY: Final = {
    *(("s3:GetObject", resource) for resource in (PHOTO, UPLOAD, "arn:aws:s3:::photos/_any/x", THUMBNAIL, KEPT)),
    *((f"logs:{verb}", LOG) for verb in ("CreateLogStream", "PutLogEvents")),
}
KEEPS: Final = {(f"s3:{verb}", KEPT) for verb in ("PutObject", "DeleteObject")}
UPLOADS: Final = {("s3:PutObject", UPLOAD)}
KEYS: Final = {("kms:Decrypt", KEY), ("kms:Decrypt", OTHER_KEY), ("kms:GenerateDataKey", OTHER_KEY)}
ACTIONS: Final = {action for action, _ in MAY | KEEPS | KEYS} | {
    "s3:GetObjectVersion", "s3:DeleteObjectVersion", "s3:PutObjectAcl", "s3:PutBucketPolicy", "s3:ListBucket",
    "sqs:SendMessage", "kms:Encrypt", "logs:CreateLogGroup", "lambda:InvokeFunction", "iam:PassRole",
}  # fmt: skip
RESOURCES: Final = {resource for _, resource in MAY | KEEPS | KEYS} | {
    "arn:aws:s3:::photos", "arn:aws:s3:::photos-resized", "arn:aws:s3:::photos-2/x",
    LOG.replace(NAME, "other"),
}  # fmt: skip


def role(made: Stack) -> dict[str, Any]:
    (only,) = made["Role"]["Policies"]
    document: dict[str, Any] = only["PolicyDocument"]
    return document


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, MAY),
        ({"Offers": "9x9"}, MAY | KEEPS),
        ({"Offers": "9x9", "OnDelete": "keep"}, MAY),
        ({"Offers": "9x9", "AnyPrefix": ""}, MAY),
        ({"Page": "on", "UrlKeys": "ab" * 16}, MAY | UPLOADS),
        (EVERYTHING, MAY | KEEPS | KEYS),
        (EVERYTHING | {"Page": "on"}, MAY | KEEPS | KEYS | UPLOADS | {("kms:GenerateDataKey", KEY)}),
    ],
    ids=["plain", "offers", "not kept", "no prefix", "page", "everything", "everything and the page"],
)
def test_the_role_allows_what_the_function_does_and_nothing_else(
    more: dict[str, str], expected: Iterable[tuple[str, str]]
) -> None:
    """Every action tried on every resource."""
    document = role(pictures(**more))
    allowed = {one for one in product(ACTIONS, RESOURCES) if decision(document, stack_request(*one)) == "allow"}
    assert allowed == expected
    elsewhere = Request("s3:GetObject", PHOTO, context={"aws:ResourceAccount": "999999999999"})
    assert decision(document, elsewhere) == "nothing"


def test_every_role_has_the_boundary_and_the_path_that_the_account_asks_for() -> None:
    boundary = f"arn:aws:iam::{ACCOUNT}:policy/teams"
    made = pictures(Front="api", PermissionsBoundary=boundary, RolePath="/teams/")
    roles = [one.properties for one in made.of_type("AWS::IAM::Role")]
    assert [(one["PermissionsBoundary"], one["Path"]) for one in roles] == [(boundary, "/teams/")] * 2
    assert "PermissionsBoundary" not in pictures()["Role"]


def test_only_the_api_s_policy_has_a_wildcard_and_only_its_log_role_a_managed_policy() -> None:
    for parameters in ALL:
        made = pictures(**parameters)
        for path, document in policies(made).items():
            for statement in document["Statement"]:
                actions = as_list(statement["Action"])
                assert not [action for action in actions if "*" in action], path
                assert "*" not in as_list(statement.get("Resource", [])), path
                assert statement.get("Principal") != "*" or path.startswith("Api."), path
        managed = {one.id for one in made.of_type("AWS::IAM::Role") if "ManagedPolicyArns" in one.properties}
        assert managed == ({"ApiLogWriter"} if parameters["Front"] == "api" else set())


# --- CloudFront ---------------------------------------------------------------------------------------------------


def distribution(**parameters: str) -> dict[str, Any]:
    config: dict[str, Any] = pictures(**parameters)["Distribution"]["DistributionConfig"]
    return config


def test_a_kept_picture_comes_from_the_bucket_and_if_it_is_missing_from_the_function() -> None:
    config = distribution()
    (group,) = config["OriginGroups"]["Items"]
    assert [member["OriginId"] for member in group["Members"]["Items"]] == ["kept", "function"]
    assert group["FailoverCriteria"]["StatusCodes"]["Items"] == [403, 404, 500, 502, 503, 504]
    assert config["DefaultCacheBehavior"]["TargetOriginId"] == group["Id"]
    kept, function = config["Origins"]
    assert kept["DomainName"] == f"photos-resized.s3.{REGION}.amazonaws.com"
    assert function["DomainName"] == f"{NAME}-Url.lambda-url.{REGION}.on.aws"


def test_cloudfront_signs_its_requests_to_both_origins() -> None:
    made = pictures()
    kept, function = made["Distribution"]["DistributionConfig"]["Origins"]
    for origin, access, kind in ((kept, "BucketAccess", "s3"), (function, "FunctionAccess", "lambda")):
        config = made[access]["OriginAccessControlConfig"]
        assert origin["OriginAccessControlId"] == made.attribute(access, "Id")
        assert (config["OriginAccessControlOriginType"], config["SigningBehavior"]) == (kind, "always")


def test_only_this_distribution_may_call_the_url_and_nobody_without_iam() -> None:
    made = pictures()
    arn = f"arn:aws:cloudfront::{ACCOUNT}:distribution/{NAME}-Distribution"
    by = {"FunctionName": f"{NAME}-Function", "Principal": "cloudfront.amazonaws.com", "SourceArn": arn}
    assert made["UrlPermission"] == by | {"Action": "lambda:InvokeFunctionUrl", "FunctionUrlAuthType": "AWS_IAM"}
    assert made["InvokePermission"] == by | {"Action": "lambda:InvokeFunction", "InvokedViaFunctionUrl": True}
    for front in ("cloudfront", "none"):
        assert pictures(Front=front)["Url"]["AuthType"] == "AWS_IAM"


def test_the_cache_key_is_the_edge_function_s_path_query_and_accept() -> None:
    made = pictures()
    parts = made["CachePolicy"]["CachePolicyConfig"]["ParametersInCacheKeyAndForwardedToOrigin"]
    assert parts["QueryStringsConfig"] == {"QueryStringBehavior": "all"}
    assert parts["HeadersConfig"] == {"HeaderBehavior": "whitelist", "Headers": ["Accept"]}
    assert parts["CookiesConfig"] == {"CookieBehavior": "none"}
    behaviour = made["Distribution"]["DistributionConfig"]["DefaultCacheBehavior"]
    (edge,) = behaviour["FunctionAssociations"]
    assert edge == {"EventType": "viewer-request", "FunctionARN": made.attribute("EdgeFunction", "FunctionARN")}
    assert "OriginRequestPolicyId" not in behaviour


def test_answers_from_the_bucket_have_the_function_s_headers() -> None:
    policy = pictures()["ResponseHeaders"]["ResponseHeadersPolicyConfig"]
    assert {one["Header"]: one["Value"] for one in policy["CustomHeadersConfig"]["Items"]} == {
        "Vary": "Accept",
        "Timing-Allow-Origin": "*",
    }
    assert policy["CorsConfig"]["AccessControlAllowOrigins"] == {"Items": ["*"]}
    without = pictures(Cors="")["ResponseHeaders"]["ResponseHeadersPolicyConfig"]
    assert "CorsConfig" not in without
    assert [one["Header"] for one in without["CustomHeadersConfig"]["Items"]] == ["Vary"]


def test_shield_web_acl_and_own_name_are_set_on_request() -> None:
    plain, full = distribution(), distribution(**EVERYTHING)
    assert not {"WebACLId", "Aliases"} & set(plain)
    assert (full["WebACLId"], full["Aliases"]) == (GLOBAL_ACL, ["pictures.example.com"])
    assert full["ViewerCertificate"]["MinimumProtocolVersion"] == "TLSv1.2_2021"
    shield = {"Enabled": True, "OriginShieldRegion": "eu-central-1"}
    assert [origin.get("OriginShield") for origin in full["Origins"]] == [shield, shield]
    assert [origin.get("OriginShield") for origin in plain["Origins"]] == [None, None]


def test_the_page_for_uploads_goes_to_the_function_uncached() -> None:
    assert "CacheBehaviors" not in distribution()
    behaviours = distribution(Page="on", UrlKeys="ab" * 16)["CacheBehaviors"]
    assert [one["PathPattern"] for one in behaviours] == ["/", "/uploads", "/_page/*"]
    assert {one["TargetOriginId"] for one in behaviours} == {"function"}
    assert ["POST" in one.get("AllowedMethods", []) for one in behaviours] == [False, True, False]
    assert not [one for one in behaviours if "FunctionAssociations" in one]


# --- REST API -----------------------------------------------------------------------------------------------------


def test_the_api_wants_a_key_and_answers_binary_pictures_of_any_path() -> None:
    made = pictures(Front="api")
    assert made["Api"]["BinaryMediaTypes"] == ["*/*"]
    assert made["Api"]["EndpointConfiguration"] == {"Types": ["REGIONAL"]}
    assert made["ApiPath"]["PathPart"] == "{key+}"
    for name, method in (("ApiGet", "GET"), ("ApiHead", "HEAD")):
        assert (made[name]["HttpMethod"], made[name]["ApiKeyRequired"]) == (method, True)
        assert made[name]["Integration"]["Type"] == "AWS_PROXY"
        assert made[name]["RequestValidatorId"] == made.ref("ApiValidator")


def test_the_api_is_throttled_by_stage_and_by_key() -> None:
    made = pictures(Front="api", ApiRequestsPerSecond="7", ApiBurst="9", ApiRequestsPerDay="1000")
    (stage,) = made["ApiStage"]["MethodSettings"]
    assert (stage["ThrottlingRateLimit"], stage["ThrottlingBurstLimit"]) == ("7", "9")
    assert made["ApiPlan"]["Throttle"] == {"RateLimit": "7", "BurstLimit": "9"}
    assert made["ApiPlan"]["Quota"] == {"Limit": "1000", "Period": "DAY"}
    assert made["ApiStage"]["TracingEnabled"] is True
    assert json.loads(made["ApiStage"]["AccessLogSetting"]["Format"])["status"] == "$context.status"


def test_only_allowed_addresses_reach_the_api() -> None:
    (statement,) = pictures(Front="api", AllowedCidrs="203.0.113.0/24,10.0.0.0/8")["Api"]["Policy"]["Statement"]
    assert statement["Condition"] == {"IpAddress": {"aws:SourceIp": ["203.0.113.0/24", "10.0.0.0/8"]}}


def test_only_this_api_may_invoke_the_function() -> None:
    assert pictures(Front="api")["ApiPermission"] == {
        "FunctionName": f"{NAME}-Function",
        "Action": "lambda:InvokeFunction",
        "Principal": "apigateway.amazonaws.com",
        "SourceArn": f"arn:aws:execute-api:{REGION}:{ACCOUNT}:{NAME}-Api/*",
    }


def test_the_basics_are_enough() -> None:
    assert Stack(BASICS, read_template(), NAME).refused() == []
