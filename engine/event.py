"""The common shape of all events."""

from __future__ import annotations

import msgspec


class Event(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag_field="event", tag=True):
    """The common shape; the tag `event` names the struct in a journal line."""
