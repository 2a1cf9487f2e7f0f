"""From a TOML file to a venue that listens, until it is told to stop."""

from __future__ import annotations

import asyncio
import errno
import signal
import tomllib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from brokers.alpaca_server.app import Server
from brokers.alpaca_server.companion import Companion
from brokers.alpaca_server.fault_catalogue import CATALOGUE
from brokers.alpaca_server.faults import Fault
from brokers.alpaca_server.settings import ServerSettings
from engine.clock import to_datetime
from engine.errors import ConfigError, suggestion
from engine.ports import Feed

FEEDS = "onetape.feeds"
STREAM_PATHS = ("/stream", "/v2/iex", "/v2/sip", "/v1beta3/crypto/us", "/v1beta1/news")


class ServerFile(BaseModel):
    """The file of `onetape server`; every table may be left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    server: ServerSettings = Field(ServerSettings(), description="Options of the venue.")
    feed: dict[str, Any] = Field({"use": "synthetic"}, description="The tape: `use` names a feed, the rest is its own.")
    faults: tuple[Fault, ...] = Field((), description="What is to go wrong.")


class Chosen:
    """A file, read, with its feed built."""

    def __init__(self, file: ServerFile, feed: Feed) -> None:
        self.file, self.feed = file, feed


def load(path: Path | None, tapes: Sequence[Path], overrides: Iterable[str]) -> Chosen:
    """Read a file with options on top, and build its feed; `tapes` stand in place of a feed.

    Raises:
        ConfigError: naming the key.
        TapeError: a tape does not read.
    """
    tree: dict[str, Any] = {}
    name = "options"
    if path is not None:
        name = str(path)
        try:
            tree = tomllib.loads(path.read_text("utf-8"))
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: {error}") from None
    for override in overrides:
        _override(tree, override)
    if tapes:
        tree["feed"] = {"use": "replay", "paths": [str(one) for one in tapes]}
        path = None
    file = _validated(ServerFile, tree, name, "")
    for fault in file.faults:
        fault.parts()
    table = dict(file.feed)
    feed_class = _feed_class(str(table.pop("use", "synthetic")))
    if "paths" in table and path is not None:
        table["paths"] = [str(path.absolute().parent / one) for one in table["paths"]]
    return Chosen(file, feed_class(_validated(feed_class.Settings, table, name, "feed.")))


def faults() -> str:
    """List every named fault, and every kind that a script may use by itself."""
    rows = [f"{name:<16} {entry.says}" for name, entry in CATALOGUE.faults.items()]
    return "\n".join([*rows, "", *(f"{name:<16} {kind.does}" for name, kind in CATALOGUE.kinds.items())])


def plan(chosen: Chosen) -> str:
    """Say what is served, and where."""
    settings, feed = chosen.file.server, chosen.feed
    first, last = (f"{to_datetime(ts_ns):%Y-%m-%d %H:%M} UTC" for ts_ns in feed.span_ns)
    pace = f"at {settings.speed:g} times its speed" if settings.speed else "as fast as it is read"
    shown = ", ".join(feed.symbols[:8]) + (f" and {len(feed.symbols) - 8} more" if len(feed.symbols) > 8 else "")
    moved = "moved to the present" if settings.time == "now" else "on its own dates"
    made_up = " (synthetic: made up, no market)" if chosen.file.feed.get("use", "synthetic") == "synthetic" else ""
    return (
        f"tape     {first} to {last}, {moved}, {pace}{made_up}\n"
        f"symbols  {shown}\n"
        f"keys     {settings.key_id} / {settings.secret_key}\n"
        f"faults   {len(chosen.file.faults)} armed"
    )


def serve(chosen: Chosen, say: Callable[[str], Any], command: Sequence[str] = ()) -> int:
    """Listen until a signal comes, the command has ended, or the tape has and the venue is to leave then.

    Return the command's exit code, 0 without one.

    Raises:
        ConfigError: the port is taken, or there is no such program.
        TapeError: the tape does not read.
    """
    loop_factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    with suppress(ImportError):  # not on every system
        import uvloop

        loop_factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(_serve(chosen, say, command))


async def _serve(chosen: Chosen, say: Callable[[str], Any], command: Sequence[str]) -> int:
    settings, code = chosen.file.server, 0
    server = Server(settings, chosen.feed, chosen.file.faults)
    serving = asyncio.create_task(server.serve(), name="venue")
    on_signal(lambda _: serving.cancel())
    listening = asyncio.create_task(server.ready.wait(), name="listening")
    try:
        await asyncio.wait({serving, listening}, return_when=asyncio.FIRST_COMPLETED)
        if not server.ready.is_set():
            await serving
        host = f"{settings.host}:{server.port}"
        say(f"REST     http://{host}")
        if command:
            code = await _accompanied(serving, Companion(command, environment(settings, host)))
        else:
            say("streams  " + "\n         ".join(f"ws://{host}{path}" for path in STREAM_PATHS))
            await serving
    except asyncio.CancelledError:
        pass  # a signal
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise ConfigError(f"port {settings.port} is taken; choose another with --port, or 0 for a free one") from None
    finally:
        listening.cancel()
    for row in server.venue.faults.report():
        say(f"fault    {row['name']} ({row['kind']}) fired {row['fired']} of {row['seen']} times")
    if not command:
        say("stopped")
    return code


async def _accompanied(serving: asyncio.Task[None], companion: Companion) -> int:
    """Serve as long as the command lives, and let it live as long as the venue serves; return its exit code."""
    accompanying = asyncio.create_task(companion.run(), name="command")
    on_signal(companion.tell)
    await asyncio.wait({serving, accompanying}, return_when=asyncio.FIRST_COMPLETED)
    last = serving if accompanying.done() else accompanying
    last.cancel()
    await asyncio.wait({last})
    if serving.done() and not serving.cancelled():
        serving.result()  # what ended the venue is told before what came of the command
    return accompanying.result()


def on_signal(act: Callable[[signal.Signals], Any]) -> None:
    """Have Ctrl-C and SIGTERM do this from now on."""
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, act, number)


def environment(settings: ServerSettings, host: str) -> dict[str, str]:
    """Return what tells a client of Alpaca where this venue is."""
    return {
        "APCA_API_BASE_URL": f"http://{host}", "APCA_API_KEY_ID": settings.key_id,
        "APCA_API_SECRET_KEY": settings.secret_key,
    }  # fmt: skip


def _override(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override}: write KEY=VALUE, such as server.speed=60")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *tables, last = key.split(".")
    for name in tables:
        tree = tree.setdefault(name, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"--set {override}: {name} is no table")
    tree[last] = value


def _validated(model: type[BaseModel], tree: dict[str, Any], name: str, place: str) -> Any:
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = place + ".".join(str(part) for part in first["loc"])
        what = first["msg"]
        if first["type"] == "extra_forbidden":
            what = f"unknown key{suggestion(str(first['loc'][-1]), _keys(model, first['loc']))}"
        raise ConfigError(f"{name}: {key}: {what}") from None


def _keys(model: type[BaseModel], loc: Sequence[str | int]) -> list[str]:
    tables: dict[str, type[BaseModel]] = {"server": ServerSettings, "faults": Fault}
    return list((tables.get(str(loc[0]), model) if len(loc) > 1 else model).model_fields)


def _feed_class(use: str) -> Any:
    """Return the feed that a name, or `module:Class`, stands for."""
    known = {point.name: point for point in entry_points(group=FEEDS)}
    if use in known:
        return known[use].load()
    module, colon, attribute = use.rpartition(":")
    if not colon:
        raise ConfigError(
            f"feed.use: no Feed is called {use!r}{suggestion(use, known)}; known: {', '.join(sorted(known))}"
        )
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"feed.use: {use!r} does not load: {error}") from None
