"""Are tables of activations made once for all products that look up in them, and read as tables?"""

import pytest

from simulator.api import load_device, simulate
from simulator.config import replace, resolved
from simulator.design import element_names, formats_of, load_element
from simulator.errors import InputError
from simulator.hardware import Device
from simulator.mapping.lowering import lower
from simulator.mapping.tables import with_tables
from simulator.workload import Graph, OpKind, decode_step, gemm

from plans import tiny_model  # isort: skip


def array(part: str) -> Device:
    """Return an array of elements with FP16 ones beside."""
    matrix = {"kind": "adder_tree", "rows": 4, "columns": 8, "source": "test"}
    changes = {"matrix": {**matrix, "pe": part}, "beside": {**matrix, "pe": "fp16_fma"}}
    return replace(load_device("edge_fp16"), changes)


def layer(part: str, pair: str) -> Graph:
    """Return a decode layer in the formats in which a pair is compared."""
    weights, activations, kv = formats_of(load_element(part), pair)
    formats = {"weights": weights, "activations": activations, "kv": kv}
    return decode_step(tiny_model(), context=16, batch=2, **formats).segments[1].graph


def test_products_of_one_activation_share_its_tables() -> None:
    graph = with_tables(layer("lut_w2a8", "int2xint8"), array("lut_w2a8"))
    made = [op.name for op in graph.order() if op.kind is OpKind.TABLES]
    names = [f"{name}_quantised" for name in ("normed_attention", "attended", "normed_ffn")]
    assert made == [f"tables_{name}" for name in [*names, "active_quantised"]]
    assert {graph.op(f"{n}_proj").inputs[0] for n in "qkv"} == {f"{names[0]}@tables"}
    # Eight entries of 12 bits for four activations; a negation and three additions each.
    tables, activation = (graph.tensor(f"{names[0]}{end}") for end in ("@tables", ""))
    assert tables.bits - activation.bits == activation.elements * (8 * 12 // 4 - 8)
    assert graph.op(made[0]).vector_work == (("add", 8 * activation.elements),)
    # Attention is not looked up.
    assert graph.op("qk").inputs[0] == "q_rope_quantised"


@pytest.mark.parametrize("part", ["int8_mac", "figna", "mixpe_w4a16"])
def test_elements_whose_edge_makes_what_outputs_share_leave_the_graph(part: str) -> None:
    pair = next(iter(load_element(part).formats))
    graph = layer(part, pair)
    assert with_tables(graph, array(part)) is graph


def test_tables_are_made_by_who_makes_the_activation_or_apart() -> None:
    device = array("lut_w2a8")
    graph = with_tables(layer("lut_w2a8", "int2xint8"), device)
    fused = lower(graph, device, fused_attention=True)
    apart = lower(graph, device, fused_attention=True, fused_tables=False)
    assert not any(op.kind == OpKind.TABLES for op in fused)
    assert sum(op.kind == OpKind.TABLES for op in apart) == 4
    made = {name: op.kind for op in fused for name in op.outputs if name.endswith("@tables")}
    assert sorted(made.values()) == ["norm", "norm", "quantise", "quantise"]

    def additions(ops: tuple[object, ...]) -> int:
        return sum(dict(op.work).get("add", 0) for op in ops)  # type: ignore[attr-defined]

    assert additions(fused) == additions(apart)


def test_tables_of_an_operand_from_outside_are_made_from_it() -> None:
    device = array("lut_w2a8")
    given = gemm(16, 64, 256, weights="int2-g128", activations="int8-token").segments[0].graph
    graph = with_tables(given, device)
    tables, product = lower(graph, device, fused_attention=True)
    assert tables.inputs == (given.inputs[0],)
    assert product.inputs[0] == tables.outputs[0]
    # And their sum, which the products of 2 w + 1 are corrected by.
    assert dict(tables.work) == {"add": (8 + 1) * 16 * 256}
    assert dict(product.work)["add"] == 2 * 16 * 64 * 2


def test_tables_take_time_and_the_room_of_tables() -> None:
    device = array("lut_w2a8")
    product = gemm(64, 64, 4096, weights="int4-g128", activations="int8-token")
    result = simulate(device, product)
    result.check()
    by_kind = {record.kind: record for record in result.records}
    assert by_kind["tables"].latency_ps > 0
    as_integers = simulate(replace(device, {"matrix.pe.shared_at": "edge"}), product)
    # 24 bits an activation, not 8, are written and pass the array's edge once.
    sent = [each.on_chip_bytes["scratchpad"] for each in (result, as_integers)]
    assert sent[0] - sent[1] > 2 * 64 * 4096 * (24 - 8) // 8


def test_another_place_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        replace(array("lut_w2a8"), {"matrix.pe.shared_at": "memory"})
    assert "matrix.pe.shared_at" in str(caught.value)
    with pytest.raises(InputError) as caught:
        simulate(array("lut_w2a8"), gemm(4, 4, 4), tables="fuse")
    assert str(caught.value) == "unknown tables 'fuse'; did you mean 'fused'?"


def test_entries_are_packed_into_words_of_memory() -> None:
    """Full tables of 16 entries for four activations are wider than a word: entries are not."""
    graph = with_tables(layer("lut_conventional", "int2xint8"), array("lut_conventional"))
    form = graph.tensor("normed_attention_quantised@tables").format
    assert form.value_bits == 16 * 11 / 4
    # Two entries of 11 bits in a word of 32.
    assert form.payload_bits(3, 64) == 3 * 64 * 44
    assert form.payload_bits(3, 64, 32) == 3 * (64 * 4 // 2) * 32
    with pytest.raises(InputError) as caught:
        form.payload_bits(3, 64, 8)
    assert str(caught.value) == "a word of 8 bits does not hold one entry of int8-token tables"


@pytest.mark.parametrize("part", [name for name in element_names() if name.startswith("lut")])
def test_all_elements_with_tables_run_in_the_frame(part: str) -> None:
    pe = load_element(part)
    pair = next(iter(pe.formats))
    weights, activations, kv = formats_of(pe, pair)
    work = decode_step(tiny_model(), context=16, weights=weights, activations=activations, kv=kv)
    device = replace(array(part), {"matrix": resolved(array("fp16_fma").matrix) | {"pe": part}})
    assert device.dma.word_bits == 32
    for tables in ("fused", "apart"):
        simulate(device, work, "analytic", tables=tables).check()
