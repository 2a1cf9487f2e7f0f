"""C36: a limit that a person changes for a few minutes, in writing: who, why, which, to what, and until when."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from types import GetSetDescriptorType
from typing import Any

from pydantic import ValidationError

from engine.errors import ConfigError, suggestion
from engine.events import MINUTE_NS, NEVER_NS, Command, Event, LimitChanged
from engine.risk.control import NOTHING, Control
from engine.risk.limits import SMALL_ACCOUNT, RiskLimits
from engine.risk.width import wider

MINUTES_MAX = 15
FIXED = frozenset({"executions_window_s", "reject_window_s"})
"""Windows that have begun to count."""


class Override(Control):
    """Keep the limits in force: those of the run and, each for its minutes, those that a person has put in their place.

    Halts, the interlock and validity have no limit, so nothing overrides them.

    Attributes:
        file: those of the run's file, tightened since or not.
        limits: in force now.
        due_ns: when the next override ends; `NEVER_NS` when there is none.
    """

    code = "C36"
    name = "override"

    def __init__(self, limits: RiskLimits) -> None:
        self.file = self.limits = limits
        self._given: dict[str, Command] = {}
        self.due_ns = NEVER_NS

    def begin(self, asked: Command, now_ns: int) -> Sequence[Event]:
        """Put a limit in force; one that is no limit, nameless, groundless or for too long changes nothing."""
        long_ns = asked.ts_expire_ns - now_ns
        if not (asked.who and asked.reason and 0 < long_ns <= MINUTES_MAX * MINUTE_NS):
            return NOTHING
        before = self.limits
        try:
            self.limits = changed(before, asked.limit, asked.value)
        except ConfigError:
            return NOTHING
        self._given[asked.limit] = asked
        self._wait()
        return (self._told(asked, before, now_ns, asked.ts_expire_ns),)

    def keep(self, asked: Command, now_ns: int) -> Sequence[Event]:
        """Change a limit of the run's file for good, to a narrower one; what is overridden stays so until its end."""
        name, before = asked.limit, self.limits
        try:
            file = changed(self.file, name, asked.value)
        except ConfigError:
            return NOTHING
        if any(True for _ in wider(file, self.file)):
            return NOTHING
        self.file = file
        if name in self._given:
            return NOTHING
        self.limits = before.model_copy(update={name: getattr(file, name)})
        return (self._told(asked, before, now_ns, 0),)

    def end(self, now_ns: int) -> Sequence[Event]:
        """Take back what has lasted as long as it was given for."""
        found: list[Event] = []
        for name in [name for name, asked in self._given.items() if asked.ts_expire_ns <= now_ns]:
            asked, before = self._given.pop(name), self.limits
            self.limits = before.model_copy(update={name: getattr(self.file, name)})
            found.append(self._told(asked, before, now_ns, 0))
        self._wait()
        return found

    def _wait(self) -> None:
        self.due_ns = min((asked.ts_expire_ns for asked in self._given.values()), default=NEVER_NS)

    def _told(self, asked: Command, before: RiskLimits, now_ns: int, until_ns: int) -> LimitChanged:
        name = asked.limit
        was, will = _text(getattr(before, name)), _text(getattr(self.limits, name))
        return LimitChanged(name, was, will, now_ns, self.label, asked.who, asked.reason, until_ns)


def check_name(name: str) -> None:
    """Refuse the name of what is no limit, or of one that cannot change under a running daemon.

    Raises:
        ConfigError: there is none, or it is being counted by.
    """
    if name not in SMALL_ACCOUNT:
        raise ConfigError(f"there is no limit {name!r}{suggestion(name, SMALL_ACCOUNT)}")
    if name in FIXED:
        raise ConfigError(f"{name} is being counted by and cannot change while the daemon runs")


def check_asked(who: str, reason: str, minutes: float, name: str, value: str) -> None:
    """Refuse an override that makes no sense, whatever the limits of the run are.

    Raises:
        ConfigError: nobody asks, or for no reason, or for too long; there is no such limit, or it cannot be that.
    """
    if not (who and reason):
        raise ConfigError("an override says who wants it and why: --reason")
    if not 0 < minutes <= MINUTES_MAX:
        raise ConfigError(f"an override lasts more than 0 and at most {MINUTES_MAX} minutes")
    check_name(name)
    try:
        RiskLimits.model_validate({**SMALL_ACCOUNT, name: _parsed(value)})
    except ValidationError as error:
        if error.errors()[0]["loc"]:  # else it is only that it does not fit this profile's other limits
            raise _impossible(name, value, error) from None


def changed(limits: RiskLimits, name: str, value: str) -> RiskLimits:
    """Return the limits with one of them set to what the text says.

    Raises:
        ConfigError: there is no such limit, it cannot change while it is counted by, or it cannot be that.
    """
    check_name(name)
    try:
        return RiskLimits.model_validate({**limits.model_dump(), name: _parsed(value)})
    except ValidationError as error:
        raise _impossible(name, value, error) from None


def adopt(living: Control, before: Control, after: Control) -> None:
    """Give a control at work the limits by which two that have not worked yet differ; what it has counted stays."""
    for name in attributes(after):
        value: Any = getattr(after, name)
        if isinstance(value, int | float | Decimal | tuple) and value != getattr(before, name):
            setattr(living, name, value)


def attributes(control: Control) -> list[str]:
    """Return the names of what a control holds; compiled, its class has descriptors in the place of a dictionary."""
    if hasattr(control, "__dict__"):
        return list(vars(control))
    classes = type(control).__mro__
    return [name for one in classes for name, found in vars(one).items() if isinstance(found, GetSetDescriptorType)]


def _impossible(name: str, value: str, error: ValidationError) -> ConfigError:
    told = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
    return ConfigError(f"{name} cannot be {value!r}: {told}")


def _text(value: Any) -> str:
    return f"{value:f}" if isinstance(value, Decimal) else json.dumps(value)


def _parsed(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value
