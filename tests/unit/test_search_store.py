"""Does a study come back as it was stored, whoever writes to it and whenever a writer is killed?"""

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import replace
from itertools import count
from math import inf, nan
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from signal import SIGKILL
from time import sleep
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.errors import InputError
from simulator.search import database
from simulator.search.space import Choice, Float, Int, Log2, key_of
from simulator.search.store import ABSENT, Header, Kind, Outcome, Row, Store, kind_of

HEADER = Header(
    dimensions={
        "device.matrix.rows": "int",
        "device.clock": "float",
        "device.fused": "bool",
        "workload.weights": "text",
        "run.overlap": "mixed",
    },
    metrics={"latency_s": "s", "area_mm2": "mm2"},
    defined_by="0123456789abcdef",
    text="device: generic_npu_128",
)
INT64 = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(allow_nan=False).map(lambda value: value + 0.0)  # -0.0 comes back as 0.0
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES: dict[Kind, st.SearchStrategy[Any]] = {
    "int": INT64,
    "float": FLOATS,
    "bool": st.booleans(),
    "text": TEXTS,
    "mixed": st.none() | st.booleans() | st.integers() | FLOATS | TEXTS,
}
NAMES = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1).map("device.".__add__)
NUMBERS = FLOATS | st.just(nan)


def row(number: int, **changes: Any) -> Row:
    point = {"device.matrix.rows": number, "workload.weights": "fp16"}
    outcome = Outcome(state="OK", metrics={"latency_s": number / 8, "area_mm2": 2.0})
    plain = Row(key_of(point), point, outcome, seed=7, number=number, strategy="sobol")
    return replace(plain, **changes)


@st.composite
def studies(draw: st.DrawFn) -> tuple[Header, list[Row]]:
    names = draw(st.lists(NAMES, max_size=4, unique_by=str.lower))
    kinds = {name: draw(st.sampled_from(sorted(VALUES))) for name in names}
    header = replace(HEADER, dimensions=kinds, metrics={"latency_s": "s", 'µ "m"': "1"})
    point = st.fixed_dictionaries({}, optional={name: VALUES[kinds[name]] for name in names})
    metrics = st.fixed_dictionaries({}, optional=dict.fromkeys(header.metrics, FLOATS))
    outcome = st.builds(
        Outcome,
        state=st.sampled_from(["OK", "INFEASIBLE", "FAILED"]),
        metrics=metrics,
        reason=TEXTS,
        resource=TEXTS,
        demand=FLOATS,
        bound=FLOATS,
        traceback=TEXTS,
        wall_time_s=st.floats(0, 1e9),
    )
    rows = st.builds(
        Row, key=TEXTS, point=point, outcome=outcome, seed=INT64, number=INT64, strategy=TEXTS
    )
    return header, draw(st.lists(rows, max_size=5, unique_by=lambda each: each.key))


@settings(max_examples=60)
@given(study=studies())
def test_rows_come_back_as_they_were(
    study: tuple[Header, list[Row]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    header, rows = study
    path = tmp_path_factory.mktemp("study") / "s ?#%é.db"
    with Store(path) as store:
        store.study(header)
        store.add(rows)
    with Store(path, read_only=True) as store:
        assert store.header == header
        assert list(store.header.columns) == list(header.columns)
        back = list(store.rows())
        assert back == sorted(rows, key=lambda each: each.number)
        assert [typed(each) for each in back] == [
            typed(each) for each in sorted(rows, key=lambda each: each.number)
        ]
        assert store.known([each.key for each in rows]) == {each.key: each for each in rows}
        assert len(store.table()) == store.count() == len(rows)


def typed(one: Row) -> list[tuple[str, type]]:
    """1, 1.0 and true are equal to Python and three values to a space."""
    return sorted((name, type(value)) for name, value in one.point.items())


def fill(store: Store, rows: Sequence[Row], *, packed: bool) -> None:
    if not packed:
        store.add(rows)
        return
    store.add_block(
        [each.key for each in rows],
        {name: [each.point.get(name, ABSENT) for each in rows] for name in store.header.dimensions},
        {
            name: [each.outcome.metrics.get(name, nan) for each in rows]
            for name in store.header.metrics
        },
        numbers=[each.number for each in rows],
        seed=7,
        strategy="sobol",
        wall_time_s=0.0,
        state=[each.outcome.state for each in rows],
        reason=[each.outcome.reason for each in rows],
        resource=[each.outcome.resource for each in rows],
        demand=[each.outcome.demand for each in rows],
        bound=[each.outcome.bound for each in rows],
    )


def samples() -> list[Row]:
    """Every kind of value, present and absent; an infeasible point; out of order."""
    points: list[dict[str, Any]] = [
        {"device.matrix.rows": 2**60 + 1, "device.clock": 0.1, "device.fused": True},
        {"workload.weights": "int4 ±", "run.overlap": None},
        {"device.fused": False, "run.overlap": 1},
        {"device.fused": False, "run.overlap": True},
    ]
    outcomes = [
        Outcome(state="OK", metrics={"latency_s": inf, "area_mm2": 0.1}),
        Outcome(state="INFEASIBLE", reason="no room", resource="scratchpad", demand=9.0, bound=8.0),
        Outcome(state="OK", metrics={"area_mm2": 3.0}),
        Outcome(state="OK"),
    ]
    pairs = enumerate(zip(points, outcomes, strict=True))
    return [
        Row(key_of(point), point, outcome, seed=7, number=3 - at, strategy="sobol")
        for at, (point, outcome) in pairs
    ]


@pytest.mark.parametrize("packed", [False, True], ids=["rows", "block"])
def test_table_and_files(tmp_path: Path, packed: bool) -> None:
    rows = samples()
    with Store(tmp_path / "s.db") as store:
        store.study(HEADER)
        fill(store, rows, packed=packed)
        assert list(store.rows()) == rows[::-1]
        assert [typed(each) for each in store.rows()] == [typed(each) for each in rows[::-1]]
        assert store.known([rows[1].key, "other"]) == {rows[1].key: rows[1]}
        table = store.table()
        written = store.export(tmp_path / "points.parquet")
        store.export(tmp_path / "points.csv")
    fixed = ("strategy", "seed", "wall_time_s", "key")
    columns = [*HEADER.dimensions, "state", "reason", *HEADER.metrics, *fixed]
    assert list(table.columns) == columns
    assert table["key"].tolist() == [each.key for each in rows[::-1]]
    assert table["device.matrix.rows"].dtype == "Int64"
    assert table["device.matrix.rows"].iloc[3] == 2**60 + 1
    assert table["device.fused"].dropna().tolist() == [False, False, True]
    assert [repr(each) for each in table["run.overlap"]] == ["True", "1", "None", "<NA>"]
    assert table["strategy"].tolist() == ["sobol"] * 4
    assert table["state"].tolist() == ["OK", "OK", "INFEASIBLE", "OK"]
    assert table["area_mm2"].isna().tolist() == [True, False, True, False]
    schema = pq.read_schema(written)
    assert schema.names == columns
    assert schema.field("area_mm2").metadata[b"unit"] == b"mm2"
    frames = [pd.read_parquet(written), pd.read_csv(tmp_path / "points.csv")]
    for frame in frames:
        assert list(frame.columns) == columns
        assert frame["latency_s"].tolist()[3] == inf
        assert frame["area_mm2"].tolist()[1::2] == [3.0, 0.1]
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".db") == [
        "points.csv",
        "points.parquet",
    ]


@pytest.mark.parametrize("packed", [False, True], ids=["rows", "block"])
def test_columns_and_states_that_are_wanted(tmp_path: Path, packed: bool) -> None:
    names = ["area_mm2", "run.overlap", "strategy"]
    with Store(tmp_path / "s.db") as store:
        store.study(HEADER)
        fill(store, samples(), packed=packed)
        every = store.columns()
        some, infeasible = store.columns(names), store.columns(["key"], state="INFEASIBLE")
        fine = store.columns(["state", *names], state="OK")
    assert some.equals(every.select(names), check_metadata=True)
    assert infeasible["key"].to_pylist() == [samples()[1].key]
    assert fine.select(names).equals(every.take([0, 1, 3]).select(names))
    assert fine["state"].to_pylist() == ["OK"] * 3


def test_integers_and_truth_without_gaps_are_plain_columns(tmp_path: Path) -> None:
    with Store(tmp_path / "s.db") as store:
        store.study(replace(HEADER, dimensions={"run.a": "int", "run.b": "bool"}))
        store.add([row(0, point={"run.a": 4, "run.b": True})])
        types = store.table().dtypes
    assert (types["run.a"], types["run.b"]) == ("int64", "bool")


@pytest.mark.parametrize("first_packed", [False, True])
@pytest.mark.parametrize("then_packed", [False, True])
def test_same_key_keeps_what_is_there(
    tmp_path: Path, first_packed: bool, then_packed: bool
) -> None:
    other = Outcome(state="OK", metrics={"latency_s": 99.0})
    with Store(tmp_path / "s.db") as store:
        store.study(HEADER)
        fill(store, [row(0), row(0, outcome=other), row(1)], packed=first_packed)
        fill(store, [row(0, outcome=other), row(2)], packed=then_packed)
        assert list(store.rows()) == [row(0), row(1), row(2)]
        assert store.count() == 3
        assert store.stored([row(1).key, "other"]) == {row(1).key}
        assert sorted(store.known([row(0).key, row(2).key])) == sorted([row(0).key, row(2).key])


def test_block_of_another_connection_counts(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with Store(path) as one, Store(path) as two:
        one.study(HEADER)
        two.study(HEADER)
        fill(one, [row(0)], packed=True)
        fill(two, [row(0), row(1)], packed=True)
        fill(one, [row(1), row(2)], packed=False)
        assert list(one.rows()) == list(two.rows()) == [row(0), row(1), row(2)]


def test_study_goes_on_where_it_was(tmp_path: Path) -> None:
    for number in range(2):
        with Store(tmp_path / "new" / "s.db") as store:
            store.study(HEADER)
            assert store.count() == number
            store.add([row(number)])
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["s.db"]


def test_a_file_of_small_pages_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def page_bytes() -> int:
        with closing(sqlite3.connect(tmp_path / "s.db")) as connection:
            return int(connection.execute("PRAGMA page_size").fetchone()[0])

    with monkeypatch.context() as patch:
        patch.setattr(database, "_PAGE_BYTES", 4096)
        with Store(tmp_path / "s.db") as store:
            store.study(HEADER)
    assert page_bytes() == 4096
    with Store(tmp_path / "s.db") as store:
        fill(store, [row(0)], packed=True)
        assert list(store.rows()) == [row(0)]
    assert page_bytes() == 4096
    (tmp_path / "s.db").unlink()
    with Store(tmp_path / "s.db") as store:
        store.study(HEADER)
    assert page_bytes() == 16_384


def to_layout_1(path: Path) -> None:
    """Make a file what the first layout was: nothing says which strategy asked."""
    with closing(sqlite3.connect(path)) as connection:
        for rowid, packed in list(connection.execute("SELECT rowid, batch FROM blocks")):
            batch = pa.ipc.open_stream(packed).read_next_batch()
            sink = pa.BufferOutputStream()
            older = batch.select([name for name in batch.schema.names if name != "strategy"])
            with pa.ipc.new_stream(sink, older.schema) as stream:
                stream.write_batch(older)
            change = "UPDATE blocks SET batch = ? WHERE rowid = ?"
            connection.execute(change, (sink.getvalue().to_pybytes(), rowid))
        connection.execute("ALTER TABLE points DROP COLUMN strategy")
        connection.execute("UPDATE header SET schema_version = 1")
        connection.execute("PRAGMA user_version=1")
        connection.commit()


def test_a_file_of_the_first_layout_is_read_and_does_not_go_on(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with Store(path) as store:
        store.study(HEADER)
        fill(store, [row(0)], packed=False)
        fill(store, [row(1)], packed=True)
    to_layout_1(path)
    before, older = path.read_bytes(), [row(number, strategy="") for number in range(2)]
    with Store(path, read_only=True) as store:
        assert list(store.rows()) == older
        assert store.table()["strategy"].tolist() == ["", ""]
        assert store.columns(["strategy"], state="OK")["strategy"].to_pylist() == ["", ""]
    assert path.read_bytes() == before
    with Store(path) as store, pytest.raises(InputError) as error:
        store.study(HEADER)
    assert str(error.value) == (
        f"'{path}' has layout 1 of an older nibblesim: it can be read, but not gone on with; give "
        "another file"
    )
    with Store(path, read_only=True) as store:
        assert list(store.rows()) == older


def test_who_reads_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with Store(path) as store:
        store.study(HEADER)
        store.add([row(0)])
        with Store(path, read_only=True) as reader:
            assert reader.count() == 1
        store.add([row(1)])
    before, at = path.read_bytes(), path.stat().st_mtime_ns
    with Store(path, read_only=True) as reader:
        assert reader.count() == 2
    assert os.listdir(tmp_path) == ["s.db"]
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (before, at)


def test_any_program_reads_the_points(tmp_path: Path) -> None:
    with Store(tmp_path / "s.db") as store:
        store.study(HEADER)
        store.add([row(number) for number in range(4)])
    connection = sqlite3.connect(tmp_path / "s.db")
    query = 'SELECT "device.matrix.rows", state FROM points WHERE latency_s > 0.2'
    assert connection.execute(query).fetchall() == [(2, "OK"), (3, "OK")]
    connection.close()


@pytest.mark.parametrize(
    ("domain", "kind"),
    [
        (Int(0, 10**12), "int"),
        (Log2(16, 512), "int"),
        (Float(0.5, 2), "float"),
        (Choice(("fp16", "int4")), "text"),
        (Choice((True, False)), "bool"),
        (Choice((1, 2)), "int"),
        (Choice((1, 2.0)), "mixed"),
        (Choice((None,)), "mixed"),
        (Choice((None, "a")), "mixed"),
    ],
)
def test_kind_of_a_domain(domain: Any, kind: Kind) -> None:
    assert kind_of(domain) == kind


def test_half_characters_of_a_traceback_are_escaped(tmp_path: Path) -> None:
    with Store(tmp_path / "s.db") as store:
        store.study(HEADER)
        store.add([row(0, outcome=Outcome(state="FAILED", traceback="in \udcff.py"))])
        assert next(store.rows()).outcome.traceback == "in \\udcff.py"


def _processes() -> ForkServerContext:
    """Return a context whose processes start at once: their server has loaded this module."""
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _add_forty(path: Path, first: int, packed: bool) -> None:
    with Store(path) as store:
        store.study(HEADER)
        for number in range(first, first + 40):
            fill(store, [row(number)], packed=packed)


def test_processes_add_at_once(tmp_path: Path) -> None:
    """They begin the same file together, and half of their points are the same."""
    path = tmp_path / "s.db"
    writers = [
        _processes().Process(target=_add_forty, args=(path, first, packed))
        for first, packed in ((0, False), (20, True), (20, False), (0, True))
    ]
    for each in writers:
        each.start()
    for each in writers:
        each.join()
    assert [each.exitcode for each in writers] == [0] * 4
    with Store(path, read_only=True) as store:
        assert list(store.rows()) == [row(number) for number in range(60)]


def _add_for_ever(path: Path, told: Connection) -> None:
    with Store(path) as store:
        store.study(HEADER)
        for start in count(store.count(), 20):
            rows = [row(number) for number in range(start, start + 20)]
            fill(store, rows, packed=start % 40 == 0)
            told.send(start + 20)


def test_killed_writer_loses_nothing_committed(tmp_path: Path) -> None:
    """Killed ten times; what it had told is there each time, in whole blocks, and it goes on."""
    path = tmp_path / "s.db"
    for kill in range(10):
        receiver, sender = _processes().Pipe(duplex=False)
        writer = _processes().Process(target=_add_for_ever, args=(path, sender))
        writer.start()
        sender.close()
        told = [receiver.recv() for _ in range(1 + kill % 4)]
        sleep(0.0007 * kill)  # a commit takes about a thousandth of a second
        writer.kill()
        with suppress(EOFError):
            while True:
                told.append(receiver.recv())
        writer.join()
        assert writer.exitcode == -SIGKILL
        with Store(path) as store:
            rows = list(store.rows())
            assert len(rows) >= told[-1]
            assert len(rows) % 20 == 0
            assert rows == [row(number) for number in range(len(rows))]
