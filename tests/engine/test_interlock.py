"""Real money needs a profile, `--live` and the typed account number, and the venue has to name the same account."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import structlog

from engine import cli, config, daemon, interlock, plugins
from engine.clock import ManualClock
from engine.config import from_dict
from engine.errors import ConfigError
from engine.interlock import LiveProfile
from engine.journal import Journal
from engine.risk.limits import SMALL_ACCOUNT, RiskLimits
from engine.risk.width import STRICTER_WHEN_LARGER, wider
from engine.run import Run
from tests.engine.test_live import FAKES, STRATEGY

ACCOUNT = "PA1"
NOW = datetime(2026, 11, 20, 15, tzinfo=UTC)
ACCOUNT_TYPED = f"{ACCOUNT}7"


class Case:
    """A live run on fakes, and the profile that approves it."""

    def __init__(self, folder: Path, account: str = ACCOUNT_TYPED, **over: Any) -> None:
        self.folder = folder
        (folder / "once.py").write_text(STRATEGY)
        self.path, self.profile = folder / "run.toml", folder / "live.toml"
        self.path.write_text(
            f"""\
mode = "live"
name = "live"
seed = 1
calendar = "24/7"
out_dir = "{folder}/out"
live_profile = "live.toml"
[feed]
use = "{FAKES}:FakeFeed"
[broker]
use = "{FAKES}:FakeBroker"
[[strategies]]
name = "once"
use = "{folder}/once.py:Once"
symbols = ["SPY"]
[alerts]
webhook_env = "ONETAPE_TEST_WEBHOOK"
[risk]
profile = "small_account"
"""
        )
        self.approve(account=account, **over)

    @property
    def run(self) -> Any:
        return config.load(self.path)

    def approve(self, limits: str = "", **over: Any) -> None:
        said = {"mode": "live", "account": ACCOUNT_TYPED, **interlock.fingerprints(self.run), **over}
        lines = [f'{name} = "{value}"' for name, value in said.items() if value is not None]
        lines = [line.replace('"', "") if line.startswith("unattended") else line for line in lines]
        self.profile.write_text("\n".join(lines) + f"\n[limits]\n{limits}\n")
        self.profile.chmod(0o600)

    def unlock(self, typed: str | None = ACCOUNT_TYPED, *, live: bool = True, account: str = "") -> Any:
        clock = ManualClock(int(NOW.timestamp()) * 10**9)
        ask = None if typed is None else lambda: typed
        return interlock.unlock(self.run, live=live, account=account, ask=ask, clock=clock)


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    monkeypatch.setenv("ONETAPE_TEST_WEBHOOK", "http://127.0.0.1:9/hook")
    return Case(tmp_path)


def test_all_three_keys_give_leave_for_one_account(case: Case) -> None:
    """Profile, `--live` and the number: the leave names the account and how far its limits may go."""
    leave = case.unlock()
    assert leave.account == ACCOUNT_TYPED
    assert leave.bounds.max_order_notional_usd == Decimal(SMALL_ACCOUNT["max_order_notional_usd"])


def test_without_any_one_key_there_is_no_leave(case: Case) -> None:
    """Each of the three is needed; the number that is expected is not told to whoever mistypes it."""
    with pytest.raises(ConfigError, match="say so a second time with --live"):
        case.unlock(live=False)
    with pytest.raises(ConfigError, match="the account number typed is not the one of the live profile") as told:
        case.unlock("12345678")
    assert ACCOUNT_TYPED not in str(told.value)
    case.profile.unlink()
    with pytest.raises(ConfigError, match="cannot read .*live.toml: No such file"):
        case.unlock()
    case.path.write_text(case.path.read_text().replace('live_profile = "live.toml"\n', ""))
    with pytest.raises(ConfigError, match="needs a profile; name its file: live_profile"):
        case.unlock()


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o660])
def test_a_profile_that_others_can_get_at_is_refused(case: Case, mode: int) -> None:
    """Whoever can write it can trade the account."""
    case.profile.chmod(mode)
    with pytest.raises(ConfigError, match=f"is open to others; make it yours alone: chmod 600 {case.profile}"):
        case.unlock()


@pytest.mark.parametrize(
    ("over", "told"),
    [
        ({"mode": "paper"}, "live.toml:1: mode: should be 'live', not \"paper\""),
        ({"account": ""}, "live.toml:2: account: should match pattern"),
        ({"account": None}, "account: missing"),
        ({"build": "0" * 63}, "build: should match pattern"),
        ({"build": "0" * 64}, "this code is not the one that was approved"),
        ({"config": "0" * 64}, "this configuration is not the one that was approved"),
        ({"acount": "x"}, "acount: unknown key; did you mean 'account'?"),
        (
            {"limits": "max_order_notional = 5"},
            "max_order_notional: unknown key; did you mean 'max_order_notional_usd'?",
        ),
        ({"limits": "max_order_qty = -1"}, "max_order_qty"),
        ({"limits": 'max_order_qty = "many"'}, "max_order_qty"),
        ({"limits": 'profile = "reckless"'}, "no risk profile is called 'reckless'"),
        ({"unattended_until": "tomorrow"}, "live.toml"),
    ],
)
def test_a_profile_that_does_not_read_or_match_is_one_clear_message(case: Case, over: Any, told: str) -> None:
    """Missing, malformed, unknown, or of another build or configuration."""
    case.approve(**over)
    with pytest.raises(ConfigError) as error:
        case.unlock()
    assert told in str(error.value)


def test_a_changed_line_of_code_or_configuration_needs_a_new_approval(case: Case) -> None:
    """C33: what was approved is what runs, the strategy's own file included."""
    case.unlock()
    (case.folder / "once.py").write_text(STRATEGY.replace("10", "11"))
    with pytest.raises(ConfigError, match="this code is not the one that was approved"):
        case.unlock()
    (case.folder / "once.py").write_text(STRATEGY)
    case.path.write_text(case.path.read_text().replace("seed = 1", "seed = 2"))
    with pytest.raises(ConfigError, match="this configuration is not the one that was approved"):
        case.unlock()


def test_limits_go_beyond_the_defaults_only_as_far_as_the_profile_says(case: Case) -> None:
    """Narrower for anybody, wider in the profile only."""
    text = case.path.read_text()
    case.path.write_text(text + "max_order_notional_usd = 30000\nduplicate_window_s = 1.0\n")
    case.approve()
    with pytest.raises(ConfigError) as error:
        case.unlock()
    assert "max_order_notional_usd 30000 (at most 25000)" in str(error.value)
    assert "duplicate_window_s 1.0 (at most 2.0)" in str(error.value)
    case.approve(limits="max_order_notional_usd = 30000\nduplicate_window_s = 0.5")
    assert case.unlock().bounds.max_order_notional_usd == 30_000
    case.path.write_text(text + "max_order_notional_usd = 1\n")
    case.approve()
    case.unlock()


def test_every_limit_has_a_direction(case: Case) -> None:
    """A limit that is loosened, whichever it is, is seen; a tightened one is not."""
    base = RiskLimits(profile="small_account")  # type: ignore[call-arg]  # the profile fills in the rest
    assert set(SMALL_ACCOUNT) == RiskLimits.model_fields.keys() - {"profile"}
    for name in SMALL_ACCOUNT:
        value = getattr(base, name)
        more, less = (True, False) if isinstance(value, bool) else (value * 2 + 1, value / 2 if value else value)
        if name in STRICTER_WHEN_LARGER:
            more, less = less, more
        assert [one[0] for one in wider(base.model_copy(update={name: more}), base)] == [name] * (more != value)
        assert list(wider(base.model_copy(update={name: less}), base)) == []


# --- where nobody can type -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("until", "account", "told"),
    [
        (None, ACCOUNT_TYPED, "has no unattended_until"),
        (date(2026, 11, 21), "", "wants the account's number typed, and there is no terminal"),
        (date(2026, 11, 19), ACCOUNT_TYPED, "unattended_until, 2026-11-19, is over"),
        (date(2026, 11, 28), ACCOUNT_TYPED, "is more than 7 days ahead"),
        (date(2026, 11, 20), "123", "the account number given is not the one of the live profile"),
        (date(2026, 11, 20), ACCOUNT_TYPED, ""),
        (date(2026, 11, 27), ACCOUNT_TYPED, ""),
    ],
)
def test_an_unattended_start_is_approved_for_days(case: Case, until: date | None, account: str, told: str) -> None:
    """`--account` counts without a terminal only, and only up to `unattended_until`, at most a week ahead."""
    case.approve(unattended_until=until)
    if not told:
        assert case.unlock(None, account=account).account == ACCOUNT_TYPED
        return
    with pytest.raises(ConfigError) as error:
        case.unlock(None, account=account)
    assert told in str(error.value)


def test_at_a_terminal_the_number_is_typed_whatever_the_line_says(case: Case) -> None:
    """A line that is recalled from the shell's history must not be enough."""
    with pytest.raises(ConfigError, match="the account number typed is not the one"):
        case.unlock("", account=ACCOUNT_TYPED)


# --- the command -----------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def fakes() -> Iterator[Any]:
    """The fake venue as new; a daemon in this process sets up the logs of all, which is taken back."""
    found = sys.modules[plugins.load(plugins.FEED, f"{FAKES}:FakeFeed").__module__]
    found.FakeBroker.reset()
    found.FakeFeed.script = []
    yield found
    structlog.reset_defaults()


def onetape(*words: object) -> int:
    return cli.main([str(word) for word in words])


def test_another_account_than_the_profiles_ends_with_2(
    case: Case, fakes: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last word is the venue's: keys of another account trade nothing, and the connection is let go."""
    monkeypatch.setattr(sys, "stdin", Terminal(f"{ACCOUNT_TYPED}\n"))
    assert onetape("run", case.path, "--live") == 2
    told = capsys.readouterr()
    assert "trades real money. Type the number of its account" in told.out
    assert f"the venue says that these keys are of account {ACCOUNT}; the profile and the number typed say" in told.err
    assert fakes.FakeBroker.book["closed"]
    assert fakes.FakeBroker.book["sent"] == []


def test_a_number_mistyped_or_left_out_asks_no_venue(
    case: Case, fakes: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2 and a line, and nothing of the run is on the disk."""
    for typed, words in ((Terminal("1234\n"), "number typed is not"), (io.StringIO(""), "there is no terminal")):
        monkeypatch.setattr(sys, "stdin", typed)
        assert onetape("run", case.path, "--live") == 2
        assert words in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", Terminal(""))
    assert onetape("run", case.path, "--live") == 1
    assert not (case.folder / "out").exists()
    assert "clock" not in fakes.FakeBroker.book


def test_a_journal_of_the_other_mode_is_not_gone_on_with(
    case: Case, fakes: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """S10: what was traded on paper is no beginning of a live run."""
    paper = from_dict(case.run.resolved() | {"mode": "paper"})
    paper.out_dir.mkdir()
    ledger = Journal(paper.out_dir / daemon.RUN_JOURNAL)
    Run(paper, ledger).begin(ACCOUNT, now_ns=fakes.START_NS)
    ledger.close()
    monkeypatch.setattr(sys, "stdin", Terminal(f"{ACCOUNT_TYPED}\n"))
    assert onetape("run", case.path, "--live") == 2
    assert "holds another run: mode differs" in capsys.readouterr().err
    assert "clock" not in fakes.FakeBroker.book


def test_a_run_without_money_takes_neither_of_the_two_words(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    """`--live` and `--account` on a paper run are a mistake that is told."""
    case.path.write_text(case.path.read_text().replace('mode = "live"', 'mode = "paper"'))
    for words, told in ((["--live"], "--live was given"), (["--account", "1"], "--account was given")):
        assert onetape("run", case.path, *words) == 2
        assert f"{told}, but mode is 'paper'" in capsys.readouterr().err


def test_check_shows_what_a_profile_has_to_name(case: Case, fakes: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """`--check` needs no key; it says what to approve, and whether that was done."""
    assert onetape("run", case.path, "--check") == 0
    shown = capsys.readouterr().out
    for name, found in interlock.fingerprints(case.run).items():
        assert f'{name} = "{found}"' in shown
    assert f"approved for account {ACCOUNT_TYPED}" in shown
    case.profile.unlink()
    assert onetape("run", case.path, "--check") == 0
    assert "not approved: cannot read" in capsys.readouterr().out


def test_the_daemon_itself_trades_no_money_without_leave(case: Case, fakes: Any) -> None:
    """Whoever calls it from Python goes through the interlock, too; a simulated venue is no live one."""
    with pytest.raises(ConfigError, match="leave to trade real money was not asked for"):
        daemon.run(case.run)
    tree = case.run.resolved() | {"broker": {"use": "paper", "cash_usd": "1000"}}
    clock = ManualClock(int((NOW + timedelta(days=1)).timestamp()) * 10**9)
    with pytest.raises(ConfigError, match="broker 'paper' only simulates"):
        interlock.unlock(from_dict(tree), live=True, account="", ask=lambda: ACCOUNT_TYPED, clock=clock)


def test_every_key_of_the_profile_is_described() -> None:
    """mode, account, build, config, unattended_until and limits each say what they are."""
    assert [name for name, field in LiveProfile.model_fields.items() if not field.description] == []
