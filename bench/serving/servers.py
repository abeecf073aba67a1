"""Our server and thumbor, each on one core with a limit of memory, and the URLs of the same picture."""

import sys
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from bench.peers import run_program
from bench.rig.limits import Group, limited
from bench.rig.processes import background, cache, free_port, listens, made_once

THUMBOR: Final = "thumbor==7.8.0"
CONFIG: Final = """\
LOADER = 'thumbor.loaders.file_loader'
STORAGE = 'thumbor.storages.no_storage'
RESULT_STORAGE = None
FILE_LOADER_ROOT_PATH = {folder!r}
ALLOW_UNSAFE_URL = True
QUALITY = 80
WEBP_QUALITY = 80
MAX_PIXELS = 1000000000
"""
SERVER_CORES: Final = (0,)
LOAD_CORES: Final = (1,)


@dataclass(frozen=True, slots=True)
class Running:
    """A server: its control group, and the URL of a picture in a box of so many pixels, in the source's own format."""

    group: Group
    url: Callable[[str, int], str]


@contextmanager
def ours(source: Path | str, memory: int, env: Mapping[str, str] = {}) -> Iterator[Running]:
    """Our server of a folder or bucket, in a group of so many MB. Raises NotStarted, NoLimits."""
    port = free_port()
    command = [sys.executable, "-m", "handler.cli", "serve", str(source), "--port", str(port)]
    settings = {"THUMBNAILER_OPEN": "on", "THUMBNAILER_MEMORY_MB": str(memory), **env}
    with _start("thumbnailer serve", command, port, memory, settings) as group:
        form = "http://127.0.0.1:{}/{}?w={}&h={}&fm=auto{}"
        # below 100, a PNG would get a palette; thumbor's PNGs have all colours at every quality
        yield Running(group, lambda name, side: form.format(port, name, side, side, "&q=80" * (name[-4:] != ".png")))


@contextmanager
def thumbor(folder: Path, memory: int) -> Iterator[Running]:
    """thumbor in an environment of its own, which is installed once. Raises NotInstalled, NotStarted, NoLimits."""
    port, binaries = free_port(), install_thumbor() / "bin"
    with ExitStack() as stack:
        config = folder / ".thumbor.conf"
        config.write_text(CONFIG.format(folder=str(folder)))
        stack.callback(config.unlink)
        command = [str(binaries / "thumbor"), "--port", str(port), "--ip", "127.0.0.1", "--conf", str(config)]
        group = stack.enter_context(_start("thumbor", command, port, memory, {"PATH": f"{binaries}:/usr/bin:/bin"}))
        form = "http://127.0.0.1:{}/unsafe/fit-in/{}x{}/filters:quality(80)/{}"
        yield Running(group, lambda name, side: form.format(port, side, side, name))


def install_thumbor() -> Path:
    """The folder of its virtual environment. Raises NotInstalled."""

    def install(target: Path) -> None:
        venv.create(target, with_pip=True, symlinks=True)
        pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile", THUMBOR]
        run_program(str(target / "bin" / "python"), pip, target)
        for script in (target / "bin").iterdir():  # the environment is moved to its place afterwards
            _use_any_python(script)

    return made_once(cache() / THUMBOR.replace("==", "-"), install)


def _use_any_python(script: Path) -> None:
    """The script finds its interpreter beside itself."""
    if script.is_symlink() or not (text := script.read_bytes()).startswith(b"#!") or b"python" not in text[:200]:
        return
    _, _, rest = text.partition(b"\n")
    script.write_bytes(b"#!/bin/sh\n'''exec' \"$(dirname \"$0\")/python\" \"$0\" \"$@\"\n' '''\n" + rest)


@contextmanager
def _start(name: str, command: Sequence[str], port: int, memory: int, env: Mapping[str, str]) -> Iterator[Group]:
    with limited(memory << 20) as group:
        started = background(name, group.command(command, SERVER_CORES), partial(listens, port), env)
        with started:
            yield group
