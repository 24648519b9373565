"""One Llama-2-7B decoder layer as four other simulators price it, and as nibblesim does.

Writes claims.csv (published and ours), gemms.csv (what bound each GEMM) and the figure peers.pdf
and .png to --out. README.md tells the story.
"""

import argparse
import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from accounting import ACCELFORGE, ZIGZAG, ZIGZAG_COLUMNS, Bits, priced
from figure import draw

from simulator.api import load_device, load_model, simulate
from simulator.config import replace
from simulator.hardware import Device
from simulator.report.claims import claims_text, read_claims, write_claims
from simulator.results import Result
from simulator.workload import Gemm, decode_step, gemm, prefill, read_topology

HERE = Path(__file__).parent
PHASES = ("decode", "prefill")
MEGA = 1e6
GEMM_COLUMNS = (
    *("phase", "setting", "gemm", "count", "m", "n", "k"),
    *("cycles", "roofline_cycles", "bound_by"),
)
#: What each answer changes on `generic_npu_128`. Without an array edge the ports are wide too, so
#: that a plane of 128 rows can enter in few cycles.
SETTINGS: dict[str, dict[str, object]] = {
    "free": {
        "matrix.weight_load_rows_per_cycle": 128,
        "scratchpad.read_ports": 16,
        "scratchpad.port_width": "512 B",
    },
    "double": {},
    "scalesim": {"matrix.weight_buffers": 1, "matrix.fold_overlap": False},
}
#: (ports each way of 256 B, width of partial sums) without accumulators.
WIDTHS = ((2, 8), (2, 16), (2, 24), (2, 32), (1, 16), (1, 24))
#: Single GEMMs that SCALE-Sim ran: key -> (M, N, K).
SCALE_SIM_RAN = {
    "q_proj": (32, 4096, 4096),
    "decode_qk": (1, 2048, 128),
    "prefill_qk": (2048, 2048, 128),
    "prefill_pv": (2048, 128, 2048),
}


@dataclass(frozen=True)
class Run:
    """A GEMM of the layer, alone through memory."""

    name: str
    shape: Gemm
    result: Result


def topology(phase: str) -> dict[str, Gemm]:
    """Return the GEMMs of the layer by name."""
    workload = read_topology(HERE / f"llama2_7b_{phase}_layer.csv")
    return {op.name: op.gemm for _, op in workload.ops() if op.gemm is not None}


def product(device: Device, shape: Gemm) -> Result:
    """Simulate one int8 GEMM alone: operands from memory, result to memory, as the peers do."""
    workload = gemm(
        shape.m, shape.n, shape.k, count=shape.count, weights="int8", activations="int8"
    )
    return simulate(device, workload)


def alone(phase: str, device: Device) -> list[Run]:
    """Simulate every GEMM of the layer, each alone."""
    return [Run(name, shape, product(device, shape)) for name, shape in topology(phase).items()]


def mega_cycles(runs: Iterable[Run]) -> float:
    """Return the cycles of GEMMs one after the other."""
    return sum(run.result.cycles for run in runs) / MEGA


def layer(phase: str, device: Device) -> tuple[float, dict[str, float]]:
    """Return what one more layer costs, three layers less two: Mcycle, and mJ by component."""
    results = []
    for layers in (2, 3):
        model = replace(load_model("llama-2-7b"), {"layers": layers})
        if phase == "decode":
            step = decode_step(
                model, batch=32, context=2048, weights="int8", activations="int8", kv="int8"
            )
        else:
            step = prefill(
                model, sequence=2048, causal=False, weights="int8", activations="int8", kv="int8"
            )
        results.append(simulate(device, step))
    two, three = (result.energy_breakdown_j for result in results)
    parts = {name: (joule - two[name]) * 1e3 for name, joule in three.items()}
    return (results[1].cycles - results[0].cycles) / MEGA, parts


def cycles_of(phase: str, device: Device, runs: dict[str, list[Run]]) -> dict[str, float]:
    """Return the layer's cycles in each setting, GEMM by GEMM and whole, by key of a claim."""
    ours = {f"{phase}.{setting}.alone": mega_cycles(made) for setting, made in runs.items()}
    for setting in SETTINGS if phase == "decode" else ("double",):
        ours[f"{phase}.{setting}.layer"] = layer(phase, replace(device, SETTINGS[setting]))[0]
    return ours


def single_gemms(device: Device) -> dict[str, float]:
    """Return the GEMMs that SCALE-Sim ran, on its array."""
    its_array = replace(device, SETTINGS["scalesim"])
    return {
        f"scalesim.{name}": product(its_array, Gemm(1, *sizes)).cycles
        for name, sizes in SCALE_SIM_RAN.items()
    }


def widths(device: Device) -> dict[str, float]:
    """Return the prefill layer with partial sums in the scratchpad, by width and ports."""
    ours = {}
    for ports, bits in WIDTHS:
        changes = {"matrix.accumulators": None, "matrix.pe.accumulator_bits": bits}
        changes |= {"scratchpad.read_ports": ports, "scratchpad.write_ports": ports}
        runs = alone("prefill", replace(device, changes))
        ours[f"prefill.{256 * ports}.{bits}"] = mega_cycles(runs)
    return ours


def energies(phase: str, device: Device, runs: list[Run]) -> dict[str, dict[str, float]]:
    """Return mJ by component: ours, and by each peer's accounting, by key of a claim."""
    gemms = topology(phase)
    ours: dict[str, float] = {}
    for run in runs:
        for name, joule in run.result.energy_breakdown_j.items():
            ours[name] = ours.get(name, 0.0) + joule * 1e3
    found = {
        "alone": ours,
        "layer": layer(phase, device)[1],
        "accelforge": priced(gemms, device, ACCELFORGE),
        "zigzag_columns": priced(gemms, device, ZIGZAG_COLUMNS),
        "zigzag": priced(gemms, device, ZIGZAG),
        "zigzag.16": priced(gemms, device, ZIGZAG, Bits(16, 16, 16)),
    }
    if phase == "decode":
        found["accelforge.w4"] = priced(gemms, device, ACCELFORGE, Bits(weights=4))
        found["zigzag.w4"] = priced(gemms, device, ZIGZAG, Bits(weights=4, kv=4))
    return {f"energy.{phase}.{name}": parts for name, parts in found.items()}


def write_gemms(runs: dict[str, dict[str, list[Run]]], path: Path) -> None:
    """Write cycles and limit of each GEMM in each setting."""
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(GEMM_COLUMNS)
        for phase, settings in runs.items():
            for setting, made in settings.items():
                for run in made:
                    g, r = run.shape, run.result
                    least = r.roofline_bound_ps * r.clock_hz // 10**12
                    sizes = (g.count, g.m, g.n, g.k)
                    bound = r.records[0].bound_by
                    out.writerow((phase, setting, run.name, *sizes, r.cycles, least, bound))


def main(argv: Sequence[str] | None = None) -> None:
    """Run the comparison; --small leaves prefill and the figure out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="the decode layer only, no figure")
    parser.add_argument("--out", type=Path, default=Path("out/peers"), help="folder for results")
    args = parser.parse_args(argv)
    device = load_device("generic_npu_128")
    ours, parts, runs = single_gemms(device), dict[str, dict[str, float]](), {}
    for phase in PHASES[:1] if args.small else PHASES:
        runs[phase] = {name: alone(phase, replace(device, SETTINGS[name])) for name in SETTINGS}
        ours |= cycles_of(phase, device, runs[phase])
        parts |= energies(phase, device, runs[phase]["double"])
    if not args.small:
        ours |= widths(device)
    ours |= {key: sum(made.values()) for key, made in parts.items()}
    claims = read_claims(HERE / "published.csv", ours)
    write_claims(claims, args.out / "claims.csv")
    write_gemms(runs, args.out / "gemms.csv")
    if not args.small:
        draw(runs["decode"], parts, claims, args.out)
    print(claims_text("one Llama-2-7B layer on generic_npu_128, int8", claims))


if __name__ == "__main__":
    main()
