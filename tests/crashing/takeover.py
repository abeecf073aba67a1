"""What code in a child tries once it has taken over a decoder. Each attempt raises OSError if it is refused."""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import signal
import socket
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from thumbnailer.errors import UnsupportedFormat

LIBC = ctypes.CDLL(None, use_errno=True)
PTRACE_ATTACH, TGKILL, IO_URING_SETUP = 16, 234 if os.uname().machine == "x86_64" else 131, 425
PR_SET_PDEATHSIG = 1
PRLIMIT, ROUND = 302 if os.uname().machine == "x86_64" else 261, 1 << 33
PARENT = os.getppid()


def _call(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")


def _read(path: str) -> None:
    Path(path).read_bytes()


def _fork() -> None:
    if not os.fork():
        os._exit(0)


def _credentials() -> None:
    if not any(name.startswith("AWS_") for name in os.environ):
        raise OSError("no credentials")


def _sources() -> None:
    """Opens whatever file the parent has open: sources have no names."""
    for number in range(3, 64):
        with suppress(OSError):
            os.close(os.open(f"/proc/{PARENT}/fd/{number}", os.O_RDONLY))
            return
    raise OSError("no file of the parent can be opened")


def _neighbours() -> None:
    """Opens the memory of another process."""
    for memory in Path("/proc").glob("[0-9]*/mem"):
        with suppress(OSError):
            if memory.parent.name != str(os.getpid()):
                memory.open("rb").close()
                return
    raise OSError("no memory can be opened")


def _limit_parent() -> None:
    """To its own limits: where this succeeds, the parent is the process of the tests."""
    try:
        resource.prlimit(PARENT, resource.RLIMIT_NOFILE, resource.prlimit(PARENT, resource.RLIMIT_NOFILE))
    except PermissionError as error:
        raise OSError("refused") from error


def _raise_own_limits() -> None:
    try:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except ValueError as error:
        raise OSError("refused") from error


def _raise_own_limits_by_a_round_address() -> None:
    """The lower half of the address is zero, as if there were no new limits."""
    LIBC.mmap.restype = ctypes.c_void_p
    at = LIBC.mmap(ctypes.c_void_p(ROUND), ctypes.c_size_t(4096), 3, 0x22, -1, ctypes.c_long(0))
    ctypes.memset(at, 255, 16)
    _call(LIBC.syscall(PRLIMIT, 0, resource.RLIMIT_AS, ctypes.c_void_p(at), None))
    if at != ROUND:
        raise OSError("not tried")


def _own_signals() -> None:
    """Makes the parent the receiver of a pipe's signals, which may be SIGKILL."""
    end, other = os.pipe()
    try:
        fcntl.fcntl(end, fcntl.F_SETSIG, signal.SIGCONT)
        fcntl.fcntl(end, fcntl.F_SETOWN, PARENT)
    finally:
        os.close(end)
        os.close(other)


def _share(make: Callable[..., int], remove: Callable[..., int], *size: int) -> None:
    """Memory or messages of System V, which outlive this process."""
    number = make(0, *size, 0o600)
    _call(number)
    remove(number, *((0,) * (len(size) if make is LIBC.semget else 0)), 0, 0)


def _remove() -> None:
    path = Path(tempfile.gettempdir(), "taken")
    path.touch()
    path.unlink()


BY_SECCOMP: dict[str, Callable[[], object]] = {
    "a TCP socket": socket.socket,
    "a UDP socket": lambda: socket.socket(type=socket.SOCK_DGRAM),
    "a Unix socket": lambda: socket.socket(socket.AF_UNIX),
    "a pair of sockets": socket.socketpair,
    "io_uring": lambda: _call(LIBC.syscall(IO_URING_SETUP, 1, bytes(120))),
    "a program": lambda: os.posix_spawn("/bin/true", ["true"], {}),
    "a process": _fork,
    "a signal": lambda: os.kill(PARENT, signal.SIGCONT),
    "a signal to a thread": lambda: _call(LIBC.syscall(TGKILL, PARENT, PARENT, signal.SIGCONT)),
    "the limits of its parent": _limit_parent,
    "limits of its own": _raise_own_limits,
    "limits of its own by a round address": _raise_own_limits_by_a_round_address,
    "a signal from a descriptor": _own_signals,
    "shared memory": lambda: _share(LIBC.shmget, LIBC.shmctl, 4096),
    "messages": lambda: _share(LIBC.msgget, LIBC.msgctl),
    "semaphores": lambda: _share(LIBC.semget, LIBC.semctl, 1),
    "the priority of its parent": lambda: os.setpriority(os.PRIO_PROCESS, PARENT, 0),
    "the processors of its parent": lambda: os.sched_setaffinity(PARENT, os.sched_getaffinity(PARENT)),
    "the rights of the folder of sources": lambda: os.chmod(
        tempfile.gettempdir(), os.stat(tempfile.gettempdir()).st_mode & 0o7777
    ),
    "a life beyond its parent's": lambda: _call(LIBC.prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0)),
    "a debugger": lambda: _call(LIBC.ptrace(PTRACE_ATTACH, PARENT, 0, 0)),
}
BY_LANDLOCK: dict[str, Callable[[], object]] = {
    "the users": lambda: _read("/etc/passwd"),
    "the names of sources": lambda: os.listdir(tempfile.gettempdir()),
    "the memory of its neighbours": _neighbours,
}
BY_EITHER: dict[str, Callable[[], object]] = {
    "a new file": lambda: Path(tempfile.gettempdir(), "taken").write_text("x"),
    "a removed file": _remove,
    "a new folder": lambda: Path(tempfile.gettempdir(), "taken-folder").mkdir(exist_ok=True),
}
ALWAYS: dict[str, Callable[[], object]] = {
    "credentials": _credentials,
    "the environment of its parent": lambda: _read(f"/proc/{PARENT}/environ"),
    "the memory of its parent": lambda: Path(f"/proc/{PARENT}/mem").open("rb").close(),
    "a file of its parent": _sources,
}


def escape() -> None:
    """Ends the picture with the names of everything that was reached."""
    reached = []
    for name, attempt in (BY_SECCOMP | BY_LANDLOCK | BY_EITHER | ALWAYS).items():
        with suppress(OSError):
            attempt()
            reached.append(name)
    raise UnsupportedFormat(f"reached: {', '.join(reached)}")


def replace() -> None:
    """Becomes another program, or goes on if that is refused."""
    with suppress(PermissionError):
        os.execv("/bin/true", ["true"])


def forge() -> None:
    """Answers with the size of another picture's secrets: more bytes than any answer of this picture has."""
    _send(b"\x7f\xff\xff\xff")


def pickle() -> None:
    """Answers with a pickle that would run code in the parent."""
    _send(len(PICKLE).to_bytes(4) + PICKLE)


PICKLE = b"cos\nsystem\n(S'touch /tmp/taken-over'\ntR."


def _send(data: bytes) -> None:
    for number in range(3, 10):
        with suppress(OSError):
            os.write(number, data)
    signal.pause()
