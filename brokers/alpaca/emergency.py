"""The dead man's way to the account: it reads and cancels with a client of its own, and can do nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from decimal import Decimal

from brokers.alpaca.book import Book
from brokers.alpaca.catch_up import CatchUp
from brokers.alpaca.hosts import Mode, hosts
from brokers.alpaca.keys import read_keys
from brokers.alpaca.limiter import Limiter, Sleep
from brokers.alpaca.records import ZERO, OrderRecord, PositionRecord, canonical_symbol, side_of
from brokers.alpaca.rest import NoAnswer, Query, Rest
from brokers.alpaca.settings import BrokerSettings
from engine.clock import Clock, LiveClock, to_datetime
from engine.errors import BrokerError
from engine.events import DAY_NS

TRIES, WAIT_S = 40, 0.5
LONGEST_LIFE_NS = 91 * DAY_NS  # an order that is good until canceled ages out after 90 days


class AlpacaEmergency:
    """Cancel a run's orders from outside its daemon.

    An order is the run's when its client id begins with the run's name and a dot, whichever start of it has sent it; a
    leg, whose id the venue made up, when its parent is.
    """

    def __init__(
        self, settings: BrokerSettings, *, mode: Mode, name: str, clock: Clock | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:  # fmt: skip
        clock = clock or LiveClock()
        self._prefix, self._sleep, self._keys = f"{name}.", sleep, read_keys(settings.keys_file)
        self._rest = Rest(
            hosts(mode, settings.server_url).trading, self._keys, timeout_s=settings.timeout_s,
            limiter=Limiter(settings.requests_per_min, clock, sleep), clock=clock, sleep=sleep,
        )  # fmt: skip
        self._reader, self._clock = CatchUp(self._rest, Book(clock), sleep=sleep), clock

    @property
    def secrets(self) -> tuple[str, str]:
        return self._keys.secrets

    async def cancel_entries(self) -> int:
        return await self._cancel(entries_only=True)

    async def cancel_all(self) -> int:
        return await self._cancel(entries_only=False)

    async def close(self) -> None:
        await self._rest.close()

    async def _cancel(self, *, entries_only: bool) -> int:
        """Ask until none of the orders is open any more, through rate limits and gateway errors."""
        seen: set[str] = set()
        told = ""
        for tries in range(TRIES):
            try:
                wanted = await (self._open_entries() if entries_only else self._open_orders(reads_past=tries > 0))
                seen |= wanted.keys()
                if not wanted:
                    return len(seen)
                await asyncio.gather(*(self._cancel_one(order_id) for order_id in wanted))
                told = f"{len(wanted)} orders are still open"
            except NoAnswer as error:
                told = str(error)
            await self._sleep(WAIT_S)
        raise BrokerError(f"not all orders could be canceled: {told}")

    async def _cancel_one(self, order_id: str) -> None:
        await self._rest.admit("cancel")
        try:
            await self._rest.once("DELETE", f"/v2/orders/{order_id}")
        except NoAnswer:
            return  # the next reading shows what came of it

    async def _ours(self, query: Query) -> list[OrderRecord]:
        listed = await self._reader.orders(query)
        return [parent for parent in listed if parent.client_order_id.startswith(self._prefix)]

    async def _open_orders(self, *, reads_past: bool) -> dict[str, OrderRecord]:
        """Return what is open; legs of a filled parent may be on no list of that, and the past takes long to read."""
        found = _open(await self._ours({"status": "open"}))
        if reads_past or not found:
            since = to_datetime(self._clock.now_ns() - LONGEST_LIFE_NS).isoformat()
            found |= _open(await self._ours({"status": "all", "after": since}))
        return found

    async def _open_entries(self) -> dict[str, OrderRecord]:
        ours = await self._ours({"status": "open"})
        found = _open(ours)
        if not found:
            return found
        positions = {
            canonical_symbol(one.symbol, one.asset_class): -abs(one.qty) if one.side == "short" else one.qty
            for one in await self._rest.get("/v2/positions", list[PositionRecord])
        }
        legs = {leg.id for parent in ours for leg in parent.legs or ()}
        return {one.id: one for one in found.values() if one.id not in legs and not _reduces(one, positions)}


def _open(parents: Iterable[OrderRecord]) -> dict[str, OrderRecord]:
    """Return by the venue's ids those of some orders and their legs that live."""
    return {one.id: one for parent in parents for one in (parent, *(parent.legs or ())) if not one.is_ended}


def _reduces(order: OrderRecord, positions: Mapping[str, Decimal]) -> bool:
    """Tell whether an order only takes from what is held."""
    held = positions.get(canonical_symbol(order.symbol, order.asset_class), ZERO)
    sign = 1 if side_of(order.side) == "buy" else -1
    return order.qty is not None and held * sign < 0 and order.qty - order.filled <= abs(held)
