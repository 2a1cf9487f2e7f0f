"""Leave to trade real money: a profile in a file of its own, `--live`, and the account's number, typed. Each time.

The profile names one account, the code and the configuration that were approved for it, and how far the run may go.
Whatever is missing or does not match refuses, in one line; only the venue can say the last word, which is which account
the keys belong to.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tomllib
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field

from engine import plugins
from engine.build import build_hash
from engine.clock import Clock, to_datetime
from engine.config import RunConfig
from engine.config.lines import key_lines
from engine.config.problems import Problems
from engine.config.tables import Table
from engine.errors import BrokerError, ConfigError
from engine.ports import AccountState
from engine.risk.limits import RiskLimits
from engine.risk.width import wider

UNATTENDED_DAYS_MAX = 7
BOUNDS = "small_account"
"""What a live run may allow itself where its profile says nothing."""


class LiveProfile(Table):
    """What was approved: one account, one build, one configuration, and limits that it may not go beyond."""

    mode: Literal["live"] = Field(description="Says that this is about real money.", examples=["live"])
    account: str = Field(
        pattern=r"^[A-Za-z0-9-]{4,64}$",
        examples=["123456789"],
        description="The number of the account, as the venue shows it.",
    )
    build: str = Field(
        pattern=r"^[0-9a-f]{64}$", description="The code that was approved; `onetape run CONFIG --check` shows it."
    )
    config: str = Field(
        pattern=r"^[0-9a-f]{64}$", description="The configuration that was approved; shown by `--check` as well."
    )
    unattended_until: date | None = Field(
        None, examples=["2026-12-01"],
        description="Last day, at most seven ahead, on which `--account` may start the run where nobody can type.",
    )  # fmt: skip
    limits: RiskLimits = Field(
        description=f"What the run's limits may not be wider than; those not given are those of `{BOUNDS}`."
    )


class Leave(NamedTuple):
    """Leave to trade one live account.

    Attributes: `account`, its number; `bounds`, what no limit may be wider than, not even for a while.
    """

    account: str
    bounds: RiskLimits


def check_account(state: AccountState, leave: Leave | None) -> None:
    """Compare the account that the venue itself names with the one that leave was given for.

    Raises:
        BrokerError: it may not trade.
        ConfigError: it is another one.
    """
    if state.status != "ACTIVE":
        raise BrokerError(f"account {state.account_id} is {state.status}; only an active account may trade")
    if leave is not None and state.account_id != leave.account:
        told = f"the venue says that these keys are of account {state.account_id}; the profile and the number typed say"
        raise ConfigError(f"{told} {leave.account}. Nothing was traded")


def unlock(config: RunConfig, *, live: bool, account: str, ask: Callable[[], str] | None, clock: Clock) -> Leave | None:
    """Return leave to trade a live run; None for one that trades no money.

    Args:
        config: the run.
        live: whether `--live` was given.
        account: what `--account` gave; it counts only where nobody can be asked.
        ask: has a person type the account's number; None where there is no terminal.
        clock: for the days of `unattended_until`.

    Raises:
        ConfigError: the one thing that is missing or does not match.
    """
    if config.mode != "live":
        if live or account:
            raise ConfigError(f"{'--live' if live else '--account'} was given, but mode is {config.mode!r}")
        return None
    if not live:
        raise ConfigError("mode is 'live' and trades real money; say so a second time with --live")
    profile = approved(config)
    if ask is None:
        _refuse_unattended(profile, account, to_datetime(clock.now_ns()).date())
    typed = (account if ask is None else ask()).strip()
    if typed != profile.account:
        raise ConfigError(
            f"the account number {'given' if ask is None else 'typed'} is not the one of the live profile"
        )
    return Leave(profile.account, profile.limits)


def approved(config: RunConfig) -> LiveProfile:
    """Return the profile of a live run if it approves this code and this configuration.

    Raises:
        ConfigError: what it does not approve.
    """
    if plugins.load(plugins.BROKER, config.broker.use).simulated:
        raise ConfigError(f"mode is 'live' and broker '{config.broker.use}' only simulates; nothing would be traded")
    if config.live_profile is None:
        raise ConfigError("mode is 'live' and needs a profile; name its file: live_profile = \"...\" (docs/live.md)")
    path = config.live_profile
    profile = read_profile(path)
    for name, found in fingerprints(config).items():
        if getattr(profile, name) != found:
            what = "this code" if name == "build" else "this configuration"
            raise ConfigError(f"{path}: {what} is not the one that was approved; look at it again with --check")
    beyond = [f"{name} {value} (at most {bound})" for name, value, bound in wider(config.risk, profile.limits)]
    if beyond:
        raise ConfigError(f"risk limits wider than {path} allows: {', '.join(beyond)}")
    return profile


def fingerprints(config: RunConfig) -> dict[str, str]:
    """Return the two hashes that a profile has to name."""
    return {"build": build_hash(config), "config": hashlib.sha256(config.resolved_json().encode()).hexdigest()}


def read_profile(path: Path) -> LiveProfile:
    """Read a profile, which only its owner may read and write.

    Raises:
        ConfigError: others can get at it, or naming every problem with its line.
    """
    text = _private_text(path)
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from None
    given = tree.setdefault("limits", {})
    if isinstance(given, dict):
        given.setdefault("profile", BOUNDS)
    if isinstance(until := tree.get("unattended_until"), date):
        tree["unattended_until"] = until.isoformat()
    problems = Problems(str(path), key_lines(text))
    profile = problems.validated(LiveProfile, tree, ())
    problems.raise_any()
    assert profile is not None  # raise_any has spoken otherwise
    return profile


def told(config: RunConfig) -> str:
    """Say what a profile has to name, and whether the one that there is lets this run go."""
    lines = [f'{name} = "{found}"' for name, found in fingerprints(config).items()]
    try:
        account = approved(config).account
    except ConfigError as error:
        return "\n".join([*lines, f"not approved: {error}"])
    return "\n".join([*lines, f"approved for account {account}"])


def _refuse_unattended(profile: LiveProfile, account: str, today: date) -> None:
    until = profile.unattended_until
    if not account:
        raise ConfigError("live trading wants the account's number typed, and there is no terminal; see docs/live.md")
    if until is None:
        raise ConfigError("nobody can type the account's number here, and the live profile has no unattended_until")
    if not today <= until <= today + timedelta(days=UNATTENDED_DAYS_MAX):
        told = "is over" if until < today else f"is more than {UNATTENDED_DAYS_MAX} days ahead"
        raise ConfigError(f"the live profile's unattended_until, {until}, {told}; approve the run again")


def _private_text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            state = os.fstat(file.fileno())
            if state.st_mode & (stat.S_IRWXG | stat.S_IRWXO) or state.st_uid != os.geteuid():
                raise ConfigError(f"{path} is open to others; make it yours alone: chmod 600 {path}")
            return file.read()
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text") from None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
