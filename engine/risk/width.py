"""Which of two sets of limits lets more through, key by key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from engine.risk.limits import SMALL_ACCOUNT, RiskLimits

STRICTER_WHEN_LARGER = frozenset({
    "market_orders_as_limits", "duplicate_window_s", "executions_window_s", "market_order_markup_percent",
    "cash_buffer_percent", "reject_window_s", "no_entry_before_close_s", "rollout_sessions_count",
})  # fmt: skip
"""Of all other limits the larger one lets more through, and of a switch the one that is on."""


def wider(limits: RiskLimits, bounds: RiskLimits) -> Iterator[tuple[str, Any, Any]]:
    """Yield each limit that lets more through than its bound does: its name, its value and the bound."""
    for name in SMALL_ACCOUNT:
        value, bound = getattr(limits, name), getattr(bounds, name)
        if (value < bound) if name in STRICTER_WHEN_LARGER else (value > bound):
            yield name, value, bound
