"""The options of the feed and of the broker."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

_SYMBOL = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789./*")


class FeedSettings(BaseModel):
    """Which market data to receive from Alpaca, live."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    feed: Literal["iex", "sip", "delayed_sip", "overnight"] = Field(
        "iex", description="The stock feed: `iex` is in every plan, `sip` is all US exchanges and paid."
    )
    symbols: tuple[str, ...] = Field(
        min_length=1, examples=[["SPY", "BTC/USD"]],
        description='Stocks, and coins by a slash. `"*"` is every stock, with bars only unless the plan allows more.',
    )  # fmt: skip
    bars: bool = Field(True, description="Minute bars.")
    updated_bars: bool = Field(
        False, description="Bars again after late trades, half a minute later, as events of their own (`revised`)."
    )
    daily_bars: bool = Field(False, description="The day so far, each minute, as a datum called `daily_bar`.")
    session_bars: bool = Field(
        False, description="A bar of each session once it has closed, for models and strategies of daily bars."
    )
    quotes: bool = Field(False, description="Best bid and ask.")
    trades: bool = Field(False, description="Every print, with its corrections and cancels as data.")
    statuses: bool = Field(True, description="Halts and resumptions of stocks.")
    lulds: bool = Field(False, description="Limit-up and limit-down prices of stocks.")
    news: bool = Field(False, description="Headlines of the symbols.")
    crypto_location: Literal["us", "us-1", "us-2", "eu-1", "bs-1", "global"] = Field(
        "us", description="The crypto venue."
    )
    backfill_s: float = Field(
        0.0, ge=0, le=30 * 86_400, allow_inf_nan=False,
        description="How far back to fetch at the start, in seconds, so that strategies begin warm.",
    )  # fmt: skip
    backfill_sessions: int = Field(
        0, ge=0, le=5_000,
        description="How many sessions to begin with where `session_bars` is on. Models get what they need anyway.",
    )  # fmt: skip
    silence_max_s: float = Field(
        12.0, gt=0, allow_inf_nan=False,
        description="How long an open market may be silent before REST is asked if the stream is mute, in seconds.",
    )  # fmt: skip
    rest_requests_per_min: float = Field(
        200.0, gt=0, allow_inf_nan=False, description="The data plan's REST limit, in requests a minute."
    )
    keys_file: Path | None = Field(
        None, description="An owner-only file with the two keys; unset, they come from the environment."
    )
    server_url: str = Field(
        "", description="A local Alpaca-compatible server, such as `http://127.0.0.1:8765`; in paper mode only."
    )

    @field_validator("symbols", mode="before")
    @classmethod
    def _as_tuple(cls, value: object) -> object:
        return ("*",) if value == "*" else tuple(value) if isinstance(value, list) else value

    @field_validator("symbols")
    @classmethod
    def _upper_case(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for symbol in value:
            if not symbol or symbol != symbol.upper() or not set(symbol) <= _SYMBOL:
                raise ValueError(f"{symbol!r} is no symbol; write AAPL, BRK.B or BTC/USD")
        return value


class BrokerSettings(BaseModel):
    """How to reach the Alpaca account. Whether it is the paper or the live one, the run's `mode` alone says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keys_file: Path | None = Field(
        None, description="An owner-only file with the two keys; unset, that of `[feed]`, then the environment."
    )
    server_url: str = Field(
        "", description="A local Alpaca-compatible server; unset, that of an alpaca `[feed]`. In paper mode only."
    )
    timeout_s: float = Field(
        5.0, gt=0, le=60, allow_inf_nan=False,
        description="How long a request may take before its outcome counts as unknown, in seconds.",
    )  # fmt: skip
    requests_per_min: float = Field(
        200.0, gt=0, allow_inf_nan=False,
        description="The account's REST limit, in requests a minute; a fifth of the burst is kept for cancels.",
    )  # fmt: skip
