"""What a wrong format name or an impossible format is told."""

from dataclasses import replace
from typing import Any

import pytest

from simulator.config import Part
from simulator.errors import InputError
from simulator.formats import FormatName, expand_shorthand, get

KNOWN = (
    "int1 to int16, int32, uint1 to uint16, fp32, tf32, fp16, bf16, fp8_*, fp6_*, fp4_e2m1fn, "
    "fp3_e2m0, e8m0, ue5m3, ue4m3, mxfp*, mxint8, nvfp4, nvint4, nvfp4_t32, nvint4_t32, nf4, "
    "flint4, flint5, pot4, olive_int4, olive_flint4, olive_int8, ternary, ternary2, bitmod3, "
    "bitmod4, ant4, qserve; "
    "families: fpB_eXmY (then fn, ieee or fnuz), fixW_I, ufixW_I, dfpB, bipolarB, potB, apotB, "
    "bcqB, bfpM_bN"
)
SUFFIXES = "-gN, -channel, -token, -tensor, -asym, -s8, -s16, -s32"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("int44", "unknown format 'int44'; did you mean 'int4'?"),
        ("INT4", "unknown format 'INT4'; did you mean 'int4'?"),
        ("fp61", "unknown format 'fp61'; did you mean 'fp16'?"),
        ("zzz", f"unknown format 'zzz'; known: {KNOWN}"),
        ("", f"unknown format ''; known: {KNOWN}"),
        ("w4a16", "'w4a16' is a shorthand for three formats: int4-g128, fp16, fp16; name one"),
        ("int4-q128", f"format 'int4-q128': unknown suffix '-q128'; known: {SUFFIXES}"),
        ("int4-g0", f"format 'int4-g0': unknown suffix '-g0'; known: {SUFFIXES}"),
        ("int4-g0128", f"format 'int4-g0128': unknown suffix '-g0128'; known: {SUFFIXES}"),
        ("int4-", f"format 'int4-': unknown suffix '-'; known: {SUFFIXES}"),
        ("int4-g8-token", "format 'int4-g8-token': two granularities, -g8 and -token; give one"),
        ("int4-g8-s8-s32", "format 'int4-g8-s8-s32': a suffix is given twice"),
        ("int4-asym", "format 'int4-asym': -asym needs a granularity: -gN, -channel, -token or -tensor"),
        ("fp16-s8", "format 'fp16-s8': -s8 needs a granularity: -gN, -channel, -token or -tensor"),
        ("nf4-g64-asym", "format 'nf4-g64-asym': -asym needs an integer format; nf4 is codebook"),
        ("mxfp4-g64", "format 'mxfp4-g64': mxfp4 has its block and scale by definition and takes no suffix"),
        ("bfp3_b16-s8", "format 'bfp3_b16-s8': bfp3_b16 has its block and scale by definition and takes no suffix"),
        ("nvfp4_t32-g16", "format 'nvfp4_t32-g16': nvfp4_t32 has its block and scale by definition and takes no suffix"),
        ("fix8_4-g64", "format 'fix8_4-g64': fix8_4 has its step by definition and takes no suffix"),
        ("dfp8-g64-asym", "format 'dfp8-g64-asym': dfp8 has 8-bit exponents for scales and takes a granularity only"),
        ("dfp8-s8", "format 'dfp8-s8': dfp8 has 8-bit exponents for scales and takes a granularity only"),
        ("dfp8-g64-s16", "format 'dfp8-g64-s16': dfp8 has 8-bit exponents for scales and takes a granularity only"),
        ("dfp8-s32", "format 'dfp8-s32': dfp8 has 8-bit exponents for scales and takes a granularity only"),
        ("dfp8-g64-token", "format 'dfp8-g64-token': two granularities, -g64 and -token; give one"),
        ("qserve-channel", "format 'qserve-channel': qserve has its scales by definition and takes -gN only"),
        ("qserve-g64-s16", "format 'qserve-g64-s16': qserve has its scales by definition and takes -gN only"),
        ("bcq3-tensor", "format 'bcq3-tensor': bcq3 has its alphas by definition and takes -gN or -channel only"),
        ("bcq3-g64-s8", "format 'bcq3-g64-s8': bcq3 has its alphas by definition and takes -gN or -channel only"),
        ("bcq9", "format 'bcq9': B must be 1 to 8, got 9"),
        ("bcq0", "format 'bcq0': B must be 1 to 8, got 0"),
        ("bipolar4-g64-asym", "format 'bipolar4-g64-asym': -asym needs an integer format; bipolar4 is bipolar"),
        ("olive_int4-g7", "format 'olive_int4-g7': olive_int4 codes values in pairs; the group must be even"),
        ("fp9_e4m3", "format 'fp9_e4m3': a sign, 4 exponent and 3 mantissa bits are 8 bits, not 9"),
        ("fp8_e4m4fnuz", "format 'fp8_e4m4fnuz': a sign, 4 exponent and 4 mantissa bits are 9 bits, not 8"),
        ("fp2_e1m0", "format 'fp2_e1m0': B must be 3 to 16, got 2"),
        ("fp17_e8m8ieee", "format 'fp17_e8m8ieee': B must be 3 to 16, got 17"),
        ("fp3_e0m2", "fp3_e0m2: exponent_bits must be 1 to 8, got 0"),
        ("fp10_e9m0fn", "fp10_e9m0fn: exponent_bits must be 1 to 8, got 9\nfp10_e9m0fn: bias must be -126 to 127, got 255"),
        ("fp4_e3m0ieee", "fp4_e3m0ieee: infinity and NaN cannot be told apart without mantissa bits"),
        ("fp12_e8m3", "fp12_e8m3: the largest exponent must be <= 127, as float32's, got 128"),
        ("fp8_e03m4", "unknown format 'fp8_e03m4'; did you mean 'fp8_e3m4'?"),
        ("fp13_e8m4fnuz", "fp13_e8m4fnuz: bias must be -126 to 127, got 128"),
        ("fp8_e5m2none", "unknown format 'fp8_e5m2none'; did you mean 'fp8_e5m2'?"),
        ("fix17_4", "format 'fix17_4': W must be 1 to 16, got 17"),
        ("ufix0_4", "format 'ufix0_4': W must be 1 to 16, got 0"),
        ("fix8_65", "format 'fix8_65': I must be 0 to 64, got 65"),
        ("dfp1", "format 'dfp1': B must be 2 to 16, got 1"),
        ("dfp17-tensor", "format 'dfp17': B must be 2 to 16, got 17"),
        ("bipolar0", "format 'bipolar0': B must be 1 to 16, got 0"),
        ("bipolar17", "format 'bipolar17': B must be 1 to 16, got 17"),
        ("pot1", "format 'pot1': B must be 2 to 8, got 1"),
        ("pot9", "format 'pot9': B must be 2 to 8, got 9"),
        ("apot2", "format 'apot2': B must be 3 to 7, got 2"),
        ("apot8", "format 'apot8': B must be 3 to 7, got 8"),
        ("bfp0_b16", "format 'bfp0_b16': M must be 1 to 15, got 0"),
        ("bfp16_b16", "format 'bfp16_b16': M must be 1 to 15, got 16"),
        ("bfp3_b0", "format 'bfp3_b0': N must be 1 to 999999, got 0"),
        ("ant5", "unknown format 'ant5'; did you mean 'int5'?"),
    ],
)  # fmt: skip
def test_a_wrong_name_is_refused(name: str, message: str) -> None:
    with pytest.raises(InputError) as refusal:
        get(name)
    assert str(refusal.value) == message


@pytest.mark.parametrize("name", [3, None, ["int4"], b"int4"])
def test_a_name_that_is_no_string_is_refused(name: Any) -> None:
    with pytest.raises(InputError) as refusal:
        get(name)
    assert str(refusal.value) == f"a format is named by a string, got {name!r}"


def test_an_unknown_shorthand_is_refused() -> None:
    with pytest.raises(InputError) as refusal:
        expand_shorthand("w4a17")
    assert str(refusal.value) == "unknown shorthand 'w4a17'; did you mean 'w4a16'?"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"value_bits": 0}, "value_bits must be > 0, got 0"),
        ({"zero_bits": -1}, "scale_bits, zero_bits, selector_bits and outer_bits must be >= 0"),
        ({"outer_bits": 16}, "outer 'none' does not fit outer_bits 16"),
        ({"outer": "tensor"}, "outer 'tensor' does not fit outer_bits 0"),
        ({"outer": "group", "outer_bits": 8}, "outer 'group' does not fit outer_bits 8"),
        ({"group": None}, "granularity 'group' does not fit group None"),
        ({"group": 0}, "granularity 'group' does not fit group 0"),
        ({"granularity": "token"}, "granularity 'token' does not fit group 128"),
        ({"scale_bits": 0}, "metadata needs a granularity, and a granularity metadata"),
    ],
)
def test_an_impossible_format_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError) as refusal:
        replace(get("int4-g128"), **changes)
    assert str(refusal.value) == f"format 'int4-g128': {problem}"


def test_a_word_too_narrow_for_one_value_is_refused() -> None:
    with pytest.raises(InputError) as refusal:
        get("fp16").payload_bits(1, 1, word_bits=8)
    assert str(refusal.value) == "a word of 8 bits does not hold one fp16 value"


class Datapath(Part):
    operand: FormatName


def test_a_schema_refuses_a_wrong_format_with_its_path() -> None:
    assert Datapath(operand="int4-asym-g128").operand == "int4-g128-asym"
    with pytest.raises(InputError) as refusal:
        Datapath(operand="int44")
    assert str(refusal.value) == ("Datapath: operand: unknown format 'int44'; did you mean 'int4'?")
