"""The memory of a device as channels of one standard, and what each channel sees of an access.

Addresses go round the channels every `interleave` bytes. Channels are taken to be evenly loaded, as
a hash of addresses makes them; only one run that is too short for all loads some of them more.
Within a channel the order of levels is `mapping`, by default bursts first over pseudo-channels and
bank groups. Runs that lie anywhere do so in half of the channel.

Left out: channels that differ, a read that waits for another device.
"""

from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, Self, TypeAlias

from pydantic import Field, model_validator

from simulator.config import Bytes, NonNegativePicoseconds, Part, by_name, content_hash
from simulator.dram import shapes
from simulator.dram.mapping import parse_mapping
from simulator.dram.standard import Standard, load_standard
from simulator.dram.streams import SEED, Gather, Strided, Tile, group_first
from simulator.errors import InputError

if TYPE_CHECKING:
    from simulator.dram.controller import Settings


if TYPE_CHECKING:
    Named: TypeAlias = Standard
else:
    #: A standard written out, or the name or file of one; it is loaded.
    Named = by_name(Standard, load_standard)


class Access(NamedTuple):
    """What an operation moves for one operand: `size_bytes` in `runs` contiguous runs.

    columns: the runs are parts of the rows of a matrix that is cut into so many columns, and come
    column by column; 0 where each run lies anywhere. With one run or one column all is contiguous.
    """

    write: bool
    size_bytes: int
    runs: int
    columns: int


class Shape(NamedTuple):
    """What a channel sees: the bursts of a run, 0 where all is contiguous, and columns as above."""

    write: bool
    run_bursts: int
    columns: int


class Channels(Part):
    """A memory of `channels` equal channels, served command by command.

    standard: of one channel. page, refresh: as `controller.Settings`. latency: on the way to a
    channel and back, beside the channel's own.
    """

    kind: Literal["channels"]
    standard: Named
    channels: Annotated[int, Field(ge=1)]
    interleave_bytes: Bytes = Field(alias="interleave")
    mapping: str | None = None
    page: Literal["open", "closed"] = "open"
    refresh: Literal["all_bank", "per_bank", "none"] = "all_bank"
    capacity_bytes: Bytes = Field(alias="capacity")
    latency_ps: NonNegativePicoseconds = Field(alias="latency")
    source: str

    @model_validator(mode="after")
    def _fits(self) -> Self:
        standard, problems = self.standard, list[str]()
        if standard.levels["Channel"] != 1:
            problems.append(
                f"standard must be of one channel, {standard.name} has "
                f"{standard.levels['Channel']}; say how many with channels"
            )
        if self.interleave_bytes % standard.access_bytes:
            problems.append(
                f"interleave must be whole bursts of {standard.access_bytes} bytes, got "
                f"{self.interleave_bytes}"
            )
        most = self.channels * standard.capacity_bytes
        if self.capacity_bytes > most:
            problems.append(
                f"capacity {self.capacity_bytes} bytes is more than {self.channels} channels of "
                f"{standard.name} have, {most}"
            )
        if self.refresh == "per_bank" and standard.bank_refresh is None:
            problems.append(f"refresh 'per_bank': {standard.name} has no refresh bank by bank")
        if self.mapping is not None:
            try:
                parse_mapping(self.mapping, standard)
            except InputError as error:
                problems += error.problems
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def bandwidth_bytes_per_s(self) -> int:
        """Peak of all channels."""
        return int(self.channels * self.standard.peak_bytes_per_s)

    @property
    def settings(self) -> "Settings":
        """How the controller of a channel is set up."""
        from simulator.dram.controller import Settings

        return Settings(page=self.page, refresh=self.refresh)

    @cached_property
    def order(self) -> tuple[str, ...]:
        """The levels of a channel's addresses, most significant first."""
        if self.mapping is None:
            return group_first(self.standard)
        return parse_mapping(self.mapping, self.standard)

    @cached_property
    def alike(self) -> tuple[object, ...]:
        """What channels have in common that serve a shape alike, whatever their number."""
        return content_hash(self.standard), self.order, self.page, self.refresh

    @property
    def stripe_bytes(self) -> int:
        """Bytes of one row in each bank of a channel."""
        standard = self.standard
        return standard.banks_per_channel * standard.bursts_per_row * standard.access_bytes

    @cached_property
    def striped(self) -> shapes.Striped:
        """How addresses lie on the channels."""
        return shapes.Striped(
            self.channels, self.interleave_bytes, self.standard.access_bytes, self.stripe_bytes
        )

    def bursts(self, access: Access) -> int:
        """Return the bursts of an access on a channel, of one short run on those that it meets."""
        return shapes.bursts(self.striped, access.size_bytes, access.runs)

    def run_bursts(self, run_bytes: int) -> int:
        """Return how many bursts of a run lie one after the other on a channel."""
        return shapes.run_bursts(self.striped, run_bytes)

    def shape(self, access: Access) -> "Shape":
        """Return the shape of what one channel sees of an access."""
        seen = shapes.shape(self.striped, access.size_bytes, access.runs, access.columns)
        return Shape(access.write, *seen)

    def stream(self, shape: "Shape", bursts: int, base_bytes: int = 0) -> Strided | Tile | Gather:
        """Return what one channel sees of a shape, from a byte of its own on.

        Runs that lie anywhere lie elsewhere for another base.
        """
        burst, every = self.standard.access_bytes, int(shape.write)
        if not shape.run_bursts:
            return Strided(self.order, burst, base_bytes, every)
        run_bytes = shape.run_bursts * burst
        if not shape.columns:
            table = self.standard.capacity_bytes // 2 // run_bytes * run_bytes
            return Gather(self.order, run_bytes, table, 0, every, SEED + base_bytes)
        rows = max(1, bursts // (shape.run_bursts * shape.columns))
        pitch = shape.columns * run_bytes
        return Tile(self.order, rows, run_bytes, shape.columns, pitch, base_bytes, every)
