"""Limits that were changed while the daemon ran are what they were after a restart, and when the run is done over."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from engine import daemon, plugins
from engine.config import from_dict
from engine.errors import JournalError
from engine.events import MINUTE_NS, Command, LimitChanged
from engine.journal import Journal
from engine.run import Run
from tests.engine import test_live
from tests.engine.test_live import FAKES, config, records, session


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Fakes as new, and no waiting."""
    found = sys.modules[plugins.load(plugins.FEED, f"{FAKES}:FakeFeed").__module__]
    found.FakeBroker.reset()
    monkeypatch.setattr(test_live, "fakes", found)
    for name in ("RECONCILE_START_S", "RECONCILE_OPEN_S", "RECONCILE_IDLE_S"):
        monkeypatch.setattr(test_live.live, name, 0.001)
    return found


def said(fakes: Any, action: Any, minutes: int, value: str, for_minutes: int = 0) -> Command:
    at_ns = fakes.START_NS + minutes * MINUTE_NS
    until_ns = at_ns + for_minutes * MINUTE_NS if for_minutes else 0
    return Command(action, at_ns, at_ns, "why", who="ann", limit="max_order_qty", value=value, ts_expire_ns=until_ns)


async def test_an_override_outlives_a_restart_and_ends_when_it_was_to_end(tmp_path: Path, fakes: Any) -> None:
    """C36: killed in its third minute and started again, it ends in its tenth, once."""
    fakes.FakeFeed.script = [fakes.bar(1, 100.0), said(fakes, "override", 2, "25", 10), fakes.bar(3, 100.0)]
    await session(tmp_path, lambda core: core.now_ns >= fakes.START_NS + 3 * MINUTE_NS)
    fakes.FakeFeed.script = [fakes.bar(11, 100.0), fakes.bar(12, 100.0)]
    held: list[Any] = []

    def until(core: Any) -> bool:
        if core.now_ns == fakes.START_NS + 11 * MINUTE_NS:
            held.append(core.risk.limits.max_order_qty)
        return bool(core.now_ns >= fakes.START_NS + 12 * MINUTE_NS)

    run = await session(tmp_path, until)
    assert set(held) == {25}
    assert run.core.risk.limits == run.core.risk.file_limits
    told = [(one.after, one.ts_event_ns) for one in records(tmp_path) if isinstance(one, LimitChanged)]
    assert told == [
        ("25", fakes.START_NS + 2 * MINUTE_NS), ("1000000000000", fakes.START_NS + 12 * MINUTE_NS)
    ]  # fmt: skip
    assert daemon.verify(tmp_path / "run.journal")[0] > 0


async def test_a_reloaded_file_is_the_one_to_start_again_with(tmp_path: Path, fakes: Any) -> None:
    """S18: the narrower file goes on with its run; the old one, and any other, is another run now."""
    fakes.FakeFeed.script = [fakes.bar(1, 100.0), said(fakes, "tighten", 2, "5"), fakes.bar(3, 100.0)]
    await session(tmp_path, lambda core: core.now_ns >= fakes.START_NS + 3 * MINUTE_NS)
    path, old = tmp_path / "run.journal", config(tmp_path)

    def with_qty(qty: int) -> Any:
        return from_dict({**old.resolved(), "risk": {"profile": "wide", "max_order_qty": qty}})

    begun = daemon._as_begun(with_qty(5), path)
    assert begun.risk == old.risk
    assert begun.resolved_json() == old.resolved_json()
    ledger = Journal(path, follow=True, frozen=True)
    run = Run(begun, ledger, again=True)
    run.header("PA1")
    run.replay_inputs()
    assert run.core.risk.limits.max_order_qty == 5
    ledger.abandon()
    assert daemon._as_begun(with_qty(6), path).risk.max_order_qty == 6
    ledger = Journal(path, follow=True, frozen=True)
    with pytest.raises(JournalError, match="holds another run: risk differs"):
        Run(daemon._as_begun(with_qty(6), path), ledger, again=True).header("PA1")
    ledger.abandon()
    assert daemon.verify(path)[0] > 0
    assert json.loads(old.resolved_json())["risk"]["max_order_qty"] != "5"


async def test_a_word_that_widens_the_file_for_good_is_not_taken(tmp_path: Path, fakes: Any) -> None:
    """Whatever reached the corridor: for good, limits only become narrower, and a broken one changes nothing."""
    words = [said(fakes, "tighten", 2, value) for value in ("2e12", "many", "-1", "7")]
    fakes.FakeFeed.script = [fakes.bar(1, 100.0), *words, fakes.bar(3, 100.0)]
    run = await session(tmp_path, lambda core: core.now_ns >= fakes.START_NS + 3 * MINUTE_NS)
    assert run.core.risk.limits.max_order_qty == 7
    assert [one.after for one in records(tmp_path) if isinstance(one, LimitChanged)] == ["7"]
