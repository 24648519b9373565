"""Are the profiles what their sources say, and is the accounting the sum that it claims to be?"""

import pytest

from simulator.config import names, replace
from simulator.cost import (
    COMPONENTS,
    PROFILE_FOLDER,
    VECTOR_FUNCTIONS,
    Bound,
    Constant,
    Counts,
    EnergyProfile,
    Static,
    UnitState,
    energy_breakdown,
    load_profile,
    waiting_energy,
)

PROFILES = ("accelforge_tpu_v4i", "edge_28nm", "horowitz_45nm", "jouppi_7nm")
BOUNDS: tuple[Bound, ...] = ("low", "nominal", "high")
EVERYTHING = Counts(
    macs=(("bf16xbf16", 7), ("int8xint8", 100)),
    vector_ops=(("add", 10), ("exp", 3)),
    scratchpad_read_bits=1000,
    scratchpad_write_bits=500,
    accumulator_read_bits=64,
    accumulator_write_bits=32,
    register_bits=4000,
    dram_read_bits=300,
    dram_write_bits=200,
    noc_bit_hops=50,
)


@pytest.fixture(scope="module", params=PROFILES)
def profile(request: pytest.FixtureRequest) -> EnergyProfile:
    """Each shipped profile in turn, one that counts its MACs with those of another."""
    profile = load_profile(str(request.param))
    if profile.mac_gates is None:
        return profile
    constants = load_profile("horowitz_45nm").mac_constants
    return profile.model_copy(update={"mac_constants": constants})


def test_the_shipped_profiles_are_these() -> None:
    assert tuple(names(PROFILE_FOLDER)) == PROFILES


def test_a_profile_bears_the_name_of_its_file_and_prices_what_is_asked(
    profile: EnergyProfile,
) -> None:
    assert profile.name in PROFILES
    for pair in ("int8xint8", "int4xint8", "int4xint4", "fp16xfp16", "bf16xbf16"):
        assert profile.mac_pj(pair) > 0
    for function in VECTOR_FUNCTIONS:
        assert profile.vector_pj(function) >= 0


@pytest.mark.parametrize(
    ("name", "pair", "multiply", "add"),
    [
        ("horowitz_45nm", "int8xint8", 0.2, 0.1),
        ("horowitz_45nm", "fp16xfp16", 1.1, 0.9),
        ("horowitz_45nm", "fp32xfp32", 3.7, 0.9),
        ("jouppi_7nm", "int8xint8", 0.07, 0.03),
        ("jouppi_7nm", "fp16xfp16", 0.34, 0.38),
        ("jouppi_7nm", "bf16xbf16", 0.21, 0.38),
        ("jouppi_7nm", "fp32xfp32", 1.31, 0.38),
    ],
)
def test_a_mac_is_the_tables_multiply_and_its_accumulating_add(
    name: str, pair: str, multiply: float, add: float
) -> None:
    assert load_profile(name).mac_pj(pair) == pytest.approx(multiply + add, rel=1e-12)


def test_memories_cost_what_the_tables_give_for_64_bits() -> None:
    old, new = load_profile("horowitz_45nm"), load_profile("jouppi_7nm")
    assert old.scratchpad_read_pj_per_bit.nominal * 64 == 100
    assert old.scratchpad_read_pj_per_bit.at("low") * 64 == 20
    assert old.accumulator_read_pj_per_bit.nominal * 64 == 10
    assert [old.dram_read_pj_per_bit.at(b) * 64 for b in BOUNDS] == [1300, 1950, 2600]
    assert new.scratchpad_read_pj_per_bit.nominal * 64 == 14
    assert new.scratchpad_read_pj_per_bit.at("low") * 64 == 8.5
    assert new.accumulator_read_pj_per_bit.nominal * 64 == 7.5
    assert [new.dram_read_pj_per_bit.at(b) * 64 for b in ("low", "nominal")] == [250, 450]


def test_the_peers_profile_counts_dram_scratchpad_and_macs_only() -> None:
    peers = load_profile("accelforge_tpu_v4i")
    energy = energy_breakdown(
        EVERYTHING, peers, [UnitState(1.0, 1.0, 100.0)], Static(1.0, 500.0, 2**35)
    )
    assert {name for name, joules in energy.items() if joules} == {"matrix", "scratchpad", "dram"}


def test_a_decode_layer_of_746_mb_costs_what_the_peers_say() -> None:
    """Llama-2-7B, batch 32, context 2048, int8: each byte crosses DRAM and scratchpad once.

    ZigZag gives 52.2 to 53.9 mJ, AccelForge, which keeps weights out of the scratchpad, 43.5.
    """
    bits, macs = 746_000_000 * 8, 7_010_000_000
    counts = Counts(
        macs=(("int8xint8", macs),),
        dram_read_bits=bits,
        scratchpad_write_bits=bits,
        scratchpad_read_bits=bits,
    )
    energy = energy_breakdown(counts, load_profile("accelforge_tpu_v4i"))
    assert sum(energy.values()) == pytest.approx(51.2e-3, rel=0.002)
    assert energy["dram"] + energy["matrix"] == pytest.approx(42.5e-3, rel=0.002)


def test_the_breakdown_is_counts_times_constants() -> None:
    profile = load_profile("jouppi_7nm")
    energy = energy_breakdown(EVERYTHING, profile)
    assert tuple(energy) == COMPONENTS
    by_hand = {
        "matrix": 7 * 0.59 + 100 * 0.1 + 4000 * 2.7e-3,
        "vector": 10 * 0.38 + 3 * 8.45,
        "scratchpad": 1500 * 0.21875,
        "accumulator": 96 * 0.1171875,
        "dram": 500 * 7.03125,
        "noc": 50 * 0.35,
    }
    assert energy == pytest.approx({name: by_hand.get(name, 0) * 1e-12 for name in COMPONENTS})


def test_waiting_costs_a_fraction_of_active_power_and_time_costs_leakage_and_refresh() -> None:
    profile = load_profile("jouppi_7nm")
    states = [UnitState(0.5, 0.25, 10.0), UnitState(0.0, 2.0, 4.0)]
    energy = energy_breakdown(Counts(), profile, states, Static(2.0, 100.0, 3 * 2**30))
    by_hand = {
        "stalled": 0.3 * 10 * 0.5,
        "idle": 0.05 * (10 * 0.25 + 4 * 2),
        "leakage": 100 * 0.05 * 2,
        "dram_background": 3 * 1.0 * 2,
    }
    assert energy == pytest.approx({name: by_hand.get(name, 0.0) for name in COMPONENTS})


def test_what_a_unit_burns_while_it_waits_adds_up_to_the_breakdown(
    profile: EnergyProfile,
) -> None:
    states = [UnitState(0.5, 0.25, 10.0), UnitState(0.0, 2.0, 4.0)]
    for bound in BOUNDS:
        together = energy_breakdown(Counts(), profile, states, bound=bound)
        alone = [waiting_energy(state, profile, bound) for state in states]
        for name in ("stalled", "idle"):
            assert together[name] == sum(each[name] for each in alone)
    assert waiting_energy(states[0], load_profile("jouppi_7nm")) == {"stalled": 1.5, "idle": 0.125}


@pytest.mark.parametrize("name", ["edge_28nm", "horowitz_45nm", "jouppi_7nm"])
def test_at_the_low_end_waiting_is_free_as_bitmod_has_it(name: str) -> None:
    free = waiting_energy(UnitState(1.0, 1.0, 1.0), load_profile(name), "low")
    assert free == {"stalled": 0, "idle": 0}


def test_energies_of_ops_add_up_to_the_energy_of_their_counts(profile: EnergyProfile) -> None:
    other = Counts(macs=(("int8xint8", 5), ("int4xint8", 9)), vector_ops=(("max", 4),))
    once_and_thrice = Counts.total([(1, EVERYTHING), (3, other)])
    together = energy_breakdown(once_and_thrice, profile)
    alone = [energy_breakdown(counts, profile) for counts in (EVERYTHING, other)]
    assert together == pytest.approx({n: alone[0][n] + 3 * alone[1][n] for n in COMPONENTS})
    assert once_and_thrice.macs == (("bf16xbf16", 7), ("int4xint8", 27), ("int8xint8", 115))
    assert once_and_thrice == Counts.total([(3, other), (1, EVERYTHING)])


def test_low_is_never_above_nominal_nor_nominal_above_high(profile: EnergyProfile) -> None:
    states = [UnitState(1.0, 1.0, 1.0)]
    static = Static(1.0, 1.0, 2**30)
    low, nominal, high = (
        energy_breakdown(EVERYTHING, profile, states, static, bound) for bound in BOUNDS
    )
    for name in COMPONENTS:
        assert low[name] <= nominal[name] <= high[name]


def test_a_constant_without_a_range_is_its_own_range() -> None:
    exact = Constant(nominal=2.0, source="here")
    ranged = Constant(nominal=2.0, low=1.0, high=5.0, source="here")
    assert [exact.at(bound) for bound in BOUNDS] == [2.0, 2.0, 2.0]
    assert [ranged.at(bound) for bound in BOUNDS] == [1.0, 2.0, 5.0]


def test_variants_of_a_small_float_cost_alike_unless_the_profile_tells_them_apart() -> None:
    peers = load_profile("accelforge_tpu_v4i")
    assert peers.mac_pj("fp8_e4m3fnxfp8_e5m2") == peers.mac_pj("fp8xfp8")
    assert peers.mac_pj("fp8_e5m2fnuzxfp8_e4m3fnuz") == peers.mac_pj("fp8xfp8")
    own = peers.mac_constants | {"fp8_e5m2xfp8_e5m2": Constant(nominal=9.0, source="here")}
    assert peers.model_copy(update={"mac_constants": own}).mac_pj("fp8_e5m2xfp8_e5m2") == 9.0


def test_functions_that_are_not_listed_take_the_default() -> None:
    old = load_profile("horowitz_45nm")
    listed = {k: v for k, v in old.vector_constants.items() if k != "exp"}
    assert old.model_copy(update={"vector_constants": listed}).vector_pj("exp") == 3.7


def test_a_constant_can_be_replaced_by_its_path() -> None:
    changed = replace(load_profile("jouppi_7nm"), {"mac_pj.int8xint8.nominal": 0.2})
    assert changed.mac_pj("int8xint8") == 0.2


def test_area_adds_elements_memory_and_lanes() -> None:
    areas = load_profile("jouppi_7nm").areas
    parts = areas.parts_mm2(pes=65536, scratchpad_bytes=128 * 2**20, lanes=2048)
    by_hand = {"matrix": 65536 * 6.7e-4, "scratchpad": 112, "vector": 2048 * 1.5e-3, "rest": 0}
    assert parts == pytest.approx(by_hand)
    assert set(areas.parts_mm2(pes=0, scratchpad_bytes=0, lanes=0).values()) == {0}
