"""C37: the last look before the wire. Every order consumes one unexpired, single-use approval.

It trusts nothing that the controls computed: it counts and prices what is sent by itself, from the approval alone, and
compares.
"""

from __future__ import annotations

from decimal import Decimal

from engine.events import SECOND_NS, Approved, Intent
from engine.market import ZERO
from engine.risk.control import Control
from engine.risk.limits import RiskLimits
from engine.risk.proposal import Proposal


class Egress(Control):
    """Issue approvals and take each back exactly once.

    Attributes:
        approved_count, sent_count: orders since the start of the run.
    """

    code = "C37"
    name = "egress"

    def __init__(self, limits: RiskLimits) -> None:
        self._max_age_ns = round(limits.max_approval_age_s * SECOND_NS)
        self._issued: dict[int, tuple[Approved, Decimal]] = {}
        self.approved_count = self.sent_count = 0
        self.approved_usd = self.sent_usd = ZERO

    def issue(self, p: Proposal, intent: Intent) -> Approved:
        """Make the approval of an order that passed every control."""
        self.approved_count = token = self.approved_count + 1
        self.approved_usd += p.notional_usd
        approved = Approved(intent, token, p.now_ns, p.now_ns + self._max_age_ns, p.reference_price, p.reference)
        self._issued[token] = approved, p.notional_usd
        return approved

    def refuses(self, approved: Approved, now_ns: int) -> str | None:
        """Take an approval back; return why its order may not be sent, or None."""
        token = approved.token
        issued, believed_usd = self._issued.pop(token, (None, ZERO))
        if issued is None:
            return f"token {token} was {'used before' if 0 < token <= self.approved_count else 'never issued'}"
        if issued is not approved and issued != approved:
            return f"order {approved.intent.client_order_id} is not what token {token} was issued for"
        if now_ns > approved.ts_expire_ns:
            late_s = (now_ns - approved.ts_expire_ns) / SECOND_NS
            return f"token {token} expired {late_s:.3f} s ago"
        value_usd = order_value_usd(approved.intent, approved.reference_price)
        self.sent_count += 1
        self.sent_usd += value_usd
        if value_usd != believed_usd:
            return f"order {approved.intent.client_order_id} is worth {value_usd} USD, approved was {believed_usd} USD"
        if not self._issued and (self.sent_count != self.approved_count or self.sent_usd != self.approved_usd):
            return (
                f"sent are {self.sent_count} orders for {self.sent_usd} USD, approved were {self.approved_count} for "
                f"{self.approved_usd} USD"
            )
        return None


def order_value_usd(intent: Intent, reference_price: Decimal) -> Decimal:
    """Return what an order is worth at the dearest of its prices and the reference."""
    if intent.qty is None:
        assert intent.notional_usd is not None
        return intent.notional_usd
    trail = intent.trail_price
    if intent.trail_percent is not None:
        trail = reference_price * intent.trail_percent / 100
    dearest = reference_price + trail if trail is not None and intent.side == "buy" else reference_price
    limit, stop = intent.limit_price, intent.stop_price
    if limit is not None and limit > dearest:
        dearest = limit
    if stop is not None and stop > dearest:
        dearest = stop
    return intent.qty * dearest
