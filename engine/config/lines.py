"""Where each key of a TOML text stands, so that a complaint can name the line. `tomllib` reads, but keeps no lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

KeyPath = tuple[str | int, ...]

_SEGMENT = r"""(?:"(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_-]+)"""
_DOTTED = rf"{_SEGMENT}(?:\s*\.\s*{_SEGMENT})*"
_HEADER = re.compile(rf"\s*(\[\[?)\s*({_DOTTED})\s*\]")
_KEY = re.compile(rf"\s*({_DOTTED})\s*=")
_TOKEN = re.compile(r"""\"{3}|'{3}|"(?:[^"\\]|\\.)*"|'[^']*'|#.*|[\[\]{}]""")
_TRIPLE_END = {'"""': re.compile(r'(?:[^"\\]|\\.|"(?!""))*?"{3,5}'), "'''": re.compile(r".*?'{3,5}")}


def key_lines(text: str) -> dict[KeyPath, int]:
    """Return the line, from 1, of every header and key of a valid TOML text.

    Keys inside an inline table are not listed; `line_of` finds the line of the table.
    """
    found: dict[KeyPath, int] = {}
    counts: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for number, line in _statements(text):
        if header := _HEADER.match(line):
            table = _place(_segments(header[2]), counts, new=header[1] == "[[")
            found.setdefault(table, number)
        elif key := _KEY.match(line):
            path = table
            for segment in _segments(key[1]):
                path = (*path, segment)
                found.setdefault(path, number)
    return found


def line_of(lines: Mapping[KeyPath, int], path: KeyPath) -> int | None:
    """Return the line of `path`, or of the nearest table around it that has one."""
    while path:
        if path in lines:
            return lines[path]
        path = path[:-1]
    return None


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines on which a header or a key may begin: those outside arrays, inline tables and long strings."""
    depth, quote = 0, ""
    for number, line in enumerate(text.splitlines(), start=1):
        if not depth and not quote:
            yield number, line
            start = _HEADER.match(line)
            position = len(line) if start else 0
        else:
            position = 0
        while position < len(line):
            if quote:
                end = _TRIPLE_END[quote].match(line, position)
                if end is None:
                    break
                position, quote = end.end(), ""
                continue
            token = _TOKEN.search(line, position)
            if token is None:
                break
            position = token.end()
            if token[0] in _TRIPLE_END:
                quote = token[0]
            elif token[0] in "[{":
                depth += 1
            elif token[0] in "]}":
                depth -= 1


def _segments(dotted: str) -> list[str]:
    return [part[1:-1] if part[0] in "\"'" else part for part in re.findall(_SEGMENT, dotted)]


def _place(segments: list[str], counts: dict[KeyPath, int], *, new: bool) -> KeyPath:
    """Return the path of a header, with the index of the current element after each array of tables."""
    path: KeyPath = ()
    for position, segment in enumerate(segments):
        path = (*path, segment)
        if new and position == len(segments) - 1:
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path = (*path, counts[path])
    return path
