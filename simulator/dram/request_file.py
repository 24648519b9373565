"""Files of requests, one a line: `R 0,1,3,2,51467,100`, R or W and the levels of the address.

The format is that of the recorded request streams; the levels are those of a standard, Channel to
Column, the column being the first of a burst. Files whose name ends in .gz are compressed.
"""

import gzip
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from simulator.dram.standard import Standard
from simulator.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Problems of one file that are listed before reading stops.
MOST_PROBLEMS = 20


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line of a file, decompressed if its name ends in .gz.

    Raises InputError for a file that is not there or cannot be read.
    """
    opened: Callable[..., TextIO] = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="ascii", errors="replace") as file:
            for number, line in enumerate(file, start=1):
                yield number, line.rstrip("\n")
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read: {reason}") from error


def read_requests(path: Path, standard: Standard) -> "tuple[NDArray[np.bool_], NDArray[np.int64]]":
    """Return which requests of a file write, and their levels: (count,) and (count, levels).

    Raises InputError with line and column of every problem, 20 at most.
    """
    import numpy as np

    writes, levels, problems = array("b"), array("q"), list[str]()
    for number, line in text_lines(path):
        try:
            write, address = _parsed(line, standard)
        except _WrongAtError as error:
            problems.append(f"{path}:{number}:{error.column}: {error}")
            if len(problems) == MOST_PROBLEMS:
                break
            continue
        writes.append(write)
        levels.extend(address)
    if problems:
        raise InputError(problems)
    if not writes:
        raise InputError(f"{path}: has no requests")
    shape = (len(writes), len(standard.levels))
    return np.array(writes, dtype=np.bool_), np.array(levels, dtype=np.int64).reshape(shape)


def request_lines(writes: "NDArray[np.bool_]", levels: "NDArray[np.int64]") -> Iterator[str]:
    """Yield the line of each request, its end included; arrays as of `read_requests`."""
    for write, address in zip(writes.tolist(), levels.tolist(), strict=True):
        yield f"{'W' if write else 'R'} {','.join(map(str, address))}\n"


class _WrongAtError(Exception):
    """What is wrong with a line, at which column."""

    def __init__(self, column: int, problem: str) -> None:
        super().__init__(problem)
        self.column = column


def _parsed(line: str, standard: Standard) -> tuple[bool, list[int]]:
    """Return whether a line writes, and the levels of its address."""
    if line[:2] not in ("R ", "W "):
        raise _WrongAtError(1, f"expected 'R ' or 'W ', got {line[:2]!r}")
    words, column, address = line[2:].split(","), 3, list[int]()
    if len(words) != len(standard.levels):
        listed = ",".join(standard.levels)
        raise _WrongAtError(
            3, f"expected {len(standard.levels)} levels ({listed}), got {len(words)}"
        )
    for word, (level, count) in zip(words, standard.levels.items(), strict=True):
        address.append(_value(word, level, count, column))
        column += len(word) + 1
    if address[-1] % standard.prefetch:
        raise _WrongAtError(
            column - 1 - len(words[-1]),
            f"Column {address[-1]} is not the first of a burst of {standard.prefetch}",
        )
    return line[0] == "W", address


def _value(word: str, level: str, count: int, column: int) -> int:
    if not (word.isascii() and word.isdecimal() and len(word) < 19):
        raise _WrongAtError(column, f"{level}: expected an integer, got {word!r}")
    if int(word) >= count:
        raise _WrongAtError(column, f"{level} {int(word)} is not below {count}")
    return int(word)
