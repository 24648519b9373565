"""Files as CACTI 7 writes them, for the tests."""

from pathlib import Path

from simulator.cost.cacti import COLUMNS


def out_csv(path: Path, *macros: tuple[float, int, int, float, float, float]) -> Path:
    """Write what CACTI 7 appends: node, bytes, width, nJ of a read and of a write, mm2."""
    lines = ["".join(f"{column}, " for column in COLUMNS)]
    for node, size, width, read, write, area in macros:
        cells = [node, size, 8, 1, width, 0.5, 0.4, "N/A", read, write, 12.5, area]
        cells += [2, 4, 1, 1, 1, 1, 60.1, *7 * ["N/A"]]
        lines.append("".join(f"{cell}, " for cell in cells))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
