"""The command that describes a device or a model: what its file says, and what follows from it."""

from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simulator.cli import output
from simulator.cli.options import JsonOption, formats_of
from simulator.errors import InputError

if TYPE_CHECKING:
    from simulator.config import Part
    from simulator.hardware import Device
    from simulator.results import Table
    from simulator.workload import Model

OPS_PER_MAC = 2
#: Lengths of runs that are shown, and of how many of them one is read.
SHOWN_RUNS = tuple(32 * 8**power for power in range(7))
SHOWN_COLUMNS = 8
SHOWN_SHORTHANDS = ("w16a16", "w8a8kv8", "w4a8kv4", "w1.58a8")


def describe(
    what: Annotated[
        str, typer.Argument(metavar="NAME|FILE", help="A device or a model, by name or file.")
    ],
    as_yaml: Annotated[
        bool, typer.Option("--yaml", help="Print the resolved YAML, which can be loaded.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Describe a device or a model.

    A device with its derived peaks, a model with its parameters and bytes in several formats.
    """
    from simulator.config import content_hash, dump_yaml, resolved
    from simulator.hardware import Device

    if as_yaml and as_json:
        raise InputError("give --yaml or --json, not both")
    part = _load(what)
    if as_yaml:
        output.show(dump_yaml(part).rstrip())
        return
    is_device = isinstance(part, Device)
    derived = _device_facts(part) if isinstance(part, Device) else _model_facts(part)
    if as_json:
        record = {"kind": "device" if is_device else "model", "name": part.name}
        described = {"description": resolved(part), "derived": derived}
        output.show_json({**record, **described, "content_hash": content_hash(part)})
        return
    tables = _part_tables(part)
    tables += _device_tables(derived) if is_device else _model_tables(derived)
    output.show("\n\n".join(table.text() for table in tables))


def _load(what: str) -> "Device | Model":
    """Load a device or a model; a file is the one with which it shares more keys."""
    from simulator.api import device_names, load_device, load_model, model_names
    from simulator.config import unknown

    if what in device_names():
        return load_device(what)
    if what in model_names() or (what and Path(what).is_dir()):
        return load_model(what)
    if "/" in what or what.endswith((".yaml", ".yml", ".json")):
        return load_model(what) if _is_model(what) else load_device(what)
    raise InputError(unknown("device or model", what, [*device_names(), *model_names()]))


def _is_model(file: str) -> bool:
    from simulator.api import model_names
    from simulator.config.yaml_reader import read_yaml
    from simulator.hardware import Device
    from simulator.workload import Model

    if file.endswith(".json"):
        return True
    data = read_yaml(Path(file), file).data
    base = data.get("base")
    if isinstance(base, str) and base in model_names():
        return True
    shared = {
        schema: len(
            data.keys() & {info.alias or name for name, info in schema.model_fields.items()}
        )
        for schema in (Model, Device)
    }
    return shared[Model] > shared[Device]


def _part_tables(part: "Part") -> list["Table"]:
    """Return what the file says: the plain values in one table, each mapping in its own."""
    from simulator.config import resolved
    from simulator.results import Table

    plain = resolved(part)
    own = {key: value for key, value in plain.items() if not isinstance(value, dict)}
    tables = [Table(str(own.pop("name")), (), tuple(_rows(own)), "<<")]
    for key, value in plain.items():
        if isinstance(value, dict):
            tables.append(Table(key, (), tuple(_rows(value)), "<<"))
    return tables


def _rows(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Flatten nested mappings to dotted paths; the kind comes first and the source last."""
    rows = []
    for key, value in sorted(values.items(), key=lambda item: _place(item[0])):
        if key == "standard" and isinstance(value, dict):
            # All its rows are what `nibblesim memory` runs.
            rows.append((f"{prefix}{key}", f"{value['name']}: {value['summary']}"))
        elif isinstance(value, dict):
            rows += _rows(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", _text(value)))
    return rows


def _place(key: str) -> int:
    return {"kind": 0, "source": 2}.get(key, 1)


def _text(value: object) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "true" if value else "false"
        case int():
            return f"{value:,}"
        case list() | tuple():
            return ", ".join(_text(item) for item in value)
        case _:
            return str(value)


def _device_facts(device: "Device") -> dict[str, Any]:
    """Derive the peaks of the whole device; None where memory is ideal and has none."""
    from simulator.hardware.device import IdealMemory

    memory, cores = device.memory, device.cores
    rate = device.clock_hz * cores
    ideal = isinstance(memory, IdealMemory)
    peak_bytes = None if isinstance(memory, IdealMemory) else memory.bandwidth_bytes_per_s
    sustained = None if ideal else device.memory_bytes_per_s
    operations = {pair: OPS_PER_MAC * macs for pair, macs in device.peak_macs_per_s.items()}
    return {
        "peak_macs_per_s": device.peak_macs_per_s,
        "peak_ops_per_s": operations,
        "memory_bytes_per_s": peak_bytes,
        "memory_sustained_bytes_per_s": sustained,
        "ridge_ops_per_byte": _ridge(operations, peak_bytes),
        "ridge_sustained_ops_per_byte": _ridge(operations, sustained),
        "vector_ops_per_s": device.vector.lanes * rate,
        "scratchpad_bytes": device.scratchpad.capacity_bytes * cores,
        "scratchpad_read_bytes_per_s": device.scratchpad.read_bytes_per_cycle * rate,
        "scratchpad_write_bytes_per_s": device.scratchpad.write_bytes_per_cycle * rate,
        "memory_by_run": _memory_by_run(device),
    }


def _memory_by_run(device: "Device") -> list[dict[str, float]]:
    """Return the bytes/s of streams of runs of some lengths; nothing where all are the same."""
    from simulator.dram.channels import Access, Channels

    if not isinstance(device.memory, Channels):
        return []
    profile = device.memory_profile
    kinds = {
        "reads": (False, SHOWN_COLUMNS),
        "writes": (True, SHOWN_COLUMNS),
        "scattered_reads": (False, 0),
        "scattered_writes": (True, 0),
    }
    return [
        {
            "run_bytes": size,
            **{
                kind: 1e12 / profile.ps_per_byte(Access(write, 1024 * size, 1024, columns))
                for kind, (write, columns) in kinds.items()
            },
        }
        for size in SHOWN_RUNS
    ]


def _ridge(operations: dict[str, float], rate: float | None) -> dict[str, float | None]:
    """Return the operations per byte at which the matrix units and the memory are equally fast."""
    usable = rate is not None and isfinite(rate) and rate > 0
    return {pair: ops / rate if usable and rate else None for pair, ops in operations.items()}


def _device_tables(facts: dict[str, Any]) -> list["Table"]:
    from simulator.results import Table, engineering

    def quantity(value: float | None, unit: str) -> str:
        return "no limit" if value is None else engineering(value, unit)

    def ridge(value: float | None) -> str:
        return "none" if value is None else engineering(value, "op/B")

    rows = [
        (
            pair,
            engineering(facts["peak_macs_per_s"][pair], "MAC/s"),
            engineering(facts["peak_ops_per_s"][pair], "op/s"),
            ridge(facts["ridge_ops_per_byte"][pair]),
            ridge(facts["ridge_sustained_ops_per_byte"][pair]),
        )
        for pair in facts["peak_macs_per_s"]
    ]
    heads = ("weight x activation", "peak", "peak", "ridge at peak", "ridge at sustained")
    note = f"{OPS_PER_MAC} op a MAC; the ridge is where memory and matrix units are equally fast"
    others = (
        ("memory, peak", quantity(facts["memory_bytes_per_s"], "B/s")),
        ("memory, sustained", quantity(facts["memory_sustained_bytes_per_s"], "B/s")),
        ("vector", engineering(facts["vector_ops_per_s"], "op/s")),
        ("scratchpad", f"{facts['scratchpad_bytes'] / 2**20:,.6g} MiB"),
        ("scratchpad, read", engineering(facts["scratchpad_read_bytes_per_s"], "B/s")),
        ("scratchpad, write", engineering(facts["scratchpad_write_bytes_per_s"], "B/s")),
    )
    tables = [
        Table("Derived peaks of the device", heads, tuple(rows), "<>>>>", note),
        Table("Derived rates of the device", (), others, "<<"),
    ]
    return [*tables, *([_shape_table(facts)] if facts["memory_by_run"] else [])]


def _shape_table(facts: dict[str, Any]) -> "Table":
    """Return what channels sustain by the length of a run, in parts of the peak."""
    from simulator.results import Table

    kinds = ("reads", "writes", "scattered_reads", "scattered_writes")
    rows = tuple(
        (
            f"{run['run_bytes']:,} B",
            *(f"{run[kind] / facts['memory_bytes_per_s']:.1%}" for kind in kinds),
        )
        for run in facts["memory_by_run"]
    )
    heads = ("run", "reads", "writes", "scattered reads", "scattered writes")
    note = f"every {SHOWN_COLUMNS}th run, or anywhere; one stream at a time; of the peak"
    return Table("Memory by stream, on rungs without commands", heads, rows, ">>>>>", note)


def _model_facts(model: "Model") -> dict[str, Any]:
    """Derive sizes for some format shorthands; bytes count scales and metadata."""
    from simulator.workload import decode_step

    sizes = {}
    for name in SHOWN_SHORTHANDS:
        used = formats_of(name, None, None, None)
        first = decode_step(model, context=1, **used)
        last = decode_step(model, context=model.max_context, **used)
        sizes[name] = {
            **used,
            "weight_bytes": first.weight_bytes,
            "kv_bytes_per_token": first.kv_bytes,
            "kv_bytes_at_max_context": last.kv_bytes,
        }
    return {
        "parameters": model.parameters,
        "layer_parameters": model.layer_parameters,
        "macs_first_token": first.macs_useful,
        "macs_last_token": last.macs_useful,
        "sizes": sizes,
    }


def _model_tables(facts: dict[str, Any]) -> list["Table"]:
    from simulator.results import Table, engineering

    counts = (
        ("parameters", f"{facts['parameters']:,}"),
        ("parameters of a layer", f"{facts['layer_parameters']:,}"),
        ("MACs of a token at context 1", engineering(facts["macs_first_token"], "MAC")),
        ("MACs of a token at max_context", engineering(facts["macs_last_token"], "MAC")),
    )
    rows = [
        (
            f"{name} ({size['weights']}, {size['kv']})",
            engineering(size["weight_bytes"], "B"),
            engineering(size["kv_bytes_per_token"], "B"),
            engineering(size["kv_bytes_at_max_context"], "B"),
        )
        for name, size in facts["sizes"].items()
    ]
    heads = ("formats (weights, KV cache)", "weights", "KV a token", "KV at max_context")
    return [
        Table("Derived counts", (), counts, "<<"),
        Table("Derived bytes, one request", heads, tuple(rows), "<>>>"),
    ]
