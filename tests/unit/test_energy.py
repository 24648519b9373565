"""Does a column of points burn bit for bit what the run of each point does?"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from plans import tiny_model, variant

from simulator.api import simulate
from simulator.config import replace
from simulator.cost import Counts, EnergyProfile, load_profile
from simulator.cost.energy import BITS
from simulator.engine.energy import (
    CountColumns,
    Rated,
    Work,
    area_mm2,
    core_group,
    planned_j,
    profile_columns,
    rated,
    total_j,
    unit_times,
    works_of,
)
from simulator.hardware import Device
from simulator.mapping.planner import plan
from simulator.workload import Workload, decode_step

POINTS = 24


def points() -> tuple[list[Device], list[EnergyProfile]]:
    """Draw devices and their prices; every component costs something."""
    random = np.random.default_rng(8)
    base = load_profile("jouppi_7nm")
    devices, profiles = [], []
    for point in range(POINTS):
        changes = {
            "clock": 1000 * int(random.integers(3e5, 3e6)),
            "matrix.rows": int(random.choice([16, 24, 64, 128, 200])),
            "matrix.columns": int(random.choice([16, 40, 128])),
            "matrix.dataflow": str(random.choice(["weight_stationary", "output_stationary"])),
            "memory.bandwidth": int(random.integers(1e10, 3e12)),
            "memory.capacity": int(random.integers(10**9, 10**11)),
            "scratchpad.capacity": int(random.integers(40_000, 4_000_000)),
            "vector.lanes": int(random.choice([16, 100, 2048])),
        }
        devices.append(variant("generic_npu_128", changes))
        prices = {
            "mac_pj.int8xint8.nominal": 0.1 + point / 7,
            "scratchpad_read_pj_per_bit": {"nominal": random.uniform(), "source": "test"},
            "idle_fraction": {"nominal": random.uniform(), "source": "test"},
            "areas.pe_mm2": {"nominal": random.uniform(), "source": "test"},
        }
        profiles.append(replace(base, prices))
    return devices, profiles


def column(values: Sequence[int]) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def tallies(counts: Sequence[Counts], name: str) -> tuple[tuple[str, Any], ...]:
    """Return tallies as columns, 0 where a point has none."""
    each = [dict(getattr(one, name)) for one in counts]
    keys = sorted({key for one in each for key in one})
    return tuple((key, column([one.get(key, 0) for one in each])) for key in keys)


def in_columns(rows: Sequence[Rated]) -> Rated:
    """Return what is rated of several points as columns."""
    return rows[0]._replace(
        macs_per_s={pair: np.array([r.macs_per_s[pair] for r in rows]) for pair in rows[0].units},
        lane_operations_per_s=np.array([r.lane_operations_per_s for r in rows]),
        area_mm2=np.array([r.area_mm2 for r in rows]),
        memory_bytes=np.array([r.memory_bytes for r in rows]),
    )


def stacked(works: Sequence[Work]) -> Work:
    """Return one operation of several points as columns."""
    first, counts = works[0], [work.counts for work in works]
    causes = sorted({cause for work in works for cause, _ in work.stalls_ps})
    assert {(work.times, work.unit, work.cores) for work in works} == {first[:3]}
    return first._replace(
        main_ps=column([work.main_ps for work in works]),
        vector_ps=column([work.vector_ps for work in works]),
        dram_ps=column([work.dram_ps for work in works]),
        stalls_ps=tuple(
            (cause, column([dict(work.stalls_ps).get(cause, 0) for work in works]))
            for cause in causes
        ),
        counts=CountColumns(
            macs=tallies(counts, "macs"),
            vector_ops=tallies(counts, "vector_ops"),
            **{name: column([getattr(one, name) for one in counts]) for name in BITS},
        ),
    )


@pytest.mark.parametrize("formats", [("int8", "int8"), ("int4-g128", "fp16")])
def test_columns_hold_what_the_runs_of_their_points_give(formats: tuple[str, str]) -> None:
    weights, activations = formats
    work: Workload = decode_step(
        tiny_model(), batch=3, context=500, weights=weights, activations=activations, kv="int8"
    )
    devices, profiles = points()
    both = list(zip(devices, profiles, strict=True))
    results = [simulate(device, work, "analytic", energy=prices) for device, prices in both]
    plans = [works_of(plan(work, device, prices)) for device, prices in both]
    columns = [stacked(works) for works in zip(*plans, strict=True)]
    every = range(POINTS)
    device = in_columns([rated(*one) for one in both])
    latency_ps = column([result.latency_ps for result in results])
    found = planned_j(columns, device, profile_columns(profiles, every), latency_ps, 1)
    for name, joules in found.items():
        of_runs = [result.energy_breakdown_j[name] for result in results]
        assert np.broadcast_to(joules, POINTS).tolist() == of_runs, name
        assert name in ("noc", "stalled") or min(of_runs) > 0, name
    assert max(result.energy_breakdown_j["stalled"] for result in results) > 0
    assert total_j(found).tolist() == [result.energy_j for result in results]
    assert device.area_mm2.tolist() == [area_mm2(*one) for one in both]


def test_prices_are_gathered_from_profiles_that_differ() -> None:
    _, profiles = points()
    where = [1, 0, 1]
    prices = profile_columns(profiles[:2], where)
    pj = [profile.mac_pj("int8xint8") for profile in profiles]
    assert prices.mac_pj("int8xint8").tolist() == [pj[row] for row in where]
    # What is priced alike is a column all the same, and names stay.
    assert prices.vector_pj("exp").tolist() == [profiles[0].vector_pj("exp")] * 3
    assert prices.name == "jouppi_7nm"


def test_a_run_is_a_point() -> None:
    device, profile = variant("generic_npu_128"), load_profile("jouppi_7nm")
    work = decode_step(tiny_model(), context=100)
    result = simulate(device, work, "analytic", energy=profile)
    works = works_of(plan(work, device, profile))
    found = planned_j(works, rated(device, profile), profile, result.latency_ps, 1)
    assert found == result.energy_breakdown_j
    assert total_j(found) == result.energy_j


def test_groups_of_cores_divide_all_that_work() -> None:
    work = Work(1, "matrix", 4, 100, 0, 0, (), False, Counts())
    others = [work._replace(cores=6), work._replace(unit="noc", cores=3)]
    assert core_group([work, *others], 8, 12) == 2
    assert core_group([work, others[1]], 8, 12) == 4
    assert core_group([others[1]._replace(vector_ps=1)], 12, 12) == 3
    columns = [work._replace(cores=np.array([4, 6, 1])), others[1]]
    assert core_group(columns, np.array([8, 12, 12]), 12).tolist() == [4, 6, 1]


def test_times_of_units_on_groups_of_cores() -> None:
    """Six cores in groups of two: three groups each work as long as one core does."""
    work = Work(5, "matrix", 6, 100, 30, 7, (("operand", 40),), False, Counts())
    times = unit_times([work, work._replace(unit="noc", stalls_ps=(), vector_ps=0)], 2)
    assert times["matrix"] == (5 * 3 * (100 - 40), {"operand": 5 * 3 * 40})
    assert times["vector"] == (5 * 3 * 30, {})
    assert times["noc"] == (5 * 100, {})
    assert times["dram"] == (2 * 5 * 7, {})
    held = work._replace(exclusive=True)
    assert unit_times([held, held], 2)["dram"] == (2 * 5 * 7, {"pim": 2 * 5 * 100})


def test_each_point_has_its_own_busiest_pair_and_its_own_empty_slots() -> None:
    """Numbers at random: which pair waits, and whether anything is unfilled, differ by point."""
    random = np.random.default_rng(9)
    profile = load_profile("jouppi_7nm")
    device = rated(variant("generic_npu_128"), profile)
    draws = {
        name: random.integers(1, 10**9, (4, POINTS))
        for name in ("main_ps", "vector_ps", "dram_ps", "stalls_ps", "macs")
    }
    draws["macs"] *= random.choice([1, 10**4], (4, POINTS))
    pairs = ("int8xint8", "fp16xfp16", "int8xint8", "fp16xfp16")

    def work(op: int, where: slice | int) -> Work:
        given = {name: draw[op, where] for name, draw in draws.items()}
        given = given if isinstance(where, slice) else {name: int(n) for name, n in given.items()}
        counts = CountColumns(macs=((pairs[op], given["macs"]),), dram_read_bits=given["dram_ps"])
        times = given["main_ps"], given["vector_ps"], given["dram_ps"]
        return Work(op + 1, "matrix", 1, *times, (("any", given["stalls_ps"]),), False, counts)

    latency_ps = random.integers(10**10, 10**11, POINTS)
    columns = planned_j([work(op, slice(None)) for op in range(4)], device, profile, latency_ps, 1)
    for point in range(POINTS):
        alone = [work(op, point) for op in range(4)]
        run = planned_j(alone, device, profile, int(latency_ps[point]), 1)
        got = {name: float(np.broadcast_to(j, POINTS)[point]) for name, j in columns.items()}
        assert got == run
    macs = draws["macs"] * np.arange(1, 5)[:, None]
    first = macs[0] + macs[2] >= macs[1] + macs[3]
    assert first.any()
    assert not first.all()
