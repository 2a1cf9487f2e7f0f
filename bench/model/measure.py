"""The measurements of models, one a process: `python -m bench.model.measure backtest 100 5000`."""

import torch

from bench.child import answer
from bench.model import backtest, serving, stac

if __name__ == "__main__":
    torch.set_num_threads(1)
    answer({
        "backtest": backtest.compare, "overhead": serving.overhead, "market": serving.market, "lag": serving.lag,
        "stac": stac.compare,
    })  # fmt: skip
