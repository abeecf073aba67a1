"""The file of prices: complete, dated, with a source each; a user's own file over it; mistakes named."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from thumbnailer.backfill.prices import PricesError, load_prices

OWN = """
[s3_put]
usd = 1.00
per = 1_000
unit = "request"
date = 2026-11-02
source = "an offer"
"""


def own(folder: Path, text: str) -> Path:
    path = folder / "own.toml"
    path.write_text(text)
    return path


def test_every_price_has_unit_date_and_source() -> None:
    prices = load_prices()
    assert all(price.usd > 0 and price.source for price in prices.items.values())
    assert min(price.date for price in prices.items.values()) >= datetime.date(2025, 1, 1)


def test_prices_are_for_one_unit() -> None:
    prices = load_prices()
    assert prices["s3_put"] == pytest.approx(5e-6)
    assert prices["lambda_request"] == pytest.approx(2e-7)
    assert prices.gb_second("arm64") == pytest.approx(1.33334e-5)


def test_task_hour_is_its_processors_and_its_memory() -> None:
    prices = load_prices()
    assert prices.task_hour(1, 2, "x86", spot=False) == pytest.approx(0.04937)
    assert prices.task_hour(1, 2, "arm64", spot=False) == pytest.approx(0.0395)
    assert prices.task_hour(1, 2, "x86", spot=True) < 0.5 * prices.task_hour(1, 2, "x86", spot=False)


def test_own_file_overrides_only_its_prices(tmp_path: Path) -> None:
    changed, shipped = load_prices(own(tmp_path, OWN)), load_prices()
    assert changed["s3_put"] == pytest.approx(1e-3)
    assert changed.items["s3_put"].source == "an offer"
    assert {n: p for n, p in changed.items.items() if n != "s3_put"} == {
        n: p for n, p in shipped.items.items() if n != "s3_put"
    }
    assert load_prices(own(tmp_path, 'region = "eu-west-1"')).region == "eu-west-1"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[s3_put", "is not TOML"),
        (OWN.replace("s3_put", "s3_pot"), "no such price; the nearest is 's3_put'"),
        (OWN.replace("1.00", "-1.00"), "s3_put: usd: expected a number from 0 on, found -1.0"),
        (OWN.replace("1.00", "true"), "s3_put: usd: expected a number from 0 on, found True"),
        (OWN.replace("usd = 1.00", ""), "usd: expected a number from 0 on, found 'nothing'"),
        (OWN.replace("1_000", "0"), "per: expected a number above 0, found 0"),
        (OWN.replace('"request"', '"GB"'), 'expected the unit "request", found "GB"'),
        (OWN.replace("2026-11-02", '"soon"'), "date: expected a day such as 2026-11-30, found 'soon'"),
        (OWN.replace("an offer", " "), "source: expected text, found ' '"),
        (OWN + "discount = 3", "unknown field discount"),
        ("s3_put = 3", "expected a table with usd"),
        ("region = 3", "region: expected a name"),
    ],
)
def test_mistakes_name_the_own_file(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(PricesError) as raised:
        load_prices(own(tmp_path, text))
    assert said in str(raised.value)
    assert "own.toml" in str(raised.value)


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(PricesError, match=r"none\.toml: cannot be read: No such file"):
        load_prices(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(PricesError, match="is not TOML"):
        load_prices(tmp_path / "bytes.toml")


def test_shipped_file_has_every_price_of_both_architectures() -> None:
    names = set(load_prices().items)
    for architecture in ("x86", "arm64"):
        assert {f"{kind}_{architecture}_vcpu_hour" for kind in ("fargate", "spot")} <= names
        assert {f"{kind}_{architecture}_gb_hour" for kind in ("fargate", "spot")} <= names
        assert f"lambda_{architecture}_gb_second" in names
    assert {"lambda_request", "sqs_request", "s3_get", "s3_head", "s3_put", "log_gb"} <= names
    assert {"public_ipv4_hour", "endpoint_hour"} <= names
