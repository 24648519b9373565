"""What a wrong format name or an impossible format is told."""

from dataclasses import replace
from typing import Any

import pytest

from simulator.config import Part
from simulator.errors import InputError
from simulator.formats import FormatName, expand_shorthand, get

KNOWN = (
    "int1 to int16, int32, uint1 to uint16, fp32, tf32, fp16, bf16, fp8_*, fp6_*, fp4_e2m1fn, "
    "fp3_e2m0, e8m0, ue5m3, ue4m3, mxfp*, mxint8, nvfp4, nvint4, nf4, flint4, pot4, ternary, "
    "bitmod3, bitmod4"
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
    ],
)  # fmt: skip
def test_a_wrong_name_is_refused(name: str, message: str) -> None:
    with pytest.raises(InputError) as refusal:
        get(name)
    assert str(refusal.value) == message


def test_an_unknown_shorthand_is_refused() -> None:
    with pytest.raises(InputError) as refusal:
        expand_shorthand("w4a17")
    assert str(refusal.value) == "unknown shorthand 'w4a17'; did you mean 'w4a16'?"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"value_bits": 0}, "value_bits must be > 0, got 0"),
        ({"zero_bits": -1}, "scale_bits, zero_bits and selector_bits must be >= 0"),
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
