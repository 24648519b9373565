"""Reads what CACTI 7 appends to its out.csv into a table of SRAM macros.

Columns as in `output_data_csv` of its io.cc: one line a run, energies in nJ, the capacity and area
of all banks together. Ports are not among them.
"""

from math import isfinite
from pathlib import Path

from simulator.config import csv_rows
from simulator.cost.sram import SramPoint, SramTable
from simulator.errors import InputError

#: The columns of out.csv, in order; what is read, then what is not.
COLUMNS = (
    *("Tech node (nm)", "Capacity (bytes)", "Number of banks", "Associativity"),
    *("Output width (bits)", "Access time (ns)", "Random cycle time (ns)"),
    *("Dynamic search energy (nJ)", "Dynamic read energy (nJ)", "Dynamic write energy (nJ)"),
    *("Standby leakage per bank(mW)", "Area (mm2)"),
    *("Ndwl", "Ndbl", "Nspd", "Ndcm", "Ndsam_level_1", "Ndsam_level_2"),
    "Data arrary area efficiency %",
    *("Ntwl", "Ntbl", "Ntspd", "Ntcm", "Ntsam_level_1", "Ntsam_level_2"),
    "Tag arrary area efficiency %",
)
_NUMBERS = (
    *("Tech node (nm)", "Capacity (bytes)", "Associativity", "Output width (bits)"),
    *("Access time (ns)", "Dynamic read energy (nJ)", "Dynamic write energy (nJ)", "Area (mm2)"),
)


def load_cacti(path: str | Path, ports: str = "1R1W") -> SramTable:
    """Read an out.csv; `ports` are those of its runs, which it does not say.

    The same macro twice is taken once. Raises InputError for other columns, several nodes, a cache
    (Associativity above 1), and for what is no number.
    """
    label = str(path)
    lines = _lines(Path(path), label)
    _, header = lines[0]
    _check_header(header, label)
    rows = [_row(cells, f"{label}:{line}") for line, cells in lines[1:]]
    nodes = sorted({row["Tech node (nm)"] for row in rows})
    if len(nodes) != 1:
        found = ", ".join(f"{node:g}" for node in nodes) or "none"
        raise InputError(f"{label}: a table is of one node, got {found} (nm)")
    points = tuple(dict.fromkeys(_point(row) for row in rows))
    return SramTable(
        name=Path(path).stem,
        summary=f"{len(points)} macros of {label}",
        technology_nm=nodes[0],
        ports=ports,
        interpolation="log",
        source=f"CACTI 7, {label}",
        points=points,
    )


def _lines(path: Path, label: str) -> list[tuple[int, list[str]]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"{label}: cannot be read: {error}") from error
    # CACTI puts a comma after the last cell.
    lines = [
        (line, cells[:-1] if cells[-1] == "" else cells) for line, cells in csv_rows(text, label)
    ]
    if not lines:
        raise InputError(f"{label}: is empty")
    return lines


def _check_header(cells: list[str], label: str) -> None:
    for place, name in enumerate(COLUMNS):
        got = f"'{cells[place]}'" if place < len(cells) else "nothing"
        if got != f"'{name}'":
            raise InputError(
                f"{label}: column {place + 1} of CACTI 7's out.csv is '{name}', got {got}"
            )
    if len(cells) > len(COLUMNS):
        more = cells[len(COLUMNS)]
        raise InputError(
            f"{label}: CACTI 7's out.csv has {len(COLUMNS)} columns, got also '{more}'"
        )


def _row(cells: list[str], label: str) -> dict[str, float]:
    """Return the numbers of a line by column."""
    if len(cells) != len(COLUMNS):
        raise InputError(f"{label}: expected {len(COLUMNS)} values, got {len(cells)}")
    by_column = dict(zip(COLUMNS, cells, strict=True))
    row, problems = {}, []
    for name in _NUMBERS:
        try:
            row[name] = float(by_column[name])
        except ValueError:
            problems.append(f"{label}: {name}: expected a number, got '{by_column[name]}'")
            continue
        if not isfinite(row[name]):
            problems.append(f"{label}: {name}: must be finite, got {by_column[name]}")
    if row.get("Associativity", 1.0) != 1.0:
        ways = by_column["Associativity"]
        problems.append(f"{label}: Associativity {ways} is a cache with tags, not a scratchpad")
    if problems:
        raise InputError(problems)
    return row


def _point(row: dict[str, float]) -> SramPoint:
    return SramPoint(
        capacity_bytes=int(row["Capacity (bytes)"]),
        width_bits=int(row["Output width (bits)"]),
        read_pj=1000 * row["Dynamic read energy (nJ)"],
        write_pj=1000 * row["Dynamic write energy (nJ)"],
        area_mm2=row["Area (mm2)"],
        access_ns=row["Access time (ns)"],
    )
