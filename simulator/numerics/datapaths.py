"""The datapaths that `verify` knows, by name."""

from types import MappingProxyType

from simulator.numerics.float_paths import FLOAT_PATHS
from simulator.numerics.integer_paths import INTEGER_PATHS
from simulator.numerics.operands import Datapath

DATAPATHS: MappingProxyType[str, Datapath] = MappingProxyType(
    {path.name: path for path in (*FLOAT_PATHS, *INTEGER_PATHS)}
)
