"""A name in a configuration leads to a class of the right kind, or to one message that says why not."""

import sys
from pathlib import Path

import pytest

from engine import plugins
from engine.errors import ConfigError, PluginError

ANY_CLASS = plugins.Kind("onetape.nothing", "Feed", lambda found: isinstance(found, type))


def write(folder: Path, text: str, name: str = "mine.py") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_a_file_plugin_is_loaded_relative_to_the_given_folder(tmp_path: Path) -> None:
    """`file.py:Class` starts at the folder of the configuration, wherever the process runs."""
    write(tmp_path, "class Mine:\n    pass\n")
    assert plugins.load(ANY_CLASS, "mine.py:Mine", tmp_path).__name__ == "Mine"


def test_the_same_file_is_the_same_module_and_an_edited_one_is_new(tmp_path: Path) -> None:
    """The module name is a function of stem and content, so a notebook sees edits and two runs see one class."""
    write(tmp_path, "class Mine:\n    edition = 1\n")
    first = plugins.load(ANY_CLASS, "mine.py:Mine", tmp_path)
    assert plugins.load(ANY_CLASS, "mine.py:Mine", tmp_path) is first
    write(tmp_path, "class Mine:\n    edition = 2\n")
    second = plugins.load(ANY_CLASS, "mine.py:Mine", tmp_path)
    assert (first.edition, second.edition) == (1, 2)
    assert first.__module__ != second.__module__


def test_a_module_plugin_is_imported_by_name() -> None:
    """`module:Class` needs no entry point."""
    assert plugins.load(ANY_CLASS, "pathlib:PurePosixPath").__name__ == "PurePosixPath"


def test_shipped_feeds_and_brokers_are_found_by_their_entry_points() -> None:
    """The names that the shipped configurations use are registered, and listing them imports nothing."""
    before = set(sys.modules)
    assert {"replay", "synthetic"} <= set(plugins.available("onetape.feeds"))
    assert "paper" in plugins.shipped("onetape.brokers")
    assert not {name for name in set(sys.modules) - before if name.startswith("brokers")}


def test_an_unknown_name_is_answered_with_the_nearest_one() -> None:
    """A typo in a plugin's name gets a suggestion; a PluginError is a ConfigError, so the exit code is 2."""
    with pytest.raises(PluginError, match="no Feed is called 'replya'; did you mean 'replay'?") as caught:
        plugins.load(plugins.FEED, "replya")
    assert isinstance(caught.value, ConfigError)
    assert caught.value.exit_code == 2


def test_an_unknown_name_that_is_near_nothing_lists_what_there_is() -> None:
    """Without a near name the message shows all of them and the two other ways to write one."""
    with pytest.raises(PluginError, match=r"known: .*replay, synthetic; or write module:Class"):
        plugins.load(plugins.FEED, "zzz")


def test_a_file_without_its_class_name_says_how_to_write_it() -> None:
    """`mine.py` alone is a common slip."""
    with pytest.raises(PluginError, match="name the class in it too: mine.py:Class"):
        plugins.load(plugins.FEED, "mine.py")


def test_a_missing_file_is_named_with_its_full_path(tmp_path: Path) -> None:
    """The message tells which path was tried."""
    with pytest.raises(PluginError, match=rf"cannot read {tmp_path}/gone.py: No such file"):
        plugins.load(ANY_CLASS, "gone.py:Mine", tmp_path)


def test_a_missing_module_is_named() -> None:
    """A module that is not installed is told apart from one that fails while importing."""
    with pytest.raises(PluginError, match="there is no module 'nowhere'; install its package"):
        plugins.load(ANY_CLASS, "nowhere.deep:Mine")


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import json\n\nx = 1 / 0\n", r"ZeroDivisionError: division by zero \(.*mine.py:3\)"),
        ("def broken(:\n    pass\n", r"SyntaxError: .*\(.*mine.py:1\)"),
        ("\nimport not_installed_at_all\n", r"ModuleNotFoundError: .*'not_installed_at_all' \(.*mine.py:2\)"),
        ("raise ValueError('first line\\nsecond line')\n", r"ValueError: first line \(.*mine.py:1\)$"),
        ("raise SystemExit(0)\n", r"SystemExit: 0 \(.*mine.py:1\)$"),
        ("raise ValueError\n", r"ValueError:  \(.*mine.py:1\)$"),
    ],
)
def test_a_file_that_does_not_import_says_the_error_and_its_line(tmp_path: Path, source: str, told: str) -> None:
    """One line: what was raised and where; the failed module is not left behind."""
    before = set(sys.modules)
    write(tmp_path, source)
    with pytest.raises(PluginError, match="does not import: " + told):
        plugins.load(ANY_CLASS, "mine.py:Mine", tmp_path)
    assert not [name for name in set(sys.modules) - before if name.startswith("onetape_file")]


def test_a_missing_class_is_answered_with_what_the_file_has(tmp_path: Path) -> None:
    """A misspelt class name gets a suggestion, another one the list."""
    write(tmp_path, "class SmaCross:\n    pass\n")
    with pytest.raises(PluginError, match="has no 'SmaCros'; did you mean 'SmaCross'?"):
        plugins.load(ANY_CLASS, "mine.py:SmaCros", tmp_path)
    with pytest.raises(PluginError, match="has no 'Zzz'; it has SmaCross"):
        plugins.load(ANY_CLASS, "mine.py:Zzz", tmp_path)


def test_a_class_of_another_kind_is_refused(tmp_path: Path) -> None:
    """A class is not enough: it has to be a Strategy, a Feed or a Broker."""
    write(tmp_path, "class Mine:\n    pass\n")
    for kind in (plugins.STRATEGY, plugins.FEED, plugins.BROKER):
        with pytest.raises(PluginError, match=f"Mine in .*mine.py is not a {kind.noun}"):
            plugins.load(kind, "mine.py:Mine", tmp_path)


def test_the_strategy_class_itself_is_not_a_plugin() -> None:
    """`engine.strategy:Strategy` trades nothing."""
    with pytest.raises(PluginError, match="is not a Strategy; derive it from engine.Strategy"):
        plugins.load(plugins.STRATEGY, "engine.strategy:Strategy")


def test_two_packages_that_claim_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which of two plugins runs must not depend on the order of installation."""
    from importlib.metadata import EntryPoint

    points = [EntryPoint("twin", value, "onetape.twins") for value in ("a:A", "b:B")]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: points)
    with pytest.raises(PluginError, match="two plugins of onetape.twins are called 'twin': a:A and b:B"):
        plugins.available("onetape.twins")
