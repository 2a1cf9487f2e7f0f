"""The unmodified SDK's trading client, used as its documentation shows, against the local venue."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from alpaca.common.exceptions import APIError
from alpaca.trading.enums import OrderClass, QueryOrderStatus, TradeConfirmationEmail
from alpaca.trading.requests import (
    ClosePositionRequest,
    CreateWatchlistRequest,
    GetAssetsRequest,
    GetCalendarRequest,
    GetCorporateAnnouncementsRequest,
    GetOptionContractsRequest,
    GetOrderByIdRequest,
    GetOrdersRequest,
    GetPortfolioHistoryRequest,
    LimitOrderRequest,
    MarketOrderRequest,
    ReplaceOrderRequest,
    StopLimitOrderRequest,
    StopOrderRequest,
    TrailingStopOrderRequest,
)

from engine.events import CorporateAction
from tests.brokers.alpaca_server.local import Local, bar, day, quote, running, sdk
from tests.brokers.paper_venue import at


def market(symbol: str = "AAPL", qty: float = 10, side: str = "buy", **fields: Any) -> MarketOrderRequest:
    return MarketOrderRequest(symbol=symbol, qty=qty, side=side, time_in_force="day", **fields)


def limit(price: float, qty: float = 10, side: str = "buy", **fields: Any) -> LimitOrderRequest:
    return LimitOrderRequest(symbol="AAPL", qty=qty, side=side, limit_price=price, **{"time_in_force": "day"} | fields)


async def hold(local: Local, qty: int = 10, symbol: str = "AAPL") -> None:
    """Buy, and let the order fill."""
    await local.step(3)
    await sdk(local.trading.submit_order, market(symbol, qty))
    await local.step(2)


async def test_a_market_order_goes_from_post_to_position() -> None:
    """The reply is the order as taken on; the next quote fills it, and the account follows to the cent."""
    async with running() as local:
        await local.step(3)
        order = await sdk(local.trading.submit_order, market(client_order_id="mine-1"))
        assert (order.status, order.client_order_id, order.filled_qty) == ("pending_new", "mine-1", "0")
        await local.step(2)
        order = await sdk(local.trading.get_order_by_client_id, "mine-1")
        assert (order.status, order.filled_qty, order.filled_avg_price) == ("filled", "10", "100.01")
        assert order.filled_at is not None
        account = await sdk(local.trading.get_account)
        assert Decimal(account.cash) == Decimal("98999.9")
        assert account.status == "ACTIVE"
        position = await sdk(local.trading.get_open_position, "AAPL")
        assert (position.qty, position.side, position.avg_entry_price) == ("10", "long", "100.01")


async def test_every_simple_type_is_taken_and_shown() -> None:
    """Limit, stop, stop-limit and trailing stop keep their prices, and each has its own."""
    async with running() as local:
        await hold(local, 40)
        orders = [
            limit(101.5, side="sell"),
            StopOrderRequest(symbol="AAPL", qty=10, side="sell", time_in_force="gtc", stop_price=95),
            StopLimitOrderRequest(
                symbol="AAPL", qty=10, side="sell", time_in_force="day", stop_price=95, limit_price=94.5
            ),
            TrailingStopOrderRequest(symbol="AAPL", qty=10, side="sell", time_in_force="day", trail_percent=1.5),
        ]
        made = [await sdk(local.trading.submit_order, order) for order in orders]
        assert [one.order_type for one in made] == ["limit", "stop", "stop_limit", "trailing_stop"]
        assert [one.limit_price for one in made] == ["101.5", None, "94.5", None]
        assert [one.stop_price for one in made] == [None, "95", "95", None]
        assert made[3].trail_percent == "1.5"
        assert made[1].expires_at is not None
        await local.step(2)
        shown = await sdk(local.trading.get_order_by_id, made[3].id)
        assert shown.hwm == "99.99"


async def test_a_fractional_and_a_notional_order_fill() -> None:
    """A notional order has no quantity of its own; its fill is rounded down to nine decimals."""
    async with running() as local:
        await local.step(3)
        fractional = await sdk(local.trading.submit_order, market(qty=0.5))
        notional = await sdk(
            local.trading.submit_order,
            MarketOrderRequest(symbol="AAPL", notional=50, side="buy", time_in_force="day"),
        )
        assert (notional.qty, notional.notional) == (None, "50")
        await local.step(2)
        fractional = await sdk(local.trading.get_order_by_id, fractional.id)
        notional = await sdk(local.trading.get_order_by_id, notional.id)
        assert (fractional.status, fractional.filled_qty) == ("filled", "0.5")
        assert (notional.status, notional.filled_qty) == ("filled", "0.499950004")


async def test_a_replacement_is_a_new_order_in_place_of_the_old_one() -> None:
    """The reply has a new id; the old order names its successor."""
    async with running() as local:
        await local.step(3)
        old = await sdk(local.trading.submit_order, limit(90.0))
        new = await sdk(
            local.trading.replace_order_by_id,
            old.id,
            ReplaceOrderRequest(qty=5, limit_price=91, client_order_id="next"),
        )
        assert (new.replaces, new.qty, new.limit_price, new.client_order_id) == (old.id, "5", "91", "next")
        old = await sdk(local.trading.get_order_by_id, old.id)
        assert (old.status, old.replaced_by) == ("replaced", new.id)
        assert (await sdk(local.trading.get_order_by_id, new.id)).status == "new"


async def test_cancels_end_one_order_or_all_of_them() -> None:
    """204 for one, 207 with a line each for all."""
    async with running() as local:
        await local.step(3)
        first, *rest = [await sdk(local.trading.submit_order, limit(90.0 + one)) for one in range(3)]
        assert await sdk(local.trading.cancel_order_by_id, first.id) is None
        assert (await sdk(local.trading.get_order_by_id, first.id)).status == "canceled"
        answers = await sdk(local.trading.cancel_orders)
        assert {str(one.id) for one in answers} == {str(one.id) for one in rest}
        assert {one.status for one in answers} == {200}
        assert await sdk(local.trading.get_orders) == []


async def test_orders_are_listed_as_asked() -> None:
    """By status, side, symbol, order of submission, number and nesting."""
    async with running([*day(), *day("MSFT")]) as local:
        await local.step(6)
        first = await sdk(local.trading.submit_order, limit(90.0))
        await local.step(2)
        second = await sdk(local.trading.submit_order, limit(91.0))
        third = await sdk(local.trading.submit_order, market("MSFT", 1))
        await local.step(4)

        async def listed(**query: Any) -> list[Any]:
            return [one.id for one in await sdk(local.trading.get_orders, GetOrdersRequest(**query))]

        assert await listed(status=QueryOrderStatus.OPEN) == [second.id, first.id]
        assert await listed(status=QueryOrderStatus.CLOSED) == [third.id]
        assert await listed(status=QueryOrderStatus.ALL, direction="asc") == [first.id, second.id, third.id]
        assert await listed(status=QueryOrderStatus.ALL, limit=1) == [third.id]
        assert await listed(status=QueryOrderStatus.ALL, symbols=["MSFT"]) == [third.id]
        assert await listed(status=QueryOrderStatus.ALL, side="sell") == []
        assert await listed(status=QueryOrderStatus.ALL, after=first.submitted_at) == [third.id, second.id]


async def test_a_bracket_protects_its_entry() -> None:
    """Legs are held until the entry has filled; the first leg to fill ends the other."""
    async with running() as local:
        await local.step(3)
        entry = await sdk(
            local.trading.submit_order,
            market(order_class=OrderClass.BRACKET, take_profit={"limit_price": 105}, stop_loss={"stop_price": 95}),
        )
        assert entry.order_class == "bracket"
        assert {(leg.order_type, leg.status) for leg in entry.legs} == {("limit", "held"), ("stop", "held")}
        await local.step(2)
        entry = await sdk(local.trading.get_order_by_id, entry.id, GetOrderByIdRequest(nested=True))
        assert entry.status == "filled"
        assert {leg.status for leg in entry.legs} == {"new"}
        await local.happen(quote("09:40", 105.5, 105.6))
        entry = await sdk(local.trading.get_order_by_id, entry.id, GetOrderByIdRequest(nested=True))
        assert {leg.order_type: leg.status for leg in entry.legs} == {"limit": "filled", "stop": "canceled"}
        assert await sdk(local.trading.get_all_positions) == []


async def test_an_oco_and_an_oto_are_one_group_each() -> None:
    """An OCO's parent is its take-profit; canceling it ends the stop too."""
    async with running() as local:
        await hold(local)
        legs = {"take_profit": {"limit_price": 105}, "stop_loss": {"stop_price": 95}}
        oco = await sdk(local.trading.submit_order, limit(105, side="sell", order_class=OrderClass.OCO, **legs))
        assert (oco.limit_price, oco.legs[0].stop_price) == ("105", "95")
        await sdk(local.trading.cancel_order_by_id, oco.id)
        oco = await sdk(local.trading.get_order_by_id, oco.id, GetOrderByIdRequest(nested=True))
        assert (oco.status, oco.legs[0].status) == ("canceled", "canceled")
        oto = await sdk(local.trading.submit_order, limit(99, order_class=OrderClass.OTO, stop_loss={"stop_price": 90}))
        assert [leg.order_type for leg in oto.legs] == ["stop"]


async def test_positions_close_in_part_whole_and_all() -> None:
    """By quantity, by percentage, one and every one."""
    async with running([*day(), *day("MSFT")]) as local:
        await local.step(6)
        await sdk(local.trading.submit_order, market(qty=10))
        await sdk(local.trading.submit_order, market("MSFT", 4))
        await local.step(4)
        part = await sdk(local.trading.close_position, "AAPL", ClosePositionRequest(qty="2"))
        assert (part.side, part.qty, part.order_type) == ("sell", "2", "market")
        await local.step(4)
        half = await sdk(local.trading.close_position, "AAPL", ClosePositionRequest(percentage="50"))
        assert half.qty == "4"
        await local.step(4)
        answers = await sdk(local.trading.close_all_positions, cancel_orders=True)
        assert {one.symbol: one.status for one in answers} == {"AAPL": 200, "MSFT": 200}
        await local.step(4)
        assert await sdk(local.trading.get_all_positions) == []
        with pytest.raises(APIError) as error:
            await sdk(local.trading.get_open_position, "AAPL")
        assert (error.value.status_code, error.value.code) == (404, 40410000)


async def test_a_short_sale_has_a_negative_position() -> None:
    """Quantity, value and cost are negative, and a rise is a loss."""
    async with running() as local:
        await local.step(3)
        await sdk(local.trading.submit_order, market(side="sell"))
        await local.step(2)
        await local.happen(quote("09:40", 101.0, 101.0))
        position = await sdk(local.trading.get_open_position, "AAPL")
        assert (position.side, position.qty, position.market_value) == ("short", "-10", "-1010")
        assert position.unrealized_pl == "-10.1"
        account = await sdk(local.trading.get_account)
        assert account.short_market_value == "-1010"


async def test_assets_are_those_of_the_tape() -> None:
    """One row a symbol, found by symbol, by id and for crypto without its slash."""
    async with running([*day(), bar("09:31", symbol="BTC/USD")]) as local:
        stocks = await sdk(local.trading.get_all_assets)
        assert [one.symbol for one in stocks] == ["AAPL"]
        coins = await sdk(local.trading.get_all_assets, GetAssetsRequest(asset_class="crypto", status="active"))
        assert [(one.symbol, one.exchange) for one in coins] == [("BTC/USD", "CRYPTO")]
        assert (await sdk(local.trading.get_asset, stocks[0].id)).symbol == "AAPL"
        assert (await sdk(local.trading.get_asset, "BTCUSD")).id == coins[0].id
        assert (await sdk(local.trading.get_asset, "BTC/USD")).id == coins[0].id
        with pytest.raises(APIError):
            await sdk(local.trading.get_asset, "NOPE")


async def test_clock_and_calendar_agree_with_the_tape() -> None:
    """The session that the tape is in is open; its calendar row has New York's wall clock."""
    async with running() as local:
        await local.step()
        clock = await sdk(local.trading.get_clock)
        assert clock.is_open
        assert clock.timestamp.astimezone(UTC) == datetime(2019, 2, 12, 14, 30, 59, tzinfo=UTC)
        assert clock.next_close.astimezone(UTC) == datetime(2019, 2, 12, 21, tzinfo=UTC)
        assert clock.next_open.astimezone(UTC) == datetime(2019, 2, 13, 14, 30, tzinfo=UTC)
        days = await sdk(local.trading.get_calendar, GetCalendarRequest(start=date(2019, 2, 15), end=date(2019, 2, 19)))
        assert [one.date for one in days] == [date(2019, 2, 15), date(2019, 2, 19)]
        assert days[0].open == datetime(2019, 2, 15, 9, 30)  # noqa: DTZ001


async def test_activities_are_paged_by_the_last_id() -> None:
    """Every fill once, newest first, by type, category and order."""
    async with running() as local:
        await local.step(3)
        for side in ("buy", "sell", "buy"):
            await sdk(local.trading.submit_order, market(side=side))
            await local.step(2)
        fills = await sdk(local.trading.get, "/account/activities/FILL")
        assert [one["side"] for one in fills] == ["buy", "sell", "buy"]
        assert {one["type"] for one in fills} == {"fill"}
        pages, token = [], ""
        while page := await sdk(local.trading.get, "/account/activities", {"page_size": 2, "page_token": token}):
            pages.append(len(page))
            token = page[-1]["id"]
        assert pages == [2, 1]
        assert await sdk(local.trading.get, "/account/activities", {"category": "non_trade_activity"}) == []
        own = await sdk(local.trading.get, "/account/activities/FILL", {"order_id": fills[0]["order_id"]})
        assert own == fills[:1]
        later = await sdk(local.trading.get, "/account/activities/FILL", {"after": fills[1]["transaction_time"]})
        assert later == fills[:1]


async def test_portfolio_history_follows_the_equity() -> None:
    """One value a minute, the last one that of the account now."""
    async with running() as local:
        await hold(local)
        await local.step(20)
        await local.happen(quote("09:50", 110.0, 110.0))
        history = await sdk(
            local.trading.get_portfolio_history, GetPortfolioHistoryRequest(period="1D", timeframe="1Min")
        )
        account = await sdk(local.trading.get_account)
        assert history.equity[-1] == float(account.equity) == 100099.9
        assert len(history.timestamp) == len(history.equity) > 10
        assert history.profit_loss[-1] == pytest.approx(99.9)


async def test_the_owner_may_change_the_configuration() -> None:
    """No shorting and suspended trading are kept to; an unknown value is refused."""
    async with running() as local:
        await local.step(3)
        configuration = await sdk(local.trading.get_account_configurations)
        configuration.no_shorting = True
        configuration.trade_confirm_email = TradeConfirmationEmail.NONE
        changed = await sdk(local.trading.set_account_configurations, configuration)
        assert changed.no_shorting
        with pytest.raises(APIError, match="short"):
            await sdk(local.trading.submit_order, market(side="sell"))
        status, body = await local.request("PATCH", "/v2/account/configurations", json={"suspend_trade": True})
        assert (status, body["suspend_trade"]) == (200, True)
        with pytest.raises(APIError, match="suspended"):
            await sdk(local.trading.submit_order, market())
        status, _ = await local.request("PATCH", "/v2/account/configurations", json={"no_shorting": "perhaps"})
        assert status == 422


async def test_watchlists_are_kept() -> None:
    """Made, read, changed and deleted by id."""
    async with running([*day(), *day("MSFT")]) as local:
        made = await sdk(local.trading.create_watchlist, CreateWatchlistRequest(name="mine", symbols=["AAPL"]))
        await sdk(local.trading.add_asset_to_watchlist_by_id, made.id, "MSFT")
        found = await sdk(local.trading.get_watchlist_by_id, made.id)
        assert [one.symbol for one in found.assets] == ["AAPL", "MSFT"]
        await sdk(local.trading.remove_asset_from_watchlist_by_id, made.id, "AAPL")
        assert [one.name for one in await sdk(local.trading.get_watchlists)] == ["mine"]
        await sdk(local.trading.delete_watchlist_by_id, made.id)
        assert await sdk(local.trading.get_watchlists) == []


@pytest.mark.filterwarnings("ignore:get_corporate_announcements is deprecated")
async def test_announcements_and_option_contracts_answer() -> None:
    """The split on the tape is announced; a tape has no options."""
    ts_ns = at("09:30", "2019-02-12")
    split = CorporateAction("AAPL", ts_ns, ts_ns, "split", 4, 1)
    async with running([*day(), split]) as local:
        await local.step(2)
        wanted = GetCorporateAnnouncementsRequest(ca_types=["split"], since=date(2019, 2, 1), until=date(2019, 2, 20))
        (found,) = await sdk(local.trading.get_corporate_announcements, wanted)
        assert (found.ca_sub_type, found.new_rate, found.old_rate) == ("stock_split", 4, 1)
        contracts = await sdk(
            local.trading.get_option_contracts, GetOptionContractsRequest(underlying_symbols=["AAPL"])
        )
        assert contracts.option_contracts == []


async def test_errors_reach_the_sdk_with_code_and_message() -> None:
    """`APIError` reads both, and the status."""
    async with running() as local:
        await local.step(3)
        with pytest.raises(APIError) as error:
            await sdk(local.trading.submit_order, market(qty=1_000_000))
        assert (error.value.status_code, error.value.code) == (403, 40310000)
        assert error.value.message == "insufficient buying power"
