"""Are L-Mul's savings and errors what the experiment says, and for the reasons that it gives?"""

import csv
import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from simulator.cost import load_profile
from simulator.formats.presets import BF16

FOLDER = Path(__file__).parents[2] / "experiments" / "l_mul"


def loaded(name: str) -> ModuleType:
    """Load a module of the experiment by its path."""
    spec = importlib.util.spec_from_file_location(f"l_mul_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


energy, errors = loaded("op_energy"), loaded("errors")
PJ = energy.operation_pj(load_profile("horowitz_45nm"))
TABLE = energy.read_synthesis(FOLDER / "synthesis.csv")


def committed() -> dict[str, tuple[float, float, str]]:
    """Return (published, ours, why) of the committed table, by claim."""
    with (FOLDER / "expected.csv").open(newline="", encoding="utf-8") as file:
        return {
            f"{row['claim']} [{row['source']}]": (
                float(row["published"]),
                float(row["ours"]),
                row["why"],
            )
            for row in csv.DictReader(file)
        }


def test_operations_are_the_entries_of_horowitz() -> None:
    expected = {"int8_add": 0.03, "int16_add": 0.05, "int32_add": 0.1, "fp16_add": 0.4}
    expected |= {"fp32_add": 0.9, "fp16_mul": 1.1, "fp32_mul": 3.7, "register_bit": 0.009}
    assert pytest.approx(expected) == PJ


def test_integer_additions_fit_the_macs_of_the_profile() -> None:
    """int8 MAC = product 0.2 + int32 addition; the profile names no addition by itself."""
    profile = load_profile("horowitz_45nm")
    assert profile.mac_pj("int8xint8") == pytest.approx(0.2 + PJ["int32_add"])
    assert profile.mac_pj("fp32xfp32") == pytest.approx(PJ["fp32_mul"] + PJ["fp32_add"])


def test_one_operation_saves_95_per_cent_and_its_sum_takes_it_away() -> None:
    half, whole = energy.product(PJ, 16), energy.product(PJ, 32)
    assert half.saved == pytest.approx(100 * 1.05 / 1.1)
    assert whole.saved == pytest.approx(100 * 3.6 / 3.7)
    assert half.plus(PJ["fp32_add"]).saved == pytest.approx(52.5)
    assert whole.plus(PJ["fp32_add"]).saved == pytest.approx(100 * 3.6 / 4.6)


def test_registers_are_those_of_two_operands_and_the_result() -> None:
    pair = energy.registered(PJ, 16)
    assert pair.l_mul == pytest.approx(0.05 + 0.432)
    assert pair.ieee == pytest.approx(1.1 + 0.432)
    assert energy.registered(PJ, 32).saved == pytest.approx(100 * 3.6 / (3.7 + 0.864))


def test_registers_explain_the_pipelined_units_within_15_per_cent() -> None:
    pair = energy.registered(PJ, 16)
    small, large = TABLE["l_mul", "bf16_pipelined"], TABLE["ieee", "bf16_pipelined"]
    assert 0.85 < pair.l_mul / small.energy_pj < 1
    assert 0.85 < pair.ieee / large.energy_pj < 1
    bare = energy.product(PJ, 16)
    assert bare.ieee / bare.l_mul > 7 * large.energy_pj / small.energy_pj


def test_the_synthesis_table_is_the_published_one() -> None:
    assert len(TABLE) == 8
    small, large = TABLE["l_mul", "bf16_pipelined"], TABLE["ieee", "bf16_pipelined"]
    assert f"{large.area_um2 / small.area_um2:.1f}" == "1.7"
    assert f"{large.power_mw / small.power_mw:.1f}" == "1.8"
    for form in ("fp8", "bf16", "fp32"):
        assert TABLE["l_mul", form].area_um2 < TABLE["ieee", form].area_um2
    assert TABLE["ieee", "fp32"] == energy.Synthesis(6311.9, 133.4, 2.85)
    assert TABLE["l_mul", "fp8"].energy_pj == pytest.approx(0.111 * 0.36)


#: Mantissa bits: (mean, rms, largest), formula without carry as printed for 7 and 10 bits.
PRINTED = {7: ("-6.3", "9.5", "23.2"), 10: ("-6.4", "9.6", "23.4")}


@pytest.mark.parametrize("m", PRINTED)
def test_the_formula_is_as_far_off_as_the_reference_says(m: int) -> None:
    found = errors.formula(errors.FORMATS[m])
    assert (f"{found.mean:.1f}", f"{found.rms:.1f}", f"{found.largest:.1f}") == PRINTED[m]


def test_rows_of_3_and_4_bits_reproduce_in_the_mean_alone() -> None:
    for m, (mean, rms, largest) in {3: (-0.99, 8.7, 23.0), 4: (-2.2, 8.5, 22.3)}.items():
        found = errors.formula(errors.FORMATS[m])
        assert found.mean == pytest.approx(mean, abs=0.03)
        assert found.rms < rms - 0.1
        assert found.largest < largest - 2


def test_hardware_has_the_carry() -> None:
    """Against the sum written out: 1 + s below 1, 2 s from 1 on, 4 (s - 1) from 2 on."""
    x = np.arange(128) / 128
    s = x[:, None] + x + 2**-4
    product = np.where(s < 1, 1 + s, np.where(s < 2, 2 * s, 4 * (s - 1)))
    assert errors.hardware(BF16) == errors.statistics(product, 1 + x)
    assert errors.hardware(BF16).rms < errors.formula(BF16).rms / 3


def test_statistics_of_products_known_to_be_off() -> None:
    ones = np.ones(2)
    found = errors.statistics(np.array([[1.1, 0.9], [1.0, 0.6]]), ones)
    assert found.mean == pytest.approx(-10)
    assert found.rms == pytest.approx(100 * np.sqrt((0.01 + 0.01 + 0.16) / 4))
    assert found.largest == pytest.approx(40)


@pytest.mark.parametrize("m", [3, 4])
def test_with_an_offset_of_an_eighth_hardware_is_furthest_off_at_1_x_1(m: int) -> None:
    form = errors.FORMATS[m]
    assert form.mantissa_bits == m
    assert errors.hardware(form).largest == 12.5
    assert errors.hardware(form).mean == pytest.approx(4.9, abs=0.05)


def test_the_committed_table_says_what_was_found() -> None:
    rows = committed()
    assert len(rows) == 52
    ratios = [row for claim, row in rows.items() if "multiplier over L-Mul's" in claim]
    assert [f"{published:.2f} {ours:.2f}" for published, ours, _ in ratios] == [
        "1.70 1.70",
        "1.80 1.78",
        "1.78 3.18",
        "3.12 3.18",
    ]
    for claim, (published, ours, why) in rows.items():
        if "equal in the printed digits" in why:
            assert ours == pytest.approx(published, abs=0.0501), claim
        if "identity" in claim:
            assert why.startswith("identity"), claim
