"""The image as a Lambda: AWS's emulator in the container, real events, and the limits of 512 MB."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.rig.emulator import Function
from tests.image.container import MEMORY_LIMIT, MEMORY_PEAK, Running, function_in_container
from tests.support.cloud import Cloud, s3_event, sqs_event

Start = Callable[..., Running]
MB = 1024 * 1024


@pytest.fixture
def start(cloud: Cloud, tmp_path: Path) -> Iterator[Start]:
    """Starts the function; a failing test shows its log."""
    cloud.reset()
    with ExitStack() as stack:

        def begin(**env: str) -> Running:
            stack.callback(lambda: print((tmp_path / "log").read_text()))
            return stack.enter_context(function_in_container(Function(512, 30, {**cloud.env, **env}), tmp_path))

        yield begin


def test_the_function_handles_an_s3_event_and_an_sqs_event(
    start: Start, cloud: Cloud, samples: dict[str, bytes]
) -> None:
    running = start()
    first = running.emulator.invoke(s3_event(cloud.put("rocket.jpg", samples["rocket.jpg"])))
    assert first.value == {"records": 1, "outcomes": {"stored": 1}}
    rest = [s3_event(cloud.put(key, data)) for key, data in samples.items()]
    assert running.emulator.invoke(sqs_event(*rest)).value == {"batchItemFailures": []}
    assert cloud.thumbnails() == sorted(samples)
    assert running.emulator.starts == 1


def test_the_function_stays_within_the_limits(start: Start, cloud: Cloud, samples: dict[str, bytes]) -> None:
    """Ten pictures at once, repeatedly, under a real memory limit: the kernel kills no process."""
    running = start()
    limit = running.number(*MEMORY_LIMIT)
    assert limit == 512 * MB
    for _ in range(5):
        events = [s3_event(cloud.put(key, data)) for key, data in samples.items()]
        assert running.emulator.invoke(sqs_event(*events)).value == {"batchItemFailures": []}
    peak = running.number(*MEMORY_PEAK)
    print(f"most memory in use, page cache and /tmp counted: {peak / MB:.0f} MB of 512")
    assert 10 * MB < peak < limit
    assert running.emulator.starts == 1


@pytest.mark.parametrize("transport", ["obstore", "aioboto3"])
@pytest.mark.parametrize("engine", ["vips", "pillow"])
def test_both_clients_and_both_engines_work(
    engine: str, transport: str, start: Start, cloud: Cloud, samples: dict[str, bytes]
) -> None:
    running = start(THUMBNAILER_ENGINE=engine, THUMBNAILER_TRANSPORT=transport)
    events = [s3_event(cloud.put(key, data)) for key, data in samples.items()]
    assert running.emulator.invoke(sqs_event(*events)).value == {"batchItemFailures": []}
    assert cloud.thumbnails() == sorted(samples)
