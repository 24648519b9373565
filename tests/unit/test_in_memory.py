"""Is a product in a memory that of its part, its unit, its layout and its commands?"""

from collections import Counter
from collections.abc import Callable
from functools import cache
from math import ceil
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from simulator.config import replace
from simulator.dram import Random, Strided, load_standard
from simulator.dram.pim.grouped import GroupedPim, load_grouped, run_program
from simulator.dram.pim.grouped_energy import command_energies_j, energies_j
from simulator.dram.pim.grouped_part import KIND, LOAD, RESULT, ROW
from simulator.dram.pim.grouped_requests import paced, ticks_of_burst
from simulator.engine import in_memory
from simulator.engine.in_memory import Beside, InMemoryRun, run_beside, run_plan, run_product
from simulator.errors import CheckError
from simulator.formats import get
from simulator.hardware.pim_unit import load_pim_unit, tiles_of
from simulator.hardware.pim_unit_fit import fit
from simulator.mapping.pim_layout import Geometry, Layout, Shape, load_layout
from simulator.mapping.pim_nest import HELD
from simulator.mapping.pim_product import Product, columns_of, geometry_of, plan, with_lanes
from simulator.mapping.pim_program import ChannelProgram, program
from simulator.mapping.pim_search import search
from simulator.mapping.pim_time import ticks_of

Ints = NDArray[np.int64]
NAMES = ("duplex_bank", "duplex_bank_group", "duplex_logic", "gddr6_banks", "hbm3_banks",
         "newton_hbm2")  # fmt: skip
BANKS, NEWTON = load_grouped("hbm3_banks"), load_grouped("newton_hbm2")
FP16_UNIT, MIXPE = load_pim_unit("fp16_in_bank"), load_pim_unit("mixpe_in_bank")
FP16, INT4, INT8 = get("fp16"), get("int4-g128"), get("int8-token")
NO_PROGRAM = np.zeros((0, 4), np.int64)
#: Matrices over channels, else as its groups and rows come; in the first group only.
ONE_GROUP = Layout(
    name="one_group",
    summary="own",
    source="own",
    splits=(
        ["lane", "inputs"],
        ["burst", "inputs"],
        ["bank", "outputs"],
        ["channel", "outputs"],
        ["row", "inputs"],
        ["row", "outputs"],
    ),
)


def of_fp16(outputs: int, inputs: int, **more: int) -> Product:
    return Product(outputs=outputs, inputs=inputs, weights=FP16, activations=FP16, **more)


def of_int4(outputs: int, inputs: int, **more: int) -> Product:
    return Product(outputs=outputs, inputs=inputs, weights=INT4, activations=INT8, **more)


# What a part and a unit say.


def test_columns_by_hand() -> None:
    """Banks of a stack at once; a column of HBM3 is 256 bits of 0.11 + 0.44 pJ each."""
    columns = columns_of(BANKS)
    assert (columns.column_bytes, columns.cadence_ticks, columns.banks) == (32, 4, 16 * 64)
    assert columns.tick_ps == BANKS.memory.tick_ps
    assert columns.read_pj == pytest.approx(256 * 0.55)
    assert columns_of(NEWTON).banks == 32 * 32 // 4
    gddr6 = columns_of(load_grouped("gddr6_banks"))
    assert (gddr6.banks, gddr6.read_pj) == (2 * 16, 0.0)
    assert columns_of(replace(BANKS, {"stacks": 8})).banks == 128


def test_energies_of_commands_by_hand() -> None:
    burst = 256e-12
    moved = 0.3 + 0.5 + 1.23 + 1.01
    assert command_energies_j(BANKS) == pytest.approx(
        {
            "activate": 0.11 * 8192e-12,
            "multiply": burst * 64 * 0.44,
            "buffer_write": burst * moved,
            "result_read": 2 * burst * (moved - 0.3),
            "read": burst * (moved + 0.44),
            "write": burst * (moved + 0.44),
        }
    )
    # Volts x mA x ticks of 1 ns are pJ.
    read, write = 1.2 * (390 - 55) * 2e-12, 1.2 * (500 - 55) * 2e-12
    assert NEWTON.memory.tick_ps == 1000
    assert command_energies_j(NEWTON) == pytest.approx(
        {
            "activate": 1.2 * (65 * 48 - 55 * 34 - 40 * 14) * 1e-12,
            "multiply": 4 * read,
            "buffer_write": write,
            "result_read": 2 * read,
            "read": read,
            "write": write,
        }
    )
    assert command_energies_j(load_grouped("gddr6_banks")) == {}


def test_energies_are_those_of_the_commands_that_are_there() -> None:
    each = command_energies_j(NEWTON)
    # Eight openings of 4 banks each are 32 rows; a request opens one.
    assert energies_j(NEWTON, {"G_ACT": 8, "ACT": 3, "RD": 5, "WR": 2, "REFab": 9}) == (
        pytest.approx(
            {
                "activate": 35 * each["activate"],
                "multiply": 0.0,
                "buffer_write": 0.0,
                "result_read": 0.0,
                "request": 5 * each["read"] + 2 * each["write"],
            }
        )
    )
    found = energies_j(NEWTON, {"COMP": 7, "GWRITE": 3, "READRES": 2})
    moves = {role: found[role] for role in ("multiply", "buffer_write", "result_read")}
    assert moves == pytest.approx(
        {
            "multiply": 7 * each["multiply"],
            "buffer_write": 3 * each["buffer_write"],
            "result_read": 2 * each["result_read"],
        }
    )
    assert energies_j(NEWTON, {}).keys() == found.keys()
    assert energies_j(load_grouped("gddr6_banks"), {"MAC16": 7}) == {}


@pytest.mark.parametrize("name", NAMES)
def test_the_buffer_and_the_sums_are_those_of_the_unit(name: str) -> None:
    part = load_grouped(name)
    tiles = tiles_of(FP16_UNIT, columns_of(part), FP16, FP16)
    geometry, own = geometry_of(part, FP16_UNIT, tiles), Geometry.of(part)
    assert geometry.buffer_bytes == 512
    # Sums of FP16 products are of FP32, of 4 vectors.
    assert (geometry.result_bytes, geometry.input_bytes) == (4, 2)
    assert geometry.sums_bytes == 4 * 4 * tiles.outputs
    same = ("channels", "groups", "banks", "rows", "bursts_per_row", "burst_bytes", "read_bytes")
    assert all(getattr(geometry, field) == getattr(own, field) for field in same)
    assert geometry.lanes_added


def test_an_element_in_place_of_a_units_own() -> None:
    unit = load_pim_unit("fp16_in_bank", "mixpe_w4a8")
    assert (unit.name, unit.pe) == ("fp16_in_bank", MIXPE.pe)
    assert unit.model_copy(update={"pe": FP16_UNIT.pe}) == FP16_UNIT
    product = of_int4(64, 256)
    ours, theirs = (
        run_product(BANKS, each, product, layout=load_layout("aim")) for each in (unit, MIXPE)
    )
    assert (ours.unit, ours.pe, ours.cycles) == ("fp16_in_bank", "mixpe_w4a8", theirs.cycles)
    assert ours.energy_j == theirs.energy_j


# Layouts.


@pytest.mark.parametrize("elements", [1, 2, 4, 5, 7, 8, 16])
def test_a_burst_is_cut_as_the_unit_cuts_it(elements: int) -> None:
    """Inputs of a lane inside; as many outputs as there are lanes, with full steps for all."""
    unit = replace(FP16_UNIT, {"elements": elements})
    tiles = tiles_of(unit, columns_of(BANKS), FP16, FP16)
    steps = ceil(16 / elements)
    lanes = [split for split in with_lanes(load_layout("aim"), tiles).splits][:2]
    assert [(each.level, each.dimension, each.factor) for each in lanes] == [
        ("lane", "inputs", steps),
        ("lane", "outputs", 16 // steps),
    ]


@pytest.mark.parametrize("name", ["aim", "attacc_v", "hbm_pim", "neupims_k"])
def test_all_but_lanes_stays_as_it_was(name: str) -> None:
    tiles = tiles_of(FP16_UNIT, columns_of(BANKS), FP16, FP16)
    layout = load_layout(name)
    assert with_lanes(layout, tiles).splits[2:] == tuple(
        split for split in layout.splits if split.level != "lane"
    )


def test_what_lanes_took_all_of_has_its_rest_in_rows() -> None:
    """A unit of 4 inputs and 4 outputs a column, on a layout of all 16 inputs in lanes."""
    inputs_in_lanes = Layout(
        name="own",
        summary="own",
        source="own",
        splits=(["burst", "inputs", 2], ["lane", "inputs"], ["row", "outputs"]),
    )
    unit = replace(FP16_UNIT, {"elements": 4})
    placement = plan(BANKS, unit, of_fp16(4, 16), layout=inputs_in_lanes).point.placement
    assert {(each.dimension, each.level): each.factor for each in placement.digits} == {
        ("inputs", "lane"): 4,
        ("outputs", "lane"): 4,
        ("inputs", "burst"): 2,
        ("inputs", "row"): 2,
        ("outputs", "row"): 1,
    }


@pytest.mark.parametrize("unit", ["fp16_in_bank", "fp16_on_logic_die"])
def test_the_layout_that_is_found_is_no_slower_than_a_named_one(unit: str) -> None:
    product, elements = of_fp16(512, 512, vectors=3), load_pim_unit(unit)
    best = plan(BANKS, elements, product).point
    for name in ("aim", "pim_gpt", "neupims_v"):
        assert best.ticks <= plan(BANKS, elements, product, layout=load_layout(name)).point.ticks


@pytest.mark.parametrize("name", ["aim", "neupims_v", "attacc_v"])
def test_what_is_held_is_what_is_sooner_done_with_additions(name: str) -> None:
    """128 additions a tick, of layouts that are given as of those that are found."""
    product, layout = of_fp16(256, 4096, vectors=2), load_layout(name)
    each = [plan(BANKS, FP16_UNIT, product, layout=layout, held=held).point for held in HELD]
    assert [point.held for point in each] == [*HELD]
    for point in each:
        assert point.ticks == point.program_ticks + point.partial_sums / 128
    chosen = plan(BANKS, FP16_UNIT, product, layout=layout).point
    assert chosen == min(each, key=lambda point: point.order)


def test_a_search_of_some_lanes_and_of_what_is_held() -> None:
    geometry, shape = Geometry.of(BANKS), Shape(outputs=200, inputs=300)
    lanes = (("inputs", 2), ("outputs", 8))
    for held in HELD:
        found = search(
            shape, geometry, lambda groups: ticks_of(BANKS, groups), lanes=lanes, held=held
        )
        placement = found.best.placement
        assert found.best.held == held
        assert [(d.dimension, d.factor) for d in placement.digits if d.level == "lane"] == [*lanes]
    both = search(shape, geometry, lambda groups: ticks_of(BANKS, groups), lanes=lanes)
    assert both.points == 2 * found.points
    # Along either, lanes of 16 inputs or 16 outputs.
    free = search(shape, geometry, lambda groups: ticks_of(BANKS, groups))
    assert free.points > both.points


# What is done.


@pytest.mark.parametrize(
    "product", [of_fp16(100, 300, matrices=3), of_fp16(64, 1024), of_fp16(1, 1)]
)
@pytest.mark.parametrize("name", ["aim", "pim_gpt", "attacc_v"])
def test_every_burst_of_values_is_multiplied_once_for_a_turn(name: str, product: Product) -> None:
    """Counted anew, value by value, from where they lie."""
    run = run_product(BANKS, FP16_UNIT, product, layout=load_layout(name))
    index = np.indices((product.outputs, product.inputs, product.matrices)).reshape(3, -1)
    place = run.plan.point.placement.place(*index)
    bursts = np.unique(np.stack([place.channel, place.group, place.row, place.burst]), axis=1)
    assert run.issued["multiply"] == bursts.shape[1]
    values = np.stack([*place])
    assert np.unique(values, axis=1).shape[1] == values.shape[1]
    assert place.lane.max() < run.plan.fit.tiles.values
    turns = replace(FP16_UNIT, {"vectors_held": 2})
    more = Product(**{**vars(product), "vectors": 5})
    again = run_product(BANKS, turns, more, layout=load_layout(name))
    assert again.issued["multiply"] == 3 * bursts.shape[1]
    again.check()


def test_a_matrix_that_fills_everything_uses_everything() -> None:
    """16 channels x 64 banks x 2 outputs a lane, 128 rows of 32 bursts."""
    run = run_product(BANKS, FP16_UNIT, of_fp16(2048, 512, vectors=4), layout=load_layout("aim"))
    lanes = run.plan.fit.tiles.outputs
    full = of_fp16(1024 * lanes, 512, vectors=4)
    run = run_product(BANKS, FP16_UNIT, full, layout=load_layout("aim"))
    assert run.utilisation == 1.0
    assert full.macs == 1024 * lanes * 512 * 4
    assert sum(each.operations for each in run.runs) == full.macs
    half = run_product(BANKS, FP16_UNIT, of_fp16(1024 * lanes, 512, vectors=2), layout=ONE_GROUP)
    assert half.utilisation == 1.0
    # Turns of 4 and 1 are two, and the unit could have had 8 vectors.
    five = run_product(BANKS, FP16_UNIT, of_fp16(1024 * lanes, 512, vectors=5), layout=ONE_GROUP)
    assert five.utilisation == 5 / 8


def test_scales_are_multiplied_too_and_are_no_use() -> None:
    """Groups of 128 INT4 have 16 bits: a burst of scales for 32 of values, at least one a row."""
    layout = load_layout("aim")
    run = run_product(BANKS, MIXPE, of_int4(64, 4096), layout=layout)
    counts, placement = run.counts, run.plan.point.placement
    assert placement.shape.scale_bits / placement.shape.value_bits == 1 / 32
    assert counts.multiplies >= placement.bursts + placement.rows_used
    of_values = of_int4(64, 4096).macs / (placement.bursts * 64 * run.plan.fit.macs)
    assert run.utilisation == pytest.approx(of_values * placement.bursts / counts.multiplies)


@pytest.mark.parametrize("refresh", ["none", "all_bank"])
@pytest.mark.parametrize("name", NAMES)
def test_a_run_is_that_of_its_commands(name: str, refresh: Any) -> None:
    part, product = load_grouped(name), of_fp16(300, 700, vectors=5, matrices=2)
    made = plan(part, FP16_UNIT, product, layout=load_layout("pim_gpt"))
    run = run_plan(part, FP16_UNIT, made, refresh=refresh)
    run.check()
    assert run.refresh == refresh
    assert (run.part, run.unit, run.pe, run.rung) == (name, "fp16_in_bank", "fp16_fma", "command")
    assert run.cycles == max(each.program_cycles for each in run.runs)
    assert run.time_s == pytest.approx(run.cycles * part.memory.tick_ps * 1e-12)
    commands = Counter[str]()
    for each in run.runs:
        commands.update(each.commands)
        assert each.requests == 0
    assert run.issued == {role: commands[part.command(role)] for role in run.issued}
    openings = run.counts.openings * part.openings
    assert run.issued["open"] >= openings
    if refresh == "none":
        assert run.issued["open"] == openings
    assert sum(each.channels for each in run.runs) == sum(
        made.point.placement.channel_sizes().values()
    )
    analytic = run_plan(part, FP16_UNIT, made, rung="analytic", refresh=refresh)
    analytic.check()
    assert analytic.runs == ()
    assert analytic.plan is run.plan
    roles = ("multiply", "buffer_write", "result_read")
    assert [analytic.issued[role] for role in roles] == [run.issued[role] for role in roles]
    assert analytic.issued["open"] == openings


@pytest.mark.parametrize("name", NAMES)
def test_energy_is_that_of_commands_and_units(name: str) -> None:
    """Of five vectors a turn of four and one of one, each burst in all banks of its group."""
    part, product = load_grouped(name), of_fp16(200, 500, vectors=5)
    run = run_product(part, FP16_UNIT, product, layout=load_layout("aim"))
    units = run.energy_j.pop("units")
    roles = energies_j(part, {}).keys() - {"request"}
    whole = {key: sum(each.energy_j[key] for each in run.runs) for key in roles}
    assert run.energy_j == pytest.approx(whole)
    run.energy_j["units"] = units
    each = sum(
        fit(FP16_UNIT, columns_of(part), FP16, FP16, size).unit_pj.nominal for size in (4, 1)
    )
    bursts = run.issued["multiply"] / 2
    assert units == pytest.approx(each * bursts * part.banks_at_once * 1e-12)
    assert run.power_w == pytest.approx(sum(run.energy_j.values()) / run.time_s)


def test_a_slow_unit_sets_the_pace() -> None:
    """A burst each `cadence_ticks`: 32 of a row take 31 of those, whatever the rows allow."""
    slow = replace(FP16_UNIT, {"elements": 1, "power_cap": None})
    run = run_product(BANKS, slow, of_fp16(64, 512), layout=load_layout("aim"), refresh="none")
    cadence = run.plan.fit.cadence_ticks
    assert (run.plan.fit.bound_by, cadence > 4) == ("unit", True)
    assert run.cycles >= (run.issued["multiply"] - 1) * cadence


# Faults.


def faulty(change: Callable[[Ints], Ints]) -> Callable[..., list[ChannelProgram]]:
    """Return a generator of programs that are not what the layout has."""

    def made(*given: Any, **options: Any) -> list[ChannelProgram]:
        return [
            each._replace(entries=change(each.entries.copy()))
            for each in program(*given, **options)
        ]

    return made


def one_more(kind: int, by: int) -> Callable[[Ints], Ints]:
    def change(entries: Ints) -> Ints:
        at = np.flatnonzero((entries[:, KIND] == kind) & (entries[:, 3] + by > 0))[0]
        entries[at, 3] += by
        return entries

    return change


def without_first(kind: int) -> Callable[[Ints], Ints]:
    return lambda entries: np.delete(entries, np.flatnonzero(entries[:, KIND] == kind)[0], axis=0)


def twice_first(kind: int) -> Callable[[Ints], Ints]:
    def change(entries: Ints) -> Ints:
        at = np.flatnonzero(entries[:, KIND] == kind)[0]
        return np.insert(entries, at, entries[at], axis=0)

    return change


@pytest.mark.parametrize(
    ("change", "role"),
    [
        (one_more(ROW, -1), "multiply"),
        (one_more(ROW, 1), "multiply"),
        (without_first(ROW), "multiply"),
        (twice_first(ROW), "multiply"),
        (one_more(LOAD, -1), "buffer_write"),
        (twice_first(LOAD), "buffer_write"),
        (without_first(LOAD), "buffer_write"),
        (without_first(RESULT), "result_read"),
        (twice_first(RESULT), "result_read"),
    ],
)
def test_a_program_that_is_not_the_layouts_is_found(
    change: Callable[[Ints], Ints], role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = plan(BANKS, FP16_UNIT, of_fp16(3000, 1000), layout=load_layout("aim"))
    run_plan(BANKS, FP16_UNIT, made).check()
    monkeypatch.setattr(in_memory, "program", faulty(change))
    run = run_plan(BANKS, FP16_UNIT, made)
    wanted = {
        "multiply": made.point.counts.multiplies,
        "buffer_write": made.point.counts.writes,
        "result_read": made.point.counts.reads,
    }[role]
    assert run.issued[role] != wanted
    with pytest.raises(CheckError) as caught:
        run.check()
    assert str(caught.value) == (
        f"hbm3_banks: {role} was issued {run.issued[role]} times, the layout has {wanted}"
    )


# Requests of others.


@pytest.mark.parametrize("name", NAMES)
def test_a_channel_reads_a_burst_in_so_many_ticks(name: str) -> None:
    """It keeps up with 0.8 of that, by all banks in turn, and with no more than all of it."""
    part, ticks = load_grouped(name), 40_000
    for load in (0.8, 1.0):
        requests = paced(part, "seq_bg", ticks, load=load)
        assert len(requests) == round(ticks * load / ticks_of_burst(part))
        run = run_program(part, NO_PROGRAM, requests=requests, refresh="none")
        if load < 1:
            assert run.request_cycles == pytest.approx(ticks, rel=0.003)
    at_once = requests * np.array([0, 1, 1, 1, 1])
    assert run_program(part, NO_PROGRAM, requests=at_once, refresh="none").request_cycles >= ticks
    bursts = part.memory.peak_bytes_per_s / part.memory.access_bytes
    assert ticks_of_burst(part) * part.memory.tick_ps * bursts == pytest.approx(1e12)


@pytest.mark.parametrize("load", [0.1, 0.3, 0.9, 1.0])
def test_requests_come_evenly(load: float) -> None:
    requests = paced(BANKS, "mix21_random", 10_000, load=load)
    apart = ticks_of_burst(BANKS) / load
    assert len(requests) == round(10_000 / apart)
    assert requests[:, 0].tolist() == [int(i * apart) for i in range(len(requests))]
    assert requests[:, 0].max() < 10_000
    # Every third is a write.
    assert abs(requests[:, 1].sum() - len(requests) / 3) <= 1
    assert paced(BANKS, "random", 1, load=0.01)[:, 0].tolist() == [0]


@pytest.mark.parametrize("name", NAMES)
def test_requests_lie_where_the_stream_says_from_a_row_on(name: str) -> None:
    part = load_grouped(name)
    memory = part.memory
    rows = memory.levels["Row"]
    requests = paced(part, Random(seed=3), 4000, load=0.5)
    assert requests[:, 3].min() >= rows // 2
    assert requests[:, 3].max() < rows
    assert len({*requests[:, 2].tolist()}) == memory.banks_per_channel
    assert requests[:, 4].max() < memory.bursts_per_row
    run_program(part, NO_PROGRAM, requests=requests)
    last = paced(part, Random(seed=3), 4000, load=0.5, first_row=rows - 1)
    assert {*last[:, 3].tolist()} == {rows - 1}
    assert (last[:, [0, 1, 2, 4]] == requests[:, [0, 1, 2, 4]]).all()


def test_a_stream_that_is_written_out() -> None:
    """A burst every row of a bank: row after row, from a row on and round."""
    memory = load_standard("hbm3_5200")
    order = ("Channel", *memory.banked_levels[1:], "Row", "Column")
    stream = Strided(order, stride_bytes=memory.bursts_per_row * memory.access_bytes)
    requests = paced(BANKS, stream, 4000, load=0.1, first_row=memory.levels["Row"] - 3)
    top = memory.levels["Row"] - 3
    assert requests[:5, 3].tolist() == [top, top + 1, top + 2, top, top + 1]
    assert {*requests[:, 2].tolist()} == {0}


@cache
def alone(name: str, *, refresh: Any = "none", **changes: Any) -> tuple[GroupedPim, InMemoryRun]:
    part = replace(load_grouped(name), changes)
    product = of_fp16(1024 * 16, 512)
    return part, run_product(
        part, FP16_UNIT, product, layout=load_layout("pim_gpt"), refresh=refresh
    )


def beside(name: str, load: float, policy: Any, stream: Any = "seq_bg", **changes: Any) -> Beside:
    part, run = alone(name, **changes)
    return run_beside(part, FP16_UNIT, run, load=load, policy=policy, stream=stream)


@pytest.mark.parametrize("policy", ["concurrent", "exclusive"])
@pytest.mark.parametrize("name", NAMES)
def test_all_are_served_and_nobody_is_faster_for_it(name: str, policy: Any) -> None:
    """Without refresh, which may fall better in a program that starts later."""
    part, run = alone(name)
    channels = sum(each.channels for each in run.runs)
    served = []
    for load in (0.1, 0.5, 0.9):
        both = beside(name, load, policy, "mix21_random")
        both.product.check()
        expected = max(1, round(run.cycles * load / ticks_of_burst(part)))
        assert both.requests == expected * channels
        assert both.alone is run
        assert both.product.plan is run.plan
        assert both.slowdown >= 1
        assert both.request_cycles >= both.alone_cycles
        assert both.read_latency_s >= part.memory.read_latency_ticks * part.memory.tick_ps * 1e-12
        commands = sum((Counter(each.commands) for each in both.product.runs), Counter[str]())
        assert commands["RD"] + commands["WR"] == both.requests
        served.append(both.request_cycles)
    assert served == sorted(served)


@pytest.mark.parametrize("refresh", ["all_bank", "none"])
def test_beside_requests_refreshes_are_as_they_were_alone(refresh: Any) -> None:
    part, run = alone("hbm3_banks", refresh=refresh)
    both = run_beside(part, FP16_UNIT, run, load=0.9, stream="random")
    assert both.product.refresh == refresh
    assert ("REFab" in both.product.runs[0].commands) == (refresh == "all_bank")
    requests = paced(part, "random", run.cycles, load=0.9)
    served = {
        each: run_program(part, NO_PROGRAM, requests=requests, refresh=each).request_cycles
        for each in ("all_bank", "none")
    }
    assert served["none"] < served["all_bank"]
    assert both.alone_cycles == served[refresh]


@pytest.mark.parametrize("load", [0.1, 0.5, 0.8])
def test_two_row_buffers_serve_requests_meanwhile(load: float) -> None:
    """In about the time that they take alone; with one they wait for the product."""
    dual = beside("newton_hbm2", load, "concurrent")
    assert dual.request_cycles <= 1.03 * dual.alone_cycles
    waited = beside("newton_hbm2", load, "concurrent", row_buffers=1)
    assert waited.request_cycles > 1.05 * waited.alone_cycles
    assert waited.read_latency_s > 3 * dual.read_latency_s
    assert waited.slowdown <= dual.slowdown


@pytest.mark.parametrize("name", ["hbm3_banks", "duplex_bank", "gddr6_banks"])
def test_one_row_buffer_of_all_banks_serves_none_meanwhile(name: str) -> None:
    """All banks are the program's: requests come evenly, and wait for half of it on the mean."""
    both = beside(name, 0.2, "concurrent")
    assert both.slowdown < 1.02
    assert both.request_cycles > both.product.cycles
    assert both.read_latency_s > 0.4 * both.product.time_s


@pytest.mark.parametrize("name", NAMES)
def test_exclusive_requests_wait_for_the_product(name: str) -> None:
    both = beside(name, 0.2, "exclusive")
    assert both.slowdown < 1.02
    assert both.request_cycles > both.product.cycles
    assert both.read_latency_s > 0.4 * both.product.time_s


def test_a_bundle_that_multiplies_leaves_the_others() -> None:
    """Duplex: requests of other bundles are as alone, those of the bundle wait for the product."""
    part = load_grouped("duplex_logic")
    made = plan(part, FP16_UNIT, of_fp16(4096, 2048), layout=ONE_GROUP)
    assert made.point.placement.groups == 1
    run = run_plan(part, FP16_UNIT, made, refresh="none")
    requests = paced(part, "random", run.cycles, load=0.2)
    for group, banks in enumerate(part.banks_of_groups):
        requests[:, 2] = np.array(banks)[np.arange(len(requests)) % len(banks)]
        both = run_plan(part, FP16_UNIT, made, requests=requests, refresh="none")
        by_themselves = run_program(part, NO_PROGRAM, requests=requests, refresh="none")
        (served,) = {each.request_cycles for each in both.runs}
        assert both.cycles <= 1.05 * run.cycles
        if group:
            assert served <= 1.01 * by_themselves.request_cycles
        else:
            assert served > both.cycles
