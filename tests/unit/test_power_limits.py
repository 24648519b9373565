"""Is a device held to its TDP and the stacks of its memory to their limit?"""

import pytest

from simulator import config
from simulator.api import load_device, simulate
from simulator.engine.limits import STEPS, _lowered, over_stack, within_limits
from simulator.errors import InfeasibleError
from simulator.hardware import Device
from simulator.results import Result, power_of
from simulator.workload import gemm

WORK = gemm(2048, 2048, 2048)
GEMV = gemm(1, 4096, 4096)


def device(tdp: str | None) -> Device:
    """Return an A100 with another TDP; at full clock the product takes some 285 W."""
    return config.replace(load_device("a100"), {"tdp": tdp})


@pytest.fixture(scope="module")
def free() -> Result:
    """Return the product without a limit."""
    return simulate(device(None), WORK)


@pytest.mark.parametrize("rung", ["roofline", "analytic", "tile"])
def test_within_its_tdp_nothing_is_said(rung: str) -> None:
    for choice in ("report", "throttle", "refuse"):
        result = simulate(device("500 W"), WORK, rung, power=choice)
        assert result.warnings == ()
        assert result.clock_hz == 1_410_000_000


def test_as_much_as_the_tdp_is_within_it(free: Result) -> None:
    exact = device(f"{free.power.average_w!r} W")
    assert exact.tdp_w == free.power.average_w
    assert simulate(exact, WORK, power="refuse").warnings == ()


def test_report_warns_and_changes_nothing_else(free: Result) -> None:
    result = simulate(device("200 W"), WORK)
    average = f"{free.power.average_w:.4g}"
    assert result.warnings == (f"a100 takes {average} W on average, its TDP is 200 W",)
    assert (result.latency_ps, result.energy_j) == (free.latency_ps, free.energy_j)


@pytest.mark.parametrize("rung", ["roofline", "analytic", "tile"])
def test_throttled_to_the_highest_clock_of_those_tried(rung: str) -> None:
    """One step higher is too much, the books of the slower run hold, what it says is true."""
    full, on = simulate(device(None), WORK, rung), device("200 W")
    result = simulate(on, WORK, rung, power="throttle")
    assert result.power.average_w <= 200
    assert result.latency_ps > full.latency_ps
    result.check()
    steps = {_lowered(on.clock_hz, step): step for step in range(STEPS)}
    higher = _lowered(on.clock_hz, steps[result.clock_hz] - 1)
    assert simulate(config.replace(on, {"clock": higher}), WORK, rung).power.average_w > 200
    assert result.warnings == (
        f"clock throttled from 1410 to {result.clock_hz / 1e6:.4g} MHz: a100 takes "
        f"{full.power.average_w:.4g} W on average, its TDP is 200 W",
    )
    assert result.resolved["device"]["clock"] == f"{result.clock_hz // 1000} kHz"


def test_it_takes_eight_runs(free: Result) -> None:
    on, clocks = device("200 W"), list[int]()

    def again(slower: Device) -> Result:
        clocks.append(slower.clock_hz)
        return simulate(slower, WORK)

    assert within_limits(free, on, "throttle", again).clock_hz in clocks
    assert len(clocks) == len({*clocks}) == 8


def stacked(limit_w: float, **changes: object) -> Device:
    """Return an NPU with units in the banks of its memory and a limit of its stacks' power."""
    banks = {
        "kind": "groups",
        "part": "hbm3_banks",
        "unit": "fp16_in_bank",
        "sets": 1,
        "policy": "blocked",
        "multiplies": ["weights"],
        "keys": "aim",
        "values": "aim",
        "weights": "aim",
        "stack_limit": {"stack": f"{limit_w!r} W", "source": "test"},
        "source": "test",
    }
    return config.replace(load_device("npu_hbm2"), {"pim": banks, **changes})


@pytest.mark.parametrize("rung", ["analytic", "tile"])
def test_a_stack_over_its_limit(rung: str) -> None:
    """Over a microsecond where there are events; no clock of the device slows a stack."""
    result = simulate(stacked(100), GEMV, rung)
    assert result.warnings == ()
    power = power_of(result, ("pim", "dram", "dram_background"))
    of_stack = power.average_w if power.peak_w is None else power.peak_w
    assert simulate(stacked(of_stack), GEMV, rung, power="refuse").warnings == ()
    limit = 0.999 * of_stack
    text = (
        f"npu_hbm2: a stack of its memory takes {of_stack:.4g} W "
        f"{'over 1 us' if rung == 'tile' else 'on average'}, its limit is {limit:.4g} W"
    )
    assert simulate(stacked(limit), GEMV, rung).warnings == (text,)
    for choice in ("throttle", "refuse"):
        with pytest.raises(InfeasibleError) as error:
            simulate(stacked(limit), GEMV, rung, power=choice)
        assert error.value.report() == {
            "state": "INFEASIBLE",
            "resource": "power",
            "demand": of_stack,
            "bound": limit,
            "unit": "W",
            "reason": text,
        }


def test_stacks_share_the_power_of_a_memory() -> None:
    result, limit = simulate(stacked(100), GEMV), 4.0
    alone, of_four = (over_stack(result, stacked(limit, **{"pim.sets": sets})) for sets in (1, 4))
    assert alone is not None
    assert alone.demand == pytest.approx(11.95, rel=1e-3)
    assert of_four is None


def test_stacks_of_their_own_take_nothing_that_the_device_moves() -> None:
    """AttAcc's stacks stand beside the memory of the device."""
    own = {"capacity": "16 GB", "bandwidth": "1 TB/s", "latency": "1 us", "pj_per_bit": 1}
    stacks = {
        "kind": "attacc",
        "part": "attacc",
        "level": "bank",
        "power_limit": True,
        "stacks": 1,
        "own": {**own, "source": "test"},
        "stack_limit": {"stack": "1 uW", "source": "test"},
        "source": "test",
    }
    result = simulate(load_device("npu_hbm2"), GEMV)
    assert result.energy_breakdown_j["dram"] > 0
    assert over_stack(result, config.replace(load_device("npu_hbm2"), {"pim": stacks})) is None


def test_a_memory_without_a_limit(free: Result) -> None:
    assert over_stack(free, load_device("a100")) is None
    assert over_stack(free, load_device("neupims")) is None
    assert over_stack(free, config.replace(stacked(1), {"pim.stack_limit": None})) is None
