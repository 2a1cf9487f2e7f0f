"""Splits and dividends on real prices: equity does not jump, and every cent that moves is accounted for.

Prices and actions are the vendor's own, read here a second time without the engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from engine import cli
from engine.clock import Sessions
from engine.config import from_dict
from engine.daemon import Run
from engine.events import CorporateAction, Fill, MarketEvent, Snapshot
from engine.report import Result
from tests.runs import configuration, kept_journal, strategy
from tests.traders import Script

CENT, SESSIONS = Decimal("0.01"), Sessions("XNYS")
WIKI = "daily/wiki_eod_with_actions_2000_2014.csv.gz"
CRAWLED = "daily/us_equity_daily_point_in_time_2015-03_2017-03.csv.gz"


@pytest.fixture(scope="module")
def tapes(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two vendors' prices and actions as tapes."""
    folder = tmp_path_factory.mktemp("tapes")
    of_sessions = ["--calendar", "XNYS"]
    paid = "ts_event_ns=session_date,split_ratio=split_ratio,amount_usd=ex_dividend"
    adjusted = "ts_event_ns=session_date,open=open,close=close,adj_close=adj_close_next_crawl"
    for name, kind, source, mapping in (
        ("wiki_bars", "bar", WIKI, "ts_event_ns=session_date"),
        ("wiki_actions", "corporate_action", WIKI, paid),
        ("crawled_bars", "bar", CRAWLED, "ts_event_ns=session_date"),
        ("crawled_actions", "corporate_action", CRAWLED, adjusted),
    ):
        options = ["--kind", kind, "--out", str(folder / f"{name}.parquet"), "--map", mapping, *of_sessions]
        more = ["--stamp", "close"] if kind == "bar" else ["--skip-bad"]
        assert cli.main(["import", str(shared_data / source), *options, *more]) == 0
    return folder


def vendor(shared_data: Path, source: str, symbol: str, year: str) -> pd.DataFrame:
    """Return a symbol's rows of a year as the vendor wrote them, numbers still texts."""
    table = pd.read_csv(shared_data / source, dtype=str).query("symbol == @symbol")
    return table[table["session_date"].str.startswith(year)].set_index("session_date")


class Watch:
    """A run that buys on its first bar and holds, with the exact account before and after each event."""

    def __init__(self, tapes: Path, name: str, symbol: str, year: int, *qtys: str, account: str = "cash") -> None:
        feed = {
            "use": "replay", "paths": [str(tapes / f"{name}_{kind}.parquet") for kind in ("bars", "actions")],
            "symbols": [symbol], "start": f"{year}-01-01", "end": f"{year + 1}-01-01",
        }  # fmt: skip
        strategies = [
            strategy(Script, name=f"holder{index}", script={symbol: {"1": [_call(qty)]}})
            for index, qty in enumerate(qtys)
        ]
        tree = configuration(feed, strategies=strategies, broker={"account": account})
        ledger, self.records = kept_journal()
        self.run = Run(from_dict(tree), ledger)
        self.portfolio = self.run.core.portfolio
        self.steps: list[tuple[MarketEvent, Decimal, Decimal, Decimal, Decimal]] = []
        feed_of_run: Any = self.run.feed
        feed_of_run.batches = partial(self._watched, feed_of_run.batches())
        self.run.replay()

    def _watched(self, batches: Iterator[Sequence[MarketEvent]]) -> Iterator[Sequence[MarketEvent]]:
        for batch in batches:
            for event in batch:
                equity, cash = self.portfolio.equity_usd(), self.portfolio.cash_usd
                yield (event,)
                self.steps.append((event, equity, self.portfolio.equity_usd(), cash, self.portfolio.cash_usd))

    def actions(self, kind: str) -> list[tuple[CorporateAction, Decimal, Decimal]]:
        """Return each action of a kind, by how much equity changed in it, and by how much cash did."""
        found = []
        for event, equity, equity_after, cash, cash_after in self.steps:
            if isinstance(event, CorporateAction) and event.action == kind:
                found.append((event, equity_after - equity, cash_after - cash))
        return found


def _call(qty: str) -> list[Any]:
    return ["sell" if qty.startswith("-") else "buy", {"qty": qty.lstrip("-")}]


def day_of(event: CorporateAction) -> str:
    return SESSIONS.at(event.ts_event_ns).date


def test_aapl_2014_is_continuous_across_its_split_to_the_cent(tapes: Path, shared_data: Path) -> None:
    """13 and 8 shares become 91 and 56; the split itself moves nothing, and each day's equity is that of the shares."""
    watch = Watch(tapes, "wiki", "AAPL", 2014, "13", "8")
    table = vendor(shared_data, WIKI, "AAPL", "2014")
    ((split, gain, paid),) = watch.actions("split")
    assert (split.new_shares, split.old_shares, day_of(split)) == (7, 1, "2014-06-09")
    assert paid == 0
    assert abs(gain) < CENT / 2
    bought = {fill.client_order_id: fill for fill in watch.records if isinstance(fill, Fill)}
    price = Decimal(table["open"].iloc[1])
    assert sorted((fill.qty, fill.price) for fill in bought.values()) == [(8, price), (13, price)]
    cash, qty = Decimal(100_000) - 21 * price, Decimal(21)
    expected = {}
    for day, row in list(table.iterrows())[1:]:
        if row["split_ratio"] != "1.0":
            qty *= Decimal(row["split_ratio"])
        cash += qty * Decimal(row["ex_dividend"])
        expected[day] = cash + qty * Decimal(row["close"])
    seen = {}
    for snapshot in watch.records:
        if isinstance(snapshot, Snapshot):
            seen[SESSIONS.at(snapshot.ts_event_ns - 1).date] = snapshot.equity_usd
    assert {day: seen[day].quantize(CENT) for day in expected} == {
        day: equity.quantize(CENT) for day, equity in expected.items()
    }
    books = watch.portfolio.books
    assert {name: book.position("AAPL").qty for name, book in books.items()} == {"holder0": 91, "holder1": 56}
    assert sum(book.cash_flow_usd for book in books.values()) + 100_000 == watch.portfolio.cash_usd


def test_aapl_2014_pays_its_dividends_on_the_ex_dates(tapes: Path, shared_data: Path) -> None:
    """$3.05 and $3.29 before the split, $0.47 twice after it, on the shares held then, to each strategy its own."""
    watch = Watch(tapes, "wiki", "AAPL", 2014, "13", "8")
    table = vendor(shared_data, WIKI, "AAPL", "2014")
    due = {day: Decimal(amount) for day, amount in table["ex_dividend"].items() if Decimal(amount)}
    assert list(due.values()) == [Decimal("3.05"), Decimal("3.29"), Decimal("0.47"), Decimal("0.47")]
    paid = {day_of(action): cash for action, _, cash in watch.actions("cash_dividend")}
    assert paid == {day: amount * (21 if day < "2014-06-09" else 147) for day, amount in due.items()}
    book = watch.portfolio.book("holder1")
    own = sum(amount * (8 if day < "2014-06-09" else 56) for day, amount in due.items())
    bought = next(fill for fill in watch.records if isinstance(fill, Fill) and "holder1" in fill.client_order_id)
    assert book.cash_flow_usd == own - bought.qty * bought.price
    result = Result.from_records(watch.records)
    assert result.summary["actions_usd"] == pytest.approx(float(sum(paid.values())))


def test_nflx_2015_as_crawled_is_continuous_across_its_split_to_the_cent(tapes: Path, shared_data: Path) -> None:
    """Seven for one on 2015-07-15, known only from what the next day's crawl had adjusted."""
    watch = Watch(tapes, "crawled", "NFLX", 2015, "11")
    table = vendor(shared_data, CRAWLED, "NFLX", "2015")
    ((split, gain, paid),) = watch.actions("split")
    assert (split.new_shares, split.old_shares, day_of(split)) == (7, 1, "2015-07-15")
    assert paid == 0
    assert abs(gain) < CENT / 2
    days = list(table.index)
    before = days[days.index("2015-07-15") - 1]
    change = 77 * Decimal(table["close"]["2015-07-15"]) - 11 * Decimal(table["close"][before])
    ends = {}
    for snapshot in watch.records:
        if isinstance(snapshot, Snapshot):
            ends[SESSIONS.at(snapshot.ts_event_ns - 1).date] = snapshot.equity_usd
    assert (ends["2015-07-15"] - ends[before]).quantize(CENT) == change.quantize(CENT)
    assert watch.portfolio.book("holder0").position("NFLX").qty == 77


@pytest.mark.parametrize(
    ("qtys", "kept", "account"),
    [(("33",), ("1",), "cash"), (("33", "19"), ("1", "1"), "cash"), (("-45",), ("-2",), "margin_2x")],
)  # fmt: skip
def test_a_reverse_split_pays_the_fraction_in_cash(
    qtys: tuple[str, ...], kept: tuple[str, ...], account: str, tapes: Path, shared_data: Path
) -> None:
    """AIG 2009-07-01, 1 for 20: of 33 shares one stays and 0.65 is paid; 33 and 19 are 2.6; a short owes its part."""
    watch = Watch(tapes, "wiki", "AIG", 2009, *qtys, account=account)
    table = vendor(shared_data, WIKI, "AIG", "2009")
    ((split, gain, paid),) = watch.actions("split")
    assert (split.new_shares, split.old_shares, day_of(split)) == (1, 20, "2009-07-01")
    before = table.index[list(table.index).index("2009-07-01") - 1]
    price = Decimal(table["close"][before]) * 20
    due = Decimal(0)
    for index, (qty, left) in enumerate(zip(map(Decimal, qtys), map(Decimal, kept), strict=True)):
        due += ((qty / 20 - left) * price).quantize(CENT)
        assert watch.portfolio.book(f"holder{index}").position("AIG").qty == left
    assert paid == due
    assert abs(gain) <= CENT * len(qtys) / 2
    assert Result.from_records(watch.records).actions["paid_usd"].sum() == pytest.approx(float(due))


def test_every_action_on_the_tape_of_what_is_held_is_in_the_journal(tapes: Path) -> None:
    """Who folds the journal alone finds the same positions."""
    watch = Watch(tapes, "wiki", "AAPL", 2014, "13")
    on_tape = [event for event, *_ in watch.steps if isinstance(event, CorporateAction)]
    assert [record for record in watch.records if isinstance(record, CorporateAction)] == on_tape
    assert len(on_tape) == 5
