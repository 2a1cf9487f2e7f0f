"""Rules 10 to 17 of docs/paper_fills.md: sessions, auctions, halts, corporate actions, the account, legs."""

from __future__ import annotations

from decimal import Decimal

import pytest

from engine.errors import InvariantError
from engine.events import DAY_NS, Approved, CorporateAction, Fill, Intent, Status
from tests.brokers.paper_venue import Venue, at

# --- 10 sessions ---------------------------------------------------------------------------------------------------


def test_an_order_sent_while_closed_waits_for_the_next_open() -> None:
    """Accepted at night, it meets no bar of the pre-market and fills at the first one of regular hours."""
    venue = Venue()
    venue.now_ns = at("06:00")
    order = venue.order()
    venue.bar("09:30", 90)
    assert venue.states(order) == ["accepted"]
    venue.bar("09:31", 101)
    assert venue.fills() == [("100", "101")]


def test_a_day_order_expires_at_the_close() -> None:
    """One that arrives during or before the session ends with it, one that comes after it ends with the next one."""
    venue = Venue()
    today = venue.order(type="limit", limit_price=1)
    venue.wait_until(at("16:00:30"))
    assert venue.states(today) == ["accepted"]  # late events of before the close may still come
    venue.wait_until(at("16:01") + 1)
    assert venue.states(today) == ["accepted", "expired"]
    assert venue.answers[-1].ts_event_ns == at("16:00")
    tomorrow = venue.order(type="limit", limit_price=1)
    venue.wait_until(at("16:00", "2019-02-13") - 1)
    assert venue.states(tomorrow) == ["accepted"]
    venue.wait_until(at("16:01", "2019-02-13") + 1)
    assert venue.states(tomorrow) == ["accepted", "expired"]


def test_an_order_at_the_instant_of_the_close_is_for_the_next_session() -> None:
    """The close is the first instant at which the session is over."""
    venue = Venue(latency_ms=0)
    venue.now_ns = at("16:00")
    order = venue.order(type="limit", limit_price=1)
    venue.wait_until(at("16:00", "2019-02-13"))
    assert venue.states(order) == ["accepted"]


def test_an_order_still_fills_on_a_late_bar_of_before_its_end() -> None:
    """The session's last bar is known after the close; what happened in it happened before. Then the order is over."""
    venue = Venue(close_grace_s=30)
    order = venue.order(type="limit", limit_price=100)
    venue.bar("16:00", 101, 101, 99, 100, late_s=20)
    assert venue.states(order) == ["accepted", "fill"]
    late = venue.order(type="limit", limit_price=100, clock="15:00")
    venue.bar("16:00", 101, 101, 99, 100, late_s=31)
    assert venue.states(late) == ["accepted", "expired"]


def test_an_event_after_the_close_ends_a_day_order_without_filling_it() -> None:
    """The first post-market bar is proof that the session is over."""
    venue = Venue()
    order = venue.order(extended_hours=False, type="limit", limit_price=100)
    venue.bar("16:00:10", 90, minutes=1 / 6)
    assert venue.states(order) == ["accepted", "expired"]


def test_only_extended_hours_orders_fill_outside_the_session() -> None:
    """A limit with extended_hours fills in the pre- and post-market, and lives to the end of the latter."""
    venue = Venue()
    venue.now_ns = at("06:00")
    extended = venue.order(type="limit", limit_price=100, extended_hours=True)
    regular = venue.order(type="limit", limit_price=100)
    venue.bar("06:02", 99)
    assert venue.states(extended) == ["accepted", "fill"]
    assert venue.states(regular) == ["accepted"]
    late = venue.order(type="limit", limit_price=50, extended_hours=True)
    venue.wait_until(at("20:00"))
    assert venue.states(late) == ["accepted"]
    venue.wait_until(at("20:01") + 1)
    assert venue.states(late) == ["accepted", "expired"]


@pytest.mark.parametrize(
    "fields", [{"type": "market"}, {"type": "stop", "stop_price": 90}, {"limit_price": 9, "time_in_force": "ioc"}]
)
def test_extended_hours_take_limit_orders_of_day_or_gtc_only(fields: dict[str, object]) -> None:
    """Anything else is rejected, in Alpaca's words."""
    venue = Venue()
    order = venue.order(**({"type": "limit", "extended_hours": True} | fields))
    venue.wait_until(at("10:01"))
    assert venue.states(order) == ["rejected"]
    assert venue.reason(order) == "extended hours orders must be DAY or GTC limit orders"


def test_a_gtc_order_lives_for_ninety_days() -> None:
    """It outlasts its session and ends 90 days after its arrival."""
    venue = Venue()
    order = venue.order(type="limit", limit_price=1, time_in_force="gtc")
    venue.wait_until(at("10:00") + 89 * DAY_NS)
    assert venue.states(order) == ["accepted"]
    venue.wait_until(at("10:02") + 90 * DAY_NS)
    assert venue.states(order) == ["accepted", "expired"]


def test_around_the_clock_a_day_is_a_utc_day() -> None:
    """With the calendar 24/7 every event fills, and a day order ends at midnight UTC."""
    venue = Venue(calendar_name="24/7", close_grace_s=0)
    venue.now_ns = at("18:00")  # 23:00 UTC
    fill = venue.order(symbol="BTCUSD")
    order = venue.order(symbol="BTCUSD", type="limit", limit_price=1)
    venue.bar("18:01", 100, symbol="BTCUSD")
    assert venue.states(fill) == ["accepted", "fill"]
    venue.bar("19:00", 2, symbol="BTCUSD")
    assert venue.states(order) == ["accepted"]  # even without grace, events of the last instant come first
    venue.wait_until(at("19:00") + 1)
    assert venue.states(order) == ["accepted", "expired"]


def test_a_daily_bar_opens_with_the_opening_auction() -> None:
    """Sent after the close on Monday, filled at Tuesday's open, whether the bar is 6.5 or 24 hours long."""
    for minutes in (390, 1440):
        venue = Venue()
        venue.now_ns = at("18:00", "2019-02-11")
        venue.order()
        venue.bar("16:00", 101, 103, 99, 102, minutes=minutes)
        assert venue.fills() == [("100", "101")]
        assert venue.answers[-1].ts_event_ns == at("09:30")


def test_a_daily_bar_that_ends_at_midnight_is_that_days_session() -> None:
    """A tape that stamps its days from midnight to midnight, New York, still opens at 09:30."""
    venue = Venue()
    venue.now_ns = at("18:00", "2019-02-11")
    venue.order(time_in_force="gtc")
    venue.bar(at("24:00"), 101, 103, 99, 102, minutes=1440)
    assert venue.fills() == [("100", "101")]


def test_a_weekly_bar_gives_its_open_only_to_what_arrived_before_it() -> None:
    """An order from Wednesday cannot have Monday's open; it gets Friday's close."""
    venue = Venue()
    venue.order(time_in_force="gtc")
    venue.bar(at("16:00", "2019-02-15"), 101, 103, 99, 102, minutes=5 * 1440)
    assert venue.fills() == [("100", "102")]


def test_a_bar_across_the_sessions_edge_fills_no_regular_order() -> None:
    """An hour from 09:00 mixes the pre-market with the session: its open is no auction, its low may be neither's."""
    venue = Venue()
    venue.now_ns = at("08:00")
    venue.order()
    venue.bar("10:00", 101, 103, 99, 102, minutes=60)
    assert venue.fills() == []
    venue.bar("11:00", 104, minutes=60)
    assert venue.fills() == [("100", "104")]


# --- 11 auctions ---------------------------------------------------------------------------------------------------


def test_an_opening_order_fills_at_the_first_open_of_the_session() -> None:
    """The first bar at or after the open gives its open; what it does not fill expires with it."""
    venue = Venue()
    venue.now_ns = at("08:00")
    market = venue.order(time_in_force="opg")
    better = venue.order(time_in_force="opg", type="limit", limit_price=101)
    worse = venue.order(time_in_force="opg", type="limit", limit_price="100.99")
    venue.bar("09:30", 90)
    venue.bar("09:31", 101, 105, 99, 104)
    assert venue.fills(market) == venue.fills(better) == [("100", "101")]
    assert venue.states(worse) == ["accepted", "expired"]


@pytest.mark.parametrize(("clock", "taken"), [("09:27", True), ("09:28", False), ("12:00", False), ("16:00", True)])
def test_an_opening_order_must_arrive_before_the_open(clock: str, taken: bool) -> None:
    """From two minutes before the open to the close it is rejected; after that it is for the next session."""
    venue = Venue(latency_ms=0)
    venue.now_ns = at(clock)
    order = venue.order(time_in_force="opg")
    venue.wait_until(at(clock))
    assert venue.states(order) == (["accepted"] if taken else ["rejected"])


def test_an_opening_order_fills_on_a_quote_or_a_print_too() -> None:
    """A tape without bars opens with its first tick of regular hours."""
    venue = Venue()
    venue.now_ns = at("08:00")
    venue.order(time_in_force="opg")
    venue.trade("09:29:59", 99)
    venue.trade("09:30:01", 101)
    assert venue.fills() == [("100", "101")]
    venue = Venue()
    venue.now_ns = at("08:00")
    venue.order(time_in_force="opg")
    venue.quote("09:30:01", 100, 102)
    assert venue.fills() == [("100", "102")]


def test_a_closing_order_fills_at_the_close_of_the_last_bar() -> None:
    """The bar that ends with the session gives its close, at once."""
    venue = Venue()
    order = venue.order(time_in_force="cls")
    limit = venue.order(time_in_force="cls", type="limit", limit_price=100)
    venue.bar("15:59", 99)
    assert venue.states(order) == ["accepted"]
    venue.bar("16:00", 100, 103, 99, 102)
    assert venue.fills() == [("100", "102")]
    assert venue.answers[-1].ts_event_ns == at("16:00")
    assert venue.states(limit) == ["accepted", "expired"]


@pytest.mark.parametrize("later", ["event", "time"])
def test_a_closing_order_fills_at_the_last_price_before_the_close(later: str) -> None:
    """Where no bar ends with the session, the last one before it does, once the close has passed."""
    venue = Venue()
    order = venue.order(time_in_force="cls")
    venue.bar("15:47", 100, 103, 99, 101)
    if later == "event":
        venue.bar("16:05", 150)
    else:
        venue.wait_until(at("16:02"))
    assert venue.fills() == [("100", "101")]
    assert venue.states(order) == ["accepted", "fill"]
    assert venue.answers[-1].ts_event_ns == at("16:00")


def test_a_closing_order_without_any_price_expires() -> None:
    """A symbol that did not trade has no closing price."""
    venue = Venue()
    order = venue.order(time_in_force="cls")
    venue.wait_until(at("16:02"))
    assert venue.states(order) == ["accepted", "expired"]


@pytest.mark.parametrize(("clock", "taken"), [("15:50", True), ("15:50:01", False), ("15:59", False), ("16:00", True)])
def test_a_closing_order_must_arrive_ten_minutes_before_the_close(clock: str, taken: bool) -> None:
    """Later it is rejected; after the close it is for the next session."""
    venue = Venue(latency_ms=0)
    venue.now_ns = at(clock)
    order = venue.order(time_in_force="cls")
    venue.wait_until(at(clock))
    assert venue.states(order) == (["accepted"] if taken else ["rejected"])


def test_auction_orders_are_market_or_limit_and_need_an_auction() -> None:
    """A stop in an auction is rejected, and so is any auction around the clock."""
    venue = Venue()
    order = venue.order(time_in_force="cls", type="stop", stop_price=90)
    venue.wait_until(at("10:01"))
    assert venue.reason(order) == "cls orders must be market or limit orders"
    venue = Venue(calendar_name="24/7")
    order = venue.order(time_in_force="opg")
    venue.wait_until(at("10:01"))
    assert venue.reason(order) == "opg orders need an auction, and this calendar has none"


# --- 12 halts ------------------------------------------------------------------------------------------------------


def status(clock: str, state: str, low: float | None = None, high: float | None = None) -> Status:
    return Status("SPY", at(clock), at(clock), state, limit_up_price=high, limit_down_price=low)


def test_nothing_fills_in_a_halt_and_orders_are_kept() -> None:
    """Bars, quotes and prints of a halted symbol fill nothing; after it the next event does."""
    venue = Venue()
    order = venue.order()
    venue.notice(status("10:00:01", "halted"))
    venue.bar("10:01", 101)
    venue.quote("10:01:01", 99, 100)
    venue.trade("10:01:02", 100)
    assert venue.states(order) == ["accepted"]
    venue.notice(status("10:05", "trading"))
    venue.quote("10:05:01", 99, 103)
    assert venue.fills() == [("100", "103")]


def test_a_halt_at_the_close_leaves_no_closing_auction() -> None:
    """A closing order of a halted symbol expires, whatever its last price was."""
    venue = Venue()
    order = venue.order(time_in_force="cls")
    venue.bar("15:50", 100)
    venue.notice(status("15:55", "halted"))
    venue.wait_until(at("16:02"))
    assert venue.states(order) == ["accepted", "expired"]


def test_no_fill_is_outside_the_price_band() -> None:
    """A price outside limit-down and limit-up fills nothing, and slippage stops at the band."""
    venue = Venue(slippage="fixed_bps", slippage_params={"bps": 200})
    venue.notice(status("10:00", "trading", 95, 101))
    venue.order()
    venue.bar("10:01", 102)
    assert venue.fills() == []
    venue.bar("10:02", 100)
    assert venue.fills() == [("100", "101")]
    venue.notice(status("10:03", "trading"))
    venue.order()
    venue.bar("10:04", 102)
    assert venue.fills()[1:] == [("100", "104.04")]


# --- 13 corporate actions ------------------------------------------------------------------------------------------


def test_a_split_cancels_every_open_order() -> None:
    """Working, held and travelling orders of the symbol end with the reason; others live on."""
    venue = Venue()
    working = venue.order(order_class="bracket", type="limit", limit_price=90, take_profit_limit_price=110,
                          stop_loss_stop_price=80, time_in_force="gtc")  # fmt: skip
    other = venue.order(symbol="QQQ", type="limit", limit_price=1, time_in_force="gtc")
    venue.wait_until(at("10:00:30"))
    travelling = venue.order()
    venue.notice(CorporateAction("SPY", at("10:00:30"), at("10:00:30"), "split", new_shares=7))
    for order in (working, f"{working}-tp", f"{working}-sl", travelling):
        assert venue.states(order)[-1] == "canceled"
        assert venue.reason(order) == "7-for-1 split: open orders are canceled, never scaled"
    venue.wait_until(at("10:01"))
    assert venue.states(travelling) == ["canceled"]
    assert venue.states(other) == ["accepted"]


def test_a_symbol_change_cancels_every_open_order() -> None:
    """The old name trades no more."""
    venue = Venue()
    order = venue.order(time_in_force="gtc")
    venue.notice(CorporateAction("SPY", at("10:01"), at("10:01"), "symbol_change", new_symbol="SPX"))
    assert venue.reason(order) == "SPY has become SPX"


def test_a_dividend_leaves_orders_as_they_are() -> None:
    """Alpaca lowers the price of some gtc orders on the ex-date; the venue does not, and its page says so."""
    venue = Venue()
    order = venue.order(type="limit", limit_price=90, time_in_force="gtc")
    venue.notice(CorporateAction("SPY", at("10:01"), at("10:01"), "cash_dividend", amount_usd=Decimal(1)))
    assert venue.states(order) == ["accepted"]


# --- 14 the account ------------------------------------------------------------------------------------------------


def test_an_entry_beyond_the_buying_power_is_rejected() -> None:
    """100 shares at $100 need $10,000; a cent less is not enough, and the reason holds both numbers."""
    for power, state in (("10000", "accepted"), ("9999.99", "rejected")):
        venue = Venue(power=power)
        order = venue.order()
        venue.wait_until(at("10:01"))
        assert venue.states(order) == [state]
    assert venue.reason(order) == "insufficient buying power (cost basis: 10000.00, buying power: 9999.99)"


def test_open_entries_hold_their_cost_until_they_end() -> None:
    """Two entries of $6,000 do not fit into $10,000; when the first is canceled or filled, its reserve is free."""
    venue = Venue(power="10000")
    first = venue.order(type="limit", limit_price=60)
    second = venue.order(type="limit", limit_price=60)
    venue.wait_until(at("10:01"))
    assert venue.states(second) == ["rejected"]
    venue.cancel(first)
    third = venue.order(type="limit", limit_price=60)
    venue.wait_until(at("10:02"))
    assert venue.states(third) == ["accepted"]
    venue.bar("10:03", 59)
    venue.account.power = Decimal(4000)
    fourth = venue.order(type="limit", limit_price=40)
    venue.wait_until(at("10:04"))
    assert venue.states(fourth) == ["accepted"]


def test_a_partial_fill_frees_its_part_of_the_reserve() -> None:
    """60 of 100 shares still hold $6,000, whatever the 40 were bought for; of $6,001, a dollar is free."""
    venue = Venue(power="10000", participation=0.1)
    venue.order(type="limit", limit_price=100)
    venue.bar("10:01", 99, 101, 99, 101, volume=400)
    venue.account.power = Decimal(6001)
    orders = [venue.order("buy", 1, type="limit", limit_price=price) for price in ("1.01", "1")]
    venue.wait_until(at("10:02"))
    assert [venue.states(order) for order in orders] == [["rejected"], ["accepted"]]


def test_an_entry_is_reserved_at_its_own_price() -> None:
    """A limit at its limit, a stop at its stop, a market order at the approval's price, a notional at itself."""
    for fields, cost in (
        ({"type": "limit", "limit_price": 90}, 9_000),
        ({"type": "stop", "stop_price": 110}, 11_000),
        ({"type": "stop_limit", "stop_price": 110, "limit_price": 120}, 12_000),
        ({}, 10_000),
        ({"qty": None, "notional_usd": 500}, 500),
    ):
        for power, state in ((cost, "accepted"), (cost - 1, "rejected")):
            venue = Venue(power=str(power))
            order = venue.order(**fields)
            venue.wait_until(at("10:01"))
            assert venue.states(order) == [state]


def test_an_exit_needs_no_buying_power() -> None:
    """Selling what is held, or buying back what is short, is always affordable."""
    for position, side in ((100, "sell"), (-100, "buy")):
        venue = Venue(power="0", position=position)
        order = venue.order(side)
        venue.wait_until(at("10:01"))
        assert venue.states(order) == ["accepted"]


def test_an_exit_takes_no_more_than_other_exits_leave() -> None:
    """100 held, 60 promised to one order: 40 are available to the next, and a flip is refused as Alpaca does."""
    venue = Venue(position=100)
    venue.order("sell", 60, type="limit", limit_price=200)
    too_many = venue.order("sell", 41)
    rest = venue.order("sell", 40, type="limit", limit_price=200)
    venue.wait_until(at("10:01"))
    assert venue.reason(too_many) == "insufficient qty available for order (requested: 41, available: 40)"
    assert venue.states(rest) == ["accepted"]


def test_a_flip_is_an_option() -> None:
    """With allow_flip one order may close a long position and open a short one; only the second part costs."""
    venue = Venue(position=100, allow_flip=True, power="5150")
    order = venue.order("sell", 150)
    venue.bar("10:01", 100)
    assert venue.fills(order) == [("150", "100")]


def test_a_cash_account_never_sells_short() -> None:
    """Neither without a position nor beyond it."""
    venue = Venue(account="cash")
    order = venue.order("sell", 1)
    venue.wait_until(at("10:01"))
    assert venue.reason(order) == "a cash account cannot sell short"
    assert [Venue(account=name).broker.settings.multiplier for name in ("cash", "margin_2x", "margin_4x")] == [1, 2, 4]


@pytest.mark.parametrize(
    ("settings", "short"),
    [
        ({}, True),
        ({"hard_to_borrow": ("SPY",)}, False),
        ({"easy_to_borrow": False}, False),
        ({"easy_to_borrow": False, "shortable": ("SPY",)}, True),
        ({"calendar_name": "24/7"}, False),
    ],
)
def test_a_short_sale_needs_a_borrow(settings: dict[str, object], short: bool) -> None:
    """Every symbol can be borrowed unless the settings say otherwise; crypto never can."""
    venue = Venue(**settings)
    order = venue.order("sell")
    venue.wait_until(at("10:01"))
    assert venue.states(order) == (["accepted"] if short else ["rejected"])
    if not short:
        assert venue.reason(order) == "asset SPY cannot be sold short"


def test_a_short_sale_is_reserved_above_the_market() -> None:
    """Alpaca takes the higher of the limit and 103 % of the price."""
    for limit, cost in ((None, 10_300), (102, 10_300), (104, 10_400)):
        for power, state in ((cost, "accepted"), (cost - 1, "rejected")):
            venue = Venue(power=str(power))
            fields = {"type": "limit", "limit_price": limit} if limit else {}
            order = venue.order("sell", **fields)
            venue.wait_until(at("10:01"))
            assert venue.states(order) == [state]


def test_parts_of_shares_cannot_be_sold_short() -> None:
    """Alpaca refuses fractional shorts."""
    venue = Venue()
    orders = [venue.order("sell", "0.5"), venue.order("sell", None, notional_usd=100)]
    venue.wait_until(at("10:01"))
    assert [venue.reason(order) for order in orders] == ["fractional orders cannot be sold short"] * 2


# --- 15 legs -------------------------------------------------------------------------------------------------------

BRACKET = {"order_class": "bracket", "take_profit_limit_price": 110, "stop_loss_stop_price": 90}


def test_legs_are_held_until_their_parent_has_filled() -> None:
    """They are accepted when the entry is complete, and one's fill cancels the other."""
    venue = Venue()
    order = venue.order(**BRACKET)
    venue.bar("10:01", 100)
    assert venue.states(f"{order}-tp") == venue.states(f"{order}-sl") == ["held", "accepted"]
    venue.bar("10:02", 105, 110.01, 104, 108)
    assert venue.states(f"{order}-tp") == ["held", "accepted", "fill"]
    assert venue.states(f"{order}-sl") == ["held", "accepted", "canceled"]
    assert venue.fills() == [("100", "100"), ("100", "110")]
    assert venue.broker.working == {}


def test_legs_stay_held_while_their_parent_is_partly_filled() -> None:
    """As at Alpaca, a part is unprotected until the entry ends; then the legs protect what it filled."""
    venue = Venue(participation=0.1)
    order = venue.order(**BRACKET)
    venue.bar("10:01", 100, volume=400)
    assert venue.states(f"{order}-sl") == ["held"]
    venue.cancel(order)
    venue.bar("10:02", 100, 100, 89, 100)
    assert venue.states(order) == ["accepted", "fill", "canceled"]
    assert venue.fills() == [("40", "100"), ("40", "90")]
    assert venue.states(f"{order}-tp")[-1] == "canceled"


@pytest.mark.parametrize("canceled_leg", ["", "-tp", "-sl"])
def test_the_held_legs_of_a_partly_filled_parent_promise_what_it_has_filled(canceled_leg: str) -> None:
    """Else another exit closes the position first, and a cash account goes short by the legs that go live for it."""
    venue = Venue(account="cash", participation=0.1)
    order = venue.order(type="limit", limit_price=100, **BRACKET)
    venue.wait_until(at("10:00:10"))
    if canceled_leg:
        venue.cancel(order + canceled_leg)
    venue.bar("10:02", 99, volume=400)
    other = venue.order("sell", 40, type="limit", limit_price=100.5)
    venue.wait_until(at("10:02:10"))
    assert venue.reason(other) == "insufficient qty available for order (requested: 40, available: 0)"
    venue.cancel(order)
    venue.bar("10:04", 80)
    venue.bar("10:05", 120)
    assert venue.account.position_qty("SPY") == 0


def test_an_entry_whose_legs_were_all_canceled_promises_nothing() -> None:
    """Its part is free to be sold."""
    venue = Venue(participation=0.1)
    order = venue.order(type="limit", limit_price=100, **BRACKET)
    venue.wait_until(at("10:00:10"))
    for leg in ("-tp", "-sl"):
        venue.cancel(order + leg)
    venue.bar("10:02", 99, volume=400)
    other = venue.order("sell", 40, type="limit", limit_price=100.5)
    venue.wait_until(at("10:02:10"))
    assert venue.states(other) == ["accepted"]


def test_legs_end_with_a_parent_that_filled_nothing() -> None:
    """Canceled, expired or rejected, it leaves nothing to protect."""
    for how in ("cancel", "expire", "reject"):
        venue = Venue(power="0" if how == "reject" else "1e9")
        order = venue.order(type="limit", limit_price=50, **BRACKET)
        venue.wait_until(at("10:01"))
        if how == "cancel":
            venue.cancel(order)
        venue.wait_until(at("16:02"))
        assert venue.states(order)[-1] == {"cancel": "canceled", "expire": "expired", "reject": "rejected"}[how]
        assert venue.states(f"{order}-tp")[-1] == venue.states(f"{order}-sl")[-1] == "canceled"
        assert venue.broker.working == {}


@pytest.mark.parametrize(
    ("entry", "bar", "fills"),
    [
        # the entry fills at the open, so all of the bar is after it
        ({}, (100, 111, 95, 100), [("100", "100"), ("100", "110")]),
        ({}, (100, 101, 89, 100), [("100", "100"), ("100", "90")]),
        # at a limit of 95 inside the bar: the low is taken to be later, the high is not
        ({"type": "limit", "limit_price": 95}, (100, 101, 89, 100), [("100", "95"), ("100", "90")]),
        ({"type": "limit", "limit_price": 95}, (100, 111, 94, 100), [("100", "95")]),
        ({"type": "limit", "limit_price": 95}, (100, 112, 94, 111), [("100", "95"), ("100", "110")]),
        # a stop beyond the market goes off when the entry fills, and gets the only price that is certainly later
        (
            {"type": "limit", "limit_price": 95, "stop_loss_stop_price": 105, "take_profit_limit_price": 110},
            (100, 101, 94, 96),
            [("100", "95"), ("100", "96")],
        ),
        # at its close, because it arrived inside the bar: nothing of the bar is after that
        ({"clock": "10:00:30"}, (100, 120, 80, 100), [("100", "100")]),
    ],
)
def test_legs_meet_the_part_of_the_bar_that_follows_their_parents_fill(
    entry: dict[str, object], bar: tuple[float, ...], fills: list[tuple[str, str]]
) -> None:
    """Where the order of a bar's prices is unknown, the stop is taken to be hit and the target is not."""
    venue = Venue()
    venue.order(**(BRACKET | entry))
    venue.bar("10:01", *bar)
    assert venue.fills() == fills


def test_an_oco_pair_is_active_at_once_and_one_fill_ends_the_other() -> None:
    """The order itself is the target, its leg the stop; both protect a position that exists."""
    venue = Venue(position=100)
    order = venue.order("sell", type="limit", limit_price=110, order_class="oco", stop_loss_stop_price=90)
    venue.wait_until(at("10:00:30"))
    assert venue.states(order) == venue.states(f"{order}-sl") == ["accepted"]
    venue.bar("10:02", 100, 111, 100, 110)
    assert venue.states(order) == ["accepted", "fill"]
    assert venue.states(f"{order}-sl") == ["accepted", "canceled"]


def test_an_oco_pair_needs_a_position() -> None:
    """It is an exit; without anything to exit it is rejected, and so is its leg's hope."""
    venue = Venue()
    order = venue.order("sell", type="limit", limit_price=110, order_class="oco", stop_loss_stop_price=90)
    venue.wait_until(at("10:01"))
    assert venue.states(order) == ["rejected"]
    assert venue.states(f"{order}-sl") == ["canceled"]


def test_a_partial_fill_of_one_reduces_the_other() -> None:
    """40 of 100 reach the target, so the stop protects 60; when these fill, both are complete."""
    venue = Venue(position=100, participation=0.1)
    order = venue.order("sell", type="limit", limit_price=110, order_class="oco", stop_loss_stop_price=90)
    venue.bar("10:01", 100, 111, 100, 110, volume=400)
    venue.bar("10:02", 95, 96, 89, 90)
    assert venue.fills(order) == [("40", "110")]
    assert venue.fills(f"{order}-sl") == [("60", "90")]
    assert venue.states(order) == ["accepted", "fill", "canceled"]
    assert venue.states(f"{order}-sl") == ["accepted", "fill", "canceled"]
    assert venue.account.position_qty("SPY") == 0


def test_a_canceled_leg_takes_its_sibling_with_it() -> None:
    """Canceling one of a group cancels the rest, as at Alpaca."""
    venue = Venue(position=100)
    order = venue.order("sell", type="limit", limit_price=110, order_class="oco", stop_loss_stop_price=90)
    venue.wait_until(at("10:01"))
    venue.cancel(f"{order}-sl")
    venue.wait_until(at("10:02"))
    assert venue.states(order)[-1] == venue.states(f"{order}-sl")[-1] == "canceled"


def test_an_oco_pair_expires_as_one() -> None:
    """Both are over at the close; neither end is told twice."""
    venue = Venue(position=100)
    order = venue.order("sell", type="limit", limit_price=110, order_class="oco", stop_loss_stop_price=90)
    venue.wait_until(at("16:02"))
    assert venue.states(order) == venue.states(f"{order}-sl") == ["accepted", "expired"]


def test_a_held_leg_is_canceled_alone() -> None:
    """The entry and its other leg live on."""
    venue = Venue()
    order = venue.order(**BRACKET)
    venue.wait_until(at("10:00:00.500"))
    venue.cancel(f"{order}-tp")
    venue.bar("10:01", 100)
    assert venue.states(f"{order}-tp") == ["held", "canceled"]
    assert venue.states(f"{order}-sl") == ["held", "accepted"]
    venue.bar("10:02", 80)
    assert venue.fills() == [("100", "100"), ("100", "80")]


def test_orders_with_legs_are_day_or_gtc() -> None:
    """Alpaca takes no other time in force for them: a leg that must fill at once protects nothing."""
    venue = Venue()
    order = venue.order(time_in_force="ioc", **BRACKET)
    venue.wait_until(at("10:01"))
    assert venue.reason(order) == "bracket orders must be DAY or GTC orders"


def test_an_oto_order_has_one_leg() -> None:
    """Its stop lives without a sibling."""
    venue = Venue()
    order = venue.order(order_class="oto", stop_loss_stop_price=90)
    venue.bar("10:01", 100)
    venue.bar("10:02", 80)
    assert venue.fills() == [("100", "100"), ("100", "80")]
    assert venue.states(f"{order}-sl") == ["held", "accepted", "fill"]


def test_an_oco_pair_promises_its_shares_once() -> None:
    """Only one of the two will fill, so another exit finds what is left beside them."""
    venue = Venue(position=150)
    venue.order("sell", type="limit", limit_price=110, order_class="oco", stop_loss_stop_price=90)
    other = venue.order("sell", 50, type="limit", limit_price=200)
    venue.wait_until(at("10:01"))
    assert venue.states(other) == ["accepted"]


def test_a_pair_promises_what_its_larger_exit_asks_for() -> None:
    """The limit was made smaller than the stop beside it, which may still fill for all."""
    venue = Venue(position=100)
    order = venue.order("sell", type="limit", limit_price=110, order_class="oco", stop_loss_stop_price=90)
    venue.wait_until(at("10:00:10"))
    venue.order("sell", 40, type="limit", limit_price=110, replaces=order)
    venue.wait_until(at("10:00:20"))
    other = venue.order("sell", 1, type="limit", limit_price=200)
    venue.wait_until(at("10:01"))
    assert venue.reason(other) == "insufficient qty available for order (requested: 1, available: 0)"


def test_the_stop_left_alone_still_promises_its_shares() -> None:
    """Its target was canceled while both were held; the stop sells all, so nothing is left for another exit."""
    venue = Venue(account="cash")
    order = venue.order(**BRACKET)
    venue.wait_until(at("10:00:10"))
    venue.cancel(f"{order}-tp")
    venue.bar("10:01", 100)
    other = venue.order("sell", type="limit", limit_price=101)
    venue.wait_until(at("10:02"))
    assert venue.reason(other) == "insufficient qty available for order (requested: 100, available: 0)"
    venue.bar("10:03", 80)
    assert venue.account.position_qty("SPY") == 0


# --- 15 replacements -----------------------------------------------------------------------------------------------


def test_a_replacement_takes_the_old_orders_place() -> None:
    """The old order is replaced when the new one arrives, and only the new one fills."""
    venue = Venue()
    old = venue.order(type="limit", limit_price=90)
    venue.wait_until(at("10:00:10"))
    new = venue.order(type="limit", limit_price=95, replaces=old)
    venue.bar("10:01", 100, 100, 89, 100)
    assert venue.states(old) == ["accepted", "replaced"]
    assert venue.states(new) == ["accepted"]  # it arrived inside that bar
    venue.bar("10:02", 100, 100, 89, 100)
    assert venue.fills() == [("100", "95")]


def test_a_replacement_of_a_filled_order_is_rejected() -> None:
    """The old one filled before it arrived: the new one must not fill as well."""
    venue = Venue()
    old = venue.order()
    venue.bar("10:01", 100)
    new = venue.order(replaces=old)
    venue.bar("10:02", 100)
    assert venue.states(new) == ["rejected"]
    assert venue.reason(new) == f"order {old} is not open"
    assert venue.fills() == [("100", "100")]


def test_a_replacements_quantity_is_the_new_total() -> None:
    """Of 100, 30 have filled; a replacement for 80 fills 50 more, one for 30 has nothing left to do."""
    for qty, state in ((80, "accepted"), (30, "rejected")):
        venue = Venue(participation=0.1)
        old = venue.order(type="limit", limit_price=101)
        venue.bar("10:01", 100, volume=300)
        new = venue.order(qty=qty, type="limit", limit_price=102, replaces=old)
        venue.wait_until(at("10:01:30"))
        assert venue.states(new) == [state]
        if state == "rejected":
            assert venue.reason(new) == "30 have filled already"
            assert venue.states(old) == ["accepted", "fill", "partially_filled"]  # it goes on as it was
        else:
            venue.bar("10:03", 100)
            assert venue.fills() == [("30", "100"), ("50", "100")]
            assert venue.states(new) == ["accepted", "fill", "filled"]


def test_a_rejected_replacement_leaves_the_old_order_working() -> None:
    """Too dear, it is rejected, and the venue says that the old one is still there."""
    venue = Venue(power="10000")
    old = venue.order(type="limit", limit_price=90)
    venue.wait_until(at("10:00:10"))
    new = venue.order(qty=200, type="limit", limit_price=90, replaces=old)
    venue.bar("10:02", 89)
    assert venue.states(new) == ["rejected"]
    assert venue.states(old) == ["accepted", "accepted", "fill"]


def test_a_replacement_may_use_the_old_orders_reserve() -> None:
    """The larger of the two has to fit, not their sum."""
    venue = Venue(power="10000")
    old = venue.order(type="limit", limit_price=90)
    venue.wait_until(at("10:00:10"))
    new = venue.order(type="limit", limit_price=100, replaces=old)
    venue.wait_until(at("10:01"))
    assert venue.states(new) == ["accepted"]


def test_a_replaced_exit_promises_its_shares_once() -> None:
    """All 100 shares are promised to the old order, and the new one takes its promise over."""
    venue = Venue(position=100)
    old = venue.order("sell", type="limit", limit_price=110)
    venue.wait_until(at("10:00:10"))
    new = venue.order("sell", type="limit", limit_price=105, replaces=old)
    venue.wait_until(at("10:01"))
    assert venue.states(new) == ["accepted"]


def test_a_replaced_leg_stays_in_its_pair() -> None:
    """A stop that is moved up still dies with the target, and never sells more than the target leaves."""
    venue = Venue(position=100, participation=0.1)
    order = venue.order("sell", type="limit", limit_price=110, order_class="oco", stop_loss_stop_price=90)
    venue.bar("10:01", 100, 111, 100, 110, volume=400)  # 40 of the target fill
    new = venue.order("sell", type="stop", stop_price=99, replaces=f"{order}-sl")
    venue.wait_until(at("10:02"))
    assert venue.states(f"{order}-sl") == ["accepted", "replaced"]
    venue.bar("10:03", 100, 111, 98, 100)
    assert venue.fills(new) == [("60", "99")]
    assert venue.states(order)[-1] == "canceled"
    assert venue.account.position_qty("SPY") == 0


def test_a_held_leg_can_be_replaced() -> None:
    """Its replacement is held in its place and becomes active with the entry's fill."""
    venue = Venue()
    order = venue.order(type="limit", limit_price=100, **BRACKET)
    venue.wait_until(at("10:00:10"))
    new = venue.order("sell", type="stop", stop_price=95, replaces=f"{order}-sl")
    venue.bar("10:02", 99)
    assert venue.states(new) == ["held", "accepted"]
    venue.bar("10:03", 99, 99, 94, 99)
    assert venue.fills(new) == [("100", "95")]
    assert venue.states(f"{order}-tp")[-1] == "canceled"


@pytest.mark.parametrize("alone", ["oto", "canceled"])
def test_an_active_leg_is_replaced_for_no_more_than_it_has_left(alone: str) -> None:
    """A stop without a sibling protects what its entry has filled, and a cash account does not go short by it."""
    venue = Venue(account="cash")
    legs = {"order_class": "oto", "stop_loss_stop_price": 90} if alone == "oto" else BRACKET
    order = venue.order(**legs)
    venue.wait_until(at("10:00:10"))
    venue.cancel(f"{order}-tp")
    venue.bar("10:01", 100)
    new = venue.order("sell", 1000, type="stop", stop_price=95, replaces=f"{order}-sl")
    venue.wait_until(at("10:02"))
    venue.bar("10:03", 80)
    assert venue.fills(new) == [("100", "80")]
    assert venue.account.position_qty("SPY") == 0


def test_an_order_with_legs_is_not_replaced() -> None:
    """Its legs would protect another quantity than their books say: cancel it and send a new one."""
    venue = Venue()
    order = venue.order(type="limit", limit_price=90, **BRACKET)
    venue.wait_until(at("10:00:10"))
    new = venue.order(type="limit", limit_price=95, replaces=order)
    venue.wait_until(at("10:01"))
    assert venue.reason(new) == "an order with legs cannot be replaced: cancel it and send a new one"


def test_a_replacement_keeps_symbol_and_side() -> None:
    """Another symbol or side is another order."""
    venue = Venue()
    old = venue.order(type="limit", limit_price=90)
    venue.wait_until(at("10:00:10"))
    orders = [venue.order("sell", replaces=old), venue.order(symbol="QQQ", replaces=old)]
    venue.wait_until(at("10:01"))
    assert [venue.reason(order) for order in orders] == ["a replacement keeps symbol and side"] * 2


def test_a_notional_order_is_not_replaced() -> None:
    """Alpaca refuses it, and its quantity is not known before it fills."""
    venue = Venue()
    order = venue.order(qty=None, notional_usd=100, type="limit", limit_price=90)
    venue.wait_until(at("10:00:10"))
    new = venue.order(type="limit", limit_price=95, replaces=order)
    venue.wait_until(at("10:01"))
    assert venue.reason(new) == "notional orders cannot be replaced"


# --- 16 parts of shares --------------------------------------------------------------------------------------------


def test_a_notional_order_buys_what_its_money_is_worth() -> None:
    """$1,000 at $30 are 33.333333333 shares, rounded down to 9 decimals; the venue says when it is complete."""
    venue = Venue()
    order = venue.order(qty=None, notional_usd=1000)
    venue.bar("10:01", 30)
    assert venue.fills() == [("33.333333333", "30")]
    assert venue.states(order) == ["accepted", "fill", "filled"]


def test_a_notional_order_fixes_its_quantity_at_its_first_price() -> None:
    """What the first event's volume does not fill goes on as a quantity."""
    venue = Venue(participation=0.1)
    venue.order(qty=None, notional_usd=1000)
    venue.bar("10:01", 30, volume=100.5)
    venue.bar("10:02", 40)
    assert venue.fills() == [("10.05", "30"), ("23.283333333", "40")]


def test_a_notional_exit_sells_no_more_than_is_held() -> None:
    """The price fell meanwhile, so the money asked for is more than the position: the position is sold."""
    venue = Venue(position="10")
    venue.order("sell", None, notional_usd=1000)
    venue.bar("10:01", 99)
    assert venue.fills() == [("10", "99")]


def test_a_notional_worth_nothing_is_canceled() -> None:
    """Less than the smallest part of a share is no order."""
    venue = Venue(calendar_name="24/7")
    order = venue.order(qty=None, notional_usd="0.00001")
    venue.bar("10:01", 100_000)
    assert venue.states(order) == ["accepted", "canceled"]


def test_parts_of_shares_fill_in_parts() -> None:
    """A fractional order takes a fractional part of the volume, a whole one whole shares."""
    venue = Venue(participation=0.1)
    venue.order(qty="3.5")
    venue.bar("10:01", 100, volume=12)
    assert venue.fills() == [("1.2", "100")]


def test_coins_fill_in_parts_of_coins() -> None:
    """Around the clock there are no whole shares: a tenth of 3 coins fills 0.3 of an order for one."""
    venue = Venue(calendar_name="24/7", participation=0.1)
    venue.order(qty=1, symbol="BTCUSD")
    venue.bar("10:01", 60_000, volume=3, symbol="BTCUSD")
    assert venue.fills() == [("0.3", "60000")]


# --- 17 names and stamps -------------------------------------------------------------------------------------------


def test_ids_are_made_from_the_order_and_a_count() -> None:
    """Executions count within their order, broker ids in order of arrival; nothing is drawn."""
    venue = Venue(participation=0.1)
    order = venue.order(order_id="run-s-1")
    venue.order(order_id="run-s-2", order_class="oto", stop_loss_stop_price=1)
    venue.bar("10:01", 100, volume=500)
    venue.bar("10:02", 100, volume=500)
    assert [a.execution_id for a in venue.answers if isinstance(a, Fill)] == ["run-s-1/1", "run-s-1/2"]
    assert [a.broker_order_id for a in venue.answers if not isinstance(a, Fill)] == ["paper-1", "paper-2", "paper-2.1"]
    assert venue.states(order) == ["accepted", "fill", "fill"]


def test_an_order_id_is_open_only_once() -> None:
    """Two open orders of one name would be our own mistake."""
    venue = Venue()
    venue.order(order_id="twice")
    venue.order(order_id="twice")
    with pytest.raises(InvariantError, match="twice"):
        venue.wait_until(at("10:01"))


def test_nothing_is_stamped_later_than_it_was_known() -> None:
    """On a tape whose recorder ran behind, a bar is received before its own end; the fill is stamped no later."""
    venue = Venue(position=100)
    venue.order("sell", type="stop", stop_price=99)
    venue.bar("10:01", 100, 100, 98, 99, late_s=-1.27)
    assert venue.answers[-1].ts_event_ns == at("10:01") - 1_270_000_000


def test_the_venue_says_when_it_wants_to_be_asked() -> None:
    """Nothing is due without orders; then the arrival, then the end of the day; and `working` names the symbols."""
    venue = Venue()
    assert venue.broker.due_ns == 2**63 - 1
    intent = Intent("a", "s", "SPY", "buy", Decimal(1), at("10:00"), type="limit", limit_price=Decimal(1))
    venue.broker.submit(Approved(intent, 1, at("10:00"), at("10:01"), Decimal(100), "bar"))
    assert venue.broker.due_ns == at("10:00:00.050")
    assert "SPY" not in venue.broker.working
    venue.wait_until(at("10:01"))
    assert venue.broker.due_ns == at("16:01") + 1
    assert "SPY" in venue.broker.working
