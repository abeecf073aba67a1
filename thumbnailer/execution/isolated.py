"""A picture that was delivered before is worked in a child process: one that kills its decoder kills nothing else.

One child a try, no pool: a pool of processes needs /dev/shm for its locks, and Lambda has none.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from typing import Final

from thumbnailer.engine import Rendering
from thumbnailer.errors import Corrupt, CrashesEngine, EngineCrash, RecordError
from thumbnailer.execution.child import BEGUN, Request
from thumbnailer.planning.capabilities import OUTPUTS, pixels_of_work
from thumbnailer.planning.plan import Plan
from thumbnailer.planning.targets import Target, keeps_animation

FIXED_SECONDS: Final = 5.0
SECONDS_PER_PIXEL_READ: Final = 0.2e-6
SECONDS_PER_PIXEL_WRITTEN: Final = 5e-6
"""CPU time, several times what the slowest formats take (docs/why.md)."""
WALL_PER_CPU: Final = 10
"""A decoder that waits for ever takes no CPU time; one that is given little takes its time."""
STOPPED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Sent by people, not by crashes."""
MOST_OF_LAST_WORDS: Final = 200


def cpu_seconds(plan: Plan) -> int:
    """The CPU time after which a decoder is taken to be in an endless loop."""
    read = pixels_of_work(plan.info, plan.frames)
    written = sum(_pixels_written(plan, target) for target in plan.targets)
    return round(FIXED_SECONDS + read * SECONDS_PER_PIXEL_READ + written * SECONDS_PER_PIXEL_WRITTEN)


def _pixels_written(plan: Plan, target: Target) -> int:
    """Of all its frames, as often as they may have to be encoded."""
    frames = plan.frames if keeps_animation(plan.info, target) else 1
    tries = 1 if target.most_bytes is None else 1 + len(OUTPUTS[target.format].lower)
    return target.scaled[0] * target.scaled[1] * frames * tries


async def render_alone(path: str, plan: Plan, first: Corrupt | None = None) -> Rendering:
    """The first try in a child process, or, after `first`, the second. The child has ended when this has.

    Raises what the engine raises; CrashesEngine where that ended the child or did not end; EngineCrash where the child
    did not come to begin.
    """
    limit = cpu_seconds(plan)
    request = pickle.dumps(Request(path, plan, first, limit, os.getpid()))
    child = await _started()
    talk = asyncio.create_task(child.communicate(request))
    try:
        finished, _ = await asyncio.wait({talk}, timeout=WALL_PER_CPU * limit)
    finally:
        _kill(child)
        await asyncio.wait({talk})
    answer, last_words = talk.result()
    if child.returncode == 0 and len(answer) > len(BEGUN):
        return _rendering(answer)
    raise _crash(answer, _how(child, bool(finished), limit) + _shown(last_words), child.returncode)


def command() -> tuple[str, ...]:
    """Starts a child, which finds its modules where this process does: in a layer, a zip, or wherever else."""
    code = f"import sys; sys.path[:] = {sys.path!r}; from thumbnailer.execution.child import main; main()"
    return sys.executable, "-c", code


async def _started() -> Process:
    try:
        return await asyncio.create_subprocess_exec(
            *command(), stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True
        )
    except OSError as error:
        raise EngineCrash(f"no child process can be started: {error.strerror}") from error


def _kill(child: Process) -> None:
    """With all that it may have started; nothing where it has ended."""
    if child.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)


def _rendering(answer: bytes) -> Rendering:
    result: Rendering | RecordError = pickle.loads(answer[len(BEGUN) :])  # noqa: S301 (our own child's)
    if isinstance(result, RecordError):
        raise result
    return result


def _crash(answer: bytes, how: str, returncode: int | None) -> RecordError:
    if not answer:
        return EngineCrash(f"its process ended before it began: {how}")
    if returncode is not None and -returncode in STOPPED:
        return EngineCrash(f"its process was stopped: {how}")
    return CrashesEngine(f"alone in a process of its own, it ended that: {how}")


def _how(child: Process, finished: bool, limit: int) -> str:
    code = child.returncode or 0
    if not finished:
        return f"it was not through after {WALL_PER_CPU * limit} s"
    if -code == signal.SIGXCPU:
        return f"it took more than {limit} s of CPU time"
    if -code == signal.SIGKILL:
        return "SIGKILL, as where memory runs out"
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def _shown(last_words: bytes) -> str:
    text = " ".join(last_words.decode(errors="replace").split())
    return f"; {text[-MOST_OF_LAST_WORDS:]}" if text else ""
