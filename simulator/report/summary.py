"""The experiments that ship, and the claims of several of them in one table.

An experiment is a folder under `experiments/` of the data root with a `run.py`, which writes
`claims.csv`, and a `README.md`, whose first sentence says what it is about. Cells of the joined
table are kept as the experiments wrote them: nothing is rounded a second time.
"""

import csv
import re
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path

from simulator.config import data_root, unknown
from simulator.errors import InputError
from simulator.report.claims import COLUMNS
from simulator.results import prepare_folder, write_atomically

SUMMARY_COLUMNS = ("experiment", *COLUMNS)
#: A row of the joined table: column -> cell.
Row = dict[str, str]

# A full stop or question mark ends a sentence where a capital follows.
_SENTENCE = re.compile(r".+?[.?](?= [A-Z])")


def experiment_names() -> list[str]:
    """Return the names of the experiments, sorted."""
    return sorted(path.parent.name for path in (data_root() / "experiments").glob("*/run.py"))


def experiment_folder(name: str) -> Path:
    """Return the folder of an experiment; InputError for a name that is none."""
    known = experiment_names()
    if name not in known:
        raise InputError(unknown("experiment", name, known))
    return data_root() / "experiments" / name


def question(name: str) -> str:
    """Return the first sentence of an experiment's README, below its title, as one line."""
    text = (experiment_folder(name) / "README.md").read_text(encoding="utf-8")
    paragraphs = [part for part in text.split("\n\n") if not part.startswith("#")]
    line = " ".join(paragraphs[0].split())
    found = _SENTENCE.match(line)
    return found[0] if found else line


def read_rows(name: str, path: str | Path) -> list[Row]:
    """Read the claims that an experiment wrote, as rows with `SUMMARY_COLUMNS`.

    Raises InputError for a file that cannot be read or has other columns.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    reader = csv.DictReader(lines, strict=True)
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise InputError(f"{path}: the columns must be {', '.join(COLUMNS)}")
    return [{"experiment": name, **row} for row in reader]


def write_summary(rows: Sequence[Row], path: str | Path) -> Path:
    """Write rows as CSV with the columns `SUMMARY_COLUMNS`; return the path.

    Raises InputError where the file cannot be written.
    """
    buffer = StringIO()
    writer = csv.DictWriter(buffer, SUMMARY_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    prepare_folder(Path(path).parent)
    return write_atomically(path, buffer.getvalue().encode())


def ratios(rows: Sequence[Row]) -> Mapping[str, list[float]]:
    """Return experiment -> its ratios of ours over published, without those of questions."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row["ratio"]:
            found.setdefault(row["experiment"], []).append(float(row["ratio"]))
    return found
