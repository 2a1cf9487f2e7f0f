"""Two runs side by side: the same decisions whenever they were made, or the first one that differs."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from msgspec.structs import replace

from engine.cli import main
from engine.errors import Divergence
from engine.events import SECOND_NS, Approved, Denied, Event, Fill, Intent, RunStarted
from engine.journal import Journal
from engine.record.compare import compare

INTENT = Intent("day-one-1", "one", "SPY", "buy", Decimal(10), 5)
ORDER = Approved(INTENT, 1, 5, 7, Decimal(100), "bar")
DENIAL = Denied(replace(INTENT, client_order_id="day-one-2"), 6, "C01 trading_state", "halted")
FILL = Fill("x-1", "day-one-1", "SPY", "buy", Decimal(10), Decimal(100), Decimal(0), 8, 9)


def written(folder: Path, *records: Event) -> Path:
    """Write a journal; return where."""
    path = folder / f"{len(list(folder.iterdir()))}.journal"
    journal = Journal(path)
    for record in (RunStarted("day", "{}", "0", 1, 0), *records):
        journal.append(record)
    journal.close()
    return path


def test_the_same_decisions_agree_whatever_the_venue_calls_its_executions(tmp_path: Path) -> None:
    """Ids and fees are the venue's own, tokens a counter's, and an execution may be heard of before the next denial."""
    first = written(tmp_path, ORDER, FILL, DENIAL)
    other = replace(FILL, execution_id="paper-1", fee_usd=Decimal(1), ts_recv_ns=20)
    agreement = compare(first, written(tmp_path, replace(ORDER, token=2), DENIAL, other))
    assert agreement.counts == {"orders": 1, "denials": 1, "executions": 1}
    assert str(agreement) == "orders 1, denials 1, executions 1: the same, at the same instants"


def test_how_far_apart_the_same_decisions_lie_is_told(tmp_path: Path) -> None:
    """The largest distance of all, not the sum."""
    late = replace(ORDER, ts_event_ns=ORDER.ts_event_ns + 2 * SECOND_NS)
    denied = replace(DENIAL, ts_event_ns=DENIAL.ts_event_ns + SECOND_NS)
    agreement = compare(written(tmp_path, ORDER, DENIAL), written(tmp_path, late, denied))
    assert agreement.apart_s == 2.0
    assert str(agreement).endswith("the same, up to 2 s apart")


@pytest.mark.parametrize(
    "other",
    [
        (replace(ORDER, intent=replace(INTENT, qty=Decimal(11))), DENIAL, FILL),
        (replace(ORDER, intent=replace(INTENT, strategy="two")), DENIAL, FILL),
        (ORDER, replace(DENIAL, control="C02 no"), FILL),
        (ORDER, DENIAL, replace(FILL, price=Decimal("100.01"))),
        (ORDER, DENIAL, replace(FILL, qty=Decimal(9))),
        (ORDER, FILL),
        (ORDER, DENIAL),
        (ORDER, DENIAL, FILL, FILL),
    ],
    ids=["quantity", "strategy", "control", "price", "size", "no denial", "no execution", "one more"],
)
def test_whatever_was_decided_or_executed_otherwise_is_named(other: tuple[Event, ...], tmp_path: Path) -> None:
    """Any field that matters, and anything that only one of them has."""
    with pytest.raises(Divergence):
        compare(written(tmp_path, ORDER, DENIAL, FILL), written(tmp_path, *other))


def test_the_command_says_what_differs_and_exits_with_five(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both lines in full, under the place in the first journal; two that agree exit with 0."""
    first = written(tmp_path, ORDER, DENIAL)
    second = written(tmp_path, replace(ORDER, intent=replace(INTENT, side="sell")), DENIAL)
    assert main(["compare", str(first), str(second)]) == 5
    told = capsys.readouterr().err
    assert "record 2 differs" in told
    lines = told.splitlines()[1:]
    assert [line.split(": ")[0] for line in lines] == ["  the first run", "  the other run"]
    assert ['"side":"sell"' in line for line in lines] == [False, True]
    assert main(["compare", str(first), str(first)]) == 0
    assert "orders 1, denials 1: the same" in capsys.readouterr().out
