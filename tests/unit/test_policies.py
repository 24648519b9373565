"""Do policies deal out loads as they say, and place by what they are told?"""

from collections.abc import Sequence
from dataclasses import fields
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.dram.pim.neupims import assign_channels, estimate_ticks, load_neupims
from simulator.mapping.pim_attention import placed_requests
from simulator.mapping.policies import (
    _KNOWN,
    ASSIGNMENTS,
    PLACEMENTS,
    Estimate,
    Policies,
    min_load,
    round_robin,
)

PART = load_neupims()
MODEL = {"hidden": 1024, "heads": 8, "tp": 1}
LOADS = st.lists(st.integers(0, 40), min_size=1, max_size=7)
#: What policies of `Policies` mean elsewhere; the others are of this file.
NAMED = {"placement": PLACEMENTS, "assignment": ASSIGNMENTS}


def makespan(loads: Sequence[int], channels: Sequence[int], taken: Sequence[int]) -> int:
    """Return the load of the channel that has most."""
    total = list(taken)
    for channel, load in zip(channels, loads, strict=True):
        total[channel] += load
    return max(total)


def least(loads: Sequence[int], taken: Sequence[int]) -> int:
    """Return the least makespan, by trying all ways."""
    every = product(range(len(taken)), repeat=len(loads))
    return min(makespan(loads, channels, taken) for channels in every)


@given(LOADS, st.integers(1, 3))
@settings(max_examples=60)
def test_min_load_is_within_its_bound_of_the_optimum(loads: list[int], count: int) -> None:
    """Longest processing time first: Graham, 'Bounds on multiprocessing timing anomalies'."""
    nothing = [0] * count
    found, optimum = makespan(loads, min_load(loads, nothing), nothing), least(loads, nothing)
    assert optimum <= found
    assert 3 * count * found <= (4 * count - 1) * optimum


def test_the_bound_is_reached() -> None:
    """Graham's case of two channels: 7 by the policy, 6 at best."""
    loads = [3, 3, 2, 2, 2]
    assert min_load(loads, [0, 0]) == [0, 1, 0, 1, 0]
    assert makespan(loads, min_load(loads, [0, 0]), [0, 0]) == 7
    assert least(loads, [0, 0]) == 6


@given(LOADS, st.lists(st.integers(0, 40), min_size=1, max_size=4))
@settings(max_examples=100)
def test_min_load_gives_each_the_least_loaded_channel(loads: list[int], taken: list[int]) -> None:
    """Read the other way round: whoever came last to a channel found none with less."""
    channels, total = min_load(loads, taken), list(taken)
    for index in sorted(range(len(loads)), key=lambda index: (-loads[index], index)):
        least_loaded = min(range(len(total)), key=lambda channel: (total[channel], channel))
        assert channels[index] == least_loaded
        total[least_loaded] += loads[index]


@given(LOADS, st.integers(1, 4))
@settings(max_examples=60)
def test_round_robin_gives_all_channels_as_many(loads: list[int], count: int) -> None:
    channels = round_robin(loads, [0] * count)
    each = [channels.count(channel) for channel in range(count)]
    assert sum(each) == len(loads)
    assert max(each) - min(each) <= 1
    assert channels == round_robin(loads[::-1], [7] * count)


def test_round_robin_is_blind_and_no_sort() -> None:
    """Requests listed by length do not come in that order: channels see a mix of lengths."""
    loads = list(range(640, 0, -1))
    channels = round_robin(loads, [0] * 32)
    assert channels != [index % 32 for index in range(640)]
    assert makespan(loads, channels, [0] * 32) > makespan(
        loads, min_load(loads, [0] * 32), [0] * 32
    )


@given(
    st.lists(
        st.tuples(st.integers(1, 2000), st.one_of(st.none(), st.integers(0, 31))),
        min_size=1,
        max_size=50,
    )
)
@settings(max_examples=50)
def test_requests_are_placed_as_neupims_does(requests: list[tuple[int, int | None]]) -> None:
    """Algorithm 2 of the controller's replica, some channels given: the same, request by request.

    Plans hand requests over by length; equal loads of other lengths may change places.
    """
    listed = sorted(requests, key=lambda request: -request[0])
    loads = [estimate_ticks(PART, keys, **MODEL) for keys, _ in listed]
    placed = placed_requests(listed, loads, PART.channels, "min_load")
    assert placed == assign_channels(PART, listed, **MODEL)
    for (keys, channel), (kept, chosen) in zip(listed, placed, strict=True):
        assert kept == keys
        assert channel in (None, chosen)


def test_given_channels_are_kept_by_round_robin_too() -> None:
    listed = [(90, 3), (80, None), (70, 3), (60, None), (50, None)]
    placed = placed_requests(listed, [keys for keys, _ in listed], 4, "round_robin")
    assert [keys for keys, _ in placed] == [90, 80, 70, 60, 50]
    assert placed[0][1] == placed[2][1] == 3
    assert sorted(channel for keys, channel in placed if keys not in (90, 70)) == [0, 1, 2]


def never_asked() -> int:
    """Fail: a policy looked at what it should not."""
    raise AssertionError


@pytest.mark.parametrize(
    ("name", "intensity", "npu_ps", "pim_ps", "unit"),
    [
        ("fixed", 9.0, None, None, "pim"),
        ("npu", 0.1, None, None, "npu"),
        ("intensity", 2.0, None, None, "pim"),
        ("intensity", 2.1, None, None, "npu"),
        ("predicted", 9.0, 11, 10, "pim"),
        ("predicted", 0.1, 10, 10, "npu"),
        ("predicted", 0.1, 9, 10, "npu"),
    ],
)
def test_placements(
    name: str, intensity: float, npu_ps: int | None, pim_ps: int | None, unit: str
) -> None:
    def told(ps: int | None) -> int:
        return never_asked() if ps is None else ps

    estimate = Estimate(intensity, 2.0, lambda: told(npu_ps), lambda: told(pim_ps))
    assert PLACEMENTS[name](estimate) == unit


def test_every_policy_has_its_choices_and_takes_the_first_or_a_named_one() -> None:
    assert [field.name for field in fields(Policies)] == list(_KNOWN)
    for field in fields(Policies):
        assert field.default in _KNOWN[field.name]
        assert len(set(_KNOWN[field.name])) == len(_KNOWN[field.name]) > 1
        for choice in _KNOWN[field.name]:
            assert getattr(Policies(**{field.name: choice}), field.name) == choice
    for name, functions in NAMED.items():
        assert tuple(functions) == tuple(_KNOWN[name])
