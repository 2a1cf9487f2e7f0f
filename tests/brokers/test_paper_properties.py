"""What holds at the simulated venue whatever the orders and the bars: histories drawn at random."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from brokers.simulated.slippage import to_tick
from engine.events import MINUTE_NS, Bar, CorporateAction, Fill, OrderUpdate, Quote, Status, Trade
from tests.brokers.paper_venue import Venue, at

TERMINAL = {"canceled", "expired", "rejected", "replaced", "filled"}

cents = st.integers(9_500, 10_500).map(lambda number: number / 100)
bars = st.tuples(cents, cents, cents, cents, st.integers(0, 2_000)).map(
    lambda b: (b[0], max(b[:4]), min(b[:4]), b[3], float(b[4]))
)
price = st.integers(9_500, 10_500).map(lambda number: str(Decimal(number) / 100))
shapes = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"type": st.just("limit"), "limit_price": price}),
    st.fixed_dictionaries({"type": st.just("stop"), "stop_price": price}),
    st.fixed_dictionaries({"type": st.just("stop_limit"), "stop_price": price, "limit_price": price}),
    st.fixed_dictionaries({"type": st.just("trailing_stop"), "trail_percent": st.sampled_from(["0.5", "1", "3"])}),
    st.fixed_dictionaries(
        {
            "order_class": st.just("bracket"), "take_profit_limit_price": price, "stop_loss_stop_price": price,
        }
    ),
)  # fmt: skip
orders = st.tuples(
    st.sampled_from(["buy", "sell"]),
    st.integers(1, 400),
    st.sampled_from(["day", "day", "ioc", "fok"]),
    st.integers(0, 59_999),  # sent so many ms after the bar before
    shapes,
    st.integers(-1, 6),  # canceled so many bars later, never at -1
)
histories = st.lists(st.tuples(bars, st.lists(orders, max_size=2)), min_size=1, max_size=12)


drawn = settings(deadline=None)  # the first example loads the calendar


def play(history: list[Any], seed: int = 1, **options: Any) -> tuple[Venue, dict[str, Any], list[Bar]]:
    """Run a history of minute bars and orders to the next day; return the venue, the orders and the bars."""
    venue = Venue(position=100_000, allow_flip=True, seed=seed, **options)
    sent: dict[str, Any] = {}
    cancels: dict[int, list[str]] = defaultdict(list)
    tape = []
    end_ns = at("10:00")
    for number, (prices, wishes) in enumerate(history):
        for order_id in cancels[number]:
            venue.cancel(order_id)
        for side, qty, time_in_force, delay_ms, shape, cancel_after in sorted(wishes, key=lambda wish: wish[3]):
            venue.now_ns = end_ns + delay_ms * 1_000_000
            if shape.get("order_class"):
                time_in_force = "day"
            order_id = venue.order(side, qty, time_in_force=time_in_force, **shape)
            sent[order_id] = (side, qty, venue.now_ns)
            if cancel_after >= 0:
                cancels[number + 1 + cancel_after].append(order_id)
        end_ns += MINUTE_NS
        bar = Bar("SPY", end_ns, end_ns, *prices, MINUTE_NS)
        tape.append(bar)
        venue.see(bar)
        venue.now_ns = max(venue.now_ns, end_ns)
    venue.wait_until(at("12:00", "2019-02-13"))
    venue.wait_until(at("16:02", "2019-02-13"))
    return venue, sent, tape


@drawn
@given(histories)
def test_fills_never_exceed_the_orders_quantity(history: list[Any]) -> None:
    """The sum over an order's executions is at most what was ordered; a leg's at most its parent's fills."""
    venue, sent, _ = play(history, participation=0.1)
    filled: dict[str, Decimal] = defaultdict(Decimal)
    for answer in venue.answers:
        if isinstance(answer, Fill):
            assert answer.qty > 0
            filled[answer.client_order_id] += answer.qty
    for order_id, (_, qty, _) in sent.items():
        assert filled[order_id] <= qty
        assert filled[f"{order_id}-tp"] + filled[f"{order_id}-sl"] <= filled[order_id]


@drawn
@given(histories)
def test_every_fill_is_a_price_of_its_bar(history: list[Any]) -> None:
    """Without slippage no order fills outside its bar's low and high; a target may, at its own limit, to our loss."""
    venue, _, tape = play(history)
    for fill in venue.answers:
        if isinstance(fill, Fill):
            price = float(fill.price)
            bars_then = [bar for bar in tape if bar.ts_open_ns <= fill.ts_event_ns <= bar.ts_event_ns]
            if fill.client_order_id.endswith("-tp"):
                assert any(price >= bar.low if fill.side == "buy" else price <= bar.high for bar in bars_then)
            else:
                assert any(bar.low <= price <= bar.high for bar in bars_then)


shown = st.one_of(
    st.tuples(st.just(Bar), bars),
    st.tuples(st.just(Quote), cents, st.integers(0, 200), st.sampled_from([10.0, 400.0])),
    st.tuples(st.just(Trade), cents, st.sampled_from([100.0, 5_000.0])),
)
collared = st.fixed_dictionaries({"type": st.just("limit"), "limit_price": st.sampled_from(["97", "103"])})
wishes_between = st.lists(
    st.tuples(
        st.sampled_from(["buy", "sell"]), st.integers(1, 400), st.sampled_from([0, 30_000]), st.one_of(shapes, collared)
    ),
    max_size=2,
)  # fmt: skip


def shows(kind: type, how: list[Any], now: int) -> Bar | Quote | Trade:
    """Return an event of this instant; a bar is of the minute before it."""
    if kind is Bar:
        return Bar("SPY", now, now, *how[0], MINUTE_NS)
    if kind is Trade:
        return Trade("SPY", now, now, *how)
    bid, spread_cents, size = how
    return Quote("SPY", now, now, bid, size, bid + spread_cents / 100, size)


def worst_price(event: Bar | Quote | Trade, buy: bool) -> float:
    """Return the worst price for one side that an event shows."""
    if isinstance(event, Bar):
        return event.high if buy else event.low
    return event.price if isinstance(event, Trade) else event.ask_price if buy else event.bid_price


@drawn
@given(st.lists(st.tuples(shown, wishes_between), min_size=1, max_size=12), st.sampled_from([0, 10]))
def test_no_fill_is_worse_than_its_event_or_its_limit(story: list[Any], bps: int) -> None:
    """What is worse than its event's price, slippage aside, is a limit's own price after the market was beyond it."""
    venue = Venue(
        position=100_000, allow_flip=True, participation=0.1, quote_max_age_s=90, slippage="fixed_bps",
        slippage_params={"bps": bps},
    )  # fmt: skip
    orders, left_behind, now = {}, set(), at("10:00")
    for (kind, *how), wishes in story:
        for side, qty, delay_ms, shape in wishes:
            venue.now_ns = now + delay_ms * 1_000_000
            venue.order(side, qty, **shape)
        now += MINUTE_NS
        event = shows(kind, how, now)
        venue.wait_until(now)
        orders |= venue.broker._table.open
        left_behind |= {
            o.id for o in orders.values() if (worst_price(event, o.buy) - o.limit) * (1 if o.buy else -1) >= 0
        }
        for fill in venue.see(event):
            if not isinstance(fill, Fill) or (order := orders[fill.client_order_id]).is_target:
                continue
            sign, price, at_limit = 1 if order.buy else -1, float(fill.price), float(fill.price) == order.limit
            assert not sign * price > sign * order.limit
            known = [worst_price(event, order.buy)]
            if isinstance(event, Bar) and order.intent.type in ("market", "limit"):
                known = [event.open, event.close]
            slipped = [to_tick(p + sign * p * bps / 1e4, up=order.buy, crypto=False) if bps else p for p in known]
            assert sign * price <= max(sign * p for p in slipped) or (at_limit and order.id in left_behind)


@drawn
@given(histories)
def test_nothing_fills_before_it_has_arrived(history: list[Any]) -> None:
    """Every fill is later than the acceptance of its order, which is one latency after its sending."""
    venue, sent, _ = play(history, latency_ms=250)
    accepted: dict[str, int] = {}
    for answer in venue.answers:
        if isinstance(answer, OrderUpdate) and answer.status == "accepted":
            accepted[answer.client_order_id] = answer.ts_event_ns
            if answer.client_order_id in sent:
                assert answer.ts_event_ns == sent[answer.client_order_id][2] + 250_000_000
        elif isinstance(answer, Fill):
            assert answer.ts_event_ns >= accepted[answer.client_order_id]


@drawn
@given(histories)
def test_fills_never_take_more_than_their_share_of_a_bar(history: list[Any]) -> None:
    """Over all orders, one event's fills are at most the participation times its volume."""
    venue = Venue(position=100_000, allow_flip=True, participation=0.25)
    end_ns = at("10:00")
    for prices, wishes in history:
        for side, qty, time_in_force, _, shape, _ in wishes:
            venue.order(side, qty, time_in_force="day" if shape.get("order_class") else time_in_force, **shape)
        end_ns += MINUTE_NS
        answers = venue.bar(end_ns, *prices[:4], volume=prices[4])
        assert sum(a.qty for a in answers if isinstance(a, Fill)) <= Decimal(prices[4]) / 4


@drawn
@given(histories)
def test_every_order_is_over_when_its_day_is(history: list[Any]) -> None:
    """Each order has filled or ended by the end of its session, said once; nothing works, is held or reserved on."""
    venue, sent, _ = play(history, participation=0.2)
    assert venue.broker.working == {}
    for order_id, (_, qty, _) in sent.items():
        ends = [state for state in venue.states(order_id) if state in TERMINAL]
        filled = sum((Decimal(amount) for amount, _ in venue.fills(order_id)), Decimal(0))
        assert len(ends) + (filled == qty) == 1
    assert venue.broker._table.open == {}
    assert venue.broker._table.reserved_usd == 0


@drawn
@given(histories)
def test_a_cancel_always_ends_the_order(history: list[Any]) -> None:
    """One bar after every order has been canceled, none works any more."""
    venue = Venue(position=100_000, allow_flip=True, participation=0.2)
    end_ns = at("10:00")
    for prices, wishes in history:
        sent = [venue.order(side, qty, **shape) for side, qty, _, _, shape, _ in wishes]
        end_ns += MINUTE_NS
        venue.bar(end_ns, *prices[:4], volume=prices[4])
        for order_id in sent:
            for name in (order_id, f"{order_id}-sl"):
                venue.cancel(name)
        venue.wait_until(venue.now_ns + 50_000_000)
        assert venue.broker.working == {}


@drawn
@given(histories)
def test_the_same_events_give_the_same_answers(history: list[Any]) -> None:
    """Two venues with one seed, under jitter, say the same word for word."""
    options = {"latency_jitter_ms": 30.0, "participation": 0.1, "slippage": "fixed_bps", "slippage_params": {"bps": 1}}
    assert play(history, seed=3, **options)[0].answers == play(history, seed=3, **options)[0].answers


@drawn
@given(histories)
def test_later_bars_change_nothing_that_was_before(history: list[Any]) -> None:
    """What the venue answered by any bar does not depend on the bars after it."""
    half = history[: len(history) // 2 + 1]
    cut_ns = at("10:00") + len(half) * MINUTE_NS
    whole, part = (play(each)[0].answers for each in (history, half))
    assert [a for a in whole if a.ts_event_ns < cut_ns] == [a for a in part if a.ts_event_ns < cut_ns]


sizes = st.sampled_from([0.0, 30.0, 400.0, 5_000.0])
happenings = st.one_of(
    st.tuples(st.just("bar"), bars),
    st.tuples(st.just("quote"), cents, cents, sizes),
    st.tuples(st.just("trade"), cents, sizes),
    st.tuples(st.just("halt"), st.booleans()),
    st.tuples(st.just("split")),
    st.tuples(st.just("cancel"), st.integers(0, 20)),
    st.tuples(st.just("replace"), st.integers(0, 20), st.integers(1, 400), shapes),
    st.tuples(st.just("oco"), price, price, st.integers(1, 400)),
    st.tuples(st.just("notional"), st.sampled_from(["buy", "sell"]), st.integers(1, 40_000)),
    st.tuples(
        st.just("order"), st.sampled_from(["buy", "sell"]), st.integers(1, 400),
        st.sampled_from(["day", "gtc", "ioc", "fok", "opg", "cls"]), shapes,
    ),
    st.tuples(st.just("wait"), st.sampled_from([1, 60, 7_200, 86_400])),
)  # fmt: skip


def happen(venue: Venue, sent: list[str], what: str, *how: Any) -> None:
    """Let one thing happen a second after the one before."""
    venue.now_ns += 1_000_000_000
    now = venue.now_ns
    venue.wait_until(now)
    if what == "bar":
        venue.see(Bar("SPY", now, now, *how[0], MINUTE_NS))
    elif what == "quote":
        venue.see(Quote("SPY", now, now, how[0], how[2], how[1], how[2]))
    elif what == "trade":
        venue.see(Trade("SPY", now, now, *how))
    elif what == "halt":
        venue.notice(Status("SPY", now, now, "halted" if how[0] else "trading"))
    elif what == "split":
        venue.notice(CorporateAction("SPY", now, now, "split", new_shares=2))
    elif what == "wait":
        venue.wait_until(now + how[0] * 1_000_000_000)
    elif what == "cancel" and sent:
        venue.cancel(sent[how[0] % len(sent)] + ("", "-sl", "-tp")[how[0] % 3])
    elif what == "replace" and sent:
        old = sent[how[0] % len(sent)] + ("", "-sl", "-tp")[how[0] % 3]
        shape = {key: value for key, value in how[2].items() if key in ("type", "limit_price", "stop_price")}
        if shape.get("type") == "trailing_stop":
            shape = {}
        order = venue.broker._table.open.get(old)
        sent.append(venue.order(order.intent.side if order else "sell", how[1], replaces=old, **shape))
    elif what == "oco":
        fields = {"type": "limit", "order_class": "oco", "limit_price": how[0], "stop_loss_stop_price": how[1]}
        sent.append(venue.order("sell", how[2], **fields))
    elif what == "notional":
        sent.append(venue.order(how[0], None, notional_usd=how[1]))
    elif what == "order":
        sent.append(venue.order(how[0], how[1], time_in_force=how[2], **how[3]))


@drawn
@given(st.lists(happenings, min_size=1, max_size=40), st.sampled_from(["XNYS", "24/7"]))
def test_the_venues_books_agree_after_whatever_happens(story: list[Any], calendar_name: str) -> None:
    """After each thing that can happen, the open orders, the working ones and the reserve tell the same story."""
    venue = Venue(calendar_name=calendar_name, position=1_000, power="60000", participation=0.1)
    sent: list[str] = []
    for what, *how in story:
        happen(venue, sent, what, *how)
        table = venue.broker._table
        working = [order for orders in table.working.values() for order in orders]
        assert all(orders for orders in table.working.values())
        assert sorted(o.id for o in working) == sorted(o.id for o in table.open.values() if not o.held)
        assert not any(order.done for order in working)
        assert abs(table.reserved_usd - sum(order.reserved_usd for order in working)) < Decimal("1e-9")
        assert all(order.left is None or order.left > 0 for order in working)
        assert venue.broker.due_ns > venue.now_ns
    for order_id in {answer.client_order_id for answer in venue.answers}:
        ends = [state for state in venue.states(order_id) if state in TERMINAL]
        assert len(ends) <= 1
        if ends:
            assert venue.states(order_id)[-1] == ends[0]
