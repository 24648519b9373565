"""How long the programs of a part take, in closed form, and the share of its refreshes.

`hardware.equations.pim_program_ticks` is the equation; here are the ticks that a part's rows say.

Left out: rows that hold commands back for longer than from each to the next (four activations), the
row bus, requests beside the program.
"""

from collections.abc import Iterator
from math import ceil, prod

from simulator.dram.pim.grouped_part import GroupedPim, GroupRole
from simulator.dram.standard import Constraint
from simulator.hardware.equations import PimTicks, pim_program_ticks
from simulator.mapping.pim_program import Counts


def program_ticks(counts: Counts, ticks: PimTicks) -> float:
    """Return the ticks of a program of a channel with some counts, alone and without refresh."""
    return pim_program_ticks(
        counts.multiplies,
        # A last turn of vectors may find all its rows open.
        max(counts.openings, 1),
        counts.loads,
        counts.writes,
        counts.stops,
        counts.reads,
        ticks,
    )


def ticks_of(part: GroupedPim, groups: int = 1, *, cadence_ticks: int = 0) -> PimTicks:
    """Return what the rows of a part say for programs whose rows are of so many groups in turn.

    cadence_ticks: least from a multiplication to the next, of the units.
    """
    rows = _Rows(part)
    opened = rows.opening()
    ahead = 1 + min(part.open_ahead, groups - 1)
    # Of a group that has just multiplied, the old row is closed after that.
    closing = rows.of_group("multiply", "close") if ahead == groups else 0
    closed = rows.of_group("close", "open")
    first = opened + rows.of_group("open", "multiply")
    again = max(rows.of_group("open", "close") + closed, rows.of_group("open", "open")) + opened
    return PimTicks(
        multiply=max(1, cadence_ticks, rows.of_group("multiply", "multiply")),
        reopen=closing + closed + first,
        ahead=ahead,
        every_row=max(ceil(again / groups), rows.from_group_to_group("open", "open")),
        first=1 + first,
        write=max(1, rows.of_group("buffer_write", "buffer_write")),
        read=max(1, rows.of_group("result_read", "result_read")),
        write_to_multiply=max(1, rows.of_group("buffer_write", "multiply")),
        multiply_to_write=max(1, rows.of_group("multiply", "buffer_write")),
        multiply_to_read=max(1, cadence_ticks, rows.of_group("multiply", "result_read")),
        read_to_multiply=max(1, rows.of_group("result_read", "multiply")),
        read_to_write=max(1, rows.of_group("result_read", "buffer_write")),
        last_read=part.memory.read_latency_ticks,
        writes_ahead=int(part.double_buffered),
    )


def refresh_share(part: GroupedPim) -> float:
    """Return the share of time that all-bank refreshes take, closing and opening included."""
    rows, refresh = _Rows(part), part.memory.refresh
    taken = rows.around_refresh(refresh.command)
    return taken / refresh.interval_ticks


class _Rows:
    """Rows of a part between commands of the first groups, by their roles."""

    def __init__(self, part: GroupedPim) -> None:
        self._part = part
        self._group = part.banks_of_groups[0]
        size = len(self._group) // part.openings
        self._parts = [self._group[at : at + size] for at in range(0, len(self._group), size)]

    def opening(self) -> int:
        """Return the ticks until all parts of a group are opened, each as soon as it may be."""
        ready, tick = dict.fromkeys(range(len(self._parts)), 0), -1
        while ready:
            part = min(ready, key=lambda each: (max(ready[each], tick + 1), each))
            tick = max(ready.pop(part), tick + 1)
            for other, earliest in ready.items():
                ticks = self.between("open", "open", self._parts[part], self._parts[other])
                ready[other] = max(earliest, tick + ticks)
        return tick

    def of_group(self, before: GroupRole, after: GroupRole) -> int:
        """Return the most ticks that a row has between two commands of a group."""
        return self.between(before, after, self._group, self._group)

    def from_group_to_group(self, before: GroupRole, after: GroupRole) -> int:
        """Return the most ticks between commands of two groups; 0 if there is one."""
        groups = self._part.banks_of_groups
        return self.between(before, after, groups[0], groups[1]) if len(groups) > 1 else 0

    def between(
        self,
        before: GroupRole,
        after: GroupRole,
        of_before: tuple[int, ...],
        of_after: tuple[int, ...],
    ) -> int:
        """Return the most ticks of the rows between commands of some banks."""
        part = self._part
        names = part.command(before), part.command(after)
        return max((row.ticks for row in self._rows(*names, of_before, of_after)), default=0)

    def around_refresh(self, refresh: str) -> int:
        """Return the ticks from the last multiplication before a refresh to the first after it."""
        part, banks = self._part, self._group
        opens, closes = part.command("open"), part.command("close")
        to = max((row.ticks for row in self._rows(closes, refresh, banks, banks)), default=0)
        back = max((row.ticks for row in self._rows(refresh, opens, banks, banks)), default=0)
        around = self.of_group("multiply", "close") + self.of_group("open", "multiply")
        return around + to + back + self.opening()

    def _rows(
        self, before: str, after: str, of_before: tuple[int, ...], of_after: tuple[int, ...]
    ) -> Iterator[Constraint]:
        memory = self._part.memory
        levels = memory.banked_levels
        for row in self._part.rows:
            if before in row.before and after in row.after:
                span = prod(memory.levels[each] for each in levels[levels.index(row.level) + 1 :])
                if {bank // span for bank in of_before} & {bank // span for bank in of_after}:
                    yield row
