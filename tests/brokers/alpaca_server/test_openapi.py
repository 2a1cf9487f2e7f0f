"""Every answer that Alpaca's own OpenAPI files describe is one that they accept."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from openapi_schema_validator import OAS30Validator, OAS31Validator

from engine.events import CorporateAction
from tests.brokers.alpaca_server.local import bar, day, quote, running, story, trade
from tests.brokers.paper_venue import at

BUY = {"symbol": "AAPL", "qty": "10", "side": "buy", "type": "market", "time_in_force": "day"}
SINCE = "start=2019-02-12T00:00:00Z"
TRADING = [
    ("/v2/account", "/v2/account"),
    ("/v2/account/configurations", "/v2/account/configurations"),
    ("/v2/account/activities", "/v2/account/activities"),
    ("/v2/account/activities/FILL", "/v2/account/activities/{activity_type}"),
    ("/v2/account/portfolio/history?period=1D&timeframe=1Min", "/v2/account/portfolio/history"),
    ("/v2/assets", "/v2/assets"),
    ("/v2/assets/BTCUSD", "/v2/assets/{symbol_or_asset_id}"),
    ("/v2/calendar?start=2019-02-01&end=2019-03-01", "/v2/calendar"),
    ("/v2/clock", "/v2/clock"),
    ("/v2/corporate_actions/announcements?ca_types=split&since=2019-01-01&until=2019-03-01",
     "/v2/corporate_actions/announcements"),
    ("/v2/orders?status=all&nested=true", "/v2/orders"),
    ("/v2/orders?status=all", "/v2/orders"),
    ("/v2/orders:by_client_order_id?client_order_id=mine", "/v2/orders:by_client_order_id"),
    ("/v2/positions", "/v2/positions"),
    ("/v2/positions/AAPL", "/v2/positions/{symbol_or_asset_id}"),
    ("/v2/options/contracts", "/v2/options/contracts"),
    ("/v2/watchlists", "/v2/watchlists"),
]  # fmt: skip
KNOWN = (
    ".legs: None is not of type 'object'",  # the same file: "always null for an order leg"
    "ca_type: 'split' is not one of",  # the SDK's enumeration is in small letters, and strict
    "content: '' should be non-empty",  # a tape has headlines only
    "summary: '' should be non-empty",
)
STOCKS, CRYPTO, TICKS = "symbols=AAPL,NOPE", "symbols=BTC/USD", ("bars", "quotes", "trades")
COINS = "/v1beta3/crypto/us", "/v1beta3/crypto/{loc}"
DATA = [
    (f"/v2/stocks/snapshots?{STOCKS}", "/v2/stocks/snapshots"),
    ("/v2/stocks/AAPL/snapshot", "/v2/stocks/{symbol}/snapshot"),
    (f"{COINS[0]}/snapshots?{CRYPTO}", f"{COINS[1]}/snapshots"),
    (f"{COINS[0]}/latest/orderbooks?{CRYPTO}", f"{COINS[1]}/latest/orderbooks"),
    ("/v1beta1/news", "/v1beta1/news"),
    ("/v1/corporate-actions?start=2019-01-01", "/v1/corporate-actions"),
]
for kind in TICKS:
    DATA += [
        (f"/v2/stocks/{kind}?{STOCKS}&{SINCE}&timeframe=1Min", f"/v2/stocks/{kind}"),
        (f"/v2/stocks/{kind}/latest?{STOCKS}", f"/v2/stocks/{kind}/latest"),
        (f"/v2/stocks/AAPL/{kind}?{SINCE}&timeframe=5Min", f"/v2/stocks/{{symbol}}/{kind}"),
        (f"/v2/stocks/AAPL/{kind}/latest", f"/v2/stocks/{{symbol}}/{kind}/latest"),
        (f"{COINS[0]}/{kind}?{CRYPTO}&{SINCE}&timeframe=1Min", f"{COINS[1]}/{kind}"),
        (f"{COINS[0]}/latest/{kind}?{CRYPTO}", f"{COINS[1]}/latest/{kind}"),
    ]


@cache
def specification(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.load(path.read_text("utf-8"), Loader=yaml.CSafeLoader)
    return loaded


def complaints(name: Path, method: str, path: str, status: int, body: Any) -> list[str]:
    """Return what the file's schema for an answer has against a body."""
    document = specification(name)
    answer = document["paths"][path][method.lower()]["responses"][str(status)]
    if "$ref" in answer:
        answer = document["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    if "content" not in answer:  # the file names the status only; what a refusal says is the checklist's line 11
        return [f"{method} {path} {status}: {body!r} is no empty body"] if body and status == 204 else []
    schema = answer["content"]["application/json"]["schema"]
    kind = OAS31Validator if document["openapi"].startswith("3.1") else OAS30Validator
    found = kind({**schema, "components": document["components"]}).iter_errors(body)
    return [f"{method} {path} {status}: {'.'.join(map(str, one.absolute_path))}: {one.message[:200]}" for one in found]


async def _orders(local: Any) -> list[tuple[str, str, int, Any]]:
    """Trade a little, and return the answers."""
    answers = []

    async def ask(method: str, path: str, described: str, **options: Any) -> Any:
        status, body = await local.request(method, path, **options)
        answers.append((method, described, status, body))
        return body

    await ask("POST", "/v2/orders", "/v2/orders", json=BUY | {"client_order_id": "mine"})
    await local.step(2)
    trailing = BUY | {"side": "sell", "type": "trailing_stop", "trail_percent": "2", "qty": "1"}
    made = await ask("POST", "/v2/orders", "/v2/orders", json=trailing)
    made = await ask("PATCH", f"/v2/orders/{made['id']}", "/v2/orders/{order_id}", json={"trail": "3"})
    await ask("DELETE", "/v2/orders", "/v2/orders")
    legs = {"take_profit": {"limit_price": "105"}, "stop_loss": {"stop_price": "80", "limit_price": "79"}}
    bracket = BUY | {"type": "limit", "limit_price": "90", "order_class": "bracket", **legs}
    await ask("POST", "/v2/orders", "/v2/orders", json=bracket)
    lasting = BUY | {"type": "limit", "limit_price": "91", "time_in_force": "gtc"}
    resting = await ask("POST", "/v2/orders", "/v2/orders", json=lasting)
    await ask("GET", f"/v2/orders/{resting['id']}", "/v2/orders/{order_id}")
    await ask("DELETE", "/v2/orders", "/v2/orders")
    await ask("DELETE", "/v2/positions", "/v2/positions")
    await local.step(2)
    await ask("POST", "/v2/orders", "/v2/orders", json=BUY)
    await local.step(2)
    await ask("DELETE", "/v2/positions/AAPL?qty=1", "/v2/positions/{symbol_or_asset_id}")
    await local.step(2)
    await ask("POST", "/v2/orders", "/v2/orders", json=BUY | {"qty": "10000000"})
    await ask("POST", "/v2/orders", "/v2/orders", json=BUY | {"qty": "-1"})
    resting = await ask("POST", "/v2/orders", "/v2/orders", json=lasting)
    await ask("DELETE", f"/v2/orders/{resting['id']}", "/v2/orders/{order_id}")
    await ask("DELETE", f"/v2/orders/{resting['id']}", "/v2/orders/{order_id}")
    await ask("PATCH", "/v2/account/configurations", "/v2/account/configurations", json={"no_shorting": True})
    since = "?ca_types=split&since=2019-01-01&until=2019-03-01"
    (split,) = (await local.request("GET", f"/v2/corporate_actions/announcements{since}"))[1]
    await ask("GET", f"/v2/corporate_actions/announcements/{split['id']}", "/v2/corporate_actions/announcements/{id}")
    return answers + await _watchlists(local)


async def _watchlists(local: Any) -> list[tuple[str, str, int, Any]]:
    """Keep a list, and return the answers."""
    one = "/v2/watchlists/{watchlist_id}"
    status, made = await local.request("POST", "/v2/watchlists", json={"name": "mine", "symbols": ["AAPL"]})
    answers = [("POST", "/v2/watchlists", status, made)]
    path = f"/v2/watchlists/{made['id']}"
    for method, below, described, body in (
        ("GET", "", one, None),
        ("PUT", "", one, {"name": "ours", "symbols": ["AAPL"]}),
        ("POST", "", one, {"symbol": "BTC/USD"}),
        ("DELETE", "/AAPL", f"{one}/{{symbol}}", None),
        ("DELETE", "", one, None),
        ("DELETE", "", one, None),
    ):
        answers.append((method, described, *await local.request(method, path + below, json=body)))
    return answers


@pytest.fixture
def files(shared_data: Path) -> tuple[Path, Path]:
    return shared_data / "alpaca" / "openapi_trading.yaml", shared_data / "alpaca" / "openapi_data.yaml"


STREAMS = {"/stream", "/v2/{feed}", "/v1beta1/{feed}", "/v1beta3/crypto/{loc}"}
"""Upgrades, which no OpenAPI file describes."""


def shape(method: str, path: str) -> tuple[str, str]:
    """Return a route without the names of its variables."""
    return method, re.sub(r"{[^}]*}", "{}", path)


async def test_every_answer_is_one_that_the_specification_describes(files: tuple[Path, Path]) -> None:
    """Orders, account, market data: validated against Alpaca's two files."""
    trading, data = files
    ts_ns = at("09:31")
    split = CorporateAction("AAPL", ts_ns, ts_ns, "split", 2, 1)
    coins = [bar("9:31", 50_000.0, "BTC/USD"), quote("9:31:30", symbol="BTC/USD"), trade("9:31:40", symbol="BTC/USD")]
    async with running([*day(), split, story("9:31"), trade("9:31:50"), *coins]) as local:
        await local.step(12)
        answers = await _orders(local)
        found = [problem for answer in answers for problem in complaints(trading, *answer)]
        for name, rows in ((trading, TRADING), (data, DATA)):
            for path, described in rows:
                status, body = await local.request("GET", path)
                assert status == 200, (path, body)
                found += complaints(name, "GET", described, status, body)
        assert [one for one in found if not any(known in one for known in KNOWN)] == []
        asked = {shape(method, path) for method, path, *_ in answers} | {
            shape("GET", path) for _, path in TRADING + DATA
        }
        served = {
            shape(route.method, route.resource.canonical)
            for route in local.server.application().router.routes()
            if route.method != "HEAD" and route.resource is not None
            and not route.resource.canonical.startswith("/control") and route.resource.canonical not in STREAMS
        }  # fmt: skip
        assert served - asked == set(), "every route of the venue is among those that were asked"
