"""What multiplies in or under a device's memory, and the links to other devices of its group.

The memories are those of `simulator.dram.pim`; here stands how they are built into a device. How
long an operation takes on them is planned in `mapping.in_memory`.
"""

from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from simulator.config import Bytes, BytesPerSecond, NonNegativePicoseconds, Part, by_name, unknown
from simulator.dram.pim.aim import Aim, load_aim
from simulator.dram.pim.attacc_part import AttAcc, load_attacc
from simulator.dram.pim.grouped_part import GroupedPim, load_grouped
from simulator.dram.pim.neupims_part import NeuPims, Sends, load_neupims
from simulator.errors import InputError
from simulator.hardware.pim_unit import PimUnit, PowerCap, load_pim_unit

if TYPE_CHECKING:
    NeuPimsPart: TypeAlias = NeuPims
    AttAccPart: TypeAlias = AttAcc
    AimPart: TypeAlias = Aim
    GroupedPart: TypeAlias = GroupedPim
    Unit: TypeAlias = PimUnit
else:
    #: Each written out, or the name or file of one; it is loaded.
    NeuPimsPart = by_name(NeuPims, load_neupims)
    AttAccPart = by_name(AttAcc, load_attacc)
    AimPart = by_name(Aim, load_aim)
    GroupedPart = by_name(GroupedPim, load_grouped)
    Unit = by_name(PimUnit, load_pim_unit)

PositiveInt = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0)]
#: What can be multiplied in a memory: keys and values, and weights.
Multiplied: TypeAlias = Literal["attention", "weights"]


class RingLink(Part):
    """A link from each device of a group to the next; bandwidth each way, latency a step."""

    kind: Literal["ring"]
    bandwidth_bytes_per_s: BytesPerSecond = Field(alias="bandwidth")
    latency_ps: NonNegativePicoseconds = Field(alias="latency")
    pj_per_bit: NonNegative
    source: str


class IdealLink(Part):
    """A link that takes no time: to compare with simulators that model none."""

    kind: Literal["ideal"]
    source: str


class OwnMemory(Part):
    """A memory for keys and values alone, beside the device's own, behind a link."""

    capacity_bytes: Bytes = Field(alias="capacity")
    bandwidth_bytes_per_s: BytesPerSecond = Field(alias="bandwidth")
    latency_ps: NonNegativePicoseconds = Field(alias="latency")
    pj_per_bit: NonNegative
    source: str


class NeuPimsBanks(Part):
    """NeuPIMs' banks in the device's own memory: mode "dual" or "blocked"; attention alone.

    sends: how the NPU hands on commands, where that is not as in the mode. npu: "own" where the
    device's units compute the rest, as planned; "reference" where that is the NPU of NeuPIMs'
    simulator, instruction by instruction (`dram.pim.neupims_npu`).
    """

    kind: Literal["neupims"]
    part: NeuPimsPart
    mode: str
    sends: Sends | None = None
    npu: Literal["own", "reference"] = "own"
    source: str

    @model_validator(mode="after")
    def _known_mode(self) -> Self:
        try:
            self.part.mode(self.mode)
        except InputError as error:
            raise ValueError(str(error)) from error
        return self

    @property
    def multiplies(self) -> tuple[Multiplied, ...]:
        """What the banks multiply."""
        return ("attention",)

    @cached_property
    def built(self) -> NeuPims:
        """The part, with commands handed on as they are here."""
        mode = self.part.mode(self.mode)
        if self.sends is None or self.sends == mode.sends:
            return self.part
        changed = mode.model_copy(update={"sends": self.sends})
        return self.part.model_copy(update={"modes": {**self.part.modes, self.mode: changed}})

    @property
    def exclusive(self) -> bool:
        """Whether the device cannot use its memory meanwhile."""
        return self.part.mode(self.mode).row_buffers == 1

    @property
    def channels(self) -> int:
        """Channels among which requests are dealt out."""
        return self.part.channels


class AttAccStacks(Part):
    """Stacks of AttAcc, with units at one level; power_limit: their cadence heeds it.

    stack_limit: of the power of a stack, which a run is held to; absent where no source states one.
    """

    kind: Literal["attacc"]
    part: AttAccPart
    level: str
    power_limit: bool
    stacks: PositiveInt
    own: OwnMemory
    stack_limit: PowerCap | None = None
    source: str

    @model_validator(mode="after")
    def _known_level(self) -> Self:
        if self.level not in self.part.units:
            raise ValueError(unknown("level", self.level, self.part.units))
        return self

    @property
    def multiplies(self) -> tuple[Multiplied, ...]:
        """What the units multiply."""
        return ("attention",)

    @property
    def exclusive(self) -> bool:
        """Whether the device cannot use its memory meanwhile: it is another one."""
        return False

    @property
    def channels(self) -> int:
        """Channels among which heads are dealt out."""
        return self.stacks * self.part.channels


class AimChannels(Part):
    """AiM's units in the banks of the device's own memory, for products with weights alone.

    The weights of an output lie in rows of one bank, the next output in the next bank. A row's sum
    stays where it is until all rows of its output are done.
    """

    kind: Literal["aim"]
    part: AimPart
    source: str

    @property
    def multiplies(self) -> tuple[Multiplied, ...]:
        """What the units multiply."""
        return ("weights",)

    @property
    def exclusive(self) -> bool:
        """Whether the device cannot use its memory meanwhile."""
        return True

    @property
    def channels(self) -> int:
        """Channels that work on a product together."""
        return self.part.channels


class GroupUnits(Part):
    """Any unit in any memory whose banks multiply in groups (`dram.pim.grouped`).

    sets: of the part's channels that the device has. policy: "blocked" where the device cannot use
    its memory meanwhile, "concurrent" where it can use all banks, "apart" where it uses one half of
    the groups and the units read the other. layouts: of keys, values and weights, by name.
    stack_limit: of the power of a stack, transfers included, which a run is held to beside what the
    unit's cadence heeds; absent where no source states one.
    """

    kind: Literal["groups"]
    part: GroupedPart
    unit: Unit
    sets: PositiveInt
    policy: Literal["blocked", "concurrent", "apart"]
    multiplies: tuple[Multiplied, ...]
    keys: str
    values: str
    weights: str | None = None
    stack_limit: PowerCap | None = None
    source: str

    @model_validator(mode="after")
    def _two_halves(self) -> Self:
        if self.policy == "apart" and self.part.groups % 2:
            raise ValueError(
                f"policy 'apart' needs two halves of groups, {self.part.name} has "
                f"{self.part.groups} a channel"
            )
        return self

    @property
    def exclusive(self) -> bool:
        """Whether the device cannot use its memory meanwhile."""
        return self.policy == "blocked"

    @property
    def stacks(self) -> int:
        """Stacks that the channels are of."""
        return self.sets * self.part.stacks

    @property
    def channels(self) -> int:
        """Channels among which heads are dealt out."""
        return self.sets * self.part.channels


Pim: TypeAlias = NeuPimsBanks | AttAccStacks | AimChannels | GroupUnits
