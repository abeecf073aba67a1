"""Takes from this process every right that a decoder does not need. Linux only.

Numbers are from linux/prctl.h, seccomp.h, bpf_common.h, landlock.h, capability.h and the tables of system calls.
"""

import ctypes
import errno
import fcntl
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
SECCOMP_MODE_FILTER: Final = 2
CAPABILITY_VERSION: Final = 0x20080522
CLONE_THREAD: Final = 0x10000
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
LANDLOCK_READ: Final = 1 << 2 | 1 << 3
"""files and folders"""
LANDLOCK_READ_FILE: Final = 1 << 2
LANDLOCK_VERSION: Final = 1
LANDLOCK_RIGHTS: Final = {1: 13, 2: 14, 3: 15, 5: 16}
"""Number of rights on files that the kernel knows, by the first version with that number."""
LANDLOCK_TCP, LANDLOCK_SCOPES = 0b11, 0b11
"""bind and connect; abstract sockets and signals"""

X32: Final = 0x40000000
"""System calls of another ABI in an x86-64 kernel: they would bypass the numbers below."""
MACHINES: Final = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
"""The kernel's name of the architecture, and its column below."""
DENIED: Final = {
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200), "io_uring_setup": (425, 425),
    "execve": (59, 221), "execveat": (322, 281), "fork": (57, None), "vfork": (58, None),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424), "kill": (62, 129),
    "tkill": (200, 130), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "bpf": (321, 280), "userfaultfd": (323, 282), "perf_event_open": (298, 241), "add_key": (248, 217),
    "request_key": (249, 218), "keyctl": (250, 219), "open_by_handle_at": (304, 265), "mount": (165, 40),
    "chroot": (161, 51), "unshare": (272, 97), "setns": (308, 268),
    # memory and messages that outlive their process
    "shmget": (29, 194), "shmat": (30, 196), "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180),
    # its own limits, and the speed of other processes
    "setrlimit": (160, 164),
    "setpriority": (141, 140), "ioprio_set": (251, 30), "sched_setparam": (142, 118), "sched_setscheduler": (144, 119),
    "sched_setaffinity": (203, 122), "sched_setattr": (314, 274),
    # rights and times of files, which Landlock does not protect
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None),
    "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "utime": (132, None), "utimes": (235, None),
    "futimesat": (261, None), "utimensat": (280, 88),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    # changes of files, for kernels without Landlock
    "creat": (85, None), "mkdir": (83, None), "mkdirat": (258, 34), "mknod": (133, None), "mknodat": (259, 33),
    "link": (86, None), "linkat": (265, 37), "symlink": (88, None), "symlinkat": (266, 36), "unlink": (87, None),
    "unlinkat": (263, 35), "rmdir": (84, None), "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276),
    "truncate": (76, 45), "openat2": (437, 437),
}  # fmt: skip
CLONE, CLONE3, TGKILL, PRLIMIT = (56, 220), (435, 435), (234, 131), (302, 261)
OPEN, OPENAT, FCNTL, IOCTL, PRCTL = (2, None), (257, 56), (72, 25), (16, 29), (157, 167)
OPENED_TO_WRITE: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
SIGNAL_BY_FCNTL: Final = (fcntl.F_SETOWN, 15, fcntl.F_SETSIG, fcntl.F_SETLEASE, fcntl.F_NOTIFY)
"""15 is F_SETOWN_EX. A descriptor's owner gets any signal, SIGKILL too. A lease delays others that open the file."""
SIGNAL_BY_IOCTL: Final = (0x8901, 0x8902)
"""FIOSETOWN and SIOCSPGRP"""

_libc: Final = ctypes.CDLL(None, use_errno=True)


def die_with(parent: int, signal: int) -> None:
    """The kernel sends `signal` when the parent ends. Exits if the parent has ended already."""
    _prctl(PR_SET_PDEATHSIG, signal)
    if os.getppid() != parent:
        os._exit(1)


def hide_memory() -> None:
    """Processes of the same user can no longer read this one's memory, environment and descriptors."""
    _prctl(PR_SET_DUMPABLE, 0)


def enter(readable: Sequence[str], tmp: str) -> list[str]:
    """Drops all rights for good. Returns the protections that the platform refuses, each with its reason.

    Files below `readable` can be read and listed. Files in `tmp` can be read, because the picture may lie there.
    """
    steps: dict[str, Callable[[], object]] = {
        "hidden memory": hide_memory,
        "no capabilities": partial(_call, _libc.capset, struct.pack("=Ii", CAPABILITY_VERSION, 0), bytes(24)),
        "no new privileges": partial(_prctl, PR_SET_NO_NEW_PRIVS, 1),
        "Landlock": partial(_restrict_files, readable, tmp),
        "seccomp": _restrict_calls,
    }
    refused = []
    for name, step in steps.items():
        try:
            step()
        except OSError as error:
            refused.append(f"{name}: {error.strerror}")
    return refused


def _call(function: Callable[..., int], *values: Any) -> int:
    """Raises OSError. Numbers are passed as longs, the width that system calls take."""
    result = function(*(ctypes.c_long(value) if isinstance(value, int) else value for value in values))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _prctl(option: int, *values: Any) -> None:
    _call(_libc.prctl, option, *values, 0, 0, 0)


# --- Landlock -------------------------------------------------------------------------------------------------------


def _restrict_files(readable: Sequence[str], tmp: str) -> None:
    version = _call(_libc.syscall, LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_VERSION)
    rights = (1 << max(number for first, number in LANDLOCK_RIGHTS.items() if first <= version)) - 1
    handled = [rights] + [LANDLOCK_TCP] * (version >= 4) + [LANDLOCK_SCOPES] * (version >= 6)
    fields = struct.pack(f"={len(handled)}Q", *handled)
    ruleset = _call(_libc.syscall, LANDLOCK_CREATE_RULESET, fields, len(fields), 0)
    for path in readable:
        _allow(ruleset, path, LANDLOCK_READ)
    _allow(ruleset, tmp, LANDLOCK_READ_FILE)
    _call(_libc.syscall, LANDLOCK_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    """Paths that do not exist are left out."""
    with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            wanted = rights if os.path.isdir(path) else rights & LANDLOCK_READ_FILE
            _call(_libc.syscall, LANDLOCK_ADD_RULE, ruleset, 1, struct.pack("=Qi", wanted, folder), 0)
        finally:
            os.close(folder)


# --- seccomp --------------------------------------------------------------------------------------------------------

LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, KILL, REFUSE = 0x7FFF0000, 0x80000000, 0x00050000
REFUSED: Final = REFUSE | errno.EPERM
NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16
"""Offsets in struct seccomp_data."""


def _restrict_calls() -> None:
    machine = os.uname().machine
    if machine not in MACHINES:
        raise OSError(errno.ENOSYS, f"no table of system calls for {machine}")
    code = b"".join(_filter(*MACHINES[machine]))
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(buffer))
    _prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.create_string_buffer(program, len(program)))


def _filter(architecture: int, column: int) -> Iterator[bytes]:
    """Threads may start and be signalled, processes may not; no limit can be set; no file is written."""
    yield _step(LOAD, ARCHITECTURE) + _step(EQUAL, architecture, 1, 0) + _step(RETURN, KILL)
    yield _step(LOAD, NUMBER) + _step(AT_LEAST, X32, 0, 1) + _step(RETURN, REFUSED)
    for numbers in DENIED.values():
        if (number := numbers[column]) is not None:
            yield _step(EQUAL, number, 0, 1) + _step(RETURN, REFUSED)
    # glibc then uses clone, whose flags the filter can read
    yield _step(EQUAL, CLONE3[column], 0, 1) + _step(RETURN, REFUSE | errno.ENOSYS)
    yield from _decide(CLONE[column], 0, _step(ANY_BIT, CLONE_THREAD, 0, 1), if_true=ALLOW, if_false=REFUSED)
    yield from _decide(TGKILL[column], 0, _step(EQUAL, os.getpid(), 0, 1), if_true=ALLOW, if_false=REFUSED)
    # may read its own limits; the address of new ones has two halves
    new_limits = (_step(LOAD, FIRST_ARGUMENT + 8 * 2 + half) + _step(EQUAL, 0, 1) for half in (0, 4))
    yield from _decide(PRLIMIT[column], 0, _step(EQUAL, 0, 1), *new_limits)
    yield from _decide(PRCTL[column], 0, _step(EQUAL, PR_SET_PDEATHSIG, 0, 1))
    yield from _decide(OPEN[column], 1, _step(ANY_BIT, OPENED_TO_WRITE, 0, 1))
    yield from _decide(OPENAT[column], 2, _step(ANY_BIT, OPENED_TO_WRITE, 0, 1))
    yield from _decide(FCNTL[column], 1, *(_step(EQUAL, command, 0, 1) for command in SIGNAL_BY_FCNTL))
    yield from _decide(IOCTL[column], 1, *(_step(EQUAL, command, 0, 1) for command in SIGNAL_BY_IOCTL))
    yield _step(RETURN, ALLOW)


def _decide(
    number: int | None, argument: int, *tests: bytes, if_true: int = REFUSED, if_false: int = ALLOW
) -> Iterator[bytes]:
    """Decides a call by one of its arguments. Each test skips one step if it is false."""
    if number is not None:
        body = _step(LOAD, FIRST_ARGUMENT + 8 * argument)
        body += b"".join(test + _step(RETURN, if_true) for test in tests) + _step(RETURN, if_false)
        yield _step(EQUAL, number, 0, len(body) // 8) + body


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """One instruction: struct sock_filter."""
    return struct.pack("=HBBI", code, if_true, if_false, value)
