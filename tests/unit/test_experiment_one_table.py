"""Do intervals and ranks of experiments/one_table follow from the parts of the rows?"""

import importlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from simulator.compare import Row, compared
from simulator.cost import load_dram_energy
from simulator.design import element_names, load_element

FOLDER = Path(__file__).parents[2] / "experiments" / "one_table"
NAMES = ("rows", "intervals", "ranking", "gains", "figure", "run")


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


def row(
    pe: str,
    mac_j: float,
    dram_j: float,
    rest_j: float = 1.0,
    *,
    write_j: float = 0.0,
    standing_j: float = 0.0,
    attention_j: float = 0.0,
    waiting_j: float = 0.0,
    latency_s: float = 1.0,
    infeasible: str = "",
) -> Row:
    """Return a row; the gates' ends are half and five times the nominal price."""
    return Row(
        pe=pe,
        weights="int4-g128",
        activations="int8-token",
        workload="m/decode/1",
        elements=1,
        array_mm2=1.0,
        sqnr_db=20.0,
        priced_by="gates",
        latency_s=latency_s,
        energy_j=rest_j + mac_j + dram_j + standing_j + attention_j + waiting_j,
        dram_j=dram_j,
        dram_write_j=write_j,
        dram_background_j=standing_j,
        mac_j=mac_j,
        mac_low_j=mac_j / 2,
        mac_high_j=mac_j * 5,
        attention_mac_j=attention_j,
        matrix_stalled_j=0.75 * waiting_j,
        matrix_idle_j=0.25 * waiting_j,
        infeasible=infeasible,
    )


def entry(modules: dict[str, ModuleType], *rows: Row, own_attention: bool = False) -> Any:
    """Return an entry of one row for all ends, or of three."""
    three = rows if len(rows) == 3 else 3 * rows
    return modules["rows"].Entry("area", "int4xint8", three, own_attention)


def energy(
    modules: dict[str, ModuleType], load: Any, dram: Any, common: int = 1, **own: Any
) -> float:
    """Return the energy of a load at one corner."""
    intervals = modules["intervals"]
    at = intervals._corners([((0, 0), dram, common, (own.get("own", 1), 1, own.get("fp16", 1)))])
    return float(intervals.energies(load, at)[0])


def test_energy_is_linear_in_the_constants(modules: dict[str, ModuleType]) -> None:
    intervals = modules["intervals"]
    made = row("a", 2.0, 12.5, write_j=2.5, standing_j=3.0, attention_j=0.5)
    load = intervals.load_of(entry(modules, made))
    home = intervals.FRAME_DRAM
    assert energy(modules, load, home) == pytest.approx(made.energy_j)
    half = intervals.Dram("half", 6.25, read=0.5, write=0.2, standing=0.0)
    assert energy(modules, load, half) == pytest.approx(1 + 2 + 0.5 + 5.0 + 0.5)
    assert energy(modules, load, home, own=3.0) == pytest.approx(made.energy_j + 4)
    assert energy(modules, load, home, fp16=3.0) == pytest.approx(made.energy_j + 1)
    own = load._replace(own_attention=True)
    assert energy(modules, own, home, own=3.0) == pytest.approx(made.energy_j + 4 + 1)
    # What all share is the range without synthesis.
    low, high = energy(modules, load, home, 0), energy(modules, load, home, 2)
    assert low == pytest.approx(made.energy_j + 2.5 * (0.5 / 0.8 - 1))
    assert high == pytest.approx(made.energy_j + 2.5 * (5 / 2.1 - 1))


def test_what_waits_moves_with_its_macs(modules: dict[str, ModuleType]) -> None:
    intervals = modules["intervals"]
    made = row("a", 2.0, 12.5, waiting_j=4.0)
    load, home = intervals.load_of(entry(modules, made)), intervals.FRAME_DRAM
    assert energy(modules, load, home) == pytest.approx(made.energy_j)
    assert energy(modules, load, home, own=3.0) == pytest.approx(made.energy_j + 2 * (2.0 + 4.0))
    assert energy(modules, load, home, 0) == pytest.approx(made.energy_j + 6.0 * (0.5 / 0.8 - 1))


def recomputed_over_simulated(
    modules: dict[str, ModuleType], name: str, pair: str, workload: str
) -> list[float]:
    """Return, of every named DRAM, the energy from a row's parts over that of a simulation."""
    intervals, terms = modules["intervals"], modules["rows"].terms()
    pe = load_element(name)
    load = intervals.load_of(entry(modules, compared(pe, pair, workload, terms)))
    found, simulated = [], set()
    for dram in intervals.DRAMS[1:]:
        real = compared(pe, pair, workload, replace(terms, dram=load_dram_energy(dram.name)))
        found.append(energy(modules, load, dram) / real.energy_j)
        simulated.add(real.energy_j)
    assert len(simulated) == len(found) == 8
    return found


@pytest.mark.parametrize(
    ("name", "pair", "workload"),
    [
        ("mixpe_w4a8", "int4xint8", "gpt-2/decode/16"),
        ("lut_fp16", "int3xfp16", "gpt-2/decode/16"),
        ("figlut", "int4xfp16", "gpt-2/decode/16"),
        ("figlut", "int4xfp16", "gpt-2/prefill/256"),
    ],
)
def test_every_dram_is_as_a_simulation_with_it(
    name: str, pair: str, workload: str, modules: dict[str, ModuleType]
) -> None:
    found = recomputed_over_simulated(modules, name, pair, workload)
    assert found == pytest.approx(8 * [1.0], rel=1e-9)


@pytest.mark.parametrize(("name", "pair"), [("mixpe_w4a8", "int4xint8"), ("lut_fp16", "int3xfp16")])
def test_plans_stay_those_of_the_frames_dram(
    name: str, pair: str, modules: dict[str, ModuleType]
) -> None:
    """Of equally fast tilings a simulation takes the thriftiest at its DRAM: up to 5 % less."""
    found = recomputed_over_simulated(modules, name, pair, "gpt-2/prefill/256")
    assert 1.001 < max(found) < 1.05
    assert min(found) == pytest.approx(1.0, rel=1e-9)


def test_drams_are_those_that_ship(modules: dict[str, ModuleType]) -> None:
    home, *named = modules["intervals"].DRAMS
    assert home == ("edge_28nm", 12.5, 1.0, 1.0, 1.0)
    assert [(dram.name, dram.pj_per_bit) for dram in (named[0], named[-1])] == [
        ("mixpe", 0.629),
        ("bitmod_ddr4", 18.75),
    ]
    # MixPE's writes cost more than its reads, and it alone stands by for something.
    assert named[0].write * 12.5 == pytest.approx(0.766)
    assert [dram.standing > 0 for dram in named] == [True] + 7 * [False]


def test_intervals_hold_every_corner(modules: dict[str, ModuleType]) -> None:
    rows, intervals = modules["rows"], modules["intervals"]
    base = intervals.load_of(entry(modules, row(rows.BASELINE, 5.0, 20.0), own_attention=True))
    slow, fast = (row("a", 2.0, 5.0, latency_s=each) for each in (2.0, 0.5))
    own = intervals.load_of(entry(modules, row("a", 2.0, 5.0), slow, fast))
    assert intervals.speed_up([(own, base)]) == (1.0, 0.5, 2.0)
    for drams in (intervals.DRAMS, intervals.DRAMS[-1:]):
        gain = intervals.energy_gain([(own, base)], drams)
        at = drams[0]
        nominal = energy(modules, base, at) / energy(modules, own, at)
        assert gain.nominal == pytest.approx(nominal)
        assert gain.low < gain.nominal < gain.high
        for one, fp16, dram, common in product(intervals.OWN, intervals.OWN, drams, range(3)):
            other = energy(modules, base, dram, common, own=fp16, fp16=fp16)
            ratio = other / energy(modules, own, dram, common, own=one, fp16=fp16)
            assert gain.low * (1 - 1e-12) <= ratio <= gain.high * (1 + 1e-12)
    every, last = (intervals.energy_gain([(own, base)], d) for d in (intervals.DRAMS, drams))
    assert every.low < last.low
    assert intervals.energy_gain([(base, base)]) == (1.0, 1.0, 1.0)


def test_of_two_elements_one_is_moved_at_a_time(modules: dict[str, ModuleType]) -> None:
    intervals = modules["intervals"]
    one, other = (
        intervals.load_of(entry(modules, *(row(name, 1.0, 1.0, latency_s=s) for s in seconds)))
        for name, seconds in (("a", (1.0, 2.0, 0.5)), ("b", (1.0, 3.0, 0.25)))
    )
    assert intervals.speed_up([(one, other)]) == (1.0, 0.25, 3.0)


def test_what_does_not_run_at_an_end_gains_nothing_there(modules: dict[str, ModuleType]) -> None:
    rows, intervals = modules["rows"], modules["intervals"]
    base = intervals.load_of(entry(modules, row(rows.BASELINE, 5.0, 20.0), own_attention=True))
    absent = Row(**{**vars(row("a", 0.0, 0.0, infeasible="no room")), "latency_s": float("inf")})
    own = intervals.load_of(entry(modules, row("a", 2.0, 5.0), absent, row("a", 2.0, 5.0)))
    assert intervals.energy_gain([(own, base)]).low == 0
    assert intervals.speed_up([(own, base)]) == (1.0, 0.0, 1.0)


def test_tasks_are_sums(modules: dict[str, ModuleType]) -> None:
    intervals = modules["intervals"]
    parts = [
        intervals.load_of(entry(modules, row("a", macs, 2.0, attention_j=0.5)))
        for macs in (1.0, 3.0)
    ]
    task = intervals.together([(1, parts[0]), (20, parts[1])])
    one, other = (energy(modules, part, intervals.DRAMS[1], own=2.0) for part in parts)
    assert energy(modules, task, intervals.DRAMS[1], own=2.0) == pytest.approx(one + 20 * other)
    assert list(task.seconds) == [21.0, 21.0, 21.0]


def test_ranks_flip_by_cause(modules: dict[str, ModuleType]) -> None:
    rows, intervals, ranking = (modules[name] for name in ("rows", "intervals", "ranking"))
    made = [
        entry(modules, each)
        for each in (
            row(rows.BASELINE, 10.0, 100.0, latency_s=4.0),
            row("surely best", 0.01, 0.1, 0.1, latency_s=1.0),
            row("dear memory", 0.1, 9.0, 0.1, latency_s=2.0),
            row("dear time", 0.1, 0.1, 5.0, latency_s=3.0),
        )
    ]
    absent = row("not there", 0.0, 0.0, infeasible="no room")
    found = [p for p in ranking.places([*made, entry(modules, absent)]) if p.among == ranking.ALL]
    assert len(found) == 4 * (1 + len(intervals.DRAMS))
    by = {(place.entry.row.pe, place.dram and place.dram.name): place for place in found}
    drams = ("mixpe", "hwcomponents_hbm2", "accelforge_tpu_v4i", "bitmod_ddr4", "edge_28nm")

    def ranks(name: str) -> list[int]:
        return [by[name, dram].rank for dram in drams]

    assert ranks("surely best") == [1, 1, 1, 1, 1]
    assert ranks("dear memory") == [2, 2, 3, 3, 3]
    assert ranks("dear time") == [3, 3, 2, 2, 2]
    assert by["surely best", "edge_28nm"].flips == ""
    assert by["dear time", "edge_28nm"].flips == "dram"
    assert by[rows.BASELINE, "mixpe"].rank == 4
    assert [by[each.row.pe, None].rank for each in made] == [4, 1, 2, 3]
    assert all(by[each.row.pe, None].flips == "" for each in made)
    for place in found:
        assert place.best <= place.rank <= place.worst


def test_ranks_that_gates_may_turn_are_marked(modules: dict[str, ModuleType]) -> None:
    rows, ranking = modules["rows"], modules["ranking"]
    made = [
        entry(modules, *(row(name, macs, 1.0, latency_s=s) for s in seconds), own_attention=own)
        for name, macs, seconds, own in (
            (rows.BASELINE, 30.0, (9.0, 9.0, 9.0), True),
            ("a", 5.0, (1.0, 2.0, 0.5), False),
            ("b", 6.0, (1.5, 3.0, 0.9), False),
        )
    ]
    found = {
        (p.entry.row.pe, p.dram and p.dram.name): p
        for p in ranking.places(made)
        if p.among == ranking.ALL
    }
    for by in ("edge_28nm", None):
        assert [(found[n, by].best, found[n, by].worst) for n in ("a", "b")] == [(1, 2), (1, 2)]
        assert found["a", by].flips == found["b", by].flips == "gates"
        assert found[rows.BASELINE, by].flips == ""
        assert found[rows.BASELINE, by].gain == (1.0, 1.0, 1.0)


def test_ranks_are_within_a_precision_too(modules: dict[str, ModuleType]) -> None:
    rows, ranking = modules["rows"], modules["ranking"]
    made = [
        replace(entry(modules, row(name, macs, 1.0)), pair=pair)
        for name, macs, pair in (
            (rows.BASELINE, 30.0, "fp16xfp16"),
            ("a", 5.0, "int4xint8"),
            ("b", 6.0, "int2xint8"),
            ("c", 7.0, "int4xint8"),
        )
    ]
    found = {
        (p.among, p.entry.row.pe): p.rank
        for p in ranking.places(made)
        if p.dram and p.dram.name == "mixpe"
    }
    assert found["all", "c"] == 3
    assert (found["W4A8", "a"], found["W4A8", "c"], found["W2A8", "b"]) == (1, 2, 1)


def test_elements_by_precision(modules: dict[str, ModuleType]) -> None:
    rows = modules["rows"]
    pairs = ("ternaryxint8", "bitmod3xfp16", "fp4_e2m1fnxfp16", "bcq4xfp16", "int8xint8")
    found = [rows.precision(pair) for pair in pairs]
    assert found == ["W1.58A8", "W3A16", "W4A16", "W4A16", "W8A8"]
    assert rows.pairs_of("bit_fusion") == ["int2xint8", "int4xint4", "int4xint8", "int8xint8"]
    # FP16 by FP16 is the baseline's alone.
    assert rows.pairs_of("fp16_dequant") == ["int4xfp16", "int8xfp16"]
    assert rows.pairs_of(rows.BASELINE) == ["fp16xfp16"]
    names = rows.elements()
    assert names == sorted(element_names())
    drawn = {*modules["figure"].NAMES, rows.BASELINE}
    assert set(names) == drawn


def test_elements_alone(modules: dict[str, ModuleType]) -> None:
    ours = modules["gains"].of_elements()
    l_mul = ours["element.l_mul.energy"]
    assert ours["element.l_mul.saved"] == pytest.approx([100 - 100 / each for each in l_mul])
    density, figna = ours["element.lut_w2a8.density"], ours["element.figna.density"]
    assert density.nominal > figna.nominal > 1
    assert figna == pytest.approx([figna.nominal * factor for factor in (1, 0.68, 1.47)])
    for each in ours.values():
        assert each.low < each.nominal < each.high


def test_a_claim_holds_within_the_interval(modules: dict[str, ModuleType]) -> None:
    from simulator.report.claims import Claim

    run, interval = modules["run"], modules["intervals"].Interval
    claims = [
        Claim("inside", "paper", 2.0, 1.0, "why", "a"),
        Claim("outside", "paper", 4.0, 1.0, "why", "a"),
        Claim("question", "none", None, 1.0, "why", "a"),
        Claim("a number", "paper", 1.0, 1.0, "why", "b"),
    ]
    found = list(run.holds_rows(claims, {"a": interval(1.0, 0.5, 3.0), "b": 1.0}))
    assert found == [
        ("inside", "paper", 2.0, 1.0, 0.5, 3.0, 0.5, "yes", "why"),
        ("outside", "paper", 4.0, 1.0, 0.5, 3.0, 0.25, "no", "why"),
    ]
