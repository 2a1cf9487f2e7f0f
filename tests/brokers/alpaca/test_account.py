"""Opening the account: every reason not to trade is one clear message; and the account as recovery sees it."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from brokers.alpaca.orders import AlpacaBroker
from brokers.alpaca.settings import BrokerSettings
from brokers.alpaca.wire import format_ns
from engine.errors import BrokerError, ConfigError
from engine.events import SECOND_NS, Fill
from engine.ports import Asset
from tests.brokers.alpaca.peers import ENVIRON
from tests.brokers.alpaca.rig import FILLS, BrokerRig, activity, broker_rig, record

ACCOUNT = {
    "id": "u", "account_number": "PA1", "status": "ACTIVE", "cash": "1000.5", "equity": "1500", "multiplier": "2",
    "buying_power": "2001", "trading_blocked": False, "account_blocked": False,
}  # fmt: skip


def at_venue(rig: BrokerRig, *, account: Any = ACCOUNT, off_s: float = 0.0, status: int = 200) -> None:
    """Script the account and the clock."""
    rig.rest.on("GET", "/v2/account", (status, account))
    rig.rest.on("GET", "/v2/clock", (200, {"timestamp": format_ns(rig.time.ts_ns - round(off_s * SECOND_NS))}))
    rig.rest.on("GET", "/v2/positions", (200, []))
    rig.broker._hosts = rig.broker._hosts._replace(is_local=False)


@pytest.mark.parametrize(
    ("account", "told"),
    [
        ({"status": "ACCOUNT_CLOSED"}, "account PA1 is ACCOUNT_CLOSED; only an active account trades"),
        ({"status": ""}, "account PA1 is without a status"),
        ({"account_blocked": True}, "account PA1 is blocked by Alpaca"),
        ({"trading_blocked": True}, "account PA1 may not trade, says Alpaca"),
        ({"trade_suspended_by_user": True}, "account PA1 has its trading suspended in its own settings"),
    ],
)
async def test_an_account_that_may_not_trade_is_one_clear_message(
    monkeypatch: pytest.MonkeyPatch, account: dict[str, Any], told: str
) -> None:
    """R10: closed, blocked or suspended."""
    async with broker_rig(monkeypatch) as rig:
        at_venue(rig, account=ACCOUNT | account)
        with pytest.raises(BrokerError, match=told):
            await rig.broker.open()


@pytest.mark.parametrize("body", [{"message": "unauthorized."}, "<html>401</html>", ""])
async def test_wrong_keys_or_those_of_the_other_side_are_one_clear_message(
    monkeypatch: pytest.MonkeyPatch, body: Any
) -> None:
    """F75, R14: a paper key on the live host, and the reverse, look like this."""
    async with broker_rig(monkeypatch) as rig:
        at_venue(rig, account=body, status=401)
        with pytest.raises(BrokerError, match="a paper key works on the paper host only, a live key on the live host"):
            await rig.broker.open()


async def test_a_clock_that_is_off_is_told_and_a_wrong_one_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """F56: three seconds are a warning, six are no clock to trade by."""
    async with broker_rig(monkeypatch) as rig:
        at_venue(rig, off_s=3)
        await rig.broker.open()
        assert rig.broker.clock_off_s == pytest.approx(3)
        assert "this machine's clock is +3.0 s off Alpaca's" in capsys.readouterr().out
        at_venue(rig, off_s=-6)
        with pytest.raises(BrokerError, match=r"this machine's clock is -6\.0 s off Alpaca's; set it right"):
            await rig.broker.open()


async def test_fields_of_the_abolished_day_trade_rule_are_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """O19: an account without them, and with words we have never heard, opens."""
    async with broker_rig(monkeypatch) as rig:
        at_venue(rig, account={"id": "u", "status": "ACTIVE", "cash": "5", "new_field": [1]})
        found = await rig.broker.open()
        assert (found.account_id, found.equity_usd, found.buying_power_usd, found.multiplier) == ("u", 5, 5, 1)


async def test_the_account_is_shown_under_our_own_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short positions are negative, coins have their slash, legs our ids, ended legs are not open."""
    async with broker_rig(monkeypatch) as rig:
        at_venue(rig)
        rig.rest.on("GET", "/v2/positions", (200, [
            {"symbol": "SPY", "qty": "-7", "side": "short", "current_price": "500.25", "asset_class": "us_equity"},
            {"symbol": "BTCUSD", "qty": "0.5", "side": "long", "asset_class": "crypto", "avg_entry_price": "60000"},
            {"symbol": "GONE", "qty": "0"},
        ]))  # fmt: skip
        legs = [
            record("m1", "held", id="leg-1", type="limit", side="sell"),
            record("m2", "canceled", id="leg-2", type="stop"),
        ]
        rig.rest.on("GET", "/v2/orders", (200, [record("o1", "partially_filled", filled_qty="30", legs=legs)]))
        rig.rest.on("GET", FILLS, (200, [activity(record("o1"), 30, 30)]))
        found = await rig.broker.state(0)
        assert found.positions == {"SPY": Decimal(-7), "BTC/USD": Decimal("0.5")}
        assert found.prices == {"SPY": Decimal("500.25"), "BTC/USD": Decimal(60000)}
        assert [(one.client_order_id, one.status, one.side) for one in found.open_orders] == [
            ("o1", "partially_filled", "buy"), ("o1-tp", "held", "sell"),
        ]  # fmt: skip
        assert (found.cash_usd, found.multiplier, found.status) == (Decimal("1000.5"), 2, "ACTIVE")
        [fill] = found.fills
        assert (fill.execution_id, fill.client_order_id, fill.qty) == ("x-venue-o1-30", "o1", 30)
        assert rig.rest.asked("GET", "/v2/orders")[-1][0]["nested"] == "true"


async def test_fills_that_a_journal_holds_keep_their_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a restart the activities may name the same execution otherwise; it must not count as another."""
    async with broker_rig(monkeypatch) as rig:
        at_venue(rig)
        rig.broker.know([Fill("journaled", "o1", "SPY", "buy", Decimal(30), Decimal("100.5"), Decimal(0), 0, 0)])
        rig.rest.on("GET", "/v2/orders/venue-o1", (200, record("o1", "filled")))
        told = [activity(record("o1"), 30, 30, uuid="u1"), activity(record("o1"), 70, 100, uuid="u2")]
        rig.rest.on("GET", FILLS, (200, told))
        for _ in range(2):
            found = await rig.broker.state(0)
            assert [fill.execution_id for fill in found.fills] == ["journaled", "u2"]


async def test_orders_that_a_restart_finds_unanswered_are_asked_after(monkeypatch: pytest.MonkeyPatch) -> None:
    """F38: killed between sending and the answer: looked up at once, by our id, legs by their parent."""
    async with broker_rig(monkeypatch) as rig:
        await rig.connected()
        legs = [
            record("m1", "new", id="leg-1", type="limit", side="sell"),
            record("m2", "held", id="leg-2", type="stop"),
        ]
        parent = record("o1", "filled", order_class="bracket", legs=legs)
        rig.rest.on("GET", "/v2/orders:by_client_order_id", (200, parent))
        rig.rest.on("GET", "/v2/orders/leg-1", (200, legs[0]))
        rig.broker.resolve(["o1-tp"])
        await rig.told("accepted", "o1-tp")
        rig.rest.on("GET", "/v2/orders:by_client_order_id", (404, {}))
        rig.broker.resolve(["o9"])
        await rig.passing(60, "rejected", "o9")
        await rig.told("rejected", "o9")


async def test_what_the_venue_says_of_an_asset_is_told_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """R09, R18: one that is unknown is missing; a new exchange's name is no fault."""
    async with broker_rig(monkeypatch) as rig:
        good = {"symbol": "BTC/USD", "tradable": True, "exchange": "XYZ", "class": "new", "shortable": False}
        rig.rest.on("GET", "/v2/assets/BTCUSD", (200, good))
        rig.rest.on("GET", "/v2/assets/HALF", (200, {"symbol": "HALF", "tradable": False, "status": "inactive"}))
        assert not (await rig.broker.assets(["BTC/USD"]))["BTC/USD"].shortable
        hard = {"symbol": "HARD", "tradable": True, "shortable": True, "easy_to_borrow": False, "fractionable": True}
        rig.rest.on("GET", "/v2/assets/HARD", (200, hard))
        assert await rig.broker.assets(["HALF", "HARD", "NONE"]) == {
            "HALF": Asset(tradable=False, status="inactive"),
            "HARD": Asset(tradable=True, fractionable=True),  # what cannot be borrowed easily is refused short
        }


async def test_many_assets_are_read_from_the_whole_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """One by one they would take minutes of the rate limit."""
    async with broker_rig(monkeypatch) as rig:
        names = [f"S{number}" for number in range(500)]
        rows = [{"symbol": name, "tradable": True, "status": "active"} for name in names]
        rig.rest.on("GET", "/v2/assets", (200, rows), (200, [{"symbol": "BTC/USD", "tradable": True}]))
        found = await rig.broker.assets([*names, "BTC/USD", "NONE"])
        assert set(found) == {*names, "BTC/USD"}
        assert len(rig.rest.asked("GET", "/v2/assets")) == 2


async def test_reads_are_asked_again_and_refusals_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """F06: a gateway's bad minute; a definite no is not repeated."""
    async with broker_rig(monkeypatch) as rig:
        at_venue(rig)
        rig.rest.on("GET", "/v2/account", (503, ""), ConnectionError(), (200, "{"), (429, {}), (503, ""))
        reading = asyncio.create_task(rig.broker.open())
        for _ in range(30):
            await rig.passing(0.5)
        with pytest.raises(BrokerError, match="429"):
            await reading
        assert len(rig.rest.asked("GET", "/v2/account")) == 4


def test_the_broker_has_no_mode_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """S9: whoever builds it says which account; timeout_s and requests_per_min are described options."""
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TypeError, match="mode"):
        AlpacaBroker(BrokerSettings(), seed=1)  # type: ignore[call-arg]  # what is tested
    with pytest.raises(ConfigError, match="paper account only"):
        AlpacaBroker(BrokerSettings(server_url="http://127.0.0.1:1"), mode="live", seed=1)
    broker = AlpacaBroker(BrokerSettings(), mode="live", seed=1)
    assert (broker.simulated, broker.mode, list(broker.working)) == (False, "live", [])
    assert broker._rest.url == "https://api.alpaca.markets"
    assert [name for name, field in BrokerSettings.model_fields.items() if not field.description] == []
