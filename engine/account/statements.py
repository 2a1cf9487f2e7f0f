"""After each session, the broker's statement: asked for until it agrees with our books, or has differed for too long.

What is still missing is booked first, by the rules of every reconciliation. The comparison that counts is the
corridor's (C39), so that doing the run over comes to the same end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from engine.account.recovery import Reconciler
from engine.core import Core
from engine.errors import BrokerError
from engine.events import SECOND_NS, Command
from engine.ports import LiveBroker, Publish
from engine.risk.post_trade import PostTrade

LOOK_EVERY_S, AGAIN_S, TRIES = 0.5, 5.0, 24
OVERLAP_NS = 600 * SECOND_NS


class Statements:
    """Gets the statements of one account.

    Args:
        core: the corridor that compares.
        broker: the account.
        reconciler: makes a statement of a reading.
        reconcile: compares books and account once, and publishes what the books lack.
    """

    def __init__(
        self, core: Core, broker: LiveBroker, reconciler: Reconciler, reconcile: Callable[[], Awaitable[object]]
    ) -> None:
        self._core, self._broker, self._reconciler, self._reconcile = core, broker, reconciler, reconcile
        self._log = structlog.get_logger()

    async def run(self, publish: Publish) -> None:
        """Publish a statement after each session, until canceled; trading halts when the account cannot be read."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            due = self._core.risk.post_trade.due
            if due is None:
                continue
            if await self._compare(due, publish):
                while self._core.risk.post_trade.due == due:
                    await asyncio.sleep(LOOK_EVERY_S)
            elif self._core.risk.state != "halted":
                now = self._core.now_ns
                publish(Command("halt", now, now, f"{PostTrade.label}: the account cannot be read after the session"))

    async def _compare(self, due: tuple[int, int], publish: Publish) -> bool:
        """Publish the statement of a session; return whether there is one."""
        statement = None
        for _ in range(TRIES):
            try:
                state = await self._broker.state(due[0] - OVERLAP_NS)
                statement = self._reconciler.statement(state, due)
                differences = self._core.risk.post_trade.differences(statement)
                if not differences:
                    self._log.info(
                        "the session agrees with the broker's statement", executions=len(statement.executions)
                    )
                    break
                self._log.warning("the session differs from the broker's statement", what=differences)
                await self._reconcile()
            except BrokerError as error:
                self._log.warning("the account cannot be read after the session", error=str(error))
            await asyncio.sleep(AGAIN_S)
        if statement is not None:
            publish(statement)
        return statement is not None
