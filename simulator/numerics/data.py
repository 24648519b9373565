"""Matrices to try a datapath on: random ones with and without outliers, or the user's own."""

from pathlib import Path

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


def read_matrix(path: str | Path) -> NDArray[np.float32]:
    """Read a matrix from a `.npy` file as float32; InputError where it is none."""
    try:
        values = np.load(path, allow_pickle=False)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError:
        raise InputError(f"{path}: is no .npy file of numbers, or truncated") from None
    if values.ndim != 2 or not np.issubdtype(values.dtype, np.floating):
        raise InputError(
            f"{path}: expected a matrix of floats, got {values.dtype} of shape {values.shape}"
        )
    return np.asarray(values, dtype=np.float32)
