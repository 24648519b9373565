"""A number format: what its values cost in bits, and how values become codes and back.

Metadata is counted exactly: `scale_bits`, `zero_bits` and `selector_bits` belong to one scale
group, `outer_bits` to the scale above them, of a channel or the tensor. A vector is one run along
the reduction axis: an output channel of a weight, a token of an activation.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

from simulator.errors import InputError
from simulator.formats.rounding import Overflow, Rounding

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from simulator.formats.conversion import Encoded
    from simulator.formats.minifloat import Codes, Floats

Kind = Literal["int", "uint", "fixed", "bipolar", "float", "ternary", "codebook", "block", "binary"]
Granularity = Literal["none", "tensor", "channel", "token", "group"]

_SMALL_FLOAT = re.compile(r"e\d+m(\d+)")
_SIGNIFICAND_BITS = {"fp32": 24, "tf32": 11, "fp16": 11, "bf16": 8}


@dataclass(frozen=True)
class Format:
    """How the elements of a tensor are stored, and the metadata that stands beside them.

    base: the plain format of an element, or the name of a block format or of tables; value_bits:
    the payload of one element (8/5 for ternary). outer, outer_bits: what shares a second scale, and
    its bits. power_scales: scales are powers of two, of which the exponent is stored. kind
    "binary": scale_bits are those of all alphas of a group.
    """

    name: str
    base: str
    kind: Kind
    value_bits: Fraction
    granularity: Granularity = "none"
    group: int | None = None
    scale_bits: int = 0
    zero_bits: int = 0
    selector_bits: int = 0
    outer: Granularity = "none"
    outer_bits: int = 0
    power_scales: bool = False

    def __post_init__(self) -> None:
        """Refuse impossible combinations with an `InputError` that lists all of them."""
        problems = []
        if self.value_bits <= 0:
            problems.append(f"value_bits must be > 0, got {self.value_bits}")
        if min(self.scale_bits, self.zero_bits, self.selector_bits, self.outer_bits) < 0:
            problems.append("scale_bits, zero_bits, selector_bits and outer_bits must be >= 0")
        if (self.granularity == "group") != (self.group is not None and self.group >= 1):
            problems.append(f"granularity {self.granularity!r} does not fit group {self.group}")
        if (self.granularity == "none") != (self.metadata_bits_per_group == 0):
            problems.append("metadata needs a granularity, and a granularity metadata")
        if self.outer == "group" or (self.outer == "none") != (self.outer_bits == 0):
            problems.append(f"outer {self.outer!r} does not fit outer_bits {self.outer_bits}")
        if problems:
            raise InputError([f"format {self.name!r}: {problem}" for problem in problems])

    @property
    def significand_bits(self) -> int:
        """Bits of a float's significand, the hidden one included; 0 for other kinds."""
        if self.kind != "float":
            return 0
        small = _SMALL_FLOAT.search(self.base)
        return int(small[1]) + 1 if small else _SIGNIFICAND_BITS[self.base]

    @property
    def metadata_bits_per_group(self) -> int:
        """Bits of scale, zero point and selector of one scale group."""
        return self.scale_bits + self.zero_bits + self.selector_bits

    def scales(self, rows: int, reduction: int) -> int:
        """Return how many scale groups `rows` vectors of `reduction` elements have."""
        return _shares(self.granularity, self.group, rows, reduction)

    def payload_bits(self, rows: int, reduction: int, word_bits: int | None = None) -> int:
        """Return the bits of the elements alone, rounded up to a whole bit.

        With `word_bits` no value straddles two words and each vector starts in a new word: int3
        fits 10 times into 32 bits, ternary 20 times.
        """
        if word_bits is None:
            return ceil_of(rows * reduction * self.value_bits)
        per_word = int(word_bits / self.value_bits)
        if per_word < 1:
            raise InputError(f"a word of {word_bits} bits does not hold one {self.base} value")
        return rows * -(-reduction // per_word) * word_bits

    def metadata_bits(self, rows: int, reduction: int) -> int:
        """Return the bits of all scales, zero points and selectors of the vectors."""
        outer = _shares(self.outer, None, rows, reduction) * self.outer_bits
        return self.scales(rows, reduction) * self.metadata_bits_per_group + outer

    def bits(self, rows: int, reduction: int) -> int:
        """Return the bits of `rows` vectors of `reduction` elements, metadata included."""
        return self.payload_bits(rows, reduction) + self.metadata_bits(rows, reduction)

    @property
    def bits_per_value(self) -> Fraction:
        """Bits of one element with its share of the metadata of a full group, exactly.

        What a vector or a tensor shares is spread over all of it and not counted here.
        """
        if self.granularity != "group":
            return self.value_bits
        return self.value_bits + Fraction(self.metadata_bits_per_group, self.group or 1)

    def encode(
        self,
        values: "ArrayLike",
        rounding: Rounding | str = Rounding.NEAREST_EVEN,
        overflow: Overflow | str = Overflow.SATURATE,
        seed: int = 0,
    ) -> "Codes | Encoded":
        """Return the codes of values (`conversion.encode`); an `Encoded` if scales are shared."""
        from simulator.formats.conversion import encode

        return encode(self, values, rounding, overflow, seed)

    def decode(self, encoded: "NDArray[np.integer[Any]] | Encoded") -> "Floats":
        """Return the values of what `encode` gave (`conversion.decode`)."""
        from simulator.formats.conversion import decode

        return decode(self, encoded)


def _shares(granularity: Granularity, group: int | None, rows: int, reduction: int) -> int:
    """Return how many scales of a granularity `rows` vectors have."""
    match granularity:
        case "none":
            return 0
        case "tensor":
            return min(1, rows * reduction)
        case "channel" | "token":
            return rows if reduction else 0
        case "group":
            return rows * -(-reduction // (group or 1))
        case _:
            raise ValueError(f"unknown granularity {granularity!r}")


def ceil_of(value: Fraction) -> int:
    """Return a fraction rounded up."""
    return -(-value.numerator // value.denominator)
