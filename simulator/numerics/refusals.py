"""What is wrong with the operands of a datapath: the questions that all of them ask, one wording.

Each function returns a list of problems, empty if there are none, for one `InputError`.
"""

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.config import did_you_mean


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

    Products of such are exact in the float32 carrier, so that they round once; but not below
    2^-126, where BF16 still has values. There only products of 8 bits are.
    """
    if product == "fp32":
        return []
    problems = significant_bits(12, product, **arrays)
    if problems or product == "fp16" or not significant_bits(8, product, **arrays):
        return problems
    sizes = [np.abs(array) for array in arrays.values()]
    least = [float(np.min(size, where=size > 0, initial=np.inf)) for size in sizes]
    if np.prod(least) >= 2.0**-126:
        return []
    return [f"{product} products below 2^-126 are of values of at most 8 significant bits"]


def significant_bits(bits: int, product: str, /, **arrays: NDArray[np.float32]) -> list[str]:
    """Values have at most so many significant bits."""
    below = np.uint32((1 << 24 - bits) - 1)
    return [
        f"{name}: {product} products are of values of at most {bits} significant bits"
        for name, array in arrays.items()
        if _has_bits(array, below)
    ]


def _has_bits(values: NDArray[np.float32], below: np.uint32) -> bool:
    bits = np.ascontiguousarray(values).view(np.uint32)
    # One pass for what nearly always holds; a NaN may have any last bits.
    if not np.bitwise_or.reduce(bits, axis=None) & below:
        return False
    return bool((((bits & below) != 0) & ~np.isnan(values)).any())
