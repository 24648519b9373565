"""Head-level pipelining: attention of some heads beside the projections of others.

AttAcc (ASPLOS 2024, doi 10.1145/3620665.3640422) projects queries, keys and values head by head;
those of a head go to the memory while the next are projected, and the output projection takes up
the heads as they come back. Here every operation from the first projection to the output's is cut
into as many parts as there are key-value heads, `MOST_PARTS` at the most, which follow each other
part by part; what each unit does has the order

    part 1, part 2, ..., results of part 1 go back after part 2 went there, ..., outputs of all

A part is an equal share of an operation as it was planned for all heads: tiles stay as full, and
units in the memory as busy, as they are for all heads together. The output projection sums over
heads, so that its partial sums are taken to stay in the accumulators.
"""

from collections.abc import Iterable
from dataclasses import replace

from simulator.mapping.parts import part_of
from simulator.mapping.plan import OpPlan, Plan, SegmentPlan

#: More parts add to the tasks of a run, and little to what runs beside each other.
MOST_PARTS = 16


def in_heads(plan: Plan, heads: int) -> Plan:
    """Return a plan whose attention in the memory runs beside projections; heads: key-value ones.

    Segments without attention in the memory stay as they are.
    """
    parts = min(heads, MOST_PARTS)
    return replace(plan, segments=tuple(_pipelined(each, parts) for each in plan.segments))


def _pipelined(segment: SegmentPlan, parts: int) -> SegmentPlan:
    ops = segment.ops
    attended = [i for i, op in enumerate(ops) if op.kind == "attention" and op.unit == "pim"]
    products = [i for i, op in enumerate(ops) if op.kind == "linear"]
    before = [i for i in products if attended and i < attended[0]]
    after = [i for i in products if attended and i > attended[-1]]
    if not (before and after):
        return segment
    first, last = before[0], after[0]
    turns = {index: attended[-1] < index for index in range(first, last)}
    cut = [(part + back, back, i, part) for i, back in turns.items() for part in range(parts)]
    order = [(i, part) for *_, i, part in sorted(cut)]
    order += [(last, part) for part in range(parts)]
    places = {each: first + place for place, each in enumerate(order)}
    shift = len(order) - (last + 1 - first)

    def placed(needed: Iterable[int], part: int) -> tuple[int, ...]:
        return tuple(
            each if each < first else each + shift if each > last else places[each, part]
            for each in needed
        )

    def at_home(op: OpPlan, part: int) -> OpPlan:
        after, stored_by = placed(op.after, part), placed(op.stored_by, part)
        return replace(op, after=after, stored_by=stored_by, paced_by=placed(op.paced_by, part))

    made = (
        *ops[:first],
        *(at_home(_numbered(ops[i], part, parts), part) for i, part in order),
        *(at_home(op, parts - 1) for op in ops[last + 1 :]),
    )
    return replace(segment, ops=made)


def _numbered(op: OpPlan, part: int, parts: int) -> OpPlan:
    return replace(part_of(op, part, part + 1, parts), name=f"{op.name}.{part + 1}")
