"""Our own devices beside the released simulator's: one of eight GPUs, and one with an AttAcc.

A step is simulated whole, embedding and LM head included, at two contexts: those by which a third
degree polynomial is averaged over all tokens of a generation (Gauss and Legendre). Batches are
those that fit (`largest_batch`); where both memories are said to be one, as in the released code,
a device's 160 GiB are cut so that the GPU's part just holds the weights.

Both memories are HBM3: a bit of the GPU's takes what AttAcc's part says of the way to the pins.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from math import sqrt
from typing import NamedTuple

from simulator import decode_step, largest_batch, load_device, load_model, replace, simulate
from simulator.cost import EnergyProfile, load_profile
from simulator.dram.pim.attacc import load_attacc
from simulator.errors import InfeasibleError
from simulator.hardware import Device
from simulator.mapping.capacity import FFN, check_capacity
from simulator.mapping.policies import Policies
from simulator.workload import Model, Workload

GIB = 2**30
GPUS = 8
PROMPT = GENERATED = 2048
LEVELS = {"bank": "attacc", "bank_group": "attacc_bank_group", "buffer": "attacc_buffer"}
#: Nothing overlaps but what the units' queues allow; projections beside attention; and the FFN.
WAYS = {
    "naive": Policies(sub_batch="off"),
    "pipelined": Policies(sub_batch="off", head_pipeline="on"),
    "full": Policies(sub_batch="off", head_pipeline="on", coprocess="ffn"),
}
#: Models, and the format of all values.
MODELS = {
    "gpt": ("gpt-3-175b", "fp16"),
    "llama": ("llama-65b", "fp16"),
    "mt": ("mt-nlg-530b", "int8"),
}


class Made(NamedTuple):
    """The mean step of a generation: tokens a second, and mJ a token of all eight devices."""

    tokens_per_s: float
    millijoules: float


@cache
def prices(device: str) -> EnergyProfile:
    """Return the device's prices with those of a bit of HBM3 in AttAcc's part."""
    ladder = sum(load_attacc().energy.ladder_pj_per_bit.values())
    parts = {"nominal": ladder, "low": ladder}
    changes = {
        f"dram_{way}_pj_per_bit.{part}": pj
        for way in ("read", "write")
        for part, pj in parts.items()
    }
    return replace(load_profile(load_device(device).energy), changes)


@cache
def model_of(name: str) -> Model:
    """Return a model without the limit of its positions, as the released code has none."""
    return replace(load_model(MODELS[name][0]), {"max_context": PROMPT + GENERATED})


@cache
def work(name: str, context: int, batch: int) -> Workload:
    """Return a decode step of one of eight devices."""
    form = MODELS[name][1]
    return decode_step(
        model_of(name), context=context, batch=batch, weights=form, activations=form, kv=form,
        tensor_parallel=GPUS,
    )  # fmt: skip


def run(device: Device, way: str, name: str, batch: int, *contexts: int) -> Made:
    """Return the mean of steps at some contexts."""
    policies = WAYS[way] if device.pim is not None else Policies()
    runs = [
        simulate(device, work(name, each, batch), policies=policies, energy=prices(device.name))
        for each in contexts
    ]
    for each in runs:
        each.check()
    seconds = sum(each.latency_s for each in runs) / len(runs)
    joules = GPUS * sum(each.energy_j for each in runs) / len(runs)
    return Made(batch / seconds, 1e3 * joules / batch)


def contexts_of(prompt: int, generated: int) -> tuple[int, int]:
    """Return two contexts between the first and the last step after the prompt's."""
    first, last = prompt + 1, prompt + generated - 1
    half = (last - first) / 2
    return round(first + half * (1 - 1 / sqrt(3))), round(first + half * (1 + 1 / sqrt(3)))


def fitting(device: Device, name: str) -> int:
    """Return the most requests whose last step fits one of eight devices."""
    form = MODELS[name][1]
    return largest_batch(
        device, model_of(name), context=PROMPT + GENERATED - 1, weights=form, activations=form,
        kv=form, tensor_parallel=GPUS,
    )  # fmt: skip


@cache
def gpu(gib: int = 80) -> Device:
    """Return the GPU alone with so much memory."""
    return replace(load_device("dgx_a100a"), {"memory.capacity": gib * GIB})


def as_one(device: Device, name: str, batch: int, *, ffn_twice: bool = False) -> Device:
    """Return a device whose 160 GiB are cut between GPU and AttAcc as a batch needs.

    ffn_twice: AttAcc has room for all of the FFN beside that, which co-processing needs.
    """
    last = work(name, PROMPT + GENERATED - 1, batch)
    room = {"pim.own.capacity": 160 * GIB}
    try:
        check_capacity(last, replace(device, room | {"memory.capacity": 1}), 0)
        needed = 1
    except InfeasibleError as error:
        needed = int(error.demand)
    extra = sum(
        segment.repeat * segment.graph.tensor(op.inputs[1]).bytes
        for segment, op in last.ops()
        if op.name.endswith(FFN)
    )
    own = 160 * GIB - needed + ffn_twice * extra
    return replace(device, {"pim.own.capacity": own, "memory.capacity": needed})


def one_request(ways: Sequence[str] = tuple(WAYS)) -> dict[str, float]:
    """Return GPT-3 for one request, with what overlaps and without, by key of a claim."""
    context = PROMPT + 64
    found = {"ours.one.dgx8.tokens_per_s": run(gpu(), "full", "gpt", 1, context).tokens_per_s}
    for level, name in LEVELS.items():
        for way in ways:
            made = run(load_device(name), way, "gpt", 1, context)
            end = "" if way == "full" else f".{way}"
            found[f"ours.one.{level}{end}.tokens_per_s"] = made.tokens_per_s
    return found


def filled(name: str) -> dict[str, float]:
    """Return a model at the batches that fill the memories, by key of a claim."""
    contexts, attacc = contexts_of(PROMPT, GENERATED), load_device("attacc")
    few, many, apart = (fitting(each, name) for each in (gpu(), gpu(160), attacc))
    base = run(gpu(), "full", name, few, *contexts)
    large = run(gpu(160), "full", name, many, *contexts)
    one = as_one(attacc, name, many)
    naive, pipelined = (run(one, way, name, many, *contexts) for way in ("naive", "pipelined"))
    twice = as_one(attacc, name, many, ffn_twice=True)
    full = run(twice, "full", name, many, *contexts)
    alone = run(attacc, "full", name, apart, *contexts)
    key = f"ours.{name}.2048.2048"
    rates = {
        "base": base, "large": large, "naive": naive, "pipelined": pipelined, "full": full,
        "apart": alone,
    }  # fmt: skip
    found = {f"{key}.{system}": made.tokens_per_s for system, made in rates.items()}
    found |= {
        f"{key}.batch.{which}": float(size)
        for which, size in (("base", few), ("large", many), ("apart", apart))
    }
    return found | {
        f"{key}.over_base": full.tokens_per_s / base.tokens_per_s,
        f"{key}.pipelined_over_base": pipelined.tokens_per_s / base.tokens_per_s,
        f"{key}.apart_over_base": alone.tokens_per_s / base.tokens_per_s,
        f"{key}.over_large": full.tokens_per_s / large.tokens_per_s,
        f"{key}.saves_base": base.millijoules / pipelined.millijoules,
        f"{key}.apart_saves_base": base.millijoules / alone.millijoules,
    }


def other_levels() -> dict[str, float]:
    """Return GPT-3 on units at other levels, both memories as one and apart."""
    contexts, many = contexts_of(PROMPT, GENERATED), fitting(gpu(160), "gpt")
    found = {}
    for level in ("bank_group", "buffer"):
        device = load_device(LEVELS[level])
        one = as_one(device, "gpt", many, ffn_twice=True)
        found[f"ours.gpt.2048.2048.{level}"] = run(one, "full", "gpt", many, *contexts).tokens_per_s
        apart = run(device, "full", "gpt", fitting(device, "gpt"), *contexts)
        found[f"ours.gpt.2048.2048.{level}.apart"] = apart.tokens_per_s
    return found


def orders(found: Mapping[str, float]) -> dict[str, list[tuple[str, float]]]:
    """Return systems from the slowest to the fastest by the released code, with our tokens/s."""
    key = "ours.gpt.2048.2048"
    lists = {
        "one request": {
            "GPUs": "ours.one.dgx8.tokens_per_s",
            **{level: f"ours.one.{level}.tokens_per_s" for level in reversed(LEVELS)},
        },
        "batches that fit": {
            "GPUs": f"{key}.base",
            "buffer": f"{key}.buffer.apart",
            "bank_group": f"{key}.bank_group.apart",
            "bank": f"{key}.apart",
        },
        "one memory": {
            "GPUs": f"{key}.large",
            "buffer": f"{key}.buffer",
            "bank_group": f"{key}.bank_group",
            "bank": f"{key}.full",
        },
    }
    return {
        name: [(system, found[key]) for system, key in keys.items()]
        for name, keys in lists.items()
        if all(key in found for key in keys.values())
    }
