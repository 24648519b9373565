"""ONNXim's recorded runs beside nibblesim on `onnxim_4core`.

Writes claims.csv and the figure onnxim.pdf and .png to --out. README.md says what was calibrated.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace as with_segments
from pathlib import Path

from simulator.api import load_device, load_model, simulate
from simulator.config import replace
from simulator.hardware import Device
from simulator.report.claims import Claim, claims_text, read_claims, write_claims
from simulator.report.paper import paper_figure
from simulator.workload import Gemm, OpKind, Workload, decode_step, gemm, prefill

HERE = Path(__file__).parent
#: Key -> (M, N, K), from ONNXim's input x inner x output.
PRODUCTS = {"512": (512, 512, 512), "1024": (1024, 1024, 1024), "4096": (32, 4096, 4096)}
CORES = {"one": 1, "four": 4}


def products(device: Device) -> dict[str, float]:
    """Return cycles and megabytes of the three GEMMs by key of a claim."""
    ours = {}
    for key in ("512.one", "512.four", "1024.four", "4096.four"):
        name, cores = key.split(".")
        result = simulate(replace(device, {"cores": CORES[cores]}), gemm(*PRODUCTS[name]))
        ours[f"{key}.cycles"] = float(result.cycles)
        if key != "512.four":
            ours[f"{key}.megabytes"] = result.bytes["dram"] / 1e6
    return ours


def layer_only(workload: Workload) -> Workload:
    """Return the workload without embedding and head: ONNXim ran the layer alone."""
    return with_segments(
        workload, segments=tuple(s for s in workload.segments if s.name == "layer")
    )


def gemms(workload: Workload) -> list[Gemm]:
    """Return all products of a workload, attention head by head."""
    found: list[Gemm] = []
    for _, op in workload.ops():
        if op.gemm is not None:
            found.append(op.gemm)
        elif op.attention is not None and op.kind in (OpKind.QK, OpKind.PV):
            found.extend(op.attention.gemms(op.kind))
    return found


def opt_layer(device: Device) -> dict[str, float]:
    """Return the OPT-125m layer, whole and product by product, by key of a claim."""
    model = load_model(HERE / "opt_125m_one_layer.json")
    steps = {
        "prefill": layer_only(prefill(model, sequence=128)),
        "decode": layer_only(decode_step(model, context=129)),
    }
    whole = {name: simulate(device, step) for name, step in steps.items()}
    alone = [
        simulate(device, gemm(g.m, g.n, g.k, count=g.count))
        for step in steps.values()
        for g in gemms(step)
    ]
    ours = {f"opt.{name}.layer": float(result.cycles) for name, result in whole.items()}
    return ours | {
        "opt.both.layer": float(sum(result.cycles for result in whole.values())),
        "opt.both.megabytes": sum(result.bytes["dram"] for result in whole.values()) / 1e6,
        "opt.both.alone": float(sum(result.cycles for result in alone)),
        "opt.both.alone_megabytes": sum(result.bytes["dram"] for result in alone) / 1e6,
    }


def draw(claims: Sequence[Claim], folder: Path) -> None:
    """Draw ours over published of each time: unseen GEMMs filled, the seen model hollow."""
    labels = {
        "512.one.cycles": "512³, one core",
        "512.four.cycles": "512³, four cores",
        "1024.four.cycles": "1024³",
        "4096.four.cycles": "32 x 4096 x 4096",
        "opt.both.alone": "OPT-125m layer, each product",
        "opt.both.layer": "OPT-125m layer, whole",
    }
    ratios = {claim.key: claim.ratio for claim in claims}
    with paper_figure(folder, "onnxim", height_in=1.9) as figure:
        axes = figure.subplots()
        axes.axvspan(0.9, 1.1, color="#dddddd", lw=0, label="within 10 %")
        axes.axvline(1.0, color="black", lw=0.6)
        for place, key in enumerate(labels):
            seen = key.startswith("opt")
            face = "white" if seen else "#4477aa"
            axes.plot(ratios[key], place, "o", color="#4477aa", mfc=face, ms=4.5)
            text, where = f"{ratios[key]:.3f}", (1.02, place)
            axes.annotate(text, where, xycoords=("axes fraction", "data"), va="center")
        axes.set_yticks(range(len(labels)), list(labels.values()))
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_xlim(0.5, 1.15)
        axes.set_xlabel("cycles: nibblesim / ONNXim")
        for face, label in (("#4477aa", "unseen"), ("white", "calibrated on it")):
            axes.plot([], [], "o", color="#4477aa", mfc=face, ms=4.5, label=label)
        figure.legend(loc="outside upper right", ncols=3, handlelength=1.0, columnspacing=1.0)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the comparison; --small leaves the OPT layer and the figure out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="the three GEMMs only, no figure")
    parser.add_argument("--out", type=Path, default=Path("out/onnxim"), help="folder for results")
    args = parser.parse_args(argv)
    device = load_device("onnxim_4core")
    ours = products(device)
    if not args.small:
        ours |= opt_layer(device)
    claims = read_claims(HERE / "published.csv", ours)
    write_claims(claims, args.out / "claims.csv")
    if not args.small:
        draw(claims, args.out)
    print(claims_text("ONNXim's recorded runs on onnxim_4core, fp16", claims))


if __name__ == "__main__":
    main()
