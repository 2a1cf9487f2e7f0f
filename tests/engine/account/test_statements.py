"""After each session the daemon gets the broker's statement, and the corridor compares (C39)."""

from __future__ import annotations

import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from engine import daemon, plugins
from engine.account import statements
from engine.errors import BrokerError
from engine.events import AccountStatement, AccountTerms, Reconciliation, TradingStateChanged
from tests.engine import test_live
from tests.engine.test_live import FAKES, records, session

NEXT_DAY = 8 * 60
"""Minutes after the fakes' start in which the UTC day, and so the session around the clock, turns."""


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Fakes as new, and no waiting."""
    found = sys.modules[plugins.load(plugins.FEED, f"{FAKES}:FakeFeed").__module__]
    found.FakeBroker.reset()
    found.FakeFeed.script = [found.bar(1, 100.0), found.bar(2, 100.0), found.bar(NEXT_DAY, 100.0)]
    monkeypatch.setattr(test_live, "fakes", found)
    for name in ("LOOK_EVERY_S", "AGAIN_S"):
        monkeypatch.setattr(statements, name, 0.001)
    for name in ("RECONCILE_START_S", "RECONCILE_OPEN_S", "RECONCILE_IDLE_S"):
        monkeypatch.setattr(test_live.live, name, 0.001)
    return found


def compared(core: Any) -> bool:
    return core.risk.post_trade.due is None and core.now_ns > test_live.fakes.START_NS + NEXT_DAY * 60 * 10**9 - 1


async def test_a_session_that_agrees_is_stated_once_and_trading_goes_on(tmp_path: Path, fakes: Any) -> None:
    """The statement is in the journal, with the execution; doing the run over finds the same."""
    run = await session(tmp_path, compared)
    [stated] = [record for record in records(tmp_path) if isinstance(record, AccountStatement)]
    assert list(stated.executions) == [f"x-{test_live.RUN}-once-1"]
    assert (stated.cash_usd, stated.positions) == (Decimal(9_000), {"SPY": Decimal(10)})
    assert run.core.risk.state == "active"
    assert daemon.verify(tmp_path / "run.journal")[0] > 0


async def test_a_statement_that_differs_halts_and_the_halt_outlives_a_restart(tmp_path: Path, fakes: Any) -> None:
    """An execution that the broker does not list any more, though cash and position agree: a person has to look."""

    def lost(core: Any) -> bool:
        if core.portfolio.position_qty("SPY") and fakes.FakeBroker.book["fills"]:
            fills = fakes.FakeBroker.book["fills"]
            fakes.FakeBroker.book["fills"] = []
            fakes.FakeBroker.foreign = {"SPY": Decimal(10)}
            fakes.FakeBroker.cash = Decimal(10_000) - 10 * fills[0].price
        return compared(core)

    run = await session(tmp_path, lost)
    assert run.core.risk.state == "halted"
    [halted] = [one for one in records(tmp_path) if isinstance(one, TradingStateChanged) and one.state == "halted"]
    assert (halted.control, halted.reason) == (
        "C39 post_trade",
        f"after the session: execution x-{test_live.RUN}-once-1 here only",
    )
    again = await session(tmp_path, lambda core: core.journal.seq > 0 and not core.journal.following)
    assert again.core.risk.state == "halted"
    assert daemon.verify(tmp_path / "run.journal")[0] > 0


async def test_an_account_that_cannot_be_read_after_the_session_halts(
    tmp_path: Path, fakes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No statement is no agreement."""
    state = fakes.FakeBroker.state

    async def deaf(self: Any, since_ns: int) -> Any:
        if fakes.FakeBroker.book["fills"]:
            raise BrokerError("GET /v2/account: no answer within 5 s")
        return await state(self, since_ns)

    monkeypatch.setattr(fakes.FakeBroker, "state", deaf)
    run = await session(tmp_path, lambda core: core.risk.state == "halted" and core.risk.cause)
    assert run.core.risk.cause == "operator"
    told = [one for one in records(tmp_path) if isinstance(one, TradingStateChanged) and one.state == "halted"]
    assert told[-1].reason == "C39 post_trade: the account cannot be read after the session"


async def test_what_the_broker_declares_is_told_once_and_again_when_it_changes(
    tmp_path: Path, fakes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Multiplier and day trades come with every reading, and are events only when they are news."""
    state, declared = fakes.FakeBroker.state, {"multiplier": 1, "day_trades": None}

    async def declaring(self: Any, since_ns: int) -> Any:
        import msgspec

        return msgspec.structs.replace(await state(self, since_ns), **declared)

    monkeypatch.setattr(fakes.FakeBroker, "state", declaring)

    def until(core: Any) -> bool:
        if core.portfolio.position_qty("SPY"):
            declared.update(multiplier=4, day_trades=2)
        return bool(core.portfolio.multiplier == 4)

    run = await session(tmp_path, until)
    told = [(one.multiplier, one.day_trades) for one in records(tmp_path) if isinstance(one, AccountTerms)]
    assert told == [(1, None), (4, 2)]
    assert run.core.risk._margin.day_trades == 2
    kinds = [type(one) for one in records(tmp_path)]
    assert kinds.index(AccountTerms) < kinds.index(Reconciliation)
