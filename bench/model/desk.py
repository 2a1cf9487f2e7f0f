"""A model on a live feed, as its run sees it: bars go to the stage, and signals come out where the inbox would be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from bench import bars
from engine.clock import LiveClock, Sessions
from engine.config import from_dict
from engine.daemon import event_loop  # the daemon's own loop, with its rules for collecting garbage
from engine.events import Bar
from engine.model.deploy import Deployer
from engine.model.stage import Stage

FRAME_BARS = 100
"""So many bars are handed on between two turns of the event loop; the inbox does the same."""
Found = TypeVar("Found")


class Desk:
    """The stage of one model over so many random walks.

    Attributes:
        one: the model's lane.
    """

    def __init__(self, file: Path, n_symbols: int, publish: Callable[[Any], None], *, device: str = "cpu") -> None:
        tree = {
            "mode": "replay", "name": "bench", "seed": bars.SEED, "calendar": "24/7", "out_dir": str(file.parent),
            "feed": {"use": "synthetic"}, "broker": {"use": "paper", "cash_usd": "1"}, "risk": {"profile": "wide"},
            "strategies": [{"name": "listener", "use": "bench.model.backtest:Listener", "symbols": "*"}],
            "models": [{"name": "model", "file": str(file), "device": device, "window_ms": 60_000.0}],
        }  # fmt: skip
        config, names = from_dict(tree), bars.symbols(n_symbols)
        deployer = Deployer(config, names, Sessions("24/7"), span_ns=(0, 0), now_ns=bars.FIRST_OPEN_NS)
        self.stage = Stage([deployer.lane(config.models[0])], publish, LiveClock(), file.parent)
        self.one = self.stage.lanes[0]

    async def start(self, minutes: Iterator[Sequence[Bar]]) -> None:
        """Fill the windows with as many minutes as they need, and warm up."""
        for _ in range(self.one.lane.scorer.features.warm_up_bars):
            for bar in next(minutes):
                self.stage.follow(bar)
        await self.stage.start()

    async def take(self, minute: Sequence[Bar]) -> None:
        """Hand on the bars of a minute, frame by frame."""
        for first in range(0, len(minute), FRAME_BARS):
            for bar in minute[first : first + FRAME_BARS]:
                self.stage.take(bar)
            await asyncio.sleep(0)


def minutes(n_symbols: int, n_bars: int) -> Iterator[list[Bar]]:
    """Yield the bars of each minute of the walks."""
    data, names = bars.columns(n_symbols, n_bars), bars.symbols(n_symbols)
    for number, opened_ns in enumerate(data["ts"].tolist()):
        closed_ns = opened_ns + bars.MINUTE_NS
        columns = (data[name][number].tolist() for name in "ohlcv")
        yield [
            Bar(name, closed_ns, closed_ns, first, high, low, last, volume, bars.MINUTE_NS)
            for name, first, high, low, last, volume in zip(names, *columns, strict=True)
        ]


def in_loop(measurement: Coroutine[Any, Any, Found]) -> Found:
    """Make a measurement in an event loop like the daemon's."""
    with event_loop() as runner:
        return runner.run(measurement)
