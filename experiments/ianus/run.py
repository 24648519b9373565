"""IANUS' latencies on GPT-2, beside NPU-MEM's, and where its algorithm 1 puts layers.

Writes claims.csv and the figure ianus.pdf and .png to --out. README.md says what is modelled.
"""

import argparse
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from statistics import fmean

from latency import (
    IANUS,
    MODELS,
    NPU_MEM,
    PARTS,
    crossover,
    latency_ms,
    part_ms,
    prompted,
    steps_ms,
)

from simulator.api import load_device
from simulator.hardware.pim import AimChannels
from simulator.mapping.pim_attention import product_in_aim
from simulator.report.claims import Claim, claims_text, read_claims, write_claims
from simulator.report.paper import paper_figure
from simulator.report.style import FAINT

HERE = Path(__file__).parent
DEVICES = (NPU_MEM, IANUS)
#: Prompts and tokens of the paper's figures 9 and 8.
NINE = tuple(product((32, 64, 128), (1, 16, 256)))
TWELVE = tuple(product((128, 256, 512), (1, 8, 64, 512)))
#: DFX, which is not modelled: ms of (32, 1), and the mean of the nine points.
DFX_MS, DFX_MEAN_MS = 227, 10256 / 9
#: What --small computes: the shortest requests, the crossover of the smallest model.
SMALL, SMALL_MODEL = ((32, 1), (32, 16)), "M"
#: A head of 64, and a product long enough for the bandwidth of the units.
HEAD_DIM, LONG = 64, (65536, 1024)
COLOURS = {"DFX": "#999999", NPU_MEM: "#0072b2", IANUS: "#d55e00"}
LABELS = {"DFX": "DFX", NPU_MEM: "NPU-MEM", IANUS: "IANUS"}
TOKENS = tuple(range(1, 17))
#: Where layers with weights are, in the figure: placement -> colour, label.
PLACEMENTS = {
    "npu": (COLOURS[NPU_MEM], "on matrix units"),
    "fixed": (COLOURS[IANUS], "on banks"),
    "predicted": ("black", "algorithm 1"),
}


def dfx_ms(prompt: int, out: int) -> float:
    """Return DFX' ms as its first point says them: as many for every token, read or made."""
    return DFX_MS / 33 * (prompt + out)


def identities() -> dict[str, float]:
    """Return what follows from the description alone, and the units' bandwidth."""
    pim = load_device(IANUS).pim
    assert isinstance(pim, AimChannels)
    part = pim.part
    row = part.memory.bursts_per_row * part.units.lanes
    done = product_in_aim(pim, *LONG, 1)
    return {"row_use": 100 * HEAD_DIM / row, "bandwidth": done.read_bytes / done.ps}


def numbers(small: bool) -> dict[str, float]:
    """Return ours by key of a claim."""
    points = SMALL if small else NINE
    ours = {
        f"{device}.{prompt}.{out}": latency_ms(device, "XL", prompt, out)
        for device in DEVICES
        for prompt, out in points
    }
    ours |= {f"dfx.{i}.{o}": dfx_ms(i, o) for i, o in points if i == 32 and o > 1}
    ours |= identities()
    ours |= {
        f"crossover.{model}": crossover(model) for model in ([SMALL_MODEL] if small else MODELS)
    }
    return ours if small else ours | averages(ours)


def averages(ours: dict[str, float]) -> dict[str, float]:
    """Return ratios, parts of layers and means, beside the nine points of GPT-2 XL."""
    means = {
        device: fmean(ours[f"{device}.{prompt}.{out}"] for prompt, out in NINE)
        for device in DEVICES
    }
    found = {f"{device}.token": steps_ms(device, "XL", 64, 256) / 255 for device in DEVICES}
    found |= {
        f"gain.{model}": latency_ms(NPU_MEM, model, 128, 256) / latency_ms(IANUS, model, 128, 256)
        for model in ("L", "XL")
    }
    found |= {
        "gain.mean": means[NPU_MEM] / means[IANUS],
        "gain.dfx": DFX_MEAN_MS / means[IANUS],
        "token.2.5B": steps_ms(IANUS, "2.5B", 128, 64) / 63,
    }
    found |= {
        f"{part}.{device}.{model}": part_ms(device, model, part, 256)
        for part, device, model in product(PARTS, DEVICES, ("L", "XL"))
    }
    found |= {
        f"mean.{model}": fmean(latency_ms(IANUS, model, *point) for point in TWELVE)
        for model in MODELS
    }
    return found


def draw(claims: Sequence[Claim], folder: Path) -> None:
    """Draw latencies of GPT-2 XL, and prefills over their tokens by where layers are."""
    by_key = {claim.key: claim for claim in claims}
    outs = [out for prompt, out in NINE if prompt == 32]
    with paper_figure(folder, "ianus", height_in=2.6) as figure:
        left, right = figure.subplots(1, 2)
        for shift, device in enumerate((NPU_MEM, IANUS)):
            rows = [by_key[f"{device}.32.{out}"] for out in outs]
            places = [place + 0.25 * (shift + 1) for place in range(len(outs))]
            left.bar(places, [row.ours or 0 for row in rows], 0.24, color=COLOURS[device])
            left.plot(places, [row.published for row in rows], "_k", ms=9)
        dfx = [dfx_ms(32, out) for out in outs]
        left.bar(range(len(outs)), dfx, 0.24, color=COLOURS["DFX"])
        left.set_xticks([place + 0.25 for place in range(len(outs))], [f"(32, {o})" for o in outs])
        left.set(yscale="log", ylabel="ms", title="GPT-2 XL, (prompt, tokens made)")
        for model, style in (("M", "--"), ("XL", "-")):
            for placement, (colour, _) in PLACEMENTS.items():
                ms = [1e3 * prompted(IANUS, model, n, placement).latency_s for n in TOKENS]
                dots = {"ls": "none", "marker": "." if model == "XL" else "x", "ms": 4}
                drawn = dots if placement == "predicted" else {"ls": style}
                right.plot(TOKENS, ms, color=colour, **drawn)
        right.set(yscale="log", xlabel="tokens of a prompt", ylabel="ms", title="prompts, XL and M")
        for axes in (left, right):
            axes.grid(color=FAINT, lw=0.3, alpha=0.5)
        bars = [left.bar([0], [0], color=COLOURS[name], label=LABELS[name]) for name in COLOURS]
        mark = left.plot([], [], "_k", ms=9, label="published")
        figure.legend(handles=[*bars, *mark], loc="outside upper center", ncols=4)
        for placement, (colour, label) in PLACEMENTS.items():
            right.plot([], [], "." if placement == "predicted" else "-", color=colour, label=label)
        right.legend(loc="lower right", frameon=False)


def main(argv: Sequence[str] | None = None) -> None:
    """Compare; --small takes the shortest requests of GPT-2 XL and draws nothing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="the shortest requests, no figure")
    parser.add_argument("--out", type=Path, default=Path("out/ianus"), help="folder for results")
    args = parser.parse_args(argv)
    claims = read_claims(HERE / "published.csv", numbers(args.small))
    write_claims(claims, args.out / "claims.csv")
    if not args.small:
        draw(claims, args.out)
    print(claims_text("IANUS: GPT-2 on banks and matrix units of one memory", claims))


if __name__ == "__main__":
    main()
