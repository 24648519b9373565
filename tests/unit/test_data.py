"""Matrices to try a datapath on: do they have the statistics that their names promise?"""

from pathlib import Path

import numpy as np
import pytest

from simulator.errors import InputError
from simulator.numerics.data import (
    FREEDOM,
    KINDS,
    OUTLIER_EVERY,
    OUTLIER_SIZE,
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
    (tmp_path / "t.npy").write_text("no array", encoding="utf-8")
    for name, words in {
        "i.npy": "expected a matrix of floats, got int8 of shape (2, 2)",
        "v.npy": "expected a matrix of floats, got float64 of shape (3,)",
        "t.npy": "is no .npy file of numbers, or truncated",
        "none.npy": "cannot be read: No such file or directory",
    }.items():
        with pytest.raises(InputError) as error:
            read_matrix(tmp_path / name)
        assert str(error.value) == f"{tmp_path / name}: {words}"
