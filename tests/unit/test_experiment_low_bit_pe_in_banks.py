"""Are products, gains and crossovers of the experiment what its tables call them?"""

import csv
from collections.abc import Callable

import pytest
from experiments_loaded import EXPERIMENTS, loaded

from simulator.formats import get

NAMES = ("cases", "banks", "pins", "papers", "sweep")
cases, banks, pins, papers, sweep = loaded("low_bit_pe_in_banks", NAMES)
FOLDER = EXPERIMENTS / "low_bit_pe_in_banks"


@pytest.mark.parametrize(
    ("better", "batch"),
    [
        (lambda batch: False, 1),
        (lambda batch: batch < 2, 2),
        (lambda batch: batch < 13, 13),
        (lambda batch: batch < 32, 32),
        # Turns of four: a batch of 9 loses where 12 wins again.
        (lambda batch: batch not in (9, 10) and batch < 13, 13),
        (lambda batch: True, None),
    ],
)
def test_overtaken(better: Callable[[int], bool], batch: int | None) -> None:
    assert sweep.overtaken(better) == batch


def test_a_layer_has_all_of_its_weights() -> None:
    work = cases.layer(cases.ELEMENTS["FP16"], 3)
    hidden, ffn, kv = 4096, 14336, 1024
    weights = 2 * hidden * hidden + 2 * hidden * kv + 3 * hidden * ffn
    assert sum(each.bytes for each in work.matrices) == 2 * weights
    assert work.vectors == 3


@pytest.mark.parametrize("group", cases.GROUPS)
def test_attention_has_as_many_macs_in_all_groups(group: int) -> None:
    work = cases.attention(cases.ELEMENTS["BitMoD"], group)
    macs = sum(each.outputs * each.inputs * each.many for each in work.matrices) * work.vectors
    assert macs == 2 * cases.REQUESTS * 32 * 4096 * 128


@pytest.mark.parametrize("element", cases.ELEMENTS.values(), ids=str)
def test_arrays_do_equally_many_macs(element: "cases.Element") -> None:
    matrix = pins.device(element, element.rows).matrix
    pair = f"{get(element.weights).base}xfp16"
    assert matrix.macs_per_cycle(pair) == 128 * 128


def test_low_end_of_the_process_takes_less_and_the_cap_only_time() -> None:
    element = cases.ELEMENTS["MixPE"]
    work = cases.square(element, 1)
    nominal, low, free = (
        banks.in_banks(element, work, design)
        for design in (banks.Design(), banks.Design(process="low"), banks.Design(capped=False))
    )
    assert low.energy_j < nominal.energy_j
    assert free.energy_j == nominal.energy_j
    assert free.time_s < low.time_s < nominal.time_s


def test_every_row_that_is_asked_for_was_made() -> None:
    asked, made = (
        [row["claim"] for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines())]
        for path in (FOLDER / "published.csv", FOLDER / "expected.csv")
    )
    assert asked == made
    assert len(set(asked)) == len(asked)


def test_papers_are_of_fp16_on_the_stack() -> None:
    assert papers.pins_bytes_per_s() == pytest.approx(665.8e9, rel=1e-3)
