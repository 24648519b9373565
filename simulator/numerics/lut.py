"""LUT tensor core: sums of four activations from a table, one bit of the weights at a time.

Mo et al., "LUT Tensor Core" (ISCA 2025, arXiv 2408.06003), and its code (microsoft/T-MAC, branch
LUTTensorCore_ISCA25, `fp_lut_array_b_cycle_stage1.sv`). Weights in {0, 1} are read as {-1, +1}:
the table of all signed sums of four activations is then odd, LUT[i] = -LUT[~i], and half of it is
enough: the first weight of the four carries the sign, and where it is 1 the address of the others
is complemented beforehand (offline, `pack`). A b-bit weight q with scale s and zero point z becomes

    q' = 2 q - (2^b - 1),   s' = s / 2,   z' = 2 z + 1 - 2^b,   s (q - z) = s' (q' - z')

and b passes add up 2^j LUT_j. Integer activations (`gemm_lut`): exact, in 16 bits between bounds
and in int32. FP16 activations (`gemm_lut_float`), rounded each time to nearest even:

- Table: each of the three additions of an entry, in order from minus the first activation, to FP16.
- FP8 (E4M3) and INT8 tables: the scale, the largest magnitude of all entries of a group over 448 or
  127, and the quotient of entry and scale, to float32; then the entry to its format. assumed: one
  scale a group of weights and row; the paper has INT8 tables with one scale for a few tables, and
  FP8 activations of which the rounding is not stated. FP16 tables have no scale.
- Sum: each addition of 2^j LUT_j, table by table, in each by planes from j = 0 as in the code, to
  the accumulator's format: FP16 there, also FP32 here. assumed: 2^j LUT_j has no limit; the code
  adds j to an exponent of 5 bits that wraps. INT8 sums in FP32 are exact below 2^24.
- Group: the activations' sum, in order of K, to the accumulator's format; in float32 the product
  with the table's scale, z' times that sum, the difference, the product with s', the addition to
  the total, in order of groups. assumed: the order of `shift_add_fp16`, as the code ends at sums.

NaN and infinity go through; subnormals are kept (the code's adder may flush them). INT8 tables
that are built in FP32 and added up in 16 bits: `t_mac`. Left out: tables in other formats.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import frexp, isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.config import unknown
from simulator.errors import InputError
from simulator.formats.minifloat import decode, encode
from simulator.formats.presets import FP8_E4M3FN
from simulator.formats.rounding import Overflow, Rounding
from simulator.numerics import refusals
from simulator.numerics.exact import check_operands
from simulator.numerics.word import Number, bit, looked_up, noted, remembered

#: Activations that one table sums, and the entries of half a table.
GROUP = 4
ENTRIES = 1 << GROUP - 1
#: Activations of two tables, whose addresses share a byte.
PAIR = 2 * GROUP
#: Magnitudes that partial sums of 16 bits hold.
LARGEST_16 = (1 << 15) - 1
#: Formats of tables of FP16 activations, with their largest value where they have a scale.
TABLES = {"fp16": None, "fp8": 448, "int8": 127}
#: Formats of `mac_tree.ROUNDED` that sums may have here, as NumPy's.
ACCUMULATORS: dict[str, type[np.float16 | np.float32]] = {
    "fp16": np.float16,
    "fp32": np.float32,
}
Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Packed:
    """Weights as the hardware reads them, packed once for all activations: see `pack`.

    indices: (bits, ceil(K / 8), N), a byte for eight weights: in each half three bits of address
    and, highest, the sign. depth: K, without padding.
    """

    indices: NDArray[np.uint8]
    depth: int

    @property
    def bits(self) -> int:
        """Bits of a weight."""
        return len(self.indices)


@dataclass(frozen=True)
class Setting:
    """Bits of a weight, weights of a scale, formats of tables (of TABLES) and of ACCUMULATORS.

    Errors: InputError for bits beyond 1 to 8, groups below 1, unknown formats.
    """

    bits: int
    group: int = 128
    table: str = "fp16"
    accumulator: str = "fp16"

    def __post_init__(self) -> None:
        """Refuse impossible settings, all problems in one error."""
        problems = _bit_problems(self.bits)
        if self.group < 1:
            problems.append(f"group must be >= 1, got {self.group}")
        if self.table not in TABLES:
            problems.append(unknown("table", self.table, TABLES))
        problems += refusals.accumulators([self.accumulator], ACCUMULATORS)
        if problems:
            raise InputError(problems)


@remembered
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


def dot_lut(activations: list[Number], weights: list[int], bits: int, start: Number = 0) -> Number:
    """Return start + sum of a_k q'_k, q' = 2 q - (2^b - 1): b look-ups for each four activations.

    The length is a multiple of GROUP; weights are unsigned codes of `bits` bits. start: the partial
    sum that is fed back.
    """
    total = start
    for start in range(0, len(activations), GROUP):
        table = half_table(activations[start : start + GROUP])
        four = weights[start : start + GROUP]
        for place in range(bits):
            address, sign = address_of(sum(bit(q, place) << k for k, q in enumerate(four)))
            # A pass of the array is one bit of the weights.
            entry = looked_up(table, address)
            entry = noted(entry, "pass", int(entry))
            # A sign is one exclusive or and a carry: the adder subtracts.
            total = total - (entry << place) if sign else total + (entry << place)
    return total


def reinterpreted(scale: float, zero: int, bits: int) -> tuple[float, int]:
    """Return (s', z') such that s (q - z) = s' (q' - z') with q' = 2 q - (2^b - 1)."""
    return scale / 2, 2 * zero + 1 - (1 << bits)


def half_table_fp16(activations: Sequence[float]) -> list[np.float32]:
    """Return `half_table` of FP16 values, each addition rounded to FP16."""
    first, *rest = (np.float16(value) for value in activations)
    entries = []
    for address in range(ENTRIES):
        total = -first
        for place, value in enumerate(rest):
            total = total + value if bit(address, place) else total - value
        entries.append(np.float32(total))
    return entries


def rounded_fp8(value: float) -> float:
    """Return a value rounded to E4M3 as if it had no largest value; NaN goes through."""
    if not isfinite(value):
        return value
    # Four bits of significand; below 2^-6 the step stays that of the smallest normal value.
    step = 2.0 ** (max(frexp(value)[1], -5) - 4)
    return round(value / step) * step


def rounded_table(entry: np.float32, scale: np.float32, table: str) -> float:
    """Return an entry of an FP8 or INT8 table in units of its scale, 0 where all entries are."""
    quotient = entry / scale if scale else np.float32(0)
    # Quotients are at most one rounding beyond the largest value, which they round to.
    return rounded_fp8(float(quotient)) if table == "fp8" else float(np.rint(quotient))


@lru_cache(maxsize=2048)
def rounded_tables(
    activations: tuple[float, ...], table: str
) -> tuple[list[list[float]], np.float32]:
    """Return the half tables of one group of activations, and their scale.

    They are kept: as in hardware, all outputs of a row share them.
    """
    starts = range(0, len(activations), GROUP)
    tables = [half_table_fp16(activations[start : start + GROUP]) for start in starts]
    largest = TABLES[table]
    if largest is None:
        return [[float(entry) for entry in each] for each in tables], np.float32(1)
    scale = np.abs(tables).max() / np.float32(largest)
    return [[rounded_table(entry, scale, table) for entry in each] for each in tables], scale


def dot_lut_float(
    activations: Sequence[float],
    weights: Sequence[int],
    scales: Sequence[np.float32],
    zeros: Sequence[int],
    setting: Setting,
) -> np.float32:
    """Return one output, one operation at a time: the specification of `gemm_lut_float`.

    scales, zeros: by group.
    """
    total, stored = np.float32(0), ACCUMULATORS[setting.accumulator]
    with np.errstate(over="ignore", invalid="ignore"):
        for index, start in enumerate(range(0, len(activations), setting.group)):
            part = slice(start, start + setting.group)
            inner = _group(activations[part], weights[part], setting)
            shared = np.float32(0)
            for value in activations[part]:
                shared = np.float32(stored(float(shared) + value))
            half, zero = reinterpreted(1, zeros[index], setting.bits)
            corrected = inner - np.float32(zero) * shared
            total = total + corrected * (np.float32(half) * scales[index])
    return total


def _group(activations: Sequence[float], weights: Sequence[int], setting: Setting) -> np.float32:
    """Return the sum of activations times q' over one group, with the table's scale."""
    padding = [0] * (-len(weights) % GROUP)
    tables, scale = rounded_tables((*activations, *padding), setting.table)
    codes, total = [*weights, *padding], 0.0
    stored = ACCUMULATORS[setting.accumulator]
    for index, table in enumerate(tables):
        four = codes[GROUP * index : GROUP * index + GROUP]
        for place in range(setting.bits):
            address, sign = address_of(sum(bit(q, place) << k for k, q in enumerate(four)))
            entry = (-table[address] if sign else table[address]) * (1 << place)
            total = float(stored(total + entry))
    return np.float32(total) * scale


def pack(weights: NDArray[np.integer[Any]], bits: int) -> Packed:
    """Return unsigned codes (N, K) of `bits` bits (1 to 8) packed: the offline complement.

    Errors: InputError for what is no matrix of integers, codes that the bits do not hold.
    """
    problems = refusals.dtypes(np.integer, weights=weights)
    if weights.ndim != 2:
        problems.append(f"weights: expected (N, K), got shape {weights.shape}")
    problems = problems or _bit_problems(bits) or _code_problems(weights, bits)
    if problems:
        raise InputError(problems)
    from simulator.numerics.lut_kernel import pack_words

    words = _padded(weights.astype(np.uint8, copy=False)).view("<u8")
    return Packed(pack_words(words, bits), weights.shape[1])


def gemm_packed(activations: NDArray[np.integer[Any]], weights: Packed) -> NDArray[np.int32]:
    """Return sum over K of activations (M, K) x q' of packed weights, by half tables, exactly.

    Errors: InputError for what is no matrix of integers (M, K), activations beyond 16 bits, K
    beyond what int32 holds.
    """
    problems = refusals.dtypes(np.integer, activations=activations)
    if activations.ndim != 2 or activations.shape[1] != weights.depth:
        problems.append(
            f"activations: expected shape (M, {weights.depth}), got {activations.shape}"
        )
    problems = problems or _sum_problems(activations, weights.bits)
    if problems:
        raise InputError(problems)
    from simulator.numerics.lut_kernel import BLOCK, integer_tables, look_up_all

    # So many pairs of tables add up in 16 bits, each to at most eight activations; 0: none.
    most = LARGEST_16 // max(1, PAIR * _largest(activations))
    kind: type[np.signedinteger[Any]] = np.int16 if most else np.int32
    tables = integer_tables(_padded(activations.astype(kind)))
    result = np.zeros((len(activations), weights.indices.shape[2]), dtype=np.int32)
    partial = np.empty(BLOCK, dtype=kind)
    look_up_all(tables, weights.indices, most or activations.shape[1], partial, result)
    return result


def gemm_lut(
    activations: NDArray[np.integer[Any]], weights: NDArray[np.integer[Any]], bits: int
) -> NDArray[np.int32]:
    """Return sum over K of activations (M, K) x q' of unsigned codes (N, K), by half tables.

    K is padded with activations of 0. Errors: InputError for what is no pair of integer matrices,
    codes that `bits` (1 to 8) do not hold, activations beyond 16 bits, K beyond what int32 holds.
    """
    check_operands(activations, weights)
    return gemm_packed(activations, pack(weights, bits))


def gemm_lut_float(
    activations: NDArray[np.float16],
    weights: NDArray[np.integer[Any]],
    scales: Floats,
    zeros: NDArray[np.integer[Any]] | None,
    setting: Setting,
) -> Floats:
    """Return activations (M, K) x dequantised weights (N, K) transposed, by rounded half tables.

    weights: unsigned codes q of scale (q - zero); scales, zeros: (N, groups), the last group may be
    short; without zeros, zero is 2^(b-1). A group is padded with activations of 0 to a multiple of
    four. What is rounded where: see the module. Errors: InputError for other dtypes, shapes that do
    not fit, codes and zeros that the bits do not hold.
    """
    _check_float(activations, weights, scales, zeros, setting)
    from simulator.numerics.lut_kernel import KINDS, look_up_rounded

    total = np.zeros((len(activations), len(weights)), dtype=np.float32)
    stored, kind = ACCUMULATORS[setting.accumulator], KINDS[setting.accumulator]
    # `reinterpreted`, of arrays; without zeros, z' is 1.
    moved = np.ones_like(scales)
    if zeros is not None:
        moved = (2 * zeros.astype(np.int32) + 1 - (1 << setting.bits)).astype(np.float32)
    halves = scales * np.float32(0.5)
    with np.errstate(over="ignore", invalid="ignore"):
        for index in range(scales.shape[1]):
            part = slice(index * setting.group, (index + 1) * setting.group)
            x = activations[:, part]
            tables, table_scales = _rounded(x, setting.table)
            inner = look_up_rounded(tables, pack(weights[:, part], setting.bits).indices, kind)
            # Not `np.sum`: one addition after the other.
            shared = np.add.accumulate(x.astype(stored), axis=1)[:, -1:].astype(np.float32)
            total += (inner * table_scales - moved[:, index] * shared) * halves[:, index]
    return total


def _rounded(activations: NDArray[np.float16], table: str) -> tuple[Floats, Floats]:
    """Return the half tables (M, K / 4, 8) of one group and their scales (M, 1)."""
    from simulator.numerics.lut_kernel import fp16_tables

    tables = fp16_tables(_padded(activations.astype(np.float32)))
    largest = TABLES[table]
    if largest is None:
        return tables, np.ones((len(tables), 1), dtype=np.float32)
    scales = np.abs(tables).max(axis=(1, 2)) / np.float32(largest)
    by_row = scales[:, None, None]
    quotients = np.divide(tables, by_row, out=np.zeros_like(tables), where=by_row != 0)
    if table == "int8":
        return np.rint(quotients), scales[:, None]
    codes = encode(FP8_E4M3FN, quotients, Rounding.NEAREST_EVEN, Overflow.SATURATE)
    return decode(FP8_E4M3FN, codes), scales[:, None]


def _padded(matrix: NDArray[Any]) -> NDArray[Any]:
    """Return a matrix whose rows are whole pairs of tables, zeros at their ends."""
    padding = -matrix.shape[1] % PAIR
    return np.ascontiguousarray(np.pad(matrix, ((0, 0), (0, padding))) if padding else matrix)


def _largest(values: NDArray[Any]) -> int:
    """Return the largest magnitude, as a Python integer: -128 has one in 8 bits."""
    return max(abs(int(values.max())), abs(int(values.min()))) if values.size else 0


def _bit_problems(bits: int) -> list[str]:
    return [] if 1 <= bits <= 8 else [f"bits must be 1 to 8, got {bits}"]


def _code_problems(codes: NDArray[Any], bits: int, name: str = "weights") -> list[str]:
    if codes.size and not 0 <= int(codes.min()) <= int(codes.max()) < 1 << bits:
        return [f"{name}: {bits} bits hold 0 to {(1 << bits) - 1}"]
    return []


def _sum_problems(activations: NDArray[Any], bits: int) -> list[str]:
    size, depth = _largest(activations), activations.shape[1]
    if size >= 1 << 15:
        return [f"activations: at most 16 bits, got {size}"]
    if depth * size << bits >= 1 << 31:
        return [f"K: sums of {depth} products do not fit into 32 bits"]
    return []


def _check_float(
    activations: NDArray[Any],
    weights: NDArray[Any],
    scales: NDArray[Any],
    zeros: NDArray[Any] | None,
    setting: Setting,
) -> None:
    problems = refusals.dtypes(np.float16, activations=activations)
    problems += refusals.dtypes(np.float32, scales=scales)
    problems += refusals.dtypes(np.integer, weights=weights, zeros=zeros)
    problems += refusals.shapes(activations, weights)
    if problems:
        raise InputError(problems)
    expected = (weights.shape[0], -(-weights.shape[1] // setting.group))
    problems = refusals.metadata(expected, scales=scales, zeros=zeros)
    problems += _code_problems(weights, setting.bits)
    if zeros is not None:
        problems += _code_problems(zeros, setting.bits, "zeros")
    if problems:
        raise InputError(problems)
