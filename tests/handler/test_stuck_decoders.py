"""A process is replaced only when every decoder is stuck."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from handler import aws_lambda
from handler.health import READY_SECONDS, Health
from handler.worker.sqs import QueueError
from tests.support.pipelines import pipeline_with_stuck_decodes, run, settings, until
from thumbnailer.app import App
from thumbnailer.execution import threads
from thumbnailer.planning.tier import tier_for
from thumbnailer.store.memory import MemoryStore


class Exited(Exception):
    """Raised in place of os._exit."""


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> None:
    def exit_(code: int) -> None:
        raise Exited(code)

    monkeypatch.setattr("os._exit", exit_)
    monkeypatch.setattr(threads, "STUCK_SECONDS", 0)


@pytest.mark.usefixtures("exits")
def test_worker_is_unhealthy_and_function_exits_when_every_decoder_is_stuck(
    samples: dict[str, bytes],
) -> None:
    async def work() -> None:
        for hanging, all_stuck in ((1, False), (2, True)):
            pipeline, engine = await pipeline_with_stuck_decodes(samples["chelsea.png"], workers=2, stuck=hanging)
            app = App(settings(), tier_for(1769).with_changes({"workers": 2}), pipeline, MemoryStore())
            health = Health(app, [])
            assert pipeline.stuck == hanging
            assert await health.live() == ("2 decoders are stuck" if all_stuck else None)
            assert _exits(app) == all_stuck
            engine.let_go.set()
            await until(lambda pipeline=pipeline: pipeline.stuck == 0)
            assert await health.live() is None
            assert not _exits(app)
            await pipeline.aclose()

    run(work())


def test_many_questions_for_readiness_cost_one_probe_and_the_answer_has_no_details() -> None:
    class SecretQueue:
        probes = 0

        async def state(self) -> None:
            self.probes += 1
            raise QueueError("https://sqs.eu-west-1.amazonaws.com/123456789012/thumbnails: AccessDenied")

    async def work() -> None:
        queue = SecretQueue()
        app = App(settings(), tier_for(1769), cast("Any", None), MemoryStore())
        health = Health(app, [], queue.state)
        answers = await asyncio.gather(*(health.ready() for _ in range(20)))
        assert queue.probes == 1
        assert set(answers) == {"a bucket or the queue does not answer; see the log"}
        health._probe_at -= READY_SECONDS
        await health.ready()
        assert queue.probes == 2

    run(work())


def _exits(app: Any) -> bool:
    try:
        aws_lambda._exit_if_all_decoders_stuck(app)
    except Exited:
        return True
    return False
