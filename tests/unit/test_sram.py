"""Do SRAM tables give their points, what lies between them, and what they say they scale to?"""

import json
import os
from pathlib import Path

import pytest
from cacti_files import out_csv

from simulator.config import names
from simulator.cost import (
    SRAM_FOLDER,
    Bound,
    SramCost,
    SramTable,
    leave_one_out,
    load_sram,
    sram_cost,
)
from simulator.cost.cacti import load_cacti

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("NIBBLESIM_DATA", ROOT.parent / "shared" / "data"))
KIB = 1024
BOUNDS: tuple[Bound, ...] = ("low", "nominal", "high")
TABLES = names(SRAM_FOLDER)


@pytest.fixture(scope="module")
def edge() -> SramTable:
    """One capacity, eleven widths."""
    return load_sram("cacti7_28nm")


@pytest.fixture(scope="module")
def small() -> SramTable:
    """Five capacities, three widths."""
    return load_sram("cacti_22nm")


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("bound", BOUNDS)
def test_a_point_is_what_the_table_says_without_a_range(name: str, bound: Bound) -> None:
    table = load_sram(name)
    for point in table.points:
        where = (point.capacity_bytes, point.width_bits, table.technology_nm, table.ports)
        expected = (point.read_pj, point.write_pj, point.area_mm2)
        assert sram_cost(table, *where, bound=bound) == expected


def test_the_28_nm_points_are_those_of_the_run(edge: SramTable) -> None:
    file = DATA / "simulators" / "cacti7_28nm_sram.json"
    if not file.is_file():
        pytest.skip(f"no {file.name}: set NIBBLESIM_DATA (abdelfattah-lab/BitMoD-HPCA-25 @a902a09)")
    measured = json.loads(file.read_text(encoding="utf-8"))
    assert {str(point.width_bits) for point in edge.points} == set(measured)
    for point in edge.points:
        found = (point.read_pj, point.write_pj, point.area_mm2)
        assert found == pytest.approx(measured[str(point.width_bits)], rel=1e-12)


def test_between_two_widths_energy_and_area_are_on_the_line(edge: SramTable) -> None:
    # Halfway between 512 and 576 bits.
    found = sram_cost(edge, 512 * KIB, 544, 28.0)
    expected = ((92.7944 + 107.696) / 2, (83.3536 + 89.3432) / 2, (1.601896 + 1.43136) / 2)
    assert found == pytest.approx(expected, rel=1e-12)


def test_between_two_capacities_they_are_powers(small: SramTable) -> None:
    # 2 MiB is a third of the way from 1 to 8 MiB, in doublings.
    found = sram_cost(small, 2048 * KIB, 1024, 22.0, "1RW")
    expected = [a * (b / a) ** (1 / 3) for a, b in ((203.9, 722), (244.3, 749), (1.28716, 7.64043))]
    assert found == pytest.approx(expected, rel=1e-12)


def test_where_capacity_and_width_both_rise_only_the_line_between_is_known(
    small: SramTable,
) -> None:
    # 512 KiB is halfway from 256 KiB x 512 to 1 MiB x 1,024 bits: root of 512 x 1,024.
    found = sram_cost(small, 512 * KIB, 724, 22.0, "1RW")
    assert found.read_pj == pytest.approx((50.7 * 203.9) ** 0.5, rel=1e-12)


def test_a_macro_left_out_comes_back_with_these_errors(edge: SramTable, small: SramTable) -> None:
    """In percent: read, write, area."""
    found = {
        each.point.width_bits: tuple(round(100 * error, 1) for error in each[1:])
        for each in leave_one_out(edge)
    }
    assert found == {
        144: (0.3, 0.6, 1.2),
        192: (-2.1, 1.9, -4.7),
        256: (0.7, -2.3, 1.7),
        288: (0.9, 1.3, 0.7),
        384: (-1.9, 4.1, -2.9),
        512: (7.1, -2.9, -7.3),
        576: (-6.2, -0.1, 10.1),
        768: (-3.8, 10.2, -0.4),
        1024: (1.1, -6.8, -0.1),
    }
    # Without another, no line passes through the place where it was.
    (only,) = leave_one_out(small)
    assert (only.point.capacity_bytes, only.point.width_bits) == (8192 * KIB, 1024)
    assert [round(100 * error, 1) for error in only[1:]] == [-4.4, -1.0, 10.9]


def test_what_is_interpolated_ranges_by_the_largest_such_error(edge: SramTable) -> None:
    left = leave_one_out(edge)
    low, nominal, high = (sram_cost(edge, 512 * KIB, 640, 28.0, bound=bound) for bound in BOUNDS)
    for place in range(3):
        error = max(abs(each[1 + place]) for each in left)
        assert low[place] == pytest.approx(nominal[place] * (1 - error))
        assert high[place] == pytest.approx(nominal[place] * (1 + error))


def test_another_capacity_is_scaled_with_its_range(edge: SramTable) -> None:
    own = sram_cost(edge, 512 * KIB, 1024, 28.0)
    low, nominal, high = (sram_cost(edge, 2048 * KIB, 1024, 28.0, bound=b) for b in BOUNDS)
    assert nominal == pytest.approx((own.read_pj * 2, own.write_pj * 2, own.area_mm2 * 4))
    assert low == pytest.approx((own.read_pj, own.write_pj, own.area_mm2 * 4**0.85))
    assert high == pytest.approx((own.read_pj * 4**0.61, own.write_pj * 4**0.61, own.area_mm2 * 4))


def test_the_range_of_capacity_is_that_of_the_22_nm_points(
    edge: SramTable, small: SramTable
) -> None:
    """The exponents say that they come from 1 and 8 MiB of the other table."""
    one, eight = (sram_cost(small, mib * 1024 * KIB, 1024, 22.0, "1RW") for mib in (1, 8))
    scaling = edge.scalings.capacity
    assert scaling is not None
    assert eight.read_pj / one.read_pj == pytest.approx(
        8 ** scaling.energy_exponent.at("high"), rel=0.01
    )
    assert eight.area_mm2 / one.area_mm2 == pytest.approx(
        8 ** scaling.area_exponent.at("low"), rel=0.02
    )


def test_a_smaller_macro_is_never_dearer_at_the_high_end_than_the_table(edge: SramTable) -> None:
    own = sram_cost(edge, 512 * KIB, 1024, 28.0)
    low, nominal, high = (sram_cost(edge, 128 * KIB, 1024, 28.0, bound=b) for b in BOUNDS)
    assert low.read_pj < nominal.read_pj < high.read_pj == own.read_pj
    assert low.area_mm2 == nominal.area_mm2 == own.area_mm2 / 4 < high.area_mm2


def test_another_node_is_scaled_by_the_factors_of_stillmaker_and_baas(edge: SramTable) -> None:
    own = sram_cost(edge, 512 * KIB, 1024, 28.0)
    low, nominal, high = (sram_cost(edge, 512 * KIB, 1024, 45.0, bound=b) for b in BOUNDS)
    for found, energy, area in (
        (low, 0.641, 0.46),
        (nominal, 0.507, 0.377),
        (high, 0.421, 0.377),
    ):
        assert found == pytest.approx(
            (own.read_pj / energy, own.write_pj / energy, own.area_mm2 / area), rel=1e-3
        )


@pytest.mark.parametrize(
    ("name", "own", "more"),
    [("cacti7_28nm", (15, 19.6), (20, 24.6)), ("cacti_22nm", (10, 14.6), (15, 19.6))],
)
def test_a_further_port_makes_cells_larger_by_its_wires(
    name: str, own: tuple[float, float], more: tuple[float, float]
) -> None:
    """Two pitches of 2.5 F to both sides of a cell of 146 F2."""
    assert own[0] + 5 == more[0]
    table = load_sram(name)
    (scaling,) = table.scalings.ports
    area = more[0] * more[1] / (own[0] * own[1])
    assert scaling.area.nominal == pytest.approx(area, abs=0.005)
    assert scaling.energy.nominal == pytest.approx(area**0.5, abs=0.01)
    point = table.points[0]
    where = (point.capacity_bytes, point.width_bits, table.technology_nm)
    found = sram_cost(table, *where, scaling.ports)
    assert found.read_pj == pytest.approx(point.read_pj * scaling.energy.nominal)
    assert found.area_mm2 == pytest.approx(point.area_mm2 * scaling.area.nominal)


def test_what_cacti_wrote_is_a_table(tmp_path: Path) -> None:
    first, second = (28, 65536, 256, 0.02, 0.025, 0.2), (28, 262144, 256, 0.08, 0.1, 0.8)
    # A run that was repeated is taken once.
    file = out_csv(tmp_path / "mine.csv", second, first, second)
    table = load_sram(str(file))
    assert (table.name, table.technology_nm, table.ports) == ("mine", 28.0, "1R1W")
    assert [point.capacity_bytes for point in table.points] == [65536, 262144]
    assert sram_cost(table, 65536, 256, 28.0) == pytest.approx((20.0, 25.0, 0.2))
    assert sram_cost(table, 131072, 256, 28.0) == pytest.approx((40.0, 50.0, 0.4))
    assert load_cacti(file, "1RW").ports == "1RW"


def test_a_grid_is_interpolated_by_width_or_by_capacity(tmp_path: Path) -> None:
    file = out_csv(
        tmp_path / "grid.csv",
        (28, 65536, 128, 0.01, 0.01, 0.2),
        (28, 65536, 512, 0.04, 0.04, 0.4),
        (28, 262144, 128, 0.02, 0.02, 0.6),
        (28, 262144, 512, 0.08, 0.08, 1.0),
    )
    table = load_sram(str(file))
    assert sram_cost(table, 65536, 256, 28.0).read_pj == pytest.approx(20.0)
    assert sram_cost(table, 131072, 512, 28.0).read_pj == pytest.approx((40 * 80) ** 0.5)
    assert isinstance(sram_cost(table, 65536, 512, 28.0), SramCost)
