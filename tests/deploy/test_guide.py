"""deploy/README.md: what it says to type is taken, and its sums are right."""

from __future__ import annotations

import json
import re
from typing import Final

import pytest

from bench.pages.selection import ours_alike
from bench.result import read_result
from bench.scale.command import REFERENCE
from tests.deploy.stack import BASICS, TEMPLATE, Stack, translated
from thumbnailer.reporting.metrics import METRICS

GUIDE: Final = TEMPLATE.with_name("README.md").read_text()
SHELL: Final = {"bucket": "photos", "code": "code", "stack": "thumbnailer"}


def section(title: str) -> str:
    (found,) = [part for part in re.split(r"^## ", GUIDE, flags=re.MULTILINE) if part.startswith(f"{title}\n")]
    return found


def commands(text: str) -> list[str]:
    """The shell commands in a piece of the guide, without comments, each on one line."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [command for line in lines if (command := re.sub(r"\s#.*", "", line).strip())]


def given(command: str) -> dict[str, str]:
    """The parameters that a command deploys with."""
    words = command.partition("--parameter-overrides")[2].split()
    pairs = dict(word.split("=", 1) for word in words)
    return {name: re.sub(r"\$(\w+)", lambda match: SHELL[match[1]], value) for name, value in pairs.items()}


DEPLOYS: Final = [command for command in commands(GUIDE) if "cloudformation deploy" in command]


def test_from_nothing_to_the_first_thumbnail_it_is_at_most_ten_commands() -> None:
    typed = commands(section("From nothing to the first thumbnail"))
    assert 5 <= len(typed) <= 10
    assert typed[-1].startswith("aws s3 cp s3://$bucket-resized/")


@pytest.mark.parametrize("command", DEPLOYS, ids=lambda command: command.partition("overrides ")[2])
def test_what_it_says_to_deploy_is_a_stack(command: str) -> None:
    assert "--capabilities CAPABILITY_IAM CAPABILITY_AUTO_EXPAND" in command
    first = given(DEPLOYS[0])
    assert Stack({"SourceBucket": "photos"} | first | given(command)).refused() == []


def test_what_it_deploys_first_needs_nothing_that_it_does_not_give() -> None:
    made = Stack(given(DEPLOYS[0]))
    assert made["ZipFunction"]["Code"] == {"S3Bucket": "code", "S3Key": "thumbnailer-1.zip"}
    runtime, architecture = made["ZipFunction"]["Runtime"], made["ZipFunction"]["Architectures"][0]
    assert f"aws s3 cp dist/thumbnailer-{runtime}-{architecture}.zip s3://$code/thumbnailer-1.zip" in commands(GUIDE)


def test_an_image_takes_the_place_of_three_parameters() -> None:
    (written,) = set(re.findall(r"`ImageUri=([^`]+)`", GUIDE))
    assert Stack(BASICS | {"ImageUri": written.replace("...", "0" * 64)}).refused() == []


@pytest.mark.parametrize(
    "more",
    [
        {"CreateSourceBucket": "false", "Trigger": "eventbridge"},
        {"CreateSourceBucket": "false", "CreateDestinationBucket": "false", "Trigger": "eventbridge"},
    ],
)
def test_buckets_that_are_there_already_are_taken_as_it_says(more: dict[str, str]) -> None:
    assert " ".join(f"{name}={value}" for name, value in more.items()) in re.sub(r"\s+", " ", GUIDE)
    assert Stack(BASICS | more).refused() == []


def test_a_kept_bucket_is_made_to_forget_the_queue_that_is_gone() -> None:
    """S3 refuses a configuration with a destination that does not exist, and takes each as the whole."""
    (command,) = [one for one in commands(section("Removing it")) if "put-bucket-notification-configuration" in one]
    assert json.loads(command.partition("--notification-configuration")[2].strip(" '")) == {
        "EventBridgeConfiguration": {}
    }


def test_it_names_parameters_outputs_and_alarms_that_there_are() -> None:
    declared = translated()
    named = set(re.findall(r"\b([A-Z][A-Za-z]+)=", GUIDE)) | set(re.findall(r"^\| `([A-Z]\w+)`", GUIDE, re.MULTILINE))
    alarms = {id_ for id_, one in declared["Resources"].items() if one["Type"] == "AWS::CloudWatch::Alarm"}
    assert named - set(declared["Parameters"]) - {"OutputKey"} == alarms
    outputs = set(re.findall(r"output (\w+)\)", GUIDE)) | set(re.findall(r"output `(\w+)`", GUIDE))
    assert outputs <= set(declared["Outputs"])
    assert len(outputs) >= 6


# --- what it costs ------------------------------------------------------------------------------------------------

GB_SECOND: Final = 0.0000166667
MILLION: Final = 1_000_000


def costs(pictures: int, seconds: float, log_kb: float) -> dict[str, float]:
    """USD per million pictures, so many an invocation that lasts so long."""
    memory_mb = int(Stack(BASICS)["ImageFunction"]["MemorySize"])
    rows = {
        "Lambda, time": MILLION / pictures * seconds * memory_mb / 1024 * GB_SECOND,
        "Lambda, invocations": 0.20 / pictures,
        "S3, GET and HEAD": 2 * MILLION * 0.0004 / 1000,
        "S3, PUT": MILLION * 0.005 / 1000,
        "SQS": 0.40 + 2 * 0.40 / pictures,
        "log": MILLION * log_kb / 1_000_000 * 0.50,
    }
    return rows | {"together": sum(rows.values())}


def seconds(memory_mb: int, batch_size: int) -> float:
    """Of an invocation with so many pictures, as the bench measured it."""
    cells = ours_alike(read_result(REFERENCE))
    (cell,) = (one for one in cells if (one.key.memory_mb, one.key.batch_size) == (memory_mb, batch_size))
    return batch_size * (cell.median("billed_ms_per_image") or 0.0) / 1000


def test_its_seconds_are_those_that_were_measured() -> None:
    text = section("What it costs")
    assert f"{seconds(1769, 1):.3f} s for one, {seconds(1769, 10):.3f} s for ten" in text
    ten_at_512 = seconds(512, 10)
    usd = [MILLION / 10 * took * mb / 1024 * GB_SECOND for mb, took in ((512, ten_at_512), (1769, seconds(1769, 10)))]
    assert "At 512 MB ten take {:.2f} s, and a million {:.2f} instead of {:.2f}".format(ten_at_512, *usd) in " ".join(
        text.split()
    )


def test_the_costs_are_what_the_prices_make_of_them() -> None:
    table = re.findall(r"^\| ([\w, ]+) \| ([\d.]+) \| ([\d.]+) \|", section("What it costs"), re.MULTILINE)
    one, ten = costs(1, seconds(1769, 1), 2.2), costs(10, seconds(1769, 10), 0.81)
    assert [row[0] for row in table] == list(one)
    for name, alone, among_ten in table:
        assert float(alone) == pytest.approx(one[name], abs=0.0051), name
        assert float(among_ten) == pytest.approx(ten[name], abs=0.0051), name


def test_the_monthly_costs_are_those_of_what_the_template_makes() -> None:
    text = section("What it costs")
    assert f"{0.30 * len(METRICS):.2f} for the {len(METRICS)} of namespace" in text
    alarms = [alarm.properties for alarm in Stack(BASICS).of_type("AWS::CloudWatch::Alarm")]
    looked_at = sum(len([part for part in one.get("Metrics", [one]) if "Expression" not in part]) for one in alarms)
    assert f"alarms {0.10 * looked_at:.2f} (0.10 for each of {looked_at} metrics)" in text
