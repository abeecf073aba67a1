"""The child process that decodes pictures. It holds the picture in work and nothing else: see `sandbox.py`.

`thumbnailer.execution.isolated` starts it. Standard input is a socket: each request brings its file's descriptor, and
replies go back. Requests are pickles, because the child trusts its parent; replies are not (`attempt.py`).
"""

import os
import pickle
import resource
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Final

from thumbnailer import engine
from thumbnailer.engine import Rendering
from thumbnailer.errors import CrashesEngine, RecordError, internal_error
from thumbnailer.execution import sandbox
from thumbnailer.execution.attempt import LENGTH_BYTES, Attempt, frame, pack_reply
from thumbnailer.execution.malloc import tame_heap, trim_heap
from thumbnailer.planning.memory import MB

READY_BYTES: Final = 8
"""Before it touches the picture, the child sends how many bytes of addresses it has, and waits until its parent has set
its limits. A child that dies earlier was not killed by the picture."""
MOST_FILE_BYTES: Final = MB
"""Only standard output and error are written."""
LIMITS: Final = {resource.RLIMIT_CORE: 0, resource.RLIMIT_NOFILE: 64, resource.RLIMIT_FSIZE: MOST_FILE_BYTES}
MOST_KEPT_FREE: Final = 8 * MB
LIBRARIES: Final = (
    str(Path(__file__).parents[1]), sys.prefix, sys.base_prefix,
    "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/fonts", "/var/cache/fontconfig",
)  # fmt: skip


def main(parent: int, tmp: str) -> None:
    """`tmp` is the folder of the parent's sources."""
    channel = socket.socket(fileno=os.dup(0))
    os.close(0)
    sandbox.die_with(parent, signal.SIGKILL)
    sizes = os.open("/proc/self/statm", os.O_RDONLY)
    _limit_this_process()
    refused = sandbox.enter([path for path in (*sys.path, *LIBRARIES) if path.startswith("/")], tmp)
    channel.sendall(frame("; ".join(refused).encode()))
    load = cache(engine.load_engine)
    while request := _receive(channel):
        attempt, file = request
        load(attempt.engine)
        taken = int(os.pread(sizes, 32, 0).split()[0]) * resource.getpagesize()
        channel.sendall(taken.to_bytes(READY_BYTES))
        if not channel.recv(1):
            break
        channel.sendall(frame(pack_reply(_answer(attempt, load))))
        os.close(file)
        trim_heap(MOST_KEPT_FREE)
    os._exit(0)  # skips destructors: one in a damaged library could still crash


def _receive(channel: socket.socket) -> tuple[Attempt, int] | None:
    """An attempt and its file's descriptor; None if the parent has closed the channel."""
    length, files, *_ = socket.recv_fds(channel, LENGTH_BYTES, 1)
    if not length:
        return None
    request = channel.recv(int.from_bytes(length), socket.MSG_WAITALL)
    attempt = pickle.loads(request)  # from our own parent  # noqa: S301  # nosec B301
    return replace(attempt, path=f"/proc/self/fd/{files[0]}"), files[0]


def _answer(attempt: Attempt, load: engine.Load) -> Rendering | RecordError:
    try:
        return attempt.render(load)
    except RecordError as error:
        return error
    except MemoryError:
        return CrashesEngine("the picture needs several times its estimated memory")
    except Exception as error:
        return internal_error(error)


def _limit_this_process() -> None:
    """The kernel's first victim when memory runs out. No core file, few open files, short output."""
    with suppress(OSError):  # if /proc is read-only, the kernel chooses its victim itself
        Path("/proc/self/oom_score_adj").write_text("1000")
    for limit, most in LIMITS.items():
        resource.setrlimit(limit, (most, most))
    tame_heap()
