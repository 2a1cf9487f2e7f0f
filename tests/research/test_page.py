"""The page of a model: it stands alone, tells plainly what the model is worth, and lets no text become markup."""

import html
import json
import re
from pathlib import Path

import pytest
import torch
from plotly.offline import get_plotlyjs

from research.train import train
from tests.research.markets import CONFIG, random_walk, training


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("page")
    config = training(folder, random_walk(), "walk_forward.train_bars=150", "walk_forward.test_bars=80")
    train(config)
    return (folder / "out" / "report.html").read_text(encoding="utf-8")


def visible(document: str) -> str:
    return html.unescape(re.sub(r"<(style|script)\b.*?</\1>|<[^>]*>", " ", document, flags=re.DOTALL))


def test_the_page_says_plainly_whether_it_beats_buying_and_holding(page: str) -> None:
    """First of all, in a sentence with both figures."""
    told = visible(page)
    assert "It does not beat buy and hold after costs: " in told or "It beats buy and hold after costs: " in told
    for rival in ("Linear", "Momentum", "Reversal", "Usual", "Buy and hold"):
        assert rival in told


@pytest.mark.parametrize(
    "part",
    ["Training", "Said and came", "By regime", "Period by period", "Calibration",
     "What each tenth of the scores earned", "How much of it may be luck",
     "Trials on this tape, this one included", "Probability of backtest overfitting",
     "What it lives on", "Spans", "The resolved configuration"],
)  # fmt: skip
def test_the_page_has_every_part(page: str, part: str) -> None:
    """What the issue of models asks of it."""
    assert part in visible(page)


def test_everything_drawn_is_as_long_as_its_times(page: str) -> None:
    """One axis of time for all books, and one line for the losses of each fold."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    drawn = json.loads(found[1])
    assert {len(values) for _, values, _ in drawn["equity"]} == {len(drawn["times"])}
    assert len(drawn["losses"]) == 3
    assert len(drawn["importance"]["names"]) == 2
    assert len(drawn["periods"]["names"]) == len(drawn["periods"]["ic"])


def test_the_page_loads_nothing_from_anywhere(page: str) -> None:
    """It opens on a machine without a network, and its policy forbids anything else."""
    assert "default-src 'none'" in page
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page.replace(get_plotlyjs(), ""))
    assert "{{" not in visible(page)


def test_texts_of_a_configuration_cannot_become_markup(tmp_path: Path) -> None:
    """A version with a script in it stays a text."""
    evil = "</script><img src=x onerror=alert(1)>"
    torch.set_num_threads(1)
    train(training(tmp_path, None, "fit.epochs_max=1", text=f'version = "{evil}"\n' + CONFIG))
    document = (tmp_path / "out" / "report.html").read_text(encoding="utf-8").replace(get_plotlyjs(), "")
    assert "<img" not in document
    assert "alert(1)" in visible(document)
