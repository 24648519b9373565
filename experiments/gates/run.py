"""Published areas, powers and densities of arithmetic units beside those counted from gates.

Writes claims.csv, units_45nm.csv and units_28nm.csv (area and energy of each unit, low, nominal and
high), synthesis.csv (counted areas beside those of an open synthesis) and the figure gates.pdf and
.png to --out, and prints errors. README.md tells the story.
"""

import argparse
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

import structures as s
from figure import draw

from simulator.cost import FLOATS, Bound, Cells, Technology, load_technology
from simulator.cost.gates import adder, float_adder, float_multiplier, multiplier
from simulator.formats.presets import BF16, FP8_E4M3FN
from simulator.report.claims import Claim, claims_text, read_claims, write_claims
from simulator.results import prepare_folder

HERE = Path(__file__).parent
BOUNDS: tuple[Bound, ...] = ("low", "nominal", "high")
FP16, FP32 = FLOATS["fp16"], FLOATS["fp32"]
#: Units at 45 nm: those of Horowitz's table, then those of L-Mul's.
AT_45: dict[str, s.Unit] = {
    "horowitz.int8_add": s.Unit(adder(8)),
    "horowitz.int32_add": s.Unit(adder(32)),
    "horowitz.int8_mul": s.Unit(multiplier(8, 8)),
    "horowitz.int32_mul": s.Unit(multiplier(32, 32)),
    "horowitz.fp16_add": s.Unit(float_adder(FP16)),
    "horowitz.fp32_add": s.Unit(float_adder(FP32)),
    "horowitz.fp16_mul": s.Unit(float_multiplier(FP16)),
    "horowitz.fp32_mul": s.Unit(float_multiplier(FP32)),
    "l_mul.fp8": s.sum_of_patterns(FP8_E4M3FN),
    "l_mul.bf16": s.sum_of_patterns(BF16),
    "l_mul.fp32": s.sum_of_fp32_patterns(),
    "l_mul.ieee_fp8": s.ieee("fp8_e4m3"),
    "l_mul.ieee_bf16": s.ieee("bf16"),
    "l_mul.ieee_fp32": s.ieee("fp32"),
    "l_mul.pipelined_bf16": s.pipelined(s.sum_of_patterns(BF16), 16),
    "l_mul.pipelined_ieee_bf16": s.pipelined(s.ieee("bf16"), 16),
}
#: Units that `synthesise.py` makes, as counted.
SYNTHESISED: dict[str, Cells] = {
    "int8_add": adder(8),
    "int32_add": adder(32),
    "int8_mul": multiplier(8, 8),
    "fp16_add": float_adder(FP16),
    "fp32_add": float_adder(FP32),
    "fp16_mul": float_multiplier(FP16),
    "fp32_mul": float_multiplier(FP32),
    "bitmod_four_terms": s.counted(s.four_terms),
}
#: Two XORs and three NANDs of NanGate 45 nm.
FULL_ADDER_UM2 = 2 * 1.596 + 3 * 0.798
#: BitMoD's elements (`structures`): units and flip-flops; 8 of them share an adder and a register.
ELEMENTS: dict[str, tuple[dict[str, float], float]] = {
    "fp16_pe": ({"fp16_mul": 1, "fp32_add": 1}, 64),
    "bitmod_pe": ({"bitmod_four_terms": 1, "fp32_add": 1 + 1 / 8}, 115 + 32 / 8),
}
#: Delays in ns of L-Mul's table: power is taken at one operation a delay.
DELAYS_NS = {
    "l_mul.fp8": 0.36,
    "l_mul.bf16": 0.48,
    "l_mul.fp32": 0.55,
    "l_mul.ieee_fp8": 1.29,
    "l_mul.ieee_bf16": 1.94,
    "l_mul.ieee_fp32": 2.85,
    "l_mul.pipelined_bf16": 0.60,
    "l_mul.pipelined_ieee_bf16": 1.05,
}
#: Units at 28 nm.
AT_28: dict[str, s.Unit] = {
    "bitmod.fp16": s.fp16_pe(),
    "bitmod.bitmod": s.bit_mod_pe(),
    "axcore.fpc": s.fpc_pe(),
    "axcore.figna": s.figna_pe(),
    "axcore.figlut": s.figlut_pe(),
    "axcore.axcore": s.axcore_pe(),
    "lut_tc.mac": s.mac_dp4(),
    "lut_tc.add": s.add_dp4(),
    "lut_tc.lut": s.lut_dp4(),
    "lut_tc.tc_fp16": s.fp16_dp4(),
    "lut_tc.tc_int8": s.int8_dp4(),
    "lut_tc.tc_lut": s.lut_int8(),
    "mixpe.w4a8": s.shift_add_pe(),
}
#: Operations (a product and an addition are two) a cycle, and GHz, of LUT Tensor Core's units.
RATES = {
    "lut_tc.mac": (8, 1.0),
    "lut_tc.add": (8, 1.0),
    "lut_tc.lut": (8, 1.0),
    "lut_tc.tc_fp16": (8, 1.41),
    "lut_tc.tc_int8": (8, 1.41),
    # Weights of two bits take two cycles.
    "lut_tc.tc_lut": (4, 1.41),
}


def at_45_nm(technology: Technology) -> dict[str, float]:
    """Return areas in um2, energies in pJ, powers in mW at one operation a delay, by key."""
    ours = {}
    for name, unit in AT_45.items():
        area, energy = unit.cost(technology)
        ours[f"{name}.area"] = area
        if name in DELAYS_NS:
            ours[f"{name}.power"] = energy / DELAYS_NS[name]
        else:
            ours[f"{name}.energy"] = energy
    return ours


def at_28_nm(technology: Technology) -> dict[str, float]:
    """Return what BitMoD, AxCore and LUT Tensor Core published, by key."""
    area = {name: unit.cost(technology).area_um2 for name, unit in AT_28.items()}
    ours = {}
    for name in ("bitmod.fp16", "bitmod.bitmod"):
        ours[f"{name}.area"] = area[name]
        # At 1 GHz a pJ a cycle is a mW.
        ours[f"{name}.power"] = AT_28[name].cost(technology).energy_pj
    ours["bitmod.ratio"] = area["bitmod.bitmod"] / area["bitmod.fp16"]
    for name in ("figna", "figlut", "axcore"):
        ours[f"axcore.{name}"] = area["axcore.fpc"] / area[f"axcore.{name}"]
    for name, (operations, ghz) in RATES.items():
        # Operations a ns and um2 are 1000 T a second and mm2.
        ours[name] = 1000 * operations * ghz / area[name]
    return ours


def errors(claims: Sequence[Claim]) -> dict[str, float]:
    """Return the mean of |ours / published - 1| by group, and of all; identities do not count."""
    groups: dict[str, list[float]] = {}
    for claim in claims:
        if not claim.source.startswith("identity"):
            error = abs(claim.ratio - 1)
            for name in (claim.key.split(".")[0], "all"):
                groups.setdefault(name, []).append(error)
    return {name: fmean(values) for name, values in groups.items()}


def write_units(units: Mapping[str, s.Unit], technology: Technology, path: Path) -> None:
    """Write area and energy of each unit at the three ends of the ranges."""
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(("unit", *(f"{what}_{b}" for what in ("um2", "pj") for b in BOUNDS)))
        for name, unit in units.items():
            costs = [unit.cost(technology, bound) for bound in BOUNDS]
            areas, energies = zip(*costs, strict=True)
            out.writerow((name, *(f"{value:.4g}" for value in (*areas, *energies))))


def synthesis(technology: Technology) -> list[tuple[str, float, float, float]]:
    """Return areas of units in um2: counted, synthesised for least area, for speed.

    Counted with full adders of two XORs and three NANDs, as the library of `synthesise.py` has
    none. BitMoD's elements, and one over the other, are put together of units and flip-flops.
    """
    dff = technology.cells["dff"].area_um2.nominal
    areas = {}
    with (HERE / "synthesised.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            cells = SYNTHESISED[row["unit"]]
            more = FULL_ADDER_UM2 - technology.cells["full_adder"].area_um2.nominal
            counted = s.Unit(cells).cost(technology).area_um2 + more * cells.full_adder
            areas[row["unit"]] = (counted, float(row["um2_small"]), float(row["um2_fast"]))
    for name, (parts, flops) in ELEMENTS.items():
        units = [[times * area for area in areas[unit]] for unit, times in parts.items()]
        areas[name] = tuple(sum(column) + flops * dff for column in zip(*units, strict=True))
    over = zip(areas["bitmod_pe"], areas["fp16_pe"], strict=True)
    areas["bitmod_pe over fp16_pe"] = tuple(one / other for one, other in over)
    return [(name, *values) for name, values in areas.items()]


def write_synthesis(technology: Technology, path: Path) -> None:
    """Write counted areas beside those of the open synthesis, and their ratios."""
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(("unit", "counted", "small", "fast", "counted_over_small", "fast_over_small"))
        for name, counted, small, fast in synthesis(technology):
            numbers = (counted, small, fast, counted / small, fast / small)
            out.writerow((name, *(f"{value:.4g}" for value in numbers)))


def main(argv: Sequence[str] | None = None) -> None:
    """Run the comparison; --small leaves 28 nm and the figure out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="45 nm only, no figure")
    parser.add_argument("--out", type=Path, default=Path("out/gates"), help="folder for results")
    args = parser.parse_args(argv)
    prepare_folder(args.out)
    nangate, scaled = load_technology("nangate_45nm"), load_technology("scaled_28nm")
    ours = at_45_nm(nangate)
    write_units(AT_45, nangate, args.out / "units_45nm.csv")
    write_synthesis(nangate, args.out / "synthesis.csv")
    if not args.small:
        ours |= at_28_nm(scaled)
        write_units(AT_28, scaled, args.out / "units_28nm.csv")
    claims = read_claims(HERE / "published.csv", ours)
    write_claims(claims, args.out / "claims.csv")
    found = errors(claims)
    if not args.small:
        draw(claims, args.out)
    print(claims_text("arithmetic units, counted from gates", claims))
    for name, error in found.items():
        print(f"mean absolute error, {name}: {100 * error:.0f} %")


if __name__ == "__main__":
    main()
