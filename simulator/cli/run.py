"""Commands that build a workload: simulate it, or write it as a SCALE-Sim topology."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simulator.cli import output
from simulator.cli.options import (
    ActivationOption,
    AllLogitsOption,
    AttentionOption,
    BatchOption,
    ContextOption,
    DataflowOption,
    DeviceArgument,
    EmbeddingOption,
    JsonOption,
    KvOption,
    ModelArgument,
    OutOption,
    PhaseOption,
    PipelineOption,
    PolicyOption,
    PowerOption,
    RequestsOption,
    RungOption,
    SequenceOption,
    SetOption,
    ShorthandOption,
    TablesOption,
    TensorOption,
    TraceOption,
    VerifyOption,
    WeightOption,
    changed_device,
    formats_of,
    policies_of,
    two_formats,
    workload_of,
)
from simulator.errors import InfeasibleError, InputError

if TYPE_CHECKING:
    from simulator.hardware import Device
    from simulator.mapping.policies import Policies
    from simulator.results import Result
    from simulator.workload import Workload

#: Tiles that a trace may hold, about 250 bytes each; the Perfetto viewer stops at some 2 GB.
TRACED_TILES = 2_000_000


def run(
    device: DeviceArgument,
    model: ModelArgument,
    phase: PhaseOption,
    batch: BatchOption = None,
    sequence: SequenceOption = None,
    context: ContextOption = None,
    requests: RequestsOption = None,
    tp: TensorOption = 1,
    pp: PipelineOption = 1,
    weight_format: WeightOption = None,
    activation_format: ActivationOption = None,
    kv_format: KvOption = None,
    shorthand: ShorthandOption = None,
    embedding_format: EmbeddingOption = None,
    all_logits: AllLogitsOption = False,
    rung: RungOption = "tile",
    attention: AttentionOption = "fused",
    tables: TablesOption = "fused",
    policy: PolicyOption = None,
    power: PowerOption = "report",
    changes: SetOption = None,
    out: OutOption = None,
    trace: TraceOption = False,
    verify: VerifyOption = False,
    as_json: JsonOption = False,
) -> None:
    """Simulate a prefill or one decode step."""
    on, policies = changed_device(device, changes), policies_of(policy)
    formats = formats_of(shorthand, weight_format, activation_format, kv_format, embedding_format)
    workload = workload_of(
        model,
        phase,
        batch=batch,
        sequence=sequence,
        context=context,
        formats=formats,
        all_logits=all_logits,
        requests=requests,
        tensor_parallel=tp,
        pipeline_parallel=pp,
    )
    _simulate(
        on,
        workload,
        rung,
        attention=attention,
        tables=tables,
        policies=policies,
        power=power,
        out=out,
        trace=trace,
        verify=verify,
        as_json=as_json,
    )


def gemm(
    device: DeviceArgument,
    m: Annotated[int, typer.Argument(metavar="M", help="Rows of the activations.")],
    n: Annotated[int, typer.Argument(metavar="N", help="Columns of the weights.")],
    k: Annotated[int, typer.Argument(metavar="K", help="The reduction.")],
    weight_format: WeightOption = None,
    activation_format: ActivationOption = None,
    dataflow: DataflowOption = None,
    rung: RungOption = "tile",
    changes: SetOption = None,
    out: OutOption = None,
    trace: TraceOption = False,
    verify: VerifyOption = False,
    as_json: JsonOption = False,
) -> None:
    """Simulate one product (M x K) x (K x N)."""
    from simulator.workload import gemm as product

    on = changed_device(device, changes, dataflow)
    workload = product(m, n, k, **two_formats(weight_format, activation_format))
    _simulate(on, workload, rung, out=out, trace=trace, verify=verify, as_json=as_json)


def topology(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.csv", help="SCALE-Sim GEMM topology: Layer, M, N, K,")
    ],
    device: DeviceArgument,
    weight_format: WeightOption = None,
    activation_format: ActivationOption = None,
    dataflow: DataflowOption = None,
    rung: RungOption = "tile",
    changes: SetOption = None,
    out: OutOption = None,
    trace: TraceOption = False,
    verify: VerifyOption = False,
    as_json: JsonOption = False,
) -> None:
    """Simulate a SCALE-Sim GEMM topology.

    The products run one after the other. A name that ends in _xN is N independent products.
    """
    from simulator.workload import read_topology

    on = changed_device(device, changes, dataflow)
    workload = read_topology(file, **two_formats(weight_format, activation_format))
    _simulate(on, workload, rung, out=out, trace=trace, verify=verify, as_json=as_json)


def export_topology(
    model: ModelArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE.csv", help="The file to write.")],
    phase: PhaseOption,
    batch: BatchOption = None,
    sequence: SequenceOption = None,
    context: ContextOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a SCALE-Sim GEMM topology of a model.

    All matrix products of a prefill or of one decode step, attention as whole rectangles.
    """
    from simulator.workload import read_topology, write_topology

    formats = formats_of(None, None, None, None)
    workload = workload_of(
        model, phase, batch=batch, sequence=sequence, context=context, formats=formats
    )
    write_topology(workload, file)
    rows = len(read_topology(file).segments)
    if as_json:
        output.show_json({"file": str(file), "workload": workload.name, "gemms": rows})
    else:
        output.show(f"{file}: {rows} matrix products of {workload.name}")


def _simulate(
    device: "Device",
    workload: "Workload",
    rung: str,
    *,
    attention: str = "fused",
    tables: str = "fused",
    policies: "Policies | None" = None,
    power: str = "report",
    out: str | None,
    trace: bool,
    verify: bool,
    as_json: bool,
) -> None:
    """Simulate, prove the books, write the files, print the summary or the JSON."""
    from simulator.api import simulate
    from simulator.results import save_infeasible
    from simulator.results.result import to_json

    if trace and out is None:
        raise InputError("--trace needs --out FOLDER, where trace.json goes")
    folder = None if out is None else _folder(out)
    segments = sum(segment.repeat for segment in workload.segments)
    try:
        with output.progress(segments) as tick:
            result = simulate(
                device,
                workload,
                rung,
                attention=attention,
                tables=tables,
                policies=policies,
                power=power,
                trace=trace,
                verify=verify,
                progress=tick,
            )
    except InfeasibleError as error:
        if folder is not None:
            what = {"device": device.name, "workload": workload.name, "rung": rung}
            save_infeasible(error, what, folder)
        raise
    result.check()
    files = [] if folder is None else _write(result, folder)
    if as_json:
        output.show(to_json(result.to_dict()).decode().rstrip())
        return
    output.show(str(result.summary()))
    if files:
        output.show("\n".join(["Files", *(f"  {file}" for file in files)]))


def _folder(out: str) -> Path:
    """Make the folder of `--out`, before time is spent on a run that nobody could keep."""
    from simulator.results import prepare_folder

    if not out:
        raise InputError("--out is empty: name a folder")
    return prepare_folder(out)


def _write(result: "Result", folder: Path) -> list[Path]:
    """Write everything that a result can be looked at with; return the files."""
    from simulator.report import write_pictures, write_trace

    if result.tiles is not None and len(result.tiles) > TRACED_TILES:
        output.warn(
            f"trace.json holds ops: {len(result.tiles):,} tiles are more than the "
            f"{TRACED_TILES:,} that viewers take"
        )
        result = replace(result, tiles=None)
    result.save(folder)
    saved = [folder / name for name in ("result.json", "ops.parquet", "intervals.parquet")]
    pictures = write_pictures(result, folder)
    timeline = folder / "timeline.png"
    if timeline not in pictures:
        # A rung without events draws none: that of an earlier run must not stand beside it.
        timeline.unlink(missing_ok=True)
    return [*saved, *pictures, write_trace(result, folder / "trace.json")]
