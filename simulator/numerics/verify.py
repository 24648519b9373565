"""Does a datapath compute the right number? Its kernel against its specification and float64.

The kernel computes all outputs. The scalar specification computes some of them, the corners always,
over all of K; an exact path is also compared on all outputs with one whose integers come from
`exact`. Errors are those of the whole datapath against the product of the same quantised operands
in float64: what quantising them lost is not counted.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from simulator.config import unknown
from simulator.errors import InputError
from simulator.formats import get
from simulator.numerics.data import KINDS, random_matrix, read_matrix
from simulator.numerics.datapaths import DATAPATHS
from simulator.numerics.metrics import max_relative_error, max_ulp, sqnr_db
from simulator.numerics.operands import Datapath, Operands

#: M, N, K that is checked unless told, and how many outputs the specification computes.
SHAPE = (64, 1024, 4096)
OUTPUTS = 256


@dataclass(frozen=True)
class Check:
    """What was found: bit_exact says that kernel and `reference` agree in every bit compared."""

    name: str
    weight_format: str
    activation_format: str
    shape: tuple[int, int, int]
    bit_exact: bool
    reference: str
    sqnr_db: float
    max_ulp: float
    max_relative_error: float
    seconds: float


def verify(
    name: str,
    shape: tuple[int, int, int] = SHAPE,
    weight_format: str | None = None,
    activation_format: str | None = None,
    data: str = KINDS[0],
    seed: int = 0,
) -> Check:
    """Check a datapath of `DATAPATHS` on a product of M x N x K.

    data: a kind of `data.KINDS` or the path of a `.npy` matrix (N, K) of weights, which gives N and
    K. seconds: of the kernel alone, compiled. Errors: InputError for unknown names, formats that
    the datapath does not take, sizes below 1, files that cannot be read.
    """
    path = DATAPATHS.get(name)
    if path is None:
        raise InputError(unknown("datapath", name, DATAPATHS))
    if min(shape) < 1:
        raise InputError(f"shape: M, N and K must be >= 1, got {'x'.join(map(str, shape))}")
    operands = _operands(
        path,
        shape,
        weight_format or path.weight_format,
        activation_format or path.activation_format,
        data,
        seed,
    )
    # The first call may compile, on a product as small as possible.
    path.run(operands.rows(0, 0))
    start = perf_counter()
    found = path.run(operands)
    seconds = perf_counter() - start
    exact, reference = _agrees(path, operands, found, seed)
    wide = operands.x_values() @ operands.w_values().T
    return Check(
        name,
        operands.w_format.name,
        operands.x_format.name,
        (*found.shape, operands.x_values().shape[1]),
        exact,
        reference,
        sqnr_db(wide, found),
        max_ulp(wide, found, path.mantissa_bits),
        max_relative_error(wide, found),
        seconds,
    )


def _operands(
    path: Datapath,
    shape: tuple[int, int, int],
    weight_format: str,
    activation_format: str,
    data: str,
    seed: int,
) -> Operands:
    """Return random activations and random or given weights in their formats."""
    w_format, x_format = get(weight_format), get(activation_format)
    problem = path.refused(w_format, x_format)
    if problem:
        raise InputError(f"{path.name}: {problem}")
    generator = np.random.default_rng(seed)
    rows, columns, depth = shape
    if data.endswith(".npy"):
        weights = read_matrix(Path(data))
        depth = weights.shape[1]
        kind = KINDS[0]
    else:
        # Outliers are in channels of activations; weights have none.
        kind = data
        weights = random_matrix("gaussian" if kind == KINDS[0] else kind, columns, depth, generator)
    activations = random_matrix(kind, rows, depth, generator)
    return Operands(x_format.encode(activations), w_format.encode(weights), x_format, w_format)


def _agrees(
    path: Datapath, operands: Operands, found: NDArray[np.float32], seed: int
) -> tuple[bool, str]:
    """Return whether the kernel agrees with all that it is compared with, and what that is."""
    outputs = list(_outputs(found.shape, seed))
    exact = all(_same(path.one(operands.rows(m, n)), float(found[m, n])) for m, n in outputs)
    reference = f"specification ({len(outputs)})"
    if path.oracle is not None:
        exact &= bool(np.array_equal(path.oracle(operands), found))
        reference += ", exact integers (all)"
    return exact, reference


def _same(one: float, other: float) -> bool:
    return one == other or (one != one and other != other)


def _outputs(shape: tuple[int, ...], seed: int) -> Iterator[tuple[int, int]]:
    """Yield the corners, then random outputs without repetition; all where there are few."""
    rows, columns = shape
    corners = {(0, 0), (0, columns - 1), (rows - 1, 0), (rows - 1, columns - 1)}
    order = np.random.default_rng(seed).permutation(rows * columns)
    others = (divmod(int(index), columns) for index in order)
    left = [each for each in others if each not in corners]
    yield from sorted(corners)
    yield from left[: OUTPUTS - len(corners)]
