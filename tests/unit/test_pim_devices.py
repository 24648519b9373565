"""Do all devices whose memory multiplies run a decode step, and share time and memory by rule?"""

from collections.abc import Callable
from dataclasses import replace as with_fields
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from simulator.api import device_names, load_device, load_model, simulate
from simulator.config import replace
from simulator.engine import executor, tasks
from simulator.engine.tasks import LINK, PIM, TaskGraph
from simulator.errors import CheckError
from simulator.mapping.policies import Policies
from simulator.results import Result
from simulator.workload import Model, Workload, decode_step

NAMES = [name for name in device_names() if load_device(name).pim is not None]
EXCLUSIVE = [name for name in NAMES if load_device(name).pim.exclusive]  # type: ignore[union-attr]
#: Two that attend while the matrix unit multiplies.
CONCURRENT = ("neupims", "duplex")
#: One of each kind of memory, and one that transfers wait for.
KINDS = ("neupims", "npu_pim_blocked", "attacc", "duplex_bank", "ianus")
RAGGED = (20, 300, 300, 64)
RUNGS = ("roofline", "analytic", "tile")


@cache
def model(**changes: Any) -> Model:
    """Return a GPT-2 of two layers: hidden 512, 4 heads of 128, and few words."""
    sizes = {"hidden": 512, "heads": 4, "kv_heads": 4, "head_dim": 128, "ffn": 1024}
    return replace(
        load_model("gpt-3-175b"), {"name": "tiny", **sizes, "layers": 2, "vocab": 100, **changes}
    )


@cache
def ran(name: str, rung: str = "tile", sub_batch: str = "off", batch: int = 4) -> Result:
    """Return a decode step on a device, with balanced books."""
    work = step(batch)
    result = simulate(load_device(name), work, rung, policies=Policies(sub_batch=sub_batch))
    result.check()
    return result


def step(batch: int = 4) -> Workload:
    """Return a decode step of ragged requests."""
    return decode_step(model(), context=[RAGGED[i % 4] for i in range(batch)])


def test_kinds_of_memories_are_all_there() -> None:
    kinds = {load_device(name).pim.kind for name in NAMES}  # type: ignore[union-attr]
    assert kinds == {"neupims", "attacc", "aim", "groups"}
    assert {load_device(name).pim.kind for name in KINDS} == kinds  # type: ignore[union-attr]


@pytest.mark.parametrize("name", NAMES)
def test_books_balance_and_rungs_are_bounds(name: str) -> None:
    """Roofline <= analytic <= tile; what the memory multiplies is booked at both ends."""
    tile, analytic, roofline = (ran(name, rung) for rung in ("tile", "analytic", "roofline"))
    assert roofline.latency_ps <= analytic.latency_ps <= tile.latency_ps
    assert tile.macs == analytic.macs == step().macs_useful
    pim = next(unit for unit in tile.units if unit.name == "pim")
    assert pim.busy_ps > 0
    moved = tile.traffic["pim"]
    assert moved.bytes_sent == moved.bytes_received == moved.bytes_closed_form > 0
    assert tile.energy_breakdown_j["pim"] > 0
    assert {record.unit for record in tile.records} >= {"pim", "vector"}


@pytest.mark.parametrize("placement", ["mixed", "fixed", "intensity", "predicted"])
@pytest.mark.parametrize("weights", ["fp16", "int4-g128"])
def test_rungs_are_bounds_where_operands_are_widened(placement: str, weights: str) -> None:
    """Keys of int4 are made ready by vector lanes, which have work of earlier operations too."""
    two = replace(load_model("llama-3-8b"), {"layers": 2})
    work = decode_step(two, context=4096, batch=2, weights=weights, kv="int4-g128")
    policies = Policies(placement=placement, sub_batch="off")  # type: ignore[arg-type]
    device = load_device("duplex")
    ps = [simulate(device, work, rung, policies=policies).latency_ps for rung in RUNGS]
    assert ps == sorted(ps)


# AttAcc's keys and values lie where its GPU does not reach them.
@pytest.mark.parametrize("name", [name for name in KINDS if name != "attacc"])
def test_memory_multiplies_what_the_npu_would(name: str) -> None:
    """Keys and values, or weights, are read where they lie or cross the bus: never both."""
    away = simulate(load_device(name), step(), policies=Policies(placement="npu", sub_batch="off"))
    away.check()
    near = ran(name)
    assert away.traffic["pim"].bytes_sent == 0
    crossed = away.bytes["dram"] - near.bytes["dram"]
    assert crossed == pytest.approx(near.bytes["pim"], rel=0.02)


@pytest.mark.parametrize("name", EXCLUSIVE)
def test_transfers_pause_while_an_exclusive_memory_multiplies(name: str) -> None:
    """No transfer starts meanwhile; one that is under way takes that much longer."""
    work = step()
    result = simulate(load_device(name), work, policies=Policies(sub_batch="off"), trace=True)
    units = {unit.name: unit for unit in result.units}
    held = units["pim"].busy_ps + sum(units["pim"].stall_ps.values())
    assert units["dram"].stall_ps["pim"] == held
    assert units["dram"].busy_ps + held <= result.latency_ps
    assert result.tiles is not None
    pim, dram = (tiles_of(result, unit) for unit in ("pim", "dram"))
    for start, end in pim:
        assert not ((dram[:, 0] > start) & (dram[:, 0] < end)).any()
    # As long as all transfers are under way, they either move or pause.
    assert (dram[:, 1] - dram[:, 0]).sum() - units["dram"].busy_ps == overlap_ps(pim, dram)


def tiles_of(result: Result, unit: str) -> NDArray[np.int64]:
    """Return start and end of each tile of a unit."""
    tiles = result.tiles
    assert tiles is not None
    mine = tiles.unit == [each.name for each in result.units].index(unit)
    return np.stack([tiles.start_ps[mine], tiles.end_ps[mine]], axis=1)


def overlap_ps(some: NDArray[np.int64], others: NDArray[np.int64]) -> int:
    """Return for how long a window of some and a window of others are both under way."""
    starts = np.maximum(some[:, None, 0], others[None, :, 0])
    ends = np.minimum(some[:, None, 1], others[None, :, 1])
    return int(np.maximum(ends - starts, 0).sum())


@pytest.mark.parametrize("name", CONCURRENT)
def test_sub_batches_attend_beside_the_other_products(name: str) -> None:
    """The memory attends while the matrix unit multiplies; of one batch, they take turns."""
    beside = {}
    for choice in ("off", "on"):
        policies = Policies(sub_batch=choice, placement="intensity")
        result = simulate(load_device(name), step(32), policies=policies, trace=True)
        assert result.tokens == 32
        beside[choice] = overlap_ps(*(tiles_of(result, unit) for unit in ("pim", "matrix")))
    assert beside["off"] == 0
    assert beside["on"] > 0


@pytest.mark.parametrize("name", ["neupims", "attacc"])
def test_sub_batches_do_every_operation_twice(name: str) -> None:
    whole, split = ran(name), ran(name, sub_batch="on")
    once = [record.name for record in whole.records if record.layer >= 0]
    twice = [record.name for record in split.records if record.layer >= 0]
    assert sorted(twice) == sorted(f"{each}#{batch}" for each in once for batch in (1, 2))
    for rung in ("analytic", "roofline"):
        bound = ran(name, rung, sub_batch="on")
        assert bound.latency_ps <= split.latency_ps


@pytest.mark.parametrize("name", ["neupims", "attacc", "duplex_bank"])
def test_auto_is_never_slower(name: str) -> None:
    on, off, auto = (ran(name, sub_batch=choice) for choice in ("on", "off", "auto"))
    assert auto.latency_ps <= off.latency_ps
    assert auto.latency_ps in (on.latency_ps, off.latency_ps)


def test_auto_splits_where_that_is_faster() -> None:
    """Long contexts of many requests on all channels: attention takes as long as all else."""
    work = decode_step(model(layers=8), context=[2048] * 128, activations="fp16")
    device = load_device("neupims")
    on, off, auto = (
        simulate(device, work, policies=Policies(sub_batch=choice))
        for choice in ("on", "off", "auto")
    )
    assert auto.latency_ps == on.latency_ps < off.latency_ps
    assert auto.records == on.records


@pytest.mark.parametrize("name", ["neupims", "npu_pim_blocked"])
def test_memo_leaves_the_bytes_alone(name: str) -> None:
    apart = simulate(load_device(name), step(), policies=Policies(sub_batch="on"), memo=False)
    assert apart.canonical_bytes() == ran(name, sub_batch="on").canonical_bytes()


def test_a_block_is_a_layer_or_half_of_two() -> None:
    """Of four layers that all take as long, a block is a quarter; of sub-batches half of a pair."""
    device = load_device("npu_pim_blocked")
    result = simulate(device, decode_step(model(layers=4), context=[300] * 4))
    ends = [record.end_ps for record in result.records if record.layer == 3]
    starts = [record.start_ps for record in result.records if record.layer == 0]
    whole = (max(ends) - min(starts)) * result.clock_hz / 1e12
    assert result.cycles_per_block == pytest.approx(whole / 4, rel=0.15)
    two = simulate(
        device, decode_step(model(), context=[300] * 4), policies=Policies(sub_batch="on")
    )
    four = simulate(
        device, decode_step(model(layers=4), context=[300] * 4), policies=Policies(sub_batch="on")
    )
    assert four.cycles_per_block == pytest.approx(two.cycles_per_block, rel=0.02)
    assert [stage.name for stage in two.stages] == ["layers"]


def test_stages_of_a_staged_device_end_together() -> None:
    """All units wait for each other: what stands in stages adds up to the block."""
    device = replace(load_device("neupims"), {"staged": True})
    for choice, names in (("off", "ABE"), ("on", "ABCDEF")):
        result = simulate(device, step(16), policies=Policies(sub_batch=choice))
        result.check()
        assert [stage.name for stage in result.stages] == list(names)
        total = sum(stage.latency_ps for stage in result.stages)
        assert result.block_ps * (2 if choice == "on" else 1) == pytest.approx(total, abs=6)
        attended = {stage.name for stage in result.stages if stage.pim_ps}
        assert attended == set("B" if choice == "off" else "BCDE")


Edit = Callable[[TaskGraph], TaskGraph]


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Callable[[Edit], None]:
    """Return a function that plants a fault into the task graph of each segment."""
    real = tasks.expand

    def planted(edit: Edit) -> None:
        monkeypatch.setattr(tasks, "expand", lambda *given, **named: edit(real(*given, **named)))

    return planted


def changed(graph: TaskGraph, queue: int, **columns: Callable[[int], int]) -> TaskGraph:
    """Return a graph with columns of the first task of a queue changed, if there is one."""
    found = np.flatnonzero((graph.queue == queue) & (graph.duration > 0))
    made = {}
    for name, change in columns.items() if len(found) else ():
        made[name] = getattr(graph, name).copy()
        made[name][found[0]] = change(int(made[name][found[0]]))
    return graph._replace(**made)


def broken(result: Result) -> set[str]:
    """Return the names of the laws that a result says it violates."""
    with pytest.raises(CheckError) as error:
        result.check()
    return {line.strip().split(":")[0] for line in str(error.value).splitlines()[1:]}


def shared(devices: int = 2) -> Result:
    """Return a decode step of one of some devices that exchange sums."""
    work = decode_step(model(), context=RAGGED, tensor_parallel=devices)
    return simulate(load_device("neupims"), work, policies=Policies(sub_batch="off"))


def test_nothing_planted_breaks_nothing(plant: Callable[[Edit], None]) -> None:
    plant(lambda graph: graph)
    assert len(shared().check()) == 12


def test_a_lost_step_of_the_memory(plant: Callable[[Edit], None]) -> None:
    """One of the parts of attention takes no time and reads nothing."""
    plant(lambda graph: changed(graph, PIM, duration=lambda ps: 0, size=lambda size: 0))
    assert broken(shared()) == {"traffic"}


def test_a_doubled_transfer_over_the_link(plant: Callable[[Edit], None]) -> None:
    plant(
        lambda graph: changed(graph, LINK, duration=lambda ps: 2 * ps, size=lambda size: 2 * size)
    )
    assert broken(shared()) >= {"traffic", "events"}


@pytest.mark.parametrize("unit", ["pim", "link"])
def test_what_was_sent_but_not_received(monkeypatch: pytest.MonkeyPatch, unit: str) -> None:
    """Bytes of a main step that are not booked at the other end: those of the memory, of a link."""
    real = executor.execute

    def execute(*given: Any) -> Any:
        done = real(*given)
        table, received = given[0].tasks, given[0].books[:, executor.MAIN_RECEIVED]
        mine = table[:, executor.QUEUE] == {"pim": PIM, "link": LINK}[unit]
        received[table[mine, executor.OP][:1]] -= 1
        return done

    monkeypatch.setattr(executor, "execute", execute)
    assert broken(shared()) == {"traffic"}


def test_energy_of_the_memory_that_nobody_pays_for() -> None:
    result = shared()
    records = tuple(
        record._replace(energy_by_component={**record.energy_by_component, "pim": 0.0})
        if record.unit == "pim"
        else record
        for record in result.records
    )
    assert broken(with_fields(result, records=records)) >= {"energy", "op energy"}


@pytest.mark.parametrize("name", [name for name in EXCLUSIVE if not name.endswith("_ref")])
def test_links_do_not_hold_the_memory(name: str) -> None:
    """What crosses a link of a device is no matter of its banks: transfers go on beside it."""
    device = load_device(name)
    if device.link is None:
        device = replace(device, {"link": {"kind": "ideal", "source": "a test"}})
    work = decode_step(model(), context=[300] * 3, tensor_parallel=2)
    result = simulate(device, work, policies=Policies(placement="npu"))
    result.check()
    (dram,) = (unit for unit in result.units if unit.name == "dram")
    assert dram.stall_ps.get("pim", 0) == 0
