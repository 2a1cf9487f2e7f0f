"""Decode and dispatch of bar frames, without a socket: our reader beside alpaca-py's own path, in turns.

Usage: `python -m bench.ingest [BARS_A_FRAME ...]`. Each side decodes the same msgpack frames and calls one handler a
bar; each counts with its best round, because a busy machine only ever adds to one.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

BARS = 50_000
ROUNDS = 15
FIRST_OPEN_S = 1_704_067_200


def frames(bars_per_frame: int) -> list[bytes]:
    """Return minute bars of 500 symbols as the stream sends them."""
    import msgpack

    messages = [
        {"T": "b", "S": f"S{i % 500:04d}", "o": 100.1, "h": 100.3, "l": 99.9, "c": 100.2, "v": 1000 + i,
         "t": msgpack.Timestamp(FIRST_OPEN_S + 60 * (i // 500), 0), "n": 12, "vw": 100.15}
        for i in range(BARS)
    ]  # fmt: skip
    return [msgpack.packb(messages[i : i + bars_per_frame]) for i in range(0, BARS, bars_per_frame)]


def ours(data: list[bytes]) -> float:
    """Return bars a second from frame to published event."""
    from brokers.alpaca.frames import Counts, FrameReader
    from brokers.alpaca.seen import Seen

    reader = FrameReader("stocks", "iex", seen=Seen(), counts=Counts())
    seen = 0

    def handler(_bar: Any) -> None:
        nonlocal seen
        seen += 1

    reader.publish = handler
    now_ns = (FIRST_OPEN_S + 86_400) * 10**9
    started = time.perf_counter()
    for frame in data:
        reader.read(frame, now_ns)
    seconds = time.perf_counter() - started
    assert seen == BARS
    return BARS / seconds


async def theirs(data: list[bytes], *, raw_data: bool) -> float:
    """Return bars a second from frame to awaited handler in alpaca-py."""
    import msgpack
    from alpaca.data.live import StockDataStream

    seen = 0

    async def handler(_bar: Any) -> None:
        nonlocal seen
        seen += 1

    stream = StockDataStream("key", "secret", raw_data=raw_data)
    stream._handlers["bars"]["*"] = handler
    started = time.perf_counter()
    for frame in data:
        for message in msgpack.unpackb(frame):
            await stream._dispatch(message)
    seconds = time.perf_counter() - started
    assert seen == BARS
    return BARS / seconds


def compare(bars_per_frame: int) -> dict[str, float]:
    """Measure the three sides in turns."""
    data = frames(bars_per_frame)
    best = {"ours_per_s": 0.0, "alpaca_py_parsed_per_s": 0.0, "alpaca_py_raw_per_s": 0.0}
    for _ in range(ROUNDS):
        best["ours_per_s"] = max(best["ours_per_s"], ours(data))
        for name, raw_data in (("alpaca_py_parsed_per_s", False), ("alpaca_py_raw_per_s", True)):
            best[name] = max(best[name], asyncio.run(theirs(data, raw_data=raw_data)))
    found = {name: float(round(value)) for name, value in best.items()}
    return {
        "bars_per_frame": bars_per_frame, **found,
        "ratio_to_parsed": round(best["ours_per_s"] / best["alpaca_py_parsed_per_s"], 1),
        "ratio_to_raw": round(best["ours_per_s"] / best["alpaca_py_raw_per_s"], 1),
    }  # fmt: skip


if __name__ == "__main__":
    for size in map(int, sys.argv[1:] or ("10", "500")):
        print(json.dumps(compare(size)))
