"""Hadamard rotation: outliers are spread over all channels before an array is quantised.

The K dimension of activations and of weights is multiplied by one orthogonal matrix Q, so that
(X Q)(W Q)^T = X W^T. Q = D H^T / sqrt(n): H is a Hadamard matrix (entries +-1, H H^T = n I), D a
diagonal of signs. `hadamard` is H itself; `rotate_one` is the specification of the roundings, of
one vector; `rotate` is the same for arrays, by the fast transform.

- Sums are in the dtype of the values, in a fixed order: butterflies of neighbours first, then the
  rows of the Paley matrix from left to right. They are exact, and equal to H's, where integers
  stay below 2^24 (float32) or 2^53. The division by sqrt(n), itself rounded, rounds once.
- Sizes: 2^k, or m * 2^k where m <= 512 is p + 1 of a prime p = 3 mod 4 (Paley's first
  construction) or 2 (p + 1) of a prime p = 1 mod 4 (his second): H = Paley (x) Sylvester.
- NaN and infinity are refused, as are sums beyond the dtype.

Sources: Ashkboos et al., "QuaRot", arXiv 2404.00456, and Tseng et al., "QuIP#", arXiv 2402.04396
(both with butterflies in this order); Paley, J. Math. Phys. 12 (1933). QuaRot takes some of its
small matrices from Sloane's tables: any of the order is as good, but has other bits. Not here:
prime powers (27, 25, 343) and Williamson's matrices (156, 172), so that 11008 = 172 * 64 needs
blocks; the inverse; rotations that are learnt (SpinQuant).
"""

from collections.abc import Sequence
from functools import reduce
from math import isqrt, sqrt
from operator import add

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulator.errors import InputError
from simulator.formats.minifloat import Floats
from simulator.formats.rounding import RANDOM_BITS, random_24, random_24_all
from simulator.formats.scaling import checked, floats, refuse_seed

#: Largest Paley matrix: its rows are summed one entry after the other.
LARGEST_PALEY = 512


def rotate(values: ArrayLike, *, block: int | None = None, seed: int | None = None) -> Floats:
    """Return values @ Q along the last axis, in their shape and dtype.

    block: rotate so many neighbours at a time, each block alone (None: the whole axis). seed: of
    the signs D, element i of the axis has the top bit of random number i (None: all +1). Errors:
    InputError for values that are not finite floats (float16 becomes float32), a block that does
    not divide the axis, a size with no matrix here, a seed that is no integer, sums beyond the
    dtype.
    """
    values = floats("rotate", values)
    checked("rotate", values)
    if not values.ndim:
        raise InputError("rotate: values must have at least one axis")
    length = values.shape[-1]
    size = length if block is None else block
    paley = _paley(_paley_order("rotate", size))
    if length % size:
        raise InputError(f"rotate: a block of {size} does not divide an axis of {length}")
    if seed is not None:
        refuse_seed("rotate", seed)
        negative = random_24_all(seed, length) >> np.uint32(RANDOM_BITS - 1) == 1
        values = np.where(negative, -values, values)
    parts = values.reshape(-1, len(paley), size // len(paley))
    with np.errstate(over="ignore", invalid="ignore"):
        sums = _times_paley(paley, _butterflies(parts)).reshape(values.shape)
    wrong = sums.size - int(np.isfinite(sums).sum())
    if wrong:
        raise InputError(f"rotate: {wrong} of {sums.size} sums are beyond {values.dtype}")
    turned: Floats = sums / values.dtype.type(sqrt(size))
    return turned


def rotate_one(values: Sequence[float], seed: int | None = None) -> list[float]:
    """Return a whole vector times Q; np.float32 values are summed and divided as such."""
    size = len(values)
    paley = _paley(_paley_order("rotate_one", size)).tolist()
    sums = list(values)
    if seed is not None:
        sums = [-x if random_24(seed, i) >> RANDOM_BITS - 1 else x for i, x in enumerate(sums)]
    width = size // len(paley)
    step = 1
    while step < width:
        for i in range(size):
            if not i & step:
                sums[i], sums[i + step] = sums[i] + sums[i + step], sums[i] - sums[i + step]
        step *= 2
    root = type(values[0])(sqrt(size))
    # Not by sum(), which compensates its roundings from Python 3.12 on.
    return [
        reduce(add, [sign * sums[j * width + i] for j, sign in enumerate(row)], 0.0) / root
        for row in paley
        for i in range(width)
    ]


def hadamard(size: int) -> NDArray[np.int8]:
    """Return H, of entries 1 and -1; InputError for a size with no matrix here."""
    matrix = _paley(_paley_order("hadamard", size))
    while len(matrix) < size:
        matrix = np.kron(matrix, np.array([[1, 1], [1, -1]], np.int8))
    return matrix


def _paley_order(what: str, size: int) -> int:
    """Return the least m with size = m * 2^k that has a Paley matrix; 1 for a power of two."""
    if not isinstance(size, int | np.integer):
        raise InputError(f"{what}: a size must be an integer, got {size!r}")
    if size < 1:
        raise InputError(f"{what}: a size must be at least 1, got {size}")
    power = size & -size
    if size == power:
        return 1
    order = 4 * (size // power)
    # Only here is order / 2 - 1 = 1 mod 4; later it is 3 mod 4, and was no prime a step before.
    while size % order == 0 and order <= LARGEST_PALEY:
        if _is_prime(order - 1) or _is_prime(order // 2 - 1):
            return order
        order *= 2
    raise InputError(
        f"{what}: no Hadamard matrix of size {size} here: sizes are 2^k, or m * 2^k with "
        f"m <= {LARGEST_PALEY} of Paley (12, 20, 28, 36, 44, 60 ...); the largest block of a power "
        f"of two is {power}"
    )


def _is_prime(number: int) -> bool:
    return all(number % divisor for divisor in range(2, isqrt(number) + 1))


def _paley(order: int) -> NDArray[np.int8]:
    """Return the Hadamard matrix of an order of `_paley_order`."""
    if order == 1:
        return np.ones((1, 1), np.int8)
    if _is_prime(order - 1):
        core = np.pad(_residues(order - 1), ((1, 0), (1, 0)), constant_values=1)
        core[0] = -1
        np.fill_diagonal(core, 1)
        return core
    core = np.pad(_residues(order // 2 - 1), ((1, 0), (1, 0)), constant_values=1)
    core[0, 0] = 0
    first = np.array([[1, 1], [1, -1]], np.int8)
    second = np.array([[1, -1], [-1, -1]], np.int8)
    matrix: NDArray[np.int8] = np.kron(core, first)
    return matrix + np.kron(np.eye(order // 2, dtype=np.int8), second)


def _residues(prime: int) -> NDArray[np.int8]:
    """Return the matrix of Legendre symbols (i - j over prime)."""
    symbols = np.full(prime, -1, np.int8)
    symbols[np.arange(1, prime) ** 2 % prime] = 1
    symbols[0] = 0
    index = np.arange(prime)
    matrix: NDArray[np.int8] = symbols[(index[:, None] - index) % prime]
    return matrix


def _butterflies(values: Floats) -> Floats:
    """Return the transform of the last axis, a power of two long; neighbours are added first."""
    length, step = values.shape[-1], 1
    while step < length:
        pairs = values.reshape(-1, length // (2 * step), 2, step)
        left, right = pairs[:, :, 0], pairs[:, :, 1]
        values = np.stack([left + right, left - right], axis=2).reshape(values.shape)
        step *= 2
    return values


def _times_paley(paley: NDArray[np.int8], values: Floats) -> Floats:
    """Return paley @ values, (rows, m, width); terms are added in their order."""
    sums = np.zeros_like(values)
    for j in range(len(paley)):
        sums += paley[:, j, None] * values[:, j, None, :]
    return sums
