"""What a fill costs: the fee models of the simulated venue.

A model is any class with `fee_usd`; the entry-point group `onetape.fee_models` names others. Amounts are exact
`Decimal`s. Models may keep state (fees that are rounded by the day do), so one instance serves one run.

Source of the rates: the fee rate advisories of the U.S. SEC; FINRA's Schedule A, section 1, with its filings
SR-FINRA-2020-032, 2024-019 and 2026-021; the fee alerts of the CAT NMS plan; Alpaca's pages "Regulatory Fees" and
"Crypto Maker/Taker FAQ" and its fee schedule of October 2026. As of November 2026: later rates are not known here.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import date
from decimal import ROUND_CEILING, Context, Decimal, InvalidOperation
from functools import reduce
from typing import Final, Protocol

from engine.events import DAY_NS, HOUR_NS, Side

ZERO: Final = Decimal(0)
CENT: Final = Decimal("0.01")
# Contexts of our own, so that a fee is the same whatever the caller's is.
_EXACT, _UP = Context(prec=38), Context(prec=38, rounding=ROUND_CEILING)
_EPOCH = date(1970, 1, 1)
# New York's standard time: with it, every instant from 04:00 to 20:00 New York falls on its own date, in summer too.
_NEW_YORK_LAG_NS = 5 * HOUR_NS


class FeeModel(Protocol):
    """Prices one execution."""

    def fee_usd(self, symbol: str, side: Side, qty: Decimal, price: Decimal, ts_ns: int, *, maker: bool) -> Decimal:
        """Return what the account pays for this fill; negative for a rebate."""
        ...


def _schedule(*rows: tuple[str, str]) -> tuple[list[int], list[Decimal]]:
    """Return the first days (since 1970) and the values from then on, opened by zero."""
    days = [(date.fromisoformat(day) - _EPOCH).days for day, _ in rows]
    return days, [ZERO, *(Decimal(value) for _, value in rows)]


# Dollars per million of sales. The SEC's charge date is mostly the settlement's; here the trade's own date decides. The
# days in 2007-03 and 2008-01 are inferred from the statute.
SEC_USD_PER_MILLION = _schedule(
    ("1934-06-06", "33.33"), ("2001-12-28", "15.00"), ("2002-04-01", "30.10"), ("2003-03-22", "25.20"),
    ("2003-04-01", "46.80"), ("2004-02-22", "39.00"), ("2004-04-01", "23.40"), ("2005-01-07", "32.90"),
    ("2005-04-01", "41.80"), ("2005-12-22", "30.70"), ("2007-03-17", "15.30"), ("2008-01-25", "11.00"),
    ("2008-04-01", "5.60"), ("2009-04-10", "25.70"), ("2010-01-15", "12.70"), ("2010-04-01", "16.90"),
    ("2011-01-21", "19.20"), ("2012-02-21", "18.00"), ("2012-04-01", "22.40"), ("2013-05-25", "17.40"),
    ("2014-03-18", "22.10"), ("2015-02-14", "18.40"), ("2016-02-16", "21.80"), ("2017-07-04", "23.10"),
    ("2018-05-22", "13.00"), ("2019-04-16", "20.70"), ("2020-02-18", "22.10"), ("2021-02-25", "5.10"),
    ("2022-05-14", "22.90"), ("2023-02-27", "8.00"), ("2024-05-22", "27.80"), ("2025-05-14", "0.00"),
    ("2026-04-04", "20.60"),
)  # fmt: skip

# Dollars per share sold, and the most for one trade. FINRA waived the fee for the last quarter of 2026; the filing says
# that the rates before it resume, not whether the 2024 filing's rise for 2027 (0.000232, 11.61) takes effect then.
TAF_USD_PER_SHARE = _schedule(
    ("2002-10-01", "0.0001"), ("2004-11-01", "0.000075"), ("2011-07-01", "0.00009"), ("2012-03-01", "0.000095"),
    ("2012-07-01", "0.000119"), ("2022-01-01", "0.00013"), ("2023-01-01", "0.000145"), ("2024-01-01", "0.000166"),
    ("2026-01-01", "0.000195"), ("2026-10-01", "0"), ("2027-01-01", "0.000195"),
)  # fmt: skip
TAF_CAP_USD = _schedule(
    ("2002-10-01", "10.00"), ("2004-11-01", "3.75"), ("2011-07-01", "4.50"), ("2012-03-01", "4.75"),
    ("2012-07-01", "5.95"), ("2022-01-01", "6.49"), ("2023-01-01", "7.27"), ("2024-01-01", "8.30"),
    ("2026-01-01", "9.79"),
)  # fmt: skip

# Dollars per share, bought or sold, as Alpaca passes them on. Alpaca publishes the amount in force and no dates; the
# dates are those of the CAT NMS fee periods: 2024-1, 2025-1, 2025-2, the billing pause, 2026-1 with assessment 1A.
CAT_USD_PER_SHARE = _schedule(
    ("2024-09-01", "0.000053"), ("2025-01-01", "0.000046"), ("2025-07-01", "0.0000265"), ("2025-12-01", "0"),
    ("2026-05-01", "0.000003"),
)  # fmt: skip

# From this trailing 30-day volume in dollars on: maker and taker fee as a fraction of the notional.
CRYPTO_TIERS = [
    (Decimal(volume), Decimal(maker) / 10_000, Decimal(taker) / 10_000)
    for volume, maker, taker in (
        (0, 15, 25), (100_000, 12, 22), (500_000, 10, 20), (1_000_000, 8, 18), (10_000_000, 5, 15),
        (25_000_000, 2, 13), (50_000_000, 2, 12), (100_000_000, 0, 10),
    )
]  # fmt: skip


def rate_on(schedule: tuple[list[int], list[Decimal]], day: int) -> Decimal:
    """Return the value in force on a day, counted from 1970-01-01; zero before the first."""
    return schedule[1][bisect_right(schedule[0], day)]


def cents_up(amount_usd: Decimal) -> Decimal:
    """Round up to the next whole cent."""
    return amount_usd.quantize(CENT, context=_UP)


class AlpacaFees:
    """Alpaca's stock fees: no commission, and the regulators' fees passed on.

    SEC fee on the value of sales, FINRA's TAF per share sold with a cap a trade, CAT per share bought or sold, a part
    of a share counting whole. Each of the three is summed over the trading day and rounded up to the cent, so a fill
    pays what it adds to the day's rounded sum, often nothing. A partial fill is a trade of its own to the TAF's cap.
    """

    __slots__ = ("_cat", "_cat_day", "_day", "_sec", "_sec_day", "_taf", "_taf_cap", "_taf_day")

    def __init__(self) -> None:
        self._day = -1
        self._sec = self._taf = self._taf_cap = self._cat = ZERO
        self._sec_day = self._taf_day = self._cat_day = ZERO

    def fee_usd(self, symbol: str, side: Side, qty: Decimal, price: Decimal, ts_ns: int, *, maker: bool) -> Decimal:
        day = (ts_ns - _NEW_YORK_LAG_NS) // DAY_NS
        if day != self._day:
            self._turn(day)
        if side == "buy":
            if not self._cat:
                return ZERO
            fee = ZERO
        else:
            before, self._sec_day = self._sec_day, self._sec_day + _product(qty, price, self._sec)
            fee = cents_up(self._sec_day) - cents_up(before)
            before, self._taf_day = self._taf_day, self._taf_day + min(qty * self._taf, self._taf_cap)
            fee += cents_up(self._taf_day) - cents_up(before)
        if self._cat:
            before, self._cat_day = self._cat_day, self._cat_day + qty.to_integral_value(ROUND_CEILING) * self._cat
            fee += cents_up(self._cat_day) - cents_up(before)
        return fee

    def _turn(self, day: int) -> None:
        self._day = day
        self._sec_day = self._taf_day = self._cat_day = ZERO
        self._sec = rate_on(SEC_USD_PER_MILLION, day) / 1_000_000
        self._taf, self._taf_cap = rate_on(TAF_USD_PER_SHARE, day), rate_on(TAF_CAP_USD, day)
        self._cat = rate_on(CAT_USD_PER_SHARE, day)


class AlpacaCryptoFees:
    """Alpaca's crypto fees by maker and taker, in tiers of the last 30 days' volume.

    A day's volume counts from the next UTC day on. Alpaca takes the fee out of what is received (coins, on a purchase);
    here it is charged in dollars at the fill's price, unrounded. The tiers are those in force since 2023-03-13.
    """

    def __init__(self, *, volume_30d_usd: object = 0) -> None:
        self._day = -1
        self._today = ZERO
        self._volumes: dict[int, Decimal] = {}
        self._opening = _amount("volume_30d_usd", volume_30d_usd)
        self._maker, self._taker = CRYPTO_TIERS[0][1:]

    def fee_usd(self, symbol: str, side: Side, qty: Decimal, price: Decimal, ts_ns: int, *, maker: bool) -> Decimal:
        day = ts_ns // DAY_NS
        if day != self._day:
            self._turn(day)
        self._today = _EXACT.fma(qty, price, self._today)
        return _product(qty, price, self._maker if maker else self._taker)

    def _turn(self, day: int) -> None:
        if self._day < 0:
            self._volumes[day - 1] = self._opening  # as if traded yesterday: it ages out as a whole
        else:
            self._volumes[self._day] = self._today
        self._day, self._today = day, ZERO
        self._volumes = {past: volume for past, volume in self._volumes.items() if past >= day - 30}
        total = sum(self._volumes.values(), ZERO)
        self._maker, self._taker = next(tier[1:] for tier in reversed(CRYPTO_TIERS) if total >= tier[0])


class ZeroFees:
    """Nothing costs anything."""

    def fee_usd(self, symbol: str, side: Side, qty: Decimal, price: Decimal, ts_ns: int, *, maker: bool) -> Decimal:
        return ZERO


class PerShareFees:
    """A commission for each share or coin, at least `minimum_usd` a fill, rounded up to the cent."""

    def __init__(self, *, usd_per_share: object, minimum_usd: object = 0) -> None:
        self._rate = _amount("usd_per_share", usd_per_share)
        self._minimum = _amount("minimum_usd", minimum_usd)

    def fee_usd(self, symbol: str, side: Side, qty: Decimal, price: Decimal, ts_ns: int, *, maker: bool) -> Decimal:
        return cents_up(max(_product(qty, self._rate), self._minimum))


class BasisPointsFees:
    """A commission in hundredths of a percent of each fill's value, rounded up to the cent."""

    def __init__(self, *, bps: object) -> None:
        self._rate = _amount("bps", bps) / 10_000

    def fee_usd(self, symbol: str, side: Side, qty: Decimal, price: Decimal, ts_ns: int, *, maker: bool) -> Decimal:
        return cents_up(_product(qty, price, self._rate))


def _product(*factors: Decimal) -> Decimal:
    return reduce(_EXACT.multiply, factors)


def _amount(name: str, value: object) -> Decimal:
    """Return a parameter as an amount; it is whatever a configuration holds, and what is none is refused here."""
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        amount = Decimal("nan")
    if not amount.is_finite() or amount < 0:
        raise ValueError(f"{name} must be a finite amount of at least 0, not {value!r}")
    return amount
