"""T-MAC: look-ups in tables of four activations, a bit of the weights at a time, on a CPU.

Wei et al., "T-MAC" (EuroSys 2025, arXiv 2407.00088), and its code (microsoft/T-MAC, `lut_ctor.cc`,
`tbl.cc`, `qgemm.py`). A table has all 16 signed sums of four activations, bit = 0 for minus. Planes
of unsigned weights q of b bits, read as s = +-1, count alpha = 1/2, 1, 2, 4 (golden identity 4):

    q - 2^(b-1) = sum_i alpha_i s_i - 1/2

The -1/2 is the bias of plane 0, minus the sum of the activations: entry 0 of every table.

- `gemm_t_mac_exact`: integer activations and tables, nothing is rounded.
- `gemm_t_mac`: tables are rounded to INT8, to nearest even, with one scale for `activation_group`
  activations. Exact from there on: sums of the tables of such a group, in 16 bits that wrap; every
  addition that overflows is counted (none can with up to 256 tables). Rounded to float32 at each
  operation: table entries, scales, and all that follows the sums.
- `fast`: instead of sums a tree of rounding-halving additions, times the number of tables, less
  the mean error of the roundings; log2(tables) / 4 in it is an integer division, as in the code.

The order is that of the NEON code (pairs first; biases by eight tables), in FP32 where it has FP16.
assumed: a product and the addition after it round apart, as the source has it; compilers may fuse.
assumed: a zero point adds 2 (zero - 2^(b-1)) scale x bias to plane 0, as in `_reference`; the AVX2
code leaves the factor out. A last short group is padded with activations of 0, where the code
refuses. Left out: one scale for a whole matrix (BitNet), the tiled layout of weights.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.numerics import refusals
from simulator.numerics.exact import check_operands
from simulator.numerics.word import (
    Number,
    Real,
    Word,
    bit,
    larger_real,
    like,
    looked_up,
    remembered,
    value_of,
)

#: Activations of a table, tables whose biases are added first, entries of a quantised table.
GROUP, BIASES, LARGEST = 4, 8, 127
#: Magnitudes of activations whose scales and their inverses are normal float32 numbers.
SMALLEST_ACTIVATION, LARGEST_ACTIVATION = 1e-30, 1e30


@dataclass(frozen=True)
class Setting:
    """Bits of a weight, weights of a scale, activations of a table scale, the averaging tree.

    Errors: InputError for bits beyond 1 to 4, activation groups that are no power of two from 32 to
    4096, groups that are no multiple of them.
    """

    bits: int
    group: int = 128
    activation_group: int = 64
    fast: bool = False

    def __post_init__(self) -> None:
        """Refuse impossible settings, all problems in one error."""
        problems = _bit_problems(self.bits)
        size = self.activation_group
        if size not in (32, 64, 128, 256, 512, 1024, 2048, 4096):
            problems.append(f"activation_group must be a power of two from 32 to 4096, got {size}")
        elif self.group < 1 or self.group % size:
            problems.append(f"group must be a multiple of {size} activations, got {self.group}")
        if problems:
            raise InputError(problems)

    @property
    def tables(self) -> int:
        """Tables that share a scale."""
        return self.activation_group // GROUP

    @property
    def tree_bias(self) -> int:
        """Mean error of the tree in steps of a table and per table, of all planes, at plane 0."""
        levels = self.tables.bit_length() - 1
        return levels // 4 * ((1 << self.bits) - 1)


class Product(NamedTuple):
    """Values (M, N), and how many additions overflowed 16 bits."""

    values: NDArray[np.float32]
    overflows: int


class QuantisedTables(NamedTuple):
    """INT8 tables of one activation group, their scale, and minus the sum of its activations."""

    entries: list[list[Number]]
    scale: Any
    bias: Any


def alphas(bits: int) -> list[float]:
    """Return what each plane counts."""
    return [2.0 ** (place - 1) for place in range(bits)]


@remembered
def signed_sums(four: list[Any]) -> list[Any]:
    """Return the 16 sums of +-a_k, plus where bit k of the index is 1; integers, words or floats.

    Those with the first activation positive are built, the others are mirrored.
    """
    first, *rest = four
    table: list[Any] = [first] * 16
    for index in range(1, 16, 2):
        for place, value in enumerate(rest, start=1):
            table[index] = table[index] + value if bit(index, place) else table[index] - value
    for index in range(0, 16, 2):
        table[index] = 0 - table[15 - index]
    return table


def dot_twice(activations: list[Number], weights: list[int], bits: int) -> Number:
    """Return 2 sum of a_k (q_k - 2^(b-1)), exactly: doubled, as alpha_0 is a half.

    The length is a multiple of GROUP; weights are unsigned codes.
    """
    total: Number = 0
    for start in range(0, len(activations), GROUP):
        table = signed_sums(activations[start : start + GROUP])
        four = weights[start : start + GROUP]
        total = total + table[0]
        for place in range(bits):
            total = total + (looked_up(table, index_of(four, place)) << place)
    return total


def index_of(four: list[int], place: int) -> int:
    """Return the index that one bit of four weights is."""
    return sum(bit(weight, place) << k for k, weight in enumerate(four))


def quantised_tables(activations: list[Any]) -> QuantisedTables:
    """Return the INT8 tables of one activation group; float32 at each operation."""
    fours = [activations[start : start + GROUP] for start in range(0, len(activations), GROUP)]
    largest, *sizes = [abs(a) + abs(b) + abs(c) + abs(d) for a, b, c, d in fours]
    for size in sizes:
        largest = larger_real(largest, size, "fp32")
    scale = largest / np.float32(LARGEST)
    inverse = np.float32(1) / scale if float(scale) else scale
    tables = [signed_sums(four) for four in fours]
    # No entry is beyond the largest sum of magnitudes: the saturation of the code never acts.
    entries = [[to_integer(entry * inverse) for entry in table] for table in tables]
    bias: Any = np.float32(0)
    for start in range(0, len(tables), BIASES):
        part: Any = np.float32(0)
        for table in tables[start : start + BIASES]:
            part = part + table[0]
        bias = bias + part
    return QuantisedTables(entries, scale, bias)


def to_integer(entry: Any) -> Number:
    """Return the integer that is nearest to a table's entry, ties to even."""
    if isinstance(entry, Real):
        return Word(int(np.rint(entry.done("round int8", entry.value).value)), entry.tally)
    return int(np.rint(entry))


def from_integer(total: Number) -> Any:
    """Return an integer of 16 bits in float32, which holds it."""
    if isinstance(total, Word):
        return total.tally.real(np.float32(0)).done("round fp32", np.float32(total.value))
    return np.float32(total)


def wrapped(total: Number) -> tuple[Number, bool]:
    """Return what 16 bits keep of a sum, and whether that is another number: wires."""
    value = (int(total) + 0x8000 & 0xFFFF) - 0x8000
    return like(total, value), value != int(total)


def sum_16(entries: list[Number]) -> tuple[Number, int]:
    """Return the sum of an even number of INT8 entries in 16 bits, and the overflows; pairs first.

    A pair never overflows.
    """
    pairs = [a + b for a, b in zip(entries[::2], entries[1::2], strict=True)]
    total, overflows = pairs[0], 0
    for pair in pairs[1:]:
        total, over = wrapped(total + pair)
        overflows += over
    return total, overflows


def averaged(entries: list[Number]) -> Number:
    """Return the tree of (a + b + 1) >> 1; the length is a power of two.

    An element is one addition: the 1 is its carry, the shift is wires.
    """
    while len(entries) > 1:
        sums = [a + b for a, b in zip(entries[::2], entries[1::2], strict=True)]
        entries = [like(total, int(total) + 1 >> 1) for total in sums]
    return entries[0]


def dot_quantised(
    activations: list[Any],
    weights: list[int],
    scales: list[np.float32],
    moved: list[np.float32],
    setting: Setting,
) -> tuple[np.float32, int]:
    """Return (value, overflows) of one output; scales and `moved_zeros` by group.

    Activations are float32, or `Real` of it. The length is a multiple of the activation group; the
    last group may have fewer of these.
    """
    planes: list[Any] = [np.float32(0)] * setting.bits
    overflows = 0
    for index, start in enumerate(range(0, len(activations), setting.group)):
        part = slice(start, start + setting.group)
        sums, bias, over = _group(activations[part], weights[part], setting)
        for place, total in enumerate(sums):
            planes[place] = planes[place] + total * scales[index]
        planes[0] = planes[0] + moved[index] * (np.float32(2) * bias)
        overflows += over
    value: Any = np.float32(0)
    for alpha, plane in zip(alphas(setting.bits), planes, strict=True):
        value = value + np.float32(alpha) * plane
    return np.float32(value_of(value)), overflows


def _group(
    activations: list[Any], weights: list[int], setting: Setting
) -> tuple[list[Any], Any, int]:
    """Return the planes' sums over one weight group, its bias without the tree's, overflows."""
    sums: list[Any] = [np.float32(0)] * setting.bits
    bias: Any = np.float32(0)
    overflows = 0
    for start in range(0, len(activations), setting.activation_group):
        part = slice(start, start + setting.activation_group)
        tables = quantised_tables(activations[part])
        bias = bias + tables.bias
        scale, offset = tables.scale, tables.bias
        if setting.fast:
            scale = scale * np.float32(setting.tables)
            offset = offset - scale * np.float32(setting.tree_bias)
        for place in range(setting.bits):
            inner, over = _look_up_all(tables, weights[part], place, setting)
            term = from_integer(inner) * scale
            sums[place] = sums[place] + (term if place else term + offset)
            overflows += over
    return sums, bias, overflows


def _look_up_all(
    tables: QuantisedTables, weights: list[int], place: int, setting: Setting
) -> tuple[Number, int]:
    found: list[Number] = [
        looked_up(table, index_of(weights[GROUP * k : GROUP * k + GROUP], place))
        for k, table in enumerate(tables.entries)
    ]
    return (averaged(found), 0) if setting.fast else sum_16(found)


def moved_zeros(
    zeros: NDArray[np.integer[Any]], scales: NDArray[np.float32], bits: int
) -> NDArray[np.float32]:
    """Return (zero - 2^(b-1)) scale, in float32."""
    moved: NDArray[np.float32] = (zeros.astype(np.int64) - (1 << bits - 1)).astype(np.float32)
    return moved * scales


def gemm_t_mac_exact(
    activations: NDArray[np.integer[Any]], weights: NDArray[np.integer[Any]], bits: int
) -> NDArray[np.int32]:
    """Return activations (M, K) x (q - 2^(b-1)) of codes q (N, K), exactly, by full tables.

    Errors: InputError for what is no pair of integer matrices, bits beyond 1 to 4, codes that they
    do not hold, K beyond what int32 holds.
    """
    check_operands(activations, weights)
    problems = _bit_problems(bits) or _code_problems(weights, bits)
    size = max(abs(int(activations.max())), abs(int(activations.min()))) if activations.size else 0
    if not problems and activations.shape[1] * size << bits >= 1 << 31:
        problems.append(f"K: sums of {activations.shape[1]} products do not fit into 32 bits")
    if problems:
        raise InputError(problems)
    from simulator.numerics.t_mac_kernel import exact_sums

    padding = ((0, 0), (0, -activations.shape[1] % (2 * GROUP)))
    x = np.pad(activations.astype(np.int32), padding)
    return exact_sums(x, indices(np.pad(weights.astype(np.uint8), padding), bits))


def gemm_t_mac(
    activations: NDArray[np.float32],
    weights: NDArray[np.integer[Any]],
    scales: NDArray[np.float32],
    zeros: NDArray[np.integer[Any]] | None,
    setting: Setting,
) -> Product:
    """Return activations (M, K) x dequantised weights (N, K) transposed, by INT8 tables.

    weights: unsigned codes q of scale (q - zero); scales, zeros: (N, groups), the last group may be
    short; without zeros, zero is 2^(b-1). Errors: InputError for other dtypes, shapes that do not
    fit, codes that the bits do not hold, activations not 0 or of magnitude 1e-30 to 1e30.
    """
    _check(activations, weights, scales, zeros, setting)
    padding = ((0, 0), (0, -activations.shape[1] % setting.activation_group))
    x = np.pad(activations, padding)
    found = indices(np.pad(weights.astype(np.uint8), padding), setting.bits)
    moved = np.zeros_like(scales) if zeros is None else moved_zeros(zeros, scales, setting.bits)
    by_group = scales.T.copy(), moved.T.copy()
    values = np.zeros((len(activations), len(weights)), dtype=np.float32)
    overflows = sum(_row(x[m], found, by_group, setting, values[m]) for m in range(len(x)))
    return Product(values, overflows)


def scales_and_biases(
    activations: NDArray[np.float32], tables: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the scales and biases (groups) of a row's groups of tables, as `quantised_tables`.

    Additions one after the other: `np.sum` has an order of its own.
    """
    fours = activations.reshape(-1, tables, GROUP)
    sizes = np.add.accumulate(np.abs(fours), axis=2)[:, :, -1]
    sums = np.add.accumulate(fours, axis=2)[:, :, -1].reshape(-1, tables // BIASES, BIASES)
    parts = np.add.accumulate(sums, axis=2)[:, :, -1]
    return sizes.max(axis=1) / np.float32(LARGEST), -np.add.accumulate(parts, axis=1)[:, -1]


def _row(
    activations: NDArray[np.float32],
    found: NDArray[np.uint8],
    by_group: tuple[NDArray[np.float32], NDArray[np.float32]],
    setting: Setting,
    out: NDArray[np.float32],
) -> int:
    """Set one row of outputs (N) from `indices` and (scales, moved zeros) (groups, N)."""
    from simulator.numerics.t_mac_kernel import BLOCK, row_plane, row_tables

    scales, biases = scales_and_biases(activations, setting.tables)
    inverses = np.divide(np.float32(1), scales, out=np.zeros_like(scales), where=scales != 0)
    both = row_tables(activations, inverses, setting.tables, setting.fast)
    offsets = biases
    if setting.fast:
        scales = scales * np.float32(setting.tables)
        offsets = biases - scales * np.float32(setting.tree_bias)
    planes = np.zeros((setting.bits, len(out)), dtype=np.float32)
    parts, half, overflows = setting.group // setting.activation_group, setting.tables // 2, 0
    level = np.empty((half, BLOCK), dtype=np.int32)
    for scale, moved, start in zip(*by_group, range(0, len(scales), parts), strict=True):
        part = slice(start, start + parts)
        places = slice(start * half, (start + parts) * half)
        for place in range(setting.bits):
            offset = np.zeros_like(offsets[part]) if place else offsets[part]
            inner = np.zeros_like(out)
            overflows += row_plane(
                both[part], found[place, places], scales[part], offset, setting.fast, level, inner
            )
            planes[place] += inner * scale
        # Not `sum`, and not `np.sum`: one addition after the other, in float32.
        bias = np.add.accumulate(biases[part])[-1]
        planes[0] += moved * (np.float32(2) * bias)
    for alpha, plane in zip(alphas(setting.bits), planes, strict=True):
        out += np.float32(alpha) * plane
    return overflows


def indices(codes: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Return indices (bits, K / 8, N) of codes (N, K) into pairs of tables, the first one low."""
    rows, depth = codes.shape
    eight = codes.reshape(rows, depth // 8, 8)
    found = np.empty((bits, depth // 8, rows), dtype=np.uint8)
    for place in range(bits):
        found[place] = np.packbits(eight >> place & 1, axis=2, bitorder="little")[:, :, 0].T
    return found


def _bit_problems(bits: int) -> list[str]:
    return [] if 1 <= bits <= 4 else [f"bits must be 1 to 4, got {bits}"]


def _code_problems(weights: NDArray[Any], bits: int) -> list[str]:
    if weights.size and not 0 <= int(weights.min()) <= int(weights.max()) < 1 << bits:
        return [f"weights: {bits} bits hold 0 to {(1 << bits) - 1}"]
    return []


def _check(
    activations: NDArray[Any],
    weights: NDArray[Any],
    scales: NDArray[Any],
    zeros: NDArray[Any] | None,
    setting: Setting,
) -> None:
    problems = refusals.dtypes(np.float32, activations=activations, scales=scales)
    problems += refusals.dtypes(np.integer, weights=weights, zeros=zeros)
    problems += refusals.shapes(activations, weights)
    if problems:
        raise InputError(problems)
    expected = (weights.shape[0], -(-weights.shape[1] // setting.group))
    problems = refusals.metadata(expected, scales=scales, zeros=zeros)
    problems += _code_problems(weights, setting.bits)
    size = np.abs(activations)
    wrong = ~((size == 0) | ((size >= SMALLEST_ACTIVATION) & (size <= LARGEST_ACTIVATION)))
    if wrong.any():
        problems.append(
            "activations: magnitudes must be 0 or 1e-30 to 1e30; "
            f"{int(wrong.sum())} of {size.size} are not"
        )
    if problems:
        raise InputError(problems)
