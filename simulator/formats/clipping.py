"""The search for how much of its range each group should clip, by least squared error.

Narrower ranges have finer steps but saturate more values. Every ratio of a grid is tried with
`scaling.rtn`, so that scales, zero points and codes are rounded as there. `clip_search_one` is the
specification, of one group, with exact errors. `clip_search` sums the squares in float64: where
the errors of two ratios differ by less than that rounds away, it may keep the other one. Ratios
of equal codes and scales have equal sums: the tie is seen.

Sources: the grid and the search are those of GPTQ's quantiser (Frantar et al., ICLR 2023, arXiv
2210.17323; `find_params` in its code: 80 steps of 1/100), with squares for its |error|^2.4. AWQ
(Lin et al., MLSys 2024, arXiv 2306.00978) takes 10 steps of 1/20 and the error of outputs. Not
here: the error of outputs, and ratios that are learnt (OmniQuant), though `rtn` takes them.
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from simulator.errors import InputError
from simulator.formats.groups import Sharing, reduce_groups
from simulator.formats.integer import Doubles
from simulator.formats.minifloat import Floats
from simulator.formats.rounding import Rounding
from simulator.formats.scaling import Scaled, floats, rtn, rtn_one

#: Ratios that are tried: 1.00, 0.99 ... 0.21.
RATIOS = tuple(1 - step / 100 for step in range(80))


def clip_search(
    values: ArrayLike,
    bits: int,
    sharing: Sharing = "channel",
    group: int | tuple[int, int] | None = None,
    *,
    ratios: Sequence[float] = RATIOS,
    asymmetric: bool = False,
    rounding: Rounding = Rounding.NEAREST_EVEN,
    scale_bits: int = 16,
    seed: int = 0,
) -> tuple[Scaled, Doubles]:
    """Quantise as `scaling.rtn` with the best clip ratio of each group; return the ratios too.

    The ratio of a group, in the shape of the scales, is that of `ratios` with the least sum of
    squared errors, the largest of equals. No group's sum is above that of `rtn` where 1 is among
    the ratios. Stochastic rounding draws the same numbers for every ratio.

    Errors: those of `rtn`, for the ratios too; InputError for no ratios.
    """
    if not ratios:
        raise InputError("clip_search: ratios must not be empty")
    values = floats("clip_search", values)
    quantised = partial(
        rtn, values, bits, sharing, group, asymmetric=asymmetric, rounding=rounding,
        scale_bits=scale_bits, seed=seed,
    )  # fmt: skip
    widest, *narrower = sorted(ratios, reverse=True)
    least = _squared_errors(values, quantised(clip=widest))
    best = np.full(least.shape, widest)
    for ratio in narrower:
        errors = _squared_errors(values, quantised(clip=ratio))
        best[errors < least] = ratio
        least = np.minimum(errors, least)
    return quantised(clip=best), best


def clip_search_one(
    values: Sequence[float],
    bits: int,
    *,
    ratios: Sequence[float] = RATIOS,
    asymmetric: bool = False,
    rounding: Rounding = Rounding.NEAREST_EVEN,
    scale_bits: int = 16,
    randoms: Sequence[int] | None = None,
) -> tuple[list[int], float, int, float]:
    """Return codes, scale, zero point and ratio of one group; randoms: as in `rtn_one`."""
    tried = []
    for ratio in ratios:
        codes, scale, zero = rtn_one(
            values, bits, asymmetric=asymmetric, rounding=rounding, scale_bits=scale_bits,
            randoms=randoms, clip=ratio,
        )  # fmt: skip
        error = sum(
            (Fraction(value) - (code - zero) * Fraction(scale)) ** 2
            for value, code in zip(values, codes, strict=True)
        )
        tried.append((error, -ratio, codes, scale, zero))
    _, negated, codes, scale, zero = min(tried)
    return codes, scale, zero, -negated


def _squared_errors(values: Floats, scaled: Scaled) -> Doubles:
    """Return the sum of squared errors of every group."""
    return reduce_groups(np.add, np.square(scaled.values() - values), scaled.sizes)
