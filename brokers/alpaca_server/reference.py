"""Trading REST beside orders: the account, its history, assets, clock, calendar, watchlists and announcements."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from brokers.alpaca_server.activities import activities, portfolio_history
from brokers.alpaca_server.clock import market_calendar, market_clock
from brokers.alpaca_server.corporate_actions import announcement
from brokers.alpaca_server.refusals import Refusal, invalid, missing
from brokers.alpaca_server.replies import json_body, json_reply, names
from brokers.alpaca_server.venue import Venue

CALENDAR_FIRST, CALENDAR_LAST = "1990-01-02", "2032-12-29"


class Reference:
    """The handlers."""

    def __init__(self, venue: Venue) -> None:
        self._venue, self._clock = venue, venue.clock
        self._watchlists: dict[str, dict[str, Any]] = {}
        self._numbered = 0

    def routes(self) -> list[web.RouteDef]:
        """Return the paths that are served here."""
        return [
            web.get("/v2/account", self._account),
            web.get("/v2/account/configurations", self._configuration),
            web.patch("/v2/account/configurations", self._configure),
            web.get("/v2/account/activities", self._activities),
            web.get("/v2/account/activities/{kind}", self._activities),
            web.get("/v2/account/portfolio/history", self._portfolio_history),
            web.get("/v2/assets", self._assets),
            web.get("/v2/assets/{symbol:.+}", self._asset),
            web.get("/v2/clock", self._market_clock),
            web.get("/v2/calendar", self._calendar),
            web.get("/v2/corporate_actions/announcements", self._announcements),
            web.get("/v2/corporate_actions/announcements/{id}", self._announcement),
            web.get("/v2/options/contracts", self._option_contracts),
            web.get("/v2/watchlists", self._list_watchlists),
            web.post("/v2/watchlists", self._create_watchlist),
            web.get("/v2/watchlists/{id}", self._get_watchlist),
            web.put("/v2/watchlists/{id}", self._update_watchlist),
            web.post("/v2/watchlists/{id}", self._add_to_watchlist),
            web.delete("/v2/watchlists/{id}", self._delete_watchlist),
            web.delete("/v2/watchlists/{id}/{symbol:.+}", self._take_from_watchlist),
        ]

    # --- the account -----------------------------------------------------------------------------------------------

    async def _account(self, request: web.Request) -> web.StreamResponse:
        return json_reply(self._venue.account.shown())

    async def _configuration(self, request: web.Request) -> web.StreamResponse:
        return json_reply(self._venue.account.configuration)

    async def _configure(self, request: web.Request) -> web.StreamResponse:
        return json_reply(self._venue.account.configure(await json_body(request)))

    async def _activities(self, request: web.Request) -> web.StreamResponse:
        kind = request.match_info.get("kind", "")
        return json_reply(activities(self._venue.ledger, self._clock, request.query, kind))

    async def _portfolio_history(self, request: web.Request) -> web.StreamResponse:
        return json_reply(portfolio_history(self._venue.ledger, self._clock, request.query))

    # --- the market ------------------------------------------------------------------------------------------------

    async def _assets(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        wanted = set(names(query, "attributes"))
        rows = [
            row
            for row in self._venue.assets.rows.values()
            if query.get("status", row["status"]) == row["status"]
            and query.get("asset_class", "us_equity") == row["class"]
            and query.get("exchange", row["exchange"]) == row["exchange"]
            and wanted <= {*row["attributes"]}
        ]
        return json_reply(rows)

    async def _asset(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["symbol"]
        asset = self._venue.assets.find(name)
        if asset is None:
            raise missing(f"asset not found for {name}")
        return json_reply(asset)

    async def _market_clock(self, request: web.Request) -> web.StreamResponse:
        return json_reply(market_clock(self._clock, self._venue.sessions))

    async def _calendar(self, request: web.Request) -> web.StreamResponse:
        start = max(request.query.get("start", CALENDAR_FIRST)[:10], CALENDAR_FIRST)
        end = min(request.query.get("end", CALENDAR_LAST)[:10], CALENDAR_LAST)
        try:
            return json_reply(market_calendar(self._clock, self._venue.sessions, start, end))
        except ValueError:
            raise Refusal(400, 40010001, "invalid start or end: must be a date, YYYY-MM-DD") from None

    def _announced(self) -> dict[str, dict[str, Any]]:
        found = {}
        for action in self._venue.archive.actions:
            if action.action != "symbol_change":
                action_id = self._venue.book.uuid(f"action {action.symbol} {action.ts_event_ns} {action.action}")
                found[action_id] = announcement(action, self._clock, action_id)
        return found

    async def _announcements(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        types, symbol = names(query, "ca_types"), query.get("symbol")
        if not types or not query.get("since") or not query.get("until"):
            raise invalid("ca_types, since and until are required")
        by = query.get("date_type") or "ex_date"
        rows = [
            row
            for row in self._announced().values()
            if row["ca_type"] in [one.lower() for one in types]
            and query["since"] <= row.get(by, row["ex_date"]) <= query["until"]
            and symbol in (None, row["initiating_symbol"])
        ]
        return json_reply(rows)

    async def _announcement(self, request: web.Request) -> web.StreamResponse:
        found = self._announced().get(request.match_info["id"])
        if found is None:
            raise missing("announcement not found")
        return json_reply(found)

    async def _option_contracts(self, request: web.Request) -> web.StreamResponse:
        return json_reply({"option_contracts": [], "next_page_token": None})  # a tape has no options

    # --- watchlists ------------------------------------------------------------------------------------------------

    async def _list_watchlists(self, request: web.Request) -> web.StreamResponse:
        return json_reply(
            [{key: value for key, value in one.items() if key != "assets"} for one in self._watchlists.values()]
        )

    async def _create_watchlist(self, request: web.Request) -> web.StreamResponse:
        body = await json_body(request)
        if not body.get("name") or any(one["name"] == body["name"] for one in self._watchlists.values()):
            raise invalid("watchlist name must be unique")
        self._numbered += 1
        now = self._clock.text(self._clock.now_ns())
        made = {
            "id": self._venue.book.uuid(f"watchlist {self._numbered}"), "account_id": self._venue.account.id,
            "name": body["name"], "created_at": now, "updated_at": now, "assets": self._listed(body.get("symbols")),
        }  # fmt: skip
        self._watchlists[made["id"]] = made
        return json_reply(made)

    async def _get_watchlist(self, request: web.Request) -> web.StreamResponse:
        return json_reply(self._watchlist(request))

    async def _update_watchlist(self, request: web.Request) -> web.StreamResponse:
        found, body = self._watchlist(request), await json_body(request)
        found["name"] = body.get("name") or found["name"]
        if body.get("symbols") is not None:
            found["assets"] = self._listed(body["symbols"])
        return json_reply(found)

    async def _add_to_watchlist(self, request: web.Request) -> web.StreamResponse:
        found, body = self._watchlist(request), await json_body(request)
        found["assets"] += [one for one in self._listed([body.get("symbol")]) if one not in found["assets"]]
        return json_reply(found)

    async def _take_from_watchlist(self, request: web.Request) -> web.StreamResponse:
        found, asset = self._watchlist(request), self._venue.assets.find(request.match_info["symbol"])
        found["assets"] = [one for one in found["assets"] if one is not asset]
        return json_reply(found)

    async def _delete_watchlist(self, request: web.Request) -> web.StreamResponse:
        del self._watchlists[self._watchlist(request)["id"]]
        return web.Response(status=204)

    def _watchlist(self, request: web.Request) -> dict[str, Any]:
        found = self._watchlists.get(request.match_info["id"])
        if found is None:
            raise missing("watchlist not found")
        return found

    def _listed(self, symbols: Any) -> list[dict[str, Any]]:
        assets = []
        for symbol in symbols or ():
            asset = self._venue.assets.find(str(symbol))
            if asset is None:
                raise missing(f"symbol not found: {symbol}")
            assets.append(asset)
        return assets
