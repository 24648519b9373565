"""What tables cost a decoder layer: `simulate` with tables apart, fused, and for nothing.

The device is an A100 whose tensor cores multiply FP16 by FP16, beside LUT elements with FP16 tables
for 2-bit weights, at FP16's rate or several times that. Tables are an operation that lowering adds
(`simulator.mapping.tables`), once for all products that read an activation; apart it reads the
activation and writes tables, fused it writes tables in the activation's place. Either way products
read tables: of memory, eight entries for four activations.
"""

from dataclasses import dataclass

from simulator.api import load_model, simulate
from simulator.config import replace, resolved
from simulator.cost import EnergyProfile, load_profile
from simulator.design import load_element
from simulator.hardware import Device
from simulator.workload import Model, Workload, decode_step, prefill

#: Columns of an array in the paper's example, each of which would build its own table.
COLUMNS = 4
#: The weights of the LUT elements, and what they are called there.
WEIGHTS, PAIR = "int2-g128", "int2xfp16"


@dataclass(frozen=True)
class Step:
    """One layer's step: rows of activations, alone or decoded, and the model's shape."""

    model: Model
    rows: int
    decoded: bool

    def workload(self, layers: int, weights: str = "fp16") -> Workload:
        """Return so many layers: a prompt of `rows`, or `rows` sequences that each add a token."""
        model = replace(self.model, {"layers": layers})
        if self.decoded:
            return decode_step(model, batch=self.rows, context=1, weights=weights)
        return prefill(model, sequence=self.rows, weights=weights)

    def seconds(self, device: Device) -> float:
        """Return what one more layer of FP16 takes on a device as it stands."""
        one, two = (simulate(device, self.workload(layers)).latency_s for layers in (1, 2))
        return two - one

    def with_luts_s(self, device: Device, tables: str) -> float:
        """Return what one more layer takes on LUT elements, tables "free", "fused" or "apart"."""
        if tables == "free":
            # What makes tables stands at each edge; here it takes no time.
            device, tables = replace(device, {"matrix.pe.shared_at": "edge"}), "fused"
        one, two = (
            simulate(
                device, self.workload(layers, WEIGHTS), tables=tables, energy=priced(device)
            ).latency_s
            for layers in (1, 2)
        )
        return two - one

    def longer(self, device: Device, tables: str) -> float:
        """Return by how much tables lengthen a layer on LUT elements, as a part of it."""
        return self.with_luts_s(device, tables) / self.with_luts_s(device, "free") - 1


def with_luts(device: Device, factor: int) -> Device:
    """Return a GPU with LUT elements of `factor` times its FP16 rate, and its own units beside."""
    element = load_element("lut_fp16")
    rate = round(device.matrix.macs_per_cycle("fp16xfp16") * factor)
    array = {"matrix.pe": resolved(element), "matrix.macs": rate * element.passes(PAIR)}
    return replace(device, array | {"beside": resolved(device.matrix)})


def priced(device: Device) -> EnergyProfile:
    """Return the device's profile with a price for LUT elements; their energy is not asked for."""
    return replace(load_profile(device.energy), {"mac_gates": "scaled_28nm"})


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
