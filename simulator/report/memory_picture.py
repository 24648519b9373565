"""The first commands of a memory's channel as a picture: a lane a bank, time from left to right.

A bank's light bar is its open row; marks are activations and precharges, blocks are column commands
as wide as a burst holds the data pins, grey is a refresh. Banks that nothing is sent to are left
out; beyond `MOST_BANKS` so are the last ones, and the picture says how many.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from simulator.dram import Command, Standard
from simulator.report.style import FAINT, FONT_PT, INK, SMALL_PT, write_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Lanes at most; inches of one, and of what stands around them all.
MOST_BANKS, LANE_IN, AROUND_IN = 32, 0.16, 0.85
OPEN_ROW, READ, WRITE, REFRESH = "#dde6f0", "#4477aa", "#ee7733", "#bbbbbb"
ACTIVATE, PRECHARGE = "#228833", "#aa3377"
_CLOSING = ("close", "read_close", "write_close", "refresh")


@dataclass
class FirstCommands:
    """Collects commands up to a time; give it to `run_stream` as its trace."""

    standard: Standard
    until_s: float
    commands: list[Command] = field(default_factory=list)

    @property
    def ticks(self) -> int:
        """The last tick that is kept."""
        return int(self.until_s * 1e12 / self.standard.tick_ps)

    def __call__(self, given: Iterable[Command]) -> None:
        """Keep what is early enough."""
        if not self.commands or self.commands[-1].tick <= self.ticks:
            self.commands += [each for each in given if each.tick <= self.ticks]


def write_commands(found: FirstCommands, title: str, path: str | Path) -> Path:
    """Draw commands into a `.png`, `.pdf` or `.svg` file.

    Raises InputError for another suffix, or where the file cannot be written.
    """
    banks = banks_of(found)
    height_in = AROUND_IN + LANE_IN * max(8, min(len(banks), MOST_BANKS))
    return write_picture(lambda figure: _draw(found, banks, title, figure), height_in, path)


def banks_of(found: FirstCommands) -> list[tuple[int, ...]]:
    """Return the banks that commands are sent to, in order of their levels."""
    depth = len(found.standard.banked_levels)
    return sorted(
        {
            each.address[:depth]
            for each in found.commands
            if found.standard.commands[each.name].level == "Bank"
        }
    )


def open_rows(found: FirstCommands, bank: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Yield the ticks from which to which a bank has a row open."""
    standard, since = found.standard, None
    for each in found.commands:
        command = standard.commands[each.name]
        depth = standard.banked_levels.index(command.level) + 1
        if each.address[:depth] != bank[:depth]:
            continue
        if command.role == "open":
            since = each.tick
        elif command.role in _CLOSING and since is not None:
            yield since, each.tick
            since = None
    if since is not None:
        yield since, found.ticks


def _draw(found: FirstCommands, banks: list[tuple[int, ...]], title: str, figure: "Figure") -> None:
    shown, axes = banks[:MOST_BANKS], figure.subplots()
    tick_ns = found.standard.tick_ps / 1000
    for lane, bank in enumerate(shown):
        for start, end in open_rows(found, bank):
            axes.barh(lane, (end - start) * tick_ns, 0.8, left=start * tick_ns, color=OPEN_ROW)
    _draw_commands(found, shown, axes)
    names = "/".join(found.standard.banked_levels[1:])
    axes.set_yticks(range(len(shown)), ["/".join(map(str, bank[1:])) for bank in shown])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(0, found.ticks * tick_ns)
    axes.tick_params(labelsize=SMALL_PT, width=0.5, length=2)
    left_out = len(banks) - len(shown)
    axes.set_xlabel("ns" + (f"; {left_out} banks more" if left_out else ""), size=FONT_PT)
    axes.set_ylabel(names, size=FONT_PT)
    axes.set_title(title, size=FONT_PT, color=INK, loc="left")
    axes.grid(axis="x", color=FAINT, lw=0.3, alpha=0.6)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_linewidth(0.5)
    _legend(figure)


def _draw_commands(found: FirstCommands, shown: list[tuple[int, ...]], axes: "Axes") -> None:
    standard, tick_ns = found.standard, found.standard.tick_ps / 1000
    lanes, depth = {bank: lane for lane, bank in enumerate(shown)}, len(standard.banked_levels)
    burst, refreshes_ns = _burst_ticks(standard), _refresh_ticks(standard) * tick_ns
    for each in found.commands:
        command, at = standard.commands[each.name], each.tick * tick_ns
        if command.role == "refresh":
            axes.axvspan(at, at + refreshes_ns, color=REFRESH, alpha=0.4, lw=0)
        lane = lanes.get(each.address[:depth])
        if lane is None or command.level != "Bank":
            continue
        if command.role in ("read", "read_close", "write", "write_close"):
            colour = READ if command.role.startswith("read") else WRITE
            axes.barh(lane, burst * tick_ns, 0.8, left=at, color=colour)
        elif command.role in ("open", "close"):
            colour = ACTIVATE if command.role == "open" else PRECHARGE
            axes.plot([at, at], [lane - 0.45, lane + 0.45], color=colour, lw=0.9)


def _burst_ticks(standard: Standard) -> int:
    """Return the ticks between reads at the peak rate."""
    bursts_per_s = standard.peak_bytes_per_s / standard.access_bytes
    return max(1, round(1e12 / standard.tick_ps / bursts_per_s))


def _refresh_ticks(standard: Standard) -> int:
    """Return the ticks from a refresh to the next activation that the rows allow."""
    return max(
        row.ticks
        for row in standard.constraints
        if standard.refresh.command in row.before
        and any(standard.commands[after].role.startswith("open") for after in row.after)
    )


def _legend(figure: "Figure") -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        Line2D([], [], color=ACTIVATE, lw=1.2, label="activate"),
        Line2D([], [], color=PRECHARGE, lw=1.2, label="precharge"),
        Patch(color=OPEN_ROW, label="row open"),
        Patch(color=READ, label="read"),
        Patch(color=WRITE, label="write"),
        Patch(color=REFRESH, alpha=0.4, label="refresh"),
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), fontsize=SMALL_PT,
        frameon=False,
    )  # fmt: skip
