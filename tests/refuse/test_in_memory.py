"""Are products that a memory cannot do, and requests that it cannot have, refused, in which words?"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from simulator.config import names, replace
from simulator.dram.pim.grouped import load_grouped
from simulator.dram.pim.grouped_requests import paced
from simulator.dram.streams import STREAM_NAMES
from simulator.engine.in_memory import run_beside, run_plan, run_product
from simulator.errors import InputError
from simulator.formats import get
from simulator.hardware.matrix import PE_FOLDER
from simulator.hardware.pim_unit import load_pim_unit
from simulator.mapping.pim_layout import Geometry, Shape, load_layout
from simulator.mapping.pim_product import Product, plan
from simulator.mapping.pim_search import search
from simulator.mapping.pim_time import ticks_of

PART, UNIT = load_grouped("hbm3_banks"), load_pim_unit("fp16_in_bank")
FP16 = get("fp16")
SIZES: dict[str, Any] = {"outputs": 64, "inputs": 256, "weights": FP16, "activations": FP16}
PRODUCT, AIM = Product(**SIZES), load_layout("aim")
PLAN = plan(PART, UNIT, PRODUCT, layout=AIM)
RUN = run_plan(PART, UNIT, PLAN)


def refused(call: Callable[[], object]) -> list[str]:
    with pytest.raises(InputError) as caught:
        call()
    return [*caught.value.problems]


@pytest.mark.parametrize(
    ("sizes", "messages"),
    [
        ({"outputs": 0}, ["outputs must be >= 1, got 0"]),
        ({"inputs": -4}, ["inputs must be >= 1, got -4"]),
        ({"vectors": 0, "matrices": -1}, ["vectors must be >= 1, got 0", "matrices must be >= 1, got -1"]),
    ],
)  # fmt: skip
def test_products_of_nothing(sizes: dict[str, int], messages: list[str]) -> None:
    assert refused(lambda: Product(**{**SIZES, **sizes})) == messages


@pytest.mark.parametrize("rung", ["analytic", "command"])
@pytest.mark.parametrize(
    ("options", "messages"),
    [
        ({"policy": "exclusiv"}, ["unknown policy 'exclusiv'; did you mean 'exclusive'? known: concurrent, exclusive"]),
        ({"refresh": "per_bank"}, ["unknown refresh 'per_bank'; did you mean 'all_bank'? known: all_bank, none"]),
        ({"policy": "fifo", "refresh": "non"}, ["unknown policy 'fifo'; known: concurrent, exclusive", "unknown refresh 'non'; did you mean 'none'? known: all_bank, none"]),
    ],
)  # fmt: skip
def test_how_it_is_run(rung: Any, options: dict[str, Any], messages: list[str]) -> None:
    assert refused(lambda: run_plan(PART, UNIT, PLAN, rung=rung, **options)) == messages
    assert refused(lambda: run_product(PART, UNIT, PRODUCT, layout=AIM, rung=rung, **options)) == (
        messages
    )


def test_an_unknown_rung() -> None:
    unknown: Any = "comand"
    assert refused(lambda: run_plan(PART, UNIT, PLAN, rung=unknown)) == [
        "unknown rung 'comand'; did you mean 'command'? known: analytic, command"
    ]


def test_requests_on_the_analytic_rung() -> None:
    requests = paced(PART, "random", 100, load=0.5)
    assert refused(lambda: run_plan(PART, UNIT, PLAN, rung="analytic", requests=requests)) == [
        "requests need rung 'command', got 'analytic'"
    ]
    analytic = run_plan(PART, UNIT, PLAN, rung="analytic")
    assert refused(lambda: run_beside(PART, UNIT, analytic, load=0.5)) == [
        "load needs rung 'command', got 'analytic'"
    ]


def test_requests_that_are_none_of_the_parts() -> None:
    requests = np.array([[0, 0, 64, 0, 0]], np.int64)
    assert refused(lambda: run_plan(PART, UNIT, PLAN, requests=requests)) == [
        "requests[0]: bank must be 0 to 63, got 64"
    ]


def test_alone_is_without_others() -> None:
    """Sixty-four outputs are in one channel: its requests are all that there are."""
    requests = paced(PART, "random", 100, load=0.5)
    beside = run_plan(PART, UNIT, PLAN, requests=requests)
    assert refused(lambda: run_beside(PART, UNIT, beside, load=0.5)) == [
        f"load needs a product that was run alone, got one with {len(requests)} requests"
    ]


@pytest.mark.parametrize("load", [0.0, -0.5, 1.5, float("nan"), float("inf"), float("-inf")])
def test_loads_that_are_no_share(load: float) -> None:
    message = [f"load must be above 0 and at most 1, got {load:g}"]
    assert refused(lambda: run_beside(PART, UNIT, RUN, load=load)) == message
    assert refused(lambda: paced(PART, "random", 100, load=load)) == message


@pytest.mark.parametrize(
    ("options", "messages"),
    [
        ({"ticks": 0}, ["ticks must be >= 1, got 0"]),
        ({"first_row": 16384}, ["first_row must be 0 to 16383, got 16384"]),
        ({"first_row": -1}, ["first_row must be 0 to 16383, got -1"]),
        ({"stream": "sequential"}, [f"unknown stream 'sequential'; known: {', '.join(sorted(STREAM_NAMES))}"]),
        ({"ticks": -5, "load": 2, "first_row": -1}, ["load must be above 0 and at most 1, got 2", "ticks must be >= 1, got -5", "first_row must be 0 to 16383, got -1"]),
    ],
)  # fmt: skip
def test_requests_at_a_pace(options: dict[str, Any], messages: list[str]) -> None:
    given: dict[str, Any] = {"stream": "random", "ticks": 100, "load": 0.5, **options}
    assert refused(lambda: paced(PART, **given)) == messages


def test_an_unknown_stream_beside_a_product() -> None:
    (message,) = refused(lambda: run_beside(PART, UNIT, RUN, load=0.5, stream="seq_rwo"))
    assert message.startswith("unknown stream 'seq_rwo'; did you mean 'seq_row'? known: ")


def test_a_product_that_does_not_fit_the_rows() -> None:
    """Of 16,384 in each bank; 16 channels of 64 banks with 512 values of FP16 a row."""
    large = Product(**{**SIZES, "outputs": 1 << 20, "inputs": 1 << 14})
    assert refused(lambda: run_product(PART, UNIT, large)) == [
        "gemv of 1048576 x 16384 needs 32768 rows of each bank, 16384 are there"
    ]
    assert refused(lambda: run_product(PART, UNIT, large, layout=AIM)) == [
        "layout aim: a matrix of 1048576 x 16384 needs 32768 rows of each bank, 16384 are there"
    ]


def test_operands_that_the_element_does_not_multiply() -> None:
    mixpe = load_pim_unit("fp16_in_bank", "mixpe_w4a8")
    assert refused(lambda: run_product(PART, mixpe, PRODUCT)) == [
        "PE 'mixpe_w4a8' cannot multiply weights fp16 with activations fp16, not even widened; "
        "it does: int4xint8"
    ]


def test_a_column_that_does_not_feed_the_element() -> None:
    lut = load_pim_unit("lut_in_bank")
    wide = Product(**{**SIZES, "weights": get("int8-g128"), "activations": get("int8-token")})
    assert refused(lambda: run_product(PART, lut, wide)) == [
        "PE 'lut_w2a8' takes 64 weights of int8 at a time, a column of 32 bytes has 32"
    ]


def test_elements_that_a_column_does_not_feed() -> None:
    many = replace(UNIT, {"elements": 65})
    assert refused(lambda: run_product(PART, many, PRODUCT)) == [
        "PIM unit 'fp16_in_bank': 65 elements, a column feeds 64"
    ]


def test_a_layout_that_the_part_has_no_banks_for() -> None:
    small = load_grouped("duplex_logic")
    assert refused(lambda: run_product(small, UNIT, PRODUCT, layout=load_layout("attacc_v"))) == [
        "layout attacc_v: splits[3]: 16 inputs for each bank, 4 are left of 16"
    ]


def test_what_is_held() -> None:
    message = ["unknown held 'result'; did you mean 'results'? known: inputs, results"]
    unknown: Any = "result"
    assert refused(lambda: run_product(PART, UNIT, PRODUCT, held=unknown)) == message
    assert refused(lambda: run_product(PART, UNIT, PRODUCT, held=unknown, layout=AIM)) == message
    shape, geometry = Shape(outputs=8, inputs=8), Geometry.of(PART)
    assert (
        refused(lambda: search(shape, geometry, partial(ticks_of, PART), held=unknown)) == message
    )


@pytest.mark.parametrize("stacks", [3, 5, 32])
def test_stacks_that_channels_are_not_equally_of(stacks: int) -> None:
    assert refused(lambda: replace(PART, {"stacks": stacks})) == [
        f"stacks: must divide the 16 channels, got {stacks}"
    ]
    assert replace(PART, {"stacks": 16}).stacks == 16
    assert refused(lambda: replace(PART, {"stacks": 0})) == ["stacks: must be >= 1, got 0"]


def test_an_unknown_element_for_a_unit() -> None:
    known = ", ".join(names(PE_FOLDER))
    assert refused(lambda: load_pim_unit("fp16_in_bank", "mixpe_w4a7")) == [
        f"unknown PE 'mixpe_w4a7'; did you mean 'mixpe_w4a8'? known: {known}"
    ]
