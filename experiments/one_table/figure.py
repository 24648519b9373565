"""The figure: speed-up against energy gain over FP16 by element, colour the SQNR."""

from collections.abc import Sequence
from pathlib import Path

from rows import Entry


def draw(made: Sequence[Entry], folder: Path) -> None:
    """Write one_table.pdf and one_table.png to `folder`."""
