"""Alpaca: market data in, orders out, history on disk. Nothing outside this folder knows its protocol."""
