"""From a text to the numbers of its words: two small tokenizers that say the same for the same text, always.

`words` is ours: words as they stand in the vocabulary, a class for numbers that do not, and a hash for all others.
`word_pieces` is that of BERT checkpoints: words cut into the longest pieces that their vocabulary knows.

Whatever comes (nothing, a megabyte, pictures, control characters) becomes at most `length` numbers.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Final, Protocol
from zlib import crc32

from engine.errors import ModelError
from engine.model.card import Text

CODE_VERSION: Final = 1
"""Counts up when the same text would give other numbers; models trained before are refused then."""
CHARS_MAX: Final = 16_384
"""What lies beyond is not looked at: no headline is as long, and a model reads a few hundred words at most."""
PAD, UNKNOWN, BEGIN, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
MONEY, PERCENT, NUMBER = "[MONEY]", "[PERCENT]", "[NUMBER]"
SPECIAL: Final = (PAD, UNKNOWN, BEGIN, MONEY, PERCENT, NUMBER)
"""The first lines of a vocabulary of words; no word is spelled like them."""

_WORD = re.compile(r"[$€£¥]?[^\W_]+(?:(?:[.'&-]|,(?=\d{3}(?!\d)))[^\W_]+)*%?|[^\w\s]")
_PIECE_CHARS_MAX = 100
_IDEOGRAPHS = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip


class Tokenizer(Protocol):
    """Turns texts into numbers of its vocabulary.

    Attributes: `size`, how many different numbers there are; `pad`, the number that fills up a short text.
    """

    size: int
    pad: int

    def encode(self, text: str, length: int) -> list[int]:
        """Return the numbers of a text, `length` at most; none for one without a word."""
        ...


def words(text: str) -> list[str]:
    """Return the words of a text in lower case: `Apple's iPhone 13 up 5%!` is `apple iphone 13 up 5% !`."""
    plain = unicodedata.normalize("NFKC", text[:CHARS_MAX]).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").lower()
    plain = "".join(" " if unicodedata.category(one) in ("Cc", "Cf", "Cs", "Mn") else one for one in plain)
    return [word.removesuffix("'s") for word in _WORD.findall(plain)]


class Words:
    """Whole words; those that the vocabulary lacks share `buckets` numbers by their hash."""

    pad = 0

    def __init__(self, vocabulary: Iterable[str], buckets: int) -> None:
        self._numbers = {word: number for number, word in enumerate(vocabulary)}
        self._known, self._buckets = len(self._numbers), buckets
        self.size = self._known + buckets

    def encode(self, text: str, length: int) -> list[int]:
        found = words(text)
        if not any(one[0].isalnum() or len(one) > 1 for one in found):
            return []
        return [self._numbers[BEGIN], *(self._number(word) for word in found[: length - 1])]

    def _number(self, word: str) -> int:
        number = self._numbers.get(word)
        if number is not None:
            return number
        if any(one.isdigit() for one in word) and not any(one.isalpha() for one in word):
            kind = PERCENT if word.endswith("%") else MONEY if not word[0].isdigit() else NUMBER
            return self._numbers[kind]
        if not self._buckets:
            return self._numbers[UNKNOWN]
        return self._known + crc32(word.encode()) % self._buckets


class WordPieces:
    """The tokenizer of BERT.

    Source: Devlin, J. et al. (2019), BERT, NAACL; Wu, Y. et al. (2016), arXiv 1609.08144, section 4.1.
    """

    def __init__(self, vocabulary: Iterable[str], *, lower_case: bool) -> None:
        self._numbers = {piece: number for number, piece in enumerate(vocabulary)}
        self.size, self._lower_case = len(self._numbers), lower_case
        self.pad = self._numbers[PAD]

    def encode(self, text: str, length: int) -> list[int]:
        found: list[int] = []
        for word in self._words(text[:CHARS_MAX]):
            found += self._pieces(word)
            if len(found) >= length - 2:
                break
        if not found:
            return []
        return [self._numbers[BEGIN], *found[: length - 2], self._numbers[END]]

    def _words(self, text: str) -> Iterator[str]:
        cleaned = "".join(_cleaned(one) for one in text)
        for word in cleaned.split():
            if self._lower_case:
                apart = unicodedata.normalize("NFD", word.lower())
                word = "".join(one for one in apart if unicodedata.category(one) != "Mn")
            start = 0
            for place, one in enumerate(word):
                if _is_punctuation(one):
                    yield from filter(None, (word[start:place], one))
                    start = place + 1
            if start < len(word):
                yield word[start:]

    def _pieces(self, word: str) -> list[int]:
        """Return the longest known pieces of a word, from its beginning; one unknown if any part is in none."""
        found: list[int] = []
        start = 0
        while start < len(word) <= _PIECE_CHARS_MAX:
            mark = "##" if start else ""
            for end in range(len(word), start, -1):
                number = self._numbers.get(mark + word[start:end])
                if number is not None:
                    found.append(number)
                    start = end
                    break
            else:
                return [self._numbers[UNKNOWN]]
        return found or [self._numbers[UNKNOWN]]


def _cleaned(one: str) -> str:
    if one.isspace() or unicodedata.category(one) == "Zs":
        return " "
    if one == "\ufffd" or unicodedata.category(one).startswith("C"):
        return ""
    code = ord(one)
    return f" {one} " if any(first <= code <= last for first, last in _IDEOGRAPHS) else one


def _is_punctuation(one: str) -> bool:
    return (one.isascii() and one.isprintable() and not one.isalnum()) or unicodedata.category(one).startswith("P")


# --- vocabularies ----------------------------------------------------------------------------------------------------


def learn_words(texts: Iterable[str], *, most: int, seen_count: int) -> bytes:
    """Return the words that some texts use most, as a vocabulary; those used less than `seen_count` times are left out.

    Equally frequent words go by the alphabet, so the same texts give the same vocabulary, whatever their order.
    """
    counts = Counter(word for text in texts for word in words(text))
    kept = sorted((-count, word) for word, count in counts.items() if count >= seen_count)
    return "\n".join((*SPECIAL, *(word for _, word in kept[:most]))).encode()


def tokenizer_of(text: Text, vocabulary: bytes) -> Tokenizer:
    """Return the tokenizer that a card describes.

    Raises:
        ModelError: the vocabulary is not the one that the card names, or lacks what it has to have.
    """
    if (found := sha256(vocabulary).hexdigest()) != text.vocabulary_sha256:
        raise ModelError(f"its vocabulary is another (SHA-256 {found[:12]}) than its card names; it was tampered with")
    try:
        lines = vocabulary.decode().removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise ModelError(f"its vocabulary does not read: {error}") from None
    lines = [line.removesuffix("\r") for line in lines]
    wanted = SPECIAL if text.tokenizer == "words" else (PAD, UNKNOWN, BEGIN, END)
    lacking = [one for one in wanted if one not in lines]
    if lacking or (text.tokenizer == "words" and tuple(lines[: len(SPECIAL)]) != SPECIAL):
        raise ModelError(f"its vocabulary does not begin with, or lacks, {', '.join(lacking or SPECIAL)}")
    if text.tokenizer == "words":
        if len(set(lines)) != len(lines):
            raise ModelError("its vocabulary names a word twice")
        return Words(lines, text.buckets)
    return WordPieces(lines, lower_case=text.lower_case)


def code_sha256() -> str:
    """Return what stands in a text model's card as the hash of its features' code."""
    return sha256(f"tokens {CODE_VERSION}".encode()).hexdigest()
