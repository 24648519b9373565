"""Matrices to try a datapath on: random ones with and without outliers, or the user's own."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.config import unknown
from simulator.errors import InputError

KINDS = ("outlier_channels", "gaussian", "student_t")
#: One channel in so many is an outlier, so many times as large. Assumed, after Dettmers et al.,
#: "LLM.int8()" (NeurIPS 2022), section 3.2: few features of some 20 times the others' size.
OUTLIER_EVERY, OUTLIER_SIZE = 128, 20.0
#: Degrees of freedom of Student's t: tails as heavy as those of trained weights are said to be
#: (Dotzel et al., "Learning from Students", arXiv 2405.03103).
FREEDOM = 5
#: How numpy reads the floats of a `.safetensors` file, which are little-endian.
_STORED = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def random_matrix(
    kind: str, rows: int, columns: int, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Return a matrix of a kind of KINDS; InputError for another."""
    match kind:
        case "gaussian":
            values = generator.standard_normal((rows, columns))
        case "student_t":
            values = generator.standard_t(FREEDOM, (rows, columns))
        case "outlier_channels":
            values = generator.standard_normal((rows, columns))
            values[:, ::OUTLIER_EVERY] *= OUTLIER_SIZE
        case _:
            raise InputError(unknown("data", kind, KINDS))
    return values.astype(np.float32)


def is_file(data: str) -> bool:
    """Tell whether data names a file that `read_matrix` reads, not a kind of KINDS."""
    return data.endswith((".npy", ".safetensors"))


def read_matrix(path: str | Path, tensor: str | None = None) -> NDArray[np.float32]:
    """Read a matrix of finite floats from a `.npy` or `.safetensors` file, rounded to float32.

    tensor: its name in a `.safetensors` file, needed where there are several. Errors: InputError
    where the file, the name or the matrix is none or empty, or holds what is not finite in float32.
    """
    if str(path).endswith(".safetensors"):
        values, what = _safetensor(Path(path), tensor)
    elif tensor is not None:
        raise InputError(f"{path}: only .safetensors files hold tensors by name, got {tensor!r}")
    else:
        values, what = _npy(path), str(path)
    if not values.size:
        raise InputError(f"{what}: has no values, its shape is {values.shape}")
    with np.errstate(over="ignore"):
        matrix = np.asarray(values, dtype=np.float32)
    wrong = int(np.count_nonzero(~np.isfinite(matrix)))
    if wrong:
        raise InputError(f"{what}: {wrong} of {matrix.size} values are NaN or beyond float32")
    return matrix


def _npy(path: str | Path) -> NDArray[np.floating[Any]]:
    try:
        with Path(path).open("rb") as file:
            # Not `np.load`, which takes archives of arrays too, whatever the name says.
            values = np.lib.format.read_array(file, allow_pickle=False)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError:
        raise InputError(f"{path}: is no .npy file of numbers, or truncated") from None
    if values.ndim != 2 or not np.issubdtype(values.dtype, np.floating):
        raise InputError(
            f"{path}: expected a matrix of floats, got {values.dtype} of shape {values.shape}"
        )
    return values


def _safetensor(path: Path, tensor: str | None) -> tuple[NDArray[np.floating[Any]], str]:
    """Return a matrix and its full name; the library proves that header and file fit together."""
    from safetensors import SafetensorError, safe_open

    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = file.read(length) if length <= path.stat().st_size else b""
        with safe_open(path, framework="numpy") as opened:
            name = _chosen(path, tensor, sorted(opened.keys()))
            piece = opened.get_slice(name)
            kind, shape = piece.get_dtype(), tuple(piece.get_shape())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except SafetensorError:
        raise InputError(f"{path}: is no .safetensors file, or truncated") from None
    what = f"{path}:{name}"
    if len(shape) != 2 or kind not in _STORED:
        known = ", ".join(_STORED)
        raise InputError(f"{what}: expected a matrix of {known}, got {kind} of shape {shape}")
    start = 8 + length + json.loads(header)[name]["data_offsets"][0]
    stored = np.fromfile(path, _STORED[kind], shape[0] * shape[1], offset=start).reshape(shape)
    if kind == "BF16":
        # numpy has no bfloat16: it is the upper half of a float32.
        return (stored.astype(np.uint32) << 16).view(np.float32), what
    return stored, what


def _chosen(path: Path, tensor: str | None, names: list[str]) -> str:
    if tensor is not None:
        if tensor not in names:
            raise InputError(f"{path}: {unknown('tensor', tensor, names)}")
        return tensor
    if len(names) != 1:
        listed = ", ".join(names) or "none"
        raise InputError(f"{path}: name one of its {len(names)} tensors: {listed}")
    return names[0]
