"""The bounds that keep the repository easy to find one's way in: sizes, words, links."""

from __future__ import annotations

import re
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest

from thumbnailer.model import ImageInfo

ROOT = Path(__file__).parents[2]
PRODUCT = ("thumbnailer", "handler", "bench", "deploy")
HOUSE, BENCH = 18_500, 6_500
FEATURES = {
    "pictures on demand": 1_800,
    "Python API, safe resize": 530,
    "colours in numbers": 230,
    "init, prices and goals": 140,
    "parts of hostile files, answers of storage": 120,
    "stills of animations, large pictures, tiles of HEIC": 120,
    "encoders and write-once sources": 200,
    "pictures kept on demand, uploads, metrics of several servers": 540,
    "backfill and reconcile": 1_490,
    "the same on AWS": 440,
    "the deploy command": 1_235,
}
"""Lines of the features that came after the house. Lower a number with every cut; only a feature adds one."""
MAX_LINES, MAX_BENCH_LINES = HOUSE + sum(FEATURES.values()), BENCH + 300
MAX_README_WORDS = 1_000
MAX_MODULE_LINES, MAX_LONG_MODULES = 400, 3
MAX_GENERATED_BYTES = 300 * 1024
GENERATED = ("bench/results", "docs/performance", "docs/performance.md", "docs/settings.md", "docs/memory.md")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#([^)\s]*))?\)")


def tracked_files(*folders: str) -> list[Path]:
    """Files that git tracks below `folders`; without git, all files there."""
    listed = subprocess.run(["git", "ls-files", *folders], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        found = [ROOT / name for name in listed.stdout.splitlines()]
    else:
        found = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    return [path for path in found if path.is_file()]


def modules(*folders: str) -> dict[str, int]:
    """Lines of each Python module."""
    paths = (path for path in tracked_files(*folders) if path.suffix == ".py")
    return {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in paths}


def documents() -> list[Path]:
    return [path for path in tracked_files() if path.suffix == ".md"]


def test_the_product_stays_small() -> None:
    assert sum(modules(*PRODUCT).values()) <= MAX_LINES
    assert sum(modules("bench").values()) <= MAX_BENCH_LINES


def test_few_modules_are_long() -> None:
    long = {name: lines for name, lines in modules(*PRODUCT).items() if lines > MAX_MODULE_LINES}
    assert len(long) <= MAX_LONG_MODULES, long


def test_image_info_has_few_fields() -> None:
    assert len(fields(ImageInfo)) <= 14


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().split()) <= MAX_README_WORDS


def test_generated_files_are_small() -> None:
    assert sum(path.stat().st_size for path in tracked_files(*GENERATED)) <= MAX_GENERATED_BYTES


def test_the_readme_shows_the_measured_costs() -> None:
    """Both come from bench/results/reference.json: `python -m bench performance` writes the document."""
    (table,) = re.findall(r"^\| pictures a month .*?\n\n", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert table in (ROOT / "docs" / "performance.md").read_text()


def heading_anchors(document: Path) -> set[str]:
    """Anchors as GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for link, anchor in LINK.findall(document.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        target = (document.parent / link).resolve()
        assert target.exists(), link
        assert not anchor or anchor in heading_anchors(target), f"{link}#{anchor}"


def test_documents_name_tests_and_modules_that_exist() -> None:
    code = "\n".join(path.read_text() for path in tracked_files("tests") if path.suffix == ".py")
    defined = set(re.findall(r"def (test_\w+)", code)) | {path.stem for path in tracked_files("tests")}
    for document in documents():
        named = set(re.findall(r"`(test_\w+)`", document.read_text()))
        assert named <= defined, f"{document.name}: {named - defined}"
        paths = re.findall(r"`((?:thumbnailer|handler|bench|deploy|tests|docs)/[\w./-]+\.\w+)`", document.read_text())
        missing = [path for path in paths if not any((folder / path).exists() for folder in (ROOT, document.parent))]
        assert not missing, f"{document.name}: {missing}"
