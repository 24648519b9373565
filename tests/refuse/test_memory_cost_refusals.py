"""Are memories and synthesis that nobody priced refused, and files that are something else?"""

from pathlib import Path

import pytest

from simulator.api import load_device, simulate
from simulator.config import dump_yaml, replace
from simulator.cost import load_dram_energy, load_profile, load_sram, load_synthesis, sram_cost
from simulator.cost.cacti import COLUMNS
from simulator.errors import InputError
from simulator.hardware.memory_pricing import priced_by_dram
from simulator.workload import gemm

WIDTHS = "128, 144, 192, 256, 288, 384, 512, 576, 768, 1024, 1152"
HAS_28 = f"it has 512 KiB of {WIDTHS} bits, what lies between neighbours, and 0.125 to 8 times the capacity"
HAS_22 = "it has 32 KiB of 128 bits; 256 KiB of 512 bits; 1 MiB of 1024 bits; 8 MiB of 1024 bits; 24 MiB of 1024 bits, and what lies between neighbours"


@pytest.mark.parametrize(
    ("table", "asked", "message"),
    [
        ("cacti7_28nm", (2**19, 64, 28.0, "1R1W"), f"SRAM table 'cacti7_28nm' has no 512 KiB of 64 bits; {HAS_28}"),
        ("cacti7_28nm", (2**19, 2048, 28.0, "1R1W"), f"SRAM table 'cacti7_28nm' has no 512 KiB of 2048 bits; {HAS_28}"),
        ("cacti7_28nm", (2**23, 512, 28.0, "1R1W"), f"SRAM table 'cacti7_28nm' has no 8 MiB of 512 bits; {HAS_28}"),
        ("cacti7_28nm", (2**19, 512, 7.0, "1R1W"), "SRAM table 'cacti7_28nm' is of 28 nm and scales to 28 to 45 nm, not to 7 nm"),
        ("cacti7_28nm", (2**19, 512, 28.0, "4R1W"), "SRAM table 'cacti7_28nm' has 1R1W macros and scales to 2R1W, not to 4R1W"),
        ("cacti_22nm", (2**19, 512, 22.0, "1RW"), f"SRAM table 'cacti_22nm' has no 512 KiB of 512 bits; {HAS_22}"),
        ("cacti_22nm", (2**14, 128, 22.0, "1RW"), f"SRAM table 'cacti_22nm' has no 16 KiB of 128 bits; {HAS_22}"),
        ("cacti_22nm", (2**25, 1024, 22.0, "1RW"), f"SRAM table 'cacti_22nm' has no 32 MiB of 1024 bits; {HAS_22}"),
        ("cacti_22nm", (2**20, 1024, 28.0, "1RW"), "SRAM table 'cacti_22nm' is of 22 nm and has no scaling to 28 nm"),
    ],
)  # fmt: skip
def test_a_macro_that_no_table_has(
    table: str, asked: tuple[int, int, float, str], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        sram_cost(load_sram(table), *asked)
    assert str(caught.value) == message


def test_every_reason_comes_at_once() -> None:
    with pytest.raises(InputError) as caught:
        sram_cost(load_sram("cacti_22nm"), 2**10, 8, 7.0, "3R3W")
    assert caught.value.problems == (
        f"SRAM table 'cacti_22nm' has no 1 KiB of 8 bits; {HAS_22}",
        "SRAM table 'cacti_22nm' is of 22 nm and has no scaling to 7 nm",
        "SRAM table 'cacti_22nm' has 1RW macros and scales to 1R1W, not to 3R3W",
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"points": []}, "points: must have at least 1 entries, got 0"),
        ({"ports": "two"}, "ports: expected ports such as '1R1W' or '1RW', got 'two'"),
        ({"interpolation": "cubic"}, "interpolation: unknown interpolation 'cubic'; known: linear, log"),
        ({"points.1.width_bits": 128}, "points: 512 KiB of 128 bits is there more than once"),
        ({"points.1.read_pj": 0.0}, "points[1].read_pj: must be > 0.0, got 0.0"),
        ({"scalings.ports.0.ports": "1R1W"}, "scalings.ports: 1R1W are the table's own ports"),
        ({"source": " "}, "source: must not be empty"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as caught:
        replace(load_sram("cacti7_28nm"), changes)
    assert str(caught.value) == message


def test_a_table_that_is_not_there() -> None:
    with pytest.raises(InputError) as caught:
        load_sram("cacti_28nm")
    assert str(caught.value) == (
        "unknown SRAM table 'cacti_28nm'; did you mean 'cacti7_28nm'? known: cacti7_28nm, cacti_22nm"
    )


HEADER = ", ".join(COLUMNS) + ", \n"
MACRO = (
    "28, 65536, 8, 1, 256, 0.5, 0.4, N/A, 0.02, 0.025, 12.5, 0.2, 2, 4, 1, 1, 1, 1, 60, "
    + 7 * "N/A, "
)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "FILE: is empty"),
        (MACRO, "FILE: column 1 of CACTI 7's out.csv is 'Tech node (nm)', got '28'"),
        (HEADER.replace("Access time (ns)", "Access time (s)"), "FILE: column 6 of CACTI 7's out.csv is 'Access time (ns)', got 'Access time (s)'"),
        ("Tech node (nm), Capacity (bytes), \n", "FILE: column 3 of CACTI 7's out.csv is 'Number of banks', got nothing"),
        (HEADER.rstrip() + " mine, \n" + MACRO, "FILE: CACTI 7's out.csv has 26 columns, got also 'mine'"),
        (HEADER, "FILE: a table is of one node, got none (nm)"),
        (HEADER + MACRO + "\n" + MACRO.replace("28,", "22,", 1), "FILE: a table is of one node, got 22, 28 (nm)"),
        (HEADER + MACRO.replace(" 1, 256", " 4, 256"), "FILE:2: Associativity 4 is a cache with tags, not a scratchpad"),
        (HEADER + MACRO.replace("65536,", "inf,"), "FILE:2: Capacity (bytes): must be finite, got inf"),
        (HEADER + "\n" + "2" * 131_073, "FILE:3: not valid CSV: field larger than field limit (131072)"),
        (HEADER + MACRO.replace("0.02,", "much,"), "FILE:2: Dynamic read energy (nJ): expected a number, got 'much'"),
        (HEADER + "28, 65536, \n", "FILE:2: expected 26 values, got 2"),
    ],
)  # fmt: skip
def test_what_cacti_did_not_write(text: str, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "out.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_sram(str(file))
    assert str(caught.value) == problem.replace("FILE", str(file))


def test_one_macro_with_two_prices(tmp_path: Path) -> None:
    file = tmp_path / "out.csv"
    file.write_text(HEADER + MACRO + "\n" + MACRO.replace("0.02,", "0.03,"), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_sram(str(file))
    assert str(caught.value) == "SramTable: points: 64 KiB of 256 bits is there more than once"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for load in (load_sram, load_synthesis):
        with pytest.raises(InputError) as caught:
            load(str(tmp_path / "none.csv"))
        assert str(caught.value).startswith(f"{tmp_path}/none.csv: cannot be read: ")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"scratchpad.port_width": "512 B"}, f"SRAM table 'cacti7_28nm' has no 512 KiB of 4096 bits; {HAS_28}"),
        ({"scratchpad.write_ports": 3}, "1048576 bytes with 2 read and 3 write ports are not equal macros of one read and one write port, one for each read port"),
        ({"scratchpad.read_ports": 3}, "1048576 bytes with 3 read and 1 write ports are not equal macros of one read and one write port, one for each read port"),
    ],
)  # fmt: skip
def test_a_scratchpad_that_the_table_of_its_profile_does_not_price(
    changes: dict[str, object], problem: str
) -> None:
    device = replace(load_device("edge_fp16"), changes)
    with pytest.raises(InputError) as caught:
        simulate(device, gemm(64, 64, 64, weights="fp16", activations="fp16"))
    assert str(caught.value) == f"scratchpad of edge_fp16 in energy profile 'edge_28nm': {problem}"


def test_a_profile_that_names_no_table(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    text = dump_yaml(load_profile("edge_28nm"))
    file.write_text(
        text.replace("scratchpad_sram: cacti7_28nm", "scratchpad_sram: cacti"), encoding="utf-8"
    )
    device = replace(load_device("edge_fp16"), {"energy": str(file)})
    with pytest.raises(InputError) as caught:
        simulate(device, gemm(64, 64, 64, weights="fp16", activations="fp16"))
    assert str(caught.value) == (
        "scratchpad of edge_fp16 in energy profile 'edge_28nm': unknown SRAM table 'cacti'; did you mean 'cacti_22nm'? known: cacti7_28nm, cacti_22nm"
    )


def test_a_dram_with_two_standing_powers_or_none() -> None:
    dram = load_dram_energy("mixpe")
    watts = {"nominal": 1.0, "source": "here"}
    for changes in ({"background_w_per_gib": watts}, {"static_w": None}):
        with pytest.raises(InputError) as caught:
            replace(dram, changes)
        assert str(caught.value) == "needs either background_w_per_gib or static_w"


def test_dram_of_a_device_without_any() -> None:
    ideal = {"kind": "ideal", "capacity": "1 GiB", "source": "test"}
    device = replace(load_device("edge_fp16"), {"memory": ideal})
    with pytest.raises(InputError) as caught:
        priced_by_dram(load_profile("edge_28nm"), device, load_dram_energy("mixpe"))
    assert str(caught.value) == "edge_fp16: has no DRAM that 'mixpe' could price"


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("pe,pair,area\nx,y,1\n", ["FILE: column 'area_um2' is missing", "FILE: column 'energy_pj' is missing", "FILE: unknown column 'area'; did you mean 'area_um2'?"]),
        ("pe,pair,area_um2,energy_pj,pe\n", ["FILE: column 'pe' is there more than once"]),
        ("pe,pair,area_um2,energy_pj\n", ["FILE: has no lines"]),
        ("pe,pair,area_um2,energy_pj\na,b,1\n", ["FILE:2: needs one value a column"]),
        ("pe,pair,area_um2,energy_pj\na,b,1,2,3\n", ["FILE:2: needs one value a column"]),
        ("pe,pair,area_um2,energy_pj\n,b,x,0\n", ["FILE:2: pe is empty", "FILE:2: area_um2 must be a number, got 'x'", "FILE:2: energy_pj must be at least 1e-06 (pJ), got 0"]),
        ("pe,pair,area_um2,energy_pj\na,b,,nan\n", ["FILE:2: area_um2 must be a number, got ''", "FILE:2: energy_pj must be finite, got nan"]),
        ("pe,pair,area_um2,energy_pj\na,b,0.00025,9e-7\n", ["FILE:2: area_um2 must be at least 1 (um2), got 0.00025", "FILE:2: energy_pj must be at least 1e-06 (pJ), got 9e-7"]),
        ("pe,pair,area_um2,energy_pj,area_low_um2\na,b,1e-300,inf,-3\n", ["FILE:2: area_um2 must be at least 1 (um2), got 1e-300", "FILE:2: energy_pj must be finite, got inf", "FILE:2: area_low_um2 must be at least 1 (um2), got -3"]),
        ("pe,pair,area_um2,energy_pj\n\na," + "b" * 131_073 + ",1,2\n", ["FILE:3: not valid CSV: field larger than field limit (131072)"]),
        ("p" * 131_073, ["FILE:1: not valid CSV: field larger than field limit (131072)"]),
        ("pe\0,pair,area_um2,energy_pj\n", ["FILE: column 'pe' is missing", "FILE: unknown column 'pe\0'; did you mean 'pe'?"]),
        ("pe,pair,area_um2,energy_pj\na,b,1\0,2\n", ["FILE:2: area_um2 must be a number, got '1\0'"]),
        ("pe,pair,area_um2,energy_pj\na,b,1,2\na,b,1,3\n", ["FILE:3: a b is there more than once"]),
        ("pe,pair,area_um2,energy_pj,area_low_um2\na,b,1,2,3\n", ["FILE:2: area: needs low <= nominal <= high, got 3.0, 1.0, 1.0"]),
    ],
)  # fmt: skip
def test_a_synthesis_that_cannot_be(text: str, problems: list[str], tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_synthesis(file)
    assert list(caught.value.problems) == [each.replace("FILE", str(file)) for each in problems]
