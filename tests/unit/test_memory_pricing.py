"""Are memories priced by the device's own macros and by the DRAM that is named?"""

from pathlib import Path

import pytest
from cacti_files import out_csv

from simulator.api import load_device, simulate
from simulator.config import names, replace
from simulator.cost import (
    PROFILE_FOLDER,
    Bound,
    EnergyProfile,
    dram_energy_names,
    load_dram_energy,
    load_profile,
    load_sram,
    sram_cost,
)
from simulator.hardware.memory_pricing import priced_by_dram, priced_by_sram
from simulator.hardware.priced import priced_for
from simulator.workload import gemm

EDGE = load_device("edge_fp16")
PROFILE = load_profile("edge_28nm")
BOUNDS: tuple[Bound, ...] = ("low", "nominal", "high")


def test_two_ports_of_a_mebibyte_are_two_macros_of_half() -> None:
    priced = priced_for(PROFILE, EDGE)
    assert EDGE.scratchpad.read_ports == 2
    for bound in BOUNDS:
        read, write, area = sram_cost(load_sram("cacti7_28nm"), 2**19, 1024, 28.0, bound=bound)
        assert priced.scratchpad_read_pj_per_bit.at(bound) == read / 1024
        assert priced.scratchpad_write_pj_per_bit.at(bound) == write / 1024
        assert priced.areas.scratchpad_mm2_per_mib.at(bound) == 2 * area
    assert priced.scratchpad_read_pj_per_bit.nominal == pytest.approx(0.1352, abs=5e-5)
    assert priced.scratchpad_write_pj_per_bit.nominal == pytest.approx(0.1524, abs=5e-5)


def test_the_rest_of_a_profile_stays() -> None:
    priced = priced_for(PROFILE, EDGE)
    put_back = {
        "scratchpad_read_pj_per_bit": PROFILE.scratchpad_read_pj_per_bit,
        "scratchpad_write_pj_per_bit": PROFILE.scratchpad_write_pj_per_bit,
        "areas": PROFILE.areas,
        # Elements: `test_priced.py`.
        "mac_constants": PROFILE.mac_constants,
        "mac_gates": PROFILE.mac_gates,
        "array_register_pj_per_bit": PROFILE.array_register_pj_per_bit,
    }
    assert priced.model_copy(update=put_back) == PROFILE
    # Priced twice is priced once.
    assert priced_for(priced, EDGE) == priced


@pytest.mark.parametrize("name", [name for name in names(PROFILE_FOLDER) if name != "edge_28nm"])
def test_a_profile_without_a_table_is_taken_as_it_stands(name: str) -> None:
    profile = load_profile(name)
    assert priced_for(profile, EDGE) is profile


def test_narrower_ports_cost_more_a_bit() -> None:
    per_bit = [
        priced_for(
            PROFILE, replace(EDGE, {"scratchpad.port_width": width})
        ).scratchpad_read_pj_per_bit.nominal
        for width in ("16 B", "32 B", "64 B", "128 B")
    ]
    assert per_bit == sorted(per_bit, reverse=True)


def test_what_stands_in_the_profile_is_a_512_bit_macro_of_the_table() -> None:
    """For those who use a profile without a device; ends are its 1,152 and 128 bit macros."""
    table = load_sram(str(PROFILE.scratchpad_sram))
    for bound, width in (("low", 1152), ("nominal", 512), ("high", 128)):
        end: Bound = bound  # type: ignore[assignment]
        read, write, area = sram_cost(table, 2**19, width, 28.0)
        assert PROFILE.scratchpad_read_pj_per_bit.at(end) == pytest.approx(read / width, abs=5e-4)
        assert PROFILE.scratchpad_write_pj_per_bit.at(end) == pytest.approx(write / width, abs=6e-4)
        if bound == "nominal":
            assert PROFILE.areas.scratchpad_mm2_per_mib.nominal == pytest.approx(2 * area, abs=5e-3)


def scratchpad_j(profile: EnergyProfile) -> float:
    work = gemm(64, 512, 512, weights="fp16", activations="fp16")
    result = simulate(EDGE, work, "analytic", energy=profile)
    return result.energy_breakdown_j["scratchpad"]


def test_a_run_is_priced_by_the_table_that_its_profile_names(tmp_path: Path) -> None:
    own = simulate(EDGE, gemm(64, 512, 512, weights="fp16", activations="fp16"), "analytic")
    assert own.energy_breakdown_j["scratchpad"] == scratchpad_j(PROFILE)
    typed = PROFILE.model_copy(update={"scratchpad_sram": None})
    assert scratchpad_j(PROFILE) < scratchpad_j(typed)
    # One's own run of CACTI: ten times as dear.
    file = out_csv(tmp_path / "own.csv", (28, 2**19, 1024, 1.384416, 1.560904, 1.0))
    mine = PROFILE.model_copy(update={"scratchpad_sram": str(file)})
    assert scratchpad_j(mine) == pytest.approx(10 * scratchpad_j(PROFILE), rel=1e-9)


def test_a_table_may_be_given_instead_of_named(tmp_path: Path) -> None:
    table = load_sram(str(out_csv(tmp_path / "own.csv", (28, 2**19, 1024, 0.1024, 0.2048, 1.5))))
    priced = priced_by_sram(PROFILE, EDGE, table)
    assert priced.scratchpad_read_pj_per_bit.nominal == pytest.approx(0.1)
    assert priced.scratchpad_write_pj_per_bit.nominal == pytest.approx(0.2)
    assert priced.areas.scratchpad_mm2_per_mib.nominal == pytest.approx(3.0)
    assert priced.scratchpad_read_pj_per_bit.source == "2 macros of 1024 bits in SRAM table 'own'"


def test_drams_of_papers_span_the_range_of_the_profile() -> None:
    drams = [load_dram_energy(name) for name in dram_energy_names()]
    reads = [dram.read_pj_per_bit.nominal for dram in drams]
    writes = [dram.write_pj_per_bit.nominal for dram in drams]
    for found, constant in (
        (reads, PROFILE.dram_read_pj_per_bit),
        (writes, PROFILE.dram_write_pj_per_bit),
    ):
        assert (min(found), max(found)) == (constant.at("low"), constant.at("high"))
        assert constant.nominal in found
    assert {dram.name for dram in drams} == set(dram_energy_names())


@pytest.mark.parametrize("name", dram_energy_names())
def test_a_run_moves_its_bits_at_the_price_of_the_dram(name: str) -> None:
    dram = load_dram_energy(name)
    work = gemm(64, 512, 512, weights="fp16", activations="fp16")
    base = simulate(EDGE, work, "analytic", energy=PROFILE)
    other = simulate(EDGE, work, "analytic", energy=priced_by_dram(PROFILE, EDGE, dram))
    assert other.latency_ps == base.latency_ps
    reads, writes = 8 * (64 + 512) * 512 * 2, 8 * 64 * 512 * 2
    expected = reads * dram.read_pj_per_bit.nominal + writes * dram.write_pj_per_bit.nominal
    assert other.energy_breakdown_j["dram"] == pytest.approx(expected * 1e-12, rel=1e-9)


def test_static_power_is_that_of_the_whole_memory() -> None:
    dram = load_dram_energy("mixpe")
    work = gemm(64, 512, 512, weights="fp16", activations="fp16")
    made = simulate(EDGE, work, "analytic", energy=priced_by_dram(PROFILE, EDGE, dram))
    assert dram.static_w is not None
    watts = made.energy_breakdown_j["dram_background"] / made.latency_s
    assert watts == pytest.approx(dram.static_w.nominal, rel=1e-9)
    # 484.615 mW are 0.969 nJ in a cycle of 2 ns.
    assert watts * 2e-9 == pytest.approx(0.969e-9, rel=1e-3)
