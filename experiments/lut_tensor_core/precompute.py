"""How long tables take to compute: a decoder layer on an A100, tables on its vector unit.

Each input of a linear layer (attention, its output, the two of the FFN) becomes tables once: 8
entries for 4 activations. As an operation of its own it reads the activations and writes the
tables; fused with the operation before, it writes tables in place of activations. In both, products
read tables in place of activations. It takes the longer one of its traffic and its additions.

The layer itself is FP16 on the device as it stands: `simulate`, without tables.
"""

from dataclasses import dataclass

from structures import fp16_table_additions

from simulator.api import load_model, simulate
from simulator.config import replace
from simulator.hardware import Device
from simulator.numerics.lut import ENTRIES, GROUP
from simulator.workload import Model, Workload, decode_step, prefill

#: Columns of an array in the paper's example, each of which would build its own table.
COLUMNS = 4
FP16_BYTES = 2


@dataclass(frozen=True)
class Step:
    """One layer's step: rows of activations, alone or decoded, and the model's shape."""

    model: Model
    rows: int
    decoded: bool

    @property
    def activations(self) -> int:
        """Activations that become tables."""
        m = self.model
        return self.rows * (2 * m.hidden + m.heads * m.head_dim + m.ffn)

    def workload(self, layers: int) -> Workload:
        """Return so many layers: a prompt of `rows`, or `rows` sequences that each add a token."""
        model = replace(self.model, {"layers": layers})
        if self.decoded:
            return decode_step(model, batch=self.rows, context=1)
        return prefill(model, sequence=self.rows)

    def seconds(self, device: Device) -> float:
        """Return what one more layer takes."""
        one, two = (simulate(device, self.workload(layers)).latency_s for layers in (1, 2))
        return two - one

    def tables_s(self, device: Device, *, fused: bool, entry_bytes: int = FP16_BYTES) -> float:
        """Return what tables add to that."""
        tables = self.activations * ENTRIES // GROUP * entry_bytes
        activations = self.activations * FP16_BYTES
        written = tables - activations if fused else activations + tables
        more_read = tables - activations
        moved_s = (
            (written + more_read) / device.memory.bandwidth_bytes_per_s / device.memory.efficiency
        )
        additions = self.activations // GROUP * fp16_table_additions()
        added_s = additions / (device.vector.lanes * device.clock_hz)
        return max(moved_s, added_s)


def steps() -> dict[str, Step]:
    """Return the models of the paper's table by name and phase.

    assumed: its means are over these three, prompts are as long as the model takes, and BLOOM has
    the operations of GPT-3 (it has ALiBi for positions).
    """
    opt = load_model("gpt-3-175b")
    shape = {"hidden": 14336, "heads": 112, "kv_heads": 112, "head_dim": 128, "ffn": 57344}
    models = {"opt": opt, "bloom": replace(opt, shape), "llama": load_model("llama-2-70b")}
    made = {}
    for name, model in models.items():
        made[f"{name}.prefill"] = Step(model, model.max_context, decoded=False)
        made[f"{name}.decode"] = Step(model, 1024, decoded=True)
    return made


def redundancy(columns: int) -> int:
    """Return how often each table of a product is built where every array builds its own."""
    return columns // COLUMNS
