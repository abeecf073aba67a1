"""deploy/compose.yaml and deploy/monitoring: alerts and dashboard use the worker's metrics."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
from prometheus_client import CollectorRegistry, ProcessCollector
from samtranslator.yaml_helper import yaml_parse

from tests.deploy.fargate import container, environment, worker
from tests.deploy.stack import ACCOUNT, TEMPLATE
from tests.deploy.watching import ALL_OUTCOMES
from tests.support.cloud import Cloud
from thumbnailer.reporting.metrics import METRICS, WORKER_METRICS, Prometheus

COMPOSE: Final = TEMPLATE.with_name("compose.yaml")
MONITORING: Final = TEMPLATE.parent / "monitoring"
RULES: Final = MONITORING / "rules.yml"
DASHBOARD: Final[dict[str, Any]] = json.loads((MONITORING / "grafana" / "dashboards" / "thumbnailer.json").read_text())
DIGEST: Final = "@sha256:[0-9a-f]{64}"
ALERTS: Final = Path(__file__).with_name("alerts.yml")

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool: .ci/apt prometheus")

PROCESS: Final = {"process_resident_memory_bytes", "process_cpu_seconds_total", "process_start_time_seconds"}
PROMETHEUS_S_OWN: Final = {"up"}


def series_names(name: str, kind: str) -> set[str]:
    """The series that Prometheus has of a metric."""
    endings = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
    return {name + ending for ending in endings[kind]}


def kinds() -> dict[str, str]:
    """Every metric of the worker by its kind."""
    return {one.name: one.kind for one in METRICS + WORKER_METRICS}


def names(expression: str) -> set[str]:
    """The series that an expression asks for."""
    bare = re.sub(r'"[^"]*"', "", re.sub(r"\b(by|without) \([^)]*\)", "", expression))
    return {name for name in re.findall(r"[a-z_]+", bare) if name.startswith(("thumbnailer_", "process_"))} | (
        {"up"} if re.search(r"\bup\b", bare) else set()
    )


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml_parse(RULES.read_text())["groups"] for rule in group["rules"]]


def expressions() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


# --- names --------------------------------------------------------------------------------------------------------


def test_prometheus_exposes_exactly_the_known_metrics() -> None:
    """As prometheus_client writes them, for a process that has had every outcome."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    told = Prometheus(registry)
    for outcome in ALL_OUTCOMES:
        told.observe(outcome)
    exposed = {sample.name for family in registry.collect() for sample in family.samples}
    expected = {series for name, kind in kinds().items() for series in series_names(name, kind)}
    assert {name for name in exposed if name.startswith("thumbnailer_") and not name.endswith("_created")} == expected
    assert exposed >= PROCESS


def test_the_dashboard_shows_every_metric_and_no_other() -> None:
    asked = {name for expression in expressions() for name in names(expression)}
    exposed = {series for name, kind in kinds().items() for series in series_names(name, kind)}
    assert asked <= exposed | PROCESS | PROMETHEUS_S_OWN
    for name, kind in kinds().items():
        assert asked & series_names(name, kind), name


def test_the_alerts_use_existing_metrics() -> None:
    exposed = {series for name, kind in kinds().items() for series in series_names(name, kind)}
    for rule in rules():
        asked = names(rule["expr"])
        assert asked, rule["alert"]
        assert asked <= exposed | PROCESS | PROMETHEUS_S_OWN, rule["alert"]


def test_every_alert_has_a_severity_and_a_description() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}
        assert len(rule["annotations"]["summary"]) > 10
        assert len(rule["annotations"]["description"]) > 20


def test_every_alert_is_tested_firing_and_silent() -> None:
    tests = [one for case in yaml_parse(ALERTS.read_text())["tests"] for one in case["alert_rule_test"]]
    alerts = {rule["alert"] for rule in rules()}
    assert {one["alertname"] for one in tests if one.get("exp_alerts")} == alerts
    assert {one["alertname"] for one in tests if not one.get("exp_alerts")} == alerts


# --- the tools ----------------------------------------------------------------------------------------------------


def promtool(*arguments: str) -> None:
    told = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert told.returncode == 0, told.stdout + told.stderr


@needs_promtool
def test_promtool_accepts_configuration_and_rules() -> None:
    promtool("check", "config", str(MONITORING / "prometheus.yml"))
    promtool("check", "rules", "--lint=all", "--lint-fatal", str(RULES))


@needs_promtool
def test_alerts_fire_as_specified() -> None:
    promtool("test", "rules", str(ALERTS))


@needs_promtool
def test_prometheus_understands_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    recorded = [
        {"record": f"shown:{number}", "expr": expression.replace("$__rate_interval", "1m")}
        for number, expression in enumerate(expressions())
    ]
    (tmp_path / "shown.yml").write_text(json.dumps({"groups": [{"name": "shown", "rules": recorded}]}))
    promtool("check", "rules", "--lint-fatal", str(tmp_path / "shown.yml"))


def test_the_dashboard_s_panels_do_not_overlap() -> None:
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_the_dashboard_uses_the_provisioned_data_source() -> None:
    provisioned = MONITORING / "grafana" / "provisioning"
    (source,) = yaml_parse((provisioned / "datasources" / "prometheus.yml").read_text())["datasources"]
    asked = {json.dumps(one["datasource"]) for panel in DASHBOARD["panels"] for one in (panel, *panel["targets"])}
    assert asked == {json.dumps({"type": source["type"], "uid": source["uid"]})}
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml_parse((provisioned / "dashboards" / "thumbnailer.yml").read_text())["providers"]
    mounted = [volume.split(":")[1] for volume in services()["grafana"]["volumes"]]
    assert provider["options"]["path"] in mounted


# --- compose ------------------------------------------------------------------------------------------------------


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml_parse(COMPOSE.read_text())["services"]
    return found


def test_compose_mounts_existing_files_and_waits_for_existing_services() -> None:
    all_ = services()
    for name, service in all_.items():
        assert set(service.get("depends_on", ())) <= set(all_) - {name}
        for volume in service.get("volumes", ()):
            here, _, mode = volume.split(":")
            assert (COMPOSE.parent / here).exists(), here
            assert mode == "ro"
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:")


def test_every_foreign_image_has_a_digest() -> None:
    """`deploy/image pin` writes variables with newer ones, which replace these."""
    images = {service["image"] for service in services().values()} - {"${IMAGE:-thumbnailer}"}
    assert len(images) == 3
    assert all(re.fullmatch(rf"\$\{{[A-Z]+:-docker\.io/[a-z/]+:[a-z\d.]+{DIGEST}\}}", name) for name in images)


def test_the_base_is_the_same_everywhere_and_has_a_digest() -> None:
    """The tag stays in the name: `deploy/image` makes a base of that suite where no registry can be reached."""
    files = [(COMPOSE.parent / name).read_text() for name in ("Containerfile", "image")]
    bases = {base for text in files for base in re.findall(r"docker\.io/library/debian:[^}\s]+", text)}
    assert len(bases) == 1
    assert re.fullmatch(rf"docker\.io/library/debian:[a-z]+-slim{DIGEST}", *bases)


def test_pin_writes_the_newest_digest_of_each_tag(tmp_path: Path) -> None:
    """With an engine that pulls nothing."""
    engine = tmp_path / "podman"
    engine.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\necho name@sha256:new\n')
    engine.chmod(0o755)
    (tmp_path / "deploy").mkdir()
    for name in ("image", "compose.yaml"):
        shutil.copy(COMPOSE.parent / name, tmp_path / "deploy")
    subprocess.run([tmp_path / "deploy" / "image", "pin"], env=os.environ | {"ENGINE": str(engine)}, check=True)
    pins = dict(line.split("=") for line in (tmp_path / "deploy" / ".env").read_text().splitlines())
    assert pins.keys() == {"BASE", "MOTO", "PROMETHEUS", "GRAFANA"}
    assert pins["BASE"] == "docker.io/library/debian:bookworm-slim@sha256:new"
    assert "sha256" not in (tmp_path / "asked").read_text()


def test_the_worker_has_the_same_limits_as_on_fargate() -> None:
    here, there = services()["worker"], container(worker())
    assert (here["command"], here["user"]) == (there["Command"], there["User"])
    assert here["read_only"] is there["ReadonlyRootFilesystem"] is True
    assert here["tmpfs"] == [there["MountPoints"][0]["ContainerPath"]]
    assert here["cap_drop"] == there["LinuxParameters"]["Capabilities"]["Drop"]
    assert here["stop_grace_period"] == f"{there['StopTimeout']}s"
    check = there["HealthCheck"]
    assert here["healthcheck"] == {
        "test": check["Command"],
        "interval": f"{check['Interval']}s",
        "timeout": f"{check['Timeout']}s",
        "retries": check["Retries"],
        "start_period": f"{check['StartPeriod']}s",
    }


def test_prometheus_scrapes_the_worker_s_port() -> None:
    (job,) = yaml_parse((MONITORING / "prometheus.yml").read_text())["scrape_configs"]
    (found,) = job["dns_sd_configs"]
    assert (job["job_name"], found["names"]) == ("thumbnailer", ["worker"])
    assert str(found["port"]) == environment(worker())["THUMBNAILER_PORT"]


def emulator_module() -> Any:
    spec = importlib.util.spec_from_file_location("emulated", MONITORING / "emulated.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_upload_to_the_emulator_becomes_a_message_for_the_worker(
    aws: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (aws.env | {"AWS_DEFAULT_REGION": "us-east-1"}).items():
        monkeypatch.setenv(name, value)
    module = emulator_module()
    module.main()
    module.main()  # `compose up` may be run again
    aws.put("a/photo.jpg", b"bytes")
    sqs = aws.client("sqs")
    told = services()["worker"]["environment"]["THUMBNAILER_QUEUE_URL"]
    assert told == f"http://emulator:5000/{ACCOUNT}/{module.QUEUE}"
    url = f"{aws.url}/{ACCOUNT}/{module.QUEUE}"
    bodies = [
        json.loads(message["Body"]) for message in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    ]
    keys = [record["s3"]["object"]["key"] for body in bodies for record in body.get("Records", ())]
    assert [key.replace("%2F", "/") for key in keys] == ["a/photo.jpg"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"])["Attributes"]
    assert json.loads(attributes["RedrivePolicy"])["deadLetterTargetArn"].endswith(f":{module.DEAD}")
