"""How far off L-Mul is, over all pairs of mantissas of a format."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.formats.minifloat import Minifloat
from simulator.formats.presets import BF16, FP8_E3M4, FP8_E4M3FN, FP16
from simulator.numerics.added_patterns import gemm_added, l_mul

#: A format for each number of mantissa bits.
FORMATS = {3: FP8_E4M3FN, 4: FP8_E3M4, 7: BF16, 10: FP16}


@dataclass(frozen=True)
class Errors:
    """Mean, root mean square and largest size of relative errors, per cent."""

    mean: float
    rms: float
    largest: float


def statistics(products: NDArray[np.floating[Any]], significands: NDArray[np.float64]) -> Errors:
    """Return how far products of all pairs are from the exact ones."""
    error = 100 * (products / np.outer(significands, significands) - 1)
    return Errors(
        float(error.mean()), float(np.sqrt((error**2).mean())), float(np.abs(error).max())
    )


def significands(form: Minifloat) -> NDArray[np.float64]:
    """Return 1 + all mantissas of a format, each as likely as the others."""
    count = 1 << form.mantissa_bits
    return 1 + np.arange(count) / count


def formula(form: Minifloat) -> Errors:
    """Return the errors of the published formula, 1 + x + y + 2^-l(m), which has no carry."""
    s = significands(form)
    offset = l_mul(form).correction / (1 << form.mantissa_bits)
    return statistics(s[:, None] + s - 1 + offset, s)


def hardware(form: Minifloat) -> Errors:
    """Return the errors of the sum of bit patterns, whose carry walks into the exponent."""
    codes = (form.bias << form.mantissa_bits) + np.arange(1 << form.mantissa_bits)
    found = gemm_added(codes[:, None], codes[:, None], l_mul(form))
    return statistics(found.astype(np.float64), significands(form))
