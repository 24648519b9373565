"""What a search is for: a metric of a result, its direction, and the bounds that it must keep."""

from dataclasses import dataclass
from math import inf, isfinite
from typing import Literal, TypeAlias, get_args

from simulator.config import unknown
from simulator.errors import InputError

Goal: TypeAlias = Literal["min", "max"]


@dataclass(frozen=True)
class Objective:
    """A metric to make small or large; a point outside its bounds, in the metric's unit, is none.

    InputError lists every problem.
    """

    metric: str
    goal: Goal
    at_most: float | None = None
    at_least: float | None = None

    def __post_init__(self) -> None:
        """Refuse what no value could meet."""
        problems = [] if self.metric else ["an objective needs the name of a metric"]
        if self.goal not in get_args(Goal):
            problems.append(unknown("goal", str(self.goal), get_args(Goal)))
        bounds = {"at_most": self.at_most, "at_least": self.at_least}
        problems += [
            f"{name} must be a finite number, got {bound!r}"
            for name, bound in bounds.items()
            if bound is not None and not _is_number(bound)
        ]
        if not problems and not self.lowest <= self.highest:
            problems.append(
                f"at_least must be <= at_most, got {self.at_least!r} and {self.at_most!r}"
            )
        if problems:
            raise InputError(problems)

    @property
    def lowest(self) -> float:
        """The least value that keeps the bounds."""
        return -inf if self.at_least is None else self.at_least

    @property
    def highest(self) -> float:
        """The largest value that keeps the bounds."""
        return inf if self.at_most is None else self.at_most

    def cost(self, value: float) -> float:
        """Return what is to be made small: the value, or its negative for "max"."""
        return value if self.goal == "min" else -value

    def within(self, value: float) -> bool:
        """Tell whether a value keeps the bounds; NaN does not."""
        return self.lowest <= value <= self.highest


def _is_number(bound: object) -> bool:
    return isinstance(bound, int | float) and not isinstance(bound, bool) and isfinite(bound)
