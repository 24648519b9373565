"""ShiftAddLLM's released energy model, computed again, and what it leaves out.

Writes claims.csv and the figure shiftaddllm.pdf and .png to --out. README.md tells the story.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from figure import draw
from released_model import MODELS, Cost, codes_mj, looked_up_mj, token

from simulator.report.claims import claims_text, read_claims, write_claims

HERE = Path(__file__).parent
#: Key -> (method, bits of the weights) of the released model; no bits are the mix of 2 and 3.
METHODS: dict[str, tuple[str, int | None]] = {
    "fp16": ("fp", 16),
    "gptq": ("gptq", 3),
    "lut_gemm": ("lut", 3),
    "3b": ("shiftaddllm", 3),
    "mix": ("shiftaddllm", None),
}
#: The reference run of this one did not finish.
NOT_PUBLISHED = ("llama2-7b", "mix")
SMALL = ("opt-125m", "opt-1.3b")
BROKEN_DOWN = "opt-6.7b"


def released(names: Sequence[str]) -> dict[str, dict[str, Cost]]:
    """Return what a token costs in the released model, by model and method."""
    return {
        name: {key: token(MODELS[name], *method) for key, method in METHODS.items()}
        for name in names
    }


def energies(costs: Mapping[str, Mapping[str, Cost]]) -> dict[str, float]:
    """Return mJ a token of all that was published, by key of a claim."""
    return {
        f"{name}.{key}.mj": cost.energy_mj
        for name, methods in costs.items()
        for key, cost in methods.items()
        if (name, key) != NOT_PUBLISHED
    }


def savings(costs: Mapping[str, Mapping[str, Cost]]) -> dict[str, float]:
    """Return per cent saved over FP16: as released, with codes read, and without quirk 2 too."""
    ours: dict[str, float] = {}
    for name, methods in costs.items():
        model, whole = MODELS[name], methods["fp16"].energy_mj
        energy = {"gptq": methods["gptq"].energy_mj}
        for key in ("3b", "mix"):
            method, bits = METHODS[key]
            read = methods[key].energy_mj + codes_mj(model, bits)
            energy[key] = methods[key].energy_mj
            energy[f"{key}.codes"] = read
            energy[f"{key}.on_chip"] = read - looked_up_mj(model, method)
        ours |= {f"{name}.{key}.saved": 100 * (1 - mj / whole) for key, mj in energy.items()}
    return ours


def breakdown(methods: Mapping[str, Cost]) -> dict[str, float]:
    """Return mJ by part of the model that the reference run broke down, by key of a claim."""
    return {
        f"{BROKEN_DOWN}.{key}.{part}": mj
        for key in ("lut_gemm", "3b")
        for part, mj in methods[key].parts_mj.items()
        if mj
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Run the comparison; --small leaves the models of 7 billion weights and the figure out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="two small models, no figure")
    parser.add_argument("--out", type=Path, default=Path("out/shiftaddllm"), help="folder")
    args = parser.parse_args(argv)
    costs = released(SMALL if args.small else tuple(MODELS))
    ours = energies(costs) | savings(costs)
    if not args.small:
        ours |= breakdown(costs[BROKEN_DOWN])
        ours["llama2-7b.fp16.s"] = costs["llama2-7b"]["fp16"].latency_s
    claims = read_claims(HERE / "published.csv", ours)
    write_claims(claims, args.out / "claims.csv")
    if not args.small:
        draw(costs[BROKEN_DOWN], ours, args.out)
    print(claims_text("ShiftAddLLM's released energy model, one token at batch 1", claims))


if __name__ == "__main__":
    main()
