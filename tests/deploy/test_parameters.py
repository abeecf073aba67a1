"""The template's parameters: each is checked before anything is made, and each of Thumbnailer's settings is one."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.deploy.stack import ACCOUNT, AS_ZIP, BASICS, IMAGE, Stack, accepts, source
from thumbnailer.errors import SettingsError
from thumbnailer.settings import PREFIX, SETTINGS, Setting, parse_settings

DECLARED: Final[Mapping[str, Any]] = source()["Parameters"]
NOT_ON_LAMBDA: Final = {
    "THUMBNAILER_MEMORY_MB": "Lambda tells its own memory, which MemorySize sets; another number would be a wrong one",
    **{setting.variable: "the worker's alone" for setting in SETTINGS if setting.worker_only},
}
KEY: Final = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
GOES_WITH: Final = {"KmsKeyId": {"Sse": "aws:kms"}}
"""What else must be given for a value to make sense."""

NARROWER: Final = {
    ("StorageClass", "EXPRESS_ONEZONE"): "only directory buckets have it, and the destination is none",
    ("KmsKeyId", "alias/x"): "the role's policy needs the key's ARN",
    ("KmsKeyId", "1234abcd-12ab-34cd-56ef-1234567890ab"): "the role's policy needs the key's ARN",
    ("Include", "фото/*"): "ASCII, as Lambda counts the environment's 4 KB in bytes",
    ("Exclude", "фото/*"): "ASCII, as Lambda counts the environment's 4 KB in bytes",
    ("FailedPrefix", "не вышло/"): "ASCII, so that 256 characters are 256 bytes",
    ("Renditions", "0128x128"): "only the canonical number",
    ("Renditions", "128x128:q080"): "only the canonical number",
    ("Renditions", "128x128,,64x64"): "no empty parts",
    ("Renditions", "128x128,"): "no empty parts",
    ("MaxPixels", "007"): "only the canonical number",
    ("Key", "{{{key}}}"): "no literal braces",
}
"""(parameter, value) that the setting takes and the template does not, with the reason."""

BEYOND_A_PATTERN: Final = {
    ("Renditions", "128x128,128x128"): "names given twice",
    ("Renditions", "a=1x1,a=2x2"): "names given twice",
}
"""(parameter, value) that the template takes and the setting does not: the function says so when it starts."""

VALID: Final = {
    "Renditions": (
        "128x128", "x128", "128x", "16383x1", "card=512x512:cover:webp:q80", "a=1x1,b=2x2, c=3x3",
        "1x1:smart:auto:q100", "64x64:inside:gif", "1x1:q1", "1x1:jpeg:progressive", "1x1:progressive", "9x9:png:q99",
        "1x1:avif", "x16383:inside", "10000x10000:cover:q10:progressive", "under_score-1=99x:auto",
    ),
    "Destination": ("{bucket}-resized", "small-{bucket}", "thumbs", "a.{bucket}.b", "{bucket}2"),
    "Key": ("{key}", "t/{key}", "{dir}/{stem}.{ext}", "{name}/{key}", "a b/{key}"),
    "Sources": ("photos", "photos, team-*"),
    "ExpectedOwner": ("123456789012",),
    "Include": ("*.jpg", "*.jpg, *.png", "photos/*"),
    "Exclude": ("tmp/*", "*secret*"),
    "CacheControl": ("max-age=60", "public, max-age=31536000, immutable"),
    "FailedPrefix": ("", "_failed/", "x" * 256),
    "KmsKeyId": (KEY,),
    "MaxPixels": ("1", "9999999999", "10000000000"),
    "MaxBytes": ("1", "999999999999", "4999999999999", "5000000000000"),
    "MaxFrames": ("1", "99999", "100000"),
    "Workers": ("1", "99", "199", "249", "256"),
    "InFlight": ("1", "999", "1000"),
}  # fmt: skip
INVALID: Final = {
    "Renditions": (
        "", "128", "x", "0x1", "1x0", "16384x1", "1x16384", "100000x1", "x128:cover", "128x:smart",
        "1x1:webp:progressive", "1x1:q0", "1x1:q101", "1x1:bmp",
         "1x1:q80:webp", "1x1:webp:cover", "1x1:", "a b=1x1", f"{'n' * 65}=1x1",
    ),
    "Destination": ("", "{bucket}", "My_Bucket", "{source}-x", "{bucket}{bucket}", "a b", "thumbs\n"),
    "Key": ("thumb.jpg", "{name}", "{size}{key}", "{key", "{key!r}", "{key:>9}"),
    "ExpectedOwner": ("12345678901", "1234567890123", "123456789o12", "123456789012\n"),
    "CacheControl": ("max-age=1\r\nx: y", "für immer", "x" * 1025),
    "FailedPrefix": ("x" * 257,),
    "Sse": ("aes256",),
    "StorageClass": ("GLACIER", "standard"),
    "OnDelete": ("", "remove"),
    "Engine": ("", "magick", "VIPS"),
    "Transport": ("", "boto3"),
    "Svg": ("", "true"),
    "Thumbhash": ("", "yes"),
    "LogLevel": ("", "info"),
    "MaxPixels": ("0", "-1", "10000000001", "1e6"),
    "MaxBytes": ("0", "5000000000001", "9" * 13),
    "MaxFrames": ("0", "100001"),
    "Workers": ("0", "257", "300", "²"),
    "InFlight": ("0", "1001", "2.5"),
}  # fmt: skip


def parameter(setting: Setting) -> str:
    """THUMBNAILER_MAX_PIXELS -> MaxPixels"""
    return "".join(word.capitalize() for word in setting.variable.removeprefix(PREFIX).split("_"))


ON_LAMBDA: Final = {parameter(setting): setting for setting in SETTINGS if setting.variable not in NOT_ON_LAMBDA}


def environment(package: Mapping[str, str] | None = None, **parameters: str) -> dict[str, str]:
    """The function's environment."""
    stack = Stack({**BASICS, **(package or {}), **parameters})
    (function,) = stack.of_type("AWS::Lambda::Function")
    variables: dict[str, str] = function.properties["Environment"]["Variables"]
    return variables


def template_takes(name: str, value: str) -> bool:
    return not Stack(BASICS | GOES_WITH.get(name, {}) | {name: value}).refused()


def setting_takes(name: str, value: str) -> bool:
    others = {ON_LAMBDA[other].variable: given_ for other, given_ in GOES_WITH.get(name, {}).items()}
    try:
        parse_settings({ON_LAMBDA[name].variable: value} | others)
    except SettingsError:
        return False
    return True


# --- Thumbnailer's settings ---------------------------------------------------------------------------------------


def test_every_setting_is_a_parameter() -> None:
    assert set(ON_LAMBDA) <= set(DECLARED)
    assert set(NOT_ON_LAMBDA) < {setting.variable for setting in SETTINGS}


@pytest.mark.parametrize("package", [{}, AS_ZIP], ids=["image", "zip"])
def test_left_alone_the_parameters_leave_every_setting_as_it_is_but_the_sources(package: Mapping[str, str]) -> None:
    """A stack has one source bucket, so events of others are none of its business."""
    given_ = environment(package)
    own = {"THUMBNAILER_SOURCES": BASICS["SourceBucket"]}
    assert parse_settings(given_) == parse_settings(own)
    unset = {setting.variable for setting in ON_LAMBDA.values() if not setting.default} - own.keys()
    assert set(given_) == {setting.variable for setting in ON_LAMBDA.values()} - unset


@pytest.mark.parametrize("name", ON_LAMBDA)
def test_the_default_is_the_setting_s_own_or_empty_for_unset(name: str) -> None:
    assert DECLARED[name]["Default"] == (ON_LAMBDA[name].default or "")


@pytest.mark.parametrize("package", [{}, AS_ZIP], ids=["image", "zip"])
@pytest.mark.parametrize("name", ON_LAMBDA)
def test_every_parameter_reaches_its_variable(name: str, package: Mapping[str, str]) -> None:
    value = DECLARED[name]["AllowedValues"][-1] if "AllowedValues" in DECLARED[name] else VALID[name][-1]
    given_ = environment(package, **{name: value})
    assert given_[ON_LAMBDA[name].variable] == value
    others = environment(package)
    assert {key: given_.get(key) for key in others if key != ON_LAMBDA[name].variable} == {
        key: others[key] for key in others if key != ON_LAMBDA[name].variable
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, values in VALID.items() for value in values]
    + [(name, value) for name in ON_LAMBDA for value in DECLARED[name].get("AllowedValues", ()) if value],
)
def test_what_makes_sense_is_taken_by_template_and_setting(name: str, value: str) -> None:
    assert template_takes(name, value)
    assert setting_takes(name, value)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in INVALID.items() for value in values])
def test_what_makes_no_sense_is_refused_by_template_and_setting(name: str, value: str) -> None:
    assert not template_takes(name, value)
    assert not setting_takes(name, value)


@pytest.mark.parametrize(("name", "value"), NARROWER)
def test_where_the_template_is_narrower(name: str, value: str) -> None:
    assert setting_takes(name, value)
    assert not template_takes(name, value)


@pytest.mark.parametrize(("name", "value"), BEYOND_A_PATTERN)
def test_what_no_pattern_can_tell_is_told_by_the_function(name: str, value: str) -> None:
    assert template_takes(name, value)
    assert not setting_takes(name, value)


def test_a_choice_of_words_is_the_setting_s_own() -> None:
    """Every word that the setting's documentation names is in AllowedValues, but for what NARROWER says."""
    for name, declared in DECLARED.items():
        if name in ON_LAMBDA and "AllowedValues" in declared:
            words = set(ON_LAMBDA[name].accepts.replace(" or ", ", ").split(", "))
            narrower = {value for other, value in NARROWER if other == name}
            assert {value for value in declared["AllowedValues"] if value} == words - narrower


@pytest.mark.parametrize("name", ["MaxPixels", "MaxBytes", "MaxFrames", "Workers", "InFlight"])
@given(data=st.data())
def test_a_number_is_taken_by_both_or_by_none(name: str, data: st.DataObject) -> None:
    edges = [int(value) + step for value in VALID[name] for step in (-1, 0, 1)]
    value = str(data.draw(st.sampled_from(edges) | st.integers(-1, 10**14)))
    assert accepts(DECLARED[name], value) == setting_takes(name, value)


_SIDES: Final = st.sampled_from(["", "0", "1", "128", "9999", "10000", "16383", "16384", "20000", "100000"])
_FITS_AND_FORMATS: Final = ("inside", "cover", "smart", "auto", "jpeg", "png", "webp", "avif", "gif", "tiff")
_OPTIONS: Final = st.sampled_from((*_FITS_AND_FORMATS, "q0", "q1", "q80", "q100", "q101", "progressive"))
_RENDITIONS: Final = st.builds(
    lambda name, width, height, options: ":".join([f"{name}{width}x{height}", *options]),
    st.sampled_from(["", "a=", "b-1="]),
    _SIDES,
    _SIDES,
    st.lists(_OPTIONS, max_size=4),
)


@given(st.lists(_RENDITIONS, min_size=1, max_size=3, unique=True), st.sampled_from([",", ", "]))
def test_a_list_of_renditions_is_taken_by_both_or_by_none_but_for_names_given_twice(
    renditions: list[str], between: str
) -> None:
    text = between.join(renditions)
    try:
        parse_settings({"THUMBNAILER_RENDITIONS": text})
        makes_sense = True
    except SettingsError as error:
        makes_sense = "is given twice" in str(error)
    assert accepts(DECLARED["Renditions"], text) == makes_sense


# --- all parameters -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DECLARED)
def test_every_parameter_is_described_and_checked(name: str) -> None:
    declared = DECLARED[name]
    assert len(declared["Description"]) > 10
    if declared["Type"] == "Number":
        assert "AllowedValues" in declared or {"MinValue", "MaxValue"} <= set(declared)
    else:
        assert "AllowedValues" in declared or {"AllowedPattern", "ConstraintDescription"} <= set(declared)


@pytest.mark.parametrize("name", DECLARED)
def test_every_default_is_allowed(name: str) -> None:
    if "Default" in DECLARED[name]:
        assert accepts(DECLARED[name], str(DECLARED[name]["Default"]))


def test_only_the_source_bucket_must_be_given_and_what_the_function_is_made_of() -> None:
    assert [name for name, declared in DECLARED.items() if "Default" not in declared] == ["SourceBucket"]
    assert Stack({"SourceBucket": "photos"}).refused() == ["AnImageHasItsUri"]
    assert Stack(BASICS).refused() == []
    assert Stack(BASICS | AS_ZIP).refused() == []


def test_every_parameter_is_in_one_group_of_the_console_s_form() -> None:
    groups = source()["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    grouped = [name for group in groups for name in group["Parameters"]]
    assert sorted(grouped) == sorted(DECLARED)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("SourceBucket", ["photos", "a.b", "a1b"], ["", "ab", "Photos", "-ab", "ab-", "a_b", "x" * 64]),
        ("ImageUri", [IMAGE, IMAGE[:-2] + "@sha256:" + "0" * 64], [IMAGE[:-2], "python:3.13", "docker.io/x/y:1"]),
        ("CodeBucket", ["code", ""], ["Code"]),
        ("CodeKey", ["a/b.zip", ""], ["ключ"]),
        ("SourceKmsKeyArn", [KEY, ""], ["alias/x", KEY.replace("key/", "alias/")]),
        ("AlarmTopicArn", [f"arn:aws:sns:eu-west-1:{ACCOUNT}:ops", ""], ["ops", f"arn:aws:sqs:eu-west-1:{ACCOUNT}:x"]),
        ("MemorySize", ["128", "10240"], ["127", "10241", "1.5", ""]),
        ("EphemeralStorage", ["512", "10240"], ["511", "10241"]),
        ("Timeout", ["10", "900"], ["0", "45", "901"]),
        ("BatchWindow", ["0", "300"], ["2", "301"]),
        ("BatchSize", ["1", "10"], ["0", "10001"]),
        ("MaximumConcurrency", ["2", "1000"], ["1", "1001"]),
        ("MaxReceiveCount", ["1", "1000"], ["0", "1001"]),
        ("LogRetentionDays", ["1", "3653"], ["2", "0"]),
        ("Runtime", ["python3.11", "python3.14"], ["python3.10", "nodejs22.x"]),
        ("Architecture", ["x86_64", "arm64"], ["arm"]),
        ("Trigger", ["queue", "direct", "eventbridge"], ["sns", ""]),
        ("DurationAlarmPercent", ["1", "99"], ["0", "100"]),
    ],
)  # fmt: skip
def test_a_parameter_takes_what_aws_takes(name: str, good: list[str], bad: list[str]) -> None:
    assert [value for value in good if not accepts(DECLARED[name], value)] == []
    assert [value for value in bad if accepts(DECLARED[name], value)] == []


# --- rules between parameters -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "rule"),
    [
        ({"ImageUri": ""}, "AnImageHasItsUri"),
        (AS_ZIP | {"CodeBucket": ""}, "AZipHasItsPlace"),
        (AS_ZIP | {"CodeKey": ""}, "AZipHasItsPlace"),
        ({"CreateSourceBucket": "false"}, "AnExistingBucketSendsByEventBridge"),
        ({"CreateSourceBucket": "false", "Trigger": "direct"}, "AnExistingBucketSendsByEventBridge"),
        ({"BatchSize": "11"}, "LargeBatchesHaveAWindow"),
        ({"BatchSize": "10000"}, "LargeBatchesHaveAWindow"),
        ({"Destination": "photos"}, "ThumbnailsDoNotGoToTheSource"),
        ({"KmsKeyId": KEY}, "AKeyIsForKms"),
        ({"KmsKeyId": KEY, "Sse": "AES256"}, "AKeyIsForKms"),
    ],
)
def test_contradictions_are_refused(parameters: dict[str, str], rule: str) -> None:
    assert Stack(BASICS | parameters).refused() == [rule]


@pytest.mark.parametrize(
    "parameters",
    [
        {"CreateSourceBucket": "false", "Trigger": "eventbridge"},
        {"BatchSize": "10"},
        {"BatchSize": "11", "BatchWindow": "1"},
        {"BatchSize": "10000", "BatchWindow": "300"},
        {"KmsKeyId": KEY, "Sse": "aws:kms"},
        {"KmsKeyId": KEY, "Sse": "aws:kms:dsse"},
        {"Sse": "aws:kms"},
    ],
)
def test_what_goes_together_is_taken(parameters: dict[str, str]) -> None:
    assert Stack(BASICS | parameters).refused() == []


@pytest.mark.parametrize(
    ("timeout", "window"),
    list(product(DECLARED["Timeout"]["AllowedValues"], DECLARED["BatchWindow"]["AllowedValues"])),
)
def test_the_visibility_timeout_is_six_timeouts_and_the_window(timeout: str, window: str) -> None:
    """Whatever is allowed: there is a number for it, it is AWS's, and SQS takes it (at most twelve hours)."""
    queue = Stack(BASICS | {"Timeout": timeout, "BatchWindow": window})["Queue"]
    assert int(queue["VisibilityTimeout"]) == 6 * int(timeout) + int(window) <= 43_200
