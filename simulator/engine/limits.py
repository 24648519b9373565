"""Limits of power: the TDP of a device, and what a stack of a memory that multiplies may take.

TDP is what cooling takes away, so the average of a run is held to it; the current that a stack gets
is bounded at any time, so its most of a microsecond is. Over its TDP a device lowers its clock,
that of its memory stays. A stack slows by its cadence alone, which its part or unit states.

Left out: voltage that falls with the clock, heat that outlasts a run.
"""

from collections.abc import Callable
from dataclasses import replace

from simulator import config
from simulator.errors import InfeasibleError
from simulator.hardware.device import Device
from simulator.hardware.pim import AimChannels, AttAccStacks, NeuPimsBanks
from simulator.results import Result, power_of

#: Clocks that are tried: each step is a 32nd of an octave lower, 2.2 %; a power of two of them.
STEPS = 256
STEPS_PER_OCTAVE = 32
#: Energy that neither the clock nor what is done changes, for the same time.
STATIC = ("leakage", "dram_background")


def within_limits(
    result: Result, device: Device, power: str, again: Callable[[Device], Result]
) -> Result:
    """Return the result of a device with its limits heeded.

    power: "report" adds a warning for each limit that is passed; "throttle" returns the run at the
    highest clock tried at which the average is within the TDP; "refuse" does not. `again` runs on
    another device. Raises InfeasibleError where a limit is passed all the same.
    """
    if power == "throttle" and over_tdp(result, device) is not None:
        result = _throttled(result, device, again)
    over = [error for error in (over_tdp(result, device), over_stack(result, device)) if error]
    if over and power != "report":
        raise over[0]
    return replace(result, warnings=(*result.warnings, *map(str, over)))


def over_tdp(result: Result, device: Device) -> InfeasibleError | None:
    """Return by how much the average power of a run is above the TDP of its device, if it is."""
    most = device.tdp_w
    if most is None:
        return None
    found = result.power.average_w
    if found <= most:
        return None
    return _above(found, most, f"{device.name} takes {found:.4g} W on average, its TDP is")


def over_stack(result: Result, device: Device) -> InfeasibleError | None:
    """Return by how much a stack of the memory is above its limit, if it is.

    All of them are taken to do the same. On a rung without events it is their average.
    """
    pim = device.pim
    if pim is None or isinstance(pim, NeuPimsBanks | AimChannels) or pim.stack_limit is None:
        return None
    # Transfers and refresh are those of the device's own memory, which AttAcc's stacks are not.
    own = isinstance(pim, AttAccStacks)
    power = power_of(result, ("pim",) if own else ("pim", "dram", "dram_background"))
    peak = power.peak_w
    found, most = (power.average_w if peak is None else peak) / pim.stacks, pim.stack_limit.stack_w
    if found <= most:
        return None
    over = "on average" if peak is None else f"over {power.window_s * 1e6:.4g} us"
    return _above(
        found,
        most,
        f"{device.name}: a stack of its memory takes {found:.4g} W {over}, its limit is",
    )


def _above(found_w: float, most_w: float, text: str) -> InfeasibleError:
    return InfeasibleError("power", found_w, most_w, "W", f"{text} {most_w:.4g} W")


def _throttled(result: Result, device: Device, again: Callable[[Device], Result]) -> Result:
    """Return the run at the highest clock, of those tried, that keeps the average within the TDP.

    Power falls with the clock, so half of the clocks that are left are ruled out by each run.
    """
    assert device.tdp_w is not None
    seconds, static_j = result.latency_s, sum(result.shared_energy_j.get(n, 0.0) for n in STATIC)
    if static_j > device.tdp_w * seconds:
        watts = static_j / seconds
        text = f"{device.name}: leakage and refresh alone take {watts:.4g} W, its TDP is"
        raise _above(watts, device.tdp_w, text)
    over, within, best, last = 0, STEPS, None, result
    while within - over > 1:
        step = (over + within) // 2
        slower = config.replace(device, {"clock": _lowered(device.clock_hz, step)})
        last = again(slower)
        if over_tdp(last, slower) is None:
            within, best = step, last
        else:
            over = step
    if best is None:
        watts, mhz = last.power.average_w, last.clock_hz / 1e6
        text = f"{device.name} takes {watts:.4g} W on average at {mhz:.4g} MHz still, its TDP is"
        raise _above(watts, device.tdp_w, text)
    warning = (
        f"clock throttled from {device.clock_hz / 1e6:.4g} to {best.clock_hz / 1e6:.4g} MHz: "
        f"{over_tdp(result, device)}"
    )
    return replace(best, warnings=(*best.warnings, warning))


def _lowered(clock_hz: int, step: int) -> int:
    """Return a clock so many steps lower, in whole kHz as all clocks are."""
    khz = clock_hz * 2 ** (-step / STEPS_PER_OCTAVE) / 1000
    return max(1, int(khz)) * 1000
