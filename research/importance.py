"""Which features a model lives on: what it loses when one of them is told wrong.

Source: Breiman, L. (2001), Random Forests, Machine Learning 45(1), 5-32, section 10.
"""

from __future__ import annotations

import numpy as np
import torch

from research import evaluate
from research.dataset import Examples
from research.experiment import Fold
from research.targets import Floats

ROWS_MAX, SHUFFLES = 4096, 3


def shuffled_losses(examples: Examples, fold: Fold, classes: int, seed: int) -> Floats:
    """Return, for each feature, the loss on the test that is added when it is shuffled among the examples.

    The whole window of the feature goes to another example, so its own course in time stays what it was.
    """
    draw = np.random.default_rng(seed)
    test = fold.split.test
    rows = test[np.unique(np.linspace(0, len(test) - 1, min(ROWS_MAX, len(test))).astype(int))]
    view = examples.windows(fold.normalization)
    windows = view[torch.from_numpy(examples.places[rows])].contiguous()
    label = examples.label[rows]

    def loss() -> float:
        with torch.inference_mode():
            said = fold.module(windows).numpy().astype(np.float64)
        if classes:
            return evaluate.log_loss(said, label.astype(np.int64))
        return float(((said[:, 0] - label) ** 2).mean())

    whole, found = loss(), np.zeros(windows.shape[1])
    for feature in range(windows.shape[1]):
        kept = windows[:, feature].clone()
        for _ in range(SHUFFLES):
            windows[:, feature] = kept[torch.from_numpy(draw.permutation(len(rows)))]
            found[feature] += (loss() - whole) / SHUFFLES
        windows[:, feature] = kept
    return found
