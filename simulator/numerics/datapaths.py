"""The datapaths that `verify` knows, by name; those of a user's file by their key (`own`)."""

from types import MappingProxyType

from simulator.numerics.block_paths import BLOCK_PATHS
from simulator.numerics.coded_paths import CODED_PATHS
from simulator.numerics.decoded_paths import DECODED_PATHS
from simulator.numerics.float_paths import FLOAT_PATHS
from simulator.numerics.integer_paths import INTEGER_PATHS
from simulator.numerics.lut_paths import LUT_PATHS
from simulator.numerics.mac_paths import MAC_PATHS
from simulator.numerics.operands import Datapath
from simulator.numerics.own import is_own
from simulator.numerics.own_paths import own_path

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


def datapath(name: str) -> Datapath:
    """Return a datapath by its name in `DATAPATHS` or by the key of a file's (`own.Source.key`).

    Errors: InputError for what `own.arithmetic` refuses.
    """
    return own_path(name) if is_own(name) else DATAPATHS[name]
