"""Are the three stacks of the experiment what Duplex describes, and normalised as it does?"""

import csv
from collections import Counter

import pytest
from experiments_loaded import EXPERIMENTS, loaded

from simulator.formats import get

stacks, run = loaded("duplex", ("stacks", "run"))
FP16 = get("fp16")
STACKS = (stacks.BANK, stacks.GROUP, stacks.LOGIC)


@pytest.mark.parametrize(
    ("stack", "units", "elements", "bound_from"),
    [(stacks.BANK, 1024, 8, 2), (stacks.GROUP, 256, 64, 16), (stacks.LOGIC, 256, 64, 16)],
)
def test_multipliers_become_the_bound_above_the_operations_a_byte(
    stack: str, units: int, elements: int, bound_from: int
) -> None:
    columns, of = stacks.columns_of(stacks.memory(stack)), stacks.unit(stack, stacks.ALL)
    fits = {n: stacks.fit(of, columns, FP16, FP16, n) for n in stacks.OP_B}
    assert stacks.units(stack) == units
    assert {each.tiles.elements for each in fits.values()} == {elements}
    assert [n for n in stacks.OP_B if fits[n].bound_by == "unit"] == [
        n for n in stacks.OP_B if n >= bound_from
    ]
    # As many times the memory's own cadence as operations a byte are over those of the units.
    assert fits[32].cadence_ticks == columns.cadence_ticks * 2 * 32 // bound_from


def test_edap_is_over_the_worst_of_three() -> None:
    points = {stack: stacks.point(1, stack, stacks.ALL) for stack in STACKS}
    edaps = run.normalised(1, stacks.ALL, gates=False)
    assert max(edaps.values()) == 1.0
    first, second = (points[stack] for stack in STACKS[:2])
    energies = [p.rows_uj + p.columns_uj + p.moves_uj + p.macs_uj for p in (first, second)]
    assert edaps[STACKS[0]] / edaps[STACKS[1]] == pytest.approx(
        energies[0] / energies[1] * first.delay_us / second.delay_us
        * first.area_mm2 / second.area_mm2
    )  # fmt: skip


def test_energies_are_those_of_the_ladder() -> None:
    bits = 16 * stacks.OUTPUTS * stacks.INPUTS
    for stack, pj_per_bit in zip(STACKS, (0.187, 0.686, 0.464), strict=True):
        point = stacks.point(1, stack, stacks.ALL)
        assert point.columns_uj == pytest.approx(bits / 256 * pj_per_bit / 1e3, rel=2e-3)
        assert point.macs_uj == pytest.approx(bits / 16 * 0.46e-6)


def test_units_in_dram_take_ten_times_the_area_of_logic_in_1z() -> None:
    factor = stacks.load_pim_unit("fp16_in_bank").area_factor
    for stack in STACKS[:2]:
        assert stacks.unit(stack, 8).area_factor.nominal == factor.low == 3.2
        dies = stacks.stack_mm2(stack, 8) - stacks.units_mm2(stack, 8)
        assert dies == pytest.approx(9 * 121 + 1.64)
    assert stacks.stack_mm2(stacks.LOGIC, 8) == stacks.stack_mm2(stacks.LOGIC, 32) == 1106.8


def test_rows_that_need_experts_stand_without_ours() -> None:
    with (EXPERIMENTS / "duplex" / "expected.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    missing = [row for row in rows if not row["ours"]]
    assert Counter(row["why"] for row in missing) == {"not yet: needs MoE graphs": 14}
    assert len(rows) - len(missing) == 27
