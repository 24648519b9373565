"""How many cycles and commands attention takes on one stack of AttAcc: ours, or a closed form.

Each is a function of the context and of the heads on the stack, as `released_model` takes it.
"""

from collections.abc import Callable
from functools import cache
from math import ceil
from typing import TypeVar

from released_model import AttAcc, Attended, Columns, Commands, Cycles, Model

from simulator.config import replace
from simulator.dram.pim.attacc import load_attacc, run_attention
from simulator.dram.pim.attacc_program import Attention, program_of

T = TypeVar("T")

CHANNELS = 16
#: Heads a stack of which the released scheduler made the recorded cycles of banks; the other ones
#: are of one that lets no activation pass a barrier (`simulator.dram.pim.attacc`).
MADE_AS_RELEASED = (3, 116, 159, 396, 584)
#: Tokens that a multiplication takes: between multiples of them a program does not change.
TOKENS_AT_ONCE = {"bank": 16, "bank_group": 16, "buffer": 2}
#: Programs of the buffer are long. Their cycles are taken every so many tokens, linear between;
#: not a multiple of its segments of 32, so that whole and broken ones are met alike.
BUFFER_STEP = 98


def ours(unit: AttAcc, model: Model) -> Attended:
    """Return our replica's cycles and commands."""
    return Attended(our_cycles(unit, model), our_commands(unit, model))


def by_closed_form(unit: AttAcc, model: Model) -> Attended:
    """Return the closed form's cycles and our replica's commands."""
    return Attended(closed_form(unit, model), our_commands(unit, model))


def our_cycles(unit: AttAcc, model: Model) -> Cycles:
    """Return the cycles of our replica of the released controller, by the scheduler recorded."""
    part = load_attacc()
    strict = replace(part, {"queue.rows_pass_barrier": False})

    @cache
    def exact(context: int, heads: int) -> float:
        recorded_so = unit.level == "bank" and heads not in MADE_AS_RELEASED
        return run_attention(
            strict if recorded_so else part,
            unit.level,
            context=context,
            heads=heads,
            head_dim=model.head_dim,
            bytes_per_value=model.value_bytes,
            power_limit=unit.power_limit,
        ).cycles

    return between(exact) if unit.level == "buffer" else rounded(exact, unit)


def closed_form(unit: AttAcc, model: Model) -> Cycles:
    """Return multiplications at their cadence, row switches of banks, and refresh; no more."""
    values = 32 // model.value_bytes
    split = 4 if unit.level == "bank" else 1
    if unit.level == "buffer":
        cadence, switch = 2, 0
    else:
        cadence, switch = 6 if unit.power_limit else 4, 46 if unit.level == "bank" else 0

    def cycles(context: int, heads: int) -> float:
        columns = ceil(model.head_dim / (split * values))
        macs = columns * ceil(context / TOKENS_AT_ONCE[unit.level])
        of_wave = 2 * (macs * cadence + ceil(macs / 32) * switch)
        return ceil(heads / CHANNELS) * of_wave / (1 - 455 / 5070)

    return cycles


def our_commands(unit: AttAcc, model: Model) -> Commands:
    """Return the commands of our programs, which are those recorded."""
    part = load_attacc()
    multiply = part.units[unit.level].multiply
    into, out, query = (part.command(role) for role in ("weights_in", "result_out", "query_in"))

    @cache
    def exact(context: int, heads: int) -> Columns:
        given = Attention(
            context=context,
            heads=heads,
            head_dim=model.head_dim,
            bytes_per_value=model.value_bytes,
        )
        issued = program_of(part, unit.level, given).issued
        return Columns(issued[multiply], issued[query], issued[into] + issued[out])

    return rounded(exact, unit)


def rounded(of: Callable[[int, int], T], unit: AttAcc) -> Callable[[int, int], T]:
    """Return a function that asks for the longest context of the same program."""
    apart = TOKENS_AT_ONCE[unit.level]
    return lambda context, heads: of(-(-context // apart) * apart, heads)


def between(of: Cycles) -> Cycles:
    """Return a function that is linear between multiples of `BUFFER_STEP`."""

    def cycles(context: int, heads: int) -> float:
        below = context // BUFFER_STEP * BUFFER_STEP
        part = (context - below) / BUFFER_STEP
        start = of(below, heads)
        return start if not part else start + part * (of(below + BUFFER_STEP, heads) - start)

    return cycles
