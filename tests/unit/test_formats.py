"""Formats: bits per value exactly, from the name alone."""

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.formats import ALL, SHORTHANDS, Format, expand_shorthand, get

SUFFIXED = [
    "int4-g128",
    "int4-g128-asym",
    "int3-g64-asym-s8",
    "int8-channel",
    "int8-token-s32",
    "int4-tensor",
    "ternary-tensor",
    "nf4-g64",
    "bitmod3-g64",
    "fp8_e4m3fn-channel",
    "fp16_e8m7ieee-g32",
    "dfp4-g16",
    "dfp8-channel",
    "bipolar3-g64",
    "apot3-g64",
    "ant4-g64",
    "ant4-channel",
    "ternary2-tensor",
    "qserve-g64",
]
ANY_NAME = st.sampled_from([*ALL, *SUFFIXED])
ROWS, REDUCTION = st.integers(1, 300), st.integers(1, 5000)


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        ("int1", 1),
        ("int16", 16),
        ("uint4", 4),
        ("fp32", 32),
        ("tf32", 32),
        ("bf16", 16),
        ("fp8_e5m2fnuz", 8),
        ("fp6_e3m2fn", 6),
        ("fp4_e2m1fn", 4),
        ("nf4", 4),
        ("ternary", Fraction(8, 5)),
        ("mxfp4", Fraction(17, 4)),
        ("mxfp6_e2m3", Fraction(25, 4)),
        ("mxfp8_e4m3", Fraction(33, 4)),
        ("mxint8", Fraction(33, 4)),
        ("nvfp4", Fraction(9, 2)),
        ("bitmod4", 4 + Fraction(10, 128)),
        ("bitmod3-g64", 3 + Fraction(10, 64)),
        ("bitmod4-s16", 4 + Fraction(18, 128)),
        ("int4-g128", 4 + Fraction(16, 128)),
        ("int4-g128-asym", 4 + Fraction(20, 128)),
        ("int4-g128-asym-s8", 4 + Fraction(12, 128)),
        ("int4-g64-s32", 4 + Fraction(32, 64)),
        ("nf4-g64", 4 + Fraction(16, 64)),
        ("int8-channel", 8),
        ("int8-tensor", 8),
        ("fp3_e1m1", 3),
        ("fp13_e5m7fn", 13),
        ("fix12_4", 12),
        ("ufix1_0", 1),
        ("dfp8", 8),
        ("dfp8-g16", 8 + Fraction(8, 16)),
        ("bipolar16", 16),
        ("bipolar2-g64", 2 + Fraction(16, 64)),
        ("ternary2", 2),
        ("ternary2-g32", 2 + Fraction(16, 32)),
        ("flint5", 5),
        ("pot8", 8),
        ("apot7-g64-s32", 7 + Fraction(32, 64)),
        ("ant4", 4 + Fraction(16 + 2, 128)),
        ("ant4-g32", 4 + Fraction(16 + 2, 32)),
        ("bfp3_b16", 4 + Fraction(8, 16)),
        ("bfp15_b5", 16 + Fraction(8, 5)),
        ("nvfp4_t32", Fraction(9, 2)),
        ("qserve", 4 + Fraction(8 + 4, 128)),
        # Three alphas of three exponents of 8 bits.
        ("bcq3", 3 + Fraction(3 * 3 * 8, 128)),
        ("bcq2-g64", 2 + Fraction(2 * 3 * 8, 64)),
        ("qserve-g64", 4 + Fraction(8 + 4, 64)),
    ],
)
def test_bits_per_value_count_the_metadata_of_groups(name: str, bits: Fraction) -> None:
    assert get(name).bits_per_value == bits


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        ("int8-channel", 8 + Fraction(16, 4096)),
        ("int8-token-asym", 8 + Fraction(24, 4096)),
        ("int8-tensor", 8 + Fraction(16, 4096**2)),
        ("int4-g128", 4 + Fraction(16, 128)),
        ("int4-g3000", 4 + Fraction(2 * 16, 4096)),
        ("fp16", 16),
        ("dfp8", 8 + Fraction(8, 4096**2)),
        ("dfp8-channel", 8 + Fraction(8, 4096)),
        ("nvfp4_t32", Fraction(9, 2) + Fraction(32, 4096**2)),
        ("qserve", 4 + Fraction(12, 128) + Fraction(16, 4096)),
    ],
)
def test_bits_per_value_of_a_matrix_of_4096_x_4096(name: str, bits: Fraction) -> None:
    assert Fraction(get(name).bits(4096, 4096), 4096 * 4096) == bits


@pytest.mark.parametrize(
    ("name", "scales"),
    [("int8", 0), ("int8-tensor", 1), ("int8-channel", 11), ("int8-token", 11), ("int8-g128", 22)],
)
def test_scales_of_11_vectors_of_200(name: str, scales: int) -> None:
    assert get(name).scales(11, 200) == scales
    assert get(name).scales(0, 200) == 0


@given(ANY_NAME, ROWS, REDUCTION)
def test_bits_are_payload_and_metadata(name: str, rows: int, reduction: int) -> None:
    chosen = get(name)
    payload = chosen.payload_bits(rows, reduction)
    assert payload == ceil(rows * reduction * chosen.value_bits)
    outer = {"none": 0, "channel": rows, "tensor": 1}[chosen.outer] * chosen.outer_bits
    assert chosen.bits(rows, reduction) - payload == (
        chosen.scales(rows, reduction) * chosen.metadata_bits_per_group + outer
    )


@pytest.mark.parametrize(
    ("name", "per_word"),
    [
        ("int4", 8),
        ("int3", 10),
        ("ternary", 20),
        ("ternary2", 16),
        ("int5", 6),
        ("fp16", 2),
        ("fp32", 1),
    ],
)
def test_values_do_not_straddle_words(name: str, per_word: int) -> None:
    assert get(name).payload_bits(1, per_word, word_bits=32) == 32
    assert get(name).payload_bits(1, per_word + 1, word_bits=32) == 64
    assert get(name).payload_bits(3, 1, word_bits=32) == 96


@given(ANY_NAME, ROWS, REDUCTION)
def test_padding_to_words_never_saves_bits(name: str, rows: int, reduction: int) -> None:
    chosen = get(name)
    assert chosen.payload_bits(rows, reduction, 32) >= chosen.payload_bits(rows, reduction)


@pytest.mark.parametrize(
    ("spelled", "name"),
    [
        ("int4-asym-g128", "int4-g128-asym"),
        ("int4-s8-asym-g128", "int4-g128-asym-s8"),
        ("int4-g128-s16", "int4-g128"),
        ("bitmod4-g128-s8", "bitmod4"),
        ("bitmod4-s16-g64", "bitmod4-g64-s16"),
        ("dfp8-tensor", "dfp8"),
        ("ant4-s16-g128", "ant4"),
        ("qserve-g128", "qserve"),
    ],
)
def test_suffixes_in_any_order_give_one_format(spelled: str, name: str) -> None:
    assert get(spelled) == get(name)
    assert get(spelled).name == name


@pytest.mark.parametrize("name", [*ALL, *SUFFIXED])
def test_every_name_is_its_own(name: str) -> None:
    chosen = get(name)
    assert chosen.name == name
    base = name.split("-")[0]
    # What these add to their elements is how scales are made.
    assert chosen.base == {"qserve": "int4"}.get(
        base, base.replace("dfp", "int").removesuffix("_t32")
    )
    assert get(chosen.base).base == chosen.base


def test_members_of_families_are_listed_once() -> None:
    assert len(set(ALL)) == len(ALL)
    assert "dfp8" in ALL
    assert "dfp7" not in ALL
    assert get("dfp7").value_bits == 7


@pytest.mark.parametrize(
    ("name", "bits"),
    [("fp12_e5m6ieee", 7), ("fp9_e3m5", 6), ("fp16_e5m10fn", 11), ("fix8_4", 0), ("bipolar4", 0)],
)
def test_significand_bits_are_those_of_floats(name: str, bits: int) -> None:
    assert get(name).significand_bits == bits


def test_the_parts_of_a_name_are_attributes() -> None:
    assert get("int4-g128-asym") == Format(
        name="int4-g128-asym",
        base="int4",
        kind="int",
        value_bits=Fraction(4),
        granularity="group",
        group=128,
        scale_bits=16,
        zero_bits=4,
    )


def test_shorthands_expand_to_formats_that_exist() -> None:
    assert expand_shorthand("w4a16") == ("int4-g128", "fp16", "fp16")
    assert expand_shorthand("w4a8kv4") == ("int4-g128-asym", "int8-token", "int4-token-asym")
    for names in SHORTHANDS.values():
        assert tuple(get(name).name for name in names) == names
