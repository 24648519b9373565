"""The same designs on every rung: one study a space, run rung after rung, and what rungs say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from simulator.search.front import RUNG
from simulator.search.records import Outcome
from simulator.search.space import Choice, Point, Space, Value, key_of
from simulator.search.store import Store
from simulator.search.sweep_file import Sweep, load_sweep
from simulator.study import run

#: A value of a dimension, or several.
Values: TypeAlias = Value | tuple[Value, ...]
HERE = Path(__file__).parent
SPACES = ("decode", "prefill", "memory")
RUNGS = ("roofline", "analytic", "tile", "command")
#: Designs that the command rung simulates where it is too slow for all.
BY_COMMAND = 24
#: What the small form looks at: a part of `decode`, without commands.
FEW: Mapping[str, Values] = {
    "device.scratchpad.capacity": "512 KiB",
    "device.memory.channels": 16,
    "device.matrix.dataflow": ("weight_stationary", "output_stationary"),
}
PROCESSES = 2


@dataclass(frozen=True)
class Ladder:
    """A space and the outcomes of its designs by rung, then by the key of a design.

    designs: points without a rung, by key.
    """

    name: str
    sweep: Sweep
    designs: Mapping[str, Point]
    outcomes: Mapping[str, Mapping[str, Outcome]]

    @property
    def top(self) -> str:
        """The highest rung on which all designs were simulated."""
        return [rung for rung in self.outcomes if len(self.outcomes[rung]) == len(self.designs)][-1]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """A lower and a higher rung: each against the tile rung and that of commands."""
        rungs = list(self.outcomes)
        return [
            (low, high)
            for place, low in enumerate(rungs)
            for high in rungs[place + 1 :]
            if high in RUNGS[2:]
        ]

    def values(self, metric: str, rungs: Sequence[str]) -> list[tuple[float, ...]]:
        """Return a metric on several rungs of each design that was simulated on all of them."""
        return [
            tuple(self.outcomes[rung][key].metrics[metric] for rung in rungs)
            for key in self.common(rungs)
        ]

    def common(self, rungs: Sequence[str]) -> list[str]:
        """Return the designs that were simulated on all of some rungs."""
        return [key for key in self.designs if all(key in self.outcomes[rung] for rung in rungs)]

    def seconds(self, rung: str) -> float:
        """Return the mean seconds of a design on a rung, in the process that simulated it."""
        found = [each.wall_time_s for each in self.outcomes[rung].values()]
        return sum(found) / len(found)

    def part(self, name: str, fixed: Mapping[str, Values], rungs: Sequence[str]) -> "Ladder":
        """Return the designs with some values, on some rungs."""
        kept = {
            key: design
            for key, design in self.designs.items()
            if all(design[path] in _values(value) for path, value in fixed.items())
        }
        outcomes = {
            rung: {key: each for key, each in self.outcomes[rung].items() if key in kept}
            for rung in rungs
        }
        return Ladder(name, pinned(self.sweep, fixed), kept, outcomes)


def pinned(sweep: Sweep, fixed: Mapping[str, Values]) -> Sweep:
    """Return a sweep of which some dimensions have one value, or those of a tuple."""
    dimensions = [
        replace(each, domain=Choice(_values(fixed[each.name]))) if each.name in fixed else each
        for each in sweep.space.dimensions
    ]
    return replace(sweep, space=Space(tuple(dimensions), sweep.space.constraints))


def _values(given: Values) -> tuple[Value, ...]:
    return given if isinstance(given, tuple) else (given,)


def climb(name: str, folder: Path, *, small: bool = False) -> Ladder:
    """Simulate the designs of a space on every rung, from nothing; the study stays in `folder`.

    Each rung has processes of its own, so that none finds what another has planned.
    """
    sweep, path = load_sweep(HERE / f"{name}.yaml"), folder / f"{name}.db"
    for each in folder.glob(f"{path.name}*"):
        each.unlink()
    if small:
        sweep = pinned(sweep, FEW)
        run(pinned(sweep, {RUNG: RUNGS[:3]}), path, workers=PROCESSES)
        return _read("few", sweep, path, RUNGS[:3])
    for rung in RUNGS:
        few = rung == "command" and name != "memory"
        wanted = {"strategy": "random", "trials": BY_COMMAND} if few else {"strategy": "grid"}
        run(pinned(sweep, {RUNG: rung}), path, workers=PROCESSES, **wanted)
    return _read(name, sweep, path, RUNGS)


def _read(name: str, sweep: Sweep, path: Path, rungs: Sequence[str]) -> Ladder:
    designs: dict[str, Point] = {}
    outcomes: dict[str, dict[str, Outcome]] = {rung: {} for rung in rungs}
    with Store(path) as store:
        for row in store.rows():
            if row.outcome.state != "OK":
                raise SystemExit(f"{name}: {row.point}: {row.outcome.reason}")
            design = {path: value for path, value in row.point.items() if path != RUNG}
            designs[key_of(design)] = design
            outcomes[str(row.point[RUNG])][key_of(design)] = row.outcome
    # Points end in any order; what follows must not depend on it.
    ordered = {key: designs[key] for key in sorted(designs)}
    return Ladder(name, sweep, ordered, outcomes)
