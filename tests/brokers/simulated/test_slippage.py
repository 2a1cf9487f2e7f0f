"""Rules 4.7 and 16.3 of docs/paper_fills.md: how much worse than the tape a market or stop order fills."""

from __future__ import annotations

import pytest

from brokers.simulated.models import slippage_model
from brokers.simulated.settings import PaperSettings
from brokers.simulated.slippage import FixedBps, HalfSpreadBps, NoSlippage, VolumeShare, to_tick
from engine.errors import ConfigError
from tests.brokers.paper_venue import Venue


def test_slippage_moves_what_takes_and_never_what_rests() -> None:
    """10 basis points of $100 are ten cents, against us on either side; a limit is the worst that they make."""
    settings = {"slippage": "fixed_bps", "slippage_params": {"bps": 10}}
    for side, fields, price in (
        ("buy", {}, "100.1"),
        ("sell", {}, "99.9"),
        ("sell", {"type": "stop", "stop_price": 99}, "98.9"),  # 99 - 0.099, rounded down to the cent
        ("buy", {"type": "limit", "limit_price": 101}, "100.1"),
        ("buy", {"type": "limit", "limit_price": 100.04}, "100.04"),
        ("buy", {"type": "limit", "limit_price": 99}, "99"),  # rests, and the bar comes to it
        ("sell", {"type": "stop_limit", "stop_price": 99, "limit_price": 98}, "98.9"),
        ("sell", {"type": "stop_limit", "stop_price": 99, "limit_price": 98.95}, "98.95"),
    ):
        venue = Venue(position=100 if side == "sell" else 0, **settings)
        venue.order(side, **fields)
        venue.bar("10:01", 100, 100, 98, 100)
        assert venue.fills() == [("100", price)]


def test_half_the_spread_is_paid_unless_a_quote_showed_it() -> None:
    """A spread of 20 basis points costs ten on a bar and nothing on a quote."""
    settings = {"slippage": "half_spread_bps", "slippage_params": {"spread_bps": 20}}
    venue = Venue(**settings)
    venue.order()
    venue.bar("10:01", 100)
    assert venue.fills() == [("100", "100.1")]
    venue = Venue(**settings)
    venue.order()
    venue.quote("10:00:01", 99, 100)
    assert venue.fills() == [("100", "100")]


def test_impact_grows_with_the_square_of_our_share_of_the_volume() -> None:
    """A tenth of the volume at an impact of 0.1 moves the price by 0.1 * 0.1 ** 2 = 0.1 %, a fifth by 0.4 %."""
    for qty, price in ((100, "100.1"), (200, "100.4")):
        venue = Venue(slippage="volume_share", slippage_params={"price_impact": 0.1})
        venue.order("buy", qty)
        venue.bar("10:01", 100, volume=1000)
        assert venue.fills() == [(str(qty), price)]
    assert VolumeShare().slip(100.0, 10.0, float("inf"), quoted=True) == 0.0
    assert VolumeShare().slip(100.0, 10.0, 0.0, quoted=False) == 0.0


@pytest.mark.parametrize(
    ("price", "up", "down"),
    [
        (100.0, 100.0, 100.0),
        (99.7999999999999, 99.8, 99.8),  # binary dust
        (100.001, 100.01, 100.0),
        (0.12341, 0.1235, 0.1234),  # below a dollar the step is a hundredth of a cent
        (0.00001, 0.0001, 0.0001),  # never to zero
    ],
)
def test_prices_round_to_the_tick_against_us(price: float, up: float, down: float) -> None:
    """Up for buys, down for sells; a price that is on the tick stays there."""
    assert to_tick(price, up=True, crypto=False) == up
    assert to_tick(price, up=False, crypto=False) == down
    assert to_tick(60_000.1234567891, up=True, crypto=True) == 60_000.12345679


def test_the_tapes_own_prices_are_used_as_they_are() -> None:
    """A bar's open of a tenth of a cent is somebody's price; only what we make of it is rounded."""
    venue = Venue()
    venue.order()
    venue.bar("10:01", 100.0015)
    assert venue.fills() == [("100", "100.0015")]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"slippage": "fixed_bp"}, "did you mean 'fixed_bps'?"),
        ({"slippage": "fixed_bps"}, "broker.slippage_params: model 'fixed_bps' needs 'bps', which is not given"),
        ({"slippage": "fixed_bps", "slippage_params": {"bps": -1}}, "bps must be a finite number of at least 0"),
        (
            {"slippage": "fixed_bps", "slippage_params": {"bps": "two"}},
            "bps must be a finite number of at least 0, not 't",
        ),
        (
            {"slippage": "fixed_bps", "slippage_params": {"bps": [2]}},
            "bps must be a finite number of at least 0, not [2]",
        ),
        (
            {"slippage": "volume_share", "slippage_params": {"impact": 1}},
            "takes no 'impact'; did you mean 'price_impact'?",
        ),
    ],
)
def test_a_wrong_slippage_model_or_parameter_is_named(settings: dict[str, object], message: str) -> None:
    """The error says where, what was wrong, and what there is."""
    with pytest.raises(ConfigError, match="broker.slippage") as error:
        slippage_model(PaperSettings(**settings))
    assert message in str(error.value)


def test_the_fill_model_is_named_too() -> None:
    """The venue refuses a fill model that it does not know; an instance is taken instead of any name."""
    with pytest.raises(ConfigError, match="broker.fills: unknown model 'next_evnt'; did you mean 'next_event'"):
        Venue(fills="next_evnt")
    venue = Venue(fills="mine", slippage="mine", models={"fills": Never(), "slippage": FixedBps(bps=1)})
    venue.order()
    venue.bar("10:01", 100)
    assert venue.fills() == []


class Never:
    """A plugin's fill model, as pessimistic as can be."""

    def on_bar(self, *_: object) -> None: ...
    def on_quote(self, *_: object) -> None: ...
    def on_trade(self, *_: object, quoted: bool) -> None: ...


def test_models_have_the_names_of_the_settings() -> None:
    """`none` costs nothing to ask."""
    assert slippage_model(PaperSettings()) is None
    assert NoSlippage().slip(1.0, 1.0, 1.0, quoted=False) == 0.0
    named = slippage_model(PaperSettings(slippage="half_spread_bps", slippage_params={"spread_bps": 1}))
    assert isinstance(named, HalfSpreadBps)
