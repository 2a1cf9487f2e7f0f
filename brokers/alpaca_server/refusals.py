"""What the venue says no with: HTTP status, Alpaca's code, and the text its users have seen.

Codes are reused by the service, so a client tells refusals apart by status, code and text together. A text that no
recording of the service shows is this venue's own.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from brokers.alpaca_server.wire import amount
from engine.errors import OrderRefused

UNPROCESSABLE, FORBIDDEN, NOT_FOUND = 422, 403, 404
INVALID, DENIED, MISSING, REFUSED = 40010001, 40310000, 40410000, 42210000


class Refusal(OrderRefused):
    """An answer of 400 or above: `code` and `message` with `extra` beside them, the text alone, or a page of HTML."""

    def __init__(self, status: int, code: int | None, message: str, *, html: str = "", **extra: Any) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.html, self.extra = status, code, message, html, extra

    def body(self) -> dict[str, Any]:
        head = {} if self.code is None else {"code": self.code}
        return head | {"message": self.message} | self.extra


def page(status: int, title: str) -> Refusal:
    """Answer with HTML, as a proxy in front of the service does."""
    head, body = f"<head><title>{title}</title></head>", f"<body>\r\n<center><h1>{title}</h1></center>\r\n</body>"
    return Refusal(status, None, title, html=f"<html>\r\n{head}\r\n{body}\r\n</html>\r\n")


def invalid(message: str, status: int = UNPROCESSABLE) -> Refusal:
    """The request itself is wrong."""
    return Refusal(status, INVALID, message)


def denied(message: str, **extra: Any) -> Refusal:
    """The account may not do this now."""
    return Refusal(FORBIDDEN, DENIED, message, **extra)


def refused(message: str) -> Refusal:
    """The order is against a rule of the venue."""
    return Refusal(UNPROCESSABLE, REFUSED, message)


def missing(message: str) -> Refusal:
    """There is no such thing."""
    return Refusal(NOT_FOUND, MISSING, message)


def of_admission(
    reason: str, *, symbol: str, buying_power_usd: Decimal, held: tuple[Decimal, Decimal], related_orders: list[str]
) -> Refusal:
    """Dress the matching engine's own refusal as Alpaca does; `held` is the position and what of it is available."""
    if reason.startswith("insufficient buying power"):
        cost = reason.partition("cost basis: ")[2].partition(",")[0]
        power = max(Decimal(0), buying_power_usd)
        return denied("insufficient buying power", buying_power=amount(power), cost_basis=cost)
    if reason.startswith("insufficient qty"):
        qty, available = abs(held[0]), max(held[1], Decimal(0))
        return denied(
            reason, available=amount(available), existing_qty=amount(qty), held_for_orders=amount(qty - available),
            related_orders=related_orders, symbol=symbol,
        )  # fmt: skip
    if reason.startswith("a cash account"):
        return denied("account is not allowed to short")
    return refused(reason)
