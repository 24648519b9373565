"""Do groups of banks with NeuPIMs' rows take what our replica of its NewtonSim does?

`neupims` is exact to NewtonSim; groups of banks have rules of their own, so they are near it and
no more. They close a group by one command, where NeuPIMs closes each of 32 banks.
"""

from collections.abc import Iterator

import numpy as np
import pytest
from pim_grouped_cases import Ints

from simulator.dram.pim import neupims_program as neupims
from simulator.dram.pim.grouped import LOAD, RESULT, ROW, GroupedPim, load_grouped, run_program
from simulator.dram.pim.neupims import load_neupims, run_attention
from simulator.dram.standard import Constraint, Standard, load_standard

NEUPIMS = load_neupims()
#: Commands of memory that both have.
MEMORY = ("ACT", "PREpb", "REFab", "RD", "WR")
BANKS_CLOSED = 32


def row(level: str, before: str, after: str, ticks: int) -> Constraint:
    return Constraint(
        level=level, before=tuple(before.split()), after=tuple(after.split()), ticks=ticks
    )


def memory() -> Standard:
    """Return NeuPIMs' memory: 32 banks in two ranks, with its rows between commands of memory."""
    given, rows = load_standard("hbm2_2000"), list[Constraint]()
    for each in NEUPIMS.rows("dual"):
        before = tuple(name for name in each.before if name in MEMORY)
        after = tuple(name for name in each.after if name in MEMORY)
        if before and after:
            rows.append(each.model_copy(update={"before": before, "after": after}))
    rows += [row("Rank", "ACT", "PREab", 34), row("Rank", "PREab", "ACT REFab", 14)]
    kept = {name: command for name, command in given.commands.items() if name in MEMORY}
    ranks = {
        name: given.commands[name].model_copy(update={"level": "Rank"})
        for name in ("PREab", "REFab")
    }
    one = {name: c.model_copy(update={"cycles": 1}) for name, c in {**kept, **ranks}.items()}
    fields = {name: getattr(given, name) for name in Standard.model_fields}
    return Standard(
        **{
            **fields,
            "levels": {"Channel": 1, **{k: v for k, v in NEUPIMS.levels.items() if k != "Channel"},
                       "Column": 64},
            "channel_width_bits": 128,
            "buses": "one",
            "commands": one,
            "constraints": tuple(rows),
            "bank_refresh": None,
        }
    )  # fmt: skip


def part(closing_ticks: int) -> GroupedPim:
    """Return groups of all banks by the rows of NeuPIMs' dual mode.

    closing_ticks: beside tRP, from the first command that closes a bank to the last.
    """
    closed = 14 + closing_ticks
    rows = (
        row("Channel", "GWRITE", "GWRITE COMP READRES", 96),
        row("Rank", "G_ACT", "ACT G_ACT", 30),
        row("BankGroup", "G_ACT", "G_ACT", 48),
        row("Channel", "G_ACT", "COMP", 14),
        row("Bank", "G_ACT", "PIM_PRECHARGE", 34),
        row("Bank", "PIM_PRECHARGE", "G_ACT", closed),
        row("Rank", "PIM_PRECHARGE", "REFab", closed),
        row("Rank", "REFab", "G_ACT", 260),
        row("Channel", "COMP READRES", "COMP READRES GWRITE", 2),
        row("Channel", "COMP READRES", "PIM_PRECHARGE", 5),
        row("Channel", "READRES", "G_ACT", 19),
    )
    given = load_grouped("newton_hbm2")
    fields = {name: getattr(given, name) for name in GroupedPim.model_fields}
    at_once = {"Rank": 2, "BankGroup": 4, "Bank": 4}
    changes = {"memory": memory(), "at_once": at_once, "constraints": rows}
    return GroupedPim(**{**fields, **changes, "one_buffer_constraints": (), "energy": None})


def programs(tokens: int, hidden: int, heads: int, tp: int) -> Iterator[Ints]:
    """Yield what a request on one channel is sent, stage by stage."""
    shape = neupims.shape_of(NEUPIMS, hidden, heads, tp)
    for stage in neupims.stages(NEUPIMS, "dual", shape, [[tokens], *[[]] * 31]):
        entries = list[tuple[int, ...]]()
        for use, steps, _, opened, _ in stage.ops[0].tolist():
            if use == neupims.GWRITE:
                entries.append((LOAD, 0, 0, 1))
            elif use == neupims.COMPOSITE:
                entries += [(ROW, 0, opened, steps), (RESULT, 0, 0, 1)]
        yield np.array(entries, np.int64)


@pytest.mark.parametrize(
    ("tokens", "hidden", "heads", "tp"),
    [(376, 4096, 32, 4), (1024, 4096, 32, 4), (2048, 4096, 32, 4), (2048, 12288, 96, 8)],
)
def test_a_request_takes_about_what_it_does_in_neupims(
    tokens: int, hidden: int, heads: int, tp: int
) -> None:
    exact = run_attention(NEUPIMS, "dual", [(tokens, 0)], hidden=hidden, heads=heads, tp=tp)
    errors = []
    for closing in (0, BANKS_CLOSED - 1):
        ticks = sum(
            # To the command of the last result.
            run_program(part(closing), each).program_cycles - NEUPIMS.read_ticks
            for each in programs(tokens, hidden, heads, tp)
        )
        errors.append(ticks / exact.channel_cycles[0] - 1)
    assert -0.2 < errors[0] < -0.15
    assert -0.07 < errors[1] < -0.02
