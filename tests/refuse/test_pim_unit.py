"""Are units that are wrong, or that a memory cannot feed, refused, with which words?"""

from collections.abc import Callable
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

import pytest
import yaml

from simulator.config import names, replace, resolved
from simulator.errors import InputError
from simulator.formats import get
from simulator.hardware.matrix import PE_FOLDER, pair_formats
from simulator.hardware.pim_unit import Columns, PimUnit, load_pim_unit
from simulator.hardware.pim_unit_fit import fit

FREE = replace(load_pim_unit("fp16_in_bank"), {"power_cap": None, "buffer.capacity": "4 KiB"})
HBM3 = Columns(column_bytes=32, tick_ps=769, cadence_ticks=4)
FP16, INT8, INT4 = get("fp16"), get("int8-token"), get("int4-g128")


def refused(call: Callable[[], object]) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        call()
    return caught.value.problems


def unit_of(pe: str, **changes: object) -> PimUnit:
    return replace(FREE, {"pe": pe, **changes})


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({"elements": 0}, ["elements: must be >= 1 or 'matched', got 0"]),
        ({"elements": "mathced"}, ["elements: must be >= 1 or 'matched', got 'mathced'"]),
        ({"elements": True}, ["elements: must be >= 1 or 'matched', got True"]),
        ({"elements": 1.5}, ["elements: must be >= 1 or 'matched', got 1.5"]),
        ({"vectors_held": 0}, ["vectors_held: must be >= 1, got 0"]),
        ({"clock": "666 MHz"}, ["clock: expected a mapping, got '666 MHz'"]),
        ({"clock": {"frequency": 666, "source": "test"}}, ["clock.frequency: '666' has no unit; write for example '666 MHz'"]),
        ({"clock": {"frequency": "666 MHz"}}, ["clock.source: missing"]),
        ({"buffer": {"capacity": "0 B", "source": "test"}}, ["buffer.capacity: must be positive, got '0 B'"]),
        ({"power_cap": {"stack": "-1 W", "source": "test"}}, ["power_cap.stack: must be positive, got '-1 W'"]),
        ({"power_cap": {"stack": "30 W", "source": " "}}, ["power_cap.source: must not be empty"]),
        ({"area_factor": {"nominal": 5, "low": 6, "source": "test"}}, ["area_factor: needs low <= nominal <= high, got 6.0, 5.0, 5.0"]),
        ({"energy_factor": {"nominal": 5}}, ["energy_factor.source: missing"]),
        ({"vector_held": 4}, ["vector_held: unknown key; did you mean 'vectors_held'?"]),
    ],
)  # fmt: skip
def test_a_part_that_is_wrong(
    changes: dict[str, Any], messages: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my.yaml").write_text(yaml.safe_dump({**resolved(FREE), **changes}))
    assert [*refused(lambda: load_pim_unit("my.yaml"))] == [f"my.yaml: {each}" for each in messages]


def test_names_that_are_not_there() -> None:
    known = ", ".join(names("hw_configs/parts/pim_unit"))
    assert refused(lambda: load_pim_unit("fp16_in_bnak")) == (
        f"unknown PIM unit 'fp16_in_bnak'; did you mean 'fp16_in_bank'? known: {known}",
    )
    elements, gates = (", ".join(names(each)) for each in (PE_FOLDER, "hw_configs/parts/gates"))
    assert refused(lambda: unit_of("bitmdo")) == (
        f"pe: unknown PE 'bitmdo'; did you mean 'bitmod'? known: {elements}",
    )
    assert refused(lambda: unit_of("bitmod", technology="scaled_82nm")) == (
        f"technology: unknown technology 'scaled_82nm'; did you mean 'scaled_28nm'? known: {gates}",
    )


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({"column_bytes": 0}, ["column_bytes must be >= 1, got 0"]),
        ({"tick_ps": -1, "banks": 0}, ["tick_ps must be >= 1, got -1", "banks must be >= 1, got 0"]),
        ({"cadence_ticks": 0, "read_pj": -0.5}, ["cadence_ticks must be >= 1, got 0", "read_pj must be finite and >= 0, got -0.5"]),
        ({"read_pj": float("inf")}, ["read_pj must be finite and >= 0, got inf"]),
        ({"read_pj": float("nan")}, ["read_pj must be finite and >= 0, got nan"]),
    ],
)  # fmt: skip
def test_columns_that_are_wrong(changes: dict[str, Any], messages: list[str]) -> None:
    assert [*refused(lambda: changed(HBM3, **changes))] == messages


PAIRS = [(name, pair) for name in names(PE_FOLDER) for pair in unit_of(name).pe.formats]


@pytest.mark.parametrize("column_bytes", [1, 16, 32])
@pytest.mark.parametrize(("name", "pair"), PAIRS)
def test_a_column_that_does_not_feed_a_micro_tile(name: str, pair: str, column_bytes: int) -> None:
    weights, activations = (get(each) for each in pair_formats(pair))
    unit, columns = unit_of(name), changed(HBM3, column_bytes=column_bytes)
    _, n, k = unit.pe.micro_tile
    if n * k * weights.value_bits <= 8 * column_bytes:
        assert fit(unit, columns, weights, activations).tiles.values >= n * k
        return
    there = int(8 * column_bytes / weights.value_bits)
    assert refused(lambda: fit(unit, columns, weights, activations)) == (
        f"PE '{name}' takes {n * k} weights of {weights.base} at a time, a column of "
        f"{column_bytes} bytes has {there}",
    )


def test_elements_that_a_column_of_32_bytes_does_not_feed() -> None:
    """Which they are among those that come with the package: tiles of more than 256 bits."""
    wide = {
        f"{name} {pair}"
        for name, pair in PAIRS
        for _, n, k in [unit_of(name).pe.micro_tile]
        if n * k * get(pair_formats(pair)[0]).value_bits > 256
    }
    assert wide == {
        *("abq_planes int8xint8", "bipolar int8xint8", "lut_conventional int8xint8"),
        *("lut_w2a8 int8xint8", "unpu int8xint8", "figlut int3xfp16", "figlut int4xfp16"),
    }


def test_operands_that_an_element_does_not_multiply() -> None:
    assert refused(lambda: fit(unit_of("mixpe_w4a8"), HBM3, FP16, FP16)) == (
        "PE 'mixpe_w4a8' cannot multiply weights fp16 with activations fp16, not even widened; "
        "it does: int4xint8",
    )


def test_elements_beyond_what_a_column_feeds() -> None:
    def fp16(elements: int, vectors_held: int) -> object:
        changes: dict[str, object] = {"elements": elements, "vectors_held": vectors_held}
        return fit(unit_of("fp16_fma", **changes), HBM3, FP16, FP16)

    assert refused(lambda: fp16(17, 1)) == (
        "PIM unit 'fp16_in_bank': 17 elements, a column feeds 16",
    )
    assert refused(lambda: fp16(80, 4)) == (
        "PIM unit 'fp16_in_bank': 80 elements, a column feeds 64",
    )
    assert refused(lambda: fp16(24, 4)) == (
        "PIM unit 'fp16_in_bank': 24 elements are no multiple of the 16 that a column feeds for "
        "one vector",
    )
    fp16(16, 1), fp16(48, 4)
    # An element of two vectors serves four in two.
    two = {"elements": 3, "vectors_held": 4}
    assert refused(lambda: fit(unit_of("lut_w2a8", **two), HBM3, INT4, INT8)) == (
        "PIM unit 'fp16_in_bank': 3 elements, a column feeds 2",
    )


@pytest.mark.parametrize("vectors", [-1, 0, 5])
def test_vectors_that_a_unit_does_not_hold(vectors: int) -> None:
    assert refused(lambda: fit(FREE, HBM3, FP16, FP16, vectors)) == (
        f"PIM unit 'fp16_in_bank' holds 1 to 4 vectors, got {vectors}",
    )


def test_a_buffer_that_is_too_small_for_the_inputs_of_a_column() -> None:
    """Four vectors of two inputs of 16 bits; of tables of four activations, 96 bits each."""
    small = {"buffer.capacity": "15 B"}
    assert refused(lambda: fit(unit_of("fp16_fma", **small), HBM3, FP16, FP16)) == (
        "PIM unit 'fp16_in_bank': inputs of 4 vectors for a column take 16 bytes, the buffer has 15",
    )
    fit(unit_of("fp16_fma", **{"buffer.capacity": "16 B"}), HBM3, FP16, FP16)
    small = {"buffer.capacity": "47 B"}
    assert refused(lambda: fit(unit_of("lut_w2a8", **small), HBM3, INT4, INT8)) == (
        "PIM unit 'fp16_in_bank': inputs of 4 vectors for a column take 48 bytes, the buffer has 47",
    )
