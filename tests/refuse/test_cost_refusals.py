"""Is a profile that cannot be true refused, and a price that does not exist not made up?"""

from pathlib import Path

import pytest

from simulator.config import dump_yaml, replace
from simulator.cost import Constant, Counts, EnergyProfile, energy_breakdown, load_profile
from simulator.errors import InputError


@pytest.fixture(scope="module")
def profile() -> EnergyProfile:
    """A shipped profile to break."""
    return load_profile("horowitz_45nm")


def refusal(profile: EnergyProfile, path: str, value: object) -> str:
    """Return the message with which a change to `profile` is refused."""
    with pytest.raises(InputError) as error:
        replace(profile, {path: value})
    return str(error.value)


def test_a_range_out_of_order(profile: EnergyProfile) -> None:
    assert refusal(profile, "mac_pj.int8xint8.low", 0.5) == (
        "mac_pj.int8xint8: needs low <= nominal <= high, got 0.5, 0.3, 0.3"
    )


def test_a_negative_energy(profile: EnergyProfile) -> None:
    assert refusal(profile, "dram_read_pj_per_bit.nominal", -1.0) == (
        "dram_read_pj_per_bit.nominal: must be >= 0.0, got -1.0"
    )


def test_a_constant_without_a_source(profile: EnergyProfile) -> None:
    assert refusal(profile, "noc_pj_per_bit_hop", {"nominal": 1.0}) == (
        "noc_pj_per_bit_hop.source: missing"
    )


@pytest.mark.parametrize("empty", ["", "   "])
def test_an_empty_source(profile: EnergyProfile, empty: str) -> None:
    assert refusal(profile, "noc_pj_per_bit_hop.source", empty) == (
        "noc_pj_per_bit_hop.source: must not be empty"
    )


def test_a_fraction_above_one(profile: EnergyProfile) -> None:
    assert refusal(profile, "stalled_fraction.nominal", 1.5) == (
        "stalled_fraction.nominal: must be <= 1.0, got 1.5"
    )


def test_an_unknown_vector_function(profile: EnergyProfile) -> None:
    assert refusal(profile, "vector_pj.tahn", {"nominal": 1.0, "source": "here"}) == (
        "vector_pj: unknown function 'tahn'; did you mean 'tanh'?"
    )


def test_no_default_for_vector_functions(profile: EnergyProfile) -> None:
    only_add = {"add": {"nominal": 1.0, "source": "here"}}
    assert refusal(profile, "vector_pj", only_add) == "vector_pj: needs an entry 'default'"


def test_no_mac_energy_at_all(profile: EnergyProfile) -> None:
    assert refusal(profile, "mac_pj", {}) == "needs mac_pj or mac_gates"


def test_an_operand_pair_that_has_no_price(profile: EnergyProfile) -> None:
    with pytest.raises(InputError) as error:
        profile.mac_pj("fp8_e4m3fnxfp8_e4m3fn")
    assert str(error.value) == (
        "energy profile 'horowitz_45nm' has no MAC energy for fp8_e4m3fnxfp8_e4m3fn; it has: "
        "int8xint8, int4xint8, int4xint4, fp16xfp16, bf16xbf16, fp32xfp32"
    )


def test_counts_of_a_pair_that_has_no_price(profile: EnergyProfile) -> None:
    with pytest.raises(InputError, match="has no MAC energy for int2xint8"):
        energy_breakdown(Counts(macs=(("int2xint8", 1),)), profile)


def test_a_function_that_no_vector_unit_has(profile: EnergyProfile) -> None:
    with pytest.raises(InputError) as error:
        profile.vector_pj("rsqr")
    assert str(error.value) == "unknown vector function 'rsqr'; did you mean 'rsqrt'?"


def test_negative_counts_are_listed_together() -> None:
    with pytest.raises(InputError) as error:
        Counts(macs=(("int8xint8", -1),), vector_ops=(("exp", -2),), dram_read_bits=-3)
    assert error.value.problems == (
        "macs of int8xint8 must be >= 0, got -1",
        "vector_ops of exp must be >= 0, got -2",
        "dram_read_bits must be >= 0, got -3",
    )


def test_an_end_of_the_range_that_does_not_exist() -> None:
    with pytest.raises(InputError) as error:
        Constant(nominal=1.0, source="here").at("highest")  # type: ignore[arg-type]
    assert str(error.value) == "unknown bound 'highest'; known: low, nominal, high"


def test_an_unknown_profile() -> None:
    with pytest.raises(InputError) as error:
        load_profile("jupi_7nm")
    assert str(error.value) == (
        "unknown energy profile 'jupi_7nm'; did you mean 'jouppi_7nm'? "
        "known: accelforge_tpu_v4i, edge_28nm, horowitz_45nm, jouppi_7nm"
    )


def test_all_problems_of_a_file_come_at_once(profile: EnergyProfile, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    text = dump_yaml(profile).replace("technology_nm: 45.0", "technology_nm: 0.0")
    file.write_text(text.replace("dram_read_pj_per_bit:", "dram_reed_pj_per_bit:"))
    with pytest.raises(InputError) as error:
        load_profile(str(file))
    assert sorted(line.removeprefix(f"{file}: ") for line in error.value.problems) == [
        "dram_read_pj_per_bit: missing",
        "dram_reed_pj_per_bit: unknown key; did you mean 'dram_read_pj_per_bit'?",
        "technology_nm: must be > 0.0, got 0.0",
    ]
