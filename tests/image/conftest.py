"""Skips these tests without an image."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.image.container import IMAGE


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    if reason := why_not():
        for item in items:
            if item.path.is_relative_to(Path(__file__).parent):
                item.add_marker(pytest.mark.skip(reason=reason))


def why_not() -> str | None:
    if not IMAGE:
        return "needs the container image: `make test-image` builds it"
    if not any(map(shutil.which, (os.environ.get("ENGINE", "podman"), "podman", "docker"))):
        return "needs podman or docker: `make test-image` installs podman"
    return None
