"""Integer or floating-point elements: what a MAC costs, and how near its products are.

Writes claims.csv, points.csv (area and energy a MAC, SQNR with and without rotation, of each
format) and the figure int_vs_fp.pdf and .png to --out. README.md tells the story.
"""

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from figure import draw
from numpy.typing import NDArray
from units import Scale, float_block, float_mac, int_block, int_mac

from simulator.cost import FLOATS, Cells, Cost, Float, Technology, cost_of, load_technology
from simulator.formats import get
from simulator.formats.rotation import rotate
from simulator.numerics.data import random_matrix
from simulator.numerics.metrics import sqnr_db
from simulator.report.claims import claims_text, read_claims, write_claims
from simulator.results import prepare_folder

HERE = Path(__file__).parent
#: M, N, K of the product; the seeds of the data and of the rotation's signs.
SHAPE = (64, 64, 4096)
SEED = 0
ROTATED = {"plain": False, "rotated": True}
FP16_SCALE, E8M0, E4M3 = Scale(32, 5, 11), Scale(32, 8), Scale(16, 4, 4)


@dataclass(frozen=True)
class Point:
    """A format: its family, cost of a MAC in a dot unit, SQNR of a product in dB by rotation."""

    name: str
    family: str
    cost: Cost
    sqnr_db: dict[str, float] = field(hash=False)


@dataclass(frozen=True)
class Candidate:
    """A format of elements with their scale: integers of so many bits, or floats."""

    name: str
    element: int | Float
    scale: Scale
    family: str

    def cells(self, technology: Technology) -> Cells:
        """Return the dot unit of one block."""
        if isinstance(self.element, int):
            return int_block(self.element, self.scale)
        return float_block(self.element, self.scale, technology)


def _floats() -> dict[str, Float]:
    """Return the minifloats of 3 to 8 bits."""
    return {
        "fp3_e2m0": Float(2, 1),
        "fp4_e2m1fn": Float(2, 2),
        "fp5_e2m2": Float(2, 3),
        "fp6_e2m3fn": Float(2, 4),
        "fp6_e3m2fn": Float(3, 3),
        "fp7_e3m3": Float(3, 4),
        "fp8_e4m3fn": Float(4, 4),
        "fp8_e5m2": Float(5, 3),
    }


#: All with an FP16 scale for 32 elements; then those of standards.
CANDIDATES = (
    *(Candidate(f"int{bits}-g32", bits, FP16_SCALE, "int") for bits in range(3, 9)),
    *(Candidate(f"{name}-g32", form, FP16_SCALE, "fp") for name, form in _floats().items()),
    Candidate("mxint8", 8, E8M0, "int"),
    Candidate("mxfp8_e4m3", Float(4, 4), E8M0, "fp"),
    Candidate("mxfp6_e2m3", Float(2, 4), E8M0, "fp"),
    Candidate("mxfp4", Float(2, 2), E8M0, "fp"),
    Candidate("nvint4", 4, E4M3, "int"),
    Candidate("nvfp4", Float(2, 2), E4M3, "fp"),
)
#: Pairs of standards that are compared: integers, floats.
PAIRS = (("mxint8", "mxfp8_e4m3"), ("nvint4", "nvfp4"))


@lru_cache(maxsize=2)
def operands(rotated: bool) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return activations with outlier channels and Gaussian weights, both turned alike."""
    m, n, k = SHAPE
    generator = np.random.default_rng(SEED)
    x = random_matrix("outlier_channels", m, k, generator)
    w = random_matrix("gaussian", n, k, generator)
    if not rotated:
        return x, w
    return np.asarray(rotate(x, seed=SEED), np.float32), np.asarray(
        rotate(w, seed=SEED), np.float32
    )


def product_sqnr_db(name: str, rotated: bool) -> float:
    """Return the SQNR of the product of both operands in a format, against their own product.

    The sum is in float64: errors of an FP32 sum are far below those of all formats here.
    """
    x, w = (np.asarray(each, np.float64) for each in operands(rotated))
    form = get(name)
    found = [np.asarray(form.decode(form.encode(each)), np.float64) for each in operands(rotated)]
    return sqnr_db(x @ w.T, found[0] @ found[1].T)


def points(technology: Technology, kinds: Sequence[str]) -> list[Point]:
    """Return all candidates, with SQNR of the kinds of `ROTATED`."""
    made = []
    for one in CANDIDATES:
        whole = cost_of(one.cells(technology), technology)
        cost = Cost(*(value / one.scale.block for value in whole))
        sqnr = {kind: product_sqnr_db(one.name, ROTATED[kind]) for kind in kinds}
        made.append(Point(one.name, one.family, cost, sqnr))
    return made


def front(some: Sequence[Point], kind: str, resource: str) -> list[Point]:
    """Return the points of which none is cheaper and as near, cheapest first."""
    kept: list[Point] = []
    ordered = sorted(some, key=lambda p: (getattr(p.cost, resource), -p.sqnr_db[kind]))
    for point in ordered:
        if not kept or point.sqnr_db[kind] > kept[-1].sqnr_db[kind]:
            kept.append(point)
    return kept


def macs(technology: Technology) -> dict[str, float]:
    """Return by how many per cent a MAC of FP8 is dearer than one of INT8, and both ends."""
    ours: dict[str, float] = {}
    for registers, label in ((False, "mac"), (True, "registered")):
        least = cost_of(int_mac(8, registers=registers), technology)
        for name in ("fp8_e4m3", "fp8_e5m2"):
            for accumulator in ("fp16", "fp32"):
                cells = float_mac(FLOATS[name], FLOATS[accumulator], registers=registers)
                for resource, value in zip(Cost._fields, cost_of(cells, technology), strict=True):
                    key = f"{label}.{name}.{accumulator}.{resource}"
                    ours[key] = 100 * (value / getattr(least, resource) - 1)
    areas = [value for key, value in ours.items() if key.startswith("mac.") and "area" in key]
    return ours | {"mac.least": min(areas), "mac.most": max(areas)}


def compared(some: Sequence[Point], kinds: Sequence[str]) -> dict[str, float]:
    """Return how much of the front is integer, and the standards' pairs."""
    ours: dict[str, float] = {}
    by_name = {point.name: point for point in some}
    for resource in Cost._fields:
        for kind in kinds:
            same_scale = [p for p in some if p.name.endswith("-g32")]
            best = front(same_scale, kind, resource)
            integers = sum(p.family == "int" for p in best)
            ours[f"front.{kind}.{resource}"] = 100 * integers / len(best)
        for one, other in PAIRS:
            costs = [getattr(by_name[name].cost, resource) for name in (one, other)]
            ours[f"{one}.{resource}"] = costs[0] / costs[1]
    for kind in kinds:
        for one, other in PAIRS:
            difference = by_name[one].sqnr_db[kind] - by_name[other].sqnr_db[kind]
            ours[f"{one}.{kind}.sqnr"] = difference
    return ours


def write_points(some: Sequence[Point], path: Path) -> None:
    """Write area and energy a MAC and the SQNR of each format."""
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        kinds = list(some[0].sqnr_db)
        out.writerow(("format", "family", "um2", "fj", *(f"sqnr_db_{kind}" for kind in kinds)))
        for p in some:
            decibels = (f"{value:.2f}" for value in p.sqnr_db.values())
            cost = f"{p.cost.area_um2:.1f}", f"{1000 * p.cost.energy_pj:.1f}"
            out.writerow((p.name, p.family, *cost, *decibels))


def main(argv: Sequence[str] | None = None) -> None:
    """Run the comparison; --small leaves the rotation and the figure out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="no rotation, no figure")
    parser.add_argument("--out", type=Path, default=Path("out/int_vs_fp"), help="folder")
    args = parser.parse_args(argv)
    technology = load_technology("scaled_28nm")
    kinds = tuple(ROTATED)[:1] if args.small else tuple(ROTATED)
    prepare_folder(args.out)
    made = points(technology, kinds)
    ours = macs(technology) | compared(made, kinds)
    claims = read_claims(HERE / "published.csv", ours)
    write_claims(claims, args.out / "claims.csv")
    write_points(made, args.out / "points.csv")
    if not args.small:
        draw(made, args.out)
    print(claims_text("integers against floats", claims))


if __name__ == "__main__":
    main()
