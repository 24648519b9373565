"""What a simulation found: the records, their conservation laws, tables, and saving.

A `Result` is made by the engine and never changes. `result.check()` proves its books, `str` of
`result.summary()` is the table that a user reads, `save` and `load` keep it as JSON and Parquet.
"""

from simulator.results.checks import Law, laws
from simulator.results.kinds import KindRow, by_kind
from simulator.results.power import Power, power_of
from simulator.results.records import (
    ChannelRecord,
    Intervals,
    OpRecord,
    Peaks,
    Provenance,
    SampledProduct,
    Spill,
    StageRecord,
    Traffic,
    UnitRecord,
)
from simulator.results.result import RUNGS, Result
from simulator.results.store import load, prepare_folder, save, save_infeasible, write_atomically
from simulator.results.summary import Summary
from simulator.results.tables import Table, engineering

__all__ = [
    "RUNGS",
    "ChannelRecord",
    "Intervals",
    "KindRow",
    "Law",
    "OpRecord",
    "Peaks",
    "Power",
    "Provenance",
    "Result",
    "SampledProduct",
    "Spill",
    "StageRecord",
    "Summary",
    "Table",
    "Traffic",
    "UnitRecord",
    "by_kind",
    "engineering",
    "laws",
    "load",
    "power_of",
    "prepare_folder",
    "save",
    "save_infeasible",
    "write_atomically",
]
