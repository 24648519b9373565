"""Four systems with dense models: stages of continuous batching on an xPU with four memories.

Of B requests each takes one stage for its prompt and Lout for its tokens, and is replaced at once
when it ends. So B / Lout of all stages are mixed, a prompt beside B - 1 decodes, the others decode
only; contexts are spread evenly over the life of requests.
"""

from functools import cache
from typing import NamedTuple

from simulator import decode_step, load_device, load_model, mixed_step, replace, simulate
from simulator.hardware import Device
from simulator.mapping.policies import Policies
from simulator.results import Result
from simulator.workload import Model, Workload

XPU, DUPLEX, BANK, GROUP = "duplex_xpu", "duplex", "duplex_bank", "duplex_bank_group"
SYSTEMS = {DUPLEX: "Duplex", BANK: "Bank-PIM", GROUP: "BankGroup-PIM"}
#: The paper's Fig. 14: lengths of prompts, and of what is made of them; batches; devices.
LENGTHS = {"llama-3-70b": (256, 1024, 4096), "opt-66b": (256, 512, 1024)}
BATCHES = (32, 64)
DEVICES = 4
#: Different contexts of a batch.
CONTEXTS = 8


class At(NamedTuple):
    """A point of Fig. 14; `batch` as asked for."""

    model: str
    batch: int
    length: int


ALL = tuple(
    At(model, batch, length)
    for model, lengths in LENGTHS.items()
    for batch in BATCHES
    for length in lengths
)


class Stages(NamedTuple):
    """Seconds of both kinds of stages. beside_s: how long of the mixed one both attend."""

    batch: int
    mixed_share: float
    decode_s: float
    mixed_s: float
    beside_s: float

    @property
    def tokens_per_s(self) -> float:
        """Tokens a second over both."""
        mean = (1 - self.mixed_share) * self.decode_s + self.mixed_share * self.mixed_s
        return self.batch / mean

    @property
    def decode_tokens_per_s(self) -> float:
        """Tokens a second if prompts cost nothing."""
        return self.batch / self.decode_s


@cache
def device(name: str, staged: bool) -> Device:
    """Return a device; staged: FC and attention wait for each other, as the paper has them."""
    return replace(load_device(name), {"staged": staged, "dma.prefetch": not staged})


def fits(at: At) -> int:
    """Return how many requests fit beside the weights, when all are at their longest."""
    one = decode_step(load_model(at.model), context=2 * at.length, tensor_parallel=DEVICES)
    free = load_device(XPU).memory.capacity_bytes - one.weight_bytes
    return int(free // one.kv_bytes)


def contexts(count: int, length: int) -> list[int]:
    """Return the keys of requests that are spread over their lives."""
    parts = (index * CONTEXTS // count for index in range(count))
    return [length + (2 * part + 1) * length // (2 * CONTEXTS) for part in parts]


def placement(name: str) -> str:
    """Return who multiplies: Duplex goes by intensity, others attend in memory whatever it is."""
    return "intensity" if name == DUPLEX else "fixed"


def run(name: str, workload: Workload, *, staged: bool) -> Result:
    """Run one stage on one of the devices."""
    policies = Policies(placement=placement(name), sub_batch="off")
    result = simulate(device(name, staged), workload, policies=policies)
    result.check()
    return result


def beside_s(result: Result) -> float:
    """Return how long prompts and decodes attend at the same time, in all layers."""
    spans: dict[tuple[int, bool], tuple[int, int]] = {}
    for record in result.records:
        if record.kind == "attention":
            key = record.layer, "prefill" in record.name
            start, end = spans.get(key, (record.start_ps, record.end_ps))
            spans[key] = min(start, record.start_ps), max(end, record.end_ps)
    layers = {layer for layer, _ in spans}
    both = ((spans[layer, True], spans[layer, False]) for layer in layers)
    return sum(max(0, min(a[1], b[1]) - max(a[0], b[0])) for a, b in both) / 1e12


@cache
def stages(name: str, at: At, staged: bool = True) -> Stages:
    """Run both stages of a point on a device."""
    model, batch = load_model(at.model), min(at.batch, fits(at))
    decode, mixed = (
        decode_step(model, context=contexts(batch, at.length), tensor_parallel=DEVICES),
        mixed_step(
            model,
            prompts=at.length,
            contexts=contexts(batch - 1, at.length),
            tensor_parallel=DEVICES,
        ),
    )
    first, second = (run(name, each, staged=staged) for each in (decode, mixed))
    return Stages(
        batch=batch,
        mixed_share=batch / at.length,
        decode_s=first.latency_ps / 1e12,
        mixed_s=second.latency_ps / 1e12,
        beside_s=beside_s(second),
    )


def over_xpu(name: str, at: At, *, staged: bool = True) -> float:
    """Return the throughput of a system over that of the xPU alone."""
    return stages(name, at, staged).tokens_per_s / stages(XPU, at, staged).tokens_per_s


def over_xpu_decoding(name: str, at: At) -> float:
    """Return the same of decode stages alone."""
    return stages(name, at).decode_tokens_per_s / stages(XPU, at).decode_tokens_per_s


def co_processing(at: At) -> float:
    """Return Duplex' throughput over what it is if its prompts and decodes attend in turn."""
    made = stages(DUPLEX, at)
    in_turn = made._replace(mixed_s=made.mixed_s + made.beside_s)
    return made.tokens_per_s / in_turn.tokens_per_s


def tokens_on_logic_pim(model: str) -> int:
    """Return the most tokens of a step with which Duplex multiplies weights in the memory."""
    layer = replace(load_model(model), {"layers": 1})
    count = 0
    while _multiplies_weights(layer, count + 1):
        count += 1
    return count


def _multiplies_weights(layer: Model, batch: int) -> bool:
    workload = decode_step(layer, batch=batch, context=1024, tensor_parallel=DEVICES)
    result = run(DUPLEX, workload, staged=True)
    return any(record.unit == "pim" for record in result.records if record.kind == "linear")
