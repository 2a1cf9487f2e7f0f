"""`onetape model`: what a model file says, whether it may be used, and which ones there are."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from engine import cli
from engine.events import NEVER_NS
from tests.engine.model.bundles import card, rewritten, save


def onetape(*words: object) -> int:
    return cli.main([str(word) for word in words])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that may be used, one that has expired, and something else under such a name."""
    folder = tmp_path_factory.mktemp("models")
    told = card(expires_ns=NEVER_NS, universe=("AAPL", "MSFT"), metrics={"ic": 0.031}, notes="[red]\x1b[2Jnot so fast")
    save(folder / "tiny.pt", told)
    save(folder / "old" / "tiny-old.pt")
    (folder / "tiny-broken.pt").write_bytes(b"nothing of the kind")
    return folder


def test_inspect_shows_the_card_and_lets_a_stranger_write_no_control_characters(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The hash to allow, inputs with their scaling, outputs, spans and figures; a note cannot clear the screen."""
    assert onetape("model", "inspect", models / "tiny.pt") == 0
    shown = capsys.readouterr().out
    for told in (
        "SHA-256",
        "returns",
        "rsi(window=3)",
        "0.25",
        "next",
        "1min",
        "AAPL, MSFT",
        "ic 0.031",
        "[red]␛[2Jnot",
    ):
        assert told in shown
    assert "\x1b[2J" not in shown


def test_inspect_prints_the_card_as_json(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For a program."""
    assert onetape("model", "inspect", models / "tiny.pt", "--json") == 0
    assert json.loads(capsys.readouterr().out)["normalization"]["center"] == [0.0, 0.5]


def test_inspect_of_what_is_no_model_is_one_line_and_exit_code_2(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback."""
    assert onetape("model", "inspect", models / "tiny-broken.pt") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_verify_computes_the_golden_outputs_again(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And says on what."""
    assert onetape("model", "verify", models / "tiny.pt", "--device", "cpu") == 0
    assert "its golden outputs again on cpu" in capsys.readouterr().out
    assert onetape("model", "verify", models / "tiny.pt", "--no-run") == 0
    assert "nothing was run" in capsys.readouterr().out


def test_verify_names_every_file_that_may_not_be_used(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line each; a good one among them is still said to be good."""
    files = [models / "tiny.pt", models / "old" / "tiny-old.pt", models / "tiny-broken.pt", models / "absent.pt"]
    assert onetape("model", "verify", *files, "--no-run") == 2
    shown = capsys.readouterr()
    assert shown.out.count("\n") == 1
    assert shown.err.count("refused: ") == shown.err.count("\n") == 3
    assert "expired at 1970-01-01" in shown.err


def test_verify_refuses_what_is_not_allowed(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As a live run with such a list would."""
    assert onetape("model", "verify", models / "tiny.pt", "--allowed", "0" * 64) == 2
    assert "is not among those allowed" in capsys.readouterr().err


def test_verify_refuses_a_network_that_does_not_say_what_its_card_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Golden outputs of another network, and features whose code has changed since."""
    plain = card(expires_ns=NEVER_NS)
    assert plain.golden is not None
    other = msgspec.structs.replace(plain.golden, outputs=bytes(len(plain.golden.outputs)))
    save(tmp_path / "tiny.pt", msgspec.structs.replace(plain, golden=other))
    assert onetape("model", "verify", tmp_path / "tiny.pt", "--device", "cpu") == 2
    assert "it differs from its golden outputs by" in capsys.readouterr().err
    save(tmp_path / "tiny.pt", msgspec.structs.replace(plain, feature_code_sha256="0" * 64))
    assert onetape("model", "verify", tmp_path / "tiny.pt") == 2
    assert "was trained with other code" in capsys.readouterr().err


def test_list_shows_what_can_be_read_and_names_what_cannot(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Expired ones are marked; an empty folder and one that is not there are told apart."""
    monkeypatch.setenv("COLUMNS", "200")
    assert onetape("model", "list", models) == 0
    shown = capsys.readouterr().out
    assert "tiny-old.pt" in shown
    assert "1970-01-01 (expired)" in shown
    assert "never" in shown
    assert "tiny-broken.pt: it is damaged or no model file" in shown
    assert onetape("model", "list", tmp_path) == 0
    assert "no model files here" in capsys.readouterr().out
    assert onetape("model", "list", tmp_path / "absent") == 2


def test_a_card_of_a_stranger_may_name_anything_and_runs_nothing(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A feature that names a file of code beside the model is not looked for, unless somebody listed the model."""
    mark, path = tmp_path / "harm", tmp_path / "tiny.pt"
    (tmp_path / "evil.py").write_text(f"import os; os.mkdir({str(mark)!r})")
    content = (models / "tiny.pt").read_bytes()
    path.write_bytes(rewritten(content, lambda name, one: one.replace(b'"returns"', b'"evil.py:x"')))
    assert onetape("model", "inspect", path) == 0
    assert onetape("model", "list", tmp_path) == 0
    assert capsys.readouterr().err == ""
    assert onetape("model", "verify", path) == 2
    assert "wants code run for its feature" in capsys.readouterr().err
    assert not mark.exists()
    assert onetape("model", "verify", path, "--allowed", sha256(path.read_bytes()).hexdigest()) == 2
    assert mark.exists()
