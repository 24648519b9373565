"""The summary of a result: the tables that answer where the time and the energy went.

The text keeps within 99 columns; the HTML for notebooks has the same tables.
"""

import html
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.cost import STATES
from simulator.results.checks import laws
from simulator.results.kinds import by_kind
from simulator.results.records import ChannelRecord, UnitRecord
from simulator.results.tables import WIDTH, Table, engineering

if TYPE_CHECKING:
    from simulator.results.result import Result

LISTED_SPILLS = 8


@dataclass(frozen=True)
class Summary:
    """A title, tables and paragraphs (`name`, lines) of a result."""

    title: str
    tables: tuple[Table, ...]
    notes: tuple[tuple[str, tuple[str, ...]], ...]

    def __str__(self) -> str:
        """Return plain text of less than 100 columns."""
        parts = [textwrap.fill(self.title, WIDTH), *(table.text() for table in self.tables)]
        parts += ["\n".join([name, *map(_wrapped, lines)]) for name, lines in self.notes]
        return "\n\n".join(parts)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return the same as plain semantic HTML."""
        parts = [f"<section>\n<h3>{html.escape(self.title)}</h3>\n"]
        parts += [table.html() for table in self.tables]
        for name, lines in self.notes:
            items = "".join(f"<li>{html.escape(line)}</li>\n" for line in lines)
            parts.append(f"<p><b>{html.escape(name)}</b></p>\n<ul>\n{items}</ul>\n")
        return "".join(parts) + "</section>\n"


def summarise(result: "Result") -> Summary:
    """Make the summary of `result`."""
    return Summary(
        title=f"{result.workload} on {result.device} (rung {result.rung})",
        tables=(
            _headline(result),
            _units(result),
            _memories(result),
            _energy(result),
            _states(result),
            _kinds(result),
            *([_numerics(result)] if result.numerics else []),
            *([_channel(result.channel)] if result.channel is not None else []),
            *([_commands(result)] if result.memory_energy_j else []),
        ),
        notes=tuple((name, lines) for name, lines in _notes(result) if lines),
    )


def _headline(result: "Result") -> Table:
    rows = [
        ("latency", f"{engineering(result.latency_s, 's')} ({result.cycles:,} cycles)"),
        ("roofline bound", _bound(result)),
    ]
    if result.tokens:
        rows.append(("tokens/s", f"{result.tokens_per_s:,.1f} ({result.tokens:,} tokens)"))
    rows.append(("energy", engineering(result.energy_j, "J")))
    if result.tokens:
        rows.append(("energy per token", _energy_per_token(result)))
    rows.append(("power", _power(result)))
    issued = f" ({engineering(result.macs_issued, '')} issued)".replace(" )", ")")
    rows.append(("MACs", f"{engineering(result.macs, '')} useful{issued}"))
    return Table("Headline", (), tuple(rows), "<<")


def _power(result: "Result") -> str:
    """Say the average, the most over a window, and the TDP of the device where it has one."""
    power, tdp = result.power, result.resolved.get("device", {}).get("tdp")
    text = f"{engineering(power.average_w, 'W')} average"
    if power.peak_w is not None:
        peak, window = engineering(power.peak_w, "W"), engineering(power.window_s, "s")
        text += f", {peak} at most over {window}"
    return f"{text}; TDP {tdp}" if tdp else text


def _energy_per_token(result: "Result") -> str:
    """Say what a token takes on all devices of a group, which are alike."""
    settings = result.resolved.get("workload", {})
    devices = settings.get("tensor_parallel", 1) * settings.get("pipeline_parallel", 1)
    text = engineering(result.energy_j * devices / result.tokens, "J")
    return f"{text} on all {devices} devices, the rest is of one" if devices > 1 else text


def _bound(result: "Result") -> str:
    text = f"{engineering(result.roofline_bound_s, 's')} ({result.roofline_by})"
    if result.roofline_bound_ps:
        text += f"; latency is {result.latency_ps / result.roofline_bound_ps:.3f} x the bound"
    return text


def _units(result: "Result") -> Table:
    rows = tuple(
        (
            unit.name if unit.instances == 1 else f"{unit.name} x{unit.instances}",
            _percent(unit.busy_ps, result.latency_ps * unit.instances),
            _percent(sum(unit.stall_ps.values()), result.latency_ps * unit.instances),
            _percent(unit.idle_ps, result.latency_ps * unit.instances),
            _causes(unit, result.latency_ps),
        )
        for unit in result.units
    )
    heads = ("unit", "busy", "stalled", "idle", "stalled by")
    return Table("Units, share of the latency", heads, rows, "<>>><")


def _causes(unit: UnitRecord, latency_ps: int) -> str:
    """Name the stall causes of a unit, largest first."""
    causes = sorted(unit.stall_ps.items(), key=lambda item: (-item[1], item[0]))
    whole = latency_ps * unit.instances
    named = [f"{cause} {_percent(ps, whole)}" for cause, ps in causes if ps]
    return ", ".join(named)


def _memories(result: "Result") -> Table:
    rows = tuple(
        (
            name,
            engineering(moved, "B"),
            engineering(moved / result.latency_s, "B/s") if result.latency_ps else "",
        )
        for name, moved in result.bytes.items()
    )
    return Table("Bytes moved", ("memory", "bytes", "average rate"), rows, "<>>")


def _channel(channel: ChannelRecord) -> Table:
    """Say what one channel did; rows by the first command of a burst."""
    energy = channel.energy_reason or engineering(channel.energy_j or 0.0, "J")
    rows = (
        ("bursts", f"{channel.requests:,} of {channel.access_bytes} B"),
        (
            "rows",
            f"{channel.row_hits:,} hits, {channel.row_misses:,} misses, "
            f"{channel.row_conflicts:,} conflicts",
        ),
        ("commands", ", ".join(f"{name} {count:,}" for name, count in channel.commands.items())),
        ("energy", f"{energy} of all channels, by their commands; not in the energy above"),
    )
    return Table(f"One of {channel.channels} channels of {channel.standard}", (), rows, "<<")


def _commands(result: "Result") -> Table:
    rows = tuple((name, _milli(joules)) for name, joules in result.memory_energy_j.items())
    note = "of a decoder block, of two with sub-batches; not in the energy above"
    return Table("Energy of the memory's commands", ("command", "mJ"), rows, "<>", note)


def _energy(result: "Result") -> Table:
    total = result.energy_j
    ordered = sorted(result.energy_breakdown_j.items(), key=lambda item: (-item[1], item[0]))
    rows = [(name, _milli(energy), _percent(energy, total)) for name, energy in ordered]
    rows.append(("total", _milli(total), _percent(total, total)))
    return Table("Energy", ("component", "mJ", "share"), tuple(rows), "<>>")


def _states(result: "Result") -> Table:
    rows = [
        (unit, *(_milli(row[state]) if row.get(state) else "" for state in STATES))
        for unit, row in result.energy_by_state_j.items()
    ]
    return Table("Energy by unit and state, mJ", ("unit", *STATES), tuple(rows), "<>>>>>")


def _kinds(result: "Result") -> Table:
    rows = [
        (
            row.kind,
            f"{row.count:,}",
            engineering(row.advance_ps / 1e12, "s"),
            _percent(row.advance_ps, result.latency_ps),
            engineering(row.macs_useful, ""),
            f"{row.bytes_moved / 1e9:,.3f}",
            _milli(row.energy_j),
            f"{row.bound_by} ({100 * row.bound_share:.0f} %)",
        )
        for row in by_kind(result)
    ]
    shared = sum(result.shared_energy_j.values())
    rows.append(("(no op)", "", "", "", "", "", _milli(shared), ", ".join(_shared_names(result))))
    heads = ("op kind", "count", "time", "share", "MACs", "DRAM GB", "mJ", "bound by (of op time)")
    note = "time: by how much the ops of the kind moved the end of the run; adds up to the latency"
    return Table("Op kinds", heads, tuple(rows), "<>>>>>><", note)


def _numerics(result: "Result") -> Table:
    rows = tuple(
        (
            one.ops[0] + (f" +{len(one.ops) - 1}" if len(one.ops) > 1 else ""),
            f"{one.m}x{one.n}x{one.k}",
            f"{one.weight_format} x {one.activation_format}",
            one.datapath,
            "yes" if one.bit_exact else "NO",
            "-" if one.sqnr_db is None else f"{one.sqnr_db:.1f}",
            f"{100 * one.weight_bit_density:.0f} / {100 * one.activation_bit_density:.0f} %",
        )
        for one in result.numerics
    )
    heads = ("product", "M x N x K", "formats", "datapath", "exact", "SQNR dB", "ones")
    note = "sampled tiles; exact: equal to the specification; ones: of the bits of weights / inputs"
    return Table("Numerics", heads, rows, "<<<<<>>", note)


def _shared_names(result: "Result") -> list[str]:
    """Name the shared energy components, largest first, as many as fit the column."""
    ordered = sorted(result.shared_energy_j.items(), key=lambda item: (-item[1], item[0]))
    return [name for name, energy in ordered if energy][:2]


def _notes(result: "Result") -> list[tuple[str, tuple[str, ...]]]:
    judged = laws(result)
    broken = tuple(f"{law.name}: {text}" for law in judged for text in law.violations)
    proved = tuple(law.statement for law in judged if not law.violations)
    return [
        ("Warnings", result.warnings),
        ("Spills", _spills(result)),
        ("VIOLATED conservation laws", broken),
        ("Conservation laws that hold", ("; ".join(proved),) if proved else ()),
    ]


def _spills(result: "Result") -> tuple[str, ...]:
    lines = [
        f"{spill.tensor} ({spill.op}): {engineering(spill.bytes, 'B')}, {spill.why}"
        for spill in result.spills[:LISTED_SPILLS]
    ]
    rest = result.spills[LISTED_SPILLS:]
    if rest:
        moved = engineering(sum(spill.bytes for spill in rest), "B")
        lines.append(f"and {len(rest)} more: {moved}")
    return tuple(lines)


def _wrapped(line: str) -> str:
    return textwrap.fill(
        line, WIDTH, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False
    )


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def _milli(joules: float) -> str:
    return f"{joules * 1e3:,.3f}" if joules * 1e3 >= 0.001 or not joules else f"{joules * 1e3:.2e}"
