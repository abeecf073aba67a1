"""The child process that decodes one picture: the request comes on standard input, the answer goes to standard output.

`thumbnailer.execution.isolated` starts it. Requests and answers are pickles between two processes of one program: the
child protects its parent from a crash, not from an attacker.
"""

import ctypes
import os
import pickle
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from thumbnailer import engine
from thumbnailer.engine import Rendering
from thumbnailer.errors import RecordError, internal_error
from thumbnailer.execution.attempt import Attempt
from thumbnailer.execution.malloc import tame_heap

BEGUN: Final = b"B"
"""The child writes this before it touches the picture: a child that dies without it was not killed by the picture."""
PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


Request = tuple[Attempt, int, int]
"""The attempt, its CPU seconds, and the parent's process id."""


def main() -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # decoders print to standard error instead of into the answer
    request: Request = pickle.load(sys.stdin.buffer)  # noqa: S301 (from our own parent)
    attempt, cpu_seconds, parent = request
    _limit_this_process(cpu_seconds, parent)
    engine.load_engine(attempt.engine)
    answers.write(BEGUN)
    answers.flush()
    answers.write(pickle.dumps(_answer(attempt)))
    answers.flush()
    os._exit(0)  # skips destructors: one in a damaged library could still crash after the complete answer


def _answer(attempt: Attempt) -> Rendering | RecordError:
    try:
        return attempt.render(engine.load_engine)
    except RecordError as error:
        return error
    except Exception as error:
        return internal_error(error)


def _limit_this_process(cpu_seconds: int, parent: int) -> None:
    """Dies with its parent, is the kernel's first victim when memory runs out, has a CPU limit, leaves no core file."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # the parent died before the prctl call
    with suppress(OSError):  # if /proc is read-only, the kernel chooses its victim itself
        Path("/proc/self/oom_score_adj").write_text("1000")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 1))
    tame_heap()
