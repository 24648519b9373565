"""Pictures and traces of a result.

A picture is two functions: `*_info` gathers the numbers (tested) and `draw_*` puts them on axes.
"""

from simulator.report.pictures import write_pictures
from simulator.report.roofline import RooflineInfo, draw_roofline, roofline_info
from simulator.report.timeline import TimelineInfo, timeline_info
from simulator.report.timeline_drawing import draw_timeline, timeline_height_in
from simulator.report.trace import trace_events, write_trace

__all__ = [
    "RooflineInfo",
    "TimelineInfo",
    "draw_roofline",
    "draw_timeline",
    "roofline_info",
    "timeline_height_in",
    "timeline_info",
    "trace_events",
    "write_pictures",
    "write_trace",
]
