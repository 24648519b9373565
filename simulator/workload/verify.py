"""The rules that every graph obeys; each check returns its problems as sentences.

`Graph` runs them when it is built, so a rewritten graph is held to the same rules as a new one.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from simulator.workload.ops import (
    VECTOR_FUNCTIONS,
    Attention,
    Gemm,
    Op,
    OpKind,
    Role,
    Tensor,
)

_GEMM_KINDS = (OpKind.LINEAR, OpKind.GEMM)
_ATTENTION_KINDS = (OpKind.QK, OpKind.SOFTMAX, OpKind.PV)
_MOVE_KINDS = (OpKind.ALL_REDUCE, OpKind.SEND)
_VIEW_KINDS = (OpKind.SPLIT, OpKind.JOIN)


def _repeated(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def name_problems(tensors: Sequence[Tensor], ops: Sequence[Op]) -> list[str]:
    """Names are given once, and every tensor that an operation names exists."""
    found = [f"tensor '{name}' is given twice" for name in _repeated(t.name for t in tensors)]
    found += [f"op '{name}' is given twice" for name in _repeated(op.name for op in ops)]
    known = {tensor.name for tensor in tensors}
    for op in ops:
        unknown = [name for name in (*op.inputs, *op.outputs) if name not in known]
        found += [f"op '{op.name}': unknown tensor '{name}'" for name in unknown]
    return found


def flow_problems(
    tensors: Mapping[str, Tensor], ops: Sequence[Op], inputs: Sequence[str], outputs: Sequence[str]
) -> list[str]:
    """Each tensor has one origin and a use: made once, an input, or held in memory (weight, KV)."""
    made = [name for op in ops for name in op.outputs]
    read = {name for op in ops for name in op.inputs}
    found = [f"tensor '{name}' is made by more than one op" for name in _repeated(made)]
    produced = set(made)
    for name in inputs:
        if name not in tensors:
            found.append(f"input '{name}' is not a tensor")
        elif name in produced:
            found.append(f"input '{name}' is made by an op of the graph")
    found += [f"output '{name}' is made by no op" for name in outputs if name not in produced]
    for name, tensor in tensors.items():
        found += _origin_problems(tensor, name in produced, name in inputs)
        if name not in read and name not in outputs:
            found.append(f"tensor '{name}' is never read and is not an output")
    return found


def _origin_problems(tensor: Tensor, produced: bool, is_input: bool) -> list[str]:
    match tensor.role:
        case Role.ACTIVATION if not produced and not is_input:
            return [f"tensor '{tensor.name}' is made by no op and is not an input"]
        case Role.WEIGHT | Role.TABLE if produced:
            return [f"tensor '{tensor.name}' is a {tensor.role} but is made by an op"]
        case _:
            return []


def op_problems(tensors: Mapping[str, Tensor], op: Op) -> list[str]:
    """The operation carries what its kind needs, and its tensors have the shapes that follow."""
    functions = [name for name, _ in op.vector_work if name not in VECTOR_FUNCTIONS]
    found = [f"op '{op.name}': unknown vector function '{name}'" for name in functions]
    inputs = [tensors[name] for name in op.inputs]
    outputs = [tensors[name] for name in op.outputs]
    if op.kind in _GEMM_KINDS:
        found += _gemm_problems(op.name, op.gemm, inputs, outputs)
    elif op.kind in _ATTENTION_KINDS:
        found += _attention_problems(op.name, op.kind, op.attention, inputs, outputs)
    elif op.kind is OpKind.EMBEDDING and op.rows_read is None:
        found.append(f"op '{op.name}': an embedding needs rows_read")
    elif op.kind is OpKind.KV_APPEND and op.rows_written is None:
        found.append(f"op '{op.name}': a kv_append needs rows_written")
    elif op.kind in _MOVE_KINDS:
        found += _move_problems(op, inputs, outputs)
    elif op.kind in _VIEW_KINDS:
        found += _view_problems(op, inputs, outputs)
    if op.devices is not None and op.kind is not OpKind.ALL_REDUCE:
        found.append(f"op '{op.name}': devices belong to an all_reduce, not to {op.kind}")
    return found


def _shapes(name: str, expected: Sequence[tuple[Tensor, int, int]]) -> list[str]:
    return [
        f"op '{name}': tensor '{tensor.name}' is {tensor.rows} x {tensor.columns}, "
        f"expected {rows} x {columns}"
        for tensor, rows, columns in expected
        if (tensor.rows, tensor.columns) != (rows, columns)
    ]


def _move_problems(op: Op, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> list[str]:
    """Data between devices is one activation, the same on both sides; at least two sum up."""
    found = []
    if op.kind is OpKind.ALL_REDUCE and (op.devices is None or op.devices < 2):
        found.append(f"op '{op.name}': all_reduce needs two or more devices, got {op.devices}")
    if len(inputs) != 1 or len(outputs) != 1:
        return [*found, f"op '{op.name}': {op.kind} has one input and one output"]
    source, target = inputs[0], outputs[0]
    found += _activation_problems(op, (source, target))
    found += _shapes(op.name, [(target, source.rows, source.columns)])
    return found + _format_problems(op, source, (target,))


def _activation_problems(op: Op, tensors: Sequence[Tensor]) -> list[str]:
    return [
        f"op '{op.name}': {op.kind} moves activations, but '{tensor.name}' is a {tensor.role}"
        for tensor in tensors
        if tensor.role is not Role.ACTIVATION
    ]


def _format_problems(op: Op, source: Tensor, targets: Sequence[Tensor]) -> list[str]:
    return [
        f"op '{op.name}': tensor '{target.name}' is {target.format.name}, expected "
        f"{source.format.name}"
        for target in targets
        if target.format != source.format
    ]


def _view_problems(op: Op, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> list[str]:
    """The rows of one activation are those of its parts, two or more, and nothing else changes."""
    wholes, parts = (inputs, outputs) if op.kind is OpKind.SPLIT else (outputs, inputs)
    if len(wholes) != 1 or len(parts) < 2:
        return [f"op '{op.name}': {op.kind} is between one tensor and two or more parts of it"]
    whole = wholes[0]
    found = _activation_problems(op, (whole, *parts))
    found += _shapes(op.name, [(whole, sum(part.rows for part in parts), whole.columns)])
    found += _shapes(op.name, [(part, part.rows, whole.columns) for part in parts])
    return found + _format_problems(op, whole, parts)


def _gemm_problems(
    name: str, gemm: Gemm | None, inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> list[str]:
    if gemm is None:
        return [f"op '{name}': a matrix product needs a gemm"]
    if len(inputs) < 2 or len(outputs) != 1:
        return [f"op '{name}': a matrix product has two or more inputs and one output"]
    m, n, k = gemm.count * gemm.m, gemm.count * gemm.n, gemm.k
    return _shapes(name, [(inputs[0], m, k), (inputs[1], n, k), (outputs[0], m, gemm.n)])


def _attention_problems(
    name: str,
    kind: OpKind,
    attention: Attention | None,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
) -> list[str]:
    if attention is None:
        return [f"op '{name}': {kind} needs an attention"]
    if len(inputs) != (1 if kind is OpKind.SOFTMAX else 2) or len(outputs) != 1:
        return [f"op '{name}': {kind} has the wrong number of inputs or outputs"]
    tokens, width = attention.tokens, attention.heads * attention.head_dim
    scores = (attention.score_rows, attention.longest)
    cache = (attention.cache_rows, attention.head_dim)
    match kind:
        case OpKind.QK:
            expected = [(inputs[0], tokens, width), (inputs[1], *cache), (outputs[0], *scores)]
        case OpKind.PV:
            expected = [(inputs[0], *scores), (inputs[1], *cache), (outputs[0], tokens, width)]
        case _:
            expected = [(inputs[0], *scores), (outputs[0], *scores)]
    return _shapes(name, expected)
