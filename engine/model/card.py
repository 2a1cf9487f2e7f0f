"""What a model file says of itself: JSON inside the file, read before anything of the file is executed.

A card holds no code and no path. Whatever a run must know of a model stands here: what it wants to see, how its inputs
are scaled, what its numbers mean, when it was trained on what, and a few inputs with their outputs as proof.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import isfinite
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.errors import ModelError
from engine.events import NEVER_NS
from engine.model.normalization import Normalization

FORMAT_VERSION = 1
CELLS_MAX = 10_000_000
TOLERANCE = {"cpu": 1e-5, "cuda": 1e-3}

Floats32 = NDArray[np.float32]
Missing = Literal["carry", "mask", "refuse"]
StateMode = Literal["stateless", "window", "streaming"]
Span = tuple[int, int]
"""First and last instant, int64 nanoseconds UTC, both included; (0, 0) is none."""


class FeatureSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A feature by name, with the parameters that differ from its defaults: `returns`, {"horizon": 5}."""

    name: str
    params: dict[str, int | float | str] = {}

    def __str__(self) -> str:
        told = ", ".join(f"{key}={value}" for key, value in sorted(self.params.items()))
        return f"{self.name}({told})" if told else self.name


class Output(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One column of what the model returns, and what the number means.

    Units: a return is a fraction (0.01 is one percent), a probability lies in [0, 1].
    """

    name: str
    meaning: Literal["return", "probability", "volatility", "weight", "score", "reconstruction"] = "score"
    horizon_ns: int = 0


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Inputs and the outputs that they gave when the model was saved: every device must give them again.

    Attributes:
        shape: of the inputs, `[n, features, lookback]`; already normalized.
        inputs, outputs: float32, little endian, in C order; outputs are `[n, outputs]`.
        tolerance: largest absolute difference, by device.
    """

    shape: tuple[int, int, int]
    inputs: bytes
    outputs: bytes
    tolerance: dict[str, float]

    @classmethod
    def of(cls, inputs: Floats32, outputs: Floats32, tolerance: dict[str, float] | None = None) -> Golden:
        """Return the pair as the card keeps it."""
        n, features, lookback = inputs.shape
        kept = [np.ascontiguousarray(each, "<f4").tobytes() for each in (inputs, outputs)]
        return cls((n, features, lookback), kept[0], kept[1], TOLERANCE if tolerance is None else tolerance)

    def arrays(self) -> tuple[Floats32, Floats32]:
        """Return inputs `[n, features, lookback]` and outputs `[n, outputs]`."""
        inputs = np.frombuffer(self.inputs, "<f4").astype(np.float32).reshape(self.shape)
        return inputs, np.frombuffer(self.outputs, "<f4").astype(np.float32).reshape(self.shape[0], -1)


class Text(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a model of texts reads, and how words become its inputs; the vocabulary lies in the file beside the card.

    Attributes:
        reads: "news" for headlines, and the names of the data whose text it reads ("filing").
        tokenizer, lower_case, buckets: see `engine.model.text_tokens`; `buckets` are for words unknown.
        headlines: texts whose tokens are the golden inputs.
    """

    reads: tuple[str, ...]
    tokenizer: Literal["words", "word_pieces"]
    vocabulary_sha256: str
    lower_case: bool = True
    buckets: int = 0
    headlines: tuple[str, ...] = ()


TOKENS = (FeatureSpec("tokens"),)
"""The one feature of a model of texts: numbers of words, `lookback` of them."""


class Reference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the training span looked like, to tell how far today is from it.

    Attributes:
        feature_quantiles: for each feature, its raw values at equally spaced quantiles, first to last.
        output_quantiles: the same for each output.
        points: a sample of newest input columns (normalized), `[points][features]`.
        distance: mean distance among the points, and the multiple of it beyond which an input is a stranger.
        reconstruction: an autoencoder's error at the quantiles 0.5, 0.95 and 0.99.
    """

    feature_quantiles: tuple[tuple[float, ...], ...] = ()
    output_quantiles: tuple[tuple[float, ...], ...] = ()
    points: tuple[tuple[float, ...], ...] = ()
    distance: tuple[float, float] = (0.0, 0.0)
    reconstruction: tuple[float, ...] = ()


class Card(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that a bundle says of itself.

    Attributes:
        features, feature_code_sha256: what the model sees, in order, and a hash of the code that computes it.
        text: what a model of texts reads; its features are `TOKENS`, its `interval_ns` how long a text counts.
        calendar, hours: the sessions whose bars count, and whether pre- and post-market are among them.
        score: weights over the outputs; their sum of products is the one number that a `Signal` carries.
        state_shapes: of what a streaming model carries from bar to bar, for each symbol.
        reset_rule, reset_gap_bars: when that state starts afresh: each session, after so many missing bars, or never.
        train_span_ns and the others: when the newest bars of the examples closed.
        trials: how many models were tried before this one was chosen, for the deflated Sharpe ratio.
        expires_ns: no signals after this instant.
        program_sha256: over what the file holds beside the card; see `engine.model.bundle.program_sha256`.
    """

    name: str
    version: str
    format_version: int = FORMAT_VERSION
    created_utc: str = ""
    torch_version: str = ""
    engine_version: str = ""
    git_revision: str = ""
    license: str = ""
    notes: str = ""

    features: tuple[FeatureSpec, ...]
    feature_code_sha256: str
    interval_ns: int
    lookback: int
    missing: Missing = "carry"
    calendar: str = "XNYS"
    hours: Literal["regular", "extended"] = "regular"
    normalization: Normalization = Normalization()
    text: Text | None = None

    outputs: tuple[Output, ...]
    score: tuple[float, ...] = (1.0,)
    state_mode: StateMode = "window"
    state_shapes: tuple[tuple[int, ...], ...] = ()
    reset_rule: Literal["session", "gap", "never"] = "session"
    reset_gap_bars: int = 0

    universe: tuple[str, ...] = ()
    train_span_ns: Span = (0, 0)
    valid_span_ns: Span = (0, 0)
    test_span_ns: Span = (0, 0)
    embargo_ns: int = 0
    trials: int = 1
    metrics: dict[str, float] = {}
    parent_sha256: str = ""

    expires_ns: int = NEVER_NS
    retrain_every_ns: int = 0
    latency_budget_us: float = 0.0
    signal_ttl_ms: float = 0.0
    golden: Golden | None = None
    reference: Reference | None = None
    program_sha256: str = ""

    def check(self) -> None:
        """See that the card agrees with itself.

        Raises:
            ModelError: it does not, in one line.
        """
        for problem in _problems(self):
            raise ModelError(f"the card of {self.name!r}: {problem}")

    def encode(self) -> bytes:
        """Return the card as JSON, the same bytes for the same card."""
        return msgspec.json.format(msgspec.json.encode(self, order="deterministic"), indent=1)


def decode(text: bytes) -> Card:
    """Read a card and check it.

    Raises:
        ModelError: it is no card that this version reads, or it contradicts itself.
    """
    try:
        card = msgspec.json.decode(text, type=Card)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"its card does not read: {_version_of(text) or error}") from None
    card.check()
    return card


def _problems(card: Card) -> Iterator[str]:
    """Say, one by one, where a card contradicts itself or makes no sense."""
    if card.format_version != FORMAT_VERSION:
        yield f"it is of format {card.format_version}; this version reads format {FORMAT_VERSION}"
    if not re.fullmatch(r"[\w.-]{1,100}", card.name, re.ASCII):
        yield "a name has 1 to 100 letters, digits, dots, dashes and underscores"
    features, outputs = len(card.features), len(card.outputs)
    if not features or not outputs or card.lookback < 1 or card.interval_ns < 1:
        yield f"{features} features over {card.lookback} bars and {outputs} outputs: at least one of each is right"
    if features * card.lookback > CELLS_MAX or outputs > CELLS_MAX:
        yield f"inputs of {features} x {card.lookback} are too large"
    scaling = card.normalization
    if scaling.kind != "none" and (len(scaling.center), len(scaling.scale)) != (features, features):
        yield f"it normalizes {len(scaling.center)} and {len(scaling.scale)} features, and there are {features}"
    if not all(isfinite(one) for one in scaling.center) or not all(isfinite(one) and one > 0 for one in scaling.scale):
        yield "its normalization is not finite, or a scale is not positive"
    if scaling.clip is not None and not scaling.clip[0] < scaling.clip[1]:
        yield f"it clips from {scaling.clip[0]} to {scaling.clip[1]}"
    if len(card.score) != outputs:
        yield f"its score has {len(card.score)} weights for {outputs} outputs"
    for name in ("train", "valid", "test"):
        first, last = getattr(card, f"{name}_span_ns")
        if first > last:
            yield f"its {name} span ends before it begins"
    if card.golden is not None:
        n, f, lookback = card.golden.shape
        if n < 1 or (f, lookback) != (features, card.lookback):
            yield f"its golden inputs have the shape {card.golden.shape}; [n, {features}, {card.lookback}] is right"
        elif (len(card.golden.inputs), len(card.golden.outputs)) != (4 * n * f * lookback, 4 * n * outputs):
            yield "its golden inputs or outputs are not as long as their shape says"
    known = card.reference or Reference()
    if not {len(known.feature_quantiles), *map(len, known.points)} <= {0, features}:
        yield f"its reference is of other than {features} features"
    if (card.text is not None) != (card.features == TOKENS):
        yield "a model that reads texts has the feature 'tokens' alone, and no other model has it"
    if card.text is not None:
        yield from _text_problems(card, card.text)


def _text_problems(card: Card, text: Text) -> Iterator[str]:
    if not text.reads or card.lookback < 3 or text.buckets < 0 or text.buckets > CELLS_MAX:
        yield f"it reads {len(text.reads)} kinds of text of {card.lookback} words; one kind and 3 words are the least"
    if card.normalization.kind != "none" or card.state_mode != "stateless":
        yield "tokens are not normalized, and one text does not follow from another: 'none' and 'stateless' are right"
    if card.golden is None or len(text.headlines) != card.golden.shape[0]:
        yield "a model of texts has a golden headline for each golden input"


class _Version(msgspec.Struct):
    format_version: int = FORMAT_VERSION


def _version_of(text: bytes) -> str:
    """Say that a card is of another version, when that is why it does not read."""
    try:
        found = msgspec.json.decode(text, type=_Version).format_version
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""
    return "" if found == FORMAT_VERSION else f"it is of format {found}; this version reads format {FORMAT_VERSION}"
