"""Rule 9 of docs/paper_fills.md: what a fill costs, to the cent."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import ROUND_CEILING, Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brokers.simulated.fees import (
    CAT_USD_PER_SHARE,
    SEC_USD_PER_MILLION,
    TAF_CAP_USD,
    TAF_USD_PER_SHARE,
    AlpacaCryptoFees,
    AlpacaFees,
    BasisPointsFees,
    PerShareFees,
    ZeroFees,
    rate_on,
)  # fmt: skip
from brokers.simulated.models import fee_model
from brokers.simulated.settings import PaperSettings
from engine.errors import ConfigError
from engine.events import DAY_NS


def noon(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(hour=17, tzinfo=UTC).timestamp()) * 1_000_000_000


def fee(model: object, side: str, qty: str, price: str, day: str, *, maker: bool = False) -> str:
    return str(model.fee_usd("SPY", side, Decimal(qty), Decimal(price), noon(day), maker=maker))


@pytest.mark.parametrize(
    ("day", "per_million"),
    [
        ("2011-01-20", "16.90"), ("2011-01-21", "19.20"), ("2018-05-21", "23.10"), ("2018-05-22", "13.00"),
        ("2019-04-15", "13.00"), ("2019-04-16", "20.70"), ("2020-02-18", "22.10"), ("2021-02-25", "5.10"),
        ("2022-05-14", "22.90"), ("2023-02-27", "8.00"), ("2024-05-22", "27.80"), ("2025-05-13", "27.80"),
        ("2025-05-14", "0.00"), ("2026-04-03", "0.00"), ("2026-04-04", "20.60"),
    ],
)  # fmt: skip
def test_the_sec_fee_has_the_rate_of_its_day(day: str, per_million: str) -> None:
    """Each rate holds from its first day to the day before the next one's."""
    assert str(rate_on(SEC_USD_PER_MILLION, (date.fromisoformat(day) - date(1970, 1, 1)).days)) == per_million


@pytest.mark.parametrize(
    ("day", "rate", "cap"),
    [
        ("2012-06-30", "0.000095", "4.75"), ("2021-12-31", "0.000119", "5.95"), ("2022-01-01", "0.00013", "6.49"),
        ("2023-01-01", "0.000145", "7.27"), ("2024-01-01", "0.000166", "8.30"), ("2026-01-01", "0.000195", "9.79"),
        ("2026-10-01", "0", "9.79"), ("2027-01-01", "0.000195", "9.79"),
    ],
)  # fmt: skip
def test_the_taf_has_the_rate_and_cap_of_its_day(day: str, rate: str, cap: str) -> None:
    """Each pair holds from its first day on."""
    number = (date.fromisoformat(day) - date(1970, 1, 1)).days
    assert (str(rate_on(TAF_USD_PER_SHARE, number)), str(rate_on(TAF_CAP_USD, number))) == (rate, cap)


def test_a_sale_pays_sec_taf_and_cat() -> None:
    """10,000 shares at $50 on 2025-01-15, each fee rounded up to the cent.

    SEC 500,000 * 27.80 / 1,000,000 = 13.90; TAF 10,000 * 0.000166 = 1.66; CAT 10,000 * 0.000046 = 0.46.
    """
    assert fee(AlpacaFees(), "sell", "10000", "50", "2025-01-15") == "16.02"


def test_a_purchase_pays_cat_alone() -> None:
    """10,000 * 0.000046 = 0.46; before the CAT fee there was nothing to pay, and in its pause neither."""
    assert fee(AlpacaFees(), "buy", "10000", "50", "2025-01-15") == "0.46"
    assert fee(AlpacaFees(), "buy", "10000", "50", "2019-02-12") == "0"
    assert fee(AlpacaFees(), "buy", "10000", "50", "2026-02-02") == "0"


def test_the_taf_is_capped_for_each_fill() -> None:
    """60,000 shares at $1 on 2025-06-02: TAF 9.96 is capped at 8.30; SEC is 0, CAT 60,000 * 0.000046 = 2.76."""
    assert fee(AlpacaFees(), "sell", "60000", "1", "2025-06-02") == "11.06"


def test_fees_are_rounded_up_once_a_day_and_kind() -> None:
    """Alpaca sums a day's fees of a kind and rounds the sum up: the first small sale pays the cent, the next ones not.

    One share at $100 on 2025-01-15: SEC 0.00278, TAF 0.000166, CAT 0.000046: three cents. Three more sales stay below
    0.01 (SEC 0.00834), the fourth brings SEC to 0.0139 ... 0.02 and pays one.
    """
    model = AlpacaFees()
    assert [fee(model, "sell", "1", "100", "2025-01-15") for _ in range(4)] == ["0.03", "0.00", "0.00", "0.01"]
    assert fee(model, "sell", "1", "100", "2025-01-16") == "0.03"


def test_the_trading_day_is_new_yorks() -> None:
    """A sale at 19:30 in New York, after midnight UTC, belongs to the day before."""
    model = AlpacaFees()
    evening = int(datetime(2025, 1, 16, 0, 30, tzinfo=UTC).timestamp()) * 1_000_000_000
    fee(model, "sell", "1", "100", "2025-01-15")
    assert model.fee_usd("SPY", "sell", Decimal(1), Decimal(100), evening, maker=False) == 0


def test_a_part_of_a_share_is_a_whole_one_to_the_cat_fee() -> None:
    """Executed shares are rounded up: 217.2 shares at 0.000046 are one cent (218: 0.010028 is two)."""
    assert fee(AlpacaFees(), "buy", "217", "1", "2025-01-15") == "0.01"
    assert fee(AlpacaFees(), "buy", "217.2", "1", "2025-01-15") == "0.02"


def test_crypto_pays_by_maker_and_taker() -> None:
    """25 basis points for taking, 15 for making, unrounded."""
    model = AlpacaCryptoFees()
    assert Decimal(fee(model, "buy", "0.5", "60000.01", "2024-08-08")) == Decimal("75.0000125")
    assert Decimal(fee(model, "sell", "0.5", "60000.01", "2024-08-08", maker=True)) == Decimal("45.0000075")


def test_cryptos_tier_follows_the_volume_of_the_last_thirty_days() -> None:
    """$150,000 on one day bring the second tier from the next day on, and 31 days later the first one again."""
    model = AlpacaCryptoFees()
    assert Decimal(fee(model, "buy", "1", "150000", "2024-08-08")) == 375  # 25 bps
    assert Decimal(fee(model, "buy", "1", "1000", "2024-08-08")) == Decimal("2.5")
    assert Decimal(fee(model, "buy", "1", "1000", "2024-08-09")) == Decimal("2.2")
    assert Decimal(fee(model, "buy", "1", "1000", "2024-09-07")) == Decimal("2.2")
    assert Decimal(fee(model, "buy", "1", "1000", "2024-09-08")) == Decimal("2.5")
    busy = AlpacaCryptoFees(volume_30d_usd="200000000")
    assert Decimal(fee(busy, "buy", "1", "1000", "2024-08-08")) == 1
    assert Decimal(fee(busy, "buy", "1", "1000", "2024-08-08", maker=True)) == 0


def test_the_other_models_do_what_their_names_say() -> None:
    """Nothing; so much a share, at least a minimum; so many basis points; the last two rounded up to the cent."""
    assert fee(ZeroFees(), "sell", "100", "50", "2025-01-15") == "0"
    model = PerShareFees(usd_per_share="0.005", minimum_usd=1)
    assert fee(model, "buy", "100", "50", "2025-01-15") == "1.00"
    assert fee(model, "buy", "301", "50", "2025-01-15") == "1.51"
    assert fee(BasisPointsFees(bps=2), "buy", "3", "33.33", "2025-01-15") == "0.02"


def _per_share(usd_per_share: object, **others: object) -> dict[str, object]:
    return {"fees": "per_share", "fee_params": {"usd_per_share": usd_per_share, **others}}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fees": "alpacca"}, "broker.fees: unknown model 'alpacca'; did you mean 'alpaca'?"),
        ({"fees": "per_share"}, "model 'per_share' needs 'usd_per_share', which is not given"),
        (_per_share("-1"), "usd_per_share must be a finite amount of at least 0, not '-1'"),
        (_per_share("a cent"), "usd_per_share must be a finite amount of at least 0, not 'a cent'"),
        (_per_share([1]), "usd_per_share must be a finite amount of at least 0, not [1]"),
        (_per_share(True), "usd_per_share must be a finite amount of at least 0, not True"),
        (_per_share(1, minimum_usd=""), "minimum_usd must be a finite amount of at least 0, not ''"),
        (
            _per_share(1, minimum=1),
            "model 'per_share' takes no 'minimum'; did you mean 'minimum_usd'?; it takes usd_per_",
        ),
        (
            {"fees": "basis_points", "fee_params": {"bps": "nan"}},
            "bps must be a finite amount of at least 0, not 'nan'",
        ),
        ({"fees": "zero", "fee_params": {"bps": 1}}, "model 'zero' takes no 'bps'; it takes none"),
    ],
)
def test_a_wrong_model_or_parameter_is_named(settings: dict[str, object], message: str) -> None:
    """The error says where, what was wrong, and what there is."""
    with pytest.raises(ConfigError) as error:
        fee_model(PaperSettings(**settings), crypto=False)
    key = "" if message.startswith("broker.") else "broker.fee_params: "
    assert str(error.value).startswith(key + message)


def test_alpacas_fees_are_cryptos_around_the_clock() -> None:
    """One name serves both: the calendar decides."""
    assert isinstance(fee_model(PaperSettings(), crypto=False), AlpacaFees)
    assert isinstance(fee_model(PaperSettings(), crypto=True), AlpacaCryptoFees)


def whole_up(number: Decimal) -> Decimal:
    return number.to_integral_value(ROUND_CEILING)


qtys = st.decimals("0.000000001", "100000", places=9)
prices = st.decimals("0.0001", "10000", places=4)
days = st.dates(date(2000, 1, 1), date(2027, 12, 31))


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["buy", "sell"]), qtys, prices), min_size=1, max_size=30), days)
def test_a_days_fees_are_the_rounded_sums_of_its_kinds(trades: list[tuple[str, Decimal, Decimal]], day: date) -> None:
    """However a day is cut into fills, they pay together what Alpaca takes at its end, exactly, and never a rebate."""
    model, number = AlpacaFees(), (day - date(1970, 1, 1)).days
    ts_ns = number * DAY_NS + 17 * 3_600_000_000_000
    paid = [model.fee_usd("SPY", side, qty, price, ts_ns, maker=False) for side, qty, price in trades]
    sales = [(qty, price) for side, qty, price in trades if side == "sell"]
    sec = sum((q * p for q, p in sales), Decimal(0)) * rate_on(SEC_USD_PER_MILLION, number) / 1_000_000
    taf = sum((min(q * rate_on(TAF_USD_PER_SHARE, number), rate_on(TAF_CAP_USD, number)) for q, _ in sales), Decimal(0))
    cat = sum((whole_up(q) for _, q, _ in trades), Decimal(0)) * rate_on(CAT_USD_PER_SHARE, number)
    cents = sum(whole_up(amount * 100) for amount in (sec, taf, cat))
    assert sum(paid, Decimal(0)) * 100 == cents
    assert all(amount >= 0 and amount * 100 % 1 == 0 for amount in paid)


@settings(deadline=None)
@given(qtys, qtys, prices, st.sampled_from(["buy", "sell"]), days)
def test_a_larger_trade_never_costs_less(first: Decimal, second: Decimal, price: Decimal, side: str, day: date) -> None:
    """Every model is monotone in the quantity."""
    small, large = sorted((first, second))
    per_share, basis_points = PerShareFees(usd_per_share=1), BasisPointsFees(bps=3)
    for make in (AlpacaFees, AlpacaCryptoFees, ZeroFees, lambda: per_share, lambda: basis_points):
        paid = [fee(make(), side, str(qty), str(price), day.isoformat()) for qty in (small, large)]
        assert Decimal(paid[0]) <= Decimal(paid[1])
