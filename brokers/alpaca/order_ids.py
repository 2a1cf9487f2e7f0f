"""Our ids and the venue's: orders carry ours as `client_order_id`, but the venue makes one up for the legs of a group.

A leg is therefore known by its place in its parent: the take-profit is our `-tp`, the stop-loss our `-sl`. What has
replaced a leg stands in the same place and is another order, with the id that its amendment gave it.
"""

from __future__ import annotations

from brokers.alpaca.records import OrderRecord, leg_suffix


class OrderIds:
    """Both directions, for every order that was ever seen."""

    def __init__(self) -> None:
        self._venue: dict[str, str] = {}
        self._ours: dict[str, str] = {}

    def learn(self, record: OrderRecord, our_id: str = "") -> None:
        """Take note of an order and its legs."""
        our_id = our_id or self.ours(record)
        self._venue[our_id], self._ours[record.id] = record.id, our_id
        for leg in record.legs or ():
            leg_id = self.ours(leg) if leg.replaces else our_id + leg_suffix(leg)
            self._venue[leg_id], self._ours[leg.id] = leg.id, leg_id

    def venue(self, our_id: str) -> str | None:
        """Return the venue's id of an order of ours, None while it is not known."""
        return self._venue.get(our_id)

    def ours(self, record: OrderRecord) -> str:
        """Return our id of a venue's order: what it carries, unless it is a leg or a replacement that was learned."""
        return self._ours.get(record.id) or record.client_order_id

    def by_venue(self, venue_id: str) -> str | None:
        """Return our id by the venue's, None for an order never seen."""
        return self._ours.get(venue_id)
