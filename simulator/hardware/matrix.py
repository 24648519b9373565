"""Matrix units: systolic arrays, adder trees and, for GPUs, a plain throughput.

A processing element says which operand pairs it multiplies and how many passes each takes; an
array says how many of them there are and how operands reach them. MACs per cycle is derived.
The timing of each kind is in `equations.py`.
"""

from fractions import Fraction
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self, TypeAlias

from pydantic import (
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from simulator.config import FOLDER, Bytes, Part, by_name, did_you_mean, load_part, unknown
from simulator.errors import InputError
from simulator.formats import Format, get
from simulator.numerics.own import Source, arithmetic, pair_problem

PE_FOLDER = "hw_configs/parts/pe"
#: Most MACs of a micro-tile: its specification, which is run to be counted, then takes seconds.
MOST_MACS = 2**16
#: What a specification notes and no unit spends time on.
WIRES = ("shift", "pass")

PositiveInt = Annotated[int, Field(ge=1)]
#: Kinds of formats whose values integers hold.
WHOLE_KINDS = ("int", "uint", "ternary")


def _holds(target: Format, source: Format) -> bool:
    """Tell whether values of `source` can be widened to `target`.

    A float holds integers of no more bits than its significand has, and any other format that is
    no wider: fp16 and bf16 stand for each other. Unsigned integers need one bit more in a signed
    one.
    """
    if target.kind == "float" and source.kind in ("int", "uint"):
        # Sign and magnitude: the sign of the float stands for that of the integer.
        return target.significand_bits >= source.value_bits - (source.kind == "int")
    if target.kind == "float":
        return target.value_bits >= source.value_bits
    if target.kind not in ("int", "uint") or source.kind not in WHOLE_KINDS:
        return False
    if target.kind == "uint" and source.kind != "uint":
        return False
    sign = target.kind != "uint" and source.kind == "uint"
    return target.value_bits >= source.value_bits + sign


def _is_base(name: str) -> bool:
    """Tell whether a name is that of elements: of a plain, block or table format."""
    try:
        return get(name).base == name
    except InputError:
        return False


def pair_formats(pair: str) -> tuple[str, str]:
    """Return (weight, activation) format names of "WEIGHTxACTIVATION"; ValueError if unknown.

    Names may hold an x themselves (mxfp4).
    """
    for place, letter in enumerate(pair):
        if letter == "x" and _is_base(pair[:place]) and _is_base(pair[place + 1 :]):
            return pair[:place], pair[place + 1 :]
    raise ValueError(f"'{pair}' is not a pair WEIGHTxACTIVATION of known formats")


def _passes(given: object) -> object:
    if given == COUNTED or (isinstance(given, int) and not isinstance(given, bool) and given >= 1):
        return given
    raise ValueError(f"must be >= 1 or '{COUNTED}', got {given!r}")


#: Passes that the specification of the kernel is asked for.
COUNTED: Literal["counted"] = "counted"
Passes = Annotated[int | Literal["counted"], BeforeValidator(_passes)]


def _source(given: object, info: ValidationInfo) -> object:
    """Read the Python file that stands at a path from the folder of the file that names it."""
    if not isinstance(given, str):
        return given
    try:
        return Source.of(str(Path((info.context or {}).get(FOLDER, "")) / given))
    except InputError as error:
        raise ValueError(str(error)) from error


class ProcessingElement(Part):
    """One processing element: the products it forms, how often, and its accumulator.

    `micro_tile` is (m, n, k): m x n outputs, each a dot product of length k, in one pass. `formats`
    maps an operand pair "WEIGHTxACTIVATION" to its passes (bit-serial PEs: several), `kernels` such
    pairs to the datapath of `numerics` that computes them bit by bit; a pair without one is
    multiplied and added as `numerics.mac_paths` says. "counted" passes are those that the scalar
    specification of the kernel makes for k values (`numerics.element`). `python` is a file with
    datapaths of the user's own, which `kernels` may name too (`numerics.own`). `shared_at`: where
    what outputs share is made (tables, aligned activations): by hardware at the edge of each row,
    or by whatever makes the activation (`mapping.tables`).
    """

    name: str
    summary: str = ""
    micro_tile: tuple[PositiveInt, PositiveInt, PositiveInt] = (1, 1, 1)
    formats: dict[str, Passes] = Field(min_length=1)
    kernels: dict[str, str] = Field(default_factory=dict)
    python: Annotated[Source | None, BeforeValidator(_source)] = None
    shared_at: Literal["edge", "producer"] = "edge"
    initiation_interval: PositiveInt = 1
    latency_cycles: PositiveInt = 1
    accumulator_bits: PositiveInt = 32
    source: str

    @model_validator(mode="after")
    def _accumulator_holds_an_operand(self) -> Self:
        least = min(
            max(int(get(name).value_bits) for name in pair_formats(pair)) for pair in self.formats
        )
        if self.accumulator_bits < least:
            raise ValueError(
                f"accumulator_bits ({self.accumulator_bits}) holds no operand: the narrowest pair "
                f"has {least} bits"
            )
        return self

    @field_validator("micro_tile")
    @classmethod
    def _can_be_counted(cls, tile: tuple[int, int, int]) -> tuple[int, int, int]:
        if prod(tile) > MOST_MACS:
            m, n, k = tile
            raise ValueError(f"m x n x k must be at most {MOST_MACS}, got {m} x {n} x {k}")
        return tile

    @field_validator("formats")
    @classmethod
    def _known_pairs(cls, formats: dict[str, Passes]) -> dict[str, Passes]:
        for pair in formats:
            pair_formats(pair)
        return formats

    @model_validator(mode="after")
    def _known_kernels(self) -> Self:
        for pair, passes in self.formats.items():
            if passes == COUNTED and pair not in self.kernels:
                raise ValueError(f"{pair}: counted passes need a kernel in kernels")
        if not self.kernels and self.python is None:
            return self
        # Imported where it is needed: most devices name none.
        from simulator.numerics.datapaths import DATAPATHS

        for pair, kernel in self.kernels.items():
            if pair not in self.formats:
                raise ValueError(unknown("pair of kernels", pair, self.formats))
            if kernel not in DATAPATHS and self.python is None:
                raise ValueError(unknown("kernel", kernel, DATAPATHS))
        return self

    @model_validator(mode="after")
    def _known_own_kernels(self) -> Self:
        if self.python is None:
            return self
        from simulator.numerics.datapaths import DATAPATHS
        from simulator.numerics.function_paths import FUNCTIONS

        file, own = self.python.file, [pair for pair in self.kernels if self._is_own(pair)]
        try:
            names = self.python.names()
            for pair in own:
                arithmetic(self.kernel(pair))
        except InputError as error:
            raise ValueError(str(error)) from error
        for name in names:
            if name in DATAPATHS or name in FUNCTIONS:
                raise ValueError(
                    f"{file}: '{name}' is a datapath that comes with nibblesim; rename it"
                )
        if not own:
            listed = ", ".join(names) or "none"
            raise ValueError(f"kernels name no datapath of {file}; it has: {listed}")
        for pair in own:
            weights, activations = (get(name) for name in pair_formats(pair))
            if problem := pair_problem(weights, activations):
                raise ValueError(f"{pair}: {problem}")
        return self

    def _is_own(self, pair: str) -> bool:
        from simulator.numerics.datapaths import DATAPATHS

        return self.python is not None and self.kernels[pair] not in DATAPATHS

    def kernel(self, pair: str) -> str:
        """Return the name by which `numerics` knows the datapath of a pair that has one."""
        name = self.kernels[pair]
        return self.python.key(name) if self.python and self._is_own(pair) else name

    def passes(self, pair: str) -> int:
        """Return the passes of an operand pair; refuse what the element cannot multiply."""
        if pair not in self.formats:
            near = did_you_mean(pair, self.formats) or ";"
            raise InputError(
                f"PE '{self.name}' does not multiply {pair}{near} "
                f"it does: {', '.join(self.formats)}"
            )
        return self._passes(pair) * self.initiation_interval

    def _passes(self, pair: str) -> int:
        given = self.formats[pair]
        if given != COUNTED:
            return given
        from simulator.numerics.element import work

        weights, activations = (get(name) for name in pair_formats(pair))
        return work(self.kernel(pair), self.micro_tile[2], weights, activations).passes

    def scale_passes(self, pair: str) -> int:
        """Return the passes in which the element multiplies a group's sum by its scale itself.

        0 where it does not. They hide behind the next group, if that is no shorter.
        """
        if pair not in self.kernels:
            return 0
        from simulator.numerics.element import scale_passes

        return scale_passes(self.kernel(pair))

    def table_entries(self, pair: str) -> tuple[Fraction, int]:
        """Return the entries of tables for one activation that its producer makes, and their bits.

        They are what the specification's look-ups choose from, the widest; (0, 0) where the
        producer makes none.
        """
        if self.shared_at == "edge":
            return Fraction(0), 0
        from simulator.numerics.element import work

        weights, activations = (get(name) for name in pair_formats(pair))
        done = work(self.kernel(pair), self.micro_tile[2], weights, activations)
        looked_up = {
            size: count
            for (operation, size), count in done.operations.items()
            if operation == "look_up" and isinstance(size, tuple)
        }
        entries = sum(count * words for (_, words), count in looked_up.items())
        widest = max((bits for bits, _ in looked_up), default=0)
        return Fraction(entries, done.passes * self.micro_tile[2]), widest

    def table_bits(self, pair: str) -> Fraction:
        """Return the bits of tables for one activation that its producer makes; 0 without any."""
        entries, bits = self.table_entries(pair)
        return entries * bits

    def decodes_weights(self, pair: str) -> bool:
        """Tell whether weights of a pair are decoded before they enter the array, once a column."""
        from simulator.numerics.element import ELEMENTS, work

        if self.kernels.get(pair) not in ELEMENTS:
            return False
        weights, activations = (get(name) for name in pair_formats(pair))
        return bool(work(self.kernel(pair), self.micro_tile[2], weights, activations).decoded)

    def decodes_scales(self, pair: str, weights: Format) -> bool:
        """Tell whether decoders at the edge apply the scales of groups of a format of weights."""
        from simulator.numerics.element import ELEMENTS

        element = ELEMENTS.get(self.kernels.get(pair, ""))
        return element is not None and element.scales(weights)

    def corrections(self, pair: str) -> int:
        """Return how many sums of operands have to be taken off an output, and group, of a pair.

        An element that multiplies by 2 w + 1 leaves the sum of activations to others, one whose
        activations are odd too a constant more; 0 for most.
        """
        from simulator.numerics.element import ELEMENTS

        element = ELEMENTS.get(self.kernels.get(pair, ""))
        return 0 if element is None else element.corrections

    def shared_operations(self, pair: str) -> int:
        """Return the operations on the activations of a micro-tile's k that its outputs share.

        Tables of a LUT core, the alignment of activations: 0 for most, and where no kernel of the
        pair is counted. Wires are not operations.
        """
        from simulator.numerics.element import ELEMENTS, work

        if self.kernels.get(pair) not in ELEMENTS:
            return 0
        weights, activations = (get(name) for name in pair_formats(pair))
        done = work(self.kernels[pair], self.micro_tile[2], weights, activations)
        return sum(count for (name, _), count in done.shared.items() if name not in WIRES)

    def operand_pair(self, weight: Format, activation: Format) -> str:
        """Return the pair that is really multiplied, after the widening of either operand.

        The pair itself where the element has it; else, of the pairs whose formats hold the two
        operands, the one with the fewest passes, then the narrowest, then one that leaves an
        operand as it is, then the one listed first. Raises InputError where there is none.
        """
        direct = f"{weight.base}x{activation.base}"
        if direct in self.formats:
            return direct
        fitting = []
        for place, pair in enumerate(self.formats):
            w, a = (get(name) for name in pair_formats(pair))
            if _holds(w, weight) and _holds(a, activation):
                kept, bits = (a.base == activation.base, w.base == weight.base), w.value_bits
                order = (self._passes(pair), bits + a.value_bits, not any(kept), place)
                fitting.append((*order, pair))
        if fitting:
            return min(fitting)[-1]
        raise InputError(
            f"PE '{self.name}' cannot multiply weights {weight.name} with activations "
            f"{activation.name}, not even widened; it does: {', '.join(self.formats)}"
        )


class Accumulators(Part):
    """Partial sums beside the array: entries a column, and how many a column takes a cycle."""

    entries_per_column: PositiveInt
    ports: PositiveInt = 1
    source: str


if TYPE_CHECKING:
    Element: TypeAlias = ProcessingElement
else:
    #: An element written out, or the name or file of one; it is loaded.
    Element = by_name(
        ProcessingElement,
        lambda given: load_part(ProcessingElement, given, PE_FOLDER, noun="PE"),
    )


class _Matrix(Part):
    """What arrays of all kinds have.

    activation_edge_width, weight_edge_width: what one array takes of each operand from the
    scratchpad in a cycle. dequantised_per_cycle: weights that one core decodes at its arrays' edges
    in a cycle, where the element wants them decoded; absent, as many as enter.
    conversions_per_cycle: outputs that are converted.
    """

    pe: Element
    arrays: PositiveInt = 1
    accumulators: Accumulators | None = None
    conversions_per_cycle: PositiveInt | None = None
    dequantised_per_cycle: PositiveInt | None = None
    activation_edge_bytes: Bytes | None = Field(default=None, alias="activation_edge_width")
    weight_edge_bytes: Bytes | None = Field(default=None, alias="weight_edge_width")
    source: str

    @property
    def formats(self) -> dict[str, int]:
        """Operand pairs and their passes."""
        return {pair: self.pe.passes(pair) for pair in self.pe.formats}


class SystolicArray(_Matrix):
    """Rows x columns of PEs that pass operands to their neighbours.

    weight_load_rows_per_cycle: rows of PEs whose stationary operand moves in a cycle (weights in
    for weight-stationary, inputs in for input-stationary, outputs out for output-stationary).
    weight_buffers: 2 hides that move behind the previous fold, 1 does not. fold_overlap: the next
    fold starts to fill while the last drains. partial_fold_cost: whether a fold that uses only some
    rows and columns pays for all of them.
    """

    kind: Literal["systolic"]
    dataflow: Literal["weight_stationary", "output_stationary", "input_stationary"]
    rows: PositiveInt
    columns: PositiveInt
    weight_load_rows_per_cycle: PositiveInt = 1
    weight_buffers: Literal[1, 2]
    fold_overlap: bool
    partial_fold_cost: Literal["full", "occupied"] = "full"

    @model_validator(mode="after")
    def _element_takes_a_cycle(self) -> Self:
        if self.pe.latency_cycles != 1:
            raise ValueError(
                "pe.latency_cycles must be 1 in a systolic array, whose fill and drain count one "
                f"cycle an element; got {self.pe.latency_cycles}"
            )
        return self

    def macs_per_cycle(self, pair: str) -> float:
        """Peak MACs per cycle of one core for an operand pair."""
        m, n, k = self.pe.micro_tile
        return self.arrays * self.rows * self.columns * m * n * k / self.pe.passes(pair)


class AdderTree(_Matrix):
    """`arrays` units of rows x columns dot products, each an adder tree of the PE's k inputs.

    Both operands are broadcast each cycle, nothing is stationary: there is no fold to fill, only
    the latency of the tree.
    """

    kind: Literal["adder_tree"]
    rows: PositiveInt
    columns: PositiveInt

    def macs_per_cycle(self, pair: str) -> float:
        """Peak MACs per cycle of one core for an operand pair."""
        m, n, k = self.pe.micro_tile
        return self.arrays * self.rows * self.columns * m * n * k / self.pe.passes(pair)


class Throughput(_Matrix):
    """A matrix unit known only by its peak: GPUs as roofline baselines.

    `macs` is the MACs per cycle of one pass over the core; `efficiency` the part that is reached.
    """

    kind: Literal["throughput"]
    macs: PositiveInt
    efficiency: Annotated[float, Field(gt=0, le=1)] = 1.0

    def macs_per_cycle(self, pair: str) -> float:
        """Peak MACs per cycle of one core for an operand pair."""
        return self.macs / self.pe.passes(pair)
