#!/bin/sh
# Import the market data that the runs in this folder name: tapes.sh DATA TAPES. `make tapes` calls it.
set -eu
data=${1:?the folder with the market data}
tapes=${2:?the folder for the tapes}
mkdir -p "$tapes"

# tape OUT KIND SOURCE OPTIONS...: the options say which column is what, and when a row was true
tape() {
	out=$tapes/$1.parquet kind=$2 source=$data/$3
	shift 3
	"${ONETAPE:-onetape}" import "$source" --kind "$kind" --out "$out" --force "$@"
}
minutes="--map ts_event_ns=ts_close_ns --stamp close --interval 1min"
sessions="--map ts_event_ns=session_date --stamp close --calendar XNYS"

tape us_stocks bar bars_1min/us_equity_1min_2019-02-11_2019-02-15.csv.gz $minutes --calendar XNYS
tape spy_extended bar bars_1min/spy_1min_extended_2011-01.csv.gz $minutes --calendar XNYS

tape coinbase_bars bar bars_1min/crypto_coinbase_1min_trade_bars_2017-09_2018-04.csv.gz $minutes --calendar 24/7
tape coinbase_quotes quote bars_1min/crypto_coinbase_1min_quote_bars_2017-09_2018-04.csv.gz --calendar 24/7 \
	--map ts_event_ns=ts_close_ns,bid_price=bid_close,ask_price=ask_close

binance=2024-08-08T235415_2024-08-09T000504.parquet
tape binance_quotes quote "ticks_crypto/binance_quotes_$binance" --fill 'symbol={symbol}/{venue}'
tape binance_trades trade "ticks_crypto/binance_trades_$binance" --fill 'symbol={symbol}/{venue}'

tape wiki_bars bar daily/wiki_eod_with_actions_2000_2014.csv.gz $sessions
tape wiki_actions corporate_action daily/wiki_eod_with_actions_2000_2014.csv.gz --calendar XNYS \
	--map ts_event_ns=session_date,split_ratio=split_ratio,amount_usd=ex_dividend

# As a daily crawler saw it: prices unadjusted; what the next day's file had adjusted tells the splits and dividends.
pit=daily/us_equity_daily_point_in_time_2015-03_2017-03.csv.gz
tape point_in_time_bars bar $pit $sessions
tape point_in_time_actions corporate_action $pit --calendar XNYS \
	--map ts_event_ns=session_date,open=open,close=close,adj_close=adj_close_next_crawl --skip-bad

tape aapl_2021_bars bar daily/aapl_daily_2021.csv $sessions
tape aapl_2021_news news news/aapl_headlines_2021.csv.gz --map ts_event_ns=ts_ns_approx,author=publisher --time-unit ns \
	--fill 'symbols={symbol}'
tape filings datum news/sec_edgar_filings_AAPL_MSFT_NVDA_TSLA.csv.gz --map ts_event_ns=ts_accepted_ns \
	--fill name=filing --fill 'text={form} {items}' --sort

# Five years of 64 stocks to train on; split-adjusted by their vendor, so their volumes and prices are of 2017's shares.
tape us_daily bar daily/us_equity_daily_2012-09_2017-09.csv.gz $sessions
