"""DRAM timing command by command: standards as data, streams of requests, controller, checker."""

from simulator.dram.channel import Command, Run
from simulator.dram.controller import Settings, run_requests, run_stream
from simulator.dram.dramsim3 import Dramsim3Settings, run_dramsim3, run_dramsim3_requests
from simulator.dram.energy import Energy, energy_of
from simulator.dram.request_file import read_requests
from simulator.dram.standard import Standard, load_standard, standard_names
from simulator.dram.streams import STREAM_NAMES, Gather, Random, Strided, Tile, named_stream

__all__ = [
    "STREAM_NAMES",
    "Command",
    "Dramsim3Settings",
    "Energy",
    "Gather",
    "Random",
    "Run",
    "Settings",
    "Standard",
    "Strided",
    "Tile",
    "energy_of",
    "load_standard",
    "named_stream",
    "read_requests",
    "run_dramsim3",
    "run_dramsim3_requests",
    "run_requests",
    "run_stream",
    "standard_names",
]
