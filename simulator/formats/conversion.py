"""Values to codes and back for every named format: what `Format.encode` and `.decode` do.

Plain formats (`int8`, `fp8_e4m3fn`, `nf4`) give an array of codes, bit patterns in unsigned
integers; ternary digits are 0, 1, 2, those of `ternary2` two bits of two's complement. Formats with
scales give an `Encoded`. How scales are chosen:

- Integers: by minimum and maximum (`scaling.rtn`). With -s8, symmetric groups only: integer scales
  under an FP16 scale of the channel (`two_level`), which the format does not count. Dynamic fixed
  point: `scaling.dynamic_fixed_point`. QServe: `two_level.qserve`, which counts both levels.
- Floats, codebooks and bipolar integers: the largest magnitude of a group on the format's largest.
  BitMoD and ANT: the table with the least squared error (`codebook.choose`), BitMoD then with 8-bit
  scales as above.
- OliVe's pairs: |mean| + 3 standard deviations (of n - 1) on the largest normal value, where the
  released code starts its search for a better scale.
- Ternary: the mean magnitude (`scaling.absmean`). Blocks: `block`, with a tensor scale for *_t32.

Overflow other than saturation is for plain floats: where scales are chosen, nothing overflows but
by rounding. NaN: floats that have it keep it, what shares a block becomes NaN, all else refuses it.
Infinity: plain formats saturate, or overflow as told; blocks become NaN; chosen scales refuse it.
-0: kept by floats and tables that have it, else 0; bipolar integers have no zero, so that 0 is +1
times the scale, which is 1 for a group of zeros. FP32 takes float64 to nearest even.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulator.config import did_you_mean
from simulator.errors import InputError
from simulator.formats import codebook, minifloat
from simulator.formats.block import block_format
from simulator.formats.codebook import Codebook
from simulator.formats.format import Format
from simulator.formats.groups import Sharing, group_sizes, reduce_groups, spread
from simulator.formats.integer import (
    Doubles,
    FixedPoint,
    Integer,
    Integers,
    round_all,
    whole_or_fixed,
)
from simulator.formats.minifloat import Codes, Floats, Minifloat
from simulator.formats.outlier_victim import OLIVES, decode_pairs, encode_pairs
from simulator.formats.presets import minifloat as minifloat_named
from simulator.formats.rounding import Overflow, Rounding
from simulator.formats.scaling import absmean, checked, dynamic_fixed_point, rtn, scales_of
from simulator.formats.ternary import TERNARY_2BIT, TERNARY_5_IN_8
from simulator.formats.two_level import TwoLevel, integer_scales, qserve, vs_quant

#: What the codes of a format mean.
Table = Codebook | Minifloat | Integer | FixedPoint

_FP32_MOST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False)
class Encoded:
    """An array in a format with scales: value = (element - zero) * scale of its group.

    codes: in the shape of the values; integers and ternary values themselves, else bit patterns.
    scales: their values, one for each group, with as many axes, the outer scale included; zeros:
    likewise, None: symmetric. sizes: of a group along every axis; the last group of an axis may be
    short. selectors: which of `codebook.tables` a group uses, None where there is one.
    outer_scales: of the channels (..., 1) or of the tensor, a factor of `scales`; None: one level.
    """

    format: Format
    codes: Integers
    scales: Floats
    zeros: Integers | None
    sizes: tuple[int, ...]
    selectors: NDArray[np.uint8] | None = None
    outer_scales: Floats | None = None

    def values(self) -> Doubles:
        """Return the values, exactly: float64 holds every product."""
        elements = _elements(self)
        if self.zeros is not None:
            elements = elements - spread(self.zeros, self.sizes, self.codes.shape)
        scales = spread(self.scales.astype(np.float64), self.sizes, self.codes.shape)
        result: Doubles = elements * scales
        return result

    @property
    def bits_per_value(self) -> Fraction:
        """Mean bits of one value, the metadata of all groups included; 0 of nothing."""
        reduction = self.codes.shape[-1]
        rows = self.codes.size // max(1, reduction)
        metadata = self.format.metadata_bits(rows, reduction)
        total = self.codes.size * self.format.value_bits + metadata
        return total / max(1, self.codes.size)


def encode(
    form: Format,
    values: ArrayLike,
    rounding: Rounding | str = Rounding.NEAREST_EVEN,
    overflow: Overflow | str = Overflow.SATURATE,
    seed: int = 0,
) -> Codes | Encoded:
    """Return values in a format: codes, or an `Encoded` where groups share scales.

    values: float16, float32 or float64 in any shape; groups lie along the last axis. rounding and
    overflow: by member or name; element i of the flattened array draws random number i of `seed`.
    Errors: InputError for other dtypes, unknown names, an overflow or a value that the format has
    no code for, a suffix without arithmetic (8-bit scales of anything but symmetric groups).
    """
    by = _member(Rounding, "rounding", rounding)
    to = _member(Overflow, "overflow", overflow)
    array = np.asarray(values)
    if array.dtype not in (np.float16, np.float32, np.float64):
        raise InputError(
            f"{form.name}: values must be float16, float32 or float64, got {array.dtype}"
        )
    array = array.astype(np.float32) if array.dtype == np.float16 else array
    if to is not Overflow.SATURATE and (form.kind != "float" or form.granularity != "none"):
        raise InputError(
            f"{form.name}: only plain floats overflow to {to}; use overflow='saturate'"
        )
    if form.granularity == "none":
        return _encode_plain(form, array, by, to, seed)
    return _encode_scaled(form, array, by, seed)


def decode(form: Format, encoded: Integers | Encoded) -> Floats:
    """Return the values of what `encode` gave, exactly: float32 or float64.

    Errors: InputError for what another format encoded, and for codes that are none.
    """
    if isinstance(encoded, Encoded):
        if encoded.format != form:
            raise InputError(f"{form.name}: encoded as {encoded.format.name}")
        return encoded.values()
    if form.granularity != "none":
        raise InputError(f"{form.name}: expected what encode gave, with its scales; got an array")
    codes = np.asarray(encoded)
    if codes.dtype.kind not in "iu":
        raise InputError(f"{form.name}: codes must be integers, got {codes.dtype}")
    if form.base == "fp32":
        return codes.astype(np.uint32).view(np.float32)
    if form.kind == "ternary":
        return _ternary_values(form, codes)
    return _plain_values(form, codes)


def _member(kind: type[Any], what: str, given: str) -> Any:
    try:
        return kind(given)
    except ValueError:
        names = [str(each) for each in kind]
        near = did_you_mean(str(given), names) or f"; known: {', '.join(names)}"
        raise InputError(f"unknown {what} {given!r}{near}") from None


def _tables(form: Format) -> tuple[Table, ...]:
    """Return what the codes of a base mean, by selector."""
    match form.kind:
        case "float":
            return (minifloat_named(form.base),)
        case "codebook":
            return codebook.tables(form.base)
        case "block":
            return (block_format(form.base).element,)
        case _:
            return (whole_or_fixed(form.base),)


def _plain_values(form: Format, codes: Integers) -> Floats:
    if form.base in OLIVES:
        return decode_pairs(OLIVES[form.base], codes)
    return _table_values(_tables(form)[0], codes)


def _table_values(table: Table, codes: Integers) -> Floats:
    if isinstance(table, Codebook):
        return codebook.decode(table, codes)
    if isinstance(table, Minifloat):
        return minifloat.decode(table, codes)
    return table.decode(codes).astype(np.float64)


def _digits(form: Format) -> tuple[int | None, ...]:
    return (TERNARY_2BIT if form.base == "ternary2" else TERNARY_5_IN_8).values


def _ternary_values(form: Format, codes: Integers) -> Doubles:
    digits = _digits(form)
    known = [code for code, value in enumerate(digits) if value is not None]
    if not np.isin(codes, known).all():
        raise InputError(f"{form.name}: codes must be {known[0]}, {known[1]} or {known[2]}")
    values: Doubles = np.array([value or 0 for value in digits], np.float64)[codes]
    return values


def _ternary_codes(form: Format, values: Floats, rounding: Rounding, seed: int) -> Codes:
    codebook.refuse_nan(form.name, values)
    inside = np.clip(values.astype(np.float64), -1, 1)
    whole = round_all(inside, rounding, seed).astype(np.int64)
    codes = np.array([_digits(form).index(value) for value in (-1, 0, 1)], np.uint8)
    digits: Codes = codes[whole + 1]
    return digits


def _encode_plain(
    form: Format, values: Floats, rounding: Rounding, overflow: Overflow, seed: int
) -> Codes:
    if form.base == "fp32":
        return _fp32(values, rounding, overflow).view(np.uint32)
    if form.base in OLIVES:
        return encode_pairs(OLIVES[form.base], values, rounding, seed)
    if form.kind == "ternary":
        return _ternary_codes(form, values, rounding, seed)
    return _table_codes(_tables(form)[0], values, rounding, overflow, seed)


def _fp32(values: Floats, rounding: Rounding, overflow: Overflow) -> NDArray[np.float32]:
    if values.dtype == np.float32:
        return values.astype(np.float32)
    if rounding is not Rounding.NEAREST_EVEN:
        raise InputError(f"fp32: float64 is rounded to nearest_even only, got {rounding}")
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float32)
    beyond = np.isinf(rounded)
    match overflow:
        case Overflow.SATURATE:
            rounded[beyond] = np.copysign(np.float32(_FP32_MOST), rounded[beyond])
        case Overflow.NAN:
            rounded[beyond] = np.nan
        case _:
            pass
    return rounded


def _encode_scaled(form: Format, values: Floats, rounding: Rounding, seed: int) -> Encoded:
    match form.kind:
        case "block":
            own = block_format(form.base)
            blocks = own.encode(values, rounding, seed, tensor_scale=form.outer_bits > 0)
            sizes = (*[1] * (values.ndim - 1), blocks.form.block)
            outer = None
            if form.outer_bits:
                outer = np.full((1,) * values.ndim, blocks.tensor_scale, np.float32)
            return Encoded(
                form, blocks.codes, blocks.scale_values(), None, sizes, outer_scales=outer
            )
        case "int" | "uint":
            return _encode_integers(form, values, rounding, seed)
        case "ternary":
            _refuse_narrow_scales(form)
            sharing, group = _sharing(form)
            bits = form.scale_bits
            scaled = absmean(values, sharing, group, rounding=rounding, scale_bits=bits, seed=seed)
            return Encoded(form, scaled.codes, scaled.scales, None, scaled.sizes)
        case "codebook" if form.base in OLIVES:
            return _encode_pairs(form, values, rounding, seed)
        case _:
            return _encode_tables(form, values, rounding, seed)


def _sharing(form: Format) -> tuple[Sharing, int | None]:
    if form.granularity == "none":
        raise ValueError(f"{form.name} shares no scales")
    return form.granularity, form.group


def _refuse_narrow_scales(form: Format) -> None:
    if form.scale_bits not in (16, 32):
        raise InputError(
            f"{form.name}: no arithmetic with {form.scale_bits}-bit scales; they are for symmetric "
            "integers in groups and for bitmod"
        )


def _encode_integers(form: Format, values: Floats, rounding: Rounding, seed: int) -> Encoded:
    """Quantise by minimum and maximum; unsigned without zero point: what is negative becomes 0."""
    bits, (sharing, group) = int(form.value_bits), _sharing(form)
    if form.outer_bits:
        return _encode_qserve(form, values, rounding)
    if form.power_scales:
        fixed = dynamic_fixed_point(values, bits, sharing, group, rounding=rounding, seed=seed)
        return Encoded(form, fixed.codes, fixed.scales, None, fixed.sizes)
    if form.scale_bits == 8 and form.kind == "int" and form.zero_bits == 0 and group is not None:
        two = vs_quant(values, bits, group, scale_bits=8, rounding=rounding, seed=seed)
        return _of_two_levels(form, two)
    _refuse_narrow_scales(form)
    unsigned = form.kind == "uint" and form.zero_bits == 0
    scaled = rtn(
        np.maximum(values, 0) if unsigned else values,
        bits,
        sharing,
        group,
        asymmetric=unsigned or form.zero_bits > 0,
        rounding=rounding,
        scale_bits=form.scale_bits,
        seed=seed,
    )
    zeros = None if unsigned else scaled.zeros
    return Encoded(form, scaled.codes, scaled.scales, zeros, scaled.sizes)


def _encode_qserve(form: Format, values: Floats, rounding: Rounding) -> Encoded:
    if rounding is not Rounding.NEAREST_EVEN:
        raise InputError(f"{form.name}: its two levels round to nearest_even only, got {rounding}")
    return _of_two_levels(form, qserve(values, form.group or 1))


def _of_two_levels(form: Format, two: TwoLevel) -> Encoded:
    outer = two.channel_scales
    scales = two.scales.astype(np.float64) * outer
    sizes = (*[1] * (two.codes.ndim - 1), two.group)
    return Encoded(form, two.codes, scales, two.zeros, sizes, outer_scales=outer)


def _encode_pairs(form: Format, values: Floats, rounding: Rounding, seed: int) -> Encoded:
    """Quantise to OliVe's pairs; what lies beyond the normal values is an outlier."""
    _refuse_narrow_scales(form)
    exact, olive = checked(form.name, values), OLIVES[form.base]
    sharing, group = _sharing(form)
    sizes = group_sizes(form.name, values.shape, sharing, group)
    count = reduce_groups(np.add, np.ones(values.shape), sizes)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = reduce_groups(np.add, exact, sizes) / count
        squares = np.square(exact - spread(mean, sizes, values.shape))
        # A pair is never cut, so that a group has at least two values.
        deviation = np.sqrt(reduce_groups(np.add, squares, sizes) / np.maximum(count - 1, 1))
        spans = np.abs(mean) + 3 * deviation
    scales = scales_of(form.name, spans / olive.largest_normal, 1, form.scale_bits)
    scaled = exact / spread(scales.astype(np.float64), sizes, values.shape)
    return Encoded(form, encode_pairs(olive, scaled, rounding, seed), scales, None, sizes)


def _encode_tables(form: Format, values: Floats, rounding: Rounding, seed: int) -> Encoded:
    """Quantise to a table, of which every group has the best of several (BitMoD, ANT)."""
    exact = checked(form.name, values)
    sharing, group = _sharing(form)
    sizes = group_sizes(form.name, values.shape, sharing, group)
    largest = reduce_groups(np.maximum, np.abs(values), sizes)
    books = _tables(form)
    chosen = _choose(books, exact, sizes, largest.shape)
    limits = np.array([_largest(book) for book in books])[chosen]
    outer = None
    if form.selector_bits and form.scale_bits == 8:
        whole, outer = integer_scales(form.name, largest / limits, 8)
        scales: Floats = whole.astype(np.float64) * outer
    else:
        _refuse_narrow_scales(form)
        scales = scales_of(form.name, largest / limits, 1, form.scale_bits)
    scaled = exact / spread(scales.astype(np.float64), sizes, values.shape)
    codes = np.zeros(values.shape, dtype=minifloat.storage(int(form.value_bits)))
    which = np.broadcast_to(spread(chosen, sizes, values.shape), values.shape)
    for index, book in enumerate(books):
        own = which == index
        # All are encoded, so that element i draws its own random number.
        codes[own] = _table_codes(book, scaled, rounding, Overflow.SATURATE, seed)[own]
    selectors = chosen.astype(np.uint8) if form.selector_bits else None
    return Encoded(form, codes, scales, None, sizes, selectors, outer)


def _largest(book: Table) -> float:
    if isinstance(book, Minifloat):
        return float(book.magnitude(book.largest))
    return float(book.largest if isinstance(book, Codebook) else book.highest)


def _table_codes(
    book: Table, values: Floats, rounding: Rounding, overflow: Overflow, seed: int
) -> Codes:
    if isinstance(book, Codebook):
        return codebook.encode(book, values, rounding, seed)
    if isinstance(book, Minifloat):
        return minifloat.encode(book, values, rounding, overflow, seed)
    return book.encode(values, rounding, overflow, seed)


def _choose(
    books: tuple[Table, ...], values: Doubles, sizes: tuple[int, ...], shape: tuple[int, ...]
) -> NDArray[np.intp]:
    """Return the index of the best table for every group; zeros pad a short one at no error."""
    tables = [book for book in books if isinstance(book, Codebook)]
    if len(books) == 1 or not values.size:
        return np.zeros(shape, dtype=np.intp)
    if max(sizes[:-1], default=1) > 1:
        # One scale for a tensor.
        return np.broadcast_to(codebook.choose(tables, values.reshape(1, -1)), shape)
    padding = -values.shape[-1] % sizes[-1]
    padded = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, padding)])
    return codebook.choose(tables, padded.reshape(*shape, sizes[-1]))


def _elements(encoded: Encoded) -> Doubles:
    """Return what the codes stand for before zero points and scales."""
    form, codes = encoded.format, encoded.codes
    if form.kind in ("int", "uint", "ternary"):
        return codes.astype(np.float64)
    if encoded.selectors is None:
        return _plain_values(form, codes).astype(np.float64)
    tables = np.array([book.table for book in codebook.tables(form.base)], np.float64)
    found: Doubles = tables[spread(encoded.selectors, encoded.sizes, codes.shape), codes]
    return found
