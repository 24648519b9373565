"""Saving and loading a result: `result.json`, `ops.parquet`, `intervals.parquet`; no pickle.

Every file is written under a temporary name in the same folder and renamed, so a reader never
sees half a file and a killed run leaves the old one. A loaded result equals the saved one; files
that do not belong together are refused by the hash of the records.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from io import BytesIO
from math import isnan
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.errors import INFEASIBLE, InfeasibleError, InputError
from simulator.results.records import (
    ChannelRecord,
    Intervals,
    OpRecord,
    Peaks,
    Provenance,
    SampledProduct,
    Spill,
    StageRecord,
    Traffic,
    UnitRecord,
)
from simulator.results.result import PS_PER_S, SCHEMA_VERSION, Result, to_json

if TYPE_CHECKING:
    import pandas as pd

RESULT_FILE = "result.json"
OPS_FILE = "ops.parquet"
INTERVALS_FILE = "intervals.parquet"
#: What `report` writes beside them.
PICTURES_AND_TRACE = ("timeline.png", "roofline.png", "trace.json")

_PLAIN = (
    "device",
    "workload",
    "rung",
    "latency_ps",
    "clock_hz",
    "tokens",
    "roofline_bound_ps",
    "roofline_by",
    "energy_breakdown_j",
    "shared_energy_j",
    "energy_by_state_j",
    "on_chip_bytes",
    "resolved",
    "wall_time_s",
    "host",
)
_COMPONENT = "energy_j."
"""Prefix of the columns of `ops.parquet` that hold the energy of one component."""


def prepare_folder(folder: str | Path) -> Path:
    """Make `folder` and prove that files can be written to it; return it as a path.

    Raises:
        InputError: with the reason of the operating system.
    """
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path, prefix=".nibblesim-"):
            pass
    except OSError as error:
        raise _cannot_write(path, error) from None
    return path


def write_atomically(path: str | Path, content: bytes) -> Path:
    """Write `content` under a temporary name beside `path`, then rename; return the path.

    Raises:
        InputError: with the reason of the operating system.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        try:
            temporary.write_bytes(content)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise _cannot_write(target, error) from None
    return target


def save(result: Result, folder: str | Path) -> Path:
    """Write the three files of `result` into `folder`, made if absent; return the folder.

    Raises:
        InputError: the folder cannot be written to.
    """
    path = prepare_folder(folder)
    write_atomically(path / OPS_FILE, _parquet(_records_frame(result.records)))
    write_atomically(path / INTERVALS_FILE, _parquet(_intervals_frame(result.intervals)))
    write_atomically(path / RESULT_FILE, to_json(result.to_dict()))
    return path


def save_infeasible(error: InfeasibleError, what: Mapping[str, str], folder: str | Path) -> Path:
    """Record in `result.json` that a run is infeasible; files of an earlier run there go.

    `what` names the run (device, workload, rung). Raises InputError where nothing can be written.
    """
    path = prepare_folder(folder)
    for name in (OPS_FILE, INTERVALS_FILE, *PICTURES_AND_TRACE):
        (path / name).unlink(missing_ok=True)
    write_atomically(path / RESULT_FILE, to_json({**what, **error.report()}))
    return path


def load(folder: str | Path) -> Result:
    """Read a saved result; it equals the one that was saved.

    Raises:
        InputError: a file is missing, damaged, of another layout, or not of the same run.
        InfeasibleError: the one that `save_infeasible` recorded.
    """
    path = Path(folder)
    content = _read_json(path / RESULT_FILE)
    try:
        result = _from_content(content, path)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path / RESULT_FILE}: not a result of nibblesim ({type(error).__name__}: {error})"
        ) from None
    if result.records_hash != content["provenance"]["records_hash"]:
        raise InputError(
            f"{path}: {OPS_FILE} and {INTERVALS_FILE} are not of the run in {RESULT_FILE}"
        )
    return result


def ops_frame(records: Sequence[OpRecord]) -> "pd.DataFrame":
    """Return one row an op: seconds, DRAM bytes, joules; then segment and layer."""
    import pandas as pd

    columns = {
        "name": [record.name for record in records],
        "kind": [record.kind for record in records],
        "count": [record.count for record in records],
        "unit": [record.unit for record in records],
        "start_s": [record.start_ps / PS_PER_S for record in records],
        "latency_s": [record.latency_ps / PS_PER_S for record in records],
        "macs_useful": [record.macs_useful for record in records],
        "macs_issued": [record.macs_issued for record in records],
        "bytes_read": [record.bytes_read for record in records],
        "bytes_written": [record.bytes_written for record in records],
        "energy_j": [record.energy_j for record in records],
        "bound_by": [record.bound_by for record in records],
        "segment": [record.segment for record in records],
        "layer": [record.layer for record in records],
    }
    return pd.DataFrame(columns)


def _records_frame(records: Sequence[OpRecord]) -> "pd.DataFrame":
    """Return `ops_frame` with the exact picoseconds and the energy of each component."""
    frame = ops_frame(records)
    frame["start_ps"] = [record.start_ps for record in records]
    frame["latency_ps"] = [record.latency_ps for record in records]
    for name in sorted({name for record in records for name in record.energy_by_component}):
        frame[_COMPONENT + name] = [record.energy_by_component.get(name) for record in records]
    return frame


def _intervals_frame(intervals: Intervals) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame({name: getattr(intervals, name) for name in Intervals.columns()})


def _parquet(frame: "pd.DataFrame") -> bytes:
    buffer = BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read '{path}': {error.strerror}") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        where = f" at line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise InputError(f"{path}: damaged or truncated, no valid JSON{where}") from None
    if isinstance(content, dict) and content.get("state") == INFEASIBLE:
        raise InfeasibleError.from_report(content)
    layout = _layout(content)
    if layout != SCHEMA_VERSION:
        raise InputError(
            f"{path}: not a result of nibblesim with layout {SCHEMA_VERSION} (found: {layout})"
        )
    return dict(content)


def _layout(content: object) -> object:
    """Return the layout that the file states, None where it states none."""
    provenance = content.get("provenance") if isinstance(content, dict) else None
    return provenance.get("schema_version") if isinstance(provenance, dict) else None


def _from_content(content: Mapping[str, Any], folder: Path) -> Result:
    provenance = content["provenance"]
    columns = _read_columns(folder / INTERVALS_FILE)
    return Result(
        **{name: content[name] for name in _PLAIN},
        units=tuple(UnitRecord(**unit) for unit in content["units"]),
        records=_records(_read_columns(folder / OPS_FILE)),
        traffic={name: Traffic(**traffic) for name, traffic in content["traffic"].items()},
        intervals=Intervals(*(np.array(columns[name]) for name in Intervals.columns())),
        peaks=Peaks(**content["peaks"]),
        provenance=Provenance(**{one.name: provenance[one.name] for one in fields(Provenance)}),
        spills=tuple(Spill(**spill) for spill in content["spills"]),
        stages=tuple(_stage(stage) for stage in content["stages"]),
        block_ps=content["block_ps"],
        memory_energy_j=content["memory_energy_j"],
        warnings=tuple(content["warnings"]),
        numerics=tuple(
            SampledProduct(**{**product, "ops": tuple(product["ops"])})
            for product in content.get("numerics", ())
        ),
        channel=ChannelRecord(**content["channel"]) if content.get("channel") else None,
    )


def _stage(content: Mapping[str, Any]) -> StageRecord:
    return StageRecord(**{one.name: content[one.name] for one in fields(StageRecord)})


def _read_columns(path: Path) -> dict[str, list[Any]]:
    """Return the columns of a Parquet file as plain Python values; a missing number is NaN."""
    import pandas as pd

    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read '{path}': {error.strerror}") from None
    try:
        frame = pd.read_parquet(BytesIO(content))
    except (ValueError, OSError):
        raise InputError(f"{path}: damaged or truncated, no valid Parquet") from None
    return {str(name): frame[name].tolist() for name in frame.columns}


def _records(columns: Mapping[str, list[Any]]) -> tuple[OpRecord, ...]:
    plain = [name for name in OpRecord._fields if name != "energy_by_component"]
    components = [name for name in columns if name.startswith(_COMPONENT)]
    rows = zip(*(columns[name] for name in plain), strict=True)
    return tuple(
        OpRecord(
            **dict(zip(plain, row, strict=True)),
            energy_by_component={
                name.removeprefix(_COMPONENT): columns[name][index]
                for name in components
                if not isnan(columns[name][index])
            },
        )
        for index, row in enumerate(rows)
    )


def _cannot_write(path: Path, error: OSError) -> InputError:
    is_file = isinstance(error, FileExistsError)
    reason = "it is a file, not a folder" if is_file else error.strerror
    return InputError(f"cannot write to '{path}': {reason}")
