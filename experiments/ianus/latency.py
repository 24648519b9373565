"""Latencies of IANUS and of NPU-MEM, its baseline without units in the banks, on GPT-2.

A request of `prompt` tokens that makes `out` of them is a prefill, which makes the first, and
out - 1 decode steps, each with a key more. Steps are simulated at `KNOTS` keys and linear between.
"""

from bisect import bisect_left
from functools import lru_cache

from simulator.api import load_device, load_model, simulate
from simulator.mapping.policies import Policies
from simulator.results import Result
from simulator.workload import Workload, decode_step, prefill

NPU_MEM, IANUS = "npu_mem", "ianus"
#: IANUS' names of models, ours.
MODELS = {
    "M": "gpt-2-medium",
    "L": "gpt-2-large",
    "XL": "gpt-2-xl-24-heads",
    "2.5B": "gpt-2-2.5b",
}
#: Keys at which decode steps are simulated, the token's own included.
KNOTS = (32, 128, 256, 512, 1024)
#: Products of a layer, and what of a layer the paper measures together: from the start of the first
#: operation to the end of the second.
PRODUCTS = ("q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj")
PARTS = {
    "attention": ("q_proj", "attention"),
    "projection": ("o_proj", "o_proj"),
    "ffn": ("up_proj", "down_proj"),
}
#: Where the paper's breakdown is taken: the middle of (128, 256); of a layer that has others
#: before and behind it.
MIDDLE, LAYER = 256, 1
#: More tokens than any model puts on the banks.
MOST_TOKENS = 64


def run(device: str, workload: Workload, placement: str = "predicted") -> Result:
    """Simulate a workload; "predicted" is IANUS' algorithm 1."""
    return simulate(load_device(device), workload, policies=Policies(placement=placement))


@lru_cache(maxsize=1024)
def step(device: str, model: str, keys: int) -> Result:
    """Return a decode step with so many keys."""
    formats = dict.fromkeys(("weights", "activations", "kv"), "bf16")
    return run(device, decode_step(load_model(MODELS[model]), context=keys, **formats))


@lru_cache(maxsize=1024)
def prompted(device: str, model: str, tokens: int, placement: str = "predicted") -> Result:
    """Return the prefill of so many tokens, which makes one."""
    formats = dict.fromkeys(("weights", "activations", "kv"), "bf16")
    workload = prefill(load_model(MODELS[model]), sequence=tokens, **formats)
    return run(device, workload, placement)


def step_ms(device: str, model: str, keys: int) -> float:
    """Return the ms of a decode step, between knots on the line from one to the next."""
    at = bisect_left(KNOTS, keys)
    if KNOTS[at] == keys:
        return 1e3 * step(device, model, keys).latency_s
    low, high = KNOTS[at - 1], KNOTS[at]
    first, last = (1e3 * step(device, model, knot).latency_s for knot in (low, high))
    return first + (keys - low) / (high - low) * (last - first)


def steps_ms(device: str, model: str, prompt: int, out: int) -> float:
    """Return the ms of all decode steps of a request."""
    return sum(step_ms(device, model, prompt + made) for made in range(1, out))


def latency_ms(device: str, model: str, prompt: int, out: int) -> float:
    """Return the ms from a prompt to its last token."""
    first = 1e3 * prompted(device, model, prompt).latency_s
    return first + steps_ms(device, model, prompt, out)


def part_ms(device: str, model: str, part: str, out: int) -> float:
    """Return the ms that a part of all layers takes in out - 1 decode steps of `MIDDLE` keys."""
    found = {
        record.name.removeprefix(f"layers.{LAYER}."): record
        for record in step(device, model, MIDDLE).records
        if record.layer == LAYER
    }
    first, last = PARTS[part]
    ps = found[last].end_ps - found[first].start_ps
    return 1e-9 * ps * load_model(MODELS[model]).layers * (out - 1)


def on_banks(model: str, tokens: int) -> set[str]:
    """Return the products of a layer that algorithm 1 puts on the banks for so many tokens."""
    return {
        record.name.rsplit(".", 1)[-1]
        for record in prompted(IANUS, model, tokens).records
        if record.unit == "pim" and record.layer == LAYER
    }


def crossover(model: str) -> int:
    """Return the fewest tokens of which no product of a layer is on the banks."""
    return next(n for n in range(1, MOST_TOKENS) if not on_banks(model, n))
