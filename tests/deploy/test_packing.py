"""Packing without a build: rules, targets, archives and the command's errors."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from deploy.packing import IndexUnreachable, PackingError
from deploy.packing import install as packing_install
from deploy.packing.build import UNZIPPED_LIMIT, check_size, files_below, write_zip
from deploy.packing.install import ROOT, constrain, install
from deploy.packing.strip import first_match
from deploy.packing.target import target_for


def test_a_rule_deletes_only_the_paths_that_it_names() -> None:
    for path, name in (
        ("botocore/__pycache__/client.cpython-311.pyc", "caches"),
        ("aioitertools/tests/itertools.py", "tests"),
        ("uvloop/loop.pyx", "sources and types"),
        ("bin/jp.py", "commands"),
        ("uvloop-1.dist-info/RECORD", "records"),
        ("botocore/data/ec2/2016-11-15/service-2.json.gz", "other AWS services"),
        ("botocore/data/s3/2006-03-01/examples-1.json", "AWS's examples"),
        ("cffi/api.py", "cffi's compiler"),
        ("uvloop-1.dist-info/METADATA", None),
        ("numpy-1.dist-info/licenses/numpy/ma/LICENSE", None),
        ("pillow-1.dist-info/sboms/pillow.cdx.json", None),
        ("botocore/data/s3/2006-03-01/service-2.json.gz", None),
        ("botocore/data/endpoints.json", None),
        ("_cffi_backend.cpython-311-x86_64-linux-gnu.so", None),
        ("cffi-2.dist-info/licenses/LICENSE", None),
    ):
        rule = first_match(path)
        assert (rule.name if rule else None) == name, path


def test_an_unreachable_index_is_an_error_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(IndexUnreachable):
        install(target_for("3.13", "x86_64"), (), tmp_path / "wheels")


def test_amazon_linux_2_gets_the_last_versions_that_load_there() -> None:
    given = "pillow==13.0.0 ; sys_platform == 'linux'\npillow-heif==1.8.1\nsix==1.17.0\n"
    assert constrain(given, target_for("3.13", "arm64")) == given
    pillow, *others = constrain(given, target_for("3.11", "arm64")).splitlines()
    assert pillow.startswith("pillow==12.2.0 --hash=sha256:")
    assert others == ["pillow-heif==1.8.1", "six==1.17.0"]


def test_a_file_with_another_hash_is_not_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = (ROOT / "constraints.txt").read_text()
    swapped = re.sub(r"^(six==\S+).*$", rf"\1 --hash=sha256:{'0' * 64}", locked, flags=re.MULTILINE)
    monkeypatch.setattr(packing_install, "constrain", lambda *_: swapped)
    with pytest.raises(PackingError, match="Hash mismatch for `six"):
        install(target_for("3.13", "x86_64"), (), tmp_path)


def test_a_package_without_a_hash_is_not_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = (ROOT / "constraints.txt").read_text()
    monkeypatch.setattr(packing_install, "constrain", lambda *_: re.sub(r"(?m)^six==.*\n", "", locked))
    with pytest.raises(PackingError, match=r"without a hash in constraints\.txt: six$"):
        install(target_for("3.13", "x86_64"), (), tmp_path)


LOCKS = ("constraints.txt", "deploy/constraints.txt", "deploy/requirements.txt", "deploy/packing/older.txt",
         ".ci/tools.txt", ".ci/checkov.txt", ".ci/ministack.txt")  # fmt: skip


def test_every_locked_package_has_a_hash_and_one_version() -> None:
    """The image installs from requirements.txt what the zip installs from constraints.txt."""
    lines = {name: (ROOT / name).read_text().splitlines() for name in LOCKS}
    wrong = [f"{name}: {line}" for name in LOCKS for line in lines[name] if line[:1] != "#" and "--hash=" not in line]
    assert wrong == []
    assert set(lines["deploy/requirements.txt"]) <= set(lines["constraints.txt"])


def test_the_error_for_an_unknown_runtime_lists_the_known_ones() -> None:
    for python, architecture in (("3.10", "x86_64"), ("3.13", "aarch64"), ("", "")):
        with pytest.raises(PackingError, match=r"3\.11, 3\.12, 3\.13, 3\.14|x86_64, arm64"):
            target_for(python, architecture)


def test_the_error_above_lambda_s_limit_names_the_largest_packages(tmp_path: Path) -> None:
    for name, size in (("numpy", 200 << 20), ("PIL", 50 << 20), ("small", 1)):
        (tmp_path / name).mkdir()
        with (tmp_path / name / "x.so").open("wb") as file:
            file.truncate(size)
    with pytest.raises(PackingError, match=r"250\.0 MB unzipped, and Lambda takes 250\.0 MB.*numpy 200\.0, PIL 50\.0"):
        check_size(files_below(tmp_path))
    (tmp_path / "small" / "x.so").unlink()
    assert check_size(files_below(tmp_path)) == UNZIPPED_LIMIT


def test_the_same_files_give_the_same_zip(tmp_path: Path) -> None:
    """Times, modes and order of the files do not matter."""
    zips = set()
    for number, names in enumerate(("ab", "ba")):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name in names:
            (folder / name).write_text(name)
            os.utime(folder / name, (number, number))
            (folder / name).chmod(0o600 + number)
        write_zip(tmp_path / "zip", files_below(folder))
        zips.add((tmp_path / "zip").read_bytes())
    assert len(zips) == 1
    with zipfile.ZipFile(tmp_path / "zip") as archive:
        assert {oct(info.external_attr >> 16) for info in archive.infolist()} == {"0o100644"}


def test_the_command_exits_with_1_and_the_reason(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "deploy.packing", "--python", "3.9", "--out", str(tmp_path / "dist")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no runtime python3.9" in done.stderr
    assert not (tmp_path / "dist").exists()
