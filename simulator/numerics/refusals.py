"""What is wrong with the operands of a datapath: the questions that all of them ask, one wording.

Each function returns a list of problems, empty if there are none, for one `InputError`.
"""

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.config import did_you_mean

#: Bits of a float32 that a significand of 12 bits leaves 0.
_BELOW_12_BITS = np.uint32(0xFFF)


def shapes(activations: NDArray[Any], weights: NDArray[Any], second: str = "weights") -> list[str]:
    """Activations are (M, K) and weights, or what `second` says, (N, K)."""
    if activations.ndim == weights.ndim == 2 and activations.shape[1] == weights.shape[1]:
        return []
    return [
        f"expected activations (M, K) and {second} (N, K), got shapes "
        f"{activations.shape} and {weights.shape}"
    ]


def dtypes(wanted: type[Any], /, **arrays: NDArray[Any] | None) -> list[str]:
    """Arrays are of a dtype or, for np.integer, of a kind; None is an operand that is not there."""
    return [
        f"{name}: expected {'integers' if wanted is np.integer else wanted.__name__}, "
        f"got {array.dtype}"
        for name, array in arrays.items()
        if array is not None and not np.issubdtype(array.dtype, wanted)
    ]


def metadata(expected: tuple[int, ...], /, **arrays: NDArray[Any] | None) -> list[str]:
    """Scales, zero points and the like have one shape; None is one that is not there."""
    return [
        f"{name}: expected shape {expected}, got {array.shape}"
        for name, array in arrays.items()
        if array is not None and array.shape != expected
    ]


def accumulators(kinds: Iterable[str], known: Collection[str]) -> list[str]:
    """Formats of sums are known; each unknown one is named once."""
    return [
        f"unknown accumulator '{kind}'" + (did_you_mean(kind, known) or f"; known: {listed}")
        for listed in [", ".join(known)]
        for kind in dict.fromkeys(kinds)
        if kind not in known
    ]


def precision(product: str, /, **arrays: NDArray[np.float32]) -> list[str]:
    """Values have at most 12 significant bits where products round to FP16 or BF16.

    Products of such are exact in the float32 carrier, so that they round once.
    """
    if product == "fp32":
        return []
    return [
        f"{name}: {product} products are of values of at most 12 significant bits"
        for name, array in arrays.items()
        if _too_precise(array)
    ]


def _too_precise(values: NDArray[np.float32]) -> bool:
    bits = np.ascontiguousarray(values).view(np.uint32)
    return bool((((bits & _BELOW_12_BITS) != 0) & ~np.isnan(values)).any())
