"""What all strategies share: generations that are asked and told in turn, no point twice."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import isnan
from typing import Protocol, TypeAlias

from simulator.errors import InputError
from simulator.search.space import Point, Space, key_of

#: What is to be made small, one number an objective; None: infeasible or failed.
Costs: TypeAlias = Sequence[float] | None


class Strategy(Protocol):
    """Asks for points and learns from what they cost.

    trials: how many points it asks for at most, None where that is not known.
    """

    name: str
    trials: int | None

    def ask(self) -> list[Point]:
        """Return the next generation; empty: done. InputError before the last one was told."""

    def tell(self, points: Sequence[Point], costs: Sequence[Costs]) -> None:
        """Take the costs of the generation asked last, in its order; InputError for another."""


class Generations(ABC):
    """What all strategies share: no more than `trials` points, none twice, told in order."""

    def __init__(
        self, name: str, space: Space, objectives: int, *, trials: int | None, generation: int
    ) -> None:
        self.name = name
        self.trials = trials
        self._space = space
        self._objectives = objectives
        self._left = trials
        self._generation = generation
        self._keys: set[str] = set()
        self._waiting: tuple[Point, ...] = ()

    def ask(self) -> list[Point]:
        """Return the next generation; empty: done. InputError before the last one was told."""
        if self._waiting:
            raise InputError("the last generation must be told before the next is asked")
        count = self._generation if self._left is None else min(self._generation, self._left)
        points = self._draw(count) if count else []
        if self._left is not None:
            # Where nothing new was found, nothing is asked from here on.
            self._left = self._left - len(points) if points else 0
        self._waiting = (*points,)
        return points

    def tell(self, points: Sequence[Point], costs: Sequence[Costs]) -> None:
        """Take the costs of the generation asked last, in its order; InputError for another."""
        if not _same(points, self._waiting):
            raise InputError("the points told are not those of the last generation, in its order")
        if len(costs) != len(points):
            raise InputError(f"expected costs of {len(points)} points, got {len(costs)}")
        problems = [problem for each in costs if (problem := self._refusal(each))]
        if problems:
            raise InputError(problems)
        self._waiting = ()

    def _refusal(self, costs: Costs) -> str:
        """Return why these are not the costs of a point, "" if they are."""
        if costs is None:
            return ""
        if len(costs) != self._objectives:
            return f"expected {self._objectives} costs of a point, got {len(costs)}"
        return f"a cost must be a number, got {list(costs)}" if any(map(isnan, costs)) else ""

    def _is_new(self, point: Point) -> bool:
        """Tell whether a point was never asked, and take it as asked."""
        before = len(self._keys)
        self._keys.add(key_of(point))
        return len(self._keys) > before

    def draw(self, count: int) -> list[Point]:
        """Return up to `count` new points for a strategy that asks them as its own."""
        return self._draw(count) if count else []

    @abstractmethod
    def _draw(self, count: int) -> list[Point]:
        """Return up to `count` (>= 1) new points; fewer only where a sampler repeats itself."""


def _same(points: Sequence[Point], others: Sequence[Point]) -> bool:
    """Tell whether points are equal, at once where they are the same objects."""
    return len(points) == len(others) and all(
        one is other or key_of(one) == key_of(other)
        for one, other in zip(points, others, strict=True)
    )
