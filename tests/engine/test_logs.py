"""The log tells people and machines the same, with the engine's time, and never a secret."""

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from engine import logs
from engine.clock import ManualClock

CANARY = 'sk-canary/"+ü42'
WALL_NS = 1_700_000_000_000_000_000
EVENT_NS = 1_400_000_000_123_000_000


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _undo() -> Iterator[None]:
    before, level = set(logs._secrets), logging.root.level
    yield
    logs.close()
    structlog.reset_defaults()
    logging.root.setLevel(level)
    logs._secrets.clear()
    logs._secrets.update(before)


def start(tmp_path: Path, console: io.StringIO, **options: Any) -> Path:
    file = tmp_path / "deep" / "log.jsonl"
    logs.configure(
        file=file, console=console, clock=ManualClock(WALL_NS), event_time_ns=lambda: EVENT_NS, **options
    )  # fmt: skip
    return file


def records(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_every_record_carries_the_engine_time_and_the_wall_time(tmp_path: Path) -> None:
    """In a replay `ts_event` is simulated; `ts` says when the line was made. The console shows the engine's."""
    console = io.StringIO()
    file = start(tmp_path, console)
    structlog.get_logger().info("filled", symbol="SPY")
    logging.getLogger("websockets").warning("slow %s", "socket")
    first, second = records(file)
    assert first == {
        "event": "filled", "symbol": "SPY", "level": "info",
        "ts": "2023-11-14T22:13:20.000+00:00", "ts_event": "2014-05-13T16:53:20.123+00:00",
    }  # fmt: skip
    assert (second["event"], second["level"], second["ts_event"]) == ("slow socket", "warning", first["ts_event"])
    assert "2014-05-13 16:53:20.123 [info     ] filled" in console.getvalue()


def test_a_line_about_the_past_carries_its_own_time(tmp_path: Path) -> None:
    """Who looks back at a decision gives its instant; the lines after it carry the engine's again."""
    console = io.StringIO()
    file = start(tmp_path, console)
    structlog.get_logger().info("denied", _ts_event_ns=EVENT_NS - 1_000_000_000)
    structlog.get_logger().info("now")
    assert [record["ts_event"][17:23] for record in records(file)] == ["19.123", "20.123"]
    assert "_ts_event_ns" not in file.read_text() + console.getvalue()
    assert "2014-05-13 16:53:19.123 [info     ] denied" in console.getvalue()


@pytest.mark.parametrize("terminal", [io.StringIO, Terminal])
def test_a_stranger_neither_colors_nor_splits_a_line_of_the_console(
    tmp_path: Path, terminal: type[io.StringIO]
) -> None:
    """Messages, values, libraries' records and what exceptions say; the file holds them as they were."""
    console = terminal()
    file = start(tmp_path, console)
    logs.mask("two\nlines")
    foul = "\x1b[2J\n\x9b31m two\nlines\r\u202e"
    structlog.get_logger().warning(foul, x=foul, deep=[foul])
    logging.getLogger("theirs").warning(foul)
    shown = console.getvalue()
    assert len(shown.splitlines()) == 2
    assert shown.count("␛[2J␊�31m ***␍�") == 3
    assert shown.count(r"\x1b[2J\n\x9b31m ***\r\u202e") == 1, "inside a list"
    try:
        raise RuntimeError(foul)
    except RuntimeError:
        structlog.get_logger().exception("failed")
    assert not set("\x9b\r\u202e") & set(console.getvalue())
    assert "\x1b[2J" not in console.getvalue()
    assert "\nRuntimeError: " in console.getvalue()
    assert records(file)[0]["x"].startswith("\x1b[2J\n\x9b31m")


def test_before_the_first_event_the_wall_time_is_shown(tmp_path: Path) -> None:
    """An engine without a time yet says so in the file, and the console falls back."""
    console = io.StringIO()
    logs.configure(console=console, file=tmp_path / "log.jsonl", clock=ManualClock(WALL_NS))
    structlog.get_logger().info("starting")
    assert records(tmp_path / "log.jsonl")[0]["ts_event"] == ""
    assert console.getvalue().startswith("2023-11-14 22:13:20.000 ")


def test_only_a_terminal_gets_colors(tmp_path: Path) -> None:
    """Plain lines in a pipe, colors for people."""
    plain, colored = io.StringIO(), Terminal()
    start(tmp_path, plain)
    structlog.get_logger().warning("plain")
    start(tmp_path, colored)
    structlog.get_logger().warning("colored")
    assert "\x1b[" not in plain.getvalue()
    assert "\x1b[" in colored.getvalue()


def test_the_level_is_kept_and_libraries_are_heard_from_warning_on(tmp_path: Path) -> None:
    """`log.level` is ours; a library's chatter is dropped even at debug."""
    file = start(tmp_path, io.StringIO(), level="debug")
    structlog.get_logger().debug("ours")
    logging.getLogger("aiohttp").info("theirs")
    assert [record["event"] for record in records(file)] == ["ours"]
    file.unlink()
    file = start(tmp_path, io.StringIO(), level="error")
    structlog.get_logger().warning("ours")
    logging.getLogger("aiohttp").warning("theirs")
    assert records(file) == []


def leak(way: str) -> None:
    log = structlog.get_logger()
    if way == "value":
        log.info("connecting", note=f"with {CANARY}", deep=[{"header": CANARY}])
    elif way == "event":
        log.info(f"https://host/?key={CANARY}")
    elif way == "bound":
        log.bind(note=CANARY).info("bound")
    elif way == "library":
        logging.getLogger("urllib3").warning("retry %s", CANARY)
    elif way == "repr":
        log.info("object", request=type("Request", (), {"__repr__": lambda _: f"<{CANARY}>"})())
    else:
        secret = CANARY
        try:
            raise RuntimeError(f"401 for {secret}")
        except RuntimeError:
            log.exception("refused")


@pytest.mark.parametrize("way", ["value", "event", "bound", "library", "repr", "exception"])
@pytest.mark.parametrize("console", [io.StringIO, Terminal])
def test_a_registered_secret_is_in_no_line(tmp_path: Path, way: str, console: type[io.StringIO]) -> None:
    """Values, messages, bound context, libraries' records, reprs and tracebacks, on the console and in the file."""
    logs.mask(CANARY)
    shown = console()
    file = start(tmp_path, shown)
    leak(way)
    for text in (shown.getvalue(), file.read_text()):
        assert logs.MASK in text
        assert "canary" not in text


def test_a_telling_key_hides_its_value_even_when_nobody_registered_it(tmp_path: Path) -> None:
    """Headers and settings of the names that secrets have, at any depth; the name of a variable is no secret."""
    file = start(tmp_path, io.StringIO())
    structlog.get_logger().info(
        "call", headers={"APCA-API-SECRET-KEY": "abc", "APCA-API-KEY-ID": "def"}, password="ghi", api_key_env="MY_KEY"
    )
    record = records(file)[0]
    assert record["headers"] == {"APCA-API-SECRET-KEY": "***", "APCA-API-KEY-ID": "***"}
    assert (record["password"], record["api_key_env"]) == ("***", "MY_KEY")


def test_secrets_of_the_environment_are_masked_from_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable with a secret's name is registered by `configure` itself."""
    monkeypatch.setenv("APCA_API_SECRET_KEY", "canary-from-env")
    file = start(tmp_path, io.StringIO())
    structlog.get_logger().info("oops canary-from-env")
    assert records(file)[0]["event"] == "oops ***"


def test_a_trifle_is_not_masked() -> None:
    """A secret of two letters would hide half of the log, and is none."""
    logs.mask("ab")
    assert logs.masked("about") == "about"


def test_configuring_twice_does_not_double_the_lines(tmp_path: Path) -> None:
    """A second run in one process replaces the first one's outputs."""
    start(tmp_path, io.StringIO())
    file = start(tmp_path, io.StringIO())
    structlog.get_logger().info("once")
    assert len(records(file)) == 1


def test_a_log_file_that_refuses_a_write_does_not_stop_anything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A full disk is the journal's to tell; the log neither raises nor floods the terminal."""
    console = io.StringIO()
    start(tmp_path, console)
    for handler in logging.root.handlers:
        if handler.name == logs.__name__ and isinstance(handler, logging.FileHandler):
            handler.close()
            handler.stream = open("/dev/full", "w")  # noqa: SIM115  # the handler closes it
    structlog.get_logger().info("still here")
    assert "still here" in console.getvalue()
    assert "Logging error" not in capsys.readouterr().err


def test_importing_the_engine_configures_no_logging() -> None:
    """A library leaves the logging of its host alone."""
    code = "import logging, sys; import engine.logs; print(logging.root.handlers, 'structlog' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "[] False\n"
