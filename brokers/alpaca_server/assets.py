"""What can be traded: one asset for each symbol of the tape, with the fields that a client checks before an order."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from brokers.simulated.settings import PaperSettings

Row = dict[str, Any]


class Assets:
    """The assets by symbol, by id and, for crypto, by the symbol without its slash.

    Args:
        symbols: of the tape; one with a slash is crypto.
        paper: says what can be sold short.
        overrides: fields of single assets that differ.
        namespace: of the ids.
    """

    def __init__(
        self, symbols: Iterable[str], paper: PaperSettings, overrides: Mapping[str, Row], namespace: uuid.UUID
    ) -> None:
        self._paper, self._overrides, self._namespace = paper, dict(overrides), namespace
        self.rows: dict[str, Row] = {}
        self._by_name: dict[str, Row] = {}
        for symbol in (*symbols, *overrides):
            self.add(symbol)

    def add(self, symbol: str) -> Row:
        """List a symbol, if it is not listed yet."""
        if symbol in self.rows:
            return self.rows[symbol]
        row = self.rows[symbol] = self._row(symbol) | self._overrides.get(symbol, {})
        self._by_name |= {symbol: row, str(row["id"]): row, symbol.replace("/", ""): row}
        return row

    def find(self, name: str) -> Row | None:
        """Return the asset of a symbol, of one without its slash, or of an id."""
        return self._by_name.get(name) or self._by_name.get(name.upper())

    def _row(self, symbol: str) -> Row:
        crypto = asset_class(symbol) == "crypto"
        paper = self._paper
        easy = not crypto and paper.easy_to_borrow and symbol not in paper.hard_to_borrow
        shortable = easy or symbol in paper.shortable
        row: Row = {
            "id": str(uuid.uuid5(self._namespace, f"asset {symbol}")),
            "class": "crypto" if crypto else "us_equity",
            "exchange": "CRYPTO" if crypto else "NASDAQ",
            "symbol": symbol,
            "name": symbol,
            "status": "active",
            "tradable": True,
            "marginable": not crypto,
            "shortable": shortable and paper.account != "cash",
            "easy_to_borrow": easy,
            "borrow_status": "easy_to_borrow" if easy else "hard_to_borrow",
            "fractionable": True,
            "maintenance_margin_requirement": 100 if crypto else 30,
            "margin_requirement_long": "100" if crypto else "30",
            "margin_requirement_short": "100" if crypto else "30",
            "attributes": [] if crypto else ["fractional_eh_enabled"],
        }
        if crypto:
            row |= {
                "min_order_size": "0.000000001",
                "min_trade_increment": "0.000000001",
                "price_increment": "0.000000001",
            }
        return row


def asset_class(symbol: str) -> Literal["us_equity", "crypto"]:
    """Return a symbol's class: the service's crypto pairs have a slash."""
    return "crypto" if "/" in symbol else "us_equity"
