"""The pictures of a result as files: `timeline.png` and `roofline.png`."""

from pathlib import Path

from simulator.report.roofline import draw_roofline, roofline_info
from simulator.report.style import WIDTH_IN, write_png
from simulator.report.timeline import timeline_info
from simulator.report.timeline_drawing import draw_timeline, timeline_height_in
from simulator.results import Result, prepare_folder

ROOFLINE_HEIGHT_IN = 3.3


def write_pictures(result: Result, folder: str | Path) -> list[Path]:
    """Draw `result` into `folder`, made if absent; return the paths of the pictures.

    A rung without events has no timeline.

    Raises:
        InputError: the folder cannot be written to.
    """
    from matplotlib.figure import Figure

    path = prepare_folder(folder)
    pictures = []
    if len(result.intervals):
        timeline = timeline_info(result)
        figure = Figure(figsize=(WIDTH_IN, timeline_height_in(timeline)))
        draw_timeline(timeline, figure)
        pictures.append(write_png(figure, path / "timeline.png"))
    figure = Figure(figsize=(WIDTH_IN, ROOFLINE_HEIGHT_IN), layout="constrained")
    draw_roofline(roofline_info(result), figure.add_subplot())
    return [*pictures, write_png(figure, path / "roofline.png")]
