"""From the name of a feature in a card to the function that computes it, tried, with its parameters and its hash.

A name is one of ours (`engine.model.shipped`), an entry point of the group `onetape.features`, `module:function`, or
`path/to/file.py:function`.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine import plugins
from engine.errors import ModelError, PluginError, suggestion
from engine.model.card import FeatureSpec
from engine.model.history import QUOTE_FIELDS, FactKey, Feature, Param, Probe
from engine.model.shipped import SHIPPED

MACHINERY_VERSION: Final = 1
"""Counts up when the same bars would give a feature other numbers; models trained before are refused then."""
BARS_MAX: Final = 100_000
FEATURE = plugins.Kind("onetape.features", "feature", lambda found: isinstance(found, Feature))


@dataclass(frozen=True)
class Chosen:
    """A feature with its parameters, and what it looks at: its bars, their fields, and facts."""

    spec: FeatureSpec
    feature: Feature
    params: dict[str, Param]
    bars: int
    fields: frozenset[str] = field(default=frozenset())
    facts: frozenset[FactKey] = field(default=frozenset())

    @property
    def reach(self) -> int:
        """How many bars have to be there for it; a change needs the close before."""
        return self.bars + ("change" in self.fields)

    @property
    def needs(self) -> frozenset[str]:
        """Events that it cannot do without."""
        told = {"quote"} if self.fields & set(QUOTE_FIELDS) else set()
        return frozenset(told | ({"vwap"} & self.fields) | {name for name, _ in self.facts})

    @property
    def tells_time(self) -> bool:
        """Whether it looks at the clock alone, so that it says nothing of a market."""
        return self.fields <= {"elapsed"} and not self.facts


def choose(spec: FeatureSpec, folder: Path = Path()) -> Chosen:
    """Find a feature and try it on invented bars.

    Raises:
        ModelError: there is none of that name, a parameter is wrong, or what it returns is not one number a symbol.
    """
    found = SHIPPED.get(spec.name)
    if found is None:
        try:
            found = plugins.load(FEATURE, spec.name, folder)
        except PluginError as error:
            if ":" in spec.name:
                raise ModelError(f"feature {spec.name!r}: {error}") from None
            raise ModelError(f"this version knows no feature {spec.name!r}{suggestion(spec.name, SHIPPED)}") from None
    params = _params(spec, found)
    bars = _bars(spec, found, params)
    probe = Probe(bars)
    try:
        with np.errstate(all="ignore"):
            shape = np.shape(found(probe.history, **params))
    except (Exception, SystemExit) as error:  # whatever a plugin's function raises has to be told in one line
        raise ModelError(f"feature {spec} does not compute: {type(error).__name__}: {error}") from error
    if shape != (2,):
        raise ModelError(f"feature {spec} returns shape {shape} for 2 symbols; one number a symbol is right")
    return Chosen(spec, found, params, bars, frozenset(probe.fields), frozenset(probe.facts))


def _params(spec: FeatureSpec, found: Feature) -> dict[str, Param]:
    signature = list(inspect.signature(found.function).parameters.values())[1:]
    params = {one.name: one.default for one in signature}
    for key, value in spec.params.items():
        if key not in params:
            raise ModelError(f"feature {spec.name!r} has no parameter {key!r}{suggestion(key, params)}")
        wanted = type(params[key])
        if wanted is float and type(value) is int:
            value = float(value)
        if type(value) is not wanted:
            raise ModelError(f"feature {spec}: {key} is {value!r}; {wanted.__name__} is right")
        params[key] = value
    return params


def _bars(spec: FeatureSpec, found: Feature, params: dict[str, Param]) -> int:
    bars: Any = found.bars
    counted: list[str] = []
    if callable(bars):
        counted = list(inspect.signature(bars).parameters)
        bars = bars(**{key: params[key] for key in counted})
    if not isinstance(bars, int) or not 1 <= bars <= BARS_MAX:
        raise ModelError(f"feature {spec} looks at {bars} bars; 1 to {BARS_MAX:,} are right")
    for key, value in params.items():
        if (key in counted or key.endswith("_s")) and not (not isinstance(value, str) and value > 0):
            raise ModelError(f"feature {spec}: {key} is {value}; more than 0 is right")
    return bars


def code_sha256(chosen: Sequence[Chosen]) -> str:
    """Return a hash of the code of features with all their parameters: comments and documentation do not count."""
    digest = hashlib.sha256(f"{MACHINERY_VERSION}\n".encode())
    for one in chosen:
        params = ", ".join(f"{key}={value!r}" for key, value in sorted(one.params.items()))
        digest.update(f"{one.spec.name}({params})\n{_code(one.feature)}\n".encode())
    return digest.hexdigest()


@cache
def _code(found: Feature) -> str:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(found.function)))
    except (OSError, TypeError):
        raise ModelError(f"feature {found.name!r} has no source that can be read, so it cannot be hashed") from None
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)
