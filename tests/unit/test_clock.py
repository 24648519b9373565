"""Clock domains: edges never drift, and covering a time never falls short."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.clock import ClockDomain

HERTZ = st.integers(1, 10**10)


def test_edges_of_a_clock_without_a_whole_period() -> None:
    clock = ClockDomain(1_410_000_000)
    assert [clock.edge_ps(cycle) for cycle in range(4)] == [0, 710, 1419, 2128]
    assert clock.edge_ps(1_410_000_000) == 10**12


def test_one_gigahertz_has_an_edge_every_nanosecond() -> None:
    clock = ClockDomain(10**9)
    assert clock.edge_ps(7) == 7000
    assert [clock.cycles_at(ps) for ps in (0, 1, 1000, 1001)] == [0, 1, 1, 2]


@given(HERTZ, st.integers(0, 10**15))
def test_the_cycles_that_cover_a_time_are_the_fewest(hz: int, ps: int) -> None:
    cycles = ClockDomain(hz).cycles_at(ps)
    assert cycles * 10**12 >= ps * hz
    assert cycles == 0 or (cycles - 1) * 10**12 < ps * hz


@given(HERTZ, st.integers(0, 10**12))
def test_an_edge_is_the_first_picosecond_not_before_it(hz: int, cycle: int) -> None:
    edge = ClockDomain(hz).edge_ps(cycle)
    assert edge * hz >= cycle * 10**12
    assert (edge - 1) * hz < cycle * 10**12


def test_numpy_integers_do_not_overflow() -> None:
    cycle = np.int64(2**40)
    edge = ClockDomain(10**9).edge_ps(cycle)  # type: ignore[arg-type]
    assert edge == 2**40 * 1000
    assert type(edge) is int


@pytest.mark.parametrize(
    ("hz", "error", "message"),
    [
        (1.41e9, TypeError, "a clock needs an integer number of Hz, got 1410000000.0"),
        (True, TypeError, "a clock needs an integer number of Hz, got True"),
        (0, ValueError, "a clock needs at least 1 Hz, got 0"),
        (-5, ValueError, "a clock needs at least 1 Hz, got -5"),
    ],
)
def test_impossible_frequencies_are_refused(hz: int, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as refusal:
        ClockDomain(hz)
    assert str(refusal.value) == message


def test_times_that_are_not_counts_are_refused() -> None:
    clock = ClockDomain(10**9)
    with pytest.raises(TypeError, match=r"^cycle must be an integer, got 1\.0$"):
        clock.edge_ps(1.0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^ps must be an integer, got 0\.5$"):
        clock.cycles_at(0.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^cycle must be >= 0, got -1$"):
        clock.edge_ps(-1)
