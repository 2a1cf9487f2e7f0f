"""Rows to HTML tables. Every text is escaped here; a number carries its value, so that the page can sort by it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from math import isnan
from typing import Any, NamedTuple

import pandas as pd

from engine.report.summary import number


class Cell(NamedTuple):
    """A table cell: its text, the number to sort by, and whether its sign is colored."""

    text: str
    value: float | None = None
    signed: bool = False


def figure(value: float, style: str) -> Cell:
    """Return a number in one of the styles of `summary.number`; NaN, a figure that is not there, as a dash."""
    if isnan(value):
        return Cell("-", 0.0)
    return Cell(number(float(value), style), float(value), style.startswith("+"))


def time(stamp: pd.Timestamp) -> Cell:
    """Return an instant to the second."""
    return Cell(clock(stamp))


def clock(stamp: pd.Timestamp) -> str:
    """Write an instant to the second, in the zone it carries."""
    return f"{stamp:%Y-%m-%d %H:%M:%S}"


def table(head: Sequence[str], rows: Iterable[Sequence[Cell]], *, sorts: bool = False) -> str:
    """Return a table; a column with a number in it is aligned to the right."""
    body, numeric = [], set()
    for row in rows:
        numeric |= {place for place, cell in enumerate(row) if cell.value is not None}
        body.append(f"<tr>{''.join(map(_cell, row))}</tr>")
    kinds = (' class="num"' if place in numeric else "" for place in range(len(head)))
    heads = "".join(f"<th{kind}>{escape(words)}</th>" for kind, words in zip(kinds, head, strict=True))
    attribute, rest = ' class="sorts"' if sorts else "", "".join(body)
    return f'<div class="scroll"><table{attribute}><thead><tr>{heads}</tr></thead><tbody>{rest}</tbody></table></div>'


def section(title: str, content: str, *, control: str = "", long: bool = False) -> str:
    """Return a panel of the page; a long one may be cut between two sheets of paper."""
    attribute = ' class="long"' if long else ""
    return f'<section{attribute}><div class="head"><h2>{title}</h2>{control}</div>{content}</section>'


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame as dictionaries."""
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def _cell(cell: Cell) -> str:
    if cell.value is None:
        return f"<td>{escape(cell.text)}</td>"
    color = {"+": " gain", "-": " loss"}.get(cell.text[:1], "") if cell.signed else ""
    return f'<td class="num{color}" data-value="{cell.value!r}">{escape(cell.text)}</td>'
