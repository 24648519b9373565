"""What a wrong device file is told: file, path, value and what to write."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from simulator.api import load_device
from simulator.config import dump_yaml, replace
from simulator.dram import load_standard, standard_names
from simulator.errors import InputError

GOOD: dict[str, Any] = yaml.safe_load(dump_yaml(load_device("generic_npu_128")))
PE = {"name": "dot", "formats": {"int8xint8": 1}, "source": "test"}

Refusal = Callable[[dict[str, Any]], list[str]]


@pytest.fixture
def refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Refusal:
    """Return a function: the problems of our device with values at dotted paths changed.

    A value of `...` takes the key away.
    """
    monkeypatch.chdir(tmp_path)

    def problems(changes: dict[str, Any]) -> list[str]:
        data = yaml.safe_load(yaml.safe_dump(GOOD))
        for path, value in changes.items():
            *above, key = path.split(".")
            part = data
            for step in above:
                part = part[step]
            if value is ...:
                del part[key]
            else:
                part[key] = value
        Path("my.yaml").write_text(yaml.safe_dump(data))
        with pytest.raises(InputError) as error:
            load_device("my.yaml")
        assert error.value.exit_code == 2
        return str(error.value).splitlines()

    return problems


OF_SYSTOLIC = (
    "accumulators, activation_edge_width, arrays, columns, conversions_per_cycle, dataflow, "
    "dequantised_per_cycle, fold_overlap, partial_fold_cost, pe, rows, source, weight_buffers, "
    "weight_edge_width, weight_load_rows_per_cycle"
)


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        # Unknown keys.
        ("coers", 2, "coers: unknown key; did you mean 'cores'?"),
        ("memory.bandwith", "1 TB/s", "memory.bandwith: unknown key; did you mean 'bandwidth'?"),
        ("matrix.weight_buffer", 2, "matrix.weight_buffer: unknown key; did you mean 'weight_buffers'?"),
        ("matrix.pe.micro_tiles", [1, 1, 1], "matrix.pe.micro_tiles: unknown key; did you mean 'micro_tile'?"),
        ("matrix.macs", 100, f"matrix.macs: unknown key; kind 'systolic' has: {OF_SYSTOLIC}"),
        ("vector.width", 8, "vector.width: unknown key"),
        (
            "vector.cycles_per_operation.expp", 4,
            "vector.cycles_per_operation: unknown function 'expp'; did you mean 'exp'?",
        ),
        (
            "energy", "jouppi",
            "energy: unknown energy profile 'jouppi'; did you mean 'jouppi_7nm'? known: "
            "accelforge_tpu_v4i, edge_28nm, horowitz_45nm, jouppi_7nm",
        ),
        # Values that an element of an array cannot have.
        (
            "matrix.pe.latency_cycles", 3,
            "matrix: pe.latency_cycles must be 1 in a systolic array, whose fill and drain count one cycle an element; got 3",
        ),
        (
            "matrix.pe.accumulator_bits", 7,
            "matrix.pe: accumulator_bits (7) holds no operand: the narrowest pair has 8 bits",
        ),
        # Missing keys.
        ("clock", ..., "clock: missing"),
        ("energy", ..., "energy: missing"),
        ("matrix.kind", ..., "matrix.kind: missing"),
        ("matrix.rows", ..., "matrix.rows: missing"),
        ("matrix.pe.formats", ..., "matrix.pe.formats: missing"),
        ("memory.source", ..., "memory.source: missing"),
        ("scratchpad.port_width", ..., "scratchpad.port_width: missing"),
        # Units.
        ("scratchpad.capacity", 20, "scratchpad.capacity: '20' has no unit; write for example '20 MiB'"),
        ("scratchpad.capacity", "20 MHz", "scratchpad.capacity: '20 MHz': unknown unit 'MHz'; known: B, kB, KiB, MB, MiB, GB, GiB, TB, TiB"),
        ("memory.bandwidth", "1 TB", "memory.bandwidth: '1 TB': unknown unit 'TB'; known: B/s, kB/s, KiB/s, MB/s, MiB/s, GB/s, GiB/s, TB/s, TiB/s"),
        ("dma.burst", 32, "dma.burst: '32' has no unit; write for example '32 MiB'"),
        ("clock", "1", "clock: '1' has no unit; write for example '1 MHz'"),
        ("memory.latency", 30, "memory.latency: '30' has no unit; write for example '30 ns'"),
        ("die_area", 500, "die_area: '500' has no unit; write for example '500 mm2'"),
        ("tdp", "200", "tdp: '200' has no unit; write for example '200 W'"),
        # Sizes.
        ("scratchpad.capacity", "-20 MiB", "scratchpad.capacity: must be positive, got '-20 MiB'"),
        ("scratchpad.capacity", "0 B", "scratchpad.capacity: must be positive, got '0 B'"),
        ("memory.bandwidth", "0 GB/s", "memory.bandwidth: must be positive, got '0 GB/s'"),
        ("memory.latency", "-1 ns", "memory.latency: must not be negative, got '-1 ns'"),
        ("matrix.rows", -4, "matrix.rows: must be >= 1, got -4"),
        ("cores", 0, "cores: must be >= 1, got 0"),
        ("matrix.pe.formats", {}, "matrix.pe.formats: must have at least 1 entries, got 0"),
        ("matrix.pe.formats", {"int8xint8": 0}, "matrix.pe.formats.int8xint8: must be >= 1 or 'counted', got 0"),
        ("matrix.pe.micro_tile", [1, 0, 1], "matrix.pe.micro_tile[1]: must be >= 1, got 0"),
        ("matrix.pe.micro_tile", [1, 1, 10_000_000], "matrix.pe.micro_tile: m x n x k must be at most 65536, got 1 x 1 x 10000000"),
        ("matrix.pe.micro_tile", [257, 255, 2], "matrix.pe.micro_tile: m x n x k must be at most 65536, got 257 x 255 x 2"),
        ("memory.efficiency", 0.0, "memory.efficiency: must be > 0.0, got 0.0"),
        ("memory.efficiency", 1.5, "memory.efficiency: must be <= 1.0, got 1.5"),
        ("dma.descriptor_cycles", -1, "dma.descriptor_cycles: must be >= 0, got -1"),
        ("vector.cycles_per_operation", {"exp": 0}, "vector.cycles_per_operation.exp: must be >= 1, got 0"),
        # Types.
        ("cores", "four", "cores: expected an integer, got 'four'"),
        ("cores", 1.0, "cores: expected an integer, got 1.0"),
        ("cores", True, "cores: expected an integer, got True"),
        ("matrix.fold_overlap", 1, "matrix.fold_overlap: expected true or false, got 1"),
        ("matrix", 128, "matrix: expected a mapping, got 128"),
        ("matrix.pe.formats", ["int8xint8"], "matrix.pe.formats: expected a mapping, got ['int8xint8']"),
        ("matrix.pe.micro_tile", 4, "matrix.pe.micro_tile: expected a list, got 4"),
        ("name", 7, "name: expected text, got 7"),
        # Choices.
        (
            "matrix.dataflow", "row_stationary",
            "matrix.dataflow: unknown dataflow 'row_stationary'; did you mean 'weight_stationary'? "
            "known: input_stationary, output_stationary, weight_stationary",
        ),
        (
            "matrix.kind", "sistolic",
            "matrix.kind: unknown kind 'sistolic'; did you mean 'systolic'? known: adder_tree, systolic, throughput",
        ),
        ("memory.kind", "hbm", "memory.kind: unknown kind 'hbm'; known: channels, dram, ideal"),
        ("matrix.weight_buffers", 3, "matrix.weight_buffers: must be one of 1, 2, got 3"),
        ("matrix.weight_buffers", "2", "matrix.weight_buffers: must be one of 1, 2, got '2'"),
        (
            "matrix.partial_fold_cost", "none",
            "matrix.partial_fold_cost: unknown partial_fold_cost 'none'; known: full, occupied",
        ),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_its_path(
    path: str, value: object, problem: str, refusal: Refusal
) -> None:
    assert refusal({path: value}) == [f"my.yaml: {problem}"]


def test_a_matrix_unit_of_another_kind_does_not_take_the_keys_of_an_array(
    refusal: Refusal,
) -> None:
    own = ("columns", "dataflow", "fold_overlap", "partial_fold_cost", "rows", "weight_buffers",
        "weight_load_rows_per_cycle")  # fmt: skip
    has = (
        "accumulators, activation_edge_width, arrays, conversions_per_cycle, dequantised_per_cycle, "
        "efficiency, macs, pe, source, weight_edge_width"
    )
    assert refusal({"matrix.kind": "throughput"}) == [
        "my.yaml: matrix.macs: missing",
        *(f"my.yaml: matrix.{key}: unknown key; kind 'throughput' has: {has}" for key in own),
    ]


CHANNELS = {
    "kind": "channels", "standard": "hbm2_2000", "channels": 4, "interleave": "256 B",
    "capacity": "1 GiB", "latency": "0 ns", "source": "test",
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"standard": "hbm2_200"},
            "memory.standard: unknown DRAM standard 'hbm2_200'; did you mean 'hbm2_2000'? known: "
            + ", ".join(standard_names()),
        ),
        ({"standard": 5}, "memory.standard: expected a mapping, got 5"),
        ({"channels": 0}, "memory.channels: must be >= 1, got 0"),
        ({"refresh": "some"}, "memory.refresh: unknown refresh 'some'; known: all_bank, none, per_bank"),
        (
            {"standard": "gddr6_14000", "refresh": "per_bank", "interleave": "32 B"},
            "memory: refresh 'per_bank': gddr6_14000 has no refresh bank by bank",
        ),
        ({"bandwidth": "1 TB/s"}, "memory.bandwidth: unknown key; kind 'channels' has: capacity, channels, interleave, latency, mapping, page, refresh, source, standard"),
        (
            {"interleave": "48 B"},
            "memory: interleave must be whole bursts of 32 bytes, got 48",
        ),
        (
            {"capacity": "9 GiB"},
            "memory: capacity 9663676416 bytes is more than 4 channels of hbm2_2000 have, "
            "8589934592",
        ),
        (
            {"mapping": "RoBaBgCo"},
            "memory: mapping 'RoBaBgCo': does not cover the address: PseudoChannel missing",
        ),
        (
            {"mapping": "RoBaBgCoXx", "interleave": "1 B"},
            "memory: interleave must be whole bursts of 32 bytes, got 1; mapping 'RoBaBgCoXx': "
            "unknown level 'Xx'; known: Ba, Bg, Ch, Co, Pc, Ro",
        ),
    ],
)  # fmt: skip
def test_channels_that_cannot_be(
    changes: dict[str, object], problem: str, refusal: Refusal
) -> None:
    assert refusal({"memory": {**CHANNELS, **changes}}) == [f"my.yaml: {problem}"]


def test_channels_of_a_standard_that_has_several(refusal: Refusal, tmp_path: Path) -> None:
    two = tmp_path / "two.yaml"
    two.write_text(dump_yaml(replace(load_standard("ddr4_3200"), {"levels.Channel": 2})))
    assert refusal({"memory": {**CHANNELS, "standard": str(two)}}) == [
        "my.yaml: memory: standard must be of one channel, ddr4_3200 has 2; say how many with "
        "channels",
    ]


def test_an_ideal_memory_has_no_bandwidth(refusal: Refusal) -> None:
    memory = {"kind": "ideal", "capacity": "1 GB", "bandwidth": "1 TB/s", "source": "test"}
    assert refusal({"memory": memory}) == [
        "my.yaml: memory.bandwidth: unknown key; kind 'ideal' has: capacity, source"
    ]


def test_all_problems_of_a_device_come_at_once(refusal: Refusal) -> None:
    changes = {"cores": -1, "clock": 1, "matrix.weight_buffers": 3, "memory.kind": "hbm"}
    assert sorted(refusal(changes)) == [
        "my.yaml: clock: '1' has no unit; write for example '1 MHz'",
        "my.yaml: cores: must be >= 1, got -1",
        "my.yaml: matrix.weight_buffers: must be one of 1, 2, got 3",
        "my.yaml: memory.kind: unknown kind 'hbm'; known: channels, dram, ideal",
    ]


def test_an_unknown_device_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InputError) as error:
        load_device("tpu_v5")
    assert str(error.value).startswith(
        "unknown device 'tpu_v5'; did you mean 'tpu_v4'? known: a100, attacc, attacc_bank_group, "
    )


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("matrix.rows", -4, "matrix.rows: must be >= 1, got -4"),
        ("scratchpad.capacity", "20", "scratchpad.capacity: '20' has no unit; write for example '20 MiB'"),
        ("matrix.colums", 4, "matrix.colums: unknown key; did you mean 'columns'?"),
        ("matrix.weight_buffers", 3, "matrix.weight_buffers: must be one of 1, 2, got 3"),
    ],
)  # fmt: skip
def test_a_changed_device_is_checked_as_a_file_is(path: str, value: object, problem: str) -> None:
    with pytest.raises(InputError) as error:
        replace(load_device("generic_npu_128"), {path: value})
    assert str(error.value) == problem
