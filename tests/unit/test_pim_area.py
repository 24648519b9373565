"""Is the silicon in a memory that of its units, counted or as a source states it?"""

import pytest

from simulator.api import load_device
from simulator.config import replace
from simulator.errors import InputError
from simulator.formats import get
from simulator.hardware import Device
from simulator.hardware.pim import GroupUnits
from simulator.hardware.pim_unit_fit import fit
from simulator.mapping.pim_area import no_pim_area, pim_area_mm2
from simulator.mapping.pim_product import columns_of
from simulator.study.case import Case
from simulator.study.evaluation import evaluate

FP16 = {"weights": "fp16", "activations": "fp16", "kv": "fp16"}


def low_bit(multiplies: list[str]) -> Device:
    changes = {"pim.unit": "mixpe_in_bank", "pim.multiplies": multiplies}
    return replace(load_device("duplex_bank"), {**changes, "pim.weights": "duplex_w"})


def test_units_of_all_stacks_are_counted_by_gates() -> None:
    """Duplex: five stacks, a 256th of 16,384 multipliers on the logic die for each bank."""
    device = load_device("duplex")
    pim = device.pim
    assert isinstance(pim, GroupUnits)
    each = fit(pim.unit, columns_of(pim.part), get("fp16"), get("fp16"), 8).area_mm2.nominal
    assert pim_area_mm2(device, FP16) == pytest.approx(5 * 256 * each)
    more = replace(device, {"pim.unit.elements": 128})
    assert 1.5 < pim_area_mm2(more, FP16) / pim_area_mm2(device, FP16) < 2


def test_a_unit_is_as_large_as_the_larger_of_what_it_multiplies() -> None:
    """Scales of groups need multiply-adds, those of whole channels are applied elsewhere."""
    weights, attention, both = (
        low_bit(each) for each in (["weights"], ["attention"], ["weights", "attention"])
    )
    channel = {"weights": "int4-channel", "activations": "int8-token", "kv": "int4-g128"}
    small, large = pim_area_mm2(weights, channel), pim_area_mm2(attention, channel)
    assert small < large
    assert pim_area_mm2(both, channel) == large


def test_a_bare_product_has_no_keys() -> None:
    formats = {"weights": "fp16", "activations": "fp16"}
    assert pim_area_mm2(load_device("duplex"), formats) == pim_area_mm2(load_device("duplex"), FP16)


def test_attaccs_area_is_that_of_its_paper() -> None:
    """13.12 mm2 on each of 8 DRAM dies and 1.40 mm2 on the buffer die, five stacks."""
    assert pim_area_mm2(load_device("attacc"), FP16) == pytest.approx(5 * (8 * 13.12 + 1.40))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("a100", "a100: nothing multiplies in its memory"),
        (
            "attacc_buffer",
            "attacc_buffer: no source states the area of the units of attacc at level 'buffer'",
        ),
        ("neupims", "neupims: no source states the area of the units of neupims"),
        ("ianus", "ianus: no source states the area of the units of ianus_aim"),
    ],
)
def test_where_no_area_is_known_the_reason_is(name: str, why: str) -> None:
    device = load_device(name)
    assert no_pim_area(device) == why
    with pytest.raises(InputError) as error:
        pim_area_mm2(device, FP16)
    assert error.value.problems == (why,)


def test_formats_that_units_do_not_multiply_have_no_units() -> None:
    """Keys in FP16 are attended to with queries in FP16, whatever the activations are."""
    formats = {"weights": "int4-channel", "activations": "int8-token", "kv": "fp16"}
    both, weights = low_bit(["weights", "attention"]), low_bit(["weights"])
    assert pim_area_mm2(both, formats) == pim_area_mm2(weights, formats)
    with pytest.raises(InputError, match="cannot multiply weights fp16 with activations fp16"):
        pim_area_mm2(low_bit(["attention"]), formats)


def test_a_study_has_it_beside_the_area_of_the_die() -> None:
    workload = {"model": "llama-3-8b", "phase": "decode", "batch": 2, "context": 128}
    found = evaluate(Case(load_device("attacc"), workload, {"rung": "analytic"}), {}).metrics
    assert (found["area_mm2"], found["pim_area_mm2"]) == (826, pytest.approx(531.8))
