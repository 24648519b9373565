"""Are dies, yields and prices what others' worked examples and figures say?"""

import numpy as np
import pytest

from simulator.api import load_device, profile_of
from simulator.cost import Constant
from simulator.cost.dollars import (
    Process,
    Wafer,
    die_usd,
    die_yield,
    dies_per_wafer,
    load_prices,
)
from simulator.hardware.bill import bill_of, cost_usd, unpriced

PRICES = load_prices("public_estimates")


def constant(value: float) -> Constant:
    return Constant(nominal=value, source="the example")


#: As the textbook has it: nothing is lost at the edge but what it cuts, and lanes have no width.
PLAIN = Wafer(diameter_mm=300.0, edge_mm=constant(0.0), lane_mm=constant(0.0))


def process(defects: float, clustering: int, usd: float = 1.0) -> Process:
    return Process(
        nodes_nm=(1.0,),
        wafer_usd=constant(usd),
        defects_per_cm2=constant(defects),
        clustering=clustering,
        source="the example",
    )


@pytest.mark.parametrize(
    ("cm2", "dies"),
    [
        # Hennessy and Patterson, Computer Architecture, 5th edition, section 1.6, example.
        (2.25, 270),
        (1.0, 640),
        # Its solutions, exercise 1.2.
        (1.5, 416),
        (2.5, 240),
    ],
)
def test_dies_of_a_wafer_are_those_of_the_textbook(cm2: float, dies: int) -> None:
    assert dies_per_wafer(100 * cm2, PLAIN) == pytest.approx(dies, abs=1.0)


@pytest.mark.parametrize(
    ("defects", "cm2", "clustering", "share"),
    [
        # The same solutions, exercises 1.1 and 1.2.
        (0.30, 3.89, 4, 0.36),
        (0.30, 1.5, 4, 0.65),
        (0.30, 2.5, 4, 0.50),
    ],
)
def test_the_yield_is_that_of_the_textbook(
    defects: float, cm2: float, clustering: int, share: float
) -> None:
    assert die_yield(100 * cm2, process(defects, clustering)) == pytest.approx(share, abs=0.006)


def test_many_clusters_are_poissons_defects() -> None:
    assert die_yield(500.0, process(0.1, 100_000)) == pytest.approx(np.exp(-0.5), rel=1e-5)


def test_four_dies_for_one_cost_what_amd_says() -> None:
    """Four dies of 213 mm2 cost 0.59 of one of 777 mm2 at 14 nm.

    Source: AMD at Hot Chips 2017 and ISSCC 2018 ("Zeppelin"). Its defect density is not public:
    this is a check of form and size, and 0.61 comes of Chiplet Actuary's.
    """
    node = PRICES.process_of(14.0)
    ratio = 4 * die_usd(213.0, PRICES.wafer, node) / die_usd(777.0, PRICES.wafer, node)
    assert ratio == pytest.approx(0.59, rel=0.05)


def test_a_large_chip_at_5_nm_is_dearer_than_the_public_estimate() -> None:
    """CSET 2020 counts 71.4 chips of 610 mm2 a wafer, $238; with defects there are 42, $403.

    At 7 nm it has $233 for the same transistors, so 5 nm saves nothing: here neither.
    """
    wafer, five, seven = PRICES.wafer, PRICES.process("5nm"), PRICES.process("7nm")
    dies = dies_per_wafer(610.0, wafer)
    assert dies > 71.4 > dies * die_yield(610.0, five)
    assert die_usd(610.0, wafer, five) / 238 == pytest.approx(1.69, abs=0.01)
    # The area at 7 nm follows from CSET's own prices of wafers and chips.
    at_seven = 610.0 * (233 / 9346) / (238 / 16_988)
    assert die_usd(at_seven, wafer, seven) > die_usd(610.0, wafer, five)


def test_the_price_is_the_same_one_by_one_and_for_an_array() -> None:
    device = load_device("generic_npu_128")
    profile = profile_of(device)
    areas = np.random.default_rng(0).uniform(0.1, 900.0, 1_000)
    alone = [cost_usd(device, float(area), profile) for area in areas]
    assert cost_usd(device, areas, profile).tolist() == alone


def test_a_die_that_fits_no_wafer_has_no_price() -> None:
    node = PRICES.process("7nm")
    found = die_usd(np.array([800.0, 12_000.0]), PRICES.wafer, node)
    assert np.isfinite(found).tolist() == [True, False]


def test_the_bill_adds_up_and_its_ends_are_in_order() -> None:
    device = load_device("a100")
    profile = profile_of(device)
    low, nominal, high = (
        bill_of(device, 826.0, profile, bound=bound) for bound in ("low", "nominal", "high")
    )
    assert nominal.memory_usd == 80 * 15.0
    assert nominal.package_usd == pytest.approx(0.336 * nominal.die_usd + 22.5)
    assert nominal.total_usd == nominal.die_usd + nominal.memory_usd + nominal.package_usd
    assert low.total_usd < nominal.total_usd < high.total_usd


@pytest.mark.parametrize(
    "name",
    [
        *("a100", "h100", "t4", "tpu_v4", "tpu_v4i", "generic_npu_128", "edge_fp16"),
        *("npu_hbm2", "npu_mem", "npu_only", "onnxim_4core"),  # by their standards, or as a base
    ],
)
def test_devices_that_ship_have_a_price(name: str) -> None:
    device = load_device(name)
    assert unpriced(device, profile_of(device)) is None
