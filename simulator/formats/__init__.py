"""Number formats: names, exact bits per value, and conversion of values to codes and back."""

from simulator.formats.format import Format, Granularity, Kind
from simulator.formats.names import (
    ALL,
    PATTERNS,
    SHORTHANDS,
    FormatName,
    expand_shorthand,
    format_of,
    get,
)
from simulator.formats.rounding import Overflow, Rounding

__all__ = [
    "ALL",
    "PATTERNS",
    "SHORTHANDS",
    "Format",
    "FormatName",
    "Granularity",
    "Kind",
    "Overflow",
    "Rounding",
    "expand_shorthand",
    "format_of",
    "get",
]
