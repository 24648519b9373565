"""What planning needs: the device with its rates (`Target`), an operation in place (`Context`)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

from simulator.cost import EnergyProfile
from simulator.dram.channels import Access
from simulator.dram.profile import LONG
from simulator.errors import InfeasibleError
from simulator.formats import Format
from simulator.hardware.device import Device, IdealMemory
from simulator.hardware.equations import MatrixModel
from simulator.hardware.models import matrix_model
from simulator.mapping.interference import Slowed
from simulator.mapping.lowering import GATHERED, Lowered, VectorWork
from simulator.mapping.policies import Policies
from simulator.mapping.tiling import Choice, Rates, padded_bytes
from simulator.workload import Graph, Role, Tensor


def rates_of(device: Device, profile: EnergyProfile) -> Rates:
    """Return the speeds and prices by which tilings are judged on a device."""
    ideal, memory = isinstance(device.memory, IdealMemory), device.memory_profile
    descriptor_ps = -(-device.dma.descriptor_cycles * 10**12 // device.clock_hz)
    return Rates(
        clock_hz=device.clock_hz,
        read_ps_per_byte=memory.ps_per_byte(LONG[0]),
        latency_ps=memory.latency_ps,
        descriptor_ps=0 if ideal else descriptor_ps,
        burst_bytes=device.burst_bytes,
        pj_per_memory_bit=profile.dram_read_pj_per_bit.nominal,
        pj_per_scratchpad_bit=profile.scratchpad_read_pj_per_bit.nominal,
    )


#: Why an activation spills.
TOO_LARGE = "is larger than the scratchpad"
BY_CHOICE = "leaves room for what else lives then, or comes back faster from memory"


class Target:
    """A device as the planner sees it."""

    def __init__(
        self, device: Device, profile: EnergyProfile, policies: Policies | None = None
    ) -> None:
        """Derive rates from the parts; policies: by default those of `Policies`."""
        self.device = device
        self.policies = Policies() if policies is None else policies
        #: What transfers and the memory cost each other, once something is done in the memory.
        self.slowed = Slowed(0, 0)
        #: The share of the FFN's weights that a memory of its own has room for.
        self.apart = 0.0
        self.rates, self.memory = rates_of(device, profile), device.memory_profile
        self._units: dict[tuple[str, int], MatrixModel] = {}

    def unit(self, pair: str, group: int = 0) -> MatrixModel:
        """Return the matrix unit for an operand pair; group: weights along K that share a scale."""
        key = pair, group
        if key not in self._units:
            self._units[key] = matrix_model(self.device, *key)
        return self._units[key]

    def packed_bits(
        self, form: Format, rows: int, columns: int, elements: int | None = None
    ) -> int:
        """Return payload in whole words plus metadata."""
        if elements is not None and elements != rows * columns:
            rows, columns = 1, elements
        payload = form.payload_bits(rows, columns, self.device.dma.word_bits)
        return payload + form.metadata_bits(rows, columns)

    def kv_bits_per_key(self, key: Format, head_dim: int) -> int:
        """Return the bits of one key and its value in one head, packed, metadata included."""
        return ceil(2 * self.packed_bits(key, 1024, head_dim) / 1024)

    def vector_cycles(self, work: VectorWork) -> int:
        """Return one core's cycles for vector work that all cores share."""
        return -(-self.device.vector.cycles(work) // self.device.cores)

    def transfer_ps(self, access: Access, steps: int) -> int:
        """Return the ps of one of `steps` equal parts of an access, descriptors included.

        Every core has a DMA and describes its share of the runs.
        """
        if not access.size_bytes:
            return 0
        moving = self.memory.ps(access)
        described = -(-access.runs // self.device.cores) * self.rates.descriptor_ps
        return -(-(ceil(moving) + described) // steps)


@dataclass(frozen=True, slots=True)
class Context:
    """One operation in its segment: what is on chip, what room is left, who made its inputs.

    outside: tensors that enter or leave the workload, and so live in memory.
    """

    target: Target
    graph: Graph
    op: Lowered
    kept: frozenset[str]
    outside: frozenset[str]
    producers: dict[str, tuple[int, ...]]
    room_bytes: int

    def tensor(self, name: str) -> Tensor:
        """Return a tensor; a gathered one is the tensor it gathers."""
        return self.graph.tensor(name.removesuffix(GATHERED))

    def from_memory(self, name: str) -> bool:
        """Tell whether an input or output crosses the memory."""
        return name not in self.kept

    def after(self) -> tuple[int, ...]:
        """Return the producers of inputs that are on chip."""
        return self._producers(name for name in self.op.inputs if name in self.kept)

    def stored_by(self) -> tuple[int, ...]:
        """Return the producers of inputs that come back from memory."""
        return self._producers(name for name in self.op.inputs if name not in self.kept)

    def _producers(self, names: Iterable[str]) -> tuple[int, ...]:
        return tuple(sorted({index for name in names for index in self.producers.get(name, ())}))

    def least_load_bytes(self) -> int:
        """Return weights, gathered rows, past keys and values, and inputs from outside, once."""
        total = 0
        source = self.op.sources[0]
        for name in dict.fromkeys(self.op.inputs):
            t = self.tensor(name)
            if t.role is Role.TABLE:
                total += t.row_bytes(source.rows_read or 0)
            elif t.role is Role.KV and source.attention is not None:
                total += (
                    t.row_bytes(source.attention.past_rows) if source.attention.past_rows else 0
                )
            elif t.role is not Role.ACTIVATION or name in self.outside:
                total += t.bytes
        return total

    def least_store_bytes(self) -> int:
        """Return new keys and values, and outputs that leave the device."""
        total = 0
        for name in self.op.outputs:
            t = self.tensor(name)
            if t.role is Role.KV:
                total += t.row_bytes(self.op.sources[0].rows_written or 0)
            elif name in self.outside:
                total += t.bytes
        return total

    def spills(self) -> tuple[tuple[str, int, str], ...]:
        """Return (tensor, bytes, why) of activations that cross memory."""
        capacity = self.target.device.scratchpad.capacity_bytes
        spilled = (
            self.tensor(name)
            for name in (*self.op.inputs, *self.op.outputs)
            if name not in self.kept
            and name not in self.outside
            and self.tensor(name).role is Role.ACTIVATION
        )
        return tuple(
            (t.name, t.bytes, TOO_LARGE if t.bytes > capacity else BY_CHOICE) for t in spilled
        )

    def memory_bits(self, name: str) -> int:
        """Return the bits of a tensor as packed for the memory, 0 where it is on chip."""
        if not self.from_memory(name):
            return 0
        t = self.tensor(name)
        return self.target.packed_bits(t.format, t.rows, t.columns, t.elements)

    def moved_bytes(
        self, names: Sequence[str], rows: int | None, runs: int | None = None
    ) -> tuple[int, int]:
        """Return (bytes, pieces) that cross memory for tensors; `rows` of tables and caches.

        The rows lie in `runs` contiguous pieces (absent: each by itself).
        """
        burst = self.target.rates.burst_bytes
        total, pieces = 0, 0
        for name in dict.fromkeys(names):
            t = self.tensor(name)
            if rows is not None and t.role in (Role.TABLE, Role.KV):
                bits, parts = self.target.packed_bits(t.format, rows, t.columns), runs or rows
            else:
                bits, parts = self.memory_bits(name), 1
            total += padded_bytes(bits, parts, burst)
            pieces += parts if bits else 0
        return total, pieces

    def widened_bits(self, times: int, wide_bits: int) -> tuple[int, int]:
        """Return scratchpad bits (read, written) to widen all weights (or keys) `times` over."""
        if not self.op.widen:
            return 0, 0
        weights = [t for t in map(self.tensor, self.op.inputs[1:]) if t.role is not Role.ACTIVATION]
        raw = sum(t.bits for t in weights)
        return times * raw, times * wide_bits * sum(t.elements for t in weights)

    def too_small(self, smallest: Choice) -> InfeasibleError:
        """Return the refusal of an operation that fits in no tiling."""
        name = f"{self.target.device.name}: {self.op.name}"
        return too_small(name, smallest.needed_bytes, self.room_bytes)


def too_small(name: str, needed_bytes: int, room_bytes: int) -> InfeasibleError:
    """Return the refusal of an operation of a device whose smallest tiles do not fit."""
    return InfeasibleError(
        "scratchpad",
        needed_bytes,
        room_bytes,
        "bytes",
        f"{name} does not fit in the scratchpad: its smallest tiles need {needed_bytes} bytes, "
        f"{room_bytes} are free",
    )
