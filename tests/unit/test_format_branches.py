"""Knowledge of a format is data: a row of a table, found by the format. Branches on one format are counted here."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PRODUCT = ("thumbnailer", "handler", "bench", "deploy")
MOST = 4


def branches(source: str) -> Iterator[str]:
    """Comparisons and patterns that name a format, like `format is Format.JPEG`."""
    for node in ast.walk(ast.parse(source)):
        tested = node.pattern if isinstance(node, ast.match_case) else node
        if isinstance(node, ast.Compare | ast.match_case) and any(map(names_format, ast.walk(tested))):
            yield ast.unparse(tested)


def names_format(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Format"


def test_few_branches_outside_formats_name_a_format() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {branch}"
        for part in PRODUCT
        for path in sorted((ROOT / part).rglob("*.py"))
        if ROOT / "thumbnailer" / "formats" not in path.parents
        for branch in branches(path.read_text())
    ]
    assert len(found) <= MOST, "\n".join(["make a row of capabilities, LOADERS or SAVERS instead:", *found])


def test_every_kind_of_branch_is_counted() -> None:
    source = """
if info.format is Format.JPEG or Format.PNG == other or x in (Format.GIF, Format.WEBP):
    match info.format:
        case Format.TIFF | Format.HEIC:
            pass
ROWS = {Format.JPEG: 1}
"""
    assert len(list(branches(source))) == 4
