"""Is the closed form of a program's time that of the engine? Of many rows, to a stated share."""

from typing import Any

import numpy as np
import pytest
from numba import njit

from simulator.config import replace
from simulator.dram.pim.grouped import GroupedPim, GroupedRun, load_grouped, run_program
from simulator.hardware.equations import PimTicks, pim_program_ticks
from simulator.mapping.pim_layout import Geometry, Layout, Placement, Shape, load_layout, placed
from simulator.mapping.pim_nest import HELD, Held
from simulator.mapping.pim_program import channel_counts, program
from simulator.mapping.pim_time import program_ticks, refresh_share, ticks_of

#: Share by which the closed form may be off without refresh, from so many rows on: groups that take
#: turns do not start evenly, and of an uneven last load or row only the mean is known.
BOUND, ROWS = 0.03, 8
#: With refresh, beside one refresh: when in a row it falls, and what waits for it, is not known.
REFRESHED = 0.05

PARTS = ["hbm3_banks", "duplex_logic", "duplex_bank", "duplex_bank_group", "newton_hbm2"]
MATRICES = [
    Shape(outputs=4096, inputs=4096),
    Shape(outputs=11008, inputs=2048, value_bits=4),
    Shape(outputs=2048, inputs=128, matrices=4),
    Shape(outputs=128, inputs=2048, matrices=4),
]
#: Groups take turns row by row.
IN_TURN = Layout(
    name="in_turn",
    summary="own",
    source="own",
    splits=(
        ["lane", "inputs"],
        ["burst", "inputs", 8],
        ["burst", "outputs"],
        ["bank", "outputs"],
        ["group", "outputs"],
        ["channel", "outputs"],
        ["row", "inputs"],
        ["row", "outputs"],
        ["row", "matrices"],
    ),
)


def layouts() -> list[Layout]:
    return [*map(load_layout, ("aim", "pim_gpt", "neupims_k", "neupims_v")), IN_TURN]


def both(
    part: GroupedPim, placement: Placement, held: Held, **given: Any
) -> tuple[float, int, GroupedRun]:
    """Return ticks in closed form, rows, and the run of the busiest channel, without refresh."""
    counts = channel_counts(placement, max(placement.channel_sizes()), held=held)
    made = max(program(placement, held=held), key=lambda each: len(each.entries))
    run = run_program(part, made.entries, refresh="none", **given)
    cadence = given.get("cadence_ticks", 0)
    ticks = ticks_of(part, placement.groups, cadence_ticks=cadence)
    return program_ticks(counts, ticks), counts.openings, run


@pytest.mark.parametrize("part", [load_grouped(name) for name in PARTS], ids=PARTS)
@pytest.mark.parametrize("shape", MATRICES, ids=Shape.words)
def test_time_of_programs(part: GroupedPim, shape: Shape) -> None:
    compared = 0
    for layout in layouts():
        placement = placed(layout, shape, Geometry.of(part))
        for held in HELD:
            expected, rows, run = both(part, placement, held)
            assert run.rows_opened == rows
            if rows >= ROWS:
                assert expected == pytest.approx(run.program_cycles, rel=BOUND), (layout.name, held)
                compared += 1
    assert compared >= 4


@pytest.mark.parametrize("part", [load_grouped(name) for name in PARTS], ids=PARTS)
def test_refreshes_take_their_share(part: GroupedPim) -> None:
    for layout in layouts():
        placement = placed(layout, MATRICES[0], Geometry.of(part))
        alone, _, _ = both(part, placement, "results")
        entries = max(program(placement), key=lambda each: len(each.entries)).entries
        run = run_program(part, entries)
        share = refresh_share(part)
        interval = part.memory.refresh.interval_ticks
        off = abs(alone / (1 - share) - run.program_cycles)
        assert off <= share * interval + REFRESHED * run.program_cycles, layout.name
        assert run.program_cycles > alone


@pytest.mark.parametrize("open_ahead", [0, 1, 3])
@pytest.mark.parametrize("openings", [1, 4])
@pytest.mark.parametrize("double_buffered", [False, True])
def test_time_of_programs_of_other_parts(
    open_ahead: int, openings: int, double_buffered: bool
) -> None:
    changes = {
        "at_once": {"PseudoChannel": 2, "Sid": 2, "BankGroup": 4, "Bank": 1},
        "open_ahead": open_ahead,
        "openings": openings,
        "double_buffered": double_buffered,
    }
    part = replace(load_grouped("hbm3_banks"), changes)
    for layout in layouts():
        placement = placed(layout, MATRICES[0], Geometry.of(part))
        expected, _, run = both(part, placement, "results")
        assert expected == pytest.approx(run.program_cycles, rel=BOUND), layout.name


@pytest.mark.parametrize("cadence", [1, 4, 9, 30])
def test_a_slow_unit_hides_what_is_beside_it(cadence: int) -> None:
    part = load_grouped("hbm3_banks")
    placement = placed(load_layout("aim"), MATRICES[0], Geometry.of(part))
    expected, _, run = both(part, placement, "results", cadence_ticks=cadence)
    assert expected == pytest.approx(run.program_cycles, rel=BOUND)


def test_a_row_in_closed_form_by_hand() -> None:
    """WRGB x 2, the row is open by then, 32 multiplies, a result: as the rows say."""
    part = load_grouped("hbm3_banks")
    geometry = Geometry.of(part)
    placement = placed(load_layout("aim"), Shape(outputs=1024, inputs=512), geometry)
    entries = program(placement)[0].entries
    assert entries.tolist() == [
        *([0, 0, 0, 16], [1, 0, 0, 16], [0, 0, 0, 16], [1, 0, 0, 16]),
        *([2, 0, 0, 2], [3, 0, 0, 0]),
    ]
    expected, _, run = both(part, placement, "results")
    # Writes every 4 ticks, 32 in all; the last 16 wait for the multiplies of the first half.
    assert run.program_cycles == round(expected)
    assert (np.diff(entries[:, 0]) != 0).all()


def test_the_equation_compiles_and_gives_the_same() -> None:
    """Every case: writes ahead or not, more loads than stops and rows, and fewer."""
    compiled = njit(lambda *given: pim_program_ticks(*given))
    generator = np.random.default_rng(7)
    for _ in range(200):
        multiplies, *totals = (int(each) for each in generator.integers(1, 60, 6))
        ticks = PimTicks(*(int(each) for each in generator.integers(0, 40, len(PimTicks._fields))))
        ticks = ticks._replace(ahead=max(1, ticks.ahead), writes_ahead=ticks.writes_ahead % 2)
        given = (multiplies * 64, *totals, ticks)
        assert compiled(*given) == pytest.approx(pim_program_ticks(*given), rel=1e-12)
