"""All 2^32 float32 inputs of the five OCP formats against ml_dtypes, rounded to nearest even.

Marked slow, not in the usual run: `make exhaustive`, half a minute a format and core. Beyond the
largest value ml_dtypes gives NaN (E4M3FN), infinity (E5M2) or saturates (FP6, FP4), and so do we
here. NaN is converted where the format has it, and left out where it has not (ml_dtypes: -0).
"""

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import DTypeLike

from simulator.formats.minifloat import encode
from simulator.formats.presets import PRESETS
from simulator.formats.rounding import Overflow, Rounding

CASES: dict[str, tuple[DTypeLike, Overflow]] = {
    "fp8_e4m3fn": (ml_dtypes.float8_e4m3fn, Overflow.NAN),
    "fp8_e5m2": (ml_dtypes.float8_e5m2, Overflow.INF),
    "fp6_e3m2fn": (ml_dtypes.float6_e3m2fn, Overflow.SATURATE),
    "fp6_e2m3fn": (ml_dtypes.float6_e2m3fn, Overflow.SATURATE),
    "fp4_e2m1fn": (ml_dtypes.float4_e2m1fn, Overflow.SATURATE),
}
CHUNK = 1 << 22
NANS = 2 * (2**23 - 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_every_float32_becomes_the_code_of_ml_dtypes(name: str) -> None:
    form, (dtype, overflow) = PRESETS[name], CASES[name]
    compared = differ = 0
    for first in range(0, 1 << 32, CHUNK):
        values = np.arange(first, first + CHUNK, dtype=np.uint32).view(np.float32)
        missing = np.isnan(values)
        numbers = values[~missing]
        with np.errstate(over="ignore", invalid="ignore"):
            theirs = numbers.astype(dtype).view(np.uint8)
        differ += int((encode(form, numbers, Rounding.NEAREST_EVEN, overflow) != theirs).sum())
        compared += numbers.size
        if form.nan is not None:
            # The sign and the payload of NaN are not kept here.
            nans = encode(form, values[missing], Rounding.NEAREST_EVEN, overflow)
            differ += int((nans != form.nan).sum())
            compared += nans.size
    assert compared == 2**32 - (NANS if form.nan is None else 0)
    assert differ == 0
