"""The unmodified SDK's trading client against the local venue."""

from alpaca.trading.requests import MarketOrderRequest

from tests.brokers.alpaca_server.local import running, sdk


async def test_a_market_order_fills_at_the_next_quote() -> None:
    """From POST to position, with the SDK's own models."""
    async with running() as local:
        account = await sdk(local.trading.get_account)
        assert account.cash == "100000"
        await local.step(3)
        order = await sdk(
            local.trading.submit_order, MarketOrderRequest(symbol="AAPL", qty=10, side="buy", time_in_force="day")
        )
        assert order.status == "pending_new"
        await local.step(2)
        order = await sdk(local.trading.get_order_by_id, order.id)
        assert (order.status, order.filled_avg_price) == ("filled", "100.01")
        (position,) = await sdk(local.trading.get_all_positions)
        assert position.qty == "10"
