"""Duplex' comparison of three places for units, by energy x delay x area over Op/B.

Writes claims.csv, table.csv (delay, energy and area of each point) and the figure duplex.pdf and
.png to --out. README.md says what was assumed.
"""

import argparse
import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from stacks import (
    ADDED_MM2,
    ALL,
    BANK,
    DIE_MM2,
    DRAM_DIES,
    FEW,
    LOGIC,
    LOGIC_PIM_MM2,
    OP_B,
    STACKS,
    Point,
    peak_tbytes,
    peak_tflops,
    pins_tbytes,
    point,
    units_mm2,
)

from simulator.report.claims import Claim, claims_text, read_claims, write_claims
from simulator.report.paper import paper_figure
from simulator.report.style import FAINT
from simulator.results import prepare_folder

HERE = Path(__file__).parent
#: What --small computes: where columns are the bound, and where Logic-PIM's multipliers become it.
SMALL = (1, 8)
VARIANTS = {"all held": (ALL, False), "8 held": (FEW, False), "energy of gates": (ALL, True)}
COLOURS = dict(zip(STACKS, ("#0072b2", "#d55e00", "#009e73"), strict=True))


def normalised(op_b: int, held: int, *, gates: bool) -> dict[str, float]:
    """Return stack -> EDAP over the worst of the three, as the paper's Fig. 8 has it."""
    found = {stack: point(op_b, stack, held).edap(gates=gates) for stack in STACKS}
    worst = max(found.values())
    return {stack: each / worst for stack, each in found.items()}


def identities() -> dict[str, float]:
    """Return what follows from the description alone."""
    return {
        "tflops": peak_tflops(LOGIC),
        **{f"{stack}.wider": peak_tbytes(stack) / pins_tbytes(stack) for stack in (BANK, LOGIC)},
        **{f"{stack}.op_b": peak_tflops(stack) / peak_tbytes(stack) for stack in (BANK, LOGIC)},
        "added": sum(ADDED_MM2.values()),
        "share": 100 * LOGIC_PIM_MM2 / DIE_MM2,
    }


def numbers(small: bool) -> dict[str, float]:
    """Return ours by key of a claim."""
    at = SMALL if small else OP_B
    edaps = {op_b: normalised(op_b, ALL, gates=False) for op_b in at}
    ours = {f"{stack}.{op_b}": edaps[op_b][stack] for op_b in at for stack in STACKS}
    ours |= identities()
    ours["die"] = 100 * units_mm2(BANK) / DRAM_DIES / DIE_MM2
    if not small:
        ours["crossover"] = next(n for n, each in edaps.items() if each[LOGIC] < each[BANK])
    return ours


def table(small: bool) -> Iterable[Sequence[object]]:
    """Yield the rows of table.csv: EDAP of each variant, normalised, and what it is made of."""
    for name, (held, gates) in VARIANTS.items():
        for op_b in SMALL if small else OP_B:
            edaps = normalised(op_b, held, gates=gates)
            for stack in STACKS:
                yield name, edaps[stack], *point(op_b, stack, held)


def write_table(rows: Iterable[Sequence[object]], path: Path) -> None:
    """Write the table."""
    with (prepare_folder(path.parent) / path.name).open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(("variant", "edap", *Point._fields))
        for row in rows:
            out.writerow(f"{each:.6g}" if isinstance(each, float) else each for each in row)


def draw(claims: Sequence[Claim], folder: Path) -> None:
    """Draw EDAP over Op/B: ours filled, published hollow, variants thin."""
    published = {claim.key: claim.published for claim in claims}
    with paper_figure(folder, "duplex", height_in=2.5) as figure:
        panels = figure.subplots(1, len(STACKS), sharey=True)
        for axes, (stack, label) in zip(panels, STACKS.items(), strict=True):
            colour = COLOURS[stack]
            for name, (held, gates) in VARIANTS.items():
                line = [normalised(op_b, held, gates=gates)[stack] for op_b in OP_B]
                main = name == "all held"
                style = {"marker": "o"} if main else {"lw": 0.8, "ls": "--" if gates else ":"}
                axes.plot(OP_B, line, color=colour, **style)
            theirs = [published[f"{stack}.{op_b}"] for op_b in OP_B]
            axes.plot(OP_B, theirs, "s", color="black", mfc="white", ms=4, zorder=0)
            axes.set_title(label, color=colour)
            axes.set_xscale("log", base=2)
            axes.set_xticks(OP_B, [str(op_b) for op_b in OP_B])
            axes.minorticks_off()
            axes.grid(color=FAINT, lw=0.3, alpha=0.5)
        panels[0].set(ylabel="EDAP over the worst of three", ylim=(0, 1.05))
        panels[1].set_xlabel("Op/B = vectors, 16384 x 4096 weights, FP16")
        axes = panels[0]
        marks = (
            axes.plot([], [], "s", color="black", mfc="white", ms=4, label="published"),
            axes.plot([], [], "-o", color="black", label="ours"),
            axes.plot([], [], ":", color="black", lw=0.8, label="8 vectors held"),
            axes.plot([], [], "--", color="black", lw=0.8, label="energy of gates"),
        )
        handles = [line for (line,) in marks]
        figure.legend(handles=handles, loc="outside upper center", ncols=4, handlelength=1.4)


def main(argv: Sequence[str] | None = None) -> None:
    """Compare; --small takes two of the six Op/B and draws nothing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="two of six Op/B, no figure")
    parser.add_argument("--out", type=Path, default=Path("out/duplex"), help="folder for results")
    args = parser.parse_args(argv)
    claims = read_claims(HERE / "published.csv", numbers(args.small))
    write_claims(claims, args.out / "claims.csv")
    write_table(table(args.small), args.out / "table.csv")
    if not args.small:
        draw(claims, args.out)
    print(claims_text("Duplex: where units stand, energy x delay x area", claims))


if __name__ == "__main__":
    main()
