"""The errors that users meet, each with the exit code that the command line gives it.

`InputError` is a fault of what the user wrote, `InfeasibleError` a design that cannot do what is
asked (a result in its own right: resource, demand, bound), `CheckError` a broken conservation law
and `DeadlockError` a simulation in which nothing can move. The last two are faults of ours.
"""

from collections.abc import Mapping, Sequence
from typing import Any

#: The state of an infeasible design, in the record that stands for its result.
INFEASIBLE = "INFEASIBLE"


class NibblesimError(Exception):
    """Any error that nibblesim raises on purpose."""

    exit_code = 1


class InputError(NibblesimError):
    """What the user wrote is wrong; every problem found is in `problems`, one line each."""

    exit_code = 2

    def __init__(self, problems: str | Sequence[str]) -> None:
        """Take one problem or all problems of one input."""
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class InfeasibleError(NibblesimError):
    """The device cannot do what is asked: the resource, how much is needed, how much there is."""

    exit_code = 3

    def __init__(self, resource: str, demand: float, bound: float, unit: str, reason: str) -> None:
        """`demand` and `bound` are in `unit`; `reason` is a sentence for the user."""
        self.resource = resource
        self.demand = demand
        self.bound = bound
        self.unit = unit
        self.reason = reason
        super().__init__(reason)

    def report(self) -> dict[str, str | float]:
        """Return the infeasibility as a record that can be stored beside results."""
        return {
            "state": INFEASIBLE,
            "resource": self.resource,
            "demand": self.demand,
            "bound": self.bound,
            "unit": self.unit,
            "reason": self.reason,
        }

    @classmethod
    def from_report(cls, report: Mapping[str, Any]) -> "InfeasibleError":
        """Return the error that a record is of; what the record lacks is empty."""
        names = ("resource", "demand", "bound", "unit", "reason")
        return cls(*(report.get(name, "") for name in names))


class CheckError(NibblesimError):
    """A result breaks one of its own conservation laws; the message lists each."""


class DeadlockError(NibblesimError):
    """No task can start although some are left; the message names who waits for what."""
