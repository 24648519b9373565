"""Processing in memory, command by command: a module for each published device, one kind of run."""

from simulator.dram.pim.run import PimRun

__all__ = ["PimRun"]
