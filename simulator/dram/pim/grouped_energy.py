"""What the commands of a part with groups of banks cost, by bits or by currents.

The figures are the part's own (`grouped_part.GroupedEnergy`). Left out: refresh, standing by.
"""

from collections.abc import Mapping

from simulator.dram.pim.grouped_part import Amperes, GroupedPim, Ladder


def energies_j(part: GroupedPim, counts: Mapping[str, int]) -> dict[str, float]:
    """Return the joules of so many commands by what takes them; none where the part has none.

    counts: by name of a command, 0 where it has none.
    """
    each = command_energies_j(part)
    if not each:
        return {}
    memory = part.memory
    opened = counts.get(part.command("open"), 0) * part.banks_at_once // part.openings
    opened += counts.get(memory.with_role("open")[0], 0)
    moves = {
        role: counts.get(part.command(role), 0) * each[role]
        for role in ("multiply", "buffer_write", "result_read")
    }
    reads, writes = (
        sum(counts.get(name, 0) for name in memory.with_role(role)) for role in ("read", "write")
    )
    requests = reads * each["read"] + writes * each["write"]
    return {"activate": opened * each["activate"], **moves, "request": requests}


def command_energies_j(part: GroupedPim) -> dict[str, float]:
    """Return the joules of each command by its role; empty where the part has none.

    activate: of a row of one bank; multiply: of a burst of every bank of a group.
    """
    if part.energy is None:
        return {}
    if part.energy.bits is not None:
        return _bit_energies(part, part.energy.bits)
    assert part.energy.amperes is not None
    return _ampere_energies(part, part.energy.amperes)


def _bit_energies(part: GroupedPim, bits: Ladder) -> dict[str, float]:
    """Return the joules of a command, and of the activation of a bank, from pJ a bit."""
    burst = 8 * part.memory.access_bytes

    def moved(size_bits: int, path: tuple[str, ...]) -> float:
        return size_bits * sum(bits.pj_per_bit[step] for step in path) * 1e-12

    request = moved(burst, bits.request_path)
    return {
        "activate": bits.activation_pj * 1e-12,
        "multiply": moved(burst * part.banks_at_once, bits.multiply_path),
        "buffer_write": moved(burst, bits.buffer_path),
        "result_read": moved(8 * part.result_read_bytes, bits.result_path),
        "read": request,
        "write": request,
    }


def _ampere_energies(part: GroupedPim, amperes: Amperes) -> dict[str, float]:
    """Return the same from currents, as `dram.energy`; volts x mA x ps are fJ.

    A buffer write is a write, a result read a read of each pseudo-channel.
    """
    amps, timing = amperes.currents, part.memory.timing
    ras, rp = timing["nRAS"], timing["nRP"]
    per_tick = amps.vdd_v * amps.devices * part.memory.tick_ps * 1e-15
    activation = amps.idd0_ma * (ras + rp) - amps.idd3n_ma * ras - amps.idd2n_ma * rp
    read = (amps.idd4r_ma - amps.idd3n_ma) * timing["nBL"] * per_tick
    write = (amps.idd4w_ma - amps.idd3n_ma) * timing["nBL"] * per_tick
    return {
        "activate": activation * per_tick,
        "multiply": amperes.multiply_reads * read,
        "buffer_write": write,
        "result_read": part.result_read_bytes // part.memory.access_bytes * read,
        "read": read,
        "write": write,
    }
