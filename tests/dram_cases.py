"""What tests of DRAM controllers share: every controller on every memory, streams drawn at random.

A controller's choices are axes; one that it gains later is one more line here.
"""

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from simulator.dram import (
    Dramsim3Settings,
    Gather,
    Random,
    Run,
    Settings,
    Standard,
    Strided,
    Tile,
    channel,
    controller,
    load_standard,
    run_dramsim3,
    run_stream,
    standard_names,
)
from simulator.dram.checker import Checker
from simulator.dram.streams import Stream

#: Choices of the two controllers that every combination of is run, and sizes that are drawn.
AXES: dict[str, dict[str, Sequence[str]]] = {
    "ramulator": {
        "order": controller.ORDERS,
        "page": controller.PAGES,
        "refresh": controller.REFRESHES,
    },
    "dramsim3": {"refresh": channel.REFRESHES},
}
SIZES = {
    "ramulator": {"queue": st.integers(1, 64)},
    "dramsim3": {
        "queue": st.integers(1, 64),
        "bank_queue": st.integers(1, 16),
        "row_uses": st.integers(1, 8),
    },
}


@dataclass(frozen=True)
class Case:
    """A controller on a memory."""

    memory: str
    controller: str
    choices: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        """Return "ddr4_3200-ramulator-fr_fcfs-open-all_bank"."""
        return "-".join([self.memory, self.controller, *(value for _, value in self.choices)])

    def checker(self, standard: Standard) -> Checker:
        """Return the checker of a run: no refresh may be late by more than an interval."""
        refresh = dict(self.choices)["refresh"]
        late = None if refresh == "none" else 1
        return Checker(standard, late, bank_by_bank=refresh == "per_bank")

    def run(
        self,
        stream: Stream,
        standard: Standard,
        requests: int,
        sizes: Mapping[str, int],
        trace: Any = None,
    ) -> Run:
        """Serve requests of a stream."""
        chosen: dict[str, Any] = {**dict(self.choices), **sizes}
        if self.controller == "dramsim3":
            return run_dramsim3(stream, standard, requests, Dramsim3Settings(**chosen), trace)
        return run_stream(stream, standard, requests, Settings(**chosen), trace)


def cases() -> list[Case]:
    """Return every controller on every memory that it takes."""
    return [
        Case(name, which, tuple(zip(axes, chosen, strict=True)))
        for name in standard_names()
        for which, axes in AXES.items()
        for chosen in product(*axes.values())
        if _takes(load_standard(name), which, chosen)
    ]


def _takes(standard: Standard, which: str, chosen: Sequence[str]) -> bool:
    if "per_bank" in chosen and standard.bank_refresh is None:
        return False
    split = standard.with_role("open_first") or standard.with_role("sync_read")
    return which != "dramsim3" or not split


def streams(standard: Standard) -> st.SearchStrategy[Stream]:
    """Draw a stream: random, strided by an odd number of bursts, tiled or gathered, with writes."""
    access = standard.access_bytes
    bursts = standard.capacity_bytes // access
    mappings = st.permutations(list(standard.levels)).map(tuple)
    common = {"mapping": mappings, "write_every": st.integers(0, 4)}
    base = st.integers(0, bursts - 1).map(lambda burst: burst * access)

    def tile(rows: int, width: int, columns: int, between: int, **others: Any) -> Tile:
        pitch = columns * width + between
        return Tile(
            tile_rows=rows, tile_bytes=width * access, columns=columns,
            pitch_bytes=pitch * access, **others,
        )  # fmt: skip

    def gather(run: int, places: int, **others: Any) -> Gather:
        runs = min(places, bursts // run)
        return Gather(run_bytes=run * access, table_bytes=runs * run * access, **others)

    return st.one_of(
        st.builds(Random, write_every=st.integers(0, 4), seed=st.integers(0, 2**32)),
        st.builds(
            Strided,
            stride_bytes=st.integers(0, 2**16).map(lambda half: (2 * half + 1) * access),
            base_bytes=base,
            **common,
        ),
        st.builds(
            tile,
            rows=st.integers(1, 64),
            width=st.integers(1, 32),
            columns=st.integers(1, 16),
            between=st.integers(0, 100),
            base_bytes=base,
            **common,
        ),
        st.builds(
            gather,
            run=st.integers(1, 64),
            places=st.integers(1, 2**20),
            seed=st.integers(0, 2**32),
            **common,
        ),
    )


def check_streams(case: Case, examples: int, requests: int, commands: int) -> None:
    """Serve streams, always the same, until `commands` were checked: no rule may be broken."""
    standard, checked = load_standard(case.memory), 0

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(stream=streams(standard), sizes=st.fixed_dictionaries(SIZES[case.controller]))
    def serve(stream: Stream, sizes: dict[str, int]) -> None:
        nonlocal checked
        if checked >= commands:
            return
        checker = case.checker(standard)
        run = case.run(stream, standard, requests, sizes, checker)
        report = checker.report()
        assert report.violations == ()
        assert report.commands == run.commands
        checked += report.checked

    with uncollected():
        serve()
    assert checked >= commands


@contextmanager
def uncollected() -> Iterator[None]:
    """Leave out the garbage collector: it takes two thirds of the time of a long trace, whose
    tuples are in no cycle.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
