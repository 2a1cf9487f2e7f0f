"""Measures of a model's health, what they lead to, and the scoreboard of two rivals."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.clock import Sessions
from engine.config.models import HealthConfig
from engine.errors import ModelError
from engine.events import (
    DAY_NS,
    MINUTE_NS,
    Bar,
    CorporateAction,
    Denied,
    ModelStatus,
    Signal,
    TradingStateChanged,
)  # fmt: skip
from engine.model.card import FeatureSpec, Output, Reference
from engine.model.health import Health, calibration_error, ks, psi
from engine.model.horizon import Horizon
from engine.model.normalization import Normalization
from engine.model.outlet import Verdict
from engine.model.rivals import Board
from engine.model.states import Due
from engine.report import Result
from engine.strategy import Strategy
from tests.engine.model import nets
from tests.runs import OPEN_NS, HeldFeed, bar, configuration, market, replayed, strategy

DICE = np.random.default_rng(11)
NORMAL = DICE.normal(size=20_000)
QUANTILES = np.quantile(NORMAL, np.linspace(0, 1, 101))
EVENTS = market(3, 120, ("AAA", "BBB"))


# --- figures ---------------------------------------------------------------------------------------------------------


def test_no_drift_is_close_to_zero() -> None:
    """Numbers of the reference's own distribution have no index to speak of."""
    same = DICE.normal(size=2_000)
    assert psi(QUANTILES, same) < 0.02
    assert ks(QUANTILES, same) < 0.04


def test_a_shift_has_the_index_of_the_textbook() -> None:
    """Deciles against counts by hand: all of the mass in the top bin is (1-0.1) ln(1/0.1) + 9 (0.1-eps) ln(0.1/eps)."""
    eps = 1e-4
    wanted = (1 - 0.1) * np.log(1 / 0.1) + 9 * (eps - 0.1) * np.log(eps / 0.1)
    assert psi(QUANTILES, np.full(500, 99.0)) == pytest.approx(wanted, rel=1e-6)
    assert ks(QUANTILES, np.full(500, 99.0)) == pytest.approx(1.0, abs=0.011)


def test_half_a_deviation_is_a_shift_and_a_tenth_is_none() -> None:
    """About where 0.25 and 0.1 are drawn by those who use the index."""
    assert psi(QUANTILES, DICE.normal(0.1, 1.0, 4_000)) < 0.1
    assert psi(QUANTILES, DICE.normal(0.6, 1.0, 4_000)) > 0.25


def test_a_feature_of_few_values_has_the_bins_that_it_has() -> None:
    """Deciles that coincide are one bin with all their mass: a flag that stays a flag does not drift."""
    flag = (DICE.random(5_000) < 0.3).astype(float)
    quantiles = np.quantile(flag, np.linspace(0, 1, 101))
    assert psi(quantiles, (DICE.random(2_000) < 0.3).astype(float)) < 0.05
    assert psi(quantiles, (DICE.random(2_000) < 0.9).astype(float)) > 0.25
    assert psi(np.zeros(101), np.zeros(50)) == pytest.approx(0.0)


def test_leaving_a_value_that_was_all_or_most_of_the_reference_is_a_drift() -> None:
    """Downwards as well as upwards, though no quantile lies below it; and what stays as it was does not drift."""
    mostly = np.where(DICE.random(5_000) < 0.9, 0.0, DICE.normal(size=5_000) ** 2)
    for values, here in ((np.ones(5_000), 1.0), (mostly, 0.0)):
        quantiles = np.quantile(values, np.linspace(0, 1, 21))
        assert psi(quantiles, values) < 0.01
        assert ks(quantiles, values) < 0.01
        for elsewhere in (here - 1.0, here + 1.0):
            assert psi(quantiles, np.full(500, elsewhere)) > 2.0
            assert ks(quantiles, np.full(500, elsewhere)) >= 0.85
    flag = np.quantile((np.arange(1_000) < 310).astype(float), np.linspace(0, 1, 21))
    for count in (290, 310, 330):
        assert psi(flag, (np.arange(1_000) < count).astype(float)) < 0.02
    assert ks(flag, (np.arange(1_000) < 50).astype(float)) > 0.15


def test_calibration_is_the_mean_gap_in_ten_bins() -> None:
    """Ten at 0.85 of which six came true, and ten at 0.15 of which one did: (2.5 + 0.5) / 20."""
    predicted = np.array([0.85] * 10 + [0.15] * 10)
    came = np.array([1.0] * 6 + [0.0] * 4 + [1.0] + [0.0] * 9)
    assert calibration_error(predicted, came) == pytest.approx((2.5 + 0.5) / 20)


def test_a_board_adds_up() -> None:
    """Hits, the mean return of following the sign, and the correlation, over any number of parts."""
    scores, returns = DICE.normal(size=300), DICE.normal(size=300) * 0.01
    board = Board()
    for part in (slice(0, 10), slice(10, 299), slice(299, 300)):
        board.add(scores[part], returns[part])
    assert board.information_coefficient == pytest.approx(np.corrcoef(scores, returns)[0, 1])
    assert board.hit_rate == pytest.approx(((scores > 0) == (returns > 0)).mean())
    assert board.mean_return == pytest.approx((np.sign(scores) * returns).mean())


def horizon(bars: int = 1, **over: Any) -> Horizon:
    card = nets.card(outputs=(Output("up", "probability", bars * MINUTE_NS),), **over)
    return Horizon(card, ("AAA", "BBB"))


def said(ahead: Horizon, row: int, ts_ns: int, number: float = 1.0, *, recv_ns: int = 0) -> None:
    """Say a number of the bar that closed at an instant; `recv_ns` says when the pass began."""
    nothing = np.empty((1, 0))
    rows = np.array([row])
    ahead.wait(Due(recv_ns or ts_ns, rows, np.array([ts_ns]), rows, nothing, nothing), np.array([[number]]))


def test_a_return_is_known_only_when_its_horizon_has_passed() -> None:
    """What waits is compared with the close that is known then; what is no number does not wait."""
    ahead = horizon(2)
    ahead.take(bar("AAA", 0, 100.0))
    said(ahead, 0, OPEN_NS + MINUTE_NS, 7.0)
    said(ahead, 0, OPEN_NS + MINUTE_NS, float("nan"))
    said(ahead, 1, OPEN_NS + MINUTE_NS)
    ahead.take(bar("AAA", 1, 101.0))
    assert ahead.passed() == []
    ahead.take(bar("AAA", 2, 110.0))
    assert ahead.passed() == [(pytest.approx(0.1), 7.0)]
    assert ahead.passed() == []


def test_a_horizon_is_so_many_bars_of_the_symbol_whatever_time_they_take() -> None:
    """Over a minute that is missing, a jitter of the reception, a pass that comes late, and bars that do not count."""
    ahead, minutes = horizon(2), [0, 1, 5, 6, 7]
    for place, minute in enumerate(minutes):
        ahead.take(bar("AAA", minute, 1.01**place))
        ahead.take(bar("AAA", minute, 50.0))  # a second time
        ahead.take(Bar("AAA", bar("AAA", minute, 1.0).ts_event_ns + 1, 0, 9.0, 9.0, 9.0, 9.0, 1.0, 5 * MINUTE_NS))
        ahead.take(bar("AAA", minute - 400, 50.0))  # older
        said(ahead, 0, OPEN_NS + (minute + 1) * MINUTE_NS, recv_ns=OPEN_NS + (minute + 1) * MINUTE_NS + minute * 10**8)
    assert [came for came, _ in ahead.passed()] == pytest.approx([1.01**2 - 1] * 3)
    said(ahead, 0, OPEN_NS + MINUTE_NS)
    assert [came for came, _ in ahead.passed()] == pytest.approx([1.01**2 - 1])


def test_a_daily_horizon_is_counted_in_sessions() -> None:
    """Five bars are five bars, over weekends and a holiday."""
    sessions = Sessions("XNYS")
    found, day = [], sessions.at(OPEN_NS)
    ahead = horizon(5 * DAY_NS // MINUTE_NS, interval_ns=DAY_NS)
    for number in range(30):
        length_ns = day.close_ns - day.open_ns
        ahead.take(Bar("AAA", day.close_ns, day.close_ns, 1.0, 9.0, 1.0, 1.01**number, 1.0, length_ns))
        said(ahead, 0, day.close_ns)
        found += [came for came, _ in ahead.passed()]
        day = sessions.at(day.extended_close_ns)
    assert found == pytest.approx([1.01**5 - 1] * 25)


@pytest.mark.parametrize(
    ("action", "close"),
    [
        ({"action": "split", "new_shares": 10, "old_shares": 1}, 10.0),
        ({"action": "cash_dividend", "amount_usd": Decimal(2)}, 98.0),
    ],
)  # fmt: skip
def test_splits_and_dividends_are_no_returns(action: dict[str, Any], close: float) -> None:
    """Whether a score waits already, or is told of a bar of before the action."""
    ahead = horizon()
    ahead.take(bar("AAA", 0, 100.0))
    said(ahead, 0, OPEN_NS + MINUTE_NS, 1.0)
    ahead.take(CorporateAction("AAA", OPEN_NS + MINUTE_NS, OPEN_NS + MINUTE_NS, **action))
    ahead.take(CorporateAction("CCC", OPEN_NS + MINUTE_NS, OPEN_NS + MINUTE_NS, **action))
    said(ahead, 0, OPEN_NS + MINUTE_NS, 2.0)
    ahead.take(bar("AAA", 1, close * 1.5))
    assert ahead.passed() == [(pytest.approx(0.5), 1.0), (pytest.approx(0.5), 2.0)]


@pytest.mark.parametrize("name", ["NEW", "BBB"])
def test_a_renamed_symbol_goes_on_under_its_new_name(name: str) -> None:
    """Also where another company had that name before; and who takes the old one is another company."""
    ahead = horizon()
    ahead.take(bar("AAA", 0, 100.0))
    said(ahead, 0, OPEN_NS + MINUTE_NS)
    ahead.take(CorporateAction("AAA", OPEN_NS + MINUTE_NS, OPEN_NS + MINUTE_NS, "symbol_change", new_symbol=name))
    ahead.take(bar("AAA", 1, 1.0))
    ahead.take(bar(name, 1, 110.0))
    assert ahead.passed() == [(pytest.approx(0.1), 1.0)]


# --- verdicts --------------------------------------------------------------------------------------------------------


def reference(**over: Any) -> Reference:
    points = DICE.normal(size=(200, 3)).astype(np.float32)
    given: dict[str, Any] = {
        "feature_quantiles": (tuple(QUANTILES.tolist()),) * 3, "output_quantiles": (tuple(QUANTILES.tolist()),),
        "points": tuple(map(tuple, points.tolist())), "distance": (2.0, 1.5),
    }  # fmt: skip
    return Reference(**(given | over))


def observed(health: Health, *, shift: float = 0.0, output_shift: float = 0.0, ts_ns: int = OPEN_NS) -> Any:
    """Show a model 100 passes of two symbols and return the last verdict."""
    verdict = None
    for number in range(100):
        newest = (DICE.normal(size=(2, 3)) + shift).astype(np.float32)
        inputs = np.repeat(newest[:, :, None], nets.LOOKBACK, axis=2)
        rows = np.array([0, 1])
        at_ns = ts_ns + number * MINUTE_NS
        due = Due(at_ns, rows, np.full(2, at_ns), rows, inputs, newest)
        outputs = (DICE.normal(size=(2, 1)) + output_shift).astype(np.float32)
        verdict = health.observe(due, outputs) or verdict
    return verdict


def watching(card: Any = None, **over: Any) -> Health:
    config = HealthConfig(**({"look_every_count": 50} | over))
    plain = nets.card(reference=reference(), normalization=Normalization())
    return Health(config, card or plain, ("AAA", "BBB"))


def test_a_healthy_model_is_told_healthy() -> None:
    """Every measure is looked at every `look_every_count` scores; none is beyond its limit."""
    health = watching(
        drift_psi_max=0.25, drift_ks_max=0.2, prediction_psi_max=0.25, ood_share_max=0.3, age_days_max=1e5
    )
    assert observed(health).state == "healthy"
    assert health.counts["looks"] == 4
    assert set(health.measures) == {"drift_psi", "drift_ks", "prediction_psi", "ood_share", "age_days"}


@pytest.mark.parametrize(
    ("over", "shown", "told"),
    [
        ({"drift_psi_max": 0.25, "drift_action": "reduce_only"}, {"shift": 3.0}, "drift_psi"),
        ({"drift_ks_max": 0.3, "drift_action": "reduce_only"}, {"shift": 3.0}, "drift_ks"),
        ({"prediction_psi_max": 0.25, "prediction_action": "reduce_only"}, {"output_shift": 3.0}, "prediction_psi"),
        ({"ood_share_max": 0.5, "ood_action": "reduce_only"}, {"shift": 30.0}, "ood_share"),
        ({"age_days_max": 30.0, "age_action": "reduce_only"}, {"ts_ns": 40 * DAY_NS}, "age_days"),
    ],
)
def test_what_is_beyond_its_limit_asks_for_its_action(over: Any, shown: Any, told: str) -> None:
    """The verdict says which measure, its value and its limit."""
    card = nets.card(reference=reference(), train_span_ns=(0, DAY_NS), valid_span_ns=(0, 2 * DAY_NS))
    verdict = observed(watching(card, **over), **({"ts_ns": DAY_NS} | shown))
    assert (verdict.state, verdict.action) == ("degraded", "reduce_only")
    assert re.fullmatch(rf"{told} [\d.e+]+ > [\d.]+", verdict.reason)


def test_the_worst_action_wins_and_every_reason_is_told() -> None:
    """A halt before a shrink."""
    over = {"drift_psi_max": 0.25, "ood_share_max": 0.1, "ood_action": "halt"}
    verdict = observed(watching(**over), shift=30.0)
    assert verdict.action == "halt"
    assert "drift_psi" in verdict.reason
    assert "ood_share" in verdict.reason


def test_an_expired_model_is_old() -> None:
    """`age_action`, from the first look after its card's expiry."""
    card = nets.card(reference=reference(), expires_ns=OPEN_NS)
    verdict = observed(watching(card, age_days_max=1e6, age_action="halt"), ts_ns=OPEN_NS + DAY_NS)
    assert verdict.action == "halt"
    assert "expired_days" in verdict.reason


def calibrated(outputs: Any, moves: Callable[[Any], float], said: Callable[[Any], list[float]]) -> tuple[Any, Health]:
    """Show 1,000 minutes whose moves follow a probability, 0.1 or 0.9, and what a model said of each before."""
    card = nets.card(
        outputs=tuple(Output(name, "probability", MINUTE_NS) for name in outputs), score=(1.0,) * len(outputs)
    )
    health = watching(card, calibration_max=0.2, calibration_action="halt")
    dice, price, verdict = np.random.default_rng(3), 100.0, None
    for minute in range(1_000):
        health.take(bar("AAA", minute, price))
        likely = dice.choice([0.1, 0.9])
        rows, at_ns = np.array([0]), OPEN_NS + (minute + 1) * MINUTE_NS
        shown = np.zeros((1, 3, nets.LOOKBACK), np.float32)
        due = Due(at_ns, rows, np.array([at_ns]), rows, shown, shown[:, :, -1])
        verdict = health.observe(due, np.array([said(likely)], np.float32)) or verdict
        price *= 1.001 if dice.random() < moves(likely) else 0.999
    return verdict, health


@pytest.mark.parametrize(("outputs", "said"), [(("up",), lambda p: [p]), (("down", "up"), lambda p: [1 - p, p])])
def test_bad_calibration_is_noticed_and_good_is_left_alone(outputs: Any, said: Any) -> None:
    """Once horizons have passed; of two classes the one that means a rise counts, as `onetape train` packs them."""
    verdict, health = calibrated(outputs, lambda likely: likely, said)
    assert (verdict.action, health.measures["calibration"]) == ("none", pytest.approx(0.0, abs=0.05))
    verdict, health = calibrated(outputs, lambda likely: 1 - likely, said)
    assert (verdict.action, health.measures["calibration"]) == ("halt", pytest.approx(0.8, abs=0.05))


@pytest.mark.parametrize("measure", ["drift_psi", "drift_ks"])
def test_the_hour_of_a_look_is_no_drift(measure: str) -> None:
    """`time_of_day` runs from 0 to 1 in training and over an hour of it in a look; other features still count."""
    hours = tuple(np.linspace(0, 1, 101).tolist())
    quantiles = (hours, tuple(QUANTILES.tolist()), tuple(QUANTILES.tolist()))
    specs = (FeatureSpec("time_of_day"), *nets.SPECS[:2])
    card = nets.card(specs=specs, reference=Reference(feature_quantiles=quantiles), normalization=Normalization())
    for shift, state in ((0.0, "healthy"), (3.0, "degraded")):
        health = watching(card, **{f"{measure}_max": 0.25})
        for number in range(100):
            newest = DICE.normal(size=(2, 3)) + shift
            newest[:, 0] = 0.5 + number / 600
            rows, at_ns = np.array([0, 1]), OPEN_NS + number * MINUTE_NS
            due = Due(at_ns, rows, np.full(2, at_ns), rows, newest[:, :, None], newest)
            verdict = health.observe(due, np.zeros((2, 1))) or Verdict()
        assert (verdict.state, health.measures[measure] > 0.25) == (state, state == "degraded")


@pytest.mark.parametrize("limit", ["drift_psi_max", "drift_ks_max", "prediction_psi_max", "ood_share_max"])
def test_a_limit_that_the_card_gives_no_reference_for_is_refused(limit: str) -> None:
    """A measure that could never be taken is no protection."""
    with pytest.raises(ModelError, match=rf"models\.health\.{limit}: the card of 'tiny' holds no reference"):
        watching(nets.card(), **{limit: 0.5})


@pytest.mark.parametrize(
    ("names", "meaning", "horizon_ns"),
    [
        (("next",), "return", MINUTE_NS), (("up",), "score", MINUTE_NS), (("down", "up"), "probability", 0),
        (("up", "down"), "probability", MINUTE_NS), (("down", "flat", "up"), "probability", MINUTE_NS),
        (("below", "above"), "probability", MINUTE_NS), (("negative", "neutral", "positive"), "probability", MINUTE_NS),
    ],
)  # fmt: skip
def test_calibration_needs_a_probability_that_returns_can_judge(names: Any, meaning: Any, horizon_ns: int) -> None:
    """Of a return, a barrier, a median or a headline nobody can say from returns how often it came true."""
    outputs = tuple(Output(name, meaning, horizon_ns) for name in names)
    with pytest.raises(ModelError, match=r"models.health.calibration_max: returns do not tell .* 'tiny' was right"):
        watching(nets.card(outputs=outputs, score=(1.0,) * len(names)), calibration_max=0.1)


# --- through the run -------------------------------------------------------------------------------------------------


RICH = {"cash_usd": "1000000000"}


class Buyer(Strategy):
    """Asks for the same order at every signal."""

    def on_signal(self, signal: Signal) -> None:
        self.buy(signal.symbol, 100)


def run(folder: Path, health: dict[str, Any], events: Any = EVENTS, **over: Any) -> tuple[list[Any], Any]:
    file = nets.bundle(folder, nets.Linear(3, nets.LOOKBACK), reference=reference(), **over.pop("card", {}))
    health = {"look_every_count": 40} | health
    table = {"name": "tiny", "file": str(file), "device": "cpu", "health": health, **over}
    risk = {"max_order_notional_usd": 15_000, "max_order_qty": 1_000, "max_position_percent": 100_000}
    return replayed(
        configuration(HeldFeed.hold(events), models=[table], strategies=[strategy(Buyer)], risk=risk, broker=RICH)
    )


@pytest.mark.parametrize(
    ("action", "reason"),
    [("shrink", "order notional"), ("reduce_only", "model tiny: drift_psi"), ("halt", "trading is halted by C34")],
)
def test_c34_carries_out_what_health_asks_for(tmp_path: Path, action: str, reason: str) -> None:
    """Before the first look orders pass; after it the control refuses them by its name, or all trading has halted."""
    records, _ = run(tmp_path, {"drift_psi_max": 0.25, "drift_action": action, "shrink_percent": 50.0})
    (status,) = [record for record in records if isinstance(record, ModelStatus)]
    denied = [record for record in records if isinstance(record, Denied)]
    assert (status.state, status.action) == ("degraded", action)
    assert status.size_fraction == (0.5 if action == "shrink" else 1.0)
    assert denied
    assert all(reason in one.reason for one in denied)
    assert all(one.ts_event_ns >= status.ts_recv_ns for one in denied)
    halted = [one for one in records if isinstance(one, TradingStateChanged) and one.state == "halted"]
    assert [one.control for one in halted] == (["C34 model_health"] if action == "halt" else [])


def test_health_binds_only_the_strategies_that_trade_by_the_model(tmp_path: Path) -> None:
    """`strategies` names them; `*` is all that hear signals."""
    health = {"drift_psi_max": 0.25, "drift_action": "reduce_only"}
    file = nets.bundle(tmp_path, nets.Linear(3, nets.LOOKBACK), reference=reference())
    table = {
        "name": "tiny", "file": str(file), "health": {"look_every_count": 40} | health, "strategies": ["two"],
    }  # fmt: skip
    strategies = [strategy(Buyer), strategy(Buyer, name="two")]
    risk = {"max_position_percent": 100_000}
    records, _ = replayed(configuration(HeldFeed.hold(EVENTS), models=[table], strategies=strategies, risk=risk))
    by_model = [one for one in records if isinstance(one, Denied) and one.control == "C34 model_health"]
    assert {one.intent.strategy for one in by_model} == {"two"}


def test_a_verdict_stands_in_the_report_with_its_reason(tmp_path: Path) -> None:
    """The section on models: what each file said, when its standing changed, and why."""
    limits = {"drift_psi_max": 0.25, "drift_action": "reduce_only"}
    page = Result.from_records(run(tmp_path, limits)[0]).html()
    models = page[page.index("<h2>Models</h2>") : page.index("<h2>Prices")]
    told = re.sub(r"<[^>]*>|\s+", " ", models)
    assert re.search(r"tiny +[0-9a-f]{12} +\d{3} +2 ", told), told
    assert re.search(r"tiny +degraded +reduce only +drift_psi \d+\.\d+ &gt; 0\.25", told), told
    without, _ = replayed(configuration(HeldFeed.hold(EVENTS), strategies=[strategy(Buyer)]))
    assert "<h2>Models</h2>" not in Result.from_records(without).html()


def test_a_guard_marks_a_market_that_it_does_not_know(tmp_path: Path) -> None:
    """More windows than `guard_share_max` with an error beyond the card's limit lead to `guard_action`."""
    guards = {}
    for name, error in (("calm", 0.1), ("wild", 9.0)):
        (tmp_path / name).mkdir()
        card = {"reference": reference(reconstruction=(0.5, 0.9, 1.0)), "outputs": (Output("error", "reconstruction"),)}
        guards[name] = str(nets.bundle(tmp_path / name, nets.Fixed(error), name="guard", **card))
    for name, action in (("calm", None), ("wild", "halt")):
        records, _ = run(tmp_path, {"guard": guards[name], "guard_action": "halt"})
        found = [record.action for record in records if isinstance(record, ModelStatus)]
        assert found == ([action] if action else [])


def test_a_challenger_is_compared_and_never_trades(tmp_path: Path) -> None:
    """Orders are those of a run without it; the journal holds a comparison of both on the same bars."""
    (tmp_path / "other").mkdir()
    challenger = nets.bundle(tmp_path / "other", nets.Linear(3, nets.LOOKBACK), seed=7)
    events = market(5, 380, ("AAA", "BBB", "CCC"))
    alone, _ = run(tmp_path, {}, events)
    beside, ended = run(tmp_path, {}, events, challenger=str(challenger))
    (compared,) = [record for record in beside if isinstance(record, ModelStatus)]
    assert (compared.state, compared.action) == ("compared", "none")
    assert re.match(r"1\d\d\d scores; champion IC -?0\.\d+, hits .*; challenger IC", compared.reason)
    rest = [record for record in beside if not isinstance(record, ModelStatus)]
    assert [type(one) for one in rest] == [type(one) for one in alone]
    assert ended.scoring.lanes[0].counted()["challenger_failed"] == 0
