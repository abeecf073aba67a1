"""Without an image there is nothing to test here, and one line a file says so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.image.container import IMAGE


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    if IMAGE:
        return
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.skip(reason="needs the container image: `make test-image` builds it"))
