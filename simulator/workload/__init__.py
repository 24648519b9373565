"""Workloads: tensors, operations and graphs, models, and the builders that make one of the other.

Pure model: nothing here knows a device. `prefill`, `decode_step`, `mixed_step` and `gemm` return a
`Workload`.
"""

from simulator.workload.graph import HIDDEN, HIDDEN_OUT, Graph, Segment, Workload
from simulator.workload.huggingface import from_hf_config
from simulator.workload.model import LayerRun, Model
from simulator.workload.ops import (
    VECTOR_FUNCTIONS,
    Attention,
    AttentionGroup,
    Gemm,
    Op,
    OpKind,
    Role,
    Tensor,
    VectorWork,
)
from simulator.workload.topology import gemm, read_topology, write_topology
from simulator.workload.transformer import decode_step, mixed_step, prefill

__all__ = [
    "HIDDEN",
    "HIDDEN_OUT",
    "VECTOR_FUNCTIONS",
    "Attention",
    "AttentionGroup",
    "Gemm",
    "Graph",
    "LayerRun",
    "Model",
    "Op",
    "OpKind",
    "Role",
    "Segment",
    "Tensor",
    "VectorWork",
    "Workload",
    "decode_step",
    "from_hf_config",
    "gemm",
    "mixed_step",
    "prefill",
    "read_topology",
    "write_topology",
]
