"""Does a stage of prompts and decodes hold both, and attend to both at once where it can?"""

from functools import cache
from typing import Any

import pytest

from simulator.api import load_device, load_model, simulate
from simulator.config import replace
from simulator.hardware.pim import GroupUnits
from simulator.mapping.pim_product import columns_of
from simulator.mapping.policies import Policies
from simulator.results import Result
from simulator.workload import Model, OpKind, Workload, decode_step, mixed_step, prefill

PROMPTS, CONTEXTS = [96, 640], [300, 300, 1000]
SYSTEMS = ("duplex_xpu", "duplex", "duplex_bank", "duplex_bank_group")


@cache
def model() -> Model:
    """Llama-3-70B with two layers."""
    return replace(load_model("llama-3-70b"), {"layers": 2})


def mixed(of: Model, **options: Any) -> Workload:
    """A stage of two prompts and three decodes."""
    return mixed_step(of, prompts=PROMPTS, contexts=CONTEXTS, **options)


def macs(workload: Workload, end: str = "", *, attention: bool) -> int:
    """Return the MACs of attention whose names end so, or of linear layers."""
    return sum(
        segment.repeat * op.macs_useful
        for segment, op in workload.ops()
        if segment.name != "head" and (op.attention is not None) == attention
        if op.name.endswith(end)
    )


@pytest.mark.parametrize("tensor_parallel", [1, 4])
def test_work_is_that_of_both(tensor_parallel: int) -> None:
    """Attention as of a prefill and a decode step, linear layers on the tokens of both."""
    cut = {"tensor_parallel": tensor_parallel}
    both = mixed(model(), **cut)
    first = prefill(model(), sequence=PROMPTS, **cut)
    other = decode_step(model(), context=CONTEXTS, **cut)
    assert macs(both, "_prefill", attention=True) == macs(first, attention=True)
    assert macs(both, "_decode", attention=True) == macs(other, attention=True)
    tokens = sum(PROMPTS) + len(CONTEXTS)
    assert macs(both, attention=False) * len(CONTEXTS) == macs(other, attention=False) * tokens
    assert both.weight_bytes == other.weight_bytes
    assert both.kv_bytes == first.kv_bytes + other.kv_bytes
    assert both.kv_bytes_written == first.kv_bytes_written + other.kv_bytes_written
    assert (both.phase, both.batch, both.tokens) == ("mixed", 5, 5)
    assert both.segments[-1].graph.tensor("logits").rows == 5
    assert both.name.startswith(
        f"llama-3-70b mixed batch=5 prompts=96..640 contexts=300..1000 tp={tensor_parallel} "
        if tensor_parallel > 1
        else "llama-3-70b mixed batch=5 prompts=96..640 contexts=300..1000 w=fp16 "
    )


def test_only_attention_and_appends_are_apart() -> None:
    names = [op.name for op in mixed(model()).segments[1].graph.order()]
    apart = [name.removesuffix("_decode") for name in names if name.endswith("_decode")]
    assert apart == ["kv_append", "qk", "softmax", "pv"]
    assert [name for name in names if name.endswith("_prefill")] == [
        f"{name}_prefill" for name in apart
    ]
    decode = decode_step(model(), context=8).segments[1].graph.order()
    views = ["split_k_rope", "split_v", "split_q_rope", "join_attended"]
    assert set(names) - {f"{name}_{end}" for name in apart for end in ("decode", "prefill")} == {
        op.name for op in decode if op.name not in apart
    } | set(views)


@pytest.mark.parametrize(("capacity", "kept"), [("50 MiB", True), ("1 MiB", False)])
def test_parts_of_rows_are_where_the_rows_are(capacity: str, kept: bool) -> None:
    """On chip or not, and no unit divides or joins them."""
    device = replace(load_device("duplex_xpu"), {"scratchpad.capacity": capacity})
    result = simulate(device, mixed(model(), tensor_parallel=4))
    result.check()
    assert not [r for r in result.records if r.kind in (OpKind.SPLIT, OpKind.JOIN)]
    spilled = {spill.tensor for spill in result.spills}
    for whole in ("q_rope", "attended"):
        assert {name for name in spilled if whole in name} == (
            set() if kept else {whole, f"{whole}_decode", f"{whole}_prefill"}
        )


def test_every_option_of_a_model_and_formats_that_are_quantised_can_be_mixed() -> None:
    changes = {
        "sliding_window": 256,
        "window_layers": "alternate",
        "post_norms": True,
        "attention_softcap": True,
    }
    step = mixed(
        replace(model(), changes),
        weights="int4-g128",
        activations="int8-token",
        kv="int8-token",
    )
    names = [op.name for op in step.segments[1].graph.order()]
    assert "local.qk_decode" in names
    assert "global.split_q_rope_quantised" in names


@cache
def run(name: str, *, staged: bool) -> Result:
    """A stage of one of four devices, two layers of it."""
    device = replace(load_device(name), {"staged": staged})
    work = mixed_step(model(), prompts=2048, contexts=[6144] * 31, tensor_parallel=4)
    placement = "intensity" if name == "duplex" else "fixed"
    result = simulate(device, work, policies=Policies(placement=placement, sub_batch="off"))
    result.check()
    return result


def intervals(result: Result, unit: str, name: str) -> list[tuple[int, int]]:
    """Return when a unit works for operations of the first layer that are called so."""
    busy = result.intervals
    return [
        (int(busy.start_ps[row]), int(busy.end_ps[row]))
        for row in range(len(busy))
        if result.units[int(busy.unit[row])].name == unit
        if name in result.records[int(busy.op[row])].name
        if result.records[int(busy.op[row])].layer == 0
    ]


@pytest.mark.parametrize("staged", [False, True])
@pytest.mark.parametrize("name", ["duplex"])
def test_prompts_attend_beside_decodes(name: str, staged: bool) -> None:
    result = run(name, staged=staged)
    units = {
        (r.unit, "prefill" in r.name)
        for r in result.records
        if r.kind == "attention" and not r.name.endswith(".softmax")
    }
    assert units == {("matrix", True), ("pim", False)}
    (prompt,) = intervals(result, "matrix", "attention_prefill")
    decodes = intervals(result, "pim", "attention_decode")
    first, last = min(start for start, _ in decodes), max(end for _, end in decodes)
    assert max(prompt[0], first) < min(prompt[1], last)
    (projection,) = intervals(result, "matrix", "o_proj")
    assert projection[0] >= max(prompt[1], last)


@pytest.mark.parametrize("name", ["duplex_xpu", "duplex"])
def test_what_crosses_the_memory_takes_its_time_there(name: str) -> None:
    """Sums over devices of a prompt's tokens, too, which do not stay on chip."""
    result = run(name, staged=False)
    busy = dict.fromkeys(range(len(result.records)), 0)
    for row in range(len(result.intervals)):
        if result.units[int(result.intervals.unit[row])].name == "dram":
            busy[int(result.intervals.op[row])] += int(result.intervals.busy_ps[row])
    moved = {place: record for place, record in enumerate(result.records) if record.bytes_moved}
    assert "all_reduce" in {record.kind for record in moved.values()}
    for place, record in moved.items():
        assert busy[place] * 3352e9 >= record.bytes_moved * 10**12


def test_on_the_xpu_they_attend_in_turn() -> None:
    result = run("duplex_xpu", staged=True)
    (decode,) = intervals(result, "matrix", "attention_decode")
    (prompt,) = intervals(result, "matrix", "attention_prefill")
    # The last tile of one still leaves as the first of the other comes.
    assert decode[1] - prompt[0] < 0.01 * min(decode[1] - decode[0], prompt[1] - prompt[0])
    assert result.latency_ps > run("duplex", staged=True).latency_ps


def test_intensity_decides_who_multiplies_weights() -> None:
    """Of FP16 a vector takes an operation a byte: Logic-PIM keeps up with 8, and 8 query heads."""
    one = replace(model(), {"layers": 1})
    units = {}
    for batch in (8, 9):
        work = decode_step(one, context=1024, batch=batch, tensor_parallel=4)
        result = simulate(
            load_device("duplex"), work, policies=Policies(placement="intensity", sub_batch="off")
        )
        result.check()
        units[batch] = {(r.kind, r.unit) for r in result.records if r.kind == "linear"}
        assert "pim" in {r.unit for r in result.records if r.kind == "attention"}
    assert units == {8: {("linear", "pim")}, 9: {("linear", "matrix")}}


@pytest.mark.parametrize(
    ("name", "tera_bytes_per_s", "tera_ops"),
    [("duplex", 4 * 3.33, 106.5), ("duplex_bank", 16 * 3.33, 53.25)],
)
def test_units_have_the_published_peaks(
    name: str, tera_bytes_per_s: float, tera_ops: float
) -> None:
    """21.3 TFLOPS a stack, 4 and 16 times the pins, 8 and 1 operations a byte (section VI)."""
    pim = load_device(name).pim
    assert isinstance(pim, GroupUnits)
    columns = columns_of(pim.part)
    per_s = pim.sets * columns.banks / (columns.cadence_ticks * columns.tick_ps)
    assert per_s * columns.column_bytes == pytest.approx(tera_bytes_per_s, rel=2e-3)
    elements = 64 if name == "duplex" else 8
    hz = pim.unit.clock.hz
    assert 2 * pim.sets * columns.banks * elements * hz / 1e12 == pytest.approx(tera_ops, rel=1e-3)
