"""Does a datapath compute the right number? Its kernel against its specification and float64.

The kernel computes all outputs. The scalar specification computes some of them, the corners always,
over all of K; an exact path is also compared on all outputs with one whose integers come from
`exact`, and with float64: no output may be further from it than roundings explain (`error_bound`).
Errors are those of the whole datapath against the product of the same quantised operands
in float64; what quantising them lost is told apart. Functions have no weights: rows are checked.
"""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.config import unknown
from simulator.errors import InputError
from simulator.formats import get
from simulator.numerics.data import KINDS, is_file, random_matrix, read_matrix
from simulator.numerics.datapaths import DATAPATHS, datapath
from simulator.numerics.function_paths import FUNCTIONS, FunctionPath
from simulator.numerics.metrics import (
    Histogram,
    beyond_range,
    max_relative_error,
    max_ulp,
    not_finite,
    sqnr_db,
    ulp_histogram,
    zeroed_fraction,
)
from simulator.numerics.operands import Datapath, Operands
from simulator.numerics.own import is_own

#: M, N, K that is checked unless told, and how many outputs the specification computes.
SHAPE = (64, 1024, 4096)
OUTPUTS = 256
#: Rows of a function that the specification computes, spread over all.
ROWS = 64


#: Most bytes of float64 operands and outputs; checking takes several times as much.
MOST_BYTES = 2**31

#: All that can be checked, in the order of `verify_all`.
NAMES = (*DATAPATHS, *FUNCTIONS)


@dataclass(frozen=True)
class Overflows:
    """Values beyond the range of their format, and results not finite that should be."""

    operands: int | None
    outputs: int


@dataclass(frozen=True)
class Check:
    """What was found: bit_exact says that kernel and `reference` agree in every bit compared.

    Signs of zeros count, NaN equals NaN. For exact paths it says as well that no finite output is
    further from float64 than `error_bound`.

    shape: M, N, K; of a function the M rows of N values, and 1. weight_format: None of a function.
    zeroed_fraction: of operands other than 0, by quantisation. quantisation_sqnr_db: of the float64
    product of quantised operands, or of quantised input, against the originals. None: not known,
    as `check_operands` does not see the originals.
    """

    name: str
    weight_format: str | None
    activation_format: str
    shape: tuple[int, int, int]
    bit_exact: bool
    reference: str
    sqnr_db: float
    max_ulp: float
    max_relative_error: float
    seconds: float
    errors: Histogram
    overflows: Overflows
    zeroed_fraction: float | None = None
    quantisation_sqnr_db: float | None = None


@dataclass(frozen=True)
class Request:
    """What is to be checked: the arguments of `verify` but the name."""

    shape: tuple[int, int, int] = SHAPE
    weight_format: str | None = None
    activation_format: str | None = None
    data: str = KINDS[0]
    seed: int = 0
    tensor: str | None = None
    outputs: int | None = None


def verify(
    name: str,
    shape: tuple[int, int, int] = SHAPE,
    weight_format: str | None = None,
    activation_format: str | None = None,
    data: str = KINDS[0],
    seed: int = 0,
    tensor: str | None = None,
    outputs: int | None = None,
) -> Check:
    """Check a datapath of `DATAPATHS` on a product of M x N x K, or one of `FUNCTIONS` on M x N.

    name: also that of a user's own datapath (`ProcessingElement.kernel`).
    data: a kind of `data.KINDS` or the path of a `.npy` or `.safetensors` matrix: weights (N, K),
    which give N and K, or the input (M, N) of a function. tensor: its name in the file. outputs: of
    a product, that the specification computes too, OUTPUTS unless told. seconds: of the kernel
    alone, compiled.

    Errors: InputError for unknown names, formats that the datapath does not take, sizes below 1 or
    beyond MOST_BYTES, files that cannot be read.
    """
    if name not in DATAPATHS and name not in FUNCTIONS and not is_own(name):
        raise InputError(unknown("datapath", name, [*DATAPATHS, *FUNCTIONS]))
    if min(shape) < 1:
        raise InputError(f"shape: M, N and K must be >= 1, got {'x'.join(map(str, shape))}")
    request = Request(shape, weight_format, activation_format, data, seed, tensor, outputs)
    if name in FUNCTIONS:
        return _verify_function(FUNCTIONS[name], request)
    return _verify_datapath(datapath(name), request)


def verify_all(
    request: Request,
    progress: Callable[[], object] | None = None,
    names: Sequence[str] = NAMES,
) -> list[Check]:
    """Check by name, all unless told, in processes, one for each core; return them in order.

    progress: called after each check. Errors: those of `verify`; the first one ends the others.
    """
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from multiprocessing import get_context

    workers = min(os.cpu_count() or 1, len(names))
    with ProcessPoolExecutor(workers, get_context("spawn"), _end_on_interrupt) as pool:
        try:
            waiting = [pool.submit(verify, name, **vars(request)) for name in names]
            for done in as_completed(waiting):
                done.result()
                if progress is not None:
                    progress()
            return [each.result() for each in waiting]
        finally:
            # After an error or Ctrl-C no other check may start.
            pool.shutdown(wait=False, cancel_futures=True)


def _end_on_interrupt() -> None:
    """Let Ctrl-C end a process at once and without a traceback; its parent speaks for all."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _verify_datapath(path: Datapath, request: Request) -> Check:
    operands, originals = _operands(path, request)
    check = check_operands(path, operands, seed=request.seed, outputs=request.outputs or OUTPUTS)
    quantised = operands.x_values(), operands.w_values()
    forms, codes = (operands.x_format, operands.w_format), (operands.x, operands.w)
    x, w = (each.astype(np.float64) for each in originals)
    before, after = (np.concatenate([a.ravel() for a in each]) for each in ((x, w), quantised))
    beyond = sum(map(beyond_range, originals, forms, codes))
    return replace(
        check,
        zeroed_fraction=zeroed_fraction(before, after),
        overflows=replace(check.overflows, operands=beyond),
        quantisation_sqnr_db=sqnr_db(x @ w.T, quantised[0] @ quantised[1].T),
    )


def check_operands(path: Datapath, operands: Operands, *, seed: int, outputs: int) -> Check:
    """Check a datapath on given operands; its specification computes so many outputs of `seed`."""
    # The first call may compile, on a product as small as possible.
    path.run(operands.rows(0, 0))
    start = perf_counter()
    found = path.run(operands)
    seconds = perf_counter() - start
    exact, reference = _agrees(path, operands, found, seed, outputs)
    x = operands.x_values()
    wide = x @ operands.w_values().T
    return Check(
        path.name,
        operands.w_format.name,
        operands.x_format.name,
        (*found.shape, x.shape[1]),
        exact,
        reference,
        sqnr_db(wide, found),
        max_ulp(wide, found, path.mantissa_bits),
        max_relative_error(wide, found),
        seconds,
        ulp_histogram(wide, found, path.mantissa_bits),
        Overflows(None, not_finite(wide, found)),
    )


def _refuse_formats(path: FunctionPath, request: Request) -> None:
    if request.weight_format is not None:
        raise InputError(f"{path.name}: a function has no weights: leave out --weight-format")
    taken, given = path.activation_format, request.activation_format
    if given not in (None, taken):
        raise InputError(f"{path.name}: activations must be {taken}, got {given}")


def _verify_function(path: FunctionPath, request: Request) -> Check:
    _refuse_formats(path, request)
    matrix = _matrix(request)
    given_input = path.taken(matrix)
    path.run(path.taken(matrix[:1, :1]))
    start = perf_counter()
    found = path.run(given_input)
    seconds = perf_counter() - start
    rows = np.unique(np.linspace(0, len(matrix) - 1, ROWS).astype(int)).tolist()
    codes = given_input.codes
    exact = all(
        _same(np.array(path.one(codes[row].tolist(), given_input.step), found.dtype), found[row])
        for row in rows
    )
    results, wide, values = found.astype(np.float64), path.exact(given_input), given_input.values()
    return Check(
        path.name,
        None,
        path.activation_format,
        (*matrix.shape, 1),
        exact,
        f"specification ({len(rows) * matrix.shape[1]})",
        sqnr_db(wide, results),
        max_ulp(wide, results, path.mantissa_bits),
        max_relative_error(wide, results),
        seconds,
        ulp_histogram(wide, results, path.mantissa_bits),
        Overflows(path.saturated(matrix), not_finite(wide, results)),
        zeroed_fraction(matrix, values),
        sqnr_db(matrix, values),
    )


def _matrix(request: Request) -> NDArray[np.float32]:
    """Return the input of a function, random or given."""
    if is_file(request.data):
        return read_matrix(request.data, request.tensor)
    rows, columns, _ = request.shape
    _refuse_large(f"{rows}x{columns}", "its values", rows * columns)
    return random_matrix(request.data, rows, columns, np.random.default_rng(request.seed))


def _operands(
    path: Datapath, request: Request
) -> tuple[Operands, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Return random activations and random or given weights in their formats, and the originals."""
    w_format = get(request.weight_format or path.weight_format)
    x_format = get(request.activation_format or path.activation_format)
    problem = path.refused(w_format, x_format)
    if problem:
        raise InputError(f"{path.name}: {problem}")
    generator = np.random.default_rng(request.seed)
    rows, columns, depth = request.shape
    given = read_matrix(request.data, request.tensor) if is_file(request.data) else None
    if given is not None:
        columns, depth = given.shape
    values = rows * depth + columns * depth + rows * columns
    _refuse_large(f"{rows}x{columns}x{depth}", "operands and outputs", values)
    # Outliers are in channels of activations; weights have none.
    kind = request.data if given is None else KINDS[0]
    own = "gaussian" if kind == KINDS[0] else kind
    weights = random_matrix(own, columns, depth, generator) if given is None else given
    x = random_matrix(kind, rows, depth, generator)
    operands = Operands(x_format.encode(x), w_format.encode(weights), x_format, w_format)
    return operands, (x, weights)


def _agrees(
    path: Datapath, operands: Operands, found: NDArray[np.float32], seed: int, count: int
) -> tuple[bool, str]:
    """Return whether the kernel agrees with all that it is compared with, and what that is."""
    outputs = list(_outputs(found.shape, seed, count))
    expected = np.array([path.one(operands.rows(m, n)) for m, n in outputs], np.float32)
    exact = _same(expected, np.array([found[m, n] for m, n in outputs], np.float32))
    reference = f"specification ({len(outputs)})"
    if path.oracle is not None:
        exact &= _same(path.oracle(operands), found) and _is_near(operands, found)
        reference += ", exact integers and bound (all)"
    return exact, reference


def _same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Tell whether arrays of one dtype are equal, signs of zeros too; NaN is equal to NaN."""
    return bool(
        np.array_equal(one, other, equal_nan=True)
        and np.array_equal(np.signbit(one) & (one == 0), np.signbit(other) & (other == 0))
    )


def _is_near(operands: Operands, found: NDArray[np.float32]) -> bool:
    """Tell whether all finite outputs are within `error_bound`; overflow is told apart."""
    exact = operands.x_values() @ operands.w_values().T
    finite = np.isfinite(found)
    return bool((np.abs(found - exact) <= error_bound(operands))[finite].all())


def error_bound(operands: Operands) -> NDArray[np.float64]:
    """Return how far the outputs of an exact path can be from float64 by their roundings.

    A product of two values goes through at most: its sum to float32, two scales of groups, the
    addition of every group, the scale of its token. Each is off by 2^-24 of what it rounds, or of
    2^-126 where that is subnormal: only a scale of tokens rounds there, as integers times scales
    of groups are multiples of 2^-149. One rounding more is for second orders and float64 itself.
    """
    x, w = operands.x_values(), operands.w_values()
    depth = x.shape[1]
    forms = operands.x_format, operands.w_format
    groups = sum(-(-depth // (form.group or depth)) for form in forms)
    bound: NDArray[np.float64] = (groups + 5) * 2.0**-24 * (np.abs(x) @ np.abs(w).T + 2.0**-126)
    return bound


def _outputs(shape: tuple[int, ...], seed: int, count: int) -> Iterator[tuple[int, int]]:
    """Yield the corners, then random outputs without repetition; all where there are few."""
    rows, columns = shape
    corners = {(0, 0), (0, columns - 1), (rows - 1, 0), (rows - 1, columns - 1)}
    size = rows * columns
    # Without an array of all outputs, however many there are.
    drawn = np.random.default_rng(seed).choice(size, min(size, count), replace=False)
    others = (divmod(int(index), columns) for index in drawn)
    left = [each for each in others if each not in corners]
    yield from sorted(corners)
    yield from left[: max(0, count - len(corners))]


def _refuse_large(shape: str, what: str, values: int) -> None:
    """Refuse what would not fit into memory, given how many values it has."""
    if 8 * values > MOST_BYTES:
        raise InputError(
            f"shape: {shape} is too large: {what} take {values / 2**27:.3g} GiB in float64, at "
            f"most {MOST_BYTES / 2**30:g} are checked"
        )
