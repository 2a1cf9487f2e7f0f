"""The page and the files: self-contained, safe against what a run may be called, and never a NaN."""

import base64
import errno
import hashlib
import html
import json
import re
import webbrowser
from decimal import Decimal
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plotly.offline import get_plotlyjs
from rich.console import Console

from engine.events import ModelStatus, Signal, StrategyHalted, TradingStateChanged
from engine.portfolio import FOREIGN
from engine.report import Result, summary
from engine.report.charts import _histogram
from tests.engine.report.story import START_NS, Story, busy_run
from tests.engine.report.test_trips import DIVIDENDS, MOVES, SPLITS, TRADES, tell

without_plotly = patch("engine.report.document.get_plotlyjs", str)
"""For a test of many pages, of which the library is nearly all."""
EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>{{data}}"


def refuse(word: str) -> None:
    raise AssertionError(f"{word} is not JSON")


def data(document: str) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', document, re.DOTALL)
    assert found is not None
    return json.loads(found[1], parse_constant=refuse)


def visible(document: str) -> str:
    return html.unescape(re.sub(r"<(style|script)\b.*?</\1>|<[^>]*>", " ", document, flags=re.DOTALL))


def test_texts_from_outside_cannot_become_markup() -> None:
    """A name, a symbol, a strategy, a reason and a configuration with a script in them stay texts."""
    story = Story(name=EVIL, mode=EVIL, broker={EVIL: EVIL}, seed=EVIL)
    story.trade(EVIL, EVIL, "buy", "10", "10")
    story.deny(story.intent(EVIL, EVIL, "buy", "1"), EVIL, EVIL)
    story.snapshot()
    story.records.append(StrategyHalted(EVIL, START_NS, EVIL, EVIL, EVIL))
    story.records.append(TradingStateChanged("halted", START_NS, EVIL, EVIL))
    story.records[0] = msgspec.structs.replace(story.records[0], models={EVIL: EVIL})
    story.records.append(Signal(EVIL, START_NS, START_NS, EVIL, 0.5, source=EVIL))
    story.records.append(ModelStatus(EVIL, START_NS, START_NS, "degraded", reason=EVIL))
    document = Result.from_records(story.end()).html().replace(get_plotlyjs(), "")
    assert "<img" not in document
    assert "alert(1)" in visible(document)
    assert re.findall(r"<script[^>]*>", document) == [
        '<script type="application/json" id="data">',
        "<script>",
        "<script>",
    ]


def test_the_page_runs_only_the_two_scripts_that_it_names(busy: Result) -> None:
    """The hashes of its policy are those of plotly.js and of its own drawing, and nothing is loaded from anywhere."""
    document = busy.html()
    scripts = re.findall(r"<script>(.*?)</script>", document, re.DOTALL)
    hashes = {base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts}
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', document)
    assert policy is not None
    assert len(scripts) == 2
    assert set(re.findall(r"sha256-([^']*)'", policy[1])) == hashes
    assert policy[1].startswith("default-src 'none'")
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", document.replace(get_plotlyjs(), ""))


def test_everything_drawn_is_as_long_as_its_times(busy: Result) -> None:
    """One time axis serves every line."""
    drawn = data(busy.html())
    count = len(drawn["times"])
    lines = [drawn[name] for name in ("equity", "benchmark", "drawdown", "gross", "net")]
    lines += [pnl for _, pnl in drawn["strategies"]] + [price["marks"] for price in drawn["prices"]]
    assert {len(line) for line in lines} == {count}
    assert count <= 4_002


def test_prices_are_drawn_through_a_split_in_one_piece() -> None:
    """100 before a 2-for-1 and 50 after it are the same price, and so are the executions."""
    story = Story()
    story.trade("a", "AAPL", "buy", "10", "100")
    story.snapshot()
    story.after(60).split("AAPL", 2, 1)
    story.after(1).trade("a", "AAPL", "sell", "20", "50")
    story.snapshot()
    (price,) = data(Result.from_records(story.end()).html())["prices"]
    assert price["marks"] == [50, 50]
    assert (price["buys"]["prices"], price["sells"]["prices"]) == ([50], [50])


def test_hours_weekends_and_holidays_without_prices_are_cut_out_of_the_axis() -> None:
    """Prices from 10:00 to 16:00, Thursday to Tuesday over Presidents' Day, sampled day and night."""
    story = Story()
    for minute in pd.date_range("2019-02-14 09:00", "2019-02-19 17:00", freq="30min", tz="America/New_York"):
        story.ts_ns = minute.value
        trading = minute.day_of_week < 5 and minute.day != 18 and 9.5 < minute.hour + minute.minute / 60 <= 16
        story.marks["SPY"] = story.marks.get("SPY", 100.0) + trading
        story.snapshot()
    breaks = data(Result.from_records(story.end()).html())["breaks"]
    cut = [
        [f"{pd.Timestamp(ms, unit='ms'):%a %d %H:%M}" for ms in (start, start + gap["dvalue"])]
        for gap in breaks
        for start in gap["values"]
    ]
    assert cut == [["Thu 14 16:01", "Fri 15 10:00"], ["Fri 15 16:01", "Tue 19 10:00"]]


moves = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 1439), st.booleans()), min_size=3, max_size=40, unique=True
)


@without_plotly
@settings(deadline=None, max_examples=50)
@given(moves)
def test_no_two_cuts_of_the_axis_overlap_and_none_hides_a_price(moments: list[tuple[int, int, bool]]) -> None:
    """Whatever the hours and the holidays: where plotly's cuts meet, its lines run backwards."""
    story = Story()
    for day, minute, fills in sorted(moments):
        story.ts_ns = START_NS + (day * 1440 + minute) * 60_000_000_000
        story.marks["SPY"] = story.marks.get("SPY", 100.0) + 1
        if fills:
            story.trade("a", "SPY", "buy", "1", "100")
        story.snapshot()
    drawn = data(Result.from_records(story.end()).html())
    cut = sorted((start, start + gap["dvalue"]) for gap in drawn["breaks"] for start in gap["values"])
    assert all(end <= start for (_, end), (start, _) in pairwise(cut))
    seen = [*drawn["times"][1:], *drawn["costs"]["times"]]  # the first shows the start, before any price
    assert not [time for time in seen for start, end in cut if start <= time < end]


@pytest.mark.parametrize(
    ("returns", "first", "width", "counts"),
    [
        ([-0.47, -0.45, -0.39], -0.48, 0.02, [1, 1, 0, 0, 1]),  # 0.47 / 40 is next to 0.02
        ([0.0, 0.0], 0.0, 0.001, [2]),  # all the same, at nothing
        ([3.0, 3.0, 3.0], 3.0, 0.1, [3]),  # all the same
        ([-1.0, 0.0, 0.99, 39.0], -1.0, 1.0, [1, 2, *[0] * 38, 1]),  # a loss and a gain are never in one bin
    ],
)
def test_round_trips_are_counted_in_bins_of_a_round_width(
    returns: list[float], first: float, width: float, counts: list[int]
) -> None:
    """One of at most forty or so begins at zero, and one that holds them all has a width too."""
    assert _histogram(pd.Series(returns).to_numpy()) == {
        "first": pytest.approx(first), "width": pytest.approx(width), "counts": counts,
    }  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.floats(-100, 1e6, allow_nan=False), min_size=1, max_size=30))
def test_every_round_trip_is_in_one_bin(returns: list[float]) -> None:
    """However far apart they are, few bins hold all of them, each where it belongs."""
    values = pd.Series(returns).to_numpy()
    found = _histogram(values)
    assert sum(found["counts"]) == len(returns)
    assert len(found["counts"]) <= 42
    end = found["first"] + len(found["counts"]) * found["width"]
    assert found["first"] <= values.min() + 1e-6 * found["width"]
    assert values.max() <= end


def test_the_page_says_what_a_reader_must_know(busy: Result) -> None:
    """Halts, denials, fill rules, seed, zone and that the past is no promise."""
    text = visible(busy.html())
    for words in (
        "strategy fade halted", "trading halted", "equity 93120.10 is below the floor", "C03 order_notional",
        "participation_max_fraction", "Seed 7", "America/New_York", "9f2c9f2c9f2c9f2c", "do not promise future ones",
        "Annualized from 5 sessions only", "n/a (too short",
    ):  # fmt: skip
        assert words in text
    assert "synthetic" not in text.lower()


def test_a_synthetic_tape_is_called_synthetic_on_the_page_and_in_the_terminal() -> None:
    """Nobody may take a generated day for a market."""
    story = Story(feed={"use": "synthetic"})
    story.snapshot()
    result = Result.from_records(story.end())
    assert "Synthetic data" in visible(result.html())
    assert any("Synthetic data" in text for text in summary.notices(result))


def test_a_local_venue_is_called_one_on_the_page_and_in_the_terminal() -> None:
    """Nobody may take a rehearsal for an account at the vendor."""
    there = {"use": "alpaca", "server_url": "http://127.0.0.1:8765"}
    story = Story(mode="paper", feed=there, broker=there)
    story.snapshot()
    result = Result.from_records(story.end())
    assert "local venue" in visible(result.html())
    assert "Fill rules" not in visible(result.html())
    told = next(text for text in summary.notices(result) if "local venue" in text)
    assert "http://127.0.0.1:8765, account PAPER-1" in told
    assert "local venue" in str(summary.table(result).title)


@pytest.mark.parametrize(
    ("mode", "tape", "told"), [("paper", "9f2c", "backtest"), ("live", "9f2c", "backtest"), ("paper", "", "paper")]
)
def test_a_run_of_a_tape_is_called_a_backtest_on_the_page_and_in_the_terminal(mode: str, tape: str, told: str) -> None:
    """Whichever mode its configuration names: nobody may take the past for a market that answered."""
    story = Story(mode=mode)
    story.records[0] = msgspec.structs.replace(story.records[0], tape_sha256=tape)
    story.snapshot()
    result = Result.from_records(story.end())
    assert f'<span class="badge">{told}</span>' in result.html()
    assert str(summary.table(result).title).startswith(f"demo · {told} · ")


def test_what_is_nobodys_is_shown_only_where_there_is_some() -> None:
    """A live account's book beside the strategies stays out of the chart while it is empty."""
    story = Story()
    story.flow_usd = {"cross": Decimal(5), FOREIGN: Decimal(0)}
    story.snapshot()
    assert list(Result.from_records(story.records).strategy_pnl) == ["cross"]
    story.flow_usd[FOREIGN] = Decimal("-1.25")
    story.after(60).snapshot()
    assert list(Result.from_records(story.end()).strategy_pnl) == [FOREIGN, "cross"]


def test_a_year_of_sessions_shows_months_and_a_week_shows_days(busy: Result) -> None:
    """The span decides."""
    story = Story()
    for day in range(90):
        story.after(86_400).marks["SPY"] = 100.0 + day % 7
        story.snapshot()
    assert "Monthly returns" in Result.from_records(story.end()).html()
    assert "Daily returns" in busy.html()


def test_thousands_of_executions_and_symbols_stay_a_small_page() -> None:
    """2,000 snapshots of 24 marks and 20,000 executions: under 5 MB beside plotly.js."""
    result = Result.from_records(busy_run(trade_rate=0.38))
    assert len(result.equity) > 1_900
    assert len(result.fills) > 19_000
    assert len(result.html()) - len(get_plotlyjs()) < 5_000_000


# --- files and other places ------------------------------------------------------------------------------------------


def test_save_writes_four_files_and_leaves_nothing_else(busy: Result, tmp_path: Path) -> None:
    """A second save replaces the first."""
    for _ in range(2):
        assert busy.save(tmp_path / "out") == tmp_path / "out" / "report.html"
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["fills.csv", "report.html", "summary.json", "trades.csv"]
    figures = json.loads((tmp_path / "out" / "summary.json").read_text(), parse_constant=refuse)
    assert figures["total_return_pct"] == pytest.approx(busy.summary["total_return_pct"])
    assert figures["unavailable"]["annual_return_pct"] == "too short: 5 sessions, a year is needed"
    trades = pd.read_csv(tmp_path / "out" / "trades.csv")
    assert trades["pnl_usd"].sum() == pytest.approx(busy.trades["pnl_usd"].sum())


def test_a_write_that_fails_leaves_the_old_file_whole(
    busy: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader sees the report of before or the new one, never half of one."""
    busy.save(tmp_path)
    before = (tmp_path / "summary.json").read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="no space"):
        busy.save(tmp_path)
    assert (tmp_path / "summary.json").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 4


def test_a_notebook_shows_the_page_in_a_frame(busy: Result) -> None:
    """What the frame holds is the page itself."""
    frame = busy._repr_html_()
    found = re.search(r'srcdoc="([^"]*)"', frame)
    assert found is not None
    assert html.unescape(found[1]) == busy.html()


def test_show_opens_the_saved_page(busy: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    """In whatever browser there is."""
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    busy.show()
    assert opened[0].startswith("file://")
    assert opened[0].endswith("report.html")


def test_the_terminal_tells_the_same_figures(busy: Result) -> None:
    """Words left, figures right, and why some are missing."""
    console = Console(width=100, file=StringIO())
    console.print(summary.table(busy))
    text = console.file.getvalue()  # type: ignore[attr-defined]  # the StringIO from above
    for key, style in (("total_return_pct", "+pct"), ("sharpe_ratio", "ratio"), ("fees_usd", "usd")):
        assert summary.figure(busy, key, style) in text
    assert "Annualized from 5 sessions only" in text


@pytest.mark.parametrize(
    ("value", "style", "text"),
    [
        (1234.5, "usd", "$1,234.50"), (-0.004, "+usd", "$0.00"), (-3, "+usd", "-$3.00"), (3, "+usd", "+$3.00"),
        (12.345, "pct", "12.35 %"), (90, "time", "1.5 min"), (0.1, "time", "0.1 s"), (172_800, "time", "2.0 d"),
        (1234, "count", "1,234"), (0.00001234, "price", "1.234e-05"), (101.25, "price", "101.25"),
        (0.0, "days", "0 days"), (0.0063, "days", "9.1 min"), (0.5, "days", "12.0 h"), (2.25, "days", "2.2 days"),
        (101.2345, "price", "101.2345"), (0.001, "qty", "0.001"), (100, "qty", "100"),
    ],
)  # fmt: skip
def test_numbers_are_written_the_same_everywhere(value: float, style: str, text: str) -> None:
    """Signs only where gains and losses are meant, and none on what rounds to zero."""
    assert summary.number(value, style) == text


def test_a_cost_below_zero_is_a_gain_and_no_loss() -> None:
    """Bought below the reference: green on the page and in the terminal; a cost above zero has no color."""
    story = Story()
    story.trade("a", "SPY", "buy", "10", "99", fee="1", reference="100")
    story.snapshot()
    result = Result.from_records(story.end())
    tones = {words: tone for _, entries in summary.rows(result) for words, _, tone in entries}
    assert (tones["Fees"], tones["Slippage"], tones["Fees and slippage"]) == ("", "gain", "gain")
    assert '<td class="num gain">-$10.00</td>' in result.html()
    assert "$1.00 fees, -$10.00 slippage" in result.html()


def test_one_of_a_kind_is_not_told_in_the_plural() -> None:
    """One session, one execution, one round trip."""
    story = Story()
    story.trade("a", "SPY", "buy", "1", "100")
    story.trade("a", "SPY", "sell", "1", "101")
    story.snapshot()
    shown = visible(Result.from_records(story.end()).html())
    assert "too short: 1 session, a year is needed" in shown
    assert "In trades.csv: 1 round trip." in shown
    assert not re.search(r"\b1 (sessions|executions|round trips|daily returns)\b", shown)


@without_plotly
@settings(deadline=None, max_examples=30)
@given(st.lists(TRADES | SPLITS | DIVIDENDS | MOVES, max_size=15), st.booleans())
def test_no_run_whatever_makes_a_figure_that_is_not_finite(steps: list[tuple], ended: bool) -> None:
    """Every figure is finite or missing with a reason, the page's data is JSON, and no NaN is printed anywhere."""
    story = tell(steps)
    result = Result.from_records(story.end() if ended else story.records)
    json.dumps(result.summary, allow_nan=False)
    missing = {key for key, value in result.summary.items() if value is None}
    assert missing == set(result.unavailable)
    document = result.html()
    data(document)
    assert not re.search(r"\b(nan|inf|None|NaT)\b", visible(document))
