"""A whole market's minutes in front of our daemon: how soon the last bar is decided on, and how the daemon lasts."""

from __future__ import annotations

import socket
from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

from bench.live.daemon import daemon, is_trading
from bench.live.feeds import symbols
from bench.live.venue import Venue, venue, wait_until

MINUTE_SPEED, SESSION_SPEED = 10.0, 20.0
"""A minute of the tape passes in six seconds, and in three."""
QUIET_NS = 1_000_000_000
SETTLE_S = 90.0


def last_decision_ms(folder: Path, n_symbols: int, minutes: int) -> float:
    """Let the bars of each minute come within a second; return the longest time from its last frame to its last order.

    The first two minutes fill the rule's windows.
    """
    feed = {"n_symbols": n_symbols, "minutes": minutes, "spread_s": MINUTE_SPEED}
    rows = {"symbols": symbols(n_symbols), "statuses": False}
    with venue(folder, "Market", feed, speed=MINUTE_SPEED) as at, daemon(folder / "daemon", at, "BuyJumps", rows):
        at.wait_for(is_trading)
        at.record()
        at.start()
        at.wait_for(lambda state: state["ended"], within_s=SETTLE_S + minutes * 120 / MINUTE_SPEED)
        wait_until(lambda: _is_quiet(at))
        return max(decisions_ms(at.ask("/instants"), n_symbols)[2:])


def decisions_ms(instants: dict[str, Any], n_symbols: int) -> list[float]:
    """Return for each minute the time from its last frame to its last order.

    Raises:
        ValueError: a minute is not whole.
    """
    found, frames, posts = [], instants["frames"], sorted(came for came, _ in instants["posts"])
    ends = [index for index, (one, after) in enumerate(pairwise(frames)) if after[0] - one[0] > QUIET_NS]
    begin = 0
    for end in [*ends, len(frames) - 1]:
        if (came := sum(count for _, _, count in frames[begin : end + 1])) != n_symbols:
            raise ValueError(f"a minute of {n_symbols} symbols brought {came} bars")
        until = frames[end + 1][0] if end + 1 < len(frames) else frames[end][0] + 10 * QUIET_NS
        answers = [post for post in posts if frames[begin][0] <= post < until]
        found.append((answers[-1] - frames[end][0]) / 1e6 if answers else 0.0)
        begin = end + 1
    return found


def _is_quiet(at: Venue) -> bool:
    """Tell whether the last order is in, by there being as many as a look before."""
    before = len(at.ask("/instants")["posts"])
    return before == len(at.ask("/instants")["posts"])


class Session(NamedTuple):
    """How a daemon went through a session."""

    memory_growth_percent: float
    events_lost: int
    loop_lag_p99_ms: float
    bars: int
    orders: int


def session(folder: Path, n_symbols: int, minutes: int) -> Session:
    """Let a session pass at `SESSION_SPEED`; the first third warms up.

    By then the account has been compared with the books once, orders and all, as happens every half hour.
    """
    feed = {"n_symbols": n_symbols, "minutes": minutes, "spread_s": SESSION_SPEED * 2 / 3}
    rows = {"symbols": symbols(n_symbols), "statuses": False}
    port = _free_port()
    with venue(folder, "Market", feed, speed=SESSION_SPEED) as at:
        with daemon(folder / "daemon", at, "BuyJumps", rows, port=port) as running:
            at.wait_for(is_trading)
            at.start()
            bars, within_s = n_symbols * minutes, SETTLE_S + minutes * 120 / SESSION_SPEED
            at.wait_for(lambda state: state["events"] >= bars / 3, within_s=within_s)
            warm, before = _memory_kb(running.pid), lag_counts(port)
            at.wait_for(lambda state: state["ended"], within_s=within_s)
            wait_until(lambda: metric(port, "onetape_events_total") >= bars)
            after = lag_counts(port)
            grown = _memory_kb(running.pid) / warm - 1
            orders = at.ask("/ledger")["orders"]
        lost = events_lost(folder / "daemon" / "run.journal", orders)
    return Session(grown * 100, lost, percentile_ms(before, after, 0.99), bars, len(orders))


def events_lost(journal: Path, orders: Sequence[dict[str, Any]]) -> int:
    """Count what the venue knows of its orders and the journal does not: acceptances, and shares that were filled."""
    from engine.events import Fill, OrderUpdate
    from engine.journal import read

    told: set[str] = set()
    booked: set[str] = set()
    filled: dict[str, Decimal] = defaultdict(Decimal)
    for record in read(journal):
        if isinstance(record, OrderUpdate):
            told.add(record.client_order_id)
        elif isinstance(record, Fill) and record.execution_id not in booked:  # the account and the stream both tell
            booked.add(record.execution_id)
            filled[record.client_order_id] += record.qty
    return sum(
        (order["client_order_id"] not in told) + (filled[order["client_order_id"]] != Decimal(order["filled_qty"]))
        for order in orders
    )


# --- what the daemon itself tells ------------------------------------------------------------------------------------


def lag_counts(port: int) -> dict[float, float]:
    """Return the cumulative counts of the loop's lag by upper bound in seconds."""
    found = {}
    for line in _metrics(port):
        if line.startswith("onetape_stage_seconds_bucket") and 'stage="loop"' in line:
            bound, count = line.partition('le="')[2].split('"')[0], float(line.split()[-1])
            found[float(bound)] = count
    return found


def percentile_ms(before: dict[float, float], after: dict[float, float], share: float) -> float:
    """Return a percentile of what a cumulative histogram has counted between two looks: its bucket's upper bound."""
    counts = {bound: count - before.get(bound, 0.0) for bound, count in after.items()}
    wanted = share * max(counts.values())
    return next(bound for bound in sorted(counts) if counts[bound] >= wanted) * 1000


def metric(port: int, name: str) -> float:
    """Return one of the daemon's plain metrics."""
    return next(float(line.split()[-1]) for line in _metrics(port) if line.startswith(f"{name} "))


def _metrics(port: int) -> list[str]:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=SETTLE_S) as answer:
        text: str = answer.read().decode()
    return text.splitlines()


def _memory_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
