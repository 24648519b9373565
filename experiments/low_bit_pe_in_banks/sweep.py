"""Both sides for every element, in two processes: times, energies, and where one overtakes."""

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from multiprocessing import get_context
from typing import NamedTuple

from banks import VECTORS, Design, fit_of, in_banks
from cases import BATCHES, ELEMENTS, GROUPS, Element, Work, attention, layer, square
from pins import by_pins

PROCESSES = 2
HELD = (1, 4, 16)
DESIGNS = tuple(Design(held=held, capped=capped) for held, capped in product(HELD, (True, False)))
#: The unit that ships, with gates that take what they take in a process for logic, and the most.
PROCESS = tuple(Design(process=bound) for bound in ("low", "high"))
#: The largest batch at which a crossover is looked for, a power of two.
MOST = 32
#: What --small computes.
SMALL_BATCHES, SMALL_DESIGNS = (1, 4, 16), (Design(held=1), Design())


class Row(NamedTuple):
    """Work on both sides; times in us, energies in uJ, cadence in ticks of 769 ps."""

    element: str
    work: str
    vectors: int
    held: int
    capped: bool
    process: str
    cadence: int
    bound_by: str
    banks_us: float
    banks_uj: float
    pins_us: float
    pins_uj: float

    @property
    def faster(self) -> float:
        """Time by the pins over that in the banks."""
        return self.pins_us / self.banks_us

    @property
    def thriftier(self) -> float:
        """Energy by the pins over that in the banks."""
        return self.pins_uj / self.banks_uj


class Crossover(NamedTuple):
    """The least batch from which the pins are as good, None where there is none up to `MOST`."""

    element: str
    held: int
    capped: bool
    process: str
    of: str
    batch: int | None


class Found(NamedTuple):
    """All of one element."""

    rows: list[Row]
    crossovers: list[Crossover]


def row(element: Element, work: Work, design: Design) -> Row:
    """Return both sides of some work."""
    banks, pins = in_banks(element, work, design), by_pins(element, work)
    fitted = banks.runs[0].plan.fit
    return Row(
        element=element.label,
        work=work.name,
        vectors=work.vectors,
        held=design.held,
        capped=design.capped,
        process=design.process,
        cadence=fitted.cadence_ticks,
        bound_by=fitted.bound_by,
        banks_us=1e6 * banks.time_s,
        banks_uj=1e6 * banks.energy_j,
        pins_us=1e6 * pins.time_s,
        pins_uj=1e6 * pins.energy_j,
    )


def overtaken(better: Callable[[int], bool]) -> int | None:
    """Return the least batch from which the banks are not better, None where they are at `MOST`.

    Tried at powers of two, then at all batches from the last at which they are to the next.
    """
    tried = [2**i for i in range(MOST.bit_length())]
    won = [batch for batch in tried if better(batch)]
    if not won:
        return 1
    if won[-1] == MOST:
        return None
    return max(batch for batch in range(won[-1], 2 * won[-1]) if better(batch)) + 1


def crossovers(element: Element, design: Design) -> Iterator[Crossover]:
    """Yield from which batch on the pins are as good for a layer, by time and by energy."""

    def at(batch: int) -> Row:
        return row(element, layer(element, batch), design)

    named = element.label, design.held, design.capped, design.process
    yield Crossover(*named, "time", overtaken(lambda batch: at(batch).faster > 1))
    if design.capped:
        # The cap takes time, and no energy.
        yield Crossover(*named, "energy", overtaken(lambda batch: at(batch).thriftier > 1))


def of_element(task: tuple[str, bool]) -> Found:
    """Return all of one element, or what is small."""
    label, small = task
    element = ELEMENTS[label]
    if small:
        tried = product(SMALL_BATCHES, SMALL_DESIGNS)
        rows = [row(element, square(element, batch), design) for batch, design in tried]
        return Found(rows, [])
    designs = (*DESIGNS, *PROCESS)
    rows = [row(element, layer(element, each), d) for each, d in product(BATCHES, designs)]
    shared = (*(d for d in DESIGNS if d.held == VECTORS), *PROCESS)
    rows += [row(element, attention(element, each), d) for each, d in product(GROUPS, shared)]
    # In small form too.
    rows += of_element((label, True)).rows
    found = [each for design in designs for each in crossovers(element, design)]
    return Found(rows, found)


def sweep(small: bool) -> Found:
    """Return all elements."""
    with get_context("spawn").Pool(PROCESSES) as pool:
        made = pool.map(of_element, [(label, small) for label in ELEMENTS], chunksize=1)
    return Found(
        [each for found in made for each in found.rows],
        [each for found in made for each in found.crossovers],
    )


def units() -> Iterator[Sequence[object]]:
    """Yield elements, area and power of a bank's unit, by element and vectors held.

    Power at the capped cadence for one vector, reads not included.
    """
    for element, held in product(ELEMENTS.values(), HELD):
        fitted = fit_of(element, Design(held=held))
        milliwatts = (1e3 * watts for watts in fitted.power_w)
        yield element.label, held, fitted.tiles.elements, *fitted.area_mm2, *milliwatts
