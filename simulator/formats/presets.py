"""Minifloats by name: one table, each entry with where it is defined.

The names are those of `formats.names`. Three entries are no standard that was at hand, and are
defined here: `fp3_e2m0` by BitMoD's FP3, and the scale types `ue5m3` and `ue4m3` as E5M3 and E4M3
without a sign, with NaN where E4M3FN has it. The other entries with a counterpart in ml_dtypes are
tested against it. `minifloat` makes the rest from their names.
"""

import re
from functools import lru_cache
from types import MappingProxyType

from simulator.errors import InputError
from simulator.formats.minifloat import Minifloat, Specials

#: OCP 8-bit Floating Point Specification v1.0: largest 448, NaN only in the code of all ones.
FP8_E4M3FN = Minifloat("fp8_e4m3fn", 4, 3, 7, "fn")
#: OCP 8-bit Floating Point Specification v1.0: as IEEE 754, largest 57344.
FP8_E5M2 = Minifloat("fp8_e5m2", 5, 2, 15)
#: LLVM APFloat Float8E3M4, as IEEE 754: largest 15.5.
FP8_E3M4 = Minifloat("fp8_e3m4", 3, 4, 3)
#: Noune et al., arXiv 2206.02915: no infinity, no -0; largest 240.
FP8_E4M3FNUZ = Minifloat("fp8_e4m3fnuz", 4, 3, 8, "fnuz")
#: Noune et al., arXiv 2206.02915: no infinity, no -0; largest 57344.
FP8_E5M2FNUZ = Minifloat("fp8_e5m2fnuz", 5, 2, 16, "fnuz")
#: OCP Microscaling Formats v1.0: every code is finite, largest 28.
FP6_E3M2FN = Minifloat("fp6_e3m2fn", 3, 2, 3, "none")
#: OCP Microscaling Formats v1.0: every code is finite, largest 7.5.
FP6_E2M3FN = Minifloat("fp6_e2m3fn", 2, 3, 1, "none")
#: OCP Microscaling Formats v1.0: every code is finite, largest 6.
FP4_E2M1FN = Minifloat("fp4_e2m1fn", 2, 1, 1, "none")
#: 0, -0, +-1, +-2, +-4: the basic values of BitMoD's FP3 (Chen et al., HPCA 2025).
FP3_E2M0 = Minifloat("fp3_e2m0", 2, 0, 1, "none")
#: The upper half of IEEE 754 binary32.
BF16 = Minifloat("bf16", 8, 7, 127)
#: IEEE 754-2019, binary16.
FP16 = Minifloat("fp16", 5, 10, 15)
#: NVIDIA A100 white paper: the first 19 bits of float32.
TF32 = Minifloat("tf32", 8, 10, 127)
#: OCP Microscaling Formats v1.0: 2^-127 to 2^127, 255 is NaN.
E8M0 = Minifloat("e8m0", 8, 0, 127, "fn", signed=False, has_zero=False)
#: 8 bits without a sign, bias 15, only the code of all ones is NaN: largest 114688. Defined here.
UE5M3 = Minifloat("ue5m3", 5, 3, 15, "fn", signed=False)
#: assumed: E4M3FN without its sign, 7 bits, largest 448. PTX has a type of this name.
UE4M3 = Minifloat("ue4m3", 4, 3, 7, "fn", signed=False)

#: Every preset by its name.
PRESETS: MappingProxyType[str, Minifloat] = MappingProxyType(
    {
        form.name: form
        for form in (
            FP8_E4M3FN,
            FP8_E5M2,
            FP8_E3M4,
            FP8_E4M3FNUZ,
            FP8_E5M2FNUZ,
            FP6_E3M2FN,
            FP6_E2M3FN,
            FP4_E2M1FN,
            FP3_E2M0,
            BF16,
            FP16,
            TF32,
            E8M0,
            UE5M3,
            UE4M3,
        )
    }
)

_SPECIALS: MappingProxyType[str, Specials] = MappingProxyType(
    {"": "none", "fn": "fn", "ieee": "ieee", "fnuz": "fnuz"}
)
_NAME = re.compile(r"fp\d+_e(\d+)m(\d+)(|fn|ieee|fnuz)")


@lru_cache(maxsize=1024)
def minifloat(name: str) -> Minifloat:
    """Return a preset, or what `fpB_eXmY` of `formats.names` means; InputError for anything else.

    The bias is 2^(X-1) - 1, one more with `fnuz`, as in the published formats of 8 bits.
    """
    if name in PRESETS:
        return PRESETS[name]
    match = _NAME.fullmatch(name)
    if match is None:
        raise InputError(f"{name} is not a minifloat")
    exponent_bits, specials = int(match[1]), _SPECIALS[match[3]]
    # Without exponent bits, which is refused, the bias is of no account.
    bias = (1 << max(0, exponent_bits - 1)) - (specials != "fnuz")
    return Minifloat(name, exponent_bits, int(match[2]), bias, specials)
