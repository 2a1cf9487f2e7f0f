"""Every fault of the venue's catalogue against the whole daemon: it fires, and no invariant of the books breaks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from brokers.alpaca_server.fault_catalogue import CATALOGUE
from tests.brokers.alpaca.daemon_rig import Daemon, daemon
from tests.brokers.alpaca.invariants import broken, survives_a_restart

AAPL = {"symbol": "AAPL"}
EVERYTHING = {"updated_bars": True}
FREE = {"trading_blocked": False, "account_blocked": False}


async def close_all(day: Daemon) -> None:
    """Somebody closes all positions from outside; we never do, because a 207 says 200 and means anything."""
    orders = day.local.venue.book.orders
    known = {*orders}
    assert (await day.local.request("DELETE", "/v2/positions?cancel_orders=true"))[0] == 207
    for name in {*orders} - known:
        orders[name].foreign = True


async def look_for_the_asset(day: Daemon) -> None:
    """What is held cannot be found: that is told to who asked, and nothing happens to who did not."""
    assert await day.core.broker.assets(["AAPL"]) == {}


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """How a fault is met.

    Attributes:
        after: minutes of the day before it is armed; -1: before the daemon starts.
        arm: fields of the fault; `beside` it are other faults that give it its occasion, and `act` does.
        heal: faults of the moment that end what it did.
        agrees: whether books and venue are one again in the end; otherwise the daemon has to have stopped itself.
        halts: whether trading is halted even so.
        ends: words of the error with which the daemon ends before it is started again.
        feed, params: options of the feed and of the strategy.
        patch: constants of the adapter's that would make a test wait.
        first, price: the day's first minute after nine, and the price after the fault.
    """

    after: int = 0
    arm: dict[str, Any] = {}
    beside: tuple[dict[str, Any], ...] = ()
    act: Callable[[Daemon], Awaitable[None]] | None = None
    heal: tuple[dict[str, Any], ...] = ()
    agrees: bool = True
    halts: bool = False
    ends: str = ""
    feed: dict[str, Any] = {}
    params: dict[str, Any] = {}
    patch: dict[str, float] = {}
    first: int = 31
    price: float = 100.0


def event(**fields: Any) -> dict[str, Any]:
    return {"with": {"event": {**fields, **AAPL}}}


EARLY: dict[str, Any] = {"after": -1}
STOPS: dict[str, Any] = {"agrees": False, "halts": True}
SPLIT = event(event="CorporateAction", action="split", new_shares=2, old_shares=1)
HALT, RESUME = (event(event="Status", state=state, reason="T1") for state in ("halted", "trading"))
LISTED = {**AAPL, "set": {"tradable": True, "status": "active"}}
SCENES: dict[str, Scene] = {
    "W02": Scene(**EARLY), "W03": Scene(**EARLY), "W04": Scene(**EARLY), "W08": Scene(**EARLY), "F22": Scene(**EARLY),
    "W05": Scene(**EARLY, ends="the keys were refused"),
    "W06": Scene(**EARLY, ends="does not include this feed"),
    "W07": Scene(**EARLY, ends="above the plan's symbol limit"),
    "W11": Scene(patch={"brokers.alpaca.session.PING_EVERY_S": 0.05, "brokers.alpaca.session.PONG_WITHIN_S": 0.05}),
    "W19": Scene(arm={"where": {"S": "AAPL"}}),
    "W20": Scene(feed={"news": True}),
    "O14": Scene(after=7),
    "O17": Scene(after=7, halts=True),
    "O22": Scene(**STOPS), "F32": Scene(**STOPS),
    "O23": Scene(**STOPS, after=5, act=close_all),
    "O24": Scene(**STOPS, arm={"with": AAPL}), "F34": Scene(**STOPS, arm={"with": AAPL}),
    "F33": Scene(arm={"with": {"seconds": 0.02}}),  # a minute passes in little more than that
    "R08": Scene(after=1, arm=HALT, heal=({"use": "event", **RESUME},)),
    "R09": Scene(arm={"with": AAPL}, heal=({"use": "asset", "with": LISTED},)),
    "R10": Scene(heal=({"use": "account", "with": {"set": FREE}},)),
    "R11": Scene(params={"auction": True}, first=22),
    "R12": Scene(**STOPS, after=5, arm=SPLIT, price=50.0),
    "R16": Scene(after=3, beside=({"use": "ws_abort", "where": {"endpoint": "/v2/*"}},)),
    "R18": Scene(after=5, act=look_for_the_asset),
}  # fmt: skip
"""Where a fault needs more than to be armed before the first order."""

IN_SHORT = {"W12", "O01", "O08", "O17", "O24", "R12", "F23"}


def _all() -> list[Any]:
    return [pytest.param(name, marks=() if name in IN_SHORT else pytest.mark.long) for name in sorted(CATALOGUE.faults)]


@pytest.mark.parametrize("fault", _all())
async def test_a_fault_fires_and_breaks_no_invariant(
    fault: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A day of orders with the fault in it, healed, reconciled, restarted, and done over from its journal."""
    scene = SCENES.get(fault, Scene())
    for name, value in scene.patch.items():
        monkeypatch.setattr(name, value)
    async with daemon(monkeypatch, tmp_path, EVERYTHING | scene.feed, scene.params, first=scene.first) as day:
        if scene.after < 0:
            await day.local.arm(fault, **scene.arm)
        await day.ready()
        await day.minutes(max(scene.after, 0))
        if scene.after >= 0:
            for other in scene.beside:
                await day.local.arm(**other)
            await day.local.arm(fault, **scene.arm)
        if scene.act is not None:
            await scene.act(day)
        await day.minutes(39 - day.minute, scene.price)
        await day.minutes(2, scene.price * 1.06)
        fired = (await day.local.fired())[fault]
        await day.heal(*scene.heal)
        await (day.settled() if scene.agrees else day.halted(scene.price))
        assert fired >= 1, f"{fault} never fired"
        assert broken(day, agrees=scene.agrees) == []
        assert (day.core.risk.state == "halted") is scene.halts
        assert await survives_a_restart(day) == []
        assert scene.ends in " ".join(day.ended)
        assert bool(scene.ends) is bool(day.ended)


async def test_a_day_without_faults_is_one_of_all_kinds_of_orders(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What the faults disturb: a fill, an amendment, a cancel, and a bracket that takes its profit."""
    async with daemon(monkeypatch, tmp_path) as day:
        await day.ready()
        await day.minutes(8)
        await day.minutes(2, price=106.0)
        await day.settled()
        ends = {name.rpartition("-day-")[2]: order.status for name, order in day.core.orders.orders.items()}
        assert ends == {"1": "filled", "2": "replaced", "3": "canceled", "4": "filled", "4-tp": "filled",
                        "4-sl": "canceled", "5": "filled"}  # fmt: skip
        assert (broken(day, agrees=True), day.core.risk.state) == ([], "active")
        assert await survives_a_restart(day) == []
