"""What a wrong file is told: file, path, value and what to write, all problems at once."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pytest
from pydantic import Field, model_validator

from simulator.config import (
    Bytes,
    Hertz,
    NonNegativePicoseconds,
    Part,
    did_you_mean,
    load_part,
    replace,
    unknown,
)
from simulator.config.yaml_reader import MAX_BYTES
from simulator.errors import InputError


class Systolic(Part):
    kind: Literal["systolic"]
    rows: int = Field(ge=1)
    dataflow: Literal["weight_stationary", "output_stationary"] = "weight_stationary"


class Tree(Part):
    kind: Literal["tree"]
    lanes: int = 4


Matrix = Annotated[Systolic | Tree, Field(discriminator="kind")]


class Memory(Part):
    capacity_bytes: Bytes = Field(alias="capacity")
    bandwidth: float = Field(gt=0, default=1.0)
    latency_ps: NonNegativePicoseconds = Field(alias="latency", default=0)


class Chip(Part):
    name: str = "chip"
    cores: int = Field(default=1, le=64)
    clock_hz: Hertz = Field(alias="clock", default=10**9)
    matrix: Matrix = Systolic(kind="systolic", rows=4)
    spare: tuple[Matrix, ...] = ()
    memory: Memory | None = None
    table: dict[str, Memory] = Field(default_factory=dict)
    pair: tuple[int, ...] = Field(default=(1, 2), min_length=2, max_length=2)
    sizes: tuple[int, ...] = ()
    fused: bool = False

    @model_validator(mode="after")
    def _pairs_fit(self) -> Self:
        if sum(self.pair) > 100:
            raise ValueError(f"pair must not sum to more than 100, got {sum(self.pair)}")
        return self


@pytest.fixture(autouse=True)
def _work_in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def problems_of(text: str | bytes) -> list[str]:
    raw = text.encode() if isinstance(text, str) else text
    Path("my.yaml").write_bytes(raw)
    with pytest.raises(InputError) as refusal:
        load_part(Chip, "my.yaml", "hw_configs/devices", noun="device")
    return str(refusal.value).splitlines()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("memory: {bandwith: 1.0, capacity: 1 B}", "memory.bandwith: unknown key; did you mean 'bandwidth'?"),
        ("coers: 1", "coers: unknown key; did you mean 'cores'?"),
        ("zzz: 1", "zzz: unknown key"),
        ("table: {a: {capacity: 1 B, capcity: 2}}", "table.a.capcity: unknown key; did you mean 'capacity'?"),
        ("spare: [{kind: tree, lane: 1}]", "spare[0].lane: unknown key; did you mean 'lanes'?"),
        ("memory: {}", "memory.capacity: missing"),
        ("matrix: {kind: systolic}", "matrix.rows: missing"),
        ("matrix: {rows: 4}", "matrix.kind: missing"),
        ("memory: {capacity: 20}", "memory.capacity: '20' has no unit; write for example '20 MiB'"),
        ("memory: {capacity: '20'}", "memory.capacity: '20' has no unit; write for example '20 MiB'"),
        ("memory: {capacity: 0 MiB}", "memory.capacity: must be positive, got '0 MiB'"),
        ("memory: {capacity: -20 MiB}", "memory.capacity: must be positive, got '-20 MiB'"),
        ("memory: {capacity: 1 B, latency: -1 ns}", "memory.latency: must not be negative, got '-1 ns'"),
        ("memory: {capacity: 1 KB}", "memory.capacity: '1 KB': unknown unit 'KB'; known: B, kB, KiB, MB, MiB, GB, GiB, TB, TiB"),
        ("memory: {capacity: true}", "memory.capacity: expected a quantity such as '20 MiB', got True"),
        ("memory: {capacity: [1 B]}", "memory.capacity: expected a quantity such as '20 MiB', got ['1 B']"),
        ("clock: 1.5 kHz", "clock: '1.5 kHz' is not a multiple of 1000 Hz"),
        ("matrix: {kind: systolic, rows: -4}", "matrix.rows: must be >= 1, got -4"),
        ("cores: 65", "cores: must be <= 64, got 65"),
        ("memory: {capacity: 1 B, bandwidth: 0.0}", "memory.bandwidth: must be > 0.0, got 0.0"),
        ("memory: {capacity: 1 B, bandwidth: 1.0e+999}", "memory.bandwidth: must be finite, got inf"),
        ("cores: four", "cores: expected an integer, got 'four'"),
        ("cores: '4'", "cores: expected an integer, got '4'"),
        ("cores: 4.0", "cores: expected an integer, got 4.0"),
        ("cores: true", "cores: expected an integer, got True"),
        ("cores:", "cores: expected an integer, got None"),
        ("name: 3", "name: expected text, got 3"),
        ("fused: 1", "fused: expected true or false, got 1"),
        ("pair: 3", "pair: expected a list, got 3"),
        ("sizes: [1, x]", "sizes[1]: expected an integer, got 'x'"),
        ("pair: [1]", "pair: must have at least 2 entries, got 1"),
        ("pair: [1, 2, 3]", "pair: must have at most 2 entries, got 3"),
        ("memory: 4", "memory: expected a mapping, got 4"),
        ("matrix: [4]", "matrix: expected a mapping, got [4]"),
        ("table: 4", "table: expected a mapping, got 4"),
        ("pair: [60, 60]", "pair must not sum to more than 100, got 120"),
        ("matrix: {kind: sistolic, rows: 4}", "matrix.kind: unknown kind 'sistolic'; did you mean 'systolic'? known: systolic, tree"),
        ("spare: [{kind: tree}, {kind: 7}]", "spare[1].kind: unknown kind '7'; known: systolic, tree"),
        (
            "matrix: {kind: systolic, rows: 4, dataflow: row_stationary}",
            "matrix.dataflow: unknown dataflow 'row_stationary'; did you mean 'weight_stationary'? "
            "known: output_stationary, weight_stationary",
        ),
        (
            "matrix: {kind: systolic, rows: 4, dataflow: 3}",
            "matrix.dataflow: must be one of weight_stationary, output_stationary, got 3",
        ),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_its_path(text: str, problem: str) -> None:
    assert problems_of(text) == [f"my.yaml: {problem}"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("memory: {capacity: 1 B, bandwidth: 1e9}", "memory.bandwidth: expected a number, got '1e9' (YAML reads this as text; write 1.0e+9)"),
        ("memory: {capacity: 1 B, bandwidth: 8.19e11}", "memory.bandwidth: expected a number, got '8.19e11' (YAML reads this as text; write 8.19e+11)"),
        ("cores: 1e1", "cores: expected an integer, got '1e1' (YAML reads this as text; write 10)"),
        ("cores: 012", "cores: expected an integer, got '012' (a leading zero is ambiguous in YAML; write 12)"),
        ("cores: 1:30", "cores: expected an integer, got '1:30' (YAML may read this as base 60; write one plain number)"),
        ("fused: no", "fused: expected true or false, got 'no' (yes, no, on and off are ambiguous in YAML; write true or false)"),
        ("fused: On", "fused: expected true or false, got 'On' (yes, no, on and off are ambiguous in YAML; write true or false)"),
    ],
)  # fmt: skip
def test_what_yaml_would_misread_is_refused_with_what_to_write(text: str, problem: str) -> None:
    assert problems_of(text) == [f"my.yaml: {problem}"]


def test_all_problems_of_a_file_come_at_once() -> None:
    text = "cores: four\ncores: 2\nmemory: {capacity: 20, bandwith: 1.0}\nmatrix: {kind: tree, rows: 1}\n"
    assert problems_of(text) == [
        "my.yaml:2: key 'cores' is given twice (first on line 1)",
        "my.yaml: cores: expected an integer, got 'four'",
        "my.yaml: matrix.rows: unknown key; kind 'tree' has: lanes",
        "my.yaml: memory.capacity: '20' has no unit; write for example '20 MiB'",
        "my.yaml: memory.bandwith: unknown key; did you mean 'bandwidth'?",
    ]


def test_a_key_given_twice_is_refused_even_if_all_else_is_right() -> None:
    text = "cores: 2\nmemory:\n  capacity: 1 B\n  latency: 1 ns\n  capacity: 2 B\ncores: 2\n"
    assert problems_of(text) == [
        "my.yaml:5: key 'capacity' is given twice (first on line 3)",
        "my.yaml:6: key 'cores' is given twice (first on line 1)",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "my.yaml: is empty"),
        ("# only a comment\n", "my.yaml: is empty"),
        ("---\n", "my.yaml: is empty"),
        ("- cores\n- 4\n", "my.yaml:1: expected a mapping of keys to values at the top of the file"),
        ("cores 4\n", "my.yaml:1: expected a mapping of keys to values at the top of the file"),
        ("cores: 4\n---\ncores: 5\n", "my.yaml:2: a second document; give one document a file"),
        ("a: &x 1\n", "my.yaml:1: anchors and aliases (& and *) are not supported; write it out"),
        ("a: 1\nb: *x\n", "my.yaml:2: anchors and aliases (& and *) are not supported; write it out"),
        ("a: !!python/name:os.system x\n", "my.yaml:1: tag 'tag:yaml.org,2002:python/name:os.system' is not supported; write plain values"),
        ("a: !sum [1, 2]\n", "my.yaml:1: tag '!sum' is not supported; write plain values"),
        ("[1]: 2\n", "my.yaml:1: a key must be a plain word"),
        ("a: " + "[" * 40 + "]" * 40, "my.yaml:1: nested deeper than 32 levels"),
        ("a: " + "{b: " * 40 + "}" * 40, "my.yaml:1: nested deeper than 32 levels"),
        ('name: "trunca', "my.yaml:1: not valid YAML: while scanning a quoted scalar: found unexpected end of stream"),
        (b"name: \xff\n", "my.yaml: is not UTF-8 text (at byte 6)"),
        ("a: 1\n" + " " * MAX_BYTES, "my.yaml: is larger than 1 MiB"),
    ],
)  # fmt: skip
def test_what_is_not_one_plain_mapping_is_refused(text: str | bytes, problem: str) -> None:
    assert problems_of(text) == [problem]


def test_a_truncated_file_is_refused_with_a_line() -> None:
    [problem] = problems_of("name: x\nmatrix: {kind: systolic, rows: 4")
    assert problem.startswith("my.yaml:")
    assert ": not valid YAML: while parsing a flow mapping: " in problem


def test_a_control_character_is_refused() -> None:
    [problem] = problems_of("name: \x00")
    assert problem.startswith("my.yaml: not valid YAML: unacceptable character #x0000")


def test_a_missing_file_is_refused() -> None:
    with pytest.raises(InputError) as refusal:
        load_part(Chip, "gone.yaml", "hw_configs/devices")
    assert str(refusal.value) == "gone.yaml: no such file"


def test_a_folder_is_refused() -> None:
    Path("folder.yaml").mkdir()
    with pytest.raises(InputError) as refusal:
        load_part(Chip, Path("folder.yaml"), "hw_configs/devices")
    assert str(refusal.value) == "folder.yaml: is a folder, not a file"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tpu_v5", "unknown device 'tpu_v5'; did you mean 'tpu_v4'? known: a100, tpu_v4"),
        ("zzz", "unknown device 'zzz'; known: a100, tpu_v4"),
        ("", "unknown device ''; known: a100, tpu_v4"),
        ("..", "unknown device '..'; known: a100, tpu_v4"),
    ],
)
def test_an_unknown_name_is_answered_with_the_known_ones(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = tmp_path / "devices"
    shelf.mkdir()
    for known in ("tpu_v4", "a100"):
        (shelf / f"{known}.yaml").write_text("cores: 1\n")
    monkeypatch.setattr("simulator.config.loading.data_root", lambda: tmp_path)
    with pytest.raises(InputError) as refusal:
        load_part(Chip, name, "devices", noun="device")
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("base: second\n", "my.yaml: base: 'second' has a base itself; one level is the limit"),
        ("base: 3\n", "my.yaml: base: expected a name or a file, got 3"),
        ("base: ./gone.yaml\n", "gone.yaml: no such file"),
        ("base: first\ncoers: 2\n", "my.yaml: coers: unknown key; did you mean 'cores'?"),
        ("base: first\nmemory: {capacity: 0 B}\n", "my.yaml: memory.capacity: must be positive, got '0 B'"),
    ],
)  # fmt: skip
def test_a_wrong_base_or_override_is_refused(text: str, problem: str) -> None:
    Path("first.yaml").write_text("cores: 2\nmemory: {capacity: 1 B}\n")
    Path("second.yaml").write_text("base: first\n")
    assert problems_of(text) == [problem]


def test_an_unknown_base_is_refused_with_the_known_ones() -> None:
    [problem] = problems_of("base: tpu_v44\n")
    assert problem.startswith(
        "my.yaml: base: unknown base 'tpu_v44'; did you mean 'tpu_v4'? known: "
    )


@pytest.mark.parametrize(
    ("changes", "problems"),
    [
        ({"matrix.rows": 0}, ["matrix.rows: must be >= 1, got 0"]),
        ({"matrix.row": 1}, ["matrix.row: unknown key; did you mean 'rows'?"]),
        ({"matix.rows": 1}, ["matix.rows: nothing at 'matix'; did you mean 'matrix'?"]),
        ({"cores.x": 1}, ["cores.x: nothing at 'x'"]),
        ({"memory.bandwidth": 1}, ["memory.bandwidth: nothing at 'memory'"]),
        ({"pair.2": 1, "spare.0.rows": 2}, ["pair.2: nothing at '2'", "spare.0.rows: nothing at '0'"]),
        ({"clock": 1500}, ["clock: 1500 is not a multiple of 1000 Hz"]),
        ({"clock": 1.5e9}, ["clock: expected a whole number of Hz, got 1500000000.0"]),
        ({"cores": float("nan")}, ["cores: expected an integer, got nan"]),
        ({"cores": {1}}, ["expected plain values or parts, got {1}"]),
    ],
)  # fmt: skip
def test_a_wrong_change_is_refused(changes: dict[str, Any], problems: list[str]) -> None:
    with pytest.raises(InputError) as refusal:
        replace(Chip(), changes)
    assert list(refusal.value.problems) == problems


def test_paths_begin_where_the_part_stands() -> None:
    for changes, problem in (
        ({"matrix.rows": 0}, "device.matrix.rows: must be >= 1, got 0"),
        ({"matix.rows": 1}, "device.matix.rows: nothing at 'matix'; did you mean 'matrix'?"),
    ):
        with pytest.raises(InputError) as refusal:
            replace(Chip(), changes, root="device")
        assert list(refusal.value.problems) == [problem]


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("tbt_s", "; did you mean 'decode.tbt_s'?"),
        ("Latency", "; did you mean 'decode.latency_s' or 'prefill.latency_s'?"),
        ("decode.latency", "; did you mean 'decode.latency_s'?"),
        ("area", "; did you mean 'area_mm2'?"),
        ("speed", ""),
    ],
)
def test_what_stands_after_a_dot_may_be_meant(word: str, near: str) -> None:
    known = ["prefill.latency_s", "decode.latency_s", "decode.tbt_s", "area_mm2"]
    assert did_you_mean(word, known) == near
    listed = unknown("metric", word, known, listed="see there")
    assert listed == f"unknown metric '{word}'{near or ';'} known: see there"


def test_a_wrong_construction_in_python_is_refused_with_the_class_name() -> None:
    with pytest.raises(InputError) as refusal:
        Memory(capacity_bytes=-1, bandwidth="fast", size=3)  # type: ignore[arg-type, call-arg]
    assert str(refusal.value).splitlines() == [
        "Memory: capacity_bytes: must be positive, got -1",
        "Memory: bandwidth: expected a number, got 'fast'",
        "Memory: size: unknown key",
    ]


def test_a_long_value_is_shortened_in_the_message() -> None:
    [problem] = problems_of(f"cores: {'x' * 500}")
    assert problem == "my.yaml: cores: expected an integer, got '" + "x" * 56 + "..."
