"""Reads batch sizes and lengths as users give them: one number, or one a request."""

import operator
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import SupportsIndex, cast

from simulator.errors import InputError


def integer(name: str, value: object) -> int:
    """Return a whole number >= 1; numpy integers are fine, booleans, floats and text are not."""
    message = f"{name} must be an integer, got {value!r}"
    if isinstance(value, bool):
        raise InputError(message)
    try:
        number = operator.index(cast(SupportsIndex, value))
    except TypeError:
        raise InputError(message) from None
    if number < 1:
        raise InputError(f"{name} must be >= 1, got {number}")
    return number


def grouped_lengths(
    model: str, limit: int, name: str, value: int | Sequence[int], batch: int | None
) -> list[tuple[int, int]]:
    """Return (length, requests) pairs, shortest first.

    `value` is one length for `batch` requests (absent: 1) or one length a request. Errors:
    InputError, where a length is beyond `limit`, where the batch and the list do not agree.
    """
    count = None if batch is None else integer("batch", batch)
    if isinstance(value, Iterable) and not isinstance(value, str):
        lengths = Counter(integer(name, item) for item in value)
        entries = lengths.total()
        if not entries:
            raise InputError(f"{name} is an empty list; give one number a request")
        if count not in (None, entries):
            raise InputError(f"batch is {count}, but {name} has {entries} entries")
    else:
        lengths = Counter({integer(name, value): count or 1})
    beyond = sorted(length for length in lengths if length > limit)
    if beyond:
        raise InputError([f"{name} {n} is beyond {model}'s limit of {limit}" for n in beyond])
    return sorted(lengths.items())
