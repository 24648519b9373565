"""LUT Tensor Core: its tables' overhead, its array's shape, its densities, its simulated product.

Writes claims.csv, shapes.csv (area and energy of all shapes of an array) and the figure
lut_tensor_core.pdf and .png to --out. README.md tells the story.
"""

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import fmean

import structures as s
from figure import draw
from precompute import COLUMNS, priced, redundancy, steps, with_luts

from simulator.api import load_device, simulate
from simulator.config import replace
from simulator.cost import Cells, Cost, Technology, cost_of, load_technology
from simulator.hardware import Device
from simulator.report.claims import claims_text, read_claims, write_claims
from simulator.results import prepare_folder
from simulator.workload import gemm

HERE = Path(__file__).parent
GHZ = 1.41
#: 12 pairs of precisions. assumed: the paper has so many, ours may be others.
ACTIVATIONS, WEIGHT_BITS = ("fp16", "fp8_e4m3", "int16", "int8"), (1, 2, 4)
#: M, N, K and cycles of the authors' log; the factor on FP16's rate of the array there.
LOGGED, LOGGED_CYCLES = (2048, 27648, 2560), 804_234
FACTOR = 4
#: Rates of LUT elements over FP16's, and ways in which tables are made.
RATES, WAYS = (1, FACTOR), ("apart", "fused")
#: Published: models' milliseconds at M of 1024, TFLOPS/mm2, TFLOPS/W, mm2 an SM (table 1).
BASE_MS, LUT_MS = 41.15, 7.47
DENSITY, EFFICIENCY, AREA = (2.96, 61.95), (2.98, 33.65), (0.975, 0.373)
DP4 = (3.39, 61.55)


@dataclass(frozen=True)
class Shape:
    """An array's shape, for a pair of precisions, and its cost."""

    activation: str
    weight_bits: int
    tile: s.Tile
    cost: Cost

    @property
    def product(self) -> float:
        """Area times energy."""
        return self.cost.area_um2 * self.cost.energy_pj


def identities() -> dict[str, float]:
    """Return what only divides published numbers."""
    m, n, k = LOGGED
    return {
        "identity.density": DENSITY[1] / DENSITY[0],
        "identity.efficiency": EFFICIENCY[1] / EFFICIENCY[0],
        "identity.area": 100 * AREA[1] / AREA[0],
        "identity.speed": BASE_MS / LUT_MS,
        "identity.dp4": DP4[1] / DP4[0],
        "identity.log": 2 * m * n * k / LOGGED_CYCLES * GHZ / 1000,
        "redundancy": redundancy(12288),
    }


def synthesised(cells: Cells, technology: Technology) -> Cost:
    """Return what synthesis would report."""
    return cost_of(cells, technology, placed=False)


def densities(technology: Technology) -> dict[str, float]:
    """Return TFLOPS or TOPS per mm2, and the density of one-bit DP4 over FP16's."""
    macs = s.SHARERS * s.GROUP
    lut = s.array(s.TILE, 2, s.Entry(8))
    units = {"fp16": (s.fp16_dot(), macs), "int8": (s.int8_dot(), macs), "lut": (lut, s.MACS / 2)}
    ours = {
        # Operations a ns and um2 are 1000 T a second and mm2.
        f"density.{name}": 1000 * 2 * count * GHZ / synthesised(cells, technology).area_um2
        for name, (cells, count) in units.items()
    }
    mac, one_bit = (synthesised(c, technology).area_um2 for c in (s.dp4_mac(), s.dp4_lut()))
    per_area = ours["density.lut"] / ours["density.fp16"]
    return ours | {"density.ratio": per_area, "density.dp4": mac / one_bit}


def ablation(technology: Technology) -> dict[str, float]:
    """Return density and energy efficiency over UNPU's, by change."""
    costs = {name: synthesised(cells, technology) for name, cells in s.ablation().items()}
    base, ours = costs.pop("unpu"), {}
    for name, cost in costs.items():
        ours[f"ablation.{name}.density"] = base.area_um2 / cost.area_um2
        ours[f"ablation.{name}.efficiency"] = base.energy_pj / cost.energy_pj
    return ours


def sweep(technology: Technology) -> list[Shape]:
    """Return all shapes for all pairs of precisions."""
    return [
        Shape(x, bits, tile, cost_of(s.array(tile, bits, s.entry_of(x, tile[2])), technology))
        for x in ACTIVATIONS
        for bits in WEIGHT_BITS
        for tile in s.shapes()
    ]


def optimum(shapes: Sequence[Shape]) -> dict[str, float]:
    """Return how often K of 4, and M2N64K4, has the least area x energy, and its worst distance."""
    fours, tiles, worst = 0, 0, 0.0
    for x in ACTIVATIONS:
        for bits in WEIGHT_BITS:
            own = [one for one in shapes if (one.activation, one.weight_bits) == (x, bits)]
            best = min(own, key=lambda one: one.product)
            (paper,) = (one for one in own if one.tile == s.TILE)
            fours += best.tile[2] == s.TILE[2]
            tiles += best.tile == s.TILE
            worst = max(worst, paper.product / best.product)
    table = s.table_bits(s.TILE, 16)
    return {"tile.k": fours, "tile.all": tiles, "tile.worst": 100 * (worst - 1), "tile.bits": table}


def logged(device: Device) -> dict[str, float]:
    """Return the cycles of the logged product on the tile rung, and at the peak.

    Its tables are there: the log is of a product alone.
    """
    work = gemm(*LOGGED, weights="int2", activations="fp16")
    run = {"logged.tile": device, "logged.peak": replace(device, {"matrix.efficiency": 1.0})}
    found = {}
    for name, one in run.items():
        own = replace(with_luts(one, FACTOR), {"matrix.pe.shared_at": "edge"})
        found[name] = simulate(own, work, energy=priced(own)).cycles
    return found


def overheads(device: Device) -> dict[str, float]:
    """Return the layers' ms, and by how many per cent tables lengthen them, by model and phase."""
    ours: dict[str, float] = {}
    for name, step in steps().items():
        base = step.seconds(device)
        ours[f"{name}.base"] = 1000 * base
        for factor in RATES:
            for way in WAYS:
                longer = step.longer(with_luts(device, factor), way)
                ours[f"{name}.{way}.{factor}"] = 100 * longer
    for key in product(("prefill", "decode"), WAYS, map(str, RATES)):
        found = [ours[".".join((model, *key))] for model in ("opt", "bloom", "llama")]
        ours[".".join(("mean", *key))] = fmean(found)
    # Additions that build tables in each array, over the MACs of the product.
    ours["redundant"] = s.fp16_table_additions() / (s.GROUP * COLUMNS)
    return ours


def write_shapes(shapes: Sequence[Shape], path: Path) -> None:
    """Write area and energy of each shape for each pair of precisions."""
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(("activation", "weight_bits", "m", "n", "k", "um2", "pj"))
        for one in shapes:
            area, energy = one.cost
            cost = f"{area:.5g}", f"{energy:.5g}"
            out.writerow((one.activation, one.weight_bits, *one.tile, *cost))


def main(argv: Sequence[str] | None = None) -> None:
    """Run the comparison; --small leaves the models' layers and the figure out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="no layers of models, no figure")
    parser.add_argument("--out", type=Path, default=Path("out/lut_tensor_core"), help="folder")
    args = parser.parse_args(argv)
    technology, device = load_technology("scaled_28nm"), load_device("a100")
    prepare_folder(args.out)
    shapes = sweep(technology)
    ours = identities() | densities(technology) | ablation(technology) | optimum(shapes)
    ours |= logged(device)
    if not args.small:
        ours |= overheads(device)
    claims = read_claims(HERE / "published.csv", ours)
    write_claims(claims, args.out / "claims.csv")
    write_shapes(shapes, args.out / "shapes.csv")
    if not args.small:
        draw(shapes, claims, args.out)
    print(claims_text("LUT Tensor Core", claims))


if __name__ == "__main__":
    main()
