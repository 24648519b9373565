"""AttAcc's released simulator again, its memory's cycles taken from our replica; our devices.

Writes claims.csv, and attacc.pdf and .png, to --out. README.md tells the story.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import our_devices
from attention import by_closed_form, ours
from figure import draw
from released_model import (
    GIB,
    GPUS,
    MODELS,
    AttAcc,
    Attended,
    Generation,
    Level,
    Model,
    System,
    generate,
)

from simulator.report.claims import claims_text, read_claims, write_claims

HERE = Path(__file__).parent
GPU = GPUS["A100a"]
#: Memory of 640 GiB, and twice of it three ways: as larger GPUs, as AttAcc, as more GPUs.
BASE, LARGE, TWICE = System(), System(gpu=replace(GPU, memory_bytes=160 * GIB)), System(gpus=16)
NAIVE = System(attacc=AttAcc())
PIPELINED = replace(NAIVE, head_pipeline=True)
FULL = replace(PIPELINED, shared_ffn=True)
LEVELS: tuple[Level, ...] = ("bank", "bank_group", "buffer")


def full_with(level: Level, *, power_limit: bool = True) -> System:
    """Return the full system with other units."""
    return replace(FULL, attacc=AttAcc(level, power_limit))


class Work(NamedTuple):
    """A model, tokens of the prompt and tokens generated."""

    model: str
    prompt: int
    generated: int


WORKS = {
    "gpt.2048.2048": Work("GPT-175B", 2048, 2048),
    "gpt.128.2048": Work("GPT-175B", 128, 2048),
    "gpt.128.128": Work("GPT-175B", 128, 128),
    "llama.2048.2048": Work("LLAMA-65B", 2048, 2048),
    "llama.128.2048": Work("LLAMA-65B", 128, 2048),
    "mt.2048.2048": Work("MT-530B INT8", 2048, 2048),
    "mt.128.2048": Work("MT-530B INT8", 128, 2048),
}
SMALL = ("gpt.128.128",)
#: Of which only gains were published.
EIGHT_BITS = {
    "gpt_int8.2048.2048": Work("GPT-175B INT8", 2048, 2048),
    "gpt_int8.128.2048": Work("GPT-175B INT8", 128, 2048),
}


@cache
def memory(unit: AttAcc, model: Model) -> Attended:
    """Return our replica's cycles and commands, kept between runs."""
    return ours(unit, model)


@cache
def run(
    system: System,
    work: Work,
    batch: int,
    of: Callable[[AttAcc, Model], Attended] = memory,
) -> Generation:
    """Return a generation of a batch."""
    model, unit = MODELS[work.model], system.attacc
    attended = of(unit, model) if unit else None
    return generate(system, model, work.prompt, work.generated, batch, attended)


def batches(work: Work) -> tuple[int, int]:
    """Return the batch of 640 GiB, and that of twice as much as the authors had it.

    quirk: the batches of the recorded cycles are one request more than fits.
    """
    model, lengths = MODELS[work.model], work[1:]
    return BASE.fitting_batch(model, *lengths), FULL.fitting_batch(model, *lengths) + 1


def one_request() -> dict[str, float]:
    """Return GPT-3 for one request, by key of a claim."""
    systems = {"dgx8": BASE, "dgx16": TWICE}
    systems |= {level: full_with(level) for level in LEVELS}
    found: dict[str, float] = {}
    for name, system in systems.items():
        made = run(system, Work("GPT-175B", 2048, 128), 1)
        found[f"released.one.{name}.tokens_per_s"] = made.tokens_per_s
        found[f"released.one.{name}.attention_ms"] = made.attention_ms
        found[f"released.one.{name}.millijoules"] = made.millijoules_per_token
    return found


def filled(name: str, work: Work) -> dict[str, float]:
    """Return a workload at the batches that fill the memories, by key of a claim."""
    few, many = batches(work)
    base, full = run(BASE, work, few), run(FULL, work, many)
    rates = {
        "base": base,
        "large": run(LARGE, work, many),
        "naive": run(NAIVE, work, many),
        "pipelined": run(PIPELINED, work, many),
        "full": full,
    }
    found = {f"released.{name}.{system}": made.tokens_per_s for system, made in rates.items()}
    energy = full.millijoules_per_token / base.millijoules_per_token
    return found | {f"released.{name}.energy": energy}


def other_units(work: Work) -> dict[str, float]:
    """Return GPT-3 on more GPUs, other units, and by the closed form, by key of a claim."""
    _, many = batches(work)
    systems = {
        "dgx16": TWICE,
        "no_limit": full_with("bank", power_limit=False),
        "bank_group": full_with("bank_group"),
        "buffer": full_with("buffer"),
    }
    found = {
        f"released.gpt.2048.2048.{name}": run(system, work, many).tokens_per_s
        for name, system in systems.items()
    }
    for level in LEVELS:
        made = run(full_with(level), work, many, by_closed_form)
        found[f"closed_form.gpt.2048.2048.{level}"] = made.tokens_per_s
    return found


def best_gains() -> dict[str, float]:
    """Return the best of each gain that the paper states over the workloads, by key of a claim."""
    gains: dict[str, list[float]] = {}

    def note(name: str, gain: float) -> None:
        gains.setdefault(f"released.best.{name}", []).append(gain)

    for name, work in (WORKS | EIGHT_BITS).items():
        few, many = batches(work)
        base, large, full = run(BASE, work, few), run(LARGE, work, many), run(FULL, work, many)
        naive, pipelined = run(NAIVE, work, many), run(PIPELINED, work, many)
        model = name.partition(".")[0]
        for other, made in (("base", base), ("large", large)):
            note(f"{model}.over_{other}", full.tokens_per_s / made.tokens_per_s)
            if model == "gpt":
                note(f"gpt.naive_over_{other}", naive.tokens_per_s / made.tokens_per_s)
            if name in WORKS:
                saved = made.millijoules_per_token / full.millijoules_per_token
                note(f"{model}.saves_{other}", saved)
        if name in EIGHT_BITS:
            continue
        over_twice = full.tokens_per_s / run(TWICE, work, many).tokens_per_s
        if model == "gpt":
            note("gpt.over_twice", over_twice)
        note("any.over_twice", over_twice)
        note("any.pipeline", pipelined.tokens_per_s / naive.tokens_per_s)
        note("any.ffn", full.tokens_per_s / pipelined.tokens_per_s)
    return {name: max(each) for name, each in gains.items()}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the comparison; --small: one request, and one workload alone, no figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="one request, GPT-3 (128, 128)")
    parser.add_argument("--out", type=Path, default=Path("out/attacc"), help="folder for results")
    args = parser.parse_args(argv)
    found = one_request()
    for name in SMALL if args.small else WORKS:
        found |= filled(name, WORKS[name])
    if not args.small:
        found |= other_units(WORKS["gpt.2048.2048"]) | best_gains()
        found |= our_devices.one_request() | our_devices.other_levels()
        for name in our_devices.MODELS:
            found |= our_devices.filled(name)
        draw(found, args.out)
    else:
        found |= our_devices.one_request(("full",))
    claims = read_claims(HERE / "published.csv", found)
    write_claims(claims, args.out / "claims.csv")
    print(claims_text("AttAcc's released simulator on our replica's cycles, and ours", claims))
    for name, listed in our_devices.orders(found).items():
        rates = [rate for _, rate in listed]
        text = " < ".join(f"{system} {rate:.4g}" for system, rate in listed)
        print(f"{name}, tokens/s: {text}: {'as' if rates == sorted(rates) else 'NOT as'} released")


if __name__ == "__main__":
    main()
