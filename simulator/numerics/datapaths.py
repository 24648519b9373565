"""The datapaths that `verify` knows, by name."""

from types import MappingProxyType

from simulator.numerics.block_paths import BLOCK_PATHS
from simulator.numerics.coded_paths import CODED_PATHS
from simulator.numerics.decoded_paths import DECODED_PATHS
from simulator.numerics.float_paths import FLOAT_PATHS
from simulator.numerics.integer_paths import INTEGER_PATHS
from simulator.numerics.lut_paths import LUT_PATHS
from simulator.numerics.mac_paths import MAC_PATHS
from simulator.numerics.operands import Datapath

DATAPATHS: MappingProxyType[str, Datapath] = MappingProxyType(
    {
        path.name: path
        for family in (
            MAC_PATHS,
            FLOAT_PATHS,
            INTEGER_PATHS,
            LUT_PATHS,
            BLOCK_PATHS,
            CODED_PATHS,
            DECODED_PATHS,
        )
        for path in family
    }
)
