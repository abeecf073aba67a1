"""The structure of the tests: shared code is in tests/support, and no test module imports another one."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PENDING = (
    "deploy/test_fargate_guide.py",
    "deploy/test_guide_loops.py",
    "deploy/test_monitoring.py",
    "deploy/test_runtime.py",
    "handler/test_sqs.py",
)
"""Modules that still import a test module."""


def find_test_imports(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        yield from (name for name in names if name.rpartition(".")[2].startswith("test_"))


def test_no_module_imports_a_test_module() -> None:
    sources = {path.relative_to(TESTS).as_posix(): path.read_text(encoding="utf-8") for path in TESTS.rglob("*.py")}
    suspects = {name: text for name, text in sources.items() if re.search(r"import.*\btest_|from .*\btest_", text)}
    found = {name: list(find_test_imports(text)) for name, text in suspects.items() if name not in PENDING}
    assert {name: modules for name, modules in found.items() if modules} == {}


def test_every_test_module_is_collected() -> None:
    """A file with tests has a name that pytest collects."""
    missed = [
        path.relative_to(TESTS).as_posix()
        for path in TESTS.rglob("*.py")
        if not path.name.startswith("test_") and "\ndef test_" in path.read_text(encoding="utf-8")
    ]
    assert missed == []


@pytest.mark.slow
def test_tests_that_share_a_fixture_run_in_one_process() -> None:
    command = [sys.executable, "-m", "pytest", "-vv", "-n", "2", "tests/runtime/test_imports.py", "-k", "picture"]
    done = subprocess.run(command, cwd=TESTS.parent, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout
    assert len(set(re.findall(r"\[gw\d\].* PASSED", done.stdout))) > 1
    assert len(set(re.findall(r"\[gw\d\]", done.stdout))) == 1
