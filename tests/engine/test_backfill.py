"""While the feed is behind, strategies only watch: what they are told is not the market of this moment."""

from __future__ import annotations

from decimal import localcontext

from engine import Bar as BarEvent
from engine import Strategy
from engine.config import from_dict
from engine.events import Approved, Backfill, Denied, Reconciliation
from engine.portfolio import MONEY
from engine.run import Run
from tests.runs import HeldFeed, bar, configuration, kept_journal, strategy


class Eager(Strategy):
    """Buys one share at every bar, and counts what it hears."""

    heard = 0

    def on_bar(self, bar: BarEvent) -> None:
        self.heard += 1
        self.buy(bar.symbol, 1)


def test_nothing_is_traded_on_what_was_missed() -> None:
    """Every bar is heard, orders come of those before and after, and no denial is written for those in between."""
    minutes = [bar("AAA", minute, 100.0) for minute in range(6)]
    ledger, records = kept_journal()
    run = Run(from_dict(configuration(HeldFeed.hold(minutes), strategies=[strategy(Eager)])), ledger)
    run.begin()
    first, *missed, last = minutes
    behind, caught_up = (Backfill(one.ts_recv_ns, one.ts_recv_ns, done) for one, done in ((first, False), (last, True)))
    agreed = Reconciliation(missed[0].ts_recv_ns, missed[0].ts_recv_ns)
    with localcontext(MONEY):
        for event in (first, behind, *missed[:2], agreed, *missed[2:], caught_up, last):
            run.core.process(event)
    assert run.core.strategies["one"].heard == len(minutes)  # type: ignore[attr-defined]
    asked = [record.ts_event_ns for record in records if isinstance(record, Approved | Denied)]
    assert asked == [first.ts_recv_ns, last.ts_recv_ns]
