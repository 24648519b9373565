"""Quantities with units: exact values, exact way back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.units import DIMENSIONS, dimension_of, format_quantity, parse_quantity

WHOLE = sorted(name for name, dimension in DIMENSIONS.items() if dimension.whole)
REAL = sorted(name for name, dimension in DIMENSIONS.items() if not dimension.whole)


@pytest.mark.parametrize(
    ("text", "dimension", "value"),
    [
        ("1.2 TB/s", "bytes_per_s", 1_200_000_000_000),
        ("819.2 GB/s", "bytes_per_s", 819_200_000_000),
        ("1 GiB/s", "bytes_per_s", 2**30),
        ("16 GiB", "bytes", 16 * 2**30),
        ("16GB", "bytes", 16 * 10**9),
        ("1.5 KiB", "bytes", 1536),
        ("8e3 kB", "bytes", 8_000_000),
        ("1.41 GHz", "hertz", 1_410_000_000),
        (" 940 MHz ", "hertz", 940_000_000),
        ("0.5 ns", "picoseconds", 500),
        ("1 s", "picoseconds", 10**12),
        ("3 fJ", "picojoules", 0.003),
        ("1 mJ", "picojoules", 1e9),
        ("12 um2", "square_millimetres", 1.2e-5),
        ("250 mW", "watts", 0.25),
    ],
)
def test_text_gives_the_number_of_base_units(text: str, dimension: str, value: float) -> None:
    read = parse_quantity(text, dimension)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("value", "dimension", "text"),
    [
        (1_200_000_000_000, "bytes_per_s", "1.2 TB/s"),
        (819_200_000_000, "bytes_per_s", "819.2 GB/s"),
        (20 * 2**20, "bytes", "20 MiB"),
        (64 * 10**9, "bytes", "64 GB"),
        (512, "bytes", "512 B"),
        (0, "picoseconds", "0 ps"),
        (1_410_000_000, "hertz", "1.41 GHz"),
        (0.2, "picojoules", "200 fJ"),
        (1e-7, "watts", "0.1 uW"),
        (0.0, "watts", "0 W"),
    ],
)
def test_a_number_is_written_with_the_unit_that_makes_it_short(
    value: float, dimension: str, text: str
) -> None:
    assert format_quantity(value, dimension) == text


@given(st.sampled_from(WHOLE), st.integers(0, 2**63))
def test_whole_quantities_come_back(dimension: str, count: int) -> None:
    value = count * DIMENSIONS[dimension].multiple_of
    assert parse_quantity(format_quantity(value, dimension), dimension) == value


@given(st.sampled_from(REAL), st.floats(allow_nan=False, allow_infinity=False))
def test_real_quantities_come_back(dimension: str, value: float) -> None:
    back = parse_quantity(format_quantity(value, dimension), dimension)
    assert back == value


@pytest.mark.parametrize("dimension", sorted(DIMENSIONS))
def test_every_unit_is_its_factor_times_the_base_unit(dimension: str) -> None:
    known = DIMENSIONS[dimension]
    for symbol, factor in known.units.items():
        count = known.multiple_of if factor < known.multiple_of else 1
        assert parse_quantity(f"{count} {symbol}", dimension) == float(count * factor)


@pytest.mark.parametrize(
    ("text", "dimension", "message"),
    [
        ("20", "bytes", "'20' has no unit; write for example '20 MiB'"),
        ("1e9", "hertz", "'1e9' has no unit; write for example '1e9 MHz'"),
        ("fast", "hertz", "'fast' is not a quantity; write for example '20 MHz'"),
        ("", "watts", "'' is not a quantity; write for example '20 W'"),
        ("1.2.3 B", "bytes", "'1.2.3 B' is not a quantity; write for example '20 MiB'"),
        (
            "3 KB",
            "bytes",
            "'3 KB': unknown unit 'KB'; known: B, kB, KiB, MB, MiB, GB, GiB, TB, TiB",
        ),
        ("1 min", "picoseconds", "'1 min': unknown unit 'min'; known: ps, ns, us, ms, s"),
        ("1 G", "hertz", "'1 G': unknown unit 'G'; known: Hz, kHz, MHz, GHz"),
        ("1.3 B", "bytes", "'1.3 B' is not a whole number of B"),
        ("0.1 ps", "picoseconds", "'0.1 ps' is not a whole number of ps"),
        ("1.5 kHz", "hertz", "'1.5 kHz' is not a multiple of 1000 Hz"),
        ("1e400 W", "watts", "'1e400 W': unknown unit 'e400 W'; known: uW, mW, W"),
    ],
)
def test_what_is_not_a_quantity_is_refused(text: str, dimension: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as refusal:
        parse_quantity(text, dimension)
    assert str(refusal.value) == message


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_a_unit_is_of_one_dimension_alone(dimension: str) -> None:
    units = DIMENSIONS[dimension].units
    assert [dimension_of(f"1.5 {unit}") for unit in units] == [dimension] * len(units)


@pytest.mark.parametrize("text", ["64", "1e3", "1:30", "int4-g128", "MiB", ""])
def test_text_that_is_no_number_with_a_unit_has_no_dimension(text: str) -> None:
    assert dimension_of(text) == ""


def test_a_unit_of_no_dimension_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^'1 Gib': unknown unit 'Gib'; known: B, kB, .*, W$"):
        dimension_of("1 Gib")


def test_a_number_beyond_floating_point_is_refused() -> None:
    with pytest.raises(ValueError, match=r"is too large$"):
        parse_quantity("9" * 400 + " W", "watts")


def test_an_unknown_dimension_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^unknown dimension 'volts'; known: bytes, "):
        parse_quantity("1 V", "volts")
