"""Other fee, slippage and fill models are plugins, named in the configuration."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bench import bars
from engine.config import from_dict
from engine.errors import ConfigError
from engine.journal import Journal
from engine.run import Run

MODELS = """
from decimal import Decimal

class FlatFees:
    def __init__(self, usd="1"):
        self.usd = Decimal(usd)
    def fee_usd(self, symbol, side, qty, price, ts_ns, *, maker):
        return self.usd
"""


def run(folder: Path, **broker: Any) -> Run:
    (folder / "models.py").write_text(MODELS)
    if not (folder / "bars.parquet").exists():
        bars.write_tape(folder / "bars.parquet", bars.columns(1, 300))
    tree = {
        "mode": "replay", "name": "models", "seed": 1, "calendar": "24/7", "out_dir": str(folder / "out"),
        "feed": {"use": "replay", "paths": [str(folder / "bars.parquet")]},
        "broker": {"use": "paper", "cash_usd": "1000000", "participation": 1.0, **broker},
        "strategies": [{"name": "cross", "use": "sma_cross", "symbols": "*"}],
        "risk": {"profile": "wide"},
    }  # fmt: skip
    return Run(from_dict(tree), Journal(folder / "out" / f"{len(broker)}.journal"))


def test_a_fee_model_from_a_file_charges_each_execution(tmp_path: Path) -> None:
    """`fees = "models.py:FlatFees"` with its parameters is what the account pays."""
    done = run(tmp_path, fees=f"{tmp_path}/models.py:FlatFees", fee_params={"usd": "2.5"})
    done.replay()
    fills = sum(len(order.executions) for order in done.core.orders.orders.values())
    assert fills > 3
    assert done.core.portfolio.fees_usd == fills * Decimal("2.5")


def test_a_wrong_parameter_of_a_model_plugin_is_one_message(tmp_path: Path) -> None:
    """The key that named the model is told."""
    with pytest.raises(ConfigError, match=r"broker\.fees: .*unexpected keyword argument 'dollars'"):
        run(tmp_path, fees=f"{tmp_path}/models.py:FlatFees", fee_params={"dollars": 1})


def test_an_unknown_model_is_told_with_those_that_are_known(tmp_path: Path) -> None:
    """A misspelt name gets a suggestion."""
    with pytest.raises(ConfigError, match="did you mean 'fixed_bps'"):
        run(tmp_path, slippage="fixd_bps")
