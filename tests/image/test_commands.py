"""The image's other commands: any `thumbnailer ...`."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
from PIL import Image

from tests.image.container import LAMBDA_512_MB, ROOT, run

SAMPLES = ROOT / "handler" / "demo" / "samples"
WIDE = "--env=COLUMNS=200"
X86 = platform.machine() in ("x86_64", "AMD64")


def test_doctor_finds_no_error_and_names_pillow() -> None:
    found = run("thumbnailer", "doctor", options=[WIDE]).stdout
    assert ("Pillow-SIMD" in found and "AVX2" in found) if X86 else "Pillow-SIMD" not in found
    for format_ in ("avif", "heic", "tiff", "webp", *(["jxl"] if X86 else [])):
        assert format_ in found


def test_pil_has_every_library() -> None:
    """PIL is compiled silently without libraries that are not found."""
    names = ("jpg", "libjpeg_turbo", "zlib", "libtiff", "littlecms2", "webp")
    script = f"from PIL import features; print(*[name for name in {names} if not features.check(name)])"
    assert run("python", "-c", script).stdout.strip() == ""


def test_doctor_sees_the_limits_of_its_container() -> None:
    assert "512 MB, 0.29 vCPU" in run("thumbnailer", "doctor", options=[WIDE, *LAMBDA_512_MB]).stdout


@pytest.mark.parametrize("engine", ["auto", "vips", "pillow"])
def test_it_resizes_a_mounted_folder(engine: str, tmp_path: Path) -> None:
    """All demo samples; only /tmp and the output folder are writable."""
    out = tmp_path / "out"
    out.mkdir()
    out.chmod(0o777)
    tmp_path.chmod(0o755)
    sources = sorted(path.name for path in SAMPLES.iterdir() if path.suffix != ".md")
    options = [f"--volume={SAMPLES}:/in:ro", f"--volume={out}:/out", f"--env=THUMBNAILER_ENGINE={engine}", WIDE]
    shown = run("thumbnailer", "resize", *(f"/in/{name}" for name in sources), "-o", "/out", options=options).stdout
    assert shown.count("stored") == len(sources)
    made = sorted(path.name for path in out.iterdir())
    assert [name.removesuffix(".jpg") for name in made] == [name.removesuffix(".jpg") for name in sources]
    for path in out.iterdir():
        if path.suffix != ".avif":
            with Image.open(path) as picture:
                assert max(picture.size) == 128


def test_invalid_settings_exit_with_2() -> None:
    ended = run(
        "thumbnailer", "resize", "/etc/hostname", "-o", "/tmp", options=["--env=THUMBNAILER_RENDITIONS=x"], fails=True
    )
    assert ended.returncode == 2
    assert "THUMBNAILER_RENDITIONS" in ended.stderr


def test_the_lambda_outside_lambda_exits_with_an_explanation() -> None:
    ended = run(fails=True)
    assert (ended.returncode, "aws-lambda-rie" in ended.stderr) == (2, True)


@pytest.mark.skipif(not X86, reason="AVX2 is x86's")
def test_a_processor_without_avx2_exits_with_an_explanation(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(Path("/proc/cpuinfo").read_text().replace(" avx2", ""))
    ended = run("thumbnailer", "doctor", options=[f"--volume={cpuinfo}:/proc/cpuinfo:ro"], fails=True)
    assert (ended.returncode, "AVX2" in ended.stderr) == (1, True)


def test_sigterm_reaches_the_command() -> None:
    """The command replaces the entry: a shell as process 1 would ignore SIGTERM."""
    script = (
        "import os, signal; signal.signal(signal.SIGTERM, lambda *_: print('stopping')); os.kill(1, signal.SIGTERM)"
    )
    assert run("python", "-c", script).stdout == "stopping\n"
