#!/bin/sh
# Import the market data that the runs in this folder name: tapes.sh DATA TAPES. `make tapes` calls it.
set -eu
data=${1:?the folder with the market data}
tapes=${2:?the folder for the tapes}
onetape=${ONETAPE:-onetape}
bars() { "$onetape" import "$1" --kind bar --out "$tapes/$2" --force --calendar "$3"; }

mkdir -p "$tapes"
bars "$data/bars_1min/us_equity_1min_2019-02-11_2019-02-15.csv.gz" us_stocks_2019_bars.parquet XNYS
bars "$data/bars_1min/spy_1min_extended_2011-01.csv.gz" spy_2011_bars.parquet XNYS
bars "$data/bars_1min/crypto_coinbase_1min_trade_bars_2017-09_2018-04.csv.gz" coinbase_bars.parquet 24/7
