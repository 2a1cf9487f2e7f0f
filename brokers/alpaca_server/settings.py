"""The options of the venue. Those under "unknown" are what no source settles about the real service.

Each default is the likelier answer, or where none is, the stricter one for a client; `docs/alpaca.md` says which.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from brokers.simulated.settings import PaperSettings

LOOPBACK = ("127.0.0.1", "localhost", "::1")
Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
DataFeed = Literal["iex", "sip", "delayed_sip", "test", "boats", "overnight"]


class MatchingSettings(PaperSettings):
    """Options of the matching engine: those of the paper broker, two of them with other defaults."""

    latency_ms: float = Field(
        0.0, ge=0, le=3_600_000, allow_inf_nan=False,
        description="From taking an order, replacement or cancel on to its arrival; sockets have their own latency.",
    )  # fmt: skip
    fees: str = Field("zero", description="The fee model; paper accounts of the service are charged none on stocks.")


class ServerSettings(BaseModel):
    """Options of `onetape server`, the table `[server]` of its file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # --- where, when and for whom ---

    host: str = Field("127.0.0.1", description="Loopback address to listen on; any other is refused.")
    port: int = Field(8765, ge=0, le=65_535, description="Port of everything, REST and streams; 0 takes a free one.")
    key_id: str = Field(
        "PKLOCALVENUE", min_length=1, description="The one key that the venue accepts; no secret of anybody."
    )
    secret_key: str = Field("local-venue-secret", min_length=1, description="Its secret, as public as the key.")
    time: Literal["now", "tape"] = Field(
        "now",
        description="`now` moves the tape, the calendar with it, by whole minutes so that it begins at the present "
        "minute; `tape` keeps its own dates.",
    )  # fmt: skip
    speed: float = Field(
        1.0, ge=0, le=1_000_000, allow_inf_nan=False,
        description="Simulated seconds a second; 0 plays the tape as fast as its readers take it.",
    )  # fmt: skip
    start: Literal["at_once", "subscribed", "control"] = Field(
        "at_once", description="When the tape begins to move: `subscribed` waits for the first data subscription, "
        "`control` for a word at the control endpoint.",
    )  # fmt: skip
    at_end: Literal["stay", "exit"] = Field("stay", description="What becomes of the venue when its tape has ended.")
    history_until: datetime | None = Field(
        None,
        description="Events received before this instant of the tape are history from the start and never streamed.",
    )
    calendar: str = Field("XNYS", description="Calendar of the stocks' sessions; crypto trades around the clock.")
    account_number: str = Field("PA3LOCALVENUE", min_length=1, description="The account's number.")
    seed: int = Field(0, ge=0, description="Of every id and every chance fault.")
    assets: dict[str, dict[str, Any]] = Field(
        {}, description="Fields of single assets that differ, by symbol: `{ GME = { easy_to_borrow = false } }`."
    )
    paper: MatchingSettings = Field(MatchingSettings(), description="Options of the matching engine.")
    crypto_fees: Literal["none", "usd", "in_kind"] = Field(
        "none", description="Crypto's fees: none, in dollars, or taken out of the coins bought as the service does."
    )

    fill_at_once: bool = Field(
        False,
        description="A new order meets the last quote when it arrives, not the next event; no replay can do the same.",
    )

    # --- the plan: documented limits ---

    feeds: tuple[DataFeed, ...] = Field(
        ("iex", "sip", "delayed_sip", "test", "boats", "overnight"),
        description="Stock feeds in the plan; another one is refused at authentication with 409.",
    )
    connections_max: int = Field(1, ge=1, description="Data sessions of one endpoint; the next gets 406.")
    symbols_max: int = Field(
        0, ge=0, description="Symbols of trades and quotes in one session, 30 in the Basic plan; 0: any."
    )
    requests_per_min: int = Field(200, ge=0, description="Trading requests a minute; 0 does not limit.")
    data_requests_per_min: int = Field(10_000, ge=0, description="Market-data requests a minute; 0 does not limit.")
    auth_wait_s: Seconds = Field(10.0, description="Time for a data session to authenticate, in seconds; then 404.")
    recent_sip: bool = Field(True, description="Serve SIP data younger than 15 minutes; the Basic plan does not.")
    wash_trade_guard: bool = Field(
        True, description="Refuse an order that could trade with an open one of the account."
    )
    client_order_id_chars_max: int = Field(128, ge=1, description="Longest client_order_id; older pages say 48.")
    suspended: bool = Field(False, description="The account is blocked: it answers, and refuses every order.")

    # --- unknown: no source settles these ---

    client_order_id_scope: Literal["history", "open"] = Field(
        "history", description="Where a client_order_id must be unique: among all orders, or only among the open ones."
    )
    refused_order_keeps_id: bool = Field(
        False, description="An order refused with 4xx has used up its client_order_id."
    )
    server_ping_s: Seconds = Field(0.0, description="Interval of the server's own pings, in seconds; 0 sends none.")
    trading_connections_max: int = Field(0, ge=0, description="Sessions of the trading stream; 0 does not limit.")
    ghost_s: Seconds = Field(
        0.0, description="How long a session that broke off still counts, in seconds; up to 90 reported."
    )
    second_auth: Literal["403", "authenticated"] = Field(
        "authenticated",
        description="Answer to the first auth message of a session that its headers authenticated already.",
    )
    closing_errors: tuple[int, ...] = Field(
        (402, 404, 406, 407, 409, 411, 412), description="Stream error codes after which the connection is closed."
    )
    silent_events: tuple[str, ...] = Field(
        ("pending_new", "held", "pending_cancel", "pending_replace"),
        description="Order events that the trading stream does not send.",
    )
    event_ids: bool = Field(False, description="Trade updates carry an `event_id`.")
    new_before_replaced: bool = Field(False, description="Of a replacement, the new order's event comes first.")
    replaced_fills: Literal["fresh", "carried"] = Field(
        "fresh",
        description="What a replacement shows as filled at first: nothing, or what the replaced order had filled.",
    )
    activity_wait_s: Seconds = Field(
        0.0, description="How much later than its event a FILL activity is listed, in seconds."
    )
    activity_id: Literal["execution", "other"] = Field(
        "execution", description="The uuid in a FILL activity's id: the execution's, or one of its own."
    )
    binary_updates: bool = Field(
        True, description="The trading stream sends binary frames, as paper does; live sends text."
    )
    data_unauthorized_status: Literal[401, 403] = Field(401, description="Wrong keys at the market-data endpoints.")
    html_errors: bool = Field(True, description="Wrong keys at /clock and /calendar give an HTML page, as recorded.")
    rate_headers: bool = Field(True, description="Replies carry X-Ratelimit headers.")
    rate_message: str = Field("rate limit exceeded", description="Text of a 429.")
    second_cancel_status: Literal[204, 422] = Field(422, description="Canceling a canceled order.")
    bracket_code: Literal[42210000, 40310000] = Field(
        42210000, description="Code of `bracket orders must be entry orders`."
    )
    recent_sip_code: Literal[42210000, 40010001] = Field(42210000, description="Code of a refusal of recent SIP data.")
    cls_cutoff_min: Literal[5, 10] = Field(
        10,
        description="From how many minutes before the close, half days too, a cls order is refused: the OpenAPI file "
        "says 10, the text of the refusal 5.",
    )
    crypto_cost_usd_min: Decimal = Field(
        Decimal(10), description="Least cost of a crypto order, in dollars; 1 is reported too."
    )
    notional_limit_orders: bool = Field(
        True, description="Limit orders may be notional; the OpenAPI file says market only."
    )
    legs_listed: bool = Field(True, description="`status=open` lists held legs.")
    done_for_day_open: bool = Field(True, description="`status=open` lists orders that are done for the day.")
    legacy_account_fields: bool = Field(False, description="The account still has the pattern-day-trader fields.")
    frame_messages_max: int = Field(500, ge=1, le=10_000, description="Messages in one data frame at most.")
    send_buffer_bytes_max: int = Field(
        8 << 20, ge=1 << 16, description="Unread bytes of a session before it gets 407 and is closed."
    )

    @field_validator("host")
    @classmethod
    def _is_loopback(cls, host: str) -> str:
        if host not in LOOPBACK:
            raise ValueError(f"{host!r} is no loopback address; the venue listens on one of {', '.join(LOOPBACK)} only")
        return host
