"""The options of the simulated venue: everything that decides a fill, so everything that a report must name."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MULTIPLIERS = {"cash": 1, "margin_2x": 2, "margin_4x": 4}


class PaperSettings(BaseModel):
    """Options of `use = "paper"`. The rules they steer are in `docs/paper_fills.md`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cash_usd: Decimal = Field(Decimal(100_000), gt=0, description="Money in the account at the start, in dollars.")
    account: Literal["cash", "margin_2x", "margin_4x"] = Field(
        "margin_2x",
        description="`cash` spends its cash and never sells short; on margin, positions may be 2 or 4 times equity.",
    )
    easy_to_borrow: bool = Field(True, description="Symbols can be sold short unless `hard_to_borrow` names them.")
    hard_to_borrow: tuple[str, ...] = Field((), description="Symbols that cannot be sold short.")
    shortable: tuple[str, ...] = Field((), description="Symbols that can be sold short whatever the two above say.")
    allow_flip: bool = Field(
        False, description="Take on an order that closes a position and opens the opposite one. Alpaca refuses it."
    )
    latency_ms: float = Field(
        50.0, ge=0, le=3_600_000, allow_inf_nan=False,
        description="From sending an order, replacement or cancel to its arrival, in milliseconds.",
    )  # fmt: skip
    latency_jitter_ms: float = Field(
        0.0, ge=0, le=3_600_000, allow_inf_nan=False,
        description="Median of a random lognormal delay on top, in milliseconds, from the run's seed; 0 adds none.",
    )  # fmt: skip
    latency_jitter_sigma: float = Field(
        1.0, ge=0, le=5, allow_inf_nan=False,
        description="Spread of that delay: the standard deviation of its logarithm.",
    )  # fmt: skip
    open_grace_ms: float = Field(
        1_000.0, ge=0, le=60_000, allow_inf_nan=False,
        description="An order that arrives this long after a bar has opened still fills at its open, in milliseconds.",
    )  # fmt: skip
    close_grace_s: float = Field(
        60.0, ge=0, le=604_800, allow_inf_nan=False,
        description="How long after the close an order's end waits for late events of before the close, in seconds.",
    )  # fmt: skip
    participation: float = Field(
        0.1, gt=0, le=1, allow_inf_nan=False,
        description="Share of a bar's volume or a print's size that our orders may fill together, as a fraction.",
    )  # fmt: skip
    quote_size_cap: bool = Field(True, description="On a quote, fill the displayed size at most.")
    quote_max_age_s: float = Field(
        60.0, ge=0, allow_inf_nan=False,
        description="While the last quote or print is younger than this, bars do not fill the symbol, in seconds.",
    )  # fmt: skip
    limit_fill: Literal["through", "touch"] = Field(
        "through",
        description="A resting limit needs a trade `through` it, strictly better; or a `touch` of its price is enough.",
    )
    fills: str = Field("next_event", description="The fill model: `next_event`, or a plugin's name.")
    fees: str = Field(
        "alpaca", description="The fee model: `alpaca`, `zero`, `per_share`, `basis_points`, or a plugin's name."
    )
    fee_params: dict[str, Any] = Field(
        default_factory=dict, description='Parameters of the fee model, such as `{ usd_per_share = "0.005" }`.'
    )
    slippage: str = Field(
        "none",
        description="The slippage model: `none`, `fixed_bps`, `half_spread_bps`, `volume_share`, or a plugin's name.",
    )
    slippage_params: dict[str, Any] = Field(
        default_factory=dict, description="Parameters of the slippage model, such as `{ bps = 2.0 }`."
    )

    @property
    def multiplier(self) -> int:
        """Buying power over equity."""
        return MULTIPLIERS[self.account]
