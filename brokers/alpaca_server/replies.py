"""JSON bodies and how requests are read, for every handler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from brokers.alpaca_server.refusals import Refusal, invalid
from brokers.alpaca_server.wire import encode_json

MALFORMED = 40010000


def json_reply(value: Any, status: int = 200) -> web.Response:
    """Return a JSON answer."""
    return web.Response(body=encode_json(value), status=status, content_type="application/json")


async def json_body(request: web.Request) -> dict[str, Any]:
    """Return the object that a request carries; an empty body is an empty one.

    Raises:
        Refusal: it is no JSON object.
    """
    raw = await request.read()
    if not raw:
        return {}
    try:
        body = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        body = None
    if not isinstance(body, dict):
        raise Refusal(400, MALFORMED, "request body format is invalid")
    return body


def flag(query: Mapping[str, str], name: str) -> bool:
    """Read a boolean; the SDK writes `True` with a capital."""
    return query.get(name, "").lower() in ("true", "1")


def names(query: Mapping[str, str], name: str) -> list[str]:
    """Read a comma-separated list."""
    return [part.strip() for part in query.get(name, "").split(",") if part.strip()]


def whole(query: Mapping[str, str], name: str, default: int, most: int) -> int:
    """Read a positive whole number.

    Raises:
        Refusal: it is none, or too large.
    """
    text = query.get(name) or str(default)
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise invalid(f"invalid {name}: must be a positive number")
    if int(text) > most:
        raise Refusal(400, None, f"invalid {name}: larger than the allowed maximum of {most}")
    return int(text)


def choice(query: Mapping[str, str], name: str, *allowed: str) -> str:
    """Read one of a few words; the first is the default.

    Raises:
        Refusal: it is another.
    """
    value = query.get(name) or allowed[0]
    if value not in allowed:
        raise invalid(f"invalid {name}: must be one of {', '.join(allowed)}")
    return value
