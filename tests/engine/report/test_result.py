"""From records to frames: what each order became, what it cost, and what a broken or cut journal still tells."""

import math
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine.events import (
    Bar,
    CancelRequest,
    CorporateAction,
    Fill,
    LateFill,
    RunEnded,
    RunStarted,
    Signal,
    Snapshot,
    StrategyHalted,
    TradingStateChanged,
)  # fmt: skip
from engine.journal import Journal
from engine.report import Result, summary
from tests.engine.report.story import START_NS, Story


def only(frame: pd.DataFrame) -> pd.Series:
    assert len(frame) == 1
    return frame.iloc[0]


def statuses(result: Result) -> dict[str, str]:
    return dict(zip(result.orders["client_order_id"], result.orders["status"], strict=True))


# --- orders ----------------------------------------------------------------------------------------------------------


def test_an_order_tells_its_whole_life_in_one_row() -> None:
    """Filled in two parts at 10 and 11, the average is 10.40 and the fees are added up."""
    story = Story()
    order_id = story.approve(story.intent("a", "SPY", "buy", "100", limit_price=Decimal(11), type="limit"), "10.50")
    story.after(1).update(order_id, "accepted")
    story.after(1).fill(order_id, "a", "SPY", "buy", "60", "10", "0.25")
    story.after(1).fill(order_id, "a", "SPY", "buy", "40", "11", "0.50")
    row = only(Result.from_records(story.end()).orders)
    assert (row["status"], row["qty"], row["filled_qty"], row["limit_price"]) == ("filled", 100, 100, 11)
    assert (row["average_price"], row["fee_usd"], row["reference_price"]) == (10.4, 0.75, 10.5)
    assert str(row["created"]) == "2019-02-11 09:30:00-05:00"
    assert (row["ended"] - row["created"]).total_seconds() == 3


@pytest.mark.parametrize("status", ["canceled", "expired", "rejected"])
def test_an_order_that_the_venue_ends_keeps_its_reason_and_what_was_filled(status: str) -> None:
    """A partial fill stays a partial fill."""
    story = Story()
    order_id = story.approve(story.intent("a", "SPY", "buy", "100"), "10")
    story.fill(order_id, "a", "SPY", "buy", "60", "10")
    story.after(5).update(order_id, status, "end of session")
    row = only(Result.from_records(story.end()).orders)
    assert (row["status"], row["filled_qty"], row["reason"]) == (status, 60, "end of session")


def test_an_open_order_has_no_end() -> None:
    """It is still working when the journal stops, and a cancel that is under way says so."""
    story = Story()
    story.approve(story.intent("a", "SPY", "buy", "100"), "10")
    asked = story.approve(story.intent("a", "SPY", "buy", "10"), "10")
    story.update(asked, "accepted")
    story.records.append(CancelRequest(asked, story.ts_ns, "operator: enough"))
    orders = Result.from_records(story.records).orders
    assert list(orders["status"]) == ["pending_new", "pending_cancel"]
    assert orders["ended"].isna().all()
    assert orders["reason"].iloc[1] == "operator: enough"


def test_a_denied_order_is_an_order_and_a_denial() -> None:
    """The control and the numbers it compared are in both frames."""
    story = Story()
    story.deny(story.intent("a", "SPY", "buy", "100", limit_price=Decimal(9)), "C03 order_notional", "900 > 500")
    result = Result.from_records(story.end())
    assert only(result.orders)[["status", "reason"]].tolist() == ["denied", "C03 order_notional: 900 > 500"]
    assert only(result.denials)[["control", "strategy", "qty", "reason"]].tolist() == [
        "C03 order_notional", "a", 100, "900 > 500",
    ]  # fmt: skip


def test_the_legs_of_a_bracket_have_rows_of_their_own() -> None:
    """The take-profit fills, the stop-loss is canceled, and both name their parent."""
    story = Story()
    bracket = story.intent(
        "a", "SPY", "buy", "10", order_class="bracket",
        take_profit_limit_price=Decimal(12), stop_loss_stop_price=Decimal(9),
    )  # fmt: skip
    order_id = story.approve(bracket, "10")
    story.fill(order_id, "a", "SPY", "buy", "10", "10")
    story.update(f"{order_id}-tp", "accepted")
    story.fill(f"{order_id}-tp", "a", "SPY", "sell", "10", "12")
    story.update(f"{order_id}-sl", "canceled", "its sibling filled")
    result = Result.from_records(story.end())
    assert statuses(result) == {order_id: "filled", f"{order_id}-tp": "filled", f"{order_id}-sl": "canceled"}
    assert result.orders["parent_id"].tolist() == ["", order_id, order_id]


def test_an_amended_order_is_replaced_by_the_one_that_amends_it() -> None:
    """Both keep a row; the new one names the old one."""
    story = Story()
    old = story.approve(story.intent("a", "SPY", "buy", "10", type="limit", limit_price=Decimal(9)), "10")
    story.update(old, "accepted")
    new = story.approve(
        story.intent("a", "SPY", "buy", "10", type="limit", limit_price=Decimal(10), replaces=old), "10"
    )
    story.update(old, "replaced")
    story.update(new, "accepted")
    story.fill(new, "a", "SPY", "buy", "10", "10")
    result = Result.from_records(story.end())
    assert statuses(result) == {old: "replaced", new: "filled"}
    assert result.orders["replaces"].tolist() == ["", old]


def test_a_fill_after_the_end_is_booked_and_flagged() -> None:
    """The order stays canceled, the money moved all the same."""
    story = Story()
    order_id = story.approve(story.intent("a", "SPY", "buy", "10"), "10")
    story.update(order_id, "canceled")
    story.fill(order_id, "a", "SPY", "buy", "4", "10")
    story.records.append(LateFill("x", order_id, "canceled", story.ts_ns))
    result = Result.from_records(story.end())
    assert only(result.orders)[["status", "filled_qty", "late_fill"]].tolist() == ["canceled", 4, True]
    assert result.summary["late_fills"] == 1


def test_an_execution_told_twice_is_booked_once() -> None:
    """Its id is what counts."""
    story = Story()
    story.trade("a", "SPY", "buy", "10", "10")
    result = Result.from_records([*story.records, story.records[-1]])
    assert len(result.fills) == 1


def test_executions_of_another_program_are_left_out_and_told() -> None:
    """They are in no book of this run."""
    story = Story()
    story.records.append(Fill("x", "theirs", "SPY", "buy", Decimal(1), Decimal(10), Decimal(0), START_NS, START_NS))
    result = Result.from_records(story.end())
    assert len(result.fills) == 0
    assert any("another program" in text for text in result.run.warnings)


def test_an_order_filled_beyond_its_size_is_told_and_does_not_stop_the_report() -> None:
    """The engine books it and halts; the report shows both numbers."""
    story = Story()
    order_id = story.approve(story.intent("a", "SPY", "buy", "10"), "10")
    story.fill(order_id, "a", "SPY", "buy", "11", "10")
    result = Result.from_records(story.end())
    assert result.fills["qty"].sum() == 11
    assert any("was filled for 11" in text for text in result.run.warnings)


# --- costs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "price", "usd", "bps"), [("buy", "100.10", 5, 10), ("sell", "99.90", 5, 10), ("buy", "99.90", -5, -10)]
)
def test_slippage_is_a_cost_against_the_price_of_the_approval(side: str, price: str, usd: float, bps: float) -> None:
    """Bought higher or sold lower than 100 costs; bought lower earns."""
    story = Story()
    story.trade("a", "SPY", side, "50", price, reference="100")  # type: ignore[arg-type]  # a literal of a table
    row = only(Result.from_records(story.end()).fills)
    assert row["slippage_usd"] == pytest.approx(usd)
    assert row["slippage_bps"] == pytest.approx(bps)


def test_slippage_of_a_stop_or_take_profit_is_against_its_own_price() -> None:
    """What the market does until a stop triggers is no cost of trading: 9.00 asked, 8.95 had, 50 cents on ten."""
    story = Story()
    oto = story.intent("a", "SPY", "buy", "10", order_class="oto", stop_loss_stop_price=Decimal(9))
    order_id = story.approve(oto, "10")
    story.fill(order_id, "a", "SPY", "buy", "10", "10")
    story.fill(f"{order_id}-sl", "a", "SPY", "sell", "10", "8.95")
    fills = Result.from_records(story.end()).fills
    assert fills["reference_price"].tolist() == [10, 9]
    assert fills["slippage_usd"].tolist() == pytest.approx([0, 0.5])


def test_cost_is_fees_and_slippage_over_the_value_traded() -> None:
    """Ten cents on 100.10."""
    story = Story()
    story.trade("a", "SPY", "buy", "10", "10.01", reference="10")
    result = Result.from_records(story.end())
    assert result.summary["slippage_usd"] == pytest.approx(0.1)
    assert result.summary["cost_bps"] == pytest.approx(0.1 / 100.1 * 1e4)


# --- the account -----------------------------------------------------------------------------------------------------


def test_profit_by_symbol_sums_to_the_change_in_equity_and_by_strategy_to_their_books(busy: Result) -> None:
    """Realized, open and paid: nothing is missing and nothing is counted twice."""
    change = busy.equity["equity_usd"].iloc[-1] - busy.equity["equity_usd"].iloc[0]
    assert busy.per_symbol["pnl_usd"].sum() == pytest.approx(change)
    assert busy.per_strategy["pnl_usd"].to_dict() == pytest.approx(busy.strategy_pnl.iloc[-1].to_dict())
    assert busy.summary["unexplained_usd"] == pytest.approx(0, abs=1e-6)


def test_the_figures_of_a_busy_week_equal_pandas_one_liners(busy: Result) -> None:
    """Sharpe, volatility, drawdown, hit rate, turnover and costs, each computed another way."""
    equity = busy.equity["equity_usd"]
    days = equity.groupby(equity.index.strftime("%F")).last()
    returns = pd.concat([equity.iloc[:1], days]).pct_change().dropna()
    figures = busy.summary
    assert figures["volatility_annual_pct"] == pytest.approx(np.std(returns, ddof=1) * math.sqrt(252) * 100)
    assert figures["sharpe_ratio"] == pytest.approx(returns.mean() / returns.std() * math.sqrt(252))
    assert figures["drawdown_max_pct"] == pytest.approx(((equity - equity.cummax()) / equity.cummax()).min() * 100)
    assert figures["hit_rate_pct"] == pytest.approx(busy.trades["pnl_usd"].gt(0).mean() * 100)
    assert figures["turnover_ratio"] == pytest.approx((busy.fills["qty"] * busy.fills["price"]).sum() / equity.mean())
    assert figures["fees_usd"] == pytest.approx(busy.equity["fees_usd"].iloc[-1])
    assert figures["sessions"] == 5
    assert figures["annual_return_pct"] is None


def test_buy_and_hold_equals_the_mean_growth_of_the_adjusted_prices(busy: Result) -> None:
    """Equal weight is the mean of the price relatives; the split and the dividend of the week are put back by hand."""
    marks = busy.marks[busy.marks.index >= busy.signals["time"].iloc[0]]
    relatives = marks.iloc[-1] / marks.iloc[0]
    relatives["AAPL"] *= 2
    relatives["SPY"] += 1.23 / marks["SPY"].iloc[0]
    assert busy.equity["benchmark_usd"].iloc[-1] == pytest.approx(100_000 * relatives.mean())


def test_a_run_by_signals_is_compared_from_the_first_of_them() -> None:
    """100 at the start, 110 at the first signal, 121 at the end: to hold from there on is ten percent, not 21."""
    story = Story()
    for seconds, price in ((0, "100"), (60, "110"), (120, "121")):
        story.after(60).marks["SPY"] = float(price)
        if seconds == 60:
            story.records.append(Signal("SPY", story.ts_ns, story.ts_ns, "lstm", 0.5))
        story.snapshot()
    result = Result.from_records(story.end())
    assert result.summary["benchmark_return_pct"] == pytest.approx(10)
    told = next(iter(summary.notices(result)))
    assert told == (
        "A run by signals: it does not beat buying and holding, 0.00 % after costs against +10.00 %, both from the "
        "first signal on."
    )


def test_buy_and_hold_is_left_out_when_prices_were_kept_only_while_held() -> None:
    """A line through half of the prices would be no benchmark."""
    story = Story()
    story.trade("a", "SPY", "buy", "10", "10")
    story.snapshot()
    story.marks.clear()
    story.positions.clear()
    story.held.clear()
    story.after(60).snapshot()
    result = Result.from_records(story.end())
    assert result.summary["benchmark_return_pct"] is None
    assert result.unavailable["benchmark_return_pct"] == "prices are missing"


def test_a_renamed_symbol_is_one_line_of_prices() -> None:
    """FB until the day, META after it, and the benchmark goes through."""
    story = Story()
    story.trade("a", "FB", "buy", "10", "100")
    story.snapshot()
    story.after(60).records.append(CorporateAction("FB", story.ts_ns, story.ts_ns, "symbol_change", new_symbol="META"))
    story.marks = {"META": 110.0}
    story.positions = {"META": Decimal(10)}
    story.held = {("a", "META"): Decimal(10)}
    story.snapshot()
    result = Result.from_records(story.end())
    assert result.marks.to_dict("list") == {"META": [100, 110]}
    assert only(result.open_lots)[["symbol", "pnl_usd"]].tolist() == ["META", 100]
    assert result.per_symbol[["pnl_usd", "fills"]].to_dict("index") == {"META": {"pnl_usd": 100, "fills": 1}}
    assert "<option>META</option>" in result.html()
    assert result.summary["benchmark_return_pct"] == pytest.approx(10)


def test_market_events_of_a_live_journal_are_passed_over() -> None:
    """A live journal holds its market data; the report reads decisions."""
    story = Story()
    story.records.append(Bar("SPY", START_NS, START_NS, 1, 1, 1, 1, 1, 60))
    story.records.append(Signal("SPY", START_NS, START_NS, "lstm", 0.5, horizon_ns=2_000_000_000))
    result = Result.from_records(story.end())
    assert only(result.signals)[["symbol", "model", "score", "horizon_s"]].tolist() == ["SPY", "lstm", 0.5, 2]


# --- journals that are not whole -------------------------------------------------------------------------------------


def test_an_empty_journal_gives_a_result_that_says_so() -> None:
    """Every frame is empty, every figure is missing, nothing raises."""
    result = Result.from_records([])
    assert len(result.equity) == len(result.orders) == len(result.per_symbol) == 0
    assert result.summary["total_return_pct"] is None
    assert any("no first record" in text for text in result.run.warnings)
    assert "n/a" in repr(result)


def test_a_model_that_scored_its_own_training_days_is_told() -> None:
    """`allow_training_span` lets a replay go on, and the report does not let it look like a test."""
    models = [{"name": "lstm", "allow_training_span": True}, {"name": "cnn", "allow_training_span": False}]
    (told,) = Result.from_records(Story(models=models).end()).run.warnings
    assert told.startswith("Model 'lstm' was allowed to score days that it was trained on")


def test_a_journal_without_an_end_is_told() -> None:
    """The run was killed: the reader must know before believing a figure."""
    story = Story()
    story.snapshot()
    assert any("No end is recorded" in text for text in Result.from_records(story.records).run.warnings)
    assert Result.from_records(story.end()).run.warnings == ()


@pytest.mark.parametrize(
    "config", ["", "{", "[1, 2]", "null", '{"feed": 3, "broker": [], "seed": "x", "calendar": "MARS"}']
)
def test_a_configuration_that_does_not_read_leaves_a_report_in_utc(config: str) -> None:
    """Its loss is told and nothing else is lost."""
    story = Story()
    story.records[0] = RunStarted("run-1", config, "0.1.0", 1, START_NS)
    story.snapshot()
    result = Result.from_records(story.end())
    assert result.run.zone == "UTC"
    assert len(result.run.warnings) == 1
    assert result.html()


def test_figures_of_a_run_without_trades_are_zero_or_missing() -> None:
    """One snapshot and no order: nothing is divided by nothing."""
    story = Story()
    story.snapshot()
    figures = Result.from_records(story.end()).summary
    assert (figures["trades"], figures["traded_usd"], figures["fees_usd"]) == (0, 0, 0)
    assert figures["hit_rate_pct"] is figures["profit_factor"] is figures["cost_bps"] is None


def test_a_result_reads_the_journal_that_the_engine_writes(tmp_path: Path) -> None:
    """Through the file and back: the same figures."""
    story = Story()
    story.trade("a", "SPY", "buy", "10", "10.01", "0.5", reference="10")
    story.snapshot()
    journal = Journal(tmp_path / "run.journal")
    for record in story.end():
        journal.append(record)
    journal.close()
    assert Result.from_journal(tmp_path / "run.journal").summary == Result.from_records(story.records).summary


def test_halts_count_and_an_active_state_does_not() -> None:
    """Starting to trade is no halt."""
    story = Story()
    story.records.append(TradingStateChanged("active", START_NS, "start", "reconciled"))
    story.records.append(TradingStateChanged("halted", START_NS, "C31", "operator"))
    assert Result.from_records([*story.records, RunEnded(START_NS, 1)]).summary["halts"] == 1


def test_the_terminal_says_why_a_strategy_stopped_and_why_orders_were_denied() -> None:
    """A count alone sends the author into the report for the line that raised."""
    story = Story()
    why = "AttributeError: 'Cross' object has no attribute 'last' at line 7 of on_bar"
    story.records.append(StrategyHalted("cross", START_NS, "exception", why))
    for control, reason in (("C25 validity", "no side BUY"), ("C25 validity", "later"), ("C24 session", "closed")):
        story.deny(story.intent("cross", "SPY", "buy", Decimal(1)), control, reason)
    story.snapshot()
    told = str(summary.table(Result.from_records(story.end())).caption).splitlines()
    assert told[0].endswith(f"strategy cross halted, exception: {why}")
    assert told[1] == "Denied most often, 2 of 3, by C25 validity: no side BUY"
    assert summary.table(Result.from_records(Story().end())).caption is None


def test_a_reason_cannot_color_the_terminal() -> None:
    """What an operator or an exception said is shown in its line, whatever is in it."""
    story = Story()
    story.records.append(StrategyHalted("one", START_NS, "exception", "odd\x1b[31m\nodd"))
    assert "odd␛[31m␊odd" in str(summary.table(Result.from_records(story.end())).caption).splitlines()[0]


def test_times_are_in_the_zone_of_the_calendar() -> None:
    """New York for XNYS, UTC around the clock."""
    for calendar, zone in (("XNYS", "America/New_York"), ("24/7", "UTC")):
        story = Story(calendar=calendar)
        story.snapshot()
        assert str(Result.from_records(story.end()).equity.index.tz) == zone


def test_a_run_that_loses_everything_has_a_report() -> None:
    """Equity below zero: minus more than 100 %, and no figure is a NaN."""
    story = Story()
    story.trade("a", "SPY", "buy", "2000", "100")
    story.snapshot()
    for price in (80.0, 40.0, 20.0, 10.0):
        story.after(86_400).marks["SPY"] = price
        story.snapshot()
    assert isinstance(story.records[-1], Snapshot)
    result = Result.from_records(story.end())
    assert result.summary["total_return_pct"] == -180
    assert result.summary["drawdown_max_pct"] == -180
    assert all(value is None or value == value for value in result.summary.values())
