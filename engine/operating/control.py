"""The line to a running daemon: a socket in its run's folder that only its owner can open.

One JSON object in a line goes in, one comes back, and the connection ends; both are bounded in size and time. Nothing
here decides anything: what a request does is the operator's, and reaches the corridor as an event like any other.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import IO, Annotated, Any, Literal

import msgspec
import structlog

from engine import logs
from engine.errors import ConfigError, ControlError, TradingError

FOLDER, SOCKET, LOCK = "control", "socket", "lock"
REQUEST_BYTES_MAX, REPLY_BYTES_MAX = 256 << 10, 16 << 20
CONNECTIONS_MAX, IDLE_S, TIMEOUT_S = 8, 5.0, 15.0
ADDRESS_BYTES_MAX = 103
"""The shortest limit of a socket's path among the systems we know (macOS; Linux takes 107)."""

Ask = Literal["status", "halt", "reduce_only", "resume", "cancel_all", "flatten", "override", "reload"]


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is asked of a daemon; `config` is for `reload`, and an `override` sets `limit` to `value` for `minutes`."""

    ask: Ask
    reason: Annotated[str, msgspec.Meta(max_length=500)] = ""
    config: dict[str, Any] | None = None
    who: Annotated[str, msgspec.Meta(max_length=100)] = ""
    limit: str = ""
    value: str = ""
    minutes: float = 0.0


class PositionLine(msgspec.Struct, frozen=True):
    """What one strategy holds of one symbol."""

    strategy: str
    symbol: str
    qty: Decimal
    average_price: Decimal | None
    mark: float | None
    pnl_usd: float | None


class OrderLine(msgspec.Struct, frozen=True):
    """One open order."""

    client_order_id: str
    strategy: str
    symbol: str
    side: str
    type: str
    qty: Decimal
    filled_qty: Decimal
    limit_price: Decimal | None
    status: str
    age_s: float


class DaemonStatus(msgspec.Struct, frozen=True):
    """A daemon as it is now.

    `phase` is `starting` until the journal has been followed to its end. `quiet_s` is how long ago the newest market
    event came, None on a tape or before the first. `streams` are counters by stream, `models` measures by model.
    """

    name: str
    mode: str
    pid: int
    version: str
    phase: Literal["starting", "warming_up", "trading"]
    state: str
    cause: str
    now_ns: int
    events: int
    events_per_s: float
    quiet_s: float | None
    inbox: int
    conflated: int
    cash_usd: Decimal
    equity_usd: float
    pnl_usd: float
    fees_usd: Decimal
    halted_strategies: list[str]
    positions: list[PositionLine]
    orders: list[OrderLine]
    approvals: int
    fills: int
    late_fills: int
    denials: dict[str, int]
    updates: dict[str, int]
    over_budget: dict[str, int]
    streams: dict[str, dict[str, int]]
    reconciliations: int
    mismatches: int
    alerts_unacknowledged: int
    models: dict[str, dict[str, float]] = {}


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a daemon answers: whether it did what was asked, and in words what came of it."""

    ok: bool
    told: str = ""
    status: DaemonStatus | None = None


Answer = Callable[[Request], Awaitable[Reply]]
_encode = msgspec.json.Encoder().encode
_decode_request = msgspec.json.Decoder(Request).decode
_decode_reply = msgspec.json.Decoder(Reply).decode


def private_folder(path: Path) -> Path:
    """Return `path` as a folder that only its owner may enter, made where it is missing.

    Raises:
        ConfigError: it cannot be made, is no folder, or others may enter it.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = path.lstat()
    except OSError as error:
        raise ConfigError(f"cannot make the folder {path}: {error.strerror}") from None
    if not stat.S_ISDIR(state.st_mode):
        raise ConfigError(f"{path} is a link; it has to be a folder of the run's own")
    if state.st_uid != os.geteuid() or state.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"{path} is open to others; make it yours alone: chmod 700 {path}")
    return path


class ControlServer:
    """The daemon's end of the line.

    Args:
        folder: where the socket lies; its owner's alone.
        answer: does what a request asks; what it raises is told to whoever asked, and ends nothing.
        idle_s: how long a connection may keep us waiting, either way.
    """

    def __init__(self, folder: Path, answer: Answer, *, idle_s: float = IDLE_S) -> None:
        self.path = folder / SOCKET
        self._answer, self._idle_s = answer, idle_s
        self._server: asyncio.Server | None = None
        self._lock: IO[str] | None = None
        self._serving: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        """Listen.

        Raises:
            ConfigError: another daemon does already, or the folder is not its owner's alone.
        """
        private_folder(self.path.parent)
        self._lock = self._locked()
        line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._remove_stale()
            with _address(self.path) as address:
                line.bind(address)
            self.path.chmod(0o600)
            self._server = await asyncio.start_unix_server(self._take, sock=line, limit=REQUEST_BYTES_MAX)
        except (OSError, ConfigError) as error:
            line.close()
            self._lock.close()
            if isinstance(error, OSError):
                raise ConfigError(f"cannot listen at {self.path}: {error.strerror or error}") from None
            raise

    async def close(self) -> None:
        """Stop listening, and take the socket away."""
        if self._server is not None:
            self._server.close()
            self.path.unlink(missing_ok=True)
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        if self._lock is not None:
            self._lock.close()

    def _locked(self) -> IO[str]:
        """Hold the lock that says whose socket it is: a socket alone may be one that a killed daemon left."""
        file = (self.path.parent / LOCK).open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise ConfigError(f"another daemon answers at {self.path}") from None
        return file

    def _remove_stale(self) -> None:
        with suppress(FileNotFoundError):
            if not stat.S_ISSOCK(self.path.lstat().st_mode):
                raise ConfigError(f"{self.path} is no socket; move it away")
            self.path.unlink()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            async with asyncio.timeout(self._idle_s):
                line = await self._line(reader)
            if line:
                reply = await self._reply(line)
                async with asyncio.timeout(self._idle_s):
                    writer.write(_encode(reply) + b"\n")
                    await writer.drain()
        except (TimeoutError, ConnectionError):
            pass  # whoever asked has gone, or has fallen asleep
        finally:
            self._serving.discard(task)
            writer.close()

    async def _line(self, reader: asyncio.StreamReader) -> bytes:
        """Return one line without its end, or nothing when none came; one that is too long is cut, and so refused."""
        try:
            return await reader.readuntil(b"\n")
        except asyncio.IncompleteReadError:
            return b""
        except asyncio.LimitOverrunError:
            return b"..."

    async def _reply(self, line: bytes) -> Reply:
        if len(self._serving) > CONNECTIONS_MAX:
            return Reply(ok=False, told=f"more than {CONNECTIONS_MAX} ask at once; try again")
        try:
            return await self._answer(_decode_request(line))
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            return Reply(ok=False, told=f"not understood: {error}")
        except TradingError as error:
            return Reply(ok=False, told=logs.masked(str(error)))
        except Exception as error:  # a question, however odd, is no reason to stop trading
            structlog.get_logger().exception("a request failed")
            return Reply(
                ok=False, told=logs.masked(f"a bug of onetape, please report it: {type(error).__name__}: {error}")
            )


def request(out_dir: Path, asked: Request, *, timeout_s: float = TIMEOUT_S) -> Reply:
    """Ask the daemon that runs in `out_dir`, and return what it answers.

    Raises:
        ControlError: none runs there, or it does not answer in time.
    """
    path = out_dir / FOLDER / SOCKET
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line, _address(path) as address:
            line.settimeout(timeout_s)
            line.connect(address)
            line.sendall(_encode(asked) + b"\n")
            answer = _received(line)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        raise ControlError(f"no daemon runs in {out_dir}") from None
    except TimeoutError:
        told = f"the daemon in {out_dir} has not answered within {timeout_s:g} s; it may hang"
        raise ControlError(f"{told}. Without it: onetape cancel-all {out_dir} --direct") from None
    except OSError as error:
        raise ControlError(f"cannot reach the daemon at {path}: {error.strerror or error}") from None
    try:
        return _decode_reply(answer)
    except msgspec.MsgspecError as error:
        told = "it was stopped, or is of another version" if answer else "it was stopped meanwhile"
        raise ControlError(f"the daemon in {out_dir} gave no answer that reads: {told} ({error})") from None


def _received(line: socket.socket) -> bytes:
    parts = bytearray()
    while len(parts) < REPLY_BYTES_MAX and (part := line.recv(1 << 16)):
        parts += part
    return bytes(parts)


@contextmanager
def _address(path: Path) -> Iterator[str]:
    """Yield a name of the path that a socket takes, however long the path is."""
    if len(os.fsencode(path)) <= ADDRESS_BYTES_MAX:
        yield str(path)
        return
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        raise OSError(f"the path is longer than {ADDRESS_BYTES_MAX} bytes; choose a shorter out_dir")
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield str(descriptors / str(folder) / path.name)
    finally:
        os.close(folder)
