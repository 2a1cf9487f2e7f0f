"""`onetape import` on real files, one of every kind: all rows arrive, and the first is the one in the file."""

from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest

from brokers.replay import ReplayFeed
from brokers.tape.importer import import_tape
from brokers.tape.recipe import Recipe
from brokers.tape.source import Source
from engine.events import HOUR_NS, MINUTE_NS, Bar, CorporateAction, Datum, MarketEvent, News, Quote, Trade

SESSION_NS = 13 * HOUR_NS // 2
DAILY = {"ts_event_ns": "session_date"}
ADJUSTED = {"close": "close_next_crawl", "adj_close": "adj_close_next_crawl", "open": "open"}
VENUE = {"symbol": "{symbol}@{venue}"}
CLOSE = {"ts_event_ns": "ts_close_ns"}

daily_bars = Recipe("bar", DAILY, calendar="XNYS")
minute_bars = Recipe("bar", CLOSE, interval_ns=MINUTE_NS)


def on(instant: str) -> int:
    return int(datetime.fromisoformat(f"{instant}+00:00").timestamp()) * 10**9


def minute(symbol: str, closed: str, *prices_and_volume: float) -> Bar:
    return Bar(symbol, on(closed), on(closed), *prices_and_volume, MINUTE_NS)


def daily(symbol: str, closed: str, *prices_and_volume: float) -> Bar:
    return Bar(symbol, on(closed), on(closed), *prices_and_volume, SESSION_NS)


MINUTE_BARS = [
    ("us_equity_1min_2019-02-11_2019-02-15.csv.gz", minute_bars, 43_164,
     minute("AAPL", "2019-02-11 14:31", 171.14, 171.2, 170.7, 170.97, 619925.0)),
    ("spy_1min_extended_2011-01.csv.gz", Recipe("bar", {"ts_event_ns": "ts_open_ns"}, interval_ns=MINUTE_NS), 14_180,
     minute("SPY", "2011-01-03 09:01", 126.35, 126.39, 126.35, 126.39, 1579.0)),
    ("crypto_coinbase_1min_trade_bars_2017-09_2018-04.csv.gz", minute_bars, 15_447,
     minute("BTC/USD", "2017-09-03 00:01", 4642.39, 4652.71, 4642.39, 4652.69, 6.63487803)),
    ("crypto_coinbase_1min_quote_bars_2017-09_2018-04.csv.gz",
     Recipe("quote", {**CLOSE, "bid_price": "bid_close", "ask_price": "ask_close"}), 17_250,
     Quote("BTC/USD", on("2017-09-03 00:01"), on("2017-09-03 00:01"), 4642.42, 0.14, 4649.95, 0.4)),
]  # fmt: skip

TICKS = [
    ("binance_quotes_2024-08-08T235415_2024-08-09T000504.parquet", Recipe("quote", fill=VENUE), 252_013,
     Quote("ETHUSDT@BINANCE", 1723161254024619568, 1723161254024619568, 2683.8, 3.0292, 2683.81, 31.4395)),
    ("binance_trades_2024-08-08T235415_2024-08-09T000504.parquet",
     Recipe("trade", {"conditions": "aggressor"}, VENUE), 69_808,
     Trade("BTCUSDT@BINANCE", 1723161255342000000, 1723161254087896568, 61837.63, 0.02, "3735683259", "S")),
]  # fmt: skip

DAILY_BARS = [
    ("us_equity_daily_2012-09_2017-09.csv.gz", daily_bars, 78_991,
     daily("AAPL", "2012-09-04 20:00", 95.108574, 96.44857, 94.928574, 96.424286, 91973000.0)),
    ("us_equity_daily_point_in_time_2015-03_2017-03.csv.gz", daily_bars, 51_692,
     daily("AA", "2015-03-20 20:00", 13.02, 13.09, 12.9, 12.97, 36838700.0)),
    ("wiki_eod_with_actions_2000_2014.csv.gz", daily_bars, 6_280,
     daily("ORCL", "2000-01-03 21:00", 122.7, 125.0, 111.6, 118.1, 24528700.0)),
    ("us_equity_daily_split_adjusted_with_dividends_2012_2014.csv.gz", daily_bars, 3_016,
     daily("AAPL", "2012-01-03 21:00", 58.485714, 58.92857, 58.42857, 58.747143, 75555200.0)),
    ("us_equity_daily_2018-01_2019-02.csv.gz", daily_bars, 6_781,
     daily("AAPL", "2018-01-02 21:00", 170.16, 172.3, 169.26, 172.26, 25048048.0)),
    ("msft_spx_daily_1990_2022.csv.gz", daily_bars, 16_222,
     daily("MSFT", "1990-01-02 21:00", 0.378, 0.385, 0.373, 0.385, 0.0)),
    ("aapl_daily_2021.csv", daily_bars, 250,
     daily("AAPL", "2021-01-04 21:00", 133.52, 133.61, 126.76, 129.41, 143301906.0)),
    ("wiki_eod_with_actions_2000_2014.csv.gz",
     Recipe("corporate_action", {**DAILY, "amount_usd": "ex_dividend", "split_ratio": "split_ratio"}, calendar="XNYS"),
     35, CorporateAction("ORCL", on("2000-01-19 09:00"), on("2000-01-19 09:00"), "split", 2, 1)),
    ("us_equity_daily_split_adjusted_with_dividends_2012_2014.csv.gz",
     Recipe("corporate_action", {**DAILY, "amount_usd": "dividend"}, calendar="XNYS"), 46,
     CorporateAction(
         "IBM", on("2012-02-08 09:00"), on("2012-02-08 09:00"), "cash_dividend", amount_usd=Decimal("0.75"))),
]  # fmt: skip

TEXTS = [
    ("sec_edgar_filings_AAPL_MSFT_NVDA_TSLA.csv.gz",
     Recipe("datum", {"ts_event_ns": "ts_accepted_ns"}, {"name": "filing", "text": "{form} {items}"}), 4_685,
     Datum("filing", 1109176716000000000, 1109176716000000000, "TSLA", text="REGDEX 06")),
    ("quarterly_reports_2015-03_2017-03.csv",
     Recipe("datum", {"ts_event_ns": "crawl_date", "value": "eps_diluted"},
            {"name": "eps", "text": "{doc_type} {period_focus} {fiscal_year}"}, stamp="next_open", calendar="XNYS"),
     1_500, Datum("eps", on("2015-03-31 13:30"), on("2015-03-31 13:30"), "ROST", 4.42, "10-K FY 2014")),
    ("tweets_by_symbol_2014-01_2015-12.jsonl.gz",
     Recipe("news", {"ts_event_ns": "ts_ns", "symbols": "symbol", "headline": "text"}), 82_004,
     News(1388531408000000000, 1388531408000000000, symbols=("AAPL",), headline=(
         "rt AT_USER summary of yesterday's webcast featuring $ aapl $ wynn $ goog $ lgf tradereducation options "
         "hedgingstrategies - - URL"))),
    ("aapl_headlines_2021.csv.gz",
     Recipe("news", {"ts_event_ns": "ts_ns_approx", "symbols": "symbol", "author": "publisher"}, time_unit="ns"), 2_139,
     News(1609506720000000000, 1609506720000000000, symbols=("AAPL",), author="Business Insider",
          headline="Apple Watch SE favorite purchase of 2020: fitness, customization, audio",
          url="https://www.businessinsider.com/apple-watch-se-favorite-purchase-of-2020-fitness-customization-"
              "audio-2021-1")),
]  # fmt: skip

REAL = [
    pytest.param(f"{folder}/{name}", recipe, rows, first, id=f"{name}-{recipe.kind}")
    for folder, files in (("bars_1min", MINUTE_BARS), ("ticks_crypto", TICKS), ("daily", DAILY_BARS), ("news", TEXTS))
    for name, recipe, rows, first in files
]


@pytest.mark.parametrize(("name", "recipe", "rows", "first"), REAL)
def test_every_kind_of_real_file_imports_with_its_first_row_as_expected(
    name: str, recipe: Recipe, rows: int, first: MarketEvent, shared_data: Path, tmp_path: Path
) -> None:
    """Golden rows, copied from the files by eye; a bar is stamped at its close."""
    report = import_tape([Source(shared_data / name)], tmp_path / "out.parquet", recipe)
    feed = ReplayFeed(ReplayFeed.Settings(paths=(tmp_path / "out.parquet",)))
    assert next(feed.batches())[0] == first
    assert (report.summary.rows, report.skipped) == (rows, {})


def test_the_real_splits_are_found_in_point_in_time_closes(shared_data: Path, tmp_path: Path) -> None:
    """Those that the data's own page lists, on their days, and the spin-offs left out and counted."""
    recipe = Recipe("corporate_action", {**DAILY, **ADJUSTED}, calendar="XNYS")
    source = Source(shared_data / "daily/us_equity_daily_point_in_time_2015-03_2017-03.csv.gz")
    report = import_tape([source], tmp_path / "out.csv", recipe, skip_bad=True)
    feed = ReplayFeed(ReplayFeed.Settings(paths=(tmp_path / "out.csv",)))
    splits = [
        (one.symbol, one.new_shares, one.old_shares, one.ts_event_ns)
        for batch in feed.batches()
        for one in batch
        if isinstance(one, CorporateAction) and one.action == "split"
    ]
    assert splits == [
        ("SBUX", 2, 1, on("2015-04-09 08:00")),
        ("ROST", 2, 1, on("2015-06-12 08:00")),
        ("KR", 2, 1, on("2015-07-14 08:00")),
        ("NFLX", 7, 1, on("2015-07-15 08:00")),
        ("NKE", 2, 1, on("2015-12-24 09:00")),
        ("AA", 1, 3, on("2016-10-06 08:00")),
    ]
    assert report.skipped.total() == 2, "EBAY and HPQ"


def test_a_real_recorder_with_a_clock_behind_its_venue_is_told_of(shared_data: Path, tmp_path: Path) -> None:
    """Kept as recorded, and counted."""
    source = Source(shared_data / "ticks_crypto/binance_quotes_2024-08-08T235415_2024-08-09T000504.parquet")
    notes = import_tape([source], tmp_path / "out.parquet", Recipe("quote", fill=VENUE)).notes
    assert sorted(notes.values()) == [120_081, 131_932]
