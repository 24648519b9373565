"""Plain tables: aligned text for a terminal, semantic HTML for a notebook, from the same cells."""

import html
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, isfinite, log10

WIDTH = 99
"""Columns of text that a table keeps to by wrapping its last column."""

_PREFIXES = {
    -15: "f",
    -12: "p",
    -9: "n",
    -6: "u",
    -3: "m",
    0: "",
    3: "k",
    6: "M",
    9: "G",
    12: "T",
    15: "P",
    18: "E",
}


def engineering(value: float, unit: str, digits: int = 4) -> str:
    """Write `value` with a decimal prefix and `digits` significant digits: `12.35 ms`."""
    if value == 0 or not isfinite(value):
        return f"{value:g} {unit}".rstrip()
    exponent = 3 * floor(log10(abs(value)) / 3)
    if exponent not in _PREFIXES:
        return f"{value:.{digits - 1}e} {unit}".rstrip()
    text = _significant(value / 10.0**exponent, digits)
    if abs(float(text)) >= 1000 and exponent + 3 in _PREFIXES:
        exponent += 3
        text = _significant(value / 10.0**exponent, digits)
    return f"{text} {_PREFIXES[exponent]}{unit}".rstrip()


def _significant(value: float, digits: int) -> str:
    whole = max(1, floor(log10(abs(value))) + 1) if value else 1
    return f"{value:.{max(0, digits - whole)}f}"


@dataclass(frozen=True)
class Table:
    """Cells with a title and column heads; `align` has one of `<` and `>` per column.

    `heads` may be empty for a table of facts. `note` is a sentence below the table.
    """

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    align: str
    note: str = ""

    def text(self) -> str:
        """Return the table as aligned lines without trailing blanks."""
        lines = [*([self.heads] if self.heads else []), *self.rows]
        widths = [max(len(line[index]) for line in lines) for index in range(len(self.align))]
        body = [text for line in lines for text in self._lines(line, widths)]
        return "\n".join([self.title, *body, *([f"  ({self.note})"] if self.note else [])])

    def _lines(self, cells: Sequence[str], widths: Sequence[int]) -> list[str]:
        """Return one line, or more where the last cell does not fit beside the others."""
        room = max(20, WIDTH - 2 * len(widths) - sum(widths[:-1]))
        parts = textwrap.wrap(cells[-1], room, break_on_hyphens=False) or [""]
        blank = [""] * (len(cells) - 1)
        widths = [*widths[:-1], min(widths[-1], room)]
        first = self._line([*cells[:-1], parts[0]], widths)
        return [first, *(self._line([*blank, part], widths) for part in parts[1:])]

    def _line(self, cells: Sequence[str], widths: Sequence[int]) -> str:
        padded = (
            f"{cell:{side}{width}}"
            for cell, side, width in zip(cells, self.align, widths, strict=True)
        )
        return ("  " + "  ".join(padded)).rstrip()

    def html(self) -> str:
        """Return the table as an HTML `table` with a caption."""
        head = self._html_row(self.heads, "th") if self.heads else ""
        rows = "\n".join(self._html_row(row, "td") for row in self.rows)
        note = f"<p><small>{html.escape(self.note)}</small></p>\n" if self.note else ""
        return (
            "<table>\n"
            f'<caption style="text-align:left"><b>{html.escape(self.title)}</b></caption>\n'
            + (f"<thead>\n{head}\n</thead>\n" if head else "")
            + f"<tbody>\n{rows}\n</tbody>\n</table>\n{note}"
        )

    def _html_row(self, cells: Sequence[str], tag: str) -> str:
        sides = {"<": "left", ">": "right"}
        body = "".join(
            f'<{tag} style="text-align:{sides[side]}">{html.escape(cell)}</{tag}>'
            for cell, side in zip(cells, self.align, strict=True)
        )
        return f"<tr>{body}</tr>"
