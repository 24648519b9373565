"""The released model's points from our own simulator: its tile rung, and none of the quirks.

Each accelerator is `FRAME` with the array that the released model gives it (as many elements as
published, not equal area) and a PE of the package in it. ANT, OliVe and BitMoD multiply no FP16
by FP16, so a unit of FP16 elements for attention stands beside them, a quarter as wide. As in the
released model, attention is not causal and the LM head sees all tokens of a prefill.

What differs on purpose: ANT and OliVe have 4-bit activations too (their PEs take no others) and
4-bit weights in all models, where the released model mixes widths. What the released model leaves
out is in: filling and draining of tiles, norms, rotation, softmax, the KV append, leakage.
"""

from dataclasses import replace
from functools import lru_cache, partial
from typing import NamedTuple

from released_model import (
    ACCELERATORS,
    CONTEXT,
    DECODE_STEPS,
    MODELS,
    PAPER,
    PHASES,
    TASKS,
    Phase,
    Quirk,
    Totals,
    Version,
    shape,
)

from simulator.api import simulate
from simulator.config import replace as changed
from simulator.cost import load_profile
from simulator.design import Terms, design, formats_of, load_element
from simulator.formats import get
from simulator.hardware.pricing import priced_by_gates
from simulator.workload import decode_step, prefill

#: The PE of each accelerator, and the pair that it multiplies by phase.
ELEMENTS: dict[str, tuple[str, dict[Phase, str]]] = {
    "fp16": ("fp16_fma", dict.fromkeys(PHASES, "fp16xfp16")),
    "ant": ("ant", dict.fromkeys(PHASES, "flint4xflint4")),
    "olive": ("olive", dict.fromkeys(PHASES, "olive_int4xolive_int4")),
    "bitmod_ll": ("bitmod", dict.fromkeys(PHASES, "int6xfp16")),
    "bitmod_ly": ("bitmod", {"prefill": "bitmod4xfp16", "decode": "bitmod3xfp16"}),
}
#: Words in which values are packed, and words that values of 3, 4, 6 and 16 bits fill: as the
#: released model packs them.
WORD_BITS, FULL_WORD_BITS = 32, 48


class Point(NamedTuple):
    """One step of one model: cycles at 1 GHz, microjoules, and bytes from and to DRAM."""

    cycles: float
    total_uj: float
    dram_bytes: int


def formats(accelerator: str, phase: Phase) -> tuple[str, str, str]:
    """Return the formats of weights, activations and KV cache of an accelerator in a phase."""
    name, pairs = ELEMENTS[accelerator]
    return formats_of(load_element(name), pairs[phase])


@lru_cache
def point(accelerator: str, model: str, phase: Phase, word_bits: int = WORD_BITS) -> Point:
    """Return what the tile rung says of one of the released model's points.

    No value straddles two words of `word_bits` in DRAM.
    """
    channels, tokens = ACCELERATORS[accelerator].array[phase]
    array: dict[str, object] = {"rows": tokens, "columns": channels}
    # As many elements as published in the shape that is published, whatever the edges take.
    array |= {"activation_edge_width": None, "weight_edge_width": None}
    changes = {f"matrix.{key}": value for key, value in array.items()}
    frame = changed(Terms().frame, changes | {"dma.word_bits": word_bits})
    terms = Terms(frame=frame, iso="elements")
    device = design(load_element(ELEMENTS[accelerator][0]), terms).device
    weights, activations, kv = formats(accelerator, phase)
    of_all = partial(prefill, sequence=CONTEXT, last_token_logits=False, causal=False)
    step = of_all if phase == "prefill" else partial(decode_step, batch=1, context=CONTEXT)
    workload = step(shape(model), weights=weights, activations=activations, kv=kv)
    energy = priced_by_gates(load_profile(device.energy), device.matrix_units, terms.technology)
    result = simulate(device, workload, energy=energy)
    moved = result.traffic["dram"].bytes_sent
    return Point(result.latency_s * 1e9, result.energy_j * 1e6, moved)


def totals(decode_steps: int = DECODE_STEPS, word_bits: int = WORD_BITS) -> dict[str, Totals]:
    """Return cycles and microjoules of each task, model by model, as `task_totals` does."""
    found: dict[str, Totals] = {name: {task: [] for task in TASKS} for name in ELEMENTS}
    for name in ELEMENTS:
        for model in MODELS:
            first, later = (point(name, model, phase, word_bits) for phase in PHASES)
            for task, steps in zip(TASKS, (0, decode_steps), strict=True):
                cycles = first.cycles + steps * later.cycles
                found[name][task].append((cycles, first.total_uj + steps * later.total_uj))
    return found


def in_our_formats(version: Version) -> Version:
    """Return a version of the released model in which weights have as many bits as ours."""
    bits = {
        name: {
            phase: dict.fromkeys(MODELS, float(get(formats(name, phase)[0]).bits_per_value))
            for phase in PHASES
        }
        for name in ELEMENTS
    }
    return replace(version, bits=bits)


#: The released model without its quirks, and as near to ours as its switches go.
PLAIN = PAPER.without(*Quirk)
NEAREST = in_our_formats(PLAIN)
