"""Arrays or banks: how much silicon and power to give a memory that multiplies.

Runs the sweeps area.yaml and power.yaml, whose studies area.db and power.db stay in --out, and
writes claims.csv, best.csv (the best design of each context, batch and budget) and the figure
npu_pim_split.pdf and .png. README.md tells the story.
"""

import argparse
import csv
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from designs import (
    HERE,
    Cell,
    Design,
    bank_mm2,
    best,
    by_cell,
    device,
    gain,
    gain_in_turns,
    least_budget,
)
from figure import draw

from simulator import api, config, study
from simulator.cost import Bound
from simulator.report.claims import claims_text, read_claims, write_claims
from simulator.results import prepare_folder
from simulator.search.space import Choice, Space
from simulator.search.store import Store
from simulator.search.sweep_file import Sweep, load_sweep
from simulator.workload import decode_step

WORKERS = 2
#: Budgets in mm2 and W.
BUDGETS = {"area": (600.0, 800.0, 1000.0, 1600.0), "power": (150.0, 200.0, 300.0, 400.0, 600.0)}
#: What --small computes: one context and batch.
SMALL: Cell = (8192, 64)
#: Cells whose numbers are claims.
CELLS: tuple[Cell, ...] = ((512, 1), (512, 256), (8192, 64), (32_768, 16))
#: A die of HBM3 and its banks: AttAcc (ASPLOS 2024).
DIE_MM2, DIE_BANKS = 121.0, 128
BEST = (
    *("of", "budget", "context", "batch", "elements", "cap_w", "arrays"),
    *("banks", "matrix", "share", "gain", "gain_in_turns", "latency_ms", "energy_mj"),
)


def sweep_of(of: str, cell: Cell | None = None) -> Sweep:
    """Return a sweep; cell: with this context and batch alone."""
    sweep = load_sweep(str(HERE / f"{of}.yaml"))
    if cell is None:
        return sweep
    only = dict(zip(("workload.context", "workload.batch"), cell, strict=True))
    dimensions = tuple(
        replace(each, domain=Choice((only[each.name],))) if each.name in only else each
        for each in sweep.space.dimensions
    )
    return replace(sweep, space=Space(dimensions, sweep.space.constraints))


def rows_of(of: str, folder: Path, cell: Cell | None = None) -> list[dict[str, Any]]:
    """Run a sweep anew and return its points."""
    path = prepare_folder(folder) / f"{of}.db"
    for each in folder.glob(f"{path.name}*"):
        each.unlink()
    study.run(sweep_of(of, cell), path, workers=WORKERS)
    with Store(path, read_only=True) as store:
        return store.table().to_dict("records")


def chosen(of: str, cells: dict[Cell, list[Design]]) -> Iterator[tuple[object, ...]]:
    """Yield the rows of best.csv."""
    for budget in BUDGETS[of]:
        for (context, batch), designs in cells.items():
            it = best(designs, budget)
            taken = it.elements, it.cap_w, it.arrays, it.banks, it.matrix, it.share
            gains = gain(designs, budget), gain_in_turns(designs, budget)
            cost = 1e3 * it.latency_s, 1e3 * it.energy_j
            yield of, budget, context, batch, *taken, *gains, *cost


def of_area(rows: list[dict[str, Any]]) -> Iterator[tuple[str, float]]:
    """Yield what a budget of silicon comes to."""
    cells = by_cell(rows, "area")
    for context, batch in CELLS:
        designs = cells.get((context, batch), [])
        for budget in (600, 1000) if designs else ():
            key = f"area.{budget}.{context}.{batch}"
            yield f"{key}.share", 100 * best(designs, budget).share
            yield f"{key}.gain", gain(designs, budget)
    bounds: tuple[Bound, ...] = ("low", "nominal", "high")
    for bound in bounds:
        yield f"least.{bound}", least_budget(by_cell(rows, "area", bound)[SMALL])
    unit = bank_mm2(best(cells[SMALL], 1000).elements)
    yield "unit.mm2", unit
    yield "unit.die", 100 * DIE_BANKS * unit / DIE_MM2
    if (512, 1) in cells:
        yield "ianus.gain", gain(cells[512, 1], 1000)
        batches = [gain(cells[512, batch], 1000) for batch in (64, 128, 256)]
        yield "neupims.gain", sum(batches) / len(batches)


def of_power(rows: list[dict[str, Any]]) -> Iterator[tuple[str, float]]:
    """Yield what a budget of power comes to."""
    cells = by_cell(rows, "power")
    for context, batch in CELLS:
        designs = cells[context, batch]
        key = f"power.300.{context}.{batch}"
        yield f"{key}.share", 100 * best(designs, 300).share
        yield f"{key}.gain", gain(designs, 300)
        yield f"{key}.turns", gain_in_turns(designs, 300)


def weights_leave_banks() -> float:
    """Return the least batch from which arrays multiply all weights: 8 elements, 12 arrays."""
    frame = config.replace(device(), {"matrix.arrays": 12, "pim.unit.elements": 8})
    model = api.load_model("llama-3-8b")
    policies = api.Policies(placement="predicted", sub_batch="off")
    for batch in range(1, 65):
        step = decode_step(model, batch=batch, context=512)
        ops = api.simulate(frame, step, rung="analytic", policies=policies).ops
        if "pim" not in set(ops.unit[ops.kind == "linear"]):
            return float(batch)
    raise AssertionError("weights stay in the banks")


def main(argv: Sequence[str] | None = None) -> None:
    """Run both sweeps; --small takes one context and batch, and silicon alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="one context and batch, no figure")
    parser.add_argument(
        "--out", type=Path, default=Path("out/npu_pim_split"), help="folder for results"
    )
    args = parser.parse_args(argv)
    ofs = ("area",) if args.small else ("area", "power")
    rows = {of: rows_of(of, args.out, SMALL if args.small else None) for of in ofs}
    ours = {**dict(of_area(rows["area"])), "weights.batch": weights_leave_banks()}
    if not args.small:
        ours |= dict(of_power(rows["power"]))
        draw(rows["area"], rows["power"], args.out)
    with (args.out / "best.csv").open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(BEST)
        for of in ofs:
            for row in chosen(of, by_cell(rows[of], of)):
                out.writerow(f"{each:.6g}" if isinstance(each, float) else each for each in row)
    claims = read_claims(HERE / "published.csv", ours)
    write_claims(claims, args.out / "claims.csv")
    print(claims_text("silicon and power for banks", claims))


if __name__ == "__main__":
    main()
