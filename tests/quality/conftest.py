from __future__ import annotations

import pytest

from tests.quality.gallery import References


@pytest.fixture(scope="session")
def wanted() -> References:
    return References()
