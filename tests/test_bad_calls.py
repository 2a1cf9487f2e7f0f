"""What an author's code gives to a call is taken, denied, or refused on the spot; nobody else notices it."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from engine import Bar, Strategy, journal
from engine.config import from_dict
from engine.events import Approved, Denied, Fill, Intent, OrderUpdate, Record, StrategyHalted
from engine.journal import Journal
from engine.orders import Order
from engine.run import Run
from tests.runs import HeldFeed, bar, configuration, lines, strategy

Ask = tuple[str, tuple[Any, ...], dict[str, Any]]
LONE = "\ud800"


class Steady(Strategy):
    """Turns its position around at every bar, whatever happens beside it."""

    def on_bar(self, bar: Bar) -> None:
        held = self.portfolio.position(bar.symbol).qty
        self.submit_order(bar.symbol, "sell" if held else "buy", 10)


class Careless(Strategy):
    """Makes one call a bar, out of what it was told; `order` among the arguments is the last one that it got."""

    asks: ClassVar[tuple[Ask, ...]] = ()

    def on_start(self) -> None:
        self.left = [*self.asks]
        self.order: Any = None

    def on_bar(self, bar: Bar) -> None:
        if self.left:
            call, values, fields = self.left.pop(0)
            got = getattr(self, call)(*(self.order if value == "order" else value for value in values), **fields)
            self.order = got if isinstance(got, Order) else self.order


def run_beside(asks: tuple[Ask, ...]) -> list[Record]:
    """Return the journal, read from the disk, of a run in which one strategy asks for this and another one trades."""
    Careless.asks = asks
    bars = [bar(symbol, minute, 100.0, 1e9) for minute in range(8) for symbol in ("AAA", "BBB")]
    both = [strategy(Careless, name="careless", symbols=["AAA"]), strategy(Steady, name="steady", symbols=["BBB"])]
    tree = configuration(HeldFeed.hold(bars), strategies=both, broker={"cash_usd": "1e15"})
    with TemporaryDirectory() as folder:
        Run(from_dict(tree), Journal(Path(folder) / "run.journal")).replay()
        return [*journal.read(Path(folder) / "run.journal")]


def of_steady(records: list[Record]) -> list[bytes]:
    """Return its orders and what became of them byte for byte, without the running numbers of the account and venue."""
    found: list[Record] = []
    for record in records:
        if isinstance(record, Approved) and record.intent.strategy == "steady":
            found.append(replace(record, token=0))
        elif isinstance(record, OrderUpdate) and "-steady-" in record.client_order_id:
            found.append(replace(record, broker_order_id=""))
        elif isinstance(record, Fill) and "-steady-" in record.client_order_id:
            found.append(record)
    return lines(found)


UNDISTURBED = of_steady(run_beside(()))


def halts(records: list[Record]) -> list[tuple[str, str]]:
    return [(record.strategy, record.reason) for record in records if isinstance(record, StrategyHalted)]


class Way(StrEnum):
    IN = "buy"


class Dollars(Decimal):
    pass


# --- what is refused, and what it says --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (("buy", (["AAA"], 10), {}), "TypeError: symbol is ['AAA']; it must be one text"),
        (("buy", (("AAA", "BBB"), 10), {}), "TypeError: symbol is ('AAA', 'BBB'); it must be one text"),
        (("sell", (None, 10), {}), "TypeError: symbol is None; it must be one text"),
        (("buy", (LONE, 10), {}), r"ValueError: symbol is '\ud800', which cannot be written"),
        (("buy", ("AAA", [10]), {}), "TypeError: qty is [10]; it must be one number: an int, float, Decimal or str"),
        (("buy", ("AAA", True), {}), "TypeError: qty is True; it must be one number"),
        (("buy", ("AAA", np.bool_(True)), {}), "TypeError: qty is True; it must be one number"),
        (("buy", ("AAA", "ten"), {}), "ValueError: qty is 'ten', which is no number"),
        (("buy", ("AAA",), {"notional": {}}), "TypeError: notional is {}; it must be one number"),
        (("buy", ("AAA", 10), {"limit_price": (100,)}), "TypeError: limit_price is (100,); it must be one number"),
        (("buy", ("AAA", 10), {"stop_loss": "low"}), "ValueError: stop_loss is 'low', which is no number"),
        (("buy", ("AAA", 10), {"take_profit": False}), "TypeError: take_profit is False; it must be one number"),
        (("buy", ("AAA", 10), {"type": ["market"]}), "TypeError: type is ['market']; it must be one text"),
        (("buy", ("AAA", 10), {"order_class": {"oco"}}), "TypeError: order_class is {'oco'}; it must be one text"),
        (("buy", ("AAA", 10), {"time_in_force": LONE}), r"ValueError: time_in_force is '\ud800', which cannot"),
        (("buy", ("AAA", 10), {"extended_hours": "yes"}), "TypeError: extended_hours is 'yes'; it must be True or"),
        (("buy", ("AAA", 10), {"extended_hours": 1}), "TypeError: extended_hours is 1; it must be True or False"),
        (("submit_order", ("AAA", ["buy"], 10), {}), "TypeError: side is ['buy']; it must be one text"),
        (("order_target", (("AAA",), 0), {}), "TypeError: symbol is ('AAA',); it must be one text"),
        (("order_target", ("AAA", None), {}), "TypeError: qty is None; it must be one number"),
        (("order_target_percent", (["AAA"], 0.1), {}), "TypeError: symbol is ['AAA']; it must be one text"),
        (("order_target_percent", ("AAA", None), {}), "TypeError: fraction is None; it must be one number"),
        (("close_position", (["AAA"],), {}), "TypeError: symbol is ['AAA']; it must be one text"),
        (("replace_order", (None,), {"qty": 5}), "TypeError: None is no order; it must be one that a call"),
        (("cancel_order", ("proof-careless-1",), {}), "TypeError: 'proof-careless-1' is no order; it must be one that"),
        (("cancel_all_orders", (["AAA"],), {}), "TypeError: symbol is ['AAA']; it must be one text"),
        (("set_timer", (5,), {"after_s": 1}), "TypeError: name is 5; it must be one text"),
        (("set_timer", ("wake",), {"after_s": [1]}), "TypeError: after_s is [1]; it must be one number"),
    ],
)  # fmt: skip
def test_what_is_of_no_type_for_its_field_is_refused_in_the_authors_own_handler(ask: Ask, told: str) -> None:
    """It says what was given and what is right; the strategy beside it decides as it would have."""
    records = run_beside((ask,))
    ((name, reason),) = halts(records)
    assert (name, reason[: len(told)]) == ("careless", told)
    assert reason.endswith(" of on_bar")
    assert of_steady(records) == UNDISTURBED
    assert UNDISTURBED


# --- what is taken ----------------------------------------------------------------------------------------------------


def intents(*asks: Ask) -> list[Intent]:
    records = run_beside(asks)
    assert halts(records) == []
    return [r.intent for r in records if isinstance(r, Approved | Denied) and r.intent.strategy == "careless"]


NUMBERS = [
    np.int64(10), np.uint8(10), np.float64(10.0), np.float32(10.0), np.array(10), np.array([10.0]), Fraction(10),
    Dollars(10), np.str_("10"), "10", 10.0,
]  # fmt: skip


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: type(number).__name__)
def test_another_librarys_number_is_a_number(number: Any) -> None:
    """Code of arrays makes them all the time; each call takes them for what they say."""
    asked = intents(
        ("buy", ("AAA", number), {}),
        ("buy", ("AAA", number), {"limit_price": number, "take_profit": 120, "stop_loss": 5}),
        ("replace_order", ("order",), {"qty": number}),
        ("order_target", ("AAA", number), {}),
        ("set_timer", ("wake",), {"after_s": number}),
    )
    assert [intent.qty for intent in asked[:3]] == [10, 10, 10]
    assert asked[1].limit_price == 10


def test_a_torch_scalar_is_a_number() -> None:
    """As it comes out of a network."""
    torch = pytest.importorskip("torch")
    (intent,) = intents(("buy", ("AAA", torch.tensor(10)), {"limit_price": torch.tensor(99.5)}))
    assert (intent.qty, intent.limit_price) == (Decimal(10), Decimal("99.5"))


def test_another_kind_of_text_is_a_text_and_numpys_truth_is_one() -> None:
    """An enumeration's member is the word it stands for."""
    fields = {"limit_price": 99, "extended_hours": np.bool_(True), "type": np.str_("limit")}
    (intent,) = intents(("submit_order", (np.str_("AAA"), Way.IN, 10), fields))
    assert (intent.symbol, intent.side, intent.type, intent.extended_hours) == ("AAA", "buy", "limit", True)
    assert [type(word) for word in (intent.symbol, intent.side, intent.type)] == [str, str, str]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"type": "iceberg"}, "type 'iceberg' is unknown"),
        ({"time_in_force": "später"}, "a market order cannot be später"),
        ({"order_class": "all"}, "order_class 'all' is unknown"),
        ({"limit_price": Decimal("sNaN")}, "limit_price sNaN is not finite"),
        ({"stop_loss": float("inf")}, "stop_loss_stop_price Infinity is not finite"),
        ({"take_profit": -0.0}, "take_profit_limit_price -0.0 is not between 0 and 1000000000000"),
        ({"qty": 10**40}, f"qty 1{'0' * 40} is not between 0 and 1000000000000"),
    ],
)
def test_a_value_that_makes_no_sense_is_denied(fields: dict[str, Any], told: str) -> None:
    """The type is right, so the run goes on, with a reason that the strategy can read."""
    records = run_beside((("buy", ("AAA", fields.pop("qty", 10)), fields),))
    assert [r.reason for r in records if isinstance(r, Denied) and r.intent.strategy == "careless"] == [told]
    assert halts(records) == []


# --- anything at all --------------------------------------------------------------------------------------------------


class Odd:
    """Cannot even be shown."""

    def __repr__(self) -> str:
        raise LookupError("no words")


texts = st.sampled_from(["AAA", "AAA", "BBB", "", "A/B", "Ä", LONE, "x" * 300, np.str_("AAA"), Way.IN, "order"])
odd = st.one_of(
    st.none(), st.booleans(), st.just([]), st.just(["AAA"]), st.just(("AAA",)), st.just({}), st.builds(object),
    st.builds(Odd), st.just(b"AAA"), st.just(1j), st.just(np.array([1, 2])), st.just(np.datetime64("NaT")),
)  # fmt: skip
numbers = st.one_of(
    st.integers(-5, 300), st.integers(), st.floats(), st.floats(50, 150), st.decimals(), st.fractions(),
    st.sampled_from([*NUMBERS, "NaN", "-Infinity", "1e999999", "ten", "1_0", Decimal("sNaN"), -0.0, 10**5000]),
)  # fmt: skip
words = st.sampled_from(
    ["buy", "sell", "market", "limit", "stop", "stop_limit", "trailing_stop", "day", "gtc", "ioc", "opg", "simple",
     "bracket", "oco", "oto", "nonsense", "später", LONE, np.str_("day"), Way.IN]
)  # fmt: skip
anything = texts | odd | numbers | words
quantities = numbers | numbers | anything
names = texts | texts | anything
fields_of_orders = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("type", "time_in_force", "order_class"), words | anything),
        **dict.fromkeys(
            ("notional", "limit_price", "stop_price", "trail_price", "trail_percent", "take_profit", "stop_loss",
             "stop_loss_limit"), quantities,
        ),
        "extended_hours": st.booleans() | anything,
        "fractional": anything,
    },
)  # fmt: skip
calls = st.one_of(
    st.tuples(st.sampled_from(["buy", "sell", "order_target", "order_target_percent"]),
              st.tuples(names, quantities), fields_of_orders),
    st.tuples(st.just("submit_order"), st.tuples(names, words | anything, quantities), fields_of_orders),
    st.tuples(st.sampled_from(["close_position", "cancel_all_orders", "open_orders"]), st.tuples(names), st.just({})),
    st.tuples(st.just("cancel_order"), st.tuples(st.just("order") | anything), st.just({})),
    st.tuples(st.just("replace_order"), st.tuples(st.just("order") | anything), st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("qty", "limit_price", "stop_price", "trail"), quantities))),
    st.tuples(st.just("set_timer"), st.tuples(names), st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("after_s", "before_close_s", "after_open_s"), quantities))),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(calls, max_size=8))
def test_whatever_a_strategy_asks_for_nobody_else_notices(asks: list[Ask]) -> None:
    """It alone is halted, or its orders are denied or fill; the other one's lines are the same, and all are read."""
    records = run_beside(tuple(asks))
    assert of_steady(records) == UNDISTURBED
    assert {name for name, _ in halts(records)} <= {"careless"}
