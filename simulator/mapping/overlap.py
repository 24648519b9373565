"""What runs beside what: stages of a layer, and two sub-batches of which one is in the memory.

A layer of a decode step has three parts: before attention (queries, keys and values), attention,
after it (projection and FFN). Two sub-batches go through them so that attention of one stands
beside the other parts of the other (NeuPIMs, arXiv 2403.00579, algorithm 3):

    A  before 1
    B  before 2 | attention 1
    C  after 1, before 1 of the next layer | attention 2
    D  after 2, before 2 of the next layer | attention 1 of that; C and D again for each layer more
    E  after 1 | attention 2
    F  after 2

Staged, all units wait for each other at the end of a stage, as NeuPIMs' controller has it; else an
operation waits for what it needs and nothing more, in this order. After each second D a segment
ends all the same, so that what repeats is simulated once: both sub-batches need what D made, and of
loads those of the next operation run ahead, as between layers (within 0.1 % of one segment).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

from simulator.errors import InputError
from simulator.mapping.plan import OpPlan, Plan, SegmentPlan

LAYER, ATTENTION = "layer", "attention"
#: Parts of a layer.
BEFORE, WITHIN, AFTER = range(3)
#: Stages in a segment, where units do not wait for each other after each: two times C and D.
TOGETHER = 4


class Piece(NamedTuple):
    """A part of a layer of a sub-batch."""

    batch: int
    layer: int
    part: int


class Stage(NamedTuple):
    """Pieces that run beside each other, in order of precedence."""

    name: str
    pieces: tuple[Piece, ...]


def layer_of(plan: Plan) -> SegmentPlan:
    """Return the segment of a plan's layers; InputError where they are not all alike."""
    found = [segment for segment in plan.segments if segment.name == LAYER]
    if len(found) != 1:
        raise InputError("stages and sub-batches need layers that are all alike")
    return found[0]


def ends_of(layer: SegmentPlan) -> tuple[int, int, int, int]:
    """Return where the parts of a layer start, and its end; InputError without attention."""
    kinds = [op.kind for op in layer.ops]
    if ATTENTION not in kinds:
        raise InputError("stages and sub-batches need attention 'fused'")
    last = len(kinds) - kinds[::-1].index(ATTENTION)
    return 0, kinds.index(ATTENTION), last, len(kinds)


def stages_of_one(layers: int) -> Iterator[Stage]:
    """Yield the stages of a batch that is not split."""
    for layer in range(layers):
        for name, part in (("A", BEFORE), ("B", WITHIN), ("E", AFTER)):
            yield Stage(name, (Piece(0, layer, part),))


def stages_of_two(layers: int) -> Iterator[Stage]:
    """Yield the stages of two sub-batches."""
    yield Stage("A", (Piece(0, 0, BEFORE),))
    yield Stage("B", (Piece(1, 0, BEFORE), Piece(0, 0, WITHIN)))
    for layer in range(layers - 1):
        for name, batch, attended in (("C", 0, (1, layer)), ("D", 1, (0, layer + 1))):
            own = Piece(batch, layer, AFTER), Piece(batch, layer + 1, BEFORE)
            yield Stage(name, (*own, Piece(*attended, WITHIN)))
    last = layers - 1
    yield Stage("E", (Piece(0, last, AFTER), Piece(1, last, WITHIN)))
    yield Stage("F", (Piece(1, last, AFTER),))


def in_stages(plan: Plan) -> Plan:
    """Return a plan with its layers in stages."""
    layer = layer_of(plan)
    made = [segment_of(stage, [layer]) for stage in stages_of_one(layer.repeat)]
    return around([plan], made)


def interleaved(plans: Sequence[Plan], *, staged: bool, layers: int | None = None) -> Plan:
    """Return two sub-batches' plans as one; layers: as many as the plans have by default."""
    found = [layer_of(plan) for plan in plans]
    count = found[0].repeat if layers is None else layers
    stages = list(stages_of_two(count))
    if not staged:
        stages = list(together(stages))
    return around(plans, [segment_of(stage, found) for stage in stages])


def together(stages: Sequence[Stage]) -> Iterator[Stage]:
    """Yield stages without waits between them; E and F go with what is before them."""
    ends = [*range(TOGETHER, len(stages) - 2, TOGETHER), len(stages)]
    for start, end in pairwise([0, *ends]):
        yield Stage("layers", tuple(piece for stage in stages[start:end] for piece in stage.pieces))


def blocks(plan: Plan) -> tuple[SegmentPlan, ...]:
    """Return the segments of a plan that are of its layers."""
    return tuple(s for s in plan.segments if s.name not in ("embedding", "head", "receive"))


def around(plans: Sequence[Plan], made: Sequence[SegmentPlan]) -> Plan:
    """Return the segments of layers between what stands before and after them in all plans."""
    place = plans[0].segments.index(layer_of(plans[0]))
    before = [segment for plan in plans for segment in plan.segments[:place]]
    after = [segment for plan in plans for segment in plan.segments[place + 1 :]]
    return Plan((*before, *made, *after), max(plan.cores for plan in plans))


def segment_of(stage: Stage, layers: Sequence[SegmentPlan]) -> SegmentPlan:
    """Return a stage as a segment: what its operations need of each other, by their new places."""
    places: dict[tuple[int, int, int], int] = {}
    ops: list[OpPlan] = []
    for batch, layer, part in stage.pieces:
        listed, ends = layers[batch].ops, ends_of(layers[batch])
        for index in range(ends[part], ends[part + 1]):
            op = listed[index]
            after, stored_by, paced_by = (
                tuple(
                    places[batch, layer, each] for each in needed if (batch, layer, each) in places
                )
                for needed in (op.after, op.stored_by, op.paced_by)
            )
            # What enters a layer is made by the last operation of the one before.
            made = places.get((batch, layer - 1, len(listed) - 1))
            if index == 0 and made is not None:
                after = (*after, made)
                stored_by = (*stored_by, made) if op.load_bytes else stored_by
            places[batch, layer, index] = len(ops)
            ops.append(
                replace(
                    op,
                    name=f"{op.name}#{batch + 1}" if len(layers) > 1 else op.name,
                    layer=layer,
                    after=after,
                    stored_by=stored_by,
                    free_loads=0 if stored_by and index == 0 else op.free_loads,
                    paced_by=paced_by,
                )
            )
    return SegmentPlan(stage.name, tuple(ops), 1, 0)
