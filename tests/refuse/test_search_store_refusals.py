"""Is a file that cannot be gone on with, or a row that does not fit, refused, with which words?"""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from simulator.errors import InputError
from simulator.search.store import Header, Outcome, Row, Store

HEADER = Header(
    dimensions={"device.rows": "int", "workload.weights": "text"},
    metrics={"latency_s": "s"},
    defined_by="0123",
    text="device: tpu_v4\nworkload: llama-3-8b",
)
OK = Outcome(state="OK", metrics={"latency_s": 1.0})


def row(number: int, **changes: Any) -> Row:
    plain = Row(f"{number:016x}", {"device.rows": number}, OK, seed=0, number=number)
    return replace(plain, **changes)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Return a study of 400 points in rows and 400 in a block."""
    path = tmp_path / "s.db"
    with Store(path) as store:
        store.study(HEADER)
        store.add([row(number) for number in range(400)])
        keys = [f"b{number}" for number in range(400)]
        measured = {"latency_s": [1.0] * 400}
        store.add_block(keys, {}, measured, numbers=range(400), seed=0, wall_time_s=0.0)
    return path


def _refusal(path: Path, use: Callable[[Store], object] = Store.count, **options: Any) -> str:
    with pytest.raises(InputError) as error, Store(path, **options) as store:
        use(store)
    return str(error.value)


def _change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


@pytest.mark.parametrize("change", ["PRAGMA user_version=3", "UPDATE header SET schema_version=3"])
def test_newer_layout(study: Path, change: str) -> None:
    _change(study, change)
    assert (
        _refusal(study)
        == f"'{study}' has layout 3 of a newer nibblesim; this one reads layouts up to 2: update nibblesim, or export the study with the newer one"
    )


def test_another_study(study: Path) -> None:
    other = Header(
        dimensions={"device.rows": "float", "device.columns": "int"},
        metrics={"latency_s": "ms", "area_mm2": "mm2"},
        defined_by="4567",
        text="device: tpu_v5\nworkload: llama-3-8b",
    )
    before = study.read_bytes()
    assert _refusal(study, lambda store: store.study(other)) == "\n".join(
        [
            f"'{study}' holds another study than the one asked for; give another file",
            "  stored: device: tpu_v4",
            "  asked: device: tpu_v5",
            "  defined by 4567, not 0123",
            "  dimension 'workload.weights' is not asked for",
            "  dimension 'device.columns' is not in it",
            "  dimension 'device.rows' is in 'int' there and in 'float' here",
            "  metric 'area_mm2' is not in it",
            "  metric 'latency_s' is in 's' there and in 'ms' here",
        ]
    )
    assert study.read_bytes() == before


def test_truncated_file(study: Path) -> None:
    study.write_bytes(study.read_bytes()[:10_000])
    assert (
        _refusal(study)
        == f"'{study}' is damaged or truncated (database disk image is malformed); what can be saved of it: sqlite3 '{study}' .recover"
    )


def test_damaged_block(study: Path) -> None:
    _change(study, "UPDATE blocks SET batch = zeroblob(100)")
    assert _refusal(study, Store.table).startswith(
        "the study is damaged: a block is no Arrow batch ("
    )


def test_block_of_another_study(study: Path, tmp_path: Path) -> None:
    other = replace(HEADER, metrics={"latency_s": "ms"})
    with Store(tmp_path / "other.db") as store:
        store.study(other)
        store.add_block(["a"], {}, {}, numbers=[0], seed=0, wall_time_s=0.0)
    _change(
        study,
        f"ATTACH '{tmp_path}/other.db' AS other",
        "UPDATE blocks SET batch = (SELECT batch FROM other.blocks)",
    )
    assert (
        _refusal(study, Store.table)
        == "the study is damaged: a block has other columns than the header says"
    )


def test_damaged_value(study: Path) -> None:
    _change(study, "UPDATE points SET latency_s = 'fast' WHERE number = 7")
    assert _refusal(study, Store.table).startswith(
        "the study is damaged: a value is not of its column ("
    )


def test_truncated_text_file(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text("name: pe_array_front\n" * 100)
    assert _refusal(path) == f"'{path}' is not a study: it is not a SQLite database"


def test_database_of_another_program(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    _change(path, "CREATE TABLE trials (a)")
    before = path.read_bytes()
    assert _refusal(path) == f"'{path}' is not a study: it is a database of another program"
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "change",
    [
        "DROP TABLE points",
        "ALTER TABLE points ADD COLUMN more",
        "CREATE TRIGGER t AFTER INSERT ON points BEGIN DELETE FROM header; END",
        "CREATE VIEW v AS SELECT 1",
        "UPDATE header SET schema_version=0",
        "UPDATE header SET schema_version=1",
        "UPDATE header SET dimensions = '{'",
        "UPDATE header SET dimensions = '[]'",
        'UPDATE header SET dimensions = \'{"a": "code"}\'',
        f"UPDATE header SET metrics = '{'[' * 100_000}'",
        "UPDATE header SET metrics = '{\"latency_s\": 1}'",
        "DROP TABLE header",
        "DELETE FROM header",
    ],
)
def test_tables_of_somebody_else(study: Path, change: str) -> None:
    _change(study, change)
    assert _refusal(study) == f"'{study}' is not a study: its tables are not those of its header"


def test_folder_in_place_of_a_file(tmp_path: Path) -> None:
    assert _refusal(tmp_path) == f"cannot write to '{tmp_path}': it is a folder, not a file"
    assert _refusal(tmp_path, read_only=True) == f"cannot read '{tmp_path}': Is a directory"


def test_nothing_to_read(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    assert _refusal(path, read_only=True) == f"cannot read '{path}': No such file or directory"
    path.touch()
    assert _refusal(path, Store.table, read_only=True) == f"'{path}' holds no study: it is empty"


@contextmanager
def _as_nobody() -> Iterator[None]:
    """The superuser may write anywhere."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.fixture
def read_only_folder(study: Path) -> Iterator[Path]:
    """Return a folder that everybody can read and nobody can write to, with a study in it."""
    folder = Path(tempfile.mkdtemp())
    shutil.copy(study, folder / "s.db")
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def test_read_only_folder(read_only_folder: Path) -> None:
    path = read_only_folder / "s.db"
    with _as_nobody():
        assert _refusal(path) == f"cannot write to '{read_only_folder}': Permission denied"
        with Store(path, read_only=True) as store:
            assert len(store.table()) == store.count() == 800
            with pytest.raises(InputError) as error:
                store.export(read_only_folder / "points.csv")
    assert str(error.value) == f"cannot write to '{read_only_folder}/points.csv': Permission denied"
    assert os.listdir(read_only_folder) == ["s.db"]


def test_adding_to_what_was_opened_to_read(study: Path) -> None:
    assert (
        _refusal(study, lambda store: store.add([row(900)]), read_only=True)
        == f"cannot write to '{study}': Permission denied"
    )


def test_locked(study: Path) -> None:
    with closing(sqlite3.connect(study, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        words = _refusal(study, lambda store: store.add([row(900)]), timeout_s=0.05)
    assert (
        words
        == f"'{study}' is locked: another process has been writing to it for 0.05 s, another run of this study or a program that shows databases; let it end, then run the same command again"
    )
    with Store(study) as store:
        store.add([row(900)])
        assert store.count() == 801


def test_full_disk(study: Path) -> None:
    """The limit of pages is what SQLite itself treats as a full disk."""
    with Store(study) as store:
        store._database.connection.execute("PRAGMA max_page_count=1")  # as many as there are
        with pytest.raises(InputError) as error:
            store.add([row(number) for number in range(1000, 3000)])
        assert (
            str(error.value)
            == f"cannot write to '{study}': the disk is full; what was stored before is kept (800 points); make room, then run the same command again"
        )
        assert store.count() == 800
        store._database.connection.execute("PRAGMA max_page_count=100000")
        store.add([row(number) for number in range(1000, 3000)])
    with Store(study, read_only=True) as store:
        assert store.count() == 2800


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"point": {"device.row": 1}},
            "unknown dimension 'device.row'; did you mean 'device.rows'? known: device.rows, workload.weights",
        ),
        (
            {"point": {"device.rows": 1.0}},
            "device.rows: 1.0 is no value of a dimension of kind int",
        ),
        (
            {"point": {"device.rows": True}},
            "device.rows: True is no value of a dimension of kind int",
        ),
        (
            {"point": {"device.rows": None}},
            "device.rows: None is no value of a dimension of kind int",
        ),
        (
            {"point": {"workload.weights": 4}},
            "workload.weights: 4 is no value of a dimension of kind text",
        ),
        (
            {"point": {"device.rows": 2**63}},
            "'{path}' cannot hold a value: Python int too large to convert to SQLite INTEGER",
        ),
        (
            {"point": {"workload.weights": "\ud800"}},
            "'{path}' cannot hold a value: 'utf-8' codec can't encode character '\\ud800' in position 0: surrogates not allowed",
        ),
        (
            {"outcome": Outcome("OK", {"latency": 1.0})},
            "unknown metric 'latency'; did you mean 'latency_s'? known: latency_s",
        ),
        ({"outcome": Outcome("DONE")}, "unknown state 'DONE'; known: FAILED, INFEASIBLE, OK"),  # type: ignore[arg-type]
    ],
)
def test_row_that_does_not_fit(study: Path, changes: dict[str, Any], words: str) -> None:
    rows = [row(900), row(901, **changes)]
    assert _refusal(study, lambda store: store.add(rows)) == words.format(path=study)
    with Store(study) as store:
        assert store.count() == 800


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dimensions": {"": "int"}}, "'' cannot name a column"),
        ({"dimensions": {"a\0b": "int"}}, "'a\\x00b' cannot name a column"),
        ({"dimensions": {"number": "int"}}, "dimension 'number' has the name of column 'number'"),
        ({"metrics": {"Strategy": "1"}}, "metric 'Strategy' has the name of column 'strategy'"),
        ({"dimensions": {"rowid": "int"}}, "dimension 'rowid' has the name of column 'rowid'"),
        (
            {"dimensions": {"run.a": "int", "run.A": "int"}},
            "dimension 'run.A' has the name of dimension 'run.a'",
        ),
        (
            {"metrics": {"Device.Rows": "1"}},
            "metric 'Device.Rows' has the name of dimension 'device.rows'",
        ),
    ],
)
def test_names_that_are_no_columns(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as error:
        replace(HEADER, **changes)
    assert str(error.value) == words


def test_export_to_another_format(study: Path) -> None:
    path = study.with_name("points.xlsx")
    assert (
        _refusal(study, lambda store: store.export(path))
        == f"cannot export to '{path}': its name must end in .parquet or .csv"
    )


def test_failed_export_leaves_the_old_file(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = study.with_name("points.csv")
    path.write_text("old")

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "replace", full)
    assert (
        _refusal(study, lambda store: store.export(path))
        == f"cannot write to '{path}': No space left on device"
    )
    assert path.read_text() == "old"
    assert sorted(each.name for each in study.parent.iterdir()) == ["points.csv", "s.db"]
