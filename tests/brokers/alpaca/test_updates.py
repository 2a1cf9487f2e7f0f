"""The order stream: fills as the truth, statuses as hints, holes closed, groups followed, and nothing booked twice."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers.alpaca.executions import Execution, Executions, inferred_id
from brokers.alpaca.records import STATUSES, Frame, UpdateRecord, canonical_symbol
from engine.errors import BrokerError
from engine.events import Command, Fill, Link, OrderUpdate
from tests.brokers.alpaca.peers import held_back, settle, until
from tests.brokers.alpaca.rig import FILLS, BrokerRig, activity, broker_rig, fill, record, update

ORDERS = "/v2/orders"


async def placed(rig: BrokerRig, client_id: str = "o1", **fields: Any) -> dict[str, Any]:
    """Send an order that the venue takes; return it as the venue shows it."""
    order = record(client_id, **fields)
    rig.rest.on("POST", ORDERS, (200, order))
    rig.submit(client_id)
    await rig.told("accepted", client_id)
    return order


# --- fills -----------------------------------------------------------------------------------------------------------


async def test_partial_fills_are_booked_by_execution_not_by_the_running_total(monkeypatch: pytest.MonkeyPatch) -> None:
    """O04: 30, 20 and 50 are a hundred; the commonest bug of all adapters books 180."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        order = await placed(rig)
        for qty, cum in ((30, 30), (20, 50), (50, 100)):
            await rig.trades.send(fill(order, qty, cum))
        await until(lambda: len(rig.fills()) == 3)
        assert [qty for _, qty, _ in rig.fills()] == ["30", "20", "50"]
        [first, *_] = [event for event in rig.events if isinstance(event, Fill)]
        assert (first.symbol, first.side, first.fee_usd) == ("SPY", "buy", Decimal(0))


async def test_a_story_told_three_times_is_booked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """O02, F15: the service repeats whole stories with identical execution ids."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        order = await placed(rig)
        for _ in range(3):
            await rig.trades.send(update("new", order))
            await rig.trades.send(fill(order, 100, 100))
        await until(lambda: rig.broker.counts["orders"].get("repeated executions") == 2)
        assert len(rig.fills()) == 1


@pytest.mark.parametrize("is_told", [True, False])
async def test_an_order_by_notional_ends_when_the_venue_says_that_it_has_filled(
    monkeypatch: pytest.MonkeyPatch, is_told: bool
) -> None:
    """Its executions cannot say so: nobody else knows how many shares its dollars are. REST tells as the stream."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        order = await placed(rig, qty=None, notional="1000")
        shown = order | {"status": "filled", "filled_qty": "9.95", "filled_avg_price": "100.5"}
        rig.rest.on("GET", FILLS, (200, [activity(order, 9.95, 9.95)]))
        if is_told:
            told = update("fill", shown, qty="9.95", price="100.5", execution_id=f"x-{order['id']}-9.95")
            await rig.trades.send(told)
        else:
            rig.rest.on("GET", f"{ORDERS}/{order['id']}", (200, shown))
            rig.broker.resolve(["o1"])
            await rig.passing(2.0, until_told="filled")
        await rig.told("filled")
        kinds = [type(event) for event in rig.events if not isinstance(event, Link)]
        assert kinds[-2:] == [Fill, OrderUpdate]


async def test_two_partials_alike_in_all_but_id_are_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """F18: equal price, size and time are no reason to drop one."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        order = await placed(rig)
        await rig.trades.send(fill(order, 10, 10, execution_id="a"))
        await rig.trades.send(fill(order, 10, 20, execution_id="b"))
        await until(lambda: len(rig.fills()) == 2)


async def test_a_missing_fill_is_seen_by_the_next_and_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """F14: of three partials the second never comes; the third shows the hole, the activities fill it."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        order = await placed(rig)
        await rig.trades.send(fill(order, 30, 30))
        rig.rest.on(
            "GET", FILLS, (200, [activity(order, 30, 30), activity(order, 20, 50, "99.5"), activity(order, 50, 100)])
        )
        await rig.trades.send(fill(order, 50, 100))
        await until(lambda: len(rig.fills()) == 2)
        await rig.passing(2)
        await until(lambda: len(rig.fills()) == 3)
        assert rig.fills()[-1] == ("x-venue-o1-50", "20", "99.5")
        assert rig.broker.counts["orders"]["fills found by REST"] == 1


async def test_a_hole_is_closed_whatever_ids_the_activities_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """U6: whether an activity's uuid is the execution's, no source says; the interval that it fills decides."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        order = await placed(rig)
        await rig.trades.send(fill(order, 30, 30))
        told = [activity(order, 30, 30, uuid="other-1"), activity(order, 70, 100, uuid="other-2")]
        rig.rest.on("GET", FILLS, (200, told))
        ended = order | {"status": "filled", "filled_qty": "100", "filled_avg_price": "100.5"}
        await rig.trades.send(update("fill", ended, execution_id=None))  # a fill without its numbers
        await rig.passing(2)
        await until(lambda: len(rig.fills()) == 2)
        assert rig.fills() == [("x-venue-o1-30", "30", "100.5"), ("other-2", "70", "100.5")]
        await rig.trades.send(fill(order, 70, 100))  # the true frame, late and under its own id
        await until(lambda: rig.broker.counts["orders"].get("repeated executions"))
        assert len(rig.fills()) == 2


async def test_where_even_activities_lack_it_one_execution_is_inferred(monkeypatch: pytest.MonkeyPatch) -> None:
    """U6: activities may come late; the order's own average gives the price, and the true one is not booked again."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        order = await placed(rig)
        await rig.trades.send(fill(order, 40, 40, "100"))
        canceled = order | {"status": "canceled", "filled_qty": "60", "filled_avg_price": "101"}
        await rig.trades.send(update("canceled", canceled))
        await rig.passing(20, "canceled")
        await rig.told("canceled")
        assert rig.fills() == [
            ("x-venue-o1-40", "40", "100"),
            ("venue-o1/60", "20", "103"),
        ]  # 40 x 100 + 20 x 103 = 60 x 101
        fills_at = [index for index, event in enumerate(rig.events) if isinstance(event, Fill)]
        [end_at] = [i for i, event in enumerate(rig.events) if getattr(event, "status", "") == "canceled"]
        assert end_at > max(fills_at)  # the end waits for what filled before it
        await rig.trades.send(fill(order, 20, 60, "103"))
        await until(lambda: rig.broker.counts["orders"].get("repeated executions"))
        assert len(rig.fills()) == 2


async def test_a_hole_between_two_fills_is_inferred_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither stream nor activities have it; the end of the order does not wait for ever."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        order = await placed(rig)
        await rig.trades.send(fill(order, 30, 30, "100"))
        shown = order | {"status": "filled", "filled_qty": "100", "filled_avg_price": "100.2"}
        told = update("fill", shown, qty="50", price="100", execution_id="x-venue-o1-100")
        await rig.trades.send(told)
        await rig.passing(20)
        assert rig.fills()[-1] == ("venue-o1/50", "20", "101")  # 80 x 100 + 20 x 101 = 100 x 100.2


async def test_a_restart_does_not_book_an_inferred_execution_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal has it whole; the activities have meanwhile the two that it was."""
    async with broker_rig(monkeypatch) as rig:
        rig.broker.know([Fill("venue-o1/100", "o1", "SPY", "buy", Decimal(100), Decimal("100.5"), Decimal(0), 0, 0)])
        await rig.connected()
        order = record("o1", "filled", filled_qty="100", filled_avg_price="100.5")
        rig.rest.on("GET", "/v2/orders/venue-o1", (200, order))
        rig.rest.on("GET", FILLS, (200, [activity(order, 40, 40, "100.2"), activity(order, 60, 100, "100.7")]))
        found = await rig.broker._catch_up.fills(0)
        assert {fill.execution_id for fill in found} == {"venue-o1/100"}
        assert rig.fills() == []


async def test_a_fill_after_the_cancel_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """O05, F25, F28: a cancel is only a request; what fills, fills."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        order = await placed(rig)
        rig.rest.on("DELETE", "/v2/orders/venue-o1", (204, None))
        rig.broker.cancel("o1", 0)
        await until(lambda: rig.rest.asked("DELETE", "/v2/orders/venue-o1"))
        await rig.trades.send(fill(order, 100, 100))
        await until(rig.fills)


async def test_a_bust_halts_because_books_need_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    """O22, F32: an execution taken back is nothing to guess about."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        order = await placed(rig)
        await rig.trades.send(fill(order, 100, 100))
        await rig.trades.send(
            update("trade_bust", order | {"filled_qty": "100"}, previous_execution_id="x-venue-o1-100")
        )
        await until(lambda: any(isinstance(event, Command) for event in rig.events))
        [command] = [event for event in rig.events if isinstance(event, Command)]
        assert command.action == "halt"
        assert "trade_bust of execution x-venue-o1-100" in command.reason


# --- statuses --------------------------------------------------------------------------------------------------------


async def test_every_status_word_of_the_venue_has_a_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    """O21: each event once; those that only say that an order lives change nothing."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        order = await placed(rig)
        quiet = ("pending_new", "done_for_day", "calculated", "stopped", "suspended")
        for event in (*quiet, "accepted", "pending_cancel", "order_cancel_rejected", "canceled"):
            shown = order | {"status": "canceled" if event == "canceled" else "new"}
            await rig.trades.send(update(event, shown, execution_id=None))
        await rig.told("canceled")
        assert rig.states() == ["accepted", "pending_cancel", "accepted", "canceled"]


async def test_an_unknown_event_or_status_makes_the_order_be_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """O18, F19: a word of tomorrow loses nothing."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        order = await placed(rig)
        rig.rest.on("GET", "/v2/orders/venue-o1", (200, order | {"status": "expired"}))
        await rig.trades.send(update("teleported", order | {"status": "weird", "asset_class": "ipo"}))
        await rig.told("expired")
        assert rig.broker.counts["orders"]["unknown events"] == 1


async def test_missing_and_null_fields_are_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """O19: execution_id, timestamps and half of the order may be null."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        await placed(rig)
        bare = {"id": "venue-o1", "client_order_id": "o1", "submitted_at": None, "filled_qty": None, "qty": None}
        await rig.trades.send({"event": "canceled", "execution_id": None, "timestamp": None, "order": bare})
        await rig.told("canceled")


async def test_malformed_frames_are_counted_and_a_burst_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """F20: one is bad luck; twenty within ten seconds are no stream."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        for frame in (
            b"",
            b"\x80",
            "[]",
            '{"stream": "trade_updates"}',
            '{"stream":"trade_updates","data":{"event":1}}',
        ):
            await rig.trades.raw(frame)
        await until(lambda: rig.broker._line.malformed == 5)
        await rig.trades.raw('{"stream": "other", "data": {}}')
        for _ in range(15):
            await rig.trades.raw(b"garbage")
        await until(lambda: rig.links == [True, False])


async def test_another_programs_order_is_told_and_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """O24, F34: the engine decides what to make of it; nothing is sent for it."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        before = len(rig.rest.requests)
        await rig.trades.send(fill(record("dashboard"), 100, 100))
        await until(lambda: rig.fills("dashboard"))
        assert rig.broker.counts["orders"]["foreign updates"] == 1
        assert len(rig.rest.requests) == before


# --- groups ----------------------------------------------------------------------------------------------------------

LEGS = [
    record("made-up-1", "held", id="leg-tp", type="limit", side="sell", order_class="bracket"),
    record("made-up-2", "held", id="leg-sl", type="stop", side="sell", order_class="bracket"),
]
PRICES = {"take_profit_limit_price": Decimal(110), "stop_loss_stop_price": Decimal(90), "order_class": "bracket"}


async def bracketed(rig: BrokerRig) -> dict[str, Any]:
    """Take a bracket to the venue, which has filled its entry at once."""
    order = record("o1", "filled", order_class="bracket", legs=LEGS)
    rig.rest.on("POST", ORDERS, (200, order))
    rig.submit("o1", **PRICES)
    await rig.told("accepted")
    return order


async def test_legs_are_known_by_their_place_in_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The venue makes up the legs' client ids; ours end in -tp and -sl."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        rig.rest.on("POST", ORDERS, (200, record("o1", order_class="bracket", legs=LEGS)))
        rig.submit("o1", **PRICES)
        await rig.told("accepted")
        await rig.trades.send(update("new", LEGS[0] | {"status": "new"}))
        await rig.told("accepted", "o1-tp")
        rig.rest.on("DELETE", "/v2/orders/leg-sl", (204, None))
        rig.broker.cancel("o1-sl", 0)
        await until(lambda: rig.rest.asked("DELETE", "/v2/orders/leg-sl"))


async def test_a_leg_that_speaks_before_its_parents_answer_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """O07: only the parent's answer says whose leg it is."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        gate, late = held_back(200, record("o1", order_class="bracket", legs=LEGS))
        rig.rest.on("POST", ORDERS, late)
        rig.submit("o1", **PRICES)
        await until(lambda: rig.rest.asked("POST", ORDERS))
        await rig.trades.send(fill(LEGS[0], 100, 100))
        await settle()
        assert rig.fills("made-up-1") == []
        gate.set()
        await until(lambda: rig.fills("o1-tp"))
        assert rig.broker.counts["orders"].get("foreign updates") is None


async def test_the_end_of_a_leg_makes_the_whole_group_be_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """O14: the take-profit fills, and no event says that the stop is gone."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        order = await bracketed(rig)
        after = order | {
            "legs": [LEGS[0] | {"status": "filled", "filled_qty": "100"}, LEGS[1] | {"status": "canceled"}]
        }
        rig.rest.on("GET", "/v2/orders/venue-o1", (200, after))
        await rig.trades.send(fill(LEGS[0], 100, 100))
        await until(lambda: rig.fills("o1-tp"))
        await rig.passing(2, "canceled", "o1-sl")
        await rig.told("canceled", "o1-sl")


MOVED = LEGS[1] | {"id": "venue-o2", "client_order_id": "o2", "status": "new", "replaces": "leg-sl"}
REPLACED = LEGS[1] | {"status": "replaced", "replaced_by": "venue-o2"}


async def test_what_replaces_a_leg_keeps_its_own_id_wherever_it_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands in the leg's place; taken for the leg, its fill would be booked on both, or it be canceled as ended."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        order = await bracketed(rig)
        rig.rest.on("PATCH", "/v2/orders/leg-sl", (200, MOVED))
        rig.submit("o2", side="sell", type="stop", stop_price=Decimal(95), replaces="o1-sl")
        await rig.told("accepted", "o2")
        shown = order | {"legs": [LEGS[0], MOVED]}
        rig.rest.on("GET", "/v2/orders/venue-o1", (200, shown))
        rig.rest.on("GET", ORDERS, (200, [shown]))
        await rig.trades.send(update("replaced", REPLACED))
        await rig.passing(2)
        assert rig.states("o1-sl")[-1] == "replaced"
        await rig.trades.send(fill(MOVED, 100, 100))
        await until(lambda: rig.fills("o2"))
        rig.rest.on("GET", FILLS, (200, [activity(MOVED, 100, 100)]))
        rig.rest.on("GET", "/v2/account", (200, {}))
        rig.rest.on("GET", "/v2/positions", (200, []))
        state = await rig.broker.state(0)
        assert [fill.client_order_id for fill in state.fills] == ["o2"]
        assert [one.client_order_id for one in state.open_orders] == ["o1-tp", "o2"]
        assert rig.fills("o1-sl") == []


async def test_a_leg_that_was_replaced_before_a_restart_is_found_behind_what_replaced_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed between the amendment and its event: the group lists only the new stop, twice moved by now."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        again = MOVED | {"id": "venue-o3", "client_order_id": "o3", "replaces": "venue-o2"}
        parent = record("o1", "filled", order_class="bracket", legs=[LEGS[0], again])
        rig.rest.on("GET", "/v2/orders:by_client_order_id", (200, parent))
        rig.rest.on("GET", "/v2/orders/venue-o2", (200, MOVED | {"status": "replaced"}))
        rig.rest.on("GET", "/v2/orders/leg-sl", (200, REPLACED))
        rig.broker.resolve(["o1-sl"])
        await rig.told("replaced", "o1-sl")
        assert rig.states("o3") == []


async def test_a_rejected_parent_takes_its_legs_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """Legs that nobody will ever hold must not count as open."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        rig.rest.on("POST", ORDERS, (422, {"code": 42210000, "message": "no"}))
        rig.submit("o1", **PRICES)
        await rig.told("rejected")
        assert rig.states("o1-tp") == rig.states("o1-sl") == ["canceled"]


# --- replacing and canceling -----------------------------------------------------------------------------------------


async def test_a_replacement_carries_our_own_new_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """O13: without it the venue makes one up and the order is lost to us; only what changes is sent."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        await placed(rig)
        rig.rest.on("PATCH", "/v2/orders/venue-o1", (200, record("o2", replaces="venue-o1")))
        rig.submit("o2", replaces="o1", type="limit", limit_price=Decimal("99.50"))
        await rig.told("accepted", "o2")
        [(_, body)] = rig.rest.asked("PATCH", "/v2/orders/venue-o1")
        assert body == {"limit_price": "99.5", "client_order_id": "o2"}
        await rig.trades.send(update("replaced", record("o1", "replaced", replaced_by="venue-o2")))
        await rig.told("replaced")


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (403, {"code": 40310000, "message": "order parameters are not changed"}, "order parameters are not changed"),
        (422, {"code": 42210000, "message": "unable to replace order, order is not open"}, "order is not open"),
    ],
)
async def test_a_refused_replacement_leaves_the_old_order_as_it_is(
    monkeypatch: pytest.MonkeyPatch, status: int, body: Any, told: str
) -> None:
    """The new one is rejected, the old one is read and lives on."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        order = await placed(rig)
        rig.rest.on("PATCH", "/v2/orders/venue-o1", (status, body))
        rig.rest.on("GET", "/v2/orders/venue-o1", (200, order))
        rig.submit("o2", replaces="o1")
        await rig.told("rejected", "o2")
        assert told in rig.reason("o2")
        await until(lambda: rig.states() == ["accepted", "accepted"])


async def test_a_replacement_that_was_refused_and_done_is_adopted(monkeypatch: pytest.MonkeyPatch) -> None:
    """C.5: "order isn't sent to exchange yet", although it was replaced anyway."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        await placed(rig)
        rig.rest.on(
            "PATCH", "/v2/orders/venue-o1", (422, {"code": 42210000, "message": "order isn't sent to exchange yet"})
        )
        rig.rest.on("GET", "/v2/orders:by_client_order_id", (200, record("o2", replaces="venue-o1")))
        rig.submit("o2", replaces="o1")
        await rig.told("accepted", "o2")


async def test_an_order_that_has_filled_in_part_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """O12: no source says whether the new quantity counts what has filled; it could fill twice."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        order = await placed(rig)
        await rig.trades.send(fill(order, 30, 30))
        await until(rig.fills)
        rig.rest.on("GET", "/v2/orders/venue-o1", (200, order | {"status": "partially_filled", "filled_qty": "30"}))
        rig.submit("o2", replaces="o1")
        await rig.told("rejected", "o2")
        assert "has filled in part; cancel it and send a new one" in rig.reason("o2")
        assert not rig.rest.asked("PATCH", "/v2/orders/venue-o1")


async def test_a_fill_while_being_replaced_cancels_the_replacement(monkeypatch: pytest.MonkeyPatch) -> None:
    """O12, F26: the race; together the two must not fill more than was wanted."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        order = await placed(rig)
        rig.rest.on("PATCH", "/v2/orders/venue-o1", (200, record("o2", replaces="venue-o1")))
        rig.submit("o2", replaces="o1", type="limit", limit_price=Decimal(99))
        await rig.told("accepted", "o2")
        rig.rest.on("DELETE", "/v2/orders/venue-o2", (204, None))
        await rig.trades.send(fill(order, 30, 30))
        await until(lambda: rig.rest.asked("DELETE", "/v2/orders/venue-o2"))
        assert rig.fills() == [("x-venue-o1-30", "30", "100.5")]


async def test_a_fill_while_being_replaced_that_only_rest_tells_cancels_the_replacement_of_the_replacement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its frame is lost, the end of the order shows a hole, and meanwhile the order was moved once more."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        order = await placed(rig)
        for old, new, price in (("o1", "o2", 99), ("o2", "o3", 98)):
            rig.rest.on("PATCH", f"/v2/orders/venue-{old}", (200, record(new, replaces=f"venue-{old}")))
            rig.submit(new, replaces=old, type="limit", limit_price=Decimal(price))
            await rig.told("accepted", new)
        await rig.trades.send(update("replaced", record("o2", "replaced", replaced_by="venue-o3")))
        await rig.told("replaced", "o2")
        rig.rest.on("DELETE", "/v2/orders/venue-o3", (204, None))
        rig.rest.on("GET", FILLS, (200, [activity(order, 30, 30)]))
        await rig.trades.send(update("replaced", order | {"status": "replaced", "filled_qty": "30"}))
        await rig.passing(2, "replaced")
        await until(lambda: rig.rest.asked("DELETE", "/v2/orders/venue-o3"))
        assert rig.fills() == [("x-venue-o1-30", "30", "100.5")]
        assert rig.rest.asked("DELETE", "/v2/orders/venue-o2") == []


async def test_an_order_that_fills_in_full_while_being_replaced_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not asked after at every reconnect, and the others of its group are looked at."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        order = await bracketed(rig)
        rig.rest.on("PATCH", "/v2/orders/leg-tp", (200, record("o2", replaces="leg-tp")))
        rig.submit("o2", side="sell", type="limit", limit_price=Decimal(111), replaces="o1-tp")
        await rig.told("accepted", "o2")
        rig.rest.on("DELETE", "/v2/orders/venue-o2", (204, None))
        rig.rest.on("GET", "/v2/orders/venue-o1", (200, order | {"legs": [LEGS[1] | {"status": "canceled"}]}))
        await rig.trades.send(fill(LEGS[0], 100, 100))
        await until(lambda: rig.rest.asked("DELETE", "/v2/orders/venue-o2"))
        await rig.passing(2, "canceled", "o1-sl")
        await rig.told("canceled", "o1-sl")
        assert "o1-tp" not in rig.broker._book.open


@pytest.mark.parametrize("frame", ["before the answer", "after it", "lost"])
async def test_what_a_replacement_carries_is_not_booked_again(monkeypatch: pytest.MonkeyPatch, frame: str) -> None:
    """It shows what its predecessor has filled; whichever comes first, the amendment's answer or the fill."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        order = await placed(rig)
        carried = record("o2", replaces="venue-o1", filled_qty="30", filled_avg_price="100.5")
        ended = order | {"status": "replaced", "filled_qty": "30", "filled_avg_price": "100.5"}
        gate, late = held_back(200, carried)
        rig.rest.on("PATCH", "/v2/orders/venue-o1", late)
        rig.rest.on("DELETE", "/v2/orders/venue-o2", (204, None))
        rig.rest.on("GET", "/v2/orders/venue-o1", (200, ended))
        rig.rest.on("GET", "/v2/orders/venue-o2", (200, carried))
        rig.submit("o2", replaces="o1", type="limit", limit_price=Decimal(99))
        await until(lambda: rig.rest.asked("PATCH", "/v2/orders/venue-o1"))
        if frame == "before the answer":
            await rig.trades.send(fill(order, 30, 30))
            await until(rig.fills)
        gate.set()
        await rig.told("accepted", "o2")
        if frame == "after it":
            await rig.trades.send(fill(order, 30, 30))
        rig.rest.on("GET", FILLS, (200, [activity(order, 30, 30)]))
        await rig.trades.send(update("replaced", ended))
        await rig.passing(30)
        assert rig.fills() == [("x-venue-o1-30", "30", "100.5")]
        assert rig.fills("o2") == []
        assert rig.rest.asked("DELETE", "/v2/orders/venue-o2")
        shown = fill(carried, 70, 100)  # the rest fills before the cancel arrives
        await rig.trades.send(shown)
        await rig.told("filled", "o2")
        assert rig.fills("o2") == [("x-venue-o2-100", "70", "100.5")]


async def test_a_fill_of_its_own_shows_that_a_replacement_carries_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as its predecessor filled, its frame lost and its activity late: taken for carried until it is told."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        order = await placed(rig)
        fresh = record("o2", replaces="venue-o1")
        rig.rest.on("PATCH", "/v2/orders/venue-o1", (200, fresh))
        rig.rest.on("DELETE", "/v2/orders/venue-o2", (204, None))
        rig.rest.on("GET", "/v2/orders/venue-o1", (200, order | {"status": "replaced", "filled_qty": "30"}))
        rig.submit("o2", replaces="o1", type="limit", limit_price=Decimal(99))
        await rig.told("accepted", "o2")
        await rig.trades.send(fill(order, 30, 30))
        await rig.trades.send(update("canceled", fresh | {"status": "canceled", "filled_qty": "30"}))
        await rig.passing(2, "canceled", "o2")
        await rig.told("canceled", "o2")
        rig.rest.on("GET", FILLS, (200, [activity(order, 30, 30), activity(fresh, 30, 30)]))
        await rig.broker._catch_up.fills(0)
        assert rig.fills("o2") == [("x-venue-o2-30", "30", "100.5")]


@pytest.mark.parametrize("is_carried", [True, False])
async def test_after_a_restart_a_replacement_is_judged_by_what_its_predecessor_filled(
    monkeypatch: pytest.MonkeyPatch, is_carried: bool
) -> None:
    """Killed before the amendment's answer: the record names the predecessor, whose fill is journaled."""
    async with broker_rig(monkeypatch) as rig:
        rig.broker.know([Fill("x-venue-o1-30", "o1", "SPY", "buy", Decimal(30), Decimal("100.5"), Decimal(0), 0, 0)])
        alive = record("o2", replaces="venue-o1", filled_qty="30" if is_carried else "0", filled_avg_price="100.5")
        ended = record("o1", "replaced", filled_qty="30", filled_avg_price="100.5")
        rig.rest.on("GET", "/v2/orders:by_client_order_id", (200, alive))
        rig.rest.on("GET", "/v2/orders/venue-o1", (200, ended))
        rig.rest.on("GET", "/v2/orders/venue-o2", (200, alive))
        rig.rest.on("GET", FILLS, (200, [activity(ended, 30, 30)]))
        rig.rest.on("DELETE", "/v2/orders/venue-o2", (204, None))
        await rig.connected()
        rig.broker.resolve(["o2"])
        await rig.passing(20)
        await rig.told("accepted", "o2")
        await until(lambda: rig.rest.asked("DELETE", "/v2/orders/venue-o2"))
        assert rig.fills() == rig.fills("o2") == []


async def test_nothing_is_inferred_of_a_replacement_whose_predecessor_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may carry all that it shows; the difference in positions is told and halts, a guess would be booked."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        await placed(rig)
        rig.rest.on("PATCH", "/v2/orders/venue-o1", (200, record("o2", replaces="venue-o1")))
        rig.rest.on("GET", "/v2/orders/venue-o1", (404, {}))
        rig.submit("o2", replaces="o1", type="limit", limit_price=Decimal(99))
        await rig.told("accepted", "o2")
        shown = record("o2", "canceled", replaces="venue-o1", filled_qty="30", filled_avg_price="100.5")
        await rig.trades.send(update("canceled", shown))
        await rig.passing(30)
        await rig.told("canceled", "o2")
        assert rig.fills("o2") == []


async def test_a_replacement_that_is_rejected_later_gives_the_old_order_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """O11: 200 does not mean replaced."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        order = await placed(rig)
        rig.rest.on("PATCH", "/v2/orders/venue-o1", (200, record("o2", replaces="venue-o1")))
        rig.submit("o2", replaces="o1", type="limit", limit_price=Decimal(99))
        await rig.told("accepted", "o2")
        rig.rest.on("GET", "/v2/orders/venue-o1", (200, order))
        await rig.trades.send(update("rejected", record("o2", "rejected", replaces="venue-o1")))
        await rig.told("rejected", "o2")
        await until(lambda: rig.states() == ["accepted", "accepted"])


async def test_a_cancel_is_asked_until_the_venue_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """F73: time-outs, rate limits and gateway errors do not keep an order alive."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        await placed(rig)
        path = "/v2/orders/venue-o1"
        rig.rest.on("DELETE", path, (429, {}), (504, ""), ConnectionError(), (204, None))
        rig.broker.cancel("o1", 0)
        for _ in range(20):
            await rig.passing(0.5)
        await until(lambda: len(rig.rest.asked("DELETE", path)) >= 4)


async def test_orders_of_an_earlier_process_are_canceled_through_any_storm(monkeypatch: pytest.MonkeyPatch) -> None:
    """One list tells which they are, however often it fails; each is asked to end until the venue has spoken."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        before = len(rig.rest.asked("GET", ORDERS))
        names = [f"o{number}" for number in range(20)]
        rig.rest.on("GET", ORDERS, *[(504, "")] * 6, (200, [record(name) for name in names]))
        for name in names:
            rig.rest.on("GET", f"{ORDERS}:by_client_order_id", (504, ""))
            rig.rest.on("DELETE", f"{ORDERS}/venue-{name}", *[(504, "")] * 6, (204, None))
            rig.broker.cancel(name, 0)
        await rig.passing(60.0)
        await until(lambda: all(len(rig.rest.asked("DELETE", f"{ORDERS}/venue-{name}")) == 7 for name in names))
        assert len(rig.rest.asked("GET", ORDERS)) - before < 20


async def test_a_cancel_of_an_order_that_turns_up_later_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """An earlier process sent it, and the venue's pages lag behind: it is asked after, found, and canceled."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        by_client = f"{ORDERS}:by_client_order_id"
        rig.rest.on("GET", by_client, (404, {"code": 40410000, "message": "order not found"}))
        rig.rest.on("DELETE", f"{ORDERS}/venue-o1", (204, None))
        rig.broker.resolve(["o1"])
        rig.broker.cancel("o1", 0)
        await rig.passing(1.5)
        assert rig.rest.asked("DELETE", f"{ORDERS}/venue-o1") == []
        rig.rest.on("GET", by_client, (200, record("o1")))
        await rig.passing(8.0)
        await until(lambda: rig.rest.asked("DELETE", f"{ORDERS}/venue-o1"))


async def test_a_cancel_that_is_refused_tells_how_the_order_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """422, already filled: the race is normal, and what the order shows is told."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        await placed(rig)
        rig.rest.on("DELETE", "/v2/orders/venue-o1", (422, {"code": 42210000, "message": 'already in "expired" state'}))
        rig.rest.on("GET", "/v2/orders/venue-o1", (200, record("o1", "expired")))
        rig.broker.cancel("o1", 0)
        await rig.told("expired")


async def test_a_cancel_of_an_order_on_its_way_follows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The venue's id is in the answer that is still coming."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        gate, late = held_back(200, record("o1"))
        rig.rest.on("POST", ORDERS, late)
        rig.rest.on("DELETE", "/v2/orders/venue-o1", (204, None))
        rig.submit()
        rig.broker.cancel("o1", 0)
        await settle()
        gate.set()
        await until(lambda: rig.rest.asked("DELETE", "/v2/orders/venue-o1"))


async def test_a_cancel_of_an_unknown_order_waits_for_its_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is canceled as soon as it is found."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        rig.rest.on("POST", ORDERS, (504, ""))
        rig.rest.on("GET", "/v2/orders:by_client_order_id", (200, record("o1")))
        rig.rest.on("DELETE", "/v2/orders/venue-o1", (204, None))
        rig.submit()
        await rig.told("unknown")
        rig.broker.cancel("o1", 0)
        await settle()
        assert not rig.rest.asked("DELETE", "/v2/orders/venue-o1")
        await rig.passing(2)
        await until(lambda: rig.rest.asked("DELETE", "/v2/orders/venue-o1"))


async def test_a_cancel_that_is_not_carried_out_is_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    """O06, F29: 204 and then nothing for fifteen seconds."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        await placed(rig)
        rig.rest.on("DELETE", "/v2/orders/venue-o1", (204, None))
        rig.rest.on("GET", "/v2/orders/venue-o1", (200, record("o1", "pending_cancel")))
        rig.broker.cancel("o1", 0)
        await rig.passing(16)
        await rig.told("pending_cancel")
        assert rig.broker.counts["orders"]["stuck cancels"] == 1


async def test_cancel_all_asks_until_nothing_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """C31: through rate limits and gateway errors, until the venue itself shows no order."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        rig.rest.on("DELETE", ORDERS, (429, {}), (504, ""), (207, [{"id": "venue-o1", "status": 200}]))
        rig.rest.on("GET", ORDERS, (200, [record("o1")]), (504, ""), (200, [record("o1")]), (200, []))
        import asyncio

        canceling = asyncio.create_task(rig.broker.cancel_all())
        for _ in range(20):
            await rig.passing(0.5)
        await canceling
        assert len(rig.rest.asked("DELETE", ORDERS)) == 4


# --- the connection --------------------------------------------------------------------------------------------------


async def test_a_reconnect_reads_what_happened_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """O03, F23: the stream has no replay; fills come from activities, ends from the orders, and then the link is up."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        first, second = await placed(rig, "o1"), await placed(rig, "o2")
        rig.rest.on("GET", FILLS, (200, [activity(first, 40, 40)]))
        rig.rest.on("GET", ORDERS, (200, [first | {"status": "partially_filled", "filled_qty": "40"}]))
        rig.rest.on("GET", "/v2/orders/venue-o2", (200, second | {"status": "canceled"}))
        rig.trades.abort()
        await until(lambda: rig.links == [True, False])
        await rig.passing(2)
        await until(lambda: rig.links == [True, False, True])
        assert rig.fills("o1") == [("x-venue-o1-40", "40", "100.5")]
        assert rig.states("o2")[-1] == "canceled"
        after = [type(event).__name__ for event in rig.events]
        assert after[-1] == "Link"


async def test_many_pages_of_missed_fills_are_all_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """R16: a page is a hundred; the token leads on, and a server that repeats itself does not hold us for ever."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        order = await placed(rig, qty="250")
        pages = [activity(order, 1, number) for number in range(1, 251)]

        def page(request: Any) -> tuple[int, Any]:
            token = request.query.get("page_token")
            start = next((i + 1 for i, one in enumerate(pages) if one["id"] == token), 0)
            return 200, pages[start : start + 100]

        rig.rest.on("GET", FILLS, page)
        found = await rig.broker._catch_up.fills(0)
        assert len(found) == len(rig.fills()) == 250
        rig.rest.on("GET", FILLS, (200, pages[:100]))
        assert len(await rig.broker._catch_up.fills(0)) == 100


async def test_the_link_is_down_until_rest_has_caught_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """I.6: entries wait until the books are whole."""
    async with broker_rig(monkeypatch) as rig:
        rig.rest.on("GET", FILLS, (503, ""))
        await until(lambda: rig.trades.listening)
        await rig.passing(3)
        assert rig.links == []
        rig.rest.on("GET", FILLS, (200, []))
        await rig.passing(20)
        assert rig.links == [True]


async def test_a_quiet_account_does_not_reconnect_ever_more_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one update in days, each idle disconnect would otherwise double the time in which fills go unseen."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        for number in range(1, 8):
            await rig.time.pass_s(3600)
            rig.trades.abort()
            await until(lambda number=number: rig.links.count(False) == number)
            assert rig.broker.session.attempts == 1
            await rig.passing(1)
            await until(lambda number=number: rig.links.count(True) == number + 1)


async def test_refused_keys_end_the_broker_with_one_clear_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong keys, or those of the other side."""
    async with broker_rig(monkeypatch) as rig:
        rig.trades.status = "unauthorized"
        error = await rig.ended()
        assert isinstance(error, BrokerError)
        assert "the keys were refused (unauthorized)" in str(error)


async def test_a_listening_that_is_not_confirmed_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """F22: authorized, and the subscription silently missing."""
    async with broker_rig(monkeypatch) as rig:
        rig.trades.streams = []
        await until(lambda: rig.broker.session.lost)
        rig.trades.streams = ["trade_updates"]
        await rig.passing(3)
        await rig.connected()


def test_link_is_an_event_of_its_own() -> None:
    """The controls hear of the order stream by it."""
    assert Link("orders", True, 0, 0).up


# --- the ledger of executions ----------------------------------------------------------------------------------------


def execution(cum: int, qty: int = 10, execution_id: str = "", price: int = 100) -> Execution:
    return Execution("o", execution_id or f"e{cum}", Decimal(qty), Decimal(price), Decimal(cum))


@given(
    st.permutations([10, 20, 30, 40, 50]), st.lists(st.sampled_from([10, 20, 30, 40, 50]), max_size=20), st.booleans()
)
def test_every_execution_is_booked_once_in_any_order_by_any_source(
    order: list[int], repeated: list[int], other_ids: bool
) -> None:
    """Stream and activities, in whatever order and however often: the sum is what filled."""
    ledger = Executions()
    booked = Decimal(0)
    for index, cum in enumerate([*order, *repeated]):
        name = f"activity-{cum}" if other_ids and index % 2 else f"e{cum}"
        booked += sum(qty for _, qty, is_new in ledger.book([execution(cum, execution_id=name)]) if is_new)
    assert booked == ledger.filled_qty("o") == 50


def test_what_a_journal_knows_is_not_booked_again_under_another_id() -> None:
    """After a restart only ids, quantities and prices are known; the activities bring the places."""
    ledger = Executions()
    for name, qty, price in (("a", 30, 100), ("c", 50, 102)):
        ledger.know("o", name, Decimal(qty), Decimal(price))
    told = [
        Execution("o", "u1", Decimal(30), Decimal(100), Decimal(30)),
        Execution("o", "u2", Decimal(20), Decimal(101), Decimal(50)),
        Execution("o", "u3", Decimal(50), Decimal(102), Decimal(100)),
    ]
    booked = ledger.book(told)
    assert [(one.execution_id, is_new) for one, _, is_new in booked] == [("a", False), ("u2", True), ("c", False)]
    assert ledger.filled_qty("o") == 100
    assert ledger.value("o") == 30 * 100 + 20 * 101 + 50 * 102


def test_where_the_journal_has_the_same_ids_they_decide() -> None:
    """Two equal fills, one of them missed: the id says which."""
    ledger = Executions()
    ledger.know("o", "e20", Decimal(10), Decimal(100))
    booked = ledger.book([execution(10), execution(20)])
    assert [(one.execution_id, is_new) for one, _, is_new in booked] == [("e10", True), ("e20", False)]


def test_an_execution_that_overlaps_is_booked_for_the_rest() -> None:
    """An inferred execution covered part of it."""
    ledger = Executions()
    ledger.book([execution(30, 30, "inferred")])
    [(_, qty, is_new)] = ledger.book([execution(50, 40)])
    assert (qty, is_new, ledger.filled_qty("o")) == (20, True, 50)


SPLITS = st.lists(st.tuples(st.integers(1, 40), st.integers(99, 101)), min_size=1, max_size=6)


@given(SPLITS, st.lists(st.booleans(), min_size=6, max_size=6), st.integers(0, 6), st.booleans(), st.booleans())
def test_a_restart_books_what_was_missed_and_nothing_again(
    splits: list[tuple[int, int]], is_told: list[bool], lived: int, infers: bool, other_ids: bool
) -> None:
    """Of the first few some frames came and the rest was inferred, or not; then the activities tell all of them."""
    cum, told = 0, []
    for number, (qty, price) in enumerate(splits):
        cum += qty
        told.append(execution(cum, qty, f"e{number}", price))
    first, second, journal = Executions(), Executions(), []
    seen = [one for one, came in zip(told[:lived], is_told, strict=False) if came]
    journal += first.book(seen)
    if infers and told[:lived]:
        filled = told[:lived][-1].cum_qty
        assert filled is not None
        gaps = first.gaps("o", filled)
        journal += first.book(
            [Execution("o", inferred_id("v", high), high - low, Decimal(100), high) for low, high in gaps]
        )
        assert first.filled_qty("o") == filled
    for one, qty, is_new in journal:
        assert is_new
        second.know("o", one.execution_id, qty, one.price)
    for _ in range(2):
        again = [one._replace(execution_id=f"u-{one.execution_id}") if other_ids else one for one in told]
        booked = second.book(again)
        assert second.filled_qty("o") == cum
        known = {one.execution_id for one, *_ in journal}
        assert known <= {one.execution_id for one, *_ in booked}


def test_an_inferred_execution_is_known_again_by_the_place_in_its_id() -> None:
    """The journal has nothing else of it; what only looks like such an id has no place, and counts all the same."""
    told = [execution(40, 40, "u1", 99), execution(100, 60, "u2", 101)]
    for name in ("venue-o/100", "venue-o/NaN", "venue/o", "plain"):
        ledger = Executions()
        ledger.know("o", name, Decimal(100), Decimal(100))
        assert [(one.execution_id, is_new) for one, _, is_new in ledger.book(told)] == [(name, False)] * 2
        [(one, qty, is_new)] = ledger.book([execution(130, 30, "u3")])
        assert (one.execution_id, qty, is_new, ledger.filled_qty("o")) == ("u3", 30, True, 130)


def test_what_was_booked_for_the_rest_alone_is_known_again_by_the_rest() -> None:
    """Its journaled quantity is not its own; under another id only that and its price tell what it is."""
    ledger = Executions()
    ledger.know("o", "venue-o/30", Decimal(30), Decimal(100))
    ledger.know("o", "e50", Decimal(20), Decimal(102))
    told = [execution(10, 10, "u1", 99), execution(50, 40, "u2", 102)]
    assert [(one.execution_id, is_new) for one, _, is_new in ledger.book(told)] == [
        ("venue-o/30", False),
        ("e50", False),
    ]
    assert ledger.filled_qty("o") == 50


# --- words and recorded payloads -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("symbol", "asset_class", "canonical"),
    [("BTCUSD", "crypto", "BTC/USD"), ("BTC/USD", "crypto", "BTC/USD"), ("ETHBTC", "crypto", "ETH/BTC"),
     ("BTCUSDT", "crypto", "BTC/USDT"), ("BUSD", "us_equity", "BUSD"), ("XYZ", "crypto", "XYZ")],
)  # fmt: skip
def test_a_coin_has_one_name_everywhere(symbol: str, asset_class: str, canonical: str) -> None:
    """O25: positions lack the slash that orders have."""
    assert canonical_symbol(symbol, asset_class) == canonical


def test_every_composed_update_reads_and_has_a_meaning(shared_data: Path) -> None:
    """The catalogue's twenty updates: each decodes, and its order's status is known."""
    lines = (shared_data / "alpaca" / "trade_updates_composed.jsonl").read_text().splitlines()
    for line in lines:
        frame = json.dumps(json.loads(line)["frame"])
        envelope = msgspec.json.decode(frame, type=Frame)
        update_record = msgspec.json.decode(envelope.data, type=UpdateRecord)
        assert update_record.order.status in STATUSES
