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
- Binary code: fitted alphas, each a sum of three powers of two (`binary_coded.fit`), scales of 1.
- Ternary: the mean magnitude (`scaling.absmean`). Blocks: `block`, with a tensor scale for *_t32.

Overflow other than saturation is for plain floats: where scales are chosen, nothing overflows but
by rounding. NaN: floats that have it keep it, what shares a block becomes NaN, all else refuses it.
Infinity: plain formats saturate, or overflow as told; blocks become NaN; chosen scales refuse it.
-0: kept by floats and tables that have it, else 0; bipolar integers have no zero, so that 0 is +1
times the scale, which is 1 for a group of zeros. FP32 takes float64 to nearest even.
"""

from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulator.config import did_you_mean
from simulator.errors import InputError
from simulator.formats import binary_coded, codebook, minifloat
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
from simulator.formats.scaling import (
    absmean,
    checked,
    dynamic_fixed_point,
    floats,
    refuse_seed,
    rtn,
    scales_of,
)
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
    terms: of binary code, (groups..., planes, 3): powers of two that add up to a plane's alpha.
    Errors: InputError for metadata that is not of these shapes, codes and selectors out of range.
    """

    format: Format
    codes: Integers
    scales: Floats
    zeros: Integers | None
    sizes: tuple[int, ...]
    selectors: NDArray[np.uint8] | None = None
    outer_scales: Floats | None = None
    terms: Doubles | None = None

    def __post_init__(self) -> None:
        """Refuse what does not fit, all problems in one error."""
        problems = _shape_problems(self) or _range_problems(self)
        if problems:
            raise InputError([f"{self.format.name}: {problem}" for problem in problems])

    def by_group(self) -> "Encoded":
        """Return the same array with metadata of its own for every group of every vector.

        scales, zeros and selectors become (..., groups), outer_scales (..., 1); empty of nothing.
        """
        *rows, depth = self.codes.shape
        shape = (*rows, -(-depth // self.sizes[-1]))

        def own(metadata: NDArray[Any] | None, shape: tuple[int, ...] = shape) -> Any:
            return None if metadata is None else np.broadcast_to(metadata, shape)

        return replace(
            self,
            scales=own(self.scales),
            zeros=own(self.zeros),
            sizes=(*[1] * len(rows), self.sizes[-1]),
            selectors=own(self.selectors),
            outer_scales=own(self.outer_scales, (*rows, min(1, depth))),
            terms=None if self.terms is None else own(self.terms, (*shape, *self.terms.shape[-2:])),
        )

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


def _shape_problems(encoded: Encoded) -> list[str]:
    shape, sizes = encoded.codes.shape, encoded.sizes
    if not shape or len(sizes) != len(shape) or min(sizes) < 1:
        return [f"codes of shape {shape} do not fit groups of {sizes}"]
    groups = tuple(-(-length // size) for length, size in zip(shape, sizes, strict=True))
    given = {"scales": encoded.scales, "zeros": encoded.zeros, "selectors": encoded.selectors}
    problems = [
        f"{name}: expected shape {groups} for codes of shape {shape}, got {array.shape}"
        for name, array in given.items()
        if array is not None and array.shape != groups
    ]
    if encoded.format.kind == "binary":
        terms = (*groups, int(encoded.format.value_bits), binary_coded.TERMS)
        own = None if encoded.terms is None else encoded.terms.shape
        if own != terms:
            problems.append(f"terms: expected shape {terms}, got {own}")
    outer = encoded.outer_scales
    channels, tensor = (*shape[:-1], 1), (1,) * len(shape)
    if outer is not None and encoded.codes.size and outer.shape not in (channels, tensor):
        problems.append(f"outer_scales: expected shape {channels} or {tensor}, got {outer.shape}")
    return problems


def _range_problems(encoded: Encoded) -> list[str]:
    form = encoded.format
    low, high = _code_range(form)
    problems = []
    if not _within(encoded.codes, low, high):
        problems.append(f"codes must be {low} to {high}")
    if encoded.zeros is not None and not _within(encoded.zeros, low, high):
        problems.append(f"zeros must be {low} to {high}")
    if encoded.selectors is not None:
        last = len(codebook.tables(form.base)) - 1
        if not _within(encoded.selectors, 0, last):
            problems.append(f"selectors must be 0 to {last}")
    return problems


def _code_range(form: Format) -> tuple[int, int]:
    """Return the least and the largest code that an `Encoded` of a format holds."""
    if form.kind == "ternary":
        return -1, 1
    bits = int(form.value_bits)
    if form.kind == "int" and form.zero_bits == 0:
        return -(1 << bits - 1), (1 << bits - 1) - 1
    return 0, (1 << bits) - 1


def _within(integers: Integers, low: int, high: int) -> bool:
    return not integers.size or low <= int(integers.min()) <= int(integers.max()) <= high


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
    Errors: InputError for other dtypes, unknown names, a seed that is no integer, an overflow or a
    value that the format has no code for, a format without arithmetic (`_refuse_no_arithmetic`).
    """
    by = _member(Rounding, "rounding", rounding)
    to = _member(Overflow, "overflow", overflow)
    array = floats(form.name, values)
    refuse_seed(form.name, seed)
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
        codebook.refuse_codes(form.name, codes, 1 << 32)
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
        # A single value is an array of one to it.
        return minifloat.decode(table, np.atleast_1d(codes)).reshape(codes.shape)
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
    if values.dtype == np.float64 and rounding is not Rounding.NEAREST_EVEN:
        raise InputError(f"fp32: float64 is rounded to nearest_even only, got {rounding}")
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float32)
    match overflow:
        case Overflow.SATURATE:
            beyond = np.copysign(np.float32(_FP32_MOST), rounded)
        case Overflow.NAN:
            beyond = np.full_like(rounded, np.nan)
        case _:
            return rounded
    return np.where(np.isinf(rounded), beyond, rounded)


def _encode_scaled(form: Format, values: Floats, rounding: Rounding, seed: int) -> Encoded:
    _refuse_no_arithmetic(form)
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
            sharing, group = _sharing(form)
            bits = form.scale_bits
            scaled = absmean(values, sharing, group, rounding=rounding, scale_bits=bits, seed=seed)
            return Encoded(form, scaled.codes, scaled.scales, None, scaled.sizes)
        case "codebook" if form.base in OLIVES:
            return _encode_pairs(form, values, rounding, seed)
        case "binary":
            return _encode_binary(form, values, rounding)
        case _:
            return _encode_tables(form, values, rounding, seed)


def _sharing(form: Format) -> tuple[Sharing, int | None]:
    if form.granularity == "none":
        raise ValueError(f"{form.name} shares no scales")
    return form.granularity, form.group


def _refuse_no_arithmetic(form: Format) -> None:
    """Refuse formats that only have a size: no scheme is known that chooses their scales."""
    if form.base == "fp32":
        problem = "scales of fp32"
    elif form.kind == "int" and form.zero_bits == 0 and form.value_bits == 1:
        problem = "scales of int1, which holds 0 and -1; use bipolar1, or -asym"
    elif form.kind == "int" and form.value_bits > 16:
        problem = f"scales of {form.base}; integers with scales have 16 bits at most"
    elif form.scale_bits == 8 and not _has_narrow_scales(form):
        problem = "8-bit scales; they are for symmetric integers in groups and for bitmod"
    else:
        return
    raise InputError(f"{form.name}: no arithmetic with {problem}")


def _has_narrow_scales(form: Format) -> bool:
    """Tell whether 8-bit scales have an arithmetic: by definition, by a table, by `two_level`."""
    own = form.kind == "block" or form.power_scales or form.outer_bits > 0
    two_level = form.kind == "int" and form.zero_bits == 0 and form.group is not None
    return own or form.selector_bits > 0 or two_level


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


def _encode_binary(form: Format, values: Floats, rounding: Rounding) -> Encoded:
    if rounding is not Rounding.NEAREST_EVEN:
        raise InputError(f"{form.name}: codes round to nearest_even only, got {rounding}")
    exact, planes = checked(form.name, values), int(form.value_bits)
    sizes = group_sizes(form.name, values.shape, *_sharing(form))
    depth, group = values.shape[-1], sizes[-1]
    rows = exact.reshape(prod(values.shape[:-1]), depth)
    codes = np.zeros(rows.shape, np.uint8)
    terms = np.zeros((len(rows), -(-depth // group), planes, binary_coded.TERMS))
    # Full groups, then the last ones that are short.
    whole = depth - depth % group
    for start, end in ((0, whole), (whole, depth)):
        part = rows[:, start:end]
        if part.size:
            count = min(group, end - start)
            fitted = binary_coded.fit(part.reshape(-1, count), planes, binary_coded.TERMS)
            codes[:, start:end] = binary_coded.codes_of(fitted).reshape(part.shape)
            own = binary_coded.terms_of(fitted.alphas, binary_coded.TERMS)
            place = slice(start // group, -(-end // group))
            terms[:, place] = own.reshape(terms[:, place].shape)
    groups = (*values.shape[:-1], terms.shape[1])
    return Encoded(
        *(form, codes.reshape(values.shape), np.ones(groups), None, sizes),
        terms=terms.reshape(*groups, planes, binary_coded.TERMS),
    )


def _encode_tables(form: Format, values: Floats, rounding: Rounding, seed: int) -> Encoded:
    """Quantise to a table, of which every group has the best of several (BitMoD, ANT)."""
    exact = checked(form.name, values)
    sharing, group = _sharing(form)
    sizes = group_sizes(form.name, values.shape, sharing, group)
    largest = reduce_groups(np.maximum, np.abs(values), sizes)
    books = _tables(form)
    chosen = _choose(books, exact, sizes, largest.shape)
    limits = np.array([_largest(book) for book in books])[chosen]
    with np.errstate(over="ignore"):
        ideal = largest / limits
    outer = None
    if form.selector_bits and form.scale_bits == 8:
        whole, outer = integer_scales(form.name, ideal, 8)
        scales: Floats = whole.astype(np.float64) * outer
    else:
        scales = scales_of(form.name, ideal, 1, form.scale_bits)
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
        codes = minifloat.encode(book, np.atleast_1d(values), rounding, overflow, seed)
        return codes.reshape(values.shape)
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
    if encoded.terms is not None:
        return _binary_sums(encoded, encoded.terms.sum(axis=-1))
    if encoded.selectors is None:
        return _plain_values(form, codes).astype(np.float64)
    tables = np.array([book.table for book in codebook.tables(form.base)], np.float64)
    found: Doubles = tables[spread(encoded.selectors, encoded.sizes, codes.shape), codes]
    return found


def _binary_sums(encoded: Encoded, alphas: Doubles) -> Doubles:
    """Return the sums of +-alpha of a group, from plane 0 on."""
    total: Doubles = np.zeros(encoded.codes.shape)
    for plane in range(alphas.shape[-1]):
        own = spread(alphas[..., plane], encoded.sizes, encoded.codes.shape)
        total = total + np.where(encoded.codes >> plane & 1, own, -own)
    return total
