"""Are unwritable folders and damaged results refused, and with which words?"""

import json
from pathlib import Path

import pytest
from samples import decode_result

from simulator.errors import InputError
from simulator.report import write_pictures, write_trace
from simulator.results import Result, load


def _message(error: pytest.ExceptionInfo[InputError]) -> str:
    return str(error.value)


@pytest.fixture
def saved(decode: Result, tmp_path: Path) -> Path:
    return decode.save(tmp_path / "out")


def test_output_folder_is_a_file(decode: Result, tmp_path: Path) -> None:
    path = tmp_path / "taken"
    path.write_text("mine")
    with pytest.raises(InputError) as error:
        decode.save(path)
    assert _message(error) == f"cannot write to '{path}': it is a file, not a folder"
    assert path.read_text() == "mine"


def test_output_folder_below_a_file(decode: Result, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    path = tmp_path / "taken" / "out"
    with pytest.raises(InputError) as error:
        write_pictures(decode, path)
    assert _message(error) == f"cannot write to '{path}': Not a directory"


def test_output_folder_without_permission(
    decode: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The superuser may write anywhere, so the refusal of the system is put in its place."""

    def refuse(self: Path, data: bytes) -> int:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    path = tmp_path / "trace.json"
    with pytest.raises(InputError) as error:
        write_trace(decode, path)
    assert _message(error) == f"cannot write to '{path}': Permission denied"
    assert list(tmp_path.iterdir()) == []


def test_failed_write_leaves_the_old_file(
    decode: Result, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (saved / "result.json").read_bytes()

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(InputError) as error:
        decode_result(layers=2).save(saved)
    path = saved / "ops.parquet"
    assert _message(error) == f"cannot write to '{path}': No space left on device"
    assert (saved / "result.json").read_bytes() == before
    assert len(list(saved.iterdir())) == 3
    assert load(saved) == decode


def test_missing_result(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        load(tmp_path)
    assert _message(error) == (
        f"cannot read '{tmp_path / 'result.json'}': No such file or directory"
    )


def test_truncated_result(saved: Path) -> None:
    path = saved / "result.json"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:20]))
    with pytest.raises(InputError) as error:
        load(saved)
    assert _message(error) == f"{path}: damaged or truncated, no valid JSON at line 21"


def test_result_that_is_not_text(saved: Path) -> None:
    path = saved / "result.json"
    path.write_bytes(b'{"device": "\xff"}')
    with pytest.raises(InputError) as error:
        load(saved)
    assert _message(error) == f"{path}: damaged or truncated, no valid JSON"


def test_result_nested_too_deep(saved: Path) -> None:
    path = saved / "result.json"
    path.write_text("[" * 100_000)
    with pytest.raises(InputError) as error:
        load(saved)
    assert _message(error) == f"{path}: damaged or truncated, no valid JSON"


@pytest.mark.parametrize(
    ("content", "found"),
    [([], None), ({}, None), ({"provenance": {"schema_version": 99}}, 99)],
)
def test_other_json(saved: Path, content: object, found: object) -> None:
    path = saved / "result.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError) as error:
        load(saved)
    assert _message(error) == (f"{path}: not a result of nibblesim with layout 3 (found: {found})")


def test_result_without_a_key(saved: Path) -> None:
    path = saved / "result.json"
    content = json.loads(path.read_text())
    del content["latency_ps"]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError) as error:
        load(saved)
    assert _message(error) == f"{path}: not a result of nibblesim (KeyError: 'latency_ps')"


def test_truncated_ops(saved: Path) -> None:
    path = saved / "ops.parquet"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError) as error:
        load(saved)
    assert _message(error) == f"{path}: damaged or truncated, no valid Parquet"


def test_missing_ops(saved: Path) -> None:
    path = saved / "ops.parquet"
    path.unlink()
    with pytest.raises(InputError) as error:
        load(saved)
    assert _message(error) == f"cannot read '{path}': No such file or directory"


def test_ops_of_another_run(saved: Path, tmp_path: Path) -> None:
    other = decode_result(layers=2).save(tmp_path / "other")
    (other / "ops.parquet").replace(saved / "ops.parquet")
    with pytest.raises(InputError) as error:
        load(saved)
    assert _message(error) == (
        f"{saved}: ops.parquet and intervals.parquet are not of the run in result.json"
    )
