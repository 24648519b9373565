"""Checking a datapath: does it see what is right, and, above all, what is wrong?"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simulator.errors import InputError
from simulator.formats import get
from simulator.numerics.data import KINDS
from simulator.numerics.datapaths import DATAPATHS
from simulator.numerics.operands import Datapath, Operands
from simulator.numerics.verify import verify

SMALL = (3, 5, 300)
INTEGERS = [name for name, path in DATAPATHS.items() if path.oracle is not None]
WEIGHTS = {
    "mixpe_w4a8": ("int4-g128", "int4-g64-asym", "int3-channel", "int4-tensor", "int2-g32-s32"),
    "mixpe": ("int4-g128", "int4-g64-asym", "int4-channel", "int4-tensor", "int4-g128-s8"),
    "mixpe_chain": ("int4-g128-asym",),
    "lut": ("int2-g128", "int4-g100-asym", "int8-channel", "int3-tensor-asym"),
    "abq": ("int2-g128", "int4-g64-asym", "int8-channel", "int5-tensor"),
    "bipolar": ("int2-g128", "int4-g64-asym", "int8-channel"),
    "ternary": ("ternary-tensor", "ternary-g64", "ternary-channel"),
    "dequantise": ("int4-g128", "nf4-g64", "mxfp4", "fp8_e4m3fn", "bitmod4", "fp16"),
    "figna": ("int4-g128", "int8-channel", "int3-tensor"),
    "t_mac": ("int4-g128", "int2-g64-asym", "int3-g64"),
    "t_mac_exact": ("int4-g128", "int2-g64-asym"),
    "l_mul": ("bf16",),
    "pim_fp16": ("fp16",),
    "pim_bf16": ("bf16",),
}


@pytest.mark.parametrize(
    ("name", "weights"), [(name, each) for name, listed in WEIGHTS.items() for each in listed]
)
def test_datapaths_are_bit_exact_in_every_format_that_they_take(name: str, weights: str) -> None:
    found = verify(name, SMALL, weights)
    assert found.bit_exact
    assert found.weight_format == weights
    assert found.reference.startswith("specification (15)")
    assert found.reference.endswith(", exact integers (all)") == (name in INTEGERS)


def test_every_datapath_is_checked_here() -> None:
    assert set(WEIGHTS) == set(DATAPATHS)


@pytest.mark.parametrize("name", INTEGERS)
def test_integer_datapaths_differ_from_float64_by_their_last_roundings(name: str) -> None:
    found = verify(name, (4, 6, 1000), DATAPATHS[name].weight_format, "int8-token", "gaussian")
    # Three roundings a group, eight groups; nothing else is lost.
    assert 0 < found.max_ulp < 1000
    assert found.sqnr_db > 130


def test_rounding_more_often_costs_accuracy() -> None:
    names = ("pim_bf16", "pim_fp16", "mixpe_chain", "mixpe", "mixpe_w4a8")
    found = {name: verify(name, (6, 8, 1024), data="gaussian").sqnr_db for name in names}
    assert found["pim_bf16"] < found["pim_fp16"] < found["mixpe_chain"] < found["mixpe"]
    assert found["mixpe"] < found["mixpe_w4a8"]


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 9, 129), (2, 1, 64), (7, 3, 5)])
@pytest.mark.parametrize("name", DATAPATHS)
def test_any_shape_will_do(name: str, shape: tuple[int, int, int]) -> None:
    found = verify(name, shape)
    assert found.bit_exact
    assert found.shape == shape


def test_many_outputs_are_compared_where_there_are_many() -> None:
    found = verify("ternary", (30, 40, 8))
    assert found.reference == "specification (256), exact integers (all)"


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_gives_the_same_errors_again(kind: str) -> None:
    first, second = (verify("mixpe", SMALL, data=kind, seed=3) for _ in range(2))
    assert dataclasses.replace(first, seconds=0) == dataclasses.replace(second, seconds=0)
    assert first.sqnr_db != verify("mixpe", SMALL, data=kind, seed=4).sqnr_db


def test_weights_may_come_from_a_file(tmp_path: Path) -> None:
    weights = np.linspace(-1, 1, 7 * 200).reshape(7, 200)
    np.save(tmp_path / "w.npy", weights)
    found = verify("mixpe", (2, 1, 1), data=str(tmp_path / "w.npy"))
    assert found.shape == (2, 7, 200)
    assert found.bit_exact


def broken(path: Datapath, change: Callable[[Any], None]) -> Datapath:
    """Return a datapath whose kernel is wrong in one way."""

    def run(operands: Operands) -> np.ndarray:
        found = path.run(operands).copy()
        change(found)
        return found

    return dataclasses.replace(path, run=run)


def flip_last(found: np.ndarray) -> None:
    found[-1, -1] = np.nextafter(found[-1, -1], np.float32(np.inf))


def flip_all(found: np.ndarray) -> None:
    np.nextafter(found, np.float32(np.inf), out=found)


@pytest.mark.parametrize("change", [flip_last, flip_all])
@pytest.mark.parametrize("name", DATAPATHS)
def test_one_wrong_bit_is_seen(
    name: str, change: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = {**DATAPATHS, name: broken(DATAPATHS[name], change)}
    monkeypatch.setattr("simulator.numerics.verify.DATAPATHS", paths)
    assert not verify(name, (20, 30, 64)).bit_exact


def test_the_exact_oracle_sees_outputs_that_the_specification_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = DATAPATHS["abq"]
    one = broken(path, lambda found: found[1:-1, 1:2].fill(0))
    monkeypatch.setattr("simulator.numerics.verify.DATAPATHS", {"abq": one})
    monkeypatch.setattr("simulator.numerics.verify.OUTPUTS", 4)
    assert not verify("abq", (20, 30, 64)).bit_exact


def test_a_wrong_zero_point_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    path = DATAPATHS["mixpe_w4a8"]

    def forgetful(operands: Operands) -> np.ndarray:
        w = dataclasses.replace(operands.w, zeros=None)  # type: ignore[type-var]
        return path.run(dataclasses.replace(operands, w=w))

    monkeypatch.setattr(
        "simulator.numerics.verify.DATAPATHS",
        {"mixpe_w4a8": dataclasses.replace(path, run=forgetful)},
    )
    assert not verify("mixpe_w4a8", SMALL, "int4-g64-asym").bit_exact


def test_operands_of_one_output_are_rows() -> None:
    form = get("int4-g64-asym")
    x = get("int8-token").encode(np.ones((3, 128), np.float32))
    w = form.encode(np.arange(5 * 128, dtype=np.float32).reshape(5, 128))
    whole = Operands(x, w, get("int8-token"), form)
    row = whole.rows(2, 3)
    np.testing.assert_array_equal(row.w_values()[0], whole.w_values()[3])
    np.testing.assert_array_equal(row.x_values()[0], whole.x_values()[2])


@pytest.mark.parametrize(
    ("name", "weights", "activations", "message"),
    [
        (
            "mixpe",
            "int8-channel",
            None,
            "mixpe: weights must be int4 with a scale, got int8-channel",
        ),
        ("mixpe", "int4", None, "mixpe: weights must be int4 with a scale, got int4"),
        ("mixpe", None, "bf16", "mixpe: activations must be fp16, got bf16"),
        ("lut", "nf4-g64", None, "lut: weights must be int2 to int8 with a scale, got nf4-g64"),
        ("abq", None, "fp16", "abq: activations must be int1 to int8 by token or tensor, got fp16"),
        (
            "abq",
            None,
            "int8-g32",
            "abq: activations must be int1 to int8 by token or tensor, got int8-g32",
        ),
        (
            "abq",
            None,
            "int16-token",
            "abq: activations must be symmetric and of 8 bits at most, got int16-token",
        ),
        (
            "abq",
            None,
            "int8-token-asym",
            "abq: activations must be symmetric and of 8 bits at most, got int8-token-asym",
        ),
        (
            "ternary",
            "int2-g64",
            None,
            "ternary: weights must be ternary with a scale, got int2-g64",
        ),
        ("pim_fp16", "bf16", None, "pim_fp16: both operands must be fp16, got bf16"),
        ("dequantise", None, "int8-token", "dequantise: activations must be fp16, got int8-token"),
        ("figna", "int4-g128-asym", None, "figna: weights must be symmetric, got int4-g128-asym"),
        ("figna", "nf4-g64", None, "figna: weights must be int2 to int8 with a scale, got nf4-g64"),
        ("t_mac", "int4-g32", None, "t_mac: groups must be multiples of 64, got int4-g32"),
        (
            "t_mac",
            "int4-channel",
            None,
            "t_mac: weights must be int1 to int4 in groups, got int4-channel",
        ),
        ("mixpe", "int44", None, "unknown format 'int44'; did you mean 'int4'?"),
    ],
)
def test_formats_that_a_datapath_does_not_take_are_refused(
    name: str, weights: str | None, activations: str | None, message: str
) -> None:
    with pytest.raises(InputError) as error:
        verify(name, SMALL, weights, activations)
    assert str(error.value) == message


def test_unknown_datapaths_and_empty_shapes_are_refused() -> None:
    with pytest.raises(InputError) as error:
        verify("mixpee")
    assert str(error.value).startswith("unknown datapath 'mixpee'; did you mean 'mixpe'? known: ")
    with pytest.raises(InputError) as error:
        verify("mixpe", (4, 0, 4))
    assert str(error.value) == "shape: M, N and K must be >= 1, got 4x0x4"
