"""The synthetic feed: the same for the same seed, plausible, and labeled as what it is."""

import hashlib
import subprocess
import sys
from collections import defaultdict
from datetime import date
from typing import Any

import msgspec
import pytest
from pydantic import ValidationError

from brokers.synthetic import SyntheticFeed
from engine.clock import Sessions
from engine.errors import ConfigError
from engine.events import EVENT_CLASS, MINUTE_NS, Bar, CorporateAction, Datum, MarketEvent, News, Quote, Status

DIGEST = """
import hashlib, msgspec
from brokers.synthetic import SyntheticFeed
feed = SyntheticFeed(SyntheticFeed.Settings(seed=11, sessions=2, corporate_actions=True))
digest = hashlib.sha256()
for batch in feed.batches():
    digest.update(msgspec.json.encode(batch))
print(digest.hexdigest(), feed.fingerprint)
"""


def feed(**chosen: Any) -> SyntheticFeed:
    return SyntheticFeed(SyntheticFeed.Settings.model_validate(chosen))


def play(**chosen: Any) -> list[MarketEvent]:
    return [event for batch in feed(**chosen).batches() for event in batch]


def test_the_same_seed_makes_the_same_market_in_every_process() -> None:
    """Hash seeds, batches and the second time round change nothing."""
    told = {
        subprocess.run(
            [sys.executable, "-c", DIGEST], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    chosen = {"seed": 11, "sessions": 2, "corporate_actions": True}
    digest = hashlib.sha256(b"".join(msgspec.json.encode(batch) for batch in feed(**chosen).batches()))
    assert told == {f"{digest.hexdigest()} {feed(**chosen).fingerprint}\n"}


def test_another_seed_or_setting_makes_another_market_and_fingerprint() -> None:
    """A journal that names one is not mistaken for a run on another."""
    variants = [{}, {"seed": 8}, {"news": False}, {"symbols": ("ALFA",)}, {"quotes_per_minute": 0}, {"sessions": 2}]
    assert len({feed(**chosen).fingerprint for chosen in variants}) == len(variants)
    assert play(seed=8) != play(seed=7)


def test_a_symbol_more_does_not_change_the_walk_of_the_others() -> None:
    """Each has dice of its own, unless the day's story meets the new one."""
    chosen = {"news": False, "halt": False, "quotes_per_minute": 0}
    two, three = (play(symbols=("ALFA", "BRVO", "CHLY")[:count], **chosen) for count in (2, 3))
    # The story is drawn for a place among the symbols, and doubles the volume there; prices stay.
    closes = [
        [event.close for event in events if isinstance(event, Bar) and event.symbol == "ALFA"]
        for events in (two, three)
    ]
    assert closes[0] == closes[1]


def test_events_come_in_the_order_of_the_contract() -> None:
    """By reception, then class, then the order of the symbols in the settings."""
    events = play(sessions=2, symbols=("ZETA", "ALFA"))
    keys = [(event.ts_recv_ns, EVENT_CLASS[type(event)]) for event in events]
    assert keys == sorted(keys)
    bars = [event.symbol for event in events if isinstance(event, Bar)]
    assert bars[:4] == ["ZETA", "ALFA", "ZETA", "ALFA"]


@pytest.mark.parametrize("calendar", ["XNYS", "24/7"])
def test_the_feed_knows_its_symbols_and_span(calendar: str) -> None:
    """First and last reception, without playing it through."""
    made = feed(calendar=calendar, sessions=3, symbols=("BRVO", "ALFA"))
    events = [event for batch in made.batches() for event in batch]
    assert made.symbols == ["ALFA", "BRVO"]
    assert made.span_ns == (events[0].ts_recv_ns, events[-1].ts_recv_ns)
    assert {event.symbol for event in events if isinstance(event, Bar)} == {"ALFA", "BRVO"}


def test_every_event_and_every_text_says_that_it_is_synthetic() -> None:
    """Nobody shall take it for a market, wherever it turns up."""
    events = play(sessions=2, corporate_actions=True)
    assert {event.source for event in events} == {"synthetic"}
    texts = [event.headline for event in events if isinstance(event, News)]
    texts += [event.text for event in events if isinstance(event, Datum)]
    texts += [event.reason for event in events if isinstance(event, Status)]
    assert len(texts) == 2 * 4 + 2 + 2
    assert all("synthetic" in text for text in texts)


def test_bars_and_quotes_could_be_of_a_market() -> None:
    """Prices inside their range and in cents, bid below ask, every minute there, busier at the ends than at noon."""
    events = play(halt=False)
    bars, quotes = ([event for event in events if isinstance(event, kind)] for kind in (Bar, Quote))
    for bar in bars:
        assert 0 < bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high
        assert bar.low <= (bar.vwap or 0) <= bar.high
        assert bar.close == round(bar.close, 2)
        assert bar.volume > 0
        assert bar.trade_count > 0
    assert all(0 < quote.bid_price < quote.ask_price for quote in quotes)
    assert len(bars) == 4 * 390
    assert len(quotes) == 4 * 390 * 4
    by_minute: dict[int, float] = defaultdict(float)
    for bar in bars:
        by_minute[bar.ts_event_ns] += bar.volume
    volumes = [by_minute[ts_ns] for ts_ns in sorted(by_minute)]
    assert sum(volumes[:30]) > 2 * sum(volumes[180:210]) < sum(volumes[-30:])


def test_a_headline_moves_a_price_after_it_is_out() -> None:
    """Nothing shows before the headline; ten minutes after it, the move does."""
    moves = []
    for seed in range(12):
        events = play(seed=seed, halt=False, quotes_per_minute=0)
        for news in (event for event in events if isinstance(event, News)):
            sign = {"raises": 1, "wins": 1, "cuts": -1, "recalls": -1}.get((news.headline.split() + [""] * 3)[2], 0)
            closes = [e.close for e in events if isinstance(e, Bar) and sign and e.symbol == news.symbols[0]]
            after = [
                e.ts_event_ns >= news.ts_event_ns
                for e in events
                if isinstance(e, Bar) and sign and e.symbol == news.symbols[0]
            ]
            if sign:
                at = after.index(True)
                moves.append(sign * (closes[at + 10] / closes[at - 1] - 1))
    assert len(moves) == 12
    assert sum(moves) / len(moves) > 0.015


def test_the_halt_stops_bars_and_quotes_of_one_symbol_for_five_minutes() -> None:
    """The venue says so before, and the others trade on."""
    events = play()
    stop, go = (event for event in events if isinstance(event, Status))
    assert (stop.state, go.state, go.ts_event_ns - stop.ts_event_ns) == ("halted", "trading", 5 * MINUTE_NS)
    inside = [
        event for event in events if isinstance(event, Quote) and stop.ts_event_ns < event.ts_event_ns < go.ts_event_ns
    ]
    assert {event.symbol for event in inside} == {*feed().symbols} - {stop.symbol}
    missing = 390 - sum(isinstance(event, Bar) and event.symbol == stop.symbol for event in events)
    assert missing in (4, 5)


def test_corporate_actions_come_before_the_second_session() -> None:
    """A split halves the price and a dividend takes itself off it; before the first quote of that day."""
    events = play(sessions=2, corporate_actions=True, news=False, halt=False)
    split, dividend = (event for event in events if isinstance(event, CorporateAction))
    second = Sessions("XNYS").on_date("2024-03-05")
    assert second is not None
    assert {split.ts_event_ns, dividend.ts_event_ns} == {second.extended_open_ns}
    assert (split.symbol, split.new_shares, split.old_shares) == ("ALFA", 2, 1)
    assert (dividend.symbol, str(dividend.amount_usd)) == ("DLTA", "0.25")
    bars = [event for event in events if isinstance(event, Bar) and event.symbol == "ALFA"]
    before, after = bars[389], bars[390]
    assert after.open / before.close == pytest.approx(0.5, rel=0.05)
    with pytest.raises(ValidationError, match="sessions must be 2 or more"):
        feed(sessions=1, corporate_actions=True)


def test_the_interval_the_quotes_and_the_news_are_as_the_settings_say() -> None:
    """`bar_interval_s`, `quotes_per_minute` and `news`; the last bar of a session may be shorter."""
    events = play(bar_interval_s=7200, quotes_per_minute=0, news=False, halt=False, symbols=("ALFA",))
    assert {type(event) for event in events} == {Bar}
    assert [event.interval_ns // MINUTE_NS for event in events if isinstance(event, Bar)] == [120, 120, 120, 30]
    assert sum(isinstance(event, Quote) for event in play(quotes_per_minute=1, halt=False)) == 4 * 390


def test_sessions_follow_the_calendar_from_the_first_session_on() -> None:
    """Over a weekend and a holiday; a first session that is none is refused."""
    events = play(first_session=date(2024, 3, 28), sessions=2, quotes_per_minute=0, news=False, halt=False)
    calendar = Sessions("XNYS")
    days = sorted({calendar.at(event.ts_event_ns - 1).date for event in events})
    assert days == ["2024-03-28", "2024-04-01"]
    with pytest.raises(ConfigError, match="first_session: 2024-03-29 is no session of XNYS"):
        feed(first_session="2024-03-29")
    with pytest.raises(ValidationError):
        feed(symbols=())
