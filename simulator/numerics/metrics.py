"""How far a result is from a reference in float64: SQNR, ULP, relative error."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError

Floats = NDArray[np.floating[Any]]


def _pair(reference: Floats, found: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if reference.shape != found.shape:
        raise InputError(f"reference has shape {reference.shape}, found {found.shape}")
    return np.asarray(reference, dtype=np.float64), np.asarray(found, dtype=np.float64)


def sqnr_db(reference: Floats, found: Floats) -> float:
    """Return 10 log10 of signal power over error power; infinity where they are equal."""
    exact, given = _pair(reference, found)
    error = float(np.sum((exact - given) ** 2))
    signal = float(np.sum(exact**2))
    if error == 0:
        return float("inf")
    return 10 * float(np.log10(signal / error)) if signal else float("-inf")


def max_relative_error(reference: Floats, found: Floats) -> float:
    """Return the largest |found - reference| / |reference| where the reference is not 0."""
    exact, given = _pair(reference, found)
    counted = exact != 0
    if not counted.any():
        return 0.0
    return float(np.max(np.abs(given[counted] - exact[counted]) / np.abs(exact[counted])))


def max_ulp(reference: Floats, found: Floats, mantissa_bits: int = 23) -> float:
    """Return the largest error in units of the last place of the reference.

    mantissa_bits: of the format of the result; below 2^-126 the unit stays that of the smallest
    normal float32.
    """
    exact, given = _pair(reference, found)
    if not exact.size:
        return 0.0
    _, exponent = np.frexp(exact)
    unit = np.ldexp(1.0, np.maximum(exponent, -125) - 1 - mantissa_bits)
    return float(np.max(np.abs(given - exact) / unit))
