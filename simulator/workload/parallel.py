"""What one of several devices holds of a model: tensor parallelism and pipeline stages.

Tensor parallelism is Megatron's (Shoeybi et al. 2019, arXiv 1909.08053, section 3): heads, FFN
columns and the vocabulary are cut; norms, residual sums and position tables are on every device. A
pipeline (Huang et al. 2019, arXiv 1811.06965) cuts the layers into consecutive stages. Left out:
the gather of logits, sequence parallelism, stages of chosen sizes.
"""

from dataclasses import dataclass

from simulator.config import replace
from simulator.errors import InputError
from simulator.workload.lengths import integer
from simulator.workload.model import LayerRun, Model


@dataclass(frozen=True)
class Share:
    """The part of `whole` that one device holds, in the busiest of `pipeline_parallel` stages.

    `model` is `whole` cut over `tensor_parallel` devices, with all its layers; those of the stage
    are `runs`.
    """

    whole: Model
    model: Model
    tensor_parallel: int
    pipeline_parallel: int

    @property
    def runs(self) -> tuple[LayerRun, ...]:
        """The layers of the last stage, which has the head: ceil(layers / stages) of them."""
        layers = self.model.layers
        return self.model.runs_from(layers - -(-layers // self.pipeline_parallel))

    @property
    def settings(self) -> dict[str, int]:
        """What differs from one device alone, as provenance has it."""
        cut = {
            "tensor_parallel": self.tensor_parallel,
            "pipeline_parallel": self.pipeline_parallel,
        }
        return {name: parts for name, parts in cut.items() if parts > 1}


def share(model: Model, tensor_parallel: int, pipeline_parallel: int) -> Share:
    """Return what one device holds; more devices than kv_heads hold one of them each, repeated.

    Errors: InputError for counts below one, heads, kv_heads or ffn that do not divide, norms over
    what is cut (`sub_norms`), and more stages than layers.
    """
    tensor = integer("tensor_parallel", tensor_parallel)
    stages = integer("pipeline_parallel", pipeline_parallel)
    problems = _cut_problems(model, tensor)
    if stages > model.layers:
        problems.append(f"pipeline_parallel ({stages}) is beyond layers ({model.layers})")
    if problems:
        raise InputError(problems)
    cut = {
        "heads": model.heads // tensor,
        "kv_heads": max(model.kv_heads // tensor, 1),
        "ffn": model.ffn // tensor,
        "vocab": -(-model.vocab // tensor),
    }
    return Share(model, model if tensor == 1 else replace(model, cut), tensor, stages)


def _cut_problems(model: Model, tensor: int) -> list[str]:
    """Say what cannot be cut over `tensor` devices."""
    found = [
        f"{name} ({size}) must be a multiple of tensor_parallel ({tensor})"
        for name, size in (("heads", model.heads), ("ffn", model.ffn))
        if size % tensor
    ]
    kv_heads = model.kv_heads
    if tensor <= kv_heads and kv_heads % tensor:
        found.append(f"kv_heads ({kv_heads}) must be a multiple of tensor_parallel ({tensor})")
    if tensor > kv_heads and tensor % kv_heads:
        found.append(f"tensor_parallel ({tensor}) must be a multiple of kv_heads ({kv_heads})")
    if tensor > 1 and model.sub_norms:
        found.append(f"sub_norms go over rows that tensor_parallel ({tensor}) cuts")
    return found
