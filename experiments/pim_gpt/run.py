"""What of PIM-GPT's claims can be held against a model: units in GDDR6 beside a T4's roofline.

Writes claims.csv to --out. README.md says what could not be read, and what the claims compare.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from simulator.api import load_device, load_model, simulate
from simulator.config import replace
from simulator.hardware import Device
from simulator.hardware.pim import GroupUnits
from simulator.report.claims import claims_text, read_claims, write_claims
from simulator.workload import decode_step

HERE = Path(__file__).parent
MODELS = ("gpt-2", "gpt-2-medium", "gpt-2-large", "gpt-2-xl")
SMALL = ("gpt-2",)
#: Channels and chips of two, second-hand; keys of a decode step, assumed.
CHANNELS, CHIPS, KEYS = 8, 4, 512
T4, BYTES = "t4", 2


def pim_gpt() -> Device:
    """Return the device with its channels."""
    device = load_device(HERE / "pim_gpt.yaml")
    return replace(device, {"pim.part.channels": CHANNELS, "pim.part.stacks": CHIPS})


def seconds(device: Device, model: str, form: str) -> float:
    """Return the seconds of a decode step."""
    formats = dict.fromkeys(("weights", "activations", "kv"), form)
    return simulate(device, decode_step(load_model(model), context=KEYS, **formats)).latency_s


def moved_less(name: str) -> float:
    """Return the weights of a layer over what its products send to and from the banks.

    Every channel's buffer is written with all inputs.
    """
    model = load_model(name)
    width, ffn = model.hidden, model.ffn
    products = [(3 * width, width), (width, width), (ffn, width), (width, ffn)]
    weights = sum(outputs * inputs for outputs, inputs in products)
    return weights / sum(CHANNELS * inputs + outputs for outputs, inputs in products)


def numbers(small: bool) -> dict[str, float]:
    """Return ours by key of a claim."""
    models = SMALL if small else MODELS
    device, t4 = pim_gpt(), load_device(T4)
    pim = device.pim
    assert isinstance(pim, GroupUnits)
    memory, bursts = pim.part.memory, pim.part.memory.bursts_per_row
    inside = CHANNELS * memory.banks_per_channel * memory.peak_bytes_per_s
    ours = {
        "row_hits": 100 * (bursts - 1) / bursts,
        "bound": inside / t4.memory.bandwidth_bytes_per_s,  # type: ignore[union-attr]
    }
    for model in models:
        ms = 1e3 * seconds(device, model, "bf16"), 1e3 * seconds(t4, model, "fp16")
        ours |= {f"pim.{model}": ms[0], f"t4.{model}": ms[1], f"speed.{model}": ms[1] / ms[0]}
    ours["moved.gpt-2"] = moved_less("gpt-2")
    if not small:
        ours["moved.gpt-2-xl"] = moved_less("gpt-2-xl")
    return ours


def main(argv: Sequence[str] | None = None) -> None:
    """Compare; --small takes the smallest model alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="the smallest model alone")
    parser.add_argument("--out", type=Path, default=Path("out/pim_gpt"), help="folder for results")
    args = parser.parse_args(argv)
    claims = read_claims(HERE / "published.csv", numbers(args.small))
    write_claims(claims, args.out / "claims.csv")
    print(claims_text("PIM-GPT: products of a token in GDDR6", claims))


if __name__ == "__main__":
    main()
