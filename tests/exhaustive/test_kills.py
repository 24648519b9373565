"""Does a study that is killed a hundred times, at random moments, come to what it would have?

Marked slow, not in the usual run: `make exhaustive`, ten minutes.
"""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from plans import tiny_model

from simulator.config import dump_yaml
from simulator.errors import InputError
from simulator.search.store import Store
from simulator.search.sweep_file import load_sweep
from simulator.study import case_of, evaluate

KILLS = 100
#: Of kills, how many come while a command starts; the others once it has stored a point.
EARLY = 0.2
#: How long a command may take to store its first point, and processes to end with it.
PATIENCE_S = 300.0
SWEEP = """\
name: killed
device: generic_npu_128
workload: {{model: {model}, phase: decode, batch: 2, context: 40}}
rung: tile
space:
  device.matrix.rows: {{int: [8, 128], step: 8}}
  device.matrix.columns: {{int: [8, 128], step: 8}}
  workload.batch: {{int: [1, 8]}}
  workload.weights: [fp16, int8-channel]
objectives: {{latency_s: min, area_mm2: min}}
"""


def stored(path: Path) -> int:
    """Return how many points a file has; none before it is a study."""
    try:
        with Store(path, read_only=True) as store:
            return store.count()
    except InputError:
        return 0


def ended(group: int) -> bool:
    with suppress(ProcessLookupError):
        os.killpg(group, 0)
        return False
    return True


def wait_for(
    process: "subprocess.Popen[bytes]", path: Path, kept: int, early: float | None
) -> None:
    """Wait until a command has stored a point, or for a part of a second where it is `early`."""
    if early is not None:
        time.sleep(early)
        return
    deadline = time.monotonic() + PATIENCE_S
    while process.poll() is None and stored(path) == kept and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.mark.slow
def test_a_study_that_is_killed_a_hundred_times(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(dump_yaml(tiny_model()))
    file, path = tmp_path / "sweep.yaml", tmp_path / "s.db"
    file.write_text(SWEEP.format(model=tmp_path / "tiny.yaml"))
    command = [sys.executable, "-m", "simulator", "sweep", str(file), "--study", str(path)]
    random, kept, while_storing = Random(8), 0, 0
    void = subprocess.DEVNULL
    for _ in range(KILLS):
        process = subprocess.Popen(
            [*command, "--workers", "2"], stdout=void, stderr=void, start_new_session=True
        )
        early = random.uniform(0, 5) if random.random() < EARLY else None
        wait_for(process, path, kept, early)
        time.sleep(random.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it ended before it was killed"
        deadline = time.monotonic() + PATIENCE_S
        while not ended(process.pid):
            assert time.monotonic() < deadline, "its processes live on"
            time.sleep(0.01)
        now = stored(path)
        assert now >= kept
        while_storing += now > kept
        kept = now
    sweep = load_sweep(file)
    size = sweep.space.size
    assert size == 16 * 16 * 8 * 2
    done = subprocess.run(
        [*command, "--workers", "2", "--json"], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert (found["points"], found["new"], found["failed"]) == (size, size - kept, 0)
    case = case_of(sweep)
    with Store(path, read_only=True) as store:
        rows = list(store.rows())
    assert [dict(row.point) for row in rows] == [dict(point) for point in sweep.space.grid()]
    for row in rows[::101]:
        alone = evaluate(case, row.point)
        assert (row.outcome.state, row.outcome.metrics) == (alone.state, alone.metrics)
    assert while_storing > KILLS / 2
