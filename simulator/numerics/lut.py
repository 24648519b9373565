"""LUT tensor core: sums of four activations from a table, one bit of the weights at a time.

Mo et al., "LUT Tensor Core" (ISCA 2025, arXiv 2408.06003). Weights in {0, 1} are read as {-1, +1}:
the table of all signed sums of four activations is then odd, LUT[i] = -LUT[~i], and half of it is
enough: the first weight of the four carries the sign, and where it is 1 the address of the others
is complemented beforehand (offline). A b-bit weight q with scale s and zero point z becomes

    q' = 2 q - (2^b - 1),   s' = s / 2,   z' = 2 z + 1 - 2^b,   s (q - z) = s' (q' - z')

and b passes add up 2^j LUT_j. Exact for integer activations (tables of INT8 activations, sums in
int32). Left out here: tables in FP16 or FP8, whose additions round.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.numerics.exact import check_operands
from simulator.numerics.word import Number, bit, looked_up

#: Activations that one table sums, and the entries of half a table.
GROUP = 4
ENTRIES = 1 << GROUP - 1


def half_table(activations: list[Number]) -> list[Number]:
    """Return the sums in which the first activation is negative; bit i of the address: a_(i+1)."""
    first, *rest = activations
    entries = []
    for address in range(ENTRIES):
        total: Number = 0 - first
        for place, value in enumerate(rest):
            total = total + value if bit(address, place) else total - value
        entries.append(total)
    return entries


def address_of(bits: int) -> tuple[int, int]:
    """Return (address in the half table, sign) of four weights' bits: the offline complement."""
    sign = bits & 1
    return (bits >> 1) ^ (ENTRIES - 1 if sign else 0), sign


def dot_lut(activations: list[Number], weights: list[int], bits: int) -> Number:
    """Return sum of a_k q'_k, q' = 2 q - (2^b - 1), by b look-ups for each four activations.

    The length is a multiple of GROUP; weights are unsigned codes of `bits` bits.
    """
    total: Number = 0
    for start in range(0, len(activations), GROUP):
        table = half_table(activations[start : start + GROUP])
        four = weights[start : start + GROUP]
        for place in range(bits):
            address, sign = address_of(sum(bit(q, place) << k for k, q in enumerate(four)))
            entry = looked_up(table, address)
            # A sign is one exclusive or and a carry: the adder subtracts.
            total = total - (entry << place) if sign else total + (entry << place)
    return total


def reinterpreted(scale: float, zero: int, bits: int) -> tuple[float, int]:
    """Return (s', z') such that s (q - z) = s' (q' - z') with q' = 2 q - (2^b - 1)."""
    return scale / 2, 2 * zero + 1 - (1 << bits)


def gemm_lut(
    activations: NDArray[np.integer[Any]], weights: NDArray[np.integer[Any]], bits: int
) -> NDArray[np.int32]:
    """Return sum over K of activations (M, K) x q' of unsigned codes (N, K), by half tables.

    K is padded with activations of 0. Errors: InputError for what is no pair of integer matrices,
    codes that `bits` (1 to 8) do not hold, activations beyond 16 bits, K beyond what int32 holds.
    """
    _check(activations, weights, bits)
    from simulator.numerics.lut_kernel import look_up_all

    padding = -activations.shape[1] % GROUP
    x = np.pad(activations.astype(np.int32), ((0, 0), (0, padding)))
    codes = np.pad(weights.astype(np.uint8), ((0, 0), (0, padding)))
    return look_up_all(x, addresses(codes, bits))


def addresses(codes: NDArray[np.uint8], bits: int) -> NDArray[np.int8]:
    """Return table addresses (bits, K / 4, N) of codes (N, K); those with a sign are ~address."""
    rows, depth = codes.shape
    four = codes.reshape(rows, depth // GROUP, GROUP)
    found = np.empty((bits, depth // GROUP, rows), dtype=np.int8)
    for place in range(bits):
        pattern = sum((four[:, :, k] >> place & 1) << k for k in range(GROUP))
        table = np.array([address_of(one) for one in range(1 << GROUP)])
        address, sign = np.moveaxis(table[pattern], -1, 0)
        found[place] = np.where(sign == 1, ~address, address).T
    return found


def _check(activations: NDArray[Any], weights: NDArray[Any], bits: int) -> None:
    check_operands(activations, weights)
    problems = []
    if not 1 <= bits <= 8:
        problems.append(f"bits must be 1 to 8, got {bits}")
    elif weights.size and not 0 <= int(weights.min()) <= int(weights.max()) < 1 << bits:
        problems.append(f"weights: {bits} bits hold 0 to {(1 << bits) - 1}")
    size = max(abs(int(activations.max())), abs(int(activations.min()))) if activations.size else 0
    if size >= 1 << 15:
        problems.append(f"activations: at most 16 bits, got {size}")
    elif activations.shape[1] * size << max(bits, 1) >= 1 << 31:
        problems.append(f"K: sums of {activations.shape[1]} products do not fit into 32 bits")
    if problems:
        raise InputError(problems)
