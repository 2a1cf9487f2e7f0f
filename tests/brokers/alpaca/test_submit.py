"""The submit protocol of the reliability rules, each outcome against a scripted venue on real sockets."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from brokers.alpaca.wire import format_ns
from engine.events import SECOND_NS, OrderUpdate
from tests.brokers.alpaca.peers import Time, held_back, settle, until
from tests.brokers.alpaca.rig import BY_CLIENT, FILLS, activity, broker_rig, fill, record, update

ORDERS = "/v2/orders"
ours = partial(record, "o1", type="limit", limit_price="99.00")


async def test_an_order_is_sent_once_under_our_own_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """2xx: accepted, with the venue's id for the record."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        rig.rest.on("POST", ORDERS, (200, record("o1", "pending_new")))
        rig.submit(type="limit", limit_price=Decimal("100.10"))
        await rig.told("accepted")
        [(_, body)] = rig.rest.asked("POST", ORDERS)
        assert body == {
            "symbol": "SPY", "side": "buy", "type": "limit", "time_in_force": "day", "qty": "100",
            "limit_price": "100.1", "client_order_id": "o1",
        }  # fmt: skip
        [told] = [event for event in rig.events if isinstance(event, OrderUpdate)]
        assert told.broker_order_id == "venue-o1"


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (403, {"code": 40310000, "message": "insufficient buying power", "buying_power": "1"}, "insufficient buying"),
        (403, {"code": 40310000, "message": "potential wash trade detected. use complex orders"}, "wash trade"),
        (422, {"code": 42210000, "message": "asset X is not active"}, "422 42210000 asset X is not active"),
        (400, {"message": "bad"}, "400 bad"),
        (401, {"message": "unauthorized."}, "401 unauthorized."),
        (404, {"code": 40410000, "message": "symbol not found: X"}, "symbol not found"),
        (401, "<html><h1>401</h1></html>", "HTTP 401 without a reason"),
        (403, "", "HTTP 403 without a reason"),
        (422, [], "HTTP 422 without a reason"),
    ],
)  # fmt: skip
async def test_a_definite_no_is_a_rejection_with_the_venues_reason(
    monkeypatch: pytest.MonkeyPatch, status: int, body: Any, told: str
) -> None:
    """R01, R02, R05, R14, F11: nothing is asked again, nothing is frozen, whatever the body looks like."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        rig.rest.on("POST", ORDERS, (status, body))
        rig.submit()
        await rig.told("rejected")
        assert told in rig.reason()
        assert len(rig.rest.asked("POST", ORDERS)) == 1
        assert not rig.rest.asked("GET", BY_CLIENT)
        assert not rig.broker._book.frozen


async def test_an_id_that_is_taken_is_looked_up_and_adopted(monkeypatch: pytest.MonkeyPatch) -> None:
    """O09, F07: 422 with 40010001 may mean that the order lives already."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        rig.rest.on("POST", ORDERS, (422, {"code": 40010001, "message": "client_order_id must be unique"}))
        rig.rest.on("GET", BY_CLIENT, (200, ours(submitted_at=format_ns(Time().ts_ns - 4 * SECOND_NS))))
        rig.submit(type="limit", limit_price=Decimal(99))
        await rig.told("accepted")
        assert rig.rest.asked("GET", BY_CLIENT)[0][0] == {"client_order_id": "o1"}


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ((404, {"message": "order not found"}), "qty must be > 0"),
        ((200, ours(symbol="QQQ")), "another program has sent an order of this id, to buy 100 QQQ, limit"),
        ((200, ours(side="sell")), "another program has sent an order of this id, to sell 100 SPY, limit"),
        ((200, ours(qty="50")), "another program has sent an order of this id, to buy 50 SPY"),
        ((200, ours(type="market")), "another program has sent an order of this id, to buy 100 SPY, market"),
        ((200, ours(limit_price="98")), "another program has sent an order of this id"),
        (
            (200, ours(submitted_at=format_ns(Time().ts_ns - 6 * SECOND_NS))),
            "another run has sent an order of this id, to buy 100 SPY, limit, at 2026-",
        ),
    ],
)
async def test_the_same_code_for_another_reason_is_a_refusal(
    monkeypatch: pytest.MonkeyPatch, found: Any, told: str
) -> None:
    """Alpaca reuses 40010001 for every malformed order, and an id may belong to somebody else's."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        rig.rest.on("POST", ORDERS, (422, {"code": 40010001, "message": "qty must be > 0"}))
        rig.rest.on("GET", BY_CLIENT, found)
        rig.submit(type="limit", limit_price=Decimal(99))
        await rig.told("rejected")
        assert told in rig.reason()


async def test_a_rate_limited_order_goes_again_under_the_same_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """O10, F05: 429 is a definite no; within its approval the order waits for the reset and goes."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        refusal = (429, {"code": 42910000, "message": "rate limit exceeded"})
        rig.rest.on("POST", ORDERS, refusal, (200, record("o1")))
        rig.submit()
        await rig.passing(2, "accepted")
        await rig.told("accepted")
        bodies = [body for _, body in rig.rest.asked("POST", ORDERS)]
        assert [body["client_order_id"] for body in bodies] == ["o1", "o1"]


async def test_a_rate_limited_order_does_not_outlive_its_approval(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was right two seconds ago may be wrong in a minute."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        rig.rest.headers["X-Ratelimit-Reset"] = str(rig.time.ts_ns // 10**9 + 30)
        rig.rest.on("POST", ORDERS, (429, {"message": "too many requests."}))
        rig.submit()
        await rig.told("rejected")
        assert "too many requests.; the approval does not hold until" in rig.reason()
        assert len(rig.rest.asked("POST", ORDERS)) == 1


@pytest.mark.parametrize(
    "reply",
    [(504, "<html>gateway</html>"), (500, {"code": 50010000, "message": "x"}), (200, "not json"), (200, {}), (302, ""),
     ConnectionError(), "hang"],
    ids=["504", "500", "garbage", "half", "redirect", "reset", "timeout"],
)  # fmt: skip
async def test_an_unknown_outcome_freezes_the_symbol_and_is_resolved_by_our_id(
    monkeypatch: pytest.MonkeyPatch, reply: Any
) -> None:
    """O08, F01, F03, F04, F06, F08, R15: never sent twice; looked up after one second, found, adopted."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        hanging = asyncio.Event()

        async def hang(_request: Any) -> tuple[int, Any]:
            await hanging.wait()
            return 200, {}

        rig.rest.on("POST", ORDERS, hang if reply == "hang" else reply)
        rig.rest.on("GET", BY_CLIENT, (200, record("o1")))
        rig.submit()
        await rig.told("unknown")
        assert rig.broker._book.frozen == {"SPY": 1}
        rig.submit("o2")
        rig.submit("o3", symbol="QQQ")
        await rig.told("rejected", "o2")
        assert "SPY is frozen while the outcome of another order is unknown" in rig.reason("o2")
        await rig.passing(1.5, "accepted")
        await rig.told("accepted")
        assert not rig.broker._book.frozen
        ids = [body["client_order_id"] for _, body in rig.rest.asked("POST", ORDERS)]
        assert ids == ["o1", "o3"]
        hanging.set()


async def test_absence_is_believed_after_three_answers_over_thirty_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not found proves nothing by itself; network errors never count and start the run anew."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        missing = (404, {"message": "order not found"})
        rig.rest.on("POST", ORDERS, (504, ""))
        rig.rest.on("GET", BY_CLIENT, missing, missing, (503, ""), missing)
        rig.submit()
        await rig.told("unknown")
        await rig.passing(37.5)
        assert rig.states() == ["unknown"]  # asked at 1, 2, 4, 8, 23: of the good answers the run began at 8
        assert len(rig.rest.asked("GET", BY_CLIENT)) == 5
        await rig.passing(2, "rejected")
        await rig.told("rejected")
        assert len(rig.rest.asked("GET", BY_CLIENT)) == 6
        assert "does not know it, asked often enough" in rig.reason()
        assert list(rig.broker._book.tombstones) == ["o1"]


async def test_an_order_that_turns_up_after_all_is_adopted_and_canceled(monkeypatch: pytest.MonkeyPatch) -> None:
    """F09: the tombstone; its fills are booked, whatever was believed."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        rig.rest.on("POST", ORDERS, (504, ""))
        rig.rest.on("GET", BY_CLIENT, (404, {}))
        rig.submit()
        await rig.passing(60, "rejected")
        rig.rest.on("DELETE", "/v2/orders/venue-o1", (204, None))
        await rig.trades.send(fill(record("o1"), 30, 30))
        await until(lambda: rig.rest.asked("DELETE", "/v2/orders/venue-o1"))
        await until(rig.fills)
        assert rig.fills() == [("x-venue-o1-30", "30", "100.5")]
        assert rig.broker.counts["orders"]["orders that turned up late"] == 1
        await rig.trades.send(fill(record("o1"), 30, 60))
        await settle()
        assert len(rig.rest.asked("DELETE", "/v2/orders/venue-o1")) == 1


async def test_the_stream_may_answer_what_the_request_did_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """O07, F16: an update of an order whose outcome is unknown is looked after at once."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        rig.rest.on("POST", ORDERS, (504, ""))
        rig.rest.on("GET", BY_CLIENT, (404, {}))
        rig.submit()
        await rig.passing(1.5)
        rig.rest.on("GET", "/v2/orders/venue-o1", (200, record("o1", "filled", filled_qty="100")))
        await rig.trades.send(fill(record("o1"), 100, 100))
        await until(lambda: not rig.broker._book.frozen)
        assert rig.fills() == [("x-venue-o1-100", "100", "100.5")]


async def test_a_fill_before_the_answer_is_booked_under_our_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """O07: the order is known by the id that we gave it, not by what the answer will say."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        gate, late = held_back(200, record("o1", "filled", filled_qty="100"))
        rig.rest.on("POST", ORDERS, late)
        rig.submit()
        await until(lambda: rig.rest.asked("POST", ORDERS))
        await rig.trades.send(update("new", record("o1")))
        await rig.trades.send(fill(record("o1"), 100, 100))
        await until(rig.fills)
        gate.set()
        await settle()
        await rig.passing(6)
        assert rig.fills() == [("x-venue-o1-100", "100", "100.5")]
        assert not rig.rest.asked("GET", FILLS)[1:]  # only the one at the connection


async def test_a_fill_that_only_the_answer_shows_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """O01: filled at once, and no frame of the stream says so."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        order = record("o1", "filled", filled_qty="100", filled_avg_price="100.5")
        rig.rest.on("POST", ORDERS, (200, order))
        rig.submit()
        await rig.told("accepted")
        rig.rest.on("GET", FILLS, (200, [activity(order, 100, 100)]))
        await rig.passing(7)
        await until(rig.fills)
        assert rig.fills() == [("x-venue-o1-100", "100", "100.5")]


async def test_an_approval_that_has_expired_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """F51: after a stall of the machine, orders of before must not fire."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        rig.submit()
        rig.time.ts_ns += 60 * 10**9
        await rig.told("rejected")
        assert "its approval expired 58.0 s ago" in rig.reason()
        assert not rig.rest.asked("POST", ORDERS)


async def test_orders_of_one_symbol_leave_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool of connections must not turn two orders around."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        rig.rest.on("POST", ORDERS, (403, {"message": "no"}))
        for number in range(10):
            rig.submit(f"o{number}")
        await rig.told("rejected", "o9")
        sent = [body["client_order_id"] for _, body in rig.rest.asked("POST", ORDERS)]
        assert sent == [f"o{number}" for number in range(10)]


async def test_a_question_that_is_handed_over_before_the_broker_runs_waits_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`run` is a task of the daemon; nothing that is to be found out or canceled may be lost before it."""
    async with broker_rig(monkeypatch) as rig:
        rig.rest.on("GET", BY_CLIENT, (200, record("o1")))
        rig.broker.resolve(["o1"])
        await rig.told("accepted")


async def test_an_order_that_is_handed_over_before_the_broker_runs_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was decided while the journal was done over: the prices are those of before the kill, hours ago perhaps."""
    async with broker_rig(monkeypatch) as rig:
        rig.submit()
        await rig.told("rejected")
        assert rig.reason() == "not sent: it was decided before the restart"
        assert rig.rest.asked("POST", ORDERS) == []


async def test_no_error_and_no_log_shows_a_key(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """F79: refusals, time-outs and broken connections, told to the strategy, the log and the operator."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        rig.rest.on("POST", ORDERS, (401, {"message": "unauthorized."}), ConnectionError(), (500, ""))
        rig.rest.on("GET", BY_CLIENT, ConnectionError())
        for number in range(3):
            rig.submit(f"o{number}", symbol=f"S{number}")
            await settle()
        await rig.passing(3)
        shown = repr(rig.events) + repr(vars(rig.broker)) + "".join(capsys.readouterr())
        assert "canary" not in shown.lower()
