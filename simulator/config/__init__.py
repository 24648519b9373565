"""Strict reading, checking and composing of described parts; it knows no schema of its own."""

from simulator.config.csv_rows import csv_rows
from simulator.config.identity import code_hash
from simulator.config.loading import (
    by_name,
    content_hash,
    data_root,
    dump_yaml,
    load_part,
    names,
    replace,
    resolved,
    value_at,
)
from simulator.config.part import (
    FOLDER,
    Bytes,
    BytesPerSecond,
    Hertz,
    NonNegativeBytes,
    NonNegativePicojoules,
    NonNegativePicoseconds,
    NonNegativeSquareMillimetres,
    NonNegativeWatts,
    Part,
    Picojoules,
    Picoseconds,
    SquareMillimetres,
    Watts,
)
from simulator.config.problems import did_you_mean, unknown

__all__ = [
    "FOLDER",
    "Bytes",
    "BytesPerSecond",
    "Hertz",
    "NonNegativeBytes",
    "NonNegativePicojoules",
    "NonNegativePicoseconds",
    "NonNegativeSquareMillimetres",
    "NonNegativeWatts",
    "Part",
    "Picojoules",
    "Picoseconds",
    "SquareMillimetres",
    "Watts",
    "by_name",
    "code_hash",
    "content_hash",
    "csv_rows",
    "data_root",
    "did_you_mean",
    "dump_yaml",
    "load_part",
    "names",
    "replace",
    "resolved",
    "unknown",
    "value_at",
]
