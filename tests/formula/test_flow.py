"""Do the closed forms of one operation's recurrence equal it, step by step, to the picosecond?"""

import numpy as np
from flow_calls import LONG, MOST_STEPS, draw_call

from simulator.hardware.equations import Times, flow_room, flow_times
from simulator.hardware.flow import Starts, flow, goes_on


def test_the_quick_forms_equal_the_recurrence() -> None:
    """Each form is asked often; the room is as the call before left it."""
    rng = np.random.default_rng(0)
    rooms = flow_room(MOST_STEPS), flow_room(MOST_STEPS)
    forms = dict.fromkeys(("straight", "shared", "held up", "in turns"), 0)
    for _ in range(4000):
        p, *starts, apart = draw_call(rng)
        found = flow(p, *starts, apart, rooms[0])
        assert found == flow_times(p, *starts, apart, rooms[1]), (p, starts, apart)
        if p.second or (p.store and p.load and not apart):
            form = "in turns"
        elif p.ready and p.post:
            form = "shared"
        else:
            form = "straight" if goes_on(p, Starts(*starts)) else "held up"
        forms[form] += 1
    assert min(forms.values()) > 200, forms


def test_long_operations_equal_the_recurrence() -> None:
    """Most of their steps repeat and are passed over."""
    rng = np.random.default_rng(3)
    most = LONG * LONG * MOST_STEPS
    rooms = flow_room(most), flow_room(most)
    for _ in range(100):
        p, *starts, apart = draw_call(rng, LONG)
        found = flow(p, *starts, apart, rooms[0])
        assert found == flow_times(p, *starts, apart, rooms[1]), (p, starts, apart)


def test_times_move_with_what_an_operation_is_asked() -> None:
    """The bound remembers flows so: all starts earlier by as much, loads before time 0 too."""
    rng = np.random.default_rng(1)
    room = flow_room(MOST_STEPS)
    for _ in range(1000):
        p, begin, gated, gate, main_from, vector_from, apart = draw_call(rng)
        by = int(rng.integers(-5000, 5000))
        found = flow_times(p, begin, gated, gate, main_from, vector_from, apart, room)
        moved = begin + by, gated, gate + by, main_from + by, vector_from + by
        again = flow_times(p, *moved, apart, room)
        assert again == Times(*(time + by for time in found))
