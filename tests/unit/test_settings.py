from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thumbnailer.errors import SettingsError
from thumbnailer.machine import Machine, machine
from thumbnailer.model import EngineName, Format
from thumbnailer.renditions import parse_renditions
from thumbnailer.settings import SETTINGS, Section, Settings, load, markdown_table, parse_settings

ACCEPTS = {setting.variable: setting.kind.accepts for setting in SETTINGS}
PHYSICAL_MB = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (1024 * 1024)
BUCKETS = st.from_regex(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", fullmatch=True)


def settings(**values: str) -> Settings:
    return parse_settings({f"THUMBNAILER_{name}": value for name, value in values.items()})


def mistakes(**values: str) -> str:
    with pytest.raises(SettingsError) as caught:
        settings(**values)
    return str(caught.value)


# --- values -------------------------------------------------------------------------------------------------------


def test_an_empty_environment_gives_the_documented_defaults() -> None:
    assert parse_settings({"PATH": "/bin", "AWS_REGION": "eu-central-1"}) == Settings(
        renditions=parse_renditions("128x128"),
        destination="{bucket}-resized",
        key="{key}",
        sources=(),
        include=(),
        exclude=(),
        engine=None,
        isolation="redelivered",
        transport="auto",
        expected_owner=None,
        memory_mb=None,
        max_pixels=None,
        max_bytes=None,
        max_frames=None,
        cache_control=None,
        storage_class=None,
        sse=None,
        kms_key_id=None,
        on_delete="delete",
        write_once=False,
        failed_prefix="_failed/",
        svg=False,
        thumbhash=False,
        user_metadata=True,
        workers=None,
        in_flight=None,
        log_level="INFO",
        queue_url=None,
        stop_timeout=25,
        record_timeout=120,
        port=8080,
        offers=(),
        any_prefix="_any/",
        url_keys=(),
        open=False,
        grammars=("query",),
        imgproxy_keys=(),
        thumbor_keys=(),
        negotiate=(Format.WEBP,),
        max_side=4096,
        max_age=86_400,
        cors="*",
        request_timeout=20,
    )


def test_every_variable_is_read_into_its_field() -> None:
    given_ = settings(
        RENDITIONS="a=1x1,b=2x2",
        DESTINATION="thumbs",
        KEY="{name}/{key}",
        SOURCES="photos,team-*",
        INCLUDE="*.jpg, *.png",
        EXCLUDE="tmp/*",
        ENGINE="vips",
        ISOLATION="always",
        TRANSPORT="aioboto3",
        EXPECTED_OWNER="123456789012",
        MEMORY_MB="1769",
        MAX_PIXELS="1",
        MAX_BYTES="2",
        MAX_FRAMES="3",
        CACHE_CONTROL="max-age=60",
        STORAGE_CLASS="STANDARD_IA",
        SSE="aws:kms",
        KMS_KEY_ID="alias/x",
        ON_DELETE="keep",
        WRITE_ONCE="on",
        FAILED_PREFIX="",
        SVG="on",
        THUMBHASH="on",
        USER_METADATA="off",
        WORKERS="4",
        IN_FLIGHT="5",
        LOG_LEVEL="DEBUG",
        QUEUE_URL="https://sqs.us-east-1.amazonaws.com/123456789012/q",
        STOP_TIMEOUT="110",
        RECORD_TIMEOUT="60",
        PORT="0",
        OFFERS="5x5",
        ANY_PREFIX="on-demand/",
        URL_KEYS=f"{'ab' * 16},{'cd' * 32}",
        OPEN="on",
        GRAMMARS="dit,query",
        IMGPROXY_KEYS="00ff:01",
        THUMBOR_KEYS="secret",
        NEGOTIATE="avif,webp",
        MAX_SIDE="100",
        MAX_AGE="0",
        CORS="https://example.com",
        REQUEST_TIMEOUT="5",
    )
    assert given_ == Settings(
        renditions=parse_renditions("a=1x1,b=2x2"),
        destination="thumbs",
        key="{name}/{key}",
        sources=("photos", "team-*"),
        include=("*.jpg", "*.png"),
        exclude=("tmp/*",),
        engine=EngineName.VIPS,
        isolation="always",
        transport="aioboto3",
        expected_owner="123456789012",
        memory_mb=1769,
        max_pixels=1,
        max_bytes=2,
        max_frames=3,
        cache_control="max-age=60",
        storage_class="STANDARD_IA",
        sse="aws:kms",
        kms_key_id="alias/x",
        on_delete="keep",
        write_once=True,
        failed_prefix="",
        svg=True,
        thumbhash=True,
        user_metadata=False,
        workers=4,
        in_flight=5,
        log_level="DEBUG",
        queue_url="https://sqs.us-east-1.amazonaws.com/123456789012/q",
        stop_timeout=110,
        record_timeout=60,
        port=0,
        offers=parse_renditions("5x5"),
        any_prefix="on-demand/",
        url_keys=(b"\xab" * 16, b"\xcd" * 32),
        open=True,
        grammars=("dit", "query"),
        imgproxy_keys=((b"\x00\xff", b"\x01"),),
        thumbor_keys=(b"secret",),
        negotiate=(Format.AVIF, Format.WEBP),
        max_side=100,
        max_age=0,
        cors="https://example.com",
        request_timeout=5,
    )


def test_offers_are_few() -> None:
    most = ",".join(f"{side}x" for side in range(1, 33))
    assert len(settings(OFFERS=most).offers) == 32
    with pytest.raises(SettingsError, match="33 offers; at most 32"):
        settings(OFFERS=f"{most},33x")


def test_the_key_template_follows_from_the_number_of_renditions() -> None:
    assert settings(RENDITIONS="a=1x1").key == "{key}"
    assert settings(RENDITIONS="a=1x1,b=2x2").key == "{key}/{name}.{ext}"


def test_load_reads_the_environment_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THUMBNAILER_LOG_LEVEL", "ERROR")
    assert load().log_level == "ERROR"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RENDITIONS", ""),
        ("RENDITIONS", "128"),
        ("RENDITIONS", "128x128,128x128"),
        ("DESTINATION", ""),
        ("DESTINATION", "{bucket}"),
        ("DESTINATION", "My_Bucket"),
        ("DESTINATION", "{source}-resized"),
        ("DESTINATION", "{bucket}{bucket}"),
        ("DESTINATION", "a b"),
        ("DESTINATION", "thumbs\n"),
        ("KEY", ""),
        ("KEY", "thumb.jpg"),
        ("KEY", "{size}"),
        ("KEY", "{key"),
        ("KEY", "{key!r}"),
        ("ENGINE", "magick"),
        ("ENGINE", "VIPS"),
        ("TRANSPORT", "boto3"),
        ("MEMORY_MB", "63"),
        ("MEMORY_MB", "1048577"),
        ("MEMORY_MB", "1 GB"),
        ("MAX_PIXELS", "0"),
        ("MAX_PIXELS", "-1"),
        ("MAX_PIXELS", "1e6"),
        ("MAX_BYTES", "0"),
        ("MAX_BYTES", "9" * 5000),
        ("MAX_FRAMES", "0"),
        ("CACHE_CONTROL", ""),
        ("CACHE_CONTROL", "max-age=1\r\nx: y"),
        ("CACHE_CONTROL", "für immer"),
        ("STORAGE_CLASS", "GLACIER"),
        ("SSE", "aes256"),
        ("KMS_KEY_ID", "a\nb"),
        ("ON_DELETE", "remove"),
        ("FAILED_PREFIX", "я" * 129),
        ("WORKERS", "0"),
        ("WORKERS", "257"),
        ("WORKERS", "²"),
        ("IN_FLIGHT", "1001"),
        ("IN_FLIGHT", "2.5"),
        ("LOG_LEVEL", "info"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_the_message_names_the_bad_value_and_what_its_variable_accepts(name: str, value: str) -> None:
    message = mistakes(**{name: value})
    assert f"THUMBNAILER_{name}={value!r}" in message
    assert ACCEPTS[f"THUMBNAILER_{name}"] in message


def test_all_mistakes_are_in_one_message() -> None:
    message = mistakes(ENGINE="magick", WORKERS="0", RENDITIONS="x", LOGLEVEL="INFO", ON_DELETE="keep")
    for name in ("ENGINE", "WORKERS", "RENDITIONS"):
        assert f"THUMBNAILER_{name}=" in message
        assert ACCEPTS[f"THUMBNAILER_{name}"] in message
    assert "THUMBNAILER_LOGLEVEL:" in message
    assert "THUMBNAILER_ON_DELETE=" not in message


@pytest.mark.parametrize(("name", "value"), [("KMS_KEY_ID", "alias/x"), ("KEY", "thumb.jpg")])
def test_a_bad_value_does_not_hide_other_mistakes(name: str, value: str) -> None:
    message = mistakes(WORKERS="0", **{name: value})
    assert "THUMBNAILER_WORKERS=" in message
    assert f"THUMBNAILER_{name}" in message


def test_an_unknown_variable_is_a_mistake_and_the_message_lists_all_variables() -> None:
    message = mistakes(RENDITION="128x128")
    assert "THUMBNAILER_RENDITION: there is no such setting" in message
    assert all(variable in message for variable in ACCEPTS)


def test_variables_without_the_prefix_are_ignored() -> None:
    assert parse_settings({"THUMBNAILERS": "x", "MY_THUMBNAILER_X": "y", "AWS_ENDPOINT_URL": "z"}) == parse_settings({})


@pytest.mark.parametrize("sse", [None, "AES256"])
def test_a_kms_key_without_kms_encryption_is_refused(sse: str | None) -> None:
    values = {"KMS_KEY_ID": "alias/x"} | ({"SSE": sse} if sse else {})
    assert "THUMBNAILER_KMS_KEY_ID" in mistakes(**values)
    assert "THUMBNAILER_SSE must be aws:kms" in mistakes(**values)


@pytest.mark.parametrize("sse", ["aws:kms", "aws:kms:dsse"])
def test_a_kms_key_goes_with_either_kms_encryption(sse: str) -> None:
    assert settings(KMS_KEY_ID="alias/x", SSE=sse).kms_key_id == "alias/x"


def test_mistakes_between_settings_are_all_reported() -> None:
    message = mistakes(KMS_KEY_ID="alias/x", RENDITIONS="a=1x1,b=2x2", KEY="{key}")
    assert "THUMBNAILER_KMS_KEY_ID" in message
    assert "THUMBNAILER_KEY='{key}'" in message


# --- destinations and globs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("account", ["", "12345678901", "1234567890123", "12345678901x", "١٢٣٤٥٦٧٨٩٠١٢"])
def test_an_owner_is_an_account_id(account: str) -> None:
    assert f"THUMBNAILER_EXPECTED_OWNER={account!r}" in mistakes(EXPECTED_OWNER=account)


@pytest.mark.matrix(44)
@pytest.mark.parametrize(
    ("sources", "bucket", "expected"),
    [
        ("", "anything", True),
        ("photos", "photos", True),
        ("photos", "photos2", False),
        ("photos", "my-photos", False),
        ("photos, team-*", "team-a", True),
        ("photos, team-*", "a-team-b", False),
        ("photos, team-*", "Photos", False),
    ],
)
def test_sources_are_the_buckets_that_a_glob_matches(sources: str, bucket: str, expected: bool) -> None:
    assert settings(SOURCES=sources).may_be_source(bucket) == expected


@pytest.mark.matrix(42)
def test_the_source_bucket_as_destination_is_refused_at_the_start() -> None:
    message = mistakes(DESTINATION="{bucket}")
    assert "THUMBNAILER_DESTINATION='{bucket}'" in message
    assert "endless loop" in message


@pytest.mark.matrix(42)
@pytest.mark.parametrize(
    ("template", "bucket", "expected"),
    [
        ("{bucket}-resized", "photos-resized", True),
        ("{bucket}-resized", "photos-resized-resized", True),
        ("{bucket}-resized", "photos", False),
        ("{bucket}-resized", "-resized", False),
        ("{bucket}-resized", "photos-resized2", False),
        ("small-{bucket}", "small-photos", True),
        ("small-{bucket}", "photos", False),
        ("small-{bucket}", "small-", False),
        ("a.{bucket}.b", "a.photos.b", True),
        ("a-{bucket}-a", "a-a", False),
        ("thumbs", "thumbs", True),
        ("thumbs", "thumbs2", False),
        ("thumbs", "photos", False),
    ],
)
def test_the_template_tells_which_buckets_are_destinations(template: str, bucket: str, expected: bool) -> None:
    assert settings(DESTINATION=template).is_destination(bucket) is expected


@pytest.mark.matrix(42)
@given(BUCKETS, st.sampled_from(["{bucket}-resized", "small-{bucket}", "a.{bucket}.b", "thumbs"]))
def test_the_bucket_of_a_thumbnail_is_a_destination(bucket: str, template: str) -> None:
    given_ = settings(DESTINATION=template)
    assert given_.is_destination(given_.destination_bucket(bucket))


@pytest.mark.parametrize(
    ("include", "exclude", "key", "expected"),
    [
        ("", "", "anything/at all", True),
        ("*.jpg", "", "a/b/c.jpg", True),
        ("*.jpg", "", "a.JPG", False),
        ("*.jpg", "", "a.png", False),
        ("*.jpg, *.png", "", "a.png", True),
        ("photos/*", "", "photos/2026/a", True),
        ("photos/*", "", "other/photos/a", False),
        ("", "tmp/*", "tmp/a/b", False),
        ("", "tmp/*", "a/tmp/b", True),
        ("*.jpg", "*secret*", "secret.jpg", False),
        ("*.jpg", "*secret*", "open.jpg", True),
        ("*.jp[eg]", "", "a.jpg", True),
        ("*.jpg", "", "line\nbreak.jpg", True),
        ("[", "", "[", True),
    ],
)
def test_globs_include_and_exclude_keys(include: str, exclude: str, key: str, expected: bool) -> None:
    assert settings(INCLUDE=include, EXCLUDE=exclude).wants(key) is expected


# --- the machine --------------------------------------------------------------------------------------------------


def cgroup(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture
def no_lambda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", raising=False)


def test_lambdas_memory_size_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1769")
    root = cgroup(tmp_path, memory_DOT_max="104857600\n", cpu_DOT_max="50000 100000\n")
    assert machine(root) == Machine(1769, None)


@pytest.mark.usefixtures("no_lambda")
def test_control_group_version_2_limits_are_read(tmp_path: Path) -> None:
    root = cgroup(tmp_path, memory_DOT_max="104857600\n", cpu_DOT_max="50000 100000\n")
    assert machine(root) == Machine(100, 0.5)


@pytest.mark.usefixtures("no_lambda")
def test_control_group_version_1_limits_are_read(tmp_path: Path) -> None:
    root = cgroup(
        tmp_path,
        memory__memory_DOT_limit_in_bytes="104857600\n",
        cpu__cpu_DOT_cfs_quota_us="25000\n",
        cpu__cpu_DOT_cfs_period_us="100000\n",
    )
    assert machine(root) == Machine(100, 0.25)


@pytest.mark.usefixtures("no_lambda")
@pytest.mark.parametrize(
    "files",
    [
        {},
        {"memory_DOT_max": "max\n", "cpu_DOT_max": "max 100000\n"},
        {"memory_DOT_max": "", "cpu_DOT_max": ""},
        {"memory_DOT_max": "garbage", "cpu_DOT_max": "garbage"},
        {
            "memory__memory_DOT_limit_in_bytes": "9223372036854771712\n",
            "cpu__cpu_DOT_cfs_quota_us": "-1\n",
            "cpu__cpu_DOT_cfs_period_us": "100000\n",
        },
    ],
    ids=["no files", "v2 unlimited", "empty", "garbage", "v1 unlimited"],
)
def test_without_limits_the_size_is_the_machine_s(files: dict[str, str], tmp_path: Path) -> None:
    assert machine(cgroup(tmp_path, **files)) == Machine(PHYSICAL_MB, float(len(os.sched_getaffinity(0))))


@pytest.mark.usefixtures("no_lambda")
def test_a_limit_above_the_machine_s_size_is_ignored(tmp_path: Path) -> None:
    root = cgroup(tmp_path, memory_DOT_max=str(2**60), cpu_DOT_max="100000000 100000\n")
    assert machine(root) == Machine(PHYSICAL_MB, float(len(os.sched_getaffinity(0))))


@pytest.mark.parametrize("text", ["", "x", "-128", "²"])
def test_a_lambda_memory_size_that_is_no_number_is_ignored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", text)
    assert machine(tmp_path).memory_mb == PHYSICAL_MB


# --- its documentation --------------------------------------------------------------------------------------------


def test_the_table_has_a_row_for_every_setting() -> None:
    lines = markdown_table().splitlines()
    assert len(lines) == 2 + len(SETTINGS)
    for setting, line in zip(SETTINGS, lines[2:], strict=True):
        assert line.startswith(f"| `{setting.variable}` | ")
        assert line.count(" | ") == 3


def test_the_sections_together_have_every_setting() -> None:
    rows = [line for section in Section for line in markdown_table(section).splitlines()[2:]]
    assert sorted(rows) == sorted(markdown_table().splitlines()[2:])
