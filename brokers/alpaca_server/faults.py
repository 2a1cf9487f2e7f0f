"""Faults on demand: what to do wrong, when, how often, and whether it was done.

A fault waits at a hook, a place in the venue where something can go wrong, and is asked there whether it is its turn. A
script names faults by the ids of the catalogue (`W01`, `O08`, `F14`, ...) or by their bare kinds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from random import Random
from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from brokers.alpaca_server.fault_catalogue import CATALOGUE, Part
from engine.clock import Clock
from engine.errors import ConfigError, suggestion
from engine.events import SECOND_NS


class Fault(BaseModel):
    """One fault of a script: the table `[[faults]]`."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    use: str = Field(description="Id of the catalogue, or a kind.")
    name: str = Field("", description="To find it in the report; the id when empty.")
    skip: int = Field(0, ge=0, description="Occasions to let pass first.")
    times: int | None = Field(None, ge=0, description="How often it happens; 0 each time.")
    after_s: float = Field(0.0, ge=0, description="Seconds from its arming until it is live.")
    for_s: float | None = Field(None, gt=0, description="Seconds that it stays live.")
    chance: float = Field(1.0, gt=0, le=1, description="Share of the occasions that it takes, from the venue's seed.")
    where: dict[str, str] = Field({}, description="Facts of the occasion that must hold, as glob patterns.")
    params: dict[str, Any] = Field({}, alias="with", description="What exactly to do; see the kind.")

    def parts(self) -> tuple[Part, ...]:
        """Return what it is made of.

        Raises:
            ConfigError: there is no such fault.
        """
        named, kinds = CATALOGUE.faults, CATALOGUE.kinds
        if self.use in named:
            return named[self.use].parts
        if self.use not in kinds:
            raise ConfigError(f"unknown fault {self.use!r}{suggestion(self.use, (*named, *kinds))}")
        return (Part(self.use),)


class Armed(msgspec.Struct, eq=False):
    """A fault at its hook. `seen` occasions matched, `fired` of them were taken."""

    fault: Fault
    kind: str
    hook: str
    where: dict[str, str]
    params: dict[str, Any]
    times: int
    live_ns: int
    end_ns: int
    random: Random
    seen: int = 0
    fired: int = 0

    def takes(self, facts: Mapping[str, object], now_ns: int) -> bool:
        if not self.live_ns <= now_ns < self.end_ns or (self.times and self.fired >= self.times):
            return False
        for key, pattern in self.where.items():
            if not fnmatchcase(str(facts.get(key, "")), pattern):
                return False
        self.seen += 1
        if self.seen <= self.fault.skip or (self.fault.chance < 1 and self.random.random() >= self.fault.chance):
            return False
        self.fired += 1
        return True

    def report(self) -> dict[str, Any]:
        return {
            "name": self.fault.name or self.fault.use, "use": self.fault.use, "kind": self.kind, "hook": self.hook,
            "seen": self.seen, "fired": self.fired,
        }  # fmt: skip


class Faults:
    """The script in force.

    Attributes:
        armed: faults by the hook at which they wait; a hook without any costs one look-up.
    """

    def __init__(self, clock: Clock, seed: int, script: Sequence[Fault] = ()) -> None:
        self._clock, self._seed = clock, seed
        self.armed: dict[str, list[Armed]] = {}
        for fault in script:
            self.arm(fault)

    def arm(self, fault: Fault) -> list[Armed]:
        """Put a fault into force; one of the catalogue may wait at several hooks.

        Raises:
            ConfigError: there is no such fault.
        """
        live_ns = self._clock.monotonic_ns() + round(fault.after_s * SECOND_NS)
        end_ns = 2**63 - 1 if fault.for_s is None else live_ns + round(fault.for_s * SECOND_NS)
        made = []
        for part in fault.parts():
            times = part.times if fault.times is None else fault.times
            chance = Random(f"{self._seed} {fault.use} {fault.name}")
            armed = Armed(
                fault, part.kind, CATALOGUE.kinds[part.kind].hook, {**part.where, **fault.where},
                {**part.params, **fault.params}, times, live_ns, end_ns, chance,
            )  # fmt: skip
            self.armed.setdefault(armed.hook, []).append(armed)
            made.append(armed)
        return made

    def hit(self, hook: str, **facts: object) -> Armed | None:
        """Return the first fault whose turn it is at this occasion."""
        waiting = self.armed.get(hook)
        if not waiting:
            return None
        now_ns = self._clock.monotonic_ns()
        return next((armed for armed in waiting if armed.takes(facts, now_ns)), None)

    def clear(self, name: str = "") -> None:
        """Disarm the faults of a name, or all of them."""
        for hook, waiting in list(self.armed.items()):
            kept = [armed for armed in waiting if name and name != (armed.fault.name or armed.fault.use)]
            if kept:
                self.armed[hook] = kept
            else:
                del self.armed[hook]

    def report(self) -> list[dict[str, Any]]:
        """Say of each fault in force how often it was its turn."""
        return [armed.report() for waiting in self.armed.values() for armed in waiting]


def edited(value: Any, params: Mapping[str, Any]) -> Any:
    """Return a JSON value with fields `set`, made `null` or `drop`ped, in each item of a list; keys may be dotted."""
    if isinstance(value, list):
        return [edited(item, params) for item in value]
    if not isinstance(value, Mapping):
        return value
    made = dict(value)
    for path in params.get("drop", ()):
        _walk(made, path.split("."), None, drop=True)
    for path, new in (params.get("set", {}) | dict.fromkeys(params.get("null", ()))).items():
        _walk(made, path.split("."), new, drop=False)
    return made


def _walk(at: dict[str, Any], path: list[str], new: Any, *, drop: bool) -> None:
    head, *rest = path
    if rest:
        inner = at.get(head)
        if isinstance(inner, Mapping):
            at[head] = dict(inner)
            _walk(at[head], rest, new, drop=drop)
    elif drop:
        at.pop(head, None)
    else:
        at[head] = new
