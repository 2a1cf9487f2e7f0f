"""Alerts: what a person has to know now, in the log and, when configured, at a webhook.

Raising one never waits and never fails, so it may be done from anywhere; delivery is a task of its own. What the
webhook has not taken within five seconds counts as failed, and is tried for some minutes more, because late is better
than never. No secret leaves in one, and the webhook's address, a secret itself, is in no log.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import msgspec
import structlog

from engine import logs
from engine.clock import Clock, to_datetime
from engine.config.tables import AlertsConfig
from engine.errors import ConfigError

if TYPE_CHECKING:
    from aiohttp import ClientSession

Severity = Literal["info", "warning", "critical"]
Sleep = Callable[[float], Awaitable[None]]

DELIVER_WITHIN_S, TRY_S, GIVE_UP_S = 5.0, 2.0, 300.0
WAIT_MIN_S, WAIT_MAX_S = 0.25, 30.0
IN_FLIGHT_MAX, REMEMBERED_MAX = 32, 1000
UNACKNOWLEDGED = "unacknowledged.jsonl"
_AGAIN = frozenset({408, 425, 429})


class Alerts:
    """The alerts of one run.

    Args:
        name: of the run.
        folder: keeps critical alerts until a person has acknowledged them; None keeps none.
        environ: holds the webhook's address, under the name that the settings give.

    Attributes:
        raised: how often, by alert.
        delivered, failed: to the webhook; one that came late is counted in both.

    Raises:
        ConfigError: the variable is not set, or holds no address that is safe to post to.
    """

    def __init__(
        self, settings: AlertsConfig, clock: Clock, *, name: str, folder: Path | None = None,
        sleep: Sleep = asyncio.sleep, environ: Mapping[str, str] = os.environ,
    ) -> None:  # fmt: skip
        self.raised: Counter[str] = Counter()
        self.delivered = self.failed = 0
        self._clock, self._name, self._folder, self._sleep = clock, name, folder, sleep
        self._environ = environ
        self.reload(settings)
        self._told: dict[tuple[str, str], tuple[int, int]] = {}
        self._session: ClientSession | None = None
        self._deliveries: set[asyncio.Task[None]] = set()

    def reload(self, settings: AlertsConfig) -> None:
        """Take other settings from here on.

        Raises:
            ConfigError: as above; then nothing has changed.
        """
        self._url, self.settings = _address(settings.webhook_env, self._environ), settings

    def raise_alert(self, name: str, severity: Severity, text: str, *, is_logged: bool = False, **fields: Any) -> None:
        """Tell people. Alerts of the same name and text are one that repeats: numbers belong into the fields.

        With `is_logged` the log has a line of its own about it already.
        """
        self.raised[name] += 1
        now_ns, key = self._clock.monotonic_ns(), (name, text)
        told_ns, times = self._told.get(key, (None, 0))
        if told_ns is not None and now_ns - told_ns < self.settings.repeat_after_s * 1e9:
            self._told[key] = told_ns, times + 1
            return
        self._told.pop(key, None)
        self._told[key] = now_ns, 0
        if len(self._told) > REMEMBERED_MAX:
            del self._told[next(iter(self._told))]
        if times:
            fields["repeated"] = times
        if not is_logged:
            log = structlog.get_logger()
            {"info": log.info, "warning": log.warning, "critical": log.critical}[severity](text, alert=name, **fields)
        body = self._body(name, severity, text, fields)
        if severity == "critical" and self._folder is not None:
            _keep(self._folder / UNACKNOWLEDGED, body)
        if self._url:
            self._post(body, now_ns)

    async def close(self, within_s: float = 1.0) -> None:
        """Give what is under way a last moment, and let go of the rest."""
        if self._deliveries:
            await asyncio.wait(self._deliveries, timeout=within_s)
        for task in self._deliveries:
            task.cancel()
        await asyncio.gather(*self._deliveries, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _body(self, name: str, severity: Severity, text: str, fields: Mapping[str, Any]) -> bytes:
        shown = {key: logs.MASK if logs.is_secret(key) else _plain(value) for key, value in fields.items()}
        body = {
            "text": _plain(f"{severity}: {self._name}: {text}"), "run": self._name, "alert": name, "severity": severity,
            "ts": to_datetime(self._clock.now_ns()).isoformat(), "fields": shown,
        }  # fmt: skip
        return logs.masked(msgspec.json.encode(body).decode()).encode()

    def _post(self, body: bytes, raised_ns: int) -> None:
        if len(self._deliveries) >= IN_FLIGHT_MAX:
            self.failed += 1
            return
        task = asyncio.get_running_loop().create_task(self._deliver(body, raised_ns), name="alert")
        self._deliveries.add(task)  # a task that nobody holds may vanish
        task.add_done_callback(self._deliveries.discard)

    async def _deliver(self, body: bytes, raised_ns: int) -> None:
        wait_s, is_late = WAIT_MIN_S, False
        while True:
            left_s = DELIVER_WITHIN_S - self._age_s(raised_ns)
            told, again = await self._try(body, TRY_S if is_late else min(TRY_S, max(left_s, WAIT_MIN_S)))
            age_s = self._age_s(raised_ns)
            if not is_late and (age_s >= DELIVER_WITHIN_S or (told and not again)):
                is_late = True
                self.failed += 1
                structlog.get_logger().error("an alert was not delivered in time", webhook=told or "slow")
            if not told:
                self.delivered += 1
            if not told or not again or age_s >= GIVE_UP_S:
                return
            await self._sleep(wait_s if is_late else min(wait_s, max(0.0, DELIVER_WITHIN_S - age_s)))
            wait_s = min(2 * wait_s, WAIT_MAX_S)

    async def _try(self, body: bytes, timeout_s: float) -> tuple[str, bool]:
        """Post once; return what went wrong, empty when nothing did, and whether it is worth another try."""
        from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar

        if self._session is None:
            self._session = ClientSession(cookie_jar=DummyCookieJar(), headers={"Content-Type": "application/json"})
        try:
            async with self._session.post(
                self._url, data=body, timeout=ClientTimeout(total=timeout_s), allow_redirects=False
            ) as answer:
                status = answer.status
        except TimeoutError:
            return f"no answer within {timeout_s:g} s", True
        except (ClientError, OSError) as error:  # its text may hold the address
            return type(error).__name__, True
        if 200 <= status < 300:
            return "", False
        return f"HTTP {status}", status >= 500 or status in _AGAIN

    def _age_s(self, raised_ns: int) -> float:
        return (self._clock.monotonic_ns() - raised_ns) / 1e9


def unacknowledged(folder: Path) -> list[dict[str, Any]]:
    """Return the critical alerts that no person has acknowledged, oldest first."""
    try:
        lines = (folder / UNACKNOWLEDGED).read_bytes().splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        with suppress(msgspec.DecodeError):  # cut off by a full disk or a kill
            found.append(msgspec.json.decode(line, type=dict[str, Any]))
    return found


def acknowledge(folder: Path) -> None:
    """Take note of all of them: a person has read them."""
    (folder / UNACKNOWLEDGED).unlink(missing_ok=True)


def _keep(path: Path, body: bytes) -> None:
    with suppress(OSError):  # a full disk is told by the alert itself
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, body + b"\n")
        finally:
            os.close(descriptor)


def _plain(value: Any) -> Any:
    """Return what JSON can hold, whatever it was."""
    return value if isinstance(value, int | float) else str(value).encode(errors="replace").decode()


def _address(variable: str | None, environ: Mapping[str, str]) -> str:
    """Return the webhook's address, empty when there is none to be."""
    if variable is None:
        return ""
    url = environ.get(variable, "").strip()
    logs.mask(url)
    if not url:
        raise ConfigError(f"alerts.webhook_env names {variable}, which is not set")
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        host, parts = "", urlsplit("")
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))):
        raise ConfigError(f"{variable} should hold an https address; http only leads to this machine")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
