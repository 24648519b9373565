"""The store of a study: one SQLite file with typed columns, the key of a point its identity.

`points` has a row a point and a column for each dimension (by its path) and each metric, so that
whatever reads SQLite can filter it; `blocks` has the same columns of thousands of points, packed as
one Arrow batch, because a row takes microseconds to write and more to read; `header` says what the
study is of. Nothing in the file is code and nothing is pickled. Each call that adds is one
transaction; a key that is there is left as it is, whoever put it there.

Layout 2 added to layout 1 which strategy asked for a point. A file of layout 1 is read without it;
its study does not go on, as what older code found is not what this one finds.

How values are kept: truth as 0 and 1, a choice that mixes types as JSON text, what does not apply
as NULL; a metric that is NaN is an absent one, and -0.0 may come back as 0.0.
"""

import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from heapq import merge
from itertools import chain
from math import nan
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast, get_args

from simulator.config import unknown
from simulator.errors import InputError
from simulator.search.database import APPLICATION_ID, Database
from simulator.search.objectives import Objective
from simulator.search.records import (
    ABSENT,
    FIXED,
    STRATEGY,
    Absent,
    Header,
    Kind,
    Outcome,
    Row,
    State,
    decoded,
    encoded,
    kind_of,
    storable,
)
from simulator.search.space import Value

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["ABSENT", "Absent", "Header", "Kind", "Outcome", "Row", "State", "Store", "kind_of"]

SCHEMA_VERSION = 2
#: How long another process may keep the file locked.
TIMEOUT_S = 30.0

_HEADER_SQL = (
    "CREATE TABLE header (schema_version INTEGER NOT NULL, dimensions TEXT NOT NULL, "
    "metrics TEXT NOT NULL, objectives TEXT NOT NULL, defined_by TEXT NOT NULL, "
    "text TEXT NOT NULL)"
)
_BLOCKS_SQL = "CREATE TABLE blocks (count INTEGER NOT NULL, batch BLOB NOT NULL)"
_SQL_TYPES = {"bool": "INTEGER", "int": "INTEGER", "float": "REAL", "text": "TEXT", "mixed": "TEXT"}
_KEYS_A_QUERY = 500


class Store:
    """A study in a file, for one thread of one process; other processes may use the same file.

    read_only: nothing is written and the file must be there. timeout_s: how long a lock of another
    process is waited for. Every method raises InputError, in words, for what is wrong with the
    file: not a study, of a newer version, damaged, locked, on a full disk.
    """

    def __init__(
        self, path: str | Path, *, read_only: bool = False, timeout_s: float = TIMEOUT_S
    ) -> None:
        """Name the file; `open` or a `with` statement opens it."""
        self.path = Path(path)
        self._read_only = read_only
        self._timeout_s = timeout_s
        self._open: Database | None = None
        self._header: Header | None = None
        self._layout = SCHEMA_VERSION
        self._block_keys: set[str] = set()
        self._last_block = 0

    def open(self) -> Self:
        """Open the file, made if absent; what is there already must be a study."""
        self._open = Database(self.path, read_only=self._read_only, timeout_s=self._timeout_s)
        try:
            with self._file.explained():
                self._header = self._read_header()
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Close the file."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def header(self) -> Header:
        """What the study is of; InputError where there is none."""
        if self._header is None:
            raise InputError(f"'{self.path}' holds no study: it is empty")
        return self._header

    def study(self, header: Header) -> None:
        """Begin a study in an empty file, or go on with the one that is there.

        Raises:
            InputError: the study there is of something else; each difference is a line.
        """
        with self._file.transaction() as connection:
            self._header = self._read_header()
            if self._layout < SCHEMA_VERSION:
                raise InputError(
                    f"'{self.path}' has layout {self._layout} of an older nibblesim: it can be "
                    "read, but not gone on with; give another file"
                )
            if self._header is None:
                _create(connection, header)
                self._header = header
            elif not self._header.differences(header):
                # What a study is asked for may change: its points are the same.
                listed = _listed(header.objectives)
                connection.execute("UPDATE header SET objectives = ?", (listed,))
                self._header = replace(self._header, objectives=header.objectives)
        if lines := self._header.differences(header):
            raise InputError(
                [
                    f"'{self.path}' holds another study than the one asked for; give another file",
                    *(f"  {line}" for line in lines),
                ]
            )

    def add(self, rows: Sequence[Row], *, over_failed: bool = False) -> int:
        """Store rows in one transaction; keys that are there, or come twice, are left as they are.

        over_failed: but points that FAILED are replaced. Returns how many rows were stored.

        Raises:
            InputError: also for names and types of values that the header does not have.
        """
        points = [row.point for row in rows]
        outcomes = [row.outcome for row in rows]
        metrics = [outcome.metrics for outcome in outcomes]
        columns = self._columns(
            {name: [point.get(name, ABSENT) for point in points] for name in _names(points)},
            {name: [float(each.get(name, nan)) for each in metrics] for name in _names(metrics)},
            number=[row.number for row in rows],
            key=[row.key for row in rows],
            state=[outcome.state for outcome in outcomes],
            reason=[storable(outcome.reason) for outcome in outcomes],
            resource=[storable(outcome.resource) for outcome in outcomes],
            demand=[outcome.demand for outcome in outcomes],
            bound=[outcome.bound for outcome in outcomes],
            traceback=[storable(outcome.traceback) for outcome in outcomes],
            seed=[row.seed for row in rows],
            wall_time_s=[outcome.wall_time_s for outcome in outcomes],
            strategy=[row.strategy for row in rows],
        )
        values = f"VALUES ({', '.join('?' * len(columns))}) ON CONFLICT (key) DO NOTHING"
        insert = f"INSERT INTO points ({', '.join(map(quoted, columns))}) {values}"
        with self._database.transaction() as connection:
            if over_failed:
                self._drop_failed(connection, columns["key"])
            packed = self._packed_keys()
            records = zip(*columns.values(), strict=True)
            try:
                cursor = connection.executemany(
                    insert,
                    (record for record in records if record[1] not in packed)
                    if packed
                    else records,
                )
            except (OverflowError, UnicodeEncodeError) as error:
                raise InputError(f"'{self.path}' cannot hold a value: {error}") from None
            return max(cursor.rowcount, 0)

    def add_block(
        self,
        keys: Sequence[str],
        point: Mapping[str, Sequence[Value | Absent]],
        metrics: Mapping[str, "Sequence[float] | NDArray[np.float64]"],
        *,
        numbers: Sequence[int],
        seed: int,
        wall_time_s: float,
        strategy: str = "",
        **told: Sequence[Any],
    ) -> int:
        """Store points given in columns, packed, in one transaction; else as `add`.

        point: for each name plain values (of an array: its `tolist()`), ABSENT for what does not
        apply. metrics: NaN for what was not measured. wall_time_s: of each point. told: columns
        state, reason, resource, demand, bound, where not all points are OK; of the last four also
        one value for all.
        """
        import numpy as np

        from simulator.search.export import pack

        count = len(keys)
        fixed: dict[str, Any] = {
            "number": numbers,
            "key": keys,
            **{"state": ["OK"] * count, "reason": "", "resource": "", "demand": nan, "bound": nan},
            **told,
            "traceback": "",
            "seed": seed,
            "wall_time_s": wall_time_s,
            "strategy": strategy,
        }
        measured = {name: np.asarray(values, dtype=float) for name, values in metrics.items()}
        columns = self._columns(point, measured, **fixed)
        with self._database.transaction() as connection:
            there = self.stored(keys)
            first = dict(zip(reversed(keys), reversed(range(count)), strict=True))
            for key in there:
                del first[key]
            if first:
                batch = pack(columns, sorted(first.values()), self.header)
                insert = "INSERT INTO blocks VALUES (?, ?)"
                added = connection.execute(insert, (len(first), batch)).lastrowid
        if first:
            # All blocks before this one are known since `stored`; its own need not be read.
            self._block_keys.update(first)
            self._last_block = cast(int, added)
        return len(first)

    def known(self, keys: Sequence[str]) -> dict[str, Row]:
        """Return the rows of those keys that are there, by key."""
        found = {
            row.key: row
            for some in _in_parts(keys)
            for row in self._select(f"WHERE key IN ({_marks(some)})", some)
        }
        if wanted := self._packed_keys().intersection(keys):
            for batch in self._batches():
                found |= {row.key: row for row in self._unpacked(batch, wanted)}
        return found

    def stored(self, keys: Sequence[str]) -> set[str]:
        """Return those keys that are there, in a fraction of the time of `known`."""
        run = self._database.connection.execute
        with self._database.explained():
            in_rows = {
                key
                for some in _in_parts(keys if run("SELECT 1 FROM points").fetchone() else ())
                for (key,) in run(f"SELECT key FROM points WHERE key IN ({_marks(some)})", some)
            }
            return in_rows | self._packed_keys().intersection(keys)

    def rows(self) -> Iterator[Row]:
        """Give all rows by their number."""
        packed = (self._unpacked(batch) for batch in self._batches())
        single = self._select("ORDER BY number, rowid")
        return merge(single, *packed, key=lambda row: row.number)

    def count(self) -> int:
        """Return how many points are stored."""
        with self._database.explained():
            return self._database.count()

    def table(self) -> "pd.DataFrame":
        """Return a row a point, by number.

        Columns: dimensions by their paths, state, reason, metrics, strategy ("" where it is not
        known), seed, wall_time_s, key. What does not apply, or was not measured, is missing.
        """
        from simulator.search.export import frame

        return frame(self.columns(), self.header)

    def columns(
        self, names: Sequence[str] | None = None, *, state: State | None = None
    ) -> "pa.Table":
        """Return the columns of `table` as they are kept: values of mixed types as JSON.

        names, state: those columns and points alone, in a fraction of the time and the memory.
        """
        from simulator.search.export import arrow_table, of_state, shown

        wanted = shown(self.header) if names is None else list(names)
        read = {*wanted, "number", "state"}
        where, values = ("", ()) if state is None else ("WHERE state = ?", (state,))
        select, batches = f"{self._select_of(read)} {where} ORDER BY rowid", self._batches(read)
        if state is not None:
            batches = (of_state(batch, state) for batch in batches)
        with self._database.explained():
            points = self._database.connection.execute(select, values)
            return arrow_table(points, batches, self.header, read).select(wanted)

    def export(self, path: str | Path) -> Path:
        """Write the columns of `table` as `.parquet` (with the `unit` of each metric) or `.csv`.

        Raises:
            InputError: another suffix, or the file cannot be written to.
        """
        from simulator.search.export import check_suffix, write

        target = check_suffix(Path(path))
        return write(self.columns(), target)

    @property
    def _file(self) -> Database:
        assert self._open is not None, "Store.open comes first"
        return self._open

    @property
    def _database(self) -> Database:
        """The file, in which there is a study."""
        assert self.header
        return self._file

    def _read_header(self) -> Header | None:
        """Return the header, None in an empty file; refuse what this version cannot read."""
        run = self._file.connection.execute
        (version,) = run("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise self._newer(version)
        schema = dict(run("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL"))
        if not schema:
            return None
        if schema.get("header") != _HEADER_SQL:
            raise self._damaged()
        try:
            version, *columns, defined_by, text = next(run("SELECT * FROM header"))
            if version > SCHEMA_VERSION:
                raise self._newer(version)
            header = Header(
                dimensions=_parsed(columns[0], get_args(Kind)),
                metrics=_parsed(columns[1]),
                objectives=_objectives(columns[2]),
                defined_by=str(defined_by),
                text=str(text),
            )
        except (StopIteration, TypeError, ValueError, RecursionError):
            raise self._damaged() from None
        if version < 1 or schema != _schema(header, version):
            raise self._damaged()
        self._layout = version
        return header

    def _newer(self, version: int) -> InputError:
        return InputError(
            f"'{self.path}' has layout {version} of a newer nibblesim; this one reads layouts up "
            f"to {SCHEMA_VERSION}: update nibblesim, or export the study with the newer one"
        )

    def _damaged(self) -> InputError:
        return InputError(f"'{self.path}' is not a study: its tables are not those of its header")

    def _columns(
        self,
        point: Mapping[str, Sequence[Any]],
        metrics: Mapping[str, Any],
        **fixed: Any,
    ) -> dict[str, Any]:
        """Return all columns as they are kept, fixed ones first; refuse what the header lacks."""
        header = self.header
        kinds = (
            ("dimension", point, header.dimensions),
            ("metric", metrics, header.metrics),
            ("column", fixed, {**FIXED, **STRATEGY}),
        )
        problems = [
            unknown(noun, name, known)
            for noun, given, known in kinds
            for name in given
            if name not in known
        ]
        problems += [
            unknown("state", state, get_args(State))
            for state in set(fixed["state"]).difference(get_args(State))
        ]
        if problems:
            raise InputError(problems)
        return {
            **{name: fixed[name] for name in FIXED},
            **{
                name: encoded(name, header.dimensions[name], values)
                for name, values in point.items()
            },
            **metrics,
            **{name: fixed[name] for name in STRATEGY},
        }

    def _packed_keys(self) -> set[str]:
        """Return the keys of all blocks, those that other processes added since included."""
        from simulator.search.export import schema_of, unpack

        select, schema = "SELECT rowid, batch FROM blocks WHERE rowid > ?", None
        with self._database.explained():
            for rowid, batch in self._database.connection.execute(select, (self._last_block,)):
                schema = schema or schema_of(self.header)
                self._block_keys.update(unpack(batch, schema, {"key"})["key"].to_pylist())
                self._last_block = rowid
        return self._block_keys

    def _drop_failed(self, connection: sqlite3.Connection, keys: Sequence[str]) -> None:
        """Forget those of these points that FAILED."""
        from simulator.search.export import without_failed

        for some in _in_parts(keys):
            connection.execute(
                f"DELETE FROM points WHERE state = 'FAILED' AND key IN ({_marks(some)})", some
            )
        if wanted := self._packed_keys().intersection(keys):
            for rowid, packed in list(connection.execute("SELECT rowid, batch FROM blocks")):
                batch, dropped = without_failed(packed, wanted, self.header)
                if dropped:
                    changed = "UPDATE blocks SET count = count - ?, batch = ? WHERE rowid = ?"
                    connection.execute(changed, (len(dropped), batch, rowid))
                    self._block_keys -= dropped

    def _batches(self, columns: Collection[str] | None = None) -> Iterator["pa.RecordBatch"]:
        from simulator.search.export import schema_of, unpack

        schema = schema_of(self.header)
        with self._database.explained():
            for (batch,) in self._database.connection.execute("SELECT batch FROM blocks"):
                yield unpack(batch, schema, columns)

    def _unpacked(
        self, batch: "pa.RecordBatch", wanted: Collection[str] | None = None
    ) -> Iterator[Row]:
        columns = [column.to_pylist() for column in batch.columns]
        for record in sorted(zip(*columns, strict=True), key=lambda each: each[0]):
            if wanted is None or record[1] in wanted:
                yield self._row(record)

    def _select(self, where: str, values: Sequence[str] = ()) -> Iterator[Row]:
        with self._database.explained():
            select = f"{self._select_of()} {where}"
            for record in self._database.connection.execute(select, values):
                yield self._row(record)

    def _select_of(self, columns: Collection[str] | None = None) -> str:
        """Return the query for columns of single rows, in their order, whatever the layout."""
        sql = {name: quoted(name) for name in (*FIXED, *self.header.columns, *STRATEGY)}
        if self._layout == 1:
            sql |= dict.fromkeys(STRATEGY, "''")
        wanted = [text for name, text in sql.items() if columns is None or name in columns]
        return f"SELECT {', '.join(wanted)} FROM points"

    def _row(self, record: Sequence[Any]) -> Row:
        number, key, state, reason, resource, demand, bound, trace, seed, wall_time_s, *own = record
        *own, strategy = own
        dimensions = zip(self.header.dimensions.items(), own, strict=False)
        metrics = zip(self.header.metrics, own[len(self.header.dimensions) :], strict=True)
        return Row(
            key=key,
            point={name: decoded(kind, v) for (name, kind), v in dimensions if v is not None},
            outcome=Outcome(
                state=state,
                metrics={name: value for name, value in metrics if value is not None},
                reason=reason,
                resource=resource,
                demand=nan if demand is None else demand,
                bound=nan if bound is None else bound,
                traceback=trace,
                wall_time_s=wall_time_s,
            ),
            seed=seed,
            number=number,
            strategy=strategy,
        )


def quoted(name: str) -> str:
    """Return a name as SQL writes it, whatever its letters."""
    return '"' + name.replace('"', '""') + '"'


def _create(connection: sqlite3.Connection, header: Header) -> None:
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
    for sql in _schema(header).values():
        connection.execute(sql)
    dimensions, metrics = (json.dumps(dict(each)) for each in (header.dimensions, header.metrics))
    objectives = _listed(header.objectives)
    values = (SCHEMA_VERSION, dimensions, metrics, objectives, header.defined_by, header.text)
    connection.execute("INSERT INTO header VALUES (?, ?, ?, ?, ?, ?)", values)


def _schema(header: Header, layout: int = SCHEMA_VERSION) -> dict[str, str]:
    """Return the SQL of each table of a study."""
    points = _points_sql(header, {} if layout == 1 else STRATEGY)
    return {"header": _HEADER_SQL, "points": points, "blocks": _BLOCKS_SQL}


def _points_sql(header: Header, last: Mapping[str, str]) -> str:
    columns = [
        *_columns_sql(FIXED),
        *(f"{quoted(name)} {_SQL_TYPES[kind]}" for name, kind in header.dimensions.items()),
        *(f"{quoted(name)} REAL" for name in header.metrics),
        *_columns_sql(last),
    ]
    return f"CREATE TABLE points ({', '.join(columns)})"


def _columns_sql(kinds: Mapping[str, str]) -> list[str]:
    return [f"{name} {kind}" for name, kind in kinds.items()]


def _in_parts(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    return (keys[at : at + _KEYS_A_QUERY] for at in range(0, len(keys), _KEYS_A_QUERY))


def _marks(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))


def _parsed(text: str, allowed: Collection[str] = ()) -> dict[str, Any]:
    """Return a JSON object of texts; ValueError for anything else."""
    names = json.loads(text)
    if not isinstance(names, dict) or not all(isinstance(each, str) for each in names.values()):
        raise ValueError
    if allowed and not set(names.values()) <= set(allowed):
        raise ValueError
    return names


def _listed(objectives: Sequence[Objective]) -> str:
    return json.dumps([asdict(each) for each in objectives])


def _objectives(text: str) -> tuple[Objective, ...]:
    """Return the objectives that `_listed` wrote; TypeError or ValueError for anything else."""
    try:
        return tuple(Objective(**each) for each in json.loads(text))
    except InputError as error:
        raise ValueError from error


def _names(given: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names that occur in any of these, in the order of their first occurrence."""
    return list(dict.fromkeys(chain.from_iterable(dict.fromkeys(map(tuple, given)))))
