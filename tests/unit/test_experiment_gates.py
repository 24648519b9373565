"""Do counted units agree with their open synthesis, and is that synthesis checked as it says?"""

import csv
from pathlib import Path

import numpy as np
import pytest
from experiments_loaded import loaded

from simulator.cost import load_technology
from simulator.errors import InputError
from simulator.report.claims import read_claims

FOLDER = Path(__file__).parents[2] / "experiments" / "gates"
NAMES = ("structures", "figure", "run", "synthesise")

_, _, run, synthesise = loaded("gates", NAMES)
ROWS = {name: values for name, *values in run.synthesis(load_technology("nangate_45nm"))}
#: (a and b) and not c, of words of two bits and one: bit 1 of y is b's bit 0, inverted.
AIG = """aag 5 3 0 2 2
2
4
6
10
5
8 2 4
10 8 7
i0 a[0]
i1 b[0]
i2 a[1]
o0 y[0]
o1 y[1]
"""


@pytest.mark.parametrize("unit", run.SYNTHESISED)
def test_counted_area_is_near_that_of_an_open_synthesis(unit: str) -> None:
    counted, small, fast = ROWS[unit]
    assert 0.9 < counted / small < 1.25
    # Speed takes area, of floats as of integers.
    assert 1.3 < fast / small < 2.0


def test_the_element_of_bitmod_is_the_larger_one_counted_and_synthesised() -> None:
    for element, base in zip(ROWS["bitmod_pe"], ROWS["fp16_pe"], strict=True):
        assert element > base
    ratios = [a / b for a, b in zip(ROWS["bitmod_pe"], ROWS["fp16_pe"], strict=True)]
    assert ROWS["bitmod_pe over fp16_pe"] == pytest.approx(ratios)


def test_claims_of_lut_tensor_core_are_those_of_its_own_experiment() -> None:
    ours = run.at_45_nm(load_technology("nangate_45nm"))
    ours |= run.at_28_nm(load_technology("scaled_28nm"))
    other = FOLDER.parent / "lut_tensor_core" / "expected.csv"
    with other.open(newline="", encoding="utf-8") as file:
        rows = {(row["source"], row["published"]): row for row in csv.DictReader(file)}
    claims = read_claims(FOLDER / "published.csv", ours)
    both = [claim for claim in claims if (claim.source, f"{claim.published:g}") in rows]
    assert [claim.key for claim in both] == ["lut_tc.tc_fp16", "lut_tc.tc_int8", "lut_tc.tc_lut"]
    for claim in both:
        row = rows[claim.source, f"{claim.published:g}"]
        assert claim.ours == pytest.approx(float(row["ours"]))


def test_synthesised_units_are_those_that_are_counted_and_checked() -> None:
    with (FOLDER / "synthesised.csv").open(newline="", encoding="utf-8") as file:
        units = [row["unit"] for row in csv.DictReader(file)]
    text = (FOLDER / "units.v").read_text(encoding="utf-8")
    assert units == list(run.SYNTHESISED) == list(synthesise.UNITS)
    assert all(f"module {unit}(" in text for unit in units)


def test_and_gates_are_run_on_words(tmp_path: Path) -> None:
    path = tmp_path / "unit.aag"
    path.write_text(AIG, encoding="utf-8")
    words = np.arange(8, dtype=np.uint64)
    a, b = words & np.uint64(3), words >> np.uint64(2)
    found = synthesise.words_of(
        synthesise.outputs(path, {"a": synthesise.bits_of(a, 2), "b": synthesise.bits_of(b, 1)})
    )
    both = [(x & 1) & y & (~x >> 1 & 1) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    assert found.tolist() == [low + 2 * (1 - y) for low, y in zip(both, b.tolist(), strict=True)]


def test_a_wrong_unit_is_found(tmp_path: Path) -> None:
    """An 8-bit adder that gives its first operand."""
    names = [f"i{place} {word}[{place % 8}]" for place, word in enumerate("a" * 8 + "b" * 8)]
    lines = ["aag 16 16 0 8 0", *(str(2 * place + 2) for place in range(16))]
    lines += [str(2 * place + 2) for place in range(8)] + names
    lines += [f"o{place} y[{place}]" for place in range(8)]
    (tmp_path / "int8_add.aag").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ValueError, match=r"^int8_add: \d+ of 200000 results differ from NumPy's$"):
        synthesise.check("int8_add", tmp_path)


def test_floats_are_compared_as_ieee_754_has_them() -> None:
    bits = np.array([0x3C00, 0x7C00, 0x0000, 0x3C00], np.uint64)
    more = np.array([0x3C00, 0xFC00, 0x8000, 0xBC00], np.uint64)
    right = np.array([0x4000, 0x7E01, 0x8000, 0x0000], np.uint64)
    _, _, wrong = synthesise.UNITS["fp16_add"]
    # Any NaN is NaN, zeros are equal.
    assert wrong(bits, more, right).tolist() == [False] * 4
    assert wrong(bits, more, right + np.uint64(1)).tolist() == [True, False, True, True]


def test_a_missing_program_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError) as error:
        synthesise.elaborated("int8_add", tmp_path)
    assert str(error.value) == "needs the program yosys"
