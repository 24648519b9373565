"""GEMMs as workloads, and SCALE-Sim's GEMM topology files in and out.

The file is CSV with the header `Layer, M, N, K,` and a comma at the end of each row, as SCALE-Sim
reads with `-i gemm` (scalesim/topology_utils.py). The format has no repeat count: a GEMM that runs
n times is one row whose name ends in `_xN`. Left out: convolution rows and sparsity.
"""

import re
from pathlib import Path

from simulator import formats
from simulator.config import csv_rows
from simulator.errors import InputError
from simulator.formats import Format
from simulator.workload.graph import Graph, Segment, Workload
from simulator.workload.lengths import integer
from simulator.workload.ops import Gemm, Op, OpKind, Role, Tensor

MAX_BYTES = 2**20
_COUNT = re.compile(r"(?P<name>.+)_x(?P<count>[1-9][0-9]{0,17})")
_COLUMNS = ("m", "n", "k")
HEADER = "Layer, M, N, K,"


def gemm(
    m: int,
    n: int,
    k: int,
    *,
    count: int = 1,
    weights: str | Format = "fp16",
    activations: str | Format = "fp16",
) -> Workload:
    """Return a workload of `count` independent products (M x K) x (K x N).

    The tensors are a (count M, K), the weight b (count N, K) and c (count M, N).
    Errors: InputError for sizes below one and unknown formats.
    """
    sizes = {"m": m, "n": n, "k": k, "count": count}
    shape = Gemm(**{name: integer(name, value) for name, value in sizes.items()})
    name = f"gemm {shape.m}x{shape.n}x{shape.k}" + (f" x{shape.count}" if count != 1 else "")
    return _workload(name, "gemm", {"gemm": shape}, weights, activations)


def _workload(
    name: str,
    phase: str,
    gemms: dict[str, Gemm],
    weights: str | Format,
    activations: str | Format,
) -> Workload:
    """One segment a GEMM, in order; no tokens: a product is not a model."""
    w = formats.format_of("weights", weights)
    a = formats.format_of("activations", activations)
    segments = tuple(Segment(key, _graph(key, shape, w, a)) for key, shape in gemms.items())
    rows = {key: [s.count, s.m, s.n, s.k] for key, s in gemms.items()}
    used = {"weights": w.name, "activations": a.name}
    return Workload(
        name=f"{name} w={w.name} a={a.name}",
        model=phase,
        phase=phase,
        segments=segments,
        batch=1,
        tokens=0,
        formats=used,
        weight_bytes=sum(segment.graph.weight_bytes for segment in segments),
        kv_bytes=0,
        resolved={"phase": phase, "gemms": rows, "formats": used},
    )


def _graph(name: str, shape: Gemm, weights: Format, activations: Format) -> Graph:
    tensors = (
        Tensor("a", shape.count * shape.m, shape.k, activations),
        Tensor("b", shape.count * shape.n, shape.k, weights, Role.WEIGHT),
        Tensor("c", shape.count * shape.m, shape.n, activations),
    )
    op = Op(name, OpKind.GEMM, ("a", "b"), ("c",), shape)
    return Graph(tensors, (op,), ("a",), ("c",))


def read_topology(
    path: str | Path, *, weights: str | Format = "fp16", activations: str | Format = "fp16"
) -> Workload:
    """Read a SCALE-Sim GEMM topology as a workload: one segment a row, in the order of the file.

    A name that ends in `_xN` is N independent products (see `write_topology`). A fifth column is a
    sparsity and must be 1:1. Errors: one InputError with a line for each problem, with line
    numbers; convolution rows (more than six columns) are refused.
    """
    label, gemms, problems = str(path), dict[str, Gemm](), list[str]()
    for number, cells in csv_rows(_text(Path(path), label), label):
        try:
            if number == 1:
                _check_header(cells)
                continue
            name, shape = _parse(cells)
            if name in gemms:
                raise InputError(f"layer '{name}' is given twice")
            gemms[name] = shape
        except InputError as error:
            problems += [f"{label}:{number}: {problem}" for problem in error.problems]
    if not gemms and not problems:
        problems.append(f"{label}: has no layers below its header")
    if problems:
        raise InputError(problems)
    return _workload(Path(path).stem, "topology", gemms, weights, activations)


def _text(path: Path, label: str) -> str:
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{label}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{label}: is not UTF-8 text (at byte {error.start})") from error
    if len(raw) > MAX_BYTES:
        raise InputError(f"{label}: is larger than {MAX_BYTES // 2**20} MiB")
    if not text.strip():
        raise InputError(f"{label}: is empty")
    return text


def _check_header(cells: list[str]) -> None:
    """Refuse a first row that is no header, or whose columns stand in another order."""
    sizes = [cell.lower() for cell in cells[1:4]]
    if len(sizes) == 3 and all(cell.isdecimal() for cell in sizes):
        raise InputError(f"expected a header such as {HEADER!r}, got a row of numbers")
    if sorted(sizes) == sorted(_COLUMNS) and sizes != list(_COLUMNS):
        raise InputError(f"expected the columns M, N, K, got {', '.join(cells[1:4])}")


def _parse(cells: list[str]) -> tuple[str, Gemm]:
    """Return the name and the GEMM of one row; InputError where it is not one."""
    while cells and not cells[-1]:
        cells.pop()
    if len(cells) > 6:
        raise InputError(
            f"a convolution row of {len(cells)} columns; only GEMM rows (Layer, M, N, K) are read"
        )
    if len(cells) not in (4, 5) or not cells[0]:
        raise InputError(f"expected Layer, M, N, K, got {len(cells)} columns")
    if len(cells) == 5 and cells[4] != "1:1":
        raise InputError(f"sparsity '{cells[4]}' is not supported; only 1:1 is")
    bad = [
        f"{name} must be an integer >= 1, got '{cell}'"
        for name, cell in zip(_COLUMNS, cells[1:4], strict=True)
        if not (cell.isascii() and cell.isdecimal() and len(cell) <= 18 and int(cell) >= 1)
    ]
    if bad:
        raise InputError(bad)
    match = _COUNT.fullmatch(cells[0])
    name, count = (match["name"], int(match["count"])) if match else (cells[0], 1)
    return name, Gemm(count, *(int(cell) for cell in cells[1:4]))


def write_topology(workload: Workload, path: str | Path) -> None:
    """Write every GEMM of a workload as a SCALE-Sim topology.

    A row is named segment.op (a bare GEMM: its own name), and ends in `_xN` where it runs N times
    (layers, heads, requests). Attention is written per group of equal requests, `.gI` in the name,
    as whole rectangles: SCALE-Sim knows no mask. Errors: InputError where the file cannot be
    written.
    """
    lines = [HEADER]
    for segment, op in workload.ops():
        gemms = _gemms_of(op)
        for index, shape in enumerate(gemms):
            name = op.name if op.kind is OpKind.GEMM else f"{segment.name}.{op.name}"
            name += f".g{index}" if len(gemms) > 1 else ""
            count = shape.count * segment.repeat
            name += f"_x{count}" if count > 1 else ""
            lines.append(f"{name}, {shape.m}, {shape.n}, {shape.k},")
    try:
        Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error


def _gemms_of(op: Op) -> tuple[Gemm, ...]:
    if op.gemm is not None:
        return (op.gemm,)
    if op.attention is not None and op.kind in (OpKind.QK, OpKind.PV):
        return op.attention.gemms(op.kind)
    return ()
