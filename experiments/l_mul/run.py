"""L-Mul's claims, from energies of operations and as synthesised, and how far off its products are.

Writes claims.csv and the figure l_mul.pdf and .png to --out. README.md tells the story.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from errors import FORMATS, formula, hardware
from figure import draw
from op_energy import Pair, Synthesis, operation_pj, product, read_synthesis, registered

from simulator.cost import load_profile
from simulator.report.claims import claims_text, read_claims, write_claims

HERE = Path(__file__).parent
SMALL = (3, 7)


def operations(pj: Mapping[str, float]) -> dict[str, float]:
    """Return per cent saved by counts of single operations, by key of a claim."""
    half, whole = product(pj, 16), product(pj, 32)
    return {
        "op.product.16": half.saved,
        "op.product.32": whole.saved,
        "op.dot.16.sum16": half.plus(pj["fp16_add"]).saved,
        "op.dot.16.sum32": half.plus(pj["fp32_add"]).saved,
        "op.dot.32.sum32": whole.plus(pj["fp32_add"]).saved,
    }


def with_registers(pj: Mapping[str, float]) -> dict[str, float]:
    """Return per cent saved, and pJ and their ratio, with the registers that a unit has."""
    half, whole = registered(pj, 16), registered(pj, 32)
    summed = pj["fp32_add"] + 32 * pj["register_bit"]
    return {
        "reg.product.16": half.saved,
        "reg.product.32": whole.saved,
        "reg.dot.16.sum32": half.plus(summed).saved,
        "reg.dot.32.sum32": whole.plus(summed).saved,
        "reg.pj.l_mul": half.l_mul,
        "reg.pj.ieee": half.ieee,
        "reg.ratio": half.ieee / half.l_mul,
    }


def synthesised(table: Mapping[tuple[str, str], Synthesis]) -> dict[str, float]:
    """Return ratios and savings of the synthesis table by itself, by key of a claim."""
    ours = {}
    for form in ("fp8", "bf16", "fp32", "bf16_pipelined"):
        small, large = table["l_mul", form], table["ieee", form]
        ours[f"synthesis.{form}.power_saved"] = Pair(small.power_mw, large.power_mw).saved
        ours[f"synthesis.{form}.energy_saved"] = Pair(small.energy_pj, large.energy_pj).saved
    ours["synthesis.area"] = large.area_um2 / small.area_um2
    ours["synthesis.power"] = large.power_mw / small.power_mw
    return ours


def single(pj: Mapping[str, float]) -> dict[str, float]:
    """Return pJ of single operations beside the combinational units, by key of a claim."""
    return {
        "pj.l_mul.fp8": pj["int8_add"],
        "pj.l_mul.bf16": pj["int16_add"],
        "pj.l_mul.fp32": pj["int32_add"],
        "pj.ieee.bf16": pj["fp16_mul"],
        "pj.ieee.fp32": pj["fp32_mul"],
    }


def precision(mantissas: Sequence[int]) -> dict[str, float]:
    """Return error statistics by key of a claim: mean (too small is above 0), rms, largest."""
    ours = {}
    for m in mantissas:
        for name, found in (("formula", formula(FORMATS[m])), ("sum", hardware(FORMATS[m]))):
            ours[f"error.{m}.{name}.mean"] = -found.mean
            ours[f"error.{m}.{name}.rms"] = found.rms
            ours[f"error.{m}.{name}.max"] = found.largest
    return ours


def main(argv: Sequence[str] | None = None) -> None:
    """Run the comparison; --small leaves 4 and 10 mantissa bits and the figure out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="two mantissa widths, no figure")
    parser.add_argument("--out", type=Path, default=Path("out/l_mul"), help="folder for results")
    args = parser.parse_args(argv)
    pj = operation_pj(load_profile("horowitz_45nm"))
    ours = operations(pj) | with_registers(pj) | single(pj)
    ours |= synthesised(read_synthesis(HERE / "synthesis.csv"))
    ours |= precision(SMALL if args.small else tuple(FORMATS))
    claims = read_claims(HERE / "published.csv", ours)
    write_claims(claims, args.out / "claims.csv")
    if not args.small:
        draw(ours, args.out)
    print(claims_text("L-Mul: energy of operations and units at 45 nm, and error", claims))


if __name__ == "__main__":
    main()
