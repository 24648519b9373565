"""Are the stacks and systems of the experiment what Duplex describes, and normalised as it does?"""

import csv
from collections import Counter

import pytest
from experiments_loaded import EXPERIMENTS, loaded

from simulator.formats import get

stacks, systems, run = loaded("duplex", ("stacks", "systems", "run"))
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
    assert len(rows) - len(missing) == 46


@pytest.mark.parametrize(("count", "length"), [(32, 256), (64, 4096), (43, 1024), (31, 512)])
def test_contexts_are_spread_over_the_lives_of_requests(count: int, length: int) -> None:
    found = systems.contexts(count, length)
    assert len(found) == count
    assert len(set(found)) == systems.CONTEXTS
    assert length < min(found) < max(found) < 2 * length
    assert sum(found) / count == pytest.approx(1.5 * length, rel=0.01)


def test_each_request_has_a_stage_for_its_prompt() -> None:
    """Of 1,024 stages 32 have one, and each makes 32 tokens."""
    at = systems.Stages(32, 32 / 1024, decode_s=1.0, mixed_s=5.0, beside_s=0.5)
    assert at.tokens_per_s == pytest.approx(32 * 1024 / (992 * 1.0 + 32 * 5.0))
    assert at.decode_tokens_per_s == 32


def test_as_many_requests_as_fit_beside_the_weights() -> None:
    """80 GiB less a quarter of 66 G weights of two bytes, over 2 x 64 x 9216 / 4 values a token."""
    at = systems.At("opt-66b", 64, 1024)
    weights = 2 * 65.7e9 / 4
    each = 2 * 64 * 9216 // 4 * 2 * 2048
    assert systems.fits(at) == int((80 * 2**30 - weights) / each)


def test_both_attend_at_once_only_with_units_in_the_memory() -> None:
    model = systems.load_model("llama-3-70b")
    step = systems.mixed_step(
        systems.replace(model, {"layers": 1}),
        prompts=1024,
        contexts=systems.contexts(31, 1024),
        tensor_parallel=systems.DEVICES,
    )
    beside, alone = (
        systems.beside_s(systems.run(name, step, staged=True))
        for name in (systems.DUPLEX, systems.XPU)
    )
    assert beside > 1e-6
    assert alone < 0.02 * beside
