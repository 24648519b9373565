"""Which activations stay on chip: from when to when, in which order, within which budget."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import tiny_model, variant

from simulator import formats
from simulator.config import replace
from simulator.cost import load_profile
from simulator.hardware import Device
from simulator.mapping.lowering import Lowered, lower
from simulator.mapping.planner import candidates, core_counts, plan_on, residency
from simulator.mapping.residency import ACTIVATION_SHARES, Life, lives, resident
from simulator.workload import (
    HIDDEN,
    HIDDEN_OUT,
    Gemm,
    Graph,
    Op,
    OpKind,
    Role,
    Tensor,
    Workload,
    decode_step,
    prefill,
)

INT8 = formats.get("int8")
DEVICE = variant("generic_npu_128")


def small_device(capacity: int, cores: int = 1) -> Device:
    """Return a device with so many bytes of scratchpad on each core."""
    return variant("generic_npu_128", {"scratchpad.capacity": capacity, "cores": cores})


def lowered(graph: Graph) -> tuple[Lowered, ...]:
    """Return the operations of a graph, fused."""
    return lower(graph, DEVICE, fused_attention=True)


def norms(
    sizes: dict[str, int], reads: dict[str, tuple[str, ...]], outputs: tuple[str, ...]
) -> tuple[Graph, tuple[Lowered, ...]]:
    """Return a graph of norms, one for each key of `reads`, named as what it makes."""
    tensors = tuple(Tensor(name, 1, size, INT8) for name, size in sizes.items())
    ops = tuple(Op(name, OpKind.NORM, inputs, (name,)) for name, inputs in reads.items())
    inputs = tuple(name for name in sizes if name not in reads)
    graph = Graph(tensors, ops, inputs, outputs)
    return graph, lowered(graph)


CHAIN = (
    {"x": 50, "a": 10, "b": 20, "c": 30, "y": 40},
    {"a": ("x",), "b": ("a",), "c": ("b", "a"), "y": ("c", "x")},
    ("y",),
)


def test_a_tensor_lives_from_its_maker_to_its_last_reader() -> None:
    graph, ops = norms(*CHAIN)
    assert lives(graph, ops, 1) == {
        "x": Life(0, 3, 50),
        "a": Life(0, 2, 10),
        "b": Life(1, 2, 20),
        "c": Life(2, 3, 30),
        "y": Life(3, 3, 40),
    }


def test_inputs_live_from_the_first_and_outputs_to_the_last_operation() -> None:
    graph, ops = norms(
        {"x": 1, "late": 2, "early": 3, "y": 4},
        {"early": ("x",), "y": ("x", "late")},
        ("early", "y"),
    )
    found = lives(graph, ops, 1)
    assert found["late"] == Life(0, 1, 2)
    assert found["early"] == Life(0, 1, 3)


def test_weights_keys_and_values_and_tables_have_no_life_on_chip() -> None:
    work = decode_step(tiny_model(), context=8)
    for segment in work.segments:
        graph = segment.graph
        found = lives(graph, lowered(graph), 1)
        roles = {graph.tensor(name).role for name in found}
        assert roles == {Role.ACTIVATION}
        assert not {"scores", "probabilities"} & set(found)


def test_what_a_product_reads_is_whole_on_each_core_the_rest_is_shared() -> None:
    graph = decode_step(tiny_model(), context=8).segments[1].graph
    ops = lowered(graph)
    size = 256 * 2
    held = {name: life.bytes for name, life in lives(graph, ops, 4).items()}
    assert held["normed_ffn"] == size
    assert held["attended"] == size
    assert held["hidden"] == size // 4
    assert lives(graph, ops, 3)["hidden"].bytes == 171
    # The gate is read by a product only as an addend.
    assert held["gate"] == 512 * 2 // 4


@pytest.mark.parametrize(
    ("budget", "kept", "live"),
    [
        (0, "", (0, 0, 0, 0)),
        (10, "a", (10, 10, 10, 0)),
        (30, "ab", (10, 30, 30, 0)),
        # c does not fit beside a and b; y, larger, comes after them and does.
        (59, "aby", (10, 30, 30, 40)),
        (60, "abc", (10, 30, 60, 30)),
        (70, "abcy", (10, 30, 60, 70)),
        (109, "abcy", (10, 30, 60, 70)),
        (120, "abcxy", (60, 80, 110, 120)),
    ],
)
def test_small_tensors_stay_first(budget: int, kept: str, live: tuple[int, ...]) -> None:
    graph, ops = norms(*CHAIN)
    found, used = resident(graph, ops, small_device(max(budget, 1)), share=1.0 if budget else 0.0)
    assert "".join(sorted(found)) == kept
    assert tuple(used) == live


def test_of_equal_tensors_the_one_made_first_stays() -> None:
    graph, ops = norms(
        {"x": 9, "a": 5, "b": 5, "y": 9}, {"a": ("x",), "b": ("x",), "y": ("a", "b")}, ("y",)
    )
    assert resident(graph, ops, small_device(9), share=1.0)[0] == {"a"}


def test_the_budget_is_a_share_of_the_scratchpad_and_the_named_stay_out() -> None:
    graph, ops = norms(*CHAIN)
    assert ACTIVATION_SHARES[0] == 0.85
    assert resident(graph, ops, small_device(40))[0] == frozenset("ab")  # 34 bytes
    assert resident(graph, ops, small_device(100), share=0.3)[0] == frozenset("ab")
    assert resident(graph, ops, small_device(100), frozenset("a"), 0.3)[0] == frozenset("b")


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Draw up to 12 operations over up to 14 tensors, some of them products."""
    count = draw(st.integers(1, 12))
    tensors = [Tensor("t0", 2, draw(st.integers(1, 500)), INT8)]
    ops = []
    for index in range(1, count + 1):
        places = st.integers(0, len(tensors) - 1)
        picked = draw(st.lists(places, min_size=1, max_size=3, unique=True))
        activations = [t for t in tensors if t.role is Role.ACTIVATION]
        inputs = list(dict.fromkeys(activations[place % len(activations)] for place in picked))
        out = Tensor(f"t{index}", 2, draw(st.integers(1, 500)), INT8)
        if draw(st.booleans()):
            a = inputs[0]
            weight = Tensor(f"w{index}", out.columns, a.columns, INT8, Role.WEIGHT)
            shape = Gemm(1, 2, out.columns, a.columns)
            tensors.append(weight)
            op = Op(f"p{index}", OpKind.LINEAR, (a.name, weight.name), (out.name,), shape)
        else:
            kind = draw(st.sampled_from((OpKind.NORM, OpKind.ADD)))
            op = Op(f"n{index}", kind, tuple(t.name for t in inputs), (out.name,))
        tensors.append(out)
        ops.append(op)
    made = {name for op in ops for name in op.outputs}
    read = {name for op in ops for name in op.inputs}
    outputs = tuple(sorted(made - read)) or (ops[-1].outputs[0],)
    return Graph(tuple(tensors), tuple(ops), ("t0",), outputs)


def bytes_alive(
    graph: Graph, ops: tuple[Lowered, ...], kept: frozenset[str], index: int, cores: int
) -> int:
    """Return the bytes that one core holds while operation `index` runs, from the graph itself."""
    total = 0
    for name in kept:
        made = [i for i, op in enumerate(ops) if name in op.outputs]
        read = [i for i, op in enumerate(ops) if name in op.inputs]
        start = made[0] if made else 0
        end = len(ops) - 1 if name in graph.outputs else max(read)
        whole = any(op.pair is not None and op.inputs[0] == name for op in ops)
        size = graph.tensor(name).bytes
        total += (size if whole else -(-size // cores)) if start <= index <= end else 0
    return total


@settings(max_examples=150)
@given(graphs(), st.integers(1, 5000), st.sampled_from((0.3, 0.85, 1.0)), st.sampled_from((1, 3)))
def test_random_graphs_never_exceed_the_budget(
    graph: Graph, capacity: int, share: float, cores: int
) -> None:
    device = small_device(capacity, cores)
    ops = lowered(graph)
    budget = int(capacity * share)
    kept, live = resident(graph, ops, device, share=share)
    alive = [bytes_alive(graph, ops, kept, index, cores) for index in range(len(ops))]
    assert list(live) == alive
    assert max(alive) <= budget
    for name, life in lives(graph, ops, cores).items():
        if name not in kept:  # what was left out does not fit beside what stayed
            assert max(alive[life.first : life.last + 1]) + life.bytes > budget


def stream_homes(work: Workload, capacity: int, cores: int) -> list[set[str]]:
    """Return which parts of the residual stream each segment keeps, of those it has."""
    segments = [(segment.graph, lowered(segment.graph)) for segment in work.segments]
    found = residency(segments, small_device(capacity, cores), ACTIVATION_SHARES[0])
    return [set(kept) & {HIDDEN, HIDDEN_OUT} for kept, _ in found]


@settings(max_examples=60)
@given(st.integers(1, 200_000), st.integers(1, 24), st.sampled_from((1, 2, 4)), st.booleans())
def test_the_residual_stream_is_on_chip_in_all_segments_or_in_none(
    capacity: int, tokens: int, cores: int, whole_prompt: bool
) -> None:
    if whole_prompt:
        work = prefill(tiny_model(), sequence=tokens, last_token_logits=False)
    else:
        work = decode_step(tiny_model(), context=4, batch=tokens)
    homes = stream_homes(work, capacity, cores)
    everywhere = [{HIDDEN_OUT}, {HIDDEN, HIDDEN_OUT}, {HIDDEN}]
    assert homes in (everywhere, [set()] * 3)


def test_both_homes_of_the_residual_stream_occur() -> None:
    work = prefill(tiny_model(), sequence=64)
    assert stream_homes(work, 10**6, 1) == [{HIDDEN_OUT}, {HIDDEN, HIDDEN_OUT}, {HIDDEN}]
    assert stream_homes(work, 70_000, 1) == [set()] * 3


def test_what_enters_and_leaves_a_workload_lives_in_memory() -> None:
    work = decode_step(tiny_model(), context=8)
    segments = [(segment.graph, lowered(segment.graph)) for segment in work.segments]
    kept, _ = residency(segments, DEVICE, ACTIVATION_SHARES[0])[-1]
    assert "logits" not in kept
    assert "normed_final" in kept


def test_a_plan_reports_what_it_spills_once_for_each_reader_and_writer() -> None:
    work = prefill(tiny_model(), sequence=64)
    segments = [(segment.graph, lowered(segment.graph)) for segment in work.segments]
    device = replace(DEVICE, {"scratchpad.capacity": 300_000})
    home = residency(segments, device, 0.2)
    plan = plan_on(work, segments, device, load_profile(device.energy), None, home)
    layer, kept = plan.segments[1], home[1][0]
    graph, ops = segments[1]
    expected = [
        (op.name, name, graph.tensor(name).bytes)
        for op in ops
        for name in (*op.inputs, *op.outputs)
        if graph.tensor(name).role is Role.ACTIVATION and name not in kept
    ]
    spilled = [(op.name, name, size) for op in layer.ops for name, size, _ in op.spills]
    assert spilled == expected
    assert len({name for _, name, _ in spilled}) >= 3
    whys = {(size > 300_000, why) for op in layer.ops for _, size, why in op.spills}
    assert whys <= {
        (True, "is larger than the scratchpad"),
        (False, "leaves room for what else lives then, or comes back faster from memory"),
    }
    assert whys


def test_candidates_are_each_number_of_cores_with_each_different_residency() -> None:
    work = prefill(tiny_model(), sequence=64)
    segments = [(segment.graph, lowered(segment.graph)) for segment in work.segments]
    device = variant("onnxim_4core", {"scratchpad.capacity": 150_000})
    found = list(candidates(segments, device, ACTIVATION_SHARES))
    assert sorted({used.cores for used, _ in found}) == core_counts(4) == [1, 2, 3, 4]
    for cores in (1, 2, 3, 4):
        homes = [tuple(kept for kept, _ in home) for used, home in found if used.cores == cores]
        assert len(homes) == len(set(homes)) >= 2
    [only] = candidates(segments, DEVICE, (0.0,))
    assert all(not kept and not np.any(live) for kept, live in only[1])


def test_many_cores_are_tried_in_halves_of_all_and_in_every_number_up_to_eight() -> None:
    assert core_counts(1) == [1]
    assert core_counts(8) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert core_counts(40) == [1, 2, 3, 4, 5, 6, 7, 8, 10, 20, 40]
