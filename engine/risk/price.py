"""C04 to C06: whether the price of an order, and the price it is measured against, can be trusted."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from engine.events import SECOND_NS
from engine.market import QUOTE_FRESH_NS
from engine.risk.control import Control
from engine.risk.limits import RiskLimits
from engine.risk.proposal import Proposal

BAR_DELAY_NS: Final = 5 * SECOND_NS


class PriceCollar(Control):
    """Refuse a price far from the market: beyond the reference it costs money, too far behind it makes no sense.

    A stop waits on the far side of the market, so it has the passive distance; the limit of a stop-limit is measured
    from its stop. Reductions have no passive limit, since a take-profit or a protective stop may lie far away.
    """

    code = "C04"
    name = "price_collar"
    binds_reductions = True

    def __init__(self, limits: RiskLimits) -> None:
        self.aggressive_percent = limits.collar_aggressive_percent
        self.passive_percent = limits.collar_passive_percent

    def check(self, p: Proposal) -> str | None:
        limit, stop, base = p.limit_price, p.stop_price, p.reference_price
        if (limit is None and stop is None) or not p.fresh:
            return None
        if stop is not None:
            if abs(stop - base) * 100 > self.passive_percent * base and not p.reduces:
                return self._reason("stop", stop, base, self.passive_percent, "either way from the reference")
            base = stop
        if limit is not None:
            beyond = (limit - base) * p.sign * 100
            if beyond > self.aggressive_percent * base:
                return self._reason("limit", limit, base, self.aggressive_percent, "beyond the reference")
            if -beyond > self.passive_percent * base and not p.reduces:
                return self._reason("limit", limit, base, self.passive_percent, "behind the reference")
        return None

    def _reason(self, kind: str, price: Decimal, base: Decimal, percent: Decimal, where: str) -> str:
        distance = abs(price - base) * 100 / base
        return f"{kind} {price} is {distance:.2f} % from {base:.4f} > {percent} % {where}"


class MarketOrderGuard(Control):
    """Refuse a market order into a wide spread. `Pricing` turns the others into limits at the collar."""

    code = "C05"
    name = "market_order_guard"

    def __init__(self, limits: RiskLimits) -> None:
        self.max_spread_percent = limits.max_spread_percent
        self._max_spread = float(limits.max_spread_percent) / 100

    def check(self, p: Proposal) -> str | None:
        quote = p.market.quote
        if quote is None or p.intent.type != "market" or p.now_ns - quote.ts_recv_ns > QUOTE_FRESH_NS:
            return None
        bid, ask = quote.bid_price, quote.ask_price
        if 0 < bid <= ask and ask - bid <= self._max_spread * (bid + ask) / 2:
            return None
        return f"spread of bid {bid:.4f} and ask {ask:.4f} > {self.max_spread_percent} % of their middle"


class DataFreshness(Control):
    """Refuse an entry on old data, or on none at all."""

    code = "C06"
    name = "data_freshness"

    def __init__(self, limits: RiskLimits) -> None:
        self._max_age_ns = round(limits.max_data_age_s * SECOND_NS)
        self._max_periods = limits.max_data_age_periods_count

    def check(self, p: Proposal) -> str | None:
        market, limit_ns = p.market, self._max_age_ns
        if not p.fresh:
            return f"{market.symbol} has no quote, trade or closed bar fresh enough to price an order"
        if market.bar_ns:
            if p.now_ns - market.bar_ns <= limit_ns:
                return None
            limit_ns = max(limit_ns, self._max_periods * market.bar_span_ns + BAR_DELAY_NS)
        newest = max(data.ts_recv_ns if data is not None else 0 for data in (market.quote, market.trade))
        newest = max(newest, market.bar_ns)
        age_ns = p.now_ns - newest
        if age_ns <= limit_ns:
            return None
        return f"newest data of {market.symbol} is {age_ns / SECOND_NS:.1f} s old > {limit_ns / SECOND_NS:.1f} s"
