"""Our side: `onetape run` on the local venue, compiled or not."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.live.venue import KEY_ID, ONETAPE, SECRET_KEY, Venue, process, toml


@contextmanager
def daemon(
    folder: Path,
    at: Venue,
    rule: str,
    feed: Mapping[str, object],
    *,
    port: int | None = None,
    interpreted: bool = False,
) -> Iterator[subprocess.Popen[Any]]:
    """Trade with a rule of `bench.live.rules` until the context ends; it leaves `run.journal` in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    metrics = {} if port is None else {"port": port}
    tables: dict[str, Mapping[str, object]] = {
        "feed": {"use": "alpaca", "server_url": at.url, **feed},
        "broker": {"use": "alpaca", "server_url": at.url, "requests_per_min": 1_000_000},
        "risk": {"profile": "wide"}, "metrics": metrics, "log": {"level": "warning"},
    }  # fmt: skip
    head = f'mode = "paper"\nname = "live"\nseed = 7\ncalendar = "XNYS"\nout_dir = "{folder}"\n'
    strategy = f'[[strategies]]\nname = "rule"\nuse = "bench.live.rules:{rule}"\nsymbols = "*"\n'
    path = folder / "run.toml"
    path.write_text(head + toml(tables) + strategy)
    environment = os.environ | {"APCA_API_KEY_ID": KEY_ID, "APCA_API_SECRET_KEY": SECRET_KEY}
    if interpreted:
        environment.pop("PYTHONPATH", None)
    with process([*ONETAPE, "run", str(path)], env=environment, stdout=subprocess.DEVNULL) as running:
        yield running


def is_trading(state: Mapping[str, Any]) -> bool:
    """Tell whether a daemon listens to both streams of a venue."""
    return bool(state["data_sessions"]) and bool(state["trading_sessions"])
