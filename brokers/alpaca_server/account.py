"""The account and its positions as the API shows them, and the configuration that its owner may change."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from brokers.alpaca_server.assets import Assets
from brokers.alpaca_server.clock import VenueClock
from brokers.alpaca_server.ledger import ZERO, Holding, Ledger
from brokers.alpaca_server.order_book import OrderBook
from brokers.alpaca_server.refusals import invalid
from brokers.alpaca_server.settings import ServerSettings
from brokers.alpaca_server.wire import amount
from engine.events import exact

REG_T = Decimal("0.5")
MAINTENANCE = Decimal("0.3")
FRACTION = Decimal("1e-9")
CHOICES: dict[str, tuple[Any, ...]] = {
    "fractional_trading": (True, False), "no_shorting": (True, False), "suspend_trade": (True, False),
    "ptp_no_exception_entry": (True, False), "disable_overnight_trading": (True, False),
    "max_margin_multiplier": ("1", "2", "4"), "trade_confirm_email": ("all", "none"),
    "max_options_trading_level": (None, 0, 1, 2, 3), "dtbp_check": ("both", "entry", "exit"),
    "pdt_check": ("both", "entry", "exit"),
}  # fmt: skip


class Account:
    """The one account of the venue.

    Attributes:
        configuration: what its owner may change.
        overrides: fields that a fault shows otherwise, such as `trading_blocked`.
    """

    def __init__(
        self, settings: ServerSettings, ledger: Ledger, book: OrderBook, assets: Assets, clock: VenueClock
    ) -> None:
        self._settings, self._ledger, self._book, self._assets, self._clock = settings, ledger, book, assets, clock
        self._created_ns = clock.now_ns()
        self.id = book.uuid("account")
        self.overrides: dict[str, Any] = (
            {"trading_blocked": True, "account_blocked": True} if settings.suspended else {}
        )
        self.configuration: dict[str, Any] = {
            "dtbp_check": "entry", "fractional_trading": True, "max_margin_multiplier": str(settings.paper.multiplier),
            "max_options_trading_level": 0, "no_shorting": False, "pdt_check": "entry",
            "ptp_no_exception_entry": False, "suspend_trade": False, "trade_confirm_email": "all",
            "disable_overnight_trading": False,
        }  # fmt: skip

    def configure(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Apply the owner's changes.

        Raises:
            Refusal: a field is unknown or its value is none that it takes.
        """
        for name, value in changes.items():
            if name not in CHOICES or value not in CHOICES[name]:
                raise invalid(f"invalid {name}")
        self.configuration |= changes
        self._ledger.multiplier = min(self._settings.paper.multiplier, int(self.configuration["max_margin_multiplier"]))
        return self.configuration

    def buying_power_usd(self) -> Decimal:
        """Return what new entries may cost, open orders counted."""
        return self._ledger.buying_power_usd() - self._book.reserved_usd()

    def shown(self) -> dict[str, Any]:
        """Return the account."""
        ledger, reserved = self._ledger, self._book.reserved_usd()
        equity, longs, shorts = ledger.equity_usd(), ledger.value_usd(1), ledger.value_usd(-1)
        gross = longs - shorts
        power = max(ZERO, self.buying_power_usd())
        cash = max(ZERO, ledger.cash_usd - reserved)
        shown = {
            "id": self.id, "account_number": self._settings.account_number, "status": "ACTIVE",
            "crypto_status": "ACTIVE", "currency": "USD", "cash": amount(ledger.cash_usd), "equity": _usd(equity),
            "portfolio_value": _usd(equity), "last_equity": _usd(ledger.last_equity_usd),
            "long_market_value": _usd(longs), "short_market_value": _usd(shorts),
            "position_market_value": _usd(longs + shorts),
            "buying_power": _usd(power), "regt_buying_power": _usd(max(ZERO, 2 * equity - gross - reserved)),
            "non_marginable_buying_power": _usd(cash), "options_buying_power": _usd(cash),
            "multiplier": str(ledger.multiplier), "initial_margin": _usd(gross * REG_T),
            "maintenance_margin": _usd(gross * MAINTENANCE), "last_maintenance_margin": "0", "sma": _usd(equity),
            "accrued_fees": "0", "pending_reg_taf_fees": "0", "pending_transfer_in": "0", "pending_transfer_out": "0",
            "intraday_adjustments": "0", "balance_asof": self._clock.date(self._clock.now_ns()),
            "trading_blocked": False, "transfers_blocked": False, "account_blocked": False,
            "trade_suspended_by_user": self.configuration["suspend_trade"],
            "shorting_enabled": ledger.multiplier > 1 and not self.configuration["no_shorting"],
            "options_approved_level": 0, "options_trading_level": 0, "created_at": self._clock.text(self._created_ns),
        }  # fmt: skip
        if self._settings.legacy_account_fields:
            shown |= {"pattern_day_trader": False, "daytrade_count": 0, "daytrading_buying_power": "0"}
        return shown | self.overrides

    # --- positions -------------------------------------------------------------------------------------------------

    def positions(self) -> list[dict[str, Any]]:
        """Return the open positions."""
        return [self.position(holding) for holding in self._ledger.held()]

    def position(self, holding: Holding) -> dict[str, Any]:
        """Return one position; its symbol is without a slash."""
        asset = self._assets.add(holding.symbol)
        value, cost, day_cost = holding.value_usd, holding.cost_usd, holding.day_cost_usd
        gain, today = value - cost, value - day_cost
        lastday = holding.price if holding.lastday != holding.lastday else exact(holding.lastday)
        available = abs(holding.qty) - self._book.held_qty(holding.symbol, holding.qty)
        return {
            "asset_id": asset["id"], "symbol": holding.symbol.replace("/", ""), "exchange": asset["exchange"],
            "asset_class": asset["class"], "asset_marginable": asset["marginable"],
            "avg_entry_price": amount(round(holding.average_price, 9)), "qty": amount(holding.qty),
            "qty_available": amount(available if holding.qty > 0 else -available),
            "side": "long" if holding.qty > 0 else "short", "market_value": amount(value), "cost_basis": amount(cost),
            "unrealized_pl": amount(gain), "unrealized_plpc": _ratio(gain, abs(cost)),
            "unrealized_intraday_pl": amount(today), "unrealized_intraday_plpc": _ratio(today, abs(day_cost)),
            "current_price": amount(holding.price), "lastday_price": amount(lastday),
            "change_today": _ratio(holding.price - lastday, lastday),
        }  # fmt: skip


def _usd(value: Decimal) -> str:
    return amount(round(value, 9)) or "0"


def _ratio(part: Decimal, whole: Decimal) -> str:
    return amount((part / whole).quantize(FRACTION)) or "0" if whole else "0"
