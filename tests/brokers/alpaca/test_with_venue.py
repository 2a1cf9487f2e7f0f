"""The adapter and the local venue together: an honest day, and every fault of the catalogues."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest

from engine.errors import BrokerError
from engine.events import DAY_NS, MINUTE_NS, Bar, Command, Fill, Link
from tests.brokers.alpaca.venue_rig import Trader, listening, quick, trading, until
from tests.brokers.alpaca_server.local import bar, day, quote
from tests.brokers.paper_venue import at

BRACKET = {"order_class": "bracket", "take_profit_limit_price": Decimal(105), "stop_loss_stop_price": Decimal(95)}


async def a_day(trader: Trader, after: Any = None) -> None:
    """Buy, rest, replace, cancel, bracket, sell: a little of everything, whatever goes wrong on the way."""
    local = trader.local
    await local.happen(quote("9:31"))
    trader.submit("market")
    trader.submit("rests", type="limit", limit_price=Decimal(90))
    await trader.answered("market")
    await trader.answered("rests")
    await local.happen(quote("9:32"))
    trader.submit("moved", type="limit", limit_price=Decimal(91), replaces="rests")
    trader.submit("group", qty=100, **BRACKET)
    await trader.answered("moved")
    await trader.answered("group")
    await local.happen(quote("9:33"))
    await local.happen(quote("9:34"))
    trader.broker.cancel("moved", 0)
    trader.broker.cancel("rests", 0)
    await quick(1)
    await local.happen(quote("9:35", bid=105.5, ask=105.6))
    trader.submit("sold", "sell", 5)
    await trader.answered("sold")
    await local.happen(quote("9:36", bid=105.5, ask=105.6))
    await local.happen(quote("9:37", bid=90.5, ask=90.6))


async def test_an_honest_day_agrees_with_the_venue_to_the_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """No fault at all: fills, positions and cash as the venue's own ledger has them."""
    async with trading(monkeypatch) as trader:
        await trader.connected()
        await a_day(trader)
        await trader.settled()
        assert [fill.qty for fill in trader.fills("market")] == [10]
        assert trader.statuses("rests")[-1] == "replaced"
        assert trader.statuses("moved")[-1] == "canceled"
        assert sum(fill.qty for fill in trader.fills("group-tp")) == 100
        assert trader.statuses("group-sl")[-1] == "canceled"
        state = await trader.broker.state(0)
        assert state.positions == {"AAPL": Decimal(5)}
        assert state.cash_usd == trader.local.venue.ledger.cash_usd
        assert {fill.execution_id for fill in state.fills} == {
            e.execution_id for e in trader.events if isinstance(e, Fill)
        }
        assert not trader.broker.counts["orders"]


@pytest.mark.parametrize("activity_id", ["execution", "other"])
async def test_a_restarted_broker_knows_every_execution_again(
    monkeypatch: pytest.MonkeyPatch, activity_id: str
) -> None:
    """U6: with the journal's fills made known, the activities name each by the id that the stream gave it."""
    async with trading(monkeypatch, activity_id=activity_id) as trader:
        await trader.connected()
        await a_day(trader)
        await trader.settled()
        journaled = [event for event in trader.events if isinstance(event, Fill)]
        from brokers.alpaca.orders import AlpacaBroker

        again = AlpacaBroker(trader.broker.settings, mode="paper", seed=1, clock=trader.broker._clock, sleep=quick)
        again.know(journaled)
        state = await again.state(0)
        await again._rest.close()
        ours = {fill.execution_id for fill in journaled}
        assert {fill.execution_id for fill in state.fills} == ours


ORDER_FAULTS = [
    "O01", "O02", "O03", "O05", "O06", "O07", "O08", "O09", "O10", "O11", "O12", "O13", "O14", "O15", "O17",
    "O18", "O19", "O20", "O21", "R01", "R02", "R03", "R04", "R05", "R14", "R15", "R17", "F01", "F02", "F03", "F04",
    "F05", "F07", "F08", "F10", "F11", "F14", "F15", "F16", "F17", "F19", "F20", "F21", "F22", "F23", "F25",
    "F26", "F27", "F28", "F29", "F30", "F31", "F33", "F06", "F09", "F35", "O16", "O25", "R06",
]  # fmt: skip


@pytest.mark.parametrize("fault", ORDER_FAULTS)
async def test_an_order_fault_leaves_books_that_agree_with_the_venue(
    monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """Each fault fires; no order lives twice, no fill is lost or doubled, every end is told."""
    async with trading(monkeypatch) as trader:
        local = trader.local
        if fault == "F06":  # a broker that cannot read its account does not begin to trade
            await trader.connected()
        await local.arm(fault)
        await trader.connected()
        await a_day(trader)
        with suppress(BrokerError):
            await trader.broker.state(0)
            await trader.broker.state(0)
        fired = await local.fired()
        await local.http.delete(f"{local.url}/control/faults")
        await trader.settled()
        assert sum(fired.values()) > 0, f"{fault} never fired"
        ours = [order.client_order_id for order in local.venue.book.orders.values() if order.parent is None]
        assert sorted(ours) == sorted(set(ours))
        assert not trader.broker._book.frozen


async def test_unanswered_pings_end_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """W11: a half-open connection is given up within the two times of the keep-alive, and the next one catches up."""
    monkeypatch.setattr("brokers.alpaca.session.PING_EVERY_S", 0.05)
    monkeypatch.setattr("brokers.alpaca.session.PONG_WITHIN_S", 0.05)
    async with trading(monkeypatch) as trader:
        await trader.local.arm("W11", times=1)
        await until(lambda: any(isinstance(event, Link) and not event.up for event in trader.events))
        await until(lambda: isinstance(trader.events[-1], Link) and trader.events[-1].up)
        assert sum((await trader.local.fired()).values()) > 0


async def test_a_mute_order_stream_is_found_out_by_a_fill_that_it_did_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """F13: it answers pings and says nothing; the periodic reading of the account shows it, and a new one is opened."""
    async with trading(monkeypatch) as trader:
        await trader.connected()
        await trader.local.happen(quote("9:31"))
        await trader.local.arm("F13")
        trader.submit("market")
        await trader.answered("market")
        await trader.local.happen(quote("9:32"), quote("9:33"))
        assert trader.fills("market") == []
        await trader.broker.state(0)
        assert len(trader.fills("market")) == 1
        await until(lambda: [event.up for event in trader.events if isinstance(event, Link)] == [True, False, True])
        trader.submit("sold", "sell")
        await trader.answered("sold")
        await trader.local.happen(quote("9:34"))
        await until(lambda: trader.fills("sold"))
        assert sum((await trader.local.fired()).values()) > 0


@pytest.mark.parametrize("fault", ["O22", "F32"])
async def test_a_busted_fill_halts(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """The books need a person's hand; nothing is guessed."""
    async with trading(monkeypatch) as trader:
        await trader.connected()
        await trader.local.happen(quote("9:31"))
        await trader.local.arm(fault)
        trader.submit("market")
        await trader.answered("market")
        await trader.local.happen(quote("9:32"))
        await until(lambda: any(isinstance(event, Command) and event.action == "halt" for event in trader.events))
        assert sum((await trader.local.fired()).values()) > 0


@pytest.mark.parametrize("fault", ["O24", "F34"])
async def test_a_foreign_order_is_reported_and_left_alone(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """Its fill is told under its own id, its position is in the account, and nothing is sent for it."""
    async with trading(monkeypatch) as trader:
        await trader.connected()
        await trader.local.happen(quote("9:31"))
        await trader.local.arm(fault, **{"with": {"symbol": "AAPL", "side": "buy", "qty": "1"}})
        await trader.local.happen(quote("9:32"), quote("9:33"))
        await until(lambda: any(isinstance(event, Fill) for event in trader.events))
        state = await trader.broker.state(0)
        assert state.positions == {"AAPL": Decimal(1)}
        assert trader.broker.counts["orders"]["foreign updates"] >= 1


async def test_partial_fills_of_every_size_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """O04, O16, F18: parts of thirty, alike in all but id; the stalled bracket's legs stay held."""
    async with trading(monkeypatch) as trader:
        await trader.connected()
        await trader.local.happen(quote("9:31"))
        for fault in ("O04", "F18"):
            await trader.local.arm(fault)
        trader.submit("big", qty=100)
        await trader.answered("big")
        for minute in range(32, 40):
            await trader.local.happen(quote(f"9:{minute}"))
        await trader.settled()
        assert sum(fill.qty for fill in trader.fills("big")) == 100
        assert len(trader.fills("big")) >= 4
        assert all((await trader.local.fired()).values())


# --- market data -----------------------------------------------------------------------------------------------------

DATA_FAULTS = ["W01", "W02", "W03", "W04", "W08", "W09", "W10", "W12", "W13", "F21", "F22", "F24"]
SYMBOLS = ["AAPL", "MSFT"]


def tape(minutes: int = 30) -> list[Bar]:
    """Two symbols' bars."""
    return [bar(f"9:{31 + minute}" if minute < 29 else f"10:{minute - 29:02}", symbol=symbol)
             for minute in range(minutes) for symbol in SYMBOLS]  # fmt: skip


@pytest.mark.parametrize("fault", DATA_FAULTS)
async def test_a_data_fault_leaves_neither_duplicate_nor_hole(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """Whatever breaks in the middle of the stream: in the end every bar of the tape was published exactly once."""
    monkeypatch.setattr("brokers.alpaca.stream.GREET_S", 0.2)
    bars = tape()
    early = fault in ("W02", "W03", "W04", "W08", "F22")
    async with listening(monkeypatch, bars, symbols=SYMBOLS) as listener:
        local = listener.local
        if early:
            await local.arm(fault)
        await listener.connected()
        await local.step(10)
        await until(lambda: listener.bars)
        if not early:
            await local.arm(fault)
        for _ in range(10):
            await local.step(3)
            await quick(2)
        assert sum((await local.fired()).values()) > 0
        await quick(40)
        await listener.connected()
        await local.step(100)
        await quick(30)
        wanted = {(one.symbol, one.ts_event_ns) for one in bars}
        await until(lambda: wanted <= set(listener.bars) or listener.running.done())
        assert len(listener.bars) == len(wanted)
        stamps = [event.ts_recv_ns for event in listener.events]
        assert stamps == sorted(stamps)


@pytest.mark.parametrize(
    ("fault", "told"),
    [("W05", "the keys were refused"), ("W06", "does not include this feed"), ("W07", "symbol limit")],
)
async def test_a_refused_stream_is_one_clear_error(monkeypatch: pytest.MonkeyPatch, fault: str, told: str) -> None:
    """Wrong keys, a feed that the plan lacks, too many symbols."""
    async with listening(monkeypatch, tape(1), symbols=SYMBOLS) as listener:
        await listener.local.arm(fault)
        await until(listener.running.done)
        assert told in str(listener.running.exception())
        assert sum((await listener.local.fired()).values()) > 0


async def test_bad_duplicate_and_late_messages_cost_only_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """W17, W18, F24: unknown, malformed, doubled, turned around; the connection stays, the rest comes once."""
    bars = tape()
    async with listening(monkeypatch, bars, symbols=SYMBOLS, quotes=True, updated_bars=True) as listener:
        local = listener.local
        await listener.connected()
        for fault in ("W17", "W18", "F24"):
            await local.arm(fault)
        for _ in range(60):
            await local.step(1)
            await quick(1)
        await local.happen(quote("10:05"))
        counts = listener.feed.counts["stocks"]
        await until(lambda: len(listener.bars) >= len(bars) - 4)
        assert len(listener.bars) == len(set(listener.bars))
        assert counts.malformed + counts.unknown >= 2
        assert any(event.revised for event in listener.events if isinstance(event, Bar))


async def test_one_silent_symbol_is_served_by_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """W19: MSFT is left out of every frame; REST has it, and it comes once."""
    bars = tape(20)
    async with listening(monkeypatch, bars, symbols=SYMBOLS) as listener:
        await listener.connected()
        await listener.local.arm("W19", where={"S": "MSFT"})
        for _ in range(20):
            await listener.local.step(2)
            await quick(3)
        await until(lambda: sum(symbol == "MSFT" for symbol, _ in listener.bars) >= 10)
        assert len(listener.bars) == len(set(listener.bars))
        assert listener.feed.counts["stocks"].silences > 0


def test_the_tape_of_these_tests_lies_within_one_session() -> None:
    """Otherwise nothing would be watched."""
    stamps = [one.ts_event_ns for one in tape()]
    assert stamps[0] == at("9:31")
    assert stamps[-1] - stamps[0] == 29 * MINUTE_NS < DAY_NS
    assert day()
