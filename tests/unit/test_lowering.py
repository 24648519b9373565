"""Do a workload's operations become those of the device, with the work that their formats need?"""

from collections.abc import Mapping

import pytest
from plans import tiny_model, variant

from simulator import formats
from simulator.config import replace
from simulator.cost import added
from simulator.formats import Format
from simulator.hardware import Device
from simulator.mapping.lowering import (
    Lowered,
    VectorWork,
    choose_pair,
    fuse_attention,
    fuse_elementwise,
    gather,
    lower,
    operands,
)
from simulator.workload import (
    Gemm,
    Graph,
    Op,
    OpKind,
    Role,
    Tensor,
    decode_step,
    gemm,
    prefill,
)

FP16, INT8 = formats.get("fp16"), formats.get("int8")
LAYER = prefill(tiny_model(), sequence=8).segments[1].graph


def device(*pairs: str) -> Device:
    """Return an array whose element multiplies these pairs only."""
    return variant("generic_npu_128", {"matrix.pe.formats": dict.fromkeys(pairs, 1)})


def unfused(graph: Graph) -> list[Lowered]:
    """Return each operation of a graph by itself."""
    return [
        Lowered(op.name, op.kind.value, op.inputs, op.outputs, (op,), op.vector_work)
        for op in graph.order()
    ]


def product_of(weights: str, activations: str, on: Device, shape: Gemm | None = None) -> Lowered:
    """Return one lowered product (2 x 300 by 300 x 5) in these formats."""
    g = shape or Gemm(1, 2, 5, 300)
    work = gemm(g.m, g.n, g.k, weights=weights, activations=activations, count=g.count)
    [op] = lower(work.segments[0].graph, on, fused_attention=True)
    return op


def test_works_add_up_by_function_and_drop_zeros() -> None:
    assert added((("mul", 2), ("add", 1)), (), (("mul", 3), ("exp", 0))) == (("add", 1), ("mul", 5))


def test_scores_softmax_and_values_become_one_operation() -> None:
    fused = fuse_attention(LAYER, unfused(LAYER))
    names = [op.name for op in fused]
    assert "attention" in names
    assert not {"qk", "softmax", "pv"} & set(names)
    op = fused[names.index("attention")]
    assert [source.name for source in op.sources] == ["qk", "softmax", "pv"]
    assert op.inputs == ("q_rope", "k_cache", "v_cache")
    assert op.outputs == ("attended",)
    assert op.work == added(LAYER.op("softmax").vector_work)
    assert op.macs_useful == 2 * 4 * 64 * 36  # QK and PV: 4 heads of 64, 8 x 9 / 2 scores
    left = {name for each in fused for name in (*each.inputs, *each.outputs)}
    assert not {"scores", "probabilities"} & left


def test_attention_of_two_windows_in_one_graph_stays_apart() -> None:
    model = replace(tiny_model(window=4), {"window_layers": "alternate"})
    graph = prefill(model, sequence=8).segments[1].graph
    found = [op for op in fuse_attention(graph, unfused(graph)) if op.kind == "attention"]
    assert [op.name for op in found] == ["local.attention", "global.attention"]
    assert [op.attention.window for op in found if op.attention] == [4, None]


def test_without_fusion_each_product_of_attention_has_its_pair() -> None:
    ops = {op.name: op for op in lower(LAYER, device("fp16xfp16"), fused_attention=False)}
    assert ops["qk"].pair == ops["pv"].pair == "fp16xfp16"
    assert ops["softmax"].pair is None
    assert ops["softmax"].work == added(LAYER.op("softmax").vector_work)


def test_elementwise_operations_join_the_product_before_them() -> None:
    fused = {op.name: op for op in fuse_elementwise(LAYER, unfused(LAYER))}
    assert {"activation", "residual_attention", "residual_ffn"}.isdisjoint(fused)
    up = fused["up_proj"]
    assert up.inputs == ("normed_ffn", "up_proj.weight", "gate")
    assert up.outputs == ("active",)
    assert [op.name for op in up.sources] == ["up_proj", "activation"]
    assert up.work == added(LAYER.op("activation").vector_work)
    assert up.macs_useful == 8 * 256 * 512
    assert fused["o_proj"].inputs == ("attended", "o_proj.weight", "hidden")
    assert fused["o_proj"].outputs == ("hidden_middle",)
    assert fused["down_proj"].outputs == ("hidden_out",)


def small_graph(ops: Mapping[str, tuple[str, ...]], outputs: tuple[str, ...]) -> Graph:
    """Return 4 x 4 products p*, sums a* and norms n* over tensors of their own names."""
    tensors, made = [Tensor("x", 4, 4, INT8)], []
    for name, inputs in ops.items():
        tensors.append(Tensor(name, 4, 4, INT8))
        if name.startswith("p"):
            tensors.append(Tensor(f"w{name}", 4, 4, INT8, Role.WEIGHT))
            shape = Gemm(1, 4, 4, 4)
            made.append(Op(name, OpKind.LINEAR, (*inputs, f"w{name}"), (name,), shape))
        else:
            kind = OpKind.ADD if name.startswith("a") else OpKind.NORM
            made.append(Op(name, kind, inputs, (name,), vector_work=(("add", 16),)))
    return Graph(tuple(tensors), tuple(made), ("x",), outputs)


@pytest.mark.parametrize(
    ("ops", "outputs", "expected"),
    [
        ({"p": ("x",), "a": ("p", "x")}, "a", ["p: x wp x -> a"]),
        ({"p": ("x",), "a": ("p", "x"), "a2": ("a",)}, "a2", ["p: x wp x -> a2"]),
        ({"p": ("x",), "a": ("p", "p")}, "a", ["p: x wp -> a"]),
        # Not where another operation reads the product, or it leaves the graph.
        (
            {"p": ("x",), "a": ("p",), "n": ("p", "a")},
            "n",
            ["p: x wp -> p", "a: p -> a", "n: p a -> n"],
        ),
        ({"p": ("x",), "a": ("p",)}, "p a", ["p: x wp -> p", "a: p -> a"]),
        # Not over another operation between them, nor to a norm or from one.
        (
            {"p": ("x",), "n": ("x",), "a": ("p", "n")},
            "a",
            ["p: x wp -> p", "n: x -> n", "a: p n -> a"],
        ),
        ({"p": ("x",), "n": ("p",)}, "n", ["p: x wp -> p", "n: p -> n"]),
        ({"n": ("x",), "a": ("n",)}, "a", ["n: x -> n", "a: n -> a"]),
        # Of two products, the last.
        (
            {"p": ("x",), "p2": ("x",), "a": ("p", "p2")},
            "a",
            ["p: x wp -> p", "p2: x wp2 p -> a"],
        ),
    ],
)
def test_what_joins_a_product(
    ops: dict[str, tuple[str, ...]], outputs: str, expected: list[str]
) -> None:
    graph = small_graph(ops, tuple(outputs.split()))
    fused = fuse_elementwise(graph, unfused(graph))
    found = [f"{op.name}: {' '.join(op.inputs)} -> {' '.join(op.outputs)}" for op in fused]
    assert found == expected
    assert sum(count for op in fused for _, count in op.work) == sum(
        op.vector_ops for op in graph.ops
    )


# A product of 2 x 300 by 300 x 5: 1,500 weights, 600 activations, 10 outputs, 3 groups of 128 along
# K (the last of 44). Converted weights count once each, with their zero points; a float takes the
# scales with them. Scales of activations multiply the outputs once more.
CONVERT: VectorWork = (("convert", 1500),)
FLOAT_SCALED: VectorWork = (("convert", 1500), ("mul", 1500))
CASES: list[tuple[str, str, str, VectorWork, VectorWork]] = [
    ("int8", "int8", "int8xint8", (), ()),
    ("int8-channel", "int8-token", "int8xint8", (), (("mul", 20),)),
    ("int8-tensor", "int8", "int8xint8", (), (("mul", 10),)),
    ("int8-g128", "int8", "int8xint8", (), (("add", 30), ("mul", 30))),
    ("int4", "int8", "int8xint8", CONVERT, ()),
    ("int4-channel", "int8", "int8xint8", CONVERT, (("mul", 10),)),
    ("int4-g128", "int8", "int8xint8", CONVERT, (("add", 30), ("mul", 30))),
    ("int4-g64", "int8", "int8xint8", CONVERT, (("add", 50), ("mul", 50))),
    (
        "int4-g128-asym", "int8", "int8xint8",
        (("add", 1500), ("convert", 1500)), (("add", 30), ("mul", 30)),
    ),
    # Not widened: the zero points are corrected by the sums of the activations.
    ("int8-g128-asym", "int8", "int8xint8", (), (("add", 30 + 600 + 30), ("mul", 30 + 30))),
    ("int8-channel-asym", "int8", "int8xint8", (), (("add", 600 + 10), ("mul", 10 + 10))),
    ("int8", "int8-g128", "int8xint8", (), (("add", 30), ("mul", 30))),
    # Sums of weights are known beforehand: they correct the zero points of activations.
    ("int8", "int8-token-asym", "int8xint8", (), (("add", 10), ("mul", 10 + 10))),
    ("fp16", "int8-token-asym", "fp16xfp16", (), (("add", 600), ("convert", 600), ("mul", 10))),
    ("ternary-tensor", "int8-token", "int8xint8", CONVERT, (("mul", 20),)),
    ("fp16", "fp16", "fp16xfp16", (), ()),
    ("int4", "fp16", "fp16xfp16", CONVERT, ()),
    ("int4-g128", "fp16", "fp16xfp16", FLOAT_SCALED, ()),
    ("int8-channel", "fp16", "fp16xfp16", FLOAT_SCALED, ()),
    (
        "int4-g128-asym", "fp16", "fp16xfp16",
        (("add", 1500), ("convert", 1500), ("mul", 1500)), (),
    ),
    ("ternary-tensor", "fp16", "fp16xfp16", FLOAT_SCALED, ()),
    ("mxfp4", "fp16", "fp16xfp16", FLOAT_SCALED, ()),
    ("nf4-g64", "fp16", "fp16xfp16", FLOAT_SCALED, ()),
    ("fp8_e4m3fn", "fp16", "fp16xfp16", CONVERT, ()),
    ("fp8_e4m3fn-channel", "fp16", "fp16xfp16", FLOAT_SCALED, ()),
    ("fp16", "int8", "fp16xfp16", (), (("convert", 600),)),
    ("mxfp4", "int8", "fp16xfp16", FLOAT_SCALED, (("convert", 600),)),
]  # fmt: skip


@pytest.mark.parametrize(("weights", "activations", "pair", "widen", "work"), CASES)
def test_widening_and_scaling_equal_hand_counts(
    weights: str, activations: str, pair: str, widen: VectorWork, work: VectorWork
) -> None:
    op = product_of(weights, activations, device("int8xint8", "fp16xfp16"))
    assert (op.pair, op.widen, op.work) == (pair, widen, work)


def test_a_pair_that_the_element_multiplies_is_not_widened() -> None:
    on = device("int4xint8", "fp8_e4m3fnxfp8_e4m3fn", "ternaryxint8", "int8xint8")
    groups: VectorWork = (("add", 30), ("mul", 30))
    for weights, activations, pair, work in (
        ("int4-g128", "int8", "int4xint8", groups),
        ("ternary-tensor", "int8", "ternaryxint8", (("mul", 10),)),
        ("fp8_e4m3fn", "fp8_e4m3fn", "fp8_e4m3fnxfp8_e4m3fn", ()),
        ("int4-g128", "int4-token", "int4xint8", added(groups, (("convert", 600), ("mul", 10)))),
    ):
        op = product_of(weights, activations, on)
        assert (op.pair, op.work) == (pair, work)
        assert bool(op.widen) == (not (pair or "").startswith(weights.split("-")[0]))


def test_widening_goes_to_the_narrowest_format_that_holds_both() -> None:
    every = device("fp32xfp32", "bf16xbf16", "fp16xfp16", "int8xint8")
    assert product_of("int4", "int4", every).pair == "int8xint8"
    assert product_of("int4", "bf16", every).pair == "bf16xbf16"
    assert product_of("mxfp4", "int8", every).pair == "bf16xbf16"  # the first of two as wide
    assert product_of("int4", "int4", device("fp32xfp32")).pair == "fp32xfp32"
    assert product_of("int3", "int8", device("int8xint8", "int4xint8")).pair == "int4xint8"


def test_an_unsigned_integer_needs_one_bit_more_in_a_signed_one() -> None:
    every = device("int8xint8", "uint8xuint8", "fp16xfp16")
    assert product_of("int8", "uint7", every).pair == "int8xint8"
    assert product_of("int8", "uint8", every).pair == "fp16xfp16"
    assert product_of("uint4", "uint8", every).pair == "uint8xuint8"
    assert product_of("uint4", "int8", every).pair == "int8xint8"


def test_independent_products_widen_and_scale_each() -> None:
    op = product_of("int4-g128", "int8", device("int8xint8"), Gemm(7, 2, 5, 300))
    assert op.widen == (("convert", 7 * 1500),)
    assert op.work == (("add", 7 * 30), ("mul", 7 * 30))


@pytest.mark.parametrize(
    ("kv", "widen", "scale"),
    [
        # 8 rows of keys and as many of values for each of 2 heads, 64 wide; 36 scores and 8 x 64
        # outputs in each of 4 query heads.
        ("fp16", (), ()),
        ("int8-token", (("convert", 2048), ("mul", 2048)), ()),
        ("int4-token-asym", (("add", 2048), ("convert", 2048), ("mul", 2048)), ()),
    ],
)
def test_keys_and_values_are_widened_as_weights_are(
    kv: str, widen: VectorWork, scale: VectorWork
) -> None:
    graph = prefill(tiny_model(), sequence=8, kv=kv).segments[1].graph
    ops = {op.name: op for op in lower(graph, device("fp16xfp16"), fused_attention=True)}
    assert ops["attention"].widen == widen
    assert ops["attention"].work == added(graph.op("softmax").vector_work, scale)


def test_integer_attention_scales_scores_and_outputs() -> None:
    args = {"weights": "int8-channel", "activations": "int8-token", "kv": "int8-token"}
    graph = prefill(tiny_model(), sequence=8, **args).segments[1].graph
    ops = {op.name: op for op in lower(graph, device("int8xint8"), fused_attention=True)}
    assert ops["attention"].widen == ()
    # Scores by the scales of queries and keys; probabilities by those of values; outputs by those
    # of probabilities.
    scaling = (("mul", 3 * 4 * 36 + 8 * 4 * 64),)
    assert ops["attention"].work == added(graph.op("softmax").vector_work, scaling)
    parts = {op.name: op for op in lower(graph, device("int8xint8"), fused_attention=False)}
    assert parts["qk"].work == (("mul", 2 * 4 * 36),)
    assert parts["pv"].work == (("mul", 4 * 36 + 8 * 4 * 64),)


def test_activations_are_summed_up_once_for_all_products_that_correct_zero_points() -> None:
    args = {"weights": "int8-g128-asym", "activations": "int8-token", "kv": "int8-token-asym"}
    graph = prefill(tiny_model(), sequence=8, **args).segments[1].graph
    ops = {op.name: op for op in lower(graph, device("int8xint8"), fused_attention=True)}
    plain = prefill(tiny_model(), sequence=8, **{**args, "weights": "int8-g128"}).segments[1].graph
    before = {op.name: op for op in lower(plain, device("int8xint8"), fused_attention=True)}

    def more(name: str) -> int:
        return dict(ops[name].work).get("add", 0) - dict(before[name].work).get("add", 0)

    width, ffn = 256, graph.tensor("active").columns
    # The norm makes what queries, keys and values are products of.
    assert [more(name) for name in ("norm_attention", "quantise_attended")] == [8 * width] * 2
    assert [more(name) for name in ("norm_ffn", "quantise_active")] == [8 * width, 8 * ffn]
    # What is left to a product: a correction an output and group of 128.
    assert more("q_proj") == 8 * width * 2
    assert ops["attention"].work == before["attention"].work


def test_what_is_no_product_passes_unchanged() -> None:
    op = unfused(LAYER)[0]
    assert op.kind == OpKind.NORM
    assert choose_pair(LAYER, op, device("int8xint8")) is op
    assert op.gemm is None
    assert op.attention is None


def test_operands_are_activation_and_weight() -> None:
    by_name = {op.name: op for op in unfused(LAYER)}
    names = [tuple(t.name for t in operands(LAYER, by_name[name])) for name in ("q_proj", "pv")]
    assert names == [("normed_attention", "q_proj.weight"), ("probabilities", "v_cache")]


def lowered_layer(form: Format = FP16) -> tuple[Graph, tuple[Lowered, ...]]:
    """Return a decode layer, lowered, whose activations are in one format."""
    step = decode_step(tiny_model(), context=16, batch=8, activations=form, weights=form)
    graph = step.segments[1].graph
    return graph, lower(graph, device("fp16xfp16"), fused_attention=True)


def test_two_cores_gather_an_activation_once_before_the_products_that_read_it() -> None:
    graph, ops = lowered_layer()
    kept = frozenset({"normed_attention", "normed_ffn"})
    placed = gather(graph, ops, kept, 2)
    gathers = [(op, index) for op, index in placed if op.kind == "all_gather"]
    assert [op.name for op, _ in gathers] == ["gather_normed_attention", "gather_normed_ffn"]
    # 8 tokens of 256 fp16 values: each core lacks the other's half.
    assert [op.gathered_bytes for op, _ in gathers] == [8 * 256 * 2 // 2] * 2
    assert [op.outputs for op, _ in gathers] == [("normed_attention@all",), ("normed_ffn@all",)]
    readers = [op.name for op, _ in placed if op.inputs[0] == "normed_attention@all"]
    assert readers == ["q_proj", "k_proj", "v_proj"]
    names = [op.name for op, _ in placed]
    assert names.index("gather_normed_attention") + 1 == names.index("q_proj")
    # The gather stands at the place of the product that needs it; products keep theirs.
    assert gathers[0][1] == [op.name for op in ops].index("q_proj")
    left = [(op.name, index) for op, index in placed if op.kind != "all_gather"]
    assert left == [(op.name, index) for index, op in enumerate(ops)]


def test_what_comes_from_memory_is_not_gathered_and_more_cores_lack_more() -> None:
    graph, ops = lowered_layer()
    assert gather(graph, ops, frozenset(), 2) == tuple((op, i) for i, op in enumerate(ops))
    [found] = [op for op, _ in gather(graph, ops, frozenset({"attended"}), 8) if op.gathered_bytes]
    assert found.name == "gather_attended"
    assert found.gathered_bytes == 8 * 256 * 2 * 7 // 8
