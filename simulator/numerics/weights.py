"""How much of a weight a format keeps: SQNR of one sample, the same for every format.

The sample is Gaussian, 16 channels of 4,096 weights of unit variance: what a format makes of it can
be told from closed forms. Trained weights have heavier tails and outliers, channels of unlike size,
and a spread of some hundredths, on which floats without a scale depend; what a model loses is not
said by it either. Scales are found by rounding to the nearest within minimum and maximum, as
`Format.encode` does, without any search.
"""

from functools import lru_cache

import numpy as np

from simulator.errors import InputError
from simulator.formats import Format, get
from simulator.numerics.metrics import sqnr_db

#: Channels, and weights of each: the K of a model of 7 B parameters.
SHAPE = (16, 4096)
SEED = 0
#: Kinds whose plain codes stand for a tensor with one scale that is taken as known.
_SCALED = ("int", "uint", "bipolar", "ternary", "codebook")


@lru_cache(maxsize=256)
def weight_sqnr_db(name: str) -> float:
    """Return the SQNR in dB of Gaussian weights in a format, scales found as `encode` does.

    Codes without a scale get one for the whole tensor, which costs no bits; floats and fixed-point
    numbers have none. Against float64, so that no format is exact.
    Errors: InputError for an unknown format, and for one that holds no signed weights.
    """
    form = _with_scale(get(name))
    weights = np.random.default_rng(SEED).standard_normal(SHAPE)
    found = np.asarray(form.decode(form.encode(weights)), np.float64)
    if not (found < 0).any():
        raise InputError(f"{name} holds no signed weights")
    return sqnr_db(weights, found)


def _with_scale(form: Format) -> Format:
    if form.granularity == "none" and form.kind in _SCALED:
        return get(f"{form.name}-tensor")
    return form
