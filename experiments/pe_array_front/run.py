"""Which array, of which elements, for weights of how many bits, on 8 mm2 of 28 nm?

Runs experiment.yaml and writes claims.csv, points.csv (the study as a table), front.csv (the points
that no other beats, what binds each, what the next one costs), area.csv (where their silicon is)
and the figure pe_array_front.pdf and .png to --out.
"""

import argparse
import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from figure import draw

from simulator.api import profile_of
from simulator.cost import load_profile, load_technology
from simulator.hardware.area import area_of
from simulator.report.claims import claims_text, read_claims, write_claims
from simulator.results import prepare_folder
from simulator.search.analysis import Study
from simulator.search.reasons import Reason, Step, reasons
from simulator.search.space import Choice, Dimension, Point, Space
from simulator.search.store import Store
from simulator.search.sweep_file import Sweep, load_sweep
from simulator.study import Case, case_of, run

if TYPE_CHECKING:
    import pandas as pd

HERE = Path(__file__).parent
PE, WEIGHTS = "device.matrix.pe", "workload.weights"
BANDWIDTH, CAPACITY = "device.memory.bandwidth", "device.scratchpad.capacity"
#: What the small form leaves of the space, at the analytic rung.
SMALL = {"device.matrix.rows": 16, CAPACITY: "1 MiB", BANDWIDTH: "51.2 GB/s"}
PARTS = (
    *("logic", "operand_registers", "accumulators", "edges", "beside", "buffers"),
    *("vector_unit", "fixed"),
)


def small(sweep: Sweep) -> Sweep:
    """Return a sweep with one value of some dimensions, at the analytic rung."""
    space = sweep.space
    dimensions = tuple(
        Dimension(each.name, Choice((SMALL[each.name],))) if each.name in SMALL else each
        for each in space.dimensions
    )
    return replace(sweep, rung="analytic", space=Space(dimensions, space.constraints))


def studied(sweep: Sweep, path: Path, workers: int) -> tuple[Study, dict[str, Point]]:
    """Run a sweep anew; return what its store has, and its points by key."""
    for each in path.parent.glob(f"{path.name}*"):
        each.unlink()
    run(sweep, path, workers=workers)
    with Store(path, read_only=True) as store:
        points = {row.key: row.point for row in store.rows()}
        return Study(path.stem, store.header, store.table()), points


def short(name: str) -> str:
    """Return the last word of a path or a metric of a workload."""
    return name.rpartition(".")[2]


def of_next(step: Step, objectives: Mapping[str, float]) -> str:
    """Say what the next point of the front changes, and what that does to the objectives."""
    changed = ", ".join(
        f"{short(name)} {here} -> {there}" for name, (here, there) in step.changed.items()
    )
    moved = ", ".join(
        f"{short(name)} {here:.3g} -> {step.objectives[name]:.3g}"
        for name, here in objectives.items()
        if step.objectives[name] != here
    )
    return f"{changed}: {moved}"


def of_front(found: Sequence[Reason], objectives: Sequence[str]) -> Iterator[Sequence[object]]:
    """Yield the table of the front: a header, then a row a point."""
    dimensions = list(found[0].point)
    yield (*dimensions, *objectives, "leads", "bound", *(f"better {name}" for name in objectives))
    for each in found:
        nearest = {step.better_in: of_next(step, each.objectives) for step in each.steps}
        yield (
            *(each.point[name] for name in dimensions),
            *(f"{each.objectives[name]:.6g}" for name in objectives),
            " ".join(each.leads),
            each.bound,
            *(nearest.get(name, "") for name in objectives),
        )


def of_area(
    found: Sequence[Reason], points: Mapping[str, Point], case: Case
) -> Iterator[Sequence[object]]:
    """Yield the silicon of points of the front by part, in mm2: a header, then a row a point."""
    yield (*found[0].point, *PARTS)
    for each in found:
        device, _, _ = case.at(points[each.key])
        technology = load_technology(str(load_profile(device.energy).mac_gates))
        area = area_of(device, profile_of(device).areas, technology)
        parts = [getattr(area, name) for name in PARTS]
        if abs(sum(parts) - each.objectives["area_mm2"]) > 1e-9:
            raise AssertionError(f"parts of {each.key} do not add up to its area")
        yield (*each.point.values(), *(f"{part:.5g}" for part in parts))


def fastest(form: str, table: "pd.DataFrame") -> dict[str, float]:
    """Return the least time of a step and of a prompt for each format, by bandwidth."""
    least = table.groupby([BANDWIDTH, WEIGHTS])[["decode.tbt_s", "prefill.ttft_s"]].min()
    return {
        f"{form}.{bandwidth}.{weights}.{short(name)}": value
        for (bandwidth, weights), row in least.iterrows()
        for name, value in row.items()
    }


def counted(study: Study) -> dict[str, float]:
    """Return how many points are within the area, on the front, and there by element."""
    by_element = study.front[PE].value_counts()
    return {
        "kept": float(len(study.kept)),
        "front": float(len(study.front)),
        **{f"front.{pe}": float(by_element.get(pe, 0)) for pe in study.table[PE].unique()},
    }


def asked_of(ours: Mapping[str, float]) -> dict[str, float]:
    """Return those of our numbers that published.csv asks for."""
    with (HERE / "published.csv").open(newline="", encoding="utf-8") as file:
        asked = {row["key"] for row in csv.DictReader(file)}
    return {key: value for key, value in ours.items() if key in asked}


def write(rows: Iterable[Sequence[object]], path: Path) -> None:
    """Write rows as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the study and write what it says; --small: one buffer and bandwidth, analytic rung."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="20 points at the analytic rung")
    parser.add_argument("--out", type=Path, default=Path("out/pe_array_front"))
    parser.add_argument("--workers", type=int, default=2, help="processes")
    args = parser.parse_args(argv)
    out, sweep = prepare_folder(args.out), load_sweep(HERE / "experiment.yaml")
    study, points = studied(small(sweep), out / "small.db", workers=1)
    ours = fastest("small", study.kept)
    if not args.small:
        study, points = studied(sweep, out / "study.db", args.workers)
        ours |= fastest("tile", study.kept) | counted(study)
        draw(study, out)
    found = reasons(study)
    study.table.to_csv(out / "points.csv", index=False)
    write(of_front(found, [each.metric for each in study.objectives]), out / "front.csv")
    write(of_area(found, points, case_of(sweep)), out / "area.csv")
    claims = read_claims(HERE / "published.csv", asked_of(ours))
    write_claims(claims, out / "claims.csv")
    print(claims_text(f"{len(found)} of {len(study.kept)} points on the front", claims))


if __name__ == "__main__":
    main()
