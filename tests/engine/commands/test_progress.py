"""A replay shows how far it is to a person, and nothing to a pipe."""

import pytest

from engine.commands.progress import progress_bar

DAY_NS = 86_400_000_000_000
SPAN_NS = (17_000 * DAY_NS, 17_010 * DAY_NS)


def test_a_pipe_gets_no_progress_bar(capsys: pytest.CaptureFixture[str]) -> None:
    """Logs of a backtest in a batch job are not full of bars."""
    with progress_bar() as tell:
        tell(1000, SPAN_NS[0], SPAN_NS)
    shown = capsys.readouterr()
    assert (shown.out, shown.err.strip()) == ("", "")


def test_a_terminal_gets_the_simulated_date_the_events_and_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On standard error, so that standard output stays the result."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    with progress_bar() as tell:
        tell(1234, SPAN_NS[0] + 5 * DAY_NS, SPAN_NS)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "2016-07-23" in shown.err
    assert "1,234 events" in shown.err
    assert "50%" in shown.err
