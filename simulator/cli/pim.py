"""The commands that run a kernel on a device with processing in its memory, command by command."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from simulator.cli import output, pim_capacity, pim_layout, pim_product
from simulator.cli.options import JsonOption
from simulator.errors import InputError

if TYPE_CHECKING:
    from simulator.dram.pim import PimRun

KERNELS = ("gemv", "add", "mul", "relu")
LEVELS = ("bank", "bank_group", "buffer")
MODES = ("blocked", "dual")


class Devices(TyperGroup):
    """Commands, one for each device; refuses others by name."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that arguments name; raises InputError for none."""
        if self.get_command(ctx, args[0]) is None:
            from simulator.config import unknown

            raise InputError(unknown("PIM command", args[0], self.list_commands(ctx)))
        return super().resolve_command(ctx, args)


pim = typer.Typer(cls=Devices, no_args_is_help=True, rich_markup_mode=None)

pim.command()(pim_product.product)
pim.command()(pim_layout.layout)
pim.command()(pim_capacity.capacity)

PartOption = Annotated[
    str | None, typer.Option("--part", metavar="NAME|FILE", help="Other figures, as a YAML file.")
]
OutOption = Annotated[int, typer.Option("--out", metavar="N", help="Outputs, or elements.")]
HeadsOption = Annotated[int, typer.Option("--heads", metavar="H")]


@pim.callback()
def kernels() -> None:
    """Run a kernel in a memory that computes."""


@pim.command()
def attacc(
    context: Annotated[int, typer.Option("--context", metavar="L", help="Tokens of each head.")],
    heads: Annotated[
        int, typer.Option("--heads", metavar="H", help="Heads of all requests on one stack.")
    ],
    head_dim: Annotated[int, typer.Option("--head-dim", metavar="D")] = 128,
    bytes_per_value: Annotated[int, typer.Option("--bytes", metavar="B", help="Of a value.")] = 2,
    level: Annotated[
        str, typer.Option("--level", metavar="|".join(LEVELS), help="Where the units are.")
    ] = LEVELS[0],
    power_limit: Annotated[
        bool, typer.Option("--power-limit", help="Space commands as power allows.")
    ] = False,
    part: PartOption = None,
    as_json: JsonOption = False,
) -> None:
    """AttAcc: attention of one token, in a stack of HBM3."""
    from simulator.dram.pim.attacc import load_attacc, run_attention

    began = time.perf_counter()
    run = run_attention(
        load_attacc(part or "attacc"),
        level,
        context=context,
        heads=heads,
        head_dim=head_dim,
        bytes_per_value=bytes_per_value,
        power_limit=power_limit,
    )
    _show(run, began, as_json)


@pim.command("hbm_pim")
def hbm_pim(
    out: OutOption,
    inputs: Annotated[
        int | None, typer.Option("--in", metavar="N", help="Inputs of a gemv; else as --out.")
    ] = None,
    kernel: Annotated[str, typer.Option("--kernel", metavar="|".join(KERNELS))] = KERNELS[0],
    no_pim: Annotated[
        bool, typer.Option("--no-pim", help="Only read the operands and write the results.")
    ] = False,
    part: PartOption = None,
    as_json: JsonOption = False,
) -> None:
    """Samsung HBM-PIM: a matrix times a vector, or an element-wise kernel."""
    from simulator.dram.pim.hbm_pim import load_hbm_pim, run_kernel

    began = time.perf_counter()
    size = out if inputs is None else inputs
    run = run_kernel(load_hbm_pim(part or "hbm_pim"), kernel, out, size, pim=not no_pim)
    _show(run, began, as_json)


@pim.command()
def aim(
    out: OutOption,
    inputs: Annotated[int, typer.Option("--in", metavar="N", help="Inputs.")],
    part: PartOption = None,
    as_json: JsonOption = False,
) -> None:
    """SK hynix AiM: a matrix times a vector."""
    from simulator.dram.pim.aim import load_aim, run_gemv

    began = time.perf_counter()
    _show(run_gemv(load_aim(part or "aim"), out, inputs), began, as_json)


@pim.command()
def neupims(
    requests: Annotated[
        Path, typer.Option("--requests", metavar="FILE.csv", help="Columns seq_len[,ch_idx].")
    ],
    hidden: Annotated[int, typer.Option("--hidden", metavar="E")],
    heads: HeadsOption,
    tp: Annotated[int, typer.Option("--tp", metavar="T", help="Devices that share it.")] = 1,
    mode: Annotated[
        str, typer.Option("--mode", metavar="|".join(MODES), help="Row buffers, and who waits.")
    ] = MODES[1],
    part: PartOption = None,
    as_json: JsonOption = False,
) -> None:
    """NeuPIMs: attention of one token of each request, on its channel."""
    from simulator.dram.pim.neupims import load_neupims, read_requests, run_attention

    began = time.perf_counter()
    run = run_attention(
        load_neupims(part or "neupims"),
        mode,
        read_requests(requests),
        hidden=hidden,
        heads=heads,
        tp=tp,
    )
    own = {"mha_cycles": run.mha_cycles, "pim_busy_cycles": list(run.pim_busy_cycles)}
    _show(run, began, as_json, own)


@pim.command()
def upmem(
    out: OutOption,
    inputs: Annotated[int, typer.Option("--in", metavar="N", help="Inputs.")],
    bits: Annotated[
        int, typer.Option("--bits", metavar="8|16|32", help="Of a weight, of an input.")
    ] = 8,
    tasklets: Annotated[int, typer.Option("--tasklets", metavar="T", help="Of each DPU.")] = 16,
    dpus: Annotated[int | None, typer.Option("--dpus", metavar="D", help="Else all.")] = None,
    value_bits: Annotated[
        float | None,
        typer.Option("--value-bits", metavar="B", help="In use of the smaller factor; else all."),
    ] = None,
    part: PartOption = None,
    as_json: JsonOption = False,
) -> None:
    """UPMEM: a matrix of integers times a vector, as PrIM does it."""
    from simulator.dram.pim.upmem import load_upmem, run_gemv

    began = time.perf_counter()
    run = run_gemv(
        load_upmem(part or "upmem"),
        out,
        inputs,
        bits=bits,
        tasklets=tasklets,
        dpus=dpus,
        value_bits=value_bits,
    )
    _show(run, began, as_json, {"transfer_s": run.transfer_s})


def _show(run: "PimRun", began: float, as_json: bool, own: dict[str, Any] | None = None) -> None:
    """Print a run; `own`: what only this device has."""
    wall_s = time.perf_counter() - began
    if as_json:
        output.show_json({**_record(run), **(own or {}), "wall_time_s": wall_s})
    else:
        output.show(_table(run, wall_s))


def _record(run: "PimRun") -> dict[str, Any]:
    return {
        "part": run.part,
        "cycles": run.cycles,
        "tick_ps": run.tick_ps,
        "time_s": run.time_s,
        "channels": run.channels,
        "bursts": run.bursts,
        "operations": run.operations,
        "utilisation": run.utilisation,
        "energy_j": getattr(run, "energy_j", None),
        "commands": run.commands,
    }


def _table(run: "PimRun", wall_s: float) -> str:
    from simulator.results import Table, engineering

    rows = [
        ("time", f"{run.cycles:,} cycles, {engineering(run.time_s, 's', 4)}"),
        ("bursts", f"{run.bursts:,}, {run.utilisation:.1%} of what they do was wanted"),
        ("rate", engineering(run.operations / run.time_s if run.cycles else 0.0, "op/s", 4)),
        ("commands", ", ".join(f"{name} {count:,}" for name, count in run.commands.items())),
    ]
    energies: dict[str, float] | None = getattr(run, "energy_j", None)
    if energies is not None:
        parts = ", ".join(f"{name} {engineering(each, 'J', 3)}" for name, each in energies.items())
        rows.append(("energy", parts))
    moved: dict[str, float] | None = getattr(run, "transfer_s", None)
    if moved is not None:
        parts = ", ".join(f"{name} {engineering(each, 's', 3)}" for name, each in moved.items())
        rows.append(("host moves", parts))
    rows.append(("wall time", engineering(wall_s, "s", 3)))
    return Table(f"{run.part}, {run.channels} channels", ("", ""), tuple(rows), "<<", "").text()
