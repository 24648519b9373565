"""Steps of a flow shop that go as those before: once a period repeats, whole ones are passed over.

All times of a flow shop with finite buffers are longest paths, so that its steps settle into
periods that differ by a constant (Baccelli et al., Synchronization and Linearity, 1992, chapter 3).
Whether they have is looked at, not assumed: a period repeats if all that the next one takes from it
was as much later than a period before, to the picosecond.
"""

from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from simulator.hardware.equations import LOAD, Pipeline


class Starts(NamedTuple):
    """When stages may start at the earliest, in ps; see `flow_times`."""

    begin: int
    gated: int
    gate: int
    main: int
    vector: int


class Pace(NamedTuple):
    """What is known of the steps of a flow shop so far, the last of them `turn`.

    freeing: the row of `ends` that frees slots of loads; its entries are at least `least` ps apart,
    its last step is `last`, and no step begins before the one `reach` steps earlier is there.
    bound: the last turn that waited for its load, -1 for none. loaded: when the load of `turn` was
    there; the row of loads, by turn, has those from turn `since` on.
    """

    turn: int
    freeing: int
    last: int
    least: int
    reach: int
    bound: int
    loaded: int
    since: int


@register_jitable
def periods_alike(
    p: Pipeline, s: Starts, at: Pace, period: int, by: int, ends: NDArray[np.int64]
) -> tuple[int, bool]:
    """Return how many periods of so many steps are bound to go as the last, each `by` later.

    Who asks has seen that everything but loads was `by` earlier a period before. Then the next
    period can differ by its loads alone, and does not if they limit nothing, or if they move along;
    also returned is whether they do that. The step
    of the gate and the last one, which are longer, are in none of them.
    """
    if at.turn - period < s.gated <= at.turn:
        return 0, False
    end = min(s.gated, p.steps - 1) if s.gated > at.turn else p.steps - 1
    periods = (end - 1 - at.turn) // period
    if p.load == 0 or no_matter(p, at, period, ends):
        return periods, False
    along = move_along(p, at, period, by, ends)
    return periods if along else 0, along


@register_jitable
def no_matter(p: Pipeline, at: Pace, period: int, ends: NDArray[np.int64]) -> bool:
    """Tell whether loads will limit no step, as they limited none of the last period.

    They are as quick as the steps; if the next one, and one that waits for a slot, comes `reach`
    steps before it could limit, all do.
    """
    there = p.load + p.latency
    return (
        at.bound <= at.turn - period
        and p.load <= at.least
        and there <= (p.slots - at.reach) * at.least
        and at.loaded + there <= ends[at.freeing, 3 + at.turn - at.reach]
    )


@register_jitable
def move_along(p: Pipeline, at: Pace, period: int, by: int, ends: NDArray[np.int64]) -> bool:
    """Tell whether loads are `by` later each period: they never wait, or slots are as much later.

    They never wait if the last slot of the next period is free before its first load: of slots one
    or two periods back all later ones are `by` later too.
    """
    before = at.turn - period
    if before < at.since or at.loaded - ends[LOAD, before] != by:
        return False
    if by == period * p.load and p.slots > period:
        slot = at.turn + period - min(p.slots, 2 * period)
        if ends[at.freeing, 2 + slot] <= at.loaded:
            return True
    first = at.turn + 1 - p.slots
    if first < period:
        return False
    for i in range(first, at.last + 1):
        if ends[at.freeing, 2 + i] - ends[at.freeing, 2 + i - period] != by:
            return False
    return True


@register_jitable
def move_on(
    ends: NDArray[np.int64], stage: int, end: int, kept: int, period: int, by: int, ahead: int
) -> None:
    """Write the last entries of a row, as many as are kept, `ahead` after its end.

    Each is `by` more than the one a period before.
    """
    first, last = max(end, end + ahead - kept), end + ahead
    for i in range(first, min(first + period, last)):
        periods = (i - end) // period + 1
        ends[stage, i] = ends[stage, i - periods * period] + periods * by
    for i in range(first + period, last):
        ends[stage, i] = ends[stage, i - period] + by


@register_jitable
def loaded_after(
    p: Pipeline, at: Pace, ahead: int, later: int, along: bool, ends: NDArray[np.int64]
) -> int:
    """Return when the load of the step `ahead` is there, of periods that are alike.

    `later`: how much later that step is. Loads that do not move along go on at their own pace as
    slots let them, which are in `ends` by then.
    """
    if along:
        return at.loaded + later
    loaded, turn = at.loaded + ahead * p.load, at.turn + ahead
    if turn >= p.slots and p.load > 0:
        loaded = max(loaded, ends[at.freeing, 2 + turn - p.slots] + p.load)
    return loaded
