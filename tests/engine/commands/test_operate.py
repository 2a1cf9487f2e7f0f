"""The commands that speak to a running daemon: what they ask, what they show, and when they ask back."""

import asyncio
import io
import json
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine import cli
from engine.operating import alerts
from engine.operating.control import FOLDER, ControlServer, DaemonStatus, OrderLine, PositionLine, Reply, Request
from engine.operating.heartbeat import private_folder

STATUS = DaemonStatus(
    name="demo", mode="paper", pid=7, version="0.1.0", phase="trading", state="active", cause="", now_ns=10**18,
    events=12_345, events_per_s=67.0, quiet_s=1.5, inbox=3, conflated=2, cash_usd=Decimal("99000.50"),
    equity_usd=100_100.5, pnl_usd=100.5, fees_usd=Decimal("1.25"), halted_strategies=["two"],
    positions=[
        PositionLine("one", "AAA", Decimal(10), Decimal(100), 110.0, 100.0),
        PositionLine("one", "BBB", Decimal("-2.5"), None, None, None),
    ],
    orders=[
        OrderLine("demo-one-9", "one", "AAA", "buy", "limit", Decimal(5), Decimal(2), Decimal(99), "accepted", 61.0),
    ],
    approvals=4, fills=3, late_fills=0, denials={"C02 order_notional": 2}, updates={"accepted": 4}, over_budget={},
    streams={"stocks": {"frames": 10, "malformed": 0}}, reconciliations=5, mismatches=0, alerts_unacknowledged=1,
    models={"lstm": {"drift_psi": 0.1234}},
)  # fmt: skip


class Daemon:
    """A daemon that only answers, in a thread of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.status = folder, STATUS
        self.asked: list[Request] = []
        self.refuses = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._server = ControlServer(folder / FOLDER, self._answer)

    async def _answer(self, request: Request) -> Reply:
        self.asked.append(request)
        if request.ask == "status":
            return Reply(ok=True, status=self.status)
        return Reply(ok=not self.refuses, told=self.refuses or f"did {request.ask}")

    def start(self) -> None:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._server.open(), self._loop).result()

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._server.close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    found = Daemon(tmp_path)
    found.start()
    yield found
    found.stop()


@pytest.fixture
def type_in(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda words: monkeypatch.setattr("sys.stdin", io.StringIO(words))


def onetape(*words: object) -> int:
    return cli.main([str(word) for word in words])


# --- finding the daemon ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ['out_dir = "{out}"\nname = "x"', 'name = "demo"', 'name = "demo"\nseed = "broken"\n[gone]']
)
def test_a_daemon_is_found_by_its_configuration(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Only `out_dir` and `name` are read: a file that is broken elsewhere must not keep anybody from halting."""
    folder = tmp_path / "runs" / "demo"
    daemon = Daemon(folder)
    daemon.start()
    path = tmp_path / "run.toml"
    path.write_text(text.format(out="runs/demo"))
    try:
        assert onetape("halt", path) == 0
    finally:
        daemon.stop()
    assert capsys.readouterr().out == "did halt\n"


def test_where_no_daemon_runs_every_command_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], type_in: Any
) -> None:
    """Exit code 4, in a line, with the folder."""
    (tmp_path / "run.toml").write_text('name = "demo"')
    for command in ("status", "halt", "resume", "cancel-all", "flatten"):
        assert onetape(command, tmp_path) == 4
        assert f"no daemon runs in {tmp_path}" in capsys.readouterr().err
    assert onetape("status", tmp_path / "gone.toml") == 2


# --- status ----------------------------------------------------------------------------------------------------------


def test_status_shows_what_a_person_wants_to_know(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """State, money, rate, positions, orders, denials, streams and what waits to be acknowledged."""
    assert onetape("status", daemon.folder) == 0
    shown = capsys.readouterr().out
    for words in (
        "demo (paper)", "active", "pid 7", "equity 100,100.50", "P&L +100.50", "12,345 events, 67/s, 3 waiting",
        "newest 1.5 s ago", "AAA", "-2.5", "demo-one-9", "2/5", "denied: C02 order_notional 2", "stocks: frames 10",
        "halted strategies: two", "1 alert to acknowledge", "health of lstm: drift_psi 0.123",
    ):  # fmt: skip
        assert words in shown
    assert "malformed" not in shown  # what is zero is no news


@pytest.mark.parametrize(
    ("phase", "state", "code", "word"),
    [("trading", "halted", 3, "halted by C15 drawdown"), ("starting", "halted", 0, "starting"),
     ("trading", "reduce_only", 0, "reduce-only")],
)  # fmt: skip
def test_the_exit_code_of_status_is_for_scripts(
    daemon: Daemon, phase: Any, state: str, code: int, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """0 while it trades or is about to, 3 halted."""
    daemon.status = msgspec.structs.replace(STATUS, phase=phase, state=state, cause="C15 drawdown")
    assert onetape("status", daemon.folder) == code
    assert word in capsys.readouterr().out


def test_status_as_json_holds_everything(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json`: one line, money as exact text."""
    assert onetape("status", daemon.folder, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["cash_usd"] == "99000.50"
    assert msgspec.convert(told, DaemonStatus) == STATUS


# --- commands --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["halt", "--reason", "lunch"], Request("halt", "lunch")),
        (["halt", "--reduce-only"], Request("reduce_only")),
        (["cancel-all"], Request("cancel_all")),
        (["resume", "--yes", "--reason", "looked at"], Request("resume", "looked at")),
        (["flatten", "--yes"], Request("flatten")),
        (
            ["override", "max_order_qty", "25", "--minutes", "5", "--yes", "--reason", "index add"],
            Request("override", "index add", limit="max_order_qty", value="25", minutes=5.0),
        ),
    ],
)
def test_each_command_asks_for_what_it_says(
    daemon: Daemon, words: list[str], asked: Request, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The last request on the line is the command with who asks and why, and its answer is shown."""
    monkeypatch.setenv("SUDO_USER", "ann")
    assert onetape(words[0], daemon.folder, *words[1:]) == 0
    assert daemon.asked[-1] == msgspec.structs.replace(asked, who="ann")
    assert f"did {asked.ask}" in capsys.readouterr().out


def test_a_refusal_is_an_error_in_words(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """What the daemon did not do is no success."""
    daemon.refuses = "the daemon is starting"
    assert onetape("halt", daemon.folder) == 4
    assert capsys.readouterr().err == "error: the daemon is starting\n"


@pytest.mark.parametrize("command", ["resume", "flatten", "override"])
@pytest.mark.parametrize(("answer", "done"), [("y\n", True), ("n\n", False), ("\n", False), ("", False)])
def test_resume_flatten_and_override_ask_back(
    daemon: Daemon, type_in: Any, command: str, answer: str, done: bool
) -> None:
    """Only a yes is one; nobody at the terminal is a no."""
    type_in(answer)
    words = ["max_order_qty", "25", "--reason", "index add"] if command == "override" else []
    assert onetape(command, daemon.folder, *words) == (0 if done else 1)
    assert (daemon.asked[-1].ask == command) is done


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["max_order_qt", "25", "--reason", "why"], "there is no limit 'max_order_qt'; did you mean 'max_order_qty'?"),
        (["max_order_qty", "25"], "Missing option '--reason'"),
        (["max_order_qty", "25", "--reason", ""], "says who wants it and why"),
        (["max_order_qty", "25", "--reason", "why", "--minutes", "20"], "at most 15 minutes"),
        (["max_order_qty", "25", "--reason", "why", "--minutes", "0"], "more than 0"),
        (["max_order_qty", "abc", "--reason", "why"], "max_order_qty cannot be 'abc'"),
        (["max_order_qty", "--reason", "why", "--", "-5"], "max_order_qty cannot be '-5'"),
        (["allow_reversals", "1", "--reason", "why"], "allow_reversals cannot be '1'"),
    ],
)
def test_an_override_that_cannot_be_asks_for_no_yes(
    daemon: Daemon, type_in: Any, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody agrees to a limit that is none, and the daemon is not asked."""
    type_in("y\n")
    assert onetape("override", daemon.folder, *words) == 2
    assert told in capsys.readouterr().err
    assert daemon.asked == []


@pytest.mark.parametrize(
    ("limit", "value"), [("daily_loss_reduce_only_percent", "5"), ("daily_loss_halt_percent", "1")]
)
def test_whether_a_limit_fits_the_others_the_daemon_says(daemon: Daemon, limit: str, value: str) -> None:
    """Here nobody knows them: what would not fit those of a profile is asked for."""
    assert onetape("override", daemon.folder, limit, value, "--reason", "why", "--yes") == 0
    assert daemon.asked[-1].value == value


def test_flatten_says_what_it_will_do(daemon: Daemon, type_in: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Each position with its side and size, before anything is asked for."""
    type_in("n\n")
    onetape("flatten", daemon.folder)
    shown = capsys.readouterr().out
    for words in ("demo (paper) is halted", "open orders are canceled (1 now)", "sell 10 AAA", "buy back 2.5 BBB"):
        assert words in shown


@pytest.mark.parametrize(("typed", "done"), [("demo\n", True), ("y\n", False)])
def test_real_money_wants_the_name_typed(daemon: Daemon, type_in: Any, typed: str, done: bool) -> None:
    """A yes from habit closes no position of a live account."""
    daemon.status = msgspec.structs.replace(STATUS, mode="live")
    type_in(typed)
    assert onetape("flatten", daemon.folder) == (0 if done else 1)
    assert (daemon.asked[-1].ask == "flatten") is done


def test_reload_sends_the_whole_checked_configuration(
    daemon: Daemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong with the file is told here, with its line, and never reaches the daemon."""
    demo = (Path(__file__).parents[3] / "config" / "demo.toml").read_text()
    path = tmp_path / "run.toml"
    head, _, rest = demo.partition("[feed]")
    lines = [line for line in head.splitlines() if not line.startswith("out_dir")]
    path.write_text("\n".join([*lines, f'out_dir = "{daemon.folder}"', "[feed]" + rest, "[log]", 'level = "debug"']))
    assert onetape("reload", path) == 0
    assert daemon.asked[-1].ask == "reload"
    assert daemon.asked[-1].config is not None
    assert daemon.asked[-1].config["log"]["level"] == "debug"
    path.write_text(path.read_text().replace('"debug"', '"debgu"'))
    before = len(daemon.asked)
    assert onetape("reload", path) == 2
    assert "log.level" in capsys.readouterr().err
    assert len(daemon.asked) == before


def test_reload_takes_what_the_daemon_was_started_with(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    """`--set out_dir=...` leads to it; what is wrong with one never does."""
    demo = Path(__file__).parents[3] / "config" / "demo.toml"
    words = ["--set", f"out_dir={daemon.folder}", "--set", "log.level=debug"]
    assert onetape("reload", demo, *words) == 0
    assert daemon.asked[-1].config is not None
    assert daemon.asked[-1].config["log"]["level"] == "debug"
    assert onetape("reload", demo, *words, "--set", "log.level=debgu") == 2
    assert "--set log.level=debgu" in capsys.readouterr().err
    assert len(daemon.asked) == 1


def test_acknowledge_shows_alerts_and_then_forgets_them(
    tmp_path: Path, type_in: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """It needs no daemon: the one that raised them may be dead."""
    assert onetape("acknowledge", tmp_path) == 0
    assert capsys.readouterr().out == "no alert waits\n"
    folder = private_folder(tmp_path / FOLDER)
    told = {"ts": "2024-03-04", "text": "critical: demo: trading is halted", "fields": {"control": "C15"}}
    (folder / alerts.UNACKNOWLEDGED).write_text(json.dumps(told) + "\n")
    type_in("n\n")
    assert onetape("acknowledge", tmp_path) == 1
    assert "trading is halted (control: C15)" in capsys.readouterr().out
    assert len(alerts.unacknowledged(folder)) == 1
    assert onetape("acknowledge", tmp_path, "--yes") == 0
    assert alerts.unacknowledged(folder) == []
