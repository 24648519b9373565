"""What layouts cost beside multiplies: appends of keys and values, capacity, and reads by others.

An append writes one index of a dimension: of keys an output (a token), of values an input. A burst
of which it writes only some lanes is read first. Weights that an NPU reads too are either read as
they lie for the banks, or kept twice.

Left out: masks of data, with which a burst is written in part; pages of keys and values; writes of
scales.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, prod

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.mapping.pim_layout import (
    Dimension,
    Geometry,
    Ints,
    Layout,
    Place,
    Placement,
    Shape,
    placed,
)

#: Values whose places are listed one by one.
MOST_VALUES = 1 << 26


@dataclass(frozen=True, kw_only=True)
class Append:
    """Writes of an append. bursts_partly: of the bursts, those that are read before."""

    bursts: int
    bursts_partly: int
    rows: int
    banks: int
    channels: int


@dataclass(frozen=True, kw_only=True)
class KeysAndValues:
    """Keys and values of a model: layers, and of each the heads that have them, and their size."""

    layers: int
    heads: int
    head_dim: int
    value_bits: int | Fraction = 16
    scale_bits: Fraction = Fraction(0)

    def shapes(self, tokens: int, requests: int) -> tuple[Shape, Shape]:
        """Return the keys and the values of a layer."""
        bits = {"value_bits": self.value_bits, "scale_bits": self.scale_bits}
        matrices = self.heads * requests
        return (
            Shape(outputs=tokens, inputs=self.head_dim, matrices=matrices, **bits),  # type: ignore[arg-type]
            Shape(outputs=self.head_dim, inputs=tokens, matrices=matrices, **bits),  # type: ignore[arg-type]
        )


@dataclass(frozen=True, kw_only=True)
class SharedWeights:
    """Weights that an NPU reads tile by tile: as they lie for the banks, or from a second copy.

    row_hit_rate: of its reads with rows left open; run_bursts: mean number of its reads one after
    the other in one row; useful: share of what it reads that it wants. own_*: of the second copy,
    which lies as it is read. copy_bytes, copy_rows: the room that takes, rows of every bank.
    conversion_bytes: read and written to make it.
    """

    row_hit_rate: float
    run_bursts: float
    useful: float
    own_row_hit_rate: float
    own_run_bursts: float
    copy_bytes: int
    copy_rows: int
    conversion_bytes: int


def append(placement: Placement, dimension: Dimension, index: int) -> Append:
    """Return what it takes to write one index of a dimension, of all matrices.

    Raises InputError for an index that the matrix does not have.
    """
    bursts, partly = _written(placement, dimension, index)
    return Append(
        bursts=len(bursts),
        bursts_partly=int(partly.sum()),
        rows=len(np.unique(bursts[:, :4], axis=0)),
        banks=len(np.unique(bursts[:, :3], axis=0)),
        channels=len(np.unique(bursts[:, 0])),
    )


def append_requests(
    placement: Placement,
    dimension: Dimension,
    index: int,
    banks_of_groups: tuple[tuple[int, ...], ...],
    *,
    not_before: int = 0,
) -> dict[int, Ints]:
    """Return an append as requests of each channel: (n, 5), tick, write, bank, row, burst.

    banks_of_groups: of a part. A burst that is written in part is read just before. Errors as of
    `append`.
    """
    bursts, partly = _written(placement, dimension, index)
    banks = np.array(banks_of_groups)[bursts[:, 1], bursts[:, 2]]
    place = np.stack([banks, bursts[:, 3], bursts[:, 4]], axis=1)
    found = dict[int, Ints]()
    for channel in np.unique(bursts[:, 0]).tolist():
        here = bursts[:, 0] == channel
        times = 1 + partly[here].astype(np.int64)
        requests = np.full((int(times.sum()), 5), not_before, np.int64)
        requests[:, 2:] = np.repeat(place[here], times, axis=0)
        requests[:, 1] = 0
        requests[np.cumsum(times) - 1, 1] = 1
        found[channel] = requests
    return found


def most_tokens(
    keys: Layout,
    values: Layout,
    model: KeysAndValues,
    geometry: Geometry,
    *,
    requests: int = 1,
    rows_taken: int = 0,
) -> int:
    """Return the longest context of so many requests that rows have room for; 0 for none.

    rows_taken: of each bank, by weights. Layouts that do not split over channels have whole
    requests on channels. Raises InputError for requests below 1, rows that are not there, and
    layouts that heads do not fit.
    """
    problems = [f"requests must be >= 1, got {requests}"] if requests < 1 else []
    if not 0 <= rows_taken <= geometry.rows:
        problems.append(f"rows_taken must be 0 to {geometry.rows}, got {rows_taken}")
    if problems:
        raise InputError(problems)
    room = geometry.rows - rows_taken

    def fits(tokens: int) -> bool:
        return rows_of(keys, values, model, geometry, tokens, requests) <= room

    if not fits(1):
        return 0
    low, high = 1, 2
    while fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def rows_of(
    keys: Layout,
    values: Layout,
    model: KeysAndValues,
    geometry: Geometry,
    tokens: int,
    requests: int = 1,
) -> int:
    """Return the rows of each bank that all layers' keys and values take; errors as above."""
    taken = 0
    unbounded = Geometry(**{**vars(geometry), "rows": 1 << 62})
    for layout, of_keys in ((keys, True), (values, False)):
        over_channels = any(split.level == "channel" for split in layout.splits)
        here = requests if over_channels else ceil(requests / geometry.channels)
        shape = model.shapes(tokens, here)[0 if of_keys else 1]
        taken += placed(layout, shape, unbounded).rows
    return taken * model.layers


def shared_weights(placement: Placement, tile_outputs: int, tile_inputs: int) -> SharedWeights:
    """Return what it means that an NPU reads a matrix too, tile by tile, each row by row.

    Tiles go along the inputs first; in a tile a burst is read where it is first needed. Raises
    InputError for tiles below 1, and for more than `MOST_VALUES`.
    """
    given = {"tile_outputs": tile_outputs, "tile_inputs": tile_inputs}
    problems = [f"{name} must be >= 1, got {size}" for name, size in given.items() if size < 1]
    if problems:
        raise InputError(problems)
    _refuse_many(placement.shape.values)
    shape, geometry = placement.shape, placement.geometry
    bands = [
        _band(placement, matrix, first, tile_outputs, tile_inputs)
        for matrix in range(shape.matrices)
        for first in range(0, shape.outputs, tile_outputs)
    ]
    banks, rows = (np.concatenate(each) for each in zip(*bands, strict=True))
    same_bank = np.argsort(banks, kind="stable")
    key = banks * placement.rows + rows
    openings = _changes(key[same_bank])
    runs = _changes(key)
    copy_bytes = ceil(shape.values * shape.value_bits / 8) + shape.scale_bytes
    in_all_rows = geometry.channels * geometry.groups * geometry.banks * geometry.bursts_per_row
    in_all_rows *= geometry.burst_bytes
    return SharedWeights(
        row_hit_rate=1 - openings / len(key),
        run_bursts=len(key) / runs,
        useful=shape.values / (len(key) * placement.lanes),
        own_row_hit_rate=1 - 1 / geometry.bursts_per_row,
        own_run_bursts=geometry.bursts_per_row,
        copy_bytes=copy_bytes,
        copy_rows=ceil(copy_bytes / in_all_rows),
        conversion_bytes=2 * copy_bytes,
    )


def _written(
    placement: Placement, dimension: Dimension, index: int
) -> tuple[Ints, NDArray[np.bool_]]:
    """Return the bursts that an append writes, and whether only in part.

    They are (n, 5): channel, group, bank, row, burst, in order.
    """
    shape = placement.shape
    if dimension not in ("outputs", "inputs"):
        raise InputError(f"dimension must be outputs or inputs, got {dimension!r}")
    _refuse_many(shape.values // int(getattr(shape, dimension)))
    outputs, inputs = np.arange(shape.outputs), np.arange(shape.inputs)
    if dimension == "outputs":
        outputs = np.array([index])
    else:
        inputs = np.array([index])
    grid = np.meshgrid(outputs, inputs, np.arange(shape.matrices), indexing="ij")
    places = _columns(placement.place(*grid))[:, :5]
    bursts, many = np.unique(places, axis=0, return_counts=True)
    lanes = prod(digit.factor for digit in placement.digits if digit.level == "lane")
    return bursts, many < lanes


def _refuse_many(values: int) -> None:
    if values > MOST_VALUES:
        raise InputError(f"looks at each of at most {MOST_VALUES:,} values, got {values:,}")


def _columns(place: Place) -> Ints:
    return np.stack([each.ravel() for each in place], axis=1)


def _band(
    placement: Placement, matrix: int, first: int, tile_outputs: int, tile_inputs: int
) -> tuple[Ints, Ints]:
    """Return banks and rows of the bursts of the tiles with some outputs, as they are read."""
    shape, geometry = placement.shape, placement.geometry
    outputs = np.arange(first, min(first + tile_outputs, shape.outputs))
    inputs = np.arange(shape.inputs)
    # Of a burst it is enough to look at the value of a tile that comes first.
    for digit in placement.digits:
        if digit.level == "lane" and digit.stride == 1:
            if digit.dimension == "outputs":
                outputs = outputs[(outputs % digit.factor == 0) | (outputs == first)]
            elif digit.dimension == "inputs":
                inputs = inputs[(inputs % digit.factor == 0) | (inputs % tile_inputs == 0)]
    tile, output, value = np.broadcast_arrays(
        inputs[None, :] // tile_inputs, outputs[:, None], inputs[None, :]
    )
    order = np.lexsort((value.ravel(), output.ravel(), tile.ravel()))
    tile, output, value = (each.ravel()[order] for each in (tile, output, value))
    at = placement.place(output, value, matrix)
    bank = (at.channel * geometry.groups + at.group) * geometry.banks + at.bank
    burst = ((tile * (bank.max() + 1) + bank) * placement.rows + at.row) * geometry.bursts_per_row
    firsts = np.sort(np.unique(burst + at.burst, return_index=True)[1])
    return bank[firsts], at.row[firsts]


def _changes(key: Ints) -> int:
    """Return how many runs of equal numbers there are."""
    return 1 + int(np.count_nonzero(np.diff(key)))
