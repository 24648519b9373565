"""Reading, composing, changing and writing parts."""

import copy
import pickle
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from simulator.api import load_device
from simulator.config import (
    Bytes,
    BytesPerSecond,
    Hertz,
    NonNegativePicoseconds,
    Part,
    Watts,
    code_hash,
    content_hash,
    data_root,
    did_you_mean,
    dump_yaml,
    identity,
    load_part,
    names,
    replace,
    resolved,
)
from simulator.config.yaml_reader import plain_scalar


class Systolic(Part):
    kind: Literal["systolic"] = "systolic"
    rows: int = Field(ge=1)
    weight_buffers: Literal[1, 2] = 2


class Tree(Part):
    kind: Literal["tree"] = "tree"
    lanes: int = 4


Matrix = Annotated[Systolic | Tree, Field(discriminator="kind")]


class Memory(Part):
    capacity_bytes: Bytes = Field(alias="capacity")
    bandwidth_bytes_per_s: BytesPerSecond = Field(alias="bandwidth", default=10**9)
    latency_ps: NonNegativePicoseconds = Field(alias="latency", default=0)


class Chip(Part):
    name: str
    clock_hz: Hertz = Field(alias="clock")
    matrix: Matrix
    memory: Memory
    power_w: Watts | None = Field(alias="power", default=None)
    shares: tuple[float, ...] = ()
    spare: dict[str, Memory] = Field(default_factory=dict)


CHIP = """\
name: small
clock: 1.41 GHz
matrix: {kind: systolic, rows: 128}
memory:
  capacity: 20 MiB
  latency: 0 ns
shares: [1, 0.5]
"""


@pytest.fixture
def chip(tmp_path: Path) -> Chip:
    return load_part(Chip, _file(tmp_path, "chip", CHIP), "hw_configs/devices")


def _file(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return path


def test_a_file_becomes_numbers_in_base_units(chip: Chip) -> None:
    assert chip == Chip(
        name="small",
        clock_hz=1_410_000_000,
        matrix=Systolic(rows=128),
        memory=Memory(capacity_bytes=20 * 2**20),
        shares=(1.0, 0.5),
    )
    assert chip.matrix == Systolic(kind="systolic", rows=128, weight_buffers=2)


def test_the_resolved_part_is_plain_yaml_with_units_and_defaults(chip: Chip) -> None:
    assert resolved(chip) == {
        "name": "small",
        "clock": "1.41 GHz",
        "matrix": {"kind": "systolic", "rows": 128, "weight_buffers": 2},
        "memory": {"capacity": "20 MiB", "bandwidth": "1 GB/s", "latency": "0 ps"},
        "power": None,
        "shares": [1.0, 0.5],
        "spare": {},
    }


NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@given(
    name=st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufeff")),
    capacity=st.integers(1, 2**60),
    power=st.none() | st.floats(1e-30, 1e30),
    shares=st.lists(NUMBERS, max_size=3),
)
def test_loading_the_dump_gives_an_equal_part(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    capacity: int,
    power: float | None,
    shares: list[float],
) -> None:
    memory = Memory(capacity_bytes=capacity)
    part = Chip(
        name=name,
        clock_hz=10**9,
        matrix=Tree(),
        memory=memory,
        power_w=power,
        shares=tuple(shares),
        spare={"a": memory, "no": memory, "012": memory},
    )
    path = tmp_path_factory.getbasetemp() / "dump.yaml"
    path.write_text(dump_yaml(part), encoding="utf-8")
    again = load_part(Chip, path, "hw_configs/devices")
    assert again == part
    assert content_hash(again) == content_hash(part)


def test_the_hash_depends_on_values_and_not_on_their_spelling(chip: Chip, tmp_path: Path) -> None:
    spelled = CHIP.replace("20 MiB", "20480 KiB").replace("1.41 GHz", "1410 MHz")
    same = load_part(Chip, _file(tmp_path, "same", "# a comment\n" + spelled), "")
    assert content_hash(same) == content_hash(chip)
    assert len(content_hash(chip)) == 16
    assert content_hash(replace(chip, {"matrix.rows": 127})) != content_hash(chip)


def test_a_part_cannot_be_changed(chip: Chip) -> None:
    with pytest.raises(ValueError, match="frozen"):
        chip.name = "other"  # type: ignore[misc]


def test_replace_takes_quantities_numbers_parts_and_list_entries(chip: Chip) -> None:
    changed = replace(
        chip,
        {
            "matrix.weight_buffers": 1,
            "memory.bandwidth": "1.2 TB/s",
            "memory.latency": 70,
            "shares.1": 0.25,
            "spare.x": Memory(capacity_bytes=1),
        },
    )
    assert changed.matrix == Systolic(rows=128, weight_buffers=1)
    assert changed.memory.bandwidth_bytes_per_s == 1_200_000_000_000
    assert changed.memory.latency_ps == 70
    assert changed.shares == (1.0, 0.25)
    assert changed.spare == {"x": Memory(capacity_bytes=1)}
    assert chip.memory.latency_ps == 0


def test_a_file_overrides_keys_of_its_base(chip: Chip, tmp_path: Path) -> None:
    text = "base: chip\nname: wide\nmatrix: {rows: 256}\nmemory: {bandwidth: 2 GB/s}\n"
    wide = load_part(Chip, _file(tmp_path, "wide", text), "hw_configs/devices")
    changes = {"name": "wide", "matrix.rows": 256, "memory.bandwidth": "2 GB/s"}
    assert wide == replace(chip, changes)


@pytest.mark.parametrize("base", ["chip", "chip.yaml", "./chip.yaml", "../chips/chip.yaml"])
def test_a_base_is_a_name_beside_the_file_or_a_path_from_it(tmp_path: Path, base: str) -> None:
    folder = tmp_path / "chips"
    folder.mkdir()
    _file(folder, "chip", CHIP)
    other = _file(folder, "other", f"base: {base}\nname: other\n")
    assert load_part(Chip, other, "hw_configs/devices").memory.capacity_bytes == 20 * 2**20


def test_another_kind_replaces_the_whole_mapping(chip: Chip, tmp_path: Path) -> None:
    other = _file(tmp_path, "tree", "base: chip\nmatrix: {kind: tree}\n")
    assert load_part(Chip, other, "hw_configs/devices").matrix == Tree(lanes=4)


def test_a_name_is_looked_up_in_the_data_root_and_a_base_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = tmp_path / "hw_configs" / "chips"
    shelf.mkdir(parents=True)
    _file(shelf, "small", CHIP)
    monkeypatch.setattr("simulator.config.loading.data_root", lambda: tmp_path)
    assert names("hw_configs/chips") == ["small"]
    small = load_part(Chip, "small", "hw_configs/chips")
    mine = _file(tmp_path, "small", "base: small\nname: mine\n")
    assert load_part(Chip, mine, "hw_configs/chips") == replace(small, {"name": "mine"})


def test_a_part_is_frozen_down_to_its_mappings() -> None:
    device = load_device("generic_npu_128")
    formats = device.matrix.pe.formats
    for change in (
        lambda: formats.__setitem__("int8xint8", 4),
        lambda: formats.update(int8xint8=4),
        lambda: formats.pop("int8xint8"),
        formats.clear,
    ):
        with pytest.raises(TypeError, match="a part is frozen"):
            change()
    assert formats["int8xint8"] == 1
    assert copy.deepcopy(device) == device == pickle.loads(pickle.dumps(device))


def test_the_data_root_holds_the_devices_and_models() -> None:
    assert (data_root() / "hw_configs" / "devices").is_dir()
    assert "tpu_v4" in names("hw_configs/devices")
    assert "llama-2-7b" in names("workloads/models")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("-3", -3),
        ("0", 0),
        ("1.5", 1.5),
        (".5", 0.5),
        ("8.19e+11", 8.19e11),
        ("1.0e-07", 1e-7),
        ("true", True),
        ("False", False),
        ("null", None),
        ("", None),
        # What PyYAML would make a number or a truth value stays text:
        ("1e9", "1e9"),
        ("8.19e11", "8.19e11"),
        ("012", "012"),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("no", "no"),
        ("On", "On"),
        ("2024-01-01", "2024-01-01"),
        (".inf", ".inf"),
        ("9" * 41, "9" * 41),
    ],
)
def test_an_unquoted_word_is_only_a_number_without_doubt(text: str, value: object) -> None:
    read = plain_scalar(text)
    assert read == value
    assert type(read) is type(value)


def test_did_you_mean_names_the_nearest_choice() -> None:
    assert did_you_mean("bandwith", ["capacity", "bandwidth"]) == "; did you mean 'bandwidth'?"
    assert did_you_mean("FP16", ["bf16", "fp16"]) == "; did you mean 'fp16'?"
    assert did_you_mean("zzz", ["capacity", "bandwidth"]) == ""


def test_the_code_is_known_by_what_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An edit of a module or of a data file is another nibblesim, unless its folder is aside."""
    package, devices = tmp_path / "simulator", tmp_path / "hw_configs/devices"
    ours = package / "engine/run.py", package / "report/style.py", devices / "npu.yaml"
    for path in (*ours, package / "config/identity.py"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("before")
    monkeypatch.setattr(identity, "__file__", str(package / "config/identity.py"))
    monkeypatch.setattr(identity, "data_root", lambda: tmp_path)
    hashed = code_hash.__wrapped__
    engine, report, device = ours
    first, first_aside = hashed(), hashed("report")
    assert (hashed(), hashed("report")) == (first, first_aside)
    report.write_text("after")
    assert hashed() != first
    assert hashed("report") == first_aside
    found = {first_aside}
    for path in (engine, device):
        path.write_text("after")
        found.add(hashed("report"))
    device.rename(devices / "tpu.yaml")
    last = hashed("report")
    assert len({*found, last}) == 4
    # What was packaged as data, and what marks a file that somebody has open.
    (package / "_data").mkdir()
    (package / "_data/experiment.py").write_text("")
    (package / "engine/.#run.py").symlink_to("nowhere")
    assert hashed("report") == last
