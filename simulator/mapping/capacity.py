"""What memories hold: whether a workload fits, and the largest batch of requests that does."""

from collections import Counter
from collections.abc import Mapping

from simulator.errors import InfeasibleError, InputError
from simulator.formats import Format
from simulator.hardware.device import Device
from simulator.hardware.pim import AttAccStacks, NeuPimsBanks
from simulator.workload import HIDDEN, HIDDEN_OUT, Graph, Model, Workload, decode_step
from simulator.workload.sub_batches import requests_of

#: What the names of the FFN's products end in.
FFN = ("gate_proj", "up_proj", "down_proj")
#: No batch is larger: what fits then is not bounded by requests.
MOST_REQUESTS = 1 << 20


def outside_of(graph: Graph) -> frozenset[str]:
    """Return inputs and outputs that live in memory: all but the residual stream."""
    return frozenset((*graph.inputs, *graph.outputs)) - {HIDDEN, HIDDEN_OUT}


def outside_bytes(workload: Workload) -> int:
    """Return the bytes of what enters and leaves a workload in memory."""
    return sum(
        segment.graph.tensor(name).bytes
        for segment in workload.segments
        for name in outside_of(segment.graph)
    )


def check_capacity(workload: Workload, device: Device, spilled_bytes: int) -> None:
    """Refuse a workload that does not fit in the device's memory, or its caches in their own.

    Memory holds weights, what enters and leaves the workload, and spills; key-value caches too,
    unless they have a memory of their own (`hardware.pim.OwnMemory`).
    """
    demands = {
        "weights": workload.weight_bytes,
        "KV cache": workload.kv_bytes,
        "activations": outside_bytes(workload) + spilled_bytes,
    }
    if isinstance(device.pim, AttAccStacks):
        own, cached = device.pim.own.capacity_bytes, {"KV cache": demands.pop("KV cache")}
        _check(workload, "pim_memory_capacity", cached, own, f"the AttAcc of {device.name}")
    bound = device.memory.capacity_bytes
    _check(workload, "memory_capacity", demands, bound, f"the memory of {device.name}")
    if isinstance(device.pim, NeuPimsBanks) and "channels" in workload.resolved:
        _check_channels(workload, device, device.pim.channels)


def _check_channels(workload: Workload, device: Device, channels: int) -> None:
    """Refuse requests that lie on a channel which their keys and values are too many for."""
    keys = Counter[int]()
    for count, channel in requests_of(workload):
        keys[channel or 0] += count
    fullest, most = max(keys.items(), key=lambda item: item[1])
    held = {"KV cache": workload.kv_bytes * most // keys.total()}
    bound = device.memory.capacity_bytes // channels
    _check(workload, "channel_capacity", held, bound, f"channel {fullest} of {device.name}")


def _check(
    workload: Workload, resource: str, demands: Mapping[str, int], bound: int, where: str
) -> None:
    demand = sum(demands.values())
    if demand <= bound:
        return
    each = ", ".join(f"{name} {size / 1e9:.2f} GB" for name, size in demands.items())
    in_all = f": {demand / 1e9:.2f} GB in all" if len(demands) > 1 else ""
    raise InfeasibleError(
        resource, demand, bound, "bytes",
        f"{workload.name} does not fit in {where}: {each}{in_all}, {bound / 1e9:.2f} GB there",
    )  # fmt: skip


def share_apart(workload: Workload, device: Device) -> float:
    """Return the share of the FFN's weights that a memory for caches has room for beside them."""
    if not isinstance(device.pim, AttAccStacks):
        return 0.0
    room = device.pim.own.capacity_bytes - workload.kv_bytes
    held = sum(
        segment.repeat * segment.graph.tensor(op.inputs[1]).bytes
        for segment, op in workload.ops()
        if op.gemm is not None and op.name.endswith(FFN)
    )
    return min(1.0, room / held) if held else 0.0


def largest_batch(
    device: Device,
    model: Model,
    *,
    context: int,
    weights: str | Format = "fp16",
    activations: str | Format = "fp16",
    kv: str | Format = "fp16",
    embedding: str | Format | None = None,
    tensor_parallel: int = 1,
    pipeline_parallel: int = 1,
) -> int:
    """Return how many requests of `context` keys each fit in the memories of a device.

    By bisection on `check_capacity`; nothing is simulated, and no activation spills. Arguments as
    of `workload.decode_step`, whose errors it raises; InfeasibleError where not one request fits,
    InputError where `MOST_REQUESTS` do.
    """

    def check(batch: int) -> None:
        step = decode_step(
            model,
            context=context,
            batch=batch,
            weights=weights,
            activations=activations,
            kv=kv,
            embedding=embedding,
            tensor_parallel=tensor_parallel,
            pipeline_parallel=pipeline_parallel,
        )
        check_capacity(step, device, 0)

    def fits(batch: int) -> bool:
        try:
            check(batch)
        except InfeasibleError:
            return False
        return True

    check(1)
    held, beyond = 1, 2
    while fits(beyond):
        if beyond >= MOST_REQUESTS:
            raise InputError(f"{model.name}: {beyond} requests fit in {device.name}, and more")
        held, beyond = beyond, 2 * beyond
    while beyond - held > 1:
        middle = (held + beyond) // 2
        held, beyond = (middle, beyond) if fits(middle) else (held, middle)
    return held
