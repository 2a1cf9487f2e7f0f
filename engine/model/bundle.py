"""A model file: a network and its card in one zip, opened only when everything about it is as it should be.

The card is read without torch and without executing anything. A file is read once; what was checked is what is loaded,
whatever becomes of the file in the meantime. No refusal falls back to anything: a model is opened whole, or not at all.
"""

from __future__ import annotations

import hashlib
import io
import stat
import zipfile
from collections.abc import Set
from pathlib import Path

import msgspec

from engine.clock import to_datetime
from engine.errors import ModelError
from engine.model.archive import CARD, FILE_BYTES_MAX, Archive
from engine.model.card import Card, Span, decode

SUFFIXES = {"torchscript": ".pt", "onnx": ".onnx"}


class Bundle(msgspec.Struct, frozen=True):
    """A model file that was checked.

    Attributes:
        content: its bytes, the same that `sha256` was made of.
        listed: somebody put its SHA-256 on a list, and so vouches for it.
    """

    path: str
    sha256: str
    card: Card
    content: bytes
    listed: bool = False


def open_bundle(path: Path | str, *, allowed: Set[str] | None, now_ns: int) -> Bundle:
    """Read a model file and check all that can be checked without running it.

    `allowed` are the SHA-256 of files that may be run, and None allows any; `now_ns` is the instant at which it must
    not have expired.

    Raises:
        ModelError: it is not on the list, is no model, is damaged, tampered with, renamed or expired, or holds what a
            network does not need; in one line.
    """
    path = Path(path)
    content = _read(path)
    sha256 = hashlib.sha256(content).hexdigest()
    if allowed is not None and sha256 not in allowed:
        raise ModelError(f"{path}: its SHA-256 {sha256} is not among those allowed; nothing of it was read")
    try:
        archive, card = _opened(content)
        _see_name(path, archive, card)
        archive.see_program()
        if program_sha256(archive) != card.program_sha256:
            raise ModelError("its network is not the one that its card was written for; it was tampered with")
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    if now_ns > card.expires_ns:
        raise ModelError(f"{path}: expired at {to_datetime(card.expires_ns):%Y-%m-%d %H:%M} UTC; train it again")
    return Bundle(str(path), sha256, card, content, listed=allowed is not None)


def read_card(path: Path | str) -> Card:
    """Return the card of a model file, which need not be fit to run.

    Raises:
        ModelError: it has none that can be read.
    """
    try:
        return _opened(_read(Path(path)))[1]
    except ModelError as error:
        raise ModelError(str(error) if str(path) in str(error) else f"{path}: {error}") from None


def seal(program: bytes, card: Card, stem: str) -> bytes:
    """Return a saved network with its card inside; `stem` is the name of the file, without its suffix.

    Raises:
        ModelError: the network or the card would be refused when it is opened.
    """
    archive = Archive(program)
    if CARD in archive.names:
        raise ModelError("the network has a card already")
    _see_stem(stem, card)
    archive.see_program()
    card = msgspec.structs.replace(card, program_sha256=program_sha256(archive))
    card.check()
    buffer = io.BytesIO(program)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_STORED) as file:
        file.writestr(zipfile.ZipInfo(f"{archive.root}/{CARD}"), card.encode())
    content = buffer.getvalue()
    _opened(content)
    return content


def program_sha256(archive: Archive) -> str:
    """Return a hash over all that is executed: every entry but the card and what only helps to debug."""
    digest = hashlib.sha256()
    for name in sorted(archive.names):
        if name != CARD and not name.startswith(".data/") and not name.endswith(".debug_pkl"):
            content = archive.read(name)
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def check_replay(card: Card, span_ns: Span, *, allowed: bool) -> str:
    """Return what a report has to say when a tape meets the span that a model was trained on, or an empty text.

    What it was validated on belongs to that span: training stops by it, and temperature and weights are fitted on it.

    Raises:
        ModelError: it does, and nobody has allowed it.
    """
    seen = [span for span in (card.train_span_ns, card.valid_span_ns) if span[1]]
    if not seen:
        return ""
    first_ns, last_ns = min(first for first, _ in seen), max(last for _, last in seen)
    if last_ns < span_ns[0] or span_ns[1] < first_ns:
        return ""
    told = (
        f"model {card.name!r} was trained on {to_datetime(first_ns):%Y-%m-%d} to {to_datetime(last_ns):%Y-%m-%d}, and "
        f"the tape runs from {to_datetime(span_ns[0]):%Y-%m-%d} to {to_datetime(span_ns[1]):%Y-%m-%d}"
    )
    if not allowed:
        raise ModelError(f"{told}: it has seen these days; replay others, or set allow_training_span = true")
    return f"{told}: results within that span say nothing about days that it has not seen."


def _read(path: Path) -> bytes:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ModelError(f"{path}: this is no file")
        if found.st_size > FILE_BYTES_MAX:
            raise ModelError(f"{path}: {found.st_size:,} bytes; {FILE_BYTES_MAX:,} is the most")
        with path.open("rb") as file:
            return file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from None


def _opened(content: bytes) -> tuple[Archive, Card]:
    archive = Archive(content)
    if CARD not in archive.names:
        raise ModelError("it has no card; save it with engine.model.backends.save_bundle")
    return archive, decode(archive.read(CARD))


def _see_name(path: Path, archive: Archive, card: Card) -> None:
    suffix = SUFFIXES[archive.kind]
    if path.suffix != suffix:
        raise ModelError(f"it is a {archive.kind} model, so its name ends in {suffix}; was it renamed?")
    _see_stem(path.stem, card)


def _see_stem(stem: str, card: Card) -> None:
    if stem != card.name and not stem.startswith(tuple(card.name + mark for mark in "-_.")):
        raise ModelError(f"its card says {card.name!r}, so its name begins so and not with {stem!r}; was it renamed?")
