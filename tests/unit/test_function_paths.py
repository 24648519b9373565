"""Checking integer functions and softmax: are specification, array and float64 told apart?"""

import dataclasses
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simulator.errors import InputError
from simulator.numerics.data import KINDS
from simulator.numerics.function_paths import (
    FUNCTIONS,
    MOST_STEP,
    FunctionPath,
)
from simulator.numerics.integer_functions import (
    integer_layer_norm,
    layer_norm_one,
    requantised_one,
)
from simulator.numerics.verify import Check, verify

SHAPE = (9, 40, 1)
INTEGERS = [name for name, path in FUNCTIONS.items() if path.mantissa_bits is None]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_equal_their_specification(name: str, kind: str) -> None:
    found = verify(name, SHAPE, data=kind)
    assert found.bit_exact
    assert found.reference == "specification (360)"
    assert (found.weight_format, found.shape) == (None, SHAPE)
    assert found.activation_format == FUNCTIONS[name].activation_format
    assert sum(found.errors.counts) == 360


@pytest.mark.parametrize("rows", ["zeros", "ones", "rising", "large", "close", "tiny", "single"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_edges_equal_the_specification(name: str, rows: str) -> None:
    matrix = {
        "zeros": np.zeros((2, 5)),
        "ones": np.ones((2, 5)),
        "rising": np.linspace(-9, 9, 40).reshape(2, 20),
        "large": np.array([[-1e4, 1e4, 5.0], [-1e4, -1e4, -1e4]]),
        "close": np.array([[0.0, 0.0625, 0.125], [2000.0, 2000.0, 0.0]]),
        "tiny": np.full((1, 4), 1e-9),
        "single": np.array([[3.0], [-3.0]]),
    }[rows].astype(np.float32)
    path = FUNCTIONS[name]
    given = path.taken(matrix)
    found = path.run(given).tolist()
    assert found == [path.one(row, given.step) for row in given.codes.tolist()]


@pytest.mark.parametrize("row", [[0, 1, 2], [3, -3], [0, 40, 80]])
def test_a_root_that_has_not_arrived_is_that_of_the_array(row: list[int]) -> None:
    assert layer_norm_one(row) == integer_layer_norm(np.array(row)).tolist()


def test_a_requantised_tie_goes_to_even_and_is_clamped() -> None:
    row = [-7, -3, -1, 0, 1, 3, 5, 600, -600]
    expected = [min(max(round(Fraction(value, 2)), -128), 127) for value in row]
    assert requantised_one(row, 1, 1, 8) == expected


#: SQNR in dB and the largest error in ULP of these seeds, with room for another libm.
BOUNDS = {
    "hawq_requantise": (20, 0.5001),
    "shiftmax": (15, 4),
    "shift_gelu": (20, 2100),
    "i_layernorm": (55, 2.0**20),
    "softmax_three_pass": (110, 100),
    "softmax_two_pass": (110, 100),
    "softmax_online": (110, 100),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_come_near_float64(name: str) -> None:
    found = verify(name, (9, 400, 1))
    least, most = BOUNDS[name]
    assert found.sqnr_db > least
    assert 0 < found.max_ulp < most


def off_by_one(path: FunctionPath) -> FunctionPath:
    def run(given: Any) -> Any:
        found = path.run(given).copy()
        found[-1, -1] = (
            np.nextafter(found[-1, -1], np.float32(2))
            if path.mantissa_bits
            else (found[-1, -1] + 1)
        )
        return found

    return dataclasses.replace(path, run=run)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_one_wrong_code_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    changed: dict[str, FunctionPath] = {name: off_by_one(FUNCTIONS[name])}
    monkeypatch.setattr("simulator.numerics.verify.FUNCTIONS", changed)
    assert not verify(name, SHAPE).bit_exact


def test_many_rows_are_sampled_from_first_to_last() -> None:
    assert verify("hawq_requantise", (200, 3, 1)).reference == "specification (192)"


def test_steps_are_bounded_and_what_lies_beyond_is_counted() -> None:
    matrix = np.array([[100.0, 7.9, -8.0, 0.01]], np.float32)
    path = FUNCTIONS["shiftmax"]
    given = path.taken(matrix)
    assert given.step == MOST_STEP
    assert given.codes.tolist() == [[127, 126, -127, 0]]
    assert path.saturated(matrix) == 2
    assert FUNCTIONS["softmax_online"].saturated(matrix) == 0


def test_small_values_become_zero_in_integers() -> None:
    found = verify("shiftmax", (4, 300, 1), data="gaussian")
    assert found.zeroed_fraction is not None
    assert 0 < found.zeroed_fraction < 0.05
    assert verify("softmax_online", SHAPE).zeroed_fraction == 0


def test_a_file_is_the_input(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.linspace(-1, 1, 12).reshape(3, 4))
    found: Check = verify("shift_gelu", data=str(tmp_path / "x.npy"))
    assert found.shape == (3, 4, 1)
    assert found.bit_exact


REFUSED: dict[str, tuple[Callable[[], Check], str]] = {
    "weights": (
        lambda: verify("shiftmax", SHAPE, "int4-g128"),
        "shiftmax: a function has no weights: leave out --weight-format",
    ),
    "activations": (
        lambda: verify("softmax_online", SHAPE, None, "fp16"),
        "softmax_online: activations must be fp32, got fp16",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_formats_of_functions_are_refused(case: str) -> None:
    call, message = REFUSED[case]
    with pytest.raises(InputError) as error:
        call()
    assert str(error.value) == message


def test_its_own_format_may_be_named() -> None:
    assert verify("shiftmax", SHAPE, None, "int8-tensor").bit_exact


def test_integers_are_checked_in_codes() -> None:
    assert INTEGERS == ["hawq_requantise", "shiftmax", "shift_gelu", "i_layernorm"]
