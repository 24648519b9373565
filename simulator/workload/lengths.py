"""Reads batch sizes, lengths and channels as users give them: one number, or one a request."""

import operator
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import SupportsIndex, cast

from simulator.errors import InputError


def integer(name: str, value: object, least: int = 1) -> int:
    """Return a whole number >= `least`; numpy integers will do; booleans, floats, text will not."""
    message = f"{name} must be an integer, got {value!r}"
    if isinstance(value, bool):
        raise InputError(message)
    try:
        number = operator.index(cast(SupportsIndex, value))
    except TypeError:
        raise InputError(message) from None
    if number < least:
        raise InputError(f"{name} must be >= {least}, got {number}")
    return number


def grouped_requests(
    model: str,
    limit: int,
    name: str,
    value: int | Sequence[int],
    batch: int | None,
    channels: Sequence[int] | None = None,
) -> list[tuple[int, int | None, int]]:
    """Return (length, channel, requests) of equal requests, shortest first, then by channel.

    `value` is one length for `batch` requests (absent: 1) or one length a request; `channels` has
    one a request in the same order. Errors: InputError, where a length is beyond `limit`, where
    the batch and a list do not agree.
    """
    count = None if batch is None else integer("batch", batch)
    if isinstance(value, Iterable) and not isinstance(value, str):
        lengths, each = [integer(name, item) for item in value], 1
        if not lengths:
            raise InputError(f"{name} is an empty list; give one number a request")
        if count not in (None, len(lengths)):
            raise InputError(f"batch is {count}, but {name} has {len(lengths)} entries")
    else:
        lengths, each = [integer(name, value)], count or 1
    beyond = sorted(length for length in set(lengths) if length > limit)
    if beyond:
        raise InputError([f"{name} {n} is beyond {model}'s limit of {limit}" for n in beyond])
    if channels is None:  # equal requests are counted, not listed: there may be very many
        return [(n, None, each * found) for n, found in sorted(Counter(lengths).items())]
    if not isinstance(channels, Iterable) or isinstance(channels, str):
        raise InputError(f"channels must be a list, one number a request, got {channels!r}")
    chosen = [integer("channels", item, least=0) for item in channels]
    if len(chosen) != len(lengths) * each:
        raise InputError(
            f"channels has {len(chosen)} entries, but the batch is {len(lengths) * each}"
        )
    placed = Counter(zip(lengths * each, chosen, strict=True))
    return [(n, channel, found) for (n, channel), found in sorted(placed.items())]
