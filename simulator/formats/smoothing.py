"""SmoothQuant: outliers of activation channels are moved into the weights before both are rounded.

Activations are divided and weights multiplied by one factor for each input channel, so that the
product stays the same. `smoothing_factor_one` is the specification, of one channel, and what the
array function calls: powers are the C library's, within one unit in the last place.

- Factors, quotients and products are rounded to float64: the product of the two matrices is kept
  within rounding.
- With `powers_of_two` quotients and products are exact, and with them every term of the product.
  (Exact for float32 values; float64 ones at the ends of their range may under- or overflow.)

Source: Xiao et al., ICML 2023, arXiv 2211.10438, equation 4. Assumed: a channel with no activation
or no weight but zeros has factor 1; the paper is silent, its code bounds factors by 1e-5. Not here:
the maxima of a calibration set (give it as activations), and the fusion of 1/s into a norm.
"""

from math import frexp, isinf, ldexp, pow, sqrt

import numpy as np
from numpy.typing import ArrayLike

from simulator.errors import InputError
from simulator.formats.integer import Doubles
from simulator.formats.scaling import checked


def smooth(
    activations: ArrayLike, weights: ArrayLike, alpha: float = 0.5, *, powers_of_two: bool = False
) -> tuple[Doubles, Doubles, Doubles]:
    """Return activations / factors, weights * factors and the factors.

    activations: (M, K); weights: (N, K), those of all layers that read these activations, stacked;
    factors: (K,), max|activation|^alpha / max|weight|^(1 - alpha) of each channel. alpha: how much
    of the difficulty moves to the weights, 0 to 1. powers_of_two: factors are rounded to the
    nearest power of two, in the logarithm. Errors: InputError for values that are not finite
    floats, shapes that do not fit, alpha not 0 to 1, a factor beyond float64.
    """
    left, right = checked("smooth: activations", activations), checked("smooth: weights", weights)
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[1]:
        raise InputError(
            f"smooth: expected activations (M, K) and weights (N, K), got shapes "
            f"{left.shape} and {right.shape}"
        )
    maxima = [np.abs(matrix).max(axis=0, initial=0).tolist() for matrix in (left, right)]
    factors = np.array(
        [
            smoothing_factor_one(activation, weight, alpha, powers_of_two=powers_of_two)
            for activation, weight in zip(*maxima, strict=True)
        ]
    )
    return left / factors, right * factors, factors


def smoothing_factor_one(
    activation: float, weight: float, alpha: float = 0.5, *, powers_of_two: bool = False
) -> float:
    """Return the factor of a channel from its largest magnitudes."""
    if not isinstance(alpha, float | int | np.number) or not 0 <= alpha <= 1:
        raise InputError(f"smooth: alpha must be 0 to 1, got {alpha!r}")
    if activation == 0 or weight == 0:
        return 1.0
    factor = pow(activation, alpha) / pow(weight, 1 - alpha)
    if isinf(factor):
        raise InputError(
            f"smooth: the factor of a channel of {activation:.4g} and {weight:.4g} is beyond "
            "float64"
        )
    if not powers_of_two:
        return factor
    fraction, exponent = frexp(factor)
    # The float64 nearest to sqrt(1/2) is above it: none lies between the two.
    return ldexp(1.0, exponent if fraction >= sqrt(0.5) else exponent - 1)
