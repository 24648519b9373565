"""How fast is AttAcc's attention? Seconds of CPU time by flavour, and of a comparison with records.

Nothing asserts on time; what is asserted is that the timed work was done.
"""

import csv
import os
from collections.abc import Callable
from pathlib import Path
from time import process_time

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from simulator.dram.pim.attacc import AttentionRun, load_attacc, run_attention

Figure = Callable[[str], None]
ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("NIBBLESIM_DATA", ROOT.parent / "shared" / "data")) / "attacc"
PART = load_attacc()
LEVELS = {"BA": "bank", "BG": "bank_group", "BUFFER": "buffer"}


def attend(
    level: str, power_limit: bool, context: int, heads: int, head_dim: int, bytes_per_value: int
) -> AttentionRun:
    return run_attention(
        PART,
        level,
        context=context,
        heads=heads,
        head_dim=head_dim,
        bytes_per_value=bytes_per_value,
        power_limit=power_limit,
    )


@pytest.mark.parametrize("level", PART.units)
def test_attention_of_130_heads(benchmark: BenchmarkFixture, figure: Figure, level: str) -> None:
    """Heads of a stack for GPT-3-175B at a batch of 54 or so; 2,048 tokens."""
    attend(level, True, 64, 16, 128, 2)
    start = process_time()
    run = benchmark.pedantic(attend, args=(level, True, 2048, 130, 128, 2), rounds=1)
    seconds = process_time() - start
    commands = sum(run.commands.values()) / run.channels
    figure(f"AttAcc {level}: {seconds:.4f} s, {commands / seconds / 1e6:.1f} M commands/s")
    assert run.commands[PART.units[level].multiply] == run.bursts > 0


def test_comparison_with_records(
    benchmark: BenchmarkFixture, figure: Figure, request: pytest.FixtureRequest
) -> None:
    path = DATA / "pim_attention_cycles.csv"
    if not path.is_file():
        pytest.skip(f"no {path.name}: set NIBBLESIM_DATA (scale-snu/attacc_simulator @c600051)")
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if int(row["L"]) >= 512]
    count = 4 if request.config.getoption("benchmark_disable") else 300
    chosen = np.random.default_rng(6).choice(len(rows), count, replace=False).tolist()

    def compare() -> list[float]:
        errors = []
        for row in (rows[i] for i in chosen):
            sizes = [int(row[name]) for name in ("L", "nhead", "dhead", "dbyte")]
            run = attend(LEVELS[row["pim_type"]], row["power_constraint"] == "True", *sizes)
            errors.append(abs(run.cycles / int(row["cycle"]) - 1))
        return errors

    start = process_time()
    errors = benchmark.pedantic(compare, rounds=1)
    mean, worst = float(np.mean(errors)), max(errors)
    figure(
        f"AttAcc, {count} recorded runs in {process_time() - start:.1f} s: "
        f"mean error {mean:.2%}, worst {worst:.2%}"
    )
    assert len(errors) == count
