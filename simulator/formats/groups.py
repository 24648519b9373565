"""Which elements of an array share a scale, and what is computed of each such group.

The last group along an axis may be short; nothing is padded.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError

#: Which elements share a scale: all, a vector along the last axis (an output channel, a token),
#: `group` consecutive elements of it, or a block of rows and columns of the last two axes.
Sharing = Literal["tensor", "channel", "token", "group", "block"]


def group_sizes(
    what: str, shape: tuple[int, ...], sharing: Sharing, group: int | tuple[int, int] | None
) -> tuple[int, ...]:
    """Return the size of a scale group along every axis of an array of `shape`.

    Errors: InputError, that starts with `what`, where sharing, group and shape do not fit.
    """
    if not shape:
        raise InputError(f"{what}: values must have at least one axis")
    whole = tuple(max(1, length) for length in shape)
    match sharing, group:
        case "tensor", None:
            return whole
        case "channel" | "token", None:
            return (*[1] * (len(shape) - 1), whole[-1])
        case "group", int() if group >= 1:
            return (*[1] * (len(shape) - 1), group)
        case "block", (int() as rows, int() as columns) if min(rows, columns) >= 1 < len(shape):
            return (*[1] * (len(shape) - 2), rows, columns)
        case "group", _:
            raise InputError(f"{what}: group must be an integer >= 1, got {group!r}")
        case "block", _:
            raise InputError(
                f"{what}: a block needs two axes and group=(rows, columns), each >= 1, "
                f"got {group!r} for shape {shape}"
            )
        case "tensor" | "channel" | "token", _:
            raise InputError(f"{what}: group={group!r} needs sharing='group' or 'block'")
        case _:
            raise InputError(
                f"{what}: unknown sharing {sharing!r}; "
                "known: 'tensor', 'channel', 'token', 'group', 'block'"
            )


def reduce_groups(
    ufunc: np.ufunc, values: NDArray[Any], sizes: tuple[int, ...]
) -> NDArray[np.float64]:
    """Return a ufunc's reduction over every group, an array of as many axes; groups may be short.

    Neither size is padded: the last group along an axis holds what is left.
    """
    for axis, size in enumerate(sizes):
        if size > 1:
            starts = np.arange(0, values.shape[axis], size)
            values = ufunc.reduceat(values, starts, axis=axis)
    return values.astype(np.float64)


def spread(groups: NDArray[Any], sizes: tuple[int, ...], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return what every group has, so that it broadcasts with the elements of `shape`."""
    for axis, size in enumerate(sizes):
        if size > 1 and groups.shape[axis] > 1:
            groups = np.repeat(groups, size, axis=axis)
            groups = groups[(*[slice(None)] * axis, slice(shape[axis]))]
    return groups
