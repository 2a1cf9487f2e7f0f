"""The `[risk]` table: nothing is defaulted in silence."""

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from engine.risk import RiskLimits
from engine.risk.limits import PROFILES, SMALL_ACCOUNT


def test_every_limit_is_required_without_a_profile() -> None:
    """Leaving out any one key is an error that names it."""
    for key in SMALL_ACCOUNT:
        rest = {name: value for name, value in SMALL_ACCOUNT.items() if name != key}
        with pytest.raises(ValidationError, match=rf"(?s)1 validation error.*{key}\n  Field required"):
            RiskLimits(**rest)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_gives_every_limit(profile: str) -> None:
    """A profile sets exactly the fields of the model, so that none is forgotten when one is added."""
    assert PROFILES[profile].keys() == RiskLimits.model_fields.keys() - {"profile"}
    assert RiskLimits(profile=profile).profile == profile


def test_explicit_keys_win_over_the_profile() -> None:
    """What the user wrote stands, the profile fills in the rest."""
    limits = RiskLimits(profile="small_account", max_order_notional_usd=5000)
    assert limits.max_order_notional_usd == Decimal(5000)
    assert limits.max_position_percent == Decimal(20)


def test_money_is_decimal_even_when_given_as_a_float() -> None:
    """0.1 is a tenth, not its nearest binary fraction."""
    assert RiskLimits(profile="small_account", max_order_qty=0.1).max_order_qty == Decimal("0.1")


@pytest.mark.parametrize("value", [-1, "nan", "inf", "many", True, None, [1]])
def test_a_limit_that_is_no_amount_is_refused(value: object) -> None:
    """Negative, not a number, infinite and of the wrong type all name the key."""
    with pytest.raises(ValidationError, match="max_order_notional_usd"):
        RiskLimits(profile="small_account", max_order_notional_usd=value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_orders_per_day_count", 5.5),
        ("max_orders_per_day_count", "5"),
        ("max_orders_per_day_count", True),
        ("max_orders_per_day_count", -1),
        ("max_data_age_s", "15"),
        ("max_data_age_s", float("nan")),
        ("max_data_age_s", -0.1),
        ("market_orders_as_limits", 1),
        ("allow_short_selling", "yes"),
        ("max_ordre_qty", 5),
        ("profile", "small_acount"),
    ],
)
def test_a_wrong_type_or_an_unknown_key_is_refused(key: str, value: object) -> None:
    """Counts are whole, seconds are numbers, switches are true or false."""
    with pytest.raises(ValidationError):
        RiskLimits(**{"profile": "small_account", key: value})


def test_an_unknown_profile_is_told_with_a_suggestion() -> None:
    """The message says which profile was meant."""
    with pytest.raises(ValidationError, match="did you mean 'small_account'"):
        RiskLimits(profile="small_acount")


def test_limits_cannot_be_changed_after_the_start() -> None:
    """A strategy cannot widen its limits."""
    with pytest.raises(ValidationError, match="frozen"):
        RiskLimits(profile="wide").max_order_qty = Decimal(1)  # type: ignore[misc]  # that is the test


def test_trading_becomes_reduce_only_before_it_halts() -> None:
    """A halt limit nearer than the reduce-only one is a mistake."""
    with pytest.raises(ValidationError, match="daily_loss_halt_percent 1 is below daily_loss_reduce_only_percent 2"):
        RiskLimits(profile="small_account", daily_loss_halt_percent=1)


def test_every_description_names_its_control_and_every_name_its_unit() -> None:
    """A reader of the generated reference finds the control; switches alone have no unit."""
    units = ("_usd", "_percent", "_fraction", "_qty", "_count", "_s")
    for name, field in RiskLimits.model_fields.items():
        if name != "profile":
            assert field.description is not None
            assert field.description[0] == "C"
            assert field.description[1:3].isdigit()
            assert name.endswith(units) or isinstance(SMALL_ACCOUNT[name], bool), name


PAGE = (Path(__file__).parents[3] / "docs" / "risk_controls.md").read_text()


def test_the_page_shows_every_limit_with_its_small_account_value() -> None:
    """What docs/risk_controls.md says is what the profile does."""
    rows = PAGE.partition("## The controls")[2].splitlines()
    limits = "\n".join(row for row in rows if "`[watchdog]`" not in row)  # that is a table of its own
    shown = dict(re.findall(r"`(\w+)` (\d+|true|false)[, |]", limits))
    assert shown == {key: str(value).lower().removesuffix(".0") for key, value in SMALL_ACCOUNT.items()}


def test_the_page_shows_every_control_and_whether_it_binds_reductions(desk: Any) -> None:
    """A row for each control that runs, marked where an exit has to pass it too."""
    for control in desk().risk.controls:
        mark = ", **all**" if control.binds_reductions else ""
        assert f"\n| {control.label}{mark} |" in PAGE


def test_the_page_shows_the_order_in_which_the_controls_are_asked(desk: Any) -> None:
    """The first refusal wins, so the order is part of what is promised."""
    risk = desk().risk
    asked = ["C25", *(control.code for control in risk._entry_checks)]
    assert ", ".join(asked) in " ".join(PAGE.split())
