"""Do intervals and ranks of experiments/one_table follow from the parts of the rows?"""

import importlib
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from types import ModuleType

import pytest

from simulator.compare import Row

FOLDER = Path(__file__).parents[2] / "experiments" / "one_table"
NAMES = ("rows", "ranking", "gains")


@pytest.fixture(scope="module")
def modules() -> Iterator[dict[str, ModuleType]]:
    """Return the experiment's modules, and leave no trace of their plain names."""
    sys.path.insert(0, str(FOLDER))
    before = {name: sys.modules.pop(name, None) for name in NAMES}
    try:
        yield {name: importlib.import_module(name) for name in NAMES}
    finally:
        sys.path.remove(str(FOLDER))
        for name, module in before.items():
            sys.modules.pop(name, None)
            if module is not None:
                sys.modules[name] = module


def row(pe: str, mac_j: float, dram_j: float, rest_j: float = 1.0, infeasible: str = "") -> Row:
    """Return a row; the gates' ends are half and five times the nominal price."""
    return Row(
        pe=pe,
        weights="int4-g128",
        activations="int8-token",
        workload="m/decode/1",
        elements=1,
        array_mm2=1.0,
        sqnr_db=20.0,
        latency_s=1.0,
        energy_j=rest_j + mac_j + dram_j,
        dram_j=dram_j,
        mac_j=mac_j,
        mac_low_j=mac_j / 2,
        mac_high_j=mac_j * 5,
        attention_mac_j=0.0,
        infeasible=infeasible,
    )


def test_energy_is_linear_in_the_constants(modules: dict[str, ModuleType]) -> None:
    entry = modules["rows"].Entry("area", row("a", 2.0, 12.5), 0.5, 2.0)
    assert entry.energy_j(12.5) == pytest.approx(15.5)
    assert entry.energy_j(0.63) == pytest.approx(1 + 2 + 0.63)
    assert entry.energy_j(12.5, own=3.0) == pytest.approx(19.5)
    assert entry.energy_j(12.5, own=3.0, common=2.0) == pytest.approx(25.5)


def test_intervals_hold_every_corner(modules: dict[str, ModuleType]) -> None:
    rows = modules["rows"]
    base = rows.Entry("area", row(rows.BASELINE, 5.0, 20.0), 1.0, 1.0)
    own = rows.Entry("area", row("a", 2.0, 5.0), 0.5, 2.0)
    speed = rows.speed_up(own, base)
    assert speed == (1.0, 0.5, 2.0)
    for dram in (None, 0.63, 18.75):
        gain = rows.energy_gain(own, base, dram)
        at = 12.5 if dram is None else dram
        assert gain.nominal == pytest.approx(base.energy_j(at) / own.energy_j(at))
        assert gain.low < gain.nominal < gain.high
        for s, t in product(rows.OWN, repeat=2):
            assert gain.low <= base.energy_j(at, t) / own.energy_j(at, s) <= gain.high
    assert rows.energy_gain(base, base) == (1.0, 1.0, 1.0)
    assert rows.energy_gain(own, base).low < rows.energy_gain(own, base, 18.75).low


def test_what_all_share_is_the_range_without_synthesis(modules: dict[str, ModuleType]) -> None:
    rows = modules["rows"]
    entry = rows.Entry("area", row("a", 2.0, 5.0), 1.0, 1.0)
    assert entry.common == pytest.approx((0.5 / 0.8, 1.0, 5 / 2.1))


def test_ranks_flip_by_cause(modules: dict[str, ModuleType]) -> None:
    rows, ranking = modules["rows"], modules["ranking"]
    made = [
        rows.Entry("area", each, 1.0, 1.0)
        for each in (
            row(rows.BASELINE, 10.0, 100.0),
            row("surely best", 0.01, 0.1, 0.1),
            row("dear memory", 0.1, 9.0, 0.1),
            row("dear time", 0.1, 0.1, 7.0),
            row("not there", 0.0, 0.0, infeasible="no room"),
        )
    ]
    found = ranking.places(made)
    assert len(found) == 4 * len(rows.DRAM_PJ)
    by = {(place.entry.row.pe, place.dram_pj): place for place in found}
    assert [by["surely best", dram].rank for dram in rows.DRAM_PJ] == [1, 1, 1, 1]
    assert by["surely best", 12.5].flips == ""
    assert [by["dear memory", dram].rank for dram in rows.DRAM_PJ] == [2, 2, 3, 3]
    assert [by["dear time", dram].rank for dram in rows.DRAM_PJ] == [3, 3, 2, 2]
    assert by["dear time", 12.5].flips == "dram"
    assert by[rows.BASELINE, 0.63].rank == 4
    for place in found:
        assert place.best <= place.rank <= place.worst


def test_ranks_that_gates_may_turn_are_marked(modules: dict[str, ModuleType]) -> None:
    rows, ranking = modules["rows"], modules["ranking"]
    made = [
        rows.Entry("area", row(name, macs, 1.0), 1.0, 1.0)
        for name, macs in ((rows.BASELINE, 30.0), ("a", 5.0), ("b", 6.0))
    ]
    found = {(p.entry.row.pe, p.dram_pj): p for p in ranking.places(made)}
    assert [(found[n, 12.5].best, found[n, 12.5].worst) for n in ("a", "b")] == [(1, 2), (1, 2)]
    assert found["a", 12.5].flips == found["b", 12.5].flips == "gates"
    assert found[rows.BASELINE, 12.5].flips == ""
    assert found[rows.BASELINE, 12.5].gain == (1.0, 1.0, 1.0)


def test_elements_alone(modules: dict[str, ModuleType]) -> None:
    ours = modules["gains"].of_elements()
    assert ours["element.l_mul.saved"] == pytest.approx(100 - 100 / ours["element.l_mul.energy"])
    assert ours["element.lut_w2a8.density"] > ours["element.figna.density"] > 1
