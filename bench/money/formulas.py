"""The formulas that advice, report and performance page print beside their numbers."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

FORMULAS: Final[Mapping[str, str]] = {
    name: text.strip()
    for name, text in tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")).items()
}
"""Names: model, cost, p95, confidence, break-even, busy."""
