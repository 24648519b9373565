"""Collects the tensors and operations of one graph under short names, and closes it.

Only shapes and names: which operations a transformer has is in `transformer`.
"""

from collections.abc import Sequence

from simulator.formats import Format
from simulator.workload import vector
from simulator.workload.graph import Graph
from simulator.workload.ops import (
    Attention,
    Gemm,
    Op,
    OpKind,
    Role,
    Tensor,
    VectorWork,
)


class GraphBuilder:
    """Adds operations in order; each method returns the name of the tensor that it makes.

    `activations` is the format of activations that are given none. `prefix` is put before the names
    of operations and tensors until it is changed, so that a graph can hold several layers.
    """

    def __init__(self, activations: Format) -> None:
        """Start empty."""
        self.activations = activations
        self.prefix = ""
        self._tensors: dict[str, Tensor] = {}
        self._ops: list[Op] = []

    def _add(
        self, name: str, rows: int, columns: int, form: Format, role: Role, valid: int | None
    ) -> str:
        self._tensors[name] = Tensor(name, rows, columns, form, role, valid)
        return name

    def external(self, name: str, rows: int, columns: int) -> str:
        """Add an activation that comes from outside, under its name as it is."""
        return self._add(name, rows, columns, self.activations, Role.ACTIVATION, None)

    def activation(
        self,
        name: str,
        rows: int,
        columns: int,
        valid: int | None = None,
        form: Format | None = None,
    ) -> str:
        """Add an activation tensor."""
        name = self.prefix + name
        return self._add(name, rows, columns, form or self.activations, Role.ACTIVATION, valid)

    def held(self, name: str, rows: int, columns: int, form: Format, role: Role) -> str:
        """Add a tensor that memory holds: a weight, a table, keys or values."""
        return self._add(self.prefix + name, rows, columns, form, role, None)

    def has(self, name: str) -> bool:
        """Tell whether there is a tensor of this full name."""
        return name in self._tensors

    def rows(self, name: str) -> int:
        """Return the rows of a tensor."""
        return self._tensors[name].rows

    def columns(self, name: str) -> int:
        """Return the columns of a tensor."""
        return self._tensors[name].columns

    def format(self, name: str) -> Format:
        """Return the format of a tensor."""
        return self._tensors[name].format

    def op(
        self,
        name: str,
        kind: OpKind,
        inputs: Sequence[str],
        outputs: Sequence[str],
        work: VectorWork = (),
        *,
        attention: Attention | None = None,
        rows_read: int | None = None,
        rows_written: int | None = None,
        runs_written: int | None = None,
        devices: int | None = None,
        note: str = "",
    ) -> str:
        """Add an operation without a GEMM; return its first output."""
        name = self.prefix + name
        parts = (None, attention, work, note, rows_read, rows_written, runs_written, devices)
        self._ops.append(Op(name, kind, tuple(inputs), tuple(outputs), *parts))
        return outputs[0]

    def linear(self, name: str, x: str, weight: str, out: str, bias: str | None = None) -> str:
        """Add out = x weight^T (+ bias) for a weight of (N, K); the bias adds M N."""
        m, k, n = self.rows(x), self.columns(x), self.rows(weight)
        y = out if out in self._tensors else self.activation(out, m, n)
        inputs = (x, weight) if bias is None else (x, weight, bias)
        work = () if bias is None else vector.bias(m, n)
        gemm = Gemm(1, m, n, k)
        self._ops.append(Op(self.prefix + name, OpKind.LINEAR, inputs, (y,), gemm, None, work))
        return y

    def build(self, inputs: Sequence[str], outputs: Sequence[str]) -> Graph:
        """Close the graph; InputError where it breaks a rule."""
        tensors = tuple(self._tensors.values())
        return Graph(tensors, tuple(self._ops), tuple(inputs), tuple(outputs))
