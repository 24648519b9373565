"""When one operation is done, as `equations.flow_times` defines it, but sooner.

Where no stage behind main holds main up, the end of each step is the longest of a few paths through
the flow shop, whose steps are equal: a path goes through all stages once (`round_ps`), spends all
other steps in the slowest, and goes back from main to loads as often as their slots allow, or never
(its length is linear in how often). Where the vector unit takes turns between `ready` and `post`,
or the matrix unit between main and `second`, one short pass over the steps does, which passes over
those that go as the ones before. All else is left to `flow_times`.
"""

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from simulator.hardware.equations import (
    LOAD,
    MAIN,
    POST,
    SECOND,
    STORE,
    Pipeline,
    Times,
    flow_times,
    steps_behind,
)
from simulator.hardware.periods import Pace, Starts, loaded_after, move_on, periods_alike
from simulator.kernels import inlined

#: Steps of a period of `fused_flow`, whose stages wait for what is two steps before.
TWO = 2
#: Steps after which it looks whether they repeat, and outputs after which `shared_flow` does; then
#: at twice as many, and so on: where they never do, looking costs little.
LOOK_STEPS, LOOK_OUTPUTS = 16, 2


@register_jitable
def round_ps(p: Pipeline) -> int:
    """Return what a step takes from the start of its load to the end of main."""
    return p.load + p.latency + p.ready + p.main


@register_jitable
def after_load(p: Pipeline, start: int, ahead: int) -> int:
    """Return when main, `ahead` steps after a load that starts at `start`, is done for its sake."""
    pace, loops = max(p.load, p.ready, p.main), ahead // p.slots
    straight = round_ps(p) + ahead * pace
    return start + max(straight, (loops + 1) * round_ps(p) + (ahead - loops * p.slots) * pace)


@register_jitable
def after_main(p: Pipeline, start: int, ahead: int) -> int:
    """Return when main, `ahead` steps after one that starts at `start`, is done for its sake."""
    first = start + p.main
    done = first + ahead * p.main
    if p.ready > 0 and ahead >= 2:
        done = max(done, first + p.ready + p.main + (ahead - 2) * max(p.ready, p.main))
    if p.load > 0 and ahead >= p.slots:
        done = max(done, after_load(p, first, ahead - p.slots))
    return done


@register_jitable
def main_done(p: Pipeline, s: Starts, step: int) -> int:
    """Return when a main step is done that nothing behind main holds up; without `extra`."""
    done = after_main(p, s.main, step)
    if p.load == 0:
        return max(done, s.begin + p.ready + p.main + step * max(p.ready, p.main))
    done = max(done, after_load(p, s.begin, step))
    if step >= s.gated:
        done = max(done, after_load(p, s.gate, step - s.gated))
    return done


@register_jitable
def loads_done(p: Pipeline, s: Starts) -> int:
    """Return when the last load is there, if nothing behind main holds main up."""
    if p.load == 0:
        return s.begin
    done = max(s.begin + p.steps * p.load, s.gate + (p.steps - s.gated) * p.load)
    waiting = p.steps - p.slots
    if waiting > 0:
        done = max(done, main_done(p, s, waiting - 1) + p.load)
        done = max(done, s.main + p.main + waiting * p.load)
    return done


@register_jitable
def goes_on(p: Pipeline, s: Starts) -> bool:
    """Tell whether post and stores keep up with main and so never hold it up.

    Main waits for them two outputs later. Post may begin late only if it has caught up by then.
    """
    output = p.every * p.main
    if p.post > output or p.store > output:
        return False
    if p.post == 0 or p.steps <= 2 * p.every:
        return True
    return max(s.begin, s.vector) + p.post <= main_done(p, s, 2 * p.every - 1)


@register_jitable
def straight_flow(p: Pipeline, s: Starts) -> Times:
    """Return when an operation is done whose main steps nothing behind them holds up."""
    outputs, posting = p.steps // p.every, max(s.begin, s.vector)
    main = main_done(p, s, p.steps - 1) + p.extra
    result = max(main, posting + (outputs - 1) * p.post) + p.post if p.post > 0 else main
    stored = result
    if p.store > 0:
        stored = result + p.store
        if p.post > 0:
            stored = max(stored, posting + p.post + outputs * p.store)
    return Times(loads_done(p, s), main, result, result, stored)


@inlined
def load_from(
    p: Pipeline, s: Starts, turn: int, loaded: int, freeing: int, ends: NDArray[np.int64]
) -> int:
    """Return when the load of a step begins; freeing: the row of `ends` that frees slots."""
    if turn >= p.slots:
        loaded = max(loaded, ends[freeing, 2 + turn - p.slots])
    return max(loaded, s.gate) if turn == s.gated else loaded


@register_jitable
def repeats(
    p: Pipeline, s: Starts, at: Pace, output: int, ends: NDArray[np.int64]
) -> tuple[int, int, bool]:
    """Return how much later each two steps of `fused_flow` are, and how many more are so too.

    Also whether loads move along. A step takes from those before what is of the last two.
    """
    by = ends[MAIN, 2 + at.turn] - ends[MAIN, at.turn]
    for back in range(TWO):
        same = ends[MAIN, 2 + at.turn - back] - ends[MAIN, at.turn - back] == by
        for stage in (POST, SECOND, STORE):
            same = same and ends[stage, 2 + output - back] - ends[stage, output - back] == by
        if not same:
            return 0, 0, False
    periods, along = periods_alike(p, s, at, TWO, by, ends)
    return by, TWO * periods, along


@register_jitable
def shared_flow(  # noqa: C901 - all stages of a step read best in one place
    p: Pipeline, s: Starts, ends: NDArray[np.int64]
) -> Times:
    """Return when an operation is done whose `ready` and pieces of `post` share the vector unit.

    Of `ends`, the row of main is by step; those of post and store by output, each after two that
    never limit.
    """
    length, late = p.post // p.every, p.every - 1 + steps_behind(p)
    for stage in (MAIN, POST, STORE):
        ends[stage, 0] = ends[stage, 1] = s.begin
    loaded = vector = writing = result = s.begin
    matrix = s.main
    output = begun = piece = turn = since = 0
    bound, look = -1, LOOK_OUTPUTS
    while turn < p.steps + late:
        if turn < p.steps:
            there = s.begin
            if p.load > 0:
                loaded = load_from(p, s, turn, loaded, MAIN, ends) + p.load
                ends[LOAD, turn] = loaded
                there = loaded + p.latency
            free = max(vector, ends[MAIN, turn])
            if there > free:
                free, bound = there, turn
            there = vector = free + p.ready
            if turn == begun * p.every:
                there = max(there, ends[POST, begun])
                begun += 1
            matrix = max(there, matrix) + p.main
            if turn == p.steps - 1:
                matrix += p.extra
            ends[MAIN, 2 + turn] = matrix
        turn += 1
        if turn <= late:
            continue
        result = ends[MAIN, 1 + (output + 1) * p.every]
        vector = max(result, vector, s.vector, ends[STORE, output]) + length
        piece += 1
        if piece < p.every:
            continue
        vector += p.post - length * p.every
        writing = max(writing, vector) + p.store
        result = ends[POST, 2 + output] = vector
        ends[STORE, 2 + output] = writing
        output, piece = output + 1, 0
        if output < look or turn >= p.steps:
            continue
        look = 2 * output
        # The next output takes from those before: when the vector unit is free, which is the end of
        # the last post, the last two of main, and the last two stores, if there are any.
        by = ends[POST, 1 + output] - ends[POST, output]
        same = p.store == 0 or ends[STORE, output] - ends[STORE, output - 1] == by
        same = same and ends[STORE, 1 + output] - ends[STORE, output] == by
        same = same and ends[MAIN, 1 + turn] - ends[MAIN, 1 + turn - p.every] == by
        if same and ends[MAIN, turn] - ends[MAIN, turn - p.every] == by:
            at = Pace(turn - 1, MAIN, turn - 1, p.main, 2, bound, loaded, since)
            periods, along = periods_alike(p, s, at, p.every, by, ends)
            ahead, later = periods * p.every, periods * by
            move_on(ends, MAIN, 2 + turn, p.slots + p.every, p.every, by, ahead)
            move_on(ends, POST, 2 + output, 2, 1, by, periods)
            move_on(ends, STORE, 2 + output, 2, 1, by, periods)
            loaded = loaded_after(p, at, ahead, later, along, ends)
            turn, output, begun = turn + ahead, output + periods, begun + periods
            vector, writing, matrix = vector + later, writing + later, matrix + later
            if ahead > 0:
                since = turn
    return Times(loaded, matrix, result, result, writing)


@register_jitable
def fused_flow(  # noqa: C901 - all stages of a step read best in one place
    p: Pipeline, s: Starts, ends: NDArray[np.int64]
) -> Times:
    """Return when an operation is done whose matrix unit takes turns; each step is an output.

    `ends`: by step, after two that never limit.
    """
    behind, followed = steps_behind(p), POST if p.post > 0 else SECOND
    for stage in (MAIN, POST, SECOND, STORE):
        ends[stage, 0] = ends[stage, 1] = s.begin
    loaded = vector = writing = result = s.begin
    matrix = main = s.main
    bound, look, since, turn = -1, LOOK_STEPS, 0, 0
    while turn < p.steps + behind:
        if turn < p.steps:
            there = s.begin
            if p.load > 0:
                loaded = load_from(p, s, turn, loaded, SECOND, ends) + p.load
                ends[LOAD, turn] = loaded
                there = loaded + p.latency
            free = max(matrix, ends[followed, turn])
            if p.ready > 0:
                ready_from = max(vector, ends[MAIN, turn])
                if there > ready_from:
                    bound = turn
                there = vector = max(there, ready_from) + p.ready
            elif there > free:
                bound = turn
            matrix = max(there, free) + p.main
            if turn == p.steps - 1:
                matrix += p.extra
            main = ends[MAIN, 2 + turn] = matrix
        output = turn - behind
        turn += 1
        if output < 0:
            continue
        result = ends[MAIN, 2 + output]
        if p.post > 0:
            result = vector = max(result, vector, s.vector, ends[SECOND, output]) + p.post
        # When the vector unit is free: where post is nothing, for `repeats` alone.
        ends[POST, 2 + output] = vector if p.ready > 0 else result
        result = matrix = max(result, matrix, ends[STORE, output]) + p.second
        ends[SECOND, 2 + output] = result
        writing = ends[STORE, 2 + output] = max(writing, result) + p.store
        if look <= turn < p.steps:
            look = 2 * turn
            # Main goes behind second of two steps before; ready behind main of two steps before.
            reach = 4 if p.ready > 0 else 2
            at = Pace(turn - 1, SECOND, output, p.main + p.second, reach, bound, loaded, since)
            by, ahead, along = repeats(p, s, at, output, ends)
            later = by * (ahead // TWO)
            move_on(ends, MAIN, 2 + turn, TWO, TWO, by, ahead)
            move_on(ends, SECOND, 3 + output, p.slots + TWO, TWO, by, ahead)
            move_on(ends, POST, 3 + output, TWO, TWO, by, ahead)
            move_on(ends, STORE, 3 + output, TWO, TWO, by, ahead)
            loaded, turn = loaded_after(p, at, ahead, later, along, ends), turn + ahead
            vector, writing, matrix = vector + later, writing + later, matrix + later
            if ahead > 0:
                since = turn
    return Times(loaded, main, vector if p.post > 0 else main, result, writing)


@register_jitable
def flow(
    p: Pipeline,
    begin: int,
    gated: int,
    gate: int,
    main_from: int,
    vector_from: int,
    apart: int,
    ends: NDArray[np.int64],
) -> Times:
    """Return what `flow_times` returns, as fast as the pipeline allows."""
    s = Starts(begin, gated, gate, main_from, vector_from)
    # Loads and stores would take turns on the memory.
    alone = p.store == 0 or p.load == 0 or apart == 1
    if alone and p.second > 0 and p.every == 1:
        return fused_flow(p, s, ends)
    if alone and p.second == 0:
        if p.ready > 0 and p.post > 0:
            return shared_flow(p, s, ends)
        if goes_on(p, s):
            return straight_flow(p, s)
    return flow_times(p, begin, gated, gate, main_from, vector_from, apart, ends)
