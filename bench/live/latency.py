"""From a print that leaves the venue to the order that comes in there, for several sides in turns.

Each side has a venue of its own; the venues start together and have their bursts one after the other, so that all
sides see the same machine and none disturbs another.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from statistics import quantiles
from typing import Any, NamedTuple

from bench.live.daemon import daemon, is_trading
from bench.live.feeds import TICK
from bench.live.venue import Venue, process, venue

APPS = Path(__file__).parent
OURS = ("onetape", "interpreted")
EVERY_MS, FIRST_AFTER_S, PAUSE_S = 10.0, 4.0, 0.3


class Latency(NamedTuple):
    """What a side needs, in microseconds."""

    p50_us: float
    p99_us: float
    count: int


def compare(folder: Path, sides: Sequence[str], *, bursts: int, ticks: int) -> dict[str, Latency]:
    """Measure the sides of these names; the first burst of each only warms it up.

    `onetape` and `interpreted` are ours, `plain` and `minimal` the peers of `plain_app.py` and `minimal_app.py`.
    """
    burst_s = ticks * EVERY_MS / 1000 + PAUSE_S
    with ExitStack() as stack:
        venues = {}
        for place, side in enumerate(sides):
            own = folder / side
            feed = {
                "bursts": bursts + 1, "ticks": ticks, "every_ms": EVERY_MS, "burst_every_s": burst_s * len(sides),
                "offset_s": FIRST_AFTER_S + place * burst_s,
            }  # fmt: skip
            at = venues[side] = stack.enter_context(venue(own, "Bursts", feed))
            stack.enter_context(_started(side, own, at))
        for side, at in venues.items():
            at.wait_for(is_trading if side in OURS else lambda state: state["data_sessions"])
            at.record()
        for at in venues.values():
            at.start()
        for at in venues.values():
            at.wait_for(lambda state: state["ended"], within_s=2 * (bursts + 2) * burst_s * len(sides) + 60)
        return {side: latency(at.ask("/instants"), skip=ticks) for side, at in venues.items()}


def _started(side: str, folder: Path, at: Venue) -> AbstractContextManager[Any]:
    if side in ("plain", "minimal"):
        return process([sys.executable, str(APPS / f"{side}_app.py"), at.url.removeprefix("http://")])
    feed = {"symbols": [TICK], "bars": False, "trades": True, "statuses": False}
    return daemon(folder, at, "BuyEachPrint", feed, interpreted=side == "interpreted")


def latency(instants: dict[str, Any], *, skip: int) -> Latency:
    """Pair prints and orders, which every side sends in the order of the prints; leave the first `skip` out.

    Raises:
        ValueError: a print has no order of its own.
    """
    prints = [sent for sent, _, count in instants["frames"] for _ in range(count)][skip:]
    posts = [came for came, _ in instants["posts"]][skip:]
    took = [(came - sent) / 1000 for sent, came in zip(prints, posts, strict=True)]
    if min(took) < 0:
        raise ValueError("an order came before its print")
    cuts = quantiles(took, n=100)
    return Latency(cuts[49], cuts[98], len(took))
