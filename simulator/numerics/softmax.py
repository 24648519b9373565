"""Softmax of rows in float32: three passes over the row, two passes, or online in blocks.

- three_pass: the largest value; the sum of exp(x - largest); exp(x - largest) / sum. The row is
  read three times.
- two_pass (Dukhan and Ablavatski, arXiv 2001.04438): exp(x) as m 2^n with n of unbounded range, so
  that no largest value is needed: the sum of such pairs, then m / sum 2^(n - N). Read twice.
- online (Milakov and Gimelshein, arXiv 1805.02867): states (largest, sum) of blocks in order, each
  merged with the state of all before; then exp(x - largest) / sum. Read twice. Blocks of one value
  are the published recurrence; states of any parts merge (split rows, FlashAttention).

Every operation is rounded to float32, to nearest even, in the order of the row; nothing is
reassociated. Exponentials are taken in float64 and rounded once, as float32 ones differ between
machines. The relative error against exact arithmetic is at most `relative_bound` (where float32 is
subnormal, an absolute 2^-149 more): results of two block sizes differ by no more than the sum of
their bounds.

-inf masks a value: it gives exactly 0. A row of -inf alone gives zeros (the formula has 0 / 0),
an empty row an empty one. NaN or +inf anywhere makes the whole row NaN. On counting operands,
masked values and rows count fewer operations than others.
assumed: in `two_pass` n is cut toward 0 and the sum divides, where the paper rounds n to nearest
and multiplies by the reciprocal; its polynomial for m is left out.
"""

from collections.abc import Sequence
from enum import StrEnum
from math import exp, fmod, inf, isfinite, ldexp, log, nan

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.numerics.word import (
    Number,
    Real,
    Scalar,
    larger,
    larger_real,
    like,
    like_real,
    note_passes,
    noted_real,
)

Floats = NDArray[np.float32]
Exponents = NDArray[np.float64]
#: The largest value of a part of a row, and the sum of exp(x - largest) over it.
State = tuple[Scalar, Scalar]
States = tuple[Floats, Floats]

EMPTY: State = (-inf, 0.0)
LN2 = log(2.0)
#: An exponent below that of every float32's exponential: the exponent of -inf.
LOWEST = -(2**130)
#: Differences of exponents beyond which nothing is left in float32.
FAR = -300


class Method(StrEnum):
    """How often a row is read, and what is kept meanwhile."""

    THREE_PASS = "three_pass"
    TWO_PASS = "two_pass"
    ONLINE = "online"


def relative_bound(length: int, method: Method, block: int = 1) -> float:
    """Return the largest relative error of an output of a row of `length` values.

    Units of 2^-24: one for each addition; four for each merge; up to 104 for the rounded argument
    of an exponential that float32 can still hold; the rest for the exponentials, the quotient and
    terms of second order.
    """
    additions = length
    if method == Method.ONLINE:
        additions = min(block, length) + 4 * -(-length // block)
    return (additions + 128) * 2.0**-24


def rounded(value: Scalar) -> Scalar:
    """Return a float64 rounded to float32: after one operation on float32 values, its result."""
    if isinstance(value, Real):
        return value.rounded("fp32", float(rounded(value.value)))
    with np.errstate(over="ignore", under="ignore"):
        return float(np.float32(value))


def exponential(value: Scalar, largest: Scalar) -> Scalar:
    """Return exp(value - largest); where all is masked, the largest is taken as 0."""
    argument = rounded(value - (0.0 if float(largest) == -inf else largest))
    return rounded(noted_real(argument, "exp", exp(float(argument))))


def quotient(part: Scalar, total: Scalar) -> Scalar:
    """Return the share of a part; 0 of a total of 0, that of masked values alone."""
    return 0.0 if float(total) == 0 else rounded(part / total)


def state_of(part: Sequence[Scalar]) -> State:
    """Return the largest value and the sum of exponentials of a part of a row, in order."""
    largest: Scalar = -inf
    for value in part:
        largest = larger_real(value, largest, "fp32")
    total: Scalar = 0.0
    for value in part:
        total = rounded(total + exponential(value, largest))
    return largest, total


def merged(left: State, right: State) -> State:
    """Return the state of two parts together."""
    largest = larger_real(right[0], left[0], "fp32")
    scaled = [rounded(total * exponential(most, largest)) for most, total in (left, right)]
    return largest, rounded(scaled[0] + scaled[1])


def softmax_three_pass(row: Sequence[Scalar]) -> list[float]:
    """Return the softmax of float32 values by three passes: the specification."""
    note_passes(row, 3)
    largest, total = state_of(row)
    return [float(quotient(exponential(value, largest), total)) for value in row]


def softmax_online(row: Sequence[Scalar], block: int) -> list[float]:
    """Return the softmax of float32 values by merged states of blocks: the specification."""
    note_passes(row, 2)
    state = EMPTY
    for start in range(0, len(row), block):
        state = merged(state, state_of(row[start : start + block]))
    largest, total = state
    return [float(quotient(exponential(value, largest), total)) for value in row]


def extended_exp(value: Scalar) -> tuple[Scalar, Number]:
    """Return (m, n), m 2^n = exp(value) and 1/2 < m < 2; m is rounded to float32."""
    plain = float(value)
    if not isfinite(plain):
        masked = plain == -inf
        return like_real(value, 0.0 if masked else nan), like(value, LOWEST if masked else 0)
    rest = fmod(plain, LN2)
    m = rounded(noted_real(value, "exp", exp(rest)))
    return m, like(value, round((plain - rest) / LN2))


def softmax_two_pass(row: Sequence[Scalar]) -> list[float]:
    """Return the softmax of float32 values by sums of extended exponentials: the specification."""
    note_passes(row, 2)
    total: Scalar = like_real(row[0], 0.0) if row else 0.0
    most: Number = LOWEST
    for value in row:
        m, n = extended_exp(value)
        top = larger(n, most)
        total = rounded(scaled_by(total, most - top) + scaled_by(m, n - top))
        most = top
    pairs = (extended_exp(value) for value in row)
    return [float(scaled_by(quotient(m, total), n - most)) for m, n in pairs]


def scaled_by(value: Scalar, exponent: Number) -> Scalar:
    """Return value x 2^exponent, exact unless it is subnormal."""
    exact = ldexp(float(value), int(larger(exponent, FAR)))
    return rounded(noted_real(value, "scale", exact))


def softmax(
    x: Floats, method: Method | str = Method.THREE_PASS, block: int | None = None
) -> Floats:
    """Return the softmax over the last axis, bit for bit as the specification of the method.

    block: values of a block of the online method, needed there alone. Errors: InputError for
    another dtype, no axis, an unknown method, a block that is missing, not wanted or below 1.
    """
    known = _checked(x, method, block)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        match known:
            case Method.THREE_PASS:
                return _shares(x, states_of(x))
            case Method.ONLINE:
                return _shares(x, _online_states(x, block or 1))
            case Method.TWO_PASS:
                return _two_pass(x)
            case _:
                raise ValueError(f"unknown method {known!r}")


def states_of(x: Floats) -> States:
    """Return the states of parts of rows, the last axis, as `state_of` does one by one."""
    largest = x.max(axis=-1, initial=np.float32(-np.inf))
    # Accumulating adds in order, where a sum would add in pairs.
    sums = np.add.accumulate(_exponential(x, largest[..., None]), axis=-1)
    return largest, sums[..., -1] if x.shape[-1] else np.zeros_like(largest)


def merge_states(left: States, right: States) -> States:
    """Return the states of two parts together, as `merged` does one by one."""
    largest = np.maximum(left[0], right[0])
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        totals = [total * _exponential(most, largest) for most, total in (left, right)]
    return largest, totals[0] + totals[1]


def _online_states(x: Floats, block: int) -> States:
    rows = x.shape[:-1]
    state: States = (np.full(rows, -np.inf, np.float32), np.zeros(rows, np.float32))
    for start in range(0, x.shape[-1], block):
        state = merge_states(state, states_of(x[..., start : start + block]))
    return state


def _exponential(x: Floats, largest: Floats) -> Floats:
    anchor = np.where(largest == -np.inf, np.float32(0), largest)
    exponentials: Floats = np.exp((x - anchor).astype(np.float64)).astype(np.float32)
    return exponentials


def _quotient(parts: Floats, total: Floats) -> Floats:
    # Masked values alone: their parts are 0 already.
    shares = parts / np.where(total == 0, np.float32(1), total)
    return shares.astype(np.float32, copy=False)


def _shares(x: Floats, states: States) -> Floats:
    largest, total = (part[..., None] for part in states)
    return _quotient(_exponential(x, largest), total)


def _two_pass(x: Floats) -> Floats:
    m, n = _extended_exp(x)
    total = np.zeros(x.shape[:-1], np.float32)
    most = np.full(x.shape[:-1], float(LOWEST))
    for k in range(x.shape[-1]):
        top = np.maximum(most, n[..., k])
        total = _scaled(total, most - top) + _scaled(m[..., k], n[..., k] - top)
        most = top
    return _scaled(_quotient(m, total[..., None]), n - most[..., None])


def _extended_exp(x: Floats) -> tuple[Floats, Exponents]:
    finite = np.isfinite(x)
    wide = np.where(finite, x, np.float32(0)).astype(np.float64)
    rest = np.fmod(wide, LN2)
    special = np.where(x == -np.inf, np.float32(0), np.float32(np.nan))
    m = np.where(finite, np.exp(rest).astype(np.float32), special)
    n = np.where(finite, np.rint((wide - rest) / LN2), np.where(x == -np.inf, float(LOWEST), 0.0))
    return m, n


def _scaled(values: Floats, exponents: Exponents) -> Floats:
    scaled = np.ldexp(values, np.maximum(exponents, FAR).astype(np.int32))
    return scaled.astype(np.float32, copy=False)


def _checked(x: Floats, method: Method | str, block: int | None) -> Method:
    problems = []
    if x.dtype != np.float32:
        problems.append(f"expected float32, got {x.dtype}")
    if x.ndim == 0:
        problems.append("expected rows, got a single value")
    if method not in list(Method):
        problems.append(f"unknown method '{method}'; known: {', '.join(Method)}")
    elif (method == Method.ONLINE) != (block is not None):
        problems.append(
            "method online needs a block" if block is None else f"method {method} takes no block"
        )
    if block is not None and block < 1:
        problems.append(f"block must be >= 1, got {block}")
    if problems:
        raise InputError(problems)
    return Method(method)
