"""Where keys come from, where they may go, and that nothing shows them."""

from __future__ import annotations

import copy
import logging
import pickle
import traceback
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from brokers.alpaca.hosts import DATA_URL, STREAM_URL, TRADING_URLS, Mode, hosts
from brokers.alpaca.keys import Keys, read_keys
from brokers.alpaca.orders import AlpacaBroker
from brokers.alpaca.settings import BrokerSettings
from engine.errors import ConfigError
from tests.brokers.alpaca.peers import ENVIRON, KEYS


def test_keys_come_from_the_environment_or_an_owner_only_file(tmp_path: Path) -> None:
    """The two ways in; a file may be written as a shell would read it."""
    assert read_keys(environ=ENVIRON).headers()["APCA-API-KEY-ID"] == KEYS.key_id
    file = tmp_path / "keys"
    file.write_text(f"# paper\nexport APCA_API_KEY_ID='{KEYS.key_id}'\nAPCA_API_SECRET_KEY={KEYS.secret}\n")
    file.chmod(0o600)
    assert read_keys(file, {}).secret == KEYS.secret


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o666])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """A secret that others have read is none any more; the message says what to type."""
    file = tmp_path / "keys"
    file.write_text("APCA_API_KEY_ID=a\nAPCA_API_SECRET_KEY=b\n")
    file.chmod(mode)
    with pytest.raises(ConfigError, match=f"can be read by others; make it yours alone: chmod 600 {file}"):
        read_keys(file)


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({}, "APCA_API_KEY_ID and APCA_API_SECRET_KEY missing in the environment"),
        ({"APCA_API_KEY_ID": "K"}, "APCA_API_SECRET_KEY missing"),
        ({"APCA_API_KEY_ID": " ", "APCA_API_SECRET_KEY": "S"}, "APCA_API_KEY_ID missing"),
        ({"APCA_API_KEY_ID": "K\nX-Evil: 1", "APCA_API_SECRET_KEY": "S"}, "a character that no key has"),
    ],
)
def test_a_missing_or_impossible_key_is_one_clear_message(environ: dict[str, str], told: str) -> None:
    """It names the variable and never its value."""
    with pytest.raises(ConfigError, match=told):
        read_keys(environ=environ)


def test_a_file_that_cannot_be_read_is_one_clear_message(tmp_path: Path) -> None:
    """Missing, or not text."""
    with pytest.raises(ConfigError, match="cannot read keys from .*: No such file"):
        read_keys(tmp_path / "none")


def test_no_way_of_looking_at_keys_shows_them(caplog: pytest.LogCaptureFixture) -> None:
    """The canary: repr, str, format, vars, logs, tracebacks and pickles of an object that holds keys."""
    shown = [repr(KEYS), str(KEYS), f"{KEYS}", f"{[KEYS]!r}", repr({"keys": KEYS})]
    logging.getLogger().error("keys %s", KEYS)
    shown.append(caplog.text)
    try:
        raise ValueError(KEYS)
    except ValueError:
        shown.append(traceback.format_exc())
    assert not [text for text in shown if "canary" in text.lower()]
    assert not hasattr(KEYS, "__dict__")
    for write in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="not written anywhere"):
            write(KEYS)


def test_paper_and_live_hosts_are_constants() -> None:
    """No setting leads real keys to another host."""
    assert hosts("paper").trading == "https://paper-api.alpaca.markets"
    assert hosts("live").trading == "https://api.alpaca.markets"
    assert hosts("live").trade_updates == "wss://api.alpaca.markets/stream"
    assert {hosts("paper").data, hosts("live").data} == {DATA_URL}
    assert {hosts("paper").streams, hosts("live").streams} == {STREAM_URL}
    assert not hosts("paper").is_local


def test_a_local_server_stands_in_for_the_paper_account() -> None:
    """All four addresses become those of this machine."""
    found = hosts("paper", "http://127.0.0.1:8765/")
    assert found == ("http://127.0.0.1:8765", "ws://127.0.0.1:8765/stream", "http://127.0.0.1:8765",
                     "ws://127.0.0.1:8765", True)  # fmt: skip
    assert hosts("paper", "http://localhost:1").is_local
    assert hosts("paper", "http://[::1]:8765").is_local


@pytest.mark.parametrize(
    "url",
    ["https://127.0.0.1:1", "http://192.168.0.1:1", "http://example.com", "http://127.0.0.1.example.com", "127.0.0.1:1",
     "http://u:p@127.0.0.1:1", "http://127.0.0.1:1/path", "http://127.0.0.1:1?x=1"],
)  # fmt: skip
def test_a_server_elsewhere_is_refused(url: str) -> None:
    """Keys must not leave the machine for a server that is not Alpaca's."""
    with pytest.raises(ConfigError, match="is not a server of this machine"):
        hosts("paper", url)


def test_a_local_server_is_refused_in_live_mode() -> None:
    """A run that says live must meet the live account or nobody."""
    with pytest.raises(ConfigError, match="stands in for the paper account only"):
        hosts("live", "http://127.0.0.1:8765")


@pytest.mark.parametrize("mode", list(Mode))
def test_no_part_of_the_adapter_reaches_the_other_sides_host(monkeypatch: pytest.MonkeyPatch, mode: Mode) -> None:
    """S9: order, cancel, reconcile, stream and dead man's paths of one mode all lead to its own host."""
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    broker = AlpacaBroker(BrokerSettings(), mode=mode, seed=1)
    emergency = AlpacaBroker.emergency(BrokerSettings(), mode=mode, name="demo")
    assert broker.mode is mode
    rests = [broker._rest, broker._catch_up._rest, broker._sender._rest, broker._resolver._rest, emergency._rest]
    urls = [*(one.url for one in rests), broker._line.url]
    assert {urlsplit(url).hostname for url in urls} == {urlsplit(TRADING_URLS[mode]).hostname}


def test_an_adapter_without_an_account_is_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mode that is no word of the two builds nothing, whatever else is right."""
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    for mode in ("replay", "LIVE", "", None, True):
        with pytest.raises(ConfigError, match="has no Alpaca account; it is 'paper' or 'live'"):
            AlpacaBroker(BrokerSettings(), mode=mode, seed=1)  # type: ignore[arg-type]  # what a caller gets wrong


def test_a_mode_without_an_account_is_refused() -> None:
    """Replay has none; the mode has no default."""
    with pytest.raises(ConfigError, match="mode 'replay' has no Alpaca account"):
        hosts("replay")  # type: ignore[arg-type]  # what a caller gets wrong
    assert isinstance(KEYS, Keys)
