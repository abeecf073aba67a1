from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

import pytest

from handler import doctor
from handler.doctor import Finding, examine, pillow_distribution
from thumbnailer.model import EngineName
from thumbnailer.settings import SETTINGS

MULTIPLY = b"\xc4\xc1\x45\xf5"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("THUMBNAILER_", "AWS_")):
            monkeypatch.delenv(name)


def found(what: str) -> Finding:
    (finding,) = [finding for finding in examine() if finding.what == what]
    return finding


def test_exactly_one_pillow_is_installed_here() -> None:
    assert len(pillow_distribution()) == 1
    assert found("PIL").good is True
    assert found("PIL").found.startswith(pillow_distribution()[0])


@pytest.mark.parametrize(
    ("installed", "good", "says"),
    [
        ((), None, "neither"),
        (("Pillow 1", "Pillow-SIMD 2"), False, "overwrite each other"),
        (("Pillow 1",), True, "Pillow 1"),
    ],
)
def test_no_pillow_or_two_pillows_are_findings(
    monkeypatch: pytest.MonkeyPatch, installed: tuple[str, ...], good: bool | None, says: str
) -> None:
    monkeypatch.setattr(doctor, "pillow_distribution", lambda: installed)
    assert found("PIL").good is good
    assert says in found("PIL").found


@pytest.mark.parametrize("name", EngineName)
def test_each_engine_lists_its_formats(name: EngineName) -> None:
    finding = found(f"engine {name}")
    assert finding.good in (True, None)
    if finding.good:
        assert "reads" in finding.found
        assert (name is EngineName.NATIVE) == (f" on {platform.machine()};" in finding.found)
        assert "jpeg" in finding.found
    else:
        assert "make native" in finding.found


def test_good_settings_give_no_bad_finding_and_all_are_listed() -> None:
    findings = examine()
    assert all(finding.good is not False for finding in findings)
    assert {setting.variable for setting in SETTINGS} <= {finding.what for finding in findings}
    assert {"tier", "transport", "thumbnail keys"} <= {finding.what for finding in findings}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RENDITIONS", "nonsense"),
        ("DESTINATION", "{bucket}"),
        ("KEY", "{"),
        ("KMS_KEY_ID", "alias/x"),
        ("MEMORY_MB", "0"),
        ("NO_SUCH_THING", "1"),
    ],
)
def test_bad_settings_are_a_finding_and_no_exception(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"THUMBNAILER_{name}", value)
    assert found("settings").good is False
    assert f"THUMBNAILER_{name}" in found("settings").found


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "nonsense"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "0"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "²"),
        ("AWS_ENDPOINT_URL_S3", "no url at all"),
        ("AWS_REGION", "nowhere"),
        ("AWS_PROFILE", "nobody"),
        ("AWS_CA_BUNDLE", "/no/such/file"),
        ("THUMBNAILER_TRANSPORT", "aioboto3"),
    ],
)
def test_unusual_environment_raises_nothing(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert examine()


def test_an_engine_that_cannot_be_imported_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: EngineName) -> None:
        raise OSError("libvips.so.42: cannot open shared object file")

    monkeypatch.setattr(doctor, "load_engine", broken)
    engines = [finding for finding in examine() if finding.what.startswith("engine ") and finding.good is not None]
    assert engines
    assert all(finding.good is False and "libvips.so.42" in finding.found for finding in engines)


def test_key_template_that_can_collide_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found("thumbnail keys").good is True
    monkeypatch.setenv("THUMBNAILER_KEY", "{dir}/{stem}.{ext}")
    assert found("thumbnail keys").good is None


@pytest.mark.parametrize(
    ("env", "good", "says"),
    [
        ({}, True, "renditions (1) and offers (0); there are no other sizes"),
        ({"OFFERS": "9x9"}, True, "offers (1, kept under _any/)"),
        ({"OFFERS": "9x9", "ON_DELETE": "keep"}, True, "offers (1)"),
        ({"URL_KEYS": f"{'ab' * 16},{'cd' * 16}"}, True, "a URL signed with one of 2 keys"),
        ({"OPEN": "on"}, None, "anyone may ask for any size"),
    ],
)
def test_who_may_ask_for_what_on_demand(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str], good: bool | None, says: str
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(f"THUMBNAILER_{name}", value)
    assert found("on demand").good is good
    assert says in found("on demand").found


def test_no_key_of_signed_urls_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"URL_KEYS": "ab" * 16, "IMGPROXY_KEYS": "abab:abab", "THUMBOR_KEYS": "abab"}.items():
        monkeypatch.setenv(f"THUMBNAILER_{name}", value)
    assert not [finding for finding in examine() if "abab" in finding.found]


@pytest.mark.parametrize(
    ("destination", "source", "good", "says"),
    [
        (None, "photos", True, "go to photos-resized"),
        (None, "photos-resized", False, "skipped as our own output"),
        (None, "photos-resized-2", True, "go to photos-resized-2-resized"),
        ("small-{bucket}", "photos-resized", True, "go to small-photos-resized"),
        ("small-{bucket}", "small-photos", False, "skipped as our own output"),
        ("thumbs", "thumbs", False, "skipped as our own output"),
        ("thumbs", "photos-resized", True, "go to thumbs"),
    ],
)
def test_source_bucket_that_is_a_destination_is_a_bad_finding(
    monkeypatch: pytest.MonkeyPatch, destination: str | None, source: str, good: bool, says: str
) -> None:
    """The pipeline skips every record of such a bucket (own-output) and would make no thumbnail."""
    if destination:
        monkeypatch.setenv("THUMBNAILER_DESTINATION", destination)
    (finding,) = [finding for finding in examine(source) if finding.what == "source"]
    assert finding.good is good
    assert says in finding.found


def test_no_finding_without_a_source_bucket() -> None:
    assert "source" not in {finding.what for finding in examine()}


@pytest.mark.parametrize(
    ("library", "expected"),
    [
        (b"", False),
        (b"\x00" * 100_000, False),
        ((MULTIPLY + b"\x90" * 3) * 7, False),
        ((MULTIPLY + b"\x90" * 3) * 8, True),
        ((b"\xc4\xc1\x7d\xf5" + b"\x00") * 45, True),
        ((b"\xc4\xc1\x41\xf5" + b"\x00") * 45, False),
        ((b"\xc5\xf5\x45\xf5" + b"\x00") * 45, False),
        (b"\x66\x0f\xf5\xc1" * 45, False),
    ],
    ids=["empty", "zeros", "7 times", "8 times", "another register", "128 bits", "another prefix", "SSE"],
)
def test_avx2_is_recognised_by_its_multiplications(library: bytes, expected: bool) -> None:
    assert doctor._uses_avx2(library) is expected


def test_resampling_finding_matches_the_installed_pillow() -> None:
    try:
        version("Pillow-SIMD")
    except PackageNotFoundError:
        assert "no SIMD" in doctor.instruction_set()
    else:
        assert doctor.instruction_set().startswith(("AVX2", "SSE4"))
