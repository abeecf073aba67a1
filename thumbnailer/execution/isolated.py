"""Decodes one picture in a child process, so that a picture that kills its decoder kills nothing else.

Pictures delivered before are decoded here. Each attempt starts a new child: a process pool needs /dev/shm for its
locks, and Lambda has none.
"""

import asyncio
import os
import pickle
import signal
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from typing import Final

from thumbnailer.engine import Rendering
from thumbnailer.errors import CrashesEngine, EngineCrash, RecordError
from thumbnailer.execution.attempt import Attempt
from thumbnailer.execution.child import BEGUN, Request
from thumbnailer.planning.capabilities import OUTPUTS, pixels_of_work
from thumbnailer.planning.plan import Plan
from thumbnailer.planning.targets import Target, keeps_animation

FIXED_SECONDS: Final = 5.0
SECONDS_PER_PIXEL_READ: Final = 0.2e-6
SECONDS_PER_PIXEL_WRITTEN: Final = 5e-6
"""CPU time, several times that of the slowest formats (docs/why.md)."""
WALL_PER_CPU: Final = 10
"""Wall seconds per CPU second: a blocked decoder uses no CPU time, a decoder on a busy machine gets little."""
STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""People and service managers send these; crashes do not."""
MOST_STDERR_CHARACTERS: Final = 200


def cpu_seconds(plan: Plan) -> int:
    """The CPU time after which a decode counts as an endless loop."""
    read = pixels_of_work(plan.info, plan.frames)
    written = sum(_pixels_written(plan, target) for target in plan.targets)
    return round(FIXED_SECONDS + read * SECONDS_PER_PIXEL_READ + written * SECONDS_PER_PIXEL_WRITTEN)


def _pixels_written(plan: Plan, target: Target) -> int:
    """Pixels of all frames, times the encodes that a byte limit may need."""
    frames = plan.frames if keeps_animation(plan.info, target) else 1
    tries = 1 if target.most_bytes is None else 1 + len(OUTPUTS[target.format].lower)
    return target.scaled[0] * target.scaled[1] * frames * tries


async def render_isolated(attempt: Attempt) -> Rendering:
    """Runs the attempt in a child process, which has ended when this returns or raises.

    Raises what the engine raises, CrashesEngine if the picture crashed or hung the child, and EngineCrash if the child
    died for another reason.
    """
    limit = cpu_seconds(attempt.plan)
    child = await _start_child()
    request: Request = (attempt, limit, os.getpid())
    talk = asyncio.create_task(child.communicate(pickle.dumps(request)))
    try:
        finished, _ = await asyncio.wait({talk}, timeout=WALL_PER_CPU * limit)
    finally:
        _kill(child)
        await asyncio.wait({talk})
    answer, stderr = talk.result()
    if child.returncode == 0 and len(answer) > len(BEGUN):
        result: Rendering | RecordError = pickle.loads(answer[len(BEGUN) :])  # noqa: S301 (from our own child)
        if isinstance(result, RecordError):
            raise result
        return result
    cause = _cause_of_death(child.returncode or 0, bool(finished), limit)
    text = " ".join(stderr.decode(errors="replace").split())[-MOST_STDERR_CHARACTERS:]
    raise _crash(f"{cause}; {text}" if text else cause, child.returncode or 0, began=bool(answer))


def command() -> tuple[str, ...]:
    """Starts a child that finds its modules where this process does: in a layer, a zip or anywhere else."""
    code = f"import sys; sys.path[:] = {sys.path!r}; from thumbnailer.execution.child import main; main()"
    return sys.executable, "-c", code


async def _start_child() -> Process:
    try:
        return await asyncio.create_subprocess_exec(
            *command(), stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True
        )
    except OSError as error:
        raise EngineCrash(f"no child process can be started: {error.strerror}") from error


def _kill(child: Process) -> None:
    """Kills a running child and every process it started."""
    if child.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)


def _crash(cause: str, returncode: int, began: bool) -> RecordError:
    if not began:
        return EngineCrash(f"the child process ended before it began to decode: {cause}")
    if -returncode in STOP_SIGNALS:
        return EngineCrash(f"the child process was stopped: {cause}")
    return CrashesEngine(f"the picture ended its own child process: {cause}")


def _cause_of_death(returncode: int, finished: bool, limit: int) -> str:
    if not finished:
        return f"not finished after {WALL_PER_CPU * limit} s"
    if -returncode == signal.SIGXCPU:
        return f"more than {limit} s of CPU time"
    if -returncode == signal.SIGKILL:
        return "SIGKILL, probably out of memory"
    return f"exit code {returncode}" if returncode >= 0 else signal.Signals(-returncode).name
