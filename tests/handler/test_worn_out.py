"""A process whose decoders hang says so, and is only then given up: a new one is better."""

from __future__ import annotations

from typing import Any, cast

import pytest

from handler import aws_lambda
from handler.worker.service import Watch
from handler.worker.sqs import Queue
from tests.support.pipelines import pipeline_with_stuck_decodes, run, settings, until
from thumbnailer.app import App
from thumbnailer.execution import threads
from thumbnailer.planning.tier import tier_for
from thumbnailer.store.memory import MemoryStore


class Ended(Exception):
    """In place of the end of the process."""


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(code: int) -> None:
        raise Ended(code)

    monkeypatch.setattr("os._exit", end)
    monkeypatch.setattr(threads, "STUCK_SECONDS", 0)


@pytest.mark.usefixtures("ends")
def test_the_worker_is_unhealthy_and_the_function_ends_once_as_many_decodes_hang_as_there_are_workers(
    samples: dict[str, bytes],
) -> None:
    async def work() -> None:
        for hanging, worn_out in ((1, False), (2, True)):
            pipeline, engine = await pipeline_with_stuck_decodes(samples["chelsea.png"], workers=2, stuck=hanging)
            app = App(settings(), tier_for(1769).with_changes({"workers": 2}), pipeline, MemoryStore())
            watch = Watch(app, cast("Queue", None))
            assert pipeline.stuck == hanging
            assert await watch.live() == ("2 decodes do not end" if worn_out else None)
            assert _ends(app) == worn_out
            engine.let_go.set()
            await until(lambda pipeline=pipeline: pipeline.stuck == 0)
            assert await watch.live() is None
            assert not _ends(app)
            await pipeline.aclose()

    run(work())


def _ends(app: Any) -> bool:
    try:
        aws_lambda._end_if_worn_out(app, "r")
    except Ended:
        return True
    return False
