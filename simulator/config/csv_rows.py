"""Reading of CSV text line by line, with what is not CSV refused."""

import csv
from collections.abc import Iterator

from simulator.errors import InputError


def csv_rows(text: str, label: str) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and cells, without blanks around them, of each line that has any.

    Errors: InputError, which calls the text `label`, for a line that is not CSV; its cells have
    128 KiB at most.
    """
    reader = csv.reader(text.splitlines(), skipinitialspace=True)
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise InputError(f"{label}:{reader.line_num}: not valid CSV: {error}") from error
