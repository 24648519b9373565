"""Number formats by name: what a tensor costs in bits, with scales and metadata counted exactly.

One grammar everywhere: a base (`int4`, `bf16`, `mxfp4`, ...), then a granularity (`-g128` group,
`-channel`, `-token`, `-tensor`), then `-asym` for a zero point, then `-s8` or `-s32` for scales
that are not FP16. Without a granularity the plain codes are meant and no scale is counted. A base
is a name of its own or a member of a family, numbers in decimal without leading zeros:

- `fpB_eXmY`: a minifloat of B = 1 + X + Y bits, 3 to 16, bias 2^(X-1) - 1, with subnormals and
  without infinity and NaN. `fn` after it makes the code of all ones NaN, `ieee` gives the largest
  exponent to infinity and NaN, `fnuz` makes the code of -0 NaN and the bias 2^(X-1); 8 exponent
  bits are for `ieee` alone, as no exponent exceeds float32's. The names of standards keep their
  meaning: fp8_e5m2 and fp8_e3m4 are IEEE, fp6_*fn and fp4_e2m1fn have no NaN.
- `fixW_I`, `ufixW_I`: fixed point <W,I>, 1 to 16 bits, I of them (0 to 64) before the point.
- `dfpB`: dynamic fixed point of 2 to 16 bits, an 8-bit exponent for the tensor or what is named.
- `bipolarB`: 1 to 16 bits, each +-1 times its weight.
- `potB`, `apotB`: powers of two (2 to 8 bits), sums of them (3 to 7).
- `bcqB`: binary code of 1 to 8 sign planes, an alpha a plane and group, of 128 or as named.
- `bfpM_bN`: block floating point, a sign and M bits (1 to 15), N of them share an 8-bit exponent.

Block formats follow OCP Microscaling v1.0 (32 elements, one 8-bit E8M0 scale); NVFP4 has 16
elements and one 8-bit E4M3 scale, NVINT4 likewise, `*_t32` also an FP32 scale of the tensor;
BitMoD (Chen et al., HPCA 2025) has groups of 128 with an 8-bit scale and a 2-bit choice of special
value; `ant4` (Guo et al., MICRO 2022) groups of 128 with an FP16 scale and a 2-bit choice of int4,
flint4 and pot4; `qserve` (Lin et al., MLSys 2025) groups of 128 with an 8-bit scale and a 4-bit
zero point under an FP16 scale of the channel. OliVe codes values in pairs, so that its groups are
even; ternary is stored five to a byte, `ternary2` four. An alpha of binary code is three powers of
two of 8 bits each, as ShiftAddLLM (You et al., arXiv 2406.05981) stores it. What the bits mean as
numbers: `conversion`.
"""

import functools
import re
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from types import MappingProxyType
from typing import Annotated

from pydantic import AfterValidator

from simulator.config import did_you_mean
from simulator.errors import InputError
from simulator.formats.format import Format, Granularity, Kind, ceil_of

_SCALE_BITS = 16
#: Of an alpha of binary code: three exponents.
_ALPHA_BITS = 24
_SUFFIX = re.compile(r"g[1-9]\d{0,5}|channel|token|tensor|asym|s8|s16|s32")
_SUFFIXES = "-gN, -channel, -token, -tensor, -asym, -s8, -s16, -s32"
#: How the names of families are made; the module says what they mean.
PATTERNS = (
    "fpB_eXmY (then fn, ieee or fnuz), fixW_I, ufixW_I, dfpB, bipolarB, potB, apotB, bcqB, bfpM_bN"
)
_SUMMARY = (
    "int1 to int16, int32, uint1 to uint16, fp32, tf32, fp16, bf16, fp8_*, fp6_*, fp4_e2m1fn, "
    "fp3_e2m0, e8m0, ue5m3, ue4m3, mxfp*, mxint8, nvfp4, nvint4, nvfp4_t32, nvint4_t32, nf4, "
    "flint4, flint5, pot4, olive_int4, olive_flint4, olive_int8, ternary, ternary2, bitmod3, "
    "bitmod4, ant4, qserve; "
    f"families: {PATTERNS}"
)

#: Stored bits. TF32 has 19 significant ones and is stored in 32 (NVIDIA A100 white paper).
_FLOATS = {
    **{"fp32": 32, "tf32": 32, "fp16": 16, "bf16": 16},
    **{"fp8_e4m3fn": 8, "fp8_e5m2": 8, "fp8_e3m4": 8, "fp8_e4m3fnuz": 8, "fp8_e5m2fnuz": 8},
    **{"fp6_e2m3fn": 6, "fp6_e3m2fn": 6, "fp4_e2m1fn": 4, "fp3_e2m0": 3},
    **{"e8m0": 8, "ue5m3": 8, "ue4m3": 7},
}
#: Bits of an element, elements of a block.
_BLOCKS = {
    **{"mxfp4": (4, 32), "mxfp6_e2m3": (6, 32), "mxfp6_e3m2": (6, 32)},
    **{"mxfp8_e4m3": (8, 32), "mxfp8_e5m2": (8, 32), "mxint8": (8, 32)},
    **{"nvfp4": (4, 16), "nvint4": (4, 16)},
}
#: Bits of an element; two of them are coded together.
_PAIRS = {"olive_int4": 4, "olive_flint4": 4, "olive_int8": 8}

_NUMBER = r"(0|[1-9]\d{0,5})"
_MINIFLOAT = re.compile(rf"fp{_NUMBER}_e{_NUMBER}m{_NUMBER}(?:fn|ieee|fnuz)?")
_FIXED = re.compile(rf"u?fix{_NUMBER}_{_NUMBER}")
_BFP = re.compile(rf"bfp{_NUMBER}_b{_NUMBER}")
_BY_BITS = re.compile(rf"(dfp|bipolar|pot|apot|bcq){_NUMBER}")
#: The fewest and the most bits.
_RANGES = {"dfp": (2, 16), "bipolar": (1, 16), "pot": (2, 8), "apot": (3, 7), "bcq": (1, 8)}
#: A few members of each family, for `ALL`.
_MEMBERS = (
    *("fp5_e2m2", "fp7_e3m3fn", "fp10_e5m4ieee", "fp12_e4m7fnuz", "fix8_4", "ufix8_0", "dfp8"),
    *("dfp16", "bipolar2", "bipolar4", "pot3", "apot4", "apot5", "bfp3_b16", "bfp7_b16"),
    *("bcq2", "bcq3", "bcq4"),
)


def _bases() -> dict[str, Format]:
    table = {}

    def add(name: str, kind: Kind, bits: int | Fraction, group: int = 0, selector: int = 0) -> None:
        scale = 8 if group else 0
        granularity: Granularity = "group" if group else "none"
        table[name] = Format(
            name, name, kind, Fraction(bits), granularity, group or None, scale, 0, selector
        )

    for bits in [*range(1, 17), 32]:
        add(f"int{bits}", "int", bits)
    for bits in range(1, 17):
        add(f"uint{bits}", "uint", bits)
    for name, bits in _FLOATS.items():
        add(name, "float", bits)
    for name, (bits, block) in _BLOCKS.items():
        add(name, "block", bits, group=block)
    for name in ("nvfp4", "nvint4"):
        scaled = f"{name}_t32"
        table[scaled] = replace(table[name], name=scaled, outer="tensor", outer_bits=32)
    for name in ("nf4", "flint4", "pot4"):
        add(name, "codebook", 4)
    add("flint5", "codebook", 5)
    for name, bits in _PAIRS.items():
        add(name, "codebook", bits)
    add("ternary", "ternary", Fraction(8, 5))
    add("ternary2", "ternary", 2)
    add("bitmod3", "codebook", 3, group=128, selector=2)
    add("bitmod4", "codebook", 4, group=128, selector=2)
    add("ant4", "codebook", 4, group=128, selector=2)
    table["ant4"] = replace(table["ant4"], scale_bits=_SCALE_BITS)
    table["qserve"] = Format(
        *("qserve", "int4", "int", Fraction(4), "group", 128),
        scale_bits=8,
        zero_bits=4,
        outer="channel",
        outer_bits=16,
    )
    return table


_BASES = MappingProxyType(_bases())

#: Shorthand -> (weight, activation, KV cache). Weights: groups of 128 below 8 bits (GPTQ, AWQ),
#: else a scale per output channel (SmoothQuant). Activations: a scale per token. KV: FP16 unless
#: the name says kv8 or kv4, then a scale per token and head; w4a8kv4 has zero points in weights
#: and KV (QServe). w1.58a8 is BitNet b1.58: one scale per weight tensor.
SHORTHANDS: MappingProxyType[str, tuple[str, str, str]] = MappingProxyType(
    {
        "w16a16": ("fp16", "fp16", "fp16"),
        "w8a16": ("int8-channel", "fp16", "fp16"),
        "w4a16": ("int4-g128", "fp16", "fp16"),
        "w3a16": ("int3-g128", "fp16", "fp16"),
        "w2a16": ("int2-g128", "fp16", "fp16"),
        "w8a8": ("int8-channel", "int8-token", "fp16"),
        "w8a8kv8": ("int8-channel", "int8-token", "int8-token"),
        "w4a8": ("int4-g128", "int8-token", "fp16"),
        "w4a8kv8": ("int4-g128", "int8-token", "int8-token"),
        "w4a8kv4": ("int4-g128-asym", "int8-token", "int4-token-asym"),
        "w4a4": ("int4-g128", "int4-token", "fp16"),
        "w4a4kv4": ("int4-g128", "int4-token", "int4-token-asym"),
        "w1.58a8": ("ternary-tensor", "int8-token", "fp16"),
    }
)


#: The names of base formats, in table order; of a family (`PATTERNS`) only a few members.
ALL: tuple[str, ...] = (*_BASES, *_MEMBERS)


def expand_shorthand(name: str) -> tuple[str, str, str]:
    """Return the names of the weight, activation and KV formats of for example `w4a8kv4`."""
    if name not in SHORTHANDS:
        near = did_you_mean(name, SHORTHANDS)
        known = ", ".join(SHORTHANDS)
        raise InputError(f"unknown shorthand {name!r}{near or '; known: ' + known}")
    return SHORTHANDS[name]


def get(name: str) -> Format:
    """Return the format called `name`; suffixes in any order give one canonical name.

    Some names only have a size: where `Format.encode` knows no arithmetic for them, it says so.
    Raises `InputError`: a name that is no string, unknown base or suffix, numbers that a family
    does not have, two granularities, a zero point or a scale width without a granularity, a zero
    point on anything but integers, a suffix that the base cannot have.
    """
    if not isinstance(name, str):
        raise InputError(f"a format is named by a string, got {name!r}")
    return _named(name)


@functools.lru_cache(maxsize=1024)
def _named(name: str) -> Format:
    base_name, *suffixes = name.split("-")
    if name in SHORTHANDS:
        three = ", ".join(SHORTHANDS[name])
        raise InputError(f"{name!r} is a shorthand for three formats: {three}; name one")
    base = _BASES.get(base_name) or _member(base_name)
    if base is None:
        near = did_you_mean(base_name, ALL)
        raise InputError(f"unknown format {name!r}{near or '; known: ' + _SUMMARY}")
    for suffix in suffixes:
        if not _SUFFIX.fullmatch(suffix):
            raise InputError(f"format {name!r}: unknown suffix '-{suffix}'; known: {_SUFFIXES}")
    return _with_suffixes(name, base, suffixes) if suffixes else base


def format_of(use: str, given: object) -> Format:
    """Return a format by its name or as it is; InputError names the `use` of anything else."""
    if isinstance(given, Format):
        return given
    if isinstance(given, str):
        return get(given)
    raise InputError(f"{use}: expected the name of a format or a Format, got {given!r}")


def _member(name: str) -> Format | None:
    """Return the member of a family, None for another name; InputError for a wrong number."""
    if match := _MINIFLOAT.fullmatch(name):
        return _minifloat(name, *map(int, match.groups()))
    if match := _FIXED.fullmatch(name):
        return _fixed(name, *map(int, match.groups()))
    if match := _BFP.fullmatch(name):
        return _bfp(name, *map(int, match.groups()))
    if match := _BY_BITS.fullmatch(name):
        return _by_bits(name, match[1], int(match[2]))
    return None


def _minifloat(name: str, bits: int, exponent: int, mantissa: int) -> Format:
    _refuse_outside(name, "B", bits, (3, 16))
    if bits != 1 + exponent + mantissa:
        total = 1 + exponent + mantissa
        parts = f"a sign, {exponent} exponent and {mantissa} mantissa bits"
        raise InputError(f"format {name!r}: {parts} are {total} bits, not {bits}")
    # Imported where it is needed: the other names do without arrays. It refuses the impossible.
    from simulator.formats.presets import minifloat

    minifloat(name)
    return Format(name, name, "float", Fraction(bits))


def _fixed(name: str, width: int, integer_bits: int) -> Format:
    _refuse_outside(name, "W", width, (1, 16))
    _refuse_outside(name, "I", integer_bits, (0, 64))
    return Format(name, name, "fixed", Fraction(width))


def _bfp(name: str, mantissa: int, block: int) -> Format:
    _refuse_outside(name, "M", mantissa, (1, 15))
    _refuse_outside(name, "N", block, (1, 999999))
    return Format(name, name, "block", Fraction(1 + mantissa), "group", block, 8)


def _by_bits(name: str, family: str, bits: int) -> Format:
    _refuse_outside(name, "B", bits, _RANGES[family])
    if family == "dfp":
        integer = f"int{bits}"
        return Format(name, integer, "int", Fraction(bits), "tensor", None, 8, power_scales=True)
    if family == "bcq":
        return Format(name, name, "binary", Fraction(bits), "group", 128, _ALPHA_BITS * bits)
    return Format(name, name, "bipolar" if family == "bipolar" else "codebook", Fraction(bits))


def _refuse_outside(name: str, letter: str, value: int, limits: tuple[int, int]) -> None:
    least, most = limits
    if not least <= value <= most:
        raise InputError(f"format {name!r}: {letter} must be {least} to {most}, got {value}")


def _with_suffixes(name: str, base: Format, suffixes: Sequence[str]) -> Format:
    scales = [suffix for suffix in suffixes if suffix in ("s8", "s16", "s32")]
    asym = [suffix for suffix in suffixes if suffix == "asym"]
    places = [suffix for suffix in suffixes if suffix not in (*scales, *asym)]
    problem = _definition_problem(base, suffixes) or _suffix_problem(base, places, asym, scales)
    if problem:
        raise InputError(f"format {name!r}: {problem}")
    granularity, group = base.granularity, base.group
    if places:
        granularity, group = _place(places[0])
    default_scale = base.scale_bits or _SCALE_BITS
    scale_bits = int(scales[0][1:]) if scales else default_scale
    place = f"g{group}" if granularity == "group" else granularity
    parts = [base.name]
    if (granularity, group) != (base.granularity, base.group):
        parts.append(place)
    parts += asym
    if scale_bits != default_scale:
        parts.append(f"s{scale_bits}")
    return replace(
        base,
        name="-".join(parts),
        granularity=granularity,
        group=group,
        scale_bits=scale_bits,
        zero_bits=ceil_of(base.value_bits) if asym else base.zero_bits,
    )


def _place(suffix: str) -> tuple[Granularity, int | None]:
    match suffix:
        case "channel":
            return "channel", None
        case "token":
            return "token", None
        case "tensor":
            return "tensor", None
        case _:
            return "group", int(suffix.removeprefix("g"))


def _definition_problem(base: Format, suffixes: Sequence[str]) -> str:
    """Return what a base has by definition and no suffix changes."""
    if base.kind == "block":
        return f"{base.name} has its block and scale by definition and takes no suffix"
    if base.kind == "fixed":
        return f"{base.name} has its step by definition and takes no suffix"
    if base.power_scales and not set(suffixes).isdisjoint(("asym", "s8", "s16", "s32")):
        return f"{base.name} has 8-bit exponents for scales and takes a granularity only"
    if base.kind == "binary" and not all(re.fullmatch(r"g\d+|channel", each) for each in suffixes):
        return f"{base.name} has its alphas by definition and takes -gN or -channel only"
    if base.outer_bits and not all(suffix.startswith("g") for suffix in suffixes):
        return f"{base.name} has its scales by definition and takes -gN only"
    return ""


def _suffix_problem(
    base: Format, places: Sequence[str], asym: Sequence[str], scales: Sequence[str]
) -> str:
    if len(places) > 1:
        return f"two granularities, -{places[0]} and -{places[1]}; give one"
    if len(asym) > 1 or len(scales) > 1:
        return "a suffix is given twice"
    if base.granularity == "none" and not places:
        return f"-{(*asym, *scales)[0]} needs a granularity: -gN, -channel, -token or -tensor"
    if base.base in _PAIRS and any(re.fullmatch(r"g\d*[13579]", place) for place in places):
        return f"{base.name} codes values in pairs; the group must be even"
    if asym and base.kind not in ("int", "uint"):
        return f"-asym needs an integer format; {base.name} is {base.kind}"
    return ""


def _canonical(name: str) -> str:
    try:
        return get(name).name
    except InputError as error:
        raise ValueError(str(error)) from error


#: Type of a schema's attribute that names a format; it holds the canonical name.
FormatName = Annotated[str, AfterValidator(_canonical)]
