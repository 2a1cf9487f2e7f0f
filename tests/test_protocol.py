"""The protocol reference, line by line: what stands for each fault, each line of the checklist, each unknown."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from brokers.alpaca_server.fault_catalogue import CATALOGUE
from brokers.alpaca_server.settings import MatchingSettings, ServerSettings

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "alpaca.md").read_text("utf-8")
ALPACA, SERVER = "tests/brokers/alpaca/", "tests/brokers/alpaca_server/"
EVERY_FAULT = f"{ALPACA}test_every_fault.py::test_a_fault_fires_and_breaks_no_invariant"
FAULTS = {"W": 21, "O": 25, "R": 18}
"""How many faults each table of the protocol has; they are numbered from one."""

BESIDE_THE_CATALOGUE = {
    "W14": f"{ALPACA}test_daemon_life.py::test_fifty_starts_in_one_process_leave_nothing_behind",
    "W15": f"{ALPACA}test_daemon_life.py::test_a_signal_ends_the_daemon_in_good_order",
    "W16": f"{ALPACA}test_daemon_life.py"
    "::test_a_strategy_that_raises_in_the_middle_of_a_frame_loses_nothing_of_the_rest",
    "W21": f"{ALPACA}test_daemon_life.py::test_the_streams_use_nothing_that_their_library_has_deprecated",
    "R07": f"{ALPACA}test_crypto_fees.py::test_a_fee_in_coins_is_booked_and_trading_goes_on",
    "R13": "tests/engine/test_clock.py::test_a_session_begins_at_half_past_nine_on_both_sides_of_a_clock_change",
}
"""Faults that no venue can commit: they are ours, our machine's, or the rule of a market."""

CHECKLIST = 19
UNKNOWN = {
    1: ("client_order_id_scope", "refused_order_keeps_id"),
    2: ("server_ping_s", "trading_connections_max", "ghost_s"),
    3: ("second_auth",),
    4: ("closing_errors",),
    5: ("silent_events", "event_ids", "new_before_replaced", "replaced_fills"),
    6: ("activity_id", "activity_wait_s"),
    7: ("paper",),
    8: ("data_unauthorized_status", "html_errors", "rate_headers", "rate_message"),
    9: ("second_cancel_status",),
    10: ("bracket_code", "recent_sip_code"),
    11: ("cls_cutoff_min",),
    12: ("crypto_cost_usd_min", "notional_limit_orders"),
    13: (),
    14: ("done_for_day_open",),
    15: ("frame_messages_max", "send_buffer_bytes_max"),
}
"""Each entry of the list of unknowns, and the options of the local venue that stand for it."""


def functions(module: str) -> dict[str, str]:
    """Return the tests of a file and their docstrings."""
    tree = ast.parse((ROOT / module).read_text("utf-8"))
    found = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {node.name: ast.get_docstring(node) or "" for node in found}


def exists(test: str) -> bool:
    module, _, name = test.partition("::")
    return (ROOT / module).is_file() and (not name or name in functions(module))


def ids() -> set[str]:
    return {f"{table}{number:02}" for table, count in FAULTS.items() for number in range(1, count + 1)}


@pytest.fixture(scope="module")
def reference() -> str:
    path = ROOT.parent / "shared" / "reference" / "alpaca_protocol.md"
    if not path.is_file():
        pytest.skip("the protocol reference is not beside this checkout")
    return path.read_text("utf-8")


def test_every_fault_of_the_protocol_is_met_by_a_test() -> None:
    """Those that the venue commits by the one test that arms each of them, the others by one of their own."""
    at_the_venue = {name for name in CATALOGUE.faults if name[0] in FAULTS}
    assert at_the_venue | set(BESIDE_THE_CATALOGUE) == ids()
    assert at_the_venue & set(BESIDE_THE_CATALOGUE) == set()
    assert [test for test in (EVERY_FAULT, *BESIDE_THE_CATALOGUE.values()) if not exists(test)] == []
    untold = {
        fault: test for fault, test in BESIDE_THE_CATALOGUE.items()
        if fault not in functions(test.partition("::")[0])[test.partition("::")[2]]
    }  # fmt: skip
    assert untold == {}, "a test says in its docstring which fault it is about"


def test_the_test_of_faults_leaves_none_out_and_asserts_that_each_fired() -> None:
    """It takes them from the catalogue itself, so a new fault is under test from its first day."""
    text = (ROOT / EVERY_FAULT.partition("::")[0]).read_text("utf-8")
    assert "for name in sorted(CATALOGUE.faults)" in text
    assert 'assert fired >= 1, f"{fault} never fired"' in text
    assert "ELSEWHERE" not in text


def test_every_line_of_the_checklist_has_its_test() -> None:
    """`test_line_N_...`, one for each of the nineteen, and none for a line that is not there."""
    lines = [re.match(r"test_line_(\d+)_", name) for name in functions(f"{SERVER}test_checklist.py")]
    assert sorted(int(found[1]) for found in lines if found) == list(range(1, CHECKLIST + 1))


def test_every_unknown_is_an_option_that_exists_or_is_said_not_to_be_one() -> None:
    """What no source settles has a switch whose default stands on the page; one entry has a sentence instead."""
    known = set(ServerSettings.model_fields)
    assert {name for names in UNKNOWN.values() for name in names} - known == set()
    table = PAGE.partition("#### Unknown: no source settles these")[2].partition("### Faults")[0]
    rows = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    assert rows - {name for names in UNKNOWN.values() for name in names} == STANDING_BY
    without = [number for number, names in UNKNOWN.items() if not names]
    assert without == [13]
    assert "over SSE" in table
    assert {"latency_ms", "participation"} <= set(MatchingSettings.model_fields)


STANDING_BY = {"binary_updates", "legs_listed", "legacy_account_fields"}
"""Options on the page that other sections of the reference call unsure: B.1, C.3, H.4."""


def test_the_tables_here_are_those_of_the_reference(reference: str) -> None:
    """Its faults, its checklist and its list of unknowns, counted in its own text."""
    assert set(re.findall(r"^\| ([WOR]\d\d) ", reference, re.MULTILINE)) == ids()
    checklist = reference.partition("## 1. Compliance checklist")[2].partition("\n## ")[0]
    assert [int(one) for one in re.findall(r"^\| (\d+) \|", checklist, re.MULTILINE)] == list(range(1, CHECKLIST + 1))
    unknown = reference.partition("## U. Unknown")[2].partition("\n## ")[0]
    assert [int(one) for one in re.findall(r"^(\d+)\. ", unknown, re.MULTILINE)] == list(UNKNOWN)


def test_every_promise_of_the_readme_rests_on_a_test_that_is_there() -> None:
    """The table names a file and a test in it; whoever renames one changes the other."""
    section = (
        (ROOT / "README.md").read_text("utf-8").partition("## What each promise rests on")[2].partition("\n## ")[0]
    )
    rows = re.findall(r"^\| .+? \| \[.+?\]\((.+?)\) `(\w+)` \|$", section, re.MULTILINE)
    assert len(rows) == section.count("\n| ") - 1
    assert [f"{file}::{name}" for file, name in rows if not exists(f"{file}::{name}")] == []
