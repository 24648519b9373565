"""Binary coding: values of a group as sums of +-alpha_i, the signs in packed bit planes.

Sources: Park et al., LUT-GEMM (ICLR 2024); You et al., ShiftAddLLM (arXiv 2406.05981) and its
`bcq_shift.py`: greedy start, then rounds of least-squares alphas and nearest sums, each alpha
rounded to a sum of powers of two. Theirs ends with the last round; here every group keeps its best
one, the start (with rounded alphas and nearest sums) included, so that more rounds never cost.

`decode_one` and `encode_one` are the specification of one value. Sums are in float64, from plane 0
on; with alphas of powers of two within 52 bits of each other they are exact. `fit` uses a
pseudo-inverse, whose last bits depend on the linear algebra library. NaN and infinity are refused.
Left out: the weights of values (all are 1) and storing alphas in FP16.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError

Floats = NDArray[np.floating[Any]]

_MOST_PLANES = 8
#: Powers of two in an alpha of a named format (`bcqB`), as ShiftAddLLM stores it.
TERMS = 3
#: The float64 next above sqrt(1/2): no float64 lies between the two.
_HALF_ROOT = 0.7071067811865476


@dataclass(frozen=True, eq=False)
class BinaryCoded:
    """Groups of values in binary code.

    alphas: float64, (groups, planes). signs: uint8, (groups, planes, ceil(count / 8)), bit k of a
    plane, most significant first, is 1 where value k has +alpha; the last byte is filled with 0.
    count: values in a group. Errors: InputError where they do not fit together.
    """

    alphas: NDArray[np.float64]
    signs: NDArray[np.uint8]
    count: int

    def __post_init__(self) -> None:
        """Refuse shapes and dtypes that do not fit, all in one error."""
        problems = []
        if self.count < 1:
            problems.append(f"count must be >= 1, got {self.count}")
        problems += _alpha_problems(self.alphas)
        if self.signs.dtype != np.uint8:
            problems.append(f"signs must be uint8, got {self.signs.dtype}")
        expected = (*self.alphas.shape, -(-self.count // 8))
        if self.signs.shape != expected:
            problems.append(f"signs must have shape {expected}, got {self.signs.shape}")
        if problems:
            raise InputError([f"binary code: {problem}" for problem in problems])

    @property
    def planes(self) -> int:
        """Sign planes, the bits of a code."""
        return int(self.alphas.shape[1])

    def bits_per_value(self, alpha_bits: int = 16) -> Fraction:
        """Return the bits of one value, exactly: its signs and its part of the alphas.

        alpha_bits: of one alpha; FP16 has 16, three powers of two (ShiftAddLLM) have 24. What fills
        the last byte of a plane is not counted.
        """
        if alpha_bits < 1:
            raise InputError(f"binary code: alpha_bits must be >= 1, got {alpha_bits}")
        return self.planes + Fraction(self.planes * alpha_bits, self.count)


def decode_one(alphas: Sequence[float], code: int) -> float:
    """Return the sum of a code, bit i of which is 1 for +alpha_i; from alpha_0 on, in float64."""
    total = 0.0
    for plane, alpha in enumerate(alphas):
        total += alpha if code >> plane & 1 else -alpha
    return total


def encode_one(alphas: Sequence[float], value: float) -> int:
    """Return the code of the nearest sum: the larger of two, the lowest code of equal sums."""
    exact = Fraction(value)

    def order(code: int) -> tuple[Fraction, float, int]:
        total = decode_one(alphas, code)
        return abs(Fraction(total) - exact), -total, code

    return min(range(1 << len(alphas)), key=order)


def power_of_two(values: Floats, terms: int = 1) -> NDArray[np.float64]:
    """Return values rounded to a sum of `terms` signed powers of two, each nearest to the rest.

    Nearest is meant in the logarithm, as in ShiftAddLLM: the border is sqrt(2); exponents come from
    `frexp`. Zero stays zero. Errors: InputError for fewer than one term.
    """
    if terms < 1:
        raise InputError(f"power_of_two: terms must be >= 1, got {terms}")
    rest = np.asarray(values, np.float64)
    total = np.zeros_like(rest)
    for _ in range(terms):
        fraction, exponent = np.frexp(np.abs(rest))
        power = np.ldexp(1.0, np.where(fraction >= _HALF_ROOT, exponent, exponent - 1))
        term = np.where(rest == 0, 0.0, np.copysign(power, rest))
        total, rest = total + term, rest - term
    return total


def terms_of(alphas: Floats, terms: int) -> NDArray[np.float64]:
    """Return alphas as `terms` signed powers of two or 0, in a last axis more.

    They are those that `power_of_two` adds up. Errors: InputError for alphas that have no such sum.
    """
    rest, found = np.asarray(alphas, np.float64), []
    for _ in range(terms):
        found.append(power_of_two(rest))
        rest = rest - found[-1]
    if rest.any():
        raise InputError(f"binary code: alphas must be sums of {terms} powers of two")
    return np.stack(found, axis=-1)


def encode(alphas: NDArray[np.float64], values: Floats) -> BinaryCoded:
    """Return groups, (groups, count), in the nearest sums of given alphas, (groups, planes).

    Ties and equal sums as in `encode_one`; the comparison with a midpoint is in float64. Errors:
    InputError for other shapes and values that are not finite.
    """
    _refuse(values)
    problems = _alpha_problems(alphas)
    if alphas.shape[:1] != values.shape[:1]:
        problems.append(f"alphas of shape {alphas.shape} do not fit {len(values)} groups")
    if problems:
        raise InputError([f"binary code: {problem}" for problem in problems])
    exact = np.asarray(alphas, np.float64)
    return BinaryCoded(exact, _pack(_codes(exact, values), exact.shape[1]), values.shape[1])


def decode(coded: BinaryCoded) -> NDArray[np.float64]:
    """Return the values, (groups, count)."""
    return np.take_along_axis(_sums(coded.alphas), codes_of(coded).astype(np.intp), axis=1)


def codes_of(coded: BinaryCoded) -> NDArray[np.uint8]:
    """Return the codes, (groups, count): bit i is the sign in plane i."""
    bits = np.unpackbits(coded.signs, axis=-1, count=coded.count)
    weights = (1 << np.arange(coded.planes)).astype(np.uint8)
    codes: NDArray[np.uint8] = (bits * weights[:, None]).sum(axis=1, dtype=np.uint8)
    return codes


def fit(values: Floats, planes: int, terms: int = 0, rounds: int = 15) -> BinaryCoded:
    """Return groups, (groups, count), in `planes` sign planes of small squared error.

    terms: powers of two in an alpha; 0 leaves alphas as they are. rounds: of least squares and
    nearest sums after the greedy start; they end early when no code changes. Errors: InputError for
    planes beyond 1 to 8, negative terms or rounds, empty groups and values that are not finite.
    """
    problems = []
    if not 1 <= planes <= _MOST_PLANES:
        problems.append(f"planes must be 1 to {_MOST_PLANES}, got {planes}")
    if terms < 0:
        problems.append(f"terms must be >= 0, got {terms}")
    if rounds < 0:
        problems.append(f"rounds must be >= 0, got {rounds}")
    if problems:
        raise InputError([f"binary code: {problem}" for problem in problems])
    _refuse(values)
    exact = np.asarray(values, np.float64)
    alphas, latest = _greedy(exact, planes)
    alphas = _rounded(alphas, terms)
    codes = _codes(alphas, exact)
    error = _error(exact, alphas, codes)
    for _ in range(rounds):
        new_alphas = _rounded(_least_squares(exact, latest, planes), terms)
        new_codes = _codes(new_alphas, exact)
        new_error = _error(exact, new_alphas, new_codes)
        better = new_error < error
        alphas = np.where(better[:, None], new_alphas, alphas)
        codes = np.where(better[:, None], new_codes, codes)
        error = np.where(better, new_error, error)
        if np.array_equal(new_codes, latest):
            # Every later round would be this one.
            break
        latest = new_codes
    return BinaryCoded(alphas, _pack(codes, planes), values.shape[1])


def _alpha_problems(alphas: Floats) -> list[str]:
    problems = []
    if alphas.ndim != 2 or not 1 <= alphas.shape[-1] <= _MOST_PLANES:
        problems.append(f"alphas must be (groups, 1 to {_MOST_PLANES} planes), got {alphas.shape}")
    if not np.isfinite(alphas).all():
        problems.append("alphas must be finite")
    return problems


def _refuse(values: Floats) -> None:
    problems = []
    if values.ndim != 2 or values.shape[-1] == 0:
        problems.append(f"values must be (groups, count >= 1), got shape {values.shape}")
    wrong = int((~np.isfinite(values)).sum())
    if wrong:
        problems.append(f"{wrong} of {values.size} values are not finite")
    if problems:
        raise InputError([f"binary code: {problem}" for problem in problems])


def _rounded(alphas: NDArray[np.float64], terms: int) -> NDArray[np.float64]:
    return power_of_two(alphas, terms) if terms else alphas


def _greedy(
    values: NDArray[np.float64], planes: int
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return alphas and codes: each alpha is the mean magnitude of what those before it leave."""
    rest, alphas, codes = values, [], np.zeros(values.shape, np.intp)
    for plane in range(planes):
        alpha, plus = np.abs(rest).mean(axis=1, keepdims=True), rest >= 0
        rest = rest - np.where(plus, alpha, -alpha)
        alphas.append(alpha)
        codes |= plus.astype(np.intp) << plane
    return np.concatenate(alphas, axis=1), codes


def _least_squares(
    values: NDArray[np.float64], codes: NDArray[np.intp], planes: int
) -> NDArray[np.float64]:
    """Return the best alphas for given signs, as magnitudes in falling order.

    Planes that are equal leave several; the pseudo-inverse takes the shortest.
    """
    signs = 2.0 * (codes[:, None, :] >> np.arange(planes)[:, None] & 1) - 1.0
    products = signs @ signs.transpose(0, 2, 1)
    right = signs @ values[:, :, None]
    best = np.abs(np.linalg.pinv(products, hermitian=True) @ right)[:, :, 0]
    return np.sort(best, axis=1)[:, ::-1]


def _sums(alphas: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sum of every code, (groups, 2^planes), in the order of `decode_one`."""
    planes = alphas.shape[1]
    codes = np.arange(1 << planes)
    total = np.zeros((len(alphas), codes.size))
    for plane in range(planes):
        alpha = alphas[:, plane, None]
        total = total + np.where(codes >> plane & 1, alpha, -alpha)
    return total


def _codes(alphas: NDArray[np.float64], values: Floats) -> NDArray[np.intp]:
    """Return the codes of the nearest sums, by bisection among the sums in order."""
    sums = _sums(alphas)
    order = np.argsort(sums, axis=1, kind="stable")
    ordered = np.take_along_axis(sums, order, axis=1)
    # The first of equal sums stands for all of them: its code is the lowest.
    ranks = np.broadcast_to(np.arange(ordered.shape[1]), ordered.shape)
    new = np.diff(ordered, axis=1, prepend=-np.inf) > 0
    order = np.take_along_axis(
        order, np.maximum.accumulate(np.where(new, ranks, 0), axis=1), axis=1
    )
    middles = ordered[:, :-1] / 2 + ordered[:, 1:] / 2
    low = np.zeros(values.shape, np.intp)
    step = ordered.shape[1] // 2
    while step:
        higher = values >= np.take_along_axis(middles, low + step - 1, axis=1)
        low = np.where(higher, low + step, low)
        step //= 2
    return np.take_along_axis(order, low, axis=1)


def _error(
    values: NDArray[np.float64], alphas: NDArray[np.float64], codes: NDArray[np.intp]
) -> NDArray[np.float64]:
    error: NDArray[np.float64] = np.square(
        np.take_along_axis(_sums(alphas), codes, axis=1) - values
    ).sum(axis=1)
    return error


def _pack(codes: NDArray[np.intp], planes: int) -> NDArray[np.uint8]:
    bits = (codes[:, None, :] >> np.arange(planes)[:, None] & 1).astype(np.uint8)
    return np.packbits(bits, axis=-1)
