"""The options that commands share, and what they mean: devices, lengths, formats, workloads."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import typer

from simulator.errors import InputError

if TYPE_CHECKING:
    from simulator.hardware import Device
    from simulator.mapping.policies import Policies
    from simulator.workload import Model, Workload

DeviceArgument = Annotated[
    str, typer.Argument(metavar="DEVICE", help="Name (see nibblesim devices) or YAML file.")
]
ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="Name (see nibblesim models), YAML file or Hugging Face config.json.",
    ),
]
PhaseOption = Annotated[
    str, typer.Option("--phase", metavar="prefill|decode", help="What to simulate.")
]
BatchOption = Annotated[
    int | None,
    typer.Option("--batch", metavar="N", help="Requests. [default: 1, or as many as lengths]"),
]
SequenceOption = Annotated[
    str | None,
    typer.Option("--sequence", metavar="N[,N...]", help="prefill: tokens of each prompt."),
]
ContextOption = Annotated[
    str | None,
    typer.Option(
        "--context",
        metavar="N[,N...]",
        help="decode: keys attended, the new token's included; several: one a request.",
    ),
]
RequestsOption = Annotated[
    Path | None,
    typer.Option(
        "--requests",
        metavar="FILE.csv",
        help="decode: seq_len[,ch_idx], one request a row: keys attended and the memory's channel.",
    ),
]
TensorOption = Annotated[
    int, typer.Option("--tp", metavar="T", help="Devices that share each layer; this is one.")
]
PipelineOption = Annotated[
    int, typer.Option("--pp", metavar="P", help="Stages of layers; this is the last.")
]
PolicyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--policy",
        metavar="NAME=VALUE",
        help="placement=mixed|fixed|intensity|predicted|npu, assignment=min_load|round_robin, "
        "sub_batch=auto|on|off, head_pipeline=on|off, coprocess=off|ffn; repeatable.",
    ),
]
WeightOption = Annotated[
    str | None,
    typer.Option("--weight-format", metavar="F", help="Format of weights. [default: fp16]"),
]
ActivationOption = Annotated[
    str | None,
    typer.Option("--activation-format", metavar="F", help="Format of activations. [default: fp16]"),
]
KvOption = Annotated[
    str | None,
    typer.Option("--kv-format", metavar="F", help="Format of the KV cache. [default: fp16]"),
]
EmbeddingOption = Annotated[
    str | None,
    typer.Option(
        "--embedding-format",
        metavar="F",
        help="Format of the embedding tables and the LM head. [default: that of weights]",
    ),
]
AllLogitsOption = Annotated[
    bool,
    typer.Option("--all-logits", help="prefill: the LM head sees every token, not only the last."),
]
ShorthandOption = Annotated[
    str | None,
    typer.Option(
        "--format", metavar="S", help="All three, as w4a8kv4; the options above override it."
    ),
]
RungOption = Annotated[
    str,
    typer.Option("--rung", metavar="roofline|analytic|tile|command", help="How closely."),
]
AttentionOption = Annotated[
    str,
    typer.Option("--attention", metavar="fused|unfused", help="Whether scores stay on chip."),
]
TablesOption = Annotated[
    str,
    typer.Option(
        "--tables", metavar="fused|apart", help="Who makes the tables of LUT cores: the op before."
    ),
]
PowerOption = Annotated[
    str,
    typer.Option(
        "--power", metavar="report|throttle|refuse", help="What to do where TDP is passed."
    ),
]
DataflowOption = Annotated[
    str | None,
    typer.Option("--dataflow", metavar="ws|os|is", help="Another dataflow, short or in full."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Change the device, as --set memory.bandwidth='1 TB/s'; repeatable.",
    ),
]
OutOption = Annotated[
    str | None,
    typer.Option("--out", metavar="FOLDER", help="Where result, pictures and trace are written."),
]
TraceOption = Annotated[
    bool, typer.Option("--trace", help="Write every tile, not only every op, to trace.json.")
]
VerifyOption = Annotated[
    bool,
    typer.Option("--verify", help="Also compute a tile of each distinct product bit by bit."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

PHASES = ("prefill", "decode")
DATAFLOWS = {
    "weight_stationary": "weight_stationary",
    "output_stationary": "output_stationary",
    "input_stationary": "input_stationary",
    "ws": "weight_stationary",
    "os": "output_stationary",
    "is": "input_stationary",
}
_WHOLE = re.compile(r"[-+]?[0-9]{1,18}")


class TwoFormats(TypedDict):
    """Names of formats, as arguments of `gemm` and `read_topology`."""

    weights: str
    activations: str


class Formats(TwoFormats):
    """Names of formats, as arguments of `prefill` and `decode_step`."""

    kv: str
    embedding: str | None


class Parallel(TypedDict):
    """Devices that share a model, as arguments of `prefill` and `decode_step`."""

    tensor_parallel: int
    pipeline_parallel: int


def changed_device(name: str, changes: list[str] | None, dataflow: str | None = None) -> "Device":
    """Load a device and apply `--dataflow`, then all of `--set`."""
    from simulator.api import load_device

    device = load_device(name)
    if dataflow is not None:
        device = _with_dataflow(device, dataflow)
    return _with_changes(device, changes) if changes else device


def _with_dataflow(device: "Device", dataflow: str) -> "Device":
    from simulator.config import replace, unknown

    if dataflow not in DATAFLOWS:
        raise InputError(unknown("dataflow", dataflow, DATAFLOWS))
    kind = device.matrix.kind
    if kind != "systolic":
        raise InputError(
            f"{device.name} has a matrix unit of kind '{kind}', which has no dataflow; "
            "--dataflow needs kind 'systolic'"
        )
    return replace(device, {"matrix.dataflow": DATAFLOWS[dataflow]})


def _with_changes(device: "Device", changes: list[str]) -> "Device":
    from simulator.config import replace
    from simulator.config.yaml_reader import plain_scalar

    texts: dict[str, str] = {}
    problems = []
    for change in changes:
        path, equals, text = (part.strip() for part in change.partition("="))
        if not (path and equals and text):
            problems.append(f"--set '{change}': expected PATH=VALUE")
        elif path in texts:
            problems.append(f"--set {path}: given twice")
        texts[path] = text
    if problems:
        raise InputError(problems)
    values = {path: plain_scalar(text) for path, text in texts.items()}
    try:
        changed = replace(device, values)
    except InputError as error:
        raise InputError([f"--set {problem}" for problem in error.problems]) from None
    _refuse_bare_quantities(changed, texts, values)
    return changed


def _refuse_bare_quantities(
    device: "Device", texts: dict[str, str], values: dict[str, Any]
) -> None:
    """Refuse numbers without a unit: `replace` takes them in the base unit, a file does not."""
    from simulator.config import value_at

    problems = []
    for path, value in values.items():
        here = value_at(device, path)
        if isinstance(here, str) and not isinstance(value, str):
            problems.append(f"--set {path}: '{texts[path]}' has no unit; it would mean '{here}'")
    if problems:
        raise InputError(problems)


def two_formats(weight: str | None, activation: str | None) -> TwoFormats:
    """Return the formats of a matrix product; what is not given is FP16."""
    formats = formats_of(None, weight, activation, None)
    return {"weights": formats["weights"], "activations": formats["activations"]}


def formats_of(
    shorthand: str | None,
    weight: str | None,
    activation: str | None,
    kv: str | None,
    embedding: str | None = None,
) -> Formats:
    """Return the formats of a model: one by one, else from the shorthand, else FP16."""
    from simulator.formats import expand_shorthand

    names = expand_shorthand("w16a16" if shorthand is None else shorthand)
    return {
        "weights": names[0] if weight is None else weight,
        "activations": names[1] if activation is None else activation,
        "kv": names[2] if kv is None else kv,
        "embedding": embedding,
    }


def workload_of(
    model: str,
    phase: str,
    *,
    batch: int | None,
    sequence: str | None,
    context: str | None,
    formats: Formats,
    all_logits: bool = False,
    requests: Path | None = None,
    tensor_parallel: int = 1,
    pipeline_parallel: int = 1,
) -> "Workload":
    """Build the workload that `run` and `export-topology` describe."""
    from simulator.api import load_model
    from simulator.config import unknown
    from simulator.workload import decode_step, prefill

    described = load_model(model)
    parallel: Parallel = {
        "tensor_parallel": tensor_parallel,
        "pipeline_parallel": pipeline_parallel,
    }
    match phase:
        case "prefill":
            if requests is not None:
                raise InputError("--requests is for --phase decode")
            if context is not None or sequence is None:
                raise InputError(_lengths_problem("prefill", "--sequence", "--context", context))
            lengths = _lengths("--sequence", sequence)
            last_only = not all_logits
            return prefill(
                described,
                sequence=lengths,
                batch=batch,
                last_token_logits=last_only,
                **formats,
                **parallel,
            )
        case "decode":
            if requests is not None:
                return _of_requests(
                    described, requests, batch, sequence, context, formats, parallel
                )
            if sequence is not None or context is None:
                raise InputError(_lengths_problem("decode", "--context", "--sequence", sequence))
            if all_logits:
                raise InputError("--all-logits is for --phase prefill")
            lengths = _lengths("--context", context)
            return decode_step(described, context=lengths, batch=batch, **formats, **parallel)
        case _:
            raise InputError(unknown("phase", phase, PHASES))


def _of_requests(
    model: "Model",
    file: Path,
    batch: int | None,
    sequence: str | None,
    context: str | None,
    formats: Formats,
    parallel: "Parallel",
) -> "Workload":
    """Build a decode step of the requests of a file, which says all of lengths and batch."""
    from simulator.dram.pim.neupims import read_requests
    from simulator.workload import decode_step

    given = {"--batch": batch, "--sequence": sequence, "--context": context}
    for option, value in given.items():
        if value is not None:
            raise InputError(f"--requests gives all requests; leave {option} away")
    requests = read_requests(file)
    channels = [channel for _, channel in requests if channel is not None]
    return decode_step(
        model,
        context=[keys for keys, _ in requests],
        channels=channels or None,
        **formats,
        **parallel,
    )


def policies_of(given: list[str] | None) -> "Policies":
    """Return the policies of `--policy NAME=VALUE`."""
    from dataclasses import fields

    from simulator.config import unknown
    from simulator.mapping.policies import Policies

    known, found, problems = [field.name for field in fields(Policies)], dict[str, str](), []
    for text in given or ():
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            problems.append(f"--policy '{text}': expected NAME=VALUE")
        elif name not in known:
            problems.append(f"--policy: {unknown('policy', name, known)}")
        elif name in found:
            problems.append(f"--policy {name}: given twice")
        found[name] = value
    if problems:
        raise InputError(problems)
    return Policies(**found)


def _lengths_problem(phase: str, needed: str, other: str, other_given: str | None) -> str:
    """Say that the length of the other phase was given, or that none was."""
    if other_given is not None:
        return f"--phase {phase} takes {needed}, not {other}"
    return f"--phase {phase} needs {needed}"


def _lengths(option: str, text: str) -> int | list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(_WHOLE.fullmatch(part) for part in parts):
        raise InputError(
            f"{option} must be a whole number, or several with commas between, got '{text}'"
        )
    numbers = [int(part) for part in parts]
    return numbers[0] if len(numbers) == 1 else numbers
