"""Does AttAcc work beside its GPU: own memory, link, heads in parts, a share of the FFN?"""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from plans import op_plan

from simulator import decode_step, largest_batch, load_device, load_model, replace, simulate
from simulator.errors import InfeasibleError
from simulator.hardware import Device
from simulator.hardware.equations import Pipeline
from simulator.hardware.pim import AttAccStacks
from simulator.mapping.capacity import share_apart
from simulator.mapping.parts import part_of
from simulator.mapping.policies import Policies
from simulator.results import Result
from simulator.workload import Model

LAYERS, HIDDEN, HEADS, FFN = 2, 4096, 32, 16384
CONTEXT, BATCH = 1024, 8
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")
#: Keys and values of a token in all layers, two bytes each.
TOKEN_BYTES = LAYERS * 2 * HIDDEN * 2


@cache
def model() -> Model:
    sizes = {"hidden": HIDDEN, "heads": HEADS, "kv_heads": HEADS, "ffn": FFN, "layers": LAYERS}
    return replace(load_model("gpt-3-175b"), sizes)


@cache
def device(name: str = "attacc", own: int | None = None) -> Device:
    found = load_device(name)
    return found if own is None else replace(found, {"pim.own.capacity": own})


@cache
def run(name: str = "attacc", batch: int = BATCH, **policies: str) -> Result:
    step = decode_step(model(), context=CONTEXT, batch=batch)
    made = simulate(device(name), step, policies=Policies(sub_batch="off", **policies))
    made.check()
    return made


def spans(result: Result, unit: str, words: Sequence[str]) -> list[tuple[int, int]]:
    """Return when a unit worked for operations of the first layer whose names have a word."""
    units = [each.name for each in result.units]
    found = result.intervals
    return [
        (int(start), int(end))
        for place, op, start, end in zip(
            found.unit, found.op, found.start_ps, found.end_ps, strict=True
        )
        if units[place] == unit
        and result.records[op].layer == 0
        and any(word in result.records[op].name for word in words)
    ]


def overlap(ones: Iterable[tuple[int, int]], others: Iterable[tuple[int, int]]) -> int:
    others = list(others)
    return sum(max(0, min(a[1], b[1]) - max(a[0], b[0])) for a in ones for b in others)


# Two memories.


def test_keys_and_values_fill_a_memory_of_their_own() -> None:
    own = 10 * CONTEXT * TOKEN_BYTES + 1
    assert largest_batch(device(own=own), model(), context=CONTEXT) == 10
    weights = decode_step(model(), context=CONTEXT, batch=1).weight_bytes
    small = replace(device(own=own), {"memory.capacity": weights + 20 * 2**20})
    assert largest_batch(small, model(), context=CONTEXT) == 10


@pytest.mark.parametrize("tensor_parallel", [1, 4])
def test_the_largest_batch_is_the_last_that_fits(tensor_parallel: int) -> None:
    wanted: dict[str, Any] = {"context": CONTEXT, "tensor_parallel": tensor_parallel}
    small = replace(device("dgx_a100a"), {"memory.capacity": 3 * 10**9})
    most = largest_batch(small, model(), **wanted)
    assert most > 1
    simulate(small, decode_step(model(), batch=most, **wanted), "roofline")
    with pytest.raises(InfeasibleError):
        simulate(small, decode_step(model(), batch=most + 1, **wanted), "roofline")


def test_both_memories_stand_by() -> None:
    def watts(result: Result) -> float:
        return result.energy_breakdown_j["dram_background"] / result.latency_s

    assert watts(run()) == pytest.approx(2 * watts(run("dgx_a100a")))


def test_new_keys_queries_and_outputs_cross_the_link() -> None:
    activations = BATCH * HIDDEN * 2
    assert run().traffic["link"].bytes_sent == LAYERS * 4 * activations
    names = {each.name for each in run().records if each.unit == "link"}
    assert {"layers.0.kv_append", "layers.1.attention.in", "layers.0.attention.out"} <= names


# Heads in parts.


@pytest.mark.parametrize("whole", [1, 3, 16])
def test_parts_add_up_to_the_whole(whole: int) -> None:
    for steps, every in ((1, 1), (12, 4), (50, 1)):
        op = op_plan(
            Pipeline(steps, every, 3, 11, 7, 0, 101, 5, 13, 0, 17),
            load_bytes=12_345,
            store_bytes=678,
        )
        parts = [part_of(op, index, index + 1, whole) for index in range(whole)]
        for name in ("load_bytes", "store_bytes", "macs_useful", "macs_issued", "main_ps"):
            assert sum(getattr(part, name) for part in parts) == getattr(op, name)
        for name in ("dram_ps", "vector_ps"):
            rounded = sum(getattr(part, name) for part in parts) - getattr(op, name)
            assert 0 <= rounded <= sum(2 * part.pipeline.steps for part in parts)


@pytest.mark.parametrize("name", ["attacc_buffer", "duplex_bank"])
def test_heads_attend_beside_the_projections_of_others(name: str) -> None:
    for on in (False, True):
        made = run(name, head_pipeline="on" if on else "off")
        projected, attended = spans(made, "matrix", PROJECTIONS), spans(made, "pim", ("attention",))
        assert (overlap(projected, attended) > 0) == on


def test_what_is_hidden_is_at_most_attention() -> None:
    off, on = run("attacc_buffer"), run("attacc_buffer", head_pipeline="on")
    attended = sum(end - start for start, end in spans(off, "pim", ("attention",)))
    assert 0 < off.latency_ps - on.latency_ps < LAYERS * attended


def test_parts_do_what_the_whole_does() -> None:
    off, on = run(), run(head_pipeline="on")
    for name in ("macs_useful", "macs_issued", "bytes_read", "bytes_written"):
        assert sum(getattr(each, name) for each in on.records) == (
            sum(getattr(each, name) for each in off.records)
        )
    for part in ("matrix", "dram", "pim", "link"):
        assert on.energy_breakdown_j[part] == pytest.approx(off.energy_breakdown_j[part], rel=1e-9)
    for name in (*PROJECTIONS, "kv_append", "attention.in"):
        parts = [each for each in on.records if each.name.startswith(f"layers.0.{name}.")]
        assert len(parts) == 16


# A share of the FFN.


def test_a_share_of_the_ffn_moves_to_attacc() -> None:
    off, on = run(batch=1), run(batch=1, coprocess="ffn")
    shared = [each for each in on.records if each.name == "layers.0.up_proj.pim"]
    kept = [each for each in on.records if each.name == "layers.0.up_proj"]
    assert len(shared) == len(kept) == 1
    assert shared[0].macs_useful + kept[0].macs_useful == HIDDEN * FFN
    assert shared[0].macs_useful > kept[0].macs_useful
    assert on.latency_ps < off.latency_ps
    moved = sum(each.macs_useful for each in on.records if each.name.endswith("_proj.pim"))
    saved = sum(each.bytes_read for each in off.records) - sum(
        each.bytes_read for each in on.records
    )
    assert saved == pytest.approx(2 * moved, rel=0.001)


def test_co_processing_stays_off_where_it_gains_nothing() -> None:
    """Vectors take longer over the link than the GPU takes for all of a product."""
    slow = replace(device(), {"pim.own.latency": 100 * 10**6})
    step = decode_step(model(), context=CONTEXT, batch=1)
    off, on = (
        simulate(slow, step, policies=Policies(sub_batch="off", coprocess=each))
        for each in ("off", "ffn")
    )
    assert on.records == off.records


def test_the_share_ends_with_the_room_beside_keys_and_values() -> None:
    step = decode_step(model(), context=CONTEXT, batch=BATCH)
    cached, ffn = BATCH * CONTEXT * TOKEN_BYTES, LAYERS * 2 * HIDDEN * FFN * 2
    assert share_apart(step, device("dgx_a100a")) == 0
    assert share_apart(step, device(own=cached)) == 0
    assert share_apart(step, device(own=cached + ffn // 4)) == pytest.approx(0.25)
    assert share_apart(step, device()) == 1
    full = simulate(device(own=cached), step, policies=Policies(sub_batch="off", coprocess="ffn"))
    assert full.latency_ps == run().latency_ps


def test_levels_are_faster_the_nearer_to_the_banks() -> None:
    names = ("attacc_buffer", "attacc_bank_group", "attacc")
    busy = [next(u.busy_ps for u in run(name).units if u.name == "pim") for name in names]
    assert busy == sorted(busy, reverse=True)
    assert np.all(np.diff(busy) < 0)
    for name in names:
        assert isinstance(device(name).pim, AttAccStacks)
