"""The command `analyse`: what a study found and why, as a page, a figure or JSON."""

from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simulator.cli import output
from simulator.cli.options import JsonOption
from simulator.cli.sweep import StoreArgument

if TYPE_CHECKING:
    from simulator.search.analysis import Attainment, Box, Comparison, Study
    from simulator.search.effects import Effects, Fates, Sample, Tornado
    from simulator.search.reasons import Reason, Roofline


@dataclass(frozen=True)
class Analysis:
    """All that is said of a study; the parts in the order of the page."""

    study: "Study"
    box: "Box"
    attained: "tuple[Attainment, ...]"
    sample: "Sample"
    effects: "tuple[Effects, ...]"
    fates: "tuple[Fates, ...]"
    tornado: "Tornado"
    reasons: "tuple[Reason, ...]"
    rooflines: "tuple[Roofline, ...]"
    other: "Study | None" = None
    against: "Comparison | None" = None


def analyse(
    study: StoreArgument,
    out: Annotated[Path, typer.Option("--out", metavar="FILE.html|png|pdf", help="What to write.")],
    against: Annotated[
        Path | None, typer.Option("--against", metavar="T.db", help="A study to compare with.")
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric", metavar="M", help="Effects and tornado of it. [default: the objectives]"
        ),
    ] = None,
    point: Annotated[
        str | None,
        typer.Option(
            "--point", metavar="KEY", help="Where the tornado stands. [default: the best]"
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a study found and why.

    Volume over points, what each dimension does, and why points are on the front.
    """
    from simulator.cli.analyse_page import sections
    from simulator.report.study_picture import write_study

    found = _analysed(study, against, metric, point)
    write_study(f"{found.study.name}: {len(found.study.table)} points", sections(found), out)
    if as_json:
        output.show_json({**_data(found), "file": str(out)})
    else:
        front, kept = len(found.reasons), len(found.study.kept)
        output.show(f"{front} of {kept} points on the front, the analysis in {out}")


def _analysed(path: Path, other: Path | None, metric: str | None, key: str | None) -> Analysis:
    from simulator.search.analysis import Box, attainment, compare
    from simulator.search.effects import effects_of, fates_of, sample_of, tornado
    from simulator.search.reasons import reasons, rooflines

    study, beside = _study(path), None if other is None else _study(other)
    metrics = [metric] if metric else [each.metric for each in study.objectives]
    return Analysis(
        study=study,
        box=Box.around(study.objectives, study.kept),
        attained=attainment(study),
        sample=sample_of(study),
        effects=tuple(effects_of(study, each) for each in metrics),
        fates=fates_of(study),
        tornado=tornado(study, metrics, key),
        reasons=reasons(study),
        rooflines=rooflines(study),
        other=beside,
        against=None if beside is None else compare(study, beside),
    )


def _study(path: Path) -> "Study":
    """Read a study; of several rungs the highest, as one does not hold against another."""
    from simulator.results import RUNGS
    from simulator.search.analysis import Study
    from simulator.search.export import frame
    from simulator.search.front import on_highest_rung
    from simulator.search.store import Store

    with Store(path, read_only=True) as store:
        every = store.columns()
        table, rung = on_highest_rung(every, RUNGS)
        name = f"{path.name}, rung {rung}" if rung else path.name
        chosen = len(table) < len(every)
        return Study(name, store.header, frame(table, store.header), chosen)


def _data(found: Analysis) -> dict[str, Any]:
    """Return the analysis as plain data; what is no number is null."""
    study, box = found.study, found.box
    data = {
        "study": study.name,
        "points": len(study.table),
        "kept": len(study.kept),
        "objectives": [asdict(each) for each in study.objectives],
        "box": {**_box(box), "volume": box.volume(study.front[[e.metric for e in box.objectives]])},
        "attainment": [asdict(each) for each in found.attained],
        "sample": {**asdict(found.sample), "text": found.sample.text},
        "effects": [
            {**asdict(each), "told": list(each.told), "text": each.text} for each in found.effects
        ],
        "values": [asdict(each) for each in found.fates],
        "tornado": asdict(found.tornado),
        "front": [{**asdict(each), "bound": each.bound} for each in found.reasons],
        "rooflines": [asdict(each) for each in found.rooflines],
    }
    if found.against is not None:
        data["against"] = {**asdict(found.against), "box": _box(found.against.box)}
    plain = _plain(data)
    assert isinstance(plain, dict)
    return plain


def _box(box: "Box") -> dict[str, Any]:
    scale = {True: "log", False: "linear"}
    return {
        each.metric: {"best": best, "worst": worst, "scale": scale[log]}
        for each, best, worst, log in zip(
            box.objectives, box.best, box.worst, box.logarithmic, strict=True
        )
    }


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {name: _plain(each) for name, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
        case float():
            return value if isfinite(value) else None
        case _:
            return value
