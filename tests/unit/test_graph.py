"""Is a graph ordered, looked up and hashed as it should be?"""

from simulator import formats
from simulator.workload import Gemm, Graph, Op, OpKind, Role, Segment, Tensor, Workload, gemm

FP16 = formats.get("fp16")


def diamond(prefix: str = "", reverse: bool = False, width: int = 4) -> Graph:
    """X goes through two activations, `a` and `b`, which are added."""
    names = {name: prefix + name for name in ("x", "a", "b", "y")}
    tensors = tuple(Tensor(name, 2, width, FP16) for name in names.values())
    ops = (
        Op(prefix + "left", OpKind.ACTIVATION, (names["x"],), (names["a"],)),
        Op(prefix + "right", OpKind.ACTIVATION, (names["x"],), (names["b"],)),
        Op(prefix + "sum", OpKind.ADD, (names["a"], names["b"]), (names["y"],)),
    )
    return Graph(tensors, ops[::-1] if reverse else ops, (names["x"],), (names["y"],))


def linear(weight: str) -> Graph:
    """One linear layer with a weight format."""
    tensors = (
        Tensor("x", 2, 64, FP16),
        Tensor("w", 8, 64, formats.get(weight), Role.WEIGHT),
        Tensor("y", 2, 8, FP16),
    )
    return Graph(
        tensors, (Op("fc", OpKind.LINEAR, ("x", "w"), ("y",), Gemm(1, 2, 8, 64)),), ("x",), ("y",)
    )


def test_order_is_topological_and_breaks_ties_by_insertion() -> None:
    """Producers come first; among equals the one inserted first."""
    assert [op.name for op in diamond().order()] == ["left", "right", "sum"]
    assert [op.name for op in diamond(reverse=True).order()] == ["right", "left", "sum"]


def test_producers_and_consumers() -> None:
    """The graph answers who makes and who reads a tensor."""
    graph = diamond()
    assert graph.producer("x") is None
    assert graph.producer("a") is graph.op("left")
    assert [op.name for op in graph.consumers("x")] == ["left", "right"]
    assert graph.consumers("y") == ()
    assert graph.tensor("x").elements == 8


def test_key_does_not_depend_on_names_but_on_content() -> None:
    """A renamed graph is the same work; another shape or format is not."""
    assert diamond().key == diamond("layer.7.").key
    assert diamond().key != diamond(width=5).key
    assert linear("int4-g32").key != linear("int4-g64").key
    assert len(diamond().key) == 32


def test_equal_graphs_are_equal_and_hash_alike() -> None:
    """Graphs are values."""
    assert diamond() == diamond()
    assert hash(diamond()) == hash(diamond())
    assert diamond() != diamond("other.")


def test_bytes_of_an_op_count_each_tensor_once_and_by_role() -> None:
    """X is 256 bytes; 8 x 64 int4 values are 256 bytes and 16 scales of 2."""
    graph = linear("int4-g32")
    op = graph.op("fc")
    assert graph.bytes_read(op) == 256 + 256 + 32
    assert graph.bytes_read(op, Role.WEIGHT) == 288
    assert graph.bytes_written(op) == 32
    assert graph.bytes_written(op, Role.KV) == 0
    square = Op("square", OpKind.ADD, ("x", "x"), ("y",))
    pair = (Tensor("x", 1, 4, FP16), Tensor("y", 1, 4, FP16))
    graph = Graph(pair, (square,), ("x",), ("y",))
    assert graph.bytes_read(square) == 8


def test_ternary_bytes_round_up_to_whole_bits_then_bytes() -> None:
    """Five ternary values in a byte: seven take 12 bits."""
    tensor = Tensor("w", 1, 7, formats.get("ternary"), Role.WEIGHT)
    assert tensor.bits == 12
    assert tensor.bytes == 2


def test_workload_key_and_order_of_ops() -> None:
    """The key sees the repeats; `ops` runs over the segments in order."""
    single = gemm(2, 3, 4)
    segment = single.segments[0]
    assert single.key == gemm(2, 3, 4).key
    assert single.key != gemm(2, 3, 5).key
    twice = Workload(
        name="twice",
        model="gemm",
        phase="gemm",
        segments=(segment, Segment("again", segment.graph, repeat=3, first_index=1)),
        batch=1,
        tokens=2,
        formats={},
        weight_bytes=0,
        kv_bytes=0,
        resolved={},
    )
    assert twice.key != single.key
    assert [(part.name, op.name) for part, op in twice.ops()] == [
        ("gemm", "gemm"),
        ("again", "gemm"),
    ]
    assert twice.macs_useful == 4 * 2 * 3 * 4
