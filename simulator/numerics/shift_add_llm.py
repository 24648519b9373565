"""ShiftAddLLM: binary-coded weights by look-ups of eight activations' sums, shifts and additions.

You et al., "ShiftAddLLM" (arXiv 2406.05981) and its kernels: a weight is a sum of +-alpha_i with
alphas that are powers of two (`formats.binary_coded`); a table holds all 256 signed sums of eight
activations, a byte of signs of plane i looks one up, and alpha_i shifts it:

    y = sum over tables, sum over planes of  LUT[signs_i] alpha_i

Tables of four activations, of half a byte, have 16 entries.
An alpha may be a sum of several powers of two (its terms): each shifts the entry that was looked
up, and is added by itself.

Integer activations: exact. Sums are integers in units of the smallest alpha.
FP16 activations (float32 carriers): a shift adds to the exponent and rounds nothing; rounded to
float32, to nearest even, are the additions of a table, from the first activation on, ((0 +- a0) +-
a1) ..., and those of look-ups, in order of tables and, within one, of planes. assumed: this order;
the GPU kernel's depends on its threads.
NaN goes through, to all outputs of a row; so may infinity, as infinity less infinity or times an
alpha of 0. Weights (N, K) are N x K / count groups, a row's in order. A last table of a group that
is not full has activations of 0. Left out: several terms with integer activations.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.formats.binary_coded import BinaryCoded
from simulator.numerics.word import (
    Number,
    looked_up,
    looked_up_real,
    note_passes,
    noted,
    scaled,
)

#: Powers of two in float64, (groups, planes, terms).
Terms = NDArray[np.float64]

#: Activations that one table sums, and its entries.
TABLE = 8
ENTRIES = 1 << TABLE
#: Alphas whose products with normal float32 values of FP16 size stay normal float32 values.
LEAST_EXPONENT, LARGEST_EXPONENT = -64, 64
ZERO = np.float32(0)


def table_of(activations: Sequence[Any]) -> list[Any]:
    """Return all signed sums of eight integers, words or np.float32, by address.

    The first activation has the most significant bit of an address, 1 for plus.
    """
    entries: list[Any] = [0]
    for value in activations:
        entries = [each for before in entries for each in (before - value, before + value)]
    return entries


def dot_integers(
    activations: Sequence[Number],
    patterns: Sequence[Sequence[int]],
    shifts: Sequence[int],
    start: Number = 0,
) -> Number:
    """Return the sum of one group, exactly: a look-up, a shift and an addition for each pattern.

    patterns: of each plane, the bytes of signs of its tables. shifts: of each plane, the exponent
    of its alpha, >= 0. The length of activations is a multiple of 8. start: a partial sum before.
    """
    total = start
    for index, first in enumerate(range(0, len(activations), TABLE)):
        table = table_of(activations[first : first + TABLE])
        for plane, shift in zip(patterns, shifts, strict=True):
            # A pass is one plane of the weights.
            entry = looked_up(table, plane[index])
            total = total + (noted(entry, "pass", int(entry)) << shift)
    return total


def dot_floats(
    activations: Sequence[Any],
    coded: BinaryCoded,
    groups: Sequence[int],
    terms: Terms | None = None,
    start: Any = ZERO,
    size: int = TABLE,
) -> Any:
    """Return one output from the groups of its weights, one float32 operation at a time.

    activations: np.float32, or such that count. terms, size: as in `gemm_floats`. start: a partial
    sum.
    """
    total, count = start, coded.count
    powers = _powers(coded, terms).astype(np.float32)
    for place, group in enumerate(groups):
        values = list(activations[place * count : (place + 1) * count])
        values += [ZERO] * (-count % size)
        for first in range(0, len(values), size):
            table = table_of(values[first : first + size])
            byte, place = divmod(first, 8)
            for plane, own in enumerate(powers[group]):
                address = int(coded.signs[group, plane, byte]) >> 8 - size - place
                entry = looked_up_real(table, address % len(table))
                # A pass is one plane of the weights.
                note_passes([entry], 1)
                for power in own:
                    total = total + scaled(entry, power)
    return total


def gemm_integers(
    activations: NDArray[np.integer[Any]], coded: BinaryCoded, outputs: int
) -> tuple[NDArray[np.int64], int]:
    """Return (sums, exponent): activations (M, K) x weights (N, K) transposed is sums x 2^exponent.

    coded: N x K / count groups. outputs: N. The exponent is that of the smallest alpha but 0, or 0.
    Exact. Errors: InputError for what is no matrix of integers, a K that groups do not divide,
    another number of groups, alphas that are no powers of two, sums that 64 bits do not hold.
    """
    powers = _powers(coded, None)
    problems = _problems(activations, coded, outputs, powers)
    if not np.issubdtype(activations.dtype, np.integer):
        problems.append(f"activations: expected integers, got {activations.dtype}")
    if problems:
        raise InputError(problems)
    exponents = _exponents(powers)
    least = int(exponents.min()) if exponents.size else 0
    _refuse_wide(activations, coded.alphas, least)
    # Factors of two that 62 bits hold: ldexp is exact.
    factors = np.ldexp(powers, -least).astype(np.int64)
    return _looked_up(activations.astype(np.int64), coded, factors, outputs), least


def gemm_floats(
    activations: NDArray[np.float32],
    coded: BinaryCoded,
    outputs: int,
    terms: Terms | None = None,
    size: int = TABLE,
) -> NDArray[np.float32]:
    """Return activations (M, K) x weights (N, K) transposed, in float32; see the module.

    coded, outputs: as in `gemm_integers`. terms: of the alphas, signed; without, an alpha is one
    power of two. size: activations of a table, 4 or 8. Errors: InputError for another dtype, powers
    beyond 2^-64 to 2^64, terms that do not add up to alphas, and the others of `gemm_integers` but
    the last.
    """
    powers = _powers(coded, terms)
    problems = _problems(activations, coded, outputs, powers)
    if terms is not None and not np.array_equal(terms.sum(axis=-1), coded.alphas):
        problems.append("terms: must add up to alphas")
    if activations.dtype != np.float32:
        problems.append(f"activations: expected float32, got {activations.dtype}")
    exponents = _exponents(powers)
    outside = (exponents < LEAST_EXPONENT) | (exponents > LARGEST_EXPONENT)
    if outside.any():
        problems.append(
            f"alphas: must be 2^{LEAST_EXPONENT} to 2^{LARGEST_EXPONENT} or 0, "
            f"{int(outside.sum())} are not"
        )
    if problems:
        raise InputError(problems)
    return _looked_up(activations, coded, powers.astype(np.float32), outputs, size)


def _looked_up(
    activations: NDArray[Any],
    coded: BinaryCoded,
    powers: NDArray[Any],
    outputs: int,
    size: int = TABLE,
) -> NDArray[Any]:
    """Return the kernel's sums of checked operands; powers: terms in the dtype of activations.

    To the kernel every term is a plane with the signs of its own.
    """
    from simulator.numerics.shift_add_llm_kernel import look_up_all

    rows, depth = activations.shape
    groups, each = depth // coded.count, -(-coded.count // size)
    x = activations.reshape(rows, groups, coded.count)
    x = np.pad(x, ((0, 0), (0, 0), (0, -coded.count % size)))
    addresses = _addresses(coded.signs, size)[:, :, :each]
    signs = addresses.reshape(outputs, groups, coded.planes, each)
    patterns = signs.transpose(2, 1, 3, 0).reshape(coded.planes, groups * each, outputs)
    terms = powers.shape[-1]
    factors = powers.reshape(outputs, groups, coded.planes * terms).transpose(2, 1, 0)
    return look_up_all(
        x.reshape(rows, groups * each * size),
        np.ascontiguousarray(np.repeat(patterns, terms, axis=0)),
        np.ascontiguousarray(factors),
        size,
    )


def _addresses(signs: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return the addresses of tables of `size` activations, from bytes of signs in a last axis."""
    shifts = np.arange(8 - size, -1, -size, dtype=np.uint8)
    parts: NDArray[np.uint8] = (signs[..., None] >> shifts) & np.uint8((1 << size) - 1)
    return parts.reshape(*signs.shape[:-1], signs.shape[-1] * len(shifts))


def _powers(coded: BinaryCoded, terms: Terms | None) -> Terms:
    return coded.alphas[:, :, None] if terms is None else terms


def _exponents(powers: Terms) -> NDArray[np.intc]:
    """Return the exponents of the powers that are not 0."""
    exponents: NDArray[np.intc] = np.frexp(powers[powers != 0])[1] - 1
    return exponents


def _problems(
    activations: NDArray[Any], coded: BinaryCoded, outputs: int, powers: Terms
) -> list[str]:
    problems = []
    fraction = np.frexp(powers)[0]
    # Alphas are not negative; of their terms some are.
    fraction = fraction if powers.shape[-1] == 1 else np.abs(fraction)
    wrong = int(((fraction != 0.5) & (powers != 0)).sum())
    if wrong:
        problems.append(f"alphas: must be powers of two or 0, {wrong} are not")
    if outputs < 0:
        problems.append(f"outputs must be >= 0, got {outputs}")
    if activations.ndim != 2:
        problems.append(f"expected activations (M, K), got shape {activations.shape}")
    elif activations.shape[1] % coded.count:
        problems.append(f"K: groups of {coded.count} do not divide {activations.shape[1]}")
    elif outputs * activations.shape[1] != len(coded.alphas) * coded.count:
        groups = outputs * activations.shape[1] // coded.count
        problems.append(f"expected {groups} groups of weights, got {len(coded.alphas)}")
    return problems


def _refuse_wide(
    activations: NDArray[np.integer[Any]], alphas: NDArray[np.float64], least: int
) -> None:
    """Refuse sums that 64 bits may not hold, by a bound on the largest."""
    if not activations.size or not alphas.size:
        return
    size = max(abs(int(activations.max())), abs(int(activations.min())))
    largest = int(np.frexp(alphas.max())[1]) - 1 - least
    if activations.shape[1] * size * alphas.shape[1] << max(largest, 0) >= 1 << 63:
        raise InputError("K: sums of products do not fit into 64 bits")
