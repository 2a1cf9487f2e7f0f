"""Training on texts: labels that know nothing too early, checkpoints that say what BERT says, one command for all."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from math import erf, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from typer.testing import CliRunner

from engine.cli import app
from engine.clock import Sessions
from engine.errors import ConfigError, ModelError, TapeError
from engine.events import DAY_NS, SECOND_NS, Bar, MarketEvent, News
from engine.model.bundle import open_bundle
from engine.model.scorer import scorer_of
from engine.model.text_tokens import WordPieces
from research import news, news_config, sentiment, sentiment_checkpoint, sentiment_report
from research.reader import Prices
from tests.runs import OPEN_NS, in_order, on_tape

Floats = npt.NDArray[np.float64]
GOOD = ("shares surge on record profit", "analysts upgrade, sales beat", "strong growth lifts results", "wins approval")
BAD = ("shares plunge on fraud probe", "analysts downgrade, sales miss", "weak demand cuts results", "faces a lawsuit")
DULL = ("board meets on tuesday", "a new store in paris", "the year in pictures", "who is who")


def tape(days: int = 90, *, seed: int = 1) -> list[MarketEvent]:
    """A symbol that trades round the clock, one bar a day, and four headlines before each, which tell its return."""
    rng = np.random.default_rng(seed)
    events: list[MarketEvent] = []
    price = 100.0
    for day in range(days):
        mood = int(rng.integers(0, 3))
        opened_ns = OPEN_NS - OPEN_NS % DAY_NS + day * DAY_NS
        for number in range(4):
            ts_ns = opened_ns - (4 - number) * 600 * SECOND_NS
            said = (BAD, DULL, GOOD)[mood][int(rng.integers(0, 4))]
            events.append(News(ts_ns, ts_ns, f"AAA {said}", ("AAA",)))
        close = price * (1 + 0.02 * (mood - 1) + float(rng.normal(0, 0.001)))
        end_ns = opened_ns + DAY_NS
        events.append(Bar("AAA", end_ns, end_ns, price, max(price, close), min(price, close), close, 1e4, DAY_NS))
        price = close
    return in_order(events)


def written(folder: Path, events: list[MarketEvent], **tables: str) -> Path:
    """A training's TOML beside its tape."""
    on_tape(folder / "tape", events)
    path = folder / "train.toml"
    tables = {
        "text": "length = 10\nbuckets = 32", "labels": 'stages = ["lexicon"]\nbar = "24h"',
        "network": "hidden = 8\nlayers = 1\nheads = 2\ndropout = 0.0",
        "fit": 'epochs_max = 25\nbatch_size = 32\nlearning_rate = 1e-2\nthreads = 1\ndevice = "cpu"',
    } | tables  # fmt: skip
    head = 'name = "mood"\nseed = 3\ncalendar = "24/7"\nout_dir = "out"\n[feed]\nuse = "replay"\npaths = ["tape"]\n'
    path.write_text(head + "".join(f"[{name}]\n{table}\n" for name, table in tables.items()))
    return path


def test_one_command_makes_a_bundle_that_scores_and_a_report_that_judges(tmp_path: Path) -> None:
    """What it learned of the lexicon it says of texts that it has not seen; the words are in the file."""
    result = CliRunner().invoke(app, ["train", str(written(tmp_path, tape()))])
    assert result.exit_code == 0, result.output
    assert "rank correlation with the next return" in result.output
    report = (tmp_path / "out/report.md").read_text()
    assert "the sign that this project's lexicon gives each text" in report
    assert "No text was labeled by a person" in report
    bundle = open_bundle(tmp_path / "out/mood.pt", allowed=None, now_ns=0)
    assert bundle.card.text is not None
    assert bundle.card.metrics["test_agreement"] > 0.9
    scorer = scorer_of(bundle, ("AAA",), Sessions("24/7"), device="cpu")
    scores = []
    for number, said in enumerate((GOOD[0], DULL[0], BAD[0])):
        scorer.take(News(number + 1, number + 1, f"AAA {said}", ("AAA",)))
        due = scorer.due(number + 1)
        assert due is not None
        scores.append(float(scorer.scores(scorer.outputs(due))[0]))
    assert scores[0] > scores[1] > scores[2]


def test_the_same_seed_gives_the_same_file(tmp_path: Path) -> None:
    """Word by word and weight by weight; another seed gives another."""
    config = news_config.load(written(tmp_path, tape(40)))
    one, same = sentiment.train(config), sentiment.train(config)
    other = sentiment.train(config.model_copy(update={"seed": 4}))
    assert one.vocabulary == same.vocabulary
    np.testing.assert_array_equal(one.outputs, same.outputs)
    assert not np.array_equal(one.outputs, other.outputs)


def test_returns_are_learned_where_there_is_something_to_learn(tmp_path: Path) -> None:
    """Headlines that tell the next return, to a network that is taught by returns alone."""
    labels = 'stages = ["returns"]\nbar = "24h"'
    found = sentiment.train(news_config.load(written(tmp_path, tape(), labels=labels)))
    assert sentiment_report.judge(found).model.rank > 0.7


def test_a_return_begins_after_its_text_and_ends_when_it_is_known() -> None:
    """At the first open at or after the text, over the horizon, and none where the tape ends before."""
    prices = Prices()
    for day in range(4):
        end_ns = (day + 1) * DAY_NS
        prices.add(Bar("AAA", end_ns, end_ns + 5, 100.0 + day, 120.0, 90.0, 110.0 + day, 1.0, DAY_NS))
    assert news.answer(prices, 0, 1) == (DAY_NS + 5, pytest.approx(0.1))
    assert news.answer(prices, 1, 1) == (2 * DAY_NS + 5, pytest.approx(111 / 101 - 1))
    assert news.answer(prices, 1, 2) == (3 * DAY_NS + 5, pytest.approx(112 / 101 - 1))
    assert news.answer(prices, 3 * DAY_NS, 2) is None


def test_what_comes_after_the_training_span_does_not_change_what_is_learned(tmp_path: Path) -> None:
    """Other words and other returns in the last fifth: the same vocabulary, bounds and weights."""
    events = tape(60)
    cut_ns = events[-1].ts_recv_ns - 10 * DAY_NS
    changed = [
        News(one.ts_event_ns, one.ts_recv_ns, "zyzzyva " * 3, one.symbols)
        if isinstance(one, News) and one.ts_recv_ns > cut_ns else one
        for one in events
    ]  # fmt: skip
    found = []
    for number, each in enumerate((events, changed)):
        folder = tmp_path / str(number)
        folder.mkdir()
        found.append(sentiment.train(news_config.load(written(folder, each))))
    assert found[0].vocabulary == found[1].vocabulary
    assert max(found[0].examples.ts_ns[found[0].split.validation]) < cut_ns
    for one, other in zip(found[0].reader.parameters(), found[1].reader.parameters(), strict=True):
        assert torch.equal(one, other)


def test_spans_do_not_share_a_return(tmp_path: Path) -> None:
    """Every label of one span was decided before the next one begins."""
    found = sentiment.train(news_config.load(written(tmp_path, tape(40))))
    ts_ns, end_ns, split = found.examples.ts_ns, found.examples.end_ns, found.split
    assert end_ns[split.train].max() < ts_ns[split.validation].min()
    assert end_ns[split.validation].max() < ts_ns[split.test].min()


@pytest.mark.parametrize(
    ("tables", "error", "told"),
    [
        ({"text": 'reads = ["filing"]'}, ConfigError, "the tape holds no filing"),
        ({"text": 'symbols = ["AAB"]'}, ConfigError, "'AAB' is on no tape"),
        ({"labels": 'bar = "1min"'}, TapeError, "too little data"),
        ({"labels": "stages = []"}, ConfigError, "nothing is learned"),
        ({"network": "hidden = 10\nheads = 4"}, ConfigError, "does not divide among 4 heads"),
        ({"text": "lenght = 3"}, ConfigError, "lenght"),
        ({"text": 'checkpoint = "nowhere"'}, ModelError, "No such file"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(
    tmp_path: Path, tables: dict[str, str], error: type[Exception], told: str
) -> None:
    """And says what would be right."""
    with pytest.raises(error) as caught:
        sentiment_report.run(news_config.load(written(tmp_path, tape(20), **tables)))
    assert told in str(caught.value)


# --- checkpoints -----------------------------------------------------------------------------------------------------

PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "profit", "loss", "##es", "up", "down", "!")
HIDDEN, HEADS, INNER, LAYERS, PLACES, LENGTH = 8, 2, 12, 2, 16, 7
CONFIG: dict[str, Any] = {
    "model_type": "bert", "vocab_size": len(PIECES), "hidden_size": HIDDEN, "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS, "intermediate_size": INNER, "hidden_act": "gelu", "layer_norm_eps": 1e-12,
    "max_position_embeddings": PLACES, "pad_token_id": 0,
    "id2label": {"0": "Positive", "1": "Negative", "2": "Neutral"},
}  # fmt: skip


def weights() -> dict[str, Floats]:
    """Every tensor of a FinBERT-class checkpoint, in small, by its own name."""
    rng = np.random.default_rng(9)
    shapes: dict[str, tuple[int, ...]] = {
        "bert.embeddings.word_embeddings.weight": (len(PIECES), HIDDEN),
        "bert.embeddings.position_embeddings.weight": (PLACES, HIDDEN),
        "bert.embeddings.token_type_embeddings.weight": (2, HIDDEN),
        "bert.pooler.dense.weight": (HIDDEN, HIDDEN), "bert.pooler.dense.bias": (HIDDEN,),
        "classifier.weight": (3, HIDDEN), "classifier.bias": (3,),
    }  # fmt: skip
    norms = ["bert.embeddings.LayerNorm"]
    for number in range(LAYERS):
        at = f"bert.encoder.layer.{number}"
        for part in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            shapes |= {f"{at}.{part}.weight": (HIDDEN, HIDDEN), f"{at}.{part}.bias": (HIDDEN,)}
        shapes |= {f"{at}.intermediate.dense.weight": (INNER, HIDDEN), f"{at}.intermediate.dense.bias": (INNER,)}
        shapes |= {f"{at}.output.dense.weight": (HIDDEN, INNER), f"{at}.output.dense.bias": (HIDDEN,)}
        norms += [f"{at}.attention.output.LayerNorm", f"{at}.output.LayerNorm"]
    for norm in norms:
        shapes |= {f"{norm}.weight": (HIDDEN,), f"{norm}.bias": (HIDDEN,)}
    return {name: rng.normal(0, 0.5, shape).astype(np.float32).astype(np.float64) for name, shape in shapes.items()}


def packed(tensors: Mapping[str, npt.NDArray[Any]], kind: str = "F32") -> bytes:
    """Tensors as a safetensors file: length, table, numbers."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    numbers = b""
    for name, tensor in tensors.items():
        content = tensor.astype({"F32": "<f4", "F16": "<f2"}[kind]).tobytes()
        header[name] = {
            "dtype": kind, "shape": list(tensor.shape), "data_offsets": [len(numbers), len(numbers) + len(content)]
        }  # fmt: skip
        numbers += content
    table = json.dumps(header).encode()
    return len(table).to_bytes(8, "little") + table + numbers


def checkpoint(folder: Path, content: bytes | None = None, **over: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | over))
    (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n")
    (folder / "model.safetensors").write_bytes(packed(weights()) if content is None else content)
    return folder


def bert(tensors: Mapping[str, Floats], numbers: list[int]) -> Floats:
    """The paper's network on one text that is not filled up, with loops, in float64: logits as the checkpoint says."""

    def linear(seen: Floats, name: str) -> Floats:
        found: Floats = seen @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]
        return found

    def norm(seen: Floats, name: str) -> Floats:
        middle, spread = seen.mean(axis=-1, keepdims=True), seen.var(axis=-1, keepdims=True)
        scaled = (seen - middle) / np.sqrt(spread + 1e-12)
        found: Floats = scaled * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]
        return found

    gelu: Callable[[Floats], Floats] = np.vectorize(lambda x: x * 0.5 * (1 + erf(x / sqrt(2))))
    at = "bert.embeddings"
    seen = (
        tensors[f"{at}.word_embeddings.weight"][numbers] + tensors[f"{at}.position_embeddings.weight"][: len(numbers)]
    )
    seen = norm(seen + tensors[f"{at}.token_type_embeddings.weight"][0], f"{at}.LayerNorm")
    each = HIDDEN // HEADS
    for number in range(LAYERS):
        at = f"bert.encoder.layer.{number}"
        query, key, value = (linear(seen, f"{at}.attention.self.{name}") for name in ("query", "key", "value"))
        taken = np.zeros_like(seen)
        for head in range(HEADS):
            part = slice(head * each, (head + 1) * each)
            for place in range(len(numbers)):
                match = np.exp(query[place, part] @ key[:, part].T / sqrt(each))
                taken[place, part] = (match / match.sum()) @ value[:, part]
        seen = norm(seen + linear(taken, f"{at}.attention.output.dense"), f"{at}.attention.output.LayerNorm")
        inner = gelu(linear(seen, f"{at}.intermediate.dense"))
        seen = norm(seen + linear(inner, f"{at}.output.dense"), f"{at}.output.LayerNorm")
    return linear(np.tanh(linear(seen[0], "bert.pooler.dense")), "classifier")


@pytest.mark.parametrize("text", ["profit up!", "losses", "profit losses up down profit losses", "never heard"])
def test_a_checkpoint_says_what_its_paper_says(tmp_path: Path, text: str) -> None:
    """Our network with its weights, filled up to the length, against a plain computation; classes in our order."""
    found = sentiment_checkpoint.load(checkpoint(tmp_path / "bert"), LENGTH)
    tokenizer = WordPieces(PIECES, lower_case=found.lower_case)
    numbers = tokenizer.encode(text, LENGTH)
    logits = bert(weights(), numbers)[[1, 2, 0]]  # negative, neutral, positive
    wanted = np.exp(logits - logits.max())
    with torch.inference_mode():
        said = found.reader(sentiment.encode(tokenizer, (text,), LENGTH))[0].numpy()
    np.testing.assert_allclose(said, wanted / wanted.sum(), atol=2e-6)


def test_a_checkpoint_becomes_a_bundle_as_it_is_or_learns_on(tmp_path: Path) -> None:
    """Without a stage its weights are packed untouched, and its training span is unknown; with one they move."""
    folder = checkpoint(tmp_path / "bert")
    text = f'length = {LENGTH}\ncheckpoint = "{folder}"'
    path = written(tmp_path, tape(40), text=text, labels='stages = []\nbar = "24h"')
    _, file = sentiment_report.run(news_config.load(path))
    bundle = open_bundle(file, allowed=None, now_ns=0)
    assert bundle.card.text is not None
    assert (bundle.card.text.tokenizer, bundle.card.train_span_ns) == ("word_pieces", (0, 0))
    scorer = scorer_of(bundle, ("AAA",), Sessions("24/7"), device="cpu")
    scorer.take(News(1, 1, "profit up!", ("AAA",)))
    due = scorer.due(1)
    assert due is not None
    logits = bert(weights(), WordPieces(PIECES, lower_case=True).encode("profit up!", LENGTH))[[1, 2, 0]]
    wanted = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(scorer.outputs(due)[0], wanted, atol=2e-6)
    learned = sentiment.train(news_config.load(path, ['labels.stages=["lexicon"]']))
    assert not torch.equal(learned.reader.head.weight, sentiment_checkpoint.load(folder, LENGTH).reader.head.weight)


def test_half_precision_and_older_names_are_read_too(tmp_path: Path) -> None:
    """Checkpoints of before 2020 call a norm's numbers gamma and beta; those of today come in half precision."""
    older = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in weights().items()
    }
    found = sentiment_checkpoint.load(checkpoint(tmp_path / "bert", packed(older, "F16")), LENGTH)
    wanted = weights()["bert.embeddings.word_embeddings.weight"]
    np.testing.assert_allclose(found.reader.words.weight.detach().numpy(), wanted, atol=1e-3)


@pytest.mark.parametrize(
    ("content", "over", "told"),
    [
        (b"", {}, "is no safetensors file, or is cut off"),
        (packed(weights())[:-9], {}, "which is not where"),
        (b"\xff" * 64, {}, "is no safetensors file, or is cut off"),
        (b"\x02\0\0\0\0\0\0\0[]", {}, "does not read"),
        (packed({"classifier.bias": np.zeros(3)}), {}, "lacks embeddings.token_type_embeddings.weight"),
        (None, {"model_type": "roberta"}, "its model_type is 'roberta'"),
        (None, {"hidden_act": "relu"}, "its hidden_act is 'relu'"),
        (None, {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, "its id2label names label_0, label_1"),
        (None, {"hidden_size": 10}, "is (2, 8); (1, 10) is right"),
        (None, {"hidden_size": "wide"}, "config.json lacks"),
        (None, {"max_position_embeddings": 5}, "it reads 5 word pieces at most"),
        (None, {"vocab_size": 3}, "vocab.txt holds 10 word pieces"),
    ],
)
def test_a_checkpoint_that_is_damaged_or_of_another_kind_is_refused(
    tmp_path: Path, content: bytes | None, over: dict[str, Any], told: str
) -> None:
    """In one line that names the folder; nothing of it is run."""
    with pytest.raises(ModelError) as caught:
        sentiment_checkpoint.load(checkpoint(tmp_path / "bert", content, **over), LENGTH)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pickle_in_the_place_of_safetensors_is_refused(tmp_path: Path) -> None:
    """It could run anything, so it is not opened."""
    folder = checkpoint(tmp_path / "bert")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="is a pickle"):
        sentiment_checkpoint.load(folder, LENGTH)


# --- real headlines --------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_the_shipped_training_on_real_headlines_says_plainly_what_it_is_worth(
    tmp_path: Path, shared_data: Path
) -> None:
    """AAPL's headlines and filings of 2021: it has learned the lexicon, and claims nothing that chance could do."""
    path = Path(__file__).parents[2] / "config/train_news.toml"
    if not (path.parents[1] / "tapes/aapl_2021_news.parquet").exists():
        pytest.skip("no tapes; make tapes imports them")
    config = news_config.load(path, [f"out_dir={tmp_path}"])
    judged, bundle = sentiment_report.run(config)
    assert judged.model.agreement > 0.5
    assert judged.model.texts > 300
    assert abs(judged.model.rank) < 6 * judged.model.noise
    assert open_bundle(bundle, allowed=None, now_ns=0).card.metrics["test_agreement"] == judged.model.agreement
    print(judged.verdict())  # noqa: T201 (a long test is run for its figures)
