"""The templates' parameters: CloudFormation checks each before it makes anything, and each setting is one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.deploy.fargate import read_template
from tests.deploy.stack import ACCOUNT, AS_ZIP, BASICS, IMAGE, Stack, accepts, source
from tests.tools.parameters import COMMAND, ON_FARGATE, ON_LAMBDA, fill, made_files, parameter, up_to
from thumbnailer.errors import SettingsError
from thumbnailer.settings import Setting, parse_settings

DECLARED: Final[Mapping[str, Any]] = source()["Parameters"]
ON_WORKER: Final[Mapping[str, Any]] = read_template()["Parameters"]
SETTINGS: Final[Mapping[str, Setting]] = {parameter(setting): setting for setting in ON_LAMBDA.settings()}
KEY: Final = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
OTHER: Final = "999999999999"
GOES_WITH: Final = {"KmsKeyId": {"Sse": "aws:kms"}}
"""Other parameters that a value needs."""

NARROWER: Final = (
    ("StorageClass", "EXPRESS_ONEZONE"),  # only directory buckets have it
    ("KmsKeyId", "alias/x"),  # the role's policy needs the key's ARN
    ("KmsKeyId", "1234abcd-12ab-34cd-56ef-1234567890ab"),
    ("Include", "фото/*"),  # ASCII: Lambda counts the environment's 4 KB in bytes
    ("Exclude", "фото/*"),
    ("FailedPrefix", "не вышло/"),
    ("Renditions", "0128x128"),  # no leading zeros
    ("Renditions", "128x128:q080"),
    ("MaxPixels", "007"),
    ("Renditions", "128x128,,64x64"),  # no empty parts
    ("Renditions", "128x128,"),
    ("Key", "{{{key}}}"),  # no literal braces
)
"""(parameter, value) that the setting accepts and the template refuses."""

VALID: dict[str, Sequence[str]] = {
    "Renditions": (
        "128x128", "x128", "128x", "16383x1", "card=512x512:cover:webp:q80", "a=1x1,b=2x2, c=3x3",
        "1x1:smart:auto:q100", "64x64:inside:gif", "1x1:q1", "1x1:jpeg:progressive", "1x1:progressive", "9x9:png:q99",
        "1x1:avif", "1x1:small", "1x1:progressive:small", "1x1:webp:q80:small", "a=1x1,b=1x1", "11x1,1x1",
        "x16383:inside", "10000x10000:cover:q10:progressive", "under_score-1=99x:auto",
    ),
    "Destination": ("{bucket}-resized", "small-{bucket}", "thumbs", "a.{bucket}.b", "{bucket}2"),
    "Key": ("{key}", "t/{key}", "{dir}/{stem}.{ext}", "{name}/{key}", "a b/{key}"),
    "Sources": ("photos", "photos, team-*"),
    "ExpectedOwner": ("123456789012",),
    "Include": ("*.jpg", "*.jpg, *.png", "photos/*"),
    "Exclude": ("tmp/*", "*secret*"),
    "CacheControl": ("max-age=60", "public, max-age=31536000, immutable"),
    "FailedPrefix": ("", "_failed/", "x" * 256),
    "Offers": ("", "300x200", "card=512x512:cover:webp:q80,wide=1200x"),
    "AnyPrefix": ("", "_any/", "x" * 256),
    "KmsKeyId": (KEY,),
    "MaxPixels": ("1", "9999999999", "10000000000"),
    "MaxBytes": ("1", "999999999999", "4999999999999", "5000000000000"),
    "MaxFrames": ("1", "99999", "100000"),
    "Workers": ("1", "99", "199", "249", "256"),
    "InFlight": ("1", "999", "1000"),
}  # fmt: skip
VALID |= {name: one["AllowedValues"] for name, one in DECLARED.items() if name in SETTINGS and "AllowedValues" in one}
INVALID: dict[str, Sequence[str]] = {
    "Renditions": (
        "", "128", "x", "0x1", "1x0", "16384x1", "1x16384", "100000x1", "x128:cover", "128x:smart",
        "1x1:webp:progressive", "1x1:q0", "1x1:q101", "1x1:bmp",
        "128x128,128x128", "a=1x1,a=2x2", "1x1:png, 2x2, 1x1:webp", "2x2=1x1,2x2:cover", "1x1:png:small",
        "1x1:q80:webp", "1x1:webp:cover", "1x1:", "a b=1x1", f"{'n' * 65}=1x1",
    ),
    "Destination": ("", "{bucket}", "My_Bucket", "{source}-x", "{bucket}{bucket}", "a b", "thumbs\n"),
    "Key": ("thumb.jpg", "{name}", "{size}{key}", "{key", "{key!r}", "{key:>9}"),
    "ExpectedOwner": ("12345678901", "1234567890123", "123456789o12", "123456789012\n"),
    "CacheControl": ("max-age=1\r\nx: y", "für immer", "x" * 1025),
    "FailedPrefix": ("x" * 257,),
    "Offers": ("9" * 1025,),
    "AnyPrefix": ("{key}", "a}", "é", "x" * 257),
    "Sse": ("aes256",),
    "StorageClass": ("GLACIER", "standard"),
    "OnDelete": ("", "remove"),
    "Engine": ("", "magick", "VIPS"),
    "Transport": ("", "boto3"),
    "Svg": ("", "true"),
    "Thumbhash": ("", "yes"),
    "UserMetadata": ("", "no"),
    "LogLevel": ("", "info"),
    "MaxPixels": ("0", "-1", "10000000001", "1e6"),
    "MaxBytes": ("0", "5000000000001", "9" * 13),
    "MaxFrames": ("0", "100001"),
    "Workers": ("0", "257", "300", "²"),
    "InFlight": ("0", "1001", "2.5"),
}  # fmt: skip


def pairs(values: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    return ((name, value) for name, some in values.items() for value in some)


def environment(package: Mapping[str, str] | None = None, **parameters: str) -> dict[str, str]:
    """The function's environment."""
    stack = Stack({**BASICS, **(package or {}), **parameters})
    (function,) = stack.of_type("AWS::Lambda::Function")
    variables: dict[str, str] = function.properties["Environment"]["Variables"]
    return variables


def template_takes(name: str, value: str) -> bool:
    return not Stack(BASICS | GOES_WITH.get(name, {}) | {name: value}).refused()


def setting_takes(name: str, value: str) -> bool:
    """An empty parameter leaves an optional setting unset."""
    setting = SETTINGS[name]
    others = {SETTINGS[other].variable: given_ for other, given_ in GOES_WITH.get(name, {}).items()}
    own = {} if not value and not setting.default else {setting.variable: value}
    try:
        parse_settings(own | others)
    except SettingsError:
        return False
    return True


# --- made from the settings ---------------------------------------------------------------------------------------


def test_templates_and_docs_settings_md_are_up_to_date() -> None:
    outdated = [path for path, text in made_files().items() if path.read_text() != text]
    assert outdated == [], f"these files differ from thumbnailer/settings.py: run `{COMMAND}`"


def test_a_file_without_a_region_is_an_error() -> None:
    with pytest.raises(ValueError, match="there is no region 'groups'"):
        fill("# settings: parameters\n# end of parameters\n", {"groups": []})


def test_only_the_text_in_a_region_is_replaced() -> None:
    before = "a\n  # settings: x (note)\n  old\n  # end of x\nb\n"
    assert fill(before, {"x": ["  new", "  lines"]}) == "a\n  # settings: x (note)\n  new\n  lines\n  # end of x\nb\n"


@given(st.integers(1, 10**13), st.data())
def test_the_pattern_of_a_range_matches_its_numbers_and_no_others(most: int, data: st.DataObject) -> None:
    number = data.draw(st.integers(-1, 2 * most) | st.integers(most - 2, most + 2))
    declared = {"Type": "String", "AllowedPattern": f"^({up_to(most)})$"}
    assert accepts(declared, str(number)) == (1 <= number <= most)


# --- the settings of the function ---------------------------------------------------------------------------------


@pytest.mark.parametrize("package", [{}, AS_ZIP], ids=["image", "zip"])
def test_default_parameters_leave_every_setting_at_its_default_except_the_sources(package: Mapping[str, str]) -> None:
    """A stack has one source bucket, refuses events of others, and buckets of other accounts."""
    given_ = environment(package)
    own = {"THUMBNAILER_SOURCES": BASICS["SourceBucket"], "THUMBNAILER_EXPECTED_OWNER": ACCOUNT}
    assert parse_settings(given_) == parse_settings(own)
    unset = {setting.variable for setting in SETTINGS.values() if not setting.default} - own.keys()
    assert set(given_) == {setting.variable for setting in SETTINGS.values()} - unset


@pytest.mark.parametrize("package", [{}, AS_ZIP], ids=["image", "zip"])
def test_every_parameter_reaches_its_variable_and_no_other(package: Mapping[str, str]) -> None:
    before = environment(package)
    for name, setting in SETTINGS.items():
        value = VALID[name][-1]
        assert environment(package, **{name: value}) == before | {setting.variable: value}, name


def test_template_and_setting_accept_the_same_valid_values() -> None:
    assert set(VALID) == set(SETTINGS)
    refused = [pair for pair in pairs(VALID) if not (template_takes(*pair) and setting_takes(*pair))]
    assert refused == []


def test_template_and_setting_refuse_the_same_invalid_values() -> None:
    assert [pair for pair in pairs(INVALID) if template_takes(*pair) or setting_takes(*pair)] == []


def test_where_the_template_is_stricter_than_the_setting() -> None:
    assert [pair for pair in NARROWER if template_takes(*pair) or not setting_takes(*pair)] == []


_SIDES: Final = st.sampled_from(["", "0", "1", "128", "9999", "10000", "16383", "16384", "20000", "100000"])
_FITS_AND_FORMATS: Final = ("inside", "cover", "smart", "auto", "jpeg", "png", "webp", "avif", "gif", "tiff")
_OPTIONS: Final = st.sampled_from((*_FITS_AND_FORMATS, "q0", "q1", "q80", "q100", "q101", "progressive", "small"))
_RENDITIONS: Final = st.builds(
    lambda name, width, height, options: ":".join([f"{name}{width}x{height}", *options]),
    st.sampled_from(["", "a=", "b-1="]),
    _SIDES,
    _SIDES,
    st.lists(_OPTIONS, max_size=4),
)


@given(st.lists(_RENDITIONS, min_size=1, max_size=3, unique=True), st.sampled_from([",", ", "]))
def test_template_and_setting_accept_the_same_lists_of_renditions(renditions: list[str], between: str) -> None:
    text = between.join(renditions)
    assert accepts(DECLARED["Renditions"], text) == setting_takes("Renditions", text)


# --- the settings of the worker -----------------------------------------------------------------------------------


def test_the_worker_s_template_has_the_function_s_parameters() -> None:
    assert {name: ON_WORKER[name] for name in SETTINGS} == {name: DECLARED[name] for name in SETTINGS}


def test_the_worker_s_own_parameters_accept_no_more_than_their_settings() -> None:
    own = {parameter(setting): setting for setting in ON_FARGATE.settings()}
    for name in set(own) - set(SETTINGS):
        declared = ON_WORKER[name]
        for value in declared.get("AllowedValues") or [declared["MinValue"], declared["MaxValue"]]:
            own[name].kind.parse(str(value))


# --- all parameters -----------------------------------------------------------------------------------------------


def is_checked(declared: Mapping[str, Any]) -> bool:
    if declared["Type"] == "Number":
        return "AllowedValues" in declared or {"MinValue", "MaxValue"} <= set(declared)
    return "AllowedValues" in declared or {"AllowedPattern", "ConstraintDescription"} <= set(declared)


@pytest.mark.parametrize("template", [source(), read_template()], ids=["lambda", "fargate"])
def test_every_parameter_is_described_and_checked_and_in_one_group_of_the_console_s_form(
    template: Mapping[str, Any],
) -> None:
    declared = template["Parameters"]
    assert [name for name, one in declared.items() if len(one["Description"]) <= 10 or not is_checked(one)] == []
    defaults = {name: str(one["Default"]) for name, one in declared.items() if "Default" in one}
    assert [name for name, default in defaults.items() if not accepts(declared[name], default)] == []
    groups = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    assert sorted(name for group in groups for name in group["Parameters"]) == sorted(declared)


def test_only_the_source_bucket_and_the_function_s_code_must_be_given() -> None:
    assert [name for name, declared in DECLARED.items() if "Default" not in declared] == ["SourceBucket"]
    assert Stack({"SourceBucket": "photos"}).refused() == ["AnImageHasItsUri"]
    assert Stack(BASICS).refused() == []
    assert Stack(BASICS | AS_ZIP).refused() == []


GOOD_AND_BAD: Final[Mapping[str, tuple[list[str], list[str]]]] = {
    "SourceBucket": (["photos", "a.b", "a1b"], ["", "ab", "Photos", "-ab", "ab-", "a_b", "x" * 64]),
    "ImageUri": ([IMAGE, IMAGE[:-2] + "@sha256:" + "0" * 64], [IMAGE[:-2], "python:3.13", "docker.io/x/y:1"]),
    "CodeBucket": (["code", ""], ["Code"]),
    "CodeKey": (["a/b.zip", ""], ["ключ"]),
    "SourceKmsKeyArn": ([KEY, ""], ["alias/x", KEY.replace("key/", "alias/")]),
    "AlarmTopicArn": ([f"arn:aws:sns:eu-west-1:{ACCOUNT}:ops", ""], ["ops", f"arn:aws:sqs:eu-west-1:{ACCOUNT}:x"]),
    "MemorySize": (["128", "10240"], ["127", "10241", "1.5", ""]),
    "EphemeralStorage": (["512", "10240"], ["511", "10241"]),
    "Timeout": (["10", "900"], ["0", "45", "901"]),
    "BatchWindow": (["0", "300"], ["2", "301"]),
    "BatchSize": (["1", "10"], ["0", "10001"]),
    "MaximumConcurrency": (["2", "1000"], ["1", "1001"]),
    "MaxReceiveCount": (["1", "1000"], ["0", "1001"]),
    "LogRetentionDays": (["1", "3653"], ["2", "0"]),
    "Runtime": (["python3.11", "python3.14"], ["python3.10", "nodejs22.x"]),
    "Architecture": (["x86_64", "arm64"], ["arm"]),
    "Trigger": (["queue", "direct", "eventbridge"], ["sns", ""]),
    "DurationAlarmPercent": (["1", "99"], ["0", "100"]),
    "KeyPrefix": (["photos/2026/", ""], ["фото/", "a*", "a b"]),
    "KeySuffix": ([".jpg", ""], ["*.jpg"]),
    "AlarmEmail": (["ops@example.com", ""], ["ops", "ops@example", "a b@example.com"]),
    "CostAlarmUsd": (["5", "0.50", ""], ["0", "0.00", "-1", "1e3"]),
    "RolePath": (["/", "/teams/pictures/"], ["", "teams", "/teams"]),
    "PermissionsBoundary": (
        [f"arn:aws:iam::{ACCOUNT}:policy/team/bound", "arn:aws-cn:iam::aws:policy/PowerUserAccess", ""],
        ["bound", f"arn:aws:iam::{ACCOUNT}:role/x"],
    ),
    "Deployment": (["AllAtOnce", "Canary10Percent10Minutes"], ["", "Canary10Percent5Minutes"]),
    "OldVersionDays": (["1", "36500"], ["0"]),
}  # fmt: skip


def test_a_parameter_accepts_what_aws_accepts() -> None:
    for name, (good, bad) in GOOD_AND_BAD.items():
        assert [value for value in [*good, *bad] if accepts(DECLARED[name], value)] == good, name


# --- rules between parameters -------------------------------------------------------------------------------------


def test_contradictions_are_refused() -> None:
    for parameters, rule in (
        ({"ImageUri": ""}, "AnImageHasItsUri"),
        (AS_ZIP | {"CodeBucket": ""}, "AZipHasItsPlace"),
        (AS_ZIP | {"CodeKey": ""}, "AZipHasItsPlace"),
        ({"CreateSourceBucket": "false", "Trigger": "direct"}, "AnExistingBucketSendsToAQueue"),
        ({"SourceAccount": OTHER}, "AnotherAccountSendsItsNotification"),
        (
            {"SourceAccount": OTHER, "CreateSourceBucket": "false", "Trigger": "eventbridge"},
            "AnotherAccountSendsItsNotification",
        ),
        ({"VpcId": "vpc-01234567"}, "AVpcHasItsSubnets"),
        ({"SubnetIds": "subnet-01234567"}, "SubnetsHaveTheirVpc"),
        ({"Deployment": "Canary10Percent10Minutes"}, "AGradualDeploymentHasARelease"),
        (
            {"Deployment": "Canary10Percent10Minutes", "Release": "1", "Trigger": "direct"},
            "AQueueWaitsForTheNewVersion",
        ),
        (
            {"AlarmEmail": "ops@example.com", "AlarmTopicArn": f"arn:aws:sns:us-east-1:{ACCOUNT}:ops"},
            "AlarmsGoToOnePlace",
        ),
        ({"BatchSize": "11"}, "LargeBatchesHaveAWindow"),
        ({"BatchSize": "10000"}, "LargeBatchesHaveAWindow"),
        ({"Destination": "photos"}, "ThumbnailsDoNotGoToTheSource"),
        ({"KmsKeyId": KEY}, "AKeyIsForKms"),
        ({"KmsKeyId": KEY, "Sse": "AES256"}, "AKeyIsForKms"),
        ({"CreateDestinationBucket": "false", "Readers": "cloudfront"}, "APolicyIsTheBucketOwners"),
        ({"CreateDestinationBucket": "false", "DestinationEvents": "true"}, "APolicyIsTheBucketOwners"),
        ({"Trigger": "direct", "Consumer": "none"}, "WhoElseConsumesNeedsAQueue"),
    ):
        assert Stack(BASICS | parameters).refused() == [rule], parameters


def test_valid_combinations_are_accepted() -> None:
    for parameters in (
        {"CreateSourceBucket": "false", "Trigger": "eventbridge"},
        {"CreateSourceBucket": "false", "Trigger": "queue"},
        {"CreateSourceBucket": "false", "SourceAccount": OTHER},
        {"BatchSize": "10"},
        {"BatchSize": "11", "BatchWindow": "1"},
        {"BatchSize": "10000", "BatchWindow": "300"},
        {"KmsKeyId": KEY, "Sse": "aws:kms"},
        {"KmsKeyId": KEY, "Sse": "aws:kms:dsse"},
        {"Sse": "aws:kms"},
    ):
        assert Stack(BASICS | parameters).refused() == [], parameters


def test_the_visibility_timeout_is_six_timeouts_and_the_window() -> None:
    """AWS's rule, for every combination; SQS accepts at most twelve hours."""
    for timeout, window in product(DECLARED["Timeout"]["AllowedValues"], DECLARED["BatchWindow"]["AllowedValues"]):
        queue = Stack(BASICS | {"Timeout": timeout, "BatchWindow": window})["Queue"]
        assert int(queue["VisibilityTimeout"]) == 6 * int(timeout) + int(window) <= 43_200
