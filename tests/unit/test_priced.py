"""Is all that a profile leaves to be counted counted for the device, and nothing else changed?"""

import pytest

from simulator.api import load_device, simulate
from simulator.compare import compared, workload_named
from simulator.config import replace, resolved
from simulator.cost import load_profile, load_technology
from simulator.design import FRAME, TECHNOLOGY, Terms, design, formats_of, load_element
from simulator.errors import InputError
from simulator.hardware import Device
from simulator.hardware.priced import priced_for
from simulator.hardware.pricing import BOUNDS, element_area_um2, mac_pj

PROFILE, TECH = load_profile("edge_28nm"), load_technology(TECHNOLOGY)


def with_element(**changes: object) -> Device:
    """Return the frame with an INT8 MAC in its array, changed."""
    pe = replace(load_element("int8_mac"), changes)
    return replace(load_device(FRAME), {"matrix.pe": resolved(pe)})


def test_macs_and_elements_are_those_of_gates() -> None:
    made = priced_for(PROFILE, load_device(FRAME))
    assert PROFILE.mac_gates == TECHNOLOGY
    fma = load_element("fp16_fma")
    assert set(made.mac_constants) == {"fp16xfp16"}
    for bound in BOUNDS:
        assert made.mac_pj("fp16xfp16", bound) == mac_pj(fma, "fp16xfp16", TECH, bound)
    assert made.areas.pe_mm2.nominal == pytest.approx(element_area_um2(fma, TECH) / 1e6)
    # Nothing is left to be counted.
    assert made.mac_gates is None


def test_constants_of_a_profile_stay() -> None:
    given = {"int8xint8": {"nominal": 9.0, "source": "test"}}
    own = replace(PROFILE, {"mac_pj": given})
    assert priced_for(own, with_element()).mac_pj("int8xint8") == 9.0
    old = load_profile("horowitz_45nm")
    assert priced_for(old, with_element()) == old


def test_elements_without_kernels_keep_what_the_profile_says() -> None:
    made = priced_for(PROFILE, with_element(name="plain", kernels={}, formats={"int8xint8": 1}))
    assert made.mac_constants == {}
    assert made.areas.pe_mm2 == PROFILE.areas.pe_mm2
    with pytest.raises(InputError) as caught:
        made.mac_pj("int8xint8")
    assert str(caught.value) == (
        "energy profile 'edge_28nm' has no MAC energy for int8xint8; it has: none"
    )


def test_a_technology_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        priced_for(replace(PROFILE, {"mac_gates": "scaled_28"}), load_device(FRAME))
    assert str(caught.value).startswith(
        "unknown technology 'scaled_28'; did you mean 'scaled_28nm'?"
    )


@pytest.mark.parametrize("name", ["fp16_fma", "bitmod", "lut_w2a8", "ant"])
def test_a_run_of_a_design_has_the_energy_of_its_row(name: str) -> None:
    """One price list: what `compare` says is what `simulate` says of the same device."""
    pe, terms, work = load_element(name), Terms(rung="analytic"), "gpt-2/decode/4"
    pair = next(iter(pe.formats))
    device = design(pe, terms).device
    alone = simulate(device, workload_named(work, formats_of(pe, pair)), "analytic")
    assert alone.energy_j == compared(pe, pair, work, terms).energy_j
