"""What a run did, as pandas frames, with its report.

`Result.from_journal("runs/demo/run.journal").equity["equity_usd"].plot()` needs nothing but the file.
"""

from __future__ import annotations

import html
import os
import tempfile
import webbrowser
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd

from engine import journal
from engine.events import Record
from engine.folder import writing
from engine.report import frames, metrics, page, summary
from engine.report.fold import Fold
from engine.report.run import Run, describe

NOTEBOOK_HEIGHT_PX = 1000


class Result:
    """A journal as frames. Times are in the exchange's zone, money in dollars, quantities in shares or coins.

    Attributes:
        equity: equity, cash, exposures, fees, drawdown and buy-and-hold at each snapshot.
        marks, strategy_pnl: prices by symbol, and profit by strategy, at each snapshot.
        daily_returns: by session.
        orders, fills, denials, signals: one row each.
        trades, open_lots: round trips, first in first out, and what is not closed yet.
        actions: what splits, dividends and renames paid.
        states, strategy_halts: changes of the trading state, and strategies that were stopped alone.
        model_statuses: verdicts on the health of models, failures, other files, comparisons with challengers.
        per_symbol, per_strategy: profit, costs and counts.
        summary, unavailable: the figures, and why some of them are None.
        splits: place among the snapshots, time, symbol and shares for one, to draw one line through them.
        renamed: the last name of each symbol that changed it; `marks` and `per_symbol` know no other.
    """

    def __init__(self, fold: Fold) -> None:
        self.run: Run
        self.run, sessions = describe(fold)
        zone = self.run.zone
        self.marks = frames.marks(fold, zone)
        self.equity = frames.equity(fold, self.marks, zone)
        self.strategy_pnl = frames.strategy_pnl(fold, zone)
        self.orders = frames.orders(fold, zone)
        self.fills = frames.fills(fold, zone)
        self.denials = frames.denials(fold, zone)
        self.signals = frames.signals(fold, zone)
        self.trades = frames.trades(fold, zone)
        self.open_lots = frames.open_lots(fold, zone)
        self.actions = frames.actions(fold, zone)
        self.states = frames.states(fold, zone)
        self.strategy_halts = frames.strategy_halts(fold, zone)
        self.model_statuses = frames.model_statuses(fold, zone)
        self.splits = frames.splits(fold, zone)
        self.renamed = frames.renamed(fold)
        self.per_symbol = self._per("symbol")
        self.per_strategy = self._per("strategy")
        daily = metrics.daily(self.equity["equity_usd"], sessions)
        self.daily_returns = daily.returns
        self.summary, self.unavailable = summary.measure(self, daily)

    @classmethod
    def from_records(cls, records: Iterable[Record]) -> Result:
        """Fold the records of a journal, in its order."""
        return cls(Fold().feed(records))

    @classmethod
    def from_journal(cls, path: Path | str) -> Result:
        """Read a journal.

        Raises:
            JournalError: missing, empty, of another schema, or its chain is broken.
        """
        journal.header(path)
        return cls.from_records(journal.read(path))

    def _per(self, by: str) -> pd.DataFrame:
        """Add up by `symbol` or `strategy`; profit is what was realized, what is open, and what was paid on shares."""

        def grouped(frame: pd.DataFrame) -> Any:
            return frame.groupby(frame[by].replace(self.renamed) if by == "symbol" else by)

        fills, trades = grouped(self.fills), grouped(self.trades)
        columns = {
            "realized_usd": trades["pnl_usd"].sum(),
            "unrealized_usd": grouped(self.open_lots)["pnl_usd"].sum(),
            "actions_usd": grouped(self.actions)["gain_usd"].sum(),
            "trades": trades.size(),
            "wins": grouped(self.trades[self.trades["pnl_usd"] > 0]).size(),
            "fills": fills.size(),
            "denials": grouped(self.denials).size(),
            "traded_usd": fills["notional_usd"].sum(),
            "fees_usd": fills["fee_usd"].sum(),
            "slippage_usd": fills["slippage_usd"].sum(),
        }
        frame = pd.DataFrame(columns).fillna(0.0).astype("float64").sort_index()
        frame.insert(0, "pnl_usd", frame["realized_usd"] + frame["unrealized_usd"] + frame["actions_usd"])
        frame["hit_rate_pct"] = frame.pop("wins") / frame["trades"].where(frame["trades"] > 0) * 100
        frame["slippage_bps"] = frame["slippage_usd"] / frame["traded_usd"].where(frame["traded_usd"] > 0) * 1e4
        counts = ["trades", "fills", "denials"]
        frame[counts] = frame[counts].astype("int64")
        frame.index.name = by
        return frame

    # --- the report ------------------------------------------------------------------------------------------------

    def html(self) -> str:
        """Return the report: one page that needs no network."""
        return page.render(self)

    def save(self, folder: Path | str) -> Path:
        """Write report.html, summary.json, trades.csv and fills.csv; return the report's path.

        Each file is written beside its place and then moved there, so a reader never sees half of one.

        Raises:
            ConfigError: the folder cannot be written.
        """
        target, shown = Path(folder), self.html()
        figures = {"run_id": self.run.run_id, "name": self.run.name, "mode": self.run.mode, "events": self.run.events}
        told = {**figures, "timezone": self.run.zone, **self.summary, "unavailable": self.unavailable}
        with writing(target):
            _write(target / "summary.json", msgspec.json.format(msgspec.json.encode(told), indent=2).decode() + "\n")
            _write(target / "trades.csv", self.trades.to_csv(index=False, lineterminator="\n"))
            _write(target / "fills.csv", self.fills.to_csv(index=False, lineterminator="\n"))
            _write(target / "report.html", shown)
        return target / "report.html"

    def show(self) -> None:
        """Open the report in a browser."""
        folder = Path(tempfile.mkdtemp(prefix="onetape-"))
        webbrowser.open(self.save(folder).as_uri())

    def _repr_html_(self) -> str:
        document = html.escape(self.html())
        return f'<iframe srcdoc="{document}" style="width:100%;height:{NOTEBOOK_HEIGHT_PX}px;border:0"></iframe>'

    def __repr__(self) -> str:
        profit, total = summary.figure(self, "pnl_usd", "+usd"), summary.figure(self, "total_return_pct", "+pct")
        return f"<Result {self.run.name}: profit {profit}, total return {total}, {self.summary['trades']} round trips>"


def _write(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8", newline="\n")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
