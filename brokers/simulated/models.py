"""The built-in fee, slippage and fill models by the names that a configuration uses."""

from __future__ import annotations

from inspect import signature
from typing import Any

from brokers.simulated.fees import AlpacaCryptoFees, AlpacaFees, BasisPointsFees, FeeModel, PerShareFees, ZeroFees
from brokers.simulated.matching import FillModel, NextEventFills
from brokers.simulated.settings import PaperSettings
from brokers.simulated.slippage import FixedBps, HalfSpreadBps, NoSlippage, SlippageModel, VolumeShare
from engine.errors import ConfigError, suggestion

FEES: dict[str, type] = {
    "alpaca": AlpacaFees, "zero": ZeroFees, "per_share": PerShareFees, "basis_points": BasisPointsFees,
}  # fmt: skip
SLIPPAGE: dict[str, type] = {
    "none": NoSlippage, "fixed_bps": FixedBps, "half_spread_bps": HalfSpreadBps, "volume_share": VolumeShare,
}  # fmt: skip
FILLS: dict[str, type] = {"next_event": NextEventFills}

PLUGGABLE = (
    ("fees", "fee_params", "onetape.fee_models", frozenset(FEES)),
    ("slippage", "slippage_params", "onetape.slippage_models", frozenset(SLIPPAGE)),
    ("fills", "", "onetape.fill_models", frozenset(FILLS)),
)
"""What a plugin may stand in for: the setting, that of its parameters, the entry-point group, the names built in."""


def fee_model(settings: PaperSettings, *, crypto: bool) -> FeeModel:
    """Build the fee model that the settings name; `alpaca` is its crypto schedule around the clock.

    Raises:
        ConfigError: it is not built in, or a parameter is wrong.
    """
    models = FEES | {"alpaca": AlpacaCryptoFees} if crypto else FEES
    model: FeeModel = _build("fees", settings.fees, "fee_params", settings.fee_params, models)
    return model


def slippage_model(settings: PaperSettings) -> SlippageModel | None:
    """Build the slippage model that the settings name, None for `none`.

    Raises:
        ConfigError: it is not built in, or a parameter is wrong.
    """
    params = settings.slippage_params
    model: SlippageModel = _build("slippage", settings.slippage, "slippage_params", params, SLIPPAGE)
    return None if isinstance(model, NoSlippage) else model


def fill_model(settings: PaperSettings, *, crypto: bool) -> FillModel:
    """Build the fill model that the settings name.

    Raises:
        ConfigError: it is not built in.
    """
    params = {"limit_fill": settings.limit_fill, "crypto": crypto}
    model: FillModel = _build("fills", settings.fills, "limit_fill", params, FILLS)
    return model


def _build(key: str, name: str, params_key: str, params: dict[str, Any], models: dict[str, type]) -> Any:
    if name not in models:
        known = ", ".join(models)
        raise ConfigError(f"broker.{key}: unknown model {name!r}{suggestion(name, models)}; built in are {known}")
    taken = signature(models[name]).parameters
    for param in params:
        if param not in taken:
            told = f"{suggestion(param, taken)}; it takes {', '.join(taken) or 'none'}"
            raise ConfigError(f"broker.{params_key}: model {name!r} takes no '{param}'{told}")
    for param, how in taken.items():
        if how.default is how.empty and param not in params:
            raise ConfigError(f"broker.{params_key}: model {name!r} needs '{param}', which is not given")
    try:
        return models[name](**params)
    except ValueError as error:
        raise ConfigError(f"broker.{params_key}: {error}") from None
