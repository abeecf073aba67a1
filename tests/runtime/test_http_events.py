"""The HTTP door under AWS's runtime client and runtime interface emulator, with an event of each shape."""

from __future__ import annotations

import base64
import sys
from pathlib import Path

import pytest

from bench.rig.emulator import Function, find_binary
from bench.rig.processes import NotInstalled
from tests.http.events import EVENTS, FUNCTION_URL, KEY
from tests.support.cloud import Cloud
from tests.support.emulator import running
from tests.support.pictures import opened

COMMAND = (sys.executable, "-m", "awslambdaric", "handler.aws_http.handler")


def test_every_event_gets_its_picture_in_one_runtime(cloud: Cloud, samples: dict[str, bytes], tmp_path: Path) -> None:
    try:
        find_binary()
    except NotInstalled as error:
        pytest.skip(str(error))
    cloud.reset()
    cloud.put(KEY, samples["rocket.jpg"])
    own = {"TMPDIR": str(tmp_path), "THUMBNAILER_SOURCES": "photos", "THUMBNAILER_OFFERS": "card=200x:webp"}
    with running(Function(env=cloud.env | own, command=COMMAND), tmp_path / "log") as function:
        for name, event in EVENTS.items():
            answer = function.invoke(event).value
            assert answer["statusCode"] == 200, name
            assert opened(base64.b64decode(answer["body"])).size[0] == 200, name
        refused = function.invoke(FUNCTION_URL | {"rawQueryString": "w=201"}).value
        assert refused["statusCode"] == 403
        assert len(function.runtime_pids()) == 1
    assert cloud.thumbnails() == [f"_any/{KEY}/200x.webp"]
