"""Number formats by name: what a tensor costs in bits, with scales and metadata counted exactly.

One grammar everywhere: a base (`int4`, `bf16`, `mxfp4`, ...), then a granularity (`-g128` group,
`-channel`, `-token`, `-tensor`), then `-asym` for a zero point, then `-s8` or `-s32` for scales
that are not FP16. Without a granularity the plain codes are meant and no scale is counted.

Block formats follow OCP Microscaling v1.0 (32 elements, one 8-bit E8M0 scale); NVFP4 has 16
elements and one 8-bit E4M3 scale (its FP32 scale per tensor is not counted), NVINT4 likewise;
BitMoD (Chen et al., HPCA 2025) has groups of 128 with an 8-bit scale and a 2-bit choice of special
value; ternary is stored five to a byte. What the bits mean as numbers: `conversion`.
"""

import functools
import re
from collections.abc import Sequence
from fractions import Fraction
from types import MappingProxyType
from typing import Annotated

from pydantic import AfterValidator

from simulator.config import did_you_mean
from simulator.errors import InputError
from simulator.formats.format import Format, Granularity, Kind, ceil_of

_SCALE_BITS = 16
_SUFFIX = re.compile(r"g[1-9]\d{0,5}|channel|token|tensor|asym|s8|s16|s32")
_SUFFIXES = "-gN, -channel, -token, -tensor, -asym, -s8, -s16, -s32"
_SUMMARY = (
    "int1 to int16, int32, uint1 to uint16, fp32, tf32, fp16, bf16, fp8_*, fp6_*, fp4_e2m1fn, "
    "fp3_e2m0, e8m0, ue5m3, ue4m3, mxfp*, mxint8, nvfp4, nvint4, nf4, flint4, pot4, ternary, "
    "bitmod3, bitmod4"
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
    for name in ("nf4", "flint4", "pot4"):
        add(name, "codebook", 4)
    add("ternary", "ternary", Fraction(8, 5))
    add("bitmod3", "codebook", 3, group=128, selector=2)
    add("bitmod4", "codebook", 4, group=128, selector=2)
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


#: The names of all base formats, in table order.
ALL: tuple[str, ...] = tuple(_BASES)


def expand_shorthand(name: str) -> tuple[str, str, str]:
    """Return the names of the weight, activation and KV formats of for example `w4a8kv4`."""
    if name not in SHORTHANDS:
        near = did_you_mean(name, SHORTHANDS)
        known = ", ".join(SHORTHANDS)
        raise InputError(f"unknown shorthand {name!r}{near or '; known: ' + known}")
    return SHORTHANDS[name]


@functools.lru_cache(maxsize=1024)
def get(name: str) -> Format:
    """Return the format called `name`; suffixes in any order give one canonical name.

    Raises `InputError`: unknown base or suffix, two granularities, a zero point or a scale width
    without a granularity, a zero point on anything but integers, a suffix that a block cannot have.
    """
    base_name, *suffixes = name.split("-")
    base = _BASES.get(base_name)
    if name in SHORTHANDS:
        three = ", ".join(SHORTHANDS[name])
        raise InputError(f"{name!r} is a shorthand for three formats: {three}; name one")
    if base is None:
        near = did_you_mean(base_name, _BASES)
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


def _with_suffixes(name: str, base: Format, suffixes: Sequence[str]) -> Format:
    scales = [suffix for suffix in suffixes if suffix in ("s8", "s16", "s32")]
    asym = [suffix for suffix in suffixes if suffix == "asym"]
    places = [suffix for suffix in suffixes if suffix not in (*scales, *asym)]
    problem = _suffix_problem(base, places, asym, scales)
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
    return Format(
        name="-".join(parts),
        base=base.base,
        kind=base.kind,
        value_bits=base.value_bits,
        granularity=granularity,
        group=group,
        scale_bits=scale_bits,
        zero_bits=ceil_of(base.value_bits) if asym else 0,
        selector_bits=base.selector_bits,
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


def _suffix_problem(
    base: Format, places: Sequence[str], asym: Sequence[str], scales: Sequence[str]
) -> str:
    if base.kind == "block":
        return f"{base.name} has its block and scale by definition and takes no suffix"
    if len(places) > 1:
        return f"two granularities, -{places[0]} and -{places[1]}; give one"
    if len(asym) > 1 or len(scales) > 1:
        return "a suffix is given twice"
    if base.granularity == "none" and not places:
        return f"-{(*asym, *scales)[0]} needs a granularity: -gN, -channel, -token or -tensor"
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
