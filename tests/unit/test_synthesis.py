"""Does a user's synthesis take the place of gates for its elements, and for no others?"""

from pathlib import Path

import pytest

from simulator.cost import Bound, Cost, load_profile, load_synthesis, load_technology
from simulator.design import load_element
from simulator.errors import InputError
from simulator.hardware.matrix import Throughput
from simulator.hardware.pricing import (
    BOUNDS,
    check_synthesis,
    element_area_um2,
    element_cost,
    mac_pj,
    priced_by,
    priced_by_gates,
)

LINES = """pe, pair, area_um2, energy_pj, energy_low_pj, energy_high_pj
int8_mac, int8xint8, 400, 0.3, 0.2, 0.5
fp16_fma, fp16xfp16, 1968.7, 0.77, ,
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.csv"
    path.write_text(LINES, encoding="utf-8")
    return path


def test_a_file_has_area_and_energy_of_its_pairs(file: Path) -> None:
    synthesis = load_synthesis(file)
    assert synthesis.covers("int8_mac")
    assert not synthesis.covers("bitmod")
    ends: dict[Bound, Cost] = {
        "low": Cost(400, 0.2),
        "nominal": Cost(400, 0.3),
        "high": Cost(400, 0.5),
    }
    for bound, expected in ends.items():
        assert synthesis.cost("int8_mac", "int8xint8", bound) == expected
    # An empty cell is the nominal value.
    assert synthesis.cost("fp16_fma", "fp16xfp16", "high") == Cost(1968.7, 0.77)


def test_blanks_around_cells_and_lines_without_any_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "blanks.csv"
    path.write_text(" pe ,pair , area_um2,energy_pj \n\n,,,\n a , b ,1 , 1e-6\n", encoding="utf-8")
    assert load_synthesis(path).cost("a", "b") == Cost(1.0, 1e-6)


def test_an_element_of_the_file_is_priced_by_it_and_others_by_gates(file: Path) -> None:
    synthesis, technology = load_synthesis(file), load_technology("scaled_28nm")
    mac, mixpe = load_element("int8_mac"), load_element("mixpe_w4a8")
    assert element_cost(mac, "int8xint8", technology, "nominal", synthesis) == Cost(400, 0.3)
    assert element_area_um2(mac, technology, "nominal", synthesis) == 400
    assert mac_pj(mac, "int8xint8", technology, "high", synthesis) == 0.5
    for pair in mixpe.formats:
        with_it = element_cost(mixpe, pair, technology, "nominal", synthesis)
        assert with_it == element_cost(mixpe, pair, technology)
    assert priced_by(mac, technology, synthesis) == f"synthesis {file}"
    assert priced_by(mixpe, technology, synthesis) == "gates in scaled_28nm"
    assert priced_by(mac, technology) == "gates in scaled_28nm"


def test_a_cycle_is_shared_by_the_macs_of_a_micro_tile(tmp_path: Path) -> None:
    lut, technology = load_element("lut_w2a8"), load_technology("scaled_28nm")
    lines = "".join(f"lut_w2a8,{pair},1000,6.0\n" for pair in lut.formats)
    path = tmp_path / "lut.csv"
    path.write_text("pe,pair,area_um2,energy_pj\n" + lines, encoding="utf-8")
    m, n, k = lut.micro_tile
    for pair in lut.formats:
        found = mac_pj(lut, pair, technology, "nominal", load_synthesis(path))
        assert found == pytest.approx(6.0 * lut.passes(pair) / (m * n * k))


def test_a_profile_may_mix_both_and_says_which(file: Path) -> None:
    synthesis, technology = load_synthesis(file), load_technology("scaled_28nm")
    profile = load_profile("edge_28nm")
    elements = [
        Throughput(kind="throughput", pe=load_element(name), macs=1, source="test")
        for name in ("int8_mac", "mixpe_w4a8")
    ]
    priced = priced_by_gates(profile, elements, technology, synthesis)
    gates = priced_by_gates(profile, elements, technology)
    for bound, expected in zip(BOUNDS, (0.2, 0.3, 0.5), strict=True):
        assert priced.mac_pj("int8xint8", bound) == expected
        assert priced.mac_pj("int4xint8", bound) == gates.mac_pj("int4xint8", bound)
    sources = {pair: constant.source for pair, constant in priced.mac_constants.items()}
    assert sources["int8xint8"] == f"PE 'int8_mac' by synthesis {file}"
    assert sources["int4xint8"] == "PE 'mixpe_w4a8' by gates in scaled_28nm"


def test_an_element_has_one_source_for_all_of_its_pairs(tmp_path: Path) -> None:
    lut, technology = load_element("lut_w2a8"), load_technology("scaled_28nm")
    first, second = list(lut.formats)[:2]
    path = tmp_path / "half.csv"
    path.write_text(f"pe,pair,area_um2,energy_pj\nlut_w2a8,{first},900,1\n", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        element_area_um2(lut, technology, "nominal", load_synthesis(path))
    assert str(caught.value) == f"{path}: PE 'lut_w2a8' has no line for {second}; it has: {first}"


def test_lines_that_would_price_nothing_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "slips.csv"
    text = "pe,pair,area_um2,energy_pj\nint8_mca,int8xint8,400,0.3\nint8_mac,int4xint8,400,0.3\n"
    path.write_text(text, encoding="utf-8")
    elements = [load_element("int8_mac"), load_element("bitmod")]
    with pytest.raises(InputError) as caught:
        check_synthesis(load_synthesis(path), elements)
    assert caught.value.problems == (
        f"{path}: unknown PE 'int8_mca'; did you mean 'int8_mac'? known: bitmod, int8_mac",
        f"{path}: PE 'int8_mac' does not multiply int4xint8; it does: int8xint8",
    )
