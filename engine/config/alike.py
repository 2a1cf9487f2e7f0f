"""Another kind of TOML file than a run, read with the same care: every problem with its line, every path absolute."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from engine import plugins
from engine.config.file import anchor, as_json, opened, plugin_settings, refuse_secrets
from engine.config.tables import FeedConfig, Table

Model = TypeVar("Model", bound=Table)


def load_as(model: type[Model], path: Path | str, overrides: Iterable[str] = ()) -> Model:
    """Read the file at `path` as a `model` that has a `feed`, with each of `overrides` on top.

    Raises:
        ConfigError: naming every problem with its line.
    """
    path = Path(path)
    tree, problems = opened(path, overrides)
    tree, folder = json.loads(json.dumps(tree, default=as_json)), path.absolute().parent
    refuse_secrets(tree, (), problems)
    settings = plugin_settings(plugins.FEED, FeedConfig, tree, "feed", folder, problems, {})
    found = problems.validated(model, tree, ())
    problems.raise_any()
    assert found is not None  # raise_any has spoken otherwise
    feed: FeedConfig = found.__dict__["feed"]
    found = found.model_copy(update={"feed": feed.model_copy(update={"settings": settings})})
    anchored: Model = anchor(found, (), folder, problems.overridden)
    return anchored
