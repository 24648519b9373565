"""Do stages and sub-batches hold every operation once, in NeuPIMs' order, with the right needs?"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import op_plan, tiny_model, variant

from simulator import config
from simulator.cost import load_profile
from simulator.engine.run import Engine
from simulator.hardware.equations import Pipeline
from simulator.mapping import overlap
from simulator.mapping.overlap import (
    AFTER,
    BEFORE,
    WITHIN,
    Piece,
    blocks,
    ends_of,
    in_stages,
    interleaved,
    layer_of,
    stages_of_one,
    stages_of_two,
)
from simulator.mapping.plan import OpPlan, Plan, SegmentPlan
from simulator.mapping.planner import plan
from simulator.mapping.policies import Policies
from simulator.workload import decode_step
from simulator.workload.sub_batches import requests_of, sub_batches

STEP = Pipeline(1, 1, 1, 0, 1, 0, 1, 0, 0, 0, 1)


def op(name: str, kind: str = "linear", **needs: tuple[int, ...]) -> OpPlan:
    """Return an operation of one step with what it needs."""
    made = op_plan(STEP, name=name, after=needs.get("after", ()))
    others = {"stored_by": needs.get("stored_by", ()), "paced_by": needs.get("paced_by", ())}
    return replace(made, kind=kind, **others)


#: A layer: attention in two operations, one part by part after the other.
LAYER = (
    op("norm", "norm"),
    op("qkv", after=(0,)),
    op("scores", "attention", after=(0, 1), stored_by=(1,)),
    op("outputs", "attention", after=(1,), paced_by=(2,)),
    op("proj", after=(0, 3)),
    op("ffn", after=(4,), stored_by=(3,)),
)


def layered(layers: int, start: int = 0) -> Plan:
    """Return a plan of alike layers between an embedding and a head."""
    return Plan(
        (
            SegmentPlan("embedding", (op("embedding"),), 1, -1),
            SegmentPlan("layer", LAYER, layers, start),
            SegmentPlan("head", (op("head"),), 1, -1),
        ),
        1,
    )


def names(stage: SegmentPlan) -> list[str]:
    """Return the operations of a stage with their layers."""
    return [f"{each.name}@{each.layer}" for each in stage.ops]


def test_the_parts_of_a_layer() -> None:
    assert ends_of(layer_of(layered(1))) == (0, 2, 4, 6)


def test_stages_of_a_batch_that_is_not_split() -> None:
    made = in_stages(layered(2))
    assert [s.name for s in made.segments] == ["embedding", *"ABEABE", "head"]
    assert [names(s) for s in made.segments[1:4]] == [
        ["norm@0", "qkv@0"],
        ["scores@0", "outputs@0"],
        ["proj@0", "ffn@0"],
    ]
    assert {each.layer for s in made.segments[4:7] for each in s.ops} == {1}
    assert blocks(made) == made.segments[1:-1]
    assert list(stages_of_one(1))[1] == ("B", (Piece(0, 0, WITHIN),))


def test_what_a_stage_before_made_is_there() -> None:
    """Units wait for each other at the end of a stage, so needs across it are dropped."""
    _, before, within, after, _ = in_stages(layered(1)).segments
    assert [each.after for each in before.ops] == [(), (0,)]
    assert [(each.after, each.stored_by, each.paced_by) for each in within.ops] == [
        ((), (), ()),
        ((), (), (0,)),
    ]
    assert [(each.after, each.stored_by) for each in after.ops] == [((), ()), ((0,), ())]


#: Algorithm 3: what the NPU and what the memory does in each stage, sub-batch and layer.
ALGORITHM_3 = {
    1: [
        ("A", ["before 1@0"], None),
        ("B", ["before 2@0"], "attention 1@0"),
        ("E", ["after 1@0"], "attention 2@0"),
        ("F", ["after 2@0"], None),
    ],
    2: [
        ("A", ["before 1@0"], None),
        ("B", ["before 2@0"], "attention 1@0"),
        ("C", ["after 1@0", "before 1@1"], "attention 2@0"),
        ("D", ["after 2@0", "before 2@1"], "attention 1@1"),
        ("E", ["after 1@1"], "attention 2@1"),
        ("F", ["after 2@1"], None),
    ],
    3: [
        ("A", ["before 1@0"], None),
        ("B", ["before 2@0"], "attention 1@0"),
        ("C", ["after 1@0", "before 1@1"], "attention 2@0"),
        ("D", ["after 2@0", "before 2@1"], "attention 1@1"),
        ("C", ["after 1@1", "before 1@2"], "attention 2@1"),
        ("D", ["after 2@1", "before 2@2"], "attention 1@2"),
        ("E", ["after 1@2"], "attention 2@2"),
        ("F", ["after 2@2"], None),
    ],
}


def word(piece: Piece) -> str:
    """Return a piece as it stands in the table."""
    part = {BEFORE: "before", WITHIN: "attention", AFTER: "after"}[piece.part]
    return f"{part} {piece.batch + 1}@{piece.layer}"


@pytest.mark.parametrize("layers", ALGORITHM_3)
def test_algorithm_3(layers: int) -> None:
    found = list(stages_of_two(layers))
    expected = ALGORITHM_3[layers]
    assert [stage.name for stage in found] == [name for name, _, _ in expected]
    for stage, (_, npu, memory) in zip(found, expected, strict=True):
        assert [word(p) for p in stage.pieces if p.part != WITHIN] == npu
        assert [word(p) for p in stage.pieces if p.part == WITHIN] == [memory] * (
            memory is not None
        )
    assert len({piece for stage in found for piece in stage.pieces}) == 6 * layers


def test_needs_within_a_stage_are_by_new_places() -> None:
    """Stage C: what comes after attention of 1, then the next layer of 1, and attention of 2."""
    made = interleaved([layered(2)] * 2, staged=True)
    assert [s.name for s in made.segments] == [
        *["embedding"] * 2, *"ABCDEF", *["head"] * 2,
    ]  # fmt: skip
    stage = made.segments[4]
    assert names(stage) == [
        "proj#1@0", "ffn#1@0", "norm#1@1", "qkv#1@1", "scores#2@0", "outputs#2@0",
    ]  # fmt: skip
    assert [(each.after, each.stored_by, each.paced_by) for each in stage.ops] == [
        ((), (), ()),
        ((0,), (), ()),
        # The norm of a layer needs what the layer before made, and loads it where that was stored.
        ((1,), (1,), ()),
        ((2,), (), ()),
        ((), (), ()),
        ((), (), (4,)),
    ]


def owner(each: OpPlan) -> tuple[str, str, int]:
    """Return name, sub-batch and layer of an operation of a sub-batch."""
    name, batch = each.name.split("#")
    return name, batch, each.layer


def needs(ops: tuple[OpPlan, ...], index: int) -> Iterator[int]:
    """Yield the places of all that an operation needs."""
    yield from (*ops[index].after, *ops[index].stored_by, *ops[index].paced_by)


@settings(max_examples=20)
@given(st.integers(1, 4), st.booleans(), st.one_of(st.none(), st.integers(1, 3)))
def test_every_operation_stands_once_after_what_it_needs(
    layers: int, staged: bool, wanted: int | None
) -> None:
    made = interleaved([layered(layers)] * 2, staged=staged, layers=wanted)
    own, count = blocks(made), layers if wanted is None else wanted
    # A, B, C, D; then two times C and D; E and F with what is before them.
    assert len(own) == (2 * count + 2 if staged else (count + 1) // 2)
    stand = Counter(owner(each) for s in own for each in s.ops)
    assert set(stand.values()) == {1}
    assert set(stand) == {
        (each.name, batch, layer) for each in LAYER for batch in "12" for layer in range(count)
    }
    for s in own:
        assert (s.repeat, s.first_index) == (1, 0)
        for index, each in enumerate(s.ops):
            for needed in needs(s.ops, index):
                assert 0 <= needed < index
                _, batch, layer = owner(s.ops[needed])
                assert batch == owner(each)[1]
                assert layer in (each.layer, each.layer - 1)


def test_one_segment_keeps_all_needs() -> None:
    """Nothing is dropped where no stage ends: as many needs as in the layers, and those between."""
    made = interleaved([layered(2)] * 2, staged=False)
    (whole,) = blocks(made)
    assert whole.name == "layers"
    in_layer = sum(len([*needs(LAYER, index)]) for index in range(len(LAYER)))
    # Between layers each norm needs one operation, for its result and for what that stored.
    between = 2 * 2
    assert sum(len([*needs(whole.ops, i)]) for i in range(len(whole.ops))) == 4 * in_layer + between
    place = {owner(each): index for index, each in enumerate(whole.ops)}
    for batch in "12":
        norm = whole.ops[place["norm", batch, 1]]
        assert norm.after == (place["ffn", batch, 0],)


def test_segments_end_after_each_second_d() -> None:
    """Those in the middle do the same, layer by layer."""
    made = blocks(interleaved([layered(9)] * 2, staged=False))
    assert [len(each.ops) for each in made] == [18, 24, 24, 24, 18]
    assert made[1].key == made[2].key == made[3].key
    assert {each.layer for each in made[1].ops} == {1, 2, 3}
    assert {each.layer for each in made[2].ops} == {3, 4, 5}


@pytest.mark.parametrize("context", [[90, 80, 70, 60], [2000] * 8])
def test_where_segments_end_takes_no_time(
    context: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seven layers in four segments take what they take in one, within 0.1 %."""
    device = variant("neupims")
    work = decode_step(config.replace(tiny_model(4), {"layers": 7}), context=context)
    profile = load_profile(device.energy)
    halves = [plan(half, device, profile, policies=Policies()) for half in sub_batches(work)]
    durations = []
    for together, segments in ((overlap.TOGETHER, 4), (100, 1)):
        monkeypatch.setattr(overlap, "TOGETHER", together)
        made = interleaved(halves, staged=False)
        assert len(blocks(made)) == segments
        durations.append(Engine(device).tile_steps(made)[1])
    assert durations[0] == pytest.approx(durations[1], rel=1e-3)


def test_real_plans_are_split_with_nothing_lost() -> None:
    """Of a device whose memory multiplies: bytes and products of both halves, layer by layer."""
    device = variant("neupims")
    work = decode_step(tiny_model(4), context=[30, 20, 20, 10])
    policies = Policies()
    halves = [
        plan(half, device, load_profile(device.energy), policies=policies)
        for half in sub_batches(work)
    ]
    for staged in (False, True):
        made = interleaved(halves, staged=staged)
        for name in ("macs_useful", "load_bytes", "store_bytes", "main_bytes"):
            expected = sum(
                segment.repeat * sum(getattr(each, name) for each in segment.ops)
                for half in halves
                for segment in half.segments
            )
            found = sum(getattr(each, name) for s in made.segments for each in s.ops)
            assert found == expected > 0, name
        attended = [
            (each.layer, each.name) for s in blocks(made) for each in s.ops if each.unit == "pim"
        ]
        assert attended == [
            (0, "attention#1"), (0, "attention#2"), (1, "attention#1"), (1, "attention#2"),
        ]  # fmt: skip


def halves_of(
    context: list[int], channels: list[int] | None = None
) -> tuple[list[tuple[int, int | None]], list[tuple[int, int | None]]]:
    """Return the requests of both sub-batches, sorted."""
    work = decode_step(tiny_model(), context=context, channels=channels)
    one, other = (requests_of(half) for half in sub_batches(work))
    return sorted(one, key=str), sorted(other, key=str)


def test_requests_without_a_channel_are_split_by_length() -> None:
    """The longest goes to the first half, the next one to the second, and so on."""
    assert halves_of([50, 40, 30, 20]) == ([(30, None), (50, None)], [(20, None), (40, None)])
    assert halves_of([50, 40, 30]) == ([(30, None), (50, None)], [(40, None)])


def test_each_channel_is_split_in_the_middle() -> None:
    one, other = halves_of([9, 8, 7, 6, 5, 4], [2, 2, 2, 2, 5, 5])
    assert one == [(5, 5), (7, 2), (9, 2)]
    assert other == [(4, 5), (6, 2), (8, 2)]


def test_odd_channels_give_the_one_that_is_left_to_each_half_in_turn() -> None:
    """Algorithm 3: the ceiling, then the floor of a half."""
    one, other = halves_of([9] * 7, [0, 1, 2, 2, 2, 3, 3])
    assert Counter(channel for _, channel in one) == {0: 1, 2: 2, 3: 1}
    assert Counter(channel for _, channel in other) == {1: 1, 2: 1, 3: 1}


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 3)), min_size=2, max_size=12))
def test_halves_are_the_whole(requests: list[tuple[int, int]]) -> None:
    context, channels = map(list, zip(*requests, strict=True))
    one, other = halves_of(context, channels)
    assert sorted(one + other, key=str) == sorted(requests, key=str)
    assert abs(len(one) - len(other)) <= 1
    for channel in set(channels):
        counts = [sum(at == channel for _, at in half) for half in (one, other)]
        assert abs(counts[0] - counts[1]) <= 1
