"""A matrix times vectors in a memory that computes: a part, its unit, a layout and its commands.

The part (`dram.pim.grouped_part`) says which banks multiply at once and by which rows, the unit
(`hardware.pim_unit`) how long a burst takes it and what it costs, the layout (`mapping.pim_layout`)
where the matrix lies; `mapping.pim_product` puts them together. On rung "command" the channels'
programs are issued command by command, with requests of others beside them; on rung "analytic"
their time is the closed form of the same rows (`hardware.equations.pim_program_ticks`), lengthened
by the share of refreshes.

Left out: what makes tables of activations for units that want them, the addition of sums of
several banks or channels, which is counted, and all that is no product.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Literal, TypeAlias, get_args

import numpy as np

from simulator.config import unknown
from simulator.dram.pim.grouped import GroupedRun, Ints, Policy, RefreshMode, run_program
from simulator.dram.pim.grouped_energy import energies_j
from simulator.dram.pim.grouped_part import FIELDS, GROUP_ROLES, GroupedPim
from simulator.dram.pim.grouped_requests import paced
from simulator.dram.streams import Stream
from simulator.errors import CheckError, InputError
from simulator.hardware.pim_unit import PimUnit
from simulator.mapping.pim_layout import (
    Dimension,
    Layout,
    Placement,
)
from simulator.mapping.pim_nest import Held
from simulator.mapping.pim_product import Plan, Product, commands_of, plan, units_j
from simulator.mapping.pim_program import Counts, program
from simulator.mapping.pim_storage import append_requests
from simulator.mapping.pim_time import refresh_share

PS_PER_S = 10**12
Rung: TypeAlias = Literal["analytic", "command"]
RUNGS: tuple[Rung, ...] = get_args(Rung)


@dataclass(frozen=True, kw_only=True)
class InMemoryRun:
    """A product in a memory.

    cycles: of `tick_ps`, until the results of all channels are read. issued: commands of groups by
    role, on rung "analytic" those of the plan. energy_j: nominal, of commands of the memory by name
    and of the units; of these alone where the part has none. runs: by command, of channels that do
    the same; empty on rung "analytic".
    """

    part: str
    unit: str
    pe: str
    rung: Rung
    refresh: RefreshMode
    plan: Plan
    banks_at_once: int
    cycles: int
    tick_ps: int
    issued: dict[str, int]
    energy_j: dict[str, float]
    runs: tuple[GroupedRun, ...]

    @property
    def counts(self) -> Counts:
        """What the layout has for all channels."""
        return self.plan.point.counts

    @property
    def time_s(self) -> float:
        """Time until all results are read."""
        return self.cycles * self.tick_ps / PS_PER_S

    @property
    def channels(self) -> int:
        """Channels that have a part of the matrices."""
        return self.plan.point.placement.channel_sizes().total()

    @property
    def utilisation(self) -> float:
        """Part of what all multiplies could do that was wanted."""
        most = self.counts.multiplies * self.banks_at_once * self.plan.fit.macs
        return self.plan.product.macs / most

    @property
    def power_w(self) -> float:
        """Mean power of commands and units; of units alone where the part has no energies."""
        return sum(self.energy_j.values()) / self.time_s

    def check(self) -> None:
        """Compare what was issued with what the layout has; raises CheckError where they differ."""
        wanted = {
            "multiply": self.counts.multiplies,
            "buffer_write": self.counts.writes,
            "result_read": self.counts.reads,
        }
        problems = [
            f"{self.part}: {role} was issued {self.issued[role]} times, the layout has {count}"
            for role, count in wanted.items()
            if self.runs and self.issued[role] != count
        ]
        if problems:
            raise CheckError("\n".join(problems))


@dataclass(frozen=True, kw_only=True)
class Beside:
    """A product beside requests of others, and both alone.

    requests: of all channels that have a part of the matrix. *_cycles: until the last of them,
    beside the product and alone.
    read_latency_s: mean, beside the product, from the time that a read is there.
    """

    alone: InMemoryRun
    product: InMemoryRun
    requests: int
    request_cycles: int
    alone_cycles: int
    read_latency_s: float

    @property
    def slowdown(self) -> float:
        """Time of the product over that without requests."""
        return self.product.cycles / self.alone.cycles


def run_product(
    part: GroupedPim,
    unit: PimUnit,
    product: Product,
    *,
    layout: Layout | None = None,
    held: Held | None = None,
    rung: Rung = "command",
    policy: Policy = "concurrent",
    requests: Ints | None = None,
    refresh: RefreshMode = "all_bank",
) -> InMemoryRun:
    """Multiply in a memory.

    layout: with lanes as the unit has them in place of its own; by default the fastest that is
    found. held: whether sums or inputs stay in the units, by default what is faster. policy,
    requests: of each channel, as of `run_program`; on rung "command" only.

    Raises InputError for formats that the unit does not multiply, a column that does not feed it, a
    matrix that does not fit the banks, requests on rung "analytic", and unknown words.
    """
    made = plan(part, unit, product, layout=layout, held=held)
    return run_plan(part, unit, made, rung=rung, policy=policy, requests=requests, refresh=refresh)


def run_plan(
    part: GroupedPim,
    unit: PimUnit,
    plan: Plan,
    *,
    rung: Rung = "command",
    policy: Policy = "concurrent",
    requests: Ints | None = None,
    refresh: RefreshMode = "all_bank",
) -> InMemoryRun:
    """Do a product as planned; arguments and errors as of `run_product`."""
    choices = {
        "rung": (rung, RUNGS),
        "policy": (policy, get_args(Policy)),
        "refresh": (refresh, get_args(RefreshMode)),
    }
    problems = [unknown(name, *each) for name, each in choices.items() if each[0] not in each[1]]
    if rung == "analytic" and requests is not None:
        problems.append("requests need rung 'command', got 'analytic'")
    interval = part.memory.refresh.interval_ticks
    if plan.fit.cadence_ticks >= interval:
        problems.append(
            f"unit '{unit.name}' takes {plan.fit.cadence_ticks} ticks for a column, {part.name} is "
            f"refreshed each {interval}"
        )
    if problems:
        raise InputError(problems)
    runs = list[GroupedRun]()
    if rung == "command":
        runs += _issued(part, unit, plan, policy, requests, refresh)
        cycles = max(run.program_cycles for run in runs)
        commands = sum((Counter(run.commands) for run in runs), Counter())
    else:
        share = refresh_share(part) if refresh == "all_bank" else 0.0
        cycles = ceil(plan.point.program_ticks / (1 - share))
        commands = commands_of(part, plan.point.counts)
    energy_j = energies_j(part, commands)
    if requests is None:
        energy_j.pop("request", None)
    energy_j["units"] = units_j(part, unit, plan)
    return InMemoryRun(
        part=part.name,
        unit=unit.name,
        pe=unit.pe.name,
        rung=rung,
        refresh=refresh,
        plan=plan,
        banks_at_once=part.banks_at_once,
        cycles=cycles,
        tick_ps=part.memory.tick_ps,
        # When groups are closed, the closed form does not say.
        issued={
            role: commands[part.command(role)]
            for role in GROUP_ROLES
            if role != "close" or rung == "command"
        },
        energy_j=energy_j,
        runs=tuple(runs),
    )


def run_beside(
    part: GroupedPim,
    unit: PimUnit,
    alone: InMemoryRun,
    *,
    load: float,
    stream: Stream | str = "seq_bg",
    policy: Policy = "concurrent",
) -> Beside:
    """Run a product again, as it was, with a stream of requests on each channel that has a part.

    load: share of the most that a channel reads, at which requests come for as long as the product
    took alone. Raises InputError for a product that was not run by command or not alone, and as
    `paced`.
    """
    if not alone.runs:
        raise InputError(f"load needs rung 'command', got '{alone.rung}'")
    others = sum(run.requests for run in alone.runs)
    if others:
        raise InputError(f"load needs a product that was run alone, got one with {others} requests")
    requests = paced(part, stream, alone.cycles, load=load)
    again = run_plan(
        part, unit, alone.plan, policy=policy, requests=requests, refresh=alone.refresh
    )
    by_themselves = run_program(
        part,
        np.zeros((0, FIELDS), np.int64),
        policy=policy,
        requests=requests,
        refresh=alone.refresh,
    )
    reads = [run.read_latency_avg_ticks * run.channels for run in again.runs]
    channels = sum(run.channels for run in again.runs)
    return Beside(
        alone=alone,
        product=again,
        requests=sum(run.requests for run in again.runs),
        request_cycles=max(run.request_cycles for run in again.runs),
        alone_cycles=by_themselves.request_cycles,
        read_latency_s=sum(reads) / channels * part.memory.tick_ps / PS_PER_S,
    )


def append_ticks(part: GroupedPim, placement: Placement, dimension: Dimension, index: int) -> int:
    """Return the ticks in which an output or input is written, where nothing else goes on.

    Raises InputError for an index that the matrix does not have.
    """
    of_channels = append_requests(placement, dimension, index, part.banks_of_groups)
    nothing = np.zeros((0, FIELDS), np.int64)
    return max(
        run_program(part, nothing, requests=requests, refresh="none").request_cycles
        for requests in of_channels.values()
    )


def _issued(
    part: GroupedPim,
    unit: PimUnit,
    plan: Plan,
    policy: Policy,
    requests: Ints | None,
    refresh: RefreshMode,
) -> Iterator[GroupedRun]:
    """Run the programs of a plan, one for all channels that do the same."""
    product, point = plan.product, plan.point
    for each in program(
        point.placement, vectors=product.vectors, vectors_held=unit.vectors_held, held=point.held
    ):
        yield run_program(
            part,
            each.entries,
            policy=policy,
            requests=requests,
            cadence_ticks=plan.fit.cadence_ticks,
            refresh=refresh,
            channels=each.channels,
            operations_per_burst=part.banks_at_once * plan.fit.macs,
        )
