"""The device and its parts, as a user describes them in YAML.

A device is `cores` equal cores (matrix unit, vector unit, scratchpad, DMA) on one clock, an on-chip
network (cores without one exchange activations through memory), and one memory. Each part is
described once here; its timing stands in `equations.py`, its energy in the profile that `energy:`
names.
What multiplies in the memory, and links to other devices, are parts of their own (`pim`).
Left out: cores that differ, several clock domains, caches.
"""

from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field, field_validator

from simulator.config import (
    Bytes,
    BytesPerSecond,
    Hertz,
    NonNegativePicoseconds,
    Part,
    SquareMillimetres,
    Watts,
    did_you_mean,
    names,
    unknown,
)
from simulator.cost import PROFILE_FOLDER, VECTOR_FUNCTIONS
from simulator.dram.channels import Channels
from simulator.dram.profile import Profile, profile_of
from simulator.errors import InputError
from simulator.formats import Format
from simulator.hardware.matrix import AdderTree, SystolicArray, Throughput
from simulator.hardware.pim import IdealLink, Pim, RingLink

PositiveInt = Annotated[int, Field(ge=1)]


class VectorUnit(Part):
    """SIMD lanes for everything that is not a matrix product.

    One lane does one element operation of a function every `cycles_per_operation[function]` cycles
    (1 where the function is not listed). With `gemv`, a matrix product with one row may run here at
    one MAC a lane a cycle, where that is faster than the matrix unit.
    """

    lanes: PositiveInt
    cycles_per_operation: dict[str, PositiveInt] = Field(default_factory=dict)
    gemv: bool = False
    source: str

    @field_validator("cycles_per_operation")
    @classmethod
    def _known_functions(cls, cycles: dict[str, int]) -> dict[str, int]:
        for name in cycles:
            if name not in VECTOR_FUNCTIONS:
                near = did_you_mean(name, VECTOR_FUNCTIONS)
                known = near or f"; known: {', '.join(VECTOR_FUNCTIONS)}"
                raise ValueError(f"unknown function '{name}'{known}")
        return cycles

    def cycles(self, work: tuple[tuple[str, int], ...]) -> int:
        """Return the cycles of `work`: pairs of function and element operations."""
        slots = sum(self.cycles_per_operation.get(name, 1) * count for name, count in work)
        return -(-slots // self.lanes)


class Scratchpad(Part):
    """The software-managed on-chip memory of one core; every port moves `port_width` a cycle.

    The ports are the matrix unit's. The DMA has ports of its own, as fast as the memory; what the
    vector unit moves is counted in energy, not in time.
    """

    capacity_bytes: Bytes = Field(alias="capacity")
    read_ports: PositiveInt
    write_ports: PositiveInt
    port_width_bytes: Bytes = Field(alias="port_width")
    source: str

    @property
    def read_bytes_per_cycle(self) -> int:
        """Bytes that the matrix unit can read in a cycle."""
        return self.read_ports * self.port_width_bytes

    @property
    def write_bytes_per_cycle(self) -> int:
        """Bytes that the matrix unit can write in a cycle."""
        return self.write_ports * self.port_width_bytes


class Dma(Part):
    """The engine between memory and one core's scratchpad.

    `in_flight` bounds the bytes that a core has requested and not yet got, so its bandwidth is
    <= in_flight / latency.
    Each contiguous piece is padded to `burst`; each transfer costs `descriptor_cycles`. Values are
    packed into words of `word_bits`, which none straddles (3-bit values: ten in 32 bits).
    """

    in_flight_bytes: Bytes | None = Field(default=None, alias="in_flight")
    burst_bytes: Bytes = Field(alias="burst")
    word_bits: PositiveInt = 32
    descriptor_cycles: Annotated[int, Field(ge=0)] = 0
    prefetch: bool = True
    source: str


class Dram(Part):
    """Memory as bandwidth x efficiency + latency: no banks, no commands (`Channels` has them)."""

    kind: Literal["dram"]
    capacity_bytes: Bytes = Field(alias="capacity")
    bandwidth_bytes_per_s: BytesPerSecond = Field(alias="bandwidth")
    efficiency: Annotated[float, Field(gt=0, le=1)]
    latency_ps: NonNegativePicoseconds = Field(alias="latency")
    source: str


class IdealMemory(Part):
    """Memory that answers at once: to look at a core alone, never a product."""

    kind: Literal["ideal"]
    capacity_bytes: Bytes = Field(alias="capacity")
    source: str


class Network(Part):
    """The on-chip network between cores: a ring of links, each `link_width` a cycle each way.

    With `multicast` one read of memory reaches every core that wants it; without it each core
    reads its own copy. With `reduction` links add up partial sums on their way, so that cores may
    share the K of a product; without it they share M and N only.
    """

    link_width_bytes: Bytes = Field(alias="link_width")
    hop_cycles: Annotated[int, Field(ge=0)]
    multicast: bool
    reduction: bool = False
    source: str


class PricedAs(Part):
    """What a device is priced as (`hardware.bill`): names of a price list.

    process: of the die, by default that of the energy profile whose areas are counted. memory: its
    kind, by default that of the standard of its channels.
    """

    process: str | None = None
    memory: str | None = None
    source: str


class Device(Part):
    """A whole accelerator; see the module for what it holds and what is left out.

    beside: a second matrix unit of each core for what the first one does not multiply, as a unit
    for FP16 products beside one for low-bit weights. They share operand ports and take turns.
    pim: what multiplies in its memory. link: to the other devices of a group. staged: all units
    wait for each other before and after attention, and nothing is fetched ahead over that.
    """

    name: str
    summary: str
    fidelity: str
    source: str
    clock_hz: Hertz = Field(alias="clock")
    cores: PositiveInt = 1
    matrix: SystolicArray | AdderTree | Throughput = Field(discriminator="kind")
    beside: SystolicArray | AdderTree | Throughput | None = Field(
        default=None, discriminator="kind"
    )
    vector: VectorUnit
    scratchpad: Scratchpad
    dma: Dma
    memory: Dram | Channels | IdealMemory = Field(discriminator="kind")
    network: Network | None = None
    pim: Pim | None = Field(default=None, discriminator="kind")
    link: RingLink | IdealLink | None = Field(default=None, discriminator="kind")
    staged: bool = False
    energy: str
    die_area_mm2: SquareMillimetres | None = Field(default=None, alias="die_area")
    tdp_w: Watts | None = Field(default=None, alias="tdp")
    price: PricedAs | None = None

    @field_validator("energy")
    @classmethod
    def _known_profile(cls, energy: str) -> str:
        known = names(PROFILE_FOLDER)
        if energy not in known and not energy.endswith((".yaml", ".yml")):
            raise ValueError(unknown("energy profile", energy, known))
        return energy

    @cached_property
    def peak_macs_per_s(self) -> dict[str, float]:
        """Peak MACs per second of the whole device for each operand pair it multiplies."""
        rate = self.clock_hz * self.cores
        return {
            pair: unit.macs_per_cycle(pair) * rate
            for unit in reversed(self.matrix_units)
            for pair in unit.formats
        }

    @property
    def matrix_units(self) -> tuple[SystolicArray | AdderTree | Throughput, ...]:
        """The matrix units of a core, in the order in which they are asked."""
        return (self.matrix,) if self.beside is None else (self.matrix, self.beside)

    def unit_of(self, pair: str) -> SystolicArray | AdderTree | Throughput:
        """Return the matrix unit that multiplies an operand pair; refuse what none does."""
        for unit in self.matrix_units:
            if pair in unit.pe.formats:
                return unit
        self.matrix.pe.passes(pair)
        raise InputError(f"{self.name} does not multiply {pair}")

    def operand_pair(self, weight: Format, activation: Format, *, cached: bool = False) -> str:
        """Return the pair that is multiplied, as it is if a unit does that, else widened.

        cached: keys or values; elements for which tables of the other operand are made elsewhere
        do not multiply them. Errors: InputError where no unit multiplies the formats; it names what
        each does.
        """
        direct = f"{weight.base}x{activation.base}"
        units = [u for u in self.matrix_units if not cached or u.pe.shared_at == "edge"]
        if any(direct in unit.pe.formats and unit is self.unit_of(direct) for unit in units):
            return direct
        problems: list[str] = []
        if not units:
            problems = [
                f"PE '{self.matrix.pe.name}' multiplies no keys and values: tables of queries and "
                "probabilities are not made; a unit `beside` it could"
            ]
        for unit in units:
            try:
                return unit.pe.operand_pair(weight, activation)
            except InputError as error:
                problems += error.problems
        raise InputError(problems)

    @property
    def gemv_macs_per_s(self) -> int:
        """Peak MACs per second that the vector units of the whole device do beside the matrix's."""
        return self.vector.lanes * self.cores * self.clock_hz if self.vector.gemv else 0

    @cached_property
    def memory_profile(self) -> Profile:
        """What the memory sustains by shape of stream, and the time from a request to its data.

        The DMA's in-flight limit is included. Channels are run for it, which loads Numba.
        """
        return self._memory.at_least(self.in_flight_ps_per_byte)

    @cached_property
    def _memory(self) -> Profile:
        match self.memory:
            case IdealMemory():
                return Profile(0.0, 0)
            case Dram() as dram:
                rate = dram.bandwidth_bytes_per_s * dram.efficiency
                return Profile(1e12 / rate, dram.latency_ps)
            case Channels() as channels:
                return profile_of(channels)

    @property
    def burst_bytes(self) -> int:
        """What every contiguous piece is padded to: the DMA's burst, or that of the channels."""
        burst = self.dma.burst_bytes
        if isinstance(self.memory, Channels):
            return max(burst, self.memory.standard.access_bytes)
        return burst

    @property
    def in_flight_ps_per_byte(self) -> float:
        """What a byte takes at least, as each core requests only so many before they come."""
        if self.dma.in_flight_bytes is None:
            return 0.0
        return self._memory.latency_ps / (self.cores * self.dma.in_flight_bytes)

    @property
    def bound_ps_per_byte(self) -> float:
        """What a byte takes at least on every rung: channels may for a while miss a refresh."""
        if isinstance(self.memory, Channels):
            peak = 1e12 / self.memory.bandwidth_bytes_per_s
            return max(peak, self.in_flight_ps_per_byte)
        return self.memory_profile.least_ps_per_byte

    @property
    def memory_bytes_per_s(self) -> float:
        """Sustained memory bandwidth of the best stream; infinite where memory is ideal."""
        least = self.memory_profile.least_ps_per_byte
        return 1e12 / least if least else float("inf")
