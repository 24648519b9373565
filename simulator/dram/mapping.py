"""From byte addresses to levels: which bits choose the column, the bank, the channel.

A mapping is an order of levels, from the most to the least significant digit: a list of names, or a
pattern of two letters a level such as "RoBaBgCoCh" (any case; Ba is Bank, Bg BankGroup, Pc
PseudoChannel). The column's digit counts bursts; below it are the bytes of one burst. Counts need
not be powers of two.

Left out: hashes of bits (XOR), a level whose bits stand in two places.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from simulator.config import unknown
from simulator.dram.standard import Standard
from simulator.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


#: Columns of `digits`: the place in an address; how many values; the bits of them if they are a
#: power of two, else -1; what one counts in the address (the prefetch for the column, else 1).
PLACE, RADIX, SHIFT, SCALE = range(4)


def abbreviation(level: str) -> str:
    """Return the two letters of a level: its two capitals, else its first two letters."""
    capitals = re.findall("[A-Z]", level)
    return f"{capitals[0]}{capitals[1].lower()}" if len(capitals) > 1 else level[:2]


def parse_mapping(mapping: str | Sequence[str], standard: Standard) -> tuple[str, ...]:
    """Return the names of the levels, most significant first.

    Raises InputError, with every problem, for an unknown level, one named twice, and an address
    that is not covered: every level of more than one instance must be there.
    """
    known = {abbreviation(level).lower(): level for level in standard.levels}
    label = f"mapping {mapping!r}" if isinstance(mapping, str) else f"mapping {list(mapping)}"
    order, problems = [], []
    for word in re.findall("..?", mapping) if isinstance(mapping, str) else mapping:
        level = known.get(word.lower()) if isinstance(mapping, str) else word
        if level not in standard.levels:
            choices = list(standard.levels)
            if isinstance(mapping, str):
                choices = [abbreviation(each) for each in choices]
            problems.append(f"{label}: {unknown('level', word, choices)}")
        elif level in order:
            problems.append(f"{label}: {level} is named twice")
        else:
            order.append(level)
    missing = [level for level, count in standard.levels.items() if count > 1]
    missing = [level for level in missing if level not in order]
    if missing and not problems:
        problems.append(f"{label}: does not cover the address: {', '.join(missing)} missing")
    if problems:
        raise InputError(problems)
    return tuple(order)


def digits(mapping: str | Sequence[str], standard: Standard) -> "NDArray[np.int64]":
    """Return the digits of a number of bursts, least significant first, for compiled code.

    int64 (digits, 4), columns PLACE to SCALE. Raises InputError as `parse_mapping` does.
    """
    import numpy as np

    levels, rows = list(standard.levels), []
    for level in reversed(parse_mapping(mapping, standard)):
        column = level == "Column"
        radix = standard.bursts_per_row if column else standard.levels[level]
        bits = radix.bit_length() - 1
        shift = bits if radix == 1 << bits else -1
        rows.append((levels.index(level), radix, shift, standard.prefetch if column else 1))
    return np.array(rows, dtype=np.int64)
