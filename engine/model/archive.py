"""Reading a model file as what it is, a zip from a stranger: nothing is extracted to disk and nothing is executed.

Whoever loads the file afterwards (torch, in C++) reads the zip with its own code. So only archives are let through that
every reader understands alike: one entry after the other from the first byte, the directory right behind them, the end
at the end, no name twice, nothing in between.
"""

from __future__ import annotations

import io
import pickletools
import re
import zipfile
import zlib
from typing import Final

from engine.errors import ModelError

ENTRIES_MAX: Final = 20_000
FILE_BYTES_MAX: Final = 1 << 30
TEXT_BYTES_MAX: Final = 16 << 20
"""Of one compressed entry, of a pickle and of the card: what is larger is no code, no list and no card of ours."""
UNREADABLE: Final = (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, OverflowError, OSError)
CARD: Final = "extra/card.json"
VOCABULARY: Final = "extra/vocab.txt"
ONNX: Final = "model.onnx"

_END_BYTES = 22
_NO_BYTES: tuple[int, ...] = (0,)
_DESCRIPTOR_BYTES = (12, 16, 20, 24)  # behind an entry whose size was not known when it was begun
_END_64_BYTES = 76
_NAME = re.compile(r"[\w.-]+(/[\w.-]+)+", re.ASCII)
_TORCHSCRIPT = re.compile(
    r"data\.pkl|constants\.pkl|attributes\.pkl|version|byteorder|\.format_version|\.storage_alignment"
    r"|\.data/(serialization_id|version)|(data|constants|attributes)/\d+|code/.+\.py(\.debug_pkl)?",
    re.ASCII,
)
_KNOWN_GLOBAL = re.compile(
    r"__torch__\.?[\w.]* \w+|torch \w+Storage|torch\._utils _rebuild_(tensor_v2|qtensor)|collections OrderedDict"
    r"|torch\.jit\._pickle (build_(int|tensor|double|bool)list|restore_type_tag)",
    re.ASCII,
)
_REACHES_OUT = re.compile(rb"\b(?:torch|aten)\s*\.\s*(?:save|load|from_file)\s*\(|\bops\s*\.\s*(?!(?:prim|aten)\b)\w+")


class Archive:
    """The entries of a model file by their names, without the folder that all of them lie in.

    Attributes:
        kind: "torchscript" or "onnx".
        root: that folder.
        names: in the order of the file.

    Raises:
        ModelError: it is no archive of a model; in one line, without the file's name.
    """

    def __init__(self, content: bytes) -> None:
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(content))
        except UNREADABLE as error:
            raise ModelError(f"it is damaged or no model file: {error}") from None
        entries = self._zip.infolist()
        _see_names(entries)
        self.root = entries[0].filename.partition("/")[0]
        self._entries = {entry.filename[len(self.root) + 1 :]: entry for entry in entries}
        self.names = tuple(self._entries)
        _see_layout(content, entries, self._zip.start_dir)
        self.kind = "onnx" if ONNX in self._entries else "torchscript"
        self._see_entries()

    def read(self, name: str) -> bytes:
        """Return an entry whole; its check sum is compared.

        Raises:
            ModelError: it is damaged.
        """
        try:
            return self._zip.read(self._entries[name])
        except (*UNREADABLE, EOFError, zlib.error) as error:
            raise ModelError(f"it is damaged in {name!r}: {error}") from None

    def _see_entries(self) -> None:
        allowed = re.compile(re.escape(ONNX)) if self.kind == "onnx" else _TORCHSCRIPT
        for name, entry in self._entries.items():
            if name not in (CARD, VOCABULARY) and not allowed.fullmatch(name):
                raise ModelError(f"it holds {name!r}, which has no place in a model")
            compressed = entry.compress_type != zipfile.ZIP_STORED
            if compressed and not (entry.compress_type == zipfile.ZIP_DEFLATED and name.startswith("code/")):
                raise ModelError(f"{name!r} is compressed, which only code may be")
            is_text = compressed or name in (CARD, VOCABULARY) or name.endswith("pkl")
            if is_text and entry.file_size > TEXT_BYTES_MAX:
                raise ModelError(f"{name!r} would unpack to {entry.file_size:,} bytes; {TEXT_BYTES_MAX:,} is the most")
        if self.kind == "torchscript" and not {"data.pkl", "constants.pkl"} <= self._entries.keys():
            is_pickle = "; it is a pickle of torch.save, which could run anything" if "data.pkl" in self.names else ""
            raise ModelError(f"it is no TorchScript file{is_pickle}")

    def see_program(self) -> None:
        """Look through what would be executed, without executing it, and read every byte of the rest.

        Raises:
            ModelError: an entry is damaged, a pickle names what no network needs, or code reaches for files.
        """
        for name in self.names:
            content = self.read(name)
            if name.endswith("pkl"):
                _see_pickle(name, content)
            elif name.startswith("code/") and (found := _REACHES_OUT.search(content)):
                raise ModelError(
                    f"its code in {name!r} calls {found[0].decode().strip('( ')!r}, which no network needs"
                )


def _see_names(entries: list[zipfile.ZipInfo]) -> None:
    if not 1 <= len(entries) <= ENTRIES_MAX:
        raise ModelError(f"it holds {len(entries):,} entries; 1 to {ENTRIES_MAX:,} are right")
    roots = {entry.filename.partition("/")[0] for entry in entries}
    lower = {entry.filename.lower() for entry in entries}
    for entry in entries:
        name = entry.filename
        parts = name.split("/")
        if name != entry.orig_filename or not _NAME.fullmatch(name) or {".", ".."} & set(parts):
            raise ModelError(f"an entry is called {entry.orig_filename[:80]!r}, which may lead out of the file")
        if entry.flag_bits & 0x1:
            raise ModelError(f"{name!r} is encrypted")
    if len(lower) != len(entries):
        raise ModelError("it holds two entries of the same name")
    if len(roots) != 1:
        raise ModelError("its entries do not lie in one folder")


def _see_layout(content: bytes, entries: list[zipfile.ZipInfo], directory_at: int) -> None:
    """See that no byte is left over in which another reader of zips could find something else."""
    if content[-_END_BYTES:-18] != b"PK\x05\x06" or content[-2:] != b"\0\0":
        raise ModelError("it does not end where its directory ends")
    reached, gaps = 0, _NO_BYTES
    for entry in sorted(entries, key=lambda one: one.header_offset):
        at = entry.header_offset
        header = content[at : at + 30]
        if at - reached not in gaps or header[:4] != b"PK\x03\x04":
            raise ModelError(f"{entry.filename!r} does not begin where the entry before it ends")
        names = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        reached = at + 30 + names + entry.compress_size
        gaps = _DESCRIPTOR_BYTES if entry.flag_bits & 0x8 else _NO_BYTES
    listed = sum(46 + len(one.filename.encode()) + len(one.extra) + len(one.comment) for one in entries)
    if directory_at - reached not in gaps:
        raise ModelError("there is something between its entries and its directory")
    if not 0 <= len(content) - _END_BYTES - directory_at - listed <= _END_64_BYTES:
        raise ModelError("there is something between its directory and its end")


def _see_pickle(name: str, content: bytes) -> None:
    """See that a pickle names nothing but what TorchScript itself puts there; it is read, not run."""
    try:
        for operation, argument, _ in pickletools.genops(content):
            if operation.name == "GLOBAL" and _KNOWN_GLOBAL.fullmatch(str(argument)):
                continue
            if operation.name in ("GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4"):
                told = str(argument or operation.name).replace(" ", ".")[:80]
                raise ModelError(f"its pickle {name!r} would call {told!r}, which no network needs")
    except ModelError:
        raise
    except Exception as error:  # pickletools raises whatever a broken pickle leads it to
        raise ModelError(f"its pickle {name!r} does not read: {type(error).__name__}") from None
