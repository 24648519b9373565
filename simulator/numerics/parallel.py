"""Outputs of a product computed by several threads, with the same bits as by one.

Outputs do not depend on each other, so the columns (rows of the weights) are shared out among
threads; K is never split. Compiled kernels and most of NumPy work without the interpreter's lock.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError


def over_columns(
    product: Callable[[slice], NDArray[Any]], columns: int, threads: int | None = None
) -> NDArray[Any]:
    """Return `product` of all columns, (M, columns); it is called for a slice of them at a time.

    As in `over_columns(lambda part: gemm_w4a8(x, w[part]), len(w))`. threads: as many as the
    machine has cores, unless given. Errors: InputError for fewer than one thread; whatever
    `product` raises.
    """
    count = (os.cpu_count() or 1) if threads is None else threads
    if count < 1:
        raise InputError(f"threads must be >= 1, got {count}")
    bounds = np.linspace(0, columns, max(1, min(count, columns)) + 1).astype(int).tolist()
    parts = [slice(start, end) for start, end in pairwise(bounds)]
    if len(parts) == 1:
        return product(parts[0])
    with ThreadPoolExecutor(len(parts)) as pool:
        return np.concatenate(list(pool.map(product, parts)), axis=1)
