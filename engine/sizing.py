"""How much: the surer a signal the more, the wilder its symbol the less."""

from __future__ import annotations

from math import copysign, log, sqrt

from engine.events import Bar, CorporateAction


class VolatilityTarget:
    """Shares of equity that put the same at risk in every symbol.

    At full strength a position is so large that a bar of one standard deviation moves equity by `risk_fraction`, and
    never larger than `fraction_max` of equity. A symbol's volatility is known after `span` returns.

    Units: `risk_fraction` and `fraction_max` are shares of equity, `span` is in bars.

    Source: Moskowitz, Ooi and Pedersen (2012), "Time series momentum": the signal times the target over the volatility,
    which is the root of an exponentially weighted mean of squared log returns.
    """

    __slots__ = ("_count", "_last", "_square", "_weight", "fraction_max", "risk_fraction", "span")

    def __init__(self, risk_fraction: float, fraction_max: float, *, span: int = 20) -> None:
        if not (risk_fraction > 0 and fraction_max > 0):
            raise ValueError(f"risk_fraction {risk_fraction} and fraction_max {fraction_max} must be above 0")
        if span < 2:
            raise ValueError(f"span {span} is less than 2 bars")
        self.risk_fraction, self.fraction_max, self.span = risk_fraction, fraction_max, span
        self._weight = 2 / (span + 1)
        self._last: dict[str, float] = {}
        self._square: dict[str, float] = {}
        self._count: dict[str, int] = {}

    def update(self, event: Bar | CorporateAction) -> None:
        """Take in a bar, or a split, over which the last price is carried."""
        symbol, last = event.symbol, self._last.get(event.symbol, 0.0)
        if isinstance(event, CorporateAction):
            if event.action == "split" and last:
                self._last[symbol] = last * event.old_shares / event.new_shares
            return
        if not 0 < event.close < float("inf") or event.revised:
            return
        self._last[symbol] = event.close
        if last:
            count = self._count[symbol] = self._count.get(symbol, 0) + 1
            square, before = log(event.close / last) ** 2, self._square.get(symbol, 0.0)
            self._square[symbol] = before + max(1 / count, self._weight) * (square - before)

    def volatility(self, symbol: str) -> float | None:
        """Return the standard deviation of a bar's return, None while it is not known or nothing moves."""
        if self._count.get(symbol, 0) < self.span:
            return None
        return sqrt(self._square[symbol]) or None

    def fraction(self, symbol: str, strength: float) -> float:
        """Return the share of equity for a signal of -1 to 1; 0 while the volatility is not known."""
        volatility = self.volatility(symbol)
        if volatility is None or strength != strength:
            return 0.0
        whole = min(self.risk_fraction / volatility, self.fraction_max)
        return copysign(min(abs(strength), 1.0), strength) * whole

    def band(self, symbol: str, width: float) -> tuple[float, float]:
        """Return the prices `width` standard deviations below and above the last close."""
        last, moved = self._last.get(symbol, 0.0), width * (self.volatility(symbol) or 0.0)
        return last * (1 - moved), last * (1 + moved)
