"""Do plans of what the memory and the link do take the time of their parts and closed forms?"""

from math import ceil
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import bounded_ps, execute, op_plan, tiny_model, variant

from simulator.api import load_model
from simulator.config import replace
from simulator.cost import load_profile
from simulator.dram.pim import neupims
from simulator.formats import get
from simulator.hardware import Device
from simulator.hardware.equations import Pipeline
from simulator.hardware.pim import AttAccStacks, GroupUnits, NeuPimsBanks, RingLink
from simulator.mapping.in_memory import PARTS
from simulator.mapping.interference import KEYS, Slowed, interference
from simulator.mapping.pim_attention import in_channel
from simulator.mapping.plan import OpPlan, Plan
from simulator.mapping.planner import plan
from simulator.mapping.policies import Policies, min_load
from simulator.workload import Model, Workload, decode_step

FP16 = get("fp16")
RAGGED = [300, 20, 300, 64, 900, 1, 17]


def gpt(**changes: Any) -> Model:
    """Return a GPT-2 of two layers: hidden 1024, 8 heads of 128."""
    sizes = {"hidden": 1024, "heads": 8, "kv_heads": 8, "head_dim": 128, "ffn": 4096}
    return replace(
        load_model("gpt-3-175b"), {"name": "tiny", **sizes, "layers": 2, "vocab": 1000, **changes}
    )


def planned(device: Device, work: Workload, **policies: str) -> Plan:
    """Plan a workload with policies."""
    return plan(work, device, load_profile(device.energy), policies=Policies(**policies))


def layer(made: Plan) -> dict[str, OpPlan]:
    """Return the operations of a layer by name."""
    (segment,) = (each for each in made.segments if each.name == "layer")
    return {op.name: op for op in segment.ops}


@pytest.mark.parametrize("assignment", ["min_load", "round_robin"])
@pytest.mark.parametrize("name", ["neupims", "npu_pim_blocked"])
def test_attention_takes_what_neupims_controller_does(name: str, assignment: str) -> None:
    device, model = variant(name), gpt()
    assert isinstance(device.pim, NeuPimsBanks)
    part, size = device.pim.built, {"hidden": 1024, "heads": 8, "tp": 1}
    channels = [5, 5, 5, 6, 6, 0, 31]
    op = layer(planned(device, decode_step(model, context=RAGGED, channels=channels)))["attention"]
    given = sorted(zip(RAGGED, channels, strict=True), reverse=True)
    run = neupims.run_attention(part, device.pim.mode, given, **size)
    assert op.unit == "pim"
    assert op.main_ps == run.cycles * part.tick_ps
    assert op.macs_useful == run.operations == 2 * 1024 * sum(RAGGED)
    assert op.main_bytes == 2 * op.macs_useful
    assert dict(op.counts.own_fj)["pim"] == round(sum(run.energy_j.values()) * 1e15)
    most = max(run.pim_busy_cycles)
    busy_ps = sum(run.pim_busy_cycles) * part.tick_ps // 32
    assert dict(op.stalls_ps) == {
        "imbalance": most * part.tick_ps - busy_ps,
        "softmax": (run.cycles - most) * part.tick_ps,
    }
    chosen = layer(planned(device, decode_step(model, context=RAGGED), assignment=assignment))
    assert chosen["attention"].main_ps < op.main_ps


def test_modes_hand_on_commands_as_the_device_says() -> None:
    """One command a tick to all channels is what slows NeuPIMs' own NPU+PIM down."""
    work = decode_step(gpt(), context=[500] * 32)
    took = {}
    for sends in ("at_once", "one_a_tick"):
        device = variant("npu_pim_blocked", {"pim.sends": sends})
        took[sends] = layer(planned(device, work))["attention"].main_ps
    assert took["one_a_tick"] > 2 * took["at_once"]


@pytest.mark.parametrize("name", ["neupims", "npu_pim_blocked", "duplex_bank"])
def test_attention_waits_until_new_keys_and_values_are_stored(name: str) -> None:
    """It multiplies what is in the memory: on both rungs the last of them comes first."""
    ops = layer(planned(variant(name), decode_step(gpt(), context=[100, 30])))
    listed = list(ops.values())
    (appended,) = (i for i, op in enumerate(listed) if op.name == "kv_append")
    first = next(op for op in listed if op.unit == "pim")
    assert first.load_bytes == 0
    assert appended in first.stored_by


def test_what_loads_nothing_waits_for_stores_itself() -> None:
    stores = op_plan(Pipeline(2, 1, 1, 0, 0, 0, 3, 0, 0, 0, 10))
    multiplies = op_plan(Pipeline(4, 1, 1, 0, 0, 0, 5, 0, 0, 0, 0), unit="pim", stored_by=(0,))
    run = execute([stores, multiplies])
    stored, pim = 3 + 10 + 10, 4
    assert run.first[1, pim] == stored
    assert run.makespan_ps == stored + 4 * 5
    assert bounded_ps([stores, multiplies]) == run.makespan_ps
    assert execute([stores, op_plan(multiplies.pipeline, unit="pim")]).first[1, pim] == 0


def units_of(name: str) -> tuple[Device, GroupUnits]:
    """Return a device and its units in groups of banks."""
    device = variant(name)
    assert isinstance(device.pim, GroupUnits)
    return device, device.pim


@pytest.mark.parametrize("more", [-1, 0, 1])
@pytest.mark.parametrize(("name", "shared"), [("duplex_bank", 1), ("duplex", 4)])
def test_equal_heads_take_turns_on_the_channels(name: str, shared: int, more: int) -> None:
    """The fullest channel has ceil(heads / channels) of them, one after the other."""
    device, units = units_of(name)
    batch = units.channels + more
    work = decode_step(gpt(heads=2 * shared, kv_heads=2), context=256, batch=batch)
    ops = layer(planned(device, work))
    turns = ceil(2 * batch / units.channels)
    for op, outputs, inputs, layout in (
        ("attention.qk", 256, 128, units.keys),
        ("attention.pv", 128, 256, units.values),
    ):
        one = in_channel(units, outputs, inputs, FP16, FP16, shared, layout)
        assert ops[op].main_ps == turns * one.ps
        assert ops[op].pipeline.steps == PARTS
        assert dict(ops[op].stalls_ps)["imbalance"] == turns * one.ps - (
            2 * batch * one.ps // units.channels
        )
        assert ops[op].macs_useful == 2 * batch * shared * 256 * 128
    assert ops["attention.pv"].paced_by == (list(ops).index("attention.softmax"),)
    assert ops["attention.softmax"].paced_by == (list(ops).index("attention.qk"),)


@settings(max_examples=10)
@given(st.lists(st.integers(1, 1500), min_size=1, max_size=30))
def test_heads_of_any_length_are_dealt_out(context: list[int]) -> None:
    """Scores by the policy on the times of the heads, the longest first."""
    device, units = units_of("duplex_bank")
    work = decode_step(gpt(heads=5, kv_heads=5, hidden=640), context=context)
    op = layer(planned(device, work))["attention.qk"]
    each = [
        in_channel(units, keys, 128, FP16, FP16, 1, units.keys).ps
        for keys in sorted(context, reverse=True)
        for _ in range(5)
    ]
    total = [0] * units.channels
    for channel, ps in zip(min_load(each, total), each, strict=True):
        total[channel] += ps
    assert op.main_ps == max(total)


def group_of(device: str, changes: dict[str, Any] | None = None) -> Device:
    """Return a device with a slow ring of round numbers, or with changes."""
    ring = {
        "link.bandwidth": 1_000_000_000,
        "link.latency": 2_000_000,
        "link.pj_per_bit": 2.0,
    }
    return variant(device, ring if changes is None else changes)


@pytest.mark.parametrize("devices", [2, 4, 8])
def test_an_all_reduce_takes_the_closed_form_of_a_ring(devices: int) -> None:
    """2 (n - 1) / n of the bytes at the link's rate, and 2 (n - 1) steps of latency."""
    device, batch = group_of("neupims"), 32
    work = decode_step(gpt(), context=[40] * batch, tensor_parallel=devices)
    op = layer(planned(device, work))["all_reduce_ffn"]
    size, steps = batch * 1024 * 2, 2 * (devices - 1)
    sent = size * steps // devices
    assert op.unit == "link"
    assert op.main_bytes == sent
    assert op.main_ps == sent * 1000 + steps * 2_000_000
    assert dict(op.counts.own_fj)["link"] == sent * 8 * 2000
    # What comes in is added up by the vector unit, a share with each of the first n - 1 steps.
    assert dict(op.counts.vector_ops)["add"] == batch * 1024 * (devices - 1) // devices


def test_one_device_exchanges_nothing() -> None:
    ops = layer(planned(group_of("neupims"), decode_step(gpt(), context=[40] * 4)))
    assert not [op for op in ops.values() if op.unit == "link"]


def test_a_stage_of_a_pipeline_receives_once() -> None:
    work = decode_step(gpt(), context=[40] * 32, pipeline_parallel=2)
    made = planned(group_of("neupims"), work)
    (op,) = (op for s in made.segments for op in s.ops if op.unit == "link")
    assert op.main_bytes == 32 * 1024 * 2
    assert op.main_ps == op.main_bytes * 1000 + 2_000_000


def test_an_ideal_link_takes_no_time() -> None:
    ideal = {"link": {"kind": "ideal", "source": "none"}}
    work = decode_step(gpt(), context=[40] * 32, tensor_parallel=4)
    op = layer(planned(group_of("neupims", ideal), work))["all_reduce_ffn"]
    assert (op.main_ps, dict(op.counts.own_fj)) == (0, {"link": 0})
    assert op.main_bytes == 32 * 1024 * 2 * 6 // 4


def test_attacc_sends_queries_and_new_keys_and_brings_outputs_back() -> None:
    """Each crossing of its link: bytes at the rate, and the latency."""
    device = variant("attacc")
    assert isinstance(device.pim, AttAccStacks)
    own = device.pim.own
    ops = layer(planned(device, decode_step(gpt(), context=[100] * 6)))
    for name, size in (("kv_append", 2), ("attention.in", 1), ("attention.out", 1)):
        size *= 6 * 1024 * 2
        assert ops[name].unit == "link"
        assert ops[name].main_bytes == size
        assert ops[name].main_ps == own.latency_ps + ceil(size * 10**12 / own.bandwidth_bytes_per_s)
    assert ops["attention"].unit == "pim"
    assert not ops["attention"].exclusive


def test_links_of_the_devices_are_rings_with_a_source() -> None:
    for name in ("neupims", "attacc"):
        link = variant(name).link
        assert isinstance(link, RingLink)
        assert "assumed" in link.source or "NVLink" in link.source


def test_what_excludes_transfers_or_has_its_own_memory_slows_nothing() -> None:
    for name in ("npu_pim_blocked", "attacc", "attacc_buffer", "ianus"):
        pim = variant(name).pim
        assert pim is not None
        assert interference(pim, FP16, FP16, 128) == Slowed(0, 0)


def test_what_runs_beside_transfers_costs_both_something() -> None:
    """Transfers that find rows open in banks, and what multiplies: both are slowed, by a share."""
    for name in ("neupims", "duplex"):
        pim = variant(name).pim
        assert pim is not None
        found = interference(pim, FP16, FP16, 128)
        assert found.transfers_ppm >= 0
        assert found.pim_ppm >= 0
        assert found.transfers_ppm + found.pim_ppm > 0, name


def test_requests_in_other_groups_wait_for_commands_alone() -> None:
    """Rows and data are apart; what multiplies takes one of four ticks of the column bus."""
    apart = variant("duplex").pim
    assert isinstance(apart, GroupUnits)
    anywhere = apart.model_copy(update={"policy": "concurrent"})
    found, shared = (interference(pim, FP16, FP16, 128) for pim in (apart, anywhere))
    assert found.pim_ppm == 0
    assert found.transfers_ppm == pytest.approx(1e6 / 3, rel=0.15)
    assert shared.transfers_ppm > 5 * found.transfers_ppm


def test_interference_is_measured_over_several_rows_and_refreshes() -> None:
    pim = variant("neupims").pim
    assert isinstance(pim, NeuPimsBanks)
    part, hidden = pim.built, pim.part.row_values
    run = neupims.run_attention(part, pim.mode, [(KEYS, 0)], hidden=hidden, heads=4, tp=1)
    assert run.commands["REFab"] >= part.levels["Rank"] * part.channels
    assert run.commands["G_ACT"] >= 4 * part.banks // part.levels["Bank"]


def test_a_plan_carries_the_interference_of_its_device() -> None:
    device = variant("neupims")
    assert device.pim is not None
    ops = layer(planned(device, decode_step(gpt(), context=[100, 30])))
    found = interference(device.pim, FP16, FP16, 128)
    assert ops["attention"].slowed_by_transfers_ppm == found.pim_ppm
    assert {op.slowed_by_pim_ppm for op in ops.values()} == {found.transfers_ppm}
    assert {op.slowed_by_transfers_ppm for op in ops.values() if op.unit != "pim"} == {0}
    away = layer(planned(device, decode_step(gpt(), context=[100, 30]), placement="npu"))
    assert {op.slowed_by_pim_ppm for op in away.values()} == {0}


@pytest.mark.parametrize(
    ("placement", "unit"), [("fixed", "pim"), ("npu", "matrix"), ("intensity", "matrix")]
)
def test_who_attends_is_the_policy_of_placement(placement: str, unit: str) -> None:
    """Four query heads a key-value head are more than units in banks keep up with."""
    work = decode_step(tiny_model(1), context=[300] * 4)
    ops = layer(planned(variant("duplex_bank"), work, placement=placement))
    name = "attention.qk" if unit == "pim" else "attention"
    assert ops[name].unit == unit


@pytest.mark.parametrize(("name", "values"), [("duplex", "fp16"), ("ianus", "bf16")])
def test_transfers_of_what_the_memory_multiplies_take_their_time(name: str, values: str) -> None:
    """Sums of a product are stored once, all of them, and not a part of them."""
    device, formats = variant(name), {"weights": values, "activations": values, "kv": values}
    made = planned(device, decode_step(gpt(), context=[64], **formats), placement="predicted")
    found = [op for segment in made.segments for op in segment.ops if op.unit == "pim"]
    assert any(op.store_bytes for op in found)
    for op in found:
        moved = op.load_bytes + op.store_bytes
        assert op.dram_ps * device.memory_bytes_per_s >= moved * 1e12 * (1 - 1e-9)
