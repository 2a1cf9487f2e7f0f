"""Where Alpaca lives. The paper and the live host are constants: no setting leads real keys anywhere else."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from engine.errors import ConfigError

Mode = Literal["paper", "live"]

TRADING_URLS: dict[Mode, str] = {"paper": "https://paper-api.alpaca.markets", "live": "https://api.alpaca.markets"}
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
    if mode not in TRADING_URLS:
        raise ConfigError(f"mode {mode!r} has no Alpaca account; it is 'paper' or 'live'")
    if server_url:
        if mode != "paper":
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
