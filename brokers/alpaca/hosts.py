"""Where Alpaca lives. The paper and the live host are constants: no setting leads real keys anywhere else."""

from __future__ import annotations

from enum import StrEnum
from ipaddress import ip_address
from typing import NamedTuple, NoReturn
from urllib.parse import urlsplit

from engine.errors import ConfigError


class Mode(StrEnum):
    """Whose money is traded. Nothing has a mode by default, and nothing changes it."""

    PAPER = "paper"
    LIVE = "live"

    @classmethod
    def _missing_(cls, value: object) -> NoReturn:
        raise ConfigError(f"mode {value!r} has no Alpaca account; it is 'paper' or 'live'")


TRADING_URLS = {Mode.PAPER: "https://paper-api.alpaca.markets", Mode.LIVE: "https://api.alpaca.markets"}
DATA_URL = "https://data.alpaca.markets"
STREAM_URL = "wss://stream.data.alpaca.markets"


class Hosts(NamedTuple):
    """The four addresses that a session talks to, without a slash at their ends."""

    trading: str
    trade_updates: str
    data: str
    streams: str
    is_local: bool = False


def hosts(mode: Mode, server_url: str = "") -> Hosts:
    """Return Alpaca's addresses for `mode`, or those of a local server in its place.

    Raises:
        ConfigError: a local server in live mode, or a `server_url` that is not one of this machine.
    """
    mode = Mode(mode)
    if server_url:
        if mode is not Mode.PAPER:
            raise ConfigError("server_url: a local server stands in for the paper account only, and mode is 'live'")
        return _local(server_url)
    trading = TRADING_URLS[mode]
    return Hosts(trading, f"{trading.replace('https', 'wss')}/stream", DATA_URL, STREAM_URL)


def _local(server_url: str) -> Hosts:
    found = urlsplit(server_url)
    wrong = found.scheme != "http" or found.username or found.path.strip("/") or found.query or found.fragment
    if wrong or not _is_loopback(found.hostname or ""):
        raise ConfigError(
            f"server_url {server_url!r} is not a server of this machine; write http://127.0.0.1:PORT, or leave it out "
            "for Alpaca itself"
        )
    return Hosts(
        f"http://{found.netloc}", f"ws://{found.netloc}/stream", f"http://{found.netloc}", f"ws://{found.netloc}", True
    )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
