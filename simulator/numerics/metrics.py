"""How far a result is from a reference in float64, and what its operands lost in their formats.

Of a result: SQNR, errors in ULP and how they are distributed, relative error, overflow. Of operands
in a format: what became 0 and what lay beyond the format's range.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.formats import Format, codebook, get
from simulator.formats.block import block_format
from simulator.formats.conversion import Encoded
from simulator.formats.groups import spread
from simulator.formats.integer import FixedPoint
from simulator.formats.outlier_victim import OLIVES

Floats = NDArray[np.floating[Any]]

#: Octaves of the errors that a histogram tells apart, in ULP: from 2^-8 up to 2^24.
FIRST_OCTAVE, LAST_OCTAVE = -8, 24


@dataclass(frozen=True)
class Histogram:
    """How many absolute errors in ULP lie in each bin.

    Bin i holds edges[i] <= error < edges[i + 1]: first from 0 to 2^-8, no error at all included,
    then one bin an octave. The last has no upper edge and holds what is not finite as well.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]


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


def ulp_errors(
    reference: Floats, found: Floats, mantissa_bits: int | None = 23
) -> NDArray[np.float64]:
    """Return absolute errors in units of the last place of the reference.

    mantissa_bits: of the format of the result; below 2^-126 the unit stays that of the smallest
    normal float32. None: results are integers, whose last place is 1.
    """
    exact, given = _pair(reference, found)
    with np.errstate(invalid="ignore"):
        errors: NDArray[np.float64] = np.abs(given - exact)
    if mantissa_bits is None:
        return errors
    _, exponent = np.frexp(exact)
    unit = np.ldexp(1.0, np.maximum(exponent, -125) - 1 - mantissa_bits)
    ulps: NDArray[np.float64] = errors / unit
    return ulps


def max_ulp(reference: Floats, found: Floats, mantissa_bits: int | None = 23) -> float:
    """Return the largest of `ulp_errors`; 0 of nothing."""
    return float(np.max(ulp_errors(reference, found, mantissa_bits), initial=0.0))


def ulp_histogram(reference: Floats, found: Floats, mantissa_bits: int | None = 23) -> Histogram:
    """Return how `ulp_errors` are distributed."""
    edges = np.array([0.0, *(2.0**e for e in range(FIRST_OCTAVE, LAST_OCTAVE + 1))])
    errors = ulp_errors(reference, found, mantissa_bits).ravel()
    # NaN sorts behind every edge.
    places = np.searchsorted(edges, errors, side="right") - 1
    counts = np.bincount(places, minlength=len(edges))
    return Histogram(tuple(edges.tolist()), tuple(counts.tolist()))


def zeroed_fraction(original: Floats, quantised: Floats) -> float:
    """Return the share of values other than 0 that a format made 0; 0 where there are none."""
    exact, given = _pair(original, quantised)
    values = exact != 0
    return float(np.mean(given[values] == 0)) if values.any() else 0.0


def not_finite(reference: Floats, found: Floats) -> int:
    """Return how many results are infinite or NaN where the reference is finite."""
    exact, given = _pair(reference, found)
    return int(np.count_nonzero(np.isfinite(exact) & ~np.isfinite(given)))


def beyond_range(original: Floats, form: Format, encoded: NDArray[Any] | Encoded) -> int:
    """Return how many finite values lay beyond the range of their format, saturated or not finite.

    A value does where it would round to a code beyond the largest: by half a step or more. Scales
    of groups count as they are. Where a scale is chosen by minimum and maximum (zero points) or for
    the largest value (codebooks other than OliVe's), or alphas are fitted (binary code), nothing is
    beyond, and nothing is counted.
    """
    fits = form.kind == "codebook" and form.granularity != "none" and form.base not in OLIVES
    if form.zero_bits or fits or form.kind == "binary":
        return 0
    top, step = _top(form)
    values = np.abs(np.asarray(original, np.float64))
    scales: NDArray[np.float64] = np.ones(1)
    if isinstance(encoded, Encoded):
        scales = spread(encoded.scales.astype(np.float64), encoded.sizes, encoded.codes.shape)
    beyond = (values >= (top + step / 2) * scales) & np.isfinite(values)
    return int(np.count_nonzero(beyond))


def _top(form: Format) -> tuple[float, float]:
    """Return the largest element of a format and how far below it the next one is."""
    if form.kind == "codebook":
        olive = OLIVES.get(form.base)
        values = codebook.tables(form.base)[0].values if olive is None else olive.outliers.values()
        below, top = sorted({abs(value) for value in values})[-2:]
        return top, top - below
    if form.kind == "block":
        element = block_format(form.base).element
        if isinstance(element, FixedPoint):
            step = 2.0 ** (element.integer_bits - element.width)
            return (2 ** (element.width - 1) - 1) * step, step
        base = get(element.name)
    else:
        base = get(form.base)
    largest = base.decode(base.encode(np.array([1e300])))
    inside = np.nextafter(largest.astype(np.float32), np.float32(0))
    next_one = base.decode(base.encode(inside, rounding="toward_zero"))
    return float(largest[0]), float(largest[0]) - float(next_one[0])
