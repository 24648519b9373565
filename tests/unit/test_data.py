"""Matrices to try a datapath on: do they have the statistics that their names promise?"""

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from simulator.errors import InputError
from simulator.numerics.data import (
    FREEDOM,
    KINDS,
    OUTLIER_EVERY,
    OUTLIER_SIZE,
    is_file,
    random_matrix,
    read_matrix,
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_gives_the_same_matrix_again(kind: str) -> None:
    first, second = (random_matrix(kind, 3, 200, np.random.default_rng(7)) for _ in range(2))
    assert first.shape == (3, 200)
    assert first.dtype == np.float32
    assert np.array_equal(first, second)


def test_one_channel_in_128_is_twenty_times_as_large() -> None:
    values = random_matrix("outlier_channels", 4000, 256, np.random.default_rng(0))
    size = values.std(axis=0)
    outlier = np.arange(256) % OUTLIER_EVERY == 0
    assert size[outlier] == pytest.approx(OUTLIER_SIZE, rel=0.05)
    assert size[~outlier] == pytest.approx(1, rel=0.06)


def test_student_t_has_the_variance_of_its_freedom() -> None:
    values = random_matrix("student_t", 1000, 1000, np.random.default_rng(0))
    assert values.var() == pytest.approx(FREEDOM / (FREEDOM - 2), rel=0.02)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(InputError) as error:
        random_matrix("gausian", 1, 1, np.random.default_rng(0))
    assert str(error.value).startswith("unknown data 'gausian'; did you mean 'gaussian'?")


def test_a_file_comes_back_as_float32(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float64).reshape(2, 3)
    np.save(tmp_path / "w.npy", values)
    found = read_matrix(tmp_path / "w.npy")
    assert found.dtype == np.float32
    assert np.array_equal(found, values)


def test_files_that_are_no_matrix_of_floats_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "i.npy", np.zeros((2, 2), dtype=np.int8))
    np.save(tmp_path / "v.npy", np.zeros(3))
    np.save(tmp_path / "e.npy", np.zeros((0, 8), np.float32))
    np.save(tmp_path / "e2.npy", np.zeros((8, 0), np.float32))
    with (tmp_path / "z.npy").open("wb") as archive:
        np.savez(archive, a=np.ones((2, 2)))
    (tmp_path / "t.npy").write_text("no array", encoding="utf-8")
    for name, words in {
        "i.npy": "expected a matrix of floats, got int8 of shape (2, 2)",
        "v.npy": "expected a matrix of floats, got float64 of shape (3,)",
        "e.npy": "has no values, its shape is (0, 8)",
        "e2.npy": "has no values, its shape is (8, 0)",
        "z.npy": "is no .npy file of numbers, or truncated",
        "t.npy": "is no .npy file of numbers, or truncated",
        "none.npy": "cannot be read: No such file or directory",
    }.items():
        with pytest.raises(InputError) as error:
            read_matrix(tmp_path / name)
        assert str(error.value) == f"{tmp_path / name}: {words}"


def test_kinds_are_no_files() -> None:
    assert is_file("w.npy")
    assert is_file("w.safetensors")
    assert not any(map(is_file, KINDS))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
def test_tensors_of_every_float_come_back_as_float32(dtype: type, tmp_path: Path) -> None:
    """Other tensors stand before and behind; values have few bits, a subnormal among them."""
    values = np.array([[1.5, -2.0, 0.0], [2.0**-20, -448.0, 3.140625]]).astype(dtype)
    others = {"a": np.ones(5, np.int8), "z": np.ones((3, 3), np.float32)}
    save_file({**others, "w": values}, tmp_path / "w.safetensors")
    found = read_matrix(tmp_path / "w.safetensors", "w")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, values.astype(np.float32))


def test_the_only_tensor_needs_no_name(tmp_path: Path) -> None:
    save_file({"w": np.ones((2, 3), np.float32)}, tmp_path / "w.safetensors")
    assert read_matrix(tmp_path / "w.safetensors").shape == (2, 3)


def test_files_and_tensors_that_are_no_matrix_of_floats_are_refused(tmp_path: Path) -> None:
    tensors = {"norm": np.ones(4, np.float32), "codes": np.ones((2, 2), np.int8)}
    save_file(tensors, tmp_path / "m.safetensors")
    (tmp_path / "t.safetensors").write_bytes(b"no tensors")
    (tmp_path / "e.safetensors").write_bytes(b"")
    whole = (tmp_path / "m.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-1])
    save_file({}, tmp_path / "none.safetensors")
    np.save(tmp_path / "w.npy", np.ones((2, 2)))
    cases: dict[tuple[str, str | None], str] = {
        ("m.safetensors", None): ": name one of its 2 tensors: codes, norm",
        ("none.safetensors", None): ": name one of its 0 tensors: none",
        ("m.safetensors", "nrom"): ": unknown tensor 'nrom'; did you mean 'norm'?",
        ("m.safetensors", "norm"): (
            ":norm: expected a matrix of F64, F32, F16, BF16, got F32 of shape (4,)"
        ),
        ("m.safetensors", "codes"): (
            ":codes: expected a matrix of F64, F32, F16, BF16, got I8 of shape (2, 2)"
        ),
        ("t.safetensors", None): ": is no .safetensors file, or truncated",
        ("e.safetensors", None): ": is no .safetensors file, or truncated",
        ("cut.safetensors", "norm"): ": is no .safetensors file, or truncated",
        ("gone.safetensors", None): ": cannot be read: No such file or directory",
        ("w.npy", "norm"): ": only .safetensors files hold tensors by name, got 'norm'",
    }
    for (name, tensor), words in cases.items():
        with pytest.raises(InputError) as error:
            read_matrix(tmp_path / name, tensor)
        assert str(error.value).startswith(f"{tmp_path / name}{words}")


def test_values_that_are_not_finite_in_float32_are_refused(tmp_path: Path) -> None:
    values = np.array([[1.0, np.nan], [1e300, -np.inf]])
    np.save(tmp_path / "w.npy", values)
    save_file({"w": values}, tmp_path / "w.safetensors")
    for name, what in {"w.npy": "w.npy", "w.safetensors": "w.safetensors:w"}.items():
        with pytest.raises(InputError) as error:
            read_matrix(tmp_path / name)
        assert str(error.value) == (f"{tmp_path / what}: 3 of 4 values are NaN or beyond float32")
