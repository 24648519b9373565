"""Where a matrix lies in a memory whose banks compute: splits of its dimensions over levels.

A matrix times a vector has outputs and inputs, and there may be several of one size (heads, or
requests). Each dimension's index is taken apart digit by digit: a split `[level, dimension,
factor]` is one digit, the innermost first, and the digits that a level has make up the place in it.
So (lane, inputs, 16), (burst, inputs, 64), (bank, outputs, 16), (row, inputs), (row, outputs) puts
1,024 inputs of an output into a row, 16 outputs side by side into banks, and the rest into rows.

Scales lie at the end of the row of their values: a row has that many bursts fewer for values, and
each time it is opened the scales of what is multiplied are read too.

Left out: bursts of values that start in the middle of a burst, rows shared by several layouts.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, prod
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_serializer, model_validator

from simulator.config import Part, load_part
from simulator.dram.pim.grouped_part import GroupedPim
from simulator.errors import InputError

Ints = NDArray[np.int64]
LAYOUT_FOLDER = "hw_configs/parts/pim_layout"
#: Levels from a value of a burst outwards; a row is of a group, the last to be filled.
Level: TypeAlias = Literal["lane", "burst", "bank", "group", "channel", "row"]
LEVELS: tuple[Level, ...] = get_args(Level)
Dimension: TypeAlias = Literal["outputs", "inputs", "matrices"]
DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """What layouts need of a memory that computes.

    groups: of a channel, each of `banks` banks that multiply at once. rows: of a bank.
    bursts_per_row, burst_bytes: of a row of one bank; a unit multiplies a burst at once.
    buffer_bytes: of the vectors that a channel holds, for all of its banks, or with
    `buffer_in_banks` that each bank holds, for itself. sums_bytes: of the sums
    that a bank keeps. read_bytes: of a read of results. lanes_added: a unit adds up its lanes, else
    each lane has a sum. result_bytes, input_bytes: of a sum and of a value of a vector.
    """

    channels: int
    groups: int
    banks: int
    rows: int
    bursts_per_row: int
    burst_bytes: int
    buffer_bytes: int
    sums_bytes: int
    read_bytes: int
    lanes_added: bool = True
    buffer_in_banks: bool = False
    result_bytes: int = 2
    input_bytes: int = 2

    @classmethod
    def of(
        cls,
        part: GroupedPim,
        *,
        lanes_added: bool = True,
        result_bytes: int = 2,
        input_bytes: int = 2,
    ) -> "Geometry":
        """Return the geometry of a part, with what its units do with values."""
        return cls(
            channels=part.channels,
            groups=part.groups,
            banks=part.banks_at_once,
            rows=part.memory.levels["Row"],
            bursts_per_row=part.memory.bursts_per_row,
            burst_bytes=part.memory.access_bytes,
            buffer_bytes=part.buffer_bytes,
            sums_bytes=part.result_bytes,
            read_bytes=part.result_read_bytes,
            lanes_added=lanes_added,
            result_bytes=result_bytes,
            input_bytes=input_bytes,
        )

    def __post_init__(self) -> None:
        """Raise InputError for sizes below 1."""
        _refuse_small(vars(self))


@dataclass(frozen=True, kw_only=True)
class Shape:
    """`matrices` matrices of `outputs` x `inputs` values, each with vectors of its own.

    value_bits: of a value without its share of scales, scale_bits: that share, a value.
    """

    outputs: int
    inputs: int
    matrices: int = 1
    value_bits: int | Fraction = 16
    scale_bits: Fraction = Fraction(0)

    def __post_init__(self) -> None:
        """Raise InputError for sizes below 1 and a negative share of scales."""
        sizes = dict(vars(self))
        if sizes.pop("scale_bits") < 0:
            raise InputError(f"scale_bits must be >= 0, got {self.scale_bits}")
        _refuse_small(sizes)

    @property
    def values(self) -> int:
        """Values of all matrices."""
        return self.outputs * self.inputs * self.matrices

    @property
    def scale_bytes(self) -> int:
        """Bytes of all scales."""
        return ceil(self.values * self.scale_bits / 8)

    def words(self) -> str:
        """Return the shape in words: "2 x 4096 x 128", without the matrices if it is one."""
        sizes = f"{self.outputs} x {self.inputs}"
        return sizes if self.matrices == 1 else f"{self.matrices} x {sizes}"


class Split(Part):
    """A digit of a dimension, in YAML `[level, dimension]` or `[level, dimension, factor]`.

    Without a factor: as many as there are, at most as many as the level has left. The last split of
    a dimension has none, and takes all that is left.
    """

    level: Level
    dimension: Dimension
    factor: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _row(cls, given: Any) -> Any:
        if not isinstance(given, list | tuple):
            return given
        if not 2 <= len(given) <= 3:
            raise ValueError(
                f"expected 2 or 3 entries (level, dimension, factor), got {len(given)}"
            )
        return dict(zip(("level", "dimension", "factor"), given, strict=False))

    @model_serializer
    def _as_row(self) -> list[Any]:
        row: list[Any] = [self.level, self.dimension]
        return row if self.factor is None else [*row, self.factor]


class Layout(Part):
    """Splits of a matrix, the innermost first."""

    name: str
    summary: str
    source: Annotated[str, Field(min_length=1)]
    splits: tuple[Split, ...]

    @field_validator("splits")
    @classmethod
    def _rest_taken(cls, splits: tuple[Split, ...]) -> tuple[Split, ...]:
        problems = []
        last = {split.dimension: i for i, split in enumerate(splits)}
        problems += [
            f"{dimension} are not split" for dimension in DIMENSIONS[:2] if dimension not in last
        ]
        problems += [
            f"[{i}]: the last split of {splits[i].dimension} takes the rest, it has no factor, got "
            f"{splits[i].factor}"
            for i in last.values()
            if splits[i].factor is not None
        ]
        if problems:
            raise ValueError("; ".join(problems))
        return splits


class Digit(NamedTuple):
    """A split of some matrix in some memory: `index // stride % factor` of its dimension's index.

    It adds `apart` times itself to the place in its level.
    """

    dimension: Dimension
    level: Level
    stride: int
    factor: int
    apart: int

    def of(self, index: Ints) -> Ints:
        """Return the digit of indexes of its dimension."""
        return index // self.stride % self.factor


class Place(NamedTuple):
    """Where values lie; bank in its group, burst in its row, lane in its burst."""

    channel: Ints
    group: Ints
    bank: Ints
    row: Ints
    burst: Ints
    lane: Ints


Sizes: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True)
class Placement:
    """A layout of some matrix in some memory. digits: the splits, innermost first.

    Two are equal where all values lie in the same places, whatever their layouts are called.
    """

    layout: Layout = field(compare=False)
    shape: Shape
    geometry: Geometry
    digits: tuple[Digit, ...]

    def place(self, outputs: Any, inputs: Any, matrices: Any = 0) -> Place:
        """Return where values lie; indexes are integers or arrays that broadcast.

        Raises InputError for an index that the matrix does not have.
        """
        index = dict(zip(DIMENSIONS, np.broadcast_arrays(outputs, inputs, matrices), strict=True))
        problems = [
            f"{dimension} must be 0 to {size - 1}, got {int(wrong[0])}"
            for dimension in DIMENSIONS
            for size in [getattr(self.shape, dimension)]
            for each in [np.atleast_1d(index[dimension])]
            if len(wrong := each[(each < 0) | (each >= size)])
        ]
        if problems:
            raise InputError(problems)
        at = {level: np.zeros(np.shape(index["outputs"]), np.int64) for level in LEVELS}
        for digit in self.digits:
            at[digit.level] += digit.of(index[digit.dimension]) * digit.apart
        return Place(*(at[level] for level in Place._fields))  # type: ignore[index]

    def of(self, dimension: Dimension, *levels: Level) -> tuple[Digit, ...]:
        """Return the digits of a dimension at some levels."""
        return tuple(
            digit for digit in self.digits if digit.dimension == dimension and digit.level in levels
        )

    @property
    def sizes(self) -> Sizes:
        """Outputs, inputs and matrices."""
        return self.shape.outputs, self.shape.inputs, self.shape.matrices

    @property
    def lanes(self) -> int:
        """Values of a burst."""
        return self.geometry.burst_bytes * 8 // self.shape.value_bits

    @property
    def rows(self) -> int:
        """Rows that are taken in each bank."""
        return prod(digit.factor for digit in self.digits if digit.level == "row")

    @property
    def groups(self) -> int:
        """Groups of a channel that have values."""
        return prod(digit.factor for digit in self.digits if digit.level == "group")

    @property
    def bursts(self) -> int:
        """Multiplies that reach all values once: each of a burst in all banks of a group."""
        return self._distinct("channel", "group", "row", "burst")

    @property
    def rows_used(self) -> int:
        """Rows of groups that hold values."""
        return self._distinct("channel", "group", "row")

    @property
    def padding(self) -> float:
        """Share of what the multiplies of all values reach that is no value."""
        return 1 - self.shape.values / (self.bursts * self.geometry.banks * self.lanes)

    def channel_sizes(self) -> Counter[Sizes]:
        """Return what a channel has of outputs, inputs and matrices, and how many have as much.

        Channels with nothing are not counted.
        """
        shares = [
            _shares(size, _of(self.digits, dimension))
            for dimension, size in zip(DIMENSIONS, self.sizes, strict=True)
        ]
        found = Counter[Sizes]()
        for outputs, many_outputs in shares[0].items():
            for inputs, many_inputs in shares[1].items():
                for matrices, many in shares[2].items():
                    found[outputs, inputs, matrices] += many_outputs * many_inputs * many
        return found

    def channel_digits(self) -> tuple[Digit, ...]:
        """Return the digits of what a channel has, by indexes that count only what it has."""
        found = list[Digit]()
        for dimension in DIMENSIONS:
            stride = 1
            for digit in _of(self.digits, dimension):
                if digit.level != "channel":
                    found.append(digit._replace(stride=stride))
                    stride *= digit.factor
        return tuple(found)

    def _distinct(self, *levels: Level) -> int:
        return prod(
            kept(size, _of(self.digits, dimension), lambda digit: digit.level in levels)
            for dimension, size in zip(DIMENSIONS, self.sizes, strict=True)
        )


def load_layout(name_or_path: str) -> Layout:
    """Load a layout by name from `hw_configs/parts/pim_layout`, or from a YAML file.

    Raises InputError with every problem of the file.
    """
    return load_part(Layout, name_or_path, LAYOUT_FOLDER, noun="layout")


def values_of_row(shape: Shape, geometry: Geometry) -> int:
    """Return the bursts of a row that hold values, beside those with their scales."""
    bits = shape.value_bits + shape.scale_bits
    return int(geometry.bursts_per_row * shape.value_bits / bits)


def placed(layout: Layout, shape: Shape, geometry: Geometry) -> Placement:
    """Place a matrix.

    Raises InputError for factors that their levels do not have, for values larger than a burst, and
    for what does not fit the rows of a bank.
    """
    room: dict[Level, int] = {
        "lane": geometry.burst_bytes * 8 // shape.value_bits,
        "burst": values_of_row(shape, geometry),
        "bank": geometry.banks,
        "group": geometry.groups,
        "channel": geometry.channels,
        "row": geometry.rows,
    }
    if not room["lane"] or not room["burst"]:
        raise InputError(
            f"a value of {shape.value_bits} bits and its scales of {shape.scale_bits} need more "
            f"than a burst of {geometry.burst_bytes} bytes or a row of {geometry.bursts_per_row}"
        )
    filled = dict.fromkeys(LEVELS, 1)
    rest = {dimension: int(getattr(shape, dimension)) for dimension in DIMENSIONS}
    stride, digits = dict.fromkeys(DIMENSIONS, 1), list[Digit]()
    last = {split.dimension: i for i, split in enumerate(layout.splits)}
    for i, split in enumerate(layout.splits):
        level, dimension = split.level, split.dimension
        left = room[level] // filled[level]
        factor = (
            rest[dimension]
            if last[dimension] == i
            else split.factor or min(rest[dimension], max(left, 1))
        )
        if factor > left and level != "row":
            raise InputError(
                f"layout {layout.name}: splits[{i}]: {factor} {dimension} for each {level}, "
                f"{left} are left of {room[level]}"
            )
        digits.append(Digit(dimension, level, stride[dimension], factor, filled[level]))
        filled[level] *= factor
        stride[dimension] *= factor
        rest[dimension] = ceil(rest[dimension] / factor)
    if rest["matrices"] > 1:
        raise InputError(f"layout {layout.name}: is of one matrix, got {shape.matrices}")
    if filled["row"] > geometry.rows:
        raise InputError(
            f"layout {layout.name}: a matrix of {shape.words()} needs {filled['row']} rows of each "
            f"bank, {geometry.rows} are there"
        )
    return Placement(layout, shape, geometry, tuple(digits))


def kept(size: int, digits: Iterable[Digit], keep: Callable[[Digit], bool]) -> int:
    """Return how many different values of some digits the indexes below `size` have.

    digits: of one dimension, innermost first. All indexes with another digit are there with 0 in
    its place too, and those, counted without it, are again all below some size.
    """
    stride = 1
    for digit in digits:
        if keep(digit):
            stride *= digit.factor
        else:
            size = without(size, stride, digit.factor, 0)
    return size


def without(size: int, stride: int, factor: int, value: int) -> int:
    """Return how many indexes below `size` have a digit of some value."""
    whole, part = divmod(size, stride * factor)
    return stride * whole + min(max(part - value * stride, 0), stride)


def _shares(size: int, digits: tuple[Digit, ...]) -> Counter[int]:
    """Return what channels have of a dimension, and how many have as much; not those with none."""
    shares, stride = Counter({size: 1}), 1
    for digit in digits:
        if digit.level != "channel":
            stride *= digit.factor
            continue
        found = Counter[int]()
        for each, many in shares.items():
            for value in range(digit.factor):
                found[without(each, stride, digit.factor, value)] += many
        shares = found
    del shares[0]
    return shares


def _of(digits: Iterable[Digit], dimension: Dimension) -> tuple[Digit, ...]:
    return tuple(digit for digit in digits if digit.dimension == dimension)


def _refuse_small(sizes: dict[str, Any]) -> None:
    problems = [
        f"{name} must be >= 1, got {size}"
        for name, size in sizes.items()
        if not isinstance(size, bool) and size < 1
    ]
    if problems:
        raise InputError(problems)
