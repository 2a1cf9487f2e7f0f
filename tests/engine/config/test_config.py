"""One TOML file is one complete run, or one message that tells everything that is wrong with it."""

import json
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from engine import config
from engine.config import RunConfig
from engine.errors import ConfigError
from engine.strategy import Strategy

PLUGINS = """
from pathlib import Path
from pydantic import BaseModel, ConfigDict, Field
from engine.strategy import Strategy

class Feed:
    class Settings(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)
        paths: tuple[Path, ...] = Field(description="Tapes, in any order.", examples=[["tape/"]])
        gap_s_max: float = Field(60.0, ge=0, description="Longest gap that is not reported.")
    def batches(self): ...

class Plain:
    def submit(self): ...

class Cross(Strategy):
    fast: int = 10
    slow: int = 30
    weight: float = 0.5
    def on_bar(self, bar): ...

class Angry(Strategy):
    def __init__(self):
        raise RuntimeError("not today")

class Odd(Strategy):
    thing: object = object()
"""
RUN = """\
mode = "replay"
name = "demo"
seed = 7

[feed]
use = "plugins.py:Feed"
paths = ["tape/", "/abs/tape"]

[broker]
use = "plugins.py:Plain"

[[strategies]]
name = "cross"
use = "plugins.py:Cross"
symbols = ["SPY", "QQQ"]
bar = "5min"
params = { fast = 5 }

[risk]
profile = "wide"
"""
Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    (tmp_path / "plugins.py").write_text(PLUGINS)

    def write(text: str) -> Path:
        path = tmp_path / "run.toml"
        path.write_text(text)
        return path

    return write


def told(path: Path, *overrides: str) -> str:
    """Return the message for a file that must not load, without its folder."""
    with pytest.raises(ConfigError) as caught:
        config.load(path, overrides)
    assert caught.value.exit_code == 2
    return str(caught.value).replace(f"{path.parent}/", "")


# --- a good file -----------------------------------------------------------------------------------------------------


def test_a_run_is_read_whole_and_frozen(write: Write) -> None:
    """Every table arrives typed, a plugin's options in its own `Settings`, and nothing can be changed afterwards."""
    run = config.load(write(RUN))
    assert (run.mode, run.name, run.seed, run.calendar) == ("replay", "demo", 7, "XNYS")
    assert type(run.feed.settings).__qualname__ == "Feed.Settings"
    assert run.broker.settings is None
    assert run.strategies[0].bar == "5min"
    with pytest.raises(ValueError, match="frozen"):
        run.seed = 8  # type: ignore[misc]  # the point of the test


def test_paths_start_at_the_folder_of_the_file(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration moves together with its tapes and plugins, wherever the command is typed."""
    monkeypatch.chdir("/")
    run = config.load(write(RUN))
    assert run.feed.settings is not None
    assert run.feed.settings.model_dump()["paths"] == (tmp_path / "tape", Path("/abs/tape"))
    assert run.out_dir == tmp_path / "runs" / "demo"
    assert run.strategies[0].use == f"{tmp_path}/plugins.py:Cross"


def test_a_path_given_on_the_command_line_starts_at_the_current_folder(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--set` means what the shell means."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    run = config.load(write(RUN), ["out_dir=here", 'feed.paths=["near"]', "feed.use=../plugins.py:Feed"])
    assert run.out_dir == tmp_path / "elsewhere" / "here"
    assert run.feed.settings is not None
    assert run.feed.settings.model_dump()["paths"] == (tmp_path / "elsewhere" / "near",)
    whole = config.load(write(RUN), ['feed={use = "../plugins.py:Feed", paths = ["near"]}'])
    assert whole.feed == run.feed


def test_parameters_that_are_not_given_are_written_out(write: Write) -> None:
    """The journal says what a strategy ran with, also when its author changes a default later."""
    assert config.load(write(RUN)).strategies[0].params == {"fast": 5, "slow": 30, "weight": 0.5}


def test_a_star_means_all_symbols(write: Write) -> None:
    """`symbols = "*"` needs no list."""
    assert config.load(write(RUN.replace('["SPY", "QQQ"]', '"*"'))).strategies[0].symbols == ("*",)


def test_the_resolved_run_is_the_same_run_again(write: Write) -> None:
    """`from_dict` of `resolved` gives the same run, so a journal that keeps it can be done over."""
    run = config.load(write(RUN), ["out_dir=/somewhere/else", "log.level=debug", "feed.speed=600"])
    again = config.from_dict(json.loads(json.dumps(run.resolved())))
    assert again == run
    assert again.resolved_json() == run.resolved_json()


def test_where_a_run_is_kept_and_how_it_is_shown_is_no_part_of_it(write: Write) -> None:
    """The journal's head is the same wherever output and tape lie, however it is told and paced; a seed changes it."""
    path = write(RUN)
    plain = config.load(path).resolved_json()
    beside = [
        "out_dir=x", "log.level=error", "log.file=false", "handler_budget_ms=5", "feed.speed=60",
        'feed.paths=["other"]', "journal.durability=power",
    ]  # fmt: skip
    assert config.load(path, beside).resolved_json() == plain
    for deciding in ("seed=8", "warm_up_s=60", "risk.max_order_qty=5", "feed.gap_s_max=1"):
        assert config.load(path, [deciding]).resolved_json() != plain


def test_the_plan_shows_every_option_in_the_words_of_set(write: Write) -> None:
    """`--check` prints the whole run, one `key = value` a line, and each line is a valid `--set`."""
    path = write(RUN)
    lines = config.load(path).describe().splitlines()
    assert "strategies.cross.params.slow = 30" in lines
    assert "feed.gap_s_max = 60.0" in lines
    again = config.load(path, [line.replace(" = ", "=", 1) for line in lines])
    assert again == config.load(path)


def test_a_notebook_passes_its_own_class(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a dictionary, `use` may be a class, and numbers may be Decimal."""
    write(RUN)
    monkeypatch.chdir(tmp_path)
    tree = {
        "mode": "replay", "name": "nb", "seed": 1, "risk": {"profile": "wide"},
        "feed": {"use": "plugins.py:Feed", "paths": [Path("tape")]}, "broker": {"use": "plugins.py:Plain"},
        "strategies": [{"name": "mine", "use": Mine, "symbols": ["SPY"], "params": {"share": Decimal("0.25")}}],
    }  # fmt: skip
    run = config.from_dict(tree)
    assert run.strategies[0].use == f"{Mine.__module__}:Mine"
    assert run.strategies[0].params == {"share": "0.25"}


class Mine(Strategy):
    share: Decimal = Decimal("0.5")


# --- overrides -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("seed=8", lambda run: run.seed == 8),
        ("seed = 8", lambda run: run.seed == 8),
        ("name=other", lambda run: run.name == "other"),
        ('name="other"', lambda run: run.name == "other"),
        ("log.level=debug", lambda run: run.log.level == "debug"),
        ("strategies.0.params.fast=3", lambda run: run.strategies[0].params["fast"] == 3),
        ("strategies.cross.params.fast=3", lambda run: run.strategies[0].params["fast"] == 3),
        ('strategies.cross.symbols=["IWM"]', lambda run: run.strategies[0].symbols == ("IWM",)),
        ("feed.gap_s_max=5", lambda run: run.feed.settings.gap_s_max == 5.0),
    ],
)
def test_an_override_reaches_any_key(write: Write, override: str, read: Callable[[Any], bool]) -> None:
    """`--set` takes a TOML value, or else text; lists by number or by name; tables that the file lacks are made."""
    assert read(config.load(write(RUN), [override]))


def test_a_bad_override_is_told_as_it_was_typed(write: Write) -> None:
    """What came from the command line is not blamed on a line of the file."""
    path = write(RUN)
    assert told(path, "seed=soon").startswith('--set seed=soon: seed: should be a valid integer, not "soon"')
    assert told(path, "sed=8").startswith("--set sed=8: sed: unknown key; did you mean 'seed'?")
    assert told(path, "seed") == "--set seed: write key=value, such as risk.max_orders_per_day_count=5"
    assert (
        told(path, "strategies.corss.bar=1h")
        == "--set strategies.corss.bar=1h: strategies has no 'corss'; it has cross"
    )
    assert told(path, "seed.x=1") == "--set seed.x=1: seed is a value, not a table"
    assert told(path, "strategies.7.bar=1h").endswith("strategies has no '7'; it has cross")
    assert told(path, "feed=3") == "--set feed=3: feed: should be a table, not 3"
    assert told(path, "warm_up_s=1e300").startswith("--set warm_up_s=1e300: warm_up_s: should be less than")


@pytest.mark.parametrize(
    ("override", "where", "what"),
    [
        ("risk.profile=smal", "run.toml:{risk} with --set risk.profile=smal: risk", "no risk profile is called 'smal'"),
        ("watchdog.alert_after_s=50", "--set watchdog.alert_after_s=50: watchdog", "cancel_after_s (30) is before"),
        ("feed.use=synthetic", "run.toml:{paths} with --set feed.use=synthetic: feed.paths", "unknown key"),
    ],
)
def test_what_an_override_makes_of_a_right_line_names_both(write: Write, override: str, where: str, what: str) -> None:
    """A table that it spoils as a whole, or keys of the plugin that was there before."""
    path, lines = write(RUN), RUN.splitlines()
    numbers = {"risk": lines.index("[risk]") + 1, "paths": lines.index('paths = ["tape/", "/abs/tape"]') + 1}
    assert f"{where.format(**numbers)}: {what}" in told(path, override)
    assert "--set seed=8" not in told(path, override, "seed=8")


def test_what_is_wrong_with_the_whole_file_is_no_overrides_fault(write: Write) -> None:
    """Which key of which table it is, the message says."""
    model = '[[models]]\nname = "m"\nfile = "m.pt"\nstrategies = ["gone"]\n[risk]'
    wrong = told(write(RUN.replace("[risk]", model)), "seed=8")
    assert wrong == "run.toml: models.m.strategies: no strategy is called gone"


def test_a_file_may_begin_with_a_byte_order_mark(write: Write) -> None:
    """Some editors write one; it is no character of the first line."""
    path = write(RUN)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert config.load(path).seed == 7
    path.write_text("\N{ZERO WIDTH NO-BREAK SPACE}" + RUN.replace("seed = 7", "sed = 7"), encoding="utf-8")
    assert "line 3: sed: unknown key" in told(path)


# --- a bad file ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed = 7", 'seed = "7"', 'run.toml:3: seed: should be a number, not "7"; leave out the quotes'),
        ("seed = 7", "seed = true", "run.toml:3: seed: should be a number, not true"),
        ("seed = 7", "seed = 7.5", "run.toml:3: seed: should be a valid integer, got a number with a fractional part"),
        ("seed = 7", "seed = -1", "run.toml:3: seed: should be greater than or equal to 0, not -1"),
        ("seed = 7", "sed = 7", "2 problems\n  seed: missing; Seeds every random draw of the run. Write seed = 7"),
        ('"replay"', '"backtest"', "run.toml:1: mode: should be 'replay', 'paper' or 'live', not \"backtest\""),
        ("seed = 7", "seed =", "run.toml:3: Invalid value (column 7)"),
        ("plugins.py:Cross", "sma_crss", "run.toml:14: strategies.0.use: no Strategy is called 'sma_crss'"),
        ("py:Cross", "py:Cros", "run.toml:14: strategies.0.use: "),
        ("py:Cross", "py:Feed", "plugins.py is not a Strategy; derive it from engine.Strategy"),
        ("py:Cross", "py:Odd", "14: strategies.0.use: Odd cannot be configured: <object"),
        ("py:Cross", "py:Angry", "14: strategies.0.use: Angry cannot be configured: not today"),
        ("fast = 5", "fats = 5", "run.toml:17: strategies.0.params.fats: Cross has no parameter 'fats'; did you mean"),
        ("fast = 5", 'fast = "x"', "run.toml:17: strategies.0.params.fast: Cross.fast is 'x'; it must be int"),
        ('name = "cross"', 'name = "Cross it"', "run.toml:13: strategies.0.name: should match pattern"),
        ('["SPY", "QQQ"]', "[]", "run.toml:15: strategies.0.symbols: "),
        ('["SPY", "QQQ"]', '["SPY", "SPY"]', "run.toml:15: strategies.0.symbols: SPY given twice"),
        ('["SPY", "QQQ"]', '["SPY", "*"]', '"*" is all symbols already'),
        ('["SPY", "QQQ"]', '"SPY"', "symbols: should be a list, not \"SPY\" (write [\"SPY\"]; What"),
        ('[risk]\nprofile = "wide"', "", "run.toml: risk: missing. Write the table [risk]: docs/"),
        ("[[strategies]]", "[strategies]", "strategies: should be a list, not a table (write [[strategies]]; The"),
        ("5min", "5 minutes", "run.toml:16: strategies.0.bar: '5 minutes' is no bar interval; write for"),
        ("bar =", "bars =", "run.toml:16: strategies.0.bars: unknown key; did you mean 'bar'?"),
        ('paths = ["tape/", "/abs/tape"]', "", '5: feed.paths: missing; Tapes, in any order. Write paths = ["tape/"]'),
        ("paths =", "path =", "  line 7: feed.path: unknown key; did you mean 'paths'?"),
        ('[broker]', '[broker]\nsped = 1', "run.toml:10: broker.sped: unknown key; did you mean 'feed.speed'?"),
        ('[broker]', '[broker]\nspeed = 1', "run.toml:10: broker.speed: unknown key; it belongs in [feed]"),
        ('[broker]', '[broker]\nseed = 1', "run.toml:10: broker.seed: unknown key; it belongs at the top"),
        ('[broker]', '[brokr]', "unknown key; did you mean 'broker'?"),
        ('"wide"', '"wild"', "run.toml:19: risk: no risk profile is called 'wild'; did you mean 'wide'?"),
        ('profile', 'max_order_qty = -1\nprofile', "20: risk.max_order_qty: should be greater than or equal"),
        ('profile', 'max_order_qty = "many"\nprofile', "20: risk.max_order_qty: "),
        ('profile', 'max_order_qty = true\nprofile', "20: risk.max_order_qty: a number is wanted"),
        ('profile', 'allow_reversals = 1\nprofile', "20: risk.allow_reversals: "),
        ('profile', 'max_order_qt = 1\nprofile', "20: risk.max_order_qt: unknown key; did you mean 'max_order_qty'?"),
        ('profile = "wide"', 'max_order_qty = 5', "risk.max_open_orders_count: missing; C10: open orders"),
        ('[broker]', '[broker]\nmax_order_qty = 1', "10: broker.max_order_qty: unknown key; it belongs in [risk]"),
        ('[broker]', '[broker]\nsecret_key = "hush"', 'name its variable: secret_key_env = "..."'),
        ('mode', '[[strategies]]\nmode', "run.toml"),
        ('mode', 'strategies = 5\nmode', "run.toml"),
    ],
)  # fmt: skip
def test_a_bad_value_is_told_with_its_line_and_what_would_be_right(
    write: Write, old: str, new: str, message: str
) -> None:
    """File, line, key, what was wrong, and the nearest right thing."""
    assert old in RUN
    assert message in told(write(RUN.replace(old, new, 1)))


def test_everything_wrong_is_told_at_once_in_the_order_of_the_file(write: Write) -> None:
    """A person mends a file once, not ten times."""
    text = RUN.replace("seed = 7", "seed = -7").replace("fast = 5", "fats = 5").replace("5min", "soon")
    message = told(write(text), "log.level=loud")
    assert message.startswith("run.toml: 4 problems\n  line 3: seed")
    where = [line.strip().split(":")[0] for line in message.splitlines()[1:]]
    assert where == ["line 3", "line 16", "line 17", "--set log.level=loud"]


def test_a_secret_is_refused_and_not_repeated(write: Write) -> None:
    """Configurations are copied into journals and reports, so a secret may be named in one, never be in it."""
    text = RUN.replace("[broker]", '[broker]\nsecret_key = "hush-hush"')
    message = told(write(text))
    assert "hush-hush" not in message
    assert "broker.secret_key: a secret does not belong in a file" in message


def test_two_strategies_of_one_name_are_refused(write: Write) -> None:
    """Names keep the books apart."""
    block = RUN[RUN.index("[[strategies]]") : RUN.index("[risk]")]
    assert "two strategies are called cross" in told(write(RUN.replace("[risk]", block + "[risk]")))


def test_a_file_that_cannot_be_read_is_one_message(tmp_path: Path) -> None:
    """Missing, a folder, not text."""
    assert told(tmp_path / "gone.toml") == "cannot read gone.toml: No such file or directory"
    assert told(tmp_path).endswith(" is a folder; name a TOML file")
    (tmp_path / "run.toml").write_text(RUN)
    assert told(tmp_path).endswith(f" is a folder; name a TOML file, such as {tmp_path.name}/run.toml")
    (tmp_path / "binary.toml").write_bytes(b"name = '\xff'")
    assert told(tmp_path / "binary.toml") == "binary.toml: not UTF-8 text (byte 8)"


def test_a_dictionary_with_something_that_is_no_data_is_refused() -> None:
    """From a notebook, anything may come."""
    with pytest.raises(ConfigError, match="is nothing that a TOML file can hold"):
        config.from_dict({"seed": object()})


def test_reading_a_run_imports_neither_torch_nor_pandas(write: Write) -> None:
    """`onetape run --check` starts in half a second because nothing heavy is imported for it."""
    code = f"import sys; from engine import config; config.load({str(write(RUN))!r}); print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "pandas", "plotly", "pyarrow", "alpaca"} & set(shown.stdout.split())


def test_every_option_has_a_description() -> None:
    """The reference page is made of them."""
    from engine.config.problems import nested

    def missing(model: type, place: str = "") -> list[str]:
        found = []
        for name, field in model.model_fields.items():
            inner = nested(field)
            found += missing(inner, f"{place}{name}.") if inner else [] if field.description else [place + name]
        return found

    assert [key for key in missing(RunConfig) if not key.endswith("settings")] == []


def test_a_feed_says_for_its_vendors_broker_where_the_vendor_is(tmp_path: Path) -> None:
    """One line moves a run from one place to another; what the broker says itself stays, another vendor's gets none."""
    tree = {
        "mode": "paper", "name": "x", "seed": 1, "out_dir": str(tmp_path), "risk": {"profile": "wide"},
        "feed": {"use": "alpaca", "symbols": ["SPY"], "server_url": "http://127.0.0.1:1", "keys_file": "/k"},
        "strategies": [{"name": "s", "use": "sma_cross", "symbols": ["SPY"], "bar": "1min"}],
    }  # fmt: skip
    found = config.from_dict({**tree, "broker": {"use": "alpaca"}})
    assert (found.broker.settings.server_url, found.broker.settings.keys_file) == ("http://127.0.0.1:1", Path("/k"))
    assert found.feed.settings.server_url == "http://127.0.0.1:1"
    own = config.from_dict({**tree, "broker": {"use": "alpaca", "server_url": "http://127.0.0.1:2"}})
    assert own.broker.settings.server_url == "http://127.0.0.1:2"
    assert config.from_dict({**tree, "broker": {"use": "paper"}}).broker.use == "paper"
    file = tmp_path / "run.toml"
    feed = '[feed]\nuse = "alpaca"\nserver_url = "http://127.0.0.1:3"\n'
    file.write_text(f'mode = "paper"\nname = "x"\n{feed}[broker]\nuse = "alpaca"\n')
    assert config.outline(file).broker.settings.server_url == "http://127.0.0.1:3"
