"""Do the devices of a cut model do, together, what one device alone does?"""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.workload import Model, OpKind, Workload, decode_step, prefill, vector


@st.composite
def cut_models(draw: st.DrawFn) -> tuple[Model, int]:
    """Any small model and a number of devices that divides heads, FFN and vocabulary."""
    devices = draw(st.integers(1, 8))
    kv_heads = draw(st.sampled_from([n for n in range(1, 9) if not (n % devices and devices % n)]))
    # Heads are a multiple of both.
    heads = max(kv_heads, devices) * draw(st.integers(1, 3))
    gpt = draw(st.booleans())
    model = Model(
        name="small",
        summary="any",
        family="test",
        hidden=draw(st.integers(1, 20)),
        layers=draw(st.integers(1, 9)),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=draw(st.integers(1, 6)),
        ffn=devices * draw(st.integers(1, 5)),
        vocab=devices * draw(st.integers(1, 9)),
        max_context=40,
        gated_ffn=not gpt,
        activation="gelu_tanh" if gpt else "silu",
        norm="layernorm" if gpt else "rmsnorm",
        position="learned" if gpt else "alibi",
        tie_embedding=draw(st.booleans()),
        qkv_bias=draw(st.booleans()),
        output_bias=draw(st.booleans()),
        ffn_bias=draw(st.booleans()),
        post_norms=draw(st.booleans()),
        sliding_window=draw(st.none() | st.integers(1, 20)),
        window_layers=draw(st.sampled_from(["all", "alternate"])),
        source="made up",
    )
    return model, devices


def steps(model: Model, lengths: list[int], devices: int = 1) -> tuple[Workload, Workload]:
    """A decode step and a prefill of the same lengths."""
    return (
        decode_step(model, context=lengths, tensor_parallel=devices),
        prefill(model, sequence=lengths, tensor_parallel=devices),
    )


def kv_projections(workload: Workload) -> int:
    """MACs of the key and value projections."""
    names = ("k_proj", "v_proj")
    return sum(
        segment.repeat * op.macs_useful
        for segment, op in workload.ops()
        if op.name.rpartition(".")[2] in names
    )


@given(cut_models(), st.lists(st.integers(1, 40), min_size=1, max_size=3))
@settings(max_examples=100, deadline=None)
def test_devices_together_do_the_products_of_one(
    case: tuple[Model, int], context: list[int]
) -> None:
    """All but the projections of key-value heads that several devices hold."""
    model, devices = case
    copies = max(devices // model.kv_heads, 1)
    cut = steps(model, context, devices)
    for part, whole in zip(cut, steps(model, context), strict=True):
        repeated = (copies - 1) * kv_projections(whole)
        assert devices * part.macs_useful == whole.macs_useful + repeated
        assert devices * kv_projections(part) == copies * kv_projections(whole)
        assert devices * part.kv_bytes == copies * whole.kv_bytes
        assert part.weight_bytes * devices >= whole.weight_bytes
        assert part.tokens == whole.tokens


@given(cut_models(), st.lists(st.integers(1, 40), min_size=1, max_size=3))
@settings(max_examples=50, deadline=None)
def test_what_devices_add_up_is_their_all_reduces(
    case: tuple[Model, int], context: list[int]
) -> None:
    """Two sums a layer and one of the embedding; none on one device or behind a stage's start."""
    model, devices = case
    tokens = len(context)
    sums = vector.all_reduce(tokens * model.hidden, devices)
    for stages in range(1, model.layers + 1):
        step = decode_step(
            model, context=context, tensor_parallel=devices, pipeline_parallel=stages
        )
        found = [(s.repeat, op) for s, op in step.ops() if op.kind is OpKind.ALL_REDUCE]
        count = 2 * -(-model.layers // stages) + (stages == 1)
        assert sum(repeat for repeat, _ in found) == (count if devices > 1 else 0)
        assert all(op.vector_work == sums for _, op in found)


@given(cut_models(), st.lists(st.integers(1, 40), min_size=1, max_size=3))
@settings(max_examples=50, deadline=None)
def test_stages_are_the_end_of_the_model(case: tuple[Model, int], context: list[int]) -> None:
    """More stages have fewer layers each, as many as the model at the most."""
    model, devices = case
    cut = [
        decode_step(model, context=context, tensor_parallel=devices, pipeline_parallel=stages)
        for stages in range(1, model.layers + 1)
    ]
    for more, fewer in pairwise(cut):
        assert fewer.macs_useful <= more.macs_useful
        assert fewer.kv_bytes <= more.kv_bytes
    for stages, step in enumerate(cut, 1):
        layers = sum(
            s.repeat * sum(op.kind is OpKind.QK for op in s.graph.ops) for s in step.segments
        )
        assert layers == -(-model.layers // stages)


def ring_additions(elements: int, devices: int) -> list[int]:
    """The additions of each device in a reduce-scatter around a ring, step by step."""
    bounds = [elements * place // devices for place in range(devices + 1)]
    chunks = [list(range(start, stop)) for start, stop in pairwise(bounds)]
    held = [[1] * elements for _ in range(devices)]
    added = [0] * devices
    for step in range(devices - 1):
        sent = [
            [(place, held[device][place]) for place in chunks[(device - step) % devices]]
            for device in range(devices)
        ]
        for device in range(devices):
            for place, value in sent[(device - 1) % devices]:
                held[device][place] += value
                added[device] += 1
    for device in range(devices):
        whole = chunks[(device + 1) % devices]
        assert all(held[device][place] == devices for place in whole)
    return added


@given(st.integers(0, 60), st.integers(2, 9))
@settings(max_examples=200, deadline=None)
def test_all_reduce_formula(elements: int, devices: int) -> None:
    """The busiest device of a ring that is walked; together (n - 1) E."""
    added = ring_additions(elements, devices)
    assert vector.all_reduce(elements, devices) == vector.work(add=max(added))
    assert sum(added) == (devices - 1) * elements
