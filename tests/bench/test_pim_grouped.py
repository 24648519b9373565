"""How fast are programs of groups of banks, and requests beside them?

Nothing asserts on time; what is asserted is that the timed work was done.
"""

from collections.abc import Callable
from time import process_time

import numpy as np
from pytest_benchmark.fixture import BenchmarkFixture

from simulator.dram.pim.grouped import ROW, GroupedRun, load_grouped, run_program

Figure = Callable[[str], None]
#: Multiplications of a layer of Llama-2-7B on HBM-PIM, all channels.
MULTIPLICATIONS = 57_000_000


def rows(count: int, groups: int) -> np.ndarray:
    at = np.arange(count)
    entries = [0 * at + ROW, at % groups, at // groups % 16_384, 0 * at + 32]
    return np.stack(entries, axis=1)


def test_57_million_multiplications(benchmark: BenchmarkFixture, figure: Figure) -> None:
    part, given, times = load_grouped("hbm3_banks"), rows(MULTIPLICATIONS // 32, 1), list[float]()

    def run() -> GroupedRun:
        start = process_time()
        done = run_program(part, given)
        times.append(process_time() - start)
        return done

    done = benchmark.pedantic(run, rounds=3, warmup_rounds=1)
    assert done.bursts == 32 * len(given)
    commands = sum(done.commands.values())
    figure(f"groups of banks, alone: {commands} commands in {min(times):.2f} s of CPU time")


def test_requests_beside_a_program(benchmark: BenchmarkFixture, figure: Figure) -> None:
    """Reads of half of the bus in turn over all banks, beside a program on two bundles."""
    part, given, times = load_grouped("duplex_logic"), rows(6000, 2), list[float]()
    at = np.arange(100_000)
    banks, bursts = part.memory.banks_per_channel, part.memory.bursts_per_row
    row = 12_000 + at // banks // bursts
    asked = np.stack([2 * at, 0 * at, at % banks, row, at // banks % bursts], axis=1)

    def run() -> GroupedRun:
        start = process_time()
        done = run_program(part, given, requests=asked)
        times.append(process_time() - start)
        return done

    done = benchmark.pedantic(run, rounds=3, warmup_rounds=1)
    assert (done.requests, done.bursts) == (len(asked), 32 * len(given))
    commands, least = sum(done.commands.values()), min(times)
    figure(
        f"groups of banks beside {done.requests} reads: {commands} commands in {least:.2f} s of "
        f"CPU time, {commands / least / 1e6:.2f} M a second"
    )
