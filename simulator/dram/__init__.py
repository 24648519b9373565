"""DRAM timing command by command: standards as data, streams of requests, controller, checker."""

from simulator.dram.controller import Command, Run, Settings, run_requests, run_stream
from simulator.dram.request_file import read_requests
from simulator.dram.standard import Standard, load_standard, standard_names
from simulator.dram.streams import STREAM_NAMES, Gather, Random, Strided, Tile, named_stream

__all__ = [
    "STREAM_NAMES",
    "Command",
    "Gather",
    "Random",
    "Run",
    "Settings",
    "Standard",
    "Strided",
    "Tile",
    "load_standard",
    "named_stream",
    "read_requests",
    "run_requests",
    "run_stream",
    "standard_names",
]
