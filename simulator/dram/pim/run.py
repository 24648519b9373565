"""What a device with processing in its memory did with a kernel; the same of every device."""

from dataclasses import dataclass

PS_PER_S = 10**12


@dataclass(frozen=True, kw_only=True)
class PimRun:
    """A kernel on all channels of a part.

    cycles: of `tick_ps`, until all channels are done. commands: by name, on all channels. bursts:
    commands that made the units compute, on all channels, padding included; each is
    `operations_per_burst`, multiply-accumulates or element operations. operations: what of them was
    asked for. channel_cycles: of each channel, where channels differ.
    """

    part: str
    cycles: int
    tick_ps: int
    channels: int
    commands: dict[str, int]
    bursts: int
    operations: int
    operations_per_burst: int
    channel_cycles: tuple[int, ...] = ()

    @property
    def time_s(self) -> float:
        """Time until all channels are done."""
        return self.cycles * self.tick_ps / PS_PER_S

    @property
    def wanted_bursts(self) -> float:
        """Bursts before padding."""
        return self.operations / self.operations_per_burst

    @property
    def utilisation(self) -> float:
        """Part of the operations of all bursts that was asked for; 0 without bursts."""
        return self.wanted_bursts / self.bursts if self.bursts else 0.0
