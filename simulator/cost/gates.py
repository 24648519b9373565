"""Components of a datapath in elementary cells: counted from their structure, not from a table.

Every function is closed form in integers; its docstring says the formula and where the structure is
described: W&H is Weste and Harris, "CMOS VLSI Design" (4th ed.), Koren "Computer Arithmetic
Algorithms" (2nd ed.), E&L Ercegovac and Lang, "Digital Arithmetic", MBD Muller et al., "Handbook of
Floating-Point Arithmetic". `cells_of` adds up what a tally of operations needs when each operation
has hardware of its own.

The counts are those of minimal structures: 0.94 to 1.22 of what open tools synthesise for least
area from full descriptions, special values included (experiments/gates). Left out: what synthesis
does to meet a clock (larger cells, buffers) or to save area (Booth recoding, complex gates);
control; exceptions, their flags, NaN; the difference between signed and unsigned words but in
multipliers; sharing by operations.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import NamedTuple, TypeAlias

from simulator.config import did_you_mean
from simulator.errors import InputError

#: Bits of a word or of two; a format's name; or None where an operation was counted by name alone.
Size: TypeAlias = int | tuple[int, int] | str | None
#: Operations and how often: what `Tally.operations` of counting operands gives.
Operations: TypeAlias = Mapping[tuple[str, Size], int]


@dataclass(frozen=True)
class Cells:
    """How many elementary cells: full and half adders, gates of two inputs, inverters, flip-flops.

    Raises InputError for a number below 0.
    """

    full_adder: int = 0
    half_adder: int = 0
    mux2: int = 0
    xor2: int = 0
    and2: int = 0
    or2: int = 0
    inv: int = 0
    dff: int = 0

    def __post_init__(self) -> None:
        """Refuse negative numbers, all of them in one error."""
        counted = {name: getattr(self, name) for name in CELLS}
        if min(counted.values()) < 0:
            raise InputError(
                [f"{name} must be >= 0, got {n}" for name, n in counted.items() if n < 0]
            )

    def __add__(self, other: "Cells") -> "Cells":
        """Add, cell by cell."""
        return Cells(*(getattr(self, name) + getattr(other, name) for name in CELLS))

    def __mul__(self, times: int) -> "Cells":
        """Return so many of the same."""
        return Cells(*(times * getattr(self, name) for name in CELLS))

    __rmul__ = __mul__


#: The names of elementary cells.
CELLS = tuple(field.name for field in fields(Cells))
NOTHING = Cells()


class Float(NamedTuple):
    """Bits of the exponent and of the significand, the hidden one included."""

    exponent: int
    significand: int


FLOATS = {
    "fp32": Float(8, 24),
    "tf32": Float(8, 11),
    "fp16": Float(5, 11),
    "bf16": Float(8, 8),
    "fp8_e4m3": Float(4, 4),
    "fp8_e5m2": Float(5, 3),
    "fp4_e2m1": Float(2, 2),
}


def stages(places: int) -> int:
    """Return the bits of an amount up to places - 1: ceil(log2(places)), 0 for one place."""
    return (places - 1).bit_length()


def adder(bits: int) -> Cells:
    """Ripple-carry adder or subtractor: a full adder a bit (W&H 11.2)."""
    return Cells(full_adder=_positive(bits))


def prefix_adder(bits: int) -> Cells:
    """Sklansky adder: a half adder (generate, propagate) and an XOR a bit, and its nodes.

    Place i has as many nodes as i has ones, n/2 log2 n in all for a power of two; a node is two
    ANDs and an OR (W&H 11.2, E&L ch. 2). The fast style: log2 n nodes deep.
    """
    nodes = sum(place.bit_count() for place in range(_positive(bits)))
    return Cells(half_adder=bits, xor2=bits, and2=2 * nodes, or2=nodes)


def incrementer(bits: int) -> Cells:
    """Add 0 or 1: a half adder a bit (W&H 11.5). Rounds what has a bit to round by."""
    return Cells(half_adder=_positive(bits))


def negater(bits: int) -> Cells:
    """Invert under control and add a carry: an XOR and a half adder a bit (Koren ch. 1)."""
    return Cells(xor2=bits) + incrementer(bits)


def comparator(bits: int) -> Cells:
    """Magnitude comparator: the carry chain of a subtraction, an adder and inverters (W&H 11.4)."""
    return adder(bits) + Cells(inv=bits)


def mux(inputs: int, bits: int) -> Cells:
    """Choose one of several words: a tree of inputs - 1 two-way multiplexers a bit (W&H ch. 1)."""
    return Cells(mux2=(_positive(inputs, "inputs") - 1) * _positive(bits))


def and_row(bits: int) -> Cells:
    """An AND gate a bit: a mask."""
    return Cells(and2=_positive(bits))


def xor_row(bits: int) -> Cells:
    """An XOR gate a bit."""
    return Cells(xor2=_positive(bits))


def register(bits: int) -> Cells:
    """A flip-flop a bit."""
    return Cells(dff=_positive(bits))


def multiplier(left: int, right: int, *, signed: bool = False) -> Cells:
    """Array multiplier of a x b bits: a b ANDs, b half adders, a b - a - b full adders, b <= a.

    (W&H 11.9, Koren ch. 6; a Wallace tree has as many full adders, arranged otherwise.) With one
    bit on a side it is ANDs alone. `signed`: modified Baugh-Wooley, two half adders more for its
    constants (W&H 11.9).
    """
    wide, narrow = max(left, right), _positive(min(left, right))
    if narrow == 1:
        return and_row(wide)
    products = wide * narrow
    halves = narrow + 2 * signed
    return Cells(products - wide - narrow, half_adder=halves, and2=products)


def barrel_shifter(bits: int, amount_bits: int | None = None) -> Cells:
    """Shift by a word: a row of multiplexers for each bit of the amount (W&H 11.8).

    Amounts of `bits` and more give 0: the bits of the amount above ceil(log2(bits)) are joined by
    ORs and mask the result. Without `amount_bits`: as many as are needed to shift by bits - 1.
    """
    needed = stages(_positive(bits))
    given = needed if amount_bits is None else _positive(amount_bits, "amount_bits")
    above = max(given - needed, 0)
    mask = Cells(and2=bits, inv=1, or2=above - 1) if above else NOTHING
    return Cells(mux2=bits * min(given, needed)) + mask


def leading_one(bits: int) -> Cells:
    """Place of the leading one, a tree of halves (Oklobdzija, 1994; E&L ch. 8).

    L(n) = L(ceil(n/2)) + L(floor(n/2)) + an OR (is there a one) + ceil(log2 n) - 1 multiplexers
    (its place in the half that has it); L(1) = 0.
    """
    if _positive(bits) == 1:
        return NOTHING
    half = bits // 2
    node = Cells(mux2=stages(bits) - 1, or2=1)
    return leading_one(bits - half) + leading_one(half) + node


def popcount(bits: int) -> Cells:
    """Count ones: of m bits of a weight (m - 1) // 2 full adders, and a half adder if m is even.

    Their carries are the bits of the next weight (E&L ch. 3).
    """
    cells, column = NOTHING, _positive(bits)
    while column > 1:
        full, half = (column - 1) // 2, int(column % 2 == 0)
        cells += Cells(full, half)
        column = full + half
    return cells


def divider(dividend: int, divisor: int) -> Cells:
    """Non-restoring array: a row of divisor + 1 adders with XORs a quotient bit (Koren ch. 7)."""
    return (adder(_positive(divisor) + 1) + xor_row(divisor + 1)) * _positive(dividend)


def lut_read(bits: int, entries: int) -> Cells:
    """Read an entry of a table that lies in registers: a multiplexer."""
    return mux(entries, bits)


def lut_storage(bits: int, entries: int) -> Cells:
    """A table in registers; a table that several readers share is counted once."""
    return register(_positive(bits)) * _positive(entries, "entries")


def float_rounder(form: Float) -> Cells:
    """Round a normalised significand: sticky ORs, incrementers of significand and exponent."""
    return Cells(or2=form.significand) + incrementer(form.exponent + form.significand)


def normaliser(bits: int, exponent: int) -> Cells:
    """Leading one, shift to it, subtract its place from the exponent (MBD ch. 8)."""
    return leading_one(bits) + barrel_shifter(bits) + adder(exponent)


def float_adder(form: Float) -> Cells:
    """Floating-point adder of one path (MBD ch. 8, E&L ch. 8).

    Compare and swap, align, add, normalise, round. With guard, round and sticky bits p + 3 bits are
    aligned and added, p + 4 normalised. The larger magnitude comes first: differences are positive.
    """
    e, p = _checked(form)
    order = comparator(e + p - 1) + mux(2, 2 * (e + p - 1)) + adder(e)
    align = barrel_shifter(p + 3, e) + Cells(or2=p)
    add = xor_row(p + 3) + adder(p + 3)
    return order + align + add + normaliser(p + 4, e) + float_rounder(form) + Cells(xor2=1)


def float_multiplier(form: Float, other: Float | None = None, *, subnormals: bool = False) -> Cells:
    """Floating-point multiplier (MBD ch. 8): add exponents, multiply, shift by one place, round.

    other: the format of the second operand; the result is in the first's. The bias is subtracted
    by a second adder. `subnormals`: the product is normalised from any place, and shifted to the
    right where the result is subnormal; without, subnormals are 0.
    """
    (e, p), (_, q) = _checked(form), _checked(other or form)
    place = mux(2, p + 3)
    if subnormals:
        place = normaliser(p + q, e + 2) + barrel_shifter(p + 3, e)
    return (
        multiplier(p, q) + adder(e + 1) + adder(e + 2) + place + float_rounder(form) + Cells(xor2=1)
    )


def float_comparator(form: Float) -> Cells:
    """The larger of two: magnitudes as integers, signs apart, and a multiplexer."""
    bits = sum(_checked(form))
    return comparator(bits) + mux(2, bits) + Cells(xor2=1)


def float_divider(form: Float) -> Cells:
    """Divide significands, subtract exponents, shift by one place, round (MBD ch. 8)."""
    e, p = _checked(form)
    exponents = adder(e + 1) + adder(e + 2)
    return divider(p + 2, p) + exponents + mux(2, p + 2) + float_rounder(form) + Cells(xor2=1)


def float_conversion(form: Float) -> Cells:
    """Round a wider floating-point number to a format: rebias the exponent, round."""
    return adder(form.exponent + 1) + float_rounder(_checked(form))


def cells_of(operations: Operations, *, fast: bool = False) -> Cells:
    """Return the cells of all operations, each on hardware of its own.

    operations: what `Tally.operations` gives, how often by operation and size of words or format.
    `fast`: additions of words in prefix adders, where a clock leaves no time for a ripple. Fixed
    shifts and passes are wires. A comparison keeps the larger word, so it has a multiplexer.
    Raises InputError for unknown operations and formats, widths below 1, numbers below 0, an
    operation without a width.
    """
    total = NOTHING
    for (operation, size), count in operations.items():
        if count < 0:
            raise InputError(f"'{operation}' of size {size}: number must be >= 0, got {count}")
        total += count * _of_one(operation, size, fast)
    return total


def _of_one(operation: str, size: Size, fast: bool) -> Cells:
    """Return the cells of one operation."""
    if operation in WIRES:
        return NOTHING
    if isinstance(size, str):
        return _of_floats(operation, size)
    known = (*ONE_WIDTH, *TWO_WIDTHS, *WIRES)
    if operation not in known:
        near = did_you_mean(operation, known)
        raise InputError(f"no gates for operation '{operation}' on words{near}")
    if isinstance(size, tuple) and operation in TWO_WIDTHS:
        return TWO_WIDTHS[operation](*size)
    if isinstance(size, int) and operation in ONE_WIDTH:
        return prefix_adder(size) if fast and operation == "add" else ONE_WIDTH[operation](size)
    widths = "one width" if operation in ONE_WIDTH else "two widths"
    raise InputError(f"operation '{operation}' needs {widths}, got {size}")


def _of_floats(operation: str, name: str) -> Cells:
    """Return the cells of an operation whose result is in a floating-point format."""
    if operation not in ON_FLOATS:
        near = did_you_mean(operation, ON_FLOATS)
        raise InputError(f"no gates for operation '{operation}' on floats{near}")
    if name not in FLOATS:
        near = did_you_mean(name, FLOATS)
        raise InputError(f"operation '{operation}': no gates for format '{name}'{near}")
    return ON_FLOATS[operation](FLOATS[name])


def _signed_multiplier(left: int, right: int) -> Cells:
    return multiplier(left, right, signed=True)


def _larger(bits: int) -> Cells:
    return comparator(bits) + mux(2, bits)


def _exponent_adder(form: Float) -> Cells:
    return adder(form.exponent)


#: Operations on words with the component that does them, by how many widths that takes.
ONE_WIDTH: dict[str, Callable[[int], Cells]] = {
    "add": adder,
    "negate": negater,
    "compare": _larger,
    "and": and_row,
    "mask": and_row,
    "xor": xor_row,
    "popcount": popcount,
    "leading_one": leading_one,
    "round": incrementer,
    "barrel_shift": barrel_shifter,
    "store": register,
}
TWO_WIDTHS: dict[str, Callable[[int, int], Cells]] = {
    "mul": _signed_multiplier,
    "div": divider,
    "barrel_shift": barrel_shifter,
    "look_up": lut_read,
}
WIRES = ("shift", "pass")
ON_FLOATS: dict[str, Callable[[Float], Cells]] = {
    "add": float_adder,
    "mul": float_multiplier,
    "div": float_divider,
    "compare": float_comparator,
    "scale": _exponent_adder,
    "round": float_conversion,
}


def _positive(number: int, name: str = "bits") -> int:
    if number < 1:
        raise InputError(f"{name} must be >= 1, got {number}")
    return number


def _checked(form: Float) -> Float:
    _positive(form.exponent, "exponent bits")
    _positive(form.significand, "significand bits")
    return form
