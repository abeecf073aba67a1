"""The sides of a comparison: a file of results, a folder with a checkout of this project, or a git revision of it."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.compare.verdicts import CompareError
from bench.rig.processes import ROOT

PACKAGE: Final = Path("thumbnailer", "__init__.py")
"""A file of every checkout."""


@dataclass(frozen=True, slots=True)
class Side:
    """A file of results or the folder of a checkout at `path`, or the revision of that `commit`."""

    name: str
    path: Path | None = None
    commit: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.commit[:12]})" if self.commit else self.name

    @property
    def is_file(self) -> bool:
        return self.path is not None and self.path.is_file()


def side_of(argument: str, repository: Path = ROOT) -> Side:
    """Return the file, else the checkout, else the revision of that name. Raises CompareError."""
    path = Path(argument)
    if path.is_file() or (path / PACKAGE).is_file():
        return Side(argument, path.resolve())
    found = _git(repository, "rev-parse", "--verify", "--quiet", argument + "^{commit}")
    if found.returncode == 0:
        return Side(argument, commit=found.stdout.strip())
    raise CompareError(
        f"{argument}: not a file of results, a folder with a checkout of this project (with {PACKAGE}) or a revision "
        f"of the repository {repository}, which `git log --oneline` lists"
    )


@contextmanager
def checked_out(side: Side, repository: Path = ROOT) -> Iterator[Path]:
    """Yields the folder of a checkout; a revision gets a temporary worktree. Raises CompareError."""
    if side.path:
        yield side.path
        return
    with tempfile.TemporaryDirectory(prefix="thumbnailer-compare-") as parent:
        folder = Path(parent) / "tree"
        try:
            made = _git(repository, "worktree", "add", "--detach", "--quiet", str(folder), side.commit)
            if made.returncode:
                raise CompareError(f"{side}: cannot be checked out: {made.stderr.strip()}")
            yield folder
        finally:
            _git(repository, "worktree", "remove", "--force", str(folder))  # measuring leaves bytecode there


def _git(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs git without hooks and without a caller's GIT_DIR."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(repository), "-c", f"core.hooksPath={os.devnull}", *arguments]
    try:
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)  # noqa: S603
    except FileNotFoundError as error:
        raise CompareError("a revision needs git, which is not installed: give folders of two checkouts") from error
