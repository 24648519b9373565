"""A study as Arrow columns: packed blocks of the store, and tables as DataFrame, Parquet and CSV.

Rows are read in parts into columns, so that there is never an object for each of many values.
"""

import os
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.errors import InputError
from simulator.search.records import ABSENT, FIXED, STRATEGY, Header, Kind, decoded
from simulator.search.space import Value

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

SUFFIXES = (".parquet", ".csv")
_ROWS_A_PART = 10_000


def pack(columns: Mapping[str, Any], places: Sequence[int], header: Header) -> bytes:
    """Return these places of the columns of a block as a stream of one Arrow batch.

    columns: sequences, or one value for all points.
    """
    import pyarrow as pa

    schema, count = schema_of(header), len(columns["key"])

    def packed(values: Any, kind: pa.DataType) -> pa.Array:
        if isinstance(values, Value):
            return pa.repeat(_array([values], kind)[0], count)
        return _array(values, kind)

    arrays = [packed(columns.get(each.name), each.type) for each in schema]
    batch = pa.record_batch(arrays, schema=schema)
    if len(places) < count:
        batch = batch.take(pa.array(places, pa.int64()))
    return _streamed(batch)


def unpack(
    packed: bytes, schema: "pa.Schema", columns: Collection[str] | None = None
) -> "pa.RecordBatch":
    """Return the batch of `pack`, all columns or some, checked; InputError where it is not one.

    schema: of all columns. A block of layout 1 does not say which strategy asked.
    """
    import pyarrow as pa

    try:
        batch = pa.ipc.open_stream(pa.py_buffer(packed)).read_next_batch()
        if batch.schema.equals(schema.remove(len(schema) - 1), check_metadata=True):
            batch = batch.append_column(schema.field(-1), pa.repeat("", len(batch)))
        if not batch.schema.equals(schema, check_metadata=True):
            raise InputError("the study is damaged: a block has other columns than the header says")
        if columns is not None:
            batch = batch.select([name for name in schema.names if name in columns])
        batch.validate(full=True)
    except (pa.ArrowException, OSError, StopIteration) as error:
        raise InputError(f"the study is damaged: a block is no Arrow batch ({error})") from None
    return batch


def without_failed(
    packed: bytes, keys: Collection[str], header: Header
) -> tuple[bytes, frozenset[str]]:
    """Return a block without those of these points that FAILED, and their keys."""
    import pyarrow as pa

    batch = unpack(packed, schema_of(header))
    states = zip(batch["key"].to_pylist(), batch["state"].to_pylist(), strict=True)
    keep = [key not in keys or state != "FAILED" for key, state in states]
    dropped = batch.filter(pa.array([not each for each in keep]))["key"].to_pylist()
    return _streamed(batch.filter(pa.array(keep))), frozenset(dropped)


def shown(header: Header) -> list[str]:
    """Return the names of all columns of `Store.table`."""
    fixed = (*STRATEGY, "seed", "wall_time_s", "key")
    return [*header.dimensions, "state", "reason", *header.metrics, *fixed]


def of_state(batch: "pa.RecordBatch", state: str) -> "pa.RecordBatch":
    """Return a copy of the points in a state, which keeps nothing of the batch in memory."""
    import pyarrow.compute as pc

    return batch.filter(pc.equal(batch["state"], state))


def arrow_table(
    points: sqlite3.Cursor,
    batches: Iterable["pa.RecordBatch"],
    header: Header,
    columns: Collection[str],
) -> "pa.Table":
    """Return single rows and packed ones, which have these columns, the number among them, by it.

    Mixed values are JSON.
    """
    import pyarrow as pa

    schema = schema_of(header, columns)
    parts = []
    while rows := points.fetchmany(_ROWS_A_PART):
        pairs = zip(zip(*rows, strict=True), schema, strict=True)
        arrays = [_array(column, field.type) for column, field in pairs]
        parts.append(pa.record_batch(arrays, schema=schema))
    table = pa.Table.from_batches([*parts, *batches], schema=schema)
    return _by_number(table, table["number"].to_numpy())


def frame(table: "pa.Table", header: Header) -> "pd.DataFrame":
    """Return the DataFrame of `arrow_table`: integers stay integers where some are missing."""
    import pandas as pd
    import pyarrow as pa

    keep_whole = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    columns: dict[str, pd.Series[Any]] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if header.dimensions.get(name) == "mixed":
            values = [
                # A choice may have null, which is a value.
                pd.NA if text is None else decoded("mixed", text)
                for text in column.to_pylist()
            ]
            columns[name] = pd.Series(values, dtype=object)
        else:
            missing = column.null_count > 0
            columns[name] = column.to_pandas(types_mapper=keep_whole.get if missing else None)
    return pd.DataFrame(columns, copy=False)


def words(table: "pa.Table", header: Header) -> dict[str, list[object]]:
    """Return columns of `Store.columns` for people: of what does not apply, that it is absent."""

    def word(kind: Kind, value: Any) -> object:
        return ABSENT.value if value is None else decoded(kind, value)

    return {
        name: [word(header.dimensions.get(name, "float"), each) for each in column.to_pylist()]
        for name, column in zip(table.column_names, table.columns, strict=True)
    }


def check_suffix(path: Path) -> Path:
    """Return a path that `write` can write to; InputError for a suffix that it does not know."""
    if path.suffix not in SUFFIXES:
        raise InputError(f"cannot export to '{path}': its name must end in {' or '.join(SUFFIXES)}")
    return path


def write(table: "pa.Table", path: Path) -> Path:
    """Write the table under a temporary name beside `path`, then rename; return the path.

    Raises:
        InputError: with the reason of the operating system.
    """
    from pyarrow import csv, parquet

    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            if path.suffix == ".csv":
                csv.write_csv(table, temporary)
            else:
                parquet.write_table(table, temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise InputError(f"cannot write to '{path}': {reason}") from None
    return path


def _streamed(batch: "pa.RecordBatch") -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed


def schema_of(header: Header, some: Collection[str] | None = None) -> "pa.Schema":
    """Return all or some columns of the table `points` in its order, metrics with their units."""
    import pyarrow as pa

    types = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
    sql = {"INTEGER": pa.int64(), "REAL": pa.float64()}
    units = {**header.metrics, "wall_time_s": "s"}
    columns = {
        **{name: sql.get(kind.split()[0], pa.string()) for name, kind in FIXED.items()},
        **{name: types.get(kind, pa.string()) for name, kind in header.dimensions.items()},
        **dict.fromkeys(header.metrics, pa.float64()),
        **dict.fromkeys(STRATEGY, pa.string()),
    }
    return pa.schema(
        pa.field(name, kind, metadata={"unit": units[name]} if name in units else None)
        for name, kind in columns.items()
        if some is None or name in some
    )


def _array(values: Sequence[Any], kind: "pa.DataType") -> "pa.Array":
    """Return a block of a column; InputError where it holds what its type cannot."""
    import pyarrow as pa

    try:
        if kind == pa.bool_():
            values = [None if value is None else bool(value) for value in values]
        return pa.array(values, kind, from_pandas=True)
    except pa.ArrowException as error:
        raise InputError(f"the study is damaged: a value is not of its column ({error})") from None


def _by_number(table: "pa.Table", numbers: "NDArray[np.int64]") -> "pa.Table":
    """Return the rows in the order of their numbers, equal ones as they came."""
    import numpy as np

    if (np.diff(numbers) >= 0).all():
        return table
    return table.take(np.argsort(numbers, kind="stable"))
