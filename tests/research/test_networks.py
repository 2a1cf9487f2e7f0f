"""The networks: their sizes, their determinism, and that each becomes a TorchScript file that says the same."""

import pytest
import torch

from engine.errors import ConfigError
from research import networks, outputs
from research.networks import NETWORKS, Shape, build, parameter_count
from research.stac_ml import STAC_ML, stac_ml

SHAPE = Shape(features=3, lookback=12, hidden=8, layers=2, dropout=0.2, heads=2)


@pytest.mark.parametrize(("letter", "count"), [("A", 161_701), ("B", 1_005_001), ("C", 30_033_001)])
def test_the_three_benchmark_shapes_have_their_published_parameter_counts(letter: str, count: int) -> None:
    """STAC-ML Markets (Inference): the Keras counts and one more bias vector for each gate of each layer."""
    with torch.device("meta"):
        network = stac_ml(letter)
    assert parameter_count(network) == count
    keras = count - 4 * STAC_ML[letter].hidden * STAC_ML[letter].layers
    assert keras == {"A": 160_901, "B": 1_002_601, "C": 30_017_001}[letter]


def test_the_fischer_and_krauss_network_has_2852_parameters() -> None:
    """One feature, 25 cells, two classes: 2,752 in Keras and 100 more for the second bias vector."""
    network = build("lstm", Shape(features=1, lookback=240, hidden=25), outputs=2)
    assert parameter_count(network) == 2_852
    assert parameter_count(network) - 4 * 25 == 2_752


@pytest.mark.parametrize("use", NETWORKS)
def test_every_network_becomes_torchscript_and_says_the_same(use: str) -> None:
    """A bundle holds a scripted copy; whatever cannot be scripted could not be traded."""
    torch.manual_seed(1)
    network = build(use, SHAPE, outputs=2).eval()
    windows = torch.randn(5, SHAPE.features, SHAPE.lookback)
    scripted = _scripted(network)
    assert network(windows).shape == (5, 1 if use == "autoencoder" else 2)
    for size in (5, 1, 3):
        assert torch.equal(scripted(windows[:size]), network(windows[:size]))


@pytest.mark.parametrize("use", NETWORKS)
def test_the_newest_bar_reaches_every_network(use: str) -> None:
    """A window that is read from the wrong end would trade yesterday's news."""
    torch.manual_seed(1)
    network = build(use, SHAPE, outputs=1).eval()
    windows = torch.randn(2, SHAPE.features, SHAPE.lookback)
    changed = windows.clone()
    changed[:, :, -1] += 1
    assert not torch.equal(network(windows), network(changed))


def test_a_convolution_sees_nothing_newer_than_the_bar_it_speaks_of() -> None:
    """What it says of a bar does not change when later bars do."""
    torch.manual_seed(1)
    stack = networks.Convolution(SHAPE).stack.eval()
    windows = torch.randn(1, SHAPE.features, SHAPE.lookback)
    changed = windows.clone()
    changed[:, :, 7:] = 9.0
    assert torch.equal(stack(windows)[:, :, :7], stack(changed)[:, :, :7])


def test_a_misspelled_network_is_named_with_the_nearest_one() -> None:
    """One clear line, with what was meant."""
    with pytest.raises(ConfigError, match="no network is called 'lsmt'; did you mean 'lstm'"):
        build("lsmt", SHAPE, outputs=1)


def test_a_transformer_refuses_a_width_that_its_heads_do_not_divide() -> None:
    """PyTorch would speak of the shape of a view."""
    with pytest.raises(ConfigError, match=r"network.hidden \(8\) is no multiple of network.heads \(3\)"):
        build("transformer", SHAPE._replace(heads=3), outputs=1)


def test_a_temperature_softens_probabilities_and_changes_no_order() -> None:
    """Calibration may not change which class is likeliest."""
    raw = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 3.0]])
    hot, cold = _scripted(outputs.Probabilities(2.0))(raw), _scripted(outputs.Probabilities())(raw)
    assert torch.allclose(hot.sum(dim=1), torch.ones(2))
    assert torch.equal(hot.argmax(dim=1), cold.argmax(dim=1))
    assert (hot.amax(dim=1) < cold.amax(dim=1)).all()


@pytest.mark.parametrize("combine", ["mean", "vote", "stacked"])
def test_an_ensemble_is_one_module_that_combines_its_members(combine: str) -> None:
    """Three members, two classes: the mean of probabilities, a share of votes, or a fitted mixture."""
    torch.manual_seed(1)
    members = [build(use, SHAPE, outputs=2) for use in ("mlp", "lstm", "cnn")]
    for member in members:
        member.speak = outputs.Probabilities()
    ensemble = outputs.Ensemble(members, outputs.combiner(combine, 3, 2)).eval()
    windows = torch.randn(6, 3, 12)
    said = torch.stack([member(windows) for member in members], dim=1)
    found = _scripted(ensemble)(windows)
    if combine == "mean":
        assert torch.allclose(found, said.mean(dim=1))
    if combine == "vote":
        assert torch.allclose(found[:, 1], (said[:, :, 1] > 0.5).float().mean(dim=1))
    assert torch.allclose(found.sum(dim=1), torch.ones(6))


def test_members_without_classes_cannot_vote() -> None:
    """A vote needs something to vote for."""
    with pytest.raises(ConfigError, match="this target has no classes; use 'mean' or 'stacked'"):
        outputs.combiner("vote", 2, 1)


def test_a_regressor_speaks_in_the_units_of_its_target() -> None:
    """It is trained on a standardized target and undoes that in its own file."""
    model = build("mlp", SHAPE, outputs=1).eval()
    model.speak = outputs.Scale(center=0.5, scale=2.0)
    windows = torch.zeros(1, 3, 12)
    assert torch.allclose(_scripted(model)(windows), model.raw(windows) * 2 + 0.5)


@pytest.mark.parametrize("use", ["lstm", "gru"])
def test_a_window_read_bar_by_bar_says_what_the_whole_window_says(use: str) -> None:
    """The lane reads all but the last bar ahead of time, and then does one step."""
    torch.manual_seed(1)
    model = build(use, SHAPE, outputs=2).eval()
    model.speak = outputs.Probabilities()
    scripted, windows = _scripted(model), torch.randn(5, 3, 12)
    assert scripted.state_size == model.state_size
    ahead = scripted.advance(windows[:, :, :-1], torch.zeros(5, model.state_size))
    found = scripted.readout(scripted.advance(windows[:, :, -1:], ahead))
    assert torch.allclose(found, scripted(windows), atol=1e-6)


def _scripted(module: torch.nn.Module) -> torch.nn.Module:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        found: torch.nn.Module = torch.jit.script(module)
    return found
