"""Programs of groups of banks beside reads and writes, on one channel of any DRAM standard.

The part (`grouped_part`) says what a group is, what its commands are of and which rows hold between
them; the kernel (`grouped_kernel`) issues them by the rules below, and timing is in the rows alone.
Unlike its neighbours this is no replica of another controller.

A program is an int64 array (n, 4) of kind, group, row, count. LOAD: `count` buffer writes. ROW:
`count` multiplications with `row` open in `group`. RESULT: `count` result reads. END: the end of a
section; the last one may be left out. Requests are an int64 array (m, 5) of the tick before which
a request is not there, 1 for a write, bank in the channel, row, burst, in order of their ticks.

1. Ticks count from 1. A bus carries one command a tick: one bus, or one for columns (reads, writes,
   and by role multiply, buffer_write, result_read) and one for rows (all others). Every command is
   issued at the first tick that the bus, the rows and these rules allow. Of what can be issued in
   a tick, the program's column command goes first, then its row command, then a request's column
   and row command; what one of them makes possible may follow in the same tick on the other bus.
2. Column commands of the program are issued in its order. A multiplication needs all parts of its
   group open on its row. With `double_buffered`, while the head is at no LOAD, the next LOADs of
   the section (those one after the other) are issued ahead, whenever the head's command cannot be.
3. Row commands of the program are for the next ROW that is not done, of the section that runs, and
   for the `open_ahead` ROWs of the section after it, of each group only for the first of them; of
   several that can be issued, for that which comes first. A group that is open on another row is
   closed. Then rows of requests that are in the way are closed; then its parts are opened, each as
   soon as it may be, in order where several may be. In the way is, with one row buffer, every row
   of requests in its banks: where all groups are whole instances of the level of the refresh, these
   are closed by the close command of that level, else bank by bank, in order; with two buffers, the
   row itself, bank by bank. A group stays open after its ROW until rule 3, 5 or 7 closes it.
4. With `refresh_guard`, the first part of a group is opened only if the row can be done before the
   refresh: the tick + max(o, m + (n - 1) s + c) is not after the tick at which it falls due. When
   parts are opened as rule 3 says and nothing else is, from the first opening: o, the first tick at
   which the rows allow the group to be closed after all openings; m, that at which they allow a
   multiplication; s, c: ticks by the rows from multiply to multiply, at least 1, and to close; n:
   multiplications to come. The first opening since a refresh, or the start, is not guarded.
5. Refreshes of all instances of the level of the refresh fall due at every multiple of its
   interval. Until they are issued nothing else is: open groups are closed; in an instance without a
   bank of an open group, rows of requests are closed by the close command of its level; where none
   are, it is refreshed. Each comes as soon as it may, in this order where several may.
6. A request comes into the queue at its tick, or the tick after a command when that made room, in
   order. Of those in the queue, of which the row is open, the oldest that may be read or written
   is; else the row command of the oldest that may have one is issued: an activation, or a precharge
   unless an older request in the queue is of the open row. One waits for an older one of the same
   burst.
7. What the program holds, requests wait for. With one row buffer it is all banks of a group that is
   open, or that rule 3 is about; with two, the row that is open or to be opened there. Of an open
   group that rule 3 is not about, a request that waits for it has it closed, as its row command.
8. `exclusive`: a section starts when the requests that have come by the last command of the section
   before (of the first one, by tick 0) are served; requests that come later wait for its end, and
   are served from the tick after its last command on. A section of nothing ends when it may start.
   `concurrent`: a section starts when the one before is done, and requests are served at any time.

Left out: the data on the way (a result read is done when its last beat would be, by the read
latency of the memory), units that are slower than `cadence_ticks`, what the buffer holds, queues
of the program, writes that hold what is read, refresh bank by bank.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from simulator.config import unknown
from simulator.dram.channel import TRACE, Command, Trace
from simulator.dram.pim.grouped_energy import energies_j
from simulator.dram.pim.grouped_part import (
    COUNT,
    END,
    FIELDS,
    GROUP,
    KIND,
    LOAD,
    RESULT,
    ROW,
    ROW_NUMBER,
    GroupedPim,
    GroupRole,
    load_grouped,
)
from simulator.dram.pim.grouped_table import Settings, machine_of, names_of
from simulator.dram.pim.run import PimRun
from simulator.errors import InputError

if TYPE_CHECKING:
    from simulator.dram.pim.grouped_kernel import Machine, State

__all__ = [
    "END",
    "LOAD",
    "RESULT",
    "ROW",
    "GroupedPim",
    "GroupedRun",
    "load_grouped",
    "run_program",
]

Ints = NDArray[np.int64]
Policy: TypeAlias = Literal["concurrent", "exclusive"]
RefreshMode: TypeAlias = Literal["all_bank", "none"]
#: Most ticks, and most commands of an entry.
MOST_COUNT = 1 << 40
#: Problems of a program or of requests that are listed.
MOST_PROBLEMS = 20


@dataclass(frozen=True, kw_only=True)
class GroupedRun(PimRun):
    """A program on some channels that do the same, with requests beside it.

    cycles: until program and requests are done. program_cycles: until its last column command, of
    result reads the last beat. request_cycles: until the last beat of a read, or the last write.
    requests, row_hits (requests that found their row open), rows_opened (of groups): of all
    channels. read_latency_avg_ticks: from the first tick of a read to its last beat. energy_j: of
    all channels by what takes it, empty where the part has none.
    """

    program_cycles: int
    request_cycles: int
    requests: int
    row_hits: int
    rows_opened: int
    read_latency_avg_ticks: float
    energy_j: dict[str, float]


def run_program(
    part: GroupedPim,
    program: Ints,
    *,
    policy: Policy = "concurrent",
    requests: Ints | None = None,
    cadence_ticks: int = 0,
    refresh: RefreshMode = "all_bank",
    channels: int = 1,
    operations: int | None = None,
    operations_per_burst: int = 1,
    trace: Trace = None,
) -> GroupedRun:
    """Run a program on a channel, and requests beside it.

    program, requests: as the module says. cadence_ticks: least from a multiplication to the next,
    of units that are slower than the rows: groups take turns in them, or in their power. channels:
    that do the same; figures are of all of them. operations: that were wanted, by default those of
    all multiplications. trace: is given the commands of a channel, levels Channel to Column, in
    order, block by block; those of a group are of its first bank.
    Raises InputError for what is no program or request of the part, unknown policy and refresh,
    and if no command can follow.
    """
    asked = np.zeros((0, 5), np.int64) if requests is None else requests
    numbers = {
        "cadence_ticks": (0, cadence_ticks, MOST_COUNT),
        "channels": (1, channels, part.channels),
        "operations_per_burst": (1, operations_per_burst, MOST_COUNT),
        "operations": (0, operations or 0, MOST_COUNT),
    }
    _refuse(part, program, asked, policy, refresh, numbers)
    settings = Settings(
        exclusive=policy == "exclusive",
        refresh=refresh == "all_bank",
        requests=len(asked) > 0,
        cadence_ticks=cadence_ticks,
    )
    machine = machine_of(part, settings)
    state = _state(part, machine, asked, settings)
    _issue(part, machine, state, program, asked, trace)
    return _run(part, state, channels, operations, operations_per_burst)


def _run(
    part: GroupedPim,
    state: "State",
    channels: int,
    operations: int | None,
    operations_per_burst: int,
) -> GroupedRun:
    from simulator.dram.pim import grouped_kernel as kernel

    k = state.k.tolist()
    counts = Counter[str]()
    for use, count in enumerate(state.counts.tolist()):
        counts[names_of(part)[use]] += count * channels
    bursts = counts[part.command("multiply")]
    return GroupedRun(
        part=part.name,
        cycles=max(k[kernel.LAST_PROGRAM], k[kernel.LAST_REQUEST]),
        tick_ps=part.memory.tick_ps,
        channels=channels,
        commands={name: count for name, count in counts.items() if count},
        bursts=bursts,
        operations=bursts * operations_per_burst if operations is None else operations,
        operations_per_burst=operations_per_burst,
        program_cycles=k[kernel.LAST_PROGRAM],
        request_cycles=k[kernel.LAST_REQUEST],
        requests=k[kernel.SERVED] * channels,
        row_hits=k[kernel.HITS] * channels,
        rows_opened=k[kernel.ROWS_OPENED] * channels,
        read_latency_avg_ticks=k[kernel.READ_TICKS] / k[kernel.READS] if k[kernel.READS] else 0.0,
        energy_j=energies_j(part, counts),
    )


def _issue(
    part: GroupedPim,
    machine: "Machine",
    state: "State",
    program: Ints,
    requests: Ints,
    trace: Trace,
) -> None:
    """Issue all commands."""
    from simulator.dram.pim import grouped_kernel as kernel

    links = np.zeros((len(program), 2), np.int64)
    kernel.link(program, links)
    room = np.zeros((TRACE if trace is not None else 0, kernel.TRACE_FIELDS), np.int64)
    ended = kernel.FULL
    while ended == kernel.FULL:
        ended = kernel.advance(machine, state, program, links, requests, room)
        if trace is not None:
            trace(_traced(part, room[: state.k[kernel.TRACED]]))
            state.k[kernel.TRACED] = 0
    if ended == kernel.STUCK:
        raise InputError(_stuck(part, program, int(state.k[kernel.AT])))


def _stuck(part: GroupedPim, program: Ints, at: int) -> str:
    """Say what waits that will never go."""
    waits = "a request"
    if at < len(program):
        role: dict[int, GroupRole] = {LOAD: "buffer_write", ROW: "multiply", RESULT: "result_read"}
        waits = f"{part.command(role[int(program[at, KIND])])} of program[{at}]"
    return f"{part.name}: {waits} never goes: a row is longer than from refresh to refresh"


def _traced(part: GroupedPim, rows: Ints) -> Iterator[Command]:
    """Yield the commands of a trace of the kernel."""
    names, prefetch = names_of(part), part.memory.prefetch
    counts = [part.memory.levels[level] for level in part.memory.banked_levels[1:]]
    banks = np.stack(np.unravel_index(rows[:, 2], counts), axis=1).tolist()
    for (tick, use, _, row, burst), bank in zip(rows.tolist(), banks, strict=True):
        yield Command(tick, names[use], (0, *bank, row, burst * prefetch))


def _state(part: GroupedPim, machine: "Machine", requests: Ints, settings: Settings) -> "State":
    from simulator.dram.pim import grouped_kernel as kernel

    k = np.zeros(kernel.SCALARS, np.int64)
    k[kernel.FREE_ROW] = k[kernel.FREE_COLUMN] = k[kernel.FRESH] = 1
    k[kernel.FILL_AT] = kernel.NONE
    k[kernel.GATE] = np.searchsorted(requests[:, kernel.NOT_BEFORE], 0, side="right")
    k[kernel.REFRESH_AT] = machine.fixed[kernel.INTERVAL] if settings.refresh else kernel.NEVER
    windows, nodes = machine.windows, int(machine.members.max(initial=0)) + 1
    longest = int(windows[:, kernel.W_WINDOW].max(initial=1))
    return kernel.State(
        k=k,
        ready=np.zeros(int(machine.base[-1]), np.int64),
        history=np.full((len(windows), nodes, longest), -kernel.NEVER, np.int64),
        rings=np.zeros((len(windows), nodes), np.int64),
        group_row=np.full(part.groups, kernel.CLOSED, np.int64),
        parts=np.zeros(part.groups, np.int64),
        part_open=np.zeros(part.groups * part.openings, np.int64),
        leaders=np.full(part.open_ahead + 1, kernel.NONE, np.int64),
        wanted=np.full(part.groups, kernel.NONE, np.int64),
        opened=np.full(part.memory.banks_per_channel, kernel.CLOSED, np.int64),
        refreshed=np.zeros(len(machine.in_scope), np.int64),
        queue=np.zeros((kernel.QUEUE_FIELDS, part.queue_entries), np.int64),
        served=np.zeros(len(requests), np.int64),
        counts=np.zeros(kernel.USES, np.int64),
    )


def _refuse(
    part: GroupedPim,
    program: Ints,
    requests: Ints,
    policy: str,
    refresh: str,
    numbers: dict[str, tuple[int, int, int]],
) -> None:
    """Refuse what cannot be run; numbers: by name, the least, what is given and the most."""
    problems = list[str]()
    for name, value, known in (
        ("policy", policy, get_args(Policy)),
        ("refresh", refresh, get_args(RefreshMode)),
    ):
        if value not in known:
            problems.append(unknown(name, value, known))
    for name, (least, given, most) in numbers.items():
        if not least <= given <= most:
            problems.append(f"{name} must be {least} to {most}, got {given}")
    shapes = _wrong_shape("program", program, FIELDS) + _wrong_shape("requests", requests, 5)
    if not shapes and not len(program) and not len(requests):
        shapes = ["program must have >= 1 entries where there are no requests, got 0"]
    if not shapes:
        problems += [*_wrong_entries(part, program), *_wrong_requests(part, requests)]
    if problems or shapes:
        raise InputError([*problems, *shapes][:MOST_PROBLEMS])


def _wrong_shape(name: str, given: Ints, fields: int) -> list[str]:
    if given.dtype == np.int64 and given.ndim == 2 and given.shape[1] == fields:
        return []
    return [f"{name} must be int64 of shape (n, {fields}), got {given.dtype} {given.shape}"]


def _wrong_entries(part: GroupedPim, program: Ints) -> Iterator[str]:
    kind, rows = program[:, KIND], program[:, KIND] == ROW
    yield from _outside("program", "kind", kind, (LOAD, END))
    yield from _outside("program", "group", program[:, GROUP], (0, part.groups - 1), rows)
    most = part.memory.levels["Row"] - 1
    yield from _outside("program", "row", program[:, ROW_NUMBER], (0, most), rows)
    yield from _outside("program", "count", program[:, COUNT], (1, MOST_COUNT), kind != END)


def _wrong_requests(part: GroupedPim, requests: Ints) -> Iterator[str]:
    memory = part.memory
    columns = (
        ("tick", MOST_COUNT),
        ("write", 1),
        ("bank", memory.banks_per_channel - 1),
        ("row", memory.levels["Row"] - 1),
        ("burst", memory.bursts_per_row - 1),
    )
    for column, (name, most) in enumerate(columns):
        yield from _outside("requests", name, requests[:, column], (0, most))
    for at in np.flatnonzero(np.diff(requests[:, 0]) < 0)[:1].tolist():
        before, tick = requests[at : at + 2, 0].tolist()
        yield f"requests[{at + 1}]: must be in order of ticks, got {tick} after {before}"


def _outside(
    what: str, name: str, values: Ints, bounds: tuple[int, int], where: Any = True
) -> Iterator[str]:
    """Yield the first of the values that are not within bounds."""
    least, most = bounds
    for at in np.flatnonzero(((values < least) | (values > most)) & where)[:1].tolist():
        yield f"{what}[{at}]: {name} must be {least} to {most}, got {values[at]}"
