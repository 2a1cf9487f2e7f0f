"""What the venue refuses, with Alpaca's status, code and text; and what its switches change about that."""

from __future__ import annotations

from typing import Any

from tests.brokers.alpaca_server.local import Local, bar, day, quote, running

BUY: dict[str, Any] = {"symbol": "AAPL", "qty": "10", "side": "buy", "type": "market", "time_in_force": "day"}
LIMIT = BUY | {"type": "limit", "limit_price": "90"}
SELL = BUY | {"side": "sell"}
LEGS = {"take_profit": {"limit_price": "105"}, "stop_loss": {"stop_price": "95"}}
COIN = {"symbol": "BTC/USD", "qty": "0.01", "side": "buy", "type": "market", "time_in_force": "gtc"}
PENNY = "sub-penny increment does not fulfill minimum pricing criteria"
REFUSALS = [
    # the request itself
    ({"notional": "100"}, 422, 40010001, "only one of qty or notional is accepted"),
    ({"qty": None}, 422, 40010001, "qty or notional is required"),
    ({"qty": "0"}, 422, 40010001, "qty must be > 0"),
    ({"qty": "many"}, 422, 40010001, "qty must be a number, not 'many'"),
    ({"qty": "nan"}, 422, 40010001, "qty must be a number, not 'nan'"),
    ({"qty": "0.0000000001"}, 422, 40010001, "qty must have at most 9 decimals"),
    ({"symbol": None}, 422, 40010001, "symbol is required"),
    ({"side": None}, 422, 40010001, "side is required"),
    ({"side": "hold"}, 422, 40010001, "invalid side"),
    ({"type": "iceberg"}, 422, 40010001, "invalid type"),
    ({"time_in_force": "gtd"}, 422, 40010001, "invalid time_in_force"),
    ({"type": "limit"}, 422, 40010001, "limit orders require a limit price"),
    ({"type": "limit", "limit_price": "-1"}, 422, 40010001, "limit price must be > 0"),
    ({"type": "stop"}, 422, 40010001, "stop orders require a stop price"),
    ({"type": "stop_limit", "stop_price": "90"}, 422, 40010001, "stop limit orders require both stop and limit price"),
    ({"type": "trailing_stop"}, 422, 40010001, "trailing stop orders must specify one of trail_price or trail_percent"),
    ({"type": "trailing_stop", "trail_percent": "0.01"}, 422, 40010001,
     "trail_percent must be greater than or equal to 0.1"),
    ({"client_order_id": "x" * 129}, 422, 40010001, "client_order_id must be no more than 128 characters"),
    ({"qty": None, "notional": "0.5"}, 422, 40010001, "notional must be >= 1.00"),
    # rules of types and times
    ({"limit_price": "90"}, 422, 42210000, "market orders require no stop or limit price"),
    ({"trail_price": "1"}, 422, 42210000, "market orders have no trail"),
    (LIMIT | {"limit_price": "290.123"}, 422, 42210000, f"invalid limit_price 290.123. {PENNY}"),
    (LIMIT | {"limit_price": 0.30000000000000004}, 422, 42210000, f"invalid limit_price 0.30000000000000004. {PENNY}"),
    ({"type": "stop", "stop_price": "110.005"}, 422, 42210000, f"invalid stop_price 110.005. {PENNY}"),
    (LIMIT | {"symbol": "NOPE"}, 422, 42210000, 'asset "NOPE" not found'),
    ({"qty": "1.5", "time_in_force": "gtc"}, 422, 42210000, "fractional orders must be DAY orders"),
    ({"qty": "1.5", "order_class": "bracket", **LEGS}, 422, 42210000, "fractional orders must be simple orders"),
    ({"qty": "1.5", "type": "trailing_stop", "trail_price": "1"}, 422, 42210000,
     "fractional orders must be market, limit, stop, or stop_limit orders"),
    ({"qty": "1.5", "side": "sell"}, 422, 42210000, "fractional orders cannot be sold short"),
    ({"extended_hours": True}, 422, 42210000, "extended hours order must be DAY or GTC limit orders"),
    ({"extended_hours": True, "type": "stop", "stop_price": "110"}, 422, 42210000,
     "stop orders are not eligible for extended hours trading"),
    ({"type": "stop", "stop_price": "110", "time_in_force": "cls"}, 422, 42210000,
     "cls orders must be market or limit orders"),
    ({"order_class": "bracket", "take_profit": {"limit_price": "105"}}, 422, 40010001,
     "bracket orders require both take_profit.limit_price and stop_loss.stop_price"),
    ({"order_class": "oto", **LEGS}, 422, 40010001,
     "oto orders require one of take_profit.limit_price or stop_loss.stop_price"),
    ({"order_class": "bracket", "time_in_force": "ioc", **LEGS}, 422, 42210000,
     "bracket orders must be DAY or GTC orders in regular hours"),
    ({"order_class": "bracket", "take_profit": {"limit_price": "90"}, "stop_loss": {"stop_price": "95"}}, 422, 42210000,
     "take_profit.limit_price must be greater than stop_loss.stop_price"),
    (LIMIT | {"order_class": "bracket", **LEGS}, 422, 42210000, "stop_loss.stop_price must be <= base_price - 0.01"),
    (LIMIT | {"side": "sell", "limit_price": "105", "order_class": "oco", **LEGS}, 422, 42210000,
     "oco orders must be exit orders"),
    ({"position_intent": "buy_to_close"}, 422, 42210000,
     "position intent mismatch, inferred: buy_to_open, specified: buy_to_close"),
    ({"take_profit": {"limit_price": "105"}}, 422, 42210000, "simple orders have no take_profit or stop_loss"),
    ({"take_profit": "105"}, 400, 40010000, "take_profit must be an object"),
    # the account
    ({"qty": "1000000"}, 403, 40310000, "insufficient buying power"),
    # crypto
    (COIN | {"time_in_force": "day"}, 422, 42210000, "invalid crypto time_in_force"),
    (COIN | {"type": "stop", "stop_price": "1"}, 422, 42210000,
     "crypto orders must be market, limit, or stop_limit orders"),
    (COIN | {"type": "limit", "limit_price": "100"}, 403, 40310000, "cost basis must be >= minimal amount of order 10"),
    (COIN | {"side": "sell"}, 403, 40310000, "insufficient balance for BTC (requested: 0.01, available: 0)"),
]  # fmt: skip


async def post(local: Local, **fields: Any) -> tuple[int, Any]:
    return await local.request("POST", "/v2/orders", json=BUY | fields)


async def hold(local: Local, qty: str = "10") -> None:
    await local.step(3)
    assert (await post(local, qty=qty))[0] == 200
    await local.step(2)


async def test_each_refusal_has_the_services_words() -> None:
    """Status, code and text of every rule, and no order is left behind."""
    async with running([*day(), bar("9:31", 50_000.0, "BTC/USD")], requests_per_min=0) as local:
        await local.step(3)
        for fields, status, code, message in REFUSALS:
            answer = await post(local, **fields)
            assert (answer[0], answer[1].get("code"), answer[1].get("message")) == (status, code, message), fields
        assert await local.request("GET", "/v2/orders", params={"status": "all"}) == (200, [])


async def test_a_body_that_is_no_object_is_refused() -> None:
    """400, and in JSON."""
    async with running() as local:
        for body in (b"{", b"[1]", b"\xff"):
            status, answer = await local.request("POST", "/v2/orders", data=body)
            assert (status, answer["code"]) == (400, 40010000)


async def test_a_client_order_id_is_used_once() -> None:
    """Among all orders, or with `client_order_id_scope` open only among the open ones."""
    for scope, second in (("history", 422), ("open", 200)):
        async with running(client_order_id_scope=scope) as local:
            await local.step(3)
            assert (await post(local, client_order_id="once"))[0] == 200
            status, body = await post(local, client_order_id="once")
            assert (status, body) == (422, {"code": 40010001, "message": "client_order_id must be unique"})
            await local.step(2)
            assert (await post(local, client_order_id="once"))[0] == second


async def test_a_refused_order_may_use_its_id_up() -> None:
    """`refused_order_keeps_id`; by default the id is free again."""
    for keeps, second in ((False, 200), (True, 422)):
        async with running(refused_order_keeps_id=keeps, client_order_id_chars_max=48) as local:
            await local.step(3)
            assert (await post(local, client_order_id="again", qty="1000000"))[0] == 403
            assert (await post(local, client_order_id="again"))[0] == second


async def test_shares_held_for_orders_cannot_be_sold_twice() -> None:
    """403 with what there is, what is held, and the orders that hold it."""
    async with running() as local:
        await hold(local)
        _, resting = await post(local, **SELL | {"type": "limit", "limit_price": "120", "qty": "7"})
        status, body = await post(local, **SELL | {"qty": "5"})
        assert (status, body["code"]) == (403, 40310000)
        assert body["message"] == "insufficient qty available for order (requested: 5, available: 3)"
        assert (body["available"], body["existing_qty"], body["held_for_orders"]) == ("3", "10", "7")
        assert body["related_orders"] == [resting["id"]]
        assert (await local.request("DELETE", "/v2/positions/AAPL"))[0] == 403
        _, position = await local.request("GET", "/v2/positions/AAPL")
        assert position["qty_available"] == "3"


async def test_a_wash_trade_is_refused() -> None:
    """Against an open order of the other side, unless both have limits that cannot cross; see `wash_trade_guard`."""
    async with running() as local:
        await hold(local)
        _, selling = await post(local, **SELL | {"type": "limit", "limit_price": "101"})
        assert (await post(local, type="limit", limit_price="100.5"))[0] == 200
        status, body = await post(local, type="limit", limit_price="101")
        assert (status, body["existing_order_id"]) == (403, selling["id"])
        assert body["message"] == "potential wash trade detected. use complex orders"
        assert body["reject_reason"] == "opposite side limit order exists"
        _, body = await post(local)
        assert body["reject_reason"] == "opposite side market/stop order exists"
    async with running(wash_trade_guard=False) as local:
        await hold(local)
        await post(local, **SELL | {"type": "limit", "limit_price": "101"})
        assert (await post(local))[0] == 200


async def test_a_bracket_is_an_entry() -> None:
    """Refused against a position of the other side; `bracket_code` has both codes that were reported."""
    for code, status in ((42210000, 422), (40310000, 403)):
        async with running(bracket_code=code) as local:
            await hold(local)
            legs = {"take_profit": {"limit_price": "95"}, "stop_loss": {"stop_price": "105"}}
            answer, body = await post(local, **SELL | {"order_class": "bracket", **legs})
            assert (answer, body) == (status, {"code": code, "message": "bracket orders must be entry orders"})


async def test_short_sales_ask_for_shares_to_borrow() -> None:
    """Hard to borrow: only for the day. Not shortable: never."""
    assets = {"AAPL": {"easy_to_borrow": False}}
    async with running([*day(), *day("MSFT")], assets=assets, paper={"hard_to_borrow": ["MSFT"]}) as local:
        await local.step(6)
        status, body = await post(local, **SELL | {"time_in_force": "gtc"})
        assert (status, body["message"]) == (422, "only day orders are allowed for hard-to-borrow asset AAPL")
        assert (await post(local, **SELL))[0] == 200
        status, body = await post(local, **SELL | {"symbol": "MSFT"})
        assert (status, body["message"]) == (422, "asset MSFT cannot be sold short")


async def test_assets_that_do_not_trade_are_refused() -> None:
    """Inactive, not tradable, not fractionable."""
    assets = {"A": {"status": "inactive"}, "B": {"tradable": False}, "AAPL": {"fractionable": False}}
    async with running(assets=assets) as local:
        await local.step(3)
        assert (await post(local, symbol="A"))[1]["message"] == "asset A is not active"
        assert (await post(local, symbol="B"))[1]["message"] == "asset B is not tradable"
        assert await post(local, qty="0.5") == (403, {"code": 40310000, "message": 'asset "AAPL" is not fractionable'})


async def test_auction_orders_have_hours() -> None:
    """Opg until 9:28 and cls until 15:50, then not before 19:00."""
    async with running([bar("9:27"), bar("9:29"), bar("15:49"), bar("15:52"), bar("19:30")]) as local:
        answers = []
        while await local.step():
            answers.append([(await post(local, time_in_force=one))[0] for one in ("opg", "cls")])
        assert answers == [[200, 200], [403, 200], [403, 200], [403, 403], [200, 200]]
    async with running([bar("15:52"), bar("15:56")], cls_cutoff_min=5) as local:
        await local.step()
        _, taken = await post(local, time_in_force="cls")
        assert (await local.request("GET", f"/v2/orders/{taken['id']}"))[1]["status"] == "new"
        await local.step()
        assert (await post(local, time_in_force="cls"))[0] == 403


async def test_notional_limit_orders_are_a_switch() -> None:
    """Newer pages allow them, the OpenAPI file does not."""
    for allowed, status in ((True, 200), (False, 422)):
        async with running(notional_limit_orders=allowed) as local:
            await local.step(3)
            assert (await post(local, qty=None, notional="50", type="limit", limit_price="90"))[0] == status


async def test_the_least_cost_of_crypto_is_a_switch() -> None:
    """10 dollars, or 1."""
    async with running([bar("9:31", 50_000.0, "BTC/USD")], crypto_cost_usd_min="1") as local:
        await local.step()
        assert (await post(local, **COIN | {"type": "limit", "limit_price": "200"}))[0] == 200


async def test_a_second_cancel_is_a_switch() -> None:
    """422 for an order that has ended; for a canceled one perhaps 204."""
    for expected in (422, 204):
        async with running(second_cancel_status=expected) as local:
            await local.step(3)
            _, order = await post(local, type="limit", limit_price="90")
            assert (await local.request("DELETE", f"/v2/orders/{order['id']}"))[0] == 204
            assert (await local.request("DELETE", f"/v2/orders/{order['id']}"))[0] == expected
            _, filled = await post(local)
            await local.step(2)
            status, body = await local.request("DELETE", f"/v2/orders/{filled['id']}")
            assert (status, body["message"]) == (422, 'order is already in "filled" state')


async def test_replacements_are_refused_where_they_make_no_sense() -> None:
    """Nothing changed, an order that has ended, a notional one, a price that the type has not, too small a quantity."""
    async with running([quote("9:31")]) as local:
        await local.step()

        async def patch(order: dict[str, Any], **fields: Any) -> tuple[int, str]:
            status, body = await local.request("PATCH", f"/v2/orders/{order['id']}", json=fields)
            return status, body.get("message", "")

        _, order = await post(local, type="limit", limit_price="90", qty="100")
        assert await patch(order, limit_price="90", qty="100") == (403, "order parameters are not changed")
        assert await patch(order, stop_price="80") == (422, "limit orders have no stop_price")
        assert await patch(order, trail="1") == (422, "trail is for trailing stop orders only")
        assert await patch(order, qty="1.5") == (422, "qty must be a whole number of shares")
        assert await patch(order, limit_price="90.001") == (422, f"invalid limit_price 90.001. {PENNY}")
        assert (await patch(order, client_order_id="x" * 200))[0] == 422
        await local.request("DELETE", f"/v2/orders/{order['id']}")
        assert await patch(order, qty="5") == (422, "unable to replace order, order is not open")
        _, notional = await post(local, qty=None, notional="50")
        assert await patch(notional, qty="5") == (422, "notional orders cannot be replaced")
        _, partial = await post(local, type="limit", limit_price="100.01", qty="100")
        await local.happen(quote("9:32", size=40.0))
        assert (await patch(partial, qty="30"))[0] == 422


async def test_an_unknown_order_is_not_found() -> None:
    """404 for read, replacement and cancel."""
    async with running() as local:
        for method in ("GET", "PATCH", "DELETE"):
            status, body = await local.request(method, "/v2/orders/00000000-0000-0000-0000-000000000000")
            assert (status, body["code"]) == (404, 40410000)


async def test_a_suspended_account_answers_and_does_not_trade() -> None:
    """`suspended`: every read works, every order is refused."""
    async with running(suspended=True, legacy_account_fields=True) as local:
        await local.step(3)
        _, account = await local.request("GET", "/v2/account")
        assert (account["trading_blocked"], account["pattern_day_trader"]) == (True, False)
        assert await post(local) == (403, {"code": 40310000, "message": "account is not authorized to trade"})


async def test_a_stepwise_trailing_stop_can_be_moved() -> None:
    """PATCH `trail` changes the distance in the unit that the order has."""
    async with running() as local:
        await hold(local)
        _, order = await post(local, **SELL | {"type": "trailing_stop", "trail_price": "2"})
        status, new = await local.request("PATCH", f"/v2/orders/{order['id']}", json={"trail": "3"})
        assert (status, new["trail_price"], new["trail_percent"]) == (200, "3", None)


async def test_legs_and_ended_days_may_be_left_out_of_the_open_list() -> None:
    """`legs_listed` off hides held legs; nested lists put them under their parent."""
    bracket = {"type": "limit", "limit_price": "99", "order_class": "bracket", **LEGS}
    async with running(legs_listed=False) as local:
        await local.step(3)
        await post(local, **bracket)
        _, flat = await local.request("GET", "/v2/orders")
        _, nested = await local.request("GET", "/v2/orders", params={"nested": "true"})
        assert [len(flat), len(nested), len(nested[0]["legs"])] == [1, 1, 2]
    async with running() as local:
        await local.step(3)
        await post(local, **bracket)
        assert len((await local.request("GET", "/v2/orders"))[1]) == 3


async def test_keys_are_asked_for() -> None:
    """JSON at the account, a page at clock and calendar (`html_errors`), 401 or 403 for data."""
    wrong = {"APCA-API-KEY-ID": "x", "APCA-API-SECRET-KEY": "y"}
    async with running(data_unauthorized_status=403) as local:
        assert await local.request("GET", "/v2/account", headers=wrong) == (401, {"message": "unauthorized."})
        status, page = await local.request("GET", "/v2/clock", headers=wrong)
        assert (status, page[:6]) == (401, "<html>")
        status, body = await local.request("GET", "/v2/stocks/bars", headers=wrong)
        assert (status, body) == (403, {"message": "forbidden."})
        oauth = {"APCA-API-KEY-ID": "", "APCA-API-SECRET-KEY": "", "Authorization": "Bearer local-venue-secret"}
        assert (await local.request("GET", "/v2/account", headers=oauth))[0] == 200
    async with running(html_errors=False) as local:
        assert (await local.request("GET", "/v2/clock", headers=wrong)) == (401, {"message": "unauthorized."})


async def test_requests_are_counted() -> None:
    """429 above `requests_per_min`, with headers that say when to come back (`rate_headers`, `rate_message`)."""
    async with running(requests_per_min=2, rate_message="too many requests.") as local:
        headers = {"APCA-API-KEY-ID": "PKLOCALVENUE", "APCA-API-SECRET-KEY": "local-venue-secret"}
        seen = []
        for _ in range(3):
            async with local.http.get(f"{local.url}/v2/account", headers=headers) as reply:
                seen.append(
                    (reply.status, reply.headers["X-Ratelimit-Remaining"], int(reply.headers["X-Ratelimit-Reset"]))
                )
                assert len(reply.headers["X-Request-ID"]) == 32
        assert [one[:2] for one in seen] == [(200, "1"), (200, "0"), (429, "0")]
        assert (await local.request("GET", "/v2/clock"))[1]["message"] == "too many requests."
        assert (await local.request("GET", "/v2/stocks/bars/latest?symbols=AAPL"))[0] == 200
    async with running(data_requests_per_min=1, rate_headers=False) as local:
        assert (await local.request("GET", "/v2/stocks/bars/latest?symbols=AAPL"))[0] == 200
        assert (await local.request("GET", "/v2/stocks/bars/latest?symbols=AAPL"))[0] == 429
        assert (await local.request("GET", "/v2/account"))[0] == 200


async def test_pages_of_a_browser_are_not_served() -> None:
    """Another host name, or an Origin, means somebody else's page: refused, the control endpoint included."""
    async with running() as local:
        for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
            for path in ("/v2/account", "/control"):
                assert (await local.request("GET", path, headers=headers))[0] == 403


async def test_an_order_may_meet_the_last_quote_at_once() -> None:
    """`fill_at_once`: a marketable order does not wait for the next event."""
    async with running(fill_at_once=True) as local:
        await local.step(3)
        _, order = await post(local)
        _, order = await local.request("GET", f"/v2/orders/{order['id']}")
        assert (order["status"], order["filled_avg_price"]) == ("filled", "100.01")


async def test_engine_latency_makes_refusals_asynchronous() -> None:
    """With a latency the order is taken on first, and rejected when it arrives."""
    async with running(paper={"latency_ms": 50}) as local:
        await local.step(3)
        status, order = await post(local, qty="1000000")
        assert (status, order["status"]) == (200, "pending_new")
        await local.step(2)
        _, order = await local.request("GET", f"/v2/orders/{order['id']}")
        assert order["status"] == "rejected"
        assert order["failed_at"] is not None


async def test_activities_may_come_late_and_under_ids_of_their_own() -> None:
    """`activity_wait_s` and `activity_id`."""
    async with running(activity_wait_s=3600.0) as local:
        await hold(local)
        assert await local.request("GET", "/v2/account/activities") == (200, [])
    async with running(activity_id="other") as local:
        await hold(local)
        _, (fill,) = await local.request("GET", "/v2/account/activities")
        (order,) = local.venue.book.orders.values()
        assert fill["id"].partition("::")[2] not in order.executions
        assert fill["id"].startswith("20190212093259000::")


async def test_fees_and_crypto_in_kind_are_booked() -> None:
    """Stock fees leave the cash and are listed; `crypto_fees` in kind leave the coins."""
    async with running(paper={"fees": "per_share", "fee_params": {"usd_per_share": "0.01"}}) as local:
        await hold(local)
        _, account = await local.request("GET", "/v2/account")
        assert account["cash"] == "98999.8"  # 100000 - 10 * 100.01 - 0.10
        _, (fee,) = await local.request("GET", "/v2/account/activities/FEE")
        assert (fee["net_amount"], fee["symbol"]) == ("-0.1", "AAPL")
    async with running(
        [bar("9:31", 100.0, "BTC/USD"), quote("9:32", symbol="BTC/USD")], crypto_fees="in_kind"
    ) as local:
        await local.step()
        await post(local, **COIN | {"qty": "1"})
        await local.step()
        _, position = await local.request("GET", "/v2/positions/BTCUSD")
        assert (position["qty"], position["symbol"]) == ("0.9975", "BTCUSD")
