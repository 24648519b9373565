"""Duplex' comparison of three places for units, and of systems with each, against published claims.

Writes claims.csv, table.csv (delay, energy and area of each point of a stack), systems.csv (stages
of each point of a system) and the figures duplex and duplex_systems, .pdf and .png, to --out.
README.md says what was assumed.
"""

import argparse
import csv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import systems
from stacks import (
    ADDED_MM2,
    ALL,
    BANK,
    DIE_MM2,
    DRAM_DIES,
    FEW,
    GROUP,
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
from systems import At

from simulator.report.claims import Claim, claims_text, read_claims, write_claims
from simulator.report.paper import paper_figure
from simulator.report.style import FAINT
from simulator.results import prepare_folder

HERE = Path(__file__).parent
#: What --small computes: where columns are the bound.
SMALL = (1,)
VARIANTS = {"all held": (ALL, False), "8 held": (FEW, False), "energy of gates": (ALL, True)}
COLOURS = dict(zip(STACKS, ("#0072b2", "#d55e00", "#009e73"), strict=True))
#: Each system and the stack that it has.
PLACES = {systems.DUPLEX: LOGIC, systems.BANK: BANK, systems.GROUP: GROUP}
#: The points of each model with most to attend to; the one with least.
LARGEST = {model: At(model, 64, lengths[-1]) for model, lengths in systems.LENGTHS.items()}
LEAST = At("llama-3-70b", 32, 256)


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


def beats(one: str, other: str, points: Iterable[At]) -> int:
    """Return at how many points a system has more throughput than another."""
    return sum(
        systems.stages(one, at).tokens_per_s > systems.stages(other, at).tokens_per_s
        for at in points
    )


def most(figure: Callable[[At], float]) -> float:
    """Return the largest of all points."""
    return max(map(figure, systems.ALL))


def of_systems(small: bool) -> dict[str, float]:
    """Return what the four systems have, by key of a claim."""
    ours = {
        "systems.fit": float(systems.fits(LARGEST["opt-66b"])),
        "systems.weights": float(systems.tokens_on_logic_pim("llama-3-70b")),
        "systems.least": systems.over_xpu(systems.DUPLEX, LEAST),
    }
    if small:
        return ours
    duplex, bank = systems.DUPLEX, systems.BANK
    llama, opt = ([at for at in systems.ALL if at.model == model] for model in systems.LENGTHS)
    ours["systems.llama"] = beats(duplex, bank, llama)
    ours["systems.opt"] = beats(bank, duplex, opt)
    ours["systems.xpu"] = beats(duplex, systems.XPU, systems.ALL)
    for model, at in LARGEST.items():
        for name in systems.SYSTEMS:
            ours[f"{name}.{model}"] = systems.over_xpu(name, at)
        ours[f"ahead.{model}"] = systems.over_xpu(duplex, at, staged=False)
    for name in (duplex, bank):
        ours[f"{name}.decoding"] = most(
            lambda at, name=name: systems.over_xpu_decoding(name, at) / systems.over_xpu(name, at)
        )
    ours["systems.prompts"] = most(
        lambda at: (
            systems.stages(duplex, at).decode_tokens_per_s / systems.stages(duplex, at).tokens_per_s
        )
    )
    ours["systems.beside"] = most(systems.co_processing)
    ours["systems.beside_mixed"] = most(
        lambda at: 1 + systems.stages(duplex, at).beside_s / systems.stages(duplex, at).mixed_s
    )
    return ours


def numbers(small: bool) -> dict[str, float]:
    """Return ours by key of a claim."""
    at = SMALL if small else OP_B
    edaps = {op_b: normalised(op_b, ALL, gates=False) for op_b in at}
    ours = {f"{stack}.{op_b}": edaps[op_b][stack] for op_b in at for stack in STACKS}
    ours |= identities() | of_systems(small)
    ours["die"] = 100 * units_mm2(BANK) / DRAM_DIES / DIE_MM2
    if not small:
        ours["crossover"] = next(n for n, each in edaps.items() if each[LOGIC] < each[BANK])
    return ours


def table(small: bool) -> Iterable[Sequence[object]]:
    """Yield the rows of table.csv: EDAP of each variant, normalised, and what it is made of."""
    for name, (held, gates) in list(VARIANTS.items())[: 1 if small else None]:
        for op_b in SMALL if small else OP_B:
            edaps = normalised(op_b, held, gates=gates)
            for stack in STACKS:
                yield name, edaps[stack], *point(op_b, stack, held)


def systems_table(small: bool) -> Iterable[Sequence[object]]:
    """Yield the rows of systems.csv."""
    for at in (LEAST,) if small else systems.ALL:
        for name in (systems.XPU, systems.DUPLEX) if small else (systems.XPU, *systems.SYSTEMS):
            yield name, at.model, at.length, *systems.stages(name, at)


def write_table(columns: Sequence[str], rows: Iterable[Sequence[object]], path: Path) -> None:
    """Write a table."""
    with (prepare_folder(path.parent) / path.name).open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(columns)
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


def draw_systems(folder: Path) -> None:
    """Draw throughput over the xPU's: bars of all stages, marks of decode stages alone."""
    with paper_figure(folder, "duplex_systems", height_in=2.3) as figure:
        panels = figure.subplots(1, len(systems.LENGTHS), sharey=True)
        for axes, model in zip(panels, systems.LENGTHS, strict=True):
            points = [at for at in systems.ALL if at.model == model]
            for place, (name, stack) in enumerate(PLACES.items()):
                at_x = [index + 0.27 * (place - 1) for index in range(len(points))]
                bars = [systems.over_xpu(name, at) for at in points]
                marks = [systems.over_xpu_decoding(name, at) for at in points]
                label = systems.SYSTEMS[name]
                axes.bar(at_x, bars, width=0.25, color=COLOURS[stack], label=label)
                axes.plot(at_x, marks, "_", color="black", ms=5)
            ticks = [f"{at.batch}\n{at.length}" for at in points]
            axes.set_xticks(range(len(points)), ticks)
            axes.axhline(1, color="black", lw=0.6)
            axes.set_title(model)
            axes.grid(axis="y", color=FAINT, lw=0.3, alpha=0.5)
            axes.set_xlabel("requests; tokens in and out")
        panels[0].set(ylabel="throughput over the xPU's", ylim=(0.8, None))
        handles, _ = panels[0].get_legend_handles_labels()
        (mark,) = panels[0].plot([], [], "_", color="black", ms=5, label="decode stages alone")
        figure.legend(handles=[*handles, mark], loc="outside upper center", ncols=4)


def main(argv: Sequence[str] | None = None) -> None:
    """Compare; --small takes one of the six Op/B, one of twelve points, and draws nothing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="few points, no figures")
    parser.add_argument("--out", type=Path, default=Path("out/duplex"), help="folder for results")
    args = parser.parse_args(argv)
    claims = read_claims(HERE / "published.csv", numbers(args.small))
    write_claims(claims, args.out / "claims.csv")
    columns = ("variant", "edap", *Point._fields)
    write_table(columns, table(args.small), args.out / "table.csv")
    columns = ("device", "model", "length", *systems.Stages._fields)
    write_table(columns, systems_table(args.small), args.out / "systems.csv")
    if not args.small:
        draw(claims, args.out)
        draw_systems(args.out)
    print(claims_text("Duplex: where units stand, and systems with each", claims))


if __name__ == "__main__":
    main()
