"""deploy/on-demand.md: CloudFormation accepts its commands, and its sums are right."""

from __future__ import annotations

import re
import shlex
from typing import Final

from tests.deploy import stack as main_stack
from tests.deploy.guides import MILLION, commands, on_one_line, reference_cells, section
from tests.deploy.on_demand import NAME, ON_DEMAND, pictures, read_template
from tests.deploy.stack import Stack

TEXT: Final = ON_DEMAND.with_suffix(".md").read_text()
MAIN: Final = Stack(main_stack.BASICS)
KEYS: Final = "ab" * 32
DEPLOYS: Final = [command for command in commands(TEXT) if "cloudformation deploy" in command]
GB_SECOND: Final = 1769 / 1024 * 0.0000166667
(ALONE,) = (one for one in reference_cells() if (one.key.memory_mb, one.key.batch_size) == (1769, 1))
SECONDS: Final = round((ALONE.median("billed_ms_per_image") or 0.0) / 1000, 3)
"""of a picture, as the guide quotes them"""
LAMBDA: Final = 0.20 + MILLION * SECONDS * GB_SECOND
EDGE_HIT: Final = 1.00 + 0.10 + 10 * 0.085
GET, PUT = 0.40, 5.00


def parameters_of(command: str) -> dict[str, str]:
    """The parameters that a command deploys with; `settings` are those of the main stack that the template has."""
    text = re.sub(r"\$\(output \$stack (\w+)\)", lambda match: MAIN.outputs[match[1]], command)
    text = text.replace("$keys", KEYS).replace("$region", "eu-central-1")
    words = shlex.split(text.partition("--parameter-overrides")[2])
    given = dict(word.split("=", 1) for word in words if word != "${settings[@]}")
    taken = {name: value for name, value in MAIN.parameters.items() if name in read_template()["Parameters"]}
    return taken | given if "${settings[@]}" in words else given


def test_cloudformation_accepts_every_deployment() -> None:
    assert len(DEPLOYS) == 3
    assert Stack(main_stack.BASICS | parameters_of(DEPLOYS[0])).refused() == []
    first, api = (parameters_of(command) for command in DEPLOYS[1:])
    for parameters in (first, first | api):
        assert Stack(parameters, read_template(), NAME).refused() == []
    assert {"SourceBucket", "DestinationBucket", "ImageUri", "Renditions", "Offers"} <= set(first)


def test_the_guide_names_existing_parameters_and_outputs() -> None:
    parameters = {*read_template()["Parameters"], *MAIN.parameters}
    assert set(re.findall(r"`(\w+)=[^`]*`", TEXT)) - parameters <= {"v", "mapfile"}
    fronts = [pictures(Front=front).outputs for front in ("cloudfront", "api")]
    outputs = {name for made in fronts for name in made}
    assert set(re.findall(r"\$\(output \$pictures (\w+)\)", TEXT)) <= outputs
    assert set(re.findall(r"\boutput `(\w+)`", TEXT)) <= outputs


def test_the_prices_are_sums_of_their_parts() -> None:
    rows = {
        name: float(usd)
        for name, usd in re.findall(r"^\| ([\w, ()]+) \| ([\d.]+) \|", section_of("What it costs"), re.M)
    }
    assert {name: round(usd, 2) for name, usd in rows.items()} == {
        "edge hit": round(EDGE_HIT, 2),
        "S3 hit": round(EDGE_HIT + GET, 2),
        "miss, not kept (signed, other size)": round(EDGE_HIT + GET + LAMBDA, 2),
        "kept miss (an offer, first time)": round(EDGE_HIT + 4 * GET + PUT + LAMBDA, 2),
        "REST API, made": round(3.50 + 10 * 0.09 + GET + LAMBDA, 2),
    }


def section_of(title: str) -> str:
    return section(title, TEXT)


def test_the_ceiling_of_the_bill_follows_from_the_reserved_concurrency() -> None:
    text = on_one_line(section_of("What it costs"))
    function = pictures()["Function"]
    assert (function["MemorySize"], function["ReservedConcurrentExecutions"]) == ("1769", "20")
    an_hour = 20 * GB_SECOND * 3600
    assert f"at most {an_hour:.2f} USD an hour" in text
    assert f"{an_hour * 24 * 30:,.0f} in 30 days" in text
    made = round(20 / SECONDS * 3600, -3)
    s3, requests = made / MILLION * (4 * GET + PUT), made / MILLION * 0.20
    assert f"At {SECONDS} s each" in text
    assert f"{made:,.0f} pictures an hour" in text
    assert (
        f"at most {s3 + requests:.2f} (all of them kept misses: Lambda's requests {requests:.2f}, S3 {s3:.2f})" in text
    )
