"""Models of texts: tokens that are always the same, signals that are never early, and files that are what they say."""

from __future__ import annotations

import asyncio
import json
import unicodedata
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from engine import daemon, journal
from engine.cli import app
from engine.clock import ManualClock, Sessions
from engine.config import from_dict
from engine.errors import Divergence, ModelError
from engine.events import MINUTE_NS, SECOND_NS, Bar, CorporateAction, Datum, MarketEvent, Signal
from engine.journal import Journal
from engine.model.bundle import open_bundle, read_card
from engine.model.card import FeatureSpec, Golden
from engine.model.deploy import Deployer
from engine.model.features import FeatureSet
from engine.model.lane import Lane
from engine.model.live_lane import LiveLane
from engine.model.rescore import rescore
from engine.model.scorer import scorer_of
from engine.model.text import Texts, texts_of
from engine.model.text_lexicon import NEGATIONS, STRENGTHS, WORTH, lexicon_score
from engine.model.text_tokens import CHARS_MAX, WordPieces, Words, learn_words, tokenizer_of, words
from engine.model.truncation import first_difference
from engine.strategy import Strategy
from tests.engine.model import texts
from tests.engine.model.texts import BUDGET_NS, HEADLINES, LENGTH, TEXT, VOCABULARY, news
from tests.runs import OPEN_NS, HeldFeed, configuration, on_tape, replayed, strategy

SYMBOLS = ("AAA", "BBB")
TOKENIZER = tokenizer_of(TEXT, VOCABULARY)
PIECES = WordPieces(
    ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "un", "##aff", "##able", "market", "##s", "!", ",", "cafe", "\u9c81"],
    lower_case=True,
)
ROUND_THE_CLOCK = Sessions("24/7")


class Listener(Strategy):
    """Hears signals and does nothing."""

    def on_signal(self, signal: Signal) -> None:
        self.heard = signal


def run(file: Path, events: list[MarketEvent], **over: Any) -> list[Any]:
    models = [{"name": "mood", "file": str(file), "device": "cpu", **over}]
    return replayed(configuration(HeldFeed.hold(events), models=models, strategies=[strategy(Listener)]))[0]


def signals(records: list[Any]) -> list[Signal]:
    return [record for record in records if isinstance(record, Signal)]


# --- words -----------------------------------------------------------------------------------------------------------


def test_words_are_those_that_a_person_sees() -> None:
    """Case, possessives and typography do not matter; numbers, items of filings and inner marks stay whole."""
    assert words("Apple\N{RIGHT SINGLE QUOTATION MARK}s iPhone 13 up 5%!") == ["apple", "iphone", "13", "up", "5%", "!"]
    assert words("8-K 2.02,9.01") == ["8-k", "2.02", ",", "9.01"]
    assert words("AT&T pays $1,200.50") == ["at&t", "pays", "$1,200.50"]


def test_numbers_that_the_vocabulary_lacks_have_a_class_and_words_a_bucket() -> None:
    """Money, percentages and plain numbers are told apart; an unknown word has the same bucket each time."""
    begin, money, percent, number, word, again = TOKENIZER.encode("$77 12% 1234 zyzzyva zyzzyva", LENGTH)
    assert (begin, money, percent, number) == (2, 3, 4, 5)
    assert word == again >= len(VOCABULARY.split(b"\n"))
    assert Words(VOCABULARY.decode().split("\n"), 0).encode("zyzzyva", LENGTH) == [2, 1]


def test_a_vocabulary_is_the_same_whatever_the_order_of_the_texts() -> None:
    """Words go by frequency and then by the alphabet; rare ones are left out."""
    assert learn_words(HEADLINES, most=9, seen_count=1) == learn_words(HEADLINES[::-1], most=9, seen_count=1)
    assert learn_words(["b b a", "c a"], most=9, seen_count=2).decode().split("\n")[-2:] == ["a", "b"]


def test_word_pieces_are_those_of_bert() -> None:
    """The longest known pieces, accents and case dropped, punctuation and ideographs apart, unknown words whole."""
    assert PIECES.encode("Unaffable MARKETS!", 20) == [2, 5, 6, 7, 8, 9, 10, 3]
    assert PIECES.encode("Caf\u00e9, zzz \u9c81\u9c81", 20) == [2, 12, 11, 1, 13, 13, 3]
    assert PIECES.encode("the " * 50, 6) == [2, 4, 4, 4, 4, 3]
    assert PIECES.encode("x" * 101, 6) == [2, 1, 3]


@pytest.mark.parametrize("text", ["", " \t\n", "\x00\x07\u200b", "\ufeff", "\u2060"])
def test_a_text_without_a_word_becomes_no_numbers(text: str) -> None:
    """Nothing, blanks and control characters are not scored."""
    assert TOKENIZER.encode(text, LENGTH) == []
    assert PIECES.encode(text, LENGTH) == []


def test_control_characters_and_pictures_do_not_hide_the_words() -> None:
    """What stands between the words is passed over."""
    assert words("beats\x00estimates \u200bup") == ["beats", "estimates", "up"]
    assert TOKENIZER.encode("\N{ROCKET}\N{ROCKET}", LENGTH) == []
    assert TOKENIZER.encode("AAA beats \N{ROCKET}", LENGTH)[:3] == TOKENIZER.encode("aaa BEATS", LENGTH)


def test_a_megabyte_of_text_is_read_as_far_as_a_headline_goes() -> None:
    """Whatever lies beyond the limit changes nothing, and costs nothing."""
    long = "AAA beats " * 100_000
    assert TOKENIZER.encode(long, LENGTH) == TOKENIZER.encode(long[:CHARS_MAX], LENGTH)
    assert len(PIECES.encode("market" * 200_000, LENGTH)) <= LENGTH
    assert abs(lexicon_score(long)) <= 1.0


@given(st.text(), st.integers(3, 40))
def test_any_text_becomes_numbers_of_the_vocabulary(text: str, length: int) -> None:
    """Never more than asked for, never one that the network does not know, and the same each time."""
    for tokenizer in (TOKENIZER, PIECES):
        numbers = tokenizer.encode(text, length)
        assert len(numbers) <= length
        assert all(0 <= number < tokenizer.size for number in numbers)
        assert numbers == tokenizer.encode(text, length)
    assert -1.0 < lexicon_score(text) < 1.0
    assert lexicon_score(text) == lexicon_score(unicodedata.normalize("NFC", text)) or not text.isascii()


# --- the lexicon -----------------------------------------------------------------------------------------------------


def test_the_lexicon_turns_round_what_is_negated_and_adds_to_what_is_strengthened() -> None:
    """Good is above bad, strongly good above good, and not good below nothing."""
    assert lexicon_score("profit rises") > 0.0 > lexicon_score("profit warning and fraud")
    assert lexicon_score("sales surge sharply, hugely surge") > lexicon_score("sales surge")
    assert lexicon_score("not profitable") < 0.0
    assert lexicon_score("not now. profitable") > 0.0
    assert lexicon_score("the board met") == 0.0


def test_filings_are_told_by_their_items() -> None:
    """A restatement and a bankruptcy are bad whatever is said; earnings are neither good nor bad."""
    assert lexicon_score("8-K 4.02,9.01") < 0.0
    assert lexicon_score("8-K 1.03") < 0.0
    assert lexicon_score("8-K 2.02,9.01") == 0.0


def test_no_word_of_the_lexicon_is_in_two_lists() -> None:
    """And each is spelled as the tokenizer spells it."""
    assert not WORTH.keys() & (NEGATIONS | STRENGTHS)
    assert [word for word in WORTH if words(word) != [word]] == []


# --- signals ---------------------------------------------------------------------------------------------------------


def test_a_headline_is_scored_for_each_symbol_it_names_one_inference_later(tmp_path: Path) -> None:
    """Stamped with the headline's time, received after the latency; a symbol that is not ours is passed over."""
    file = texts.save(tmp_path)
    events = [news(70, HEADLINES[0], "BBB", "AAA", "ZZZ"), *market_end()]
    found = signals(run(file, events, symbols=["AAA", "BBB"]))
    last = [one for one in found if one.ts_event_ns == OPEN_NS + 70 * SECOND_NS]
    assert [(one.symbol, one.ts_recv_ns - one.ts_event_ns, one.model) for one in last] == [
        ("AAA", BUDGET_NS, "mood"), ("BBB", BUDGET_NS, "mood"),
    ]  # fmt: skip
    wanted = read_card(file).golden
    assert wanted is not None
    assert last[0].score == pytest.approx(float(wanted.arrays()[1][0] @ [-1.0, 0.0, 1.0]), abs=1e-5)


def market_end() -> list[MarketEvent]:
    """A bar long after everything."""
    return [event for event in texts.tape(10) if isinstance(event, Bar)][-1:]


@pytest.mark.parametrize("headline", ["", "\x00\x1b", "\N{GRINNING FACE}" * 9])
def test_a_headline_without_a_word_gives_no_signal(tmp_path: Path, headline: str) -> None:
    """It says nothing; the run goes on."""
    assert signals(run(texts.save(tmp_path), [news(70, headline, "AAA"), *market_end()])) == []


def test_a_headline_of_a_megabyte_gives_a_signal_like_any_other(tmp_path: Path) -> None:
    """What it says beyond the first words is not read."""
    file, short = texts.save(tmp_path), "AAA beats estimates " * 20
    scores = [signals(run(file, [news(70, text, "AAA"), *market_end()]))[0].score for text in (short, short * 3_000)]
    assert scores[0] == scores[1]


def test_filings_are_read_and_other_data_are_not(tmp_path: Path) -> None:
    """A Datum is read when the card names it."""
    filed = Datum("filing", OPEN_NS + SECOND_NS, OPEN_NS + SECOND_NS, "AAA", text="8-K 2.02")
    other = msgspec.structs.replace(filed, name="weather")
    file = texts.save(tmp_path)
    assert len(signals(run(file, [filed, *market_end()]))) == 1
    assert signals(run(file, [other, news(2, HEADLINES[0]), *market_end()])) == []


def test_a_renamed_symbol_is_read_of_under_its_new_name(tmp_path: Path) -> None:
    """Also where another security had it; what bears the old name is another's."""
    made = texts_of(texts.opened(tmp_path), ("AAA", "BBB"))
    for event in (
        CorporateAction("AAA", 0, 0, "symbol_change", new_symbol="BBB"),
        CorporateAction("CCC", 0, 0, "symbol_change", new_symbol="AAA"), news(1, HEADLINES[0], "AAA"),
    ):  # fmt: skip
        made.take(event)
    assert made.close().tolist() == []
    made.take(news(2, HEADLINES[0], "BBB"))
    assert made.close().tolist() == [0]


def test_texts_of_one_instant_are_read_together(tmp_path: Path) -> None:
    """In the order of the tape: two at once are what one text with both would be, and one signal comes of them."""
    file = texts.save(tmp_path)
    both = run(file, [news(1, "AAA beats", "AAA"), news(1, "but sued", "AAA"), *market_end()])
    one = run(file, [news(1, "AAA beats\nbut sued", "AAA"), *market_end()])
    assert [found.score for found in signals(both)] == [found.score for found in signals(one)]
    assert len(signals(both)) == 1


def test_a_text_that_was_overtaken_live_is_not_missed_when_scored_again(tmp_path: Path) -> None:
    """Two of one publication, seconds apart: the first fell to a pass under way. Another score of either is told."""
    first, second = news(70, HEADLINES[0], "AAA"), news(70, HEADLINES[1], "AAA")
    second = msgspec.structs.replace(second, ts_recv_ns=second.ts_recv_ns + SECOND_NS)
    table = {"name": "mood", "file": str(texts.save(tmp_path)), "device": "cpu"}
    tree = on_tape(tmp_path, [first, second, *market_end()], models=[table], strategies=[strategy(Listener)])
    daemon.backtest(from_dict(tree))
    whole = list(journal.read(tmp_path / "out" / daemon.BACKTEST_JOURNAL))
    both = [one for one in whole if isinstance(one, Signal)]
    assert len(both) == 2
    assert _scored_again(tmp_path / "both", tree, whole) == 2
    assert _scored_again(tmp_path / "overtaken", tree, [one for one in whole if one is not both[0]]) == 1
    for index, found in enumerate(both):
        other = [msgspec.structs.replace(one, score=0.5) if one is found else one for one in whole]
        with pytest.raises(Divergence, match=f"record {whole.index(found) + 1} differs"):
            _scored_again(tmp_path / f"other {index}", tree, other)


def _scored_again(path: Path, tree: dict[str, Any], records: list[Any]) -> int:
    """Write a journal and return how many of its scores come again."""
    ledger = Journal(path)
    ledger.note("config", json.dumps(from_dict(tree).resolved()))
    for record in records:
        ledger.append(record)
    ledger.close()
    return sum(one.scores for one in rescore(path))


def test_many_texts_in_one_pass_score_like_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same symbols, same stamps, same scores within rounding; and the batch does not see beyond its own rows."""
    file, events = texts.save(tmp_path), texts.tape()
    together = signals(run(file, events))
    monkeypatch.setattr(Lane, "batches", Lane._by_instant)
    single = signals(run(file, events))
    assert [(one.symbol, one.ts_recv_ns) for one in together] == [(one.symbol, one.ts_recv_ns) for one in single]
    np.testing.assert_allclose([one.score for one in together], [one.score for one in single], atol=1e-6)
    assert len(together) > 500
    assert len({round(one.score, 4) for one in together}) > 20


@pytest.mark.parametrize("pull", [3, 50])
def test_where_a_stretch_ends_changes_no_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pull: int) -> None:
    """Not even where it cuts an instant, and what is read together, in two."""
    from engine.model import lane

    file, events = texts.save(tmp_path), texts.tape(20)
    whole = signals(run(file, events))
    monkeypatch.setattr(lane, "PULL_EVENTS", pull)
    monkeypatch.setattr(lane, "ROWS_AHEAD", 5)
    cut = signals(run(file, events))
    assert [(one.symbol, one.ts_recv_ns) for one in cut] == [(one.symbol, one.ts_recv_ns) for one in whole]
    np.testing.assert_allclose([one.score for one in cut], [one.score for one in whole], atol=1e-6)


def test_a_tape_that_ends_earlier_has_the_same_signals_until_then(tmp_path: Path) -> None:
    """No score knows of a later text."""
    file, events = texts.save(tmp_path), texts.tape()
    whole = signals(run(file, events))
    for minute in (7, 23, 41):
        cut_ns = OPEN_NS + minute * MINUTE_NS + 3 * SECOND_NS
        cut = signals(run(file, [event for event in events if event.ts_recv_ns <= cut_ns]))
        known = [one for one in whole if one.ts_event_ns <= cut_ns]
        assert [(one.symbol, one.ts_recv_ns) for one in cut] == [(one.symbol, one.ts_recv_ns) for one in known]
        np.testing.assert_allclose([one.score for one in cut], [one.score for one in known], atol=1e-6)


def test_the_feature_of_news_scores_does_not_look_ahead(tmp_path: Path) -> None:
    """From headline to `news_score`: what a bar's model sees is the same when the tape ends with that bar."""
    bundle = texts.opened(tmp_path)

    def pipeline(events: Any) -> Any:
        scorer = scorer_of(bundle, SYMBOLS, ROUND_THE_CLOCK, device="cpu")
        spec = FeatureSpec("news_score", {"of": "mood", "window_s": 600.0})
        features = FeatureSet([spec], SYMBOLS, interval_ns=MINUTE_NS, lookback=2, sessions=ROUND_THE_CLOCK)
        pending: list[Signal] = []
        found, now_ns = {}, 0
        for event in [*events, None]:
            if event is None or event.ts_recv_ns > now_ns:
                if (due := scorer.due(now_ns)) is not None:
                    scores = scorer.scores(scorer.outputs(due)).round(5).tolist()
                    pending += [
                        Signal(SYMBOLS[row], ts_ns, now_ns + BUDGET_NS, "mood", score)
                        for row, ts_ns, score in zip(due.rows, due.ts_event_ns.tolist(), scores, strict=True)
                    ]
                rows = features.close()
                for row, ts_ns, window in zip(rows, features.ts_event_ns(rows), features.windows(rows), strict=True):
                    found[int(ts_ns), SYMBOLS[row]] = window.astype(np.float64)
            if event is None:
                break
            now_ns = event.ts_recv_ns
            for signal in [one for one in pending if one.ts_recv_ns <= now_ns]:
                features.take(signal)
            pending = [one for one in pending if one.ts_recv_ns > now_ns]
            features.take(event)
            scorer.take(event)
        return found

    cuts = [OPEN_NS + minute * MINUTE_NS for minute in (9, 15, 28)]
    assert first_difference(pipeline, texts.tape(30), cuts) == ""
    assert any(window.any() for window in pipeline(texts.tape(30)).values())


def test_short_texts_score_the_same_however_far_they_are_filled_up() -> None:
    """What stands for nothing takes no part: a network that reads more words says the same of few."""
    import torch

    reader = texts.network()
    tokens = torch.tensor([[[2.0, 7.0, 9.0, 0.0, 0.0, 0.0, 0.0, 0.0]]])
    with torch.inference_mode():
        np.testing.assert_allclose(reader(tokens).numpy(), reader(tokens[:, :, :3]).numpy(), atol=1e-6)
        assert np.isfinite(reader(torch.zeros(2, 1, 4)).numpy()).all()


@pytest.mark.parametrize("headlines", [HEADLINES[3:4], HEADLINES[2:4]])
async def test_live_headlines_are_scored_when_they_come_and_bars_are_passed_over(
    tmp_path: Path, headlines: tuple[str, ...]
) -> None:
    """No bar is waited for; the score is that of the same headlines on a tape, those of one instant together."""
    table = {"name": "mood", "file": str(texts.save(tmp_path)), "device": "cpu"}
    feed = HeldFeed.hold(market_end())
    config = from_dict(configuration(feed, models=[table], strategies=[strategy(Listener)]))
    deployer = Deployer(config, SYMBOLS, ROUND_THE_CLOCK, span_ns=(0, 0), now_ns=OPEN_NS)
    out: list[Any] = []
    one = LiveLane(deployer.lane(config.models[0]), out.append, ManualClock(OPEN_NS + 2 * SECOND_NS), tmp_path)
    one.inline = True
    known = [news(1, headline, "BBB") for headline in headlines]
    for event in (market_end()[0], *known):
        one.take(event)
    assert out == []
    await asyncio.sleep(0)
    (signal,) = out
    (taped,) = signals(run(tmp_path / "mood.pt", [*known, *market_end()]))
    assert (signal.symbol, signal.ts_event_ns, signal.score) == ("BBB", known[0].ts_event_ns, taped.score)


# --- the file --------------------------------------------------------------------------------------------------------


def test_the_words_lie_in_the_file(tmp_path: Path) -> None:
    """Nothing beside the bundle is needed, and its golden headlines become its golden tokens."""
    bundle = texts.opened(tmp_path)
    made = texts_of(bundle, SYMBOLS)
    assert isinstance(made, Texts)
    assert bundle.card.golden is not None
    np.testing.assert_array_equal(made.encode(HEADLINES[1]), bundle.card.golden.arrays()[0][1])


@pytest.mark.parametrize(
    ("vocabulary", "over", "told"),
    [
        (None, {}, "it reads texts, and has no vocabulary"),
        (VOCABULARY + b"\nmore", {}, "its vocabulary is another"),
        (b"\xff\xfe", {}, "its vocabulary does not read"),
        (b"[PAD]\nword", {}, "its vocabulary does not begin with, or lacks, [UNK]"),
        (VOCABULARY + b"\nbeats", {}, "its vocabulary names a word twice"),
        (VOCABULARY, {"feature_code_sha256": "0" * 64}, "its words were numbered by other code"),
        (VOCABULARY, {"golden": "shifted"}, "its golden headline 'AAA beats estimates, shares jump 5%' does not"),
    ],
)
def test_a_file_whose_words_are_not_those_it_was_trained_with_is_refused(
    tmp_path: Path, vocabulary: bytes | None, over: dict[str, Any], told: str
) -> None:
    """In one line, before a single text is scored."""
    if "another" not in told and vocabulary is not None and vocabulary != VOCABULARY:
        over = {"text": msgspec.structs.replace(TEXT, vocabulary_sha256=sha256(vocabulary).hexdigest())}
    if "golden" in over:
        inputs, outputs = texts.card().golden.arrays()  # type: ignore[union-attr]  # it has one
        over = {"golden": Golden.of(np.roll(inputs, 1, axis=2), outputs)}
    bundle = open_bundle(texts.save(tmp_path, vocabulary, **over), allowed=None, now_ns=0)
    with pytest.raises(ModelError) as caught:
        texts_of(bundle, SYMBOLS)
    assert told in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("over", "told"),
    [
        ({"features": (FeatureSpec("returns"),)}, "has the feature 'tokens' alone"),
        ({"text": None}, "has the feature 'tokens' alone"),
        ({"text": msgspec.structs.replace(TEXT, reads=())}, "it reads 0 kinds of text"),
        ({"text": msgspec.structs.replace(TEXT, headlines=HEADLINES[:2])}, "a golden headline for each golden input"),
        ({"state_mode": "window"}, "'none' and 'stateless' are right"),
    ],
)
def test_a_card_that_contradicts_itself_about_texts_is_refused(tmp_path: Path, over: dict[str, Any], told: str) -> None:
    """When it is written already."""
    with pytest.raises(ModelError) as caught:
        texts.save(tmp_path, **over)
    assert told in str(caught.value)


def test_a_persons_view_of_the_file_says_what_it_reads(tmp_path: Path) -> None:
    """`onetape model inspect` speaks of words and kinds of text, and `verify` has the golden headlines scored again."""
    file = str(texts.save(tmp_path))
    told = CliRunner().invoke(app, ["model", "inspect", file])
    assert "12 words of news, filing; a score counts for 1d" in told.output
    assert CliRunner().invoke(app, ["model", "verify", file]).exit_code == 0
