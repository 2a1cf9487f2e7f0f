"""The limits of the risk controls, as they stand in the `[risk]` table of a run.

Every limit is required: a limit that nobody wrote down is no limit. `profile` names a documented set that fills in
whatever is not given; explicit keys win over it. `docs/risk_controls.md` says what each control does.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, model_validator

from engine.errors import suggestion


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("a number is wanted, not true or false")
    return value


Amount = Annotated[Decimal, BeforeValidator(_no_bool), Field(ge=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, le=1e9, strict=True, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, strict=True)]


class RiskLimits(BaseModel):
    """What an order, a strategy and the account may do at most.

    Units: in the names. `_percent` and `_fraction` are of the equity at the start of the session unless the
    description says otherwise. Every description begins with the code of the control that reads the key.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    profile: Literal["", "small_account", "wide"] = Field(
        "", description="a documented set of limits that fills in the keys not given: small_account or wide"
    )

    max_order_notional_usd: Amount = Field(
        description="C02: largest order, at the dearest of its prices and the reference"
    )
    max_order_notional_percent: Amount = Field(description="C02: largest order, in percent of equity")
    max_order_qty: Amount = Field(description="C03: largest order, in shares or coins")
    max_order_adv_percent: Amount = Field(description="C03: largest order, in percent of the average daily volume")
    max_order_unknown_adv_qty: Amount = Field(
        description="C03: largest order while the average daily volume is unknown"
    )
    collar_aggressive_percent: Amount = Field(description="C04: how far a price may lie beyond the reference")
    collar_passive_percent: Amount = Field(
        description="C04: how far a price may lie behind the reference, and a stop from it"
    )
    market_orders_as_limits: StrictBool = Field(
        description="C05: send a market order of the regular session as a limit at the aggressive collar"
    )
    max_spread_percent: Amount = Field(
        description="C05: widest spread, in percent of its middle, in which a market order may go"
    )
    max_data_age_s: Seconds = Field(description="C06: age of a symbol's newest data beyond which entries are refused")
    max_data_age_periods_count: Count = Field(
        description="C06: bar periods, plus 5 s, that the newest data may be old where that is longer"
    )
    duplicate_window_s: Seconds = Field(description="C07: time within which the same order again is refused")
    max_orders_per_min_count: Count = Field(description="C08: new and replaced orders of the account in any 60 s")
    max_orders_per_s_count: Count = Field(description="C08: new and replaced orders of the account in any second")
    max_strategy_orders_per_min_count: Count = Field(
        description="C08: new and replaced orders of a strategy in any 60 s"
    )
    max_executions_count: Count = Field(
        description="C09: executed entries of one strategy in one symbol within executions_window_s; one more halts it"
    )
    executions_window_s: Seconds = Field(description="C09: the window of max_executions_count")
    max_open_orders_count: Count = Field(description="C10: open orders of the account, protective legs included")
    max_strategy_open_orders_count: Count = Field(description="C10: open orders of one strategy")
    max_symbol_side_open_orders_count: Count = Field(description="C10: open orders in one symbol on one side")
    max_position_percent: Amount = Field(description="C11: worst-case position in one symbol, in percent of equity")
    max_gross_fraction: Amount = Field(description="C12: worst-case gross exposure over equity")
    max_net_fraction: Amount = Field(description="C12: worst-case net exposure over equity, long or short")
    market_order_markup_percent: Amount = Field(
        description="C13: what an order without a limit price may cost beyond the reference"
    )
    cash_buffer_percent: Amount = Field(description="C13: share of the buying power that is never spent")
    max_leverage_fraction: Amount = Field(
        description="C27: worst-case positions over the equity of the moment, however much more the broker would lend"
    )
    daily_loss_reduce_only_percent: Amount = Field(description="C14: loss of the session that stops entries")
    daily_loss_halt_percent: Amount = Field(description="C14: loss of the session that halts trading")
    max_drawdown_percent: Amount = Field(
        description="C15: fall from the highest equity, in percent of that, that halts trading"
    )
    strategy_daily_loss_percent: Amount = Field(
        description="C16: a strategy's loss in the session that halts that strategy"
    )
    max_orders_per_day_count: Count = Field(description="C17: orders of the account in a session")
    max_strategy_orders_per_day_count: Count = Field(description="C17: orders of one strategy in a session")
    max_turnover_fraction: Amount = Field(
        description="C18: value traded in a session, this order included, over equity"
    )
    max_consecutive_rejects_count: Count = Field(
        description="C19: rejections by the venue in a row; one more halts trading"
    )
    max_reject_percent: Amount = Field(
        description="C19: share of the venue's answers that may be rejections; more halts"
    )
    min_reject_sample_count: Count = Field(description="C19: answers below which max_reject_percent is not judged")
    reject_window_s: Seconds = Field(description="C19: the window of max_reject_percent")
    allow_short_selling: StrictBool = Field(description="C23: whether a strategy may sell what it does not hold")
    no_entry_before_close_s: Seconds = Field(description="C24: time before the close in which entries are refused")
    allow_extended_hours: StrictBool = Field(description="C24: whether entries may go in the extended hours")
    allow_queued_entries: StrictBool = Field(
        description="C24: whether entries may be sent while the venue is closed, to wait for the next open"
    )
    allow_reversals: StrictBool = Field(description="C26: whether one order may close a position and open its opposite")
    max_entry_age_s: Seconds = Field(
        description="C28: time after which an entry that still rests is canceled; at least one bar of its symbol"
    )
    rollout_sessions_count: Count = Field(
        description="C35: first sessions of a strategy that it trades small; 0 is off"
    )
    rollout_percent: Amount = Field(description="C35: share of the size limits that a strategy in roll-out may use")
    max_approval_age_s: Seconds = Field(description="C37: time within which an approval must be used")

    max_unknown_count: Count = Field(description="C20: orders of unknown outcome at once; one more halts trading")
    max_unknown_age_s: Seconds = Field(description="C20: how long an outcome may be unknown; longer halts trading")
    link_down_no_entries_s: Seconds = Field(description="C30: how long the order stream may be down until entries stop")
    link_down_cancel_s: Seconds = Field(description="C30: how long it may be down before open entries are canceled")

    @model_validator(mode="before")
    @classmethod
    def _fill_in_profile(cls, given: Any) -> Any:
        if not isinstance(given, dict) or not given.get("profile"):
            return given
        name = given["profile"]
        if name not in PROFILES:
            hint = suggestion(str(name), PROFILES) or f"; known: {', '.join(PROFILES)}"
            raise ValueError(f"no risk profile is called {name!r}{hint}")
        return {**PROFILES[name], **given}

    @model_validator(mode="after")
    def _halt_after_reduce_only(self) -> RiskLimits:
        if self.daily_loss_halt_percent < self.daily_loss_reduce_only_percent:
            raise ValueError(
                f"daily_loss_halt_percent {self.daily_loss_halt_percent} is below daily_loss_reduce_only_percent "
                f"{self.daily_loss_reduce_only_percent}; trading becomes reduce-only first and halts later"
            )
        return self


SMALL_ACCOUNT: dict[str, Any] = {
    "max_order_notional_usd": "25000",
    "max_order_notional_percent": "10",
    "max_order_qty": "10000",
    "max_order_adv_percent": "1",
    "max_order_unknown_adv_qty": "1000",
    "collar_aggressive_percent": "3",
    "collar_passive_percent": "20",
    "market_orders_as_limits": True,
    "max_spread_percent": "1",
    "max_data_age_s": 15.0,
    "max_data_age_periods_count": 2,
    "duplicate_window_s": 2.0,
    "max_orders_per_min_count": 100,
    "max_orders_per_s_count": 5,
    "max_strategy_orders_per_min_count": 30,
    "max_executions_count": 10,
    "executions_window_s": 600.0,
    "max_open_orders_count": 50,
    "max_strategy_open_orders_count": 20,
    "max_symbol_side_open_orders_count": 2,
    "max_position_percent": "20",
    "max_gross_fraction": "1",
    "max_net_fraction": "1",
    "market_order_markup_percent": "4",
    "cash_buffer_percent": "1",
    "max_leverage_fraction": "1",
    "daily_loss_reduce_only_percent": "2",
    "daily_loss_halt_percent": "3",
    "max_drawdown_percent": "10",
    "strategy_daily_loss_percent": "1",
    "max_orders_per_day_count": 200,
    "max_strategy_orders_per_day_count": 50,
    "max_turnover_fraction": "3",
    "max_consecutive_rejects_count": 5,
    "max_reject_percent": "20",
    "min_reject_sample_count": 10,
    "reject_window_s": 300.0,
    "allow_short_selling": False,
    "no_entry_before_close_s": 300.0,
    "allow_extended_hours": False,
    "allow_queued_entries": False,
    "allow_reversals": False,
    "max_entry_age_s": 600.0,
    "rollout_sessions_count": 0,
    "rollout_percent": "10",
    "max_approval_age_s": 2.0,
    "max_unknown_count": 2,
    "max_unknown_age_s": 120.0,
    "link_down_no_entries_s": 10.0,
    "link_down_cancel_s": 60.0,
}
"""For an unlevered account that a person watches."""

_WIDE_AMOUNT, _WIDE_COUNT, _WIDE_S = "1e12", 10**9, 1e9

WIDE: dict[str, Any] = {
    **{key: _WIDE_AMOUNT for key, value in SMALL_ACCOUNT.items() if isinstance(value, str)},
    **{key: _WIDE_COUNT for key, value in SMALL_ACCOUNT.items() if type(value) is int},
    **{key: _WIDE_S for key, value in SMALL_ACCOUNT.items() if isinstance(value, float)},
    **{key: True for key, value in SMALL_ACCOUNT.items() if isinstance(value, bool)},
    # What protects by being large is zero, what is no limit stays as it is, and a market order stays one.
    "market_orders_as_limits": False,
    "executions_window_s": SMALL_ACCOUNT["executions_window_s"],
    "reject_window_s": SMALL_ACCOUNT["reject_window_s"],
    "duplicate_window_s": 0.0,
    "no_entry_before_close_s": 0.0,
    "market_order_markup_percent": "0",
    "cash_buffer_percent": "0",
    "rollout_sessions_count": 0,
    "rollout_percent": "100",
}
"""For benchmarks and research: every control runs and none binds, save those that need no limit."""

PROFILES = {"small_account": SMALL_ACCOUNT, "wide": WIDE}
