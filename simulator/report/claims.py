"""Published claims beside our numbers: the table of an experiment, as CSV and as plain text.

A claim is one number that somebody published, ours for the same thing, and why the two differ
(or what makes them equal). Nothing here judges: a ratio far from one stays in the table. Where
nobody published anything the claim is a question, its source "none" and what was published empty.
What we cannot compute yet stands in the table without ours.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from simulator.config import did_you_mean
from simulator.errors import InputError
from simulator.results import Table, prepare_folder, write_atomically

PUBLISHED_COLUMNS = ("claim", "source", "published", "key", "why")
COLUMNS = ("claim", "source", "published", "ours", "ratio", "why")
#: The source of a question that nobody answered.
NOBODY = "none"


@dataclass(frozen=True)
class Claim:
    """One published number and ours, both in the unit that `claim` names; `key` names ours.

    published: None where nobody published it; ours: None where we have none yet. Raises InputError
    for an empty text, a published value that is not above zero, a source without a value or a value
    without one, a question without ours.
    """

    claim: str
    source: str
    published: float | None
    ours: float | None
    why: str
    key: str = ""

    def __post_init__(self) -> None:
        """Refuse what could not stand in a table of claims."""
        problems = [
            f"claim '{self.claim}': {name} is empty"
            for name in ("claim", "source", "why")
            if not getattr(self, name).strip()
        ]
        if self.published is not None and not self.published > 0:
            problems.append(f"claim '{self.claim}': published must be > 0, got {self.published}")
        if (self.published is None) != (self.source == NOBODY):
            problems.append(
                f"claim '{self.claim}': source '{NOBODY}' and an empty published go together"
            )
        if self.published is None and self.ours is None:
            problems.append(f"claim '{self.claim}': neither published nor ours")
        if problems:
            raise InputError(problems)

    @property
    def ratio(self) -> float | None:
        """Ours over the published value, None where one of them is missing."""
        if self.published is None or self.ours is None:
            return None
        return self.ours / self.published


def read_claims(path: str | Path, ours: Mapping[str, float]) -> list[Claim]:
    """Join published numbers, a CSV with `PUBLISHED_COLUMNS`, with ours by key, in its order.

    Rows whose key is not in `ours` are left out (a run in small form computes only some); a row
    without a key has no ours yet and stands in every table.
    Raises InputError for a file that cannot be read, other columns, a number that is none, or a
    key of `ours` that no row asks for.
    """
    try:
        rows = list(csv.reader(Path(path).read_text(encoding="utf-8").splitlines()))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if not rows or tuple(rows[0]) != PUBLISHED_COLUMNS:
        raise InputError(f"{path}: the columns must be {', '.join(PUBLISHED_COLUMNS)}")
    claims, asked = [], set[str]()
    for number, row in enumerate(rows[1:], start=2):
        try:
            claim, source, published, key, why = row
            value = float(published) if published else None
        except ValueError as error:
            raise InputError(f"{path}:{number}: {error}") from error
        asked.add(key)
        if not key or key in ours:
            claims.append(Claim(claim, source, value, ours[key] if key else None, why, key))
    unknown = [key for key in ours if key not in asked]
    if unknown:
        raise InputError(
            [f"{path}: no row asks for '{key}'{did_you_mean(key, asked)}" for key in unknown]
        )
    return claims


def _text(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def claims_text(title: str, claims: Sequence[Claim]) -> str:
    """Return the claims as a numbered table of text, and below it the reasons by number."""
    numbered = list(enumerate(claims, start=1))
    rows = tuple(
        (f"{i}", c.claim, _text(c.published, ".5g"), _text(c.ours, ".5g"), _text(c.ratio, ".3f"))
        for i, c in numbered
    )
    reasons = tuple((f"{i}", f"{c.why} [{c.source}]") for i, c in numbered)
    table = Table(title, ("", "claim", "published", "ours", "ratio"), rows, "><>>>")
    return f"{table.text()}\n{Table('why', (), reasons, '><').text()}"


def write_claims(claims: Sequence[Claim], path: str | Path) -> Path:
    """Write the claims as CSV with the columns `COLUMNS`, ours in full; return the path.

    Raises InputError where the file cannot be written.
    """
    buffer = StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for c in claims:
        published, ratio = _text(c.published, ".10g"), _text(c.ratio, ".4f")
        ours = "" if c.ours is None else c.ours
        writer.writerow((c.claim, c.source, published, ours, ratio, c.why))
    prepare_folder(Path(path).parent)
    return write_atomically(path, buffer.getvalue().encode())
