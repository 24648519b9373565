"""Does MixPE's released model give the published tables, and the profiles what they say?"""

import csv
import sys
from importlib.util import module_from_spec, spec_from_file_location
from itertools import permutations, product
from math import ceil
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import pytest

from simulator.compare import load_element
from simulator.cost import load_technology
from simulator.errors import InputError
from simulator.hardware.pricing import element_area_um2
from simulator.report.claims import read_claims

FOLDER = Path(__file__).parents[2] / "experiments" / "mixpe"


def load(name: str, **siblings: ModuleType) -> ModuleType:
    """Load a script of the experiment by path; its siblings stand in only while it loads."""
    spec = spec_from_file_location(f"mixpe_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    with patch.dict(sys.modules, siblings):
        spec.loader.exec_module(module)
    return module


model = load("released_model")
profiles = load("profiles", released_model=model)
script = load("run", released_model=model, profiles=profiles)

# Total cycles of the released simulator, run: yuzhang712/mixpe_simulator @7e0d42c.
DEVICES = ("MixPE-W4A8", "MixPE-W4A16", "ANT", "BitFusion", "INT8", "FP16")
CYCLES = {
    "ViT": (2505112, 8595472, 9890000, 11254756, 13201920, 16171420),
    "ViT-Huge": (8026688, 22051584, 32349264, 45895884, 56284864, 68692620),
    "OPT-6.7B": (50671104, 101131264, 207625968, 357880480, 452990464, 524922368),
    "Llama2-13B": (98629440, 197607840, 412883968, 698183240, 884741120, 1025781120),
}
# The same run, one layer: OPT-6.7B's QKV, 4096 to 12288.
QKV = {
    "MixPE-W4A8": (4, 394304),
    "MixPE-W4A16": (8, 786528),
    "ANT": (4, 786480),
    "INT8": (8, 3145752),
    "BitFusion": (8, 2556042),
    "FP16": (16, 3637774),
}
# results/mixpe_res.csv there, W4A8, ANT, BitFusion, INT8, W4A16, FP16 of each model in turn.
PUBLISHED = {
    "time": (
        "0.15 0.61 0.70 0.82 0.53 1.00 0.12 0.47 0.67 0.82 0.32 1.00 "
        "0.10 0.40 0.68 0.86 0.19 1.00 0.10 0.40 0.68 0.86 0.19 1.00"
    ),
    "static": (
        "0.04 0.15 0.17 0.20 0.13 0.24 0.03 0.11 0.15 0.19 0.07 0.23 "
        "0.02 0.09 0.15 0.19 0.04 0.22 0.02 0.09 0.15 0.19 0.04 0.22"
    ),
    "dram": (
        "0.02 0.03 0.04 0.05 0.05 0.07 0.01 0.03 0.03 0.07 0.03 0.12 "
        "0.01 0.03 0.03 0.05 0.02 0.13 0.01 0.03 0.03 0.06 0.02 0.13"
    ),
    "buffer": (
        "0.09 0.10 0.12 0.12 0.17 0.23 0.06 0.08 0.11 0.11 0.12 0.23 "
        "0.05 0.07 0.11 0.11 0.10 0.23 0.05 0.07 0.11 0.12 0.10 0.23"
    ),
    "core": (
        "0.11 0.11 0.15 0.14 0.18 0.46 0.08 0.08 0.14 0.13 0.10 0.43 "
        "0.06 0.06 0.14 0.14 0.06 0.42 0.06 0.06 0.14 0.14 0.06 0.42"
    ),
}
CSV_ORDER = ("MixPE-W4A8", "ANT", "BitFusion", "INT8", "MixPE-W4A16", "FP16")
EVEN = dict.fromkeys(DEVICES, 1.0)


@pytest.mark.parametrize("name", CYCLES)
def test_total_cycles_are_the_released_ones(name: str) -> None:
    network = model.NETWORKS[name]
    assert tuple(model.ACCELERATORS) == DEVICES
    ours = tuple(device.run(network).cycles for device in model.ACCELERATORS.values())
    assert ours == CYCLES[name]


@pytest.mark.parametrize("part", PUBLISHED)
def test_time_and_energies_are_the_released_ones_in_both_decimals(part: str) -> None:
    ours = [
        f"{model.normalised(network)[name][part]:.2f}"
        for network in model.NETWORKS.values()
        for name in CSV_ORDER
    ]
    assert ours == PUBLISHED[part].split()


@pytest.mark.parametrize("name", QKV)
def test_one_layer_has_the_released_cycles(name: str) -> None:
    bits, cycles = QKV[name]
    layer = model.Layer(4096, 12288, model.Bits(bits, bits))
    count = model.run(layer, model.ACCELERATORS[name].array)
    assert count.cycles == cycles
    if name == "MixPE-W4A8":
        assert (count.cycles - count.stalls, count.stalls) == (393216, 1088)


def up(dividend: int, divisor: int) -> int:
    """Return the quotient rounded up."""
    return ceil(dividend / divisor)


def one_tiling(layer, array, size: tuple[int, ...], order: tuple[int, ...]):  # type: ignore[no-untyped-def]
    """Count one tiling and order, outermost first, in plain Python; None where it does not fit."""
    extents = (model.BATCH, layer.side, layer.side, layer.inner, layer.outer)
    trips = [up(extent, tile) for extent, tile in zip(extents, size, strict=True)]
    b, w, h, ic, oc = size
    depth, a, g = layer.kernel**2 * ic, layer.bits.activation, layer.bits.weight
    across, down = array.columns * array.lanes(a), array.rows * array.lanes(g)
    tile = {
        "input": b * w * h * up(depth, across) * across * a,
        "weight": oc * up(depth, down) * down * g,
        "output": b * w * h * oc * 16,
    }
    if any(tile[name] > model.HALF_BUFFER[name] for name in ("input", "weight")):
        return None
    bits, block, held = dict(tile), dict(tile), dict.fromkeys(tile, True)
    for loop in reversed(order):
        for name in tile:
            changes = {"input": loop != 4, "weight": loop > 2, "output": loop != 3}[name]
            if not held[name]:
                bits[name] *= trips[loop]
            elif changes:
                bits[name] *= trips[loop]
                held[name] = bits[name] <= model.HALF_BUFFER[name]
                if held[name]:
                    block[name] = bits[name] if name != "output" else 0
    tiles = trips[0] * trips[1] * trips[2] * trips[3] * trips[4]
    passes = up(b * w * h, array.rows * array.lanes(a)) * up(oc, array.columns * array.lanes(g))
    busy = tiles * passes * depth
    first, last = block["input"] + block["weight"], block["output"]
    middle = up(sum(bits.values()) - first - last, model.BUS_BITS)
    stalls = max(0, middle - busy) + up(first, model.BUS_BITS) + up(last, model.BUS_BITS)
    stored = tiles * b * w * h * oc
    return model.Counts(
        busy + stalls,
        stalls,
        bits["input"] + bits["weight"],
        bits["output"],
        stored * depth * g,
        bits["weight"],
        stored * depth * a,
        bits["input"],
        bits["output"] + stored * 16,
        stored * 16,
    )


@pytest.mark.parametrize(
    ("inner", "outer", "kernel", "side", "bits", "memory"),
    [
        (12, 6, 1, 1, (8, 8), (2048, 4096, 2048)),
        (12, 6, 1, 1, (4, 4), (256, 4096, 8192)),
        (9, 5, 1, 1, (8, 4), (1024, 2048, 256)),
        (3, 5, 2, 3, (8, 8), (4096, 8192, 4096)),
    ],
)
def test_the_search_equals_trying_every_order_and_tiling(
    inner: int,
    outer: int,
    kernel: int,
    side: int,
    bits: tuple[int, int],
    memory: tuple[int, int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, half in zip(("weight", "input", "output"), memory, strict=True):
        monkeypatch.setitem(model.HALF_BUFFER, name, half)
    monkeypatch.setattr(model, "BUS_BITS", 24)  # so that many tilings wait for memory
    layer = model.Layer(inner, outer, model.Bits(*bits), kernel, side)
    array = model.Array(2, 3, 8, 4, 64314, 279960)
    sizes = [
        (b, o, o, ic, oc)
        for b, o, ic, oc in product(*map(model.powers, (model.BATCH, side, inner, outer)))
    ]
    every = {
        (size, order): one_tiling(layer, array, size, order)
        for size, order in product(sizes, permutations(range(5)))
    }
    fitting = [count for count in every.values() if count is not None]
    assert 0 < len(fitting) < len(every)
    best = min(fitting, key=lambda count: (count.cycles, count.tie_energy(array)))
    assert model.run.__wrapped__(layer, array) == best

    found = model.tilings(layer, array)
    time = model.timed(found, model.ORDERS)
    assert 120 * len(found.busy) == len(fitting)
    for (row, order), (column, size) in product(
        enumerate(model.ORDERS.tolist()), enumerate(found.size.T.tolist())
    ):
        count = every[tuple(size), tuple(reversed(order))]
        assert time.stalls[row, column] == count.stalls
        assert found.busy[column] == count.cycles - count.stalls
        assert time.inputs[row, column] == count.input_write
        assert time.weights[row, column] == count.weight_write
        assert time.outputs[row, column] == count.dram_write


def test_ties_are_broken_by_the_older_dram() -> None:
    array = model.Array(1, 1, 8, 8, 0, 500_000_000)
    assert model.Counts(dram_read=1024).tie_energy(array) == 1.18294
    assert model.Counts(dram_write=1024).tie_energy(array) == 1.47797
    assert model.Counts(cycles=5, stalls=2).tie_energy(array) == 3.0


def test_tile_sizes_are_powers_of_two_and_the_extent() -> None:
    assert model.powers(1) == [1]
    assert model.powers(8) == [1, 2, 4, 8]
    assert model.powers(12) == [1, 2, 4, 8, 12]


def test_narrow_blocks_are_as_many_as_in_the_released_lists() -> None:
    ant, bitfusion = model.ACCELERATORS["ANT"], model.ACCELERATORS["BitFusion"]
    wide = [n - ant.narrow_blocks("up", n) for n in (12, 32, 40)]
    assert wide == [2, 6, 8]
    assert [bitfusion.narrow_blocks("out", n) for n in (12, 32, 40)] == [6, 16, 20]
    assert bitfusion.narrow_blocks("up", 12) == 0


@pytest.mark.parametrize("name", ["INT8", "MixPE-W4A8"])
def test_counted_dequantisation_scales_each_weight_or_group_once(name: str) -> None:
    network = model.Network(1, 4096)
    weights = sum(inner * outer for inner, outer in network.products().values())

    def scalings(devices) -> int:  # type: ignore[no-untyped-def]
        """Return products of the layers that dequantise: every third, after narrow and wide."""
        layers = [layer for layer, _ in devices[name].layers(network)][2::3]
        return sum(model.BATCH * layer.inner * layer.outer for layer in layers)

    needed = weights if name == "INT8" else model.BATCH * weights // 128
    assert scalings(profiles.PROFILES["iso-array-counted"]) == needed
    off = 8 if name == "INT8" else 1 / 8
    assert scalings(profiles.PROFILES["repo"]) == off * needed


def test_equal_arrays_multiply_what_mixpe_is_named_for() -> None:
    devices = profiles.PROFILES["iso-array"]
    assert {(d.array.rows, d.array.columns) for d in devices.values()} == {(32, 32)}
    for name, bits in (("MixPE-W4A8", (8, 4)), ("MixPE-W4A16", (16, 4))):
        assert devices[name].bits == model.Bits(*bits)
        assert [devices[name].array.lanes(width) for width in bits] == [1, 1]
    assert devices["ANT"].array.lanes(4) == 2


def test_equal_areas_are_equal_arrays_and_half_the_area_twice_the_columns() -> None:
    assert profiles.iso_area(EVEN) == profiles.PROFILES["iso-array-counted"]
    assert profiles.PROFILES["iso-area"] == profiles.iso_area(profiles.areas_by_gates())
    arrays = profiles.iso_area({**EVEN, "MixPE-W4A8": 0.5, "FP16": 3.0})
    columns = {name: device.array.columns for name, device in arrays.items()}
    assert columns == {**dict.fromkeys(DEVICES, 32), "MixPE-W4A8": 64, "FP16": 10}


def test_areas_by_gates_are_those_of_the_elements_and_of_the_readme() -> None:
    technology = load_technology("scaled_28nm")
    areas = profiles.areas_by_gates()
    assert tuple(areas) == DEVICES
    for name, element, number in (
        ("MixPE-W4A8", "mixpe_w4a8", 1),
        ("MixPE-W4A16", "mixpe_w4a16", 1),
        ("ANT", "ant", 4),
        ("BitFusion", "int8_mac", 1),
        ("INT8", "int8_mac", 1),
        ("FP16", "fp16_fma", 1),
    ):
        assert areas[name] == number * element_area_um2(load_element(element), technology)
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    for name, device in profiles.PROFILES["iso-area"].items():
        used = device.array.columns * areas[name]
        assert used <= 32 * areas["INT8"] < used + areas[name]
        line = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
        assert line.endswith(f"| {areas[name]:,.0f} | {device.array.columns} |")


def test_the_readme_shows_every_profile() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    for name, devices in profiles.PROFILES.items():
        found = profiles.mean_gains(devices)
        cells = " | ".join("{:.2f} / {:.2f}".format(*found[each]) for each in script.BASELINES)
        line = next(line for line in text.splitlines() if line.startswith(f"| `{name}`"))
        assert line.endswith(f"| {cells} |")


def test_given_areas_are_a_profile_beside_the_counted_ones(tmp_path: Path) -> None:
    areas = tmp_path / "areas.csv"
    rows = "".join(f"{name},{2 if name == 'FP16' else 1}\n" for name in DEVICES)
    areas.write_text(f"accelerator,area_um2\n{rows}")
    script.main(["--small", "--pe-area", str(areas), "--out", str(tmp_path / "out")])
    with (tmp_path / "out" / "profiles.csv").open(newline="", encoding="utf-8") as file:
        columns = {(r["profile"], r["accelerator"]): r["columns"] for r in csv.DictReader(file)}
    assert len(columns) == 5 * len(DEVICES)
    assert [columns["iso-area-given", name] for name in ("INT8", "FP16")] == ["32", "16"]
    assert [columns["iso-area", name] for name in ("INT8", "FP16")] == ["32", "9"]


@pytest.mark.parametrize(
    ("areas", "message"),
    [
        ({name: 1.0 for name in DEVICES[1:]}, "areas: none for 'MixPE-W4A8'"),
        ({**EVEN, "ANT": 0.0}, "areas: 'ANT' must be > 0, got 0.0"),
        ({**EVEN, "ANT": float("nan")}, "areas: 'ANT' must be > 0, got nan"),
        ({**EVEN, "FP16": 33.0}, "areas: no column of 'FP16' fits INT8's area"),
    ],
)
def test_areas_that_give_no_array_are_refused(areas: dict[str, float], message: str) -> None:
    with pytest.raises(InputError) as caught:
        profiles.iso_area(areas)
    assert str(caught.value) == message


def test_areas_are_read_from_a_table(tmp_path: Path) -> None:
    path = tmp_path / "areas.csv"
    path.write_text("accelerator,area_um2\nINT8,2.5\nANT,3\n")
    assert profiles.read_areas(path) == {"INT8": 2.5, "ANT": 3.0}
    for text, message in (
        ("name,area\n", f"{path}: the columns must be accelerator, area_um2"),
        ("accelerator,area_um2\nINT8,two\n", f"{path}: could not convert string to float: 'two'"),
    ):
        path.write_text(text)
        with pytest.raises(InputError) as caught:
            profiles.read_areas(path)
        assert str(caught.value) == message
    path.unlink()
    with pytest.raises(InputError) as caught:
        profiles.read_areas(path)
    assert str(caught.value) == f"{path}: cannot be read: No such file or directory"


def test_the_released_table_is_the_published_one() -> None:
    with (FOLDER / "released.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(r["model"], r["accelerator"]) for r in rows] == list(product(CYCLES, CSV_ORDER))
    for part, entries in PUBLISHED.items():
        assert [row[part] for row in rows] == entries.split()


def test_expected_claims_are_those_of_a_full_run() -> None:
    ours = script.released(model.NETWORKS)
    for profile in profiles.PROFILES:
        ours |= script.means(profile)
    claims = read_claims(FOLDER / "published.csv", ours)
    with (FOLDER / "expected.csv").open(newline="", encoding="utf-8") as file:
        expected = list(csv.DictReader(file))
    assert [(c.claim, c.source, c.why) for c in claims] == [
        (row["claim"], row["source"], row["why"]) for row in expected
    ]
    assert [c.ours for c in claims] == pytest.approx([float(row["ours"]) for row in expected])
    assert all(c.ratio == 1.0 for c in claims if not c.source.startswith("MixPE (arXiv"))
